package plan

import (
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
)

// newField begins the field of the answer for a group of selections.
func newField(g *group, kind FieldKind) *Field {
	f := &Field{Key: g.key, Open: append(connectors.AppendJSONString(nil, g.key), ':'), Kind: kind}
	if g.first.Definition != nil {
		f.NonNull = g.first.Definition.Type.NonNull
	}
	return f
}

func typename(g *group, name string) *Field {
	f := newField(g, FieldConst)
	f.NonNull = true
	f.Text = connectors.AppendJSONString(nil, name)
	return f
}

// root plans one root field of a source.
func (b *builder) root(g *group, e catalog.Element) (*Field, *connectors.Error) {
	path := []string{g.key}
	switch e.Kind {
	case catalog.RootGet, catalog.RootGetBy:
		return b.single(g, e, path)
	case catalog.RootList:
		return b.connection(g, e.Collection, nil, path)
	case catalog.RootGroups:
		return b.groups(g, e.Collection, path)
	case catalog.RootNode:
		return b.node(g, path)
	case catalog.RootFunction:
		return b.call(g, e.Function, path)
	}
	return b.write(g, e)
}

// single plans one record by a key.
func (b *builder) single(g *group, e catalog.Element, path []string) (*Field, *connectors.Error) {
	s, err := b.reading(e.Collection, path)
	if err != nil {
		return nil, err
	}
	s.step.One = true
	var key []catalog.Assigned
	var bad error
	if e.Kind == catalog.RootGet {
		args, err := b.inputs(g.first)
		if err != nil {
			return nil, err
		}
		key, bad = catalog.KeyOperands(e.Collection, args, s.options())
	} else {
		v, err := b.argument(g.first, "key", true)
		if err != nil {
			return nil, err
		}
		key, bad = catalog.UniqueOperands(e.Collection, catalog.Literal(v), s.options())
		if bad != nil {
			bad = below(bad, "key")
		}
	}
	if bad != nil {
		return nil, connectors.AsError(bad)
	}
	s.sel.Where = connectors.And(append(equal(key), s.sel.Where)...)
	f := newField(g, FieldOne)
	f.Step, f.Source = s.step, s.step.Source
	f.Select, err = b.record(s, g.sets, path)
	return f, err
}

// equal are the comparisons of a key.
func equal(key []catalog.Assigned) []*connectors.Condition {
	var out []*connectors.Condition
	for _, k := range key {
		out = append(out, connectors.Compare(k.Field.System, connectors.OpEq, k.Operand))
	}
	return out
}

// inputs are all arguments of a field.
func (b *builder) inputs(f *ast.Field) (map[string]catalog.Input, *connectors.Error) {
	out := make(map[string]catalog.Input, len(f.Arguments))
	if f.Definition == nil {
		return out, nil
	}
	for _, def := range f.Definition.Arguments {
		v, err := b.argument(f, def.Name, false)
		if err != nil {
			return nil, err
		}
		if v != nil {
			out[def.Name] = catalog.Literal(v)
		}
	}
	return out, nil
}

// record plans the selection of a record of the step's collection.
func (b *builder) record(s *stepBuilder, sets []ast.SelectionSet, path []string) (*Selection, *connectors.Error) {
	if b.depth++; b.depth > b.in.Limits.Depth {
		return nil, connectors.Errorf(connectors.CodeDepthExceeded, "the selection is nested too deeply")
	}
	defer func() { b.depth-- }()
	groups, err := b.collect(s.coll.Type, sets...)
	if err != nil {
		return nil, err
	}
	out := &Selection{Type: s.coll.Type}
	for _, g := range groups {
		f, err := b.recordField(s, g, path)
		if err != nil {
			return nil, err
		}
		out.Fields = append(out.Fields, f)
	}
	return out, nil
}

func (b *builder) recordField(s *stepBuilder, g *group, path []string) (*Field, *connectors.Error) {
	if g.first.Name == "__typename" {
		return typename(g, s.coll.Type), nil
	}
	e, ok := b.in.Catalog.Element(s.coll.Type, g.first.Name)
	if !ok {
		return nil, forbidden()
	}
	below := append(append([]string(nil), path...), g.key)
	switch e.Kind {
	case catalog.RecordNodeID:
		f := newField(g, FieldNodeID)
		f.Member = s.coll.Object
		for _, k := range s.coll.Key {
			f.Columns = append(f.Columns, s.internal(k))
			f.Scalars = append(f.Scalars, k.Type.Leaf)
		}
		return f, nil
	case catalog.RecordRelation:
		if e.Relation.Many {
			return b.connection(g, e.Relation.To, &from{s, e.Relation}, below)
		}
		return b.toOne(s, g, e.Relation, below)
	}
	if cell := s.read.Fields[e.Field.System]; len(cell.Masks) > 0 || cell.Never() {
		return s.masked(g, e.Field, cell)
	}
	col, err := s.field(e.Field)
	if err != nil {
		return nil, err
	}
	f, err := b.value(g, e.Field.Type, below)
	if err != nil {
		return nil, err
	}
	f.Column = col
	sourced(f, s.step.Source)
	return f, nil
}

// sourced sets the source that errors of the field and of what is projected
// from it name.
func sourced(f *Field, source string) {
	f.Source = source
	if f.Select != nil {
		for _, sub := range f.Select.Fields {
			sourced(sub, source)
		}
	}
}

// value plans a value inside a cell: copied where it is a scalar, projected
// where it is an object.
func (b *builder) value(g *group, t *catalog.Type, path []string) (*Field, *connectors.Error) {
	f := newField(g, FieldCell)
	if t.Values == nil && t.Members == nil {
		return f, nil
	}
	f.Leaf = leafOf(t, g.first.Definition.Type)
	if t.Members == nil {
		return f, nil
	}
	f.Kind = FieldObject
	sel, err := b.object(t.Members, g.sets, path)
	f.Select = sel
	return f, err
}

func leafOf(t *catalog.Type, def *ast.Type) *Leaf {
	l := &Leaf{Scalar: t.Leaf, List: t.List}
	if def.Elem != nil {
		l.ItemNonNull = def.Elem.NonNull
	}
	if t.Values != nil {
		l.Names = make(map[string]string, len(t.Values.Values))
		for _, v := range t.Values.Values {
			l.Names[v.System] = v.Name
		}
	}
	return l
}

// object plans the projection of a nested object.
func (b *builder) object(o *catalog.ObjectType, sets []ast.SelectionSet, path []string) (*Selection, *connectors.Error) {
	if b.depth++; b.depth > b.in.Limits.Depth {
		return nil, connectors.Errorf(connectors.CodeDepthExceeded, "the selection is nested too deeply")
	}
	defer func() { b.depth-- }()
	groups, err := b.collect(o.Type, sets...)
	if err != nil {
		return nil, err
	}
	out := &Selection{Type: o.Type}
	for _, g := range groups {
		if g.first.Name == "__typename" {
			out.Fields = append(out.Fields, typename(g, o.Type))
			continue
		}
		member := o.Field(g.first.Name)
		if member == nil {
			return nil, forbidden()
		}
		f, err := b.value(g, member.Type, append(append([]string(nil), path...), g.key))
		if err != nil {
			return nil, err
		}
		if f.Leaf == nil {
			f.Leaf = leafOf(member.Type, g.first.Definition.Type)
		}
		f.Leaf.Checked = true
		f.Kind, f.Member = FieldMember, member.System
		out.Fields = append(out.Fields, f)
	}
	return out, nil
}

// toOne plans the related record.
func (b *builder) toOne(parent *stepBuilder, g *group, r *catalog.Relation, path []string) (*Field, *connectors.Error) {
	s, err := b.reading(r.To, path)
	if err != nil {
		return nil, err
	}
	s.step.One = true
	s.under(parent, r.Fields, r.On)
	f := newField(g, FieldOne)
	f.Step, f.Source = s.step, s.step.Source
	f.Select, err = b.record(s, g.sets, path)
	return f, err
}

// node plans the record of a global id.
func (b *builder) node(g *group, path []string) (*Field, *connectors.Error) {
	v, err := b.argument(g.first, "id", false)
	if err != nil {
		return nil, err
	}
	f := newField(g, FieldOne)
	object, n, bad := "", 0, error(nil)
	if b.in.Sealer != nil && v != nil {
		text, _ := literalJSON(v, func(name string) (any, bool) {
			return lookup(b.in.Operation, b.in.Variables, name)
		}).(string)
		var values []connectors.Value
		object, values, bad = openNode(b.in.Sealer, text)
		n = len(values)
	}
	c := b.in.Catalog.Collection(object)
	access := b.in.View.Object(object)
	if bad != nil || c == nil || access == nil || access.Read == nil || len(c.Key) != n {
		// An id of nothing, of another tenant and of what may not be read look
		// the same.
		f.Kind, f.Text = FieldConst, []byte("null")
		return f, nil
	}
	s, err := b.reading(c, path)
	if err != nil {
		return nil, err
	}
	s.step.One = true
	var key []*connectors.Condition
	for i, k := range c.Key {
		arg := s.add(Arg{Kind: ArgNode, Value: v, Type: k.Type, Term: i, At: []string{"id"}})
		key = append(key, connectors.Compare(k.System, connectors.OpEq, connectors.Arg(arg)))
	}
	s.sel.Where = connectors.And(append(key, s.sel.Where)...)
	f.Step, f.Source = s.step, s.step.Source
	f.Select, err = b.record(s, g.sets, path)
	return f, err
}

// call plans a function that reads.
func (b *builder) call(g *group, fn *catalog.Function, path []string) (*Field, *connectors.Error) {
	access := b.in.View.Object(fn.Object)
	if access == nil || access.Call == nil {
		return nil, forbidden()
	}
	s := b.newStep(fn.Source.Name, fn.Object, path)
	s.sel.Function = fn.Name
	inputs, err := b.inputs(g.first)
	if err != nil {
		return nil, err
	}
	args, bad := catalog.CallArguments(fn, inputs, s.options())
	if bad != nil {
		return nil, connectors.AsError(bad)
	}
	var given []string
	for _, a := range args {
		given = append(given, a.Field.System)
		s.sel.Call = append(s.sel.Call, connectors.ArgOperand{Name: a.Field.System, Operand: a.Operand})
	}
	decision, presets, err := s.decide(access.Call, given)
	if err != nil {
		return nil, err
	}
	s.step.Permit = decision.Permit
	for _, p := range presets {
		s.sel.Call = append(s.sel.Call, connectors.ArgOperand{Name: p.Field, Operand: p.Operand})
	}
	f := newField(g, FieldCall)
	f.Step = s.step
	if fn.Result == nil {
		f.Kind, f.Text = FieldConst, []byte("null")
		return f, nil
	}
	f.Leaf = leafOf(fn.Result, g.first.Definition.Type)
	f.Leaf.Checked = true
	if fn.Result.Members != nil {
		f.Select, err = b.object(fn.Result.Members, g.sets, path)
	}
	sourced(f, s.step.Source)
	return f, err
}

// nameOf is a position in a path.
func nameOf(i int) string { return strconv.Itoa(i) }
