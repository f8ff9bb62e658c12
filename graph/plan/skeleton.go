package plan

import (
	"encoding/binary"
	"encoding/json"

	"github.com/vektah/gqlparser/v2/ast"
)

// AppendSkeleton appends to dst what of the variables decides the structure of
// a plan: which are given, null or absent, the keys of input objects, the
// lengths of lists of them, enum values, top-level booleans (they may stand in
// @skip and @include), and the collection of a global id. Values of leaves are
// not in it. Equal skeletons of one operation give equal plans; a scalar
// variable takes one byte.
//
// sealer opens global ids; it may be nil where the schema has no node field.
func AppendSkeleton(dst []byte, schema *ast.Schema, op *ast.OperationDefinition, variables map[string]any, sealer Sealer) []byte {
	for _, def := range op.VariableDefinitions {
		v, given := variables[def.Variable]
		if !given {
			dst = append(dst, 'a')
			continue
		}
		dst = appendShape(dst, schema, def.Type, v, true)
	}
	if sealer != nil && hasNodeVariable(op) {
		dst = appendNodes(dst, op, variables, sealer)
	}
	return dst
}

func appendShape(dst []byte, schema *ast.Schema, typ *ast.Type, v any, top bool) []byte {
	if v == nil {
		return append(dst, 'n')
	}
	def := schema.Types[typ.Name()]
	if def == nil {
		return append(dst, 'x')
	}
	if typ.Elem != nil {
		if def.Kind == ast.Scalar {
			return append(dst, 'l')
		}
		items, ok := v.([]any)
		if !ok {
			// A single value stands for a list of one.
			return appendShape(append(dst, '1'), schema, typ.Elem, v, false)
		}
		dst = append(dst, '[')
		dst = binary.AppendUvarint(dst, uint64(len(items)))
		for _, item := range items {
			dst = appendShape(dst, schema, typ.Elem, item, false)
		}
		return dst
	}
	switch def.Kind {
	case ast.Enum:
		s, ok := v.(string)
		if !ok {
			return append(dst, 'x')
		}
		dst = append(dst, 'e')
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		return append(dst, s...)
	case ast.InputObject:
		return appendObjectShape(dst, schema, def, v)
	}
	if b, ok := v.(bool); ok && top {
		if b {
			return append(dst, 't')
		}
		return append(dst, 'f')
	}
	return append(dst, 's')
}

// appendObjectShape writes the members in the order of the type, so that the
// order of a client's keys does not matter.
func appendObjectShape(dst []byte, schema *ast.Schema, def *ast.Definition, v any) []byte {
	members, ok := v.(map[string]any)
	if !ok {
		return append(dst, 'x')
	}
	dst = append(dst, '{')
	seen := 0
	for i, f := range def.Fields {
		item, given := members[f.Name]
		if !given {
			continue
		}
		seen++
		dst = binary.AppendUvarint(dst, uint64(i)+2)
		dst = appendShape(dst, schema, f.Type, item, false)
	}
	if seen != len(members) {
		// A key that the type does not have: Build refuses it where it is used.
		return append(dst, 1)
	}
	return append(dst, 0)
}

func hasNodeVariable(op *ast.OperationDefinition) bool {
	for _, def := range op.VariableDefinitions {
		if def.Type.Elem == nil && def.Type.NamedType == "ID" {
			return true
		}
	}
	return false
}

// appendNodes adds the collection of each global id that a variable gives to
// the root field node: which record type it is decides the plan.
func appendNodes(dst []byte, op *ast.OperationDefinition, variables map[string]any, sealer Sealer) []byte {
	var walk func(set ast.SelectionSet, depth int)
	walk = func(set ast.SelectionSet, depth int) {
		if depth > maxFragmentDepth {
			return
		}
		for _, sel := range set {
			switch s := sel.(type) {
			case *ast.Field:
				if s.Name != "node" {
					continue
				}
				id := s.Arguments.ForName("id")
				if id == nil || id.Value.Kind != ast.Variable {
					continue
				}
				text, _ := variables[id.Value.Raw].(string)
				object, _, err := openNode(sealer, text)
				if err != nil {
					object = ""
				}
				dst = append(dst, '#')
				dst = append(dst, object...)
				dst = append(dst, 0)
			case *ast.InlineFragment:
				walk(s.SelectionSet, depth+1)
			case *ast.FragmentSpread:
				if s.Definition != nil {
					walk(s.Definition.SelectionSet, depth+1)
				}
			}
		}
	}
	walk(op.SelectionSet, 0)
	return dst
}

// maxFragmentDepth bounds recursion over fragments; validation has refused
// circles before.
const maxFragmentDepth = 256

// number reads a decoded JSON number as an int; ok is false for everything
// else, fractions and what does not fit.
func number(v any) (int, bool) {
	switch n := v.(type) {
	case json.Number:
		i, err := n.Int64()
		if err != nil || i != int64(int(i)) {
			return 0, false
		}
		return int(i), true
	case int:
		return n, true
	case int64:
		return int(n), true
	case float64:
		i := int(n)
		return i, float64(i) == n
	}
	return 0, false
}
