package execute

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
)

// permitted tells whether the arguments of a reading call match what the view
// permits. Unknown is not permitted.
func (r *run) permitted(s *plan.Step, args []connectors.Value) bool {
	if s.Select.Function == "" {
		return true
	}
	missing := r.p.Missing(r.in, s.ArgFrom, s.ArgTo)
	members := make([]connectors.Member, len(s.Select.Call))
	for i, c := range s.Select.Call {
		if a := c.Operand.Arg; a > 0 && a <= len(missing) && missing[a-1] {
			return false // a preset that has no value
		}
		members[i] = connectors.Member{Name: c.Name, Value: c.Operand.Value(args)}
	}
	cond := policy.DenyMissing(s.Permit, missing)
	return policy.Match(cond, policy.ArgumentsOf(connectors.ObjectOf(members...)), args) == policy.True
}
