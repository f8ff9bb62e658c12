package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

type serveCmd struct {
	Config string `help:"The configuration." default:"countersign.yaml" type:"path"`
	Listen string `help:"Address to listen on, instead of the configured one."`
	Data   string `help:"Folder of the store and the keys." default:"data" type:"path"`
	Debug  bool   `help:"Log more."`
}

// linkLives is how long a first-run link works.
const linkLives = 30 * time.Minute

// Run serves until it is told to end.
func (s *serveCmd) Run(e *env) error {
	p, problems := loadProject(s.Config)
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	log := newLog(e, s.Debug)
	a, err := openApp(e.ctx, p, s.Data, log)
	if err != nil {
		return err
	}
	hurry := make(chan os.Signal, 1)
	signal.Notify(hurry, syscall.SIGHUP)
	defer signal.Stop(hurry)
	a.reloader.hurry = hurry
	address := p.cfg.Listen
	if s.Listen != "" {
		address = s.Listen
	}
	if err := a.listen(address); err != nil {
		return errors.Join(err, a.close())
	}
	base := p.cfg.URL
	if base == "" {
		base = a.scheme() + "://" + a.listener.Addr().String()
	}
	fmt.Fprintf(e.stderr, "countersign serves %s (data in %s)\n", base, s.Data)
	if link, ok, err := a.identity.FirstRun(e.ctx, policy.DefaultTenant, linkLives); err != nil {
		return errors.Join(err, a.close())
	} else if ok {
		fmt.Fprintf(e.stderr, "nobody can sign in yet; this link makes the owner, once, within %s:\n  %s/sign-in#link=%s&first=1%s\n", linkLives, base, link.Token, firstOwner(p.cfg))
	}
	return errors.Join(a.run(e.ctx), a.close())
}

// firstOwner names, for the page of the first-run link, the one person that the
// configuration calls the owner of its agents: whoever signs in by another name
// could not confirm what they propose.
func firstOwner(cfg *config.Config) string {
	var owner string
	for _, a := range cfg.Agents.Values {
		if owner != "" && a.Owner != owner {
			return ""
		}
		owner = a.Owner
	}
	if owner == "" {
		return ""
	}
	return "&user=" + url.QueryEscape(owner)
}

// What a connection may take that has no key in the configuration.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// maxHeader bounds the line and the headers of a request, so queries by GET.
	maxHeader = 256 << 10
)

// newServer serves h. The time to read a request ends for /graphql when its body
// was read: what is answered may take longer, and streams stay open.
func newServer(cfg *config.Config, h http.Handler, log *slog.Logger) *http.Server {
	read := cfg.HTTP.ReadTimeout
	if read == 0 {
		read = config.DefaultReadTimeout
	}
	return &http.Server{Handler: h, ReadHeaderTimeout: min(readHeaderTimeout, read), ReadTimeout: read, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
}

func newLog(e *env, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: level}))
}

type checkCmd struct {
	Config     string `help:"The configuration." default:"countersign.yaml" type:"path"`
	Production bool   `help:"Also list what must not go live."`
	JSON       bool   `help:"Print JSON." name:"json"`
}

// Run checks everything that needs no source.
func (c *checkCmd) Run(e *env) error {
	p, problems := loadProject(c.Config)
	if !policy.Errors(problems) {
		problems = append(problems, p.proven(e.ctx)...)
		if c.Production {
			problems = append(problems, p.production()...)
		}
	}
	if c.JSON {
		if problems == nil {
			problems = []config.Problem{}
		}
		if err := printJSON(e.stdout, problems); err != nil {
			return err
		}
		if policy.Errors(problems) {
			return errSilent
		}
		return nil
	}
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	e.printf("%s: ok: %d sources, %d collections, %d functions, policy %s\n", filepath.Base(c.Config), len(p.cfg.Sources.Names),
		len(p.catalog.Collections), len(p.catalog.Functions), p.policy.Version())
	p.writes(e)
	p.printOperations(e)
	return nil
}

// writes says, per collection and act, what can be known of a write and how it
// is previewed.
func (p *project) writes(e *env) {
	for _, c := range p.catalog.Collections {
		for _, kind := range stepKinds {
			if act := c.Act(kind); act != nil {
				e.printf("  %s %s: %s, preview %s\n", c.Object, kind, act.Class, act.Preview)
			}
		}
	}
	for _, f := range p.catalog.Functions {
		if act := f.Spec.Act; act != nil && !f.Reads() {
			e.printf("  %s call: %s, preview %s\n", f.Object, act.Class, act.Preview)
		}
	}
}

type schemaCmd struct {
	Config string `help:"The configuration." default:"countersign.yaml" type:"path"`
	As     string `help:"Whose view: role:NAME or agent:NAME." default:"role:owner"`
}

// Run prints the schema of a view.
func (s *schemaCmd) Run(e *env) error {
	p, problems := loadProject(s.Config)
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	who, err := p.principal(s.As)
	if err != nil {
		return err
	}
	schema, err := p.catalog.Schema(p.policy.View(who))
	if err != nil {
		return err
	}
	e.printf("%s", catalog.Print(schema))
	return nil
}

// absent tells whether a file is not there.
func absent(name string) bool {
	_, err := os.Stat(name)
	return errors.Is(err, os.ErrNotExist)
}

var stepKinds = []connectors.StepKind{connectors.Create, connectors.Update, connectors.Delete}
