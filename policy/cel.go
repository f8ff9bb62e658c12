package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"

	"github.com/countersign/countersign/connectors"
)

// Limits of CEL expressions. The cost is CEL's own measure: about one for each
// operation, and for each ten characters that one goes over.
const (
	celLength   = 8 << 10 // bytes of text
	celDepth    = 64
	defaultCost = 100_000
)

// The types of what an expression looks at. They are names for the checker: the
// values are maps.
const (
	celInput     = "Input"
	celKey       = "Key"
	celPrincipal = "Principal"
	celAgent     = "Agent"
)

// celVariables are what an expression may look at.
func celVariables() []string {
	return []string{"input", "increment", "key", "principal", "agent", "act", "object", "now"}
}

// A celWorld makes the environments of expressions: one for each object, over
// one base. It is used while loading, by one goroutine.
type celWorld struct {
	base   func() (*cel.Env, error)
	byName map[string]*cel.Env
}

func newCELWorld() *celWorld {
	return &celWorld{base: sync.OnceValues(celBase), byName: map[string]*cel.Env{}}
}

func celBase() (*cel.Env, error) {
	options := []cel.EnvOption{
		ext.Strings(),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(celLength),
		cel.ParserRecursionLimit(celDepth),
		cel.Variable("principal", cel.ObjectType(celPrincipal)),
		cel.Variable("agent", cel.ObjectType(celAgent)),
		cel.Variable("act", cel.StringType),
		cel.Variable("object", cel.StringType),
		cel.Variable("now", cel.TimestampType),
	}
	return cel.NewEnv(append(options, decimalOptions()...)...)
}

// env is the environment of expressions about one object.
func (w *celWorld) env(o *Object) (*cel.Env, error) {
	if env, ok := w.byName[o.Name]; ok {
		return env, nil
	}
	base, err := w.base()
	if err != nil {
		return nil, err
	}
	env, err := base.Extend(
		cel.CustomTypeProvider(newCELProvider(base.CELTypeProvider(), o)),
		cel.Variable("input", cel.ObjectType(celInput)),
		cel.Variable("increment", cel.ObjectType(celInput)),
		cel.Variable("key", cel.ObjectType(celKey)),
	)
	if err != nil {
		return nil, err
	}
	w.byName[o.Name] = env
	return env, nil
}

// A celProvider tells the checker which fields the variables have.
type celProvider struct {
	types.Provider
	object *Object
	// nested are the types of objects inside, by the name in the checker.
	nested map[string]*Nested
}

func newCELProvider(base types.Provider, o *Object) *celProvider {
	p := &celProvider{Provider: base, object: o, nested: map[string]*Nested{}}
	p.find(o.Fields)
	return p
}

func (p *celProvider) find(fields []ObjectField) {
	for i := range fields {
		if n := fields[i].Nested; n != nil && p.nested[nestedName(n)] == nil {
			p.nested[nestedName(n)] = n
			p.find(n.Fields)
		}
	}
}

// nestedName cannot be written in an expression.
func nestedName(n *Nested) string { return "object " + n.Name }

// fields are those of one of the types; ok is false for other types.
func (p *celProvider) fields(name string) (out []ObjectField, ok bool) {
	switch name {
	case celInput:
		return p.object.Fields, true
	case celKey:
		for _, f := range p.object.Fields {
			if f.Key {
				out = append(out, f)
			}
		}
		return out, true
	}
	n := p.nested[name]
	if n == nil {
		return nil, false
	}
	return n.Fields, true
}

// FindStructType implements types.Provider.
func (p *celProvider) FindStructType(name string) (*types.Type, bool) {
	if _, ours := p.fields(name); ours || name == celPrincipal || name == celAgent {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p *celProvider) FindStructFieldNames(name string) ([]string, bool) {
	switch name {
	case celPrincipal:
		return sortedKeys(principalTypes()), true
	case celAgent:
		return sortedKeys(agentTypes()), true
	}
	fields, ours := p.fields(name)
	if !ours {
		return p.Provider.FindStructFieldNames(name)
	}
	out := make([]string, 0, len(fields))
	for _, f := range fields {
		out = append(out, f.Graph)
	}
	return out, true
}

// FindStructFieldType implements types.Provider.
func (p *celProvider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	var t *types.Type
	switch name {
	case celPrincipal:
		t = principalTypes()[field]
	case celAgent:
		t = agentTypes()[field]
	default:
		fields, ours := p.fields(name)
		if !ours {
			return p.Provider.FindStructFieldType(name, field)
		}
		for i := range fields {
			if fields[i].Graph == field {
				t = celType(&fields[i], fields[i].Type)
			}
		}
	}
	return &types.FieldType{Type: t}, t != nil
}

func principalTypes() map[string]*types.Type {
	return map[string]*types.Type{"id": types.StringType, "name": types.NewNullableType(types.StringType), "kind": types.StringType,
		"roles": types.NewListType(types.StringType), "tenant": types.StringType, "claims": types.NewMapType(types.StringType, types.DynType)}
}

func agentTypes() map[string]*types.Type {
	return map[string]*types.Type{"name": types.NewNullableType(types.StringType), "owner": types.NewNullableType(types.StringType)}
}

// celType is the type of a field's values in expressions. All of them may be
// null; of a list the checker does not know it.
func celType(f *ObjectField, t connectors.TypeRef) *types.Type {
	if t.List {
		item := t
		item.List = false
		return types.NewListType(celType(f, item))
	}
	if f.Nested != nil {
		return types.NewObjectType(nestedName(f.Nested))
	}
	if t.Enum != "" {
		return types.NewNullableType(types.StringType)
	}
	switch t.Leaf() {
	case connectors.ScalarBoolean:
		return types.NewNullableType(types.BoolType)
	case connectors.ScalarInt, connectors.ScalarSafeInt:
		return types.NewNullableType(types.IntType)
	case connectors.ScalarFloat:
		return types.NewNullableType(types.DoubleType)
	case connectors.ScalarDecimal, connectors.ScalarBigInt:
		return decimalType
	case connectors.ScalarDateTime:
		return types.TimestampType
	case connectors.ScalarBytes:
		return types.NewNullableType(types.BytesType)
	case connectors.ScalarID, connectors.ScalarString, connectors.ScalarUUID, connectors.ScalarDate, connectors.ScalarTime,
		connectors.ScalarLocalDateTime, connectors.ScalarDuration:
		return types.NewNullableType(types.StringType)
	}
	return types.DynType
}

// An expression is one CEL text, checked and ready to be run by any number of
// goroutines at once.
type expression struct {
	program cel.Program
	result  *types.Type
	// uses are the variables it looks at.
	uses map[string]bool
}

// compile checks a text for one object. The error says where in the text.
func (w *celWorld) compile(o *Object, text string, cost uint64) (*expression, *BindError) {
	if len(text) > celLength || !utf8.ValidString(text) {
		return nil, &BindError{Message: fmt.Sprintf("the expression is longer than %d bytes", celLength)}
	}
	env, err := w.env(o)
	if err != nil {
		return nil, &BindError{Message: "CEL: " + err.Error()}
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, celProblem(o, text, issues)
	}
	program, err := env.Program(checked, cel.CostLimit(cost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, &BindError{Message: "CEL: " + firstLine(err.Error())}
	}
	out := &expression{program: program, result: checked.OutputType(), uses: map[string]bool{}}
	for _, r := range checked.NativeRep().ReferenceMap() {
		out.uses[r.Name] = true
	}
	return out, nil
}

var (
	celField = regexp.MustCompile(`^undefined field '([^']*)'`)
	// What may be null is no type of its own to people.
	nullableName = regexp.MustCompile(`wrapper\(([a-z]+)\)`)
	celReference = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
)

// celProblem is the first thing wrong with a text, in our words where a name is
// unknown.
func celProblem(o *Object, text string, issues *cel.Issues) *BindError {
	if len(issues.Errors()) == 0 {
		return &BindError{Message: firstLine(issues.Err().Error())}
	}
	first := issues.Errors()[0]
	out := &BindError{Message: "CEL: " + firstLine(first.Message)}
	if first.Location != nil {
		out.Offset = celOffset(text, first.Location.Line(), first.Location.Column())
	}
	out.Message = nullableName.ReplaceAllString(out.Message, "$1")
	if m := celField.FindStringSubmatch(first.Message); m != nil {
		p := newCELProvider(nil, o)
		known := append(sortedKeys(principalTypes()), sortedKeys(agentTypes())...)
		for _, f := range o.Fields {
			known = append(known, f.Graph)
		}
		for _, n := range p.nested {
			for _, f := range n.Fields {
				known = append(known, f.Graph)
			}
		}
		slices.Sort(known)
		out.Message = `there is no field "` + m[1] + `"`
		if out.Nearest = nearest(m[1], known); out.Nearest == m[1] {
			out.Message, out.Nearest = `there is no field "`+m[1]+`" there: key has only the fields of the key`, ""
		}
	} else if m := celReference.FindStringSubmatch(first.Message); m != nil {
		out.Message = `an expression knows no "` + m[1] + `"`
		if m[1] == "before" {
			out.Message = "validators run before anything is read, so there is no before; write it as the WHERE of a line"
		}
		out.Nearest = nearest(m[1], celVariables())
	}
	return out
}

// celOffset turns a place as CEL tells it (line from 1, column in characters
// from 0) into bytes.
func celOffset(text string, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		i := strings.IndexByte(text[at:], '\n')
		if i < 0 {
			break
		}
		at += i + 1
	}
	return at + runeOffset(text[at:], column)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

var errNoValue = errors.New("the expression gave a value of another type")
