package connectortest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
)

// things is a small system whose answers are told by hand.
func things() *connectortest.Memory {
	schema := connectortest.FullSchema(&connectors.Collection{Name: "things", Key: []string{"id"}, Fields: []*connectors.Field{
		{Name: "id", Type: connectors.TypeRef{Scalar: connectors.ScalarInt}},
		{Name: "a", Type: connectors.TypeRef{Scalar: connectors.ScalarInt}, Nullable: true},
		{Name: "s", Type: connectors.TypeRef{Scalar: connectors.ScalarString}, Nullable: true},
		{Name: "j", Type: connectors.TypeRef{Scalar: connectors.ScalarJSON}, Nullable: true},
		{Name: "d", Type: connectors.TypeRef{Scalar: connectors.ScalarDecimal}, Nullable: true},
		{Name: "parent", Type: connectors.TypeRef{Scalar: connectors.ScalarInt}, Nullable: true},
	}, References: []connectors.Reference{{Name: "parent", Fields: []string{"parent"}, To: "things", On: []string{"id"}}}})
	schema.Functions = []*connectors.Function{
		{Name: "double", Reads: true, Args: []*connectors.Field{{Name: "n", Type: connectors.TypeRef{Scalar: connectors.ScalarInt}}},
			Result: &connectors.TypeRef{Scalar: connectors.ScalarInt}},
		{Name: "send", Act: &connectors.Act{Class: connectors.Idempotent}, Args: []*connectors.Field{{Name: "to", Type: connectors.TypeRef{Scalar: connectors.ScalarString}}},
			Result: &connectors.TypeRef{Scalar: connectors.ScalarString}},
	}
	thing := func(id int64, a, s, j, d, parent connectors.Value) connectors.Record {
		return connectors.Record{Key: []connectors.Assign{{Field: "id", Value: connectors.Int(id)}}, Fields: []connectors.Assign{
			{Field: "a", Value: a}, {Field: "s", Value: s}, {Field: "j", Value: j}, {Field: "d", Value: d}, {Field: "parent", Value: parent}}}
	}
	null := connectors.Null
	return connectortest.NewMemory(schema, map[string][]connectors.Record{"things": {
		thing(1, connectors.Int(10), connectors.String("Ab%c"), connectors.Value{Kind: connectors.KindJSON, Text: `{"k": 1}`}, connectors.Decimal("1.10"), null),
		thing(2, connectors.Int(20), connectors.String("abc"), null, connectors.Decimal("1.1"), connectors.Int(1)),
		thing(3, null, null, null, null, connectors.Int(1)),
	}})
}

func ids(t *testing.T, c connectors.Connector, s *connectors.Select) string {
	t.Helper()
	s.Collection, s.Columns = "things", []connectors.Column{{Field: "id"}}
	rows, err := c.Query(context.Background(), &connectors.Query{Select: s.Seal()})
	if err != nil {
		return string(connectors.CodeOf(err))
	}
	var out []string
	for b, err := rows.Next(context.Background()); b != nil || err != nil; b, err = rows.Next(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Rows() {
			out = append(out, string(b.Cell(i, 0)))
		}
	}
	return strings.Join(out, " ")
}

// TestMemoryTruth holds what SQL says, told by hand.
func TestMemoryTruth(t *testing.T) {
	m := things()
	v := connectors.Const
	a := func(op connectors.Op, x connectors.Value) *connectors.Condition {
		return connectors.Compare("a", op, v(x))
	}
	s := func(op connectors.Op, x string) *connectors.Condition {
		return connectors.Compare("s", op, v(connectors.String(x)))
	}
	list := func(items ...connectors.Value) connectors.Value { return connectors.ListOf(items...) }
	ten, null := connectors.Int(10), connectors.Null
	rel := &connectors.Relation{To: "things", Fields: []string{"id"}, On: []string{"parent"}}
	related := func(q connectors.Quantifier, inner *connectors.Condition) *connectors.Condition {
		return &connectors.Condition{Op: connectors.OpRelated, Relation: rel, Quantifier: q, Inner: inner}
	}
	for i, c := range []struct {
		where *connectors.Condition
		want  string
	}{
		{nil, "1 2 3"},
		{connectors.Nothing(), ""},
		{&connectors.Condition{Op: connectors.OpAnd}, "1 2 3"},
		{a(connectors.OpEq, ten), "1"},
		{a(connectors.OpNe, ten), "2"},
		{connectors.Not(a(connectors.OpEq, ten)), "2"},
		{connectors.Not(connectors.Not(a(connectors.OpEq, ten))), "1"},
		{a(connectors.OpEq, null), ""},
		{connectors.Not(a(connectors.OpEq, null)), ""},
		{connectors.Or(a(connectors.OpEq, null), a(connectors.OpEq, ten)), "1"},
		{connectors.Not(connectors.And(a(connectors.OpEq, null), a(connectors.OpEq, ten))), "2"},
		{a(connectors.OpIn, list()), ""},
		{a(connectors.OpNotIn, list()), "1 2 3"},
		{a(connectors.OpIn, list(ten, null)), "1"},
		{a(connectors.OpNotIn, list(ten, null)), ""},
		{a(connectors.OpNotIn, list(ten)), "2"},
		{a(connectors.OpIsNull, connectors.True), "3"},
		{a(connectors.OpIsNull, connectors.False), "1 2"},
		{a(connectors.OpGt, ten), "2"}, {a(connectors.OpGte, ten), "1 2"}, {a(connectors.OpLt, ten), ""}, {a(connectors.OpLte, ten), "1"},
		{connectors.Compare("d", connectors.OpEq, v(connectors.Decimal("1.100"))), "1 2"},
		{s(connectors.OpLike, "ab%"), "2"}, {s(connectors.OpILike, "AB%"), "1 2"}, {s(connectors.OpLike, `%\%%`), "1"},
		{s(connectors.OpLike, "a_c"), "2"}, {s(connectors.OpLike, `ab\`), "BAD_INPUT"}, {s(connectors.OpLike, ""), ""},
		{s(connectors.OpStartsWith, "Ab%"), "1"}, {s(connectors.OpEndsWith, "bc"), "2"}, {s(connectors.OpContains, "%"), "1"},
		{s(connectors.OpSearch, "BC A"), "2"}, {s(connectors.OpGt, "Z"), "2"},
		{connectors.Compare("j", connectors.OpHasKey, v(connectors.String("k"))), "1"},
		{related(connectors.QuantSome, nil), "1"},
		{related(connectors.QuantNone, nil), "2 3"},
		{related(connectors.QuantSome, a(connectors.OpEq, connectors.Int(20))), "1"},
		{related(connectors.QuantEvery, a(connectors.OpEq, connectors.Int(20))), "2 3"}, // unknown for 3, so not every
		{related(connectors.QuantEvery, connectors.Compare("id", connectors.OpGt, v(connectors.Int(1)))), "1 2 3"},
		{&connectors.Condition{}, "BAD_INPUT"},
	} {
		if got := ids(t, m, &connectors.Select{Where: c.where, Order: []connectors.OrderTerm{{Field: "id"}}}); got != c.want {
			t.Errorf("%d: %s is %q, not %q", i, c.where.AppendCanonical(nil), got, c.want)
		}
	}
}

func TestMemoryOrders(t *testing.T) {
	m := things()
	for _, c := range []struct {
		order []connectors.OrderTerm
		low   bool
		want  string
	}{
		{order: []connectors.OrderTerm{{Field: "a"}}, want: "1 2 3"},
		{order: []connectors.OrderTerm{{Field: "a", Desc: true}}, want: "3 2 1"},
		{order: []connectors.OrderTerm{{Field: "a"}}, low: true, want: "3 1 2"},
		{order: []connectors.OrderTerm{{Field: "a", Desc: true}}, low: true, want: "2 1 3"},
		{order: []connectors.OrderTerm{{Field: "a", Desc: true, Nulls: connectors.NullsLast}}, want: "2 1 3"},
		{order: []connectors.OrderTerm{{Field: "a", Nulls: connectors.NullsFirst}}, want: "3 1 2"},
		{order: []connectors.OrderTerm{{Field: "d"}, {Field: "id", Desc: true}}, want: "2 1 3"},
		{order: []connectors.OrderTerm{{Field: "a", Desc: true, Via: []connectors.Relation{{To: "things", Fields: []string{"parent"}, On: []string{"id"}}}}, {Field: "id"}}, want: "1 2 3"},
	} {
		m.NullsLow = c.low
		if got := ids(t, m, &connectors.Select{Order: c.order}); got != c.want {
			t.Errorf("%+v gives %s, not %s", c.order, got, c.want)
		}
	}
}

func TestMemoryFunctions(t *testing.T) {
	ctx := context.Background()
	m := things()
	m.Handle("double", func(_ context.Context, args connectors.Value) (connectors.Value, error) {
		n, _ := args.Get("n").Int64()
		return connectors.Int(2 * n), nil
	})
	sent := 0
	m.Handle("send", func(context.Context, connectors.Value) (connectors.Value, error) {
		sent++
		return connectors.String(fmt.Sprint("receipt ", sent)), nil
	})
	rows, err := m.Query(ctx, &connectors.Query{Args: []connectors.Value{connectors.Int(21)}, Select: (&connectors.Select{Function: "double",
		Call: []connectors.ArgOperand{{Name: "n", Operand: connectors.Arg(0)}}}).Seal()})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := rows.Next(ctx); err != nil || string(b.Cell(0, 0)) != "42" {
		t.Errorf("the double of 21 is %v, %v", b, err)
	}
	send := func(to, key string) *connectors.Change {
		return &connectors.Change{Steps: []connectors.Step{{ID: "s", Kind: connectors.Call, Function: "send", IdempotencyKey: key,
			Args: connectors.ObjectOf(connectors.Member{Name: "to", Value: connectors.String(to)})}}}
	}
	if effect, err := m.Preview(ctx, nil, send("x", "k")); err != nil || sent != 0 || effect.Steps[0].Request == nil {
		t.Errorf("the preview of a call sent %d: %+v, %v", sent, effect, err)
	}
	m.Inject(connectortest.DropReply())
	if _, err := m.Apply(ctx, nil, send("x", "k")); connectors.CodeOf(err) != connectors.CodeOutcomeUnknown {
		t.Errorf("a dropped reply: %v", err)
	}
	effect, err := m.Apply(ctx, nil, send("x", "k"))
	if err != nil || !effect.Repeated || string(effect.Steps[0].Result) != `"receipt 1"` || sent != 1 {
		t.Errorf("again with the key: %+v, %v, %d sent", effect, err, sent)
	}
	if _, err := m.Apply(ctx, nil, send("y", "k")); connectors.CodeOf(err) != connectors.CodeIdempotencyMismatch {
		t.Errorf("the key for something else: %v", err)
	}
	if effects := m.Effects(); len(effects) != 1 || m.Calls(connectortest.OnApply) != 3 {
		t.Errorf("%d effects of %d calls", len(effects), m.Calls(connectortest.OnApply))
	}
}

func TestMemoryFaults(t *testing.T) {
	m := things()
	everything := &connectors.Query{Select: (&connectors.Select{Collection: "things", Columns: []connectors.Column{{Field: "id"}}}).Seal()}
	m.Inject(connectortest.Unavailable(connectortest.OnQuery))
	if _, err := m.Query(context.Background(), everything); connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable {
		t.Errorf("an unavailable system: %v", err)
	}
	m.Heal()
	entered, release := make(chan struct{}), make(chan struct{})
	m.Inject(connectortest.Hold(connectortest.OnQuery, entered, release))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { _, err := m.Query(ctx, everything); done <- err }()
	<-entered
	cancel()
	if err := <-done; connectors.CodeOf(err) != connectors.CodeTimeout {
		t.Errorf("a held query that is cancelled: %v", err)
	}
	go func() { _, err := m.Query(context.Background(), everything); done <- err }()
	<-entered
	close(release)
	if err := <-done; err != nil {
		t.Errorf("a held query that is let go: %v", err)
	}
}
