package connectortest

import (
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
)

// A generator draws queries that the schema declares, with operands that are
// mostly values of the data, so that conditions match something.
type generator struct {
	s    *session
	t    *rapid.T
	args []connectors.Value
	data map[string][]connectors.Record
}

func newGenerator(s *session, t *rapid.T) *generator {
	return &generator{s: s, t: t, data: SuiteData()}
}

func pick[T any](g *generator, label string, from []T) T {
	return rapid.SampledFrom(from).Draw(g.t, label)
}

func (g *generator) chance(label string, oneIn int) bool {
	return rapid.IntRange(0, oneIn-1).Draw(g.t, label) == 0
}

func (g *generator) collection() *connectors.Collection {
	return pick(g, "collection", g.s.oracle.Schema().Collections)
}

// operand makes a constant or an argument of a value.
func (g *generator) operand(v connectors.Value) connectors.Operand {
	if g.chance("as argument", 2) {
		g.args = append(g.args, v)
		return connectors.Arg(len(g.args) - 1)
	}
	return connectors.Const(v)
}

// value is one that the field holds somewhere, now and then null.
func (g *generator) value(c *connectors.Collection, field string) connectors.Value {
	records := g.data[c.Name]
	v := records[rapid.IntRange(0, len(records)-1).Draw(g.t, "record")].Get(field)
	if v.IsNull() && !g.chance("null operand", 8) {
		for i := range records {
			if w := records[i].Get(field); !w.IsNull() {
				return w
			}
		}
	}
	return v
}

func (g *generator) condition(c *connectors.Collection, depth int) *connectors.Condition {
	kind := rapid.IntRange(0, 9).Draw(g.t, "condition")
	switch {
	case depth > 0 && kind < 3:
		op := connectors.OpAnd
		if g.chance("or", 2) {
			op = connectors.OpOr
		}
		cond := &connectors.Condition{Op: op}
		for range rapid.IntRange(0, 3).Draw(g.t, "items") {
			cond.Items = append(cond.Items, g.condition(c, depth-1))
		}
		return cond
	case depth > 0 && kind == 3:
		return connectors.Not(g.condition(c, depth-1))
	case depth > 0 && kind == 4 && g.s.schema.Capabilities.Related:
		if r := g.relation(c); r != nil {
			return g.related(r, depth)
		}
	}
	return g.comparison(c)
}

// A suiteRelation is a reference seen from one of its ends.
type suiteRelation struct {
	connectors.Relation
	toOne bool
}

func relationsOf(schema *connectors.Schema, c *connectors.Collection) []suiteRelation {
	var out []suiteRelation
	for _, other := range schema.Collections {
		for _, ref := range other.References {
			if schema.Collection(ref.To) == nil {
				continue
			}
			if other == c {
				out = append(out, suiteRelation{connectors.Relation{To: ref.To, Fields: ref.Fields, On: ref.On}, true})
			}
			if ref.To == c.Name {
				out = append(out, suiteRelation{connectors.Relation{To: other.Name, Fields: ref.On, On: ref.Fields}, false})
			}
		}
	}
	return out
}

func (g *generator) relation(c *connectors.Collection) *suiteRelation {
	relations := relationsOf(g.s.oracle.Schema(), c)
	if len(relations) == 0 {
		return nil
	}
	r := pick(g, "relation", relations)
	return &r
}

func (g *generator) related(r *suiteRelation, depth int) *connectors.Condition {
	to := g.s.oracle.Schema().Collection(r.To)
	cond := &connectors.Condition{Op: connectors.OpRelated, Relation: &r.Relation, Quantifier: connectors.QuantOne}
	if !r.toOne {
		cond.Quantifier = pick(g, "quantifier", []connectors.Quantifier{connectors.QuantSome, connectors.QuantEvery, connectors.QuantNone})
	}
	if g.chance("visible", 3) {
		cond.Relation.Where = g.condition(to, depth-1)
	}
	if !g.chance("any related", 4) {
		cond.Inner = g.condition(to, depth-1)
	}
	return cond
}

func (g *generator) comparison(c *connectors.Collection) *connectors.Condition {
	var fields []*connectors.Field
	for _, f := range c.Fields {
		if len(f.Filter) > 0 {
			fields = append(fields, f)
		}
	}
	if len(fields) == 0 {
		return &connectors.Condition{Op: connectors.OpTrue}
	}
	f := pick(g, "field", fields)
	op := pick(g, "op", f.Filter)
	var v connectors.Value
	switch op {
	case connectors.OpIsNull:
		v = connectors.Bool(g.chance("is null", 2))
	case connectors.OpIn, connectors.OpNotIn:
		items := []connectors.Value{}
		for range rapid.IntRange(0, 4).Draw(g.t, "list") {
			items = append(items, g.value(c, f.Name))
		}
		v = connectors.ListOf(items...)
	case connectors.OpLike, connectors.OpILike, connectors.OpStartsWith, connectors.OpEndsWith, connectors.OpContains,
		connectors.OpHasKey, connectors.OpSearch:
		v = connectors.String(g.fragment(op))
		if op == connectors.OpSearch {
			return &connectors.Condition{Op: connectors.OpTrue} // what search finds is the system's own
		}
	default:
		v = g.value(c, f.Name)
	}
	return connectors.Compare(f.Name, op, g.operand(v))
}

// fragment is a piece of the data's text, or a pattern of such pieces. Case is
// folded in ASCII only, which every system can.
func (g *generator) fragment(op connectors.Op) string {
	pieces := []string{"Blue", "blue", "b", "e ", "O'Neill", `"q`, "100%", "a_b", "zz", " ", "#1", ""}
	patterns := []string{"%", "_", `\%`, `\_`, `\\`, "%Blue%", "b%", "%1_"}
	if op == connectors.OpLike || op == connectors.OpILike {
		var b strings.Builder
		for range rapid.IntRange(0, 3).Draw(g.t, "pieces") {
			b.WriteString(pick(g, "piece", append(patterns, "Blue", "night", "a_b", "O'")))
		}
		return b.String()
	}
	if op != connectors.OpSearch {
		pieces = append(pieces, `back\slash`, "日", "🎷", "\n", "Ä")
	}
	return pick(g, "piece", pieces)
}

// order is complete, it ends with the key, where the collection orders by it.
func (g *generator) order(c *connectors.Collection) []connectors.OrderTerm {
	var out []connectors.OrderTerm
	for range rapid.IntRange(0, 2).Draw(g.t, "terms") {
		from := c
		term := connectors.OrderTerm{Desc: g.chance("desc", 2),
			Nulls: connectors.Nulls(rapid.IntRange(0, 2).Draw(g.t, "nulls"))}
		if r := g.relation(c); r != nil && r.toOne && g.s.schema.Capabilities.Related && g.chance("via", 3) {
			term.Via = []connectors.Relation{r.Relation}
			from = g.s.oracle.Schema().Collection(r.To)
		}
		var fields []string
		for _, f := range from.Fields {
			if f.Order {
				fields = append(fields, f.Name)
			}
		}
		if len(fields) == 0 {
			continue
		}
		term.Field = pick(g, "order by", fields)
		out = append(out, term)
	}
	return append(out, keyOrder(c)...)
}

func (g *generator) columns(c *connectors.Collection) []connectors.Column {
	var out []connectors.Column
	for range rapid.IntRange(1, 4).Draw(g.t, "columns") {
		f := pick(g, "column", c.Fields)
		if f.WriteOnly {
			continue
		}
		col := connectors.Column{Field: f.Name}
		if g.chance("cell condition", 4) {
			col.If = g.condition(c, 1)
		}
		out = append(out, col)
	}
	for _, k := range c.Key {
		out = append(out, connectors.Column{Field: k})
	}
	if c.HasVersion && g.chance("version", 5) {
		out = append(out, connectors.Column{Version: true})
	}
	return out
}

func (g *generator) page(c *connectors.Collection, s *connectors.Select) *connectors.Page {
	p := &connectors.Page{}
	if !g.chance("no limit", 5) {
		p.Limit = g.operand(connectors.Int(int64(rapid.IntRange(0, 12).Draw(g.t, "limit"))))
	}
	if c.Paging.Offset && g.chance("offset", 3) {
		p.Offset = g.operand(connectors.Int(int64(rapid.IntRange(0, 40).Draw(g.t, "by"))))
	}
	p.Reverse = c.Paging.Last && len(s.Order) > 0 && g.chance("reverse", 3)
	if c.Paging.Keyset && total(c, s.Order) {
		if g.chance("after", 3) {
			p.After = g.cursor(c, s)
		}
		if g.chance("before", 4) {
			p.Before = g.cursor(c, s)
		}
	}
	return p
}

// cursor is the position of one of the records.
func (g *generator) cursor(c *connectors.Collection, s *connectors.Select) []connectors.Operand {
	positions, err := g.s.oracle.Positions(c.Name, s.Order)
	if err != nil || len(positions) == 0 {
		return nil
	}
	var out []connectors.Operand
	for _, v := range positions[rapid.IntRange(0, len(positions)-1).Draw(g.t, "cursor")] {
		out = append(out, g.operand(v))
	}
	return out
}

// bind makes the values of some parents, missing ones among them. Where not
// every set of fields is joined over, it is one of those that are.
func (g *generator) bind(c *connectors.Collection, s *connectors.Select) [][]connectors.Value {
	from, fields := c, []string(nil)
	if r := g.relation(c); r != nil && c.AnyBind {
		// The parents' ends of the relation are the values, c's own the fields.
		from, fields, s.Bind = g.s.oracle.Schema().Collection(r.To), r.On, r.Fields
	} else if len(c.BindFields) > 0 {
		fields = pick(g, "bind over", c.BindFields)
		s.Bind = fields
	}
	if fields == nil {
		return nil
	}
	var out [][]connectors.Value
	seen := map[string]bool{}
	for range rapid.IntRange(0, 6).Draw(g.t, "entries") {
		rec := pick(g, "parent", g.data[from.Name])
		var entry []connectors.Value
		id := ""
		for _, name := range fields {
			v := rec.Get(name)
			if v.IsNull() || v.Kind == connectors.KindInt && g.chance("missing", 6) {
				v = g.missing(from.Field(name), int64(len(out)))
			}
			entry = append(entry, v)
			id += v.Text + ","
		}
		if !seen[id] {
			seen[id] = true
			out = append(out, entry)
		}
	}
	return out
}

// missing is a value that no record has; null where none is as easy.
func (g *generator) missing(f *connectors.Field, n int64) connectors.Value {
	switch f.Type.Leaf() {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		return connectors.Int(900_000 + n)
	}
	return connectors.Null
}

// query draws a whole query of records.
func (g *generator) query() *connectors.Query {
	c := g.collection()
	s := &connectors.Select{Collection: c.Name, Columns: g.columns(c)}
	q := &connectors.Query{Select: s}
	if !g.chance("no condition", 5) {
		s.Where = g.condition(c, 3)
	}
	s.Order = g.order(c)
	if !c.List || g.chance("bind", 3) {
		q.Bind = g.bind(c, s)
	}
	if !g.chance("no page", 3) {
		s.Page = g.page(c, s)
	}
	if g.chance("bound", 8) {
		s.MaxRows = rapid.IntRange(1, 150).Draw(g.t, "most")
	}
	s.Seal()
	q.Args = g.args
	return q
}

// aggregate draws a query of groups.
func (g *generator) aggregate() *connectors.Query {
	var able []*connectors.Collection
	for _, c := range g.s.oracle.Schema().Collections {
		if c.Aggregate {
			able = append(able, c)
		}
	}
	if len(able) == 0 {
		return nil
	}
	c := pick(g, "collection", able)
	a := &connectors.Aggregate{}
	for _, f := range c.Fields {
		if f.Group && g.chance("group by "+f.Name, 4) {
			a.GroupBy = append(a.GroupBy, f.Name)
		}
		for _, fn := range f.Aggregates {
			if g.chance("aggregate", 4) {
				a.Values = append(a.Values, connectors.AggregateValue{Func: fn, Field: f.Name})
			}
		}
	}
	count := connectors.AggregateValue{Func: connectors.AggCount}
	a.Values = append(a.Values, count)
	if g.chance("having", 3) {
		op := pick(g, "having", []connectors.Op{connectors.OpGt, connectors.OpLte, connectors.OpEq, connectors.OpNe})
		a.Having = []connectors.Having{{Value: count, Op: op, Operand: g.operand(connectors.Int(int64(rapid.IntRange(0, 6).Draw(g.t, "than"))))}}
	}
	s := &connectors.Select{Collection: c.Name, Aggregate: a}
	q := &connectors.Query{Select: s}
	if !g.chance("no condition", 3) {
		s.Where = g.condition(c, 2)
	}
	if g.chance("bind", 3) {
		q.Bind = g.bind(c, s)
	}
	s.Seal()
	q.Args = g.args
	return q
}

// changes are of fields that are not of a key, with values of other records.
func (g *generator) changes(c *connectors.Collection) []connectors.Assign {
	var out []connectors.Assign
	adding := 3
	if act := c.Acts[connectors.Update]; act == nil || !act.Increment {
		adding = 20
	}
	for _, f := range c.Fields {
		if slices.Contains(c.Key, f.Name) || f.ReadOnly || !g.chance("change "+f.Name, 3) {
			continue
		}
		a := connectors.Assign{Field: f.Name, Value: g.value(c, f.Name)}
		if _, number := connectors.AggSum.ScalarOf(f.Type.Leaf()); number && f.Type.Leaf() != connectors.ScalarFloat && g.chance("add", adding) {
			a.Increment, a.Value = true, connectors.Int(3)
		}
		out = append(out, a)
	}
	if len(out) == 0 {
		f := c.Fields[len(c.Fields)-1]
		out = append(out, connectors.Assign{Field: f.Name, Value: g.value(c, f.Name)})
	}
	return out
}
