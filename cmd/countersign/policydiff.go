package main

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

type policyDiffCmd struct {
	Old      string   `arg:"" help:"Folder or file of the configuration before." type:"path"`
	New      string   `arg:"" help:"Folder or file of the configuration after." type:"path"`
	JSON     bool     `help:"Print JSON." name:"json"`
	Markdown bool     `help:"Print Markdown, for a pull request."`
	FailOn   string   `help:"Exit 1 where something opens: gain." enum:"gain," default:"" placeholder:"gain"`
	Count    bool     `help:"Count the records that row conditions open and close, in the sources of NEW."`
	Claim    []string `help:"NAME=VALUE; a claim of everybody who is compared, for --count."`
}

// A policyDiff is everything that policy diff says.
type policyDiff struct {
	Old string `json:"old"` // versions
	New string `json:"new"`
	// Approvals: approvals.yaml or conditions.yaml differ; who decides may have
	// changed, which is no matter of rights.
	Approvals bool          `json:"approvals"`
	Gains     int           `json:"gains"`
	Losses    int           `json:"losses"`
	Subjects  []subjectDiff `json:"subjects"`
}

// A subjectDiff is what changes for somebody: role:NAME, agent:NAME, user:NAME or
// anonymous.
type subjectDiff struct {
	Who     string        `json:"who"`
	Changes []rightDiff   `json:"changes"`
	Records []recordsDiff `json:"records,omitempty"`
}

type rightDiff struct {
	Act    policy.Act      `json:"act"`
	Object string          `json:"object"`
	Fields []string        `json:"fields,omitempty"`
	From   string          `json:"from"`
	To     string          `json:"to"`
	Opens  bool            `json:"opens"`
	Closes bool            `json:"closes"`
	Lines  []explainedLine `json:"lines"`
}

// Run compares two policies, per role, agent and person.
func (d *policyDiffCmd) Run(e *env) error {
	if d.JSON && d.Markdown {
		return usagef("--json or --markdown, not both")
	}
	from, err := d.load(e, d.Old)
	if err != nil {
		return err
	}
	to, err := d.load(e, d.New)
	if err != nil {
		return err
	}
	claims, err := claimsOf(d.Claim)
	if err != nil {
		return err
	}
	out := &policyDiff{Old: from.policy.Version(), New: to.policy.Version(), Approvals: !sameFiles(from, to), Subjects: []subjectDiff{}}
	var count *counter
	if d.Count {
		if count, err = newCounter(e, from, to); err != nil {
			return err
		}
	}
	for _, who := range subjects(from, to) {
		a, b := from.subject(who, to), to.subject(who, from)
		before, after := from.policy.View(a), to.policy.View(b)
		list := policy.Compare(before, after)
		if len(list) == 0 {
			continue
		}
		s := subjectDiff{Who: who}
		for i := range list {
			s.Changes = append(s.Changes, out.right(&list[i]))
		}
		if count != nil {
			a.Claims, b.Claims = claims, claims
			s.Records = count.subject(e.ctx, before, after, a, b)
		}
		out.Subjects = append(out.Subjects, s)
	}
	if count != nil {
		if err := count.close(); err != nil {
			return err
		}
	}
	if err := out.print(e, d); err != nil {
		return err
	}
	if d.FailOn == "gain" && out.Gains > 0 {
		return errSilent
	}
	return nil
}

// load reads a configuration without its secrets, but for counting.
func (d *policyDiffCmd) load(e *env, name string) (*project, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		name = filepath.Join(name, configName)
	}
	load := loadOffline
	if d.Count && name != d.Old {
		load = loadProject
	}
	p, problems := load(name)
	if printProblems(e.stderr, problems) {
		return nil, errSilent
	}
	return p, nil
}

func claimsOf(list []string) (map[string]connectors.Value, error) {
	out := map[string]connectors.Value{}
	for _, c := range list {
		name, value, ok := strings.Cut(c, "=")
		if !ok {
			return nil, usagef("--claim %q is not NAME=VALUE", c)
		}
		out[name] = connectors.String(value)
	}
	return out, nil
}

func (out *policyDiff) right(d *policy.Difference) rightDiff {
	if d.Opens {
		out.Gains++
	}
	if d.Closes {
		out.Losses++
	}
	r := rightDiff{Act: d.Act, Object: d.Object, Fields: d.Fields, From: d.From, To: d.To, Opens: d.Opens, Closes: d.Closes, Lines: []explainedLine{}}
	for _, l := range d.Lines {
		r.Lines = append(r.Lines, explainedLine{File: filepath.Base(l.File), Line: l.Line, Text: l.Text})
	}
	return r
}

// subjects are all roles of both policies, who brings no credential, and those
// agents and people whose roles are not the same in both.
func subjects(from, to *project) []string {
	set := map[string]bool{string(policy.Anonymous): true}
	members := map[string]bool{}
	for _, p := range []*project{from, to} {
		for _, role := range p.policy.Roles() {
			if role != string(policy.Anonymous) {
				set["role:"+role] = true
			}
			_, named := p.policy.Holding(role)
			for _, m := range named {
				members[m] = true
			}
		}
		for _, name := range p.cfg.Agents.Names {
			members["agent:"+name] = true
		}
	}
	for m := range members {
		if !slices.Equal(from.policy.Expand(from.subject(m, to)), to.policy.Expand(to.subject(m, from))) {
			set[m] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// subject is somebody as this project's policy sees them. A role is looked at as
// whoever holds it would, in either project.
func (p *project) subject(who string, other *project) *policy.Principal {
	if who == string(policy.Anonymous) {
		return policy.AnonymousPrincipal()
	}
	kind, name, _ := strings.Cut(who, ":")
	out := &policy.Principal{ID: who, Kind: policy.Human, Name: name, Tenant: policy.DefaultTenant, Interactive: true}
	switch kind {
	case "role":
		out.Roles = []string{name}
		agents := func(p *project) bool { return !slices.Contains(p.policy.Roles(), name) || p.agentsOnly(name) }
		if agents(p) && agents(other) {
			out.Kind, out.Interactive = policy.Agent, false
		}
	case "agent":
		out.Kind, out.Interactive = policy.Agent, false
		out.Roles = p.cfg.Agents.Values[name].Roles
	case "service":
		out.Kind, out.Interactive = policy.Service, false
	}
	return out
}

// sameFiles tells whether what decides about proposals is the same.
func sameFiles(from, to *project) bool {
	read := func(p *project) []byte {
		files, _ := (&project{cfg: p.cfg}).policyFiles() // read before, without an error
		var out []byte
		for _, f := range files {
			if filepath.Base(f.Name) == "approvals.yaml" {
				out = append(out, f.Data...)
			}
		}
		return out
	}
	return bytes.Equal(read(from), read(to))
}

var errNotCounted = errors.New("the source does not count")
