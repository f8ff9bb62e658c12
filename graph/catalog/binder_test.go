package catalog_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

var named = map[string]policy.NamedCondition{
	"my_region": {On: "crm.customers", Where: "{region: {eq: $claims.region}}"},
	"orders":    {On: "crm.orders", Where: "{note: {eq: \"x\"}}"},
	"both":      {On: "crm.customers", Where: "{and: [@my_region {orders: {some: @orders}}]}"},
	"loop":      {On: "crm.customers", Where: "{or: [@pool]}"},
	"pool":      {On: "crm.customers", Where: "{not: @loop}"},
	"wrong":     {On: "crm.customers", Where: "{regoin: {eq: 1}}"},
}

func TestBinderCondition(t *testing.T) {
	b := catalog.NewBinder(build(t, shop, shopGraph))
	for _, k := range []struct {
		object, text, want, params string
	}{
		{"crm.customers", `{region: {eq: "EU"}}`, `["eq","region",["string","EU"]]`, ""},
		{"crm.customers", `{region: {eq: $claims.region}}`, `["eq","region",["arg","1"]]`, "claim region String"},
		{"crm.customers", `{region: {in: $claims.regions}}`, `["in","region",["arg","1"]]`, "claim regions String list"},
		{"crm.customers", `{or: [{region: {eq: $claims.r}} {email: {eq: $claims.r}} {name: {eq: $principal.name}}]}`,
			`["or",["eq","region",["arg","1"]],["eq","email",["arg","1"]],["eq","name",["arg","2"]]]`, "claim r String; principal name String"},
		{"crm.customers", `{createdAt: {lt: $now}}`, `["lt","created_at",["arg","1"]]`, "now  DateTime"},
		{"crm.customers", `{id: {eq: $claims.customerId}}`, `["eq","id",["arg","1"]]`, "claim customerId Int"},
		{"crm.customers", `{region: {in: $principal.roles}}`, `["in","region",["arg","1"]]`, "principal roles String list"},
		{"crm.customers", `{name: {eq: $agent.owner}}`, `["eq","name",["arg","1"]]`, "agent owner String"},
		{"crm.customers", `{name: {eq: "$claims.x @my_region {"}} # @loop $claims.y`, `["eq","name",["string","$claims.x @my_region {"]]`, ""},
		{"crm.customers", `@my_region`, `["eq","region",["arg","1"]]`, "claim region String"},
		{"crm.customers", ` @both `, `["and",["eq","region",["arg","1"]],["related","some",["orders",["id","customer_id"]],["eq","note",["string","x"]]]]`, "claim region String"},
		{"crm.orders", `{customer: @my_region}`, `["related","one",["customers",["customer_id","id"]],["eq","region",["arg","1"]]]`, "claim region String"},
		{"crm.customers", `{mood: {eq: "good"}}`, `["eq","mood",["string","good"]]`, ""},
		{"crm.customers", `{mood: {in: ["good" BAD]}}`, `["in","mood",["list",[["string","good"],["string","bad"]]]]`, ""},
		{"crm.customers", `{mood: {eq: GOOD}}`, `["eq","mood",["string","good"]]`, ""},
		{"desk.PostRefund", `{amount: {lte: 5000}}`, `["lte","amount",["int","5000"]]`, ""},
		{"desk.PostRefund", `{or: [{amount: {lte: 20000}} {amount: {isNull: true}}]}`, `["or",["lte","amount",["int","20000"]],["isNull","amount",["bool","true"]]]`, ""},
	} {
		subject := policy.SubjectRecord
		if k.object == "desk.PostRefund" {
			subject = policy.SubjectArguments
		}
		got, err := b.Condition(k.object, subject, k.text, named)
		if err != nil {
			t.Errorf("%s: %v", k.text, err)
			continue
		}
		if text(got.Condition) != k.want || params(got.Params) != k.params {
			t.Errorf("%s: %s [%s], want %s [%s]", k.text, text(got.Condition), params(got.Params), k.want, k.params)
		}
	}
}

func params(ps []policy.Param) string {
	var out []string
	for _, p := range ps {
		s := fmt.Sprintf("%s %s %s", p.Kind, p.Name, p.Type.Leaf())
		if p.List {
			s += " list"
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// Errors hold the place in the text and the nearest name.
func TestBinderErrors(t *testing.T) {
	b := catalog.NewBinder(build(t, shop, shopGraph))
	for _, k := range []struct {
		object, text, at, message, nearest string
	}{
		{"crm.customers", `{regoin: {eq: "x"}}`, `regoin`, "no such field", "region"},
		{"crm.customers", `{name: {eq: "ü"} regoin: {eq: "x"}}`, `regoin`, "no such field", "region"},
		{"crm.customers", `{region: {equal: "x"}}`, `equal`, "no such comparison", ""},
		{"crm.customers", `{region: {startWith: "x"}}`, `startWith`, "no such comparison", "startsWith"},
		{"crm.customers", `{region: {eq: 5}}`, `5`, "String", ""},
		{"crm.customers", `{region: "x"}`, `"x"`, "comparison is expected", ""},
		{"crm.customers", `{region: {}}`, `{}}`, "empty", ""},
		{"crm.customers", `{region: {eq: null}}`, `null`, "isNull", ""},
		{"crm.customers", `{}`, ``, "empty", ""},
		{"crm.customers", `{and: []}`, ``, "empty", ""},
		{"crm.customers", `{region: {eq: $claim.x}}`, `$claim.x`, "there is no $claim;", ""},
		{"crm.customers", `{region: {eq: $claims_}}`, `$claims_`, "there is no $claims", ""},
		{"crm.customers", `{region: {eq: $principal.roles}}`, `$principal`, "list", ""},
		{"crm.customers", `{region: {eq: $principal.email}}`, `$principal`, "there is no", ""},
		{"crm.customers", `{id: {eq: $principal.id}}`, `$principal`, "text, not Int", ""},
		{"crm.customers", `{born: {lt: $now}}`, `$now`, "DateTime", ""},
		{"crm.customers", `{region: {in: ["a" $claims.x]}}`, `["a"`, "not supported yet", ""},
		{"crm.customers", `{and: $claims.x}`, `$claims.x`, "no value", ""},
		{"crm.customers", `@my_regoin`, `@my_regoin`, "no condition", "my_region"},
		{"crm.customers", `@orders`, `@orders`, "about crm.orders", ""},
		{"crm.customers", `{and: [@loop]}`, `@loop`, "names itself", ""},
		{"crm.customers", `{and: [@wrong]}`, `@wrong`, "in @wrong", ""},
		{"crm.customers", `{region: @my_region}`, `@my_region`, "comparison is expected", ""},
		{"crm.customers", `@`, `@`, "name is expected", ""},
		{"crm.customers", `{tickets: {some: {}}}`, `{some`, "another source", ""},
		{"crm.customers", `{region: {eq: "x"}`, ``, "", ""},
		{"crm.customers", "{\n  region:\n    {eq 5}}", "5", "Expected", ""},
		{"crm.customers", `{id: {eq: 1}}) c(d: {}`, ``, "one filter", ""},
		{"crm.customers", `{id: {eq: 1}} e: 5`, ``, "one filter", ""},
		{"crm.customers", strings.Repeat("{and: [", 70), ``, "deep", ""},
		{"crm.custommers", `{id: {eq: 1}}`, ``, "no collection", "crm.customers"},
		{"desk.tickets", `{subject: {eq: "x"}}`, `subject`, "no such field", ""},
	} {
		_, err := b.Condition(k.object, policy.SubjectRecord, k.text, named)
		var e *policy.BindError
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", k.text, err)
			continue
		}
		if !strings.Contains(e.Message, k.message) || e.Nearest != k.nearest || (k.at != "" && !strings.HasPrefix(k.text[e.Offset:], k.at)) {
			t.Errorf("%s: %d %q %q", k.text, e.Offset, e.Message, e.Nearest)
		}
	}
	if _, err := b.Condition("desk.PostRefund", policy.SubjectArguments, `{amuont: {eq: 1}}`, nil); err == nil || !strings.Contains(err.Error(), `"amount"`) {
		t.Errorf("%v", err)
	}
	if _, err := b.Condition("desk.Nothing", policy.SubjectArguments, `{a: {eq: 1}}`, nil); err == nil {
		t.Error("a function that does not exist")
	}
}

func TestBinderSet(t *testing.T) {
	b := catalog.NewBinder(build(t, shop, shopGraph))
	got, err := b.Set("crm.customers", `{name: $principal.id mood: "bad" balance: "5.00"}`)
	if err != nil || len(got.Assign) != 3 || len(got.Params) != 1 || got.Assign[0].Operand.Arg != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	if v := got.Assign[1]; v.Field != "mood" || v.Operand.Const.Text != "bad" {
		t.Errorf("%+v", v)
	}
	if got, err := b.Set("desk.PostRefund", `{amount: 5}`); err != nil || got.Assign[0].Field != "amount" {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{`{}`, `{nothing: 1}`, `{name: 5}`, `{createdAt: $now}`, `{name: @my_region}`, `{name: null}`, `[1]`, `{balance: "1.005"}`, `{`} {
		var e *policy.BindError
		if _, err := b.Set("crm.customers", bad); !errors.As(err, &e) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestBinderObjects(t *testing.T) {
	c := build(t, shop, `extend type Customer @hide(field: "meta") @secret(field: "region") extend type Order @hide`)
	var names []string
	for _, o := range catalog.NewBinder(c).Objects() {
		names = append(names, o.Name)
		if o.Name != "crm.customers" {
			continue
		}
		for _, f := range o.Fields {
			if f.System == "meta" {
				t.Error("a hidden field is an object's")
			}
			if f.Secret != (f.System == "region") {
				t.Errorf("%s is secret: %v", f.System, f.Secret)
			}
		}
		if len(o.Acts) != 4 {
			t.Errorf("acts: %v", o.Acts)
		}
	}
	if got := strings.Join(names, " "); got != "crm.customers desk.GetTicket desk.PostRefund desk.tickets" {
		t.Errorf("objects: %s", got)
	}
}

// A hidden field still stands in conditions of the policy, never in a client's.
func TestHiddenFieldsInConditions(t *testing.T) {
	c := build(t, shop, `extend type Customer @hide(field: "region")`)
	if _, err := catalog.NewBinder(c).Condition("crm.customers", policy.SubjectRecord, `{region: {eq: "x"}}`, nil); err != nil {
		t.Error(err)
	}
	if _, err := catalog.FilterCondition(c.Collection("crm.customers"), catalog.JSON(fromJSON(t, `{"region":{"eq":"x"}}`)), catalog.InputOptions{}); err == nil {
		t.Error("a client filters by a hidden field")
	}
}

func FuzzCondition(f *testing.F) {
	b := catalog.NewBinder(build(f, shop, shopGraph))
	for _, s := range []string{`{region: {eq: $claims.region}}`, `@my_region`, `{and: [@both {orders: {none: {}}}]}`, `{name: {eq: """ü"""}} # x`, `{id: {in: [1 2]}}`, "{", `"`, `$claims.`, `{meta: {hasKey: "\u00e9"}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := b.Condition("crm.customers", policy.SubjectRecord, s, named)
		var e *policy.BindError
		switch {
		case err != nil && (!errors.As(err, &e) || e.Offset < 0 || e.Offset > len(s)):
			t.Errorf("%v at %d of %d", err, e.Offset, len(s))
		case err == nil && got.Condition == nil:
			t.Error("a condition that matches everything")
		case err == nil:
			walk(t, got.Condition, len(got.Params))
		}
	})
}

// walk checks that a condition is well formed and its operands are there.
func walk(t *testing.T, c *connectors.Condition, params int) {
	if c == nil {
		return
	}
	if c.Op == "" || c.Operand.Arg > params || c.Operand.Arg == 0 && c.Field != "" && c.Operand.Const.IsNull() {
		t.Errorf("malformed: %+v", c)
	}
	for _, i := range c.Items {
		walk(t, i, params)
	}
	walk(t, c.Inner, params)
}

func FuzzGraphFile(f *testing.F) {
	sources, o := parseSources(f, shop), catalog.Options{Control: control(f)}
	for _, s := range []string{shopGraph, `extend type Customer @rename(to: "Client") @rename(field: "name", to: "title") @hide(field: "meta")`, `extend type Query @hide(field: "orders")`, `extend type Mutation @rename(field: "postRefund", to: "x")`, "directive @rename on OBJECT", `extend type Order @rename(of: "crm.orders", to: "O", plural: "os")`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, problems := catalog.Build(sources, []catalog.SDLFile{{Name: "g", Text: s}}, o)
		if c == nil {
			if len(problems) == 0 {
				t.Error("refused without a problem")
			}
			return
		}
		schema, err := c.Schema(fullView(c))
		if err != nil {
			t.Fatal(err)
		}
		mustBeValid(t, schema)
	})
}

func FuzzCoerce(f *testing.F) {
	f.Add("Decimal", "10.50")
	f.Add("DateTime", "2026-01-31T10:00:00.1+02:00")
	f.Add("BigInt", "-00012")
	f.Add("Bytes", "aGk=")
	f.Add("Duration", "P1Y2M3W4DT5H6M7.8S")
	f.Fuzz(func(t *testing.T, scalar, in string) {
		typ := typeNamed(t, nil, connectors.Scalar(scalar))
		v, err := catalog.CoerceVariable(in, typ, false)
		if err != nil {
			if connectors.CodeOf(err) != connectors.CodeBadInput {
				t.Error(err)
			}
			return
		}
		again, err := catalog.CoerceVariable(v.Text, typ, false)
		if scalar != "JSON" && (err != nil || !again.Equal(v)) {
			t.Errorf("%s %q is %v, and that again %v %v", scalar, in, v, again, err)
		}
	})
}
