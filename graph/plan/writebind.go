package plan

import (
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A BoundRecord is one step of a write with its values: nothing in it refers to
// arguments any more.
type BoundRecord struct {
	// Step is what would be done. Where of an update or delete holds what the
	// view permits.
	Step connectors.Step
	// Effect, with Direct for Propose: what must match for it to be done at once.
	Effect policy.Effect
	Direct *connectors.Condition
	// DirectCheck, of a create: what the new record must match, beside
	// Step.Check, for it to be made at once; nil: nothing does.
	DirectCheck *connectors.Condition
	// Visible is what the record must match to be shown; nil: it may be.
	Visible *connectors.Condition
	// Checks are the validators that looked at the step, and Invalid what refuses
	// it. Those over HTTP are yet to be asked.
	Checks  []policy.Check
	Invalid []*connectors.Error
	// Presets are the fields whose values the policy gave.
	Presets []string
}

// BindWrite makes the steps of a write with the values of this request, as
// validators leave them: it is the one place that direct and proposed writes
// pass. A claim that a policy line needs and the principal lacks takes the line's
// permission away; a preset without its value denies.
func (p *Plan) BindWrite(w *Write, in *Bindings, v *Values) []BoundRecord {
	args := v.All[w.ArgFrom:w.ArgTo]
	missing := p.Missing(in, w.ArgFrom, w.ArgTo)
	c := constants{args: args, missing: missing}
	out := make([]BoundRecord, len(w.Records))
	for i := range w.Records {
		r := &w.Records[i]
		b := BoundRecord{Effect: r.Effect, Direct: c.condition(r.Direct), Visible: c.condition(w.Visible), DirectCheck: c.condition(r.DirectCheck)}
		b.Step = connectors.Step{ID: r.ID, Kind: w.Kind, Collection: w.Collection, Function: w.Function,
			Where: c.condition(r.Where), Check: c.condition(r.Check), Class: w.Class, Preview: w.Preview}
		b.Step.Key = c.assigns(r.Key)
		b.Step.Set = c.assigns(r.Set)
		if w.HasMaxRows {
			n, _ := w.MaxRows.Value(args).Int64()
			b.Step.MaxRows = int(n)
		}
		if w.HasIfVersion {
			text := w.IfVersion.Value(args).Text
			b.Step.IfVersion = &text
		}
		if w.Kind == connectors.Call {
			b.Step.Args = c.object(r.Call)
		}
		if in.Validators.Validates(w.Object, policy.Act(w.Kind)) {
			b.Presets = r.Presets
			b.Checks, b.Invalid = in.Validators.Validate(b.Writing(w, in))
		}
		if w.Kind == connectors.Call {
			permit := policy.DenyMissing(r.Permit, missing)
			if policy.Match(permit, policy.ArgumentsOf(b.Step.Args), args) != policy.True {
				b.Effect = policy.Denied
			}
		}
		if c.lacking || Nothing(b.Step.Where) || Nothing(b.Step.Check) {
			b.Effect = policy.Denied
		}
		out[i] = b
	}
	return out
}

// Writing is the step as validators look at it.
func (b *BoundRecord) Writing(w *Write, in *Bindings) *policy.Writing {
	return &policy.Writing{Object: w.Object, Step: &b.Step, Presets: b.Presets, Principal: in.Principal, Now: in.Now}
}

// Held tells whether a validator wants people to decide.
func (b *BoundRecord) Held() bool {
	return slices.ContainsFunc(b.Checks, func(c policy.Check) bool { return c.Verdict == policy.Held })
}

// DirectCall tells whether a call may be done at once with its arguments.
func (b *BoundRecord) DirectCall() bool {
	return b.Direct != nil && policy.Match(b.Direct, policy.ArgumentsOf(b.Step.Args), nil) == policy.True
}

// DirectCreate tells whether a record may be made at once with the values that
// are given. What the source fills in itself is not known, and not direct.
func (b *BoundRecord) DirectCreate() bool {
	if b.DirectCheck == nil {
		return false
	}
	given := func(name string) connectors.Value {
		for _, a := range b.Step.Set {
			if a.Field == name {
				return a.Value
			}
		}
		return connectors.Value{}
	}
	return policy.Match(b.DirectCheck, given, nil) == policy.True
}

// constants replaces operands by their values.
type constants struct {
	args    []connectors.Value
	missing []bool
	// lacking: a value that is to be written is of a missing parameter.
	lacking bool
}

func (c *constants) value(o connectors.Operand) connectors.Value {
	if o.Arg > 0 && o.Arg <= len(c.missing) && c.missing[o.Arg-1] {
		c.lacking = true
	}
	return o.Value(c.args)
}

func (c *constants) assigns(list []SetOperand) []connectors.Assign {
	if len(list) == 0 {
		return nil
	}
	out := make([]connectors.Assign, len(list))
	for i, s := range list {
		out[i] = connectors.Assign{Field: s.Field, Value: c.value(s.Operand), Increment: s.Increment}
	}
	return out
}

func (c *constants) object(list []connectors.ArgOperand) connectors.Value {
	out := connectors.Value{Kind: connectors.KindObject}
	for _, a := range list {
		if v := c.value(a.Operand); v.Kind != connectors.KindAbsent {
			out.Members = append(out.Members, connectors.Member{Name: a.Name, Value: v})
		}
	}
	return out
}

func (c *constants) condition(cond *connectors.Condition) *connectors.Condition {
	return c.constant(policy.DenyMissing(cond, c.missing))
}

func (c *constants) constant(cond *connectors.Condition) *connectors.Condition {
	if cond == nil {
		return nil
	}
	out := *cond
	if out.Operand.Arg > 0 {
		out.Operand = connectors.Const(out.Operand.Value(c.args))
	}
	out.Inner = c.constant(cond.Inner)
	if len(cond.Items) > 0 {
		out.Items = make([]*connectors.Condition, len(cond.Items))
		for i, item := range cond.Items {
			out.Items[i] = c.constant(item)
		}
	}
	if cond.Relation != nil {
		r := *cond.Relation
		r.Where = c.constant(r.Where)
		out.Relation = &r
	}
	return &out
}
