package catalog

import (
	"errors"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// MaxCondition is the size in bytes above which the text of a condition is
// refused.
const MaxCondition = 64 << 10

// A Binder binds the texts of policy files against a catalog. It implements
// policy.Binder.
type Binder struct{ cat *Catalog }

var _ policy.Binder = (*Binder)(nil)

// NewBinder makes the binder of a catalog.
func NewBinder(c *Catalog) *Binder { return &Binder{cat: c} }

// Objects lists everything that is pinned, sorted by name. Hidden fields and
// collections are not among it: no line can open what nobody sees.
func (b *Binder) Objects() []policy.Object {
	var out []policy.Object
	nested := objectTypes{}
	for _, c := range b.cat.Collections {
		if c.Hidden {
			continue
		}
		o := policy.Object{Name: c.Object, Source: c.Source.Name, Fields: nested.fields(c.Fields)}
		for i := range o.Fields {
			o.Fields[i].Key = slices.ContainsFunc(c.Key, func(k *Field) bool { return k.System == o.Fields[i].System })
		}
		if c.Spec.Get || c.Spec.List {
			o.Acts = append(o.Acts, policy.Read)
		}
		for _, act := range []policy.Act{policy.Create, policy.Update, policy.Delete} {
			if c.Act(stepKinds[act]) != nil {
				o.Acts = append(o.Acts, act)
			}
		}
		out = append(out, o)
	}
	for _, f := range b.cat.Functions {
		o := policy.Object{Name: f.Object, Source: f.Source.Name, Function: true, Reads: f.Reads(), Fields: nested.fields(f.Args)}
		if f.Reads() || !f.Source.ReadOnly {
			o.Acts = []policy.Act{policy.Call}
		}
		out = append(out, o)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// objectTypes are the nested types that were described already: one may hold
// itself.
type objectTypes map[*ObjectType]*policy.Nested

func (n objectTypes) fields(fields []*Field) []policy.ObjectField {
	out := make([]policy.ObjectField, 0, len(fields))
	for _, f := range fields {
		if f.Hidden {
			continue
		}
		field := policy.ObjectField{Graph: f.Name, System: f.System, Type: f.Type.TypeRef, Secret: f.Secret, Nested: n.of(f.Type.Members)}
		if f.Type.Values != nil {
			field.Values = f.Type.Values.bySystem
		}
		out = append(out, field)
	}
	return out
}

func (n objectTypes) of(t *ObjectType) *policy.Nested {
	if t == nil {
		return nil
	}
	if known := n[t]; known != nil {
		return known
	}
	out := &policy.Nested{Name: t.Type}
	n[t] = out
	out.Fields = n.fields(t.Fields)
	return out
}

// Condition binds a GraphQL filter literal about the records of a collection,
// or the arguments of a function. Fields go by their names in the graph, hidden
// ones included; a relation within the source leads to its other end. Errors
// are *policy.BindError.
func (b *Binder) Condition(object string, subject policy.Subject, text string, named map[string]policy.NamedCondition) (*policy.Bound, error) {
	w := &binding{cat: b.cat, named: named}
	c, arguments, err := b.scope(object, subject)
	if err != nil {
		return nil, err
	}
	condition, err := w.condition(c, arguments, text)
	if err != nil {
		return nil, err
	}
	return &policy.Bound{Condition: condition, Params: w.params}, nil
}

// Set binds the literal of a preset: the values that a write is given, whatever
// the caller gives.
func (b *Binder) Set(object string, text string) (*policy.BoundSet, error) {
	c, _, err := b.scope(object, policy.SubjectRecord)
	if f := b.cat.functions[object]; f != nil {
		c, _, err = b.scope(object, policy.SubjectArguments)
	}
	if err != nil {
		return nil, err
	}
	w := &binding{cat: b.cat}
	t, err := prepare(text)
	if err != nil {
		return nil, err
	}
	if len(t.refs) > 0 {
		return nil, &policy.BindError{Offset: t.firstRef(), Message: "a named condition cannot stand here"}
	}
	r := &reader{o: InputOptions{Variables: w}, lenient: true}
	given, err := r.assignments(c.Fields, c.fields, literalValue(t.value), (*Field).gives, r.preset)
	if err != nil {
		return nil, t.bindError(err)
	}
	out := &policy.BoundSet{Params: w.params}
	for _, a := range given {
		out.Assign = append(out.Assign, policy.Preset{Field: a.Field.System, Operand: a.Operand})
	}
	if len(out.Assign) == 0 {
		return nil, &policy.BindError{Message: "nothing is set"}
	}
	return out, nil
}

// preset reads a value, where an enum may be the system's own text.
func (r *reader) preset(f *Field, v raw) (Assigned, error) {
	if f.Type.Values != nil {
		v = f.Type.Values.word(v)
	}
	return r.assigned(f, v)
}

// scope is what a condition's names mean: the collection or, for arguments, one
// that looks like the function's arguments.
func (b *Binder) scope(object string, subject policy.Subject) (c *Collection, arguments bool, err error) {
	if subject == policy.SubjectArguments {
		f := b.cat.functions[object]
		if f == nil {
			return nil, true, b.unknownObject(object, "function", sortedKeys(b.cat.functions))
		}
		return &Collection{Object: f.Object, Source: f.Source, Type: f.Name, Fields: f.Args, fields: f.args, Spec: &connectors.Collection{}}, true, nil
	}
	if c = b.cat.byObject[object]; c == nil {
		return nil, false, b.unknownObject(object, "collection", sortedKeys(b.cat.byObject))
	}
	return c, false, nil
}

func (b *Binder) unknownObject(object, kind string, known []string) error {
	return &policy.BindError{Message: "there is no " + kind + " " + object, Nearest: nearest(object, known)}
}

// A binding is one condition being bound, with those it names.
type binding struct {
	cat    *Catalog
	named  map[string]policy.NamedCondition
	stack  []string
	params []policy.Param
}

func (w *binding) condition(c *Collection, arguments bool, text string) (*connectors.Condition, error) {
	t, err := prepare(text)
	if err != nil {
		return nil, err
	}
	r := &reader{o: InputOptions{Variables: w}, arguments: arguments, lenient: true}
	r.named = func(v raw, c *Collection) (*connectors.Condition, bool, error) {
		name, is := t.ref(v)
		if !is {
			return nil, false, nil
		}
		out, err := w.reference(name, c, arguments)
		if err != nil {
			e := &inputError{at: v.literal.Position, message: err.Error()}
			var bound *policy.BindError
			if errors.As(err, &bound) {
				e.message, e.nearest = bound.Message, bound.Nearest
			}
			return nil, true, e
		}
		return out, true, nil
	}
	out, err := r.filter(c, literalValue(t.value))
	if err != nil {
		return nil, t.bindError(err)
	}
	if out == nil {
		return nil, &policy.BindError{Message: "the condition is empty: it would match every record; leave the cell empty to mean that"}
	}
	return out, nil
}

// reference binds a named condition where it is named.
func (w *binding) reference(name string, c *Collection, arguments bool) (*connectors.Condition, error) {
	n, ok := w.named[name]
	if !ok {
		return nil, &policy.BindError{Message: "there is no condition @" + name, Nearest: nearest(name, sortedKeys(w.named))}
	}
	if n.On != c.Object {
		return nil, &policy.BindError{Message: "@" + name + " is about " + n.On + ", not " + c.Object}
	}
	for _, above := range w.stack {
		if above == name {
			return nil, &policy.BindError{Message: "@" + name + " names itself"}
		}
	}
	w.stack = append(w.stack, name)
	defer func() { w.stack = w.stack[:len(w.stack)-1] }()
	out, err := w.condition(c, arguments, n.Where)
	if err != nil {
		return nil, &policy.BindError{Message: "in @" + name + ": " + err.Error()}
	}
	return out, nil
}

// Operand makes a parameter of $claims.x, $principal.x, $agent.x and $now. It
// is how a binding reads variables.
func (w *binding) Operand(value *ast.Value, t *Type, list bool) (connectors.Operand, error) {
	if value.Kind != ast.Variable {
		return connectors.Operand{}, bad("a list that holds variables is not supported yet: compare with the claim alone")
	}
	p, err := param(value.Raw, t, list)
	if err != nil {
		return connectors.Operand{}, err
	}
	for i, q := range w.params {
		if p == q {
			return connectors.Arg(i), nil
		}
	}
	w.params = append(w.params, p)
	return connectors.Arg(len(w.params) - 1), nil
}

// Value refuses variables in place of structures: a condition's structure is
// known when it is loaded.
func (w *binding) Value(string) (any, bool) { return nil, false }

func param(variable string, t *Type, list bool) (policy.Param, error) {
	p := policy.Param{Type: t.TypeRef, List: list}
	kind, name, _ := strings.Cut(variable, "_")
	text := t.Values == nil && t.Members == nil && (t.Leaf == connectors.ScalarString || t.Leaf == connectors.ScalarID)
	switch {
	case t.List || t.Members != nil:
		return p, bad("a variable cannot be compared with a %s here", typeText(t))
	case variable == "now":
		p.Kind = policy.ParamNow
		if t.Leaf != connectors.ScalarDateTime || list {
			return p, bad("$now is a DateTime, not %s", t.Output)
		}
	case kind == "claims" && name != "":
		p.Kind, p.Name = policy.ParamClaim, name
	case kind == "principal" && (name == "id" || name == "name" || name == "kind" || name == "tenant"):
		p.Kind, p.Name = policy.ParamPrincipal, name
		if !text || list {
			return p, bad("$principal.%s is a text, not %s", name, listText(t, list))
		}
	case variable == "principal_roles":
		p.Kind, p.Name = policy.ParamPrincipal, name
		if !text || !list {
			return p, bad("$principal.roles is a list of texts, not %s", listText(t, list))
		}
	case kind == "agent" && (name == "name" || name == "owner"):
		p.Kind, p.Name = policy.ParamAgent, name
		if !text || list {
			return p, bad("$agent.%s is a text, not %s", name, listText(t, list))
		}
	default:
		return p, bad("%s", noVariable(strings.Replace(variable, "_", ".", 1)))
	}
	return p, nil
}

func noVariable(name string) string {
	return "there is no $" + name + "; there are $claims.NAME, $principal.id|name|kind|roles|tenant, $agent.name|owner and $now"
}

// nameEnd is the end of the name that begins at an offset.
func nameEnd(text string, i int) int {
	for i < len(text) && (isAlnum(text[i]) || text[i] == '_') {
		i++
	}
	return i
}

func listText(t *Type, list bool) string {
	if list {
		return "a list of " + t.Output
	}
	return t.Output
}

// A conditionText is a literal that was parsed.
type conditionText struct {
	text  string
	value *ast.Value
	refs  map[int]string // names of @name by the offset of the @
}

// The text is parsed as an argument of a query. A line break at the end closes
// a comment.
const (
	conditionHead = "query{a(b:"
	conditionTail = "\n)}"
)

// prepare parses a literal. $claims.x is written with a dot and @name stands in
// the place of a value, which GraphQL has not: both are replaced byte by byte,
// outside of strings, so that positions stay right.
func prepare(text string) (*conditionText, error) {
	t := &conditionText{text: text, refs: map[int]string{}}
	if len(text) > MaxCondition || !utf8.ValidString(text) {
		return nil, &policy.BindError{Message: "the condition is too large, or no text in UTF-8"}
	}
	if nesting(text) > maxNesting {
		return nil, &policy.BindError{Message: "nested too deep"}
	}
	code := []byte(text)
	var wrong error
	scan(text, func(i int) {
		switch text[i] {
		case '$':
			for _, p := range []string{"$claims.", "$principal.", "$agent."} {
				if strings.HasPrefix(text[i:], p) {
					code[i+len(p)-1] = '_'
					return
				}
			}
			end := nameEnd(text, i+1)
			if end < len(text) && text[end] == '.' && wrong == nil {
				wrong = &policy.BindError{Offset: i, Message: noVariable(text[i+1 : end])}
			}
		case '@':
			end := nameEnd(text, i+1)
			if end == i+1 {
				if wrong == nil {
					wrong = &policy.BindError{Offset: i, Message: "a name is expected after @"}
				}
				return
			}
			t.refs[i] = text[i+1 : end]
			code[i] = '_'
		}
	})
	if wrong != nil {
		return nil, wrong
	}
	doc, err := parser.ParseQuery(&ast.Source{Name: "condition", Input: conditionHead + string(code) + conditionTail})
	if err != nil {
		return nil, t.syntaxError(err)
	}
	t.value = soleArgument(doc)
	if t.value == nil {
		return nil, &policy.BindError{Message: "one filter is expected: {field: {eq: value}}"}
	}
	return t, nil
}

// soleArgument is the literal, where the text was that and nothing more.
func soleArgument(doc *ast.QueryDocument) *ast.Value {
	if len(doc.Operations) != 1 || len(doc.Fragments) != 0 || len(doc.Operations[0].SelectionSet) != 1 {
		return nil
	}
	f, ok := doc.Operations[0].SelectionSet[0].(*ast.Field)
	if !ok || f.Name != "a" || len(f.Arguments) != 1 || len(f.SelectionSet) != 0 || len(f.Directives) != 0 {
		return nil
	}
	return f.Arguments[0].Value
}

func (t *conditionText) syntaxError(err error) error {
	out := &policy.BindError{Message: err.Error()}
	var e *gqlerror.Error
	if errors.As(err, &e) {
		out.Message = e.Message
		if len(e.Locations) > 0 {
			out.Offset = t.lineOffset(e.Locations[0].Line, e.Locations[0].Column)
		}
	}
	return out
}

// lineOffset is the offset in bytes of a line and column of what was parsed.
func (t *conditionText) lineOffset(line, column int) int {
	start := 0
	for n := 1; n < line; n++ {
		next := strings.IndexByte(t.text[start:], '\n')
		if next < 0 {
			return len(t.text)
		}
		start += next + 1
	}
	runes := column - 1
	if line == 1 {
		runes -= len(conditionHead)
	}
	return start + byteOffset(t.text[start:], runes)
}

// byteOffset is the offset in bytes of the rune at an index, within the text.
func byteOffset(text string, runes int) int {
	if runes <= 0 {
		return 0
	}
	for i := range text {
		if runes == 0 {
			return i
		}
		runes--
	}
	return len(text)
}

func (t *conditionText) offset(pos *ast.Position) int {
	if pos == nil {
		return 0
	}
	return byteOffset(t.text, pos.Start-len(conditionHead))
}

// ref tells whether a value is the place of a named condition.
func (t *conditionText) ref(v raw) (string, bool) {
	if v.kind != rawEnum || v.literal == nil || v.literal.Position == nil {
		return "", false
	}
	name, ok := t.refs[t.offset(v.literal.Position)]
	return name, ok
}

func (t *conditionText) firstRef() int {
	first := len(t.text)
	for at := range t.refs {
		first = min(first, at)
	}
	return first
}

func (t *conditionText) bindError(err error) error {
	var bound *policy.BindError
	if errors.As(err, &bound) {
		return bound
	}
	out := &policy.BindError{Message: err.Error()}
	var e *inputError
	if errors.As(err, &e) {
		out.Offset = t.offset(e.at)
		if e.name != "" {
			out.Message += ": " + e.name
			out.Nearest = nearest(e.name, e.known)
		} else {
			out.Nearest = e.nearest
		}
	}
	var c *connectors.Error
	if errors.As(err, &c) {
		out.Message = c.Message
	}
	return out
}
