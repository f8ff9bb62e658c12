package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
	"github.com/countersign/countersign/graph/catalog"
)

// describeTimeout bounds one description.
const describeTimeout = 2 * time.Minute

// parseSystem reads CONNECTOR:URL.
func parseSystem(text string) (config.Source, error) {
	kind, address, ok := strings.Cut(text, ":")
	if !ok || address == "" {
		return config.Source{}, usagef("%q is not CONNECTOR:URL, for example postgres:postgres://user@host/db, sqlite:shop.db or openapi:https://api.example/openapi.json", text)
	}
	switch kind {
	case sql.Postgres:
		if !strings.Contains(address, "://") {
			address = kind + ":" + address
		}
		return config.Source{Connector: kind, URL: address}, nil
	case "postgresql":
		return config.Source{Connector: sql.Postgres, URL: text}, nil
	case sql.SQLite:
		file := strings.TrimPrefix(address, "//")
		if _, err := os.Stat(file); err != nil {
			return config.Source{}, fmt.Errorf("%s: no such file", file)
		}
		return config.Source{Connector: kind, URL: file}, nil
	case "openapi":
		return config.Source{Connector: kind, Spec: address, URL: baseOf(address)}, nil
	case "mysql", "graphql", "plugin":
		return config.Source{}, fmt.Errorf("connector %s is not supported yet", kind)
	}
	return config.Source{}, usagef("there is no connector %q; postgres, sqlite and openapi are there", kind)
}

// baseOf guesses an API's address from that of its document.
func baseOf(spec string) string {
	u, err := url.Parse(spec)
	if err != nil || u.Host == "" {
		return "https://api.invalid"
	}
	return u.Scheme + "://" + u.Host
}

// describeSource asks a system what it offers.
func describeSource(ctx context.Context, cfg *config.Config, name string, s config.Source) (*connectors.Schema, error) {
	c, err := connect(cfg, name, s, nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	schema, err := c.Describe(ctx)
	return schema, errors.Join(err, c.Close())
}

type describeCmd struct {
	System string `arg:"" help:"CONNECTOR:URL"`
	JSON   bool   `help:"Print JSON." name:"json"`
}

// Run describes a system without any configuration.
func (d *describeCmd) Run(e *env) error {
	s, err := parseSystem(d.System)
	if err != nil {
		return err
	}
	schema, err := describeSource(e.ctx, &config.Config{Dir: "."}, "source", s)
	if err != nil {
		return err
	}
	for _, w := range schema.Warnings {
		fmt.Fprintln(e.stderr, "warning:", w)
	}
	for _, o := range schema.LeftOut {
		fmt.Fprintf(e.stderr, "left out: %s: %s\n", o.Path, o.Reason)
	}
	if d.JSON {
		return printJSON(e.stdout, schema)
	}
	for _, c := range schema.Collections {
		e.printf("%s (%s)\n", c.Name, collectionNote(c))
		for _, f := range c.Fields {
			e.printf("  %-28s %s\n", plain(f.Name), fieldNote(f))
		}
	}
	for _, f := range schema.Functions {
		e.printf("%s  %s%s\n", plain(f.Name), plain(f.Call), map[bool]string{true: " (reads)", false: ""}[f.Reads])
	}
	return nil
}

func collectionNote(c *connectors.Collection) string {
	parts := []string{"no key"}
	if len(c.Key) > 0 {
		parts[0] = "key " + strings.Join(c.Key, ", ")
	}
	if c.View {
		parts = append(parts, "view")
	}
	for _, r := range c.References {
		parts = append(parts, strings.Join(r.Fields, ",")+" → "+r.To)
	}
	return plain(strings.Join(parts, "; "))
}

func fieldNote(f *connectors.Field) string {
	t := string(f.Type.Scalar) + f.Type.Enum + f.Type.Object
	if f.Type.List {
		t = "[" + t + "]"
	}
	if !f.Nullable {
		t += "!"
	}
	if f.Comment != "" {
		t += "  " + f.Comment
	}
	return plain(t)
}

type refreshCmd struct {
	Source string `arg:"" optional:"" help:"Only this source."`
	Config string `help:"The configuration." default:"countersign.yaml" type:"path"`
	Accept bool   `help:"Write the lock."`
}

// Run describes sources again and shows what changed.
func (r *refreshCmd) Run(e *env) error {
	cfg, problems := config.Load(r.Config)
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	if _, ok := cfg.Sources.Get(r.Source); r.Source != "" && !ok {
		return usagef("there is no source %q", r.Source)
	}
	file := filepath.Join(cfg.Dir, lockName)
	before := &catalog.Lock{Sources: map[string]*catalog.PinnedSource{}}
	data, err := os.ReadFile(file)
	if err == nil {
		before, err = catalog.DecodeLock(data)
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return err
	}
	after := &catalog.Lock{Sources: map[string]*catalog.PinnedSource{}}
	for _, name := range cfg.Sources.Names {
		if r.Source != "" && r.Source != name {
			if before.Sources[name] != nil {
				after.Sources[name] = before.Sources[name]
			}
			continue
		}
		schema, err := describeSource(e.ctx, cfg, name, cfg.Sources.Values[name])
		if err != nil {
			return fmt.Errorf("source %s: %w", name, err)
		}
		pinned := &catalog.PinnedSource{Schema: schema}
		if was := before.Sources[name]; was != nil {
			pinned.Names = was.Names
		}
		after.Sources[name] = pinned
	}
	changes := catalog.Diff(before, after)
	if r.Accept {
		// Before anything is printed: whoever reads that may stop reading, which
		// ends the program.
		err = r.accept(cfg, file, after)
	}
	for _, line := range changes {
		e.printf("%s\n", plain(line))
	}
	if len(changes) == 0 {
		e.printf("nothing changed\n")
	} else if !r.Accept {
		fmt.Fprintf(e.stderr, "%s is as it was; --accept writes it\n", lockName)
	}
	return err
}

// accept writes what was described.
func (r *refreshCmd) accept(cfg *config.Config, file string, lock *catalog.Lock) error {
	for name := range lock.Sources {
		if r.Source == "" || r.Source == name {
			if err := keepSpec(cfg.Dir, name, cfg.Sources.Values[name]); err != nil {
				return err
			}
		}
	}
	return writeLock(cfg, file, lock)
}

// writeLock pins the schemas with the names they have in the graph.
func writeLock(cfg *config.Config, file string, lock *catalog.Lock) error {
	p := &project{cfg: cfg, lock: lock, schemas: map[string]*connectors.Schema{}}
	for name, pinned := range lock.Sources {
		p.schemas[name] = pinned.Schema
	}
	cat, problems := p.named()
	if cat == nil {
		return fmt.Errorf("the graph cannot be built of this: %s (%s)", problems[0].Message, problems[0].Hint)
	}
	for name, pinned := range lock.Sources {
		pinned.Names = cat.Names(name)
	}
	data, err := lock.Encode()
	if err != nil {
		return err
	}
	return writeFile(file, data, 0o644)
}

type prepareCmd struct {
	Source string `arg:"" help:"The source."`
	Config string `help:"The configuration." default:"countersign.yaml" type:"path"`
	For    string `help:"Database role that countersign signs in as, where it is not the one that runs the statements."`
	Apply  bool   `help:"Run the statements."`
}

// Run prints what a source needs that serve never creates.
func (p *prepareCmd) Run(e *env) error {
	cfg, problems := config.Load(p.Config)
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	s, ok := cfg.Sources.Get(p.Source)
	if !ok {
		return usagef("there is no source %q", p.Source)
	}
	if s.Connector != sql.Postgres && s.Connector != sql.SQLite {
		return fmt.Errorf("source %s needs nothing prepared", p.Source)
	}
	c, err := connect(cfg, p.Source, s, &connectors.Schema{Connector: s.Connector}, nil)
	if err != nil {
		return err
	}
	if engine, ok := c.(*sql.Engine); ok {
		for _, line := range engine.PrepareSQL(p.For) {
			e.printf("%s;\n", line)
		}
		if p.Apply {
			err = engine.Prepare(e.ctx, p.For)
		}
	}
	return errors.Join(err, c.Close())
}
