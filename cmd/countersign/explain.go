package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/store"
)

type explainCmd struct {
	Query     string   `arg:"" help:"The GraphQL operation."`
	As        string   `help:"Who asks: role:NAME, agent:NAME or user:NAME." required:""`
	Variables string   `help:"Variables as JSON."`
	Claim     []string `help:"NAME=VALUE; a claim of the principal."`
	Config    string   `help:"The configuration." default:"countersign.yaml" type:"path"`
	Data      string   `help:"Folder of the store, for user:NAME." default:"data" type:"path"`
}

// Run says who is asking, which lines decide, what the plan is, and what each
// source is sent. A mutation is planned and not run.
func (x *explainCmd) Run(e *env) error {
	p, problems := loadProject(x.Config)
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	who, err := p.identify(e, x.As, filepath.Clean(x.Data))
	if err != nil {
		return err
	}
	for _, c := range x.Claim {
		name, value, ok := strings.Cut(c, "=")
		if !ok {
			return usagef("--claim %q is not NAME=VALUE", c)
		}
		chain := who.Chain()
		chain[len(chain)-1].Claims[name] = connectors.String(value)
	}
	req := &gateway.Request{Query: x.Query}
	if x.Variables != "" {
		dec := json.NewDecoder(strings.NewReader(x.Variables))
		dec.UseNumber()
		if err := dec.Decode(&req.Variables); err != nil {
			return usagef("--variables is no JSON object")
		}
	}
	snap := gateway.NewSnapshot(p.catalog, p.policy)
	ex, errs := gateway.Explain(snap, roleLimits(p.cfg), who, req)
	if len(errs) > 0 {
		return fmt.Errorf("%s (%s)", errs[0].Message, errs[0].Code)
	}
	x.identity(e, p, who)
	x.lines(e, ex)
	e.printf("plan\n%s\n", indent(ex.Plan.String()))
	if ex.Operation != ast.Query {
		e.printf("sent\n  nothing: a mutation is only planned here\n")
		return nil
	}
	return x.sent(e, p, who, req, snap)
}

func (x *explainCmd) identity(e *env, p *project, who *policy.Principal) {
	for i, q := range who.Chain() {
		title := "identity"
		if i > 0 {
			title = "acts for"
		}
		e.printf("%s\n  %s (%s), roles %s\n", title, plain(q.ID), q.Kind, plain(strings.Join(p.policy.Expand(q), " ")))
	}
}

func (x *explainCmd) lines(e *env, ex *gateway.Explanation) {
	e.printf("lines\n")
	for _, l := range ex.Lines {
		e.printf("  %s:%d  %s\n", filepath.Base(l.File), l.Line, plain(l.Text))
	}
	if len(ex.Lines) == 0 {
		e.printf("  none\n")
	}
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}

// sent runs the query with connectors that note what they are asked.
func (x *explainCmd) sent(e *env, p *project, who *policy.Principal, req *gateway.Request, snap *gateway.Snapshot) error {
	rec := &recorder{}
	conns := map[string]connectors.Connector{}
	var errs []error
	for _, name := range p.cfg.Sources.Names {
		c, err := connect(p.cfg, name, p.cfg.Sources.Values[name], p.schemas[name], newLog(e, false))
		if err != nil {
			return err
		}
		defer func() { errs = append(errs, c.Close()) }()
		conns[name] = &recorded{Connector: c, name: name, rec: rec}
	}
	data, answerErrs := gateway.RunExplained(e.ctx, snap, roleLimits(p.cfg), conns, who, req)
	e.printf("sent\n")
	for _, line := range rec.lines {
		e.printf("%s\n", indent(plain2(line)))
	}
	e.printf("answer\n  %d bytes\n", len(data))
	for _, a := range answerErrs {
		e.printf("  error at %s: %s (%s)\n", a.Path, a.Message, a.Code)
	}
	return errors.Join(errs...)
}

// plain2 keeps line breaks, which statements have.
func plain2(s string) string {
	parts := strings.Split(s, "\n")
	for i := range parts {
		parts[i] = plain(parts[i])
	}
	return strings.Join(parts, "\n")
}

type recorder struct {
	mu    sync.Mutex
	lines []string
}

// recorded is a connector that notes what it is asked.
type recorded struct {
	connectors.Connector
	name string
	rec  *recorder
}

// Query implements connectors.Connector.
func (r *recorded) Query(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	text := "read " + q.Select.Collection + q.Select.Function
	if engine, ok := r.Connector.(*sql.Engine); ok {
		if s, err := engine.Statement(q); err == nil {
			text = s
		}
	}
	if n := len(q.Bind); n > 0 {
		text += fmt.Sprintf("\n-- joined over %d keys", n)
	}
	r.rec.mu.Lock()
	r.rec.lines = append(r.rec.lines, r.name+": "+text)
	r.rec.mu.Unlock()
	return r.Connector.Query(ctx, q)
}

// principal reads role:NAME, agent:NAME or user:NAME, without a store.
func (p *project) principal(as string) (*policy.Principal, error) {
	kind, name, ok := strings.Cut(as, ":")
	if !ok || name == "" {
		return nil, usagef("--as %q is not role:NAME, agent:NAME or user:NAME", as)
	}
	out := &policy.Principal{ID: as, Name: name, Tenant: policy.DefaultTenant, Claims: map[string]connectors.Value{}}
	switch kind {
	case "role":
		if !slices.Contains(p.policy.Roles(), name) {
			return nil, usagef("the policy has no role %q", name)
		}
		out.Kind, out.Roles, out.Interactive = policy.Human, []string{name}, true
	case "agent":
		a, ok := p.cfg.Agents.Get(name)
		if !ok {
			return nil, usagef("there is no agent %q", name)
		}
		out.Kind, out.Roles, out.Owner = policy.Agent, a.Roles, identity.UserID(a.Owner)
	case "user":
		out.Kind, out.Interactive = policy.Human, true
	default:
		return nil, usagef("--as %q is not role:NAME, agent:NAME or user:NAME", as)
	}
	return out, nil
}

// identify is principal with what the store knows of a person.
func (p *project) identify(e *env, as, data string) (*policy.Principal, error) {
	who, err := p.principal(as)
	if err != nil || !strings.HasPrefix(as, "user:") || absent(filepath.Join(data, "countersign.db")) && p.cfg.Store == "" {
		return who, err
	}
	keys, err := openKeyring(p.cfg, data)
	if err != nil {
		return nil, err
	}
	s, err := openStore(e.ctx, p.cfg, data, store.ReadOnly, keys)
	if err != nil {
		return nil, err
	}
	ids, err := identity.New(identityConfig(p.cfg), s, identity.Options{})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	known, _, err := ids.Current(e.ctx, policy.DefaultTenant, who.ID)
	return known, errors.Join(err, s.Close())
}
