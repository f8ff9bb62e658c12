package policy

import (
	"slices"
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

// opsFor lists the comparisons of a type in rules: those that Match can decide.
func opsFor(t connectors.TypeRef) []string {
	equality := []string{"eq", "ne", "in", "notIn", "isNull"}
	ordered := append(slices.Clone(equality), "gt", "gte", "lt", "lte")
	texts := append(slices.Clone(ordered), "like", "ilike", "startsWith", "endsWith", "contains")
	switch {
	case t.List || t.Object != "" || t.Scalar == connectors.ScalarJSON:
		return []string{"isNull"}
	case t.Enum != "" || t.Scalar == connectors.ScalarBytes || t.Scalar == connectors.ScalarUUID:
		return equality
	case t.Scalar == "" || t.Scalar == connectors.ScalarString || t.Scalar == connectors.ScalarID:
		return texts
	case t.Scalar == connectors.ScalarBoolean:
		return []string{"eq", "ne", "isNull"}
	case t.Scalar == connectors.ScalarDuration:
		return equality
	}
	return ordered
}

// comparison types {op: value ...}; several hold together.
func (w *whenText) comparison(field string, t connectors.TypeRef, v *ast.Value) (*connectors.Condition, *BindError) {
	if v.Kind != ast.ObjectValue {
		return nil, w.fail(v.Position, "expected comparisons in braces, as in {eq: ...}", "")
	}
	if len(v.Children) == 0 {
		return nil, w.fail(v.Position, "the comparison is empty", "")
	}
	known := opsFor(t)
	var items []*connectors.Condition
	for _, c := range v.Children {
		if !slices.Contains(known, c.Name) {
			if t.List || t.Object != "" {
				return nil, w.fail(c.Position, `"`+field+`" holds more than one value: only isNull is supported yet`, "")
			}
			return nil, w.fail(c.Position, `"`+field+`" has no comparison "`+c.Name+`"`, nearest(c.Name, known))
		}
		value, err := w.operand(connectors.Op(c.Name), t, c.Value)
		if err != nil {
			return nil, err
		}
		items = append(items, connectors.Compare(field, connectors.Op(c.Name), connectors.Const(value)))
	}
	if len(items) == 1 {
		return items[0], nil
	}
	return &connectors.Condition{Op: connectors.OpAnd, Items: items}, nil
}

func (w *whenText) operand(op connectors.Op, t connectors.TypeRef, v *ast.Value) (connectors.Value, *BindError) {
	switch op {
	case connectors.OpIsNull:
		if v.Kind != ast.BooleanValue {
			return connectors.Value{}, w.fail(v.Position, "isNull takes true or false", "")
		}
		return connectors.Bool(v.Raw == "true"), nil
	case connectors.OpIn, connectors.OpNotIn:
		if v.Kind != ast.ListValue || len(v.Children) == 0 {
			return connectors.Value{}, w.fail(v.Position, string(op)+" takes a list of values", "")
		}
		var items []connectors.Value
		for _, c := range v.Children {
			item, err := w.scalar(t, c.Value)
			if err != nil {
				return connectors.Value{}, err
			}
			items = append(items, item)
		}
		return connectors.ListOf(items...), nil
	case connectors.OpLike, connectors.OpILike, connectors.OpStartsWith, connectors.OpEndsWith, connectors.OpContains:
		t = connectors.TypeRef{Scalar: connectors.ScalarString}
	}
	return w.scalar(t, v)
}

// scalar reads a literal as a value of the type; a field of unknown type takes
// the literal for what it looks like.
func (w *whenText) scalar(t connectors.TypeRef, v *ast.Value) (connectors.Value, *BindError) {
	value, ok := connectors.Value{}, true
	switch v.Kind {
	case ast.IntValue:
		value = connectors.Value{Kind: connectors.KindInt, Text: v.Raw}
	case ast.FloatValue:
		value = connectors.Value{Kind: connectors.KindFloat, Text: v.Raw}
		if t.Scalar == connectors.ScalarDecimal {
			value.Kind = connectors.KindDecimal
		}
	case ast.StringValue, ast.BlockValue:
		value, ok = connectors.String(v.Raw), t.Enum == ""
	case ast.EnumValue:
		value, ok = connectors.String(v.Raw), t.Enum != "" || t == connectors.TypeRef{}
	case ast.BooleanValue:
		value = connectors.Bool(v.Raw == "true")
	case ast.NullValue:
		return value, w.fail(v.Position, "nothing equals null", "isNull")
	case ast.Variable:
		return value, w.fail(v.Position, "a rule has no variables", "")
	default:
		ok = false
	}
	if ok && (t != connectors.TypeRef{}) {
		if t.Enum != "" {
			ok = v.Kind == ast.EnumValue
		} else {
			value, ok = fitScalar(value, t)
		}
	}
	if !ok {
		name := string(t.Scalar)
		if t.Enum != "" {
			name = t.Enum
		}
		return value, w.fail(v.Position, strconv.Quote(v.Raw)+" is no "+name, "")
	}
	return value, nil
}
