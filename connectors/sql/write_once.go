package sql

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign/countersign/connectors"
)

// once runs the most common change, the update of one record by its key, in one
// round trip: BEGIN, the update, the reading afterwards and COMMIT travel
// together, and a check that does not hold is an error that keeps the COMMIT
// from taking place. ok is false where the change is not that simple.
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
	statements, columns, err := w.onceStatements(t, s)
	if err != nil {
		return nil, true, err
	}
	if err := ctx.Err(); err != nil {
		return nil, true, connectors.AsError(err)
	}
	results, err := tx.pipeline(ctx, statements)
	if err != nil {
		return nil, true, w.onceError(ctx, t, s, results, err)
	}
	if results[0].affected == 0 {
		return nil, true, notFound()
	}
	found, err := targetsOf(t, columns, results[1].block)
	if err != nil {
		return nil, true, err
	}
	step := connectors.StepEffect{Affected: 1}
	for _, tg := range found {
		step.After = append(step.After, record(t, tg, w.wanted(t, s)))
	}
	return &connectors.Effect{Evidence: "committed", Steps: []connectors.StepEffect{step}}, true, nil
}

// onceStatements are the update and the reading after it.
func (w *writing) onceStatements(t *table, s *connectors.Step) ([]*statement, []connectors.Column, error) {
	set, err := w.input(t, s)
	if err != nil {
		return nil, nil, err
	}
	key, err := w.key(t, s.Key)
	if err != nil {
		return nil, nil, err
	}
	byKey := keyCondition(t, [][]connectors.Value{key})
	update, err := compileUpdate(w.e.model, t, set, connectors.And(byKey, s.Where))
	if err != nil {
		return nil, nil, err
	}
	columns := readColumns(t, w.wanted(t, s), t.hasVersion)
	after, err := compileReading(w.e.model, reading{t: t, columns: columns, where: byKey, check: s.Check, trap: true})
	return []*statement{update, after}, columns, err
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

// A pgResult is the answer to one statement of a pipeline.
type pgResult struct {
	block    *connectors.Block
	affected int64
}

// pipeline runs statements as one transaction in one round trip. The results
// are those before an error. Only an error that the database itself gave proves
// that nothing was done.
func (x *pgTx) pipeline(ctx context.Context, statements []*statement) ([]pgResult, error) {
	c := x.conn.Conn().PgConn()
	prepared := make([]*pgPrepared, len(statements))
	encoded := make([]*pgArgs, len(statements))
	for i, st := range statements {
		encoded[i] = x.p.args.get()
		defer x.p.args.put(encoded[i])
		if err := encoded[i].encode(st.params, &connectors.Query{Select: &connectors.Select{}}); err != nil {
			return nil, err
		}
		var err error
		if prepared[i], err = x.p.prepared(ctx, c, st); err != nil {
			return nil, err
		}
	}
	pipe := c.StartPipeline(ctx)
	pipe.SendQueryParams("begin", nil, nil, nil, nil)
	for i := range statements {
		pipe.SendQueryStatement(prepared[i].sd, encoded[i].values, nil, binaryFormat())
	}
	pipe.SendQueryParams("commit", nil, nil, nil, nil)
	err := pipe.Sync()
	var results []pgResult
	if err == nil {
		results, err = x.results(pipe, prepared, statements)
	}
	x.start = nil
	if closing := pipe.Close(); err == nil {
		err = closing
	}
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return results, nil
	case errors.As(err, &pg) && pg.Severity == "ERROR":
		for _, st := range statements {
			forget(c, st, err)
		}
		return results, err
	case connectors.CodeOf(err) == connectors.CodeRolledBack:
		return results, err
	}
	return results, connectors.Errorf(connectors.CodeOutcomeUnknown, "the connection was lost while the change was made; it may or may not have been done").WithCause(err)
}

// results reads the answers to BEGIN, the statements and COMMIT.
func (x *pgTx) results(pipe *pgconn.Pipeline, prepared []*pgPrepared, statements []*statement) ([]pgResult, error) {
	next := func() (*pgconn.ResultReader, error) {
		result, err := pipe.GetResults()
		if err != nil {
			return nil, err
		}
		rr, ok := result.(*pgconn.ResultReader)
		if !ok {
			return nil, errors.New("the database answered out of turn")
		}
		return rr, nil
	}
	rr, err := next()
	if err != nil {
		return nil, err
	}
	if _, err := rr.Close(); err != nil {
		return nil, err
	}
	var results []pgResult
	for i := range statements {
		if rr, err = next(); err != nil {
			return results, err
		}
		block, tag, err := x.read(rr, prepared[i], statements[i])
		if err != nil {
			return results, err
		}
		results = append(results, pgResult{block: block, affected: tag.RowsAffected()})
	}
	if rr, err = next(); err != nil {
		return results, err
	}
	tag, err := rr.Close()
	if err == nil && tag.String() != "COMMIT" {
		err = connectors.Errorf(connectors.CodeRolledBack, "the database rolled the change back; nothing was done")
	}
	return results, err
}
