package sql_test

import (
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/sql"
)

// TestWritesConform runs the writing part of the suite over systems that are written: with markers,
// and with previews by each strategy.
func TestWritesConform(t *testing.T) {
	for _, dialect := range dialects {
		for _, preview := range []connectors.PreviewStrategy{connectors.PreviewRead, connectors.PreviewRollback} {
			t.Run(dialect+" "+string(preview), func(t *testing.T) {
				connectortest.RunWrites(t, connectortest.Harness{
					NullsLow: dialect == sql.SQLite,
					Open: func(t testing.TB) connectors.Connector {
						return writable(t, dialect, string(preview), connectortest.SuiteSQL(dialect)...)
					},
				})
			})
		}
	}
}

// writable opens a prepared system with what was described of it.
func writable(t testing.TB, dialect, preview string, statements ...string) *sql.Engine {
	t.Helper()
	e, _ := open(t, sql.Config{Name: "suite", Dialect: dialect, URL: database(t, dialect, statements...),
		Preview: map[string]string{"*": preview}, Outcome: map[string]string{"*": string(connectors.Transactional)}})
	if err := e.Prepare(t.Context(), ""); err != nil {
		t.Fatalf("%v: %v", err, connectors.AsError(err).Cause)
	}
	return e
}
