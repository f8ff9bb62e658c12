package memory

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/countersign/countersign/connectors"
)

// A truth is SQL's: false, unknown or true.
type truth int8

const (
	isFalse truth = iota - 1
	isUnknown
	isTrue
)

func truthOf(b bool) truth {
	if b {
		return isTrue
	}
	return isFalse
}

// A predicate is a compiled condition over the rows of one table.
type predicate func(st *state, r *row) truth

// A compiler turns shapes into Go functions, with the values of one request. It
// refuses what the schema does not declare.
type compiler struct {
	schema   *connectors.Schema
	st       *state
	args     []connectors.Value
	nullsLow bool
}

func unsupported(format string, args ...any) error {
	return connectors.Errorf(connectors.CodeUnsupported, format, args...)
}

func badInput(format string, args ...any) error {
	return connectors.Errorf(connectors.CodeBadInput, format, args...)
}

// condition compiles c over t; nil is true for every row.
func (k *compiler) condition(t *table, c *connectors.Condition) (predicate, error) {
	if c == nil {
		return func(*state, *row) truth { return isTrue }, nil
	}
	switch c.Op {
	case connectors.OpTrue:
		return func(*state, *row) truth { return isTrue }, nil
	case connectors.OpAnd, connectors.OpOr:
		return k.connective(t, c)
	case connectors.OpNot:
		if len(c.Items) != 1 || c.Items[0] == nil {
			return nil, badInput("not takes exactly one condition")
		}
		inner, err := k.condition(t, c.Items[0])
		if err != nil {
			return nil, err
		}
		return func(st *state, r *row) truth { return -inner(st, r) }, nil
	case connectors.OpRelated:
		return k.related(t, c)
	}
	return k.comparison(t, c)
}

// connective is the minimum (and) or maximum (or) of its items.
func (k *compiler) connective(t *table, c *connectors.Condition) (predicate, error) {
	items := make([]predicate, 0, len(c.Items))
	for _, i := range c.Items {
		p, err := k.condition(t, i)
		if err != nil {
			return nil, err
		}
		items = append(items, p)
	}
	and := c.Op == connectors.OpAnd
	return func(st *state, r *row) truth {
		result := truthOf(and)
		for _, p := range items {
			if and {
				result = min(result, p(st, r))
			} else {
				result = max(result, p(st, r))
			}
		}
		return result
	}, nil
}

func (k *compiler) related(t *table, c *connectors.Condition) (predicate, error) {
	if !k.schema.Capabilities.Related {
		return nil, unsupported("conditions on related records are not supported")
	}
	if c.Relation == nil {
		return nil, badInput("a related condition without a relation")
	}
	others, other, err := k.join(t, c.Relation)
	if err != nil {
		return nil, err
	}
	inner, err := k.condition(other, c.Inner)
	if err != nil {
		return nil, err
	}
	exists := func(st *state, r *row, want func(truth) bool) bool {
		return slices.ContainsFunc(others(st, r), func(o *row) bool { return want(inner(st, o)) })
	}
	holds := func(v truth) bool { return v == isTrue }
	fails := func(v truth) bool { return v != isTrue }
	switch c.Quantifier {
	case connectors.QuantOne, connectors.QuantSome:
		return func(st *state, r *row) truth { return truthOf(exists(st, r, holds)) }, nil
	case connectors.QuantNone:
		return func(st *state, r *row) truth { return truthOf(!exists(st, r, holds)) }, nil
	case connectors.QuantEvery:
		return func(st *state, r *row) truth { return truthOf(!exists(st, r, fails)) }, nil
	}
	return nil, badInput("there is no quantifier %q", c.Quantifier)
}

// join compiles a relation: the related records of a record of t that the
// relation's condition lets be seen.
func (k *compiler) join(t *table, rel *connectors.Relation) (others func(*state, *row) []*row, other *table, err error) {
	other = k.st.tables[rel.To]
	if other == nil || len(rel.Fields) == 0 || len(rel.Fields) != len(rel.On) {
		return nil, nil, badInput("a relation that does not fit the schema")
	}
	for i := range rel.Fields {
		if t.field(rel.Fields[i]) == nil || other.field(rel.On[i]) == nil {
			return nil, nil, badInput("a relation over fields that do not exist")
		}
	}
	visible, err := k.condition(other, rel.Where)
	if err != nil {
		return nil, nil, err
	}
	// The records are put in order by what they are joined over once per state:
	// no state changes while one compiled relation is asked.
	var mu sync.Mutex
	var indexed *state
	var index map[string][]*row
	return func(st *state, r *row) []*row {
		mu.Lock()
		defer mu.Unlock()
		if indexed != st {
			indexed, index = st, map[string][]*row{}
			for _, o := range st.tables[rel.To].rows {
				if key, ok := other.keyOf(o, rel.On); ok && visible(st, o) == isTrue {
					index[key] = append(index[key], o)
				}
			}
		}
		var b strings.Builder
		for i, name := range rel.Fields {
			v := t.value(r, name)
			if v.IsNull() {
				return nil
			}
			AppendIdentity(&b, other.field(rel.On[i]).Type.Leaf(), v)
		}
		return index[b.String()]
	}, other, nil
}

func (k *compiler) comparison(t *table, c *connectors.Condition) (predicate, error) {
	if !knownOp(c.Op) {
		return nil, badInput("there is no comparison %q", c.Op)
	}
	f := t.field(c.Field)
	if f == nil || f.WriteOnly {
		return nil, unsupported("there is no field %q", c.Field)
	}
	if !slices.Contains(f.Filter, c.Op) {
		return nil, unsupported("%s cannot be compared by %s", c.Field, c.Op)
	}
	test, err := k.test(f, c.Op, c.Operand.Value(k.args))
	if err != nil {
		return nil, err
	}
	i := t.index[c.Field]
	return func(_ *state, r *row) truth { return test(r.vals[i]) }, nil
}

func knownOp(op connectors.Op) bool {
	switch op {
	case connectors.OpEq, connectors.OpNe, connectors.OpIn, connectors.OpNotIn, connectors.OpGt, connectors.OpGte,
		connectors.OpLt, connectors.OpLte, connectors.OpIsNull, connectors.OpLike, connectors.OpILike,
		connectors.OpStartsWith, connectors.OpEndsWith, connectors.OpContains, connectors.OpHasKey, connectors.OpSearch:
		return true
	}
	return false
}

// test compiles the comparison of a value of the field's type with an operand.
func (k *compiler) test(f *connectors.Field, op connectors.Op, operand connectors.Value) (func(connectors.Value) truth, error) {
	switch op {
	case connectors.OpIsNull:
		if operand.Kind != connectors.KindBool {
			return nil, badInput("isNull takes true or false")
		}
		want := operand.Text == "true"
		return func(v connectors.Value) truth { return truthOf(v.IsNull() == want) }, nil
	case connectors.OpIn, connectors.OpNotIn:
		return membership(f, op, operand)
	case connectors.OpEq, connectors.OpNe, connectors.OpGt, connectors.OpGte, connectors.OpLt, connectors.OpLte:
		want, err := canon(f.Type, operand)
		if err != nil {
			return nil, badInput("the operand of %s.%s: %v", f.Name, op, err)
		}
		leaf := f.Type.Leaf()
		return func(v connectors.Value) truth {
			if v.IsNull() || want.IsNull() {
				return isUnknown
			}
			return truthOf(holds(op, Compare(leaf, v, want)))
		}, nil
	}
	if operand.Kind == connectors.KindNull {
		return func(connectors.Value) truth { return isUnknown }, nil
	}
	if operand.Kind != connectors.KindString {
		return nil, badInput("the operand of %s.%s must be text", f.Name, op)
	}
	match, err := textMatch(op, operand.Text)
	if err != nil {
		return nil, err
	}
	return func(v connectors.Value) truth {
		if v.IsNull() {
			return isUnknown
		}
		return truthOf(match(v.Text))
	}, nil
}

func holds(op connectors.Op, order int) bool {
	switch op {
	case connectors.OpEq:
		return order == 0
	case connectors.OpNe:
		return order != 0
	case connectors.OpGt:
		return order > 0
	case connectors.OpGte:
		return order >= 0
	case connectors.OpLt:
		return order < 0
	}
	return order <= 0
}

// membership is SQL's IN: unknown where only a null could have been equal, and
// false for an empty list even for null.
func membership(f *connectors.Field, op connectors.Op, operand connectors.Value) (func(connectors.Value) truth, error) {
	if operand.Kind != connectors.KindList {
		return nil, badInput("%s takes a list", op)
	}
	leaf, hasNull := f.Type.Leaf(), false
	var items []connectors.Value
	for _, i := range operand.Items {
		c, err := canon(f.Type, i)
		if err != nil {
			return nil, badInput("an operand of %s.%s: %v", f.Name, op, err)
		}
		if c.IsNull() {
			hasNull = true
			continue
		}
		items = append(items, c)
	}
	in := func(v connectors.Value) truth {
		if len(operand.Items) == 0 {
			return isFalse
		}
		if v.IsNull() {
			return isUnknown
		}
		for _, i := range items {
			if Compare(leaf, v, i) == 0 {
				return isTrue
			}
		}
		if hasNull {
			return isUnknown
		}
		return isFalse
	}
	if op == connectors.OpNotIn {
		return func(v connectors.Value) truth { return -in(v) }, nil
	}
	return in, nil
}

func textMatch(op connectors.Op, operand string) (func(string) bool, error) {
	switch op {
	case connectors.OpStartsWith:
		return func(s string) bool { return strings.HasPrefix(s, operand) }, nil
	case connectors.OpEndsWith:
		return func(s string) bool { return strings.HasSuffix(s, operand) }, nil
	case connectors.OpContains:
		return func(s string) bool { return strings.Contains(s, operand) }, nil
	case connectors.OpSearch:
		words := strings.Fields(strings.ToLower(operand))
		return func(s string) bool {
			s = strings.ToLower(s)
			for _, w := range words {
				if !strings.Contains(s, w) {
					return false
				}
			}
			return true
		}, nil
	case connectors.OpHasKey:
		return func(s string) bool {
			var object map[string]json.RawMessage
			if json.Unmarshal([]byte(s), &object) != nil {
				return false
			}
			_, ok := object[operand]
			return ok
		}, nil
	case connectors.OpLike:
		pattern, err := parseLike(operand)
		return func(s string) bool { return like([]rune(s), pattern) }, err
	case connectors.OpILike:
		pattern, err := parseLike(strings.ToLower(operand))
		return func(s string) bool { return like([]rune(strings.ToLower(s)), pattern) }, err
	}
	return nil, badInput("there is no comparison %q", op)
}

// likeAny and likeOne stand for % and _ in a parsed pattern; they are no runes.
const (
	likeAny rune = -1
	likeOne rune = -2
)

func parseLike(pattern string) ([]rune, error) {
	var out []rune
	escaped := false
	for _, c := range pattern {
		switch {
		case escaped:
			out, escaped = append(out, c), false
		case c == '\\':
			escaped = true
		case c == '%':
			out = append(out, likeAny)
		case c == '_':
			out = append(out, likeOne)
		default:
			out = append(out, c)
		}
	}
	if escaped {
		return nil, badInput("a pattern must not end with a single backslash")
	}
	return out, nil
}

// like matches with one memory of the last %, which is enough.
func like(s, pattern []rune) bool {
	i, p, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == likeAny:
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == likeOne || pattern[p] == s[i]):
			i++
			p++
		case star >= 0:
			mark++
			i, p = mark, star+1
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == likeAny {
		p++
	}
	return p == len(pattern)
}
