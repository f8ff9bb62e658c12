package sql

import (
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A cell says how one result column is written.
type cell struct {
	scalar connectors.Scalar
	list   bool
	// computed by a sum or an average.
	computed bool
}

// A statement is a compiled select: text, parameters and how to read its rows.
// It is immutable but for its hint.
type statement struct {
	sql    string
	params []param
	cells  []cell
	// bind tells that the first result column is the ordinal of the entry.
	bind bool
	// byKey tells that it is the key itself instead, see entryIndex.
	byKey bool
	// base is what the ordinal of the first entry is in the database.
	base    int64
	maxRows int
	hint    sizeHint
}

// A compiler writes one select.
type compiler struct {
	conditions
	s     *connectors.Select
	t     *table
	byKey bool
	form
}

// alias of the collection's records in every statement.
const mainAlias = "t"

// cursorMasks says which values of the cursors are null: a select compiles to
// other SQL for those.
func cursorMasks(s *connectors.Select, args []connectors.Value) (after, before uint32) {
	if s.Page == nil {
		return 0, 0
	}
	mask := func(cursor []connectors.Operand) (m uint32) {
		for i := range cursor {
			if i < maxTerms && cursor[i].Value(args).Kind == connectors.KindNull {
				m |= 1 << i
			}
		}
		return m
	}
	return mask(s.Page.After), mask(s.Page.Before)
}

// compileSelect writes the SQL of a select.
func compileSelect(m *model, s *connectors.Select, f form) (*statement, error) {
	if s.Function != "" {
		return nil, connectors.Errorf(connectors.CodeUnsupported, "the system has no functions that can be called")
	}
	t, err := m.table(s.Collection)
	if err != nil {
		return nil, err
	}
	c := &compiler{conditions: conditions{m: m, b: &builder{d: m.d}}, s: s, t: t, form: f}
	st := &statement{bind: len(s.Bind) > 0, maxRows: s.MaxRows}
	if s.Aggregate != nil {
		st.cells, err = c.aggregate()
	} else {
		st.cells, err = c.records()
	}
	if err != nil {
		return nil, err
	}
	if st.bind && m.d.name() == Postgres {
		st.base = 1 // WITH ORDINALITY counts from 1, json_each from 0
	}
	st.byKey = c.byKey
	st.sql, st.params = c.b.sb.String(), c.b.params
	return st, nil
}

// cellExprs writes the columns of a row.
func (c *compiler) cellExprs(alias string) ([]string, []cell, error) {
	if len(c.s.Columns) == 0 {
		return nil, nil, connectors.Errorf(connectors.CodeBadInput, "a select asks for at least one column")
	}
	exprs := make([]string, len(c.s.Columns))
	cells := make([]cell, len(c.s.Columns))
	for i := range c.s.Columns {
		col := &c.s.Columns[i]
		if col.Version {
			x, err := c.versionExpr(c.t, alias)
			if err != nil {
				return nil, nil, err
			}
			exprs[i], cells[i] = x, cell{scalar: connectors.ScalarString}
		} else {
			f, err := c.t.column(col.Field)
			if err != nil {
				return nil, nil, err
			}
			exprs[i], cells[i] = f.read(alias), cell{scalar: f.typ.scalar, list: f.typ.list}
		}
		if col.If != nil {
			cond, err := c.compile(c.t, alias, col.If, 1)
			if err != nil {
				return nil, nil, err
			}
			exprs[i] = "case when " + cond + " then " + exprs[i] + " end"
		}
	}
	return exprs, cells, nil
}

// versionExpr is the record's version as text.
func (c conditions) versionExpr(t *table, alias string) (string, error) {
	switch {
	case t.version != nil:
		return "cast(" + t.version.plain(alias) + " as text)", nil
	case t.hasVersion:
		return c.m.d.version(alias), nil
	}
	return "", connectors.Errorf(connectors.CodeUnsupported, "records of the collection have no version")
}

// records writes a select of records.
func (c *compiler) records() ([]cell, error) {
	s := c.s
	if len(s.Bind) > 0 {
		return c.boundRecords()
	}
	exprs, cells, err := c.cellExprs(mainAlias)
	if err != nil {
		return nil, err
	}
	terms, err := c.terms(c.t, mainAlias, s.Order)
	if err != nil {
		return nil, err
	}
	where, err := c.where(mainAlias, terms, "")
	if err != nil {
		return nil, err
	}
	reverse := s.Page != nil && s.Page.Reverse
	c.page(exprs, terms, c.t.sql+" "+mainAlias+where, reverse, func(cells, order string) {
		c.b.write("select ", cells)
		if order != "" {
			c.b.write(", ", order)
		}
	})
	return cells, nil
}

// page writes a page of records: the select list, from, order and limit, and
// around it, where the last records are asked for, the select that turns them
// round again.
func (c *compiler) page(exprs []string, terms []term, from string, reverse bool, list func(cells, order string)) {
	if !reverse {
		list(strings.Join(exprs, ", "), "")
		c.b.write(" from ", from, c.orderAndLimit(terms, false))
		return
	}
	outer, inner := names("c", len(exprs)), aliased(exprs, "c")
	order := make([]string, len(terms))
	for i := range terms {
		order[i] = terms[i].expr + " as o" + strconv.Itoa(i)
	}
	c.b.write("select ", qualified("q", outer), " from (")
	list(strings.Join(inner, ", "), strings.Join(order, ", "))
	c.b.write(" from ", from, c.orderAndLimit(terms, true), ") q")
	if len(terms) > 0 {
		c.b.write(" order by ", c.orderBy(terms, false, qualifiedList("q", names("o", len(terms)))))
	}
}

// orderAndLimit writes order, limit and offset.
func (c *compiler) orderAndLimit(terms []term, reverse bool) string {
	var sb strings.Builder
	if len(terms) > 0 {
		sb.WriteString(" order by ")
		sb.WriteString(c.orderBy(terms, reverse, nil))
	}
	sb.WriteString(c.limit())
	return sb.String()
}

// limit writes the page, or the one record beyond MaxRows that shows that there
// are too many.
func (c *compiler) limit() string {
	p := c.s.Page
	if p == nil {
		if c.s.MaxRows > 0 {
			return " limit " + strconv.Itoa(c.s.MaxRows+1)
		}
		return ""
	}
	text := ""
	if given(p.Limit) {
		text = " limit " + c.b.add(param{kind: paramLimit, operand: p.Limit})
	}
	if given(p.Offset) {
		if text == "" {
			text = c.m.d.noLimit()
		}
		text += " offset " + c.b.add(param{kind: paramOffset, operand: p.Offset})
	}
	return text
}

// given tells whether an operand of a page was set at all.
func given(o connectors.Operand) bool { return o.Arg != 0 || o.Const.Kind != connectors.KindAbsent }

// where writes the conditions on the record named by alias: the join with an
// entry, the row condition, the cursors.
func (c *compiler) where(alias string, terms []term, join string) (string, error) {
	var parts []string
	if join != "" {
		parts = append(parts, join)
	}
	if c.s.Where != nil {
		w, err := c.compile(c.t, alias, c.s.Where, 1)
		if err != nil {
			return "", err
		}
		parts = append(parts, w)
	}
	if p := c.s.Page; p != nil {
		if len(p.After) > 0 {
			k, err := c.keyset(c.t, terms, p.After, c.after, false)
			if err != nil {
				return "", err
			}
			parts = append(parts, k)
		}
		if len(p.Before) > 0 {
			k, err := c.keyset(c.t, terms, p.Before, c.before, true)
			if err != nil {
				return "", err
			}
			parts = append(parts, k)
		}
	}
	if len(parts) == 0 {
		return "", nil
	}
	return " where " + strings.Join(parts, " and "), nil
}

// boundRecords writes a select of the records of every entry.
func (c *compiler) boundRecords() ([]cell, error) {
	if c.s.Page == nil && len(c.s.Bind) == 1 {
		f, err := c.t.column(c.s.Bind[0])
		if err != nil {
			return nil, err
		}
		if c.m.d.ordinalByKey(f) {
			return c.recordsByKey(f)
		}
	}
	join, fields, err := c.bindJoin()
	if err != nil {
		return nil, err
	}
	exprs, cells, err := c.cellExprs(mainAlias)
	if err != nil {
		return nil, err
	}
	if c.s.Page != nil {
		return cells, c.m.d.pagePerEntry(c, join, exprs)
	}
	terms, err := c.terms(c.t, mainAlias, c.s.Order)
	if err != nil {
		return nil, err
	}
	where, err := c.where(mainAlias, terms, joinOn(join, fields, mainAlias))
	if err != nil {
		return nil, err
	}
	c.b.write("select ", join.ordinal, ", ", strings.Join(exprs, ", "), " from ", join.from, join.join, c.t.sql, " ", mainAlias, where,
		" order by ", join.ordinal)
	if len(terms) > 0 {
		c.b.write(", ", c.orderBy(terms, false, nil))
	}
	c.b.write(c.limit())
	return cells, nil
}

// recordsByKey writes a select of the records of every entry, each with its key
// in front.
func (c *compiler) recordsByKey(f *column) ([]cell, error) {
	c.byKey = true
	key := f.plain(mainAlias)
	exprs, cells, err := c.cellExprs(mainAlias)
	if err != nil {
		return nil, err
	}
	terms, err := c.terms(c.t, mainAlias, c.s.Order)
	if err != nil {
		return nil, err
	}
	var join string
	if c.one {
		// An array would be planned anew each time.
		join = key + " = " + c.b.add(param{kind: paramEntry, typ: &f.typ, field: f.name})
	} else {
		join = c.m.d.in(key, c.b.add(param{kind: paramBind, typ: &f.typ, field: f.name}), &f.typ, false)
	}
	where, err := c.where(mainAlias, terms, join)
	if err != nil {
		return nil, err
	}
	c.b.write("select ", key, ", ", strings.Join(exprs, ", "), " from ", c.t.sql, " ", mainAlias, where, " order by ", key)
	if len(terms) > 0 {
		c.b.write(", ", c.orderBy(terms, false, nil))
	}
	c.b.write(c.limit())
	return cells, nil
}

// bindJoin prepares the entries of Query.Bind.
func (c *compiler) bindJoin() (bindJoin, []*column, error) {
	fields, err := c.t.all(c.s.Bind)
	if err != nil {
		return bindJoin{}, nil, err
	}
	for _, f := range fields {
		if f.typ.list || f.typ.scalar == connectors.ScalarJSON {
			return bindJoin{}, nil, connectors.Errorf(connectors.CodeUnsupported, "the system cannot join over the field").At(f.name)
		}
	}
	return c.m.d.bind(c.b, fields), fields, nil
}

// joinOn writes that a record belongs to an entry.
func joinOn(join bindJoin, fields []*column, alias string) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		e := f.plain(alias)
		if f.typ.cast != "" || f.typ.wrap != "" {
			e = f.expr(alias)
		}
		parts[i] = e + " = " + join.keys[i]
	}
	return strings.Join(parts, " and ")
}

// names are prefix0, prefix1, …
func names(prefix string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = prefix + strconv.Itoa(i)
	}
	return list
}

func aliased(exprs []string, prefix string) []string {
	list := make([]string, len(exprs))
	for i := range exprs {
		list[i] = exprs[i] + " as " + prefix + strconv.Itoa(i)
	}
	return list
}

func qualifiedList(alias string, names []string) []string {
	list := make([]string, len(names))
	for i := range names {
		list[i] = alias + "." + names[i]
	}
	return list
}

func qualified(alias string, names []string) string {
	return strings.Join(qualifiedList(alias, names), ", ")
}
