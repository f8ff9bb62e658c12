package plan

import (
	"slices"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// Input is what a plan is made from. Nothing of it is changed.
type Input struct {
	Catalog *catalog.Catalog
	// View of the caller, and its Schema, which the operation was validated
	// against.
	View   *policy.View
	Schema *ast.Schema
	// Operation is validated, with its fragments resolved.
	Operation *ast.OperationDefinition
	// Variables as decoded from JSON with json.Number. Only their structure (see
	// AppendSkeleton) enters the plan.
	Variables map[string]any
	Limits    Limits
	// Sealer opens global ids; the plan of node(id:) depends on the collection.
	Sealer Sealer
}

// Build makes the plan of the root fields that sources serve; the control
// plane's fields, __typename and introspection are left to others. The error is
// BAD_INPUT, DEPTH_EXCEEDED, FORBIDDEN or UNSUPPORTED, with the path of the
// input at fault.
func Build(in Input) (*Plan, *connectors.Error) {
	in.Limits = in.Limits.WithDefaults()
	b := &builder{in: in, plan: &Plan{Kind: string(in.Operation.Operation), maxCost: in.Limits.Cost, maxPage: in.Limits.MaxPage}}
	root := "Query"
	if in.Operation.Operation == ast.Mutation {
		root = "Mutation"
	}
	groups, err := b.collect(root, in.Operation.SelectionSet)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		e, own := in.Catalog.Element(root, g.first.Name)
		if !own {
			continue
		}
		f, err := b.root(g, e)
		if err != nil {
			return nil, at(err, g.key)
		}
		b.plan.Fields = append(b.plan.Fields, f)
	}
	b.finish()
	return b.plan, nil
}

// at puts the response key before the path of an error.
func at(err *connectors.Error, key string) *connectors.Error {
	out := *err
	out.Path = append([]string{key}, err.Path...)
	return &out
}

type builder struct {
	in    Input
	plan  *Plan
	steps []*stepBuilder
	binds map[bindKey]int
	depth int
}

// bindKey identifies a join: the same columns of the same parent are read once.
type bindKey struct {
	parent *Step
	write  *Write
	name   string
}

// A stepBuilder is a step that columns are still added to.
type stepBuilder struct {
	argTable
	step   *Step
	sel    *connectors.Select
	coll   *catalog.Collection
	read   *policy.ReadAccess
	cols   map[column]int
	parent *stepBuilder
}

// A column is a field as the caller may see it, or as the plan itself needs it.
type column struct {
	field    string
	internal bool
	mask     int // the position of a mask, from 1; 0: the field's own value
}

func (b *builder) newStep(source, object string, path []string) *stepBuilder {
	s := &stepBuilder{
		argTable: argTable{b: b},
		step:     &Step{ID: len(b.steps), Source: source, Object: object, Bind: -1, Group: -1, Path: append([]string(nil), path...)},
		sel:      &connectors.Select{MaxRows: b.in.Limits.StepRows},
		cols:     map[column]int{},
	}
	b.steps = append(b.steps, s)
	return s
}

// reading begins a step over a collection, under the caller's row condition.
func (b *builder) reading(c *catalog.Collection, path []string) (*stepBuilder, *connectors.Error) {
	access := b.in.View.Object(c.Object)
	if access == nil || access.Read == nil {
		return nil, forbidden()
	}
	s := b.newStep(c.Source.Name, c.Object, path)
	s.coll, s.read = c, access.Read
	s.sel.Collection = c.Name
	s.sel.Where = s.bound(access.Read.Row)
	return s, nil
}

// forbidden is what a plan says of a thing the view does not have. The
// document was validated against the view's schema, so it says nothing more.
func forbidden() *connectors.Error {
	return connectors.Errorf(connectors.CodeForbidden, "this may not be read")
}

// field adds the column of a field as the caller may see it.
func (s *stepBuilder) field(f *catalog.Field) (int, *connectors.Error) {
	cell, ok := s.read.Fields[f.System]
	if !ok {
		return 0, forbidden()
	}
	if cell.If == nil {
		return s.internal(f), nil
	}
	key := column{field: f.System}
	if i, ok := s.cols[key]; ok {
		return i, nil
	}
	return s.column(key, connectors.Column{Field: f.System, If: s.bound(cell.If)}), nil
}

// masked adds the columns of a field that is masked: its own value where that is
// shown, and one for each mask. Which of them has a value says how the cell is
// shown, so that connectors need not know masks.
func (s *stepBuilder) masked(g *group, f *catalog.Field, cell policy.Cell) (*Field, *connectors.Error) {
	note := MaskedField{Object: s.coll.Object, Field: f.System, Name: f.Name}
	if !slices.Contains(s.b.plan.Masked, note) {
		s.b.plan.Masked = append(s.b.plan.Masked, note)
	}
	out := newField(g, FieldMasked)
	out.Source, out.Column = s.step.Source, -1
	if len(cell.Masks) == 0 {
		out.Kind, out.Text = FieldConst, []byte("null")
		return out, nil
	}
	if f.Type.Values != nil || f.Type.Members != nil || f.Type.List {
		return nil, forbidden()
	}
	out.Scalars = []connectors.Scalar{f.Type.Leaf}
	if !cell.Never() {
		out.Column, _ = s.field(f)
	}
	for i, m := range cell.Masks {
		mc := MaskedColumn{Mask: m.Mask}
		if m.If == nil {
			mc.Column = s.internal(f)
		} else if at, ok := s.cols[column{field: f.System, mask: i + 1}]; ok {
			mc.Column = at
		} else {
			mc.Column = s.column(column{field: f.System, mask: i + 1}, connectors.Column{Field: f.System, If: s.bound(m.If)})
		}
		out.Masks = append(out.Masks, mc)
	}
	return out, nil
}

// internal adds the column of a field for the plan's own use: joins, cursors,
// ids. Its value is not shown as such.
func (s *stepBuilder) internal(f *catalog.Field) int {
	key := column{field: f.System, internal: true}
	if i, ok := s.cols[key]; ok {
		return i
	}
	return s.column(key, connectors.Column{Field: f.System})
}

func (s *stepBuilder) column(key column, c connectors.Column) int {
	s.cols[key] = len(s.sel.Columns)
	s.sel.Columns = append(s.sel.Columns, c)
	return s.cols[key]
}

// under makes the step read the records that belong to the rows of parent.
func (s *stepBuilder) under(parent *stepBuilder, from, on []*catalog.Field) {
	s.parent, s.step.Parent = parent, parent.step
	name := ""
	for i := range from {
		s.step.Keys = append(s.step.Keys, s.joined(parent, from[i], on[i]))
		s.step.KeyScalars = append(s.step.KeyScalars, from[i].Type.Leaf)
		s.step.keyTypes = append(s.step.keyTypes, on[i].Type)
		s.sel.Bind = append(s.sel.Bind, on[i].System)
		name += from[i].System + "\x00" + string(on[i].Type.Leaf) + "\x00"
	}
	s.step.Bind = s.b.bind(bindKey{parent: parent.step, name: name})
	parent.step.Children = append(parent.step.Children, s.step)
}

// joined is the column of the parent that a join begins at. Where one of its two
// fields has a value for some records only, the others are joined to nothing:
// whom they belong to would tell the value. Fields that the view does not have
// work inside; of such as are shown as digests on both sides it is known which
// belong together.
func (s *stepBuilder) joined(parent *stepBuilder, from, on *catalog.Field) int {
	a, b := parent.read.Fields[from.System], s.read.Fields[on.System]
	if a.Hashed() && b.Hashed() {
		return parent.internal(from)
	}
	if b.If != nil {
		s.sel.Where = connectors.And(s.sel.Where, s.bound(b.If))
	}
	if a.If == nil {
		return parent.internal(from)
	}
	col, err := parent.field(from)
	if err != nil {
		return parent.internal(from) // a.If is of a field that the view has
	}
	return col
}

func (b *builder) bind(key bindKey) int {
	if i, ok := b.binds[key]; ok {
		return i
	}
	if b.binds == nil {
		b.binds = map[bindKey]int{}
	}
	i := len(b.binds)
	b.binds[key] = i
	return i
}

// finish seals the selects, numbers the arguments and groups the steps that
// share a snapshot.
func (b *builder) finish() {
	p := b.plan
	for _, s := range b.steps {
		if s.sel.Aggregate == nil && s.sel.Function == "" && len(s.sel.Columns) == 0 {
			s.internal(anyField(s.coll))
		}
		s.step.ArgFrom = len(p.Args)
		p.Args = append(p.Args, s.args...)
		s.step.ArgTo = len(p.Args)
		s.step.Select = s.sel.Seal()
		s.step.Width = max(1, len(s.sel.Columns))
		if a := s.sel.Aggregate; a != nil {
			s.step.Width = len(a.GroupBy) + len(a.Values)
		}
		s.step.rows.fields = s.step.Width
		if s.coll != nil {
			s.step.MaxBind = s.coll.Source.Schema.Capabilities.MaxBind
		}
		p.Steps = append(p.Steps, s.step)
		if s.step.Parent == nil {
			p.Roots = append(p.Roots, s.step)
		}
	}
	for _, w := range p.Writes {
		w.ArgFrom = len(p.Args)
		p.Args = append(p.Args, w.table.args...)
		w.ArgTo = len(p.Args)
		w.table = nil
	}
	p.Binds = len(b.binds)
	b.group()
}

func anyField(c *catalog.Collection) *catalog.Field {
	if len(c.Key) > 0 {
		return c.Key[0]
	}
	return c.Fields[0]
}

// group gives the steps that see one state of one source the same group: those
// of one source that do not wait for another source in between. A step alone
// needs no snapshot.
func (b *builder) group() {
	type place struct {
		parent *Step
		source string
	}
	p := b.plan
	groups := map[place]int{}
	for _, s := range b.steps {
		if s.coll == nil || !s.coll.Source.Schema.Capabilities.Snapshot {
			continue
		}
		at := place{s.step.Parent, s.step.Source}
		if s.step.Parent != nil && s.step.Parent.Source == s.step.Source && s.step.Parent.Group >= 0 {
			s.step.Group = s.step.Parent.Group
			p.Groups[s.step.Group]++
			continue
		}
		g, ok := groups[at]
		if !ok {
			g = len(p.Groups)
			groups[at] = g
			p.Groups = append(p.Groups, 0)
		}
		s.step.Group = g
		p.Groups[g]++
	}
	kept := p.Groups[:0:0]
	renamed := make([]int, len(p.Groups))
	for g, n := range p.Groups {
		renamed[g] = -1
		if n > 1 {
			renamed[g] = len(kept)
			kept = append(kept, n)
		}
	}
	for _, s := range p.Steps {
		if s.Group >= 0 {
			s.Group = renamed[s.Group]
		}
	}
	p.Groups = kept
}
