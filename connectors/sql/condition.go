package sql

import (
	"strings"

	"github.com/countersign/countersign/connectors"
)

// maxDepth bounds the nesting of a condition; a deeper one is refused, because
// the systems' own parsers have limits too.
const maxDepth = 200

// A conditions compiler writes conditions of one model; it is shared by reads
// and writes.
type conditions struct {
	m *model
	b *builder
}

func malformed(what string) error {
	return connectors.Errorf(connectors.CodeBadInput, "malformed condition: %s", what)
}

// compile writes a condition over the record named by alias. The result stands
// in parentheses where it needs them.
func (c conditions) compile(t *table, alias string, cond *connectors.Condition, depth int) (string, error) {
	if cond == nil {
		return "true", nil
	}
	if depth > maxDepth {
		return "", connectors.Errorf(connectors.CodeBadInput, "the condition is nested too deeply")
	}
	switch cond.Op {
	case connectors.OpTrue:
		return "true", nil
	case connectors.OpAnd, connectors.OpOr:
		return c.connective(t, alias, cond, depth)
	case connectors.OpNot:
		if len(cond.Items) != 1 || cond.Items[0] == nil {
			return "", malformed("not takes exactly one item")
		}
		inner, err := c.compile(t, alias, cond.Items[0], depth+1)
		if err != nil {
			return "", err
		}
		return "(not " + inner + ")", nil
	case connectors.OpRelated:
		return c.related(t, alias, cond, depth)
	}
	return c.comparison(t, alias, cond)
}

func (c conditions) connective(t *table, alias string, cond *connectors.Condition, depth int) (string, error) {
	word, empty := " and ", "true"
	if cond.Op == connectors.OpOr {
		word, empty = " or ", "false"
	}
	if len(cond.Items) == 0 {
		return empty, nil
	}
	parts := make([]string, len(cond.Items))
	for i, item := range cond.Items {
		p, err := c.compile(t, alias, item, depth+1)
		if err != nil {
			return "", err
		}
		parts[i] = p
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return "(" + strings.Join(parts, word) + ")", nil
}

// comparison writes one comparison of a field.
func (c conditions) comparison(t *table, alias string, cond *connectors.Condition) (string, error) {
	col, err := t.column(cond.Field)
	if err != nil {
		return "", err
	}
	if !knownOp(cond.Op) {
		return "", malformed("there is no such comparison")
	}
	if !col.typ.has(cond.Op) {
		return "", connectors.Errorf(connectors.CodeUnsupported, "the system cannot compare the field with %q", string(cond.Op)).At(cond.Field)
	}
	if cond.Operand.Arg < 0 {
		return "", malformed("an operand refers to no argument")
	}
	e := col.expr(alias)
	if word, ok := compareWords[cond.Op]; ok {
		place := c.b.value(paramValue, col, cond.Operand)
		if special := c.m.d.compare(cond.Op, alias, col, place); special != "" {
			return special, nil
		}
		return "(" + e + word + place + ")", nil
	}
	switch cond.Op {
	case connectors.OpIn, connectors.OpNotIn:
		return "(" + c.m.d.in(e, c.b.value(paramList, col, cond.Operand), &col.typ, cond.Op == connectors.OpNotIn) + ")", nil
	case connectors.OpIsNull:
		return c.isNull(col, alias, cond)
	case connectors.OpHasKey:
		return "(" + c.m.d.hasKey(e, c.b.value(paramText, col, cond.Operand)) + ")", nil
	}
	return "(" + c.m.d.match(cond.Op, e, c.b.value(matchKinds[cond.Op], col, cond.Operand)) + ")", nil
}

// compareWords are the comparisons with one value; never written to.
var compareWords = map[connectors.Op]string{
	connectors.OpEq: " = ", connectors.OpNe: " <> ", connectors.OpGt: " > ", connectors.OpGte: " >= ", connectors.OpLt: " < ", connectors.OpLte: " <= ",
}

// matchKinds are the comparisons by pattern; never written to.
var matchKinds = map[connectors.Op]paramKind{
	connectors.OpLike: paramLike, connectors.OpILike: paramILike, connectors.OpStartsWith: paramPrefix,
	connectors.OpEndsWith: paramSuffix, connectors.OpContains: paramContains,
}

// knownOp tells whether the contract has the comparison at all.
func knownOp(op connectors.Op) bool {
	switch op {
	case connectors.OpIn, connectors.OpNotIn, connectors.OpIsNull, connectors.OpHasKey, connectors.OpSearch:
		return true
	}
	_, compares := compareWords[op]
	_, matches := matchKinds[op]
	return compares || matches
}

// isNull is text where the operand is constant, so that an index can serve it.
func (c conditions) isNull(col *column, alias string, cond *connectors.Condition) (string, error) {
	e := col.plain(alias)
	if cond.Operand.Arg > 0 {
		return "((" + e + " is null) = " + c.b.value(paramBool, col, cond.Operand) + ")", nil
	}
	switch v := cond.Operand.Const; {
	case v.Kind == connectors.KindBool && v.Text == "true":
		return "(" + e + " is null)", nil
	case v.Kind == connectors.KindBool:
		return "(" + e + " is not null)", nil
	}
	return "", malformed("isNull takes true or false")
}

// related writes a condition on related records as EXISTS. Every related
// record must be known to match for every: one for which the condition is
// unknown does not.
func (c conditions) related(t *table, alias string, cond *connectors.Condition, depth int) (string, error) {
	r := cond.Relation
	if r == nil {
		return "", malformed("related needs a relation")
	}
	to, other, on, err := c.join(t, alias, r)
	if err != nil {
		return "", err
	}
	if r.Where != nil {
		w, err := c.compile(to, other, r.Where, depth+1)
		if err != nil {
			return "", err
		}
		on += " and " + w
	}
	inner, err := c.compile(to, other, cond.Inner, depth+1)
	if err != nil {
		return "", err
	}
	word := "(exists"
	switch cond.Quantifier {
	case connectors.QuantSome, connectors.QuantOne:
	case connectors.QuantNone:
		word = "(not exists"
	case connectors.QuantEvery:
		word, inner = "(not exists", "("+inner+" is not true)"
	default:
		return "", malformed("unknown quantifier")
	}
	if inner != "true" {
		on += " and " + inner
	}
	return word + " (select 1 from " + to.sql + " " + other + " where " + on + "))", nil
}

// join writes the equality of a relation's columns.
func (c conditions) join(t *table, alias string, r *connectors.Relation) (to *table, other, on string, err error) {
	if to, err = c.m.table(r.To); err != nil {
		return nil, "", "", err
	}
	if len(r.Fields) == 0 || len(r.Fields) != len(r.On) {
		return nil, "", "", malformed("a relation joins as many fields as it names")
	}
	from, err := t.all(r.Fields)
	if err != nil {
		return nil, "", "", err
	}
	target, err := to.all(r.On)
	if err != nil {
		return nil, "", "", err
	}
	other = c.b.next("r")
	parts := make([]string, len(from))
	for i := range from {
		parts[i] = target[i].plain(other) + " = " + from[i].plain(alias)
	}
	return to, other, strings.Join(parts, " and "), nil
}
