package sql_test

import (
	"context"
	stdsql "database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/sql"
)

// dialects are the systems that every test of behaviour runs on.
var dialects = []string{sql.Postgres, sql.SQLite}

// database makes a fresh database of a dialect with some statements run in it,
// and returns its URL.
func database(t testing.TB, dialect string, statements ...string) string {
	t.Helper()
	var url string
	if dialect == sql.Postgres {
		url = connectortest.Postgres(t)
	} else {
		url = filepath.Join(t.TempDir(), "test ?.db")
	}
	run(t, dialect, url, statements...)
	return url
}

// run executes statements by the plain driver.
func run(t testing.TB, dialect, url string, statements ...string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // cleanups run statements, too
	if dialect == sql.Postgres {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		for _, s := range statements {
			if _, err := conn.Exec(ctx, s); err != nil {
				t.Fatalf("%v\n%s", err, s)
			}
		}
		return
	}
	db, err := stdsql.Open("sqlite", "file:"+strings.ReplaceAll(strings.ReplaceAll(url, "?", "%3F"), " ", "%20"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "begin"); err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
	}
	if _, err := db.ExecContext(ctx, "commit"); err != nil {
		t.Fatal(err)
	}
}

// open describes a system and opens it with what was described, as pinned.
func open(t testing.TB, cfg sql.Config) (*sql.Engine, *connectors.Schema) {
	t.Helper()
	cfg.StatementTimeout = max(cfg.StatementTimeout, time.Minute)
	first, err := sql.Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := first.Describe(t.Context())
	if err != nil {
		t.Fatalf("%v: %v", err, connectors.AsError(err).Cause)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	e, err := sql.Open(cfg, schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return e, schema
}

// ask runs a query and returns its rows, cells joined by blanks, with the
// ordinal in front where there is one.
func ask(t testing.TB, c connectors.Connector, q *connectors.Query) []string {
	t.Helper()
	lines, err := try(t, c, q)
	if err != nil {
		t.Fatalf("%v: %v", err, connectors.AsError(err).Cause)
	}
	return lines
}

func try(t testing.TB, c connectors.Connector, q *connectors.Query) ([]string, error) {
	t.Helper()
	if q.Select.Key == "" {
		q.Select.Seal()
	}
	rows, err := c.Query(t.Context(), q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	lines := []string{}
	for {
		b, err := rows.Next(t.Context())
		if err != nil {
			return nil, err
		}
		if b == nil {
			return lines, nil
		}
		for i := range b.Rows() {
			var cells []string
			if b.Bind != nil {
				cells = append(cells, string(rune('0'+b.Bind[i]))+":")
			}
			for j := range b.Columns {
				cells = append(cells, string(b.Cell(i, j)))
			}
			lines = append(lines, strings.Join(cells, " "))
		}
	}
}

// columns asks for fields.
func columns(fields ...string) []connectors.Column {
	list := make([]connectors.Column, len(fields))
	for i, f := range fields {
		list[i].Field = f
	}
	return list
}
