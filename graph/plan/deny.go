package plan

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// Missing marks the arguments args[from:to] whose parameter of the view has no
// value for this principal; nil where none.
func (p *Plan) Missing(in *Bindings, from, to int) []bool {
	if len(in.Missing) == 0 {
		return nil
	}
	var out []bool
	for i, a := range p.Args[from:to] {
		if a.Kind == ArgParam && a.Param < len(in.Missing) && in.Missing[a.Param] {
			if out == nil {
				out = make([]bool, to-from)
			}
			out[i] = true
		}
	}
	return out
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

// Nothing tells whether no record can match, so that there is nothing to ask.
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
	}
	return false
}
