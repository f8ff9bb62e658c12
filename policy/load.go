package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"sort"
	"strings"
)

// A File is a file of a policy: policy.csv, conditions.yaml, approvals.yaml, by
// the last element of its name. Others with the ending .csv are read as further
// policy.csv; other names are reported.
type File struct {
	Name string
	Data []byte
}

// Options are what a policy rests on beside its files.
type Options struct {
	// CatalogVersion goes into the hashes of views.
	CatalogVersion string
	// Roles are the names of the roles that can be granted from outside the
	// policy: by issuers, agents, users. nil: not known, and then a role that
	// only policy lines mention is no mistake.
	Roles []string
	// Agents are the names of the configured agents; nil: not known.
	Agents []string
	// Views is how many views are kept; 0: 256.
	Views int
	// Expand replaces ${NAME} in the addresses and secrets of HTTP validators;
	// its errors name what is not set and hold no value. nil: nothing is there.
	Expand func(text string) (string, error)
}

// An Engine is a loaded policy. It is immutable but for its caches, and safe for
// concurrent use; a changed policy is another Engine.
type Engine struct {
	version   string
	opts      Options
	names     *names
	lines     []*line
	byRole    map[string][]*line
	rules     *rulebook
	holds     map[string][]string // by member or role: what it holds, itself aside
	approvals *approvals
	views     *viewCache
	shared    sharing
}

// Version is a digest of the policy's files.
func (e *Engine) Version() string { return e.version }

// Load reads the files of a policy and checks them against what is pinned. All
// problems are reported, sorted by place. The engine is nil where one of them is
// an error: a broken policy opens nothing, and whoever reloads keeps the old one.
func Load(files []File, b Binder, opts Options) (*Engine, []Problem) {
	l := &loader{
		names: newNames(b.Objects()), binder: b, opts: opts,
		groups: map[string][]*group{}, named: map[string]NamedCondition{}, namedAt: map[string]place{},
		namedUsed: map[string]bool{}, bounds: map[boundKey]boundResult{},
	}
	files = append([]File(nil), files...)
	sort.Slice(files, func(i, j int) bool { return files[i].Name < files[j].Name })
	digest := sha256.New()
	for _, f := range files {
		digest.Write([]byte(path.Base(f.Name) + "\x00"))
		sum := sha256.Sum256(f.Data)
		digest.Write(sum[:])
	}
	l.read(files)
	e := &Engine{
		version: hex.EncodeToString(digest.Sum(nil))[:16], opts: opts, names: l.names,
		lines: l.lines, byRole: map[string][]*line{}, approvals: l.approvals, views: newViewCache(opts.Views),
	}
	for _, ln := range e.lines {
		e.byRole[ln.role] = append(e.byRole[ln.role], ln)
	}
	if err := e.roles(l); err != nil {
		l.add(Problem{Code: ProblemSyntax, Message: "Casbin refuses the rules: " + err.Error()})
		return nil, l.sorted()
	}
	l.lint(e)
	if Errors(l.problems) {
		return nil, l.sorted()
	}
	return e, l.sorted()
}

// read reads the files in the order in which they refer to each other.
func (l *loader) read(files []File) {
	var tables, approvals []File
	for _, f := range files {
		switch base := path.Base(f.Name); {
		case base == "conditions.yaml":
			l.conditionsFile(f.Name, f.Data)
		case base == "approvals.yaml":
			approvals = append(approvals, f)
		case strings.HasSuffix(base, ".csv"):
			tables = append(tables, f)
		default:
			l.add(Problem{File: f.Name, Code: ProblemUnknownName, Message: "no file of a policy",
				Hint: "A policy is policy.csv, conditions.yaml and approvals.yaml"})
		}
	}
	for _, f := range tables {
		l.csv(f.Name, string(f.Data))
	}
	l.unusedNamed()
	l.bindNamed()
	for _, f := range approvals {
		l.approvalsFile(f.Name, f.Data)
	}
}

// roles loads Casbin and takes from it which roles each member and role holds.
func (e *Engine) roles(l *loader) error {
	var err error
	if e.rules, err = newRulebook(ruleList(l.rules)); err != nil {
		return err
	}
	e.holds = map[string][]string{}
	for _, h := range l.holds {
		if h.role == h.member || slices.Contains(e.rules.holds(h.role), h.member) {
			l.add(h.at.at(0, ProblemCycle, `the role "`+h.member+`" holds itself`, ""))
		}
		e.holds[h.member] = e.rules.holds(h.member)
	}
	return nil
}

// Expand lists all roles of a principal, sorted: those granted, those its g
// lines give, what these hold by inheritance, "*", and "anonymous" for who did
// not sign in. A granted role that has the form of a member (user:x) is ignored:
// an issuer's group must not pass for a person.
func (e *Engine) Expand(p *Principal) []string {
	set := map[string]bool{"*": true}
	hold := func(name string) {
		for _, r := range e.holds[name] {
			set[r] = true
		}
	}
	for _, r := range p.Roles {
		if strings.Contains(r, ":") || r == string(Anonymous) {
			continue
		}
		set[r] = true
		hold(r)
	}
	if p.Kind == Anonymous {
		set[string(Anonymous)] = true
	} else if strings.Contains(p.ID, ":") {
		hold(p.ID)
	}
	return sortedKeys(set)
}

// Holding lists the roles that hold the role, itself included, and the members
// whom g lines give any of them, both sorted: what a Directory needs to find the
// holders of a role.
func (e *Engine) Holding(role string) (roles, members []string) {
	roles = append(roles, role)
	for _, name := range e.rules.heldBy(role) {
		if strings.Contains(name, ":") {
			members = append(members, name)
		} else {
			roles = append(roles, name)
		}
	}
	sort.Strings(roles)
	return roles, members
}

// Roles lists every role that the policy mentions, sorted; "*" and "anonymous"
// are among them where lines name them.
func (e *Engine) Roles() []string {
	set := map[string]bool{}
	for role := range e.byRole {
		set[role] = true
	}
	for member, held := range e.holds {
		if !strings.Contains(member, ":") {
			set[member] = true
		}
		for _, r := range held {
			set[r] = true
		}
	}
	return sortedKeys(set)
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
