package main

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestRefreshCutOff: whoever reads what refresh says may stop reading; what it
// was told to accept is written, whole, all the same.
func TestRefreshCutOff(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.f.exec(t, `ALTER TABLE item ADD COLUMN colour TEXT`)
	before := s.read(t, lockName)
	for _, accept := range []bool{false, true} {
		args := []string{"refresh", "--config", s.file(configName)}
		if accept {
			args = append(args, "--accept")
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close() // nobody reads
		cmd := exec.Command(shipped.program(t), args...)
		cmd.Stdout = w
		err = cmd.Run()
		w.Close()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGPIPE {
			t.Fatalf("its output was not cut off, nothing is tested: %v", err)
		}
		after := s.read(t, lockName)
		if accepted := strings.Contains(after, "colour"); accepted != accept || !accept && after != before {
			t.Errorf("accept %v: the lock has the new column: %v", accept, accepted)
		}
	}
	if got := s.run(t, "refresh"); got != "nothing changed\n" {
		t.Errorf("after that refresh says %q", got)
	}
	s.run(t, "check")
	files, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".new-") {
			t.Errorf("%s is left", f.Name())
		}
	}
}
