package sql_test

import (
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/sql"
)

// TestValuesPostgres writes values of every type as literals and expects their
// cells. Each is also found again by the value that its cell is read as: what
// goes out comes in.
func TestValuesPostgres(t *testing.T) {
	cases := []struct{ typ, literal, cell string }{
		{"int2", "-32768", "-32768"}, {"int4", "2147483647", "2147483647"}, {"int8", "-9223372036854775808", `"-9223372036854775808"`},
		{"oid", "4294967295", `"4294967295"`},
		{"numeric", "0", `"0"`}, {"numeric", "0.00", `"0.00"`}, {"numeric", "-0.000120", `"-0.000120"`}, {"numeric", "10000", `"10000"`},
		{"numeric", "123456789012345678901234567890.0001", `"123456789012345678901234567890.0001"`}, {"numeric(10,2)", "-7.5", `"-7.50"`},
		{"numeric", "1e30", `"1000000000000000000000000000000"`}, {"numeric", "'NaN'", "null"}, {"numeric", "'-infinity'", "null"},
		{"numeric(3,-2)", "12345", `"12300"`},
		{"money", "1234.5", `"1234.50"`},
		{"float4", "0.1", "0.1"}, {"float8", "0.1", "0.1"}, {"float8", "1e300", "1e+300"}, {"float8", "-1e-9", "-1e-09"}, {"float8", "'NaN'", "null"}, {"float8", "'Infinity'", "null"},
		{"bool", "true", "true"}, {"bool", "false", "false"},
		{"text", `'quote " back \ tab	'`, `"quote \" back \\ tab\t"`}, {"text", "E'line\\n\\x01 \\u2028 \U0001F3B7 ä'", `"line\n\u0001 \u2028 🎷 ä"`}, {"text", "''", `""`},
		{"varchar(5)", "'abc'", `"abc"`}, {"char(5)", "'abc'", `"abc  "`}, {"citext", "'MiXed'", `"MiXed"`}, {"name", "'n'", `"n"`},
		{"mood", "'so \"so\"'", `"so \"so\""`},
		{"timestamptz", "'2026-03-29 03:30:00.120+02'", `"2026-03-29T01:30:00.12Z"`}, {"timestamptz", "'0001-01-01 00:00:00Z'", `"0001-01-01T00:00:00Z"`},
		{"timestamptz", "'9999-12-31 23:59:59.999999Z'", `"9999-12-31T23:59:59.999999Z"`}, {"timestamptz", "'infinity'", "null"}, {"timestamptz", "'0044-03-15 BC'", "null"},
		{"timestamptz", "'1969-12-31 23:59:59.5Z'", `"1969-12-31T23:59:59.5Z"`},
		{"timestamp", "'2026-03-29 02:30:00'", `"2026-03-29T02:30:00"`}, {"timestamp", "'-infinity'", "null"}, {"timestamp", "'10000-01-01'", "null"},
		{"date", "'2024-02-29'", `"2024-02-29"`}, {"date", "'1900-03-01'", `"1900-03-01"`}, {"date", "'0001-01-01'", `"0001-01-01"`}, {"date", "'infinity'", "null"},
		{"time", "'23:59:59.000001'", `"23:59:59.000001"`}, {"time", "'24:00'", `"24:00:00"`}, {"timetz", "'12:00+02'", `"12:00:00+02"`},
		{"interval", "'1 year -2 months 3 days 04:05:06.7'", `"P10M3DT4H5M6.7S"`}, {"interval", "'0'", `"PT0S"`}, {"interval", "'-0.5 seconds'", `"PT-0.5S"`},
		{"interval", "'-1 day +01:00'", `"P-1DT1H"`},
		{"uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`},
		{"bytea", `'\x00ff10'`, `"AP8Q"`}, {"bytea", `''`, `""`},
		{"jsonb", `'{"b": [1, null], "a": "x"}'`, `{"a": "x", "b": [1, null]}`}, {"jsonb", "'null'", "null"},
		{"json", "'{\"b\":\n 1.50}'", `{"b":1.50}`}, {"json", `'[1, 2]'`, `[1, 2]`},
		{"inet", "'10.0.0.1/8'", `"10.0.0.1/8"`}, {"point", "'(1,2)'", `"(1,2)"`}, {"bit(3)", "B'101'", `"101"`}, {"int4range", "'[1,5)'", `"[1,5)"`},
		{"int4[]", "'{1,NULL,-3}'", "[1,null,-3]"}, {"int4[]", "'{}'", "[]"}, {"text[]", `'{"a,b","c\"d",NULL,""}'`, `["a,b","c\"d",null,""]`},
		{"mood[]", "'{sad,happy}'", `["sad","happy"]`}, {"numeric[]", "'{1.50}'", `["1.50"]`}, {"int4[]", "'{{1,2},{3,4}}'", "null"}, {"inet[]", "'{10.0.0.1}'", `["10.0.0.1/32"]`},
		{"timestamptz[]", "'{infinity}'", "null"}, {"date[]", "'{2026-01-01}'", `["2026-01-01"]`}, {"positive", "5", "5"},
	}
	ddl := []string{"create extension citext", `create type mood as enum ('sad', 'so "so"', 'happy')`, "create domain positive as int check (value > 0)"}
	for i, c := range cases {
		name := "t" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		ddl = append(ddl, "create table "+name+" (v "+c.typ+", absent "+c.typ+")", "insert into "+name+" values ("+c.literal+", null)")
	}
	e, schema := open(t, sql.Config{Name: "values", Dialect: sql.Postgres, URL: database(t, sql.Postgres, ddl...)})
	nulls := uint64(0)
	for i, c := range cases {
		table := "t" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		got := ask(t, e, &connectors.Query{Select: &connectors.Select{Collection: table, Columns: columns("v", "absent")}})
		if len(got) != 1 || got[0] != c.cell+" null" {
			t.Errorf("%s %s: cells %q, not %q", c.typ, c.literal, got, c.cell)
			continue
		}
		if c.cell == "null" {
			if c.typ != "jsonb" {
				nulls++
			}
			continue
		}
		f := schema.Collection(table).Field("v")
		if !f.Type.List && f.Type.Scalar != connectors.ScalarJSON {
			roundTrip(t, e, table, f, c.cell)
		}
	}
	if e.Unreadable() != nulls {
		t.Errorf("%d cells were counted as unreadable, not %d", e.Unreadable(), nulls)
	}
}

// roundTrip finds a record by the value of its cell: by equality, by a list, and
// by a join.
func roundTrip(t *testing.T, e *sql.Engine, table string, f *connectors.Field, cell string) {
	t.Helper()
	v, err := connectors.ParseCell([]byte(cell), f.Type.Leaf())
	if err != nil {
		t.Errorf("%s: %v", cell, err)
		return
	}
	for name, q := range map[string]*connectors.Query{
		"eq":   {Select: &connectors.Select{Where: connectors.Compare(f.Name, connectors.OpEq, connectors.Arg(0))}, Args: []connectors.Value{v}},
		"in":   {Select: &connectors.Select{Where: connectors.Compare(f.Name, connectors.OpIn, connectors.Const(connectors.ListOf(connectors.Null, v)))}},
		"bind": {Select: &connectors.Select{Bind: []string{f.Name}}, Bind: [][]connectors.Value{{v}}},
		"page": {Select: &connectors.Select{Bind: []string{f.Name}, Page: &connectors.Page{Limit: connectors.Const(connectors.Int(1))}}, Bind: [][]connectors.Value{{v}}},
	} {
		q.Select.Collection, q.Select.Columns = table, columns(f.Name)
		if rows, err := try(t, e, q); err != nil || len(rows) != 1 {
			t.Errorf("%s %s: found by %s: %q, %v", f.Type.Native, cell, name, rows, err)
		}
	}
}

// TestValuesSQLite does the same where a column may hold anything.
func TestValuesSQLite(t *testing.T) {
	cases := []struct{ typ, literal, cell string }{
		{"integer", "9007199254740991", "9007199254740991"}, {"integer", "9007199254740992", "null"}, {"integer", "'text'", "null"}, {"integer", "1.5", "null"},
		{"bigint", "9007199254740993", `"9007199254740993"`}, {"bigint", "-9223372036854775808", `"-9223372036854775808"`},
		{"decimal(10,2)", "10.5", `"10.5"`}, {"decimal(10,2)", "10", `"10"`}, {"decimal", "0.1", `"0.1"`}, {"decimal", "'many'", "null"}, {"decimal", "9e999", "null"},
		{"real", "1", "1"}, {"real", "0.1", "0.1"}, {"real", "9e999", "null"},
		{"boolean", "1", "true"}, {"boolean", "0", "false"}, {"boolean", "2", "null"},
		{"text", `'quote " back \'`, `"quote \" back \\"`}, {"text", "'ä 🎷'", `"ä 🎷"`}, {"varchar(3)", "'longer'", `"longer"`}, {"text", "''", `""`}, {"text", "x'01'", "null"},
		{"text", "cast(x'61ff62' as text)", "\"a\ufffdb\""},
		{"datetime", "'2026-03-29 02:30:00'", `"2026-03-29T02:30:00"`}, {"datetime", "'2026-03-29T02:30:00.250Z'", `"2026-03-29T02:30:00.250"`},
		{"datetime", "'2026-03-29 02:30:00+02:00'", "null"}, {"datetime", "1774751400", "null"}, {"datetime", "'0000-00-00 00:00:00'", "null"}, {"timestamp", "'2026-02-30 00:00:00'", "null"},
		{"timestamptz", "'2026-03-29T02:30:00Z'", `"2026-03-29T02:30:00Z"`}, {"timestamptz", "'2026-03-29 02:30:00.5'", `"2026-03-29T02:30:00.5Z"`},
		{"date", "'2024-02-29'", `"2024-02-29"`}, {"date", "'2023-02-29'", "null"}, {"date", "'2024-02-29 12:00:00'", "null"}, {"time", "'23:59:59.5'", `"23:59:59.5"`}, {"time", "'25:00:00'", "null"},
		{"blob", "x'00ff10'", `"AP8Q"`}, {"blob", "'text'", "null"},
		{"json", `'{"a": [1, null]}'`, `{"a":[1,null]}`}, {"json", "'no json'", "null"}, {"json", "5", "5"},
		{"", "'any'", `"any"`}, {"", "5", `"5"`}, {"", "1.5", `"1.5"`},
	}
	var ddl []string
	for i, c := range cases {
		name := "t" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		ddl = append(ddl, "create table "+name+" (v "+c.typ+", absent "+c.typ+")", "insert into "+name+" values ("+c.literal+", null)")
	}
	e, schema := open(t, sql.Config{Name: "values", Dialect: sql.SQLite, URL: database(t, sql.SQLite, ddl...)})
	nulls := uint64(0)
	for i, c := range cases {
		table := "t" + string(rune('a'+i/26)) + string(rune('a'+i%26))
		got := ask(t, e, &connectors.Query{Select: &connectors.Select{Collection: table, Columns: columns("v", "absent")}})
		if len(got) != 1 || got[0] != c.cell+" null" {
			t.Errorf("%s %s: cells %q, not %q", c.typ, c.literal, got, c.cell)
			continue
		}
		if c.cell == "null" {
			nulls++
			continue
		}
		f := schema.Collection(table).Field("v")
		if c.typ != "" && f.Type.Scalar != connectors.ScalarJSON && !strings.Contains(c.cell, "\ufffd") {
			roundTrip(t, e, table, f, c.cell)
		}
	}
	if e.Unreadable() != nulls {
		t.Errorf("%d cells were counted as unreadable, not %d", e.Unreadable(), nulls)
	}
}

// TestSuiteSchema compares what is described with what the suite means, beyond
// what the suite itself asks.
func TestSuiteSchema(t *testing.T) {
	url := database(t, sql.Postgres, connectortest.SuiteSQL(sql.Postgres)...)
	_, schema := open(t, sql.Config{Name: "suite", Dialect: sql.Postgres, URL: url})
	for _, want := range connectortest.SuiteCollections() {
		got := schema.Collection(want.Name)
		for _, f := range want.Fields {
			g := got.Field(f.Name)
			if g.Type.Scalar != f.Type.Scalar || g.Type.MaxLength != f.Type.MaxLength || g.Type.Precision != f.Type.Precision || g.Type.Scale != f.Type.Scale || g.Default != f.Default {
				t.Errorf("%s.%s: %+v, not %+v", want.Name, f.Name, g.Type, f.Type)
			}
			if f.DefaultValue != nil && (g.DefaultValue == nil || !g.DefaultValue.Equal(*f.DefaultValue)) {
				t.Errorf("%s.%s: default %+v, not %+v", want.Name, f.Name, g.DefaultValue, f.DefaultValue)
			}
		}
	}
}
