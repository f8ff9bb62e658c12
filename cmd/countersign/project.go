package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
	"github.com/countersign/countersign/graph"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
)

// Names of the files beside countersign.yaml.
const (
	configName = "countersign.yaml"
	lockName   = "countersign.lock"
	graphName  = "graph.graphql"
	policyName = "policy"
	envName    = ".env"
	opsName    = "operations"
)

// A project is a configuration with everything beside it, read and checked.
type project struct {
	cfg     *config.Config
	lock    *catalog.Lock
	schemas map[string]*connectors.Schema // as pinned, by source
	catalog *catalog.Catalog
	policy  *policy.Engine
	tests   []policy.File // *.policy_test.yaml of the policy's folder
	trusted *gateway.Trusted
	// senders are, by trusted document, who may send it.
	senders map[string][]string
}

// loadProject reads a configuration and all files that belong to it. It asks no
// source. The project is whole only where no problem is more than a warning; as
// much as can be read is filled in otherwise.
func loadProject(file string) (*project, []config.Problem) {
	return projectOf(config.Load(file))
}

// loadOffline is loadProject for what contacts nothing: it needs no secrets.
func loadOffline(file string) (*project, []config.Problem) {
	return projectOf(config.LoadOffline(file))
}

func projectOf(cfg *config.Config, problems []config.Problem) (*project, []config.Problem) {
	if cfg == nil {
		return nil, problems
	}
	problems = append(problems, cfg.LiteralSecrets...)
	p := &project{cfg: cfg, schemas: map[string]*connectors.Schema{}}
	problems = append(problems, p.readLock()...)
	if policy.Errors(problems) {
		return p, problems
	}
	return p, append(problems, p.build()...)
}

func (p *project) readLock() []config.Problem {
	name := filepath.Join(p.cfg.Dir, lockName)
	problem := func(code, message, hint string) []config.Problem {
		return []config.Problem{{File: name, Code: code, Message: message, Hint: hint}}
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return problem("missing", "the sources' schemas are not pinned", "countersign refresh --config "+p.cfg.File+" --accept")
	}
	if err != nil {
		return problem("unreadable", err.Error(), "")
	}
	if p.lock, err = catalog.DecodeLock(data); err != nil {
		return problem("syntax", connectors.AsError(err).Message, "")
	}
	var problems []config.Problem
	for _, source := range p.cfg.Sources.Names {
		pinned := p.lock.Sources[source]
		if pinned == nil {
			problems = append(problems, config.Problem{File: name, Code: "missing", Message: "source " + source + " is not pinned",
				Hint: "countersign refresh " + source + " --config " + p.cfg.File + " --accept"})
			continue
		}
		p.schemas[source] = pinned.Schema
		if s := p.cfg.Sources.Values[source]; moved(s, pinned.Schema) {
			problems = append(problems, config.Problem{File: p.cfg.File, Line: s.Line, Code: "not_pinned",
				Message: "sources." + source + ": outcome or preview is not what the lock has", Hint: "countersign refresh " + source + " --config " + p.cfg.File + " --accept"})
		}
	}
	for source := range p.lock.Sources {
		if _, ok := p.cfg.Sources.Get(source); !ok {
			problems = append(problems, config.Problem{File: name, Code: "unknown_name", Warning: true,
				Message: "source " + source + " is pinned and not configured", Hint: "countersign refresh --accept takes it out"})
		}
	}
	return problems
}

// build makes the catalog and the policy over it.
func (p *project) build() []config.Problem {
	var problems []config.Problem
	if p.catalog, problems = p.named(); policy.Errors(problems) {
		return problems
	}
	files, more := p.policyFiles()
	if problems = append(problems, more...); policy.Errors(problems) {
		return problems
	}
	p.policy, more = policy.Load(files, catalog.NewBinder(p.catalog), policy.Options{CatalogVersion: p.catalog.Version, Agents: p.cfg.Agents.Names, Roles: nil,
		Expand: p.cfg.Expand})
	if problems = append(problems, more...); p.policy == nil || policy.Errors(problems) {
		return problems
	}
	return append(problems, p.operations()...)
}

func (p *project) catalogSources() ([]catalog.Source, map[string]*catalog.Names) {
	var out []catalog.Source
	names := map[string]*catalog.Names{}
	for _, name := range p.cfg.Sources.Names {
		s := p.cfg.Sources.Values[name]
		out = append(out, catalog.Source{Name: name, Prefix: s.Prefix, ReadOnly: s.ReadOnly, Schema: p.schemas[name]})
		if pinned := p.lock.Sources[name]; pinned != nil {
			names[name] = pinned.Names
		}
	}
	return out, names
}

func (p *project) graphFile() string {
	if p.cfg.Graph != "" {
		return p.cfg.Graph
	}
	return graphName
}

// graphFiles reads the graph file; one that is named must be there.
func (p *project) graphFiles() ([]catalog.SDLFile, []config.Problem) {
	name := inDir(p.cfg.Dir, p.graphFile())
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && p.cfg.Graph == "" {
		return nil, nil
	}
	if err != nil {
		return nil, []config.Problem{{File: name, Code: "unreadable", Message: err.Error()}}
	}
	return []catalog.SDLFile{{Name: name, Text: string(data)}}, nil
}

// policyFiles reads everything of the policy's folder.
func (p *project) policyFiles() ([]policy.File, []config.Problem) {
	dir := p.cfg.Policy
	if dir == "" {
		dir = policyName
	}
	dir = inDir(p.cfg.Dir, dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, []config.Problem{{File: dir, Code: "unreadable", Message: "the policy cannot be read: " + err.Error(),
			Hint: "without a policy nobody may anything; countersign init writes one"}}
	}
	var files []policy.File
	var problems []config.Problem
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || !slices.Contains([]string{".csv", ".yaml", ".yml"}, filepath.Ext(name)) {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			problems = append(problems, config.Problem{File: name, Code: "unreadable", Message: err.Error()})
			continue
		}
		if strings.Contains(e.Name(), ".policy_test.") {
			p.tests = append(p.tests, policy.File{Name: name, Data: data})
			continue
		}
		files = append(files, policy.File{Name: name, Data: data})
	}
	return files, problems
}

// named builds the catalog only.
func (p *project) named() (*catalog.Catalog, []config.Problem) {
	sdl, problems := p.graphFiles()
	if policy.Errors(problems) {
		return nil, problems
	}
	sources, names := p.catalogSources()
	return catalog.Build(sources, sdl, catalog.Options{Control: graph.ControlSDL(), Config: p.cfg.File, GraphFile: inDir(p.cfg.Dir, p.graphFile()), Names: names})
}

// moved tells whether a SQL source's outcome classes or previews were changed in
// the configuration since they were pinned: they would be silently ignored.
func moved(s config.Source, pinned *connectors.Schema) bool {
	if s.Connector != sql.Postgres && s.Connector != sql.SQLite {
		return false
	}
	for _, c := range pinned.Collections {
		class, preview := s.Outcome.For(c.Name).Class, s.Preview.For(c.Name)
		if class == "" {
			class = string(connectors.Unverifiable)
		}
		if preview == "" {
			preview = string(connectors.PreviewRead)
		}
		for _, act := range c.Acts {
			if string(act.Class) != class || string(act.Preview) != preview {
				return true
			}
		}
	}
	return false
}
