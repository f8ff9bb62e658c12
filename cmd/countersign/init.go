package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
	"github.com/countersign/countersign/graph"
	"github.com/countersign/countersign/graph/catalog"
)

type initCmd struct {
	Source []string `help:"NAME=CONNECTOR:URL, for example crm=postgres://user:password@host/db; may be given several times." required:"" sep:"none"`
	Config string   `help:"The configuration to write or to add to." default:"countersign.yaml" type:"path"`
	Owner  string   `help:"Who owns this gateway and the first agent: the name or e-mail address they will sign in with." default:"owner"`
}

// A newSource is a source that init adds.
type newSource struct {
	name   string
	source config.Source
	schema *connectors.Schema
	prefix string
}

// Run describes the systems and writes what makes them servable. Nothing is
// written before everything is known.
func (i *initCmd) Run(e *env) error {
	dir := filepath.Dir(i.Config)
	added, err := i.describe(e, dir)
	if err != nil {
		return err
	}
	p, err := i.existing(e)
	if err != nil {
		return err
	}
	lines, err := p.adopt(added)
	if err != nil {
		return err
	}
	if absent(i.Config) {
		err = i.writeNew(p, added)
	} else {
		err = i.addTo(p, added)
	}
	if err == nil {
		err = errors.Join(addGraph(filepath.Join(dir, graphName), lines), addEnv(dir, added), addIgnore(dir))
	}
	for _, n := range added {
		if err == nil {
			err = keepSpec(dir, n.name, n.source)
		}
	}
	if err == nil {
		err = p.writeLock(filepath.Join(dir, lockName))
	}
	if err != nil {
		return err
	}
	return i.next(e, added)
}

// describe asks every system named on the command line.
func (i *initCmd) describe(e *env, dir string) ([]*newSource, error) {
	var out []*newSource
	for _, text := range i.Source {
		name, system, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("--source %q is not NAME=CONNECTOR:URL", text)
		}
		s, err := parseSystem(system)
		if err != nil {
			return nil, err
		}
		if s.Connector == sql.SQLite {
			if s.URL, err = relativeTo(dir, s.URL); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(e.stderr, "describing %s …\n", name)
		schema, err := describeSource(e.ctx, &config.Config{Dir: dir}, name, s)
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", name, err)
		}
		for _, o := range schema.LeftOut {
			fmt.Fprintf(e.stderr, "  left out: %s: %s\n", plain(o.Path), plain(o.Reason))
		}
		for _, w := range schema.Warnings {
			fmt.Fprintf(e.stderr, "  note: %s\n", plain(w))
		}
		out = append(out, &newSource{name: name, source: s, schema: schema})
	}
	return out, nil
}

// relativeTo is the path as seen from the configuration's folder.
func relativeTo(dir, file string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(dir, abs); err == nil && !strings.HasPrefix(rel, "..") {
		return rel, nil
	}
	return abs, nil
}

// existing reads the project that is there already; an empty one otherwise.
func (i *initCmd) existing(e *env) (*project, error) {
	p := &project{cfg: &config.Config{Dir: filepath.Dir(i.Config), File: i.Config}, lock: &catalog.Lock{Sources: map[string]*catalog.PinnedSource{}},
		schemas: map[string]*connectors.Schema{}}
	if absent(i.Config) {
		return p, nil
	}
	cfg, problems := config.Load(i.Config)
	if printProblems(e.stderr, problems) {
		return nil, errSilent
	}
	p.cfg = cfg
	if data, err := os.ReadFile(filepath.Join(cfg.Dir, lockName)); err == nil {
		if p.lock, err = catalog.DecodeLock(data); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for name, pinned := range p.lock.Sources {
		p.schemas[name] = pinned.Schema
	}
	return p, nil
}

// adopt adds the sources to the project and finds the renames they need.
func (p *project) adopt(added []*newSource) ([]string, error) {
	if p.cfg.Sources.Values == nil {
		p.cfg.Sources.Values = map[string]config.Source{}
	}
	for _, n := range added {
		if _, taken := p.cfg.Sources.Get(n.name); taken {
			return nil, usagef("there is a source %s already", n.name)
		}
		if !regexp.MustCompile(`^[a-z][A-Za-z0-9_]{0,39}$`).MatchString(n.name) {
			return nil, usagef("%q is no name for a source: a lower-case letter, then letters, digits and _", n.name)
		}
		p.cfg.Sources.Names = append(p.cfg.Sources.Names, n.name)
		p.cfg.Sources.Values[n.name] = n.source
		p.schemas[n.name] = n.schema
		p.lock.Sources[n.name] = &catalog.PinnedSource{Schema: n.schema}
	}
	sdl, problems := p.graphFiles()
	if len(problems) > 0 {
		return nil, errors.New(problems[0].Message)
	}
	sources, names := p.catalogSources()
	opts := catalog.Options{Control: graph.ControlSDL(), Config: p.cfg.File, GraphFile: inDir(p.cfg.Dir, p.graphFile()), Names: names}
	res := catalog.ResolveCollisions(sources, sdl, opts)
	for _, n := range added {
		n.prefix = res.Prefixes[n.name]
	}
	for k := range sources {
		if prefix := res.Prefixes[sources[k].Name]; prefix != "" {
			sources[k].Prefix = prefix
		}
	}
	cat, problems := catalog.Build(sources, append(sdl, catalog.SDLFile{Name: graphName, Text: strings.Join(res.Lines, "\n")}), opts)
	if cat == nil {
		return nil, fmt.Errorf("the graph cannot be built of this: %s; %s", problems[0].Message, problems[0].Hint)
	}
	p.catalog = cat
	return res.Lines, nil
}

func (p *project) writeLock(file string) error {
	for name, pinned := range p.lock.Sources {
		pinned.Names = p.catalog.Names(name)
	}
	data, err := p.lock.Encode()
	if err != nil {
		return err
	}
	return writeFile(file, data, 0o644)
}

// urlVariable is the variable that holds a source's address.
func urlVariable(name string) string { return strings.ToUpper(name) + "_URL" }

// yaml is the source as it stands in countersign.yaml.
func (n *newSource) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %s:\n    connector: %s\n", n.name, n.source.Connector)
	switch n.source.Connector {
	case sql.Postgres:
		fmt.Fprintf(&b, "    url: ${%s}\n", urlVariable(n.name))
	case sql.SQLite:
		fmt.Fprintf(&b, "    url: %s\n", quoted(n.source.URL))
	default:
		fmt.Fprintf(&b, "    spec: %s\n    url: %s   # the base address of the API\n", quoted(n.source.Spec), quoted(n.source.URL))
	}
	if n.prefix != "" {
		fmt.Fprintf(&b, "    prefix: %s\n", n.prefix)
	}
	return b.String()
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "${", "$${").Replace(s) + `"`
}

func (i *initCmd) writeNew(p *project, added []*newSource) error {
	dir := filepath.Dir(i.Config)
	var b strings.Builder
	b.WriteString("# Countersign: what there is and how it is run. `countersign check` says what is wrong with it.\nversion: 1\n\nlisten: 127.0.0.1:8080\n\nsources:\n")
	for _, n := range added {
		b.WriteString(n.yaml())
	}
	fmt.Fprintf(&b, "\n# Keys are made by `countersign agents keys add assistant --for %s`.\nagents:\n  assistant:\n    owner: %s\n    purpose: Proposes changes; a person decides\n    roles: [agent]\n    actsFor: optional\n", i.Owner, quoted(i.Owner))
	policyDir := filepath.Join(dir, policyName)
	if err := os.MkdirAll(policyDir, 0o755); err != nil {
		return err
	}
	texts := map[string]string{"policy.csv": p.policyText(), "approvals.yaml": approvalsText}
	if tests := p.testsText(); tests != "" {
		texts["first.policy_test.yaml"] = tests
	}
	for name, text := range texts {
		file := filepath.Join(policyDir, name)
		if !absent(file) {
			return fmt.Errorf("%s is there already; nothing was written", file)
		}
		if err := writeFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return writeFile(i.Config, []byte(b.String()), 0o644)
}

var topLevelKey = regexp.MustCompile(`^[A-Za-z"']`)

// addTo puts the sources at the end of the block they belong to, and leaves
// every other byte as it is.
func (i *initCmd) addTo(_ *project, added []*newSource) error {
	data, err := os.ReadFile(i.Config)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(data), "\n")
	begin := slices.IndexFunc(lines, func(l string) bool { return strings.TrimRight(strings.SplitN(l, "#", 2)[0], " \r\n") == "sources:" })
	var text strings.Builder
	for _, n := range added {
		text.WriteString(n.yaml())
	}
	if begin < 0 {
		return fmt.Errorf("%s has no block `sources:` to add to; add these lines yourself:\n%s", i.Config, text.String())
	}
	end := begin + 1
	for k := begin + 1; k < len(lines); k++ {
		if topLevelKey.MatchString(lines[k]) {
			break
		}
		if strings.HasPrefix(lines[k], " ") {
			end = k + 1
		}
	}
	if last := lines[end-1]; last != "" && !strings.HasSuffix(last, "\n") {
		lines[end-1] += "\n"
	}
	return writeFile(i.Config, []byte(strings.Join(lines[:end], "")+text.String()+strings.Join(lines[end:], "")), 0o644)
}

func addGraph(file string, lines []string) error {
	var text string
	if data, err := os.ReadFile(file); err == nil {
		text = string(data)
	} else if errors.Is(err, os.ErrNotExist) {
		text = "# How the graph looks: renames, hides, labels, relations between sources.\n# extend type Customer @rename(to: \"Client\") @label(field: \"name\")\n"
	} else {
		return err
	}
	if len(lines) > 0 {
		text = strings.TrimRight(text, "\n") + "\n" + strings.Join(lines, "\n") + "\n"
	}
	return writeFile(file, []byte(text), 0o644)
}

// addEnv puts addresses, which may hold passwords, where only we read them.
func addEnv(dir string, added []*newSource) error {
	file := filepath.Join(dir, envName)
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text := string(data)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	for _, n := range added {
		if n.source.Connector == sql.Postgres {
			text += urlVariable(n.name) + "=" + n.source.URL + "\n"
		}
	}
	if text == "" && absent(file) {
		text = "# Secrets, never committed.\n"
	}
	return writeFile(file, []byte(text), 0o600)
}

func addIgnore(dir string) error {
	file := filepath.Join(dir, ".gitignore")
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text := string(data)
	have := strings.Fields(text)
	for _, want := range []string{".env", "data/"} {
		if !slices.Contains(have, want) {
			if text != "" && !strings.HasSuffix(text, "\n") {
				text += "\n"
			}
			text += want + "\n"
		}
	}
	return writeFile(file, []byte(text), 0o644)
}

// next says what to do now.
func (i *initCmd) next(e *env, added []*newSource) error {
	p, problems := loadProject(i.Config)
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	at := ""
	if here, err := filepath.Abs(configName); err != nil || here != i.Config {
		at = " --config " + i.Config
	}
	e.printf("wrote %s with %d collections and %d functions\n\nnext:\n  countersign check%s\n  countersign serve%s\n  countersign agents keys add assistant%s --for %s\n",
		i.Config, len(p.catalog.Collections), len(p.catalog.Functions), at, at, at, i.Owner)
	if q := p.sampleQuery(added); q != "" {
		e.printf("\na query over these collections:\n  %s\n", q)
	}
	return nil
}
