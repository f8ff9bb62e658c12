package main

import (
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/countersign/countersign/connectors/connectortest"
)

// A foreign is a system of record that somebody else made: these tests look
// into it behind the gateway's back.
type foreign struct {
	kind string // postgres or sqlite
	url  string // as in countersign.yaml
	db   *sql.DB
}

// newForeign makes an empty database of a kind.
func newForeign(t testing.TB, kind string) *foreign {
	t.Helper()
	if kind == "postgres" {
		return openForeign(t, kind, connectortest.Postgres(t))
	}
	return openForeign(t, kind, filepath.Join(t.TempDir(), "records.db"))
}

func openForeign(t testing.TB, kind, address string) *foreign {
	t.Helper()
	driver, dsn := "pgx", address
	if kind == "sqlite" {
		driver, dsn = "sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: address}).EscapedPath(), RawQuery: "_pragma=busy_timeout(10000)"}).String()
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &foreign{kind: kind, url: address, db: db}
}

// exec runs statements, one after the other.
func (f *foreign) exec(t testing.TB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := f.db.Exec(s); err != nil {
			t.Fatalf("%v in %.200s", err, s)
		}
	}
}

// value is the first column of the first row, as text.
func (f *foreign) value(t testing.TB, query string) string {
	t.Helper()
	rows := f.rows(t, query)
	if len(rows) == 0 {
		return ""
	}
	return rows[0]
}

// rows are all rows, their columns joined.
func (f *foreign) rows(t testing.TB, query string) []string {
	t.Helper()
	rows, err := f.db.Query(query)
	if err != nil {
		t.Fatalf("%v in %s", err, query)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		cells := make([]any, len(columns))
		for i := range cells {
			cells[i] = new(any)
		}
		if err := rows.Scan(cells...); err != nil {
			t.Fatal(err)
		}
		var line []string
		for _, c := range cells {
			v := *c.(*any)
			if b, ok := v.([]byte); ok {
				v = string(b)
			}
			line = append(line, fmt.Sprint(v))
		}
		out = append(out, strings.Join(line, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// everything lists what stands in the catalog of the system: tables, indexes,
// functions, triggers, roles' settings, slots.
func (f *foreign) everything(t testing.TB) string {
	t.Helper()
	queries := []string{`select type, name, tbl_name, sql from sqlite_master order by 1, 2`, `pragma user_version`, `pragma application_id`, `pragma journal_mode`}
	if f.kind == "postgres" {
		queries = []string{
			`select n.nspname, c.relname, c.relkind::text, c.relhastriggers from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_(toast|temp)' order by 1, 2`,
			`select nspname, nspacl::text from pg_namespace where nspname !~ '^pg_(toast|temp)' order by 1`, `select proname, pronamespace::text from pg_proc order by oid`,
			`select tgname from pg_trigger order by oid`, `select extname from pg_extension order by 1`, `select pubname from pg_publication order by 1`,
			`select slot_name from pg_replication_slots where database = current_database() order by 1`, `select typname from pg_type order by oid`,
			`select objoid::text, description from pg_description where objsubid = 0 and classoid = 'pg_class'::regclass order by 1, 2`}
	}
	var out []string
	for _, q := range queries {
		out = append(out, f.rows(t, q)...)
	}
	return strings.Join(out, "\n")
}

// chinook fills a music shop with a few hundred records.
func chinook(t testing.TB, f *foreign) {
	t.Helper()
	schema, err := os.ReadFile(filepath.Join("testdata", "chinook", f.kind+".sql"))
	if err != nil {
		t.Fatal(err)
	}
	f.exec(t, strings.Split(strings.TrimSpace(string(schema)), ";\n")...)
	insert := func(table, columns string, n int, row func(i int) []any) {
		names := strings.Fields(columns)
		for i := range names {
			names[i] = f.style(names[i])
		}
		var values []string
		for i := 1; i <= n; i++ {
			var cells []string
			for _, c := range row(i) {
				switch c := c.(type) {
				case nil:
					cells = append(cells, "NULL")
				case string:
					cells = append(cells, "'"+strings.ReplaceAll(c, "'", "''")+"'")
				default:
					cells = append(cells, fmt.Sprint(c))
				}
			}
			values = append(values, "("+strings.Join(cells, ",")+")")
		}
		f.exec(t, `INSERT INTO `+f.style(table)+` (`+strings.Join(names, ", ")+`) VALUES `+strings.Join(values, ",\n"))
	}
	price := func(i int) string { return []string{"0.99", "1.99"}[i%2] }
	insert("artist", "artist_id name", 20, func(i int) []any { return []any{i, fmt.Sprintf("Artist %d & Söhne", i)} })
	insert("album", "album_id title artist_id", 40, func(i int) []any { return []any{i, fmt.Sprintf("Album %d", i), 1 + i%20} })
	insert("genre", "genre_id name", 5, func(i int) []any { return []any{i, []string{"", "Rock", "Jazz", "Blues", "Latin", "Opera"}[i]} })
	insert("media_type", "media_type_id name", 2, func(i int) []any { return []any{i, fmt.Sprintf("Format %d", i)} })
	insert("track", "track_id name album_id media_type_id genre_id composer milliseconds bytes unit_price", 200, func(i int) []any {
		var composer any
		if i%3 != 0 {
			composer = fmt.Sprintf("O'Composer %d", i%7)
		}
		return []any{i, fmt.Sprintf("Track %d", i), 1 + i%40, 1 + i%2, 1 + i%5, composer, 100000 + i*1013, 4000000 + i, price(i)}
	})
	insert("playlist", "playlist_id name", 4, func(i int) []any { return []any{i, fmt.Sprintf("Playlist %d", i)} })
	insert("playlist_track", "playlist_id track_id", 120, func(i int) []any { return []any{1 + i%4, i} })
	insert("employee", "employee_id last_name first_name title reports_to hire_date city email", 8, func(i int) []any {
		var boss any
		if i > 1 {
			boss = i / 2
		}
		return []any{i, fmt.Sprintf("Last%d", i), fmt.Sprintf("First%d", i), "Sales", boss, fmt.Sprintf("2020-01-%02d 00:00:00", i), "Calgary", fmt.Sprintf("e%d@shop.example", i)}
	})
	insert("customer", "customer_id first_name last_name company city country email support_rep_id", 30, func(i int) []any {
		return []any{i, fmt.Sprintf("Ana%d", i), fmt.Sprintf("Silva%d", i), nil, "Prague", "Czechia", fmt.Sprintf("c%d@example.org", i), 3 + i%3}
	})
	insert("invoice", "invoice_id customer_id invoice_date billing_city total", 60, func(i int) []any {
		return []any{i, 1 + i%30, fmt.Sprintf("2025-%02d-%02d 00:00:00", 1+i%12, 1+i%28), "Prague", fmt.Sprintf("%d.98", i%9)}
	})
	insert("invoice_line", "invoice_line_id invoice_id track_id unit_price quantity", 150, func(i int) []any { return []any{i, 1 + i%60, i, price(i), 1} })
}

// style is a snake_case name as the system writes it.
func (f *foreign) style(name string) string {
	if f.kind == "postgres" {
		return name
	}
	var b strings.Builder
	for _, word := range strings.Split(name, "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
