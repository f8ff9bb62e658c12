package sql_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/sql"
)

// all asks for every id of a table.
func all(table string) *connectors.Query {
	return &connectors.Query{Select: &connectors.Select{Collection: table, Columns: columns("id"), Order: []connectors.OrderTerm{{Field: "id"}}}}
}

// wantCode fails unless err has the code, and unless its message is free of what
// the database said.
func wantCode(t *testing.T, err error, code connectors.Code) {
	t.Helper()
	if connectors.CodeOf(err) != code {
		t.Fatalf("the error is %v, not %s (cause: %v)", err, code, connectors.AsError(err).Cause)
	}
	for _, leak := range []string{"SQLSTATE", "relation ", "column ", "127.0.0.1", "dial", "sqlite"} {
		if strings.Contains(connectors.AsError(err).Message, leak) {
			t.Errorf("the message repeats the database: %s", err)
		}
	}
}

// TestUnreachable opens an engine on a port where nobody listens; when somebody
// does, it answers, and when they go, it fails again.
func TestUnreachable(t *testing.T) {
	real := database(t, sql.Postgres, "create table a (id int primary key)", "insert into a values (1)")
	u, err := url.Parse(real)
	if err != nil {
		t.Fatal(err)
	}
	target := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	u.Host = address
	_, schema := open(t, sql.Config{Dialect: sql.Postgres, URL: real})
	e, err := sql.Open(sql.Config{Dialect: sql.Postgres, URL: u.String()}, schema)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	_, err = try(t, e, all("a"))
	wantCode(t, err, connectors.CodeUpstreamUnavailable)
	_, err = e.Describe(t.Context())
	wantCode(t, err, connectors.CodeUpstreamUnavailable)

	stop := proxy(t, address, target)
	if got := ask(t, e, all("a")); len(got) != 1 {
		t.Errorf("it did not recover: %v", got)
	}
	stop()
	_, err = try(t, e, all("a"))
	wantCode(t, err, connectors.CodeUpstreamUnavailable)
	stop = proxy(t, address, target)
	defer stop()
	if got := ask(t, e, all("a")); len(got) != 1 {
		t.Errorf("it did not recover: %v", got)
	}
}

// proxy forwards connections until stop is called, which cuts them.
func proxy(t *testing.T, address, target string) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			mu.Lock()
			open = append(open, in, out)
			mu.Unlock()
			wg.Go(func() { io.Copy(out, in); out.Close() })
			wg.Go(func() { io.Copy(in, out); in.Close() })
		}
	})
	return func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	}
}

func TestMissingFile(t *testing.T) {
	real := database(t, sql.SQLite, "create table a (id integer primary key)", "insert into a values (1)")
	_, schema := open(t, sql.Config{Dialect: sql.SQLite, URL: real})
	path := filepath.Join(t.TempDir(), "not yet.db")
	e, err := sql.Open(sql.Config{Dialect: sql.SQLite, URL: path}, schema)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	_, err = try(t, e, all("a"))
	wantCode(t, err, connectors.CodeUpstreamUnavailable)
	if _, err := os.Stat(path); err == nil {
		t.Error("reading made a file")
	}
	raw, err := os.ReadFile(real)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, e, all("a")); len(got) != 1 {
		t.Errorf("it did not recover: %v", got)
	}
}

// TestCancelled ends statements that would take half a minute: by the context,
// by the select's timeout and by the source's. The one connection is usable
// afterwards, and nothing goes on in the database.
func TestCancelled(t *testing.T) {
	url := database(t, sql.Postgres, "create table a (id int primary key)", "insert into a values (1)",
		"create view slow as select 1 as id from pg_sleep(30)")
	_, schema := open(t, sql.Config{Dialect: sql.Postgres, URL: url})
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	e, err := sql.Open(sql.Config{Dialect: sql.Postgres, URL: url, PoolMax: 1, StatementTimeout: 300 * time.Millisecond}, schema)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	slow := (&connectors.Select{Collection: "slow", Columns: columns("id")}).Seal()

	_, err = e.Query(t.Context(), &connectors.Query{Select: slow})
	wantCode(t, err, connectors.CodeTimeout)
	if got := ask(t, e, all("a")); len(got) != 1 {
		t.Errorf("after a statement timeout: %v", got)
	}

	short := *slow
	short.Timeout = 50 * time.Millisecond
	_, err = e.Query(t.Context(), &connectors.Query{Select: short.Seal()})
	wantCode(t, err, connectors.CodeTimeout)
	if got := ask(t, e, all("a")); len(got) != 1 {
		t.Errorf("after a timeout: %v", got)
	}

	for _, snap := range []*connectors.Snapshot{nil, {}} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := e.Query(ctx, &connectors.Query{Select: slow, Snapshot: snap})
			done <- err
		}()
		waitActive(t, url, 1)
		cancel()
		wantCode(t, <-done, connectors.CodeTimeout)
		if snap != nil {
			snap.End()
		}
		if got := ask(t, e, all("a")); len(got) != 1 {
			t.Errorf("after a cancelled context: %v", got)
		}
		waitActive(t, url, 0)
	}
}

// waitActive waits until so many statements on slow run in the database.
func waitActive(t *testing.T, url string, want int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for {
		var n int
		if err := conn.QueryRow(t.Context(), `select count(*) from pg_stat_activity where state = 'active' and application_name = 'countersign' and datname = current_database()`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n == want {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("waiting for the database")
		}
	}
}

// TestChangedTable changes a table under prepared statements: a plan that cannot
// be used any more is made again, and what is gone is an error that says what to
// do.
func TestChangedTable(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			url := database(t, dialect, "create table a (id integer primary key, name varchar(10), n integer)", "insert into a values (1, 'x', 2)")
			e, _ := open(t, sql.Config{Dialect: dialect, URL: url, PoolMax: 1})
			q := &connectors.Query{Select: &connectors.Select{Collection: "a", Columns: columns("id", "name", "n")}}
			ask(t, e, q)
			if dialect == sql.Postgres {
				run(t, dialect, url, "alter table a alter name type text, alter n type bigint")
				if got := ask(t, e, q); len(got) != 1 || got[0] != `1 "x" 2` {
					t.Errorf("after a change of types: %q", got)
				}
				run(t, dialect, url, "alter table a alter name type varchar(30)")
				snap := &connectors.Snapshot{}
				q.Snapshot = snap
				if got := ask(t, e, q); len(got) != 1 {
					t.Errorf("after a change of types, in a snapshot: %q", got)
				}
				snap.End()
				q.Snapshot = nil
				run(t, dialect, url, "alter table a alter n type text")
				_, err := try(t, e, q)
				wantCode(t, err, connectors.CodeUpstreamError)
			}
			run(t, dialect, url, "alter table a drop column name")
			_, err := try(t, e, q)
			wantCode(t, err, connectors.CodeUpstreamError)
			if got := ask(t, e, all("a")); len(got) != 1 {
				t.Errorf("other fields: %q", got)
			}
			run(t, dialect, url, "drop table a")
			_, err = try(t, e, q)
			wantCode(t, err, connectors.CodeUpstreamError)
		})
	}
}

// TestReadOnlyRole: the role may not read one table and one column. They are
// left out, and the rest works.
func TestReadOnlyRole(t *testing.T) {
	role := "countersign_reader_" + strings.ReplaceAll(fmt.Sprint(time.Now().UnixNano()), "-", "")
	base := database(t, sql.Postgres, "create table a (id int primary key, shown text, hidden text)", "create table b (id int primary key)",
		"create role "+role+" login", "grant select (id, shown), insert (shown) on a to "+role)
	t.Cleanup(func() { run(t, sql.Postgres, base, "drop owned by "+role, "drop role "+role) })
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	_, schema := open(t, sql.Config{Dialect: sql.Postgres, URL: u.String()})
	a := schema.Collection("a")
	if a == nil || a.Field("shown") == nil || a.Field("hidden") != nil || schema.Collection("b") != nil || len(schema.LeftOut) != 2 {
		t.Errorf("described: %+v, left out %+v", a, schema.LeftOut)
	}
	if a.Acts[connectors.Create] == nil || a.Acts[connectors.Update] != nil || a.Acts[connectors.Delete] != nil {
		t.Errorf("acts: %v", a.Acts)
	}
	if !strings.HasPrefix(schema.Identity, "postgres:") {
		t.Errorf("identity %q", schema.Identity)
	}
}

// TestRefusedConfiguration: what cannot be meant is refused in words.
func TestRefusedConfiguration(t *testing.T) {
	file := database(t, sql.SQLite, "create table a (id integer primary key, b int)", "create table c (x int)")
	base := sql.Config{Dialect: sql.SQLite, URL: file}
	for name, c := range map[string]struct {
		change func(*sql.Config)
		code   connectors.Code
		says   string
	}{
		"dialect":     {func(c *sql.Config) { c.Dialect = "mysql" }, connectors.CodeValidationFailed, "mysql"},
		"url":         {func(c *sql.Config) { c.URL = "" }, connectors.CodeValidationFailed, "url"},
		"bad url":     {func(c *sql.Config) { c.Dialect, c.URL = sql.Postgres, "postgres://u:secret@:bad port/" }, connectors.CodeValidationFailed, "connection string"},
		"conditional": {func(c *sql.Config) { c.Outcome = map[string]string{"*": "conditional"} }, connectors.CodeUnsupported, "not supported yet"},
		"outcome":     {func(c *sql.Config) { c.Outcome = map[string]string{"a": "certain"} }, connectors.CodeValidationFailed, "certain"},
		"preview":     {func(c *sql.Config) { c.Preview = map[string]string{"a": "guess"} }, connectors.CodeValidationFailed, "guess"},
		"xmin":        {func(c *sql.Config) { c.Version = map[string]string{"*": "xmin"} }, connectors.CodeValidationFailed, "xmin"},
		"pattern":     {func(c *sql.Config) { c.Include = []string{"nothing"}; c.Keys = map[string][]string{"a": {"id"}} }, connectors.CodeValidationFailed, "not included"},
		"key":         {func(c *sql.Config) { c.Keys = map[string][]string{"a": {"b"}} }, connectors.CodeValidationFailed, "its own key"},
		"key field":   {func(c *sql.Config) { c.Keys = map[string][]string{"c": {"y"}} }, connectors.CodeValidationFailed, "y of c"},
		"reference":   {func(c *sql.Config) { c.References = []sql.Reference{{From: "c", Fields: []string{"x"}, To: "a"}} }, connectors.CodeValidationFailed, "as many fields"},
		"reference to": {func(c *sql.Config) {
			c.References = []sql.Reference{{From: "c", Fields: []string{"x"}, To: "z", On: []string{"id"}}}
		}, connectors.CodeValidationFailed, "z"},
		"version": {func(c *sql.Config) { c.Version = map[string]string{"c": "y"} }, connectors.CodeValidationFailed, "y of c"},
		"unknown": {func(c *sql.Config) { c.Outcome = map[string]string{"z": "transactional"} }, connectors.CodeValidationFailed, "z"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := base
			c.change(&cfg)
			e, err := sql.Open(cfg, nil)
			if err == nil {
				defer e.Close()
				_, err = e.Describe(t.Context())
			}
			if connectors.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestPatterns: include and exclude, bare and with a schema.
func TestPatterns(t *testing.T) {
	url := database(t, sql.Postgres, "create table orders (id int primary key)", "create table orders_bak (id int primary key)",
		"create schema sales", "create table sales.deals (id int primary key, order_id int references orders)", "create table sales.orders (id int primary key)")
	for want, cfg := range map[string]sql.Config{
		"orders orders_bak sales.deals sales.orders": {},
		"orders orders_bak":                          {Include: []string{"public.*"}},
		"orders sales.orders":                        {Include: []string{"orders", "*.orders"}},
		"orders":                                     {Include: []string{"ord*"}, Exclude: []string{"*_bak"}},
		"sales.deals sales.orders":                   {Exclude: []string{"public.*"}},
		"":                                           {Include: []string{"ord?rs"}},
	} {
		cfg.Dialect, cfg.URL = sql.Postgres, url
		_, schema := open(t, cfg)
		var got []string
		for _, c := range schema.Collections {
			got = append(got, c.Name)
			if c.Name == "sales.deals" && (len(c.References) == 1) != strings.Contains(want, "orders_bak") {
				t.Errorf("%v: references %v", cfg.Exclude, c.References)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("include %q exclude %q: %q, not %q", cfg.Include, cfg.Exclude, got, want)
		}
	}
}

// TestWrongPinned: a lock that no introspection wrote is refused, not compiled.
func TestWrongPinned(t *testing.T) {
	field := func(native string) *connectors.Schema {
		return &connectors.Schema{Connector: sql.Postgres, Collections: []*connectors.Collection{{Name: "a",
			Fields: []*connectors.Field{{Name: "id", Type: connectors.TypeRef{Scalar: connectors.ScalarString, Native: native}}}}}}
	}
	for name, s := range map[string]*connectors.Schema{
		"type": field(`int4); drop table a; --"`), "three parts": field("a.b.c"), "no type": field(""),
		"other system": {Connector: "openapi"},
		"name":         {Connector: sql.Postgres, Collections: []*connectors.Collection{{Name: `a"b`}}},
		"version":      {Connector: sql.Postgres, Collections: []*connectors.Collection{{Name: "a", VersionField: "b"}}},
	} {
		if e, err := sql.Open(sql.Config{Dialect: sql.Postgres, URL: "postgres://127.0.0.1:1/x"}, s); connectors.CodeOf(err) != connectors.CodeValidationFailed {
			t.Errorf("%s: %v", name, err)
			if e != nil {
				e.Close()
			}
		}
	}
	if m := connectortest.FullSchema(); m.Connector == sql.Postgres {
		t.Error("the memory connector calls itself postgres")
	}
}
