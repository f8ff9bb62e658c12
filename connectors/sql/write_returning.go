package sql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign/countersign/connectors"
)

// touchable asks the system's own table, within the statement, whether something
// may change the record once more after RETURNING told of it: triggers that run
// afterwards (bit 1 of tgtype is those before), of this table or of the partition
// or heir that holds the record. Whoever creates a trigger waits for the update's
// lock, so the answer holds as long as the statement does. Rules on updates run
// ahead of it, constraints check and do not change, and keys, of which changes
// would cascade, are not written here. Triggers that a partition has from its
// table are internal until PostgreSQL 15, and of no constraint.
const touchable = `exists (select from pg_catalog.pg_trigger g where g.tgrelid = %[1]s` +
	` and (not g.tgisinternal or g.tgconstraint = 0) and (g.tgtype & 2) = 0) or t.tableoid <> %[1]s`

// The errors that leave it to reading what became of a record.
const (
	unkept  = "22012" // division by zero: a check does not hold, or the caller may not read the record
	touched = "2201F" // root of a negative number: touchable
	ruled   = "0A000" // a rule writes something else instead; also: the table is another by now
	hidden  = "42501" // the database's own policies hide the record as it is now
)

// returning runs an update whose only reading is of the record itself as one
// statement, where onceCalls sends two or three. ok is false where it cannot be
// said so, and then nothing was done.
func (w *writing) returning(ctx context.Context, tx *pgTx, t *table, s *connectors.Step, key []connectors.Value) (_ *connectors.Effect, ok bool, err error) {
	if t.rereads.Load() || !w.returns(t, s, key) {
		return nil, false, nil
	}
	call, err := w.returningCall(t, s, key)
	if err != nil {
		return nil, false, err
	}
	results, err := tx.together(ctx, []pgCall{call})
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && slices.Contains([]string{unkept, touched, ruled, hidden}, pg.Code):
		t.rereads.Store(pg.Code == touched) // next time at once
		return nil, false, nil
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

// returningCall is the statement of an update and the reading of its record, with
// the query whose values it takes. It is compiled once for updates that differ in
// their values only.
func (w *writing) returningCall(t *table, s *connectors.Step, key []connectors.Value) (pgCall, error) {
	set, err := w.input(t, s)
	if err != nil {
		return pgCall{}, err
	}
	q := w.change.Reads[0]
	u := returningUpdate{t: t, set: set, where: connectors.And(keyCondition(t, [][]connectors.Value{key}), s.Where), check: s.Check, sel: q.Select, args: len(q.Args)}
	shape := valuesApart{text: make([]byte, 0, 256), values: append(make([]connectors.Value, 0, 16), q.Args...)}
	if !u.apart(&shape) {
		u.args = -1
		st, err := u.compile(w.e.model)
		return pgCall{st, q}, err
	}
	st, err := w.e.cache.find(cacheKey{key: string(shape.text)}, func() (*statement, error) { return u.compile(w.e.model) })
	return pgCall{st, &connectors.Query{Select: q.Select, Args: shape.values, Bind: q.Bind}}, err
}

// A returningUpdate is an update of a record and the select of what it became.
type returningUpdate struct {
	t            *table
	set          []assignment
	where, check *connectors.Condition
	sel          *connectors.Select
	// args is how many values the select has. The update's own stand behind
	// them, in the order in which it names them; -1: they are constants.
	args int
}

// compile writes the statement.
func (u *returningUpdate) compile(m *model) (*statement, error) {
	b := newBuilder(m.d)
	c := &compiler{conditions: conditions{m: m, b: b}, s: u.sel, t: u.t}
	b.apart, b.args = u.args >= 0, u.args
	if err := c.update(u.t, u.set, u.where); err != nil {
		return nil, err
	}
	var must []string
	if u.check != nil {
		holds, err := c.compile(u.t, mainAlias, u.check, 1)
		if err != nil {
			return nil, err
		}
		must = append(must, holds)
	}
	b.apart = false
	if u.sel.Where != nil {
		holds, err := c.compile(u.t, mainAlias, u.sel.Where, 1)
		if err != nil {
			return nil, err
		}
		must = append(must, holds)
	}
	exprs, cells, err := c.cellExprs(mainAlias)
	if err != nil {
		return nil, err
	}
	b.write(" returning ", u.t.columns[u.sel.Bind[0]].plain(mainAlias), ", ", strings.Join(exprs, ", "))
	if len(must) > 0 {
		b.write(", 1 / (", checkExpr(strings.Join(must, " and ")), ")")
	}
	b.write(", sqrt(case when ", fmt.Sprintf(touchable, "'"+strings.ReplaceAll(u.t.sql, "'", "''")+"'::regclass"), " then -1 else 1 end)")
	return &statement{sql: b.sb.String(), params: b.params, cells: cells, bind: true, byKey: true}, nil
}

// apart collects the values of the update, and a text that is equal for updates
// that differ in nothing else. It tells whether that can be done.
func (u *returningUpdate) apart(to *valuesApart) bool {
	if u.sel.Key == "" {
		return false
	}
	to.word("update")
	to.word(u.t.name)
	to.word(u.sel.Key)
	to.count(u.args)
	to.count(len(u.set))
	for _, a := range u.set {
		to.word(a.col.name)
		to.flag(a.add)
		to.values = append(to.values, a.value)
	}
	return to.condition(u.where) && to.condition(u.check)
}

// valuesApart is a shape and its values: words with their lengths, so that no two
// shapes have one text.
type valuesApart struct {
	text   []byte
	values []connectors.Value
}

func (v *valuesApart) count(n int) { v.text = binary.AppendUvarint(v.text, uint64(n)) }

func (v *valuesApart) word(s string) {
	v.count(len(s))
	v.text = append(v.text, s...)
}

func (v *valuesApart) flag(b bool) {
	if b {
		v.count(1)
	} else {
		v.count(0)
	}
}

// condition takes a condition apart, in the order in which it is compiled. It is
// false where values would decide the SQL.
func (v *valuesApart) condition(c *connectors.Condition) bool {
	if c == nil {
		v.word("")
		return true
	}
	switch c.Op {
	case connectors.OpRelated, connectors.OpIsNull:
		return false
	case connectors.OpAnd, connectors.OpOr, connectors.OpNot, connectors.OpTrue:
	default:
		if c.Operand.Arg != 0 {
			return false
		}
		v.values = append(v.values, c.Operand.Const)
	}
	v.word(string(c.Op))
	v.word(c.Field)
	v.count(len(c.Items))
	for _, item := range c.Items {
		if !v.condition(item) {
			return false
		}
	}
	return true
}
