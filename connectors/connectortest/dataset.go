package connectortest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// The collections of the conformance suite. A connector under test must hold
// them under these names, with these fields; a scalar may be another that holds
// the same values (SafeInt for Int and BigInt).
//
//	artists    name is unique, country and rating can be null
//	albums     the key is made by the system; (artist_id, title) is unique
//	tracks     the key is (album_id, position); size is beyond 2⁵³
//	customers  referrer_id refers to customers; email is unique and nullable
const (
	Artists   = "artists"
	Albums    = "albums"
	Tracks    = "tracks"
	Customers = "customers"
)

// SuiteCollections is the shape of the conformance suite's data, without
// capabilities; pass it through [FullSchema] for a Memory. The result is new on
// each call.
func SuiteCollections() []*connectors.Collection {
	scalar := func(name string, s connectors.Scalar) *connectors.Field {
		return &connectors.Field{Name: name, Type: connectors.TypeRef{Scalar: s}}
	}
	null := func(f *connectors.Field) *connectors.Field { f.Nullable = true; return f }
	text := func(name string, n int) *connectors.Field {
		f := scalar(name, connectors.ScalarString)
		f.Type.MaxLength = n
		return f
	}
	decimal := func(name string, precision, scale int) *connectors.Field {
		f := scalar(name, connectors.ScalarDecimal)
		f.Type.Precision, f.Type.Scale, f.Type.HasScale = precision, scale, true
		return f
	}
	constant := func(f *connectors.Field, v connectors.Value) *connectors.Field {
		f.Default, f.DefaultValue = true, &v
		return f
	}
	id := scalar("id", connectors.ScalarInt)
	id.Default = true
	return []*connectors.Collection{
		{Name: Albums, Key: []string{"id"}, Fields: []*connectors.Field{
			id, scalar("artist_id", connectors.ScalarInt), text("title", 120), null(scalar("released", connectors.ScalarDate)),
			null(decimal("price", 10, 2)), constant(scalar("plays", connectors.ScalarBigInt), connectors.Int(0)),
		}, Uniques: []connectors.UniqueKey{{Name: "albums_artist_title", Fields: []string{"artist_id", "title"}}},
			References: []connectors.Reference{{Name: "albums_artist", Fields: []string{"artist_id"}, To: Artists, On: []string{"id"}}}},
		{Name: Artists, Key: []string{"id"}, Fields: []*connectors.Field{
			scalar("id", connectors.ScalarInt), text("name", 120), null(text("country", 2)), null(scalar("rating", connectors.ScalarFloat)),
			constant(scalar("active", connectors.ScalarBoolean), connectors.True),
		}, Uniques: []connectors.UniqueKey{{Name: "artists_name", Fields: []string{"name"}}}},
		{Name: Customers, Key: []string{"id"}, Fields: []*connectors.Field{
			scalar("id", connectors.ScalarInt), null(text("email", 120)), decimal("balance", 12, 2), null(scalar("vip", connectors.ScalarBoolean)),
			scalar("created", connectors.ScalarDateTime), null(scalar("seen", connectors.ScalarLocalDateTime)),
			null(scalar("referrer_id", connectors.ScalarInt)), null(scalar("note", connectors.ScalarString)),
		}, Uniques: []connectors.UniqueKey{{Name: "customers_email", Fields: []string{"email"}}},
			References: []connectors.Reference{{Name: "customers_referrer", Fields: []string{"referrer_id"}, To: Customers, On: []string{"id"}}}},
		{Name: Tracks, Key: []string{"album_id", "position"}, Fields: []*connectors.Field{
			scalar("album_id", connectors.ScalarInt), scalar("position", connectors.ScalarInt), text("title", 120),
			null(scalar("milliseconds", connectors.ScalarInt)), scalar("size", connectors.ScalarBigInt), null(scalar("gain", connectors.ScalarFloat)),
		}, References: []connectors.Reference{{Name: "tracks_album", Fields: []string{"album_id"}, To: Albums, On: []string{"id"}}}},
	}
}

// SuiteData is the records of the conformance suite, the same on each call. The
// first artist has two thirds of the albums; some parents have no children.
func SuiteData() map[string][]connectors.Record {
	g := &dataGenerator{r: rand.New(rand.NewPCG(7, 11))}
	data := map[string][]connectors.Record{}
	for i := 1; i <= 14; i++ {
		data[Artists] = append(data[Artists], record(
			"id", connectors.Int(int64(i)), "name", connectors.String(fmt.Sprintf("%s %d", g.words(), i)),
			"country", g.maybe(connectors.String(g.pick("de", "fr", "se", "ng"))),
			"rating", g.maybe(connectors.Float(float64(g.r.IntN(40))/8)), "active", connectors.Bool(i%3 != 0)))
	}
	for i := 1; i <= 150; i++ {
		artist := int64(1)
		if i > 100 {
			artist = int64(2 + g.r.IntN(9))
		}
		data[Albums] = append(data[Albums], record(
			"id", connectors.Int(int64(i)), "artist_id", connectors.Int(artist), "title", connectors.String(fmt.Sprintf("%s #%d", g.words(), i)),
			"released", g.maybe(connectors.String(fmt.Sprintf("%d-%02d-%02d", 1969+g.r.IntN(50), 1+g.r.IntN(12), 1+g.r.IntN(28)))),
			"price", g.maybe(connectors.Decimal(fmt.Sprintf("%d.%02d", g.r.IntN(40), g.r.IntN(4)*25))),
			"plays", connectors.Int(g.r.Int64N(1<<40))))
	}
	for i := range 260 {
		data[Tracks] = append(data[Tracks], record(
			"album_id", connectors.Int(int64(1+i/4)), "position", connectors.Int(int64(1+i%4)), "title", connectors.String(g.words()),
			"milliseconds", g.maybe(connectors.Int(int64(g.r.IntN(5))*100_000)), "size", connectors.Int(1<<53+g.r.Int64N(6)),
			"gain", g.maybe(connectors.Float(g.r.Float64()*20-10))))
	}
	for i := 1; i <= 60; i++ {
		referrer := connectors.Null
		if i > 5 {
			referrer = g.maybe(connectors.Int(int64(1 + g.r.IntN(i-1))))
		}
		data[Customers] = append(data[Customers], record(
			"id", connectors.Int(int64(i)), "email", g.maybe(connectors.String(fmt.Sprintf("c%d@example.org", i))),
			"balance", connectors.Decimal(fmt.Sprintf("%d.%02d", g.r.IntN(2000)-1000, g.r.IntN(100))),
			"vip", g.maybe(connectors.Bool(g.r.IntN(2) == 0)),
			"created", connectors.String(fmt.Sprintf("2026-%02d-%02dT%02d:00:00%s", 1+g.r.IntN(12), 1+g.r.IntN(28), g.r.IntN(24), g.pick("Z", ".5Z", ".123456Z"))),
			"seen", g.maybe(connectors.String(fmt.Sprintf("2026-03-%02dT02:30:00", 1+g.r.IntN(28)))),
			"referrer_id", referrer, "note", g.maybe(connectors.String(g.words()))))
	}
	return data
}

// record makes a record of names and values in turn.
func record(pairs ...any) connectors.Record {
	var r connectors.Record
	for i := 0; i < len(pairs); i += 2 {
		r.Fields = append(r.Fields, connectors.Assign{Field: pairs[i].(string), Value: pairs[i+1].(connectors.Value)})
	}
	return r
}

type dataGenerator struct{ r *rand.Rand }

func (g *dataGenerator) pick(from ...string) string { return from[g.r.IntN(len(from))] }

func (g *dataGenerator) maybe(v connectors.Value) connectors.Value {
	if g.r.IntN(4) == 0 {
		return connectors.Null
	}
	return v
}

// words makes text that is hard on quoting, patterns and encodings.
func (g *dataGenerator) words() string {
	parts := make([]string, 1+g.r.IntN(3))
	for i := range parts {
		parts[i] = g.pick("Blue", "blue", "Night", "O'Neill", `"quoted"`, "100%", "a_b", `back\slash`, "Ärger", "日本", "🎷", "line\nbreak", "zz")
	}
	return strings.Join(parts, " ")
}

// SuiteSQL is the statements that make and fill the collections of the suite in
// a SQL system: "postgres" or "sqlite".
func SuiteSQL(dialect string) []string {
	ddl := suitePostgres
	if dialect == "sqlite" {
		ddl = suiteSQLite
	}
	out := slices.Clone(ddl)
	data := SuiteData()
	// Parents before children; a referrer has a smaller id.
	for _, name := range []string{Artists, Albums, Tracks, Customers} {
		for _, rec := range data[name] {
			out = append(out, insertSQL(name, rec))
		}
	}
	if dialect != "sqlite" {
		out = append(out, `SELECT setval(pg_get_serial_sequence('albums', 'id'), 150)`)
	}
	return out
}

func insertSQL(table string, rec connectors.Record) string {
	var names, values []string
	for _, a := range rec.Fields {
		names = append(names, a.Field)
		values = append(values, literalSQL(a.Value))
	}
	return "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(values, ", ") + ")"
}

// literalSQL writes a value of the suite's own data; both systems read these
// literals alike.
func literalSQL(v connectors.Value) string {
	switch v.Kind {
	case connectors.KindNull:
		return "NULL"
	case connectors.KindInt, connectors.KindFloat, connectors.KindDecimal, connectors.KindBool:
		return v.Text
	}
	return "'" + strings.ReplaceAll(v.Text, "'", "''") + "'"
}

var suitePostgres = []string{
	`CREATE TABLE artists (id integer PRIMARY KEY, name varchar(120) NOT NULL, country varchar(2), rating double precision,
		active boolean NOT NULL DEFAULT true, CONSTRAINT artists_name UNIQUE (name))`,
	`CREATE TABLE albums (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, artist_id integer NOT NULL REFERENCES artists (id),
		title varchar(120) NOT NULL, released date, price numeric(10,2), plays bigint NOT NULL DEFAULT 0,
		CONSTRAINT albums_artist_title UNIQUE (artist_id, title))`,
	`CREATE TABLE tracks (album_id integer NOT NULL REFERENCES albums (id), position integer NOT NULL, title varchar(120) NOT NULL,
		milliseconds integer, size bigint NOT NULL, gain double precision, PRIMARY KEY (album_id, position))`,
	`CREATE TABLE customers (id integer PRIMARY KEY, email varchar(120), balance numeric(12,2) NOT NULL, vip boolean,
		created timestamptz NOT NULL, seen timestamp, referrer_id integer REFERENCES customers (id), note text,
		CONSTRAINT customers_email UNIQUE (email))`,
}

var suiteSQLite = []string{
	`CREATE TABLE artists (id INTEGER PRIMARY KEY, name VARCHAR(120) NOT NULL, country VARCHAR(2), rating DOUBLE,
		active BOOLEAN NOT NULL DEFAULT TRUE, CONSTRAINT artists_name UNIQUE (name))`,
	`CREATE TABLE albums (id INTEGER PRIMARY KEY, artist_id INTEGER NOT NULL REFERENCES artists (id),
		title VARCHAR(120) NOT NULL, released DATE, price DECIMAL(10,2), plays BIGINT NOT NULL DEFAULT 0,
		CONSTRAINT albums_artist_title UNIQUE (artist_id, title))`,
	`CREATE TABLE tracks (album_id INTEGER NOT NULL REFERENCES albums (id), position INTEGER NOT NULL, title VARCHAR(120) NOT NULL,
		milliseconds INTEGER, size BIGINT NOT NULL, gain DOUBLE, PRIMARY KEY (album_id, position))`,
	`CREATE TABLE customers (id INTEGER PRIMARY KEY, email VARCHAR(120), balance DECIMAL(12,2) NOT NULL, vip BOOLEAN,
		created TIMESTAMPTZ NOT NULL, seen TIMESTAMP, referrer_id INTEGER REFERENCES customers (id), note TEXT,
		CONSTRAINT customers_email UNIQUE (email))`,
}
