package sql_test

import (
	"context"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

// What has no place in the scalar is null and marked; a null is only null.
func TestFaults(t *testing.T) {
	for dialect, ddl := range map[string][]string{
		sql.Postgres: {"create table m (id int primary key, v numeric)", "insert into m values (1, 'NaN'), (2, null), (3, 1.5)"},
		sql.SQLite:   {"create table m (id integer primary key, v integer)", "insert into m values (1, 9007199254740993), (2, null), (3, 15)"},
	} {
		t.Run(dialect, func(t *testing.T) {
			e, _ := open(t, sql.Config{Name: "m", Dialect: dialect, URL: database(t, dialect, ddl...)})
			sel := &connectors.Select{Collection: "m", Columns: columns("id", "v"), Order: []connectors.OrderTerm{{Field: "id"}}}
			rows, err := e.Query(context.Background(), &connectors.Query{Select: sel.Seal()})
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			b, err := rows.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if b.Rows() != 3 || !b.Faulty(0, 1) || b.Faulty(1, 1) || b.Faulty(2, 1) || string(b.Cell(0, 1)) != "null" {
				t.Errorf("faults are %v", b.Faults)
			}
		})
	}
}
