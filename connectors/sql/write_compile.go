package sql

import (
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A reading is a select of the write side: records in the order of their key,
// with one more cell that tells whether a check holds.
type reading struct {
	t       *table
	columns []connectors.Column
	where   *connectors.Condition
	// check adds a last cell, 1 or 0.
	check *connectors.Condition
	// trap makes a check that does not hold an error of the statement.
	trap  bool
	limit int    // 0: none
	lock  string // "for update" and the like
	// source replaces the table: a record that does not exist yet.
	source *imageSource
}

// compileReading writes the SQL of a reading.
func compileReading(m *model, r reading) (*statement, error) {
	b := newBuilder(m.d)
	c := &compiler{conditions: conditions{m: m, b: b}, s: &connectors.Select{Columns: r.columns}, t: r.t}
	from := r.t.sql
	if r.source != nil {
		var err error
		if from, err = r.source.compile(c, r.t); err != nil {
			return nil, err
		}
	}
	var exprs []string
	var cells []cell
	var err error
	if len(r.columns) > 0 {
		if exprs, cells, err = c.cellExprs(mainAlias); err != nil {
			return nil, err
		}
	}
	if r.check != nil || len(exprs) == 0 {
		holds, err := c.compile(r.t, mainAlias, r.check, 1)
		if err != nil {
			return nil, err
		}
		expr := checkExpr(holds)
		if r.trap {
			expr = "1 / (" + expr + ")"
		}
		exprs, cells = append(exprs, expr), append(cells, cell{scalar: connectors.ScalarInt})
	}
	b.write("select ", strings.Join(exprs, ", "), " from ", from, " ", mainAlias)
	if r.where != nil {
		where, err := c.compile(r.t, mainAlias, r.where, 1)
		if err != nil {
			return nil, err
		}
		b.write(" where ", where)
	}
	if key := r.t.coll.Key; len(key) > 0 {
		order := make([]string, len(key))
		for i, k := range key {
			order[i] = r.t.columns[k].plain(mainAlias)
		}
		b.write(" order by ", strings.Join(order, ", "))
	}
	if r.limit > 0 {
		b.write(" limit ", strconv.Itoa(r.limit))
	}
	if r.lock != "" {
		b.write(" ", r.lock)
	}
	return &statement{sql: b.sb.String(), params: b.params, cells: cells}, nil
}

func checkExpr(condition string) string { return "case when " + condition + " then 1 else 0 end" }

// An assignment is a checked value for a column.
type assignment struct {
	col   *column
	value connectors.Value
	add   bool
}

// expr writes the value as the column takes it.
func (a assignment) expr(b *builder, alias string) string {
	v := assigned(b, a.col, a.value)
	if !a.add {
		return v
	}
	sum := a.col.plain(alias) + " + " + v
	if b.d.name() == SQLite && a.col.typ.scalar == connectors.ScalarDecimal && a.col.field.Type.HasScale {
		// Doubles do not add up to the last digit.
		return "round(" + sum + ", " + strconv.Itoa(a.col.field.Type.Scale) + ")"
	}
	return sum
}

// assigned is a parameter in the column's own type.
func assigned(b *builder, col *column, v connectors.Value) string {
	p := b.value(paramValue, col, connectors.Const(v))
	if b.d.name() == Postgres && col.typ.cast != "" {
		// Types that are read as text are written from text.
		p += "::" + nativeType(col.field)
	}
	return p
}

// nativeType is the column's type, quoted, as PostgreSQL reads it.
func nativeType(f *connectors.Field) string {
	name := strings.TrimSuffix(f.Type.Native, "[]")
	out := qualifiedType(splitName(name))
	switch {
	case f.Type.HasScale && name == "numeric":
		out = "numeric(" + strconv.Itoa(f.Type.Precision) + "," + strconv.Itoa(f.Type.Scale) + ")"
	case f.Type.MaxLength > 0 && name == "bpchar":
		out = "bpchar(" + strconv.Itoa(f.Type.MaxLength) + ")"
	}
	if f.Type.List {
		out += "[]"
	}
	return out
}

// compileInsert writes a statement that creates a record and returns columns of
// it, and whether the check holds.
func compileInsert(m *model, t *table, set []assignment, columns []connectors.Column, check *connectors.Condition) (*statement, error) {
	b := newBuilder(m.d)
	c := &compiler{conditions: conditions{m: m, b: b}, s: &connectors.Select{Columns: columns}, t: t}
	// SQLite knows no alias in RETURNING, both know the table's own name.
	parts := splitName(t.name)
	own := quoteIdent(parts[len(parts)-1])
	b.write("insert into ", t.sql)
	if len(set) == 0 {
		b.write(" default values")
	} else {
		var names, values []string
		for _, a := range set {
			names, values = append(names, a.col.quoted), append(values, a.expr(b, ""))
		}
		b.write(" (", strings.Join(names, ", "), ") values (", strings.Join(values, ", "), ")")
	}
	var exprs []string
	var cells []cell
	var err error
	if len(columns) > 0 {
		if exprs, cells, err = c.cellExprs(own); err != nil {
			return nil, err
		}
	}
	if check != nil {
		holds, err := c.compile(t, own, check, 1)
		if err != nil {
			return nil, err
		}
		exprs, cells = append(exprs, checkExpr(holds)), append(cells, cell{scalar: connectors.ScalarInt})
	}
	if len(exprs) > 0 {
		b.write(" returning ", strings.Join(exprs, ", "))
	}
	return &statement{sql: b.sb.String(), params: b.params, cells: cells}, nil
}

// compileUpdate writes a statement that changes the records of a condition.
func compileUpdate(m *model, t *table, set []assignment, where *connectors.Condition) (*statement, error) {
	c := conditions{m: m, b: newBuilder(m.d)}
	if err := c.update(t, set, where); err != nil {
		return nil, err
	}
	return &statement{sql: c.b.sb.String(), params: c.b.params}, nil
}

// update writes an update without what it returns.
func (c conditions) update(t *table, set []assignment, where *connectors.Condition) error {
	c.b.write("update ", t.sql, " as ", mainAlias, " set ")
	for i, a := range set {
		if i > 0 {
			c.b.write(", ")
		}
		c.b.write(a.col.quoted, " = ", a.expr(c.b, mainAlias))
	}
	cond, err := c.compile(t, mainAlias, where, 1)
	c.b.write(" where ", cond)
	return err
}

// compileDelete writes a statement that deletes the records of a condition.
func compileDelete(m *model, t *table, where *connectors.Condition) (*statement, error) {
	b := newBuilder(m.d)
	cond, err := conditions{m: m, b: b}.compile(t, mainAlias, where, 1)
	if err != nil {
		return nil, err
	}
	b.write("delete from ", t.sql, " as ", mainAlias, " where ", cond)
	return &statement{sql: b.sb.String(), params: b.params}, nil
}

// keyCondition matches the records of some keys.
func keyCondition(t *table, keys [][]connectors.Value) *connectors.Condition {
	if len(keys) == 1 && len(t.coll.Key) == 1 {
		return connectors.Compare(t.coll.Key[0], connectors.OpEq, connectors.Const(keys[0][0]))
	}
	if len(keys) == 1 || len(t.coll.Key) != 1 {
		any := make([]*connectors.Condition, len(keys))
		for i, key := range keys {
			all := make([]*connectors.Condition, len(key))
			for j, v := range key {
				all[j] = connectors.Compare(t.coll.Key[j], connectors.OpEq, connectors.Const(v))
			}
			any[i] = &connectors.Condition{Op: connectors.OpAnd, Items: all}
		}
		return &connectors.Condition{Op: connectors.OpOr, Items: any}
	}
	list := make([]connectors.Value, len(keys))
	for i, key := range keys {
		list[i] = key[0]
	}
	return connectors.Compare(t.coll.Key[0], connectors.OpIn, connectors.Const(connectors.ListOf(list...)))
}

// An imageSource is records as they would be after a write: those of a
// condition with some columns replaced, or a single new one.
type imageSource struct {
	set   []assignment
	where *connectors.Condition // nil: a new record
}

// compile writes the source as a subquery with the table's columns.
func (s *imageSource) compile(c *compiler, t *table) (string, error) {
	const inner = "o"
	byName := make(map[string]assignment, len(s.set))
	for _, a := range s.set {
		byName[a.col.name] = a
	}
	exprs := make([]string, 0, len(t.coll.Fields))
	for _, f := range t.coll.Fields {
		col := t.columns[f.Name]
		a, set := byName[f.Name]
		var e string
		switch {
		case set:
			e = a.expr(c.b, inner)
		case s.where != nil:
			e = col.plain(inner)
		default:
			e = "null"
		}
		if c.m.d.name() == Postgres && (set || s.where == nil) {
			e = "(" + e + ")::" + nativeType(f)
		}
		exprs = append(exprs, e+" as "+col.quoted)
	}
	text := "(select " + strings.Join(exprs, ", ")
	if s.where != nil {
		where, err := c.compile(t, inner, s.where, 1)
		if err != nil {
			return "", err
		}
		text += " from " + t.sql + " " + inner + " where " + where
	}
	return text + ")", nil
}
