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
