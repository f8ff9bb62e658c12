package plan

import (
	"encoding/json"
	"sort"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

// pathMark stands between the parts of the name of a variable that leads into
// what a variable of the request holds. It cannot stand in a GraphQL name.
const pathMark = "."

// variableOf is the JSON value of a variable, or of its default.
func variableOf(op *ast.OperationDefinition, variables map[string]any, name string) (any, bool) {
	if v, ok := variables[name]; ok {
		return v, true
	}
	def := op.VariableDefinitions.ForName(name)
	if def == nil || def.DefaultValue == nil {
		return nil, false
	}
	return literalJSON(def.DefaultValue, nil), true
}

// literalJSON is a literal as decoded JSON: numbers are json.Number. vars gives
// the values of variables inside; what it does not have is left out of objects
// and null in lists.
func literalJSON(v *ast.Value, vars func(string) (any, bool)) any {
	switch v.Kind {
	case ast.Variable:
		if vars != nil {
			if value, ok := vars(v.Raw); ok {
				return value
			}
		}
		return nil
	case ast.IntValue, ast.FloatValue:
		return json.Number(v.Raw)
	case ast.BooleanValue:
		return v.Raw == "true"
	case ast.NullValue:
		return nil
	case ast.ListValue:
		out := make([]any, 0, len(v.Children))
		for _, c := range v.Children {
			out = append(out, literalJSON(c.Value, vars))
		}
		return out
	case ast.ObjectValue:
		out := make(map[string]any, len(v.Children))
		for _, c := range v.Children {
			if c.Value.Kind == ast.Variable {
				if vars == nil {
					continue
				}
				if _, given := vars(c.Value.Raw); !given {
					continue
				}
			}
			out[c.Name] = literalJSON(c.Value, vars)
		}
		return out
	}
	return v.Raw
}

// An expander replaces the structural parts of variables in an argument by
// literals, so that whoever reads the argument sees one literal whose leaves
// may be variables. A leaf inside a variable becomes a variable named by its
// path ("f.id.eq"); enum values, nulls and lists of input objects are written
// out.
type expander struct {
	b *builder
	// strict refuses variables that are not given (filters); otherwise they are
	// left out of objects.
	strict bool
}

// argument expands one argument of a field. It is nil where the argument is not
// given: absent, or a variable without a value.
func (b *builder) argument(f *ast.Field, name string, strict bool) (*ast.Value, *connectors.Error) {
	if f.Definition == nil {
		return nil, nil
	}
	def := f.Definition.Arguments.ForName(name)
	if def == nil {
		return nil, nil
	}
	arg := f.Arguments.ForName(name)
	if arg == nil || arg.Value == nil {
		return def.DefaultValue, nil
	}
	if arg.Value.Kind == ast.Variable {
		if _, given := b.variable(arg.Value.Raw); !given {
			if def.Type.NonNull && def.DefaultValue == nil {
				return nil, badInput("the variable $%s is required", arg.Value.Raw).At("$" + arg.Value.Raw)
			}
			return def.DefaultValue, nil
		}
	}
	x := expander{b: b, strict: strict}
	v, err := x.value(arg.Value, def.Type, []string{name})
	if err != nil {
		return nil, err
	}
	if v != nil && v.Kind == ast.NullValue && def.Type.NonNull {
		return nil, badInput("%s must not be null", name).At(name)
	}
	return v, nil
}

// value expands a literal. The result is nil for a variable that is not given.
func (x expander) value(v *ast.Value, typ *ast.Type, path []string) (*ast.Value, *connectors.Error) {
	switch v.Kind {
	case ast.Variable:
		value, given := x.b.variable(v.Raw)
		if !given {
			if x.strict {
				return nil, badInput("the variable $%s is not given: a filter without its value would match more than was meant", v.Raw).At("$" + v.Raw)
			}
			return nil, nil
		}
		return x.json(value, typ, v.Raw, path)
	case ast.ListValue:
		if typ.Elem == nil {
			return v, nil
		}
		out := &ast.Value{Kind: ast.ListValue, Position: v.Position}
		for i, c := range v.Children {
			item, err := x.value(c.Value, typ.Elem, append(path, strconv.Itoa(i)))
			if err != nil {
				return nil, err
			}
			if item == nil {
				return nil, badInput("the variable $%s is not given", c.Value.Raw).At("$" + c.Value.Raw)
			}
			out.Children = append(out.Children, &ast.ChildValue{Value: item, Position: c.Position})
		}
		return out, nil
	case ast.ObjectValue:
		return x.object(v, typ, path)
	}
	return v, nil
}

func (x expander) object(v *ast.Value, typ *ast.Type, path []string) (*ast.Value, *connectors.Error) {
	def := x.b.in.Schema.Types[typ.Name()]
	if def == nil || def.Kind != ast.InputObject {
		// A literal of a JSON scalar: variables inside are leaves of it.
		return v, nil
	}
	out := &ast.Value{Kind: ast.ObjectValue, Position: v.Position}
	for _, c := range v.Children {
		f := def.Fields.ForName(c.Name)
		if f == nil {
			return nil, badInput("%s has no member %s", typ.Name(), c.Name).At(append(path, c.Name)...)
		}
		item, err := x.value(c.Value, f.Type, append(path, c.Name))
		if err != nil {
			return nil, err
		}
		if item == nil {
			continue
		}
		out.Children = append(out.Children, &ast.ChildValue{Name: c.Name, Value: item, Position: c.Position})
	}
	if err := x.complete(out, def, path); err != nil {
		return nil, err
	}
	return out, nil
}

// complete checks @oneOf and members that must be given, and fills in defaults,
// for objects that came from variables or had variables in them.
func (x expander) complete(v *ast.Value, def *ast.Definition, path []string) *connectors.Error {
	if def.Directives.ForName("oneOf") != nil {
		if len(v.Children) != 1 || v.Children[0].Value.Kind == ast.NullValue {
			return badInput("exactly one member of %s must be given, and not null", def.Name).At(path...)
		}
		return nil
	}
	for _, f := range def.Fields {
		given := v.Children.ForName(f.Name)
		switch {
		case given == nil && f.DefaultValue != nil:
			v.Children = append(v.Children, &ast.ChildValue{Name: f.Name, Value: f.DefaultValue})
		case f.Type.NonNull && (given == nil || given.Kind == ast.NullValue):
			return badInput("%s is required", f.Name).At(append(path, f.Name)...)
		}
	}
	return nil
}

// json expands what a variable holds. name is the path to it.
func (x expander) json(value any, typ *ast.Type, name string, path []string) (*ast.Value, *connectors.Error) {
	if value == nil {
		return &ast.Value{Kind: ast.NullValue, Raw: "null"}, nil
	}
	def := x.b.in.Schema.Types[typ.Name()]
	if def == nil {
		return nil, badInput("%s is of an unknown type", name).At("$" + name)
	}
	if def.Kind == ast.Scalar {
		return &ast.Value{Kind: ast.Variable, Raw: name}, nil
	}
	if typ.Elem != nil {
		items, ok := value.([]any)
		if !ok {
			return x.json(value, typ.Elem, name, path)
		}
		out := &ast.Value{Kind: ast.ListValue}
		for i, item := range items {
			at := strconv.Itoa(i)
			v, err := x.json(item, typ.Elem, name+pathMark+at, append(path, at))
			if err != nil {
				return nil, err
			}
			if v.Kind == ast.NullValue && typ.Elem.NonNull {
				return nil, badInput("an item must not be null").At(append(path, at)...)
			}
			out.Children = append(out.Children, &ast.ChildValue{Value: v})
		}
		return out, nil
	}
	if def.Kind == ast.Enum {
		s, ok := value.(string)
		if !ok || def.EnumValues.ForName(s) == nil {
			return nil, badInput("this is no value of %s", def.Name).At(path...)
		}
		return &ast.Value{Kind: ast.EnumValue, Raw: s}, nil
	}
	return x.jsonObject(value, def, name, path)
}

func (x expander) jsonObject(value any, def *ast.Definition, name string, path []string) (*ast.Value, *connectors.Error) {
	members, ok := value.(map[string]any)
	if !ok {
		return nil, badInput("an object of %s is expected", def.Name).At(path...)
	}
	names := make([]string, 0, len(members))
	for n := range members {
		names = append(names, n)
	}
	sort.Strings(names)
	out := &ast.Value{Kind: ast.ObjectValue}
	for _, n := range names {
		f := def.Fields.ForName(n)
		if f == nil {
			return nil, badInput("%s has no member of that name", def.Name).At(append(path, n)...)
		}
		v, err := x.json(members[n], f.Type, name+pathMark+n, append(path, n))
		if err != nil {
			return nil, err
		}
		out.Children = append(out.Children, &ast.ChildValue{Name: n, Value: v})
	}
	if err := x.complete(out, def, path); err != nil {
		return nil, err
	}
	return out, nil
}

// lookup follows the path of a variable made by an expander.
func lookup(op *ast.OperationDefinition, variables map[string]any, path string) (any, bool) {
	name, rest, deeper := strings.Cut(path, pathMark)
	v, ok := variableOf(op, variables, name)
	for ok && deeper {
		var part string
		part, rest, deeper = strings.Cut(rest, pathMark)
		switch t := v.(type) {
		case map[string]any:
			v, ok = t[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(t) {
				return nil, false
			}
			v = t[i]
		default:
			return nil, false
		}
	}
	return v, ok
}
