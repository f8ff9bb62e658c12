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
	for _, c := range s.oracle.Schema().Collections {
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

// undeclared: what the schema does not claim is refused, and not done by half.
func (s *session) undeclared(t *testing.T) {
	every := []connectors.Op{connectors.OpEq, connectors.OpNe, connectors.OpIn, connectors.OpNotIn, connectors.OpGt, connectors.OpGte,
		connectors.OpLt, connectors.OpLte, connectors.OpIsNull, connectors.OpLike, connectors.OpILike, connectors.OpStartsWith,
		connectors.OpEndsWith, connectors.OpContains, connectors.OpHasKey, connectors.OpSearch}
	for _, c := range s.oracle.Schema().Collections {
		columns := []connectors.Column{{Field: c.Fields[0].Name}}
		ask := func(change func(*connectors.Select)) *connectors.Query {
			q := *s.everything(c)
			shape := *q.Select
			shape.Columns, shape.Order = columns, nil
			change(&shape)
			q.Select = shape.Seal()
			return &q
		}
		if !c.List {
			s.refused(t, connectors.CodeUnsupported, &connectors.Query{Select: (&connectors.Select{Collection: c.Name, Columns: columns}).Seal()})
		}
		if !c.Count && !c.Aggregate {
			s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) {
				q.Columns, q.Aggregate = nil, &connectors.Aggregate{Values: []connectors.AggregateValue{{Func: connectors.AggCount}}}
			}))
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
	order := keyOrder(c)
	var cursor []connectors.Operand
	for range c.Key {
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
		for _, r := range relationsOf(s.oracle.Schema(), c) {
			s.refused(t, connectors.CodeUnsupported, ask(func(q *connectors.Select) {
				q.Where = &connectors.Condition{Op: connectors.OpRelated, Relation: &r.Relation, Quantifier: connectors.QuantSome}
			}))
		}
	}
}

// malformed: shapes that mean nothing are refused and never read as "all".
func (s *session) malformed(t *testing.T) {
	c := s.oracle.Schema().Collection(Customers)
	ask := func(change func(*connectors.Select)) *connectors.Query {
		q := &connectors.Select{Collection: c.Name, Columns: []connectors.Column{{Field: "id"}}, Order: keyOrder(c)}
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
	c := s.oracle.Schema().Collection(Customers)
	shape := *all(c)
	shape.MaxRows = 60
	if got, err := read(s.c, &connectors.Query{Select: shape.Seal()}); err != nil || len(got.rows) != 60 {
		t.Errorf("60 records under a bound of 60: %d, %v", len(got.rows), err)
	}
	shape.MaxRows = 59
	s.refused(t, connectors.CodeRowCapExceeded, &connectors.Query{Select: shape.Seal()})
	if c.Paging.Offset { // what is passed over is not in the answer
		shape.Page = &connectors.Page{Offset: connectors.Const(connectors.Int(1))}
		if got, err := read(s.c, &connectors.Query{Select: shape.Seal()}); err != nil || len(got.rows) != 59 {
			t.Errorf("the last 59 records under a bound of 59: %d, %v", len(got.rows), err)
		}
	}
}

// cancelled: a context that has ended ends the call.
func (s *session) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q := s.everything(s.oracle.Schema().Collection(Albums))
	rows, err := s.c.Query(ctx, q)
	if err == nil {
		_, err = rows.Next(ctx)
		rows.Close()
	}
	if connectors.CodeOf(err) != connectors.CodeTimeout {
		t.Errorf("a query under a context that has ended: %v", describeError(err))
	}
	s.compare(t, q) // the connector is well after it
	if c := s.oracle.Schema().Collection(Customers); c.Acts[connectors.Create] != nil {
		change := &connectors.Change{Version: connectors.ChangeVersion, Steps: []connectors.Step{{ID: "c", Kind: connectors.Create,
			Collection: Customers, Set: customer(7000).Fields}}}
		_, err := s.c.Apply(ctx, nil, change)
		if code := connectors.CodeOf(err); code != connectors.CodeTimeout && code != connectors.CodeOutcomeUnknown {
			t.Errorf("a change under a context that has ended: %v", describeError(err))
		}
		if connectors.CodeOf(err) == connectors.CodeTimeout {
			s.compare(t, s.everything(c))
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
	c := s.oracle.Schema().Collection(Customers)
	token := &connectors.Snapshot{}
	defer token.End()
	q := s.everything(c)
	q.Snapshot = token
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
	s.compare(t, s.everything(c))
	if _, err := read(s.c, q); err == nil {
		t.Error("a snapshot that has ended answers")
	}
}
