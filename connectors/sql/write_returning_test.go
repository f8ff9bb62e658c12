package sql_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

// TestReturning: an update and the reading of its record are one statement where
// nothing else can change the record, and only there; the answer is in each case
// what the same query answers afterwards.
func TestReturning(t *testing.T) {
	const counting = `CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.touched = OLD.touched THEN UPDATE things SET touched = touched + 1 WHERE id = NEW.id; END IF; RETURN NULL; END $$`
	const trigger = `CREATE TRIGGER a AFTER UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION count_up()`
	on := func(table string) string { return strings.ReplaceAll(trigger, "%s", table) }
	partitioned := []string{
		`CREATE TABLE things (id integer NOT NULL, name text NOT NULL, touched integer NOT NULL DEFAULT 0, PRIMARY KEY (id)) PARTITION BY RANGE (id)`,
		`CREATE TABLE few PARTITION OF things FOR VALUES FROM (0) TO (100)`}
	plain := []string{`CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL, touched integer NOT NULL DEFAULT 0)`}
	for name, c := range map[string]struct {
		tables  []string
		later   string // after the schema was pinned
		one     bool   // one statement does
		touched string
	}{
		"plain":     {plain, ``, true, "0"},
		"referred":  {append(plain, `CREATE TABLE parts (thing integer REFERENCES things (id) ON UPDATE CASCADE)`), ``, true, "0"},
		"before":    {append(plain, `CREATE FUNCTION one_more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched := 1; RETURN NEW; END $$`), `CREATE TRIGGER b BEFORE UPDATE ON things FOR EACH ROW EXECUTE FUNCTION one_more()`, true, "1"},
		"after":     {append(plain, counting, on("things")), ``, false, "1"},
		"later":     {append(plain, counting), on("things"), false, "1"},
		"rule":      {append(plain, `CREATE TABLE log (n integer)`), `CREATE RULE r AS ON UPDATE TO things DO ALSO INSERT INTO log VALUES (1)`, true, "0"},
		"instead":   {append(plain, `CREATE TABLE others (name text)`), `CREATE RULE r AS ON UPDATE TO things WHERE new.name = 'none' DO INSTEAD INSERT INTO others VALUES (new.name)`, false, "0"},
		"clone":     {append(partitioned, counting, on("things")), ``, false, "1"},
		"child":     {append(plain, `CREATE TABLE child () INHERITS (things)`, counting, on("child"), `INSERT INTO child VALUES (1, 'one')`), ``, false, "1"},
		"partition": {append(partitioned, counting, on("few")), ``, false, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			tables := slices.Clone(c.tables)
			if name != "child" {
				tables = append(tables, `INSERT INTO things VALUES (1, 'one', 0)`)
			}
			url := database(t, sql.Postgres, tables...)
			e, _ := open(t, sql.Config{Name: "s", Dialect: sql.Postgres, URL: url, PoolMax: 1})
			if c.later != "" {
				conn, err := pgx.Connect(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(t.Context())
				if _, err := conn.Exec(t.Context(), c.later); err != nil {
					t.Fatal(err)
				}
			}
			q := thing("name", "touched")
			for _, written := range []string{"two", "three"} {
				w := change(updateByID("things", 1, set("name", connectors.String(written))))
				w.Reads = []*connectors.Query{q}
				effect, err := e.Apply(t.Context(), nil, w)
				if err != nil {
					t.Fatal(err, connectors.AsError(err).Cause)
				}
				b := effect.Reads[0]
				if len(effect.Reads) != 1 || b.Rows() != 1 || b.Columns != 2 || b.Bind[0] != 0 {
					t.Fatalf("%+v", b)
				}
				got := "0: " + string(b.Cell(0, 0)) + " " + string(b.Cell(0, 1))
				if later := ask(t, e, q); len(later) != 1 || got != later[0] || string(b.Cell(0, 0)) != `"`+written+`"` {
					t.Errorf("with the change %s, later %v", got, later)
				}
				if written == "two" && string(b.Cell(0, 1)) != c.touched {
					t.Errorf("touched %s", b.Cell(0, 1))
				}
			}
			updates := slices.DeleteFunc(e.Statements(t.Context()), func(s string) bool { return !strings.HasPrefix(s, "update ") })
			if one := len(updates) == 1 && strings.Contains(updates[0], " returning "); one != c.one {
				t.Errorf("one statement: %t: %q", one, updates)
			}
		})
	}
}

// thing asks for the fields of the record 1.
func thing(fields ...string) *connectors.Query {
	s := (&connectors.Select{Collection: "things", Columns: columns(fields...), Bind: []string{"id"}}).Seal()
	return &connectors.Query{Select: s, Bind: [][]connectors.Value{{connectors.Int(1)}}}
}

// TestReturningConditions: the check, the caller's row condition and conditions
// of cells are those of the record as it is written; one that fails the check
// stays as it was.
func TestReturningConditions(t *testing.T) {
	e := writer(t, sql.Postgres, sql.Config{PoolMax: 1},
		`CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL, size integer)`,
		`INSERT INTO things VALUES (1, 'one', 1)`)
	named := func(name string) *connectors.Condition {
		return connectors.Compare("name", connectors.OpEq, connectors.Const(connectors.String(name)))
	}
	write := func(name string, check, visible, cell *connectors.Condition) (string, error) {
		q := thing("name", "size")
		sel := *q.Select
		sel.Where, sel.Columns = visible, []connectors.Column{{Field: "name"}, {Field: "size", If: cell}}
		q.Select = sel.Seal()
		step := updateByID("things", 1, set("name", connectors.String(name)))
		step.Check = check
		w := change(step)
		w.Reads = []*connectors.Query{q}
		effect, err := e.Apply(t.Context(), nil, w)
		if err != nil {
			return "", err
		}
		if b := effect.Reads[0]; b.Rows() == 1 {
			return string(b.Cell(0, 0)) + " " + string(b.Cell(0, 1)), nil
		}
		return "", nil
	}
	for _, c := range []struct {
		name                 string
		check, visible, cell *connectors.Condition
		want                 string
		code                 connectors.Code
	}{
		{name: "two", want: `"two" 1`},
		{name: "three", check: named("three"), visible: named("three"), cell: named("three"), want: `"three" 1`},
		{name: "four", cell: named("three"), want: `"four" null`},
		{name: "five", visible: named("four"), want: ``},
		{name: "six", check: named("five"), code: connectors.CodeCheckViolation},
		{name: "seven", want: `"seven" 1`},
	} {
		got, err := write(c.name, c.check, c.visible, c.cell)
		if got != c.want || connectors.CodeOf(err) != c.code {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
		if now := ask(t, e, thing("name")); c.code != "" && now[0] != `0: "five"` {
			t.Errorf("a refused change left %v", now)
		}
	}
}

// TestReturningIsReading: whatever is written, required and asked for, one
// statement does and answers what several do.
func TestReturningIsReading(t *testing.T) {
	var engines []*sql.Engine
	for range 2 {
		engines = append(engines, writer(t, sql.Postgres, sql.Config{PoolMax: 1},
			`CREATE TABLE things (id integer PRIMARY KEY, name text, size integer)`,
			`INSERT INTO things SELECT i, 'a', i FROM generate_series(1, 4) i`))
	}
	engines[1].Reread("things")
	one, long := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Custom(func(t *rapid.T) connectors.Value {
			if rapid.IntRange(0, 5).Draw(t, "null") == 0 {
				return connectors.Null
			}
			return connectors.String(rapid.SampledFrom([]string{"a", "b", "'"}).Draw(t, "text"))
		})
		number := rapid.Custom(func(t *rapid.T) connectors.Value { return connectors.Int(rapid.Int64Range(0, 4).Draw(t, "number")) })
		var condition func(depth int) *connectors.Condition
		condition = func(depth int) *connectors.Condition {
			switch rapid.IntRange(0, 7).Draw(t, "condition") {
			case 0:
				return connectors.Compare("name", connectors.OpEq, connectors.Const(text.Draw(t, "value")))
			case 1:
				return connectors.Compare("size", connectors.OpGt, connectors.Const(number.Draw(t, "value")))
			case 2:
				return connectors.Compare("size", connectors.OpIn, connectors.Const(connectors.ListOf(rapid.SliceOfN(number, 0, 3).Draw(t, "list")...)))
			case 3:
				return connectors.Compare("name", connectors.OpIsNull, connectors.Const(connectors.Bool(rapid.Bool().Draw(t, "is null"))))
			case 4, 5:
				if depth == 0 {
					return nil
				}
				op := rapid.SampledFrom([]connectors.Op{connectors.OpAnd, connectors.OpOr, connectors.OpNot}).Draw(t, "op")
				c := &connectors.Condition{Op: op}
				for len(c.Items) < 2 && (op != connectors.OpNot || len(c.Items) < 1) {
					if item := condition(depth - 1); item != nil {
						c.Items = append(c.Items, item)
					} else {
						c.Items = append(c.Items, &connectors.Condition{Op: connectors.OpTrue})
					}
				}
				return c
			}
			return nil
		}
		step := updateByID("things", rapid.Int64Range(1, 5).Draw(t, "id"), set("name", text.Draw(t, "name")))
		if rapid.Bool().Draw(t, "both") {
			step.Set = append(step.Set, set("size", number.Draw(t, "size"))...)
		}
		step.Where, step.Check = condition(2), condition(2)
		sel := &connectors.Select{Collection: "things", Bind: []string{"id"}, Where: condition(2),
			Columns: []connectors.Column{{Field: "id"}, {Field: "name", If: condition(1)}, {Field: "size"}}}
		if rapid.Bool().Draw(t, "sealed") {
			sel.Seal()
		}
		w := change(step)
		w.Reads = []*connectors.Query{{Select: sel, Bind: [][]connectors.Value{{step.Key[0].Value}}}}
		var answers, states [2]string
		for i, e := range engines {
			effect, err := e.Apply(context.Background(), nil, w)
			answers[i] = string(connectors.CodeOf(err))
			if err == nil {
				b := effect.Reads[0]
				answers[i] = fmt.Sprintf("%d records %s of %v", b.Rows(), b.Data, effect.Steps[0].After)
			}
			states[i] = strings.Join(things(t, e), "\n")
		}
		if answers[0] != answers[1] || states[0] != states[1] {
			t.Fatalf("one statement: %s\n%s\nseveral: %s\n%s", answers[0], states[0], answers[1], states[1])
		}
		if strings.Contains(answers[0], "1 records") {
			one++
		} else {
			long++
		}
	})
	if one == 0 || long == 0 {
		t.Errorf("%d updates answered, %d not", one, long)
	}
}

// things are the records of things.
func things(t *rapid.T, e *sql.Engine) []string {
	rows, err := e.Query(context.Background(), &connectors.Query{Select: &connectors.Select{Collection: "things",
		Columns: columns("id", "name", "size"), Order: []connectors.OrderTerm{{Field: "id"}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for {
		b, err := rows.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return out
		}
		out = append(out, string(b.Data))
	}
}
