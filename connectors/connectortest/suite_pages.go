package connectortest

import (
	"slices"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/memory"
)

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
	for _, r := range relationsOf(s.oracle.Schema(), c) {
		if r.toOne && s.schema.Capabilities.Related {
			for _, f := range s.oracle.Schema().Collection(r.To).Fields {
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
		for _, k := range keyOrder(c) {
			k.Desc = term.Desc && i%2 == 0
			order = append(order, k)
		}
		out = append(out, order)
	}
	return out
}

// pages: walking by cursor forwards, backwards and by offset gives the same
// records as asking for all at once, over every order; over none where there is
// none.
func (s *session) pages(t *testing.T) {
	for _, name := range []string{Customers, Tracks} {
		c := s.oracle.Schema().Collection(name)
		if c == nil || !c.List || len(c.Key) == 0 {
			continue
		}
		orders := s.orders(c)
		if len(orders) == 0 {
			orders = append(orders, nil)
		}
		for i, order := range orders {
			shape := connectors.Select{Collection: name, Order: order}
			for _, k := range c.Key {
				shape.Columns = append(shape.Columns, connectors.Column{Field: k})
			}
			if len(order) > 0 && len(order[0].Via) == 0 {
				shape.Columns = append(shape.Columns, connectors.Column{Field: order[0].Field})
			}
			whole := shape
			want := s.compare(t, &connectors.Query{Select: whole.Seal()})
			size := 17 + i%40
			if c.Paging.Keyset && total(c, order) {
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
	at := slices.IndexFunc(s.oracle.Records(c.Name), func(r connectors.Record) bool {
		for i, k := range c.Key {
			leaf := c.Field(k).Type.Leaf()
			v, err := connectors.ParseCell([]byte(key[i]), leaf)
			if err != nil {
				t.Fatal(err)
			}
			if v, err = memory.Canonical(leaf, v); err != nil || memory.Compare(leaf, r.Get(k), v) != 0 {
				return false
			}
		}
		return true
	})
	positions, err := s.oracle.Positions(c.Name, order)
	if err != nil || at < 0 {
		t.Fatalf("no record with the key %v: %v", key, err)
	}
	var out []connectors.Operand
	for _, v := range positions[at] {
		out = append(out, connectors.Const(v))
	}
	return out
}

// offsets walks by offset: the pages are full, and together everything once.
func (s *session) offsets(t *testing.T, shape connectors.Select, want answer, size int) {
	t.Helper()
	var walked answer
	for from := 0; from < len(want.rows)+size; from += size {
		page := shape
		page.Page = &connectors.Page{Limit: connectors.Arg(0), Offset: connectors.Arg(1)}
		q := &connectors.Query{Select: page.Seal(), Args: []connectors.Value{connectors.Int(int64(size)), connectors.Int(int64(from))}}
		got, err := read(s.c, q)
		if err != nil {
			t.Fatal(describeError(err))
		}
		if full := min(size, max(0, len(want.rows)-from)); len(got.rows) != full {
			t.Fatalf("the page at %d has %d rows, not %d", from, len(got.rows), full)
		}
		walked.rows = append(walked.rows, got.rows...)
	}
	if problem := s.differ(&connectors.Query{Select: &shape}, walked, want); problem != "" {
		t.Fatalf("walking by offset: %s of\n%s", problem, show(&connectors.Query{Select: &shape}))
	}
}

// bind: a page per parent, where one parent has most of the children and some
// have none; over every set of fields that is declared, and over no other.
func (s *session) bind(t *testing.T) {
	for _, c := range s.oracle.Schema().Collections {
		s.notBindable(t, c)
		for _, fields := range bindable(c) {
			shape := connectors.Select{Collection: c.Name, Bind: fields}
			for _, f := range c.Fields {
				if !f.WriteOnly {
					shape.Columns = append(shape.Columns, connectors.Column{Field: f.Name})
				}
				if f.Order && f.Nullable && len(shape.Order) == 0 {
					shape.Order = []connectors.OrderTerm{{Field: f.Name, Desc: true}}
				}
			}
			shape.Order = append(shape.Order, keyOrder(c)...)
			entries := s.entries(c, fields)
			for _, page := range s.bindPages(c, shape.Order) {
				shape := shape
				shape.Page = page
				s.compare(t, &connectors.Query{Select: shape.Seal(), Bind: entries})
				s.compare(t, &connectors.Query{Select: shape.Seal(), Bind: entries[:1]})
				s.compare(t, &connectors.Query{Select: shape.Seal(), Bind: [][]connectors.Value{}})
			}
		}
	}
}

// entries are values to join over: those of some records, a null and values that
// no record has among them.
func (s *session) entries(c *connectors.Collection, fields []string) [][]connectors.Value {
	var out [][]connectors.Value
	seen := map[string]bool{}
	records := SuiteData()[c.Name]
	for i := range records {
		var entry []connectors.Value
		id := ""
		for _, name := range fields {
			v := records[i*11%len(records)].Get(name)
			if _, number := v.Int64(); number && i%5 == 4 {
				v = connectors.Int(int64(900 + i))
			}
			if v.Kind == connectors.KindDecimal {
				v.Text += "0" // it means the same
			}
			entry = append(entry, v)
			id += v.Text + ","
		}
		if !seen[id] && len(out) < 20 {
			seen[id] = true
			out = append(out, entry)
		}
	}
	return out
}

// bindPages are pages of the kinds that a collection gives.
func (s *session) bindPages(c *connectors.Collection, order []connectors.OrderTerm) []*connectors.Page {
	number := func(n int64) connectors.Operand { return connectors.Const(connectors.Int(n)) }
	out := []*connectors.Page{nil, {Limit: number(5)}, {Limit: number(0)}}
	if c.Paging.Offset {
		out = append(out, &connectors.Page{Limit: number(5), Offset: number(3)}, &connectors.Page{Offset: number(2)})
	}
	if c.Paging.Last && len(order) > 0 {
		out = append(out, &connectors.Page{Limit: number(4), Reverse: true})
	}
	if c.Paging.Keyset && total(c, order) {
		if positions, err := s.oracle.Positions(c.Name, order); err == nil {
			var after []connectors.Operand
			for _, v := range positions[len(positions)/2] {
				after = append(after, connectors.Const(v))
			}
			out = append(out, &connectors.Page{Limit: number(4), After: after})
		}
	}
	return out
}

// notBindable: fields that are not declared are not joined over, nor are more
// entries at once than are declared.
func (s *session) notBindable(t *testing.T, c *connectors.Collection) {
	t.Helper()
	ask := func(fields []string, entries [][]connectors.Value) {
		s.refused(t, connectors.CodeUnsupported, &connectors.Query{Bind: entries,
			Select: (&connectors.Select{Collection: c.Name, Bind: fields, Columns: []connectors.Column{{Field: c.Key[0]}}}).Seal()})
	}
	for _, f := range c.Fields {
		fields := []string{f.Name}
		if !c.AnyBind && !slices.ContainsFunc(c.BindFields, func(b []string) bool { return slices.Equal(b, fields) }) {
			ask(fields, [][]connectors.Value{{SuiteData()[c.Name][0].Get(f.Name)}})
		}
	}
	if most := s.schema.Capabilities.MaxBind; most > 0 && len(bindable(c)) > 0 {
		var entries [][]connectors.Value
		for i := range most + 1 {
			var entry []connectors.Value
			for range bindable(c)[0] {
				entry = append(entry, connectors.Int(int64(i)))
			}
			entries = append(entries, entry)
		}
		ask(bindable(c)[0], entries)
	}
}
