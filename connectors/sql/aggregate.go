package sql

import (
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// aggregate writes a select of groups. Groups come in the order asked for, or
// of their fields, so that one state gives one answer.
func (c *compiler) aggregate() ([]cell, error) {
	s, a := c.s, c.s.Aggregate
	if len(s.Columns) > 0 {
		return nil, connectors.Errorf(connectors.CodeBadInput, "an aggregate takes no columns")
	}
	if s.Page != nil && (len(s.Bind) > 0 || s.Page.Reverse || len(s.Page.After) > 0 || len(s.Page.Before) > 0) {
		return nil, connectors.Errorf(connectors.CodeUnsupported, "groups can be paged by limit and offset only, and not per parent")
	}
	var exprs, group []string
	var cells []cell
	for _, name := range a.GroupBy {
		col, err := c.t.column(name)
		if err != nil {
			return nil, err
		}
		if !col.typ.group {
			return nil, connectors.Errorf(connectors.CodeUnsupported, "the system cannot group by the field").At(name)
		}
		exprs, group = append(exprs, col.read(mainAlias)), append(group, col.expr(mainAlias))
		cells = append(cells, cell{scalar: col.typ.scalar})
	}
	for i := range a.Values {
		x, cl, _, err := c.aggregateExpr(&a.Values[i])
		if err != nil {
			return nil, err
		}
		exprs, cells = append(exprs, x), append(cells, cl)
	}
	if len(exprs) == 0 {
		return nil, connectors.Errorf(connectors.CodeBadInput, "an aggregate asks for at least one value")
	}
	from, on, ordinal := "", "", ""
	if len(s.Bind) > 0 {
		join, fields, err := c.bindJoin()
		if err != nil {
			return nil, err
		}
		from, on, ordinal = join.from+join.join, joinOn(join, fields, mainAlias), join.ordinal
		group = append([]string{ordinal}, group...)
		exprs = append([]string{ordinal}, exprs...)
	}
	where, err := c.where(mainAlias, nil, on)
	if err != nil {
		return nil, err
	}
	c.b.write("select ", strings.Join(exprs, ", "), " from ", from, c.t.sql, " ", mainAlias, where)
	if len(group) > 0 {
		c.b.write(" group by ", strings.Join(group, ", "))
	}
	if err := c.having(); err != nil {
		return nil, err
	}
	order, err := c.groupOrder(group, ordinal)
	if err != nil {
		return nil, err
	}
	c.b.write(order, c.limit())
	return cells, nil
}

// aggregateExpr writes one function; typ is what it is compared as.
func (c *compiler) aggregateExpr(v *connectors.AggregateValue) (string, cell, *sqlType, error) {
	if v.Func == connectors.AggCount {
		return "count(*)", cell{scalar: connectors.ScalarSafeInt}, c.m.d.aggregateType(connectors.ScalarSafeInt, nil), nil
	}
	col, err := c.t.column(v.Field)
	if err != nil {
		return "", cell{}, nil, err
	}
	for _, f := range col.typ.aggregates() {
		if f == v.Func {
			s, _ := f.ScalarOf(col.typ.scalar)
			typ := c.m.d.aggregateType(s, &col.typ)
			return string(f) + "(" + col.expr(mainAlias) + ")", cell{scalar: s, computed: v.Func == connectors.AggSum || v.Func == connectors.AggAvg}, typ, nil
		}
	}
	return "", cell{}, nil, connectors.Errorf(connectors.CodeUnsupported, "the system has no %q over the field", string(v.Func)).At(v.Field)
}

// having writes the conditions on groups.
func (c *compiler) having() error {
	for i := range c.s.Aggregate.Having {
		h := &c.s.Aggregate.Having[i]
		x, _, typ, err := c.aggregateExpr(&h.Value)
		if err != nil {
			return err
		}
		word := " having "
		if i > 0 {
			word = " and "
		}
		p := param{kind: paramValue, operand: h.Operand, typ: typ, field: h.Value.Field}
		if compare, ok := compareWords[h.Op]; ok {
			c.b.write(word, "(", x, compare, c.b.add(p), ")")
			continue
		}
		switch h.Op {
		case connectors.OpIn, connectors.OpNotIn:
			p.kind = paramList
			x = c.m.d.in(x, c.b.add(p), typ, h.Op == connectors.OpNotIn)
		case connectors.OpIsNull:
			p.kind = paramBool
			x = "(" + x + " is null) = " + c.b.add(p)
		default:
			return connectors.Errorf(connectors.CodeUnsupported, "groups cannot be compared with %q", string(h.Op))
		}
		c.b.write(word, "(", x, ")")
	}
	return nil
}

// groupOrder writes the order of groups: what was asked for, then the fields of
// the group.
func (c *compiler) groupOrder(group []string, ordinal string) (string, error) {
	for i := range c.s.Order {
		o := &c.s.Order[i]
		if len(o.Via) > 0 || !slices.Contains(c.s.Aggregate.GroupBy, o.Field) {
			return "", connectors.Errorf(connectors.CodeUnsupported, "groups can be ordered by the fields they are grouped by only").At(o.Field)
		}
	}
	terms, err := c.terms(c.t, mainAlias, c.s.Order)
	if err != nil {
		return "", err
	}
	var parts []string
	if ordinal != "" {
		parts, group = append(parts, ordinal), group[1:]
	}
	if len(terms) > 0 {
		parts = append(parts, c.orderBy(terms, false, nil))
	}
	if parts = append(parts, group...); len(parts) == 0 {
		return "", nil
	}
	return " order by " + strings.Join(parts, ", "), nil
}
