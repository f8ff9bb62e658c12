//go:build unix

package connectortest_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/connectors/connectortest"
)

func TestPostgresDatabasesAreApart(t *testing.T) {
	ctx := context.Background()
	for range 2 {
		conn, err := pgx.Connect(ctx, connectortest.Postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "CREATE TABLE t (a int)"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPostgresServerGoesAndComesBack(t *testing.T) {
	ctx := context.Background()
	s := connectortest.PostgresServer(t)
	url := s.NewDatabase(t)
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TABLE t AS SELECT 7 AS a"); err != nil {
		t.Fatal(err)
	}
	s.Stop(t)
	if _, err := conn.Exec(ctx, "SELECT 1"); err == nil {
		t.Fatal("a stopped server answers")
	}
	s.Start(t)
	again, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close(ctx)
	var a int
	if err := again.QueryRow(ctx, "SELECT a FROM t").Scan(&a); err != nil || a != 7 {
		t.Fatalf("after the start: %d, %v", a, err)
	}
}

// TestPostgresEndsWithItsProcess kills a process that has a server and waits
// for the server's end: its connection to it breaks.
func TestPostgresEndsWithItsProcess(t *testing.T) {
	if os.Getenv("COUNTERSIGN_TEST_CHILD") == "server" {
		url := connectortest.Postgres(t)
		os.Stdout.WriteString("url " + url + "\n")
		os.Stdin.Read(make([]byte, 1)) // until killed
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPostgresEndsWithItsProcess$")
	cmd.Env = append(os.Environ(), "COUNTERSIGN_TEST_CHILD=server", connectortest.PostgresEnv+"=")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	url := ""
	lines := bufio.NewScanner(stdout)
	for url == "" && lines.Scan() {
		url, _ = strings.CutPrefix(lines.Text(), "url ")
		if !strings.HasPrefix(url, "postgres://") {
			url = ""
		}
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "SELECT pg_sleep(600)"); err == nil {
		t.Fatal("the server outlived its process")
	}
	cmd.Wait()
}

// TestPostgresOfTheEnvironment: a server that is named is used, and is left as
// it was.
func TestPostgresOfTheEnvironment(t *testing.T) {
	ctx := context.Background()
	s := connectortest.PostgresServer(t)
	t.Setenv(connectortest.PostgresEnv, s.URL("postgres"))
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	count := func() (n int) {
		t.Helper()
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_database").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	t.Run("one", func(t *testing.T) {
		connectortest.Postgres(t)
		if count() != before+1 {
			t.Error("the database is on another server")
		}
	})
	if count() != before {
		t.Error("the database was left behind")
	}
}
