package catalog

import (
	"encoding/json"
	"errors"
	"sort"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

// A raw value is what came, before its type is known: a literal or JSON.
type raw struct {
	kind rawKind
	text string // integer, number, text, enum: as written; boolean: true or false
	list []raw
	// members of an object, sorted where they come from JSON.
	members []rawMember
	// variable is set where the literal is one, or holds one somewhere.
	variable bool
	literal  *ast.Value
	json     any
}

type rawMember struct {
	name  string
	value raw
	at    *ast.Position
}

type rawKind uint8

const (
	rawAbsent rawKind = iota
	rawNull
	rawInteger // digits only
	rawNumber  // with fraction or exponent
	rawText
	rawBool
	rawEnum // a bare word of a literal
	rawList
	rawObject
	rawVariable
)

func literalValue(v *ast.Value) raw {
	if v == nil {
		return raw{}
	}
	out := raw{literal: v, text: v.Raw}
	switch v.Kind {
	case ast.Variable:
		out.kind, out.variable = rawVariable, true
	case ast.IntValue:
		out.kind = rawInteger
	case ast.FloatValue:
		out.kind = rawNumber
	case ast.StringValue, ast.BlockValue:
		out.kind = rawText
	case ast.BooleanValue:
		out.kind = rawBool
	case ast.NullValue:
		out.kind = rawNull
	case ast.EnumValue:
		out.kind = rawEnum
	case ast.ListValue:
		out.kind = rawList
		for _, c := range v.Children {
			item := literalValue(c.Value)
			out.variable = out.variable || item.variable
			out.list = append(out.list, item)
		}
	case ast.ObjectValue:
		out.kind = rawObject
		for _, c := range v.Children {
			item := literalValue(c.Value)
			out.variable = out.variable || item.variable
			out.members = append(out.members, rawMember{c.Name, item, c.Position})
		}
	}
	return out
}

// jsonValue takes what encoding/json decodes, with json.Number, and Go's own
// numbers as well: other decoders give those.
func jsonValue(v any) raw {
	out := raw{json: v}
	switch x := v.(type) {
	case nil:
		out.kind = rawNull
	case bool:
		out.kind, out.text = rawBool, strconv.FormatBool(x)
	case string:
		out.kind, out.text = rawText, x
	case json.Number:
		out.kind, out.text = numberKind(string(x)), string(x)
	case float64:
		out.text = strconv.FormatFloat(x, 'g', -1, 64)
		if x == float64(int64(x)) && x < 1<<53 && x > -(1<<53) {
			out.text = strconv.FormatInt(int64(x), 10)
		}
		out.kind = numberKind(out.text)
	case int:
		out.kind, out.text = rawInteger, strconv.Itoa(x)
	case int32:
		out.kind, out.text = rawInteger, strconv.FormatInt(int64(x), 10)
	case int64:
		out.kind, out.text = rawInteger, strconv.FormatInt(x, 10)
	case []any:
		out.kind = rawList
		for _, i := range x {
			out.list = append(out.list, jsonValue(i))
		}
	case map[string]any:
		out.kind = rawObject
		names := make([]string, 0, len(x))
		for n := range x {
			names = append(names, n)
		}
		sort.Strings(names)
		for _, n := range names {
			out.members = append(out.members, rawMember{name: n, value: jsonValue(x[n])})
		}
	}
	return out
}

func numberKind(text string) rawKind {
	if strings.ContainsAny(text, ".eE") {
		return rawNumber
	}
	return rawInteger
}

// bad is an input that is no value of its type. The path leads from the value
// to the part at fault.
func bad(format string, args ...any) *connectors.Error {
	return connectors.Errorf(connectors.CodeBadInput, format, args...)
}

// CoerceLiteral reads a literal without variables as a value of the type, or as
// a list of them where list is set; a single value is then a list of one. A
// null is Null. Errors are CodeBadInput.
func CoerceLiteral(v *ast.Value, t *Type, list bool) (connectors.Value, error) {
	return coerceAny(literalValue(v), t, list)
}

// CoerceVariable reads a value decoded from JSON, with json.Number.
func CoerceVariable(v any, t *Type, list bool) (connectors.Value, error) {
	return coerceAny(jsonValue(v), t, list)
}

// CoerceValue reads a literal that may hold variables; vars are their JSON
// values with defaults applied. A variable without value is absent where it is
// the whole value, and CodeBadInput naming it within a list; the member of an
// object is left out.
func CoerceValue(v *ast.Value, t *Type, list bool, vars map[string]any) (connectors.Value, error) {
	in, err := substitute(literalValue(v), vars)
	if err != nil {
		return connectors.Value{}, err
	}
	if in.kind == rawAbsent {
		return connectors.Value{}, nil
	}
	return coerceAny(in, t, list)
}

func substitute(in raw, vars map[string]any) (raw, error) {
	if !in.variable {
		return in, nil
	}
	switch in.kind {
	case rawVariable:
		if v, ok := vars[in.text]; ok {
			return jsonValue(v), nil
		}
		if d := in.literal.VariableDefinition; d != nil && d.DefaultValue != nil {
			return literalValue(d.DefaultValue), nil
		}
		return raw{}, nil
	case rawList:
		out := in
		out.list = nil
		for _, item := range in.list {
			v, err := substitute(item, vars)
			if err != nil {
				return raw{}, err
			}
			if v.kind == rawAbsent {
				return raw{}, missing(item.text)
			}
			out.list = append(out.list, v)
		}
		return out, nil
	case rawObject:
		out := in
		out.members = nil
		for _, m := range in.members {
			v, err := substitute(m.value, vars)
			if err != nil {
				return raw{}, err
			}
			if v.kind != rawAbsent {
				out.members = append(out.members, rawMember{m.name, v, m.at})
			}
		}
		return out, nil
	}
	return in, nil
}

func missing(variable string) *connectors.Error {
	return bad("the variable $%s has no value", variable)
}

func coerceAny(in raw, t *Type, list bool) (connectors.Value, error) {
	if list || t.List {
		return coerceList(in, t, list)
	}
	return coerceOne(in, t)
}

func coerceList(in raw, t *Type, operand bool) (connectors.Value, error) {
	item := *t
	item.List = false
	switch in.kind {
	case rawNull:
		return connectors.Null, nil
	case rawList:
	default:
		v, err := coerceOne(in, &item)
		if err != nil {
			return v, err
		}
		return connectors.ListOf(v), nil
	}
	out := connectors.Value{Kind: connectors.KindList}
	for i, x := range in.list {
		v, err := coerceOne(x, &item)
		if err == nil && v.Kind == connectors.KindNull && (operand || !t.ItemNullable) {
			err = bad("null is no item of this list")
		}
		if err != nil {
			return out, within(err, strconv.Itoa(i))
		}
		out.Items = append(out.Items, v)
	}
	return out, nil
}

// within puts a step in front of an error's path.
func within(err error, step string) error {
	var e *connectors.Error
	if errors.As(err, &e) {
		e.Path = append([]string{step}, e.Path...)
	}
	return err
}

func coerceOne(in raw, t *Type) (connectors.Value, error) {
	switch {
	case in.kind == rawVariable:
		return connectors.Value{}, bad("a variable cannot stand here")
	case in.kind == rawNull:
		return connectors.Null, nil
	case in.kind == rawAbsent:
		return connectors.Value{}, bad("a value is missing")
	case t.Values != nil:
		return coerceEnum(in, t.Values)
	case t.Members != nil:
		return coerceObject(in, t.Members)
	}
	return coerceScalar(in, t.Leaf)
}

func coerceEnum(in raw, e *Enum) (connectors.Value, error) {
	if in.kind == rawEnum || in.kind == rawText && in.literal == nil {
		if v, ok := e.byName[in.text]; ok {
			return connectors.String(v), nil
		}
	}
	return connectors.Value{}, bad("not a value of %s", e.Type)
}

// coerceObject reads a nested object into the system's names.
func coerceObject(in raw, o *ObjectType) (connectors.Value, error) {
	if in.kind != rawObject {
		return connectors.Value{}, bad("an object of %s is expected", o.Input)
	}
	given := map[string]bool{}
	out := connectors.Value{Kind: connectors.KindObject}
	for _, m := range in.members {
		f := o.fields[m.name]
		if f == nil || !f.gives() {
			return out, within(bad("%s has no field of this name", o.Input), m.name)
		}
		if given[m.name] {
			return out, within(bad("given twice"), m.name)
		}
		given[m.name] = true
		v, err := coerceAny(m.value, f.Type, false)
		if err != nil {
			return out, within(err, m.name)
		}
		if v.Kind == connectors.KindNull && !f.Spec.Nullable {
			return out, within(bad("null is not allowed here"), m.name)
		}
		out.Members = append(out.Members, connectors.Member{Name: f.System, Value: v})
	}
	for _, f := range o.Fields {
		if f.gives() && o.requires(f) && !given[f.Name] && o.fields[f.Name] == f {
			return out, within(bad("this field is required"), f.Name)
		}
	}
	return out, nil
}
