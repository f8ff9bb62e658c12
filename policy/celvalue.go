package policy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/countersign/countersign/connectors"
)

// celFields are the values of fields for an expression, under the graph's names.
// What is absent is absent: has(input.x) is false.
func celFields(fields []ObjectField, get func(system string) connectors.Value) (map[string]any, error) {
	out := map[string]any{}
	for i := range fields {
		f := &fields[i]
		v := get(f.System)
		if v.Kind == connectors.KindAbsent {
			continue
		}
		c, err := toCEL(v, f, f.Type)
		if err != nil {
			return nil, err
		}
		out[f.Graph] = c
	}
	return out, nil
}

// toCEL makes a value of a field one of the type that celType tells.
func toCEL(v connectors.Value, f *ObjectField, t connectors.TypeRef) (ref.Val, error) {
	switch {
	case v.IsNull():
		return types.NullValue, nil
	case t.List:
		if v.Kind != connectors.KindList {
			return nil, errNoValue
		}
		t.List = false
		items := make([]ref.Val, len(v.Items))
		for i := range v.Items {
			var err error
			if items[i], err = toCEL(v.Items[i], f, t); err != nil {
				return nil, err
			}
		}
		return types.NewRefValList(types.DefaultTypeAdapter, items), nil
	case f.Nested != nil:
		members, err := celFields(f.Nested.Fields, v.Get)
		return types.NewStringInterfaceMap(types.DefaultTypeAdapter, members), err
	case t.Enum != "":
		if name, ok := f.Values[v.Text]; ok {
			return types.String(name), nil
		}
		return types.String(v.Text), nil
	}
	return scalarToCEL(v, t.Leaf())
}

func scalarToCEL(v connectors.Value, s connectors.Scalar) (ref.Val, error) {
	switch s {
	case connectors.ScalarBoolean:
		return types.Bool(v.Text == "true"), nil
	case connectors.ScalarInt, connectors.ScalarSafeInt:
		n, ok := v.Int64()
		if !ok {
			return nil, errNoValue
		}
		return types.Int(n), nil
	case connectors.ScalarFloat:
		n, err := strconv.ParseFloat(v.Text, 64)
		return types.Double(n), err
	case connectors.ScalarDecimal, connectors.ScalarBigInt:
		d, ok := number(v.Text)
		if !ok {
			return nil, errNoValue
		}
		return celDecimal{d}, nil
	case connectors.ScalarDateTime:
		at, err := time.Parse(time.RFC3339Nano, v.Text)
		return types.Timestamp{Time: at.UTC()}, err
	case connectors.ScalarBytes:
		raw, err := base64.StdEncoding.DecodeString(v.Text)
		return types.Bytes(raw), err
	case connectors.ScalarJSON, "":
		return looseToCEL(v)
	}
	return types.String(v.Text), nil
}

// looseToCEL makes a value of unknown type what it looks like.
func looseToCEL(v connectors.Value) (ref.Val, error) {
	switch v.Kind {
	case connectors.KindJSON:
		d := json.NewDecoder(strings.NewReader(v.Text))
		d.UseNumber()
		var raw any
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}
		return jsonToCEL(raw), nil
	case connectors.KindBool:
		return types.Bool(v.Text == "true"), nil
	case connectors.KindInt, connectors.KindFloat, connectors.KindDecimal:
		return jsonToCEL(json.Number(v.Text)), nil
	case connectors.KindList:
		items := make([]ref.Val, len(v.Items))
		for i := range v.Items {
			var err error
			if items[i], err = looseToCEL(v.Items[i]); err != nil {
				return nil, err
			}
		}
		return types.NewRefValList(types.DefaultTypeAdapter, items), nil
	case connectors.KindObject:
		members := map[string]any{}
		for _, m := range v.Members {
			item, err := looseToCEL(m.Value)
			if err != nil {
				return nil, err
			}
			members[m.Name] = item
		}
		return types.NewStringInterfaceMap(types.DefaultTypeAdapter, members), nil
	case connectors.KindAbsent, connectors.KindNull:
		return types.NullValue, nil
	}
	return types.String(v.Text), nil
}

// jsonToCEL keeps every digit: a number is an int where it is whole, a double
// where that is exactly what is written, and else a decimal.
func jsonToCEL(raw any) ref.Val {
	switch x := raw.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(x.String(), 10, 64); err == nil {
			return types.Int(n)
		}
		d, ok := number(x.String())
		f, err := x.Float64()
		if exact, fits := number(strconv.FormatFloat(f, 'g', -1, 64)); ok && err == nil && fits && exact.Equal(d) && !math.IsInf(f, 0) {
			return types.Double(f)
		}
		if !ok {
			return types.NewErr("a number that is too long")
		}
		return celDecimal{d}
	case []any:
		items := make([]ref.Val, len(x))
		for i := range x {
			items[i] = jsonToCEL(x[i])
		}
		return types.NewRefValList(types.DefaultTypeAdapter, items)
	case map[string]any:
		members := make(map[string]any, len(x))
		for name, v := range x {
			members[name] = jsonToCEL(v)
		}
		return types.NewStringInterfaceMap(types.DefaultTypeAdapter, members)
	}
	return types.DefaultTypeAdapter.NativeToValue(raw)
}

// fromCEL makes what an expression gave a value of the field.
func fromCEL(v ref.Val, f *ObjectField, t connectors.TypeRef) (connectors.Value, error) {
	switch {
	case v == nil || types.IsUnknownOrError(v):
		return connectors.Value{}, errNoValue
	case v == types.NullValue:
		return connectors.Null, nil
	case t.List:
		list, ok := v.(traits.Lister)
		if !ok {
			return connectors.Value{}, errNoValue
		}
		t.List = false
		out := connectors.ListOf()
		for it := list.Iterator(); it.HasNext() == types.True; {
			item, err := fromCEL(it.Next(), f, t)
			if err != nil {
				return connectors.Value{}, err
			}
			out.Items = append(out.Items, item)
		}
		return out, nil
	case t.Enum != "":
		return enumFromCEL(v, f)
	}
	raw, ok := plainFromCEL(v)
	if !ok {
		return connectors.Value{}, errNoValue
	}
	if t.Leaf() == connectors.ScalarDateTime && v.Type() != types.TimestampType {
		return connectors.Value{}, errNoValue
	}
	out, ok := fitScalar(raw, t)
	if !ok {
		return connectors.Value{}, errNoValue
	}
	return out, t.Fits(out)
}

func enumFromCEL(v ref.Val, f *ObjectField) (connectors.Value, error) {
	name, ok := v.(types.String)
	if !ok {
		return connectors.Value{}, errNoValue
	}
	if f.Values == nil {
		return connectors.String(string(name)), nil
	}
	for system, graph := range f.Values {
		if graph == string(name) {
			return connectors.String(system), nil
		}
	}
	return connectors.Value{}, errNoValue
}

func plainFromCEL(v ref.Val) (connectors.Value, bool) {
	switch x := v.(type) {
	case types.String:
		return connectors.String(string(x)), true
	case types.Bool:
		return connectors.Bool(bool(x)), true
	case types.Int:
		return connectors.Int(int64(x)), true
	case types.Double:
		out := connectors.Float(float64(x))
		return out, out.Kind == connectors.KindFloat
	case celDecimal:
		text := x.plain()
		if strings.Contains(text, ".") {
			return connectors.Decimal(text), true
		}
		return connectors.Value{Kind: connectors.KindInt, Text: text}, true
	case types.Timestamp:
		return connectors.String(x.UTC().Format(time.RFC3339Nano)), true
	case types.Bytes:
		return connectors.Value{Kind: connectors.KindBytes, Text: base64.StdEncoding.EncodeToString(bytes.Clone(x))}, true
	}
	return connectors.Value{}, false
}

// settable tells whether the result of an expression can be a value of the
// field, as far as that is known before it is run.
func settable(f *ObjectField, result *types.Type) bool {
	want := celType(f, f.Type)
	return result.Kind() == types.DynKind || result.Kind() == types.NullTypeKind || want.IsAssignableType(result) ||
		isDecimal(want) && result.Kind() == types.IntKind ||
		f.Type.Scalar == connectors.ScalarFloat && slices.Contains([]types.Kind{types.IntKind, types.DoubleKind}, result.Kind())
}

func isDecimal(t *types.Type) bool { return t.TypeName() == decimalType.TypeName() }

// principalToCEL is who asks. Claims are those of the person behind an agent,
// as $claims are in policy.csv.
func (e *Engine) principalToCEL(p *Principal) map[string]any {
	claims := map[string]any{}
	chain := p.Chain()
	for name, v := range chain[len(chain)-1].Claims {
		if c, err := looseToCEL(v); err == nil && !v.IsNull() {
			claims[name] = c
		}
	}
	return map[string]any{"id": p.ID, "name": nullable(p.Name), "kind": string(p.Kind), "roles": e.Expand(p), "tenant": p.Tenant, "claims": claims}
}

// agentToCEL is the first agent of the chain; of none all fields are null.
func agentToCEL(p *Principal) map[string]any {
	for ; p != nil && p.Kind != Agent; p = p.For {
	}
	if p == nil {
		p = &Principal{}
	}
	return map[string]any{"name": nullable(p.Name), "owner": nullable(p.Owner)}
}

func nullable(s string) ref.Val {
	if s == "" {
		return types.NullValue
	}
	return types.String(s)
}
