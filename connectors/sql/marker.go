package sql

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign/countersign/connectors"
)

// resultVoid is the result of a marker that says that the change did not run
// and will not.
const resultVoid = "void"

// markerSQL is the table's name as SQL.
func (e *Engine) markerSQL() string {
	return quoteIdent(e.d.defaultSchema()) + "." + quoteIdent(markerTable)
}

// PrepareSQL is what the class transactional needs in the system: the table of
// markers, and the rights of the role that the source connects as ("" where it
// makes the table itself). Apply never creates it.
func (e *Engine) PrepareSQL(grantee string) []string {
	instant, now := "timestamptz", "now()"
	if e.d.name() == SQLite {
		instant, now = "text", "(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
	}
	out := []string{"create table if not exists " + e.markerSQL() + " (\n" +
		"  proposal text not null,\n" +
		"  change integer not null,\n" +
		"  content_hash text not null,\n" +
		"  result text not null,\n" +
		"  at " + instant + " not null default " + now + ",\n" +
		"  primary key (proposal, change)\n)"}
	if grantee != "" && e.d.name() == Postgres {
		out = append(out, "grant select, insert, update (result) on "+e.markerSQL()+" to "+quoteIdent(grantee))
	}
	return out
}

// Prepare runs what PrepareSQL says. It is called by the command of that name
// and by nothing that serves.
func (e *Engine) Prepare(ctx context.Context, grantee string) error {
	tx, err := e.db.begin(ctx, txWrite)
	if err != nil {
		return coded(err)
	}
	defer tx.rollback()
	for _, text := range e.PrepareSQL(grantee) {
		if _, _, err := tx.run(ctx, &statement{sql: text}); err != nil {
			return coded(err)
		}
	}
	return tx.commit(ctx)
}

// Prepared tells whether the table of markers is there.
func (e *Engine) Prepared(ctx context.Context) (bool, error) {
	tx, err := e.db.begin(ctx, txRead)
	if err != nil {
		return false, coded(err)
	}
	defer tx.rollback()
	_, _, err = tx.run(ctx, &statement{sql: "select 1 from " + e.markerSQL() + " limit 1", cells: []cell{{scalar: connectors.ScalarInt}}})
	if unprepared(err) {
		return false, nil
	}
	return err == nil, coded(err)
}

// unprepared tells whether an error says that the table is not there.
func unprepared(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "42P01" || pg.Code == "3F000"
	}
	return err != nil && strings.Contains(err.Error(), "no such table: ") && strings.Contains(err.Error(), markerTable)
}

// text is a parameter of text or of a number for the marker's statements.
func markerParam(v connectors.Value) param {
	typ := &sqlType{scalar: connectors.ScalarString, param: "text"}
	if v.Kind == connectors.KindInt {
		typ = &sqlType{scalar: connectors.ScalarInt, param: "int4"}
	}
	return param{kind: paramValue, operand: connectors.Const(v), typ: typ}
}

// markerStatement writes a statement whose ? are the values in turn.
func (e *Engine) markerStatement(text string, cells []cell, values ...connectors.Value) *statement {
	b := &builder{d: e.d}
	parts := strings.Split(text, "?")
	b.write(parts[0])
	for i, v := range values {
		b.write(b.add(markerParam(v)), parts[i+1])
	}
	return &statement{sql: b.sb.String(), params: b.params, cells: cells}
}

// mark inserts the marker before anything else, and answers from it where it is
// there already: done tells that nothing is left to run. The INSERT waits for
// one that is under way.
func (w *writing) mark(ctx context.Context) (effect *connectors.Effect, done bool, err error) {
	m := w.change.Marker
	if m == nil {
		return nil, false, nil
	}
	for i := range w.change.Steps {
		_, act, err := w.act(i)
		if err != nil {
			return nil, false, w.atStep(i, err)
		}
		if act.Class != connectors.Transactional {
			return nil, false, connectors.Errorf(connectors.CodeUnsupported, "the collection's outcome is not transactional: a marker cannot be written with the change")
		}
	}
	result := "" // completed when the steps are done
	if m.Void {
		result = resultVoid
	}
	proposal, change := connectors.String(m.Proposal), connectors.Int(int64(m.Change))
	insert := w.e.markerStatement("insert into "+w.e.markerSQL()+" (proposal, change, content_hash, result) values (?, ?, ?, ?) on conflict do nothing",
		nil, proposal, change, connectors.String(m.ContentHash), connectors.String(result))
	_, n, err := w.tx.run(ctx, insert)
	switch {
	case unprepared(err):
		return nil, false, connectors.Errorf(connectors.CodeUnsupported, "the table of markers is not there; run `countersign prepare`").WithCause(err)
	case err != nil:
		return nil, false, coded(err)
	case n == 1 && m.Void:
		if err := w.commit(ctx); err != nil {
			return nil, false, err
		}
		return &connectors.Effect{Evidence: resultVoid}, true, nil
	case n == 1:
		return nil, false, nil
	}
	effect, err = w.marked(ctx, proposal, change)
	return effect, err == nil, err
}

// marked answers from a marker that is there.
func (w *writing) marked(ctx context.Context, proposal, change connectors.Value) (*connectors.Effect, error) {
	m := w.change.Marker
	text := cell{scalar: connectors.ScalarString}
	block, _, err := w.run(ctx, w.e.markerStatement("select content_hash, result from "+w.e.markerSQL()+" where proposal = ? and change = ?",
		[]cell{text, text}, proposal, change))
	if err != nil {
		return nil, err
	}
	if block.Rows() != 1 {
		// Whoever wrote it rolled back between the two statements.
		return nil, connectors.Errorf(connectors.CodeLockTimeout, "the same change was run at the same time; run it again")
	}
	hash, errHash := connectors.ParseCell(block.Cell(0, 0), connectors.ScalarString)
	result, errResult := connectors.ParseCell(block.Cell(0, 1), connectors.ScalarString)
	switch {
	case errHash != nil || errResult != nil:
		return nil, errors.Join(errHash, errResult)
	case hash.Text != m.ContentHash:
		return nil, connectors.Errorf(connectors.CodeContentChanged, "another content was run under this marker")
	case result.Text == resultVoid && !m.Void:
		return nil, connectors.Errorf(connectors.CodeWrongState, "this change was made void and will not run")
	case result.Text == resultVoid:
		return &connectors.Effect{Evidence: resultVoid, Repeated: true}, nil
	}
	effect := &connectors.Effect{}
	if err := json.Unmarshal([]byte(result.Text), effect); err != nil {
		return nil, connectors.Errorf(connectors.CodeUpstreamError, "the marker holds no result that can be read").WithCause(err)
	}
	effect.Evidence, effect.Repeated = "marker", true
	return effect, nil
}

// complete writes the effect into the marker, for those who run the same change
// again.
func (w *writing) complete(ctx context.Context, effect *connectors.Effect) error {
	m := w.change.Marker
	if m == nil {
		return nil
	}
	raw, err := json.Marshal(effect)
	if err != nil {
		return err
	}
	_, n, err := w.run(ctx, w.e.markerStatement("update "+w.e.markerSQL()+" set result = ? where proposal = ? and change = ?", nil,
		connectors.String(string(raw)), connectors.String(m.Proposal), connectors.Int(int64(m.Change))))
	if err == nil && n != 1 {
		return connectors.Errorf(connectors.CodeUpstreamError, "the marker vanished while the change ran")
	}
	return err
}
