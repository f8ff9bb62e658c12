package connectortest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
)

// selects: what the connector evaluates itself is what filtering, ordering and
// cutting its records afterwards would give.
func (s *session) selects(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { s.compare(rt, newGenerator(s, rt).query()) })
}

func (s *session) aggregates(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		if q := newGenerator(s, rt).aggregate(); q != nil {
			s.compare(rt, q)
		}
	})
	for _, c := range s.oracle.schema.Collections {
		if c.Count {
			count := &connectors.Aggregate{Values: []connectors.AggregateValue{{Func: connectors.AggCount}}}
			got := s.compare(t, &connectors.Query{Select: (&connectors.Select{Collection: c.Name, Aggregate: count}).Seal()})
			if want := fmt.Sprint(len(SuiteData()[c.Name])); len(got.rows) != 1 || got.rows[0][0] != want {
				t.Errorf("%s are counted %v, not %s", c.Name, got.rows, want)
			}
			s.compare(t, &connectors.Query{Select: (&connectors.Select{Collection: c.Name, Aggregate: count, Where: connectors.Nothing()}).Seal()})
		}
	}
}

// orders are the ways a collection can be ordered: by each field, both ways,
// with nulls on either side, and by fields of related records. Each ends with
// the key.
func (s *session) orders(c *connectors.Collection) [][]connectors.OrderTerm {
	var terms []connectors.OrderTerm
	add := func(f *connectors.Field, via []connectors.Relation) {
		if !f.Order {
			return
		}
		for _, desc := range []bool{false, true} {
			for _, nulls := range []connectors.Nulls{connectors.NullsDefault, connectors.NullsFirst, connectors.NullsLast} {
				if f.Nullable || via != nil || nulls == connectors.NullsDefault {
					terms = append(terms, connectors.OrderTerm{Field: f.Name, Via: via, Desc: desc, Nulls: nulls})
				}
			}
		}
	}
	for _, f := range c.Fields {
		add(f, nil)
	}
	for _, r := range relationsOf(s.oracle.schema, c) {
		if r.toOne && s.schema.Capabilities.Related {
			for _, f := range s.oracle.schema.Collection(r.To).Fields {
				add(f, []connectors.Relation{r.Relation})
			}
		}
	}
	var out [][]connectors.OrderTerm
	for i, term := range terms {
		order := []connectors.OrderTerm{term}
		if i%3 == 0 { // some with two terms before the key
			order = append(order, terms[(i+7)%len(terms)])
		}
		for _, k := range c.Key {
			order = append(order, connectors.OrderTerm{Field: k, Desc: term.Desc && i%2 == 0})
		}
		out = append(out, order)
	}
	return out
}

// pages: walking by cursor forwards, backwards and by offset gives the same
// records as asking for all at once, over every order.
func (s *session) pages(t *testing.T) {
	for _, name := range []string{Customers, Tracks} {
		c := s.oracle.schema.Collection(name)
		if c == nil || !c.List || len(c.Key) == 0 {
			continue
		}
		for i, order := range s.orders(c) {
			shape := connectors.Select{Collection: name, Order: order}
			for _, k := range c.Key {
				shape.Columns = append(shape.Columns, connectors.Column{Field: k})
			}
			whole := shape
			want := s.compare(t, &connectors.Query{Select: whole.Seal()})
			size := 17 + i%40
			if c.Paging.Keyset {
				s.walk(t, c, shape, want, size, false)
				if c.Paging.Last {
					s.walk(t, c, shape, want, size, true)
				}
			}
			if c.Paging.Offset && i%4 == 0 {
				s.offsets(t, shape, want, size)
			}
		}
	}
}

// walk follows cursors made from the cells of the record at a page's end.
// Orders over related records take their cursors from the oracle.
func (s *session) walk(t *testing.T, c *connectors.Collection, shape connectors.Select, want answer, size int, backwards bool) {
	t.Helper()
	var rows [][]string
	var cursor []connectors.Operand
	for range len(want.rows)/size + 2 {
		page := shape
		page.Page = &connectors.Page{Limit: connectors.Const(connectors.Int(int64(size))), Reverse: backwards}
		if backwards {
			page.Page.Before = cursor
		} else {
			page.Page.After = cursor
		}
		got, err := read(s.c, &connectors.Query{Select: page.Seal()})
		if err != nil {
			t.Fatalf("%v to\n%s", describeError(err), show(&connectors.Query{Select: &page}))
		}
		if len(got.rows) == 0 {
			break
		}
		edge := got.rows[len(got.rows)-1]
		if backwards {
			edge = got.rows[0]
			rows = slices.Concat(got.rows, rows)
		} else {
			rows = append(rows, got.rows...)
		}
		cursor = s.cursorOf(t, c, shape.Order, edge)
	}
	if !slices.EqualFunc(rows, want.rows, slices.Equal) {
		t.Fatalf("walking by cursor (backwards %t) over\n%s\ngives\n%s", backwards, show(&connectors.Query{Select: &shape}), answer{rows: rows})
	}
}

// cursorOf is the position of the record whose key cells these are.
func (s *session) cursorOf(t *testing.T, c *connectors.Collection, order []connectors.OrderTerm, key []string) []connectors.Operand {
	t.Helper()
	st := s.oracle.state.Load()
	table := st.tables[c.Name]
	var assigns []connectors.Assign
	for i, k := range c.Key {
		v, err := connectors.ParseCell([]byte(key[i]), c.Field(k).Type.Leaf())
		if err != nil {
			t.Fatal(err)
		}
		assigns = append(assigns, connectors.Assign{Field: k, Value: v})
	}
	r, err := byKey(table, assigns)
	if err != nil || r == nil {
		t.Fatalf("no record with the key %v: %v", key, err)
	}
	compiled, err := (&compiler{schema: s.oracle.schema, st: st, nullsLow: s.oracle.NullsLow}).order(table, order)
	if err != nil {
		t.Fatal(err)
	}
	var out []connectors.Operand
	for _, v := range compiled.values(st, r) {
		out = append(out, connectors.Const(v))
	}
	return out
}

func (s *session) offsets(t *testing.T, shape connectors.Select, want answer, size int) {
	t.Helper()
	for from := 0; from < len(want.rows)+size; from += size {
		page := shape
		page.Page = &connectors.Page{Limit: connectors.Arg(0), Offset: connectors.Arg(1)}
		q := &connectors.Query{Select: page.Seal(), Args: []connectors.Value{connectors.Int(int64(size)), connectors.Int(int64(from))}}
		got, err := read(s.c, q)
		if err != nil {
			t.Fatal(err)
		}
		part := want.rows[min(from, len(want.rows)):min(from+size, len(want.rows))]
		if !slices.EqualFunc(got.rows, part, slices.Equal) {
			t.Fatalf("the page at %d of\n%s\ngives\n%s", from, show(q), got)
		}
	}
}

// bind: a page per parent, where one parent has most of the children and some
// have none.
func (s *session) bind(t *testing.T) {
	c := s.oracle.schema.Collection(Albums)
	if c == nil || !c.AnyBind {
		t.Log("albums cannot be joined over any field; the declared fields are covered by undeclared")
		return
	}
	var entries [][]connectors.Value
	for id := int64(1); id <= 20; id++ {
		entries = append(entries, []connectors.Value{connectors.Int(id)})
	}
	base := connectors.Select{Collection: Albums, Bind: []string{"artist_id"},
		Columns: []connectors.Column{{Field: "id"}, {Field: "title"}, {Field: "price"}},
		Order:   []connectors.OrderTerm{{Field: "price", Desc: true}, {Field: "id"}}}
	for _, page := range []*connectors.Page{nil,
		{Limit: connectors.Const(connectors.Int(5))},
		{Limit: connectors.Const(connectors.Int(5)), Offset: connectors.Const(connectors.Int(3))},
		{Limit: connectors.Const(connectors.Int(4)), Reverse: true},
		{Limit: connectors.Const(connectors.Int(4)), After: []connectors.Operand{connectors.Const(connectors.Decimal("20.25")), connectors.Const(connectors.Int(0))}},
		{Limit: connectors.Const(connectors.Int(0))},
	} {
		shape := base
		shape.Page = page
		s.compare(t, &connectors.Query{Select: shape.Seal(), Bind: entries})
		s.compare(t, &connectors.Query{Select: shape.Seal(), Bind: entries[1:2]})
		s.compare(t, &connectors.Query{Select: shape.Seal(), Bind: [][]connectors.Value{}})
	}
	// A composite key, and a bind over the key itself.
	if tracks := s.oracle.schema.Collection(Tracks); tracks != nil && tracks.AnyBind {
		shape := connectors.Select{Collection: Tracks, Bind: tracks.Key, Columns: []connectors.Column{{Field: "title"}, {Field: "size"}}}
		var keys [][]connectors.Value
		for i := range int64(30) {
			keys = append(keys, []connectors.Value{connectors.Int(1 + i*7%80), connectors.Int(1 + i%5)})
		}
		s.compare(t, &connectors.Query{Select: shape.Seal(), Bind: keys})
	}
}

// undeclared: what the schema does not claim is refused, and not done by half.
func (s *session) undeclared(t *testing.T) {
	every := []connectors.Op{connectors.OpEq, connectors.OpNe, connectors.OpIn, connectors.OpNotIn, connectors.OpGt, connectors.OpGte,
		connectors.OpLt, connectors.OpLte, connectors.OpIsNull, connectors.OpLike, connectors.OpILike, connectors.OpStartsWith,
		connectors.OpEndsWith, connectors.OpContains, connectors.OpHasKey, connectors.OpSearch}
	for _, c := range s.oracle.schema.Collections {
		columns := []connectors.Column{{Field: c.Fields[0].Name}}
		ask := func(change func(*connectors.Select)) *connectors.Query {
			q := &connectors.Select{Collection: c.Name, Columns: columns}
			change(q)
			return &connectors.Query{Select: q.Seal()}
		}
		for _, f := range c.Fields {
			for _, op := range every {
				if !slices.Contains(f.Filter, op) {
					s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) {
						q.Where = connectors.Compare(f.Name, op, connectors.Const(connectors.String("x")))
					}))
				}
			}
			if !f.Order {
				s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) { q.Order = []connectors.OrderTerm{{Field: f.Name}} }))
			}
			for _, fn := range []connectors.AggregateFunc{connectors.AggSum, connectors.AggAvg, connectors.AggMin, connectors.AggMax} {
				if !c.Aggregate || !slices.Contains(f.Aggregates, fn) {
					s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) {
						q.Columns, q.Aggregate = nil, &connectors.Aggregate{Values: []connectors.AggregateValue{{Func: fn, Field: f.Name}}}
					}))
				}
			}
			if !c.Aggregate || !f.Group {
				s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) {
					q.Columns, q.Aggregate = nil, &connectors.Aggregate{GroupBy: []string{f.Name}, Values: []connectors.AggregateValue{{Func: connectors.AggCount}}}
				}))
			}
		}
		s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) { q.Columns = []connectors.Column{{Field: "nothing of that name"}} }))
		s.undeclaredPages(t, c, ask)
		if !c.HasVersion && c.VersionField == "" {
			s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) { q.Columns = []connectors.Column{{Version: true}} }))
		}
	}
	s.refused(t, connectors.CodeUnsupported, &connectors.Query{Select: (&connectors.Select{Collection: "nothing of that name", Columns: []connectors.Column{{Field: "id"}}}).Seal()})
	s.refused(t, connectors.CodeUnsupported, &connectors.Query{Select: (&connectors.Select{Function: "nothing of that name"}).Seal()})
}

func (s *session) undeclaredPages(t *testing.T, c *connectors.Collection, ask func(func(*connectors.Select)) *connectors.Query) {
	t.Helper()
	var order []connectors.OrderTerm
	var cursor []connectors.Operand
	for _, k := range c.Key {
		order = append(order, connectors.OrderTerm{Field: k})
		cursor = append(cursor, connectors.Const(connectors.Int(1)))
	}
	one := connectors.Const(connectors.Int(1))
	if !c.Paging.Keyset {
		s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) {
			q.Order, q.Page = order, &connectors.Page{Limit: one, After: cursor}
		}))
	}
	if !c.Paging.Offset {
		s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) {
			q.Order, q.Page = order, &connectors.Page{Limit: one, Offset: one}
		}))
	}
	if !c.Paging.Last {
		s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) {
			q.Order, q.Page = order, &connectors.Page{Limit: one, Reverse: true}
		}))
	}
	if !s.schema.Capabilities.Related {
		for _, r := range relationsOf(s.oracle.schema, c) {
			s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) {
				q.Where = &connectors.Condition{Op: connectors.OpRelated, Relation: &r.Relation, Quantifier: connectors.QuantSome}
			}))
		}
	}
}

// malformed: shapes that mean nothing are refused and never read as "all".
func (s *session) malformed(t *testing.T) {
	c := s.oracle.schema.Collection(Customers)
	ask := func(change func(*connectors.Select)) *connectors.Query {
		q := &connectors.Select{Collection: c.Name, Columns: []connectors.Column{{Field: "id"}}, Order: []connectors.OrderTerm{{Field: "id"}}}
		change(q)
		return &connectors.Query{Select: q.Seal()}
	}
	number := func(n int64) connectors.Operand { return connectors.Const(connectors.Int(n)) }
	for name, q := range map[string]*connectors.Query{
		"a zero condition": ask(func(q *connectors.Select) { q.Where = &connectors.Condition{} }),
		"a zero condition inside": ask(func(q *connectors.Select) {
			q.Where = &connectors.Condition{Op: connectors.OpOr, Items: []*connectors.Condition{{}}}
		}),
		"not of nothing": ask(func(q *connectors.Select) { q.Where = &connectors.Condition{Op: connectors.OpNot} }),
		"not of two": ask(func(q *connectors.Select) {
			q.Where = &connectors.Condition{Op: connectors.OpNot, Items: []*connectors.Condition{{Op: connectors.OpTrue}, {Op: connectors.OpTrue}}}
		}),
		"an operand that is not given": ask(func(q *connectors.Select) { q.Where = connectors.Compare("id", connectors.OpEq, connectors.Arg(0)) }),
		"a list that is none": ask(func(q *connectors.Select) {
			q.Where = connectors.Compare("id", connectors.OpIn, number(1))
		}),
		"text for a number": ask(func(q *connectors.Select) {
			q.Where = connectors.Compare("id", connectors.OpEq, connectors.Const(connectors.String("x")))
		}),
		"isNull of a number": ask(func(q *connectors.Select) { q.Where = connectors.Compare("note", connectors.OpIsNull, number(1)) }),
		"a limit below 0":    ask(func(q *connectors.Select) { q.Page = &connectors.Page{Limit: number(-1)} }),
		"a cursor too long": ask(func(q *connectors.Select) {
			q.Page = &connectors.Page{Limit: number(1), After: []connectors.Operand{number(1), number(1)}}
		}),
		"no columns": ask(func(q *connectors.Select) { q.Columns = nil }),
		"a relation not given": ask(func(q *connectors.Select) {
			q.Where = &connectors.Condition{Op: connectors.OpRelated, Quantifier: connectors.QuantSome}
		}),
	} {
		_, err := read(s.c, q)
		if code := connectors.CodeOf(err); code != connectors.CodeBadInput && code != connectors.CodeUnsupported {
			t.Errorf("%s: %s", name, describeError(err))
		}
	}
}

// bound: MaxRows ends an answer, with an error that says so.
func (s *session) bound(t *testing.T) {
	c := s.oracle.schema.Collection(Customers)
	shape := *all(c)
	shape.MaxRows = 60
	if got, err := read(s.c, &connectors.Query{Select: shape.Seal()}); err != nil || len(got.rows) != 60 {
		t.Errorf("60 records under a bound of 60: %d, %v", len(got.rows), err)
	}
	shape.MaxRows = 59
	s.refused(t, connectors.CodeRowCapExceeded, &connectors.Query{Select: shape.Seal()})
}

// cancelled: a context that has ended ends the call.
func (s *session) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q := &connectors.Query{Select: all(s.oracle.schema.Collection(Albums))}
	rows, err := s.c.Query(ctx, q)
	if err == nil {
		_, err = rows.Next(ctx)
		rows.Close()
	}
	if connectors.CodeOf(err) != connectors.CodeTimeout {
		t.Errorf("a query under a context that has ended: %v", describeError(err))
	}
	s.compare(t, q) // the connector is well after it
	if c := s.oracle.schema.Collection(Customers); c.Acts[connectors.Create] != nil {
		change := &connectors.Change{Version: connectors.ChangeVersion, Steps: []connectors.Step{{ID: "c", Kind: connectors.Create,
			Collection: Customers, Set: customer(7000).Fields}}}
		_, err := s.c.Apply(ctx, nil, change)
		if code := connectors.CodeOf(err); code != connectors.CodeTimeout && code != connectors.CodeOutcomeUnknown {
			t.Errorf("a change under a context that has ended: %v", describeError(err))
		}
		if connectors.CodeOf(err) == connectors.CodeTimeout {
			s.compare(t, &connectors.Query{Select: all(c)})
		}
	}
}

// customer is a new one that breaks no constraint.
func customer(id int64) connectors.Record {
	return record("id", connectors.Int(id), "balance", connectors.Decimal("10.50"), "created", connectors.String("2026-05-01T00:00:00Z"))
}

// snapshot: queries of one snapshot do not see what is written in between.
func (h Harness) snapshot(t *testing.T) {
	s := h.open(t)
	c := s.oracle.schema.Collection(Customers)
	token := &connectors.Snapshot{}
	defer token.End()
	q := &connectors.Query{Select: all(c), Snapshot: token}
	if !s.schema.Capabilities.Snapshot {
		s.refused(t, connectors.CodeUnsupported, q)
		return
	}
	before, err := read(s.c, q)
	if err != nil {
		t.Fatal(err)
	}
	if c.Acts[connectors.Create] != nil {
		change := changeOf(connectors.Step{ID: "c", Kind: connectors.Create, Collection: Customers, Set: customer(7001).Fields})
		_, err := s.c.Apply(context.Background(), nil, change)
		switch connectors.CodeOf(err) {
		case "":
			if _, err := s.oracle.Apply(context.Background(), nil, change); err != nil {
				t.Fatal(err)
			}
		case connectors.CodeLockTimeout: // readers keep writers out, and nothing was done
		default:
			t.Fatalf("a write beside a snapshot: %v", describeError(err))
		}
	}
	again, err := read(s.c, q)
	if err != nil || !slices.EqualFunc(before.rows, again.rows, slices.Equal) {
		t.Errorf("the same snapshot shows other records: %v", err)
	}
	token.End()
	s.compare(t, &connectors.Query{Select: all(c)})
	if _, err := read(s.c, q); err == nil {
		t.Error("a snapshot that has ended answers")
	}
}
