//go:build linux

// Command bench compares Countersign with what a good team would write by hand
// for the same tables, and with the physical limit: the same statements without
// GraphQL, identity or permission. It starts everything itself, checks that all
// give the same answers, measures them in turn, and ends what it started.
//
//	go run ./bench -countersign bin/countersign
//
// Figures are ratios within one run: no other machine's, and no other run's, can
// be compared with them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/countersign/countersign/bench/handwritten"
	"github.com/countersign/countersign/bench/lab"
	"github.com/countersign/countersign/bench/limit"
)

// options of a run.
type options struct {
	countersign string
	out         string
	scenarios   string
	rounds      int
	duration    time.Duration
	connections int
	events      int
	keep        bool
	audited     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// command runs the comparison, or one of the servers that it starts.
func command(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "limit":
			return serveLimit(ctx, args[1:])
		case "handwritten":
			return serveHandwritten(ctx, args[1:])
		}
	}
	var o options
	seconds := 2.0
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.countersign, "countersign", "bin/countersign", "the program")
	f.StringVar(&o.out, "out", filepath.Join(os.TempDir(), "countersign-bench.json"), "where the samples go")
	f.StringVar(&o.scenarios, "scenarios", "point,list,nested,update", "which, with commas")
	f.IntVar(&o.rounds, "rounds", 3, "how often each contender is measured")
	f.Float64Var(&seconds, "dur", seconds, "seconds of each run")
	f.IntVar(&o.connections, "conns", 32, "connections of the client")
	f.IntVar(&o.events, "events", lab.Events, "records of the largest table")
	f.BoolVar(&o.keep, "keep", false, "keep the folder with the logs and the configuration")
	f.BoolVar(&o.audited, "audited", false, "keep the audit log of updates that is kept by default; the others keep none")
	if err := f.Parse(args); err != nil {
		return err
	}
	o.duration = time.Duration(seconds * float64(time.Second))
	return run(ctx, &o)
}

func scenarioNamed(name string) *scenario {
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return &scenarios[i]
}

// run sets everything up, measures, reports, and ends everything.
func run(ctx context.Context, o *options) (err error) {
	var chosen []*scenario
	for name := range strings.SplitSeq(o.scenarios, ",") {
		s := scenarioNamed(name)
		if s == nil {
			return fmt.Errorf("there is no scenario %q", name)
		}
		chosen = append(chosen, s)
	}
	if o.countersign, err = filepath.Abs(o.countersign); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "countersign-bench-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Fprintln(os.Stderr, "bench: logs and configuration stay in", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	// The server's own user must get to its folder.
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "bench: making a PostgreSQL server with %d events …\n", o.events)
	db, err := lab.StartPostgres(ctx, dir)
	if err != nil {
		return err
	}
	defer db.Stop()
	url := db.URL("postgres")
	if err := lab.Fill(ctx, url, o.events); err != nil {
		return err
	}
	contenders, err := startAll(ctx, o, dir, url)
	defer stopAll(contenders)
	if err != nil {
		return err
	}
	m := &series{o: o, database: db.PID(), say: os.Stderr}
	for _, s := range chosen {
		if err := m.measure(ctx, s, contenders); err != nil {
			return err
		}
	}
	r := newReport(o, contenders, m.samples)
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	fmt.Print(r.markdown())
	fmt.Fprintln(os.Stderr, "bench: samples are in", o.out)
	return os.WriteFile(o.out, data, 0o644)
}

// serverFlags are what the started servers are told.
func serverFlags(name string) (f *flag.FlagSet, listen, database *string) {
	f = flag.NewFlagSet(name, flag.ContinueOnError)
	return f, f.String("listen", "", "host:port"), f.String("database", "", "URL of the database")
}

func serveLimit(ctx context.Context, args []string) error {
	f, listen, database := serverFlags("limit")
	joined := f.Bool("joined", false, "one statement for all levels")
	fast := f.Bool("fast", false, "fasthttp instead of net/http")
	if err := f.Parse(args); err != nil {
		return err
	}
	s, err := limit.New(ctx, *database, *joined)
	if err != nil {
		return err
	}
	defer s.Close()
	if !*fast {
		return serve(ctx, *listen, s)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := &fasthttp.Server{Handler: s.Fast, NoDefaultServerHeader: true}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	err = server.Serve(l)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func serveHandwritten(ctx context.Context, args []string) error {
	f, listen, database := serverFlags("handwritten")
	if err := f.Parse(args); err != nil {
		return err
	}
	s, err := handwritten.New(ctx, *database)
	if err != nil {
		return err
	}
	defer s.Close()
	return serve(ctx, *listen, s)
}

// serve serves until ctx ends.
func serve(ctx context.Context, address string, h http.Handler) error {
	server := &http.Server{Addr: address, Handler: h}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	err := server.ListenAndServe()
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
