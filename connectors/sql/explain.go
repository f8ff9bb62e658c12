package sql

import "github.com/countersign/countersign/connectors"

// Statement is the SQL that a query is sent as, without its values: for people
// who ask what a source was sent. It asks the database nothing.
func (e *Engine) Statement(q *connectors.Query) (string, error) {
	after, before := cursorMasks(q.Select, q.Args)
	st, err := compileSelect(e.model, q.Select, after, before)
	if err != nil {
		return "", err
	}
	return st.sql, nil
}
