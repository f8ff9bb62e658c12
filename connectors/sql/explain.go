package sql

import "github.com/countersign/countersign/connectors"

// Statement is the SQL that a query is sent as, without its values: for people
// who ask what a source was sent. It asks the database nothing.
func (e *Engine) Statement(q *connectors.Query) (string, error) {
	st, err := compileSelect(e.model, q.Select, formOf(q))
	if err != nil {
		return "", err
	}
	return st.sql, nil
}
