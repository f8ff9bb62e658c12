package catalog

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

func input(name, description string) *ast.Definition {
	return &ast.Definition{Kind: ast.InputObject, Name: name, Description: description, Position: builtAt}
}

// generateInput makes the definition of an input or enum of the data plane.
func (s *sight) generateInput(name string, t typeInfo, h *shown) *ast.Definition {
	switch t.role {
	case roleFilter:
		return s.filter(name, h)
	case roleRelated:
		filter := named(h.c.FilterType())
		def := input(name, "How many of the related records must match.")
		def.Fields = ast.FieldList{field("some", "", filter), field("every", "", filter), field("none", "", filter)}
		return def
	case roleOrderBy:
		return s.orderBy(name, h)
	case roleKey:
		return keyDefinition(name, h, s.cat.base.oneOf)
	case roleKeyPart:
		def := input(name, "")
		for _, f := range t.unique.Fields {
			def.Fields = append(def.Fields, field(f.Name, "", typeOf(f.Type, f.Type.Input, true)))
		}
		return def
	case roleInput, rolePatch:
		return writeInput(name, h, t.role)
	case roleGroupBy:
		def := &ast.Definition{Kind: ast.Enum, Name: name, Position: builtAt}
		for _, f := range h.grouped() {
			def.EnumValues = append(def.EnumValues, &ast.EnumValueDefinition{Name: upper(f.Name), Position: builtAt})
		}
		return def
	case roleHaving:
		def := input(name, "What must hold of a group.")
		def.Fields = append(def.Fields, field("count", "", named(havingName(connectors.ScalarSafeInt))))
		for _, fn := range aggregateFuncs {
			if len(h.aggregated(fn)) > 0 {
				def.Fields = append(def.Fields, field(string(fn), "", named(h.c.functionHavingType(fn))))
			}
		}
		return def
	case roleFunctionHaving:
		def := input(name, "")
		for _, f := range h.aggregated(t.fn) {
			scalar, _ := t.fn.ScalarOf(f.Type.Leaf)
			def.Fields = append(def.Fields, field(f.Name, "", named(havingName(scalar))))
		}
		return def
	case roleCallInput:
		def := input(name, t.function.Spec.Comment)
		for _, a := range s.callArgs(t.function) {
			def.Fields = append(def.Fields, inputField(a))
		}
		return def
	case roleObjectInput:
		def := input(name, t.object.Spec.Comment)
		for _, f := range t.object.Fields {
			if t.object.fields[f.Name] != f || !f.gives() {
				continue
			}
			g := inputField(f)
			g.Type.NonNull = t.object.requires(f)
			def.Fields = append(def.Fields, g)
		}
		return def
	}
	return nil
}

func (s *sight) filter(name string, h *shown) *ast.Definition {
	def := input(name, "All members must hold; an empty filter matches everything.")
	self := listOf(nonNull(name), false)
	def.Fields = ast.FieldList{field("and", "", self), field("or", "Of nothing: false.", self), field("not", "", named(name))}
	for i, f := range h.c.Fields {
		if h.cells[i] != always || f.comparison == "" || reservedMember(f.Name) {
			continue
		}
		def.Fields = append(def.Fields, field(f.Name, f.Spec.Comment, named(f.comparison)))
	}
	for _, r := range h.c.Relations {
		if !s.relatesInInputs(r) || !s.shown[r.To].filterable || reservedMember(r.Name) {
			continue
		}
		t := r.To.FilterType()
		if r.Many {
			t = r.To.relatedType()
		}
		def.Fields = append(def.Fields, field(r.Name, r.Comment, named(t)))
	}
	return def
}

// reservedMember tells the connectives of filters: a field of such a name is
// in the graph, but not in filters.
func reservedMember(name string) bool { return name == "and" || name == "or" || name == "not" }

func (s *sight) orderBy(name string, h *shown) *ast.Definition {
	def := input(name, "")
	def.Directives = s.cat.base.oneOf
	for i, f := range h.c.Fields {
		if h.cells[i] == always && f.Spec.Order {
			def.Fields = append(def.Fields, field(f.Name, "", named("OrderDirection")))
		}
	}
	for _, r := range h.c.Relations {
		if !r.Many && s.relatesInInputs(r) && s.shown[r.To].orderable {
			def.Fields = append(def.Fields, field(r.Name, "", named(r.To.OrderByType())))
		}
	}
	return def
}

// keys are the unique keys by which the view can ask for one record.
func (s *shown) keys() []*Unique {
	var out []*Unique
	for _, u := range s.c.Uniques {
		ok := s.c.Spec.List
		for _, f := range u.Fields {
			ok = ok && s.cell(f) == always && len(intersect([]connectors.Op{connectors.OpEq}, f.Spec.Filter)) > 0
		}
		if ok {
			out = append(out, u)
		}
	}
	return out
}

func keyDefinition(name string, h *shown, oneOf ast.DirectiveList) *ast.Definition {
	def := input(name, "")
	for _, u := range h.keys() {
		if len(u.Fields) == 1 {
			def.Fields = append(def.Fields, field(u.Name, "", typeOf(u.Fields[0].Type, u.Fields[0].Type.Input, false)))
			continue
		}
		def.Fields = append(def.Fields, field(u.Name, "", named(h.c.keyPartType(u))))
	}
	def.Directives = oneOf
	return def
}

// writeFields are the fields that a view may give in a create or update.
func (s *shown) writeFields(r role) []*Field {
	access, kind := s.access.Create, connectors.Create
	if r == rolePatch {
		access, kind = s.access.Update, connectors.Update
	}
	if access == nil || s.c.Act(kind) == nil {
		return nil
	}
	var out []*Field
	for _, f := range s.c.Fields {
		if writes(access, f) && f.writable(r == rolePatch, s.c) {
			out = append(out, f)
		}
	}
	return out
}

// writable tells whether a field can be given at all. A key is given on create
// and never changed.
func (f *Field) writable(patch bool, c *Collection) bool {
	if f.Hidden || !f.gives() || patch && f.Spec.CreateOnly {
		return false
	}
	if patch {
		for _, k := range c.Key {
			if f == k {
				return false
			}
		}
	}
	return true
}

func writeInput(name string, h *shown, r role) *ast.Definition {
	def := input(name, "")
	for _, f := range h.writeFields(r) {
		if r == roleInput {
			def.Fields = append(def.Fields, inputField(f))
			continue
		}
		t := typeOf(f.Type, f.Type.Input, false)
		if h.c.increments(f) {
			t = named(string(f.Type.Leaf) + "Change")
		}
		def.Fields = append(def.Fields, field(f.Name, f.Spec.Comment, t))
	}
	return def
}

// increments tells whether a patch changes the field by {set:} or {increment:}:
// a number that counts or measures something. One that names a record, its own
// or another, is given as it is.
func (c *Collection) increments(f *Field) bool {
	a := c.Act(connectors.Update)
	return a != nil && a.Increment && !f.Type.List && f.Type.Scalar != "" && numeric(f.Type.Scalar) && !c.identifies(f)
}

// identifies tells whether the field is part of the primary key or of a foreign key,
// or a unique key by itself. A further key of several fields may well hold a
// number that counts, such as a place in a list.
func (c *Collection) identifies(f *Field) bool {
	if slices.Contains(c.Spec.Key, f.System) {
		return true
	}
	for _, r := range c.Spec.References {
		if slices.Contains(r.Fields, f.System) {
			return true
		}
	}
	for _, u := range c.Spec.Uniques {
		if len(u.Fields) == 1 && u.Fields[0] == f.System {
			return true
		}
	}
	return false
}

// inputField is a field as part of an input: required unless it may be null or
// has a default.
func inputField(f *Field) *ast.FieldDefinition {
	return field(f.Name, f.Spec.Comment, typeOf(f.Type, f.Type.Input, !f.Spec.Nullable && !f.Spec.Default))
}

// callArgs are the arguments that the view may give a function.
func (s *sight) callArgs(f *Function) []*Field {
	a := s.view.Object(f.Object)
	if a == nil || a.Call == nil {
		return nil
	}
	var out []*Field
	for _, arg := range f.Args {
		if writes(a.Call, arg) && arg.gives() {
			out = append(out, arg)
		}
	}
	return out
}

func (s *sight) changeDefinition(name, scalar string) *ast.Definition {
	def := input(name, "Another value, or so much more (or less) than there is.")
	def.Directives = s.cat.base.oneOf
	def.Fields = ast.FieldList{field("set", "", named(scalar)), field("increment", "", named(scalar))}
	return def
}

func comparisonDefinition(name string, c comparison) *ast.Definition {
	def := input(name, "All members must hold; at least one is needed.")
	for _, op := range c.ops {
		t := named(c.typ.Input)
		switch op {
		case connectors.OpIn, connectors.OpNotIn:
			t = listOf(nonNull(c.typ.Input), false)
		case connectors.OpIsNull:
			t = named("Boolean")
		case connectors.OpHasKey:
			t = named("String")
		}
		def.Fields = append(def.Fields, field(string(op), operatorWords[op], t))
	}
	return def
}

var operatorWords = map[connectors.Op]string{
	connectors.OpNe:     "A null does not match.",
	connectors.OpLike:   "% stands for any text, _ for one character; a backslash escapes.",
	connectors.OpILike:  "like, whatever the case of letters.",
	connectors.OpHasKey: "The JSON object has this key.",
	connectors.OpSearch: "Full text search.",
}
