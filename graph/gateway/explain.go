package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
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
	// Masked fields among those selected, with the lines that mask them.
	Masked []MaskedBy
	// Change is what a mutation would do; nil for queries.
	Change *Foreseen
}

// A MaskedBy is a field of the operation with a line that masks it, for the
// records that no other line shows it of.
type MaskedBy struct {
	Object string
	Field  string // by the graph's name
	policy.MaskLine
}

// plainSealer is for explaining only: cursors are shown as they are.
type plainSealer struct{}

func (plainSealer) Seal(plain []byte) string { return string(plain) }

// Digest tells nothing: the key is the server's.
func (plainSealer) Digest([]byte) string { return strings.Repeat("#", 32) }

func (plainSealer) Open(sealed string) ([]byte, error) { return []byte(sealed), nil }

func offline(snap *Snapshot, limits RoleLimits, exec *execute.Executor) *Gateway {
	g := &Gateway{cfg: Config{Limits: limits, AnyDocument: true, Sealer: func(string) plan.Sealer { return plainSealer{} }, Now: time.Now,
		Log: slog.New(slog.DiscardHandler), Executor: exec}}
	g.snapshot.Store(snap)
	return g
}

// Explain plans an operation as a principal; it asks no source.
func Explain(snap *Snapshot, limits RoleLimits, p *policy.Principal, req *Request) (*Explanation, []Error) {
	g := offline(snap, limits, &execute.Executor{})
	c, errs := g.prepare(context.Background(), p, req, "")
	if errs != nil {
		return nil, errs
	}
	pl, in, errs := g.plan(c)
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
	for _, m := range pl.Masked {
		for _, l := range c.state.view.Masking(m.Object, m.Field) {
			out.Masked = append(out.Masked, MaskedBy{m.Object, m.Name, l})
		}
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
	if len(pl.Writes) > 0 {
		if out.Change, errs = g.foresee(c, pl, in); errs != nil {
			return nil, errs
		}
	}
	return out, nil
}

// A Trial is what came of a query that was run to be explained.
type Trial struct {
	Data   []byte
	Errors []Error
	// Sent is what the sources were sent, in the order of the plan: steps that
	// run side by side begin in any order. It holds no credential and no value
	// that the caller did not write.
	Sent []connectors.Sent
}

// RunExplained runs a query of sources, for explanations; control fields are
// left out. The executor's connectors are told that somebody wants to know what
// they send. An operation that writes is refused.
func RunExplained(ctx context.Context, snap *Snapshot, limits RoleLimits, exec *execute.Executor, p *policy.Principal, req *Request) (*Trial, []Error) {
	g := offline(snap, limits, exec)
	c, errs := g.prepare(ctx, p, req, "")
	if errs != nil {
		return nil, errs
	}
	if c.op.def.Operation != ast.Query {
		return nil, refuse(connectors.CodeUnsupported, "only queries are run to be explained")
	}
	pl, in, errs := g.plan(c)
	if errs != nil {
		return nil, errs
	}
	trace := c.trace(in)
	res := g.cfg.Executor.Query(connectors.WithTrace(ctx, trace), pl, in)
	return &Trial{Data: res.Data, Errors: g.executeErrors(ctx, res.Errors), Sent: inOrder(pl, trace.Sent())}, nil
}

// inOrder sorts by the first step that asks for the object.
func inOrder(p *plan.Plan, sent []connectors.Sent) []connectors.Sent {
	first := func(s connectors.Sent) int {
		return slices.IndexFunc(p.Steps, func(step *plan.Step) bool { return step.Object == s.Source+"."+s.Object })
	}
	slices.SortStableFunc(sent, func(a, b connectors.Sent) int { return first(a) - first(b) })
	return sent
}

// trace shows the values that the caller wrote into the operation or its
// variables, less those that are also a claim or another value of who asks, and
// those given to fields that hold secrets.
func (c *call) trace(in *plan.Bindings) *connectors.Trace {
	w := &written{own: map[string]bool{}, hidden: map[string]bool{}, secret: map[string]bool{}, enums: map[string][]string{}, vars: c.vars}
	for _, coll := range c.snap.Catalog.Collections {
		w.secrets(coll.Fields)
	}
	for _, fn := range c.snap.Catalog.Functions {
		w.secrets(fn.Args)
	}
	for _, e := range c.snap.Catalog.Enums {
		for _, v := range e.Values {
			w.enums[v.Name] = append(w.enums[v.Name], v.System)
		}
	}
	for _, def := range c.op.def.VariableDefinitions {
		w.value(def.DefaultValue, false)
	}
	for name, v := range c.vars {
		w.json(v, w.secret[name])
	}
	w.set(c.op.def.SelectionSet)
	for _, p := range c.principal.Chain() {
		for _, v := range p.Claims {
			w.hide(v)
		}
	}
	for _, v := range in.Params {
		w.hide(v)
	}
	return connectors.NewTrace(func(text string) bool { return w.own[text] && !w.hidden[text] })
}

// written collects the values that a request holds, by their text.
type written struct {
	own, hidden map[string]bool
	secret      map[string]bool     // names of fields and arguments
	enums       map[string][]string // the systems' values by the graph's names
	vars        map[string]any
}

func (w *written) secrets(fields []*catalog.Field) {
	for _, f := range fields {
		if f.Secret {
			w.secret[f.Name] = true
		}
	}
}

func (w *written) note(text string, secret bool) {
	for _, t := range append([]string{text}, w.enums[text]...) {
		w.own[t] = true
		if secret {
			w.hidden[t] = true
		}
	}
}

func (w *written) hide(v connectors.Value) {
	w.hidden[v.Text] = true
	for _, i := range v.Items {
		w.hide(i)
	}
	for _, m := range v.Members {
		w.hide(m.Value)
	}
}

// set reads the arguments of a selection. Fragments are resolved and without
// circles: the document is valid.
func (w *written) set(set ast.SelectionSet) {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			for _, a := range sel.Arguments {
				w.value(a.Value, w.secret[a.Name])
			}
			w.set(sel.SelectionSet)
		case *ast.InlineFragment:
			w.set(sel.SelectionSet)
		case *ast.FragmentSpread:
			w.set(sel.Definition.SelectionSet)
		}
	}
}

func (w *written) value(v *ast.Value, secret bool) {
	if v == nil {
		return
	}
	switch v.Kind {
	case ast.Variable:
		if secret {
			w.json(w.vars[v.Raw], true)
		}
	case ast.ListValue, ast.ObjectValue:
		for _, child := range v.Children {
			w.value(child.Value, secret || w.secret[child.Name])
		}
	default:
		w.note(v.Raw, secret)
	}
}

func (w *written) json(v any, secret bool) {
	switch v := v.(type) {
	case string:
		w.note(v, secret)
	case json.Number:
		w.note(v.String(), secret)
	case bool:
		w.note(strconv.FormatBool(v), secret)
	case []any:
		for _, i := range v {
			w.json(i, secret)
		}
	case map[string]any:
		for name, i := range v {
			w.json(i, secret || w.secret[name])
		}
	}
}
