package sql

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign/countersign/connectors"
)

// untouched asks the system's own tables, within the statement, whether what
// RETURNING tells of a record is what a select would read of it afterwards: it is
// not where rules, triggers that run after it (bit 1 of tgtype is those before) or
// inheriting tables may change it once more. Whoever creates a trigger waits for the update's lock, so the answer
// holds as long as the statement. Constraints check and do not change; keys, of
// which changes would cascade, are not written here.
const untouched = `(select c.relkind = 'r' and not c.relhasrules and not c.relhassubclass and not c.relispartition and not c.relrowsecurity` +
	` and (not c.relhastriggers or not exists (select from pg_catalog.pg_trigger g where g.tgrelid = c.oid and not g.tgisinternal and (g.tgtype & 2) = 0))` +
	` from pg_catalog.pg_class c where c.oid = `

// The errors by which a statement that returns what it wrote ends itself.
const (
	unkept  = "22012" // division by zero: a check does not hold, or the record may not be read
	changed = "2201F" // root of a negative number: something else may change the record
)

// returning runs an update whose only reading is of the record itself as one
// statement, where onceCalls sends two or three. ok is false where it cannot be
// said so, and then nothing was done.
func (w *writing) returning(ctx context.Context, tx *pgTx, t *table, s *connectors.Step, key []connectors.Value) (_ *connectors.Effect, ok bool, err error) {
	if t.rereads.Load() || !w.returns(t, s, key) {
		return nil, false, nil
	}
	q := w.change.Reads[0]
	st, err := w.compileReturning(t, s, key, q.Select)
	if err != nil {
		return nil, false, err
	}
	results, err := tx.together(ctx, []pgCall{{st, q}})
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == changed:
		t.rereads.Store(true) // next time at once
		return nil, false, nil
	case errors.As(err, &pg) && pg.Code == unkept:
		return nil, false, nil // which of both it was is found by reading
	case err != nil:
		return nil, true, w.blame(ctx, t, s, nil, coded(err))
	case results[0].affected == 0:
		return nil, true, notFound()
	}
	return &connectors.Effect{Evidence: "committed", Reads: []*connectors.Block{results[0].block},
		Steps: []connectors.StepEffect{{Affected: 1, After: []connectors.Record{record(t, target{key: key}, nil)}}}}, true, nil
}

// returns tells whether what is asked for is of the written record alone: in the
// place of RETURNING other records are still as they were before.
func (w *writing) returns(t *table, s *connectors.Step, key []connectors.Value) bool {
	if len(w.change.Reads) != 1 || len(key) != 1 || !ofItself(s.Check) {
		return false
	}
	q := w.change.Reads[0]
	sel := q.Select
	return sel != nil && sel.Collection == t.name && sel.Aggregate == nil && sel.Page == nil && ofItself(sel.Where) &&
		len(sel.Columns) > 0 && !slices.ContainsFunc(sel.Columns, func(c connectors.Column) bool { return c.Version || !ofItself(c.If) }) &&
		len(sel.Bind) == 1 && sel.Bind[0] == t.coll.Key[0] && w.e.d.ordinalByKey(t.columns[sel.Bind[0]]) &&
		len(q.Bind) == 1 && len(q.Bind[0]) == 1 && q.Bind[0][0].Equal(key[0])
}

// ofItself tells whether a condition looks at its record only.
func ofItself(c *connectors.Condition) bool {
	return c == nil || c.Op != connectors.OpRelated && !slices.ContainsFunc(c.Items, func(i *connectors.Condition) bool { return !ofItself(i) })
}

// compileReturning writes the update and the select of the written record as one
// statement. Its values are those of the select's query.
func (w *writing) compileReturning(t *table, s *connectors.Step, key []connectors.Value, sel *connectors.Select) (*statement, error) {
	set, err := w.input(t, s)
	if err != nil {
		return nil, err
	}
	c := &compiler{conditions: conditions{m: w.e.model, b: newBuilder(w.e.d)}, s: sel, t: t}
	if err := c.update(t, set, connectors.And(keyCondition(t, [][]connectors.Value{key}), s.Where)); err != nil {
		return nil, err
	}
	exprs, cells, err := c.cellExprs(mainAlias)
	if err != nil {
		return nil, err
	}
	c.b.write(" returning ", t.columns[sel.Bind[0]].plain(mainAlias), ", ", strings.Join(exprs, ", "))
	for _, must := range []*connectors.Condition{s.Check, sel.Where} {
		if must == nil {
			continue
		}
		holds, err := c.compile(t, mainAlias, must, 1)
		if err != nil {
			return nil, err
		}
		c.b.write(", 1 / (", checkExpr(holds), ")")
	}
	c.b.write(", sqrt(case when ", untouched, "'", strings.ReplaceAll(t.sql, "'", "''"), "'::regclass) then 1 else -1 end)")
	return &statement{sql: c.b.sb.String(), params: c.b.params, cells: cells, bind: true, byKey: true}, nil
}
