package sql_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

// wide makes 3,000 records of a kilobyte each.
func wide(t *testing.T, dialect string) string {
	series := "generate_series(1, 3000) i"
	if dialect == sql.SQLite {
		return database(t, dialect, "create table a (id integer primary key, text text not null)",
			"with recursive s(i) as (select 1 union all select i + 1 from s where i < 3000) insert into a select i, printf('%01000d', i) from s")
	}
	return database(t, dialect, "create table a (id int primary key, text text not null)",
		"insert into a select i, lpad(i::text, 1000, '0') from "+series)
}

// TestBlocks reads an answer of three megabytes: several blocks, each valid
// after the next was read, and an early Close gives the one connection back.
func TestBlocks(t *testing.T) {
	for _, dialect := range dialects {
		for _, snapshot := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s snapshot %t", dialect, snapshot), func(t *testing.T) {
				e, _ := open(t, sql.Config{Dialect: dialect, URL: wide(t, dialect), PoolMax: 1})
				q := &connectors.Query{Select: (&connectors.Select{Collection: "a", Columns: columns("id", "text"), Order: []connectors.OrderTerm{{Field: "id"}}}).Seal()}
				if snapshot {
					q.Snapshot = &connectors.Snapshot{}
					defer q.Snapshot.End()
				}
				for round := range 2 {
					rows, err := e.Query(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					var blocks []*connectors.Block
					for {
						b, err := rows.Next(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						if b == nil {
							break
						}
						if len(b.Data) > connectors.MaxBlockBytes+1100 {
							t.Errorf("a block of %d bytes", len(b.Data))
						}
						if blocks = append(blocks, b); round == 0 && len(blocks) == 1 {
							break
						}
					}
					rows.Close()
					rows.Close()
					if round == 0 {
						continue // closed early
					}
					n := 0
					for _, b := range blocks {
						for i := range b.Rows() {
							n++
							if string(b.Cell(i, 0)) != fmt.Sprint(n) || string(b.Cell(i, 1)) != fmt.Sprintf(`"%01000d"`, n) {
								t.Fatalf("row %d: %s", n, b.Cell(i, 0))
							}
						}
					}
					if n != 3000 || len(blocks) < 3 {
						t.Errorf("%d rows in %d blocks", n, len(blocks))
					}
				}
			})
		}
	}
}

// TestRowCap: at the bound all come, beyond it an error, also for the children
// of several parents together.
func TestRowCap(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			e, _ := open(t, sql.Config{Dialect: dialect, PoolMax: 1, URL: database(t, dialect,
				"create table a (id integer primary key, p integer not null)", "insert into a values (1,1),(2,1),(3,1),(4,2),(5,2)")})
			entries := [][]connectors.Value{{connectors.Int(1)}, {connectors.Int(2)}, {connectors.Int(3)}}
			two := connectors.Const(connectors.Int(2))
			for name, c := range map[string]struct {
				s    connectors.Select
				rows int
			}{
				"plain":    {connectors.Select{}, 5},
				"page":     {connectors.Select{Page: &connectors.Page{Offset: connectors.Const(connectors.Int(1))}}, 4},
				"children": {connectors.Select{Bind: []string{"p"}}, 5},
				"pages":    {connectors.Select{Bind: []string{"p"}, Page: &connectors.Page{Limit: two}}, 4},
				"groups":   {connectors.Select{Aggregate: &connectors.Aggregate{GroupBy: []string{"id"}}}, 5},
			} {
				for _, snapshot := range []*connectors.Snapshot{nil, {}} {
					for _, limit := range []int{c.rows, c.rows - 1} {
						s := c.s
						s.Collection, s.MaxRows = "a", limit
						if s.Aggregate == nil {
							s.Columns, s.Order = columns("id"), []connectors.OrderTerm{{Field: "id"}}
						}
						q := &connectors.Query{Select: s.Seal(), Snapshot: snapshot}
						if len(s.Bind) > 0 {
							q.Bind = entries
						}
						got, err := try(t, e, q)
						if limit == c.rows && (err != nil || len(got) != c.rows) {
							t.Errorf("%s: %v, %v", name, got, err)
						}
						if limit < c.rows {
							wantCode(t, err, connectors.CodeRowCapExceeded)
						}
					}
					if snapshot != nil {
						snapshot.End()
					}
				}
			}
		})
	}
}

// TestManyShapes asks for more shapes than the engine keeps compiled and than a
// connection keeps prepared.
func TestManyShapes(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			e, _ := open(t, sql.Config{Dialect: dialect, PoolMax: 1, URL: database(t, dialect, "create table a (id integer primary key)", "insert into a values (1)")})
			for i := range sql.CacheSize + sql.PreparedMax {
				q := all("a")
				q.Select.MaxRows = 1 + i
				if got := ask(t, e, q); len(got) != 1 {
					t.Fatalf("shape %d: %v", i, got)
				}
			}
			if n := e.Cached(); n > sql.CacheSize {
				t.Errorf("%d shapes are kept", n)
			}
		})
	}
}

// TestConcurrent has many goroutines ask for the same and for different shapes,
// with and without snapshots, on few connections.
func TestConcurrent(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			ddl := []string{"create table a (id integer primary key, p integer not null, name text not null)"}
			for i := range 40 {
				ddl = append(ddl, fmt.Sprintf("insert into a values (%d, %d, 'name %d')", i, i%7, i))
			}
			e, _ := open(t, sql.Config{Dialect: dialect, URL: database(t, dialect, ddl...), PoolMax: 3})
			selects := make([]*connectors.Select, 5)
			for i := range selects {
				selects[i] = (&connectors.Select{Collection: "a", Columns: columns("id", "name"), MaxRows: 100 + i,
					Where: connectors.Compare("id", connectors.OpEq, connectors.Arg(0))}).Seal()
			}
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					for i := range 60 {
						id := (w*31 + i) % 40
						q := &connectors.Query{Select: selects[i%len(selects)], Args: []connectors.Value{connectors.Int(int64(id))}}
						if i%3 == 0 {
							q.Snapshot = &connectors.Snapshot{}
						}
						got, err := try(t, e, q)
						if want := fmt.Sprintf(`%d "name %d"`, id, id); err != nil || len(got) != 1 || got[0] != want {
							t.Errorf("%q, %v; not %q", got, err, want)
						}
						if q.Snapshot != nil {
							q.Snapshot.End()
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestOrdinals: entries in any order, entries that match nothing, null and
// composite entries, and keys that the database holds equal though their text
// is not.
func TestOrdinals(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			e, _ := open(t, sql.Config{Dialect: dialect, URL: database(t, dialect,
				"create table a (id integer primary key, p integer, q text, price decimal(10,2))",
				"insert into a values (1, 10, 'x', 10.00), (2, 20, 'x', 20.50), (3, 10, 'y', 10.00), (4, null, 'x', null), (5, 10, 'x', 7)")})
			entry := func(v ...connectors.Value) []connectors.Value { return v }
			i, s := func(n int64) connectors.Value { return connectors.Int(n) }, connectors.String
			for _, page := range []*connectors.Page{nil, {Limit: connectors.Const(connectors.Int(2))}, {Limit: connectors.Const(connectors.Int(2)), Reverse: true}} {
				for name, c := range map[string]struct {
					bind    []string
					entries [][]connectors.Value
					want    string
				}{
					"integer":   {[]string{"p"}, [][]connectors.Value{entry(i(20)), entry(i(99)), entry(connectors.Null), entry(i(10))}, "0: 2|3: 1|3: 3|3: 5"},
					"text":      {[]string{"q"}, [][]connectors.Value{entry(s("y")), entry(s("none"))}, "0: 3"},
					"composite": {[]string{"p", "q"}, [][]connectors.Value{entry(i(10), s("y")), entry(i(10), connectors.Null), entry(i(10), s("x"))}, "0: 3|2: 1|2: 5"},
					"decimal":   {[]string{"price"}, [][]connectors.Value{entry(connectors.Decimal("10.0")), entry(connectors.Decimal("20.500"))}, "0: 1|0: 3|1: 2"},
				} {
					want := c.want
					if page != nil && page.Reverse {
						want = strings.Replace(want, "3: 1|3: 3|3: 5", "3: 3|3: 5", 1)
					} else if page != nil {
						want = strings.Replace(want, "3: 1|3: 3|3: 5", "3: 1|3: 3", 1)
					}
					got := ask(t, e, &connectors.Query{Bind: c.entries, Select: &connectors.Select{Collection: "a", Columns: columns("id"), Bind: c.bind,
						Order: []connectors.OrderTerm{{Field: "id"}}, Page: page}})
					if !sameGroups(got, strings.Split(want, "|")) {
						t.Errorf("%s, page %+v: %q, not %q", name, page, got, want)
					}
				}
			}
		})
	}
}

// sameGroups compares rows whose entries may come in any order.
func sameGroups(got, want []string) bool {
	group := func(rows []string) map[string]string {
		m := map[string]string{}
		last := ""
		for _, r := range rows {
			ord, rest, _ := strings.Cut(r, ":")
			if _, seen := m[ord]; seen && ord != last {
				return nil // rows of an entry do not stand together
			}
			last = ord
			m[ord] += rest
		}
		return m
	}
	a, b := group(got), group(want)
	return a != nil && fmt.Sprint(a) == fmt.Sprint(b)
}
