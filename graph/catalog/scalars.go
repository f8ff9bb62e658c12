package catalog

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// scalars are all scalars of the graph, in the order of the reference.
var scalars = [...]connectors.Scalar{
	connectors.ScalarID, connectors.ScalarString, connectors.ScalarBoolean, connectors.ScalarInt, connectors.ScalarSafeInt,
	connectors.ScalarBigInt, connectors.ScalarFloat, connectors.ScalarDecimal, connectors.ScalarDateTime,
	connectors.ScalarLocalDateTime, connectors.ScalarDate, connectors.ScalarTime, connectors.ScalarDuration,
	connectors.ScalarUUID, connectors.ScalarJSON, connectors.ScalarBytes,
}

func knownScalar(s connectors.Scalar) bool {
	for _, k := range scalars {
		if k == s {
			return true
		}
	}
	return false
}

// scalarDescriptions say how a scalar is written; GraphQL's own five need no
// words.
var scalarDescriptions = map[connectors.Scalar]string{
	connectors.ScalarSafeInt:       "An integer within ±(2⁵³ − 1), a JSON number.",
	connectors.ScalarBigInt:        "An integer of any size: a JSON string; as input a string or an integer.",
	connectors.ScalarDecimal:       "An exact decimal with the source's digits: a JSON string; as input a string or an integer.",
	connectors.ScalarDateTime:      "An instant: RFC 3339, in UTC.",
	connectors.ScalarLocalDateTime: "A date and time without zone, never converted: 2026-01-31T08:30:00.",
	connectors.ScalarDate:          "A date: 2026-01-31.",
	connectors.ScalarTime:          "A time of day without zone: 08:30:00.",
	connectors.ScalarDuration:      "A duration: ISO 8601, P1DT2H.",
	connectors.ScalarUUID:          "A UUID in its canonical form.",
	connectors.ScalarJSON:          "Any JSON value.",
	connectors.ScalarBytes:         "Bytes in standard base64.",
}

// numeric tells the scalars that can be incremented.
func numeric(s connectors.Scalar) bool {
	switch s {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt, connectors.ScalarFloat, connectors.ScalarDecimal:
		return true
	}
	return false
}

// allOps are the comparisons in the order in which they stand in inputs.
var allOps = [...]connectors.Op{
	connectors.OpEq, connectors.OpNe, connectors.OpIn, connectors.OpNotIn, connectors.OpGt, connectors.OpGte,
	connectors.OpLt, connectors.OpLte, connectors.OpIsNull, connectors.OpLike, connectors.OpILike,
	connectors.OpStartsWith, connectors.OpEndsWith, connectors.OpContains, connectors.OpHasKey, connectors.OpSearch,
}

// usualOps are the comparisons that a type usually has; a field that has
// exactly these shares the input named after the type alone.
func usualOps(t *Type) []connectors.Op {
	switch {
	case t.List || t.Members != nil:
		return []connectors.Op{connectors.OpIsNull}
	case t.Values != nil:
		return []connectors.Op{connectors.OpEq, connectors.OpNe, connectors.OpIn, connectors.OpNotIn, connectors.OpIsNull}
	}
	switch t.Leaf {
	case connectors.ScalarString, connectors.ScalarID:
		return allOps[:14]
	case connectors.ScalarBoolean, connectors.ScalarBytes:
		return []connectors.Op{connectors.OpEq, connectors.OpNe, connectors.OpIn, connectors.OpNotIn, connectors.OpIsNull}
	case connectors.ScalarJSON:
		return []connectors.Op{connectors.OpIsNull, connectors.OpHasKey}
	}
	return allOps[:9]
}

// possibleOps are the comparisons that make sense for a type at all.
func possibleOps(t *Type) []connectors.Op {
	if t.Leaf == connectors.ScalarString && t.Values == nil && !t.List && t.Members == nil {
		return append(usualOps(t)[:14:14], connectors.OpSearch)
	}
	return usualOps(t)
}

// fieldOps are the comparisons of a field that its source evaluates, in the
// order of inputs.
func fieldOps(f *Field) []connectors.Op {
	return intersect(possibleOps(f.Type), f.Spec.Filter)
}

func intersect(a, b []connectors.Op) []connectors.Op {
	var out []connectors.Op
	for _, op := range a {
		for _, other := range b {
			if op == other {
				out = append(out, op)
				break
			}
		}
	}
	return out
}

// stepKinds are the writes by the act of the policy.
var stepKinds = map[policy.Act]connectors.StepKind{
	policy.Create: connectors.Create, policy.Update: connectors.Update, policy.Delete: connectors.Delete, policy.Call: connectors.Call,
}
