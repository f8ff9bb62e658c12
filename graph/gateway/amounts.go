package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// Amounts implements proposals.Authorizer.
func (a *authorizer) Amounts(ctx context.Context, author *policy.Principal, c proposals.Content) ([]policy.Amount, error) {
	if !a.snap.Policy.HasAmounts() {
		return nil, nil
	}
	out := make([]policy.Amount, len(c.Review.Changes))
	var retry error
	i := 0
	err := a.each(c, func(s *connectors.Step, rc *proposals.ReviewChange) error {
		var passing error
		out[i], passing = a.amount(ctx, author, rc.Object(), s)
		if passing != nil {
			retry = passing
		}
		i++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, retry
}

// amount is that of one step. The error is that of a query that failed in a way
// that may pass.
func (a *authorizer) amount(ctx context.Context, author *policy.Principal, object string, s *connectors.Step) (policy.Amount, error) {
	spec := a.snap.Policy.AmountSpec(object)
	if spec == nil {
		return policy.Amount{}, nil
	}
	if s.Kind != connectors.Call && s.Kind != connectors.Create && len(s.Key) == 0 {
		return policy.Amount{Declared: true}, nil // of any number of records
	}
	var retry error
	known := map[string]any{}
	input, variables := a.given(object, s)
	amount := spec.Of(input, func(l policy.Look) (any, bool) {
		v, done := known[l.Name]
		if !done {
			var err error
			if v, err = a.look(ctx, author, l, variables); err != nil {
				if connectors.CodeOf(err).Retryable() {
					retry = err
				}
				return nil, false
			}
			known[l.Name] = v
		}
		return v, true
	})
	return amount, retry
}

// given is what a step gives under the graph's names, and that with its key,
// for variables. A sum added to a field is not given: what it comes to is not
// known.
func (a *authorizer) given(object string, s *connectors.Step) (input, variables connectors.Value) {
	if fn := a.snap.Catalog.Function(object); fn != nil {
		input = arguments(fn, s.Args)
		return input, input
	}
	coll := a.snap.Catalog.Collection(object)
	if coll == nil {
		return connectors.Value{}, connectors.Value{}
	}
	plain := slices.DeleteFunc(slices.Clone(s.Set), func(as connectors.Assign) bool { return as.Increment })
	return values(coll, plain), values(coll, slices.Concat(s.Key, plain))
}

// look runs a query of approvals.yaml with the rights of the author chain, as
// any query of theirs, and answers the value of its root field.
func (a *authorizer) look(ctx context.Context, author *policy.Principal, l policy.Look, given connectors.Value) (any, error) {
	st, err := a.g.state(a.snap, author)
	if err != nil {
		return nil, err
	}
	c := &call{principal: author, snap: a.snap, state: st, req: &Request{Query: l.Query, Variables: map[string]any{}}}
	for _, m := range given.Members {
		var v any
		if m.Value.Kind != connectors.KindAbsent && decodeJSON(m.Value.AppendJSON(nil, ""), &v) == nil {
			c.req.Variables[m.Name] = v
		}
	}
	if errs := c.load(); errs != nil {
		return nil, connectors.Errorf(errs[0].Code, "a look-up cannot be made")
	}
	if c.op.def.Operation != ast.Query || c.op.control || !c.op.data {
		return nil, connectors.Errorf(connectors.CodeBadInput, "a look-up reads records")
	}
	resp := a.g.readOnly(ctx, c)
	if resp.release != nil {
		defer resp.release()
	}
	if len(resp.Errors) > 0 {
		return nil, connectors.Errorf(resp.Errors[0].Code, "a look-up failed")
	}
	var data map[string]any
	if err := decodeJSON(resp.Data, &data); err != nil {
		return nil, err
	}
	for _, v := range data {
		return v, nil // it has one root field
	}
	return nil, nil
}

func decodeJSON(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	return dec.Decode(into)
}

// spend counts the amounts of a direct write before it is done, and frees what
// was not. Where they are more than the caller has, nothing is done.
func (g *Gateway) spend(ctx context.Context, c *call, m *execute.Mutation) {
	changes := m.Direct()
	if changes == nil || !c.snap.Policy.HasAmounts() {
		g.apply(ctx, c, m)
		return
	}
	az := &authorizer{g: g, snap: c.snap}
	var amounts []policy.Amount
	var at []stepAt
	for i := range changes {
		for j := range changes[i].Steps {
			s := &changes[i].Steps[j]
			// Where a query failed, the amount is UNKNOWN.
			amount, _ := az.amount(ctx, c.principal, objectOf(changes[i].Source, s), s)
			if amount.Declared {
				amounts, at = append(amounts, amount), append(at, stepAt{i, j})
			}
		}
	}
	if len(amounts) == 0 {
		g.apply(ctx, c, m)
		return
	}
	spent, err := g.cfg.Proposals.Spend(ctx, c.principal, amounts)
	if err != nil {
		m.Refuse(connectors.AsError(err))
		return
	}
	g.apply(ctx, c, m)
	var free []policy.Amount
	for i, s := range at {
		if outcome, _ := m.Became(s.change, s.step); outcome == execute.OutcomeNotApplied {
			free = append(free, amounts[i])
		}
	}
	if err := spent.Free(context.WithoutCancel(ctx), free); err != nil {
		g.cfg.Log.WarnContext(ctx, "an amount that was not spent stays counted today", "error", err)
	}
}
