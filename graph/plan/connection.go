package plan

import (
	"crypto/sha256"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
)

// from is where the records of a nested connection belong to.
type from struct {
	parent   *stepBuilder
	relation *catalog.Relation
}

// A conn is a connection being planned.
type conn struct {
	b    *builder
	g    *group
	coll *catalog.Collection
	from *from
	path []string
	// rows and totals are the two statements, made when something of them is
	// selected.
	rows   *stepBuilder
	totals *stepBuilder
	values map[connectors.AggregateValue]int
}

// connection plans a list of records with its page, counts and aggregates.
func (b *builder) connection(g *group, c *catalog.Collection, parent *from, path []string) (*Field, *connectors.Error) {
	if b.depth++; b.depth > b.in.Limits.Depth {
		return nil, connectors.Errorf(connectors.CodeDepthExceeded, "the selection is nested too deeply")
	}
	defer func() { b.depth-- }()
	k := &conn{b: b, g: g, coll: c, from: parent, path: path, values: map[connectors.AggregateValue]int{}}
	f := newField(g, FieldMany)
	f.Source = c.Source.Name
	typeName := g.first.Definition.Type.Name()
	groups, err := b.collect(typeName, g.sets...)
	if err != nil {
		return nil, err
	}
	if err := k.page(typeName, groups); err != nil {
		return nil, err
	}
	f.Select = &Selection{Type: typeName}
	for _, sub := range groups {
		field, err := k.field(sub, typeName)
		if err != nil {
			return nil, err
		}
		f.Select.Fields = append(f.Select.Fields, field)
	}
	if k.rows != nil {
		f.Step = k.rows.step
	}
	return f, nil
}

// where is a fresh step over the collection under the filter. It returns which
// of its arguments are the client's.
func (k *conn) where() (*stepBuilder, []int, *connectors.Error) {
	s, err := k.b.reading(k.coll, k.path)
	if err != nil {
		return nil, nil, err
	}
	if k.from != nil {
		s.under(k.from.parent, k.from.relation.Fields, k.from.relation.On)
	}
	v, err := k.b.argument(k.g.first, "filter", true)
	if err != nil {
		return nil, nil, err
	}
	if v == nil || v.Kind == ast.NullValue {
		return s, nil, nil
	}
	before := len(s.args)
	s.at = []string{"filter"}
	c, bad := catalog.FilterCondition(k.coll, catalog.Literal(v), s.options())
	if bad != nil {
		return nil, nil, below(bad, "filter")
	}
	var mine []int
	for i := before; i < len(s.args); i++ {
		if s.args[i].Kind == ArgValue {
			mine = append(mine, i)
		}
	}
	s.sel.Where = connectors.And(c, s.sel.Where)
	return s, mine, nil
}

// page plans the statement for the records, where any of it is selected, with
// its order and page. Wrong arguments are refused also where nothing is.
func (k *conn) page(typeName string, groups []*group) *connectors.Error {
	var records, cursors, ahead, behind bool
	for _, g := range groups {
		e, _ := k.b.in.Catalog.Element(typeName, g.first.Name)
		switch e.Kind {
		case catalog.ConnectionNodes:
			records = true
		case catalog.ConnectionEdges:
			records = true
			cursors = cursors || k.selects(g, "cursor")
		case catalog.ConnectionPageInfo:
			records = true
			cursors = cursors || k.selects(g, "startCursor") || k.selects(g, "endCursor")
			ahead = ahead || k.selects(g, "hasNextPage")
			behind = behind || k.selects(g, "hasPreviousPage")
		}
	}
	s, filter, err := k.where()
	if err != nil {
		return err
	}
	if err := k.order(s); err != nil {
		return err
	}
	if err := k.arguments(s, filter, cursors, ahead, behind); err != nil {
		return err
	}
	if !records {
		k.drop(s)
		return nil
	}
	k.rows = s
	return nil
}

// drop takes back the step that was made last.
func (k *conn) drop(s *stepBuilder) {
	k.b.steps = k.b.steps[:len(k.b.steps)-1]
	if s.parent != nil {
		c := s.parent.step.Children
		s.parent.step.Children = c[:len(c)-1]
	}
}

// selects tells whether the groups' object has a field of that name.
func (k *conn) selects(g *group, name string) bool {
	groups, err := k.b.collect(g.first.Definition.Type.Name(), g.sets...)
	if err != nil {
		return false
	}
	for _, sub := range groups {
		if sub.first.Name == name {
			return true
		}
	}
	return false
}

// order sets the order asked for, with the key as the last tie-break.
func (k *conn) order(s *stepBuilder) *connectors.Error {
	v, err := k.b.argument(k.g.first, "orderBy", true)
	if err != nil {
		return err
	}
	if v != nil && v.Kind != ast.NullValue {
		terms, bad := catalog.OrderTerms(k.coll, catalog.Literal(v), s.options())
		if bad != nil {
			return below(bad, "orderBy")
		}
		s.sel.Order = terms
	}
	for _, f := range k.coll.Key {
		if f.Spec.Order && !ordered(s.sel.Order, f.System) {
			s.sel.Order = append(s.sel.Order, connectors.OrderTerm{Field: f.System})
		}
	}
	return nil
}

func ordered(terms []connectors.OrderTerm, field string) bool {
	for _, t := range terms {
		if t.Field == field && len(t.Via) == 0 {
			return true
		}
	}
	return false
}

// arguments reads first, last, after, before and offset.
func (k *conn) arguments(s *stepBuilder, filter []int, cursors, ahead, behind bool) *connectors.Error {
	args := map[string]*ast.Value{}
	for _, name := range []string{"first", "last", "after", "before", "offset"} {
		v, err := k.b.argument(k.g.first, name, false)
		if err != nil {
			return err
		}
		if v != nil && v.Kind != ast.NullValue {
			args[name] = v
		}
	}
	switch {
	case args["first"] != nil && args["last"] != nil:
		return badInput("first and last exclude each other").At("last")
	case args["offset"] != nil && (args["after"] != nil || args["before"] != nil):
		return badInput("offset and a cursor exclude each other").At("offset")
	case args["offset"] != nil && args["last"] != nil:
		return badInput("offset and last exclude each other").At("offset")
	}
	p := &Page{Size: -1, Fixed: k.b.in.Limits.Page, Reverse: args["last"] != nil}
	p.Continued = args["offset"] != nil || args["after"] != nil && !p.Reverse || args["before"] != nil && p.Reverse
	p.More = ahead && !p.Reverse || behind && p.Reverse
	s.step.Page = p
	s.sel.Page = &connectors.Page{Reverse: p.Reverse}
	if err := k.size(s, args); err != nil {
		return err
	}
	if v := args["offset"]; v != nil {
		if _, err := k.literalNumber(v, "offset", k.b.in.Limits.Offset); err != nil {
			return err
		}
		s.sel.Page.Offset = connectors.Arg(s.add(Arg{Kind: ArgOffset, Value: v, Add: k.b.in.Limits.Offset, At: []string{"offset"}}))
	}
	if !cursors && args["after"] == nil && args["before"] == nil {
		return nil
	}
	return k.cursor(s, filter, args, cursors)
}

// size sets the page's limit: what was asked for, and one more where it must be
// known whether there are more.
func (k *conn) size(s *stepBuilder, args map[string]*ast.Value) *connectors.Error {
	more := 0
	if s.step.Page.More {
		more = 1
	}
	for _, name := range []string{"first", "last"} {
		v := args[name]
		if v == nil {
			continue
		}
		if v.Kind == ast.Variable {
			s.step.Page.Size = s.add(Arg{Kind: ArgPage, Value: v, Add: more, At: []string{name}})
			s.sel.Page.Limit = connectors.Arg(s.step.Page.Size)
			return nil
		}
		n, err := k.literalNumber(v, name, k.b.in.Limits.MaxPage)
		if err != nil {
			return err
		}
		s.step.Page.Fixed = n
	}
	s.sel.Page.Limit = connectors.Const(connectors.Int(int64(s.step.Page.Fixed + more)))
	return nil
}

// literalNumber checks a number written in the document; a variable is checked
// when it is bound.
func (k *conn) literalNumber(v *ast.Value, name string, limit int) (int, *connectors.Error) {
	if v.Kind == ast.Variable {
		return 0, nil
	}
	n, ok := number(literalJSON(v, nil))
	return n, checkNumber(n, ok, name, limit)
}

func checkNumber(n int, ok bool, name string, limit int) *connectors.Error {
	switch {
	case !ok || n < 0:
		return badInput("%s must be a number that is not negative", name).At(name)
	case n > limit:
		return badInput("%s may be %d at most", name, limit).At(name)
	}
	return nil
}

// cursor sets what makes cursors and what after and before are compared with.
func (k *conn) cursor(s *stepBuilder, filter []int, args map[string]*ast.Value, selected bool) *connectors.Error {
	if len(k.coll.Key) == 0 || !k.coll.Spec.Paging.Keyset || !ordered(s.sel.Order, k.coll.Key[0].System) {
		return connectors.Errorf(connectors.CodeUnsupported, "%s has no cursors: the source cannot page by its key; use offset", k.g.first.Name).At("after")
	}
	c := &Cursor{FilterArgs: filter}
	for _, t := range s.sel.Order {
		if len(t.Via) > 0 {
			return connectors.Errorf(connectors.CodeUnsupported, "cursors over an order by a related record are not supported yet; use offset").At("orderBy")
		}
		f := k.coll.SystemField(t.Field)
		if f == nil {
			return forbidden()
		}
		if selected {
			c.Columns = append(c.Columns, s.internal(f))
		}
		c.Scalars = append(c.Scalars, f.Type.Leaf)
	}
	c.Shape = cursorShape(s.sel, filter)
	s.step.Page.Cursor = c
	for _, name := range []string{"after", "before"} {
		v := args[name]
		if v == nil {
			continue
		}
		var operands []connectors.Operand
		for i := range c.Scalars {
			operands = append(operands, connectors.Arg(s.add(Arg{Kind: ArgCursor, Value: v, Term: i, Cursor: c, At: []string{name}})))
		}
		if name == "after" {
			s.sel.Page.After = operands
		} else {
			s.sel.Page.Before = operands
		}
	}
	return nil
}

// cursorShape digests what a cursor is bound to beside values: collection,
// order, and the conditions, the caller's own among them.
func cursorShape(s *connectors.Select, filter []int) [16]byte {
	b := append([]byte(s.Collection), 0)
	for _, t := range s.Order {
		b = append(b, t.Field...)
		b = append(b, 0, byte(t.Nulls), 0)
		if t.Desc {
			b = append(b, 1)
		}
		for _, r := range t.Via {
			b = append(append(b, r.To...), 0)
		}
		b = append(b, 0)
	}
	b = append(b, byte(len(filter)))
	b = s.Where.AppendCanonical(b)
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

// field plans one field of a connection.
func (k *conn) field(g *group, typeName string) (*Field, *connectors.Error) {
	if g.first.Name == "__typename" {
		return typename(g, typeName), nil
	}
	below := append(append([]string(nil), k.path...), g.key)
	e, ok := k.b.in.Catalog.Element(typeName, g.first.Name)
	if !ok {
		return nil, forbidden()
	}
	var f *Field
	var err *connectors.Error
	switch e.Kind {
	case catalog.ConnectionNodes:
		f = newField(g, FieldNodes)
		f.Select, err = k.b.record(k.rows, g.sets, append(below, "0"))
	case catalog.ConnectionEdges:
		f = newField(g, FieldEdges)
		f.Select, err = k.edges(g, append(below, "0"))
	case catalog.ConnectionPageInfo:
		f = newField(g, FieldPageInfo)
		f.Select, err = k.pageInfo(g)
	case catalog.ConnectionTotalCount:
		f = newField(g, FieldCount)
		f.Column, err = k.total(connectors.AggregateValue{Func: connectors.AggCount})
		if err == nil {
			f.Step = k.totals.step
		}
	case catalog.ConnectionAggregate:
		f = newField(g, FieldAggregate)
		f.Select, err = k.aggregate(g)
		if err == nil && k.totals != nil {
			f.Step = k.totals.step
		}
	default:
		return nil, forbidden()
	}
	if err != nil {
		return nil, err
	}
	f.Source = k.coll.Source.Name
	return f, nil
}

func (k *conn) edges(g *group, path []string) (*Selection, *connectors.Error) {
	typeName := g.first.Definition.Type.Name()
	groups, err := k.b.collect(typeName, g.sets...)
	if err != nil {
		return nil, err
	}
	out := &Selection{Type: typeName}
	for _, sub := range groups {
		var f *Field
		switch sub.first.Name {
		case "__typename":
			f = typename(sub, typeName)
		case "cursor":
			f = newField(sub, FieldCursor)
		case "node":
			f = newField(sub, FieldNode)
			if f.Select, err = k.b.record(k.rows, sub.sets, append(path, sub.key)); err != nil {
				return nil, err
			}
		default:
			return nil, forbidden()
		}
		out.Fields = append(out.Fields, f)
	}
	return out, nil
}

var pageInfoKinds = map[string]FieldKind{
	"hasNextPage": FieldHasNext, "hasPreviousPage": FieldHasPrev, "startCursor": FieldStart, "endCursor": FieldEnd,
}

func (k *conn) pageInfo(g *group) (*Selection, *connectors.Error) {
	typeName := g.first.Definition.Type.Name()
	groups, err := k.b.collect(typeName, g.sets...)
	if err != nil {
		return nil, err
	}
	out := &Selection{Type: typeName}
	for _, sub := range groups {
		if sub.first.Name == "__typename" {
			out.Fields = append(out.Fields, typename(sub, typeName))
			continue
		}
		kind, ok := pageInfoKinds[sub.first.Name]
		if !ok {
			return nil, forbidden()
		}
		out.Fields = append(out.Fields, newField(sub, kind))
	}
	return out, nil
}
