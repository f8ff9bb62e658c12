package policy

import (
	"cmp"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

// A moneyTest compares an amount with a sum.
type moneyTest struct {
	op   connectors.Op
	than Money
}

func moneyOps() []string { return []string{"eq", "ne", "gt", "gte", "lt", "lte"} }

// moneyTests types {lte: "100.00 EUR"}; several hold together.
func (w *whenText) moneyTests(subject string, v *ast.Value) ([]moneyTest, *BindError) {
	if v.Kind != ast.ObjectValue || len(v.Children) == 0 {
		return nil, w.fail(v.Position, `expected comparisons in braces, as in {lte: "100.00 EUR"}`, "")
	}
	var out []moneyTest
	for _, c := range v.Children {
		if !slices.Contains(moneyOps(), c.Name) {
			return nil, w.fail(c.Position, `"`+subject+`" has no comparison "`+c.Name+`"`, nearest(c.Name, moneyOps()))
		}
		t := moneyTest{op: connectors.Op(c.Name)}
		ok := c.Value.Kind == ast.StringValue
		if ok {
			t.than, ok = ParseMoney(c.Value.Raw)
		}
		if !ok {
			return nil, w.fail(c.Value.Position, `an amount is written with its currency: "50.00 EUR"`, "")
		}
		out = append(out, t)
	}
	return out, nil
}

// moneyMatches: an amount that is not known, or of another currency, is UNKNOWN
// in every comparison.
func moneyMatches(tests []moneyTest, m *Money) Tri {
	out := True
	for _, t := range tests {
		out = min(out, t.matches(m))
	}
	return out
}

func (t moneyTest) matches(m *Money) Tri {
	if m == nil || m.Currency != t.than.Currency {
		return Unknown
	}
	order := cmp.Compare(m.Micros, t.than.Micros)
	switch t.op {
	case connectors.OpEq:
		return triOf(order == 0)
	case connectors.OpNe:
		return triOf(order != 0)
	case connectors.OpGt:
		return triOf(order > 0)
	case connectors.OpGte:
		return triOf(order >= 0)
	case connectors.OpLt:
		return triOf(order < 0)
	case connectors.OpLte:
		return triOf(order <= 0)
	}
	return Unknown
}
