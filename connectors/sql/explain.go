package sql

import (
	"context"
	"strconv"
	"time"

	"github.com/countersign/countersign/connectors"
)

// traced runs a statement for somebody who wants to know what was sent.
func (e *Engine) traced(ctx context.Context, t *connectors.Trace, st *statement, q *connectors.Query) (connectors.Rows, error) {
	sent := connectors.Sent{Source: e.cfg.Name, Object: q.Select.Collection, Keys: len(q.Bind), Snapshot: q.Snapshot != nil,
		Statement: st.sql, Values: shownValues(t, st.params, q), Began: time.Now()}
	rows, err := e.db.query(ctx, st, q)
	sent.Took = time.Since(sent.Began)
	if err == nil {
		t.Add(sent)
		return rows, nil
	}
	err = coded(err)
	sent.Failed = connectors.CodeOf(err)
	t.Add(sent)
	return nil, err
}

// shownValues is what the placeholders of a statement stand for. Keys of joins
// come from records, and are counted only; the bounds of a page are the
// planner's and no value of anybody.
func shownValues(t *connectors.Trace, params []param, q *connectors.Query) []string {
	out := make([]string, len(params))
	for i := range params {
		p := &params[i]
		switch p.kind {
		case paramBind, paramBinds, paramEntry:
			out[i] = strconv.Itoa(len(q.Bind)) + " keys"
			if len(q.Bind) == 1 {
				out[i] = "1 key"
			}
		case paramLimit, paramOffset:
			out[i] = string(p.operand.Value(q.Args).AppendJSON(nil, connectors.ScalarJSON))
		default:
			out[i] = t.Show(p.operand.Value(q.Args))
		}
	}
	return out
}
