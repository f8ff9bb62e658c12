package policy_test

import (
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// fakeBinder binds conditions over objects that a test declares. Fields that hold
// an object name lead to it by a to-one relation, and to many of it with "[]".
type fakeBinder struct {
	objects   []policy.Object
	relations map[string]map[string]fakeRelation
}

type fakeRelation struct {
	to   string
	many bool
}

// declare reads lines of the form
//
//	crm.customers read create update delete: id:ID name iban! orders=crm.orders[]
//	stripe.PostRefunds call: charge amount:Int
//	stripe.GetBalance reads:
//
// A field's type is String where none is given, and a list with "[]"; "!" marks a
// secret; id is the key.
func declare(text string) *fakeBinder {
	b := &fakeBinder{relations: map[string]map[string]fakeRelation{}}
	for _, line := range strings.Split(text, "\n") {
		head, fields, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(head)
		o := policy.Object{Name: words[0]}
		o.Source, _, _ = strings.Cut(o.Name, ".")
		for _, a := range words[1:] {
			if a == "reads" {
				o.Reads, a = true, "call"
			}
			o.Function = o.Function || a == "call"
			o.Acts = append(o.Acts, policy.Act(a))
		}
		b.relations[o.Name] = map[string]fakeRelation{}
		for _, f := range strings.Fields(fields) {
			if name, to, isRelation := strings.Cut(f, "="); isRelation {
				target, many := strings.CutSuffix(to, "[]")
				b.relations[o.Name][name] = fakeRelation{target, many}
				continue
			}
			name, scalar, typed := strings.Cut(f, ":")
			name, secret := strings.CutSuffix(name, "!")
			field := policy.ObjectField{Graph: name, System: "s_" + name, Secret: secret, Type: connectors.TypeRef{Scalar: connectors.ScalarString}}
			if typed {
				scalar, field.Type.List = strings.CutSuffix(scalar, "[]")
				field.Type.Scalar = connectors.Scalar(scalar)
			}
			field.Key = name == "id"
			o.Fields = append(o.Fields, field)
		}
		b.objects = append(b.objects, o)
	}
	return b
}

func (b *fakeBinder) Objects() []policy.Object { return b.objects }

func (b *fakeBinder) object(name string) *policy.Object {
	for i := range b.objects {
		if b.objects[i].Name == name {
			return &b.objects[i]
		}
	}
	return nil
}

type fakeBinding struct {
	b      *fakeBinder
	named  map[string]policy.NamedCondition
	params []policy.Param
}

func (b *fakeBinder) Condition(object string, _ policy.Subject, text string, named map[string]policy.NamedCondition) (*policy.Bound, error) {
	k := &fakeBinding{b: b, named: named}
	c, err := k.text(object, text)
	if err != nil {
		return nil, err
	}
	return &policy.Bound{Condition: c, Params: k.params}, nil
}

func (b *fakeBinder) Set(object, text string) (*policy.BoundSet, error) {
	v, err := parseLiteral(text)
	if err != nil {
		return nil, err
	}
	k := &fakeBinding{b: b}
	out := &policy.BoundSet{}
	for _, c := range v.Children {
		t, system, ok := k.field(object, c.Name)
		if !ok {
			return nil, &policy.BindError{Offset: c.Position.Start - 5, Message: `no field "` + c.Name + `"`}
		}
		o, err := k.operand(t, c.Value)
		if err != nil {
			return nil, err
		}
		out.Assign = append(out.Assign, policy.Preset{Field: system, Operand: o})
	}
	out.Params = k.params
	return out, nil
}

// parseLiteral parses with the dot of $claims.x written as _, and @name as an
// enum value, both as long as before.
func parseLiteral(text string) (*ast.Value, error) {
	text = strings.NewReplacer("$claims.", "$claims_", "$principal.", "$principal_", "$agent.", "$agent_", "@", "_").Replace(text)
	doc, err := parser.ParseQuery(&ast.Source{Input: "{a(b:" + text + ")}"})
	if err != nil {
		return nil, &policy.BindError{Message: err.Error()}
	}
	return doc.Operations[0].SelectionSet[0].(*ast.Field).Arguments[0].Value, nil
}

func (k *fakeBinding) text(object, text string) (*connectors.Condition, error) {
	v, err := parseLiteral(text)
	if err != nil {
		return nil, err
	}
	return k.filter(object, v)
}

func (k *fakeBinding) filter(object string, v *ast.Value) (*connectors.Condition, error) {
	if v.Kind == ast.EnumValue {
		nc, ok := k.named[strings.TrimPrefix(v.Raw, "_")]
		if !ok || nc.On != object {
			return nil, &policy.BindError{Offset: v.Position.Start - 5, Message: "no such name here"}
		}
		return k.text(object, nc.Where)
	}
	var items []*connectors.Condition
	for _, c := range v.Children {
		item, err := k.item(object, c)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return connectors.And(items...), nil
}

func (k *fakeBinding) item(object string, c *ast.ChildValue) (*connectors.Condition, error) {
	switch c.Name {
	case "not":
		inner, err := k.filter(object, c.Value)
		return connectors.Not(inner), err
	case "or", "and":
		out := &connectors.Condition{Op: connectors.Op(c.Name)}
		for _, i := range c.Value.Children {
			inner, err := k.filter(object, i.Value)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, inner)
		}
		return out, nil
	}
	if r, ok := k.b.relations[object][c.Name]; ok {
		return k.relation(r, c)
	}
	t, system, ok := k.field(object, c.Name)
	if !ok {
		var near string
		for _, f := range k.b.object(object).Fields {
			if f.Graph[0] == c.Name[0] {
				near = f.Graph
			}
		}
		return nil, &policy.BindError{Offset: c.Position.Start - 5, Message: `no field "` + c.Name + `"`, Nearest: near}
	}
	var items []*connectors.Condition
	for _, op := range c.Value.Children {
		o, err := k.operand(t, op.Value)
		if err != nil {
			return nil, err
		}
		items = append(items, connectors.Compare(system, connectors.Op(op.Name), o))
	}
	return connectors.And(items...), nil
}

func (k *fakeBinding) relation(r fakeRelation, c *ast.ChildValue) (*connectors.Condition, error) {
	out := &connectors.Condition{Op: connectors.OpRelated, Quantifier: connectors.QuantOne,
		Relation: &connectors.Relation{To: r.to, Fields: []string{"s_" + c.Name + "_id"}, On: []string{"s_id"}}}
	value := c.Value
	if r.many {
		out.Relation.Fields, out.Relation.On = []string{"s_id"}, []string{"s_owner"}
		out.Quantifier = connectors.Quantifier(value.Children[0].Name)
		value = value.Children[0].Value
	}
	var err error
	out.Inner, err = k.filter(r.to, value)
	return out, err
}

func (k *fakeBinding) field(object, name string) (connectors.TypeRef, string, bool) {
	for _, f := range k.b.object(object).Fields {
		if f.Graph == name {
			return f.Type, f.System, true
		}
	}
	return connectors.TypeRef{}, "", false
}

func (k *fakeBinding) operand(t connectors.TypeRef, v *ast.Value) (connectors.Operand, error) {
	switch v.Kind {
	case ast.Variable:
		kind, name, _ := strings.Cut(v.Raw, "_")
		k.params = append(k.params, policy.Param{Kind: policy.ParamKind(strings.TrimSuffix(kind, "s")), Name: name, Type: t})
		return connectors.Arg(len(k.params) - 1), nil
	case ast.IntValue:
		return connectors.Const(connectors.Value{Kind: connectors.KindInt, Text: v.Raw}), nil
	case ast.BooleanValue:
		return connectors.Const(connectors.Bool(v.Raw == "true")), nil
	case ast.StringValue:
		return connectors.Const(connectors.String(v.Raw)), nil
	case ast.ListValue:
		var items []connectors.Value
		for _, c := range v.Children {
			o, err := k.operand(t, c.Value)
			if err != nil {
				return o, err
			}
			items = append(items, o.Const)
		}
		return connectors.Const(connectors.ListOf(items...)), nil
	}
	return connectors.Operand{}, fmt.Errorf("a literal the fake does not know: %s", v)
}
