package policy

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/countersign/countersign/connectors"
)

// A whenNode is a filter over a change: what is written, the records before and
// after, how many there are, who asks.
type whenNode struct {
	subject string // and, or, not, input, before, after, records, principal, agent
	items   []*whenNode
	cond    *connectors.Condition // of the other subjects; fields by graph names
	money   []moneyTest           // of amount and amountToday
}

// facts are a change as rules look at it.
type facts struct {
	change    *ChangeFacts
	arguments bool // the object is a function
}

// eval is the truth of the filter. A condition on records holds for a change of
// several where it holds for each of them, fails where it fails for each, and is
// unknown otherwise, also where there is none.
func (n *whenNode) eval(f facts) Tri {
	if n == nil {
		return True
	}
	switch n.subject {
	case "and", "or":
		out := True
		if n.subject == "or" {
			out = False
		}
		for _, i := range n.items {
			if n.subject == "and" {
				out = min(out, i.eval(f))
			} else {
				out = max(out, i.eval(f))
			}
		}
		return out
	case "not":
		return -n.items[0].eval(f)
	case "input":
		if f.arguments {
			return Match(n.cond, ArgumentsOf(f.change.Input), nil)
		}
		return Match(n.cond, RecordOf(f.change.Input), nil)
	case "before":
		return matchAll(n.cond, f.change.Before)
	case "after":
		return matchAll(n.cond, f.change.After)
	case "records":
		return Match(n.cond, func(string) connectors.Value { return countOf(f.change.Records) }, nil)
	case "principal":
		return Match(n.cond, principalField(f.change.Principal), nil)
	case "agent":
		return Match(n.cond, agentField(f.change.Principal), nil)
	case "amount":
		return moneyMatches(n.money, f.change.Amount)
	case "amountToday":
		return moneyMatches(n.money, f.change.AmountToday)
	}
	return Unknown
}

func matchAll(c *connectors.Condition, records []connectors.Value) Tri {
	if len(records) == 0 {
		return Unknown
	}
	first := Match(c, RecordOf(records[0]), nil)
	for _, r := range records[1:] {
		if Match(c, RecordOf(r), nil) != first {
			return Unknown
		}
	}
	return first
}

// countOf is absent, and so unknown, where the number is not known.
func countOf(n int) connectors.Value {
	if n < 0 {
		return connectors.Value{}
	}
	return connectors.Int(int64(n))
}

func textOrNull(s string) connectors.Value {
	if s == "" {
		return connectors.Null
	}
	return connectors.String(s)
}

func principalField(p *Principal) func(string) connectors.Value {
	return func(name string) connectors.Value {
		if p == nil {
			return connectors.Value{}
		}
		return textOrNull(map[string]string{"id": p.ID, "name": p.Name, "kind": string(p.Kind), "tenant": p.Tenant}[name])
	}
}

func agentField(p *Principal) func(string) connectors.Value {
	for ; p != nil && p.Kind != Agent; p = p.For {
	}
	return func(name string) connectors.Value {
		if p == nil {
			return connectors.Null
		}
		return textOrNull(map[string]string{"name": p.Name, "owner": p.Owner}[name])
	}
}

// A whenText is a filter that was parsed and is yet to be typed.
type whenText struct {
	text  string
	value *ast.Value
}

// The literal is parsed as an argument of a query.
const whenPrefix, whenSuffix = "{a(b:", ")}"

const whenDepth, whenLength = 32, 16 << 10

func parseWhen(text string) (*whenText, *BindError) {
	depth := 0
	for i := 0; i < len(text); i++ {
		if strings.IndexByte("{[(", text[i]) >= 0 {
			depth++
		}
	}
	if depth > 8*whenDepth || len(text) > whenLength || !utf8.ValidString(text) {
		return nil, &BindError{Message: "the filter is too long or nested too deep"}
	}
	doc, err := parser.ParseQuery(&ast.Source{Input: whenPrefix + text + whenSuffix})
	if err != nil {
		be := &BindError{Message: "not a GraphQL literal: " + err.Error()}
		var ge *gqlerror.Error
		if errors.As(err, &ge) {
			be.Message = "not a GraphQL literal: " + ge.Message
			if len(ge.Locations) == 1 && ge.Locations[0].Line == 1 {
				be.Offset = runeOffset(text, ge.Locations[0].Column-1-len(whenPrefix))
			}
		}
		return nil, be
	}
	bad := &BindError{Message: "not one GraphQL literal"}
	if len(doc.Operations) != 1 || len(doc.Fragments) != 0 || len(doc.Operations[0].SelectionSet) != 1 {
		return nil, bad
	}
	field, ok := doc.Operations[0].SelectionSet[0].(*ast.Field)
	if !ok || len(field.Arguments) != 1 || len(field.SelectionSet) != 0 || len(field.Directives) != 0 {
		return nil, bad
	}
	return &whenText{text: text, value: field.Arguments[0].Value}, nil
}

// runeOffset turns a position in characters into one in bytes.
func runeOffset(text string, runes int) int {
	for i := range text {
		if runes <= 0 {
			return i
		}
		runes--
	}
	return len(text)
}

func (w *whenText) fail(p *ast.Position, message, nearest string) *BindError {
	offset := 0
	if p != nil {
		offset = runeOffset(w.text, p.Start-len(whenPrefix))
	}
	return &BindError{Offset: offset, Message: message, Nearest: nearest}
}

// whenSubjects are what a filter may look at, beside and, or, not.
func whenSubjects() []string {
	return []string{"input", "before", "after", "records", "amount", "amountToday", "principal", "agent", "and", "or", "not"}
}

// bind types the filter for one object.
func (w *whenText) bind(o *Object) (*whenNode, *BindError) { return w.change(o, w.value, 0) }

func (w *whenText) change(o *Object, v *ast.Value, depth int) (*whenNode, *BindError) {
	if v.Kind != ast.ObjectValue || depth > whenDepth {
		return nil, w.fail(v.Position, "expected a filter in braces", "")
	}
	if len(v.Children) == 0 {
		return nil, w.fail(v.Position, "the filter is empty", "")
	}
	var items []*whenNode
	for _, c := range v.Children {
		node, err := w.subject(o, c, depth)
		if err != nil {
			return nil, err
		}
		items = append(items, node)
	}
	if len(items) == 1 {
		return items[0], nil
	}
	return &whenNode{subject: "and", items: items}, nil
}

func (w *whenText) subject(o *Object, c *ast.ChildValue, depth int) (*whenNode, *BindError) {
	switch c.Name {
	case "and", "or":
		if c.Value.Kind != ast.ListValue || len(c.Value.Children) == 0 {
			return nil, w.fail(c.Position, c.Name+" takes a list of filters", "")
		}
		node := &whenNode{subject: c.Name}
		for _, i := range c.Value.Children {
			item, err := w.change(o, i.Value, depth+1)
			if err != nil {
				return nil, err
			}
			node.items = append(node.items, item)
		}
		return node, nil
	case "not":
		item, err := w.change(o, c.Value, depth+1)
		return &whenNode{subject: "not", items: []*whenNode{item}}, err
	case "records":
		cond, err := w.comparison("records", connectors.TypeRef{Scalar: connectors.ScalarInt}, c.Value)
		return &whenNode{subject: "records", cond: cond}, err
	case "principal", "agent", "input", "before", "after":
		fields, err := w.fieldsOf(o, c)
		if err != nil {
			return nil, err
		}
		cond, err := w.record(c.Name, fields, c.Value, depth+1)
		return &whenNode{subject: c.Name, cond: cond}, err
	case "amount", "amountToday":
		tests, err := w.moneyTests(c.Name, c.Value)
		return &whenNode{subject: c.Name, money: tests}, err
	case "risk", "look":
		return nil, w.fail(c.Position, "a condition on "+c.Name+" is not supported yet", "")
	}
	return nil, w.fail(c.Position, `a change has no "`+c.Name+`"`, nearest(c.Name, whenSubjects()))
}

// fieldsOf are the fields of a subject with their types.
func (w *whenText) fieldsOf(o *Object, c *ast.ChildValue) (map[string]connectors.TypeRef, *BindError) {
	text := connectors.TypeRef{Scalar: connectors.ScalarString}
	out := map[string]connectors.TypeRef{}
	switch c.Name {
	case "principal":
		return map[string]connectors.TypeRef{"id": text, "name": text, "kind": text, "tenant": text}, nil
	case "agent":
		return map[string]connectors.TypeRef{"name": text, "owner": text}, nil
	case "before", "after":
		if o.Function {
			return nil, w.fail(c.Position, o.Name+" is a function: there is no record "+c.Name+" it, look at input", "")
		}
	}
	for _, f := range o.Fields {
		out[f.Graph] = f.Type
	}
	return out, nil
}

// record types a filter over the fields of one subject.
func (w *whenText) record(subject string, fields map[string]connectors.TypeRef, v *ast.Value, depth int) (*connectors.Condition, *BindError) {
	if v.Kind != ast.ObjectValue || depth > whenDepth {
		return nil, w.fail(v.Position, "expected a filter in braces", "")
	}
	if len(v.Children) == 0 {
		return nil, w.fail(v.Position, "the filter is empty", "")
	}
	var items []*connectors.Condition
	for _, c := range v.Children {
		item, err := w.recordItem(subject, fields, c, depth)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	if len(items) == 1 {
		return items[0], nil
	}
	return &connectors.Condition{Op: connectors.OpAnd, Items: items}, nil
}

func (w *whenText) recordItem(subject string, fields map[string]connectors.TypeRef, c *ast.ChildValue, depth int) (*connectors.Condition, *BindError) {
	switch t, isField := fields[c.Name]; {
	case isField:
		return w.comparison(c.Name, t, c.Value)
	case c.Name == "not":
		inner, err := w.record(subject, fields, c.Value, depth+1)
		return &connectors.Condition{Op: connectors.OpNot, Items: []*connectors.Condition{inner}}, err
	case c.Name == "and" || c.Name == "or":
		if c.Value.Kind != ast.ListValue || len(c.Value.Children) == 0 {
			return nil, w.fail(c.Position, c.Name+" takes a list of filters", "")
		}
		out := &connectors.Condition{Op: connectors.Op(c.Name)}
		for _, i := range c.Value.Children {
			inner, err := w.record(subject, fields, i.Value, depth+1)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, inner)
		}
		return out, nil
	case subject == "principal" && c.Name == "roles":
		return nil, w.fail(c.Position, "a condition on principal.roles is not supported yet; write by: role:NAME", "")
	}
	return nil, w.fail(c.Position, subject+` has no "`+c.Name+`"`, nearest(c.Name, sortedKeys(fields)))
}
