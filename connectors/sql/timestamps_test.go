package sql_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

// TestStoredTimestamps: SQLite's timestamps are text. One table holds them in
// one form, as is usual, another in all forms mixed. Filters are exact in both,
// and pages by cursor hold every record once, also when the record that the
// cursor was made of is gone.
func TestStoredTimestamps(t *testing.T) {
	forms := []string{"2026-03-01 10:00:00", "2026-03-01T09:00:00", "2026-03-01T10:00:00Z", "2026-03-01 11:00:00.5", "2026-02-28T23:00:00", "2026-03-02 00:00:00", "2026-03-01T10:00:00", "2026-03-01 09:30:00Z"}
	normal := func(s string) string { return strings.TrimRight(strings.ReplaceAll(s, " ", "T"), "Z") }
	ddl := []string{"create table mixed (id integer primary key, at datetime)", "create table same (id integer primary key, at datetime)", "create index same_at on same (at)"}
	for i, f := range forms {
		ddl = append(ddl, fmt.Sprintf("insert into mixed values (%d, '%s')", i, f), fmt.Sprintf("insert into same values (%d, '%s')", i, strings.Replace(normal(f), "T", " ", 1)))
	}
	ddl = append(ddl, "insert into mixed values (100, null)", "insert into same values (100, null)")
	url := database(t, sql.SQLite, ddl...)
	e, _ := open(t, sql.Config{Dialect: sql.SQLite, URL: url})
	for _, table := range []string{"mixed", "same"} {
		for _, op := range []connectors.Op{connectors.OpEq, connectors.OpNe, connectors.OpGt, connectors.OpGte, connectors.OpLt, connectors.OpLte, connectors.OpIn, connectors.OpNotIn} {
			for _, v := range []string{"2026-03-01T10:00:00", "2026-03-01 10:00:00", "2026-03-02T00:00:00", "2026-03-01T09:59:59.9", "2020-01-01T00:00:00"} {
				operand := connectors.String(v)
				if op == connectors.OpIn || op == connectors.OpNotIn {
					operand = connectors.ListOf(operand)
				}
				got := ask(t, e, &connectors.Query{Select: &connectors.Select{Collection: table, Columns: columns("id"), Order: []connectors.OrderTerm{{Field: "id"}},
					Where: connectors.Compare("at", op, connectors.Const(operand))}})
				want := []string{}
				for i, f := range forms {
					c := strings.Compare(normal(f), normal(v))
					if map[connectors.Op]bool{connectors.OpEq: c == 0, connectors.OpIn: c == 0, connectors.OpNe: c != 0, connectors.OpNotIn: c != 0,
						connectors.OpGt: c > 0, connectors.OpGte: c >= 0, connectors.OpLt: c < 0, connectors.OpLte: c <= 0}[op] {
						want = append(want, fmt.Sprint(i))
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s %s %s: %v, not %v", table, op, v, got, want)
				}
			}
		}
		for _, desc := range []bool{false, true} {
			if seen := walk(t, e, table, desc, nil); len(seen) != len(forms)+1 {
				t.Errorf("%s, desc %t: %v", table, desc, seen)
			}
		}
	}
	want := walk(t, e, "same", false, nil)
	if got := walk(t, e, "same", false, func(id string) { run(t, sql.SQLite, url, "delete from same where id = "+id) }); !slices.Equal(got, want) {
		t.Errorf("with records gone: %v, not %v", got, want)
	}
}

// walk reads a table in pages of two by the cursor of the last record, and
// calls then with the id of that record.
func walk(t *testing.T, e *sql.Engine, table string, desc bool, then func(id string)) (seen []string) {
	t.Helper()
	s := &connectors.Select{Collection: table, Columns: columns("at", "id"), Order: []connectors.OrderTerm{{Field: "at", Desc: desc}, {Field: "id"}},
		Page: &connectors.Page{Limit: connectors.Const(connectors.Int(2))}}
	for range 20 {
		rows := ask(t, e, &connectors.Query{Select: s})
		if len(rows) == 0 {
			return seen
		}
		var at connectors.Value
		for _, r := range rows {
			text, id, _ := strings.Cut(r, " ")
			if slices.Contains(seen, id) {
				t.Fatalf("%s: record %s came twice, after %v", table, id, seen)
			}
			seen = append(seen, id)
			var err error
			if at, err = connectors.ParseCell([]byte(text), connectors.ScalarLocalDateTime); err != nil {
				t.Fatal(err)
			}
		}
		last := seen[len(seen)-1]
		if then != nil {
			then(last)
		}
		next := *s
		next.Key, next.Page = "", &connectors.Page{Limit: s.Page.Limit, After: []connectors.Operand{connectors.Const(at), connectors.Const(connectors.Value{Kind: connectors.KindInt, Text: last})}}
		s = &next
	}
	t.Fatal("the pages do not end")
	return nil
}
