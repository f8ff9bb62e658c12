package gateway

import (
	"context"
	"encoding/json"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/proposals"
)

// write runs a mutation of sources: previewed, proposed, or done at once.
func (g *Gateway) write(ctx context.Context, c *call) *Response {
	p, in, errs := g.plan(c)
	if errs != nil {
		return c.refused(errs)
	}
	ext, bad := c.writeExtension()
	if bad != nil {
		return c.refused([]Error{fromError(bad, nil)})
	}
	opts, bad := p.WriteOptions(in, ext)
	if bad != nil {
		return c.refused(planErrors(bad))
	}
	if opts.Mode == plan.ModeJob {
		return c.refused(refuse(connectors.CodeUnsupported, "mode JOB is not supported yet"))
	}
	b := g.bill(ctx, c, in)
	m, bad := g.cfg.Executor.Prepare(ctx, p, in)
	if refused := b.refusal(); refused != nil {
		return refused
	}
	if bad != nil {
		return c.refused(planErrors(bad))
	}
	defer m.Close()
	out := g.written(ctx, c, m, &opts)
	spent, written := m.Spent()
	b.end(out, spent, written)
	return out
}

// written does what was prepared: nothing, a preview, a proposal, or the write.
func (g *Gateway) written(ctx context.Context, c *call, m *execute.Mutation, opts *plan.Options) *Response {
	m.Denials(func(object string, act connectors.StepKind) { g.denied(c, object, string(act)) })
	if opts.IdempotencyKey != "" && opts.Mode != plan.ModePreview {
		// What was done may have changed what this request would find: the answer
		// of then comes first.
		if known, err := g.cfg.Proposals.FindKey(ctx, c.principal, opts.IdempotencyKey, c.digest()); err != nil {
			m.Refuse(connectors.AsError(err))
			return g.payloads(ctx, c, m)
		} else if known.Done() {
			return g.replayed(ctx, c, m, known)
		} else if known != nil && m.Refused() {
			// It may be refused because it was done.
			m.Refuse(connectors.Errorf(connectors.CodeOutcomeUnknown, "the same request has no answer yet: it may or may not have been done"))
		}
	}
	m.Validate(ctx)
	switch {
	case m.Refused():
	case opts.Mode == plan.ModePreview:
		m.Preview(ctx)
	case opts.Mode == plan.ModePropose || m.NeedsProposal():
		g.propose(ctx, c, m, opts)
	case g.stopped(ctx, c, m):
	case opts.IdempotencyKey != "":
		return g.once(ctx, c, m, opts.IdempotencyKey)
	default:
		g.spend(ctx, c, m)
	}
	return g.payloads(ctx, c, m)
}

// stopped refuses a direct write that a kill switch covers. Proposals look for
// themselves.
func (g *Gateway) stopped(ctx context.Context, c *call, m *execute.Mutation) bool {
	err := g.cfg.Proposals.Stopped(ctx, c.principal, m.Sources())
	if err != nil {
		m.Refuse(connectors.AsError(err))
	}
	return err != nil
}

// writeExtension is extensions.write of the request. What cannot be read as
// options is refused: a preview asked for in a wrong form must not be a write.
func (c *call) writeExtension() (any, *connectors.Error) {
	if len(c.req.Extensions) == 0 {
		return nil, nil
	}
	var ext map[string]json.RawMessage
	if json.Unmarshal(c.req.Extensions, &ext) != nil {
		return nil, connectors.Errorf(connectors.CodeBadInput, "extensions must be an object")
	}
	if len(ext["write"]) == 0 {
		return nil, nil
	}
	var write map[string]any
	if json.Unmarshal(ext["write"], &write) != nil {
		return nil, connectors.Errorf(connectors.CodeBadInput, "extensions.write must be an object")
	}
	if write == nil {
		return nil, nil
	}
	return write, nil
}

// digest tells requests under one idempotency key apart. Maps are encoded with
// sorted keys.
func (c *call) digest() string {
	variables, err := json.Marshal(c.vars)
	if err != nil {
		variables = nil // decoded from JSON, so it can be encoded
	}
	ext, _ := c.writeExtension() // read before, without an error
	options, err := json.Marshal(ext)
	if err != nil {
		options = nil
	}
	return proposals.RequestDigest(c.op.doc.text, variables, c.op.def.Name, string(options))
}

// replayed answers what the same request was answered before.
func (g *Gateway) replayed(ctx context.Context, c *call, m *execute.Mutation, known *proposals.Claim) *Response {
	if known.Proposal != "" {
		m.Proposed(known.Proposal, false)
		return g.payloads(ctx, c, m)
	}
	return &Response{Data: known.Answer, TraceID: c.traceID}
}

// once runs a direct write under an idempotency key, or answers what the same
// request was answered before.
func (g *Gateway) once(ctx context.Context, c *call, m *execute.Mutation, key string) *Response {
	claim, err := g.cfg.Proposals.ClaimKey(ctx, c.principal, key, c.digest(), m.Repeatable())
	switch {
	case err != nil:
		m.Refuse(connectors.AsError(err))
		return g.payloads(ctx, c, m)
	case claim.Done():
		return g.replayed(ctx, c, m, claim)
	}
	m.UseKey(claim.Run())
	g.spend(ctx, c, m)
	out := g.payloads(ctx, c, m)
	// It was done: its answer is kept even where the client went away.
	if err := claim.Finish(context.WithoutCancel(ctx), append(json.RawMessage(nil), out.Data...)); err != nil {
		g.cfg.Log.ErrorContext(ctx, "the answer of a write could not be kept", "error", err)
	}
	return out
}

// payloads writes the answer of a mutation.
func (g *Gateway) payloads(ctx context.Context, c *call, m *execute.Mutation) *Response {
	res := m.Render(ctx, func(f *plan.RawSelection, id string) ([]byte, []execute.GraphQLError) {
		return g.renderProposal(ctx, c, f, id)
	})
	out := &Response{Data: res.Data, Errors: g.executeErrors(ctx, res.Errors), TraceID: c.traceID, release: res.Release}
	if !c.op.control || len(res.Fields) == 0 {
		return out
	}
	// __typename stands among the writes.
	vars, errs := c.coerced()
	if errs != nil {
		return c.refused(errs)
	}
	order, mine := g.collect(c, vars)
	names := map[string]json.RawMessage{}
	for _, cf := range mine {
		names[cf.Alias] = json.RawMessage(`"Mutation"`)
	}
	out.Data = compose(order, names, res.Fields)
	return out
}

// propose previews the operation and hands it over to be decided on. What a
// rule approves at once is waited for.
func (g *Gateway) propose(ctx context.Context, c *call, m *execute.Mutation, opts *plan.Options) {
	m.Preview(ctx)
	if m.Refused() {
		return
	}
	req, err := g.request(ctx, c, m, opts)
	if err != nil {
		m.Refuse(connectors.AsError(err))
		return
	}
	res, err := g.cfg.Proposals.Propose(ctx, req)
	if err != nil {
		m.Refuse(connectors.AsError(err))
		return
	}
	if res.Dossier == nil {
		// The same key was answered by a direct write a moment ago.
		m.Refuse(connectors.Errorf(connectors.CodeIdempotencyMismatch, "the same request was done at once under this key; send it again for its answer"))
		return
	}
	p := &res.Dossier.Proposal
	m.Proposed(p.Handle, res.Duplicate)
	switch p.State {
	case proposals.Rejected:
		e := connectors.Errorf(connectors.CodeForbidden, "a rule rejects this: %s", p.Say)
		e.PolicyFinal = true
		m.Refuse(e)
	case proposals.Approved, proposals.Executing:
		g.await(ctx, c, m, p.Handle, opts)
	case proposals.Executed:
		applied(m, res.Dossier)
	}
}

// await waits a little for what was approved by a rule, so that the caller has
// its answer at once.
func (g *Gateway) await(ctx context.Context, c *call, m *execute.Mutation, handle string, opts *plan.Options) {
	ctx, cancel := context.WithTimeout(ctx, opts.Wait)
	defer cancel()
	d, err := g.cfg.Proposals.Await(ctx, c.principal.Tenant, handle, func(p *proposals.Proposal) bool {
		return p.State != proposals.Approved && p.State != proposals.Executing
	})
	if err == nil && d.Proposal.State == proposals.Executed {
		applied(m, d)
	}
}

// applied notes what the proposals' executor did.
func applied(m *execute.Mutation, d *proposals.Dossier) {
	for _, a := range d.Attempts {
		var effect connectors.Effect
		if a.SettledAs == proposals.Applied && json.Unmarshal(a.Response, &effect) == nil && a.Change < len(m.Changes) {
			m.Applied(a.Change, &effect)
		}
	}
}

// request is what is kept of the operation.
func (g *Gateway) request(ctx context.Context, c *call, m *execute.Mutation, opts *plan.Options) (*proposals.ProposeRequest, error) {
	az := &authorizer{g: g, snap: c.snap}
	set := proposals.ChangeSet{Changes: m.Changes}
	for _, source := range set.Sources() {
		identity, err := g.cfg.Sources.Identity(ctx, source)
		if err != nil {
			return nil, err
		}
		set.Targets = append(set.Targets, proposals.Target{Source: source, Identity: identity, SchemaHash: az.schemaHash(source, &set),
			Sensitive: c.snap.sensitive(source, &set), Atomic: c.snap.atomic(source)})
	}
	vars := c.vars
	if vars == nil {
		vars = map[string]any{}
	}
	variables, err := json.Marshal(vars)
	if err != nil {
		return nil, err
	}
	req := &proposals.ProposeRequest{Author: c.principal, Operation: c.op.def.Name, Document: c.op.doc.text, Variables: variables,
		Set: set, Effects: m.Effects, Reason: opts.Reason, NotBefore: opts.NotBefore, ExpiresAt: opts.ExpiresAt,
		IdempotencyKey: opts.IdempotencyKey, Digest: c.digest()}
	for i := range m.Changes {
		for j := range m.Changes[i].Steps {
			if checks := m.Checks(i, j); len(checks) > 0 {
				req.Checks = append(req.Checks, proposals.StepChecks{Change: i, Step: j, Checks: checks})
			}
		}
	}
	for _, e := range opts.Evidence {
		raw, err := json.Marshal(map[string]string{"title": e.Title, "text": e.Text, "url": e.URL})
		if err != nil {
			return nil, err
		}
		req.Evidence = append(req.Evidence, string(raw))
	}
	return req, nil
}

func (s *Snapshot) atomic(source string) bool {
	for _, src := range s.Catalog.Sources {
		if src.Name == source {
			return src.Schema.Capabilities.Atomic
		}
	}
	return false
}

// sensitive names the fields of what is touched whose values nobody is shown.
func (s *Snapshot) sensitive(source string, set *proposals.ChangeSet) []string {
	var out []string
	for i := range set.Changes {
		if set.Changes[i].Source != source {
			continue
		}
		for j := range set.Changes[i].Steps {
			step := &set.Changes[i].Steps[j]
			object := objectOf(source, step)
			if coll := s.Catalog.Collection(object); coll != nil {
				for _, f := range coll.Fields {
					if f.Secret {
						out = append(out, step.Collection+"."+f.System)
					}
				}
			}
			if fn := s.Catalog.Function(object); fn != nil {
				for _, f := range fn.Args {
					if f.Secret {
						out = append(out, step.Function+"."+f.System)
					}
				}
			}
		}
	}
	return out
}

// renderProposal answers the selection under a payload's field proposal: the
// control plane's own field, of this id.
func (g *Gateway) renderProposal(ctx context.Context, c *call, raw *plan.RawSelection, id string) ([]byte, []execute.GraphQLError) {
	vars, errs := c.coerced()
	if errs != nil {
		return nil, []execute.GraphQLError{{Message: errs[0].Message, Code: errs[0].Code}}
	}
	schema := c.state.schema.schema
	def := schema.Query.Fields.ForName("proposal")
	if def == nil {
		return nil, nil
	}
	f := *raw.Field
	f.Name, f.Definition, f.ObjectDefinition, f.Directives, f.SelectionSet = "proposal", def, schema.Query, nil, raw.Set
	if f.Alias == "" {
		f.Alias = f.Name
	}
	f.Arguments = ast.ArgumentList{{Name: "id", Value: &ast.Value{Kind: ast.StringValue, Raw: id, ExpectedType: def.Arguments[0].Type}}}
	op := &ast.OperationDefinition{Operation: ast.Query, SelectionSet: ast.SelectionSet{&f}, VariableDefinitions: c.op.def.VariableDefinitions}
	data, bad := g.runControl(ctx, c.state, c.op.doc, op, vars)
	out := make([]execute.GraphQLError, 0, len(bad))
	for i := range bad {
		e := execute.GraphQLError{Message: bad[i].Message, Code: bad[i].Code, Source: bad[i].Source}
		for _, p := range bad[i].Path[min(1, len(bad[i].Path)):] {
			switch p := p.(type) {
			case ast.PathName:
				e.Path = append(e.Path, string(p))
			case ast.PathIndex:
				e.Path = append(e.Path, int(p))
			}
		}
		out = append(out, e)
	}
	return data[f.Alias], out
}
