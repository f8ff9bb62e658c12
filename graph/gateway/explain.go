package gateway

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
)

// An Explanation says why an operation answers what it answers, before it is
// run.
type Explanation struct {
	Operation ast.Operation
	Plan      *plan.Plan
	// Lines of the policy that gave or took what the plan touches, in the order
	// of the files.
	Lines []policy.LineRef
}

// plainSealer is for explaining only: cursors are shown as they are.
type plainSealer struct{}

func (plainSealer) Seal(plain []byte) string { return string(plain) }

func (plainSealer) Open(sealed string) ([]byte, error) { return []byte(sealed), nil }

func offline(snap *Snapshot, limits RoleLimits, sources map[string]connectors.Connector) *Gateway {
	g := &Gateway{cfg: Config{Limits: limits, Sealer: func(string) plan.Sealer { return plainSealer{} }, Now: time.Now,
		Log: slog.New(slog.DiscardHandler), Executor: &execute.Executor{Sources: sources}}}
	g.snapshot.Store(snap)
	return g
}

// Explain plans an operation as a principal; it asks no source.
func Explain(snap *Snapshot, limits RoleLimits, p *policy.Principal, req *Request) (*Explanation, []Error) {
	g := offline(snap, limits, nil)
	c, errs := g.prepare(p, req, "")
	if errs != nil {
		return nil, errs
	}
	pl, _, errs := g.plan(c)
	if errs != nil {
		return nil, errs
	}
	out := &Explanation{Operation: c.op.def.Operation, Plan: pl}
	add := func(lines []policy.LineRef) {
		for _, l := range lines {
			if !slices.Contains(out.Lines, l) {
				out.Lines = append(out.Lines, l)
			}
		}
	}
	for _, s := range pl.Steps {
		add(c.state.view.Explain(s.Object, policy.Read, ""))
	}
	for _, w := range pl.Writes {
		for i := range w.Records {
			add(w.Records[i].Lines)
		}
	}
	slices.SortFunc(out.Lines, func(a, b policy.LineRef) int {
		if a.File != b.File {
			if a.File < b.File {
				return -1
			}
			return 1
		}
		return a.Line - b.Line
	})
	return out, nil
}

// RunExplained runs a query of sources over the given connectors, for
// explanations; control fields are left out.
func RunExplained(ctx context.Context, snap *Snapshot, limits RoleLimits, sources map[string]connectors.Connector, p *policy.Principal, req *Request) ([]byte, []Error) {
	g := offline(snap, limits, sources)
	c, errs := g.prepare(p, req, "")
	if errs != nil {
		return nil, errs
	}
	pl, in, errs := g.plan(c)
	if errs != nil {
		return nil, errs
	}
	res := g.cfg.Executor.Query(ctx, pl, in)
	return res.Data, g.executeErrors(ctx, res.Errors)
}
