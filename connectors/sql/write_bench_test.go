package sql_test

import (
	"context"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/sql"
)

// BenchmarkUpdateByKey compares the update of one record, with a check as a
// policy has one, with the statement written by hand.
func BenchmarkUpdateByKey(b *testing.B) {
	url := database(b, sql.Postgres, connectortest.SuiteSQL(sql.Postgres)...)
	b.Run("engine", func(b *testing.B) {
		e, _ := open(b, sql.Config{Name: "s", Dialect: sql.Postgres, URL: url})
		visible := connectors.Compare("balance", connectors.OpLt, connectors.Const(connectors.Int(100000)))
		for i := 0; b.Loop(); i++ {
			step := updateByID(connectortest.Customers, 7, set("note", connectors.String("note "+strconv.Itoa(i))), "note", "email")
			step.Where, step.Check = visible, visible
			if _, err := e.Apply(context.Background(), nil, change(step)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("by hand", func(b *testing.B) {
		pool, err := pgxpool.New(context.Background(), url)
		if err != nil {
			b.Fatal(err)
		}
		defer pool.Close()
		var note string
		var email *string
		for i := 0; b.Loop(); i++ {
			err := pool.QueryRow(context.Background(), `update customers set note = $1 where id = $2 and balance < $3 returning note, email`,
				"note "+strconv.Itoa(i), 7, 100000).Scan(&note, &email)
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
