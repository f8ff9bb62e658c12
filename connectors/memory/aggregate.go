package memory

import (
	"slices"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/countersign/countersign/connectors"
)

// averageDigits is how many digits after the point an average of exact numbers
// is computed to.
const averageDigits = 16

// An aggregated is one compiled function over the rows of a group.
type aggregated struct {
	leaf    connectors.Scalar
	compute func([]*row) connectors.Value
}

// aggregates writes one row per group of each Bind entry.
func (k *compiler) aggregates(t *table, q *connectors.Query, entries [][]*row, out *output) error {
	a := q.Select.Aggregate
	if len(a.GroupBy)+len(a.Values) == 0 {
		return badInput("an aggregate of nothing")
	}
	if err := k.declaredAggregate(t, a); err != nil {
		return err
	}
	values := make([]aggregated, 0, len(a.Values))
	for _, v := range a.Values {
		compiled, err := aggregateOf(t, v)
		if err != nil {
			return err
		}
		values = append(values, compiled)
	}
	having, err := k.having(t, a.Having)
	if err != nil {
		return err
	}
	arrange, err := k.arrangeGroups(t, q.Select)
	if err != nil {
		return err
	}
	out.columns = len(a.GroupBy) + len(values)
	for n, rows := range entries {
		groups := slices.DeleteFunc(groupsOf(t, a.GroupBy, rows, len(q.Select.Bind) > 0), func(g []*row) bool { return !having(g) })
		for _, group := range arrange(groups) {
			if err := out.begin(n); err != nil {
				return err
			}
			for _, name := range a.GroupBy {
				out.block.AppendCell(t.value(group[0], name), t.field(name).Type.Leaf())
			}
			for _, v := range values {
				out.block.AppendCell(v.compute(group), v.leaf)
			}
		}
	}
	return nil
}

// arrangeGroups compiles order and page of groups: by what they are grouped by,
// so that one state gives one answer, and by limit and offset only.
func (k *compiler) arrangeGroups(t *table, s *connectors.Select) (func([][]*row) [][]*row, error) {
	terms := slices.Clone(s.Order)
	for _, o := range terms {
		if len(o.Via) > 0 || !slices.Contains(s.Aggregate.GroupBy, o.Field) {
			return nil, unsupported("groups can be ordered by what they are grouped by only")
		}
	}
	for _, name := range s.Aggregate.GroupBy {
		if t.field(name).Order {
			terms = append(terms, connectors.OrderTerm{Field: name})
		}
	}
	order, err := k.order(t, terms)
	if err != nil {
		return nil, err
	}
	var limit, offset int
	limited := false
	if p := s.Page; p != nil {
		if p.Reverse || len(p.After)+len(p.Before)+len(s.Bind) > 0 {
			return nil, unsupported("groups can be paged by limit and offset only, and not per entry")
		}
		if limit, limited, err = k.natural(p.Limit, "limit"); err != nil {
			return nil, err
		}
		if offset, _, err = k.natural(p.Offset, "offset"); err != nil {
			return nil, err
		}
	}
	return func(groups [][]*row) [][]*row {
		if len(terms) > 0 {
			slices.SortStableFunc(groups, func(a, b []*row) int {
				return order.compare(order.values(k.st, a[0]), order.values(k.st, b[0]))
			})
		}
		groups = groups[min(offset, len(groups)):]
		if limited {
			groups = groups[:min(limit, len(groups))]
		}
		return groups
	}, nil
}

func (k *compiler) declaredAggregate(t *table, a *connectors.Aggregate) error {
	counted := len(a.GroupBy) == 0 && len(a.Having) == 0 &&
		!slices.ContainsFunc(a.Values, func(v connectors.AggregateValue) bool { return v.Func != connectors.AggCount })
	if !t.meta.Aggregate && !(counted && t.meta.Count) {
		return unsupported("%s has no aggregates", t.meta.Name)
	}
	for _, name := range a.GroupBy {
		f := t.field(name)
		if f == nil {
			return unsupported("there is no field %q", name)
		}
		if !f.Group {
			return unsupported("nothing can be grouped by %s", name)
		}
	}
	return nil
}

// groupsOf splits rows by the values of fields, nulls being one value, in the
// order of first appearance. Without fields all rows are one group, also none
// at all unless they are of a Bind entry.
func groupsOf(t *table, fields []string, rows []*row, bound bool) [][]*row {
	if len(fields) == 0 {
		if len(rows) == 0 && bound {
			return nil
		}
		return [][]*row{rows}
	}
	var groups [][]*row
	index := map[string]int{}
	for _, r := range rows {
		var b strings.Builder
		for _, name := range fields {
			AppendIdentity(&b, t.field(name).Type.Leaf(), t.value(r, name))
		}
		i, ok := index[b.String()]
		if !ok {
			i = len(groups)
			index[b.String()] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

func aggregateOf(t *table, v connectors.AggregateValue) (aggregated, error) {
	if v.Func == connectors.AggCount {
		return aggregated{connectors.ScalarSafeInt, func(rows []*row) connectors.Value { return connectors.Int(int64(len(rows))) }}, nil
	}
	f := t.field(v.Field)
	if f == nil {
		return aggregated{}, unsupported("there is no field %q", v.Field)
	}
	leaf, ok := v.Func.ScalarOf(f.Type.Leaf())
	if !ok || !slices.Contains(f.Aggregates, v.Func) {
		return aggregated{}, unsupported("there is no %s of %s", v.Func, v.Field)
	}
	return aggregated{leaf, func(rows []*row) connectors.Value {
		var values []connectors.Value
		for _, r := range rows {
			if x := t.value(r, v.Field); !x.IsNull() {
				values = append(values, x)
			}
		}
		if len(values) == 0 {
			return connectors.Null
		}
		return reduce(v.Func, f.Type.Leaf(), values)
	}}, nil
}

// reduce computes a function over values of one scalar, at least one.
func reduce(fn connectors.AggregateFunc, leaf connectors.Scalar, values []connectors.Value) connectors.Value {
	order := func(a, b connectors.Value) int { return Compare(leaf, a, b) }
	switch fn {
	case connectors.AggMin:
		return slices.MinFunc(values, order)
	case connectors.AggMax:
		return slices.MaxFunc(values, order)
	}
	if leaf == connectors.ScalarFloat {
		sum := 0.0
		for _, v := range values {
			f, _ := strconv.ParseFloat(v.Text, 64) // canonical, it parses
			sum += f
		}
		if fn == connectors.AggAvg {
			sum /= float64(len(values))
		}
		return connectors.Float(sum)
	}
	sum := decimal.Zero
	for _, v := range values {
		sum = sum.Add(numberOf(v))
	}
	switch {
	case fn == connectors.AggAvg:
		return connectors.Decimal(decimalText(sum.DivRound(decimal.NewFromInt(int64(len(values))), averageDigits)))
	case leaf == connectors.ScalarDecimal:
		return connectors.Decimal(decimalText(sum))
	}
	return connectors.Value{Kind: connectors.KindInt, Text: sum.String()}
}

func (k *compiler) having(t *table, terms []connectors.Having) (func([]*row) bool, error) {
	type term struct {
		value aggregated
		test  func(connectors.Value) truth
	}
	var compiled []term
	for _, h := range terms {
		value, err := aggregateOf(t, h.Value)
		if err != nil {
			return nil, err
		}
		switch h.Op {
		case connectors.OpEq, connectors.OpNe, connectors.OpGt, connectors.OpGte, connectors.OpLt, connectors.OpLte,
			connectors.OpIn, connectors.OpNotIn, connectors.OpIsNull:
		default:
			return nil, unsupported("groups cannot be compared by %s", h.Op)
		}
		f := &connectors.Field{Name: string(h.Value.Func), Type: connectors.TypeRef{Scalar: value.leaf}}
		test, err := k.test(f, h.Op, h.Operand.Value(k.args))
		if err != nil {
			return nil, err
		}
		compiled = append(compiled, term{value, test})
	}
	return func(rows []*row) bool {
		for _, c := range compiled {
			if c.test(c.value.compute(rows)) != isTrue {
				return false
			}
		}
		return true
	}, nil
}
