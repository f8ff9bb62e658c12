package plan

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// Missing marks the arguments args[from:to] whose parameter of the view has no
// value for this principal; nil where none. A parameter that nobody bound is
// missing too.
func (p *Plan) Missing(in *Bindings, from, to int) []bool {
	var out []bool
	for i := range p.Args[from:to] {
		a := &p.Args[from+i]
		if a.Kind != ArgParam || in.has(a.Param) {
			continue
		}
		if out == nil {
			out = make([]bool, to-from)
		}
		out[i] = true
	}
	return out
}

// has tells whether the principal has a value for a parameter of the view.
func (in *Bindings) has(param int) bool {
	if param >= len(in.Params) || in.Params[param].IsNull() {
		return false
	}
	return param >= len(in.Missing) || !in.Missing[param]
}

// denied is the select of a step with the conditions of policy lines that need
// a missing parameter taken away: what they would let is not let. It is made
// per request; principals that lack a claim which their policy names are few.
func denied(s *Step, missing []bool) *connectors.Select {
	out := *s.Select
	out.Where = policy.DenyMissing(out.Where, missing)
	out.Columns = append([]connectors.Column(nil), out.Columns...)
	for i := range out.Columns {
		out.Columns[i].If = policy.DenyMissing(out.Columns[i].If, missing)
	}
	out.Order = append([]connectors.OrderTerm(nil), out.Order...)
	for i := range out.Order {
		via := append([]connectors.Relation(nil), out.Order[i].Via...)
		for j := range via {
			via[j].Where = policy.DenyMissing(via[j].Where, missing)
		}
		out.Order[i].Via = via
	}
	return out.Seal()
}

// Nothing tells whether no record can match, whatever it holds, so that there is
// nothing to ask.
func Nothing(c *connectors.Condition) bool {
	if c == nil {
		return false
	}
	switch c.Op {
	case connectors.OpOr:
		for _, i := range c.Items {
			if !Nothing(i) {
				return false
			}
		}
		return true
	case connectors.OpAnd:
		for _, i := range c.Items {
			if Nothing(i) {
				return true
			}
		}
	case connectors.OpNot:
		return len(c.Items) == 1 && everything(c.Items[0])
	}
	return false
}

// everything tells whether every record matches, whatever it holds.
func everything(c *connectors.Condition) bool {
	if c == nil || c.Op == connectors.OpTrue {
		return true
	}
	switch c.Op {
	case connectors.OpOr:
		for _, i := range c.Items {
			if everything(i) {
				return true
			}
		}
	case connectors.OpAnd:
		for _, i := range c.Items {
			if !everything(i) {
				return false
			}
		}
		return true
	case connectors.OpNot:
		return len(c.Items) == 1 && Nothing(c.Items[0])
	}
	return false
}
