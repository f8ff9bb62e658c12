package plan_test

import (
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// A create is done at once only where what is given certainly matches.
func TestDirectCreate(t *testing.T) {
	small := connectors.Compare("amount", connectors.OpLte, connectors.Const(connectors.Int(50)))
	given := func(v connectors.Value) []connectors.Assign {
		if v.Kind == connectors.KindAbsent {
			return nil
		}
		return []connectors.Assign{{Field: "amount", Value: v}}
	}
	for _, c := range []struct {
		name  string
		check *connectors.Condition
		value connectors.Value
		want  bool
	}{
		{"small", small, connectors.Decimal("50.00"), true},
		{"large", small, connectors.Decimal("50.01"), false},
		{"null", small, connectors.Null, false},
		{"filled in by the source", small, connectors.Value{}, false},
		{"no line lets it", nil, connectors.Int(1), false},
	} {
		b := plan.BoundRecord{DirectCheck: c.check, Step: connectors.Step{Kind: connectors.Create, Set: given(c.value)}}
		if got := b.DirectCreate(); got != c.want {
			t.Errorf("%s: direct is %v", c.name, got)
		}
	}
}
