package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/validator"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/model"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/budget"
)

// A call is one operation on its way: who asks, on which snapshot, what.
type call struct {
	principal *policy.Principal
	snap      *Snapshot
	state     *viewState
	traceID   string
	req       *Request
	readOnly  bool
	op        *operation
	// vars are the variables as decoded; control fields get them coerced.
	vars map[string]any
	// holders are whose budgets it uses; none where nothing is counted.
	holders []budget.Holder
	// trusted is the trusted document that was sent; nil: the text is the client's.
	trusted *TrustedDocument
	// named: the caller named the document, and need not know its text.
	named bool
}

// Run answers one operation of a principal, outside of any transport.
func (g *Gateway) Run(ctx context.Context, p *policy.Principal, req *Request) *Response {
	c, errs := g.prepare(ctx, p, req, "")
	if errs != nil {
		return &Response{Errors: errs}
	}
	return g.runPrepared(ctx, c)
}

// prepare finds the view and reads the operation on the snapshot of now.
func (g *Gateway) prepare(ctx context.Context, p *policy.Principal, req *Request, traceID string) (*call, []Error) {
	snap := g.Snapshot()
	st, err := g.state(snap, p)
	if err != nil {
		return nil, []Error{fromError(err, nil)}
	}
	c := &call{principal: p, snap: snap, state: st, traceID: traceID, req: req}
	return c, g.load(ctx, c)
}

// load finds the document and reads the operation, and notes what it named that
// exists and not for the caller.
func (g *Gateway) load(ctx context.Context, c *call) []Error {
	if errs := g.counted(ctx, c); errs != nil {
		return errs
	}
	if errs := g.identify(c); errs != nil {
		return errs
	}
	errs := c.load()
	if errs != nil && c.trusted == nil && errs[0].Code == connectors.CodeValidationFailed {
		// With the directives that are ours it is no document of anybody's schema.
		if d, _ := c.snap.Trusted.match(c.req.Query, c.state.limits.Tokens); d != nil && c.snap.Trusted.may(c.principal, d) {
			if errs := c.trust(d); errs != nil {
				return errs
			}
			errs = c.load()
		}
	}
	if errs == nil {
		g.keep(c)
		return nil
	}
	g.hidden(c, errs[0].hidden)
	if c.named && errs[0].Code == connectors.CodeValidationFailed {
		// What is wrong tells names that the caller may not know.
		return refuse(connectors.CodeOperationNotAllowed, "this operation asks for what this caller may not")
	}
	return errs
}

// load parses, validates and selects the operation.
func (c *call) load() []Error {
	doc, errs := c.state.document(c.req.Query, c.snap.Catalog)
	if errs != nil {
		return errs
	}
	if c.op, errs = doc.operation(c.req.OperationName); errs != nil {
		return errs
	}
	if c.readOnly && c.op.def.Operation != ast.Query {
		return refuse(connectors.CodeUnsupported, "GET carries queries only; send a POST")
	}
	c.vars = c.req.Variables
	if most := spread * c.state.limits.Tokens; len(c.vars) > 0 && held(c.vars, most) > most {
		return refuse(connectors.CodeTooLarge, "the variables hold more than %d values", most)
	}
	for _, def := range c.op.def.VariableDefinitions {
		v, given := c.vars[def.Variable]
		if def.Type.NonNull && (given && v == nil || !given && def.DefaultValue == nil) {
			return refuse(connectors.CodeBadInput, "the variable $%s is required", def.Variable)
		}
	}
	return nil
}

func (g *Gateway) run(ctx context.Context, c *call) *Response {
	if errs := g.load(ctx, c); errs != nil {
		return &Response{Errors: errs, TraceID: c.traceID}
	}
	return g.runPrepared(ctx, c)
}

func (g *Gateway) runPrepared(ctx context.Context, c *call) *Response {
	op := c.op
	if op.def.Operation == ast.Subscription {
		return c.refused(refuse(connectors.CodeUnsupported, "a subscription needs a WebSocket (graphql-transport-ws) or Accept: text/event-stream"))
	}
	if op.data && !op.control && op.def.Operation == ast.Query {
		return g.readOnly(ctx, c)
	}
	ctx, cancel := context.WithTimeout(ctx, c.state.limits.Timeout)
	defer cancel()
	ctx = g.inform(ctx, c)
	if op.def.Operation == ast.Mutation && op.data {
		if op.decides {
			return c.refused(refuse(connectors.CodeBadInput, "an operation writes to sources or decides on proposals, not both"))
		}
		return g.write(ctx, c)
	}
	return g.both(ctx, c)
}

// inform tells the control plane's resolvers who asks.
func (g *Gateway) inform(ctx context.Context, c *call) context.Context {
	lim := c.state.limits
	return graph.WithCaller(ctx, &graph.Caller{Principal: c.principal, View: c.state.view, Catalog: c.snap.Catalog, TraceID: c.traceID,
		Usage:  g.usage(c),
		Limits: model.ViewerLimits{Depth: lim.Depth, Aliases: lim.Aliases, Tokens: lim.Tokens, Cost: lim.Cost, Page: lim.Page, MaxRows: lim.MaxRows}})
}

func (c *call) refused(errs []Error) *Response {
	return &Response{Errors: errs, TraceID: c.traceID}
}

// readOnly is the hot path: an operation that sources alone answer.
func (g *Gateway) readOnly(ctx context.Context, c *call) *Response {
	ctx, cancel := context.WithTimeout(ctx, c.state.limits.Timeout)
	defer cancel()
	p, in, errs := g.plan(c)
	if errs != nil {
		return c.refused(errs)
	}
	b := g.bill(ctx, c, in)
	res := g.cfg.Executor.Query(ctx, p, in)
	if refused := b.refusal(); refused != nil {
		return refused
	}
	out := &Response{Data: res.Data, Errors: g.executeErrors(ctx, res.Errors), TraceID: c.traceID, release: res.Release}
	b.end(out, res.Spent, 0)
	return out
}

// plan finds or makes the plan of the call's operation, and what binds it.
func (g *Gateway) plan(c *call) (*plan.Plan, *plan.Bindings, []Error) {
	view := c.state.view
	sealer := g.cfg.Sealer(c.principal.Tenant)
	now := g.cfg.Now()
	params, missing := view.Bind(c.principal, now)
	in := &plan.Bindings{Validators: c.snap.Policy, Principal: c.principal, Now: now,
		Operation: c.op.def, Variables: c.vars, Params: params, Missing: missing,
		Tenant: c.principal.Tenant, Authority: view.Authority, Version: c.snap.Catalog.Version, Sealer: sealer,
		Rows: c.state.limits.Rows, Bytes: int(c.state.limits.Response), Timeout: c.state.limits.Timeout}
	var buf [256]byte
	key := append(buf[:0], view.Authority...)
	key = c.state.limits.appendKey(key) // they are part of a plan
	key = plan.AppendSkeleton(key, c.state.schema.schema, c.op.def, c.vars, sealer)
	if p, ok := lookup(c.op.plans, key); ok {
		return p, in, nil
	}
	lim := c.state.limits
	p, err := plan.Build(plan.Input{Catalog: c.snap.Catalog, View: view, Schema: c.state.schema.schema, Operation: c.op.def, Variables: c.vars,
		Limits: plan.Limits{MaxPage: lim.Page, MaxRows: lim.MaxRows, Cost: lim.Cost, Depth: lim.Depth}, Sealer: sealer})
	if err != nil {
		return nil, nil, planErrors(err)
	}
	c.op.plans.put(string(key), p)
	return p, in, nil
}

// planErrors is the answer to an operation that has no plan. The path's first
// part is the root field; what follows leads to the input.
func planErrors(err *connectors.Error) []Error {
	e := fromError(err, nil)
	if len(err.Path) > 0 {
		e.Path = ast.Path{ast.PathName(err.Path[0])}
		e.Input = err.Path
	}
	return []Error{e}
}

// both answers operations of control fields, and queries of both planes: the
// halves of a query run at once, and their fields come in the order asked for.
func (g *Gateway) both(ctx context.Context, c *call) *Response {
	vars, errs := c.coerced()
	if errs != nil {
		return c.refused(errs)
	}
	order, mine := g.collect(c, vars)
	var fields map[string]json.RawMessage
	var controlErrs []Error
	var wg sync.WaitGroup
	if len(mine) > 0 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			fields, controlErrs = g.runControl(ctx, c.state, c.op.doc, controlOperation(c.op.def, mine), vars)
		}()
	}
	var data execute.Result
	var planned []Error
	var b *bill
	if len(mine) < len(order) {
		p, in, refused := g.plan(c)
		if planned = refused; refused == nil {
			b = g.bill(ctx, c, in)
			data = g.cfg.Executor.Query(ctx, p, in)
		}
	}
	wg.Wait()
	if planned != nil {
		return c.refused(planned)
	}
	if refused := b.refusal(); refused != nil {
		return refused
	}
	out := &Response{TraceID: c.traceID, Errors: append(controlErrs, g.executeErrors(ctx, data.Errors)...), release: data.Release}
	b.end(out, data.Spent, 0)
	if len(mine) > 0 && fields == nil || len(mine) < len(order) && len(data.Fields) == 0 {
		out.Data = []byte("null")
		return out
	}
	out.Data = compose(order, fields, data.Fields)
	return out
}

// coerced are the variables as the control plane's generated code wants them.
func (c *call) coerced() (map[string]any, []Error) {
	vars, err := validator.VariableValues(c.state.schema.schema, c.op.def, c.vars)
	if err != nil {
		e := Error{Message: "a variable has the wrong type", Code: connectors.CodeBadInput}
		var ge *gqlerror.Error
		if errors.As(err, &ge) {
			e.Message, e.Path = "variables: "+ge.Path.String()+" "+ge.Message, nil
		}
		return nil, []Error{e}
	}
	return vars, nil
}

// collect merges the root fields, applies @skip and @include, and says in which
// order their keys come and which are the control plane's.
func (g *Gateway) collect(c *call, vars map[string]any) (order []string, mine []graphql.CollectedField) {
	oc := g.operationContext(c.state, c.op.doc, c.op.def, vars)
	root := rootType(c.op.def)
	for _, cf := range graphql.CollectFields(oc, c.op.def.SelectionSet, []string{root}) {
		order = append(order, cf.Alias)
		if _, data := c.snap.Catalog.Element(root, cf.Name); !data {
			mine = append(mine, cf)
		}
	}
	return order, mine
}

func rootType(def *ast.OperationDefinition) string {
	switch def.Operation {
	case ast.Mutation:
		return "Mutation"
	case ast.Subscription:
		return "Subscription"
	}
	return "Query"
}

func compose(order []string, control map[string]json.RawMessage, data []execute.RootResult) []byte {
	size := 2
	for _, f := range data {
		size += len(f.JSON) + len(f.Key) + 4
	}
	for k, v := range control {
		size += len(k) + len(v) + 4
	}
	b := append(make([]byte, 0, size), '{')
	for i, key := range order {
		if i > 0 {
			b = append(b, ',')
		}
		b = connectors.AppendJSONString(b, key)
		b = append(b, ':')
		if raw, ok := control[key]; ok {
			b = append(b, raw...)
			continue
		}
		b = append(b, dataField(data, key)...)
	}
	return append(b, '}')
}

func dataField(data []execute.RootResult, key string) []byte {
	for i := range data {
		if data[i].Key == key {
			return data[i].JSON
		}
	}
	return []byte("null")
}

// executeErrors makes answer's errors of the executor's, and logs causes.
func (g *Gateway) executeErrors(ctx context.Context, in []execute.GraphQLError) []Error {
	if len(in) == 0 {
		return nil
	}
	out := make([]Error, len(in))
	for i := range in {
		e := &in[i]
		out[i] = Error{Message: e.Message, Code: e.Code, Source: e.Source, RetryAfter: e.RetryAfter, Upstream: e.Upstream,
			Input: e.Input, Because: e.Because, Unblock: e.Unblock, PolicyFinal: e.PolicyFinal}
		for _, p := range e.Path {
			switch p := p.(type) {
			case string:
				out[i].Path = append(out[i].Path, ast.PathName(p))
			case int:
				out[i].Path = append(out[i].Path, ast.PathIndex(p))
			}
		}
		if e.Cause != nil {
			g.cfg.Log.WarnContext(ctx, "a source failed", "source", e.Source, "code", e.Code, "cause", e.Cause)
		}
	}
	return out
}
