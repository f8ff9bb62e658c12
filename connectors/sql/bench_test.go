package sql_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

// benchSQL makes music of 300 artists, 3,000 albums and 34,500 tracks, and 5,000
// customers.
var benchSQL = []string{
	`create table artist (artist_id int primary key, name text not null, country text not null)`,
	`create table album (album_id int primary key, artist_id int not null references artist, title text not null, release_year int not null)`,
	`create table track (track_id int primary key, album_id int not null references album, name text not null, milliseconds int not null)`,
	`create table customer (customer_id int primary key, first_name text not null, last_name text not null, email text not null, city text not null, country text not null)`,
	`insert into artist select i, 'Artist ' || i, 'DE' from generate_series(1, 300) i`,
	`insert into album select i, 1 + (i - 1) / 10, 'Album ' || i, 1960 + i % 60 from generate_series(1, 3000) i`,
	`insert into track select row_number() over (order by a, t), a, 'Track ' || md5(a || '-' || t), 90000 + a * t % 300000
		from generate_series(1, 3000) a cross join lateral generate_series(1, 11 + a % 2) t`,
	`insert into customer select i, 'First' || i % 900, 'Last' || i % 4000, 'c' || i || '@example.test', 'City ' || i % 300, 'DE' from generate_series(1, 5000) i`,
	`create index on album (artist_id)`,
	`create index on track (album_id)`,
	`analyze`,
}

func drain(b *testing.B, c connectors.Connector, q *connectors.Query) (rows int) {
	ctx := b.Context()
	r, err := c.Query(ctx, q)
	if err != nil {
		b.Fatalf("%v: %v", err, connectors.AsError(err).Cause)
	}
	for {
		block, err := r.Next(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if block == nil {
			break
		}
		rows += block.Rows()
	}
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
	return rows
}

func benchEngine(b *testing.B) *sql.Engine {
	url := database(b, sql.Postgres, benchSQL...)
	e, _ := open(b, sql.Config{Name: "bench", Dialect: sql.Postgres, URL: url})
	b.ReportAllocs()
	return e
}

// BenchmarkPointRead is one record by key, six columns.
func BenchmarkPointRead(b *testing.B) {
	e := benchEngine(b)
	s := (&connectors.Select{Collection: "customer", Columns: columns("customer_id", "first_name", "last_name", "email", "city", "country"),
		Where: connectors.Compare("customer_id", connectors.OpEq, connectors.Arg(0))}).Seal()
	id := connectors.Int(4711)
	for b.Loop() {
		if n := drain(b, e, &connectors.Query{Select: s, Args: []connectors.Value{id}}); n != 1 {
			b.Fatal(n)
		}
	}
}

// BenchmarkPointReadSnapshot is the same in a snapshot of its own.
func BenchmarkPointReadSnapshot(b *testing.B) {
	e := benchEngine(b)
	s := (&connectors.Select{Collection: "customer", Columns: columns("customer_id", "first_name", "last_name", "email", "city", "country"),
		Where: connectors.Compare("customer_id", connectors.OpEq, connectors.Arg(0))}).Seal()
	id := connectors.Int(4711)
	for b.Loop() {
		snap := &connectors.Snapshot{}
		if n := drain(b, e, &connectors.Query{Select: s, Args: []connectors.Value{id}, Snapshot: snap}); n != 1 {
			b.Fatal(n)
		}
		snap.End()
	}
}

// BenchmarkList is a page of 50.
func BenchmarkList(b *testing.B) {
	e := benchEngine(b)
	s := (&connectors.Select{Collection: "customer", Columns: columns("customer_id", "first_name", "last_name", "email", "city", "country"),
		Where: connectors.Compare("customer_id", connectors.OpGt, connectors.Arg(0)), Order: []connectors.OrderTerm{{Field: "customer_id"}},
		Page: &connectors.Page{Limit: connectors.Arg(1)}}).Seal()
	for b.Loop() {
		if n := drain(b, e, &connectors.Query{Select: s, Args: []connectors.Value{connectors.Int(100), connectors.Int(50)}}); n != 50 {
			b.Fatal(n)
		}
	}
}

// BenchmarkChildren is all 1,150 tracks of 100 albums, and a page of three of
// each.
func BenchmarkChildren(b *testing.B) {
	e := benchEngine(b)
	var entries [][]connectors.Value
	for i := range 100 {
		entries = append(entries, []connectors.Value{connectors.Int(int64(1000 + i))})
	}
	all := &connectors.Select{Collection: "track", Columns: columns("album_id", "track_id", "name", "milliseconds"),
		Order: []connectors.OrderTerm{{Field: "track_id"}}, Bind: []string{"album_id"}}
	paged := *all
	paged.Page = &connectors.Page{Limit: connectors.Arg(0)}
	for name, s := range map[string]*connectors.Select{"all": all.Seal(), "paged": paged.Seal()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				drain(b, e, &connectors.Query{Select: s, Args: []connectors.Value{connectors.Int(3)}, Bind: entries})
			}
		})
	}
}

// BenchmarkCompile is what a plan costs that is not cached.
func BenchmarkCompile(b *testing.B) {
	e := benchEngine(b)
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nothing is sent
	var w []*connectors.Condition
	for i := range 5 {
		w = append(w, connectors.Compare("city", connectors.OpEq, connectors.Const(connectors.String(fmt.Sprint(i)))))
	}
	s := &connectors.Select{Collection: "customer", Columns: columns("customer_id", "first_name"), Where: connectors.Or(w...)}
	for b.Loop() {
		if _, err := e.Query(ctx, &connectors.Query{Select: s}); err == nil {
			b.Fatal("a cancelled query answered")
		}
	}
}

// BenchmarkSQLite is one record by key, a page in the order of a timestamp out
// of 50,000, and three children of each of 50 parents.
func BenchmarkSQLite(b *testing.B) {
	url := database(b, sql.SQLite,
		"create table customer (id integer primary key, name varchar(80) not null, city varchar(40) not null)",
		"create table purchase (id integer primary key, customer_id integer not null references customer, total decimal(10,2) not null, made datetime not null)",
		"with recursive s(i) as (select 1 union all select i + 1 from s where i < 2000) insert into customer select i, 'Name ' || i, 'City ' || (i % 100) from s",
		"with recursive s(i) as (select 1 union all select i + 1 from s where i < 50000) insert into purchase select i, 1 + i % 2000, (i % 9000) / 100.0, datetime(1700000000 + i * 977, 'unixepoch') from s",
		"create index purchase_customer on purchase (customer_id)", "create index purchase_made on purchase (made)")
	e, _ := open(b, sql.Config{Name: "bench", Dialect: sql.SQLite, URL: url})
	var entries [][]connectors.Value
	for i := range 50 {
		entries = append(entries, []connectors.Value{connectors.Int(int64(1 + i*7))})
	}
	fields := columns("id", "customer_id", "total", "made")
	for _, c := range []struct {
		name string
		q    connectors.Query
	}{
		{"point", connectors.Query{Select: &connectors.Select{Collection: "customer", Columns: columns("id", "name", "city"), Where: connectors.Compare("id", connectors.OpEq, connectors.Arg(0))},
			Args: []connectors.Value{connectors.Int(77)}}},
		{"by time", connectors.Query{Select: &connectors.Select{Collection: "purchase", Columns: fields,
			Order: []connectors.OrderTerm{{Field: "made", Desc: true}, {Field: "id"}}, Page: &connectors.Page{Limit: connectors.Const(connectors.Int(30))}}}},
		{"children", connectors.Query{Bind: entries, Select: &connectors.Select{Collection: "purchase", Columns: fields, Bind: []string{"customer_id"},
			Order: []connectors.OrderTerm{{Field: "id"}}, Page: &connectors.Page{Limit: connectors.Const(connectors.Int(3))}}}},
	} {
		c.q.Select.Seal()
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				drain(b, e, &c.q)
			}
		})
	}
}
