package sql

import (
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// sqliteDialect is SQLite's SQL.
type sqliteDialect struct{}

func (sqliteDialect) name() string          { return SQLite }
func (sqliteDialect) defaultSchema() string { return "main" }

// liteScalar maps a declared type. SQLite checks declared types only as far as
// their affinity goes, so a column may hold something else; such a cell is
// null and counted.
func liteScalar(declared string) connectors.Scalar {
	d := strings.ToUpper(declared)
	if i := strings.IndexByte(d, '('); i >= 0 {
		d = d[:i]
	}
	d = strings.TrimSpace(d)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(d, w) {
				return true
			}
		}
		return false
	}
	switch {
	case has("BOOL"):
		return connectors.ScalarBoolean
	case d == "DATE":
		return connectors.ScalarDate
	case has("TIMESTAMPTZ", "WITH TIME ZONE"):
		return connectors.ScalarDateTime
	case has("DATETIME", "TIMESTAMP"):
		return connectors.ScalarLocalDateTime
	case d == "TIME":
		return connectors.ScalarTime
	case has("BIGINT", "BIG INT", "INT8"):
		return connectors.ScalarBigInt
	case has("POINT"): // the letters of INT
		return connectors.ScalarString
	case has("INT"):
		return connectors.ScalarSafeInt
	case has("CHAR", "CLOB", "TEXT", "STRING") || d == "" || d == "ANY":
		return connectors.ScalarString
	case has("BLOB", "BINARY"):
		return connectors.ScalarBytes
	case has("REAL", "FLOA", "DOUB"):
		return connectors.ScalarFloat
	case has("JSON"):
		return connectors.ScalarJSON
	case has("UUID", "GUID", "UNIQUEIDENTIFIER"):
		return connectors.ScalarString
	}
	return connectors.ScalarDecimal
}

// Timestamps of SQLite are text, in one of two usual forms. They are compared
// in one form, exactly; they are ordered as they are stored, because only that
// can be served by an index. Where one column holds both forms, records of one
// day come in two groups.

// timestamps brings the two usual forms of a timestamp into one: a blank or a T
// between date and time, with or without a Z.
const timestamps = "rtrim(replace(%s, ' ', 'T'), 'Z')"

func (sqliteDialect) columnType(f *connectors.Field) (sqlType, error) {
	s := f.Type.Leaf()
	t := sqlType{scalar: s, ops: opsFor(s), order: true, group: true}
	if d := strings.ToUpper(f.Type.Native); strings.Contains(d, "DATE") || strings.Contains(d, "TIMESTAMP") {
		// The driver makes a time of columns declared so; of an expression it
		// does not.
		t.read = "+%s"
	}
	switch s {
	case connectors.ScalarLocalDateTime, connectors.ScalarDateTime:
		t.wrap, t.stored = timestamps, true
	case connectors.ScalarJSON:
		t.order, t.group = false, false
	}
	return t, nil
}

func (sqliteDialect) placeholder(n int, _ *param) string { return "?" + strconv.Itoa(n) }

func (sqliteDialect) in(expr, placeholder string, t *sqlType, negate bool) string {
	if negate {
		expr += " not"
	}
	value := "value"
	if t.scalar == connectors.ScalarBytes {
		value = "unhex(value)"
	}
	return expr + " in (select " + value + " from json_each(" + placeholder + "))"
}

// compare bounds a comparison of timestamps by the day, which both forms begin
// with: an index can serve that. ' ' sorts before 'T', and 'U' behind.
func (sqliteDialect) compare(op connectors.Op, alias string, col *column, place string) string {
	if !col.typ.stored {
		return ""
	}
	e, plain := col.expr(alias), col.plain(alias)
	switch op {
	case connectors.OpEq:
		blank := "replace(" + place + ", 'T', ' ')"
		return "(" + plain + " in (" + place + ", " + place + " || 'Z', " + blank + ", " + blank + " || 'Z'))"
	case connectors.OpGt, connectors.OpGte:
		return "(" + plain + " >= substr(" + place + ", 1, 10) and " + e + compareWords[op] + place + ")"
	case connectors.OpLt, connectors.OpLte:
		return "(" + plain + " < substr(" + place + ", 1, 10) || 'U' and " + e + compareWords[op] + place + ")"
	}
	return ""
}

// cursor is a timestamp as it is stored: in the record that the cursor was made
// of, if it is still there, else in the form that another record has it in.
func (sqliteDialect) cursor(t *table, col *column, place string, keys []string) string {
	const other = "x"
	plain := col.plain(other)
	from := " from " + t.sql + " " + other + " where "
	parts := make([]string, 0, 3)
	if len(keys) > 0 {
		where := make([]string, 0, len(keys)+1)
		for i, k := range t.coll.Key {
			where = append(where, t.columns[k].plain(other)+" = "+keys[i])
		}
		where = append(where, col.expr(other)+" = "+place)
		parts = append(parts, "(select "+plain+from+strings.Join(where, " and ")+")")
	}
	parts = append(parts, "(select case when "+plain+" glob '*T*' then "+place+" else replace("+place+", 'T', ' ') end || case when "+
		plain+" glob '*Z' then 'Z' else '' end"+from+plain+" is not null limit 1)", place)
	return "coalesce(" + strings.Join(parts, ", ") + ")"
}

// match uses GLOB where case counts: LIKE ignores it in ASCII.
func (sqliteDialect) match(op connectors.Op, expr, placeholder string) string {
	if op == connectors.OpILike {
		return expr + " like " + placeholder + ` escape '\'`
	}
	return expr + " glob " + placeholder
}

func (sqliteDialect) hasKey(expr, placeholder string) string {
	return "case when json_type(" + expr + ") = 'object' then exists (select 1 from json_each(" + expr + ") where key = " + placeholder + ") else false end"
}

// nullsFirst: nulls are smaller than every value.
func (sqliteDialect) nullsFirst(desc bool) bool { return !desc }

func (sqliteDialect) noLimit() string { return " limit -1" }

func (sqliteDialect) version(string) string { return "null" }

func (sqliteDialect) aggregateType(s connectors.Scalar, of *sqlType) *sqlType {
	if of != nil && of.scalar == s {
		return of
	}
	return &sqlType{scalar: s}
}

func (sqliteDialect) ordinalByKey(*column) bool { return false }

// bind turns the entries, one JSON parameter, into a table.
func (sqliteDialect) bind(b *builder, fields []*column) bindJoin {
	p := param{kind: paramBinds}
	for _, f := range fields {
		p.types = append(p.types, &f.typ)
	}
	j := bindJoin{from: "json_each(" + b.add(p) + ") b", ordinal: "b.key", join: " cross join "}
	for i, f := range fields {
		value := "b.value"
		if len(fields) > 1 {
			value = "json_extract(b.value, '$[" + strconv.Itoa(i) + "]')"
		}
		if f.typ.scalar == connectors.ScalarBytes {
			value = "unhex(" + value + ")"
		}
		j.keys = append(j.keys, value)
	}
	return j
}

// pagePerEntry takes the keys of the page in a correlated subquery, which reads
// only as much of an index as the page needs. Records without a key that is
// never null are numbered instead.
func (sqliteDialect) pagePerEntry(c *compiler, join bindJoin, exprs []string) error {
	fields, err := c.t.all(c.s.Bind)
	if err != nil {
		return err
	}
	outer, err := c.terms(c.t, mainAlias, c.s.Order)
	if err != nil {
		return err
	}
	key, err := c.t.all(c.t.coll.Key)
	if err != nil {
		return err
	}
	usable := len(key) > 0
	for _, k := range key {
		usable = usable && !k.nullable
	}
	if !usable {
		return numberedPages(c, join, exprs, fields, outer)
	}
	const inner = "p"
	terms, err := c.terms(c.t, inner, c.s.Order)
	if err != nil {
		return err
	}
	where, err := c.where(inner, terms, joinOn(join, fields, inner))
	if err != nil {
		return err
	}
	var mine, theirs []string
	for _, k := range key {
		mine, theirs = append(mine, k.plain(mainAlias)), append(theirs, k.plain(inner))
	}
	c.b.write("select ", join.ordinal, ", ", strings.Join(exprs, ", "), " from ", join.from, join.join, c.t.sql, " ", mainAlias,
		" where (", strings.Join(mine, ", "), ") in (select ", strings.Join(theirs, ", "), " from ", c.t.sql, " ", inner, where,
		c.orderAndLimit(terms, c.s.Page.Reverse), ") order by ", join.ordinal)
	if len(outer) > 0 {
		c.b.write(", ", c.orderBy(outer, false, nil))
	}
	return nil
}

// numberedPages numbers the records of each entry, for collections without a
// usable key.
func numberedPages(c *compiler, join bindJoin, exprs []string, fields []*column, terms []term) error {
	where, err := c.where(mainAlias, terms, joinOn(join, fields, mainAlias))
	if err != nil {
		return err
	}
	p := c.s.Page
	over := "partition by " + join.ordinal
	if len(terms) > 0 {
		over += " order by " + c.orderBy(terms, p.Reverse, nil)
	}
	from, direction := "0", ""
	if given(p.Offset) {
		from = c.b.add(param{kind: paramOffset, operand: p.Offset})
	}
	if p.Reverse {
		direction = " desc"
	}
	c.b.write("select q.ord, ", qualified("q", names("c", len(exprs))), " from (select ", join.ordinal, " as ord, ", strings.Join(aliased(exprs, "c"), ", "),
		", row_number() over (", over, ") as n from ", join.from, join.join, c.t.sql, " ", mainAlias, where, ") q where q.n > ", from)
	if given(p.Limit) {
		limit := c.b.add(param{kind: paramLimit, operand: p.Limit})
		c.b.write(" and (", limit, " < 0 or q.n <= ", from, " + ", limit, ")")
	}
	c.b.write(" order by q.ord, q.n", direction)
	return nil
}
