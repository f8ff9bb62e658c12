package sql_test

import (
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/sql"
)

func TestConformance(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			connectortest.Run(t, connectortest.Harness{
				NullsLow: dialect == sql.SQLite,
				Open: func(t testing.TB) connectors.Connector {
					url := database(t, dialect, connectortest.SuiteSQL(dialect)...)
					e, _ := open(t, sql.Config{Name: "suite", Dialect: dialect, URL: url, ReadOnly: true})
					return e
				},
			})
		})
	}
}
