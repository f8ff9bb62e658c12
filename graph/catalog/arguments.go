package catalog

import (
	"strconv"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// OrderTerms reads an orderBy argument: a list whose elements name one field
// each. The key as last tie-break is not appended. An absent or empty order has
// no terms.
func OrderTerms(c *Collection, in Input, o InputOptions) ([]connectors.OrderTerm, error) {
	r := newReader(o)
	items, err := r.items(in)
	if err != nil {
		return nil, r.public(err)
	}
	var out []connectors.OrderTerm
	for i, item := range items {
		item, err := r.part(item)
		if err == nil {
			var t connectors.OrderTerm
			if t, err = r.orderTerm(c, item, nil); err == nil {
				out = append(out, t)
			}
		}
		if err != nil {
			return nil, r.public(inside(err, strconv.Itoa(i)))
		}
	}
	return out, nil
}

// items are the elements of an argument that is a list, or one element.
func (r *reader) items(in Input) ([]raw, error) {
	v, err := r.structure(in.raw())
	switch {
	case err != nil || v.kind == rawAbsent || v.kind == rawNull:
		return nil, err
	case v.kind == rawList:
		return v.list, nil
	}
	return []raw{v}, nil
}

func (r *reader) orderTerm(c *Collection, v raw, via []connectors.Relation) (connectors.OrderTerm, error) {
	var none connectors.OrderTerm
	if v.kind != rawObject || len(v.members) != 1 {
		return none, r.fail(v, "exactly one field is expected")
	}
	if err := r.deeper(v); err != nil {
		return none, err
	}
	m := v.members[0]
	if f := c.fields[m.name]; f != nil && f.Spec.Order && r.usable(c, f) {
		value, err := r.part(m.value)
		if err != nil {
			return none, inside(err, m.name)
		}
		for _, d := range directions {
			if d.name == value.text && (value.kind == rawEnum || value.kind == rawText && value.literal == nil) {
				return connectors.OrderTerm{Field: f.System, Via: via, Desc: d.desc, Nulls: d.nulls}, nil
			}
		}
		return none, inside(r.fail(value, "a value of OrderDirection is expected"), m.name)
	}
	rel := c.relations[m.name]
	if rel == nil || rel.Many || !rel.Filterable() || !r.passable(rel) {
		return none, inside(r.fail(m.value, c.Type+" has no such field to order by"), m.name)
	}
	inner, err := r.part(m.value)
	if err != nil {
		return none, inside(err, m.name)
	}
	link := rel.Connector()
	if r.o.Related != nil {
		link.Where = r.o.Related(rel)
	}
	t, err := r.orderTerm(rel.To, inner, append(via[:len(via):len(via)], link))
	if err != nil {
		return none, inside(err, m.name)
	}
	return t, nil
}

// KeyOperands reads the key's own arguments of customer, updateCustomer and
// deleteCustomer: one Assigned per key field, in the key's order.
func KeyOperands(c *Collection, args map[string]Input, o InputOptions) ([]Assigned, error) {
	r := newReader(o)
	var out []Assigned
	for _, k := range c.Key {
		operand, err := r.operand(args[k.Name].raw(), k.Type, false)
		if err != nil {
			return nil, r.public(inside(err, k.Name))
		}
		out = append(out, Assigned{Field: k, Operand: operand})
	}
	return out, nil
}

// UniqueOperands reads the key argument of customerBy: exactly one of the
// unique keys.
func UniqueOperands(c *Collection, in Input, o InputOptions) ([]Assigned, error) {
	r := newReader(o)
	v, err := r.part(in.raw())
	if err != nil {
		return nil, r.public(err)
	}
	if v.kind != rawObject || len(v.members) != 1 {
		return nil, bad("exactly one key is expected")
	}
	m := v.members[0]
	for _, u := range c.Uniques {
		if u.Name != m.name || !r.allUsable(c, u.Fields) {
			continue
		}
		out, err := r.unique(u, m.value)
		if err != nil {
			return nil, r.public(inside(err, m.name))
		}
		return out, nil
	}
	return nil, r.public(inside(r.fail(m.value, c.Type+" has no such key"), m.name))
}

func (r *reader) allUsable(c *Collection, fields []*Field) bool {
	for _, f := range fields {
		if !r.usable(c, f) {
			return false
		}
	}
	return true
}

func (r *reader) unique(u *Unique, v raw) ([]Assigned, error) {
	if len(u.Fields) == 1 {
		operand, err := r.operand(v, u.Fields[0].Type, false)
		return []Assigned{{Field: u.Fields[0], Operand: operand}}, err
	}
	v, err := r.part(v)
	if err != nil {
		return nil, err
	}
	values := map[string]raw{}
	for _, m := range v.members {
		values[m.name] = m.value
	}
	var out []Assigned
	for _, f := range u.Fields {
		value, ok := values[f.Name]
		if !ok {
			return nil, r.fail(v, "the key has more fields")
		}
		operand, err := r.operand(value, f.Type, false)
		if err != nil {
			return nil, inside(err, f.Name)
		}
		out = append(out, Assigned{Field: f, Operand: operand})
		delete(values, f.Name)
	}
	if len(values) > 0 || v.kind != rawObject {
		return nil, r.fail(v, "not a field of this key")
	}
	return out, nil
}

// RecordInput reads the input of a create or the patch of an update, in the
// order of the collection's fields. A field that was not given, or is a
// variable without value, is not among the result. Values that their field
// would round, truncate or pad are CodeValidationFailed where they are known
// now; CheckFits does it for those that come with an argument. An empty patch
// is CodeBadInput.
func RecordInput(c *Collection, act policy.Act, in Input, o InputOptions) ([]Assigned, error) {
	r := newReader(o)
	v, err := r.part(in.raw())
	if err != nil {
		return nil, r.public(err)
	}
	patch := act == policy.Update
	allowed := func(f *Field) bool {
		if o.View != nil {
			a := o.View.Object(c.Object)
			if a == nil || patch && !writes(a.Update, f) || !patch && !writes(a.Create, f) {
				return false
			}
		}
		return f.writable(patch, c)
	}
	out, err := r.assignments(c.Fields, c.fields, v, allowed, func(f *Field, v raw) (Assigned, error) {
		if patch && c.increments(f) {
			return r.change(f, v)
		}
		return r.assigned(f, v)
	})
	if err != nil {
		return nil, r.public(err)
	}
	if patch {
		if len(out) == 0 {
			return nil, bad("the patch is empty")
		}
		return out, nil
	}
	return out, r.requireAll(c.Fields, out, allowed)
}

// CallArguments reads the arguments of a function: those of its root field
// where it reads, the members of the argument input where it writes.
func CallArguments(f *Function, args map[string]Input, o InputOptions) ([]Assigned, error) {
	r := newReader(o)
	allowed := func(a *Field) bool {
		if o.View != nil {
			access := o.View.Object(f.Object)
			if access == nil || !writes(access.Call, a) {
				return false
			}
		}
		return a.gives()
	}
	v := raw{kind: rawObject}
	if f.Reads() {
		for _, name := range sortedKeys(args) {
			if value := args[name].raw(); value.kind != rawAbsent {
				v.members = append(v.members, rawMember{name: name, value: value})
			}
		}
	} else if in := args["input"].raw(); in.kind != rawAbsent {
		var err error
		if v, err = r.part(in); err != nil {
			return nil, r.public(inside(err, "input"))
		}
	}
	out, err := r.assignments(f.Args, f.args, v, allowed, r.assigned)
	if err != nil {
		return nil, r.public(err)
	}
	return out, r.requireAll(f.Args, out, allowed)
}

// assignments reads the members of an object into values for fields.
func (r *reader) assignments(fields []*Field, by map[string]*Field, v raw, allowed func(*Field) bool, read func(*Field, raw) (Assigned, error)) ([]Assigned, error) {
	if v.kind != rawObject {
		return nil, r.fail(v, "an object is expected")
	}
	given := map[*Field]Assigned{}
	for _, m := range v.members {
		f := by[m.name]
		if f == nil || !allowed(f) {
			return nil, inside(r.fail(m.value, "there is no such field to give"), m.name)
		}
		if _, twice := given[f]; twice {
			return nil, inside(r.fail(m.value, "given twice"), m.name)
		}
		a, err := read(f, m.value)
		if err != nil {
			return nil, inside(err, m.name)
		}
		if a.Operand.Arg > 0 || a.Operand.Const.Kind != connectors.KindAbsent {
			given[f] = a
		}
	}
	var out []Assigned
	for _, f := range fields {
		if a, ok := given[f]; ok {
			out = append(out, a)
		}
	}
	return out, nil
}

// assigned reads one value for a field.
func (r *reader) assigned(f *Field, v raw) (Assigned, error) {
	out := Assigned{Field: f}
	if v.variable {
		if r.o.Variables == nil {
			return out, r.fail(v, "a variable cannot stand here")
		}
		var err error
		if out.Operand, err = r.o.Variables.Operand(v.literal, f.Type, f.Type.List); err != nil {
			return out, r.coercionError(v, err)
		}
	} else {
		value, err := coerceAny(v, f.Type, false)
		if err != nil {
			return out, r.coercionError(v, err)
		}
		out.Operand = connectors.Const(value)
	}
	if out.Operand.Arg > 0 {
		return out, nil
	}
	if out.Operand.Const.Kind == connectors.KindNull && !f.Spec.Nullable {
		return out, r.fail(v, "null is not allowed here")
	}
	if err := CheckFits(out.Operand.Const, f.Type); err != nil {
		return out, r.coercionError(v, err)
	}
	return out, nil
}

// change reads {set: …} or {increment: …}; null sets null.
func (r *reader) change(f *Field, v raw) (Assigned, error) {
	out := Assigned{Field: f}
	value, err := r.structure(v)
	switch {
	case err != nil || value.kind == rawAbsent:
		return out, err
	case value.kind == rawNull:
		return r.assigned(f, value)
	case value.kind != rawObject || len(value.members) != 1:
		return out, r.fail(v, "exactly one of set and increment is expected")
	}
	m := value.members[0]
	if m.name != "set" && m.name != "increment" {
		return out, inside(r.fail(m.value, "set or increment is expected"), m.name)
	}
	if m.value.kind == rawNull {
		return out, inside(r.fail(m.value, "null cannot stand here"), m.name)
	}
	out, err = r.assigned(f, m.value)
	if err != nil {
		return out, inside(err, m.name)
	}
	if out.Operand.Arg == 0 && out.Operand.Const.Kind == connectors.KindAbsent {
		return out, inside(r.fail(m.value, "the variable $"+variableName(m.value)+" has no value"), m.name)
	}
	out.Increment = m.name == "increment"
	return out, nil
}

// requireAll checks that what must be given is given.
func (r *reader) requireAll(fields []*Field, given []Assigned, allowed func(*Field) bool) error {
	has := map[*Field]bool{}
	for _, a := range given {
		has[a.Field] = true
	}
	for _, f := range fields {
		if !has[f] && !f.Spec.Nullable && !f.Spec.Default && allowed(f) {
			return bad("this field is required").At(f.Name)
		}
	}
	return nil
}

// GroupFields reads the by argument of customersGroups.
func GroupFields(c *Collection, in Input, o InputOptions) ([]*Field, error) {
	r := newReader(o)
	items, err := r.items(in)
	if err != nil {
		return nil, r.public(err)
	}
	var out []*Field
	for i, item := range items {
		item, err := r.part(item)
		if err != nil {
			return nil, r.public(inside(err, strconv.Itoa(i)))
		}
		f := c.groupBy[item.text]
		if f == nil || !r.usable(c, f) || item.kind != rawEnum && (item.kind != rawText || item.literal != nil) {
			return nil, r.public(inside(r.fail(item, c.Type+" has no such field to group by"), strconv.Itoa(i)))
		}
		for _, g := range out {
			if f == g {
				return nil, r.public(inside(r.fail(item, "given twice"), strconv.Itoa(i)))
			}
		}
		out = append(out, f)
	}
	if len(out) == 0 {
		return nil, bad("at least one field to group by is expected")
	}
	return out, nil
}

// HavingTerms reads the having argument of customersGroups; all terms must
// hold.
func HavingTerms(c *Collection, in Input, o InputOptions) ([]connectors.Having, error) {
	r := newReader(o)
	v, err := r.structure(in.raw())
	if err != nil || v.kind == rawAbsent || v.kind == rawNull {
		return nil, r.public(err)
	}
	if v.kind != rawObject {
		return nil, bad("an object is expected")
	}
	var out []connectors.Having
	for _, m := range v.members {
		value, err := r.part(m.value)
		if err == nil {
			var terms []connectors.Having
			terms, err = r.having(c, connectors.AggregateFunc(m.name), value)
			out = append(out, terms...)
		}
		if err != nil {
			return nil, r.public(inside(err, m.name))
		}
	}
	return out, nil
}

func (r *reader) having(c *Collection, fn connectors.AggregateFunc, v raw) ([]connectors.Having, error) {
	if fn == connectors.AggCount {
		return r.havingTerms(connectors.AggregateValue{Func: fn}, connectors.ScalarSafeInt, v)
	}
	if v.kind != rawObject || len(v.members) == 0 {
		return nil, r.fail(v, "an object with fields is expected")
	}
	var out []connectors.Having
	for _, m := range v.members {
		f := c.fields[m.name]
		if f == nil || !r.usable(c, f) || !offers(f, fn) {
			return nil, inside(r.fail(m.value, "there is no such aggregate"), m.name)
		}
		scalar, ok := fn.ScalarOf(f.Type.Leaf)
		if !ok {
			return nil, inside(r.fail(m.value, "there is no such aggregate"), m.name)
		}
		value, err := r.part(m.value)
		if err == nil {
			var terms []connectors.Having
			terms, err = r.havingTerms(connectors.AggregateValue{Func: fn, Field: f.System}, scalar, value)
			out = append(out, terms...)
		}
		if err != nil {
			return nil, inside(err, m.name)
		}
	}
	return out, nil
}

func offers(f *Field, fn connectors.AggregateFunc) bool {
	for _, g := range f.Spec.Aggregates {
		if g == fn {
			return !f.Type.List && f.Type.Members == nil && f.Type.Values == nil
		}
	}
	return false
}

func (r *reader) havingTerms(value connectors.AggregateValue, s connectors.Scalar, v raw) ([]connectors.Having, error) {
	t := &Type{TypeRef: connectors.TypeRef{Scalar: s}, Leaf: s, Output: string(s), Input: string(s)}
	condition, err := r.comparison(&Field{System: value.Field, Type: t}, v, havingOps(t))
	if err != nil {
		return nil, err
	}
	items := []*connectors.Condition{condition}
	if condition.Op == connectors.OpAnd {
		items = condition.Items
	}
	var out []connectors.Having
	for _, i := range items {
		out = append(out, connectors.Having{Value: value, Op: i.Op, Operand: i.Operand})
	}
	return out, nil
}
