package policy

import (
	"sort"

	"github.com/countersign/countersign/connectors"
)

// A clause is a condition of a view with its canonical text, by which equal
// conditions are recognised. A nil clause matches every record.
type clause struct {
	cond *connectors.Condition
	key  string
	// negated matches only where the condition is certainly false.
	negated *connectors.Condition
}

func newClause(c *connectors.Condition) *clause {
	return &clause{cond: c, key: string(c.AppendCanonical(nil))}
}

// condition is the clause for the outside.
func (c *clause) condition() *connectors.Condition {
	if c == nil {
		return nil
	}
	return c.cond
}

// not matches where the clause is certainly false: a comparison with null makes
// neither match. Only clauses of single lines are negated.
func (c *clause) not() *clause { return newClause(c.negated) }

// anyOf matches where one of the clauses does; nil where one of them is nil, and
// nothing where there is none.
func anyOf(clauses []*clause) *clause {
	kept, always := distinct(clauses)
	if always {
		return nil
	}
	if len(kept) == 1 {
		return kept[0]
	}
	items := make([]*connectors.Condition, len(kept))
	for i, c := range kept {
		items[i] = c.cond
	}
	return newClause(connectors.Or(items...))
}

// allOf matches where all of the clauses do; nil where there is none but nil.
func allOf(clauses ...*clause) *clause {
	kept, _ := distinct(clauses)
	switch len(kept) {
	case 0:
		return nil
	case 1:
		return kept[0]
	}
	items := make([]*connectors.Condition, len(kept))
	for i, c := range kept {
		items[i] = c.cond
	}
	return newClause(connectors.And(items...))
}

// distinct drops repeated clauses and nil ones, and orders them by their text, so
// that equal sets give equal conditions; hasNil tells that one was nil.
func distinct(clauses []*clause) (kept []*clause, hasNil bool) {
	seen := map[string]bool{}
	for _, c := range clauses {
		if c == nil {
			hasNil = true
			continue
		}
		if !seen[c.key] {
			seen[c.key] = true
			kept = append(kept, c)
		}
	}
	sort.Slice(kept, func(i, j int) bool { return kept[i].key < kept[j].key })
	return kept, hasNil
}

func sameClause(a, b *clause) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.key == b.key
}

// A paramTable gathers the parameters of all conditions of one view.
type paramTable struct {
	params []Param
	index  map[Param]int
	memo   map[*Bound]*clause
}

func newParamTable() *paramTable {
	return &paramTable{index: map[Param]int{}, memo: map[*Bound]*clause{}}
}

func (t *paramTable) add(p Param) int {
	i, ok := t.index[p]
	if !ok {
		i = len(t.params)
		t.params = append(t.params, p)
		t.index[p] = i
	}
	return i
}

// clause copies the condition of a line with its operands moved to the view's
// table. A condition that may lack a parameter is fenced.
func (t *paramTable) clause(b *Bound) *clause {
	if b == nil {
		return nil
	}
	if c, ok := t.memo[b]; ok {
		return c
	}
	may := false
	cond := t.rebind(b.Condition, b.Params, &may)
	negated := negate(cond)
	if may {
		cond, negated = fence(cond), fence(negated)
	}
	c := newClause(cond)
	c.negated = negated
	t.memo[b] = c
	return c
}

func (t *paramTable) operand(o connectors.Operand, params []Param, may *bool) connectors.Operand {
	if o.Arg == 0 {
		return o
	}
	if o.Arg > len(params) {
		// A binder that says so is wrong; an operand without a value matches nothing.
		return connectors.Operand{Const: connectors.Null}
	}
	p := params[o.Arg-1]
	*may = *may || p.Kind != ParamNow
	return connectors.Arg(t.add(p))
}

func (t *paramTable) rebind(c *connectors.Condition, params []Param, may *bool) *connectors.Condition {
	if c == nil {
		return nil
	}
	out := *c
	out.Operand = t.operand(c.Operand, params, may)
	out.Items = nil
	for _, i := range c.Items {
		out.Items = append(out.Items, t.rebind(i, params, may))
	}
	out.Inner = t.rebind(c.Inner, params, may)
	if c.Relation != nil {
		r := *c.Relation
		r.Where = t.rebind(r.Where, params, may)
		out.Relation = &r
	}
	return &out
}

// negate makes the condition that matches only where c is certainly false. Not is
// moved down to the comparisons, because around a relation it would turn
// "unknown" into true: no related record matches one with a null field.
//
//	not(some related x)  = every related is certainly not x
//	not(every related x) = some related is certainly not x
//	not(one related x)   = the related record is there and certainly not x
func negate(c *connectors.Condition) *connectors.Condition {
	switch c.Op {
	case connectors.OpNot:
		if len(c.Items) == 1 {
			return c.Items[0]
		}
	case connectors.OpAnd, connectors.OpOr:
		op := connectors.OpOr
		if c.Op == connectors.OpOr {
			op = connectors.OpAnd
		}
		out := &connectors.Condition{Op: op}
		for _, i := range c.Items {
			out.Items = append(out.Items, negate(i))
		}
		if op == connectors.OpAnd && len(out.Items) == 0 {
			return &connectors.Condition{Op: connectors.OpTrue}
		}
		return out
	case connectors.OpTrue:
		return connectors.Nothing()
	case connectors.OpRelated:
		return negateRelated(c)
	}
	return connectors.Not(c)
}

func negateRelated(c *connectors.Condition) *connectors.Condition {
	out := *c
	flip := func(q connectors.Quantifier) *connectors.Condition {
		out.Quantifier = q
		if c.Inner == nil {
			out.Inner = connectors.Nothing()
		} else {
			out.Inner = negate(c.Inner)
		}
		return &out
	}
	switch c.Quantifier {
	case connectors.QuantSome:
		if c.Inner == nil {
			out.Quantifier = connectors.QuantNone
			return &out
		}
		return flip(connectors.QuantEvery)
	case connectors.QuantEvery:
		return flip(connectors.QuantSome)
	case connectors.QuantNone:
		out.Quantifier = connectors.QuantSome
		return &out
	case connectors.QuantOne:
		return flip(connectors.QuantOne)
	}
	return connectors.Nothing()
}

// fence marks the condition of one line as that, by an "or" of one item: it means
// the same, and DenyMissing finds the line again in whatever the condition was
// put into.
func fence(c *connectors.Condition) *connectors.Condition {
	return &connectors.Condition{Op: connectors.OpOr, Items: []*connectors.Condition{c}}
}

func isFence(c *connectors.Condition) bool { return c.Op == connectors.OpOr && len(c.Items) == 1 }

// touches tells whether a condition looks at one of the fields (system names).
func touches(c *connectors.Condition, fields map[string]bool) bool {
	if c == nil {
		return false
	}
	if c.Field != "" && fields[c.Field] {
		return true
	}
	if c.Relation != nil {
		for _, f := range c.Relation.Fields {
			if fields[f] {
				return true
			}
		}
	}
	for _, i := range c.Items {
		if touches(i, fields) {
			return true
		}
	}
	return false
}
