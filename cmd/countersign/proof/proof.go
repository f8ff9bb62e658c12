// Package proof runs the tests of a policy: each case goes the way of any other
// request, through gateway, plan, execution and proposals, over records in memory
// and a store of its own. Nothing of the configuration's systems is contacted.
//
// It must not know files, flags or how anything is printed, nor how any right is
// decided: it asks, and compares.
package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
)

// A Config is what is tested. All fields are needed; Agents are the declared
// ones, with their roles and the name of who owns them.
type Config struct {
	Catalog *catalog.Catalog
	Policy  *policy.Engine
	Schemas map[string]*connectors.Schema
	Limits  gateway.RoleLimits
	Agents  map[string]Agent
}

// An Agent is a declared one.
type Agent struct {
	Roles []string
	Owner string // the id of a person
}

// A Result is what came of one run of a case, or of one triple.
type Result struct {
	Name     string        `json:"name"`
	File     string        `json:"file"`
	Line     int           `json:"line"`
	Took     time.Duration `json:"-"`
	Failures []string      `json:"failures,omitempty"`
	// Who asked what, for an explanation; Request is nil for triples.
	Who     *policy.Principal `json:"-"`
	Request *gateway.Request  `json:"-"`
	// Lines are those that decide about a triple.
	Lines []policy.LineRef `json:"-"`
}

// Passed tells whether everything was as expected.
func (r *Result) Passed() bool { return len(r.Failures) == 0 }

// Run runs the tests of one file. Problems are what is wrong with the file
// itself; an error is that the tests could not be run. It may be called
// concurrently.
func Run(ctx context.Context, cfg Config, tests *policy.Tests) (results []Result, problems []policy.Problem, err error) {
	r := &runner{cfg: cfg, tests: tests, snap: gateway.NewSnapshot(cfg.Catalog, cfg.Policy), people: map[string]*policy.Principal{}}
	r.meet()
	if r.records(); policy.Errors(r.problems) {
		return nil, r.problems, nil
	}
	if err := r.absentNames(); err != nil || policy.Errors(r.problems) {
		return nil, r.problems, err
	}
	if r.dir, err = os.MkdirTemp("", "countersign-policy-test-"); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	for i := range tests.Cases {
		c := &tests.Cases[i]
		for j := range c.Runs {
			began := time.Now()
			res, err := r.run(ctx, c, &c.Runs[j])
			if err != nil {
				return nil, nil, fmt.Errorf("%s:%d: %w", tests.File, c.Runs[j].Line, err)
			}
			res.Took = time.Since(began)
			results = append(results, *res)
		}
	}
	for i := range tests.Can {
		results = append(results, r.triple(&tests.Can[i]))
	}
	return results, r.problems, nil
}

type runner struct {
	cfg      Config
	tests    *policy.Tests
	snap     *gateway.Snapshot
	problems []policy.Problem
	people   map[string]*policy.Principal
	given    map[string]*given // by source
	dir      string            // of stores
	template string            // a store that is ready to be copied; "" before the first
}

func (r *runner) problem(line int, code, message, hint string) {
	r.problems = append(r.problems, policy.Problem{File: r.tests.File, Line: line, Code: code, Message: message, Hint: hint})
}

// meet makes principals of everybody under who.
func (r *runner) meet() {
	for i := range r.tests.Who {
		w := &r.tests.Who[i]
		p := &policy.Principal{ID: "user:" + strings.ToLower(w.Name), Kind: policy.Human, Name: w.Name, Tenant: policy.DefaultTenant, Roles: w.Roles,
			Claims: w.Claims, Interactive: true, SignedInAt: time.Now(), CredentialID: "test:" + w.Name}
		if w.Agent != "" {
			a := r.cfg.Agents[w.Agent]
			p.ID, p.Name, p.Kind, p.Roles, p.Owner = "agent:"+w.Agent, w.Agent, policy.Agent, a.Roles, a.Owner
			p.Interactive, p.SignedInAt = false, time.Time{}
		}
		r.people[w.Name] = p
	}
	for i := range r.tests.Who {
		if w := &r.tests.Who[i]; w.For != "" {
			behind := *r.people[w.For]
			behind.Interactive, behind.CredentialID = false, ""
			r.people[w.Name].For = &behind
		}
	}
}

// who is one of the people, or nobody in particular.
func (r *runner) who(name string) *policy.Principal {
	if p, ok := r.people[name]; ok {
		return p
	}
	return policy.AnonymousPrincipal()
}

// absentNames reports elements that no view could have: a test that a misspelt
// name is absent would pass for ever.
func (r *runner) absentNames() (err error) {
	var all *ast.Schema
	for i := range r.tests.Cases {
		for _, run := range r.tests.Cases[i].Runs {
			for _, element := range run.Expect.Absent {
				if all == nil {
					if all, err = whole(r.cfg.Catalog); err != nil {
						return err
					}
				}
				typeName, field, dotted := strings.Cut(element, ".")
				if !dotted || !has(all, typeName, field) {
					r.problem(run.Line, policy.ProblemUnknownName, `absent: the graph has no "`+element+`" for anybody`, "Write Type.field, by the graph's names")
				}
			}
		}
	}
	return nil
}

func has(schema *ast.Schema, typeName, field string) bool {
	def := schema.Types[typeName]
	return def != nil && (def.Fields.ForName(field) != nil || def.EnumValues.ForName(field) != nil)
}

// triple asks the view itself.
func (r *runner) triple(t *policy.TestTriple) Result {
	object := t.Object
	if t.FieldName != "" {
		object += "." + t.FieldName
	}
	who := r.who(t.As)
	view := r.cfg.Policy.View(who)
	out := Result{Name: fmt.Sprintf("%s %s %s: %s", t.As, t.Act, object, t.Expect), File: r.tests.File, Line: t.Line, Who: who}
	began := time.Now()
	if got := view.Effect(t.Act, t.Object, t.Field); got != t.Expect {
		out.Failures = []string{fmt.Sprintf("expected %s, got %s", t.Expect, got)}
		out.Lines = view.Explain(t.Object, t.Act, t.Field)
	}
	out.Took = time.Since(began)
	return out
}

// run sends one operation into a world of its own.
func (r *runner) run(ctx context.Context, c *policy.TestCase, run *policy.TestRun) (*Result, error) {
	who := r.who(c.As)
	req := &gateway.Request{Query: c.Operation}
	name := c.Name
	if run.Variables != nil {
		dec := json.NewDecoder(strings.NewReader(string(run.Variables)))
		dec.UseNumber()
		if err := dec.Decode(&req.Variables); err != nil {
			return nil, err
		}
	}
	if len(c.Runs) > 1 {
		name += " " + string(run.Variables)
	}
	out := &Result{Name: strings.TrimSpace(name), File: r.tests.File, Line: run.Line, Who: who, Request: req}
	w, err := r.world(ctx, filepath.Join(r.dir, "store"))
	if err != nil {
		return nil, err
	}
	resp := w.door.Run(ctx, who, req)
	out.Failures, err = r.compare(ctx, w, who, resp, &run.Expect)
	return out, errors.Join(err, w.close())
}
