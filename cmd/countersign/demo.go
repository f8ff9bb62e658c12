package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors/sql"
	"github.com/countersign/countersign/examples/desk"
	"github.com/countersign/countersign/examples/shop"
)

type demoCmd struct {
	Listen string `help:"Address to listen on; by default 127.0.0.1:8080 or the next free port."`
	Data   string `help:"Folder that keeps the demo's state." default:".demo" type:"path"`
	JSON   bool   `help:"Print one line of JSON first: addresses, credentials, examples." name:"json"`
	Quiet  bool   `help:"No scripted agent."`
	Debug  bool   `help:"Log more."`
}

// A demoRun is the demo while it runs.
type demoRun struct {
	env    *env
	dir    string
	files  string // folder of the configuration
	token  string // of the help desk
	desk   *desk.Server
	server *http.Server
	app    *app
	url    string
	people map[string]string // name → bearer token
	agent  string
	emails []string
}

// Run sets the demo up where it is not there yet, and serves until told to end.
func (d *demoCmd) Run(e *env) (err error) {
	run := &demoRun{env: e, dir: d.Data, files: filepath.Join(d.Data, "config"), people: map[string]string{}}
	defer func() { err = errors.Join(err, run.close()) }()
	if err := run.setUp(); err != nil {
		return err
	}
	p, problems := loadProject(filepath.Join(run.files, configName))
	if printProblems(e.stderr, problems) {
		return run.outdated()
	}
	log := newLog(e, d.Debug)
	if run.app, err = openApp(e.ctx, p, d.Data, log); err != nil {
		return err
	}
	if err := run.listen(d.Listen); err != nil {
		return err
	}
	if err := run.mint(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(e.ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run.app.run(ctx) }()
	if err := run.introduce(ctx, d); err != nil {
		stop()
		return errors.Join(err, <-ended)
	}
	if !d.Quiet {
		done := make(chan struct{})
		go func() { defer close(done); run.script(ctx) }()
		defer func() { <-done }()
		defer stop()
	}
	return <-ended
}

func (r *demoRun) close() error {
	var errs []error
	if r.app != nil {
		errs = append(errs, r.app.close())
	}
	if r.server != nil {
		errs = append(errs, r.server.Close())
	}
	if r.desk != nil {
		errs = append(errs, r.desk.Close())
	}
	return errors.Join(errs...)
}

// setUp makes the sample systems and the configuration over them, once.
func (r *demoRun) setUp() error {
	if err := os.MkdirAll(r.files, 0o700); err != nil {
		return err
	}
	file := filepath.Join(r.files, "shop.db")
	if absent(file) {
		fmt.Fprintln(r.env.stderr, "demo: making a sample shop (about 50,000 records in SQLite) …")
		if err := r.makeShop(file); err != nil {
			return fmt.Errorf("making the sample shop: %w", err)
		}
	}
	var err error
	if r.emails, err = shop.Emails(r.env.ctx, file, 200); err != nil {
		return err
	}
	if err := r.startDesk(file); err != nil {
		return err
	}
	return r.configure()
}

// makeShop generates the shop with the marker table of class transactional.
func (r *demoRun) makeShop(file string) error {
	tmp := file + ".new"
	if err := shop.Generate(r.env.ctx, tmp); err != nil {
		return err
	}
	engine, err := sql.Open(sql.Config{Name: "shop", Dialect: sql.SQLite, URL: tmp}, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(engine.Prepare(r.env.ctx, ""), engine.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

// startDesk starts the help desk on the port that it had before: its address is
// part of what a proposal is made for.
func (r *demoRun) startDesk(shopFile string) error {
	portFile, tokenFile := filepath.Join(r.files, "desk.port"), filepath.Join(r.files, "desk.token")
	port := "0"
	if data, err := os.ReadFile(portFile); err == nil {
		port = strings.TrimSpace(string(data))
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return fmt.Errorf("the sample help desk had port %s, which is taken now; end what uses it, or start with another --data: %w", port, err)
	}
	if err := writeFile(portFile, []byte(strconv.Itoa(l.Addr().(*net.TCPAddr).Port)+"\n"), 0o600); err != nil {
		return err
	}
	if data, err := os.ReadFile(tokenFile); err == nil {
		r.token = strings.TrimSpace(string(data))
	} else {
		var b [16]byte
		rand.Read(b[:]) // never fails
		r.token = hex.EncodeToString(b[:])
		if err := writeFile(tokenFile, []byte(r.token+"\n"), 0o600); err != nil {
			return err
		}
	}
	orders, err := shop.OrdersByEmail(r.env.ctx, shopFile, 200)
	if err != nil {
		return err
	}
	if r.desk, err = desk.New(desk.Options{Dir: filepath.Join(r.dir, "desk"), Token: r.token, Requesters: r.emails, Orders: orders}); err != nil {
		return err
	}
	r.server = &http.Server{Handler: r.desk.Handler(), ReadHeaderTimeout: readHeaderTimeout}
	// Ends with close.
	go r.server.Serve(l)
	r.url = "http://" + l.Addr().String()
	return nil
}

// listen takes the address asked for, or the first free port from 8080 on.
func (r *demoRun) listen(address string) error {
	if address != "" {
		return r.app.listen(address)
	}
	var err error
	for port := 8080; port < 8120; port++ {
		if err = r.app.listen(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return nil
		}
	}
	return err
}

// base is the address of the gateway.
func (r *demoRun) base() string { return "http://" + r.app.listener.Addr().String() }

// introduce prints what there is to see and try.
func (r *demoRun) introduce(ctx context.Context, d *demoCmd) error {
	examples, err := r.examples(ctx)
	if err != nil {
		return err
	}
	if d.JSON {
		credentials := map[string]any{}
		for name, token := range r.people {
			credentials[name] = token
		}
		credentials["agent"] = r.agent
		line, err := json.Marshal(map[string]any{"url": r.base(), "graphql": r.base() + "/graphql", "credentials": credentials, "examples": examples})
		if err != nil {
			return err
		}
		r.env.printf("%s\n", line)
	}
	return r.printHints(ctx, examples)
}

// waitReady waits until both systems answer, so that what is printed works.
func (r *demoRun) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, name := range r.app.sources.order {
		for {
			_, err := r.app.sources.Identity(ctx, name)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the sample system %s does not answer: %w", name, err)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}
