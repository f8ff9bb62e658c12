package sql_test

import (
	"slices"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

// TestReadsOfAChange: what is asked for with an update is answered of the state
// that it left, triggers included, and is what the same query answers later.
func TestReadsOfAChange(t *testing.T) {
	e := writer(t, sql.Postgres, sql.Config{},
		`CREATE TABLE parents (id integer PRIMARY KEY)`,
		`CREATE TABLE things (id integer PRIMARY KEY, name text NOT NULL, touched integer NOT NULL DEFAULT 0,
			parent integer REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)`,
		`INSERT INTO things VALUES (1, 'one', 0, NULL), (2, 'two', 0, NULL)`,
		`CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.touched = OLD.touched THEN UPDATE things SET touched = touched + 1 WHERE id = NEW.id; END IF; RETURN NULL; END $$`,
		`CREATE TRIGGER b AFTER UPDATE ON things FOR EACH ROW EXECUTE FUNCTION count_up()`)
	named := func(name string) *connectors.Query {
		s := (&connectors.Select{Collection: "things", Columns: columns("name", "touched"), Bind: []string{"id"},
			Where: connectors.Compare("name", connectors.OpEq, connectors.Arg(0))}).Seal()
		return &connectors.Query{Select: s, Args: []connectors.Value{connectors.String(name)}, Bind: [][]connectors.Value{{connectors.Int(1)}}}
	}
	write := func(step connectors.Step, reads ...*connectors.Query) (*connectors.Effect, error) {
		c := change(step)
		c.Reads = reads
		return e.Apply(t.Context(), nil, c)
	}
	renamed := updateByID("things", 1, set("name", connectors.String("new")))
	renamed.Check = connectors.Compare("touched", connectors.OpEq, connectors.Const(connectors.Int(1)))
	effect, err := write(renamed, named("new"), named("one"))
	if err != nil {
		t.Fatal(err, connectors.AsError(err).Cause)
	}
	if len(effect.Reads) != 2 || effect.Reads[0].Rows() != 1 || effect.Reads[1].Rows() != 0 {
		t.Fatalf("%+v", effect.Reads)
	}
	got := string(effect.Reads[0].Cell(0, 0)) + " " + string(effect.Reads[0].Cell(0, 1))
	if later := ask(t, e, named("new")); len(later) != 1 || got != `"new" 1` || effect.Reads[0].Bind[0] != 0 {
		t.Errorf("with the change %s, later %v", got, later)
	}
	if after := effect.Steps[0].After; len(after) != 1 || after[0].Get("id").Text != "1" || effect.Steps[0].Affected != 1 {
		t.Errorf("%+v", effect.Steps[0])
	}
	// Keys only.
	c := change(updateByID("things", 2, set("name", connectors.String("second"))))
	c.Reads = []*connectors.Query{}
	if effect, err = e.Apply(t.Context(), nil, c); err != nil || len(effect.Reads) != 0 || len(effect.Steps[0].After) != 1 {
		t.Errorf("%+v, %v", effect, err)
	}

	missing := updateByID("things", 99, set("name", connectors.String("x")))
	unchecked := updateByID("things", 1, set("name", connectors.String("x")))
	unchecked.Check = connectors.Compare("name", connectors.OpEq, connectors.Const(connectors.String("y")))
	orphan := updateByID("things", 1, set("parent", connectors.Int(77)))
	for code, step := range map[connectors.Code]connectors.Step{connectors.CodeNotFound: missing, connectors.CodeCheckViolation: unchecked, connectors.CodeReferenceViolation: orphan} {
		if effect, err := write(step, named("x")); connectors.CodeOf(err) != code || effect != nil {
			t.Errorf("%s: %+v, %v", code, effect, err)
		}
	}
	all := &connectors.Query{Select: &connectors.Select{Collection: "things", Columns: columns("name", "parent"), Order: []connectors.OrderTerm{{Field: "id"}}}}
	if rows := ask(t, e, all); !slices.Equal(rows, []string{`"new" null`, `"second" null`}) {
		t.Errorf("refused changes left %v", rows)
	}
}
