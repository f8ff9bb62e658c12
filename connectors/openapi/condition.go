package openapi

import (
	"encoding/json"
	"slices"
	"strconv"

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

// A row is a record as it was answered, its fields read once each.
type row struct {
	members record
	cells   map[string][]byte
	version string          // ETag, where the record was read by itself
	whole   json.RawMessage // an item of a function's answer
}

// cell is a field of a row.
func (t *table) cell(r *row, f *connectors.Field) []byte {
	if c, ok := r.cells[f.Name]; ok {
		return c
	}
	c := t.decoder.append(nil, r.members[f.Name], f.Type, 0)
	if r.cells == nil {
		r.cells = make(map[string][]byte, len(r.members))
	}
	r.cells[f.Name] = c
	return c
}

// value is a field of a row; null where the cell is.
func (t *table) value(r *row, f *connectors.Field) connectors.Value {
	leaf := f.Type.Leaf()
	if f.Type.List {
		leaf = connectors.ScalarJSON
	}
	v, err := connectors.ParseCell(t.cell(r, f), leaf)
	if err != nil {
		return connectors.Null
	}
	return v
}

// A table is a collection with the values of one request.
type table struct {
	*collection
	decoder *decoder
	args    []connectors.Value
}

// place is where the record with the key is, over all collections.
func (t *table) place(key []connectors.Value) string {
	place := t.name
	for i, name := range t.spec.Key {
		text := meaning(t.spec.Field(name).Type, key[i])
		place += " " + strconv.Itoa(len(text)) + ":" + text
	}
	return place
}

// A predicate is a compiled condition.
type predicate func(*row) truth

// condition compiles c; nil is true for every row. Comparisons that the
// collection does not declare are refused. Everything is evaluated here, also
// what the system was asked to filter by: what it answers beyond that is left
// out, and its own ideas of equality decide nothing.
func (t *table) condition(c *connectors.Condition) (predicate, error) {
	if c == nil {
		return func(*row) truth { return isTrue }, nil
	}
	switch c.Op {
	case connectors.OpTrue:
		return func(*row) truth { return isTrue }, nil
	case connectors.OpAnd, connectors.OpOr:
		return t.connective(c)
	case connectors.OpNot:
		if len(c.Items) != 1 || c.Items[0] == nil {
			return nil, badInput("not takes exactly one condition")
		}
		inner, err := t.condition(c.Items[0])
		if err != nil {
			return nil, err
		}
		return func(r *row) truth { return -inner(r) }, nil
	case connectors.OpRelated:
		return nil, unsupported("conditions on related records are not supported by this source")
	}
	return t.comparison(c)
}

func (t *table) connective(c *connectors.Condition) (predicate, error) {
	items := make([]predicate, 0, len(c.Items))
	for _, i := range c.Items {
		p, err := t.condition(i)
		if err != nil {
			return nil, err
		}
		items = append(items, p)
	}
	and := c.Op == connectors.OpAnd
	return func(r *row) truth {
		result := truthOf(and)
		for _, p := range items {
			if and {
				result = min(result, p(r))
			} else {
				result = max(result, p(r))
			}
		}
		return result
	}, nil
}

func (t *table) comparison(c *connectors.Condition) (predicate, error) {
	f := t.spec.Field(c.Field)
	if f == nil || f.WriteOnly {
		return nil, unsupported("%s has no field %q", t.name, c.Field)
	}
	if !slices.Contains(f.Filter, c.Op) {
		if !knownOp(c.Op) {
			return nil, badInput("there is no comparison %q", c.Op)
		}
		return nil, unsupported("%s.%s cannot be compared by %s", t.name, c.Field, c.Op)
	}
	operands, isNull, err := t.operands(f, c)
	if err != nil {
		return nil, err
	}
	leaf := f.Type.Leaf()
	return func(r *row) truth {
		if c.Op == connectors.OpIn && len(operands) == 0 && !isNull {
			return isFalse
		}
		v := t.value(r, f)
		if v.IsNull() {
			return isUnknown
		}
		for _, w := range operands {
			if holds(c.Op, compare(leaf, v, w)) {
				return isTrue
			}
		}
		if isNull {
			return isUnknown
		}
		return isFalse
	}, nil
}

// operands are the values of a comparison in canonical form; isNull tells that
// one of them is null.
func (t *table) operands(f *connectors.Field, c *connectors.Condition) (list []connectors.Value, isNull bool, err error) {
	operand := c.Operand.Value(t.args)
	values := []connectors.Value{operand}
	if c.Op == connectors.OpIn {
		if operand.Kind != connectors.KindList {
			return nil, false, badInput("%s takes a list", c.Op)
		}
		values = operand.Items
	}
	seen := make(map[string]bool, len(values))
	for _, v := range values {
		if v.Kind == connectors.KindNull {
			isNull = true
			continue
		}
		w, ok := canon(v, f.Type)
		if !ok {
			return nil, false, badInput("the operand of %s.%s is missing or no %s", c.Field, c.Op, f.Type.Leaf())
		}
		if id := meaning(f.Type, w); !seen[id] {
			seen[id] = true
			list = append(list, w)
		}
	}
	return list, isNull, nil
}

func holds(op connectors.Op, order int) bool {
	switch op {
	case connectors.OpGt:
		return order > 0
	case connectors.OpGte:
		return order >= 0
	case connectors.OpLt:
		return order < 0
	case connectors.OpLte:
		return order <= 0
	}
	return order == 0
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

// never tells that a condition matches nothing whatever the records hold.
func (t *table) never(c *connectors.Condition) bool {
	switch {
	case c == nil:
		return false
	case c.Op == connectors.OpOr:
		return !slices.ContainsFunc(c.Items, func(i *connectors.Condition) bool { return !t.never(i) })
	case c.Op == connectors.OpAnd:
		return slices.ContainsFunc(c.Items, t.never)
	case c.Field == "":
		return false
	}
	f := t.spec.Field(c.Field)
	if f == nil {
		return false
	}
	list, _, err := t.operands(f, c)
	return err == nil && len(list) == 0
}

// required are the comparisons that every record must pass: those joined by
// and at the top.
func required(c *connectors.Condition) []*connectors.Condition {
	switch {
	case c == nil:
		return nil
	case c.Op == connectors.OpAnd:
		var out []*connectors.Condition
		for _, i := range c.Items {
			out = append(out, required(i)...)
		}
		return out
	case c.Field != "":
		return []*connectors.Condition{c}
	case c.Op == connectors.OpOr && len(c.Items) == 1:
		return required(c.Items[0]) // the fence of a line of the policy
	}
	return nil
}

// simple tells whether a condition is nothing but its required comparisons.
func simple(c *connectors.Condition) bool {
	switch {
	case c == nil || c.Op == connectors.OpTrue || c.Field != "":
		return true
	case c.Op == connectors.OpAnd:
		return !slices.ContainsFunc(c.Items, func(i *connectors.Condition) bool { return !simple(i) })
	}
	return c.Op == connectors.OpOr && len(c.Items) == 1 && simple(c.Items[0])
}

// keyed are the keys that the condition fixes, one list of values each; ok is
// false where it does not fix the whole key.
func (t *table) keyed(c *connectors.Condition) (keys [][]connectors.Value, ok bool) {
	if len(t.spec.Key) == 0 {
		return nil, false
	}
	keys = [][]connectors.Value{nil}
	for _, name := range t.spec.Key {
		var values []connectors.Value
		found := false
		for _, i := range required(c) {
			if i.Field == name && !found && (i.Op == connectors.OpEq || i.Op == connectors.OpIn && len(t.spec.Key) == 1) {
				list, _, err := t.operands(t.spec.Field(name), i)
				values, found = list, err == nil
			}
		}
		if !found {
			return nil, false
		}
		var next [][]connectors.Value
		for _, k := range keys {
			for _, v := range values {
				next = append(next, append(slices.Clone(k), v))
			}
		}
		keys = next
	}
	return keys, true
}

// pushed are the arguments of the list that the condition allows to send, each
// parameter once; exact tells that nothing is left to be filtered here beside
// what was sent.
func (t *table) pushed(e *encoder, c *connectors.Condition, taken *param) (args []connectors.Member, exact bool) {
	exact = simple(c)
	used := map[*param]bool{}
	if taken != nil {
		used[taken] = true
	}
	for _, i := range required(c) {
		f := t.spec.Field(i.Field)
		p := t.filter[i.Field][i.Op]
		if f == nil || p == nil || used[p] {
			exact = false
			continue
		}
		list, _, err := t.operands(f, i)
		v, ok := e.fit(p, list)
		if err != nil || !ok {
			exact = false
			continue
		}
		used[p] = true
		args = append(args, connectors.Member{Name: p.field.Name, Value: v})
	}
	return args, exact
}

// fit is what a filter parameter is sent for these values; ok is false where
// they cannot be said in it.
func (e *encoder) fit(p *param, values []connectors.Value) (connectors.Value, bool) {
	item := p.field.Type
	item.List = false
	if len(values) == 0 || !p.field.Type.List && len(values) != 1 || p.list > 0 && len(values) > p.list || len(values) > 200 {
		return connectors.Value{}, false
	}
	for _, v := range values {
		text, err := e.text(v, item)
		// Nothing at all usually means no filter, and a comma another value.
		if err != nil || text == "" || p.field.Type.List && !p.explode && slices.Contains([]byte(text), ',') {
			return connectors.Value{}, false
		}
	}
	if p.field.Type.List {
		return connectors.ListOf(values...), true
	}
	return values[0], true
}
