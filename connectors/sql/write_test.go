package sql_test

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

func change(steps ...connectors.Step) *connectors.Change {
	return &connectors.Change{Version: connectors.ChangeVersion, Source: "s", Tenant: "default", Steps: steps}
}

func set(pairs ...any) []connectors.Assign {
	var out []connectors.Assign
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, connectors.Assign{Field: pairs[i].(string), Value: pairs[i+1].(connectors.Value)})
	}
	return out
}

func create(collection string, values []connectors.Assign, fields ...string) connectors.Step {
	return connectors.Step{ID: "a", Kind: connectors.Create, Collection: collection, Set: values, Return: fields}
}

func updateByID(collection string, id int64, values []connectors.Assign, fields ...string) connectors.Step {
	return connectors.Step{ID: "a", Kind: connectors.Update, Collection: collection, Key: set("id", connectors.Int(id)), Set: values, Return: fields}
}

func apply(t *testing.T, e *sql.Engine, steps ...connectors.Step) *connectors.Effect {
	t.Helper()
	effect, err := e.Apply(t.Context(), nil, change(steps...))
	if err != nil {
		t.Fatalf("%v: %v", err, connectors.AsError(err).Cause)
	}
	return effect
}

// refuses checks code and path of a change, by Preview and by Apply.
func refuses(t *testing.T, e *sql.Engine, code connectors.Code, path string, steps ...connectors.Step) {
	t.Helper()
	_, err := e.Apply(t.Context(), nil, change(steps...))
	if connectors.CodeOf(err) != code || strings.Join(connectors.AsError(err).Path, ".") != path {
		t.Errorf("%v at %v (cause %v), not %s at %s", err, connectors.AsError(err).Path, connectors.AsError(err).Cause, code, path)
	}
}

func writer(t *testing.T, dialect string, cfg sql.Config, statements ...string) *sql.Engine {
	t.Helper()
	cfg.Name, cfg.Dialect, cfg.URL = "s", dialect, database(t, dialect, statements...)
	e, _ := open(t, cfg)
	return e
}

// TestUnpreparedMarker: without its table a marker is refused in words, and
// nothing is done; reading does not create it either.
func TestUnpreparedMarker(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			e := writer(t, dialect, sql.Config{Outcome: map[string]string{"*": "transactional"}}, accounts...)
			for _, void := range []bool{false, true} {
				_, err := e.Apply(t.Context(), nil, deposit(void))
				if connectors.CodeOf(err) != connectors.CodeUnsupported || !strings.Contains(err.Error(), "countersign prepare") {
					t.Errorf("void %t: %v", void, err)
				}
			}
			if ok, err := e.Prepared(t.Context()); ok || err != nil || balance(t, e) != "0" {
				t.Errorf("prepared %t (%v), balance %s", ok, err, balance(t, e))
			}
			if err := e.Prepare(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			if err := e.Prepare(t.Context(), ""); err != nil {
				t.Errorf("preparing again: %v", err)
			}
			if ok, err := e.Prepared(t.Context()); !ok || err != nil {
				t.Errorf("prepared %t (%v)", ok, err)
			}
		})
	}
	// A collection of another class takes no marker.
	e := writer(t, sql.SQLite, sql.Config{}, accounts...)
	if _, err := e.Apply(t.Context(), nil, deposit(false)); connectors.CodeOf(err) != connectors.CodeUnsupported {
		t.Errorf("a marker of class unverifiable: %v", err)
	}
}

// TestPreparedGrants: the printed statements suffice for a role that can do
// nothing else to the table.
func TestPreparedGrants(t *testing.T) {
	url := database(t, sql.Postgres, accounts...)
	role := "worker_" + strings.TrimPrefix(filepath.Base(strings.Split(url, "?")[0]), "countersign_test_")
	owner := bank(t, sql.Postgres, url)
	run(t, sql.Postgres, url, "CREATE ROLE "+role+" LOGIN", "GRANT SELECT, UPDATE ON accounts TO "+role)
	run(t, sql.Postgres, url, owner.PrepareSQL(role)...)
	t.Cleanup(func() { run2(t, url, "DROP OWNED BY "+role, "DROP ROLE "+role) })
	e := bank(t, sql.Postgres, strings.Replace(url, "postgres@", role+"@", 1))
	if effect, err := e.Apply(t.Context(), nil, deposit(false)); err != nil || effect.Repeated {
		t.Fatalf("%+v, %v: %v", effect, err, connectors.AsError(err))
	}
	if effect, err := e.Apply(t.Context(), nil, deposit(false)); err != nil || !effect.Repeated {
		t.Errorf("%+v, %v", effect, err)
	}
}

// run2 runs statements when the test's context has ended already.
func run2(t *testing.T, url string, statements ...string) {
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Log(err)
		return
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Log(err)
		}
	}
}

// TestTriggersAreSeen: the effect tells what is there after triggers, and a
// check is asked of that.
func TestTriggersAreSeen(t *testing.T) {
	triggers := map[string][]string{
		sql.Postgres: {
			`CREATE FUNCTION upper_name() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$`,
			`CREATE TRIGGER a BEFORE INSERT OR UPDATE ON things FOR EACH ROW EXECUTE FUNCTION upper_name()`,
			`CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				IF NEW.touched = 0 THEN UPDATE things SET touched = 1 WHERE id = NEW.id; END IF; RETURN NULL; END $$`,
			`CREATE TRIGGER b AFTER INSERT OR UPDATE ON things FOR EACH ROW EXECUTE FUNCTION count_up()`,
		},
		sql.SQLite: {
			`CREATE TRIGGER a AFTER INSERT ON things BEGIN UPDATE things SET name = upper(name), touched = 1 WHERE id = NEW.id; END`,
			`CREATE TRIGGER b AFTER UPDATE OF name ON things WHEN NEW.name <> upper(NEW.name) BEGIN UPDATE things SET name = upper(name), touched = 1 WHERE id = NEW.id; END`,
		},
	}
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			e := writer(t, dialect, sql.Config{}, append([]string{`CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL, touched integer NOT NULL DEFAULT 0)`}, triggers[dialect]...)...)
			rec := apply(t, e, create("things", set("id", connectors.Int(1), "name", connectors.String("one")), "name", "touched")).Steps[0].After[0]
			if rec.Get("name").Text != "ONE" || rec.Get("touched").Text != "1" {
				t.Errorf("after a create: %+v", rec)
			}
			rec = apply(t, e, updateByID("things", 1, set("name", connectors.String("two")), "name")).Steps[0].After[0]
			if rec.Get("name").Text != "TWO" {
				t.Errorf("after an update: %+v", rec)
			}
			checked := updateByID("things", 1, set("name", connectors.String("three")))
			checked.Check = connectors.Compare("name", connectors.OpEq, connectors.Const(connectors.String("three")))
			refuses(t, e, connectors.CodeCheckViolation, "0", checked)
			if got := ask(t, e, &connectors.Query{Select: &connectors.Select{Collection: "things", Columns: columns("name")}}); got[0] != `"TWO"` {
				t.Errorf("after a failed check: %v", got)
			}
		})
	}
}

// TestDatabaseConstraints: what the database itself refuses names the input
// where it can be told, and no text of the database.
func TestDatabaseConstraints(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			e := writer(t, dialect, sql.Config{},
				`CREATE TABLE parents (id integer PRIMARY KEY)`,
				`CREATE TABLE things (id integer PRIMARY KEY, amount integer NOT NULL CHECK (amount > 0), code text,
					parent integer REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED, CONSTRAINT things_code UNIQUE (code))`,
				`INSERT INTO things VALUES (1, 5, 'a', NULL), (2, 5, 'b', NULL)`)
			refuses(t, e, connectors.CodeCheckViolation, "0.amount", updateByID("things", 1, set("amount", connectors.Int(-1))))
			refuses(t, e, connectors.CodeUniqueViolation, "0.code", updateByID("things", 1, set("amount", connectors.Int(9), "code", connectors.String("b"))))
			swap := connectors.Step{ID: "a", Kind: connectors.Update, Collection: "things", MaxRows: 2, Set: set("code", connectors.String("c")),
				Where: connectors.Compare("id", connectors.OpLte, connectors.Const(connectors.Int(2)))}
			refuses(t, e, connectors.CodeUniqueViolation, "0.code", swap)
			// A deferred constraint speaks at COMMIT, which proves that nothing was done.
			_, err := e.Apply(t.Context(), nil, change(updateByID("things", 1, set("parent", connectors.Int(77)))))
			if connectors.CodeOf(err) != connectors.CodeReferenceViolation {
				t.Errorf("a deferred constraint: %v", err)
			}
			if strings.Contains(err.Error(), "things") {
				t.Errorf("the database's text is shown: %v", err)
			}
			if got := ask(t, e, &connectors.Query{Select: &connectors.Select{Collection: "things", Columns: columns("amount", "code", "parent"),
				Order: []connectors.OrderTerm{{Field: "id"}}}}); !slices.Equal(got, []string{`5 "a" null`, `5 "b" null`}) {
				t.Errorf("something was done: %v", got)
			}
		})
	}
	e := writer(t, sql.Postgres, sql.Config{Preview: map[string]string{"*": "rollback"}}, `CREATE TABLE parents (id integer PRIMARY KEY)`,
		`CREATE TABLE things (id integer PRIMARY KEY, parent integer REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)`,
		`INSERT INTO things VALUES (1, NULL)`)
	if _, err := e.Preview(t.Context(), nil, change(updateByID("things", 1, set("parent", connectors.Int(77))))); connectors.CodeOf(err) != connectors.CodeReferenceViolation {
		t.Errorf("the preview of a deferred constraint: %v", err)
	}
}

// TestKeylessCreate: a record that nothing names is told by its own statement.
func TestKeylessCreate(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			e := writer(t, dialect, sql.Config{}, `CREATE TABLE log (line text NOT NULL, level integer DEFAULT 3)`)
			rec := apply(t, e, create("log", set("line", connectors.String("x")), "line", "level")).Steps[0].After[0]
			if len(rec.Key) != 0 || rec.Get("line").Text != "x" || rec.Get("level").Text != "3" {
				t.Errorf("%+v", rec)
			}
			checked := create("log", set("line", connectors.String("y")))
			checked.Check = connectors.Compare("level", connectors.OpEq, connectors.Const(connectors.Int(4)))
			refuses(t, e, connectors.CodeCheckViolation, "0", checked)
			refuses(t, e, connectors.CodeUnsupported, "0", connectors.Step{ID: "a", Kind: connectors.Delete, Collection: "log", MaxRows: 1,
				Where: connectors.Compare("line", connectors.OpEq, connectors.Const(connectors.String("x")))})
			if got := ask(t, e, &connectors.Query{Select: &connectors.Select{Collection: "log", Columns: columns("line")}}); len(got) != 1 {
				t.Errorf("%v", got)
			}
			preview, err := e.Preview(t.Context(), nil, change(create("log", set("line", connectors.String("z")), "level")))
			if err != nil || preview.Steps[0].After[0].Get("level").Text != "3" {
				t.Errorf("%+v, %v", preview, err)
			}
		})
	}
}

// TestInputIsKeptOrRefused: nothing is rounded, cut or padded in silence, and
// what is taken comes back as it was.
func TestInputIsKeptOrRefused(t *testing.T) {
	s, n, d := connectors.String, connectors.Int, connectors.Decimal
	item := connectors.ListOf
	pg := writer(t, sql.Postgres, sql.Config{},
		`CREATE TYPE mood AS ENUM ('ok', 'sad')`, `CREATE DOMAIN zip AS varchar(5)`,
		`CREATE TABLE v (id integer PRIMARY KEY, small smallint, code char(3), short varchar(4), z zip, f4 real, n numeric(5,2), coarse numeric(3,-2),
			big numeric, at timestamptz, local timestamp, day date, clock time, mood mood, u uuid, j jsonb, net inet, b bytea, tags text[], nums integer[], cash money, i interval)`,
		`INSERT INTO v (id) VALUES (1)`)
	lite := writer(t, sql.SQLite, sql.Config{}, `CREATE TABLE v (id INTEGER PRIMARY KEY, n DECIMAL(20,2), big BIGINT, safe INTEGER, at TIMESTAMPTZ, flag BOOLEAN, b BLOB)`,
		`INSERT INTO v (id) VALUES (1)`)
	for i, c := range []struct {
		e     *sql.Engine
		field string
		value connectors.Value
		want  string // the cell; "" where it is refused
	}{
		{pg, "small", n(32767), "32767"}, {pg, "small", n(32768), ""},
		{pg, "code", s("abc"), `"abc"`}, {pg, "code", s("ab"), ""}, {pg, "code", s("abcd"), ""},
		{pg, "short", s("äöüß"), `"äöüß"`}, {pg, "short", s("12345"), ""}, {pg, "short", s("1234 "), ""}, {pg, "short", s("a\x00"), ""},
		{pg, "z", s("12345"), `"12345"`}, {pg, "z", s("123456"), ""},
		{pg, "f4", connectors.Float(0.5), "0.5"}, {pg, "f4", connectors.Float(0.1), "0.1"}, {pg, "f4", connectors.Float(0.123456789), ""}, {pg, "f4", connectors.Float(1e300), ""},
		{pg, "n", d("123.45"), `"123.45"`}, {pg, "n", d("123.4500"), `"123.45"`}, {pg, "n", d("1.005"), ""}, {pg, "n", d("1000"), ""}, {pg, "n", d("NaN"), ""},
		{pg, "coarse", d("12300"), `"12300"`}, {pg, "coarse", d("12345"), ""},
		{pg, "big", d("123456789012345678901234567890.123456789"), `"123456789012345678901234567890.123456789"`},
		{pg, "at", s("2026-01-02T03:04:05.123456+02:00"), `"2026-01-02T01:04:05.123456Z"`}, {pg, "at", s("2026-01-02T03:04:05.1234567Z"), ""},
		{pg, "at", s("2026-02-30T00:00:00Z"), ""}, {pg, "at", s("infinity"), ""}, {pg, "at", s("now"), ""},
		{pg, "local", s("2026-03-29T02:30:00"), `"2026-03-29T02:30:00"`}, {pg, "local", s("2026-03-29T02:30:00Z"), ""},
		{pg, "day", s("2026-12-31"), `"2026-12-31"`}, {pg, "day", s("2026-13-01"), ""}, {pg, "clock", s("23:59:59.5"), `"23:59:59.5"`},
		{pg, "mood", s("sad"), `"sad"`}, {pg, "mood", s("glad"), ""},
		{pg, "u", s("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"), `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`}, {pg, "u", s("x"), ""},
		{pg, "j", connectors.Value{Kind: connectors.KindJSON, Text: `{"a":[1,null]}`}, `{"a": [1, null]}`}, {pg, "j", connectors.Value{Kind: connectors.KindJSON, Text: `{`}, ""},
		{pg, "net", s("10.0.0.1/32"), `"10.0.0.1/32"`}, {pg, "net", s("nonsense"), ""},
		{pg, "b", connectors.Value{Kind: connectors.KindBytes, Text: "AAEC/w=="}, `"AAEC/w=="`}, {pg, "b", connectors.Value{Kind: connectors.KindBytes, Text: "?"}, ""},
		{pg, "tags", item(s("a,b"), s(`"q\`), connectors.Null, s("")), `["a,b","\"q\\",null,""]`}, {pg, "tags", s("a"), ""},
		{pg, "nums", item(n(1), n(2)), "[1,2]"}, {pg, "nums", item(s("1")), ""}, {pg, "nums", item(n(1 << 40)), ""},
		{pg, "cash", d("12.50"), `"12.50"`}, {pg, "i", s("P1DT2H"), `"P1DT2H"`},
		{lite, "n", d("1234567890123.45"), `"1234567890123.45"`}, {lite, "n", d("12345678901234567.89"), ""}, {lite, "n", d("0.005"), ""},
		{lite, "big", n(1<<62 + 1), `"4611686018427387905"`}, {lite, "big", connectors.Value{Kind: connectors.KindInt, Text: "9223372036854775808"}, ""},
		{lite, "safe", n(1<<53 - 1), "9007199254740991"}, {lite, "safe", n(1 << 53), ""}, {lite, "at", s("2026-01-02T03:04:05+02:00"), `"2026-01-02T01:04:05Z"`},
		{lite, "flag", connectors.True, "true"}, {lite, "flag", n(1), ""}, {lite, "b", connectors.Value{Kind: connectors.KindBytes, Text: "AAEC/w=="}, `"AAEC/w=="`},
	} {
		t.Run(fmt.Sprint(i, " ", c.field, " ", c.value.Text), func(t *testing.T) {
			step := updateByID("v", 1, set(c.field, c.value), c.field)
			if c.want == "" {
				refuses(t, c.e, connectors.CodeValidationFailed, "0."+c.field, step)
				return
			}
			preview, err := c.e.Preview(t.Context(), nil, change(step))
			if err != nil {
				t.Fatalf("%v: %v", err, connectors.AsError(err).Cause)
			}
			apply(t, c.e, step)
			got := ask(t, c.e, &connectors.Query{Select: &connectors.Select{Collection: "v", Columns: columns(c.field)}})
			if got[0] != c.want {
				t.Errorf("%s came back, not %s", got[0], c.want)
			}
			if p := preview.Steps[0].After[0].Get(c.field); !strings.Contains(c.want, p.Text) && c.field != "tags" {
				t.Errorf("the preview said %+v", p)
			}
		})
	}
	// Integers that add up to more than a column holds.
	for _, field := range []string{"big", "safe"} {
		apply(t, lite, updateByID("v", 1, set("big", n(1<<63-1), "safe", n(1<<53-1))))
		sum := updateByID("v", 1, []connectors.Assign{{Field: field, Value: n(1), Increment: true}})
		refuses(t, lite, connectors.CodeValidationFailed, "0."+field, sum)
	}
}

// TestPreviewNeverWaits: a preview by rollback neither waits for a lock of the
// guest's own programs nor leaves one behind.
func TestPreviewNeverWaits(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			url := database(t, dialect, accounts...)
			e, _ := open(t, sql.Config{Name: "s", Dialect: dialect, URL: url, Preview: map[string]string{"*": "rollback"}})
			step := updateByID("accounts", 1, set("balance", connectors.Int(7)))
			driver := map[string]string{sql.Postgres: "pgx", sql.SQLite: "sqlite"}[dialect]
			if dialect == sql.SQLite {
				url = "file:" + strings.ReplaceAll(strings.ReplaceAll(url, "?", "%3F"), " ", "%20") + "?_txlock=immediate"
			}
			guest, err := stdsql.Open(driver, url)
			if err != nil {
				t.Fatal(err)
			}
			defer guest.Close()
			tx, err := guest.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec("UPDATE accounts SET balance = 3 WHERE id = 1"); err != nil {
				t.Fatal(err)
			}
			if _, err := e.Preview(t.Context(), nil, change(step)); connectors.CodeOf(err) != connectors.CodeLockTimeout {
				t.Errorf("a preview of a locked record: %v", err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			effect, err := e.Preview(t.Context(), nil, change(step))
			if err != nil || effect.Steps[0].Before[0].Get("balance").Text != "3" || effect.Steps[0].After[0].Get("balance").Text != "7" {
				t.Fatalf("%+v, %v", effect, err)
			}
			if _, err := guest.Exec("UPDATE accounts SET balance = balance + 1 WHERE id = 1"); err != nil {
				t.Errorf("the guest after a preview: %v", err)
			}
			if got := balance(t, e); got != "4" {
				t.Errorf("a balance of %s", got)
			}
		})
	}
}

// TestGuestFileStaysAsItIs: the journal mode of a SQLite file is its owner's,
// and a file that is not there is not made.
func TestGuestFileStaysAsItIs(t *testing.T) {
	url := database(t, sql.SQLite, accounts...)
	e, schema := open(t, sql.Config{Name: "s", Dialect: sql.SQLite, URL: url})
	apply(t, e, updateByID("accounts", 1, set("balance", connectors.Int(2))))
	raw, err := os.ReadFile(url)
	if err != nil || raw[18] != 1 || raw[19] != 1 {
		t.Errorf("the file is in another journal mode now (%v)", err)
	}
	gone := filepath.Join(t.TempDir(), "none.db")
	missing, err := sql.Open(sql.Config{Name: "s", Dialect: sql.SQLite, URL: gone}, schema)
	if err != nil {
		t.Fatal(err)
	}
	defer missing.Close()
	_, err = missing.Apply(t.Context(), nil, change(updateByID("accounts", 1, set("balance", connectors.Int(2)))))
	if connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := os.Stat(gone); err == nil {
		t.Error("the file was made")
	}
}

// TestReadOnlyAndCalls: what is not declared is refused before anything is
// sent.
func TestReadOnlyAndCalls(t *testing.T) {
	url := database(t, sql.SQLite, accounts...)
	e, _ := open(t, sql.Config{Name: "s", Dialect: sql.SQLite, URL: url, ReadOnly: true})
	if _, err := e.Apply(t.Context(), nil, change(updateByID("accounts", 1, set("balance", connectors.Int(2))))); connectors.CodeOf(err) != connectors.CodeUnsupported {
		t.Errorf("a write to a source that is read-only: %v", err)
	}
	w, _ := open(t, sql.Config{Name: "s", Dialect: sql.SQLite, URL: url})
	refuses(t, w, connectors.CodeUnsupported, "0", connectors.Step{ID: "a", Kind: connectors.Call, Function: "f"})
	refuses(t, w, connectors.CodeUnsupported, "0", create("nothing", nil))
	if _, err := w.Preview(t.Context(), nil, nil); connectors.CodeOf(err) != connectors.CodeBadInput {
		t.Errorf("no change at all: %v", err)
	}
}
