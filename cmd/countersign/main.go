// Command countersign is the gateway and everything that is done with it from a
// command line: start it, describe systems, write and check a configuration,
// explain a query, sign in, decide on proposals, verify the audit.
//
// It is the only place that knows every room of the house: it reads the
// configuration and puts the rooms together. What they do, they do themselves.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// Exit codes, relied on from outside.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// A cli is the whole command line. The version is set when it is built.
type cli struct {
	Serve     serveCmd     `cmd:"" help:"Run the gateway."`
	Demo      demoCmd      `cmd:"" help:"Run a gateway over two sample systems, with an agent that proposes."`
	Init      initCmd      `cmd:"" help:"Describe a system and write a working configuration, or add a source to one."`
	Describe  describeCmd  `cmd:"" help:"Say what a system or document offers, without any configuration."`
	Check     checkCmd     `cmd:"" help:"Check configuration, lock, graph file and policy; report every problem."`
	Schema    schemaCmd    `cmd:"" help:"Print the graph as a role sees it."`
	Explain   explainCmd   `cmd:"" help:"Say why a query answers what it answers: identity, lines, plan, what each source is sent."`
	Policy    policyCmd    `cmd:"" help:"Test a policy, compare two, ask who may do something."`
	Refresh   refreshCmd   `cmd:"" help:"Describe sources again, show what changed, and write the lock."`
	Prepare   prepareCmd   `cmd:"" help:"Print (or apply) what serve never creates in a source by itself."`
	Login     loginCmd     `cmd:"" help:"Sign this command line in, with a code that you confirm in the browser."`
	Users     usersCmd     `cmd:"" help:"People who sign in here with a password."`
	Agents    agentsCmd    `cmd:"" help:"Agents and their keys."`
	Kill      killCmd      `cmd:"" help:"Kill switches: stop writes at once."`
	Proposals proposalsCmd `cmd:"" help:"List, show and decide on proposals."`
	Audit     auditCmd     `cmd:"" help:"The audit log."`
}

// An env is what commands have of the outside: tests give them another one.
type env struct {
	ctx    context.Context
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
}

func (e *env) printf(format string, args ...any) { fmt.Fprintf(e.stdout, format, args...) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(&env{ctx: ctx, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}, os.Args[1:]))
}

// errSilent ends with exit 1; what is wrong was said already.
var errSilent = errors.New("failed")

// run is the program without the process: the exit code is returned.
func run(e *env, args []string) (code int) {
	var c cli
	exited := -1
	parser, err := kong.New(&c, kong.Name("countersign"), kong.Description("The governed layer between AI agents and the systems that hold your records."),
		kong.UsageOnError(), kong.Writers(e.stdout, e.stderr), kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(e.stderr, "countersign:", err)
		return exitFailed
	}
	kctx, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help
	}
	if err != nil {
		parser.Errorf("%s", err)
		return exitUsage
	}
	err = kctx.Run(e)
	if e.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		// Asked to end: whatever was under way when the signal came was given up.
		err = nil
	}
	if err != nil {
		if !errors.Is(err, errSilent) {
			fmt.Fprintln(e.stderr, "countersign:", errorText(err))
		}
		var usage *usageError
		if errors.As(err, &usage) {
			return exitUsage
		}
		return exitFailed
	}
	return exitDone
}

// A usageError is a command line that makes no sense: exit 2.
type usageError struct{ text string }

// Error is what is wrong with the command line.
func (u *usageError) Error() string { return u.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }
