package connectortest

import (
	"strings"

	"github.com/countersign/countersign/connectors"
)

func creation(collection string, set []connectors.Assign, also ...func(*connectors.Step)) []connectors.Step {
	return stepOf(connectors.Step{Kind: connectors.Create, Collection: collection, Set: set}, also)
}

func updateOf(collection string, id int64, set []connectors.Assign, also ...func(*connectors.Step)) []connectors.Step {
	return stepOf(connectors.Step{Kind: connectors.Update, Collection: collection, Key: assigns("id", connectors.Int(id)), Set: set}, also)
}

func updatesOf(collection string, where *connectors.Condition, maxRows int, set []connectors.Assign, also ...func(*connectors.Step)) []connectors.Step {
	return stepOf(connectors.Step{Kind: connectors.Update, Collection: collection, Where: where, MaxRows: maxRows, Set: set}, also)
}

func deletion(collection string, id int64, also ...func(*connectors.Step)) []connectors.Step {
	return stepOf(connectors.Step{Kind: connectors.Delete, Collection: collection, Key: assigns("id", connectors.Int(id))}, also)
}

func stepOf(s connectors.Step, also []func(*connectors.Step)) []connectors.Step {
	s.ID = "a"
	for _, change := range also {
		change(&s)
	}
	return []connectors.Step{s}
}

func returning(fields ...string) func(*connectors.Step) {
	return func(s *connectors.Step) { s.Return = fields }
}

func checking(c *connectors.Condition) func(*connectors.Step) {
	return func(s *connectors.Step) { s.Check = c }
}

func where(c *connectors.Condition) func(*connectors.Step) {
	return func(s *connectors.Step) { s.Where = c }
}

func expecting(e ...connectors.Expectation) func(*connectors.Step) {
	return func(s *connectors.Step) { s.Expect = e }
}

func expectation(id int64, fields ...any) connectors.Expectation {
	return connectors.Expectation{Key: assigns("id", connectors.Int(id)), Fields: assigns(fields...)}
}

func is(field string, v connectors.Value) *connectors.Condition {
	return connectors.Compare(field, connectors.OpEq, connectors.Const(v))
}

func text(s string) connectors.Value { return connectors.String(s) }

func num(i int64) connectors.Value { return connectors.Int(i) }

func with(set []connectors.Assign, pairs ...any) []connectors.Assign {
	return append(append([]connectors.Assign(nil), set...), assigns(pairs...)...)
}

func createCases() []writeCase {
	// The key is given: what a system makes itself, see made, is not the oracle's.
	album := assigns("id", num(1000), "artist_id", num(3), "title", text("Nieuw"))
	pair := assigns("id", num(1001), "artist_id", num(3), "title", text("Nieuw"))
	return []writeCase{
		{name: "create", steps: creation(Customers, with(customer(101).Fields, "note", text("o'brien; -- \\ 🎷"), "vip", connectors.Null), returning("note", "balance", "vip"))},
		{name: "create with defaults", steps: creation(Artists, assigns("id", num(100), "name", text("Neu")), returning("active", "rating", "country"))},
		{name: "create with a constant default", steps: creation(Albums, album, returning("id", "plays", "price"))},
		{name: "create with a large integer", steps: creation(Tracks, assigns("album_id", num(149), "position", num(9), "title", text("t"), "size", num(1<<62+1)), returning("size"))},
		{name: "create with instants", steps: creation(Customers, assigns("id", num(102), "balance", connectors.Decimal("0.10"), "created", text("2026-07-01T12:00:00.25+02:00"), "seen", text("2026-03-29T02:30:00")), returning("created", "seen"))},
		{name: "create without a needed field", code: connectors.CodeValidationFailed, path: []string{"0", "balance"},
			steps: creation(Customers, assigns("id", num(103), "created", text("2026-05-01T00:00:00Z")))},
		{name: "create with null for a value", code: connectors.CodeValidationFailed, path: []string{"0", "title"},
			steps: creation(Tracks, assigns("album_id", num(1), "position", num(8), "title", connectors.Null, "size", num(1)))},
		{name: "create with an unknown field", code: connectors.CodeUnsupported, path: []string{"0", "wrong"},
			steps: creation(Artists, assigns("id", num(104), "name", text("x"), "wrong", num(1)))},
		{name: "create with text for a number", code: connectors.CodeValidationFailed, path: []string{"0", "plays"},
			steps: creation(Albums, with(pair, "plays", text("many")))},
		{name: "create with a used key", code: connectors.CodeUniqueViolation, path: []string{"0", "id"}, steps: creation(Customers, customer(5).Fields)},
		{name: "create with a used name", code: connectors.CodeUniqueViolation, path: []string{"0", "name"},
			steps: creation(Artists, assigns("id", num(105), "name", text("Neu")))},
		{name: "create with a used pair", code: connectors.CodeUniqueViolation, path: []string{"0", "artist_id"}, steps: creation(Albums, pair)},
		{name: "create with nulls in a unique key", steps: creation(Customers, with(customer(106).Fields, "email", connectors.Null))},
		{name: "create without its parent", code: connectors.CodeReferenceViolation, path: []string{"0", "artist_id"},
			steps: creation(Albums, assigns("id", num(1001), "artist_id", num(777), "title", text("x")))},
		{name: "create with text too long", code: connectors.CodeValidationFailed, path: []string{"0", "country"},
			steps: creation(Artists, assigns("id", num(107), "name", text("x"), "country", text("deu")))},
		{name: "create with text as long as can be", steps: creation(Artists, assigns("id", num(107), "name", text(strings.Repeat("ä", 120)), "country", text("日本")))},
		{name: "create with digits that would be rounded", code: connectors.CodeValidationFailed, path: []string{"0", "price"},
			steps: creation(Albums, with(pair, "price", connectors.Decimal("10.005")))},
		{name: "create with too large a number", code: connectors.CodeValidationFailed, path: []string{"0", "price"},
			steps: creation(Albums, with(pair, "price", connectors.Decimal("123456789.00")))},
		{name: "create with zeros beyond the scale", steps: creation(Albums, assigns("id", num(1002), "artist_id", num(4), "title", text("zeros"), "price", connectors.Decimal("10.5000")), returning("price"))},
		{name: "create that fails its check", code: connectors.CodeCheckViolation,
			steps: creation(Customers, customer(108).Fields, checking(is("vip", connectors.True)))},
		{name: "create that passes its check", steps: creation(Customers, customer(108).Fields,
			checking(connectors.And(is("balance", connectors.Decimal("10.5")), connectors.Not(is("id", num(1))))))},
		{name: "create of a field twice", code: connectors.CodeBadInput, steps: creation(Artists, assigns("id", num(109), "name", text("x"), "name", text("y")))},
		{name: "create with a key", code: connectors.CodeBadInput,
			steps: creation(Artists, assigns("id", num(109), "name", text("x")), func(s *connectors.Step) { s.Key = assigns("id", num(109)) })},
	}
}

func updateCases() []writeCase {
	byName := is("name", text("Neu"))
	return []writeCase{
		{name: "update", steps: updateOf(Customers, 7, assigns("note", text("seven"), "vip", connectors.True), returning("note", "vip", "email"))},
		{name: "update to null", steps: updateOf(Customers, 7, assigns("note", connectors.Null), returning("note"))},
		{name: "update of a composite key", steps: stepOf(connectors.Step{Kind: connectors.Update, Collection: Tracks, Key: assigns("position", num(2), "album_id", num(3)),
			Set: assigns("title", text("renamed")), Return: []string{"title"}}, nil)},
		{name: "update of the key itself", steps: updateOf(Artists, 100, assigns("id", num(200)), returning("id", "name"))},
		{name: "increment", steps: updateOf(Albums, 7, []connectors.Assign{increment("plays", num(5)), increment("price", connectors.Decimal("-0.25"))}, returning("plays", "price"))},
		{name: "increment of null", steps: updatesOf(Tracks, connectors.And(is("album_id", num(20)), connectors.Compare("milliseconds", connectors.OpIsNull, connectors.Const(connectors.True))), 4,
			[]connectors.Assign{increment("milliseconds", num(1))}, returning("milliseconds"))},
		{name: "increment of text", code: connectors.CodeValidationFailed, path: []string{"0", "title"}, steps: updateOf(Albums, 7, []connectors.Assign{increment("title", num(1))})},
		{name: "increment that would be rounded", code: connectors.CodeValidationFailed, steps: updateOf(Customers, 7, []connectors.Assign{increment("balance", connectors.Decimal("0.001"))})},
		{name: "update of nothing", code: connectors.CodeBadInput, steps: updateOf(Artists, 2, nil)},
		{name: "update of no record", code: connectors.CodeNotFound, steps: updateOf(Customers, 9999, assigns("note", text("x")))},
		{name: "update out of sight", code: connectors.CodeNotFound, steps: updateOf(Artists, 200, assigns("rating", connectors.Float(1)), where(is("active", connectors.False)))},
		{name: "update in sight", steps: updateOf(Artists, 200, assigns("rating", connectors.Float(1.5)), where(byName), returning("rating"))},
		{name: "update to a used name", code: connectors.CodeUniqueViolation, path: []string{"0", "name"}, steps: updateOf(Artists, 1, assigns("name", text("Neu")))},
		{name: "update to a missing parent", code: connectors.CodeReferenceViolation, path: []string{"0", "referrer_id"}, steps: updateOf(Customers, 7, assigns("referrer_id", num(4711)))},
		{name: "update of a key that is referred to", code: connectors.CodeReferenceViolation, steps: updateOf(Artists, 1, assigns("id", num(300)))},
		{name: "update to null for a value", code: connectors.CodeValidationFailed, path: []string{"0", "balance"}, steps: updateOf(Customers, 7, assigns("balance", connectors.Null))},
		{name: "update that fails its check", code: connectors.CodeCheckViolation, steps: updateOf(Customers, 7, assigns("note", text("away")), checking(is("note", text("here"))))},
		{name: "update that is unknown to its check", code: connectors.CodeCheckViolation, steps: updateOf(Customers, 7, assigns("note", connectors.Null), checking(connectors.Not(is("note", text("here")))))},
		{name: "update that passes its check", steps: updateOf(Customers, 7, assigns("note", text("here")), checking(is("note", text("here"))))},
		{name: "update by condition", steps: updatesOf(Customers, connectors.Compare("id", connectors.OpIn, connectors.Const(connectors.ListOf(num(9), num(8), num(10)))), 3, assigns("note", text("some")), returning("note"))},
		{name: "update of more than the bound", code: connectors.CodeRowCapExceeded, steps: updatesOf(Customers, connectors.Compare("id", connectors.OpLte, connectors.Const(num(10))), 9, assigns("note", text("all")))},
		{name: "update of none by condition", steps: updatesOf(Customers, connectors.Nothing(), 1, assigns("note", text("none")))},
		{name: "update without a bound", code: connectors.CodeBadInput, steps: updatesOf(Customers, is("id", num(9)), 0, assigns("note", text("x")))},
		{name: "update of everything", code: connectors.CodeBadInput, steps: updatesOf(Customers, nil, 1000, assigns("note", text("x")))},
		{name: "update by half a key", code: connectors.CodeBadInput, steps: stepOf(connectors.Step{Kind: connectors.Update, Collection: Tracks, Key: assigns("album_id", num(3)), Set: assigns("title", text("x"))}, nil)},
		{name: "update by related records", steps: updatesOf(Albums, connectors.And(connectors.Compare("id", connectors.OpGt, connectors.Const(num(100))), &connectors.Condition{Op: connectors.OpRelated, Quantifier: connectors.QuantOne,
			Relation: &connectors.Relation{To: Artists, Fields: []string{"artist_id"}, On: []string{"id"}}, Inner: is("id", num(5))}), 50, []connectors.Assign{increment("plays", num(1))}, returning("plays"))},
	}
}

func deleteCases() []writeCase {
	return []writeCase{
		{name: "delete one", steps: deletion(Customers, 101, where(is("id", num(101))))},
		{name: "delete", steps: deletion(Artists, 200)},
		{name: "delete again", code: connectors.CodeNotFound, steps: deletion(Artists, 200)},
		{name: "delete what is referred to", code: connectors.CodeReferenceViolation, steps: deletion(Artists, 1)},
		{name: "delete out of sight", code: connectors.CodeNotFound, steps: deletion(Artists, 14, where(connectors.Nothing()))},
		{name: "delete by condition", steps: stepOf(connectors.Step{Kind: connectors.Delete, Collection: Tracks, Where: is("album_id", num(30)), MaxRows: 4}, nil)},
		{name: "delete more than the bound", code: connectors.CodeRowCapExceeded, steps: stepOf(connectors.Step{Kind: connectors.Delete, Collection: Tracks, Where: is("album_id", num(31)), MaxRows: 3}, nil)},
		{name: "delete everything", code: connectors.CodeBadInput, steps: stepOf(connectors.Step{Kind: connectors.Delete, Collection: Tracks, MaxRows: 1000}, nil)},
		{name: "delete that writes", code: connectors.CodeBadInput, steps: deletion(Artists, 14, func(s *connectors.Step) { s.Set = assigns("name", text("x")) })},
	}
}

// guardCases are about Expect: what was approved is what is touched.
func guardCases() []writeCase {
	note := assigns("note", text("expected"))
	before := assigns("note", text("before"), "vip", connectors.Null, "balance", connectors.Decimal("7.10"))
	either := connectors.Compare("id", connectors.OpIn, connectors.Const(connectors.ListOf(num(20), num(21), num(22))))
	return []writeCase{
		{name: "set up", steps: updateOf(Customers, 20, before)},
		{name: "set up another", steps: updateOf(Customers, 21, before)},
		{name: "set up a third", steps: updateOf(Customers, 22, before)},
		{name: "expected", steps: updateOf(Customers, 20, note, expecting(expectation(20, "note", text("before"), "vip", connectors.Null, "balance", connectors.Decimal("7.1"))), returning("note"))},
		{name: "moved", code: connectors.CodeProposalStale, steps: updateOf(Customers, 20, note, expecting(expectation(20, "note", text("before"))))},
		{name: "moved from null", code: connectors.CodeProposalStale, steps: updateOf(Customers, 20, note, expecting(expectation(20, "note", connectors.Null)))},
		{name: "moved to null", code: connectors.CodeProposalStale, steps: updateOf(Customers, 20, note, expecting(expectation(20, "vip", connectors.False)))},
		{name: "gone", code: connectors.CodeProposalStale, steps: updateOf(Customers, 9999, note, expecting(expectation(9999, "note", text("before"))))},
		{name: "of another record", code: connectors.CodeProposalStale, steps: updateOf(Customers, 20, note, expecting(expectation(21, "note", text("before"))))},
		{name: "exactly those expected", steps: updatesOf(Customers, either, 2, note, expecting(expectation(22, "note", text("before")), expectation(21)), returning("id", "note"))},
		{name: "out of sight by now", code: connectors.CodeProposalStale, steps: updatesOf(Customers, connectors.And(either, is("note", text("before"))), 2, note, expecting(expectation(21), expectation(22)))},
		{name: "more expected than the bound", code: connectors.CodeRowCapExceeded, steps: updatesOf(Customers, either, 1, note, expecting(expectation(21), expectation(22)))},
		{name: "delete of what was expected", steps: deletion(Customers, 106, expecting(expectation(106, "note", connectors.Null)))},
	}
}

// changeCases are changes of several steps: all or none.
func changeCases() []writeCase {
	two := func(a, b []connectors.Step) []connectors.Step {
		b[0].ID = "b"
		return append(a, b...)
	}
	fresh := creation(Artists, assigns("id", num(400), "name", text("four hundred")), returning("name"))
	return []writeCase{
		{name: "steps that build on each other", steps: two(fresh, creation(Albums, assigns("id", num(4000), "artist_id", num(400), "title", text("first")), returning("artist_id")))},
		{name: "a later step fails", code: connectors.CodeReferenceViolation, path: []string{"1", "artist_id"}, steps: two(
			creation(Artists, assigns("id", num(401), "name", text("x"))),
			creation(Albums, assigns("id", num(4001), "artist_id", num(499), "title", text("x"))))},
		{name: "a later record is missing", code: connectors.CodeNotFound, steps: two(updateOf(Customers, 30, assigns("note", text("kept?"))), deletion(Albums, 9999))},
		{name: "a step undoes another", steps: two(updateOf(Customers, 30, assigns("note", text("one"))), updateOf(Customers, 30, assigns("note", text("two")), where(is("note", text("one"))), returning("note")))},
		{name: "no steps", code: connectors.CodeBadInput},
	}
}
