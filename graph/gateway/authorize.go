package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// An authorizer answers for one snapshot what a principal may do with a stored
// change: the same views that plans are made from, asked about values that are
// frozen. Where a condition cannot be told from them (it looks at a related
// record) and is not part of the change's own statement, the source is asked.
type authorizer struct {
	g    *Gateway
	snap *Snapshot
}

// Authorizer answers for the snapshot in force.
func (g *Gateway) Authorizer() proposals.Authorizer { return &authorizer{g: g, snap: g.Snapshot()} }

// Version is the policy's.
func (a *authorizer) Version() string { return a.snap.Policy.Version() }

// Roles are those of a principal, with what they inherit.
func (a *authorizer) Roles(p *policy.Principal) []string { return a.snap.Policy.Expand(p) }

// Granting lists the roles that hold this one, itself included.
func (a *authorizer) Granting(role string) []string {
	roles, _ := a.snap.Policy.Holding(role)
	if !slices.Contains(roles, role) {
		roles = append(roles, role)
	}
	return roles
}

// bound is a view with the values of one principal.
type bound struct {
	view    *policy.View
	params  []connectors.Value
	missing []bool
}

func (a *authorizer) bound(p *policy.Principal) *bound {
	b := &bound{view: a.snap.Policy.View(p)}
	b.params, b.missing = b.view.Bind(p, a.g.cfg.Now())
	return b
}

// fixed is a condition of the view with this principal's values in it.
func (b *bound) fixed(c *connectors.Condition) *connectors.Condition {
	return policy.Constant(policy.DenyMissing(c, b.missing), b.params)
}

var errForbidden = connectors.Errorf(connectors.CodeForbidden, "policy does not permit this change")

// Recheck implements proposals.Authorizer.
func (a *authorizer) Recheck(ctx context.Context, author *policy.Principal, c proposals.Content) error {
	for _, t := range c.Set.Targets {
		if err := a.target(ctx, t, c.Set); err != nil {
			return err
		}
	}
	b := a.bound(author)
	return a.each(c, func(s *connectors.Step, rc *proposals.ReviewChange) error {
		if err := a.permitted(ctx, b, s, rc, false); err != nil {
			return err
		}
		return a.snap.Policy.Recheck(&policy.Writing{Object: rc.Object(), Step: s, Principal: author, Now: a.g.cfg.Now()}, rc.Checks)
	})
}

// Allows implements proposals.Authorizer: at once, by the person's own view.
func (a *authorizer) Allows(ctx context.Context, person *policy.Principal, c proposals.Content) error {
	b := a.bound(person)
	return a.each(c, func(s *connectors.Step, rc *proposals.ReviewChange) error {
		return a.permitted(ctx, b, s, rc, true)
	})
}

func (a *authorizer) each(c proposals.Content, fn func(*connectors.Step, *proposals.ReviewChange) error) error {
	for i := range c.Review.Changes {
		rc := &c.Review.Changes[i]
		if rc.Change >= len(c.Set.Changes) || rc.Step >= len(c.Set.Changes[rc.Change].Steps) {
			return connectors.Errorf(connectors.CodeInternal, "a stored review does not fit its change")
		}
		if err := fn(&c.Set.Changes[rc.Change].Steps[rc.Step], rc); err != nil {
			return err
		}
	}
	return nil
}

// target compares what the change was made for with what is there now.
func (a *authorizer) target(ctx context.Context, t proposals.Target, set *proposals.ChangeSet) error {
	identity, err := a.g.cfg.Sources.Identity(ctx, t.Source)
	if err != nil {
		return err
	}
	if identity != t.Identity {
		return connectors.Errorf(connectors.CodeProposalStale, "another system stands behind source %s now", t.Source)
	}
	if a.schemaHash(t.Source, set) != t.SchemaHash {
		return connectors.Errorf(connectors.CodeProposalStale, "the schema of what the change touches has changed")
	}
	return nil
}

// schemaHash is over the pinned schema of everything that a source's changes
// touch.
func (a *authorizer) schemaHash(source string, set *proposals.ChangeSet) string {
	var objects []string
	for i := range set.Changes {
		if c := &set.Changes[i]; c.Source == source {
			for j := range c.Steps {
				objects = append(objects, objectOf(source, &c.Steps[j]))
			}
		}
	}
	slices.Sort(objects)
	h := sha256.New()
	for _, o := range slices.Compact(objects) {
		fmt.Fprintf(h, "%s %s\n", o, a.snap.Catalog.Fingerprint(o))
	}
	return hex.EncodeToString(h.Sum(nil))
}

func objectOf(source string, s *connectors.Step) string {
	if s.Kind == connectors.Call {
		return source + "." + s.Function
	}
	return source + "." + s.Collection
}

func writeAccess(access *policy.Access, kind connectors.StepKind) *policy.WriteAccess {
	if access == nil {
		return nil
	}
	switch kind {
	case connectors.Create:
		return access.Create
	case connectors.Update:
		return access.Update
	case connectors.Delete:
		return access.Delete
	case connectors.Call:
		return access.Call
	}
	return nil
}

// permitted tells whether the view lets this step be done; at once, where
// direct is set.
func (a *authorizer) permitted(ctx context.Context, b *bound, s *connectors.Step, rc *proposals.ReviewChange, direct bool) error {
	w := writeAccess(b.view.Object(rc.Object()), s.Kind)
	if w == nil || w.Max > 0 && rc.AffectedCount > w.Max {
		return errForbidden
	}
	d := w.Decide(givenFields(s, w))
	if d.Effect == policy.Denied || direct && d.Effect == policy.Propose && d.Direct == nil || !presetsHold(s, w, b) {
		return errForbidden
	}
	conditions := []*connectors.Condition{d.Permit}
	if direct && d.Effect == policy.Propose {
		conditions = append(conditions, d.Direct)
	}
	for _, c := range conditions {
		if err := a.holdsBefore(ctx, b.fixed(c), s, rc); err != nil {
			return err
		}
	}
	return a.holdsAfter(ctx, b.fixed(d.Check), s, rc)
}

// givenFields are what the author gave: presets are the policy's.
func givenFields(s *connectors.Step, w *policy.WriteAccess) []string {
	var out []string
	if s.Kind == connectors.Call {
		for _, m := range s.Args.Members {
			out = append(out, m.Name)
		}
	}
	for _, as := range s.Set {
		if !slices.ContainsFunc(w.Presets, func(p policy.Preset) bool { return p.Field == as.Field }) {
			out = append(out, as.Field)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// presetsHold tells whether the stored change gives every preset of now the
// value of now; a point in time may have moved on.
func presetsHold(s *connectors.Step, w *policy.WriteAccess, b *bound) bool {
	for _, p := range w.Presets {
		value := connectors.Value{}
		if s.Kind == connectors.Call {
			value = s.Args.Get(p.Field)
		}
		for _, as := range s.Set {
			if as.Field == p.Field {
				value = as.Value
			}
		}
		if value.Kind == connectors.KindAbsent {
			return false
		}
		if at := p.Operand.Arg; at > 0 && at <= len(b.view.Params) && b.view.Params[at-1].Kind == policy.ParamNow {
			continue
		}
		if !value.Equal(p.Operand.Value(b.params)) {
			return false
		}
	}
	return true
}

// holdsBefore checks a condition about the records as they are, or about the
// arguments of a call.
func (a *authorizer) holdsBefore(ctx context.Context, c *connectors.Condition, s *connectors.Step, rc *proposals.ReviewChange) error {
	switch {
	case c == nil || c.Op == connectors.OpTrue || s.Kind == connectors.Create:
		return nil
	case s.Kind == connectors.Call:
		if policy.Match(c, policy.ArgumentsOf(s.Args), nil) != policy.True {
			return errForbidden
		}
		return nil
	case within(s.Where, c):
		return nil // the effect's own statement says so
	}
	for i := range rc.Diff {
		ok, err := a.matches(ctx, rc, &rc.Diff[i], c)
		if err != nil {
			return err
		}
		if !ok {
			return errForbidden
		}
	}
	return nil
}

// holdsAfter checks a condition about the records as they would be. A diff need
// not hold every field: a part about fields that stay as they are is asked of
// the record as it is.
func (a *authorizer) holdsAfter(ctx context.Context, c *connectors.Condition, s *connectors.Step, rc *proposals.ReviewChange) error {
	if c == nil || within(s.Check, c) || s.Kind == connectors.Call || s.Kind == connectors.Delete {
		return nil
	}
	for i := range rc.Diff {
		d := &rc.Diff[i]
		for _, part := range parts(c) {
			if policy.Match(part, fieldsOf(d.Key, d.After), nil) == policy.True {
				continue
			}
			if s.Kind != connectors.Update || !untouched(part, s, d) {
				return errForbidden
			}
			if ok, err := a.matches(ctx, rc, d, part); err != nil {
				return err
			} else if !ok {
				return errForbidden
			}
		}
	}
	return nil
}

// parts are what must all hold.
func parts(c *connectors.Condition) []*connectors.Condition {
	if c.Op != connectors.OpAnd {
		return []*connectors.Condition{c}
	}
	var out []*connectors.Condition
	for _, i := range c.Items {
		out = append(out, parts(i)...)
	}
	return out
}

// untouched tells whether a condition is about fields alone that an update
// leaves as they are. Of related records it is not known.
func untouched(c *connectors.Condition, s *connectors.Step, d *proposals.RecordDiff) bool {
	if c.Op == connectors.OpRelated || c.Field != "" && (slices.Contains(assigned(s.Set), c.Field) || slices.Contains(d.Fields, c.Field)) {
		return false
	}
	return !slices.ContainsFunc(c.Items, func(i *connectors.Condition) bool { return !untouched(i, s, d) })
}

// within tells whether all parts of c are parts of what the statement checks.
func within(statement, c *connectors.Condition) bool {
	parts := conjuncts(statement)
	for _, p := range conjuncts(c) {
		if !slices.Contains(parts, p) {
			return false
		}
	}
	return true
}

func conjuncts(c *connectors.Condition) []string {
	if c == nil {
		return nil
	}
	var out []string
	for _, p := range parts(c) {
		out = append(out, string(p.AppendCanonical(nil)))
	}
	return out
}

func fieldsOf(lists ...[]connectors.Assign) func(string) connectors.Value {
	return func(name string) connectors.Value {
		for _, list := range lists {
			for i := range list {
				if list[i].Field == name {
					return list[i].Value
				}
			}
		}
		return connectors.Value{}
	}
}

// matches tells whether a record as frozen matches; where its fields do not
// tell, the source is asked about the record as it is.
func (a *authorizer) matches(ctx context.Context, rc *proposals.ReviewChange, d *proposals.RecordDiff, c *connectors.Condition) (bool, error) {
	record := d.Before
	if rc.Kind == connectors.Create {
		record = d.After
	}
	switch policy.Match(c, fieldsOf(record, d.Key), nil) {
	case policy.True:
		return true, nil
	case policy.False:
		return false, nil
	}
	if rc.Kind == connectors.Create || len(d.Key) == 0 {
		return false, nil
	}
	return a.exists(ctx, rc, d.Key, c)
}

// exists asks the source for the record with this key, under the condition.
func (a *authorizer) exists(ctx context.Context, rc *proposals.ReviewChange, key []connectors.Assign, c *connectors.Condition) (bool, error) {
	conn := a.g.cfg.Executor.Sources[rc.Source]
	coll := a.snap.Catalog.Collection(rc.Object())
	if conn == nil || coll == nil {
		return false, nil
	}
	where := []*connectors.Condition{c}
	sel := &connectors.Select{Collection: coll.Name}
	for _, k := range key {
		where = append(where, connectors.Compare(k.Field, connectors.OpEq, connectors.Const(k.Value)))
		sel.Columns = append(sel.Columns, connectors.Column{Field: k.Field})
		sel.Order = append(sel.Order, connectors.OrderTerm{Field: k.Field})
	}
	sel.Where = connectors.And(where...)
	sel.Page = &connectors.Page{Limit: connectors.Const(connectors.Int(1))}
	rows, err := conn.Query(ctx, &connectors.Query{Select: sel.Seal()})
	if err != nil {
		return false, err
	}
	defer rows.Close()
	block, err := rows.Next(ctx)
	return block.Rows() > 0, err
}

// MayApprove implements proposals.Authorizer.
func (a *authorizer) MayApprove(ctx context.Context, reviewer *policy.Principal, c proposals.Content) error {
	b := a.bound(reviewer)
	return a.each(c, func(s *connectors.Step, rc *proposals.ReviewChange) error {
		access := b.view.Object(rc.Object())
		if access == nil || access.Approve == nil {
			return errForbidden
		}
		d := access.Approve.Decide(givenFields(s, access.Approve))
		if d.Effect != policy.Allow && (d.Effect != policy.Propose || d.Direct == nil) {
			return errForbidden
		}
		if s.Kind == connectors.Create {
			return a.holdsAfter(ctx, connectors.And(b.fixed(d.Permit), b.fixed(d.Direct)), &connectors.Step{Kind: s.Kind}, rc)
		}
		bare := &connectors.Step{Kind: s.Kind, Args: s.Args} // the reviewer's condition is no part of the statement
		return a.holdsBefore(ctx, connectors.And(b.fixed(d.Permit), b.fixed(d.Direct)), bare, rc)
	})
}

// values are a record's fields under the names of the graph, which the rules of
// approvals are written in.
func values(coll *catalog.Collection, in []connectors.Assign) connectors.Value {
	out := make([]connectors.Member, 0, len(in))
	for _, as := range in {
		if f := coll.SystemField(as.Field); f != nil {
			out = append(out, connectors.Member{Name: f.Name, Value: as.Value})
		}
	}
	return connectors.ObjectOf(out...)
}

// Route implements proposals.Authorizer.
func (a *authorizer) Route(_ context.Context, author *policy.Principal, c proposals.Content, rc *proposals.ReviewChange) (*proposals.Route, error) {
	facts := policy.ChangeFacts{Object: rc.Object(), Act: policy.Act(rc.Kind), Principal: author, Records: rc.AffectedCount, Checks: rc.Checks}
	if rc.Change >= len(c.Set.Changes) || rc.Step >= len(c.Set.Changes[rc.Change].Steps) {
		return nil, connectors.Errorf(connectors.CodeInternal, "a stored review does not fit its change")
	}
	step := &c.Set.Changes[rc.Change].Steps[rc.Step]
	if fn := a.snap.Catalog.Function(rc.Object()); fn != nil {
		facts.Input = arguments(fn, step.Args)
	}
	if coll := a.snap.Catalog.Collection(rc.Object()); coll != nil {
		facts.Input = values(coll, step.Set)
		for i := range rc.Diff {
			if rc.Kind != connectors.Create {
				facts.Before = append(facts.Before, values(coll, slices.Concat(rc.Diff[i].Key, rc.Diff[i].Before)))
			}
			if rc.Kind != connectors.Delete {
				facts.After = append(facts.After, values(coll, slices.Concat(rc.Diff[i].Key, rc.Diff[i].After)))
			}
		}
	}
	facts.Amount, facts.AmountToday = c.AmountOf(rc)
	r, err := a.snap.Policy.Route(facts)
	if err != nil {
		return nil, err
	}
	out := &proposals.Route{Rule: r.Rule, Then: proposals.Then(r.Then), Expire: r.Expire, Say: r.Say, Requirement: proposals.Requirement{Veto: r.Veto}}
	for _, s := range r.Seats {
		seat := proposals.Seat{Role: s.Role, Count: s.Count, Confirm: s.Confirm}
		if s.Confirm && len(s.Else) > 0 {
			seat.Role = s.Else[0].Role
		}
		out.Requirement.Seats = append(out.Requirement.Seats, seat)
	}
	return out, nil
}

// arguments are those of a call under the names of the graph.
func arguments(fn *catalog.Function, args connectors.Value) connectors.Value {
	out := make([]connectors.Member, 0, len(args.Members))
	for _, m := range args.Members {
		name := m.Name
		for _, f := range fn.Args {
			if f.System == m.Name {
				name = f.Name
			}
		}
		out = append(out, connectors.Member{Name: name, Value: m.Value})
	}
	return connectors.ObjectOf(out...)
}
