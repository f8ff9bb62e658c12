package sql

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign/countersign/connectors"
)

// once runs the most common change, the update of one record by its key, in one
// round trip: the update and the readings afterwards travel together and are one
// transaction, which a check that does not hold ends by an error. ok is false
// where the change is not that simple.
//
// Nothing is decided between the statements, so nothing may need deciding: no
// marker, nothing expected, no version, a key that the database itself keeps
// unique.
func (w *writing) once(ctx context.Context) (effect *connectors.Effect, ok bool, err error) {
	if len(w.change.Steps) != 1 || w.change.Marker != nil || w.e.failpoint != nil {
		return nil, false, nil
	}
	tx, isPostgres := w.tx.(*pgTx)
	t, _, err := w.act(0)
	if !isPostgres || err != nil {
		return nil, false, err
	}
	s := &w.change.Steps[0]
	_, configured := w.e.cfg.Keys[t.name]
	if s.Kind != connectors.Update || !w.simple(s) || configured {
		return nil, false, nil
	}
	for _, a := range s.Set {
		if a.Increment || keyed(t, a.Field) {
			return nil, false, nil
		}
	}
	key, err := w.key(t, s.Key)
	if err != nil {
		return nil, true, err
	}
	if effect, ok, err := w.returning(ctx, tx, t, s, key); ok || err != nil {
		return effect, true, err
	}
	calls, columns, err := w.onceCalls(t, s, key)
	if err != nil {
		return nil, true, err
	}
	results, err := tx.together(ctx, calls)
	if err != nil {
		return nil, true, w.onceError(ctx, t, s, results, err)
	}
	if results[0].affected == 0 {
		return nil, true, notFound()
	}
	effect = &connectors.Effect{Evidence: "committed"}
	step := connectors.StepEffect{Affected: 1}
	if reads := w.change.Reads; reads != nil {
		step.After = []connectors.Record{record(t, target{key: key}, nil)}
		for _, r := range results[len(results)-len(reads):] {
			effect.Reads = append(effect.Reads, r.block)
		}
	} else {
		found, err := targetsOf(t, columns, results[1].block)
		if err != nil {
			return nil, true, err
		}
		for _, tg := range found {
			step.After = append(step.After, record(t, tg, w.wanted(t, s)))
		}
	}
	effect.Steps = []connectors.StepEffect{step}
	return effect, true, nil
}

// A pgCall is a statement with the query whose values it takes.
type pgCall struct {
	st *statement
	q  *connectors.Query
}

// noValues is the query of statements of constants.
var noValues = &connectors.Query{Select: &connectors.Select{}}

// onceCalls are the update and the readings after it: of what the step returns,
// or of what the caller asks for. A check is read in either case.
func (w *writing) onceCalls(t *table, s *connectors.Step, key []connectors.Value) ([]pgCall, []connectors.Column, error) {
	set, err := w.input(t, s)
	if err != nil {
		return nil, nil, err
	}
	byKey := keyCondition(t, [][]connectors.Value{key})
	update, err := compileUpdate(w.e.model, t, set, connectors.And(byKey, s.Where))
	if err != nil {
		return nil, nil, err
	}
	calls := []pgCall{{update, noValues}}
	var columns []connectors.Column
	if w.change.Reads == nil {
		columns = readColumns(t, w.wanted(t, s), t.hasVersion)
	}
	if s.Check != nil || columns != nil {
		after, err := compileReading(w.e.model, reading{t: t, columns: columns, where: byKey, check: s.Check, trap: true})
		if err != nil {
			return nil, nil, err
		}
		calls = append(calls, pgCall{after, noValues})
	}
	for _, q := range w.change.Reads {
		st, err := w.e.selected(q)
		if err != nil {
			return nil, nil, err
		}
		calls = append(calls, pgCall{st, q})
	}
	return calls, columns, nil
}

// onceError tells a check that did not hold from what else went wrong.
func (w *writing) onceError(ctx context.Context, t *table, s *connectors.Step, results []pgResult, err error) error {
	var pg *pgconn.PgError
	if len(results) == 1 && s.Check != nil && errors.As(err, &pg) && pg.Code == "22012" {
		if results[0].affected == 0 {
			return notFound()
		}
		return connectors.Errorf(connectors.CodeCheckViolation, "the record would not be one that may be written")
	}
	return w.blame(ctx, t, s, nil, coded(err))
}

// A pgResult is the answer to one of several statements.
type pgResult struct {
	block    *connectors.Block
	affected int64
}

// together runs statements as one transaction in one round trip: what is sent
// without BEGIN up to a synchronisation is one, which that commits; a constraint
// that was deferred is looked at only then. The results are those before an
// error. Once it is sent, only an error that the database itself gave proves that
// nothing was done.
func (x *pgTx) together(ctx context.Context, calls []pgCall) ([]pgResult, error) {
	c := x.conn.Conn().PgConn()
	args := x.p.args.get()
	defer x.p.args.put(args)
	var batch pgconn.Batch
	prepared := make([]*pgPrepared, len(calls))
	for i, call := range calls {
		var err error
		if prepared[i], err = x.p.prepared(ctx, c, call.st); err != nil {
			return nil, err
		}
		if err := args.encode(call.st.params, call.q); err != nil {
			return nil, err
		}
		if len(calls) > 1 {
			batch.ExecStatement(prepared[i].sd, args.values, nil, binaryFormat())
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.IsClosed() {
		return nil, unavailable()
	}
	x.start = nil
	var results []pgResult
	var err error
	if len(calls) > 1 {
		results, err = x.batch(c.ExecBatch(ctx, &batch), prepared, calls)
	} else {
		results = make([]pgResult, 1)
		if err = x.result(c.ExecStatement(ctx, prepared[0].sd, args.values, nil, binaryFormat()), prepared[0], calls[0], &results[0]); err != nil {
			results = nil
		}
	}
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return results, nil
	case errors.As(err, &pg) && pg.Severity == "ERROR":
		for _, call := range calls {
			forget(c, call.st, err)
		}
		return results, err
	}
	return results, connectors.Errorf(connectors.CodeOutcomeUnknown, "the connection was lost while the change was made; it may or may not have been done").WithCause(err)
}

// batch reads the answers to several statements, up to an error.
func (x *pgTx) batch(answers *pgconn.MultiResultReader, prepared []*pgPrepared, calls []pgCall) ([]pgResult, error) {
	results := make([]pgResult, 0, len(calls))
	var err error
	for i := 0; i < len(calls) && err == nil && answers.NextResult(); i++ {
		var r pgResult
		if err = x.result(answers.ResultReader(), prepared[i], calls[i], &r); err == nil {
			results = append(results, r)
		}
	}
	if closing := answers.Close(); err == nil {
		err = closing
	}
	if err == nil && len(results) < len(calls) {
		err = errors.New("the database answered less than it was asked")
	}
	return results, err
}

// result reads the whole answer to one statement.
func (x *pgTx) result(rr *pgconn.ResultReader, pr *pgPrepared, call pgCall, to *pgResult) error {
	block, tag, err := x.read(rr, pr, call.st, call.q.Bind)
	to.block, to.affected = block, tag.RowsAffected()
	return err
}
