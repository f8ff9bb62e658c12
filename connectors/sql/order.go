package sql

import (
	"strings"

	"github.com/countersign/countersign/connectors"
)

// maxTerms bounds the order; the mask of null cursor values has a bit for each.
const maxTerms = 32

// A term is one prepared element of an order.
type term struct {
	expr       string
	typ        *sqlType
	field      string
	own        *column // the column, where it is the record's own
	nullable   bool
	desc       bool
	nullsFirst bool
}

// terms prepares an order over the record named by alias.
func (c conditions) terms(t *table, alias string, order []connectors.OrderTerm) ([]term, error) {
	if len(order) > maxTerms {
		return nil, connectors.Errorf(connectors.CodeBadInput, "an order has at most %d terms", maxTerms)
	}
	terms := make([]term, len(order))
	for i := range order {
		o := &order[i]
		x, col, err := c.orderExpr(t, alias, o)
		if err != nil {
			return nil, err
		}
		if col.typ.list || col.typ.scalar == connectors.ScalarJSON {
			return nil, connectors.Errorf(connectors.CodeUnsupported, "the system cannot order by the field").At(o.Field)
		}
		first := c.m.d.nullsFirst(o.Desc)
		switch o.Nulls {
		case connectors.NullsFirst:
			first = true
		case connectors.NullsLast:
			first = false
		}
		terms[i] = term{expr: x, own: own(o, col), typ: &col.typ, field: o.Field, nullable: col.nullable || len(o.Via) > 0, desc: o.Desc, nullsFirst: first}
	}
	return terms, nil
}

// own is the column of a term that is the record's own.
func own(o *connectors.OrderTerm, col *column) *column {
	if len(o.Via) > 0 {
		return nil
	}
	return col
}

// orderExpr is the expression of an order term: a column, or a subquery along
// to-one relations. A join could multiply records where the other side is not
// as unique as declared; a subquery cannot.
func (c conditions) orderExpr(t *table, alias string, o *connectors.OrderTerm) (string, *column, error) {
	if len(o.Via) == 0 {
		col, err := t.column(o.Field)
		if err != nil {
			return "", nil, err
		}
		if col.typ.stored {
			return col.plain(alias), col, nil
		}
		return col.expr(alias), col, nil
	}
	var from, where []string
	for i := range o.Via {
		r := &o.Via[i]
		to, other, on, err := c.join(t, alias, r)
		if err != nil {
			return "", nil, err
		}
		from, where = append(from, to.sql+" "+other), append(where, on)
		if r.Where != nil {
			w, err := c.compile(to, other, r.Where, 1)
			if err != nil {
				return "", nil, err
			}
			where = append(where, w)
		}
		t, alias = to, other
	}
	col, err := t.column(o.Field)
	if err != nil {
		return "", nil, err
	}
	return "(select " + col.expr(alias) + " from " + strings.Join(from, ", ") + " where " + strings.Join(where, " and ") + " limit 1)", col, nil
}

// orderBy writes terms; exprs replace those of the terms where given.
func (c conditions) orderBy(terms []term, reverse bool, exprs []string) string {
	parts := make([]string, len(terms))
	for i := range terms {
		t := &terms[i]
		p := t.expr
		if exprs != nil {
			p = exprs[i]
		}
		desc, first := t.desc, t.nullsFirst
		if reverse {
			desc, first = !desc, !first
		}
		if desc {
			p += " desc"
		}
		if t.nullable && first != c.m.d.nullsFirst(desc) {
			if first {
				p += " nulls first"
			} else {
				p += " nulls last"
			}
		}
		parts[i] = p
	}
	return strings.Join(parts, ", ")
}

// keyset writes that a record stands behind (before) a cursor in the order.
// nulls has a bit for each cursor value that is null: those need other SQL,
// because nothing compares with null.
func (c conditions) keyset(t *table, terms []term, cursor []connectors.Operand, nulls uint32, before bool) (string, error) {
	if len(cursor) != len(terms) || len(terms) == 0 {
		return "", connectors.Errorf(connectors.CodeBadInput, "a cursor has one value per term of the order")
	}
	places := make([]string, len(terms))
	for i := range terms {
		if nulls&(1<<i) == 0 {
			places[i] = c.b.add(param{kind: paramValue, operand: cursor[i], typ: terms[i].typ, field: terms[i].field})
		}
	}
	c.cursors(t, terms, places)
	if row := c.rowCompare(terms, places, nulls, before); row != "" {
		return row, nil
	}
	var alternatives []string
	var equal []string
	for i := range terms {
		if beyond := c.beyond(&terms[i], places[i], before); beyond != "" {
			alternatives = append(alternatives, "("+strings.Join(append(equal[:len(equal):len(equal)], beyond), " and ")+")")
		}
		if places[i] == "" {
			equal = append(equal, terms[i].expr+" is null")
		} else {
			equal = append(equal, terms[i].expr+" = "+places[i])
		}
	}
	if len(alternatives) == 0 {
		return "false", nil
	}
	keyset := "(" + strings.Join(alternatives, " or ") + ")"
	// The first term alone bounds the range, which lets an index begin there.
	if first := &terms[0]; len(alternatives) > 1 && places[0] != "" && !first.nullable {
		return "(" + first.expr + compareWord(first.desc != before, true) + places[0] + " and " + keyset + ")", nil
	}
	return keyset, nil
}

// cursors brings the values of a cursor into the form of the order.
func (c conditions) cursors(t *table, terms []term, places []string) {
	keys := make([]string, len(t.coll.Key))
	for i, k := range t.coll.Key {
		for j := range terms {
			if terms[j].own != nil && terms[j].own.name == k {
				keys[i] = places[j]
			}
		}
		if keys[i] == "" {
			keys = nil
			break
		}
	}
	for i := range terms {
		if col := terms[i].own; col != nil && col.typ.stored && places[i] != "" {
			places[i] = c.m.d.cursor(t, col, places[i], keys)
		}
	}
}

// rowCompare writes the row comparison that holds where all terms have one
// direction and no nulls; indexes serve it. "" where it does not apply.
func (c conditions) rowCompare(terms []term, places []string, nulls uint32, before bool) string {
	exprs := make([]string, len(terms))
	for i := range terms {
		if terms[i].nullable || nulls&(1<<i) != 0 || terms[i].desc != terms[0].desc {
			return ""
		}
		exprs[i] = terms[i].expr
	}
	word := compareWord(terms[0].desc != before, false)
	if len(terms) == 1 {
		return "(" + exprs[0] + word + places[0] + ")"
	}
	return "((" + strings.Join(exprs, ", ") + ")" + word + "(" + strings.Join(places, ", ") + "))"
}

func compareWord(less, orEqual bool) string {
	switch {
	case less && orEqual:
		return " <= "
	case less:
		return " < "
	case orEqual:
		return " >= "
	}
	return " > "
}

// beyond writes that a term's value stands behind (before) the cursor's; ""
// where none can.
func (c conditions) beyond(t *term, place string, before bool) string {
	// nullsBeyond: nulls stand on the side asked for.
	nullsBeyond := t.nullsFirst == before
	if place == "" {
		if nullsBeyond {
			return ""
		}
		return t.expr + " is not null"
	}
	x := t.expr + compareWord(t.desc != before, false) + place
	if t.nullable && nullsBeyond {
		return "(" + x + " or " + t.expr + " is null)"
	}
	return x
}
