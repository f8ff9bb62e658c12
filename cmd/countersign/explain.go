package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
)

type explainCmd struct {
	Query     string   `arg:"" help:"The GraphQL operation."`
	As        string   `help:"Who asks: role:NAME, agent:NAME or user:NAME." required:""`
	Variables string   `help:"Variables as JSON."`
	Claim     []string `help:"NAME=VALUE; a claim of the principal."`
	Config    string   `help:"The configuration." default:"countersign.yaml" type:"path"`
	Data      string   `help:"Folder of the store, for user:NAME." default:"data" type:"path"`
	JSON      bool     `help:"Print JSON." name:"json"`
}

// An explained is everything explain says, and its JSON.
type explained struct {
	Identity []explainedPrincipal `json:"identity"`
	Lines    []explainedLine      `json:"lines"`
	// Masked says which lines mask fields of the answer.
	Masked []explainedMask `json:"masked,omitempty"`
	Plan   string          `json:"plan"`
	// Change is what a mutation would do; it is not run.
	Change *gateway.Foreseen `json:"change,omitempty"`
	// Expire is when the decision on Change would time out.
	Expire string          `json:"expire,omitempty"`
	Sent   []explainedSent `json:"sent"`
	// NothingSent says in words why Sent is empty.
	NothingSent string           `json:"nothingSent,omitempty"`
	Answer      *explainedAnswer `json:"answer,omitempty"`
}

type explainedPrincipal struct {
	ID    string   `json:"id"`
	Kind  string   `json:"kind"`
	Roles []string `json:"roles"`
}

type explainedLine struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

type explainedMask struct {
	Field string `json:"field"` // "source.collection.field"
	Mask  string `json:"mask"`
	File  string `json:"file"`
	Line  int    `json:"line"`
}

// An explainedSent is one statement or request.
type explainedSent struct {
	Source      string   `json:"source"`
	Object      string   `json:"object"`
	FromCache   bool     `json:"fromCache"`
	Keys        int      `json:"keys,omitempty"`
	Transaction bool     `json:"transaction,omitempty"`
	Statement   string   `json:"statement,omitempty"`
	Values      []string `json:"values,omitempty"`
	Method      string   `json:"method,omitempty"`
	Target      string   `json:"target,omitempty"`
	Attempts    int      `json:"attempts,omitempty"`
	Status      int      `json:"status,omitempty"`
	Error       string   `json:"error,omitempty"`
	Ms          float64  `json:"ms"`
}

type explainedAnswer struct {
	Bytes  int              `json:"bytes"`
	Errors []explainedError `json:"errors"`
}

type explainedError struct {
	Path    string `json:"path"`
	Message string `json:"message"`
	Code    string `json:"code"`
}

// Run says who is asking, which lines decide, what the plan is, and what each
// source is sent. A mutation is planned and not run.
func (x *explainCmd) Run(e *env) error {
	p, problems := loadProject(x.Config)
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	who, req, err := x.request(e, p)
	if err != nil {
		return err
	}
	snap := gateway.NewSnapshot(p.catalog, p.policy).WithTrusted(p.trusted)
	ex, errs := gateway.Explain(snap, roleLimits(p.cfg), who, req)
	if len(errs) > 0 {
		return fmt.Errorf("%s (%s)", errs[0].Message, errs[0].Code)
	}
	out := p.explained(who, ex)
	if ex.Operation != ast.Query {
		out.NothingSent = "nothing was sent: a mutation is only planned here"
		if ex.Change != nil && ex.Change.Routing != nil && ex.Change.Routing.Then == policy.ThenReview {
			out.Expire = ex.Change.Routing.Expire.String()
		}
	} else if err := x.sent(e, p, who, req, snap, out); err != nil {
		return err
	}
	if x.JSON {
		return printJSON(e.stdout, out)
	}
	out.print(e)
	return nil
}

// explained is an explanation as it is printed.
func (p *project) explained(who *policy.Principal, ex *gateway.Explanation) *explained {
	out := &explained{Lines: []explainedLine{}, Sent: []explainedSent{}, Change: ex.Change}
	if ex.Plan != nil {
		out.Plan = ex.Plan.String()
	}
	for _, q := range who.Chain() {
		out.Identity = append(out.Identity, explainedPrincipal{ID: q.ID, Kind: string(q.Kind), Roles: p.policy.Expand(q)})
	}
	for _, l := range ex.Lines {
		out.Lines = append(out.Lines, explainedLine{File: filepath.Base(l.File), Line: l.Line, Text: l.Text})
	}
	for _, m := range ex.Masked {
		out.Masked = append(out.Masked, explainedMask{Field: m.Object + "." + m.Field, Mask: string(m.Mask), File: filepath.Base(m.Line.File), Line: m.Line.Line})
	}
	return out
}

// request is who asks, and what.
func (x *explainCmd) request(e *env, p *project) (*policy.Principal, *gateway.Request, error) {
	who, err := p.identify(e, x.As, filepath.Clean(x.Data))
	if err != nil {
		return nil, nil, err
	}
	for _, c := range x.Claim {
		name, value, ok := strings.Cut(c, "=")
		if !ok {
			return nil, nil, usagef("--claim %q is not NAME=VALUE", c)
		}
		chain := who.Chain()
		chain[len(chain)-1].Claims[name] = connectors.String(value)
	}
	req := &gateway.Request{Query: x.Query}
	if x.Variables != "" {
		dec := json.NewDecoder(strings.NewReader(x.Variables))
		dec.UseNumber()
		if err := dec.Decode(&req.Variables); err != nil {
			return nil, nil, usagef("--variables is no JSON object")
		}
	}
	return who, req, nil
}

// sent runs the query, as a server that was started just now would.
func (x *explainCmd) sent(e *env, p *project, who *policy.Principal, req *gateway.Request, snap *gateway.Snapshot, out *explained) (err error) {
	cache, err := newCache(p.cfg)
	if err != nil {
		return err
	}
	defer cache.Close()
	exec := &execute.Executor{Sources: map[string]connectors.Connector{}, Cache: cache}
	for _, name := range p.cfg.Sources.Names {
		c, failed := connect(p.cfg, name, p.cfg.Sources.Values[name], p.schemas[name], newLog(e, false))
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		exec.Sources[name] = c
	}
	return out.run(e.ctx, snap, roleLimits(p.cfg), exec, who, req)
}

func (out *explained) run(ctx context.Context, snap *gateway.Snapshot, limits gateway.RoleLimits, exec *execute.Executor, who *policy.Principal, req *gateway.Request) error {
	trial, errs := gateway.RunExplained(ctx, snap, limits, exec, who, req)
	if len(errs) > 0 {
		return fmt.Errorf("%s (%s)", errs[0].Message, errs[0].Code)
	}
	for _, s := range trial.Sent {
		out.Sent = append(out.Sent, explainedSent{Source: s.Source, Object: s.Object, FromCache: s.Kept, Keys: s.Keys, Transaction: s.Snapshot,
			Statement: s.Statement, Values: s.Values, Method: s.Method, Target: s.Target, Attempts: s.Attempts, Status: s.Status,
			Error: string(s.Failed), Ms: float64(s.Took.Round(10*time.Microsecond)) / float64(time.Millisecond)})
	}
	if len(out.Sent) == 0 {
		out.NothingSent = "nothing was sent: no source had to be asked"
	}
	out.Answer = &explainedAnswer{Bytes: len(trial.Data), Errors: []explainedError{}}
	for _, a := range trial.Errors {
		out.Answer.Errors = append(out.Answer.Errors, explainedError{Path: a.Path.String(), Message: a.Message, Code: string(a.Code)})
	}
	return nil
}
