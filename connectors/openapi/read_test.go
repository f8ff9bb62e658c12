package openapi_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/openapi"
	"github.com/countersign/countersign/examples/desk"
)

func TestGetByKey(t *testing.T) {
	f := start(t, nil)
	s := sel("tickets", "id", "subject")
	s.Where = eq("id", connectors.Int(7))
	rows, _ := f.read(&connectors.Query{Select: s})
	if len(rows) != 1 || rows[0][0] != "7" {
		t.Errorf("%v", rows)
	}
	if n := f.desk.Requests(); n["getTicket"] != 1 || len(n) != 1 {
		t.Errorf("calls: %v", n)
	}
	s.Where = eq("id", connectors.Int(99999))
	if rows, _ := f.read(&connectors.Query{Select: s}); len(rows) != 0 {
		t.Errorf("a record that is not there: %v", rows)
	}
	// The key and another condition: the record is read, and left out.
	s.Where = connectors.And(eq("id", connectors.Int(7)), eq("status", connectors.String("open")))
	if rows, _ := f.read(&connectors.Query{Select: s}); len(rows) != 0 {
		t.Errorf("a closed ticket is open: %v", rows)
	}
}

func TestListIsDrivenToThePageAskedFor(t *testing.T) {
	f := start(t, nil)
	for _, x := range []struct{ offset, limit, rows, calls int }{{0, 3, 3, 1}, {0, 100, 100, 1}, {0, 101, 101, 2}, {250, 100, 100, 4}, {390, 30, 10, 5}, {0, 0, 0, 0}} {
		before := f.desk.Requests()["listTickets"]
		s := sel("tickets", "id")
		s.Page = &connectors.Page{Limit: connectors.Arg(0), Offset: connectors.Arg(1)}
		rows, _ := f.read(&connectors.Query{Select: s, Args: []connectors.Value{connectors.Int(int64(x.limit)), connectors.Int(int64(x.offset))}})
		calls := f.desk.Requests()["listTickets"] - before
		if len(rows) != x.rows || calls > x.calls {
			t.Errorf("%+v: %d rows in %d calls", x, len(rows), calls)
		}
		if x.rows > 0 && rows[0][0] != strconv.Itoa(400-x.offset) {
			t.Errorf("%+v: begins with %s", x, rows[0][0])
		}
	}
}

func TestFiltersAreSentAndHold(t *testing.T) {
	f := start(t, nil)
	s := sel("tickets", "id", "status", "requesterEmail", "updatedAt")
	s.Where = connectors.And(eq("status", connectors.String("closed")),
		connectors.Compare("requesterEmail", connectors.OpIn, connectors.Const(connectors.ListOf(connectors.String("person1@example.com"), connectors.String("person0@example.com")))),
		connectors.Compare("updatedAt", connectors.OpGte, connectors.Const(connectors.String("2026-08-01T00:00:00Z"))))
	rows, _ := f.read(&connectors.Query{Select: s})
	if len(rows) == 0 || f.desk.Requests()["listTickets"] != 1 {
		t.Errorf("%d rows, calls %v", len(rows), f.desk.Requests())
	}
	for _, r := range rows {
		if r[1] != `"closed"` || r[2] > `"person2` || r[3] < `"2026-08` {
			t.Errorf("%v does not match", r)
		}
	}
	// What the system does not filter by itself is filtered here, bounded.
	s.Where = connectors.Not(eq("status", connectors.String("closed")))
	s.Page = limit(5)
	rows, _ = f.read(&connectors.Query{Select: s})
	if len(rows) != 5 || slices.ContainsFunc(rows, func(r []string) bool { return r[1] == `"closed"` }) {
		t.Errorf("%v", rows)
	}
	s.Where = connectors.Or(eq("status", connectors.String("open")), eq("id", connectors.Int(1)))
	s.Page = nil
	rows, _ = f.read(&connectors.Query{Select: s})
	if len(rows) == 0 || rows[len(rows)-1][0] != "1" {
		t.Errorf("an or: %v", rows)
	}
}

// TestNothingIsAskedForNothing: conditions that match nothing cost no call.
func TestNothingIsAskedForNothing(t *testing.T) {
	f := start(t, nil)
	for _, c := range []*connectors.Condition{connectors.Nothing(), connectors.And(connectors.Nothing(), eq("status", connectors.String("open"))),
		connectors.Compare("id", connectors.OpIn, connectors.Const(connectors.ListOf())), eq("id", connectors.Null)} {
		s := sel("tickets", "id")
		s.Where = c
		if rows, _ := f.read(&connectors.Query{Select: s}); len(rows) != 0 {
			t.Errorf("%v", rows)
		}
	}
	s := sel("tickets", "id")
	s.Bind = []string{"id"}
	f.read(&connectors.Query{Select: s, Bind: [][]connectors.Value{}})
	f.read(&connectors.Query{Select: s, Bind: [][]connectors.Value{{connectors.Null}}})
	if len(f.desk.Requests()) != 0 {
		t.Errorf("calls: %v", f.desk.Requests())
	}
}

func TestBindByBatch(t *testing.T) {
	f := start(t, nil)
	s := sel("tickets", "id")
	s.Bind = []string{"id"}
	var bind [][]connectors.Value
	for i := range 250 {
		bind = append(bind, []connectors.Value{connectors.Int(int64(500 - 2*i))})
	}
	rows, ordinals := f.read(&connectors.Query{Select: s, Bind: bind})
	if len(rows) != 200 || f.desk.Requests()["getTicketsBatch"] != 3 || len(f.desk.Requests()) != 1 {
		t.Errorf("%d rows, calls %v", len(rows), f.desk.Requests())
	}
	for i, r := range rows {
		if want := bind[ordinals[i]][0].Text; r[0] != want {
			t.Errorf("row %d is %s of entry %d, %s", i, r[0], ordinals[i], want)
		}
	}
}

func TestBindByListFilter(t *testing.T) {
	f := start(t, nil)
	s := sel("tickets", "id", "requesterEmail")
	s.Bind = []string{"requesterEmail"}
	s.Page = limit(2)
	bind := [][]connectors.Value{{connectors.String("person3@example.com")}, {connectors.String("nobody@example.com")}, {connectors.String("person0@example.com")},
		{connectors.String("PERSON0@example.com")}, {connectors.String("a,b")}, {connectors.String("")}, {connectors.Null}}
	rows, ordinals := f.read(&connectors.Query{Select: s, Bind: bind})
	counts := map[uint32]int{}
	for i, r := range rows {
		counts[ordinals[i]]++
		if want := strconv.Quote(bind[ordinals[i]][0].Text); r[1] != want {
			t.Errorf("%s belongs to %s", r, want)
		}
	}
	if fmt.Sprint(counts) != "map[0:2 2:2]" || f.desk.Requests()["listTickets"] != 1 {
		t.Errorf("rows per entry %v, calls %v", counts, f.desk.Requests())
	}
}

// TestBindByPath: a parameter of the path takes one value, so there is a call
// per value, and one for two entries that mean the same.
func TestBindByPath(t *testing.T) {
	f := start(t, nil)
	s := sel("comments", "ticketId", "body")
	s.Bind = []string{"ticketId"}
	var bind [][]connectors.Value
	for i := range 20 {
		bind = append(bind, []connectors.Value{connectors.Int(int64(1 + i%10))})
	}
	rows, ordinals := f.read(&connectors.Query{Select: s, Bind: bind})
	if n := f.desk.Requests()["listComments"]; n != 10 || len(rows) < 20 {
		t.Errorf("%d rows in %d calls", len(rows), n)
	}
	for i, r := range rows {
		if r[0] != bind[ordinals[i]][0].Text {
			t.Errorf("a comment of %s at entry %d", r[0], ordinals[i])
		}
	}
}

func TestBudgetOfCalls(t *testing.T) {
	f := start(t, func(c *openapi.Config) { c.Limits.CallsPerOperation = 3 })
	if _, _, err := read(f.src, &connectors.Query{Select: sel("tickets", "id")}); connectors.CodeOf(err) != connectors.CodeCostExceeded {
		t.Errorf("400 records in pages of 100 under a budget of 3 calls: %v", err)
	}
	if n := f.desk.Requests()["listTickets"]; n != 3 {
		t.Errorf("%d calls", n)
	}
	s := sel("tickets", "id")
	s.MaxRows = 150
	if _, _, err := read(f.src, &connectors.Query{Select: s}); connectors.CodeOf(err) != connectors.CodeRowCapExceeded {
		t.Errorf("400 records under a bound of 150: %v", err)
	}
}

// TestVersionsAreETags: a version costs one call for each record of a list, and
// none where nobody asks or the record was looked up by itself.
func TestVersionsAreETags(t *testing.T) {
	f := start(t, nil)
	s := sel("tickets", "id")
	s.Page = limit(2)
	f.read(&connectors.Query{Select: s})
	if n := f.desk.Requests()["getTicket"]; n != 0 {
		t.Errorf("%d records are read again for a list without versions", n)
	}
	s.Columns = append(s.Columns, connectors.Column{Version: true})
	s.Page = limit(2)
	rows, _ := f.read(&connectors.Query{Select: s})
	if len(rows) != 2 || rows[0][1] != `"\"1\""` || f.desk.Requests()["getTicket"] != 2 {
		t.Errorf("%v, calls %v", rows, f.desk.Requests())
	}
	s.Where, s.Page = eq("id", connectors.Int(7)), nil
	if rows, _ := f.read(&connectors.Query{Select: s}); len(rows) != 1 || f.desk.Requests()["getTicket"] != 3 {
		t.Errorf("by key: %v, calls %v", rows, f.desk.Requests())
	}
}

func TestConditionalCells(t *testing.T) {
	f := start(t, nil)
	s := sel("tickets", "status")
	s.Columns = append(s.Columns, connectors.Column{Field: "subject", If: eq("status", connectors.String("open"))})
	s.Page = limit(40)
	rows, _ := f.read(&connectors.Query{Select: s})
	shown := 0
	for _, r := range rows {
		if (r[0] == `"open"`) == (r[1] == "null") {
			t.Errorf("%v", r)
		}
		if r[1] != "null" {
			shown++
		}
	}
	if shown == 0 || shown == 40 {
		t.Errorf("%d of 40 shown", shown)
	}
}

// TestUndeclaredIsRefused: what the schema does not claim is UNSUPPORTED before
// any call.
func TestUndeclaredIsRefused(t *testing.T) {
	f := start(t, nil)
	one := connectors.Const(connectors.Int(1))
	for name, change := range map[string]func(*connectors.Query){
		"order":              func(q *connectors.Query) { q.Select.Order = []connectors.OrderTerm{{Field: "id"}} },
		"aggregate":          func(q *connectors.Query) { q.Select.Aggregate = &connectors.Aggregate{} },
		"after":              func(q *connectors.Query) { q.Select.Page = &connectors.Page{After: []connectors.Operand{one}} },
		"reverse":            func(q *connectors.Query) { q.Select.Page = &connectors.Page{Reverse: true} },
		"snapshot":           func(q *connectors.Query) { q.Snapshot = &connectors.Snapshot{} },
		"unknown collection": func(q *connectors.Query) { q.Select.Collection = "people" },
		"unknown column":     func(q *connectors.Query) { q.Select.Columns[0].Field = "secret" },
		"unknown field":      func(q *connectors.Query) { q.Select.Where = eq("secret", connectors.Int(1)) },
		"undeclared op":      func(q *connectors.Query) { q.Select.Where = connectors.Compare("id", connectors.OpGt, one) },
		"undeclared nested": func(q *connectors.Query) {
			q.Select.Where = connectors.Or(eq("id", connectors.Int(1)), connectors.Not(eq("subject", connectors.String("x"))))
		},
		"related":         func(q *connectors.Query) { q.Select.Where = &connectors.Condition{Op: connectors.OpRelated} },
		"undeclared bind": func(q *connectors.Query) { q.Select.Bind = []string{"subject"} },
		"list without its parent": func(q *connectors.Query) {
			q.Select.Collection, q.Select.Columns = "comments", []connectors.Column{{Field: "body"}}
		},
		"a function that writes": func(q *connectors.Query) { q.Select.Collection, q.Select.Function = "", "createRefund" },
	} {
		q := &connectors.Query{Select: sel("tickets", "id")}
		change(q)
		if _, _, err := read(f.src, q); connectors.CodeOf(err) != connectors.CodeUnsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]*connectors.Condition{
		"zero":             {},
		"missing operand":  connectors.Compare("id", connectors.OpEq, connectors.Arg(3)),
		"text for integer": eq("id", connectors.String("x")),
		"no list":          connectors.Compare("id", connectors.OpIn, one),
		"unknown op":       {Op: "near", Field: "id"},
	} {
		q := &connectors.Query{Select: sel("tickets", "id")}
		q.Select.Where = c
		if _, _, err := read(f.src, q); connectors.CodeOf(err) != connectors.CodeBadInput && connectors.CodeOf(err) != connectors.CodeUnsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(f.desk.Requests()) != 0 {
		t.Errorf("calls: %v", f.desk.Requests())
	}
	for e, err := range f.src.Watch(context.Background(), nil) {
		if e != nil || connectors.CodeOf(err) != connectors.CodeUnsupported {
			t.Errorf("watch: %v, %v", e, err)
		}
	}
}

func TestHostileAnswers(t *testing.T) {
	f := start(t, func(c *openapi.Config) { c.Limits.ResponseBytes = 1 << 20; c.Retries = -1 })
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	for name, x := range map[string]struct {
		fault desk.Fault
		want  connectors.Code
	}{
		"garbage":        {desk.Fault{Kind: desk.FaultGarbage}, connectors.CodeUpstreamError},
		"huge":           {desk.Fault{Kind: desk.FaultHuge}, connectors.CodeUpstreamError},
		"dropped":        {desk.Fault{Kind: desk.FaultDropReply}, connectors.CodeUpstreamUnavailable},
		"503":            {desk.Fault{Kind: desk.FaultStatus, Status: 503}, connectors.CodeUpstreamUnavailable},
		"no list":        {desk.Fault{Kind: desk.FaultBody, Body: `{"data":{}}`}, connectors.CodeUpstreamError},
		"null":           {desk.Fault{Kind: desk.FaultBody, Body: `null`}, connectors.CodeUpstreamError},
		"deep":           {desk.Fault{Kind: desk.FaultBody, Body: `{"data":[` + deep + `]}`}, connectors.CodeUpstreamError},
		"invalid UTF-8":  {desk.Fault{Kind: desk.FaultBody, Body: "{\"data\":[{\"subject\":\"\xff\"}]}"}, connectors.CodeUpstreamError},
		"next elsewhere": {desk.Fault{Kind: desk.FaultBody, Body: `{"data":[],"links":{"next":"http://evil.example/"}}`}, connectors.CodeUpstreamError},
		"next is itself": {desk.Fault{Kind: desk.FaultBody, Body: `{"data":[],"links":{"next":"?page%5Bsize%5D=100"}}`}, connectors.CodeUpstreamError},
	} {
		f.desk.Misbehave(x.fault)
		if _, _, err := read(f.src, &connectors.Query{Select: sel("tickets", "id")}); connectors.CodeOf(err) != x.want {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
		f.desk.ClearFaults()
	}
	// Wrong types make null cells, and the rest stands.
	f.desk.Misbehave(desk.Fault{Kind: desk.FaultBody, Body: `{"data":[{"id":"x","subject":7,"tags":["a",1],"orderId":9007199254740993,"createdAt":"yesterday"},5,{"id":3.0,"subject":"ok"}]}`})
	rows, _ := f.read(&connectors.Query{Select: sel("tickets", "id", "subject", "tags", "orderId", "createdAt")})
	if got, want := fmt.Sprint(rows), `[[null null ["a",null] null null] [3 "ok" null null null]]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestTimeoutAndClose(t *testing.T) {
	f := start(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.src.Query(ctx, &connectors.Query{Select: sel("tickets", "id")}); connectors.CodeOf(err) != connectors.CodeTimeout {
		t.Errorf("a context that has ended: %v", err)
	}
	// Close ends a call that hangs, and waits for it.
	held := make(chan struct{})
	f.desk.Misbehave(desk.Fault{Kind: desk.FaultHold, Until: make(chan struct{}), Held: held})
	failed := make(chan error)
	go func() {
		_, _, err := read(f.src, &connectors.Query{Select: sel("tickets", "id")})
		failed <- err
	}()
	<-held
	if err := f.src.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; connectors.CodeOf(err) != connectors.CodeTimeout {
		t.Errorf("a call when the source was closed: %v", err)
	}
	if _, _, err := read(f.src, &connectors.Query{Select: sel("tickets", "id")}); err == nil {
		t.Error("a closed source answers")
	}
}

func TestReadFunctions(t *testing.T) {
	f := start(t, func(c *openapi.Config) { c.Collections, c.Outcome = nil, nil })
	q := &connectors.Query{Select: &connectors.Select{Function: "getTicket", Call: []connectors.ArgOperand{{Name: "id", Operand: connectors.Arg(0)}}}, Args: []connectors.Value{connectors.Int(5)}}
	rows, _ := f.read(q)
	if len(rows) != 1 || !strings.HasPrefix(rows[0][0], `{"id":5,"subject":`) {
		t.Errorf("%v", rows)
	}
	q.Select.Columns = []connectors.Column{{Field: "id"}, {Field: "tags"}}
	if rows, _ = f.read(q); len(rows) != 1 || rows[0][0] != "5" || rows[0][1][0] != '[' {
		t.Errorf("%v", rows)
	}
	for name, args := range map[string][]connectors.ArgOperand{
		"missing":     nil,
		"unknown":     {{Name: "id", Operand: connectors.Arg(0)}, {Name: "x", Operand: connectors.Arg(0)}},
		"of its type": {{Name: "id", Operand: connectors.Const(connectors.String("../refunds"))}},
	} {
		q.Select.Call = args
		if _, _, err := read(f.src, q); connectors.CodeOf(err) != connectors.CodeBadInput && connectors.CodeOf(err) != connectors.CodeValidationFailed {
			t.Errorf("an argument that is %s: %v", name, err)
		}
	}
	q.Select.Call = []connectors.ArgOperand{{Name: "id", Operand: connectors.Const(connectors.Int(12345))}}
	if _, _, err := read(f.src, q); connectors.CodeOf(err) != connectors.CodeNotFound {
		t.Errorf("a record that is not there: %v", err)
	}
}

// TestPinnedSchemaDecides: what is not in the lock is not served, whatever the
// document says by now.
func TestPinnedSchemaDecides(t *testing.T) {
	f := start(t, nil)
	schema, err := f.src.Describe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	pinned := *schema
	pinned.Functions = nil
	pinned.Collections = pinned.Collections[2:] // tickets
	pinned.Collections[0].Fields = slices.DeleteFunc(slices.Clone(pinned.Collections[0].Fields), func(x *connectors.Field) bool { return x.Name == "subject" })
	src, err := openapi.Open(deskConfig(f.web.URL), &pinned)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if rows, _, err := read(src, &connectors.Query{Select: sel("tickets", "id")}); err != nil || len(rows) != 400 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
	for _, s := range []*connectors.Select{sel("tickets", "subject"), sel("refunds", "id"), {Function: "createRefund"}} {
		if _, _, err := read(src, &connectors.Query{Select: s}); connectors.CodeOf(err) != connectors.CodeUnsupported {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
