package catalog

import (
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// FilterCondition reads a filter over the collection. nil, nil matches every
// record: the filter is absent or literally empty. Errors are *connectors.Error
// with CodeBadInput; Path leads to the input at fault.
//
//   - an empty comparison, and an operand that is a variable without value, is
//     CodeBadInput: a missing variable must not mean "all"
//   - or of nothing matches nothing, and of nothing everything
//   - an explicit null is CodeBadInput, but for the whole filter, where it is
//     an absent one
func FilterCondition(c *Collection, in Input, o InputOptions) (*connectors.Condition, error) {
	r := newReader(o)
	v, err := r.structure(in.raw())
	if err != nil {
		return nil, r.public(err)
	}
	var out *connectors.Condition
	if v.kind != rawAbsent && v.kind != rawNull {
		if out, err = r.filter(c, v); err != nil {
			return nil, r.public(err)
		}
	}
	if out == nil && o.NotEmpty {
		return nil, bad("the filter is empty: it would match every record")
	}
	return out, nil
}

func (in Input) raw() raw {
	if in.isJSON {
		return jsonValue(in.json)
	}
	return literalValue(in.literal)
}

// An inputError is what is wrong with an input, and where: the binder needs the
// place in the text, clients the path.
type inputError struct {
	path    []string
	at      *ast.Position
	message string
	known   []string // the names that could be meant, with the one that was
	name    string
	nearest string
	code    connectors.Code
}

func (e *inputError) Error() string { return e.message }

// A reader reads inputs. It is made for one input.
type reader struct {
	o InputOptions
	// named reads the named conditions (@name) of policies; nil for clients.
	named func(v raw, c *Collection) (*connectors.Condition, bool, error)
	// arguments: the fields are a call's arguments, which are compared by us.
	arguments bool
	// policy literals may compare an enum with the system's own text.
	lenient bool
	depth   int
}

func newReader(o InputOptions) *reader { return &reader{o: o} }

// public turns an inputError into what clients see.
func (r *reader) public(err error) error {
	if e, ok := err.(*inputError); ok {
		code := e.code
		if code == "" {
			code = connectors.CodeBadInput
		}
		return connectors.Errorf(code, "%s", e.message).At(e.path...)
	}
	return err
}

func (r *reader) fail(v raw, message string) *inputError {
	e := &inputError{message: message}
	if v.literal != nil {
		e.at = v.literal.Position
	}
	return e
}

// unknown is a member whose name is not known; it stands at the name.
func (r *reader) unknown(m rawMember, what string, known []string) *inputError {
	return &inputError{at: m.at, message: what, name: m.name, known: known}
}

// inside puts a step in front of the path of an error.
func inside(err error, step string) error {
	if e, ok := err.(*inputError); ok {
		e.path = append([]string{step}, e.path...)
		return e
	}
	return within(err, step)
}

// structure resolves a variable that stands where a structure is expected.
func (r *reader) structure(v raw) (raw, error) {
	if v.kind != rawVariable {
		return v, nil
	}
	if r.o.Variables == nil {
		return raw{}, r.fail(v, "a variable cannot stand here")
	}
	value, given := r.o.Variables.Value(v.text)
	if !given {
		return raw{}, nil
	}
	return jsonValue(value), nil
}

// part is structure for what must be there.
func (r *reader) part(v raw) (raw, error) {
	out, err := r.structure(v)
	switch {
	case err != nil:
		return out, err
	case out.kind == rawAbsent && v.kind == rawVariable:
		return out, r.fail(v, "the variable $"+v.text+" has no value")
	case out.kind == rawNull:
		return out, r.fail(v, "null cannot stand here; leave it out, or use isNull")
	}
	return out, nil
}

// deeper guards the recursion.
func (r *reader) deeper(v raw) error {
	if r.depth++; r.depth > maxNesting {
		return r.fail(v, "nested too deep")
	}
	return nil
}

// filter reads a filter that is there.
func (r *reader) filter(c *Collection, v raw) (*connectors.Condition, error) {
	if r.named != nil {
		if out, is, err := r.named(v, c); is {
			return out, err
		}
	}
	if v.kind != rawObject {
		return nil, r.fail(v, "a filter is expected")
	}
	if err := r.deeper(v); err != nil {
		return nil, err
	}
	defer func() { r.depth-- }()
	var all []*connectors.Condition
	seen := map[string]bool{}
	for _, m := range v.members {
		if seen[m.name] {
			return nil, inside(r.fail(m.value, "given twice"), m.name)
		}
		seen[m.name] = true
		one, err := r.member(c, m)
		if err != nil {
			return nil, inside(err, m.name)
		}
		all = append(all, one)
	}
	return connectors.And(all...), nil
}

func (r *reader) member(c *Collection, m rawMember) (*connectors.Condition, error) {
	switch m.name {
	case "and", "or":
		items, err := r.filters(c, m.value)
		if err != nil {
			return nil, err
		}
		if m.name == "and" {
			return connectors.And(items...), nil
		}
		return connectors.Or(items...), nil
	case "not":
		v, err := r.part(m.value)
		if err != nil {
			return nil, err
		}
		inner, err := r.filter(c, v)
		if err != nil {
			return nil, err
		}
		return connectors.Not(inner), nil
	}
	if f := c.fields[m.name]; f != nil && r.usable(c, f) {
		v, err := r.part(m.value)
		if err != nil {
			return nil, err
		}
		return r.comparison(f, v, r.ops(f))
	}
	if rel := c.relations[m.name]; rel != nil {
		return r.related(c, rel, m)
	}
	return nil, r.unknown(m, c.Type+" has no such field to filter by", r.filterNames(c))
}

// filters reads the list of and or or.
func (r *reader) filters(c *Collection, v raw) ([]*connectors.Condition, error) {
	v, err := r.part(v)
	if err != nil {
		return nil, err
	}
	list := v.list
	if v.kind != rawList {
		list = []raw{v} // a single value is a list of one
	}
	out := make([]*connectors.Condition, 0, len(list))
	for i, item := range list {
		item, err := r.part(item)
		if err != nil {
			return nil, inside(err, strconv.Itoa(i))
		}
		one, err := r.filter(c, item)
		if err != nil {
			return nil, inside(err, strconv.Itoa(i))
		}
		out = append(out, one)
	}
	return out, nil
}

// ops are the comparisons of a field.
func (r *reader) ops(f *Field) []connectors.Op {
	if r.arguments {
		return usualOps(f.Type)
	}
	return fieldOps(f)
}

// usable tells whether the input's owner may compare the field.
func (r *reader) usable(c *Collection, f *Field) bool {
	if r.o.View == nil {
		return r.named != nil || !f.Hidden
	}
	a := r.o.View.Object(c.Object)
	if a == nil || a.Read == nil || f.Hidden || f.Spec.WriteOnly {
		return false
	}
	cell, ok := a.Read.Fields[f.System]
	return ok && cell.If == nil
}

// passable tells whether the input's owner may go through the relation.
func (r *reader) passable(rel *Relation) bool {
	if r.o.View == nil {
		return !rel.Hidden || r.named != nil
	}
	s := &sight{cat: nil, view: r.o.View, shown: map[*Collection]*shown{}}
	s.glance(rel.From)
	s.glance(rel.To)
	return s.joined(rel, always)
}

func (r *reader) filterNames(c *Collection) []string {
	out := []string{"and", "or", "not"}
	for _, f := range c.Fields {
		if r.usable(c, f) && len(r.ops(f)) > 0 {
			out = append(out, f.Name)
		}
	}
	for name, rel := range c.relations {
		if rel.Filterable() {
			out = append(out, name)
		}
	}
	return out
}

// comparison reads {eq: … gt: …} over a field.
func (r *reader) comparison(f *Field, v raw, ops []connectors.Op) (*connectors.Condition, error) {
	if v.kind != rawObject {
		return nil, r.fail(v, "a comparison is expected: {eq: …}")
	}
	if len(v.members) == 0 {
		return nil, r.fail(v, "the comparison is empty")
	}
	var all []*connectors.Condition
	seen := map[string]bool{}
	for _, m := range v.members {
		if seen[m.name] {
			return nil, inside(r.fail(m.value, "given twice"), m.name)
		}
		seen[m.name] = true
		op := connectors.Op(m.name)
		if len(intersect([]connectors.Op{op}, ops)) == 0 {
			var known []string
			for _, o := range ops {
				known = append(known, string(o))
			}
			return nil, inside(r.unknown(m, "this field has no such comparison", known), m.name)
		}
		operand, err := r.operand(m.value, operandType(f.Type, op), op == connectors.OpIn || op == connectors.OpNotIn)
		if err != nil {
			return nil, inside(err, m.name)
		}
		all = append(all, connectors.Compare(f.System, op, operand))
	}
	return connectors.And(all...), nil
}

var (
	booleanType = &Type{TypeRef: connectors.TypeRef{Scalar: connectors.ScalarBoolean}, Leaf: connectors.ScalarBoolean, Output: "Boolean", Input: "Boolean"}
	stringType  = &Type{TypeRef: connectors.TypeRef{Scalar: connectors.ScalarString}, Leaf: connectors.ScalarString, Output: "String", Input: "String"}
)

// operandType is the type of what a field is compared with.
func operandType(t *Type, op connectors.Op) *Type {
	switch op {
	case connectors.OpIsNull:
		return booleanType
	case connectors.OpHasKey, connectors.OpLike, connectors.OpILike, connectors.OpStartsWith, connectors.OpEndsWith, connectors.OpContains, connectors.OpSearch:
		return stringType
	}
	return t
}

// operand reads a value that must be there and is not null.
func (r *reader) operand(v raw, t *Type, list bool) (connectors.Operand, error) {
	if v.variable {
		return r.variableOperand(v, t, list)
	}
	if r.lenient && t.Values != nil {
		v = t.Values.word(v)
	}
	if v.kind == rawNull {
		return connectors.Operand{}, r.fail(v, "null cannot be compared with; use isNull")
	}
	value, err := coerceAny(v, t, list)
	if err != nil {
		return connectors.Operand{}, r.coercionError(v, err)
	}
	return connectors.Const(value), nil
}

// word makes the system's own text, or a list of them, words of the enum: a
// policy may be written in either.
func (e *Enum) word(v raw) raw {
	if name, ok := e.Name(v.text); ok && v.kind == rawText {
		v.kind, v.text = rawEnum, name
	}
	if v.kind == rawList {
		list := make([]raw, len(v.list))
		for i, item := range v.list {
			list[i] = e.word(item)
		}
		v.list = list
	}
	return v
}

func (r *reader) variableOperand(v raw, t *Type, list bool) (connectors.Operand, error) {
	if r.o.Variables == nil {
		return connectors.Operand{}, r.fail(v, "a variable cannot stand here")
	}
	o, err := r.o.Variables.Operand(v.literal, t, list)
	if err != nil {
		return o, r.coercionError(v, err)
	}
	if o.Arg == 0 && o.Const.IsNull() {
		if o.Const.Kind == connectors.KindAbsent {
			return o, r.fail(v, "the variable $"+variableName(v)+" has no value")
		}
		return o, r.fail(v, "null cannot be compared with; use isNull")
	}
	return o, nil
}

func variableName(v raw) string {
	if v.kind == rawVariable {
		return v.text
	}
	for _, item := range v.list {
		if item.variable {
			return variableName(item)
		}
	}
	for _, m := range v.members {
		if m.value.variable {
			return variableName(m.value)
		}
	}
	return ""
}

func (r *reader) coercionError(v raw, err error) error {
	if e, ok := err.(*connectors.Error); ok {
		out := r.fail(v, e.Message)
		out.path, out.code = e.Path, e.Code
		return out
	}
	if _, ok := err.(*inputError); ok {
		return err
	}
	return r.fail(v, err.Error())
}

// related reads the condition on related records.
func (r *reader) related(c *Collection, rel *Relation, m rawMember) (*connectors.Condition, error) {
	v := m.value
	switch {
	case !r.passable(rel):
		return nil, r.unknown(m, c.Type+" has no such field to filter by", r.filterNames(c))
	case rel.Cross:
		return nil, r.fail(v, "a filter cannot look into another source")
	case !rel.Filterable():
		return nil, r.fail(v, "the source cannot filter by related records")
	}
	v, err := r.part(v)
	if err != nil {
		return nil, err
	}
	condition := func(q connectors.Quantifier, v raw) (*connectors.Condition, error) {
		inner, err := r.filter(rel.To, v)
		if err != nil {
			return nil, err
		}
		link := rel.Connector()
		if r.o.Related != nil {
			link.Where = r.o.Related(rel)
		}
		return &connectors.Condition{Op: connectors.OpRelated, Relation: &link, Quantifier: q, Inner: inner}, nil
	}
	if !rel.Many {
		return condition(connectors.QuantOne, v)
	}
	if v.kind != rawObject || len(v.members) == 0 {
		return nil, r.fail(v, "some, every or none is expected")
	}
	var all []*connectors.Condition
	for _, m := range v.members {
		q := connectors.Quantifier(m.name)
		if q != connectors.QuantSome && q != connectors.QuantEvery && q != connectors.QuantNone {
			return nil, inside(r.unknown(m, "some, every or none is expected", []string{"some", "every", "none"}), m.name)
		}
		inner, err := r.part(m.value)
		if err != nil {
			return nil, inside(err, m.name)
		}
		one, err := condition(q, inner)
		if err != nil {
			return nil, inside(err, m.name)
		}
		all = append(all, one)
	}
	return connectors.And(all...), nil
}

// glance decides what of one collection is shown, without its relations.
func (s *sight) glance(c *Collection) {
	a := s.view.Object(c.Object)
	if a == nil || c.Hidden || s.shown[c] != nil {
		return
	}
	h := &shown{c: c, access: a, cells: make([]visibility, len(c.Fields))}
	h.read(a.Read)
	s.shown[c] = h
}

// read fills in what a view reads of the collection.
func (s *shown) read(a *policy.ReadAccess) {
	if a == nil {
		return
	}
	for i, f := range s.c.Fields {
		cell, ok := a.Fields[f.System]
		switch {
		case !ok || f.Hidden || !f.shows():
		case cell.Hashed():
			s.cells[i] = hashed
		case cell.Never():
			s.cells[i] = masked
		case cell.If != nil:
			s.cells[i] = conditional
		default:
			s.cells[i] = always
		}
		s.reads = s.reads || s.cells[i] != invisible
		s.filterable = s.filterable || s.cells[i] == always && f.comparison != ""
		s.orderable = s.orderable || s.cells[i] == always && f.Spec.Order
	}
	s.reads = s.reads || s.c.NodeID
}
