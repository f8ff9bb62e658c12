//go:build linux

// Package lab is the laboratory of the comparison: a throw-away PostgreSQL
// server with the data, child processes that end with the one that started
// them, and what they cost, read from /proc.
//
// It must not know what is compared.
package lab

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Process is a child of ours. It ends with Stop, or with us.
type Process struct {
	cmd   *exec.Cmd
	log   *os.File
	stop  syscall.Signal
	ended chan struct{}
}

// Start starts a child that writes what it says into a file.
func Start(cmd *exec.Cmd, logFile string) (*Process, error) {
	return startProcess(cmd, logFile, nil, syscall.SIGTERM)
}

func startProcess(cmd *exec.Cmd, logFile string, cred *syscall.Credential, stop syscall.Signal) (*Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C is for us, and we end our children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true, Pdeathsig: stop}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	p := &Process{cmd: cmd, log: log, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		cmd.Wait() // how it ended does not matter
	}()
	return p, nil
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the child has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Log is the file that holds what the child said.
func (p *Process) Log() string { return p.log.Name() }

// grace is how long a child has to end after it was told to.
const grace = 10 * time.Second

// Stop ends the child and waits for its end.
func (p *Process) Stop() {
	select {
	case <-p.ended:
	default:
		p.cmd.Process.Signal(p.stop)
		select {
		case <-p.ended:
		case <-time.After(grace):
			p.cmd.Process.Kill()
			<-p.ended
		}
	}
	p.log.Close()
}

// clockTick is the unit of CPU times in /proc; USER_HZ is 100 on every Linux
// that Go supports.
const clockTick = 10 * time.Millisecond

// CPU is the CPU time, user and system, that a process and everything below it
// have used, children that have ended and were waited for included.
func CPU(root int) time.Duration {
	var total time.Duration
	children := childrenByParent()
	todo := []int{root}
	for len(todo) > 0 {
		pid := todo[0]
		todo = append(todo[1:], children[pid]...)
		fields := statOf(pid)
		if len(fields) < 15 {
			continue // it has ended; its parent has its time
		}
		for _, text := range fields[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(text, 10, 64)
			total += time.Duration(n) * clockTick
		}
	}
	return total
}

func childrenByParent() map[int][]int {
	out := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if fields := statOf(pid); len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			out[parent] = append(out[parent], pid)
		}
	}
	return out
}

// statOf are the fields of /proc/PID/stat from the state on: the name before it
// may hold blanks.
func statOf(pid int) []string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	text := string(data)
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
}

// Machine is the CPU time that all processes of the machine have used.
func Machine() time.Duration {
	data, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(data), "\n")
	fields := strings.Fields(line)
	var total time.Duration
	for i, text := range fields {
		// cpu user nice system idle iowait irq softirq steal …; steal is no work.
		if i == 0 || i == 4 || i == 5 || i > 7 {
			continue
		}
		n, _ := strconv.ParseInt(text, 10, 64)
		total += time.Duration(n) * clockTick
	}
	return total
}

// Own is the CPU time that this process has used.
func Own() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
