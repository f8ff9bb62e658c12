package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// literal parses a value of a document.
func literal(t testing.TB, text string) *ast.Value {
	t.Helper()
	doc, err := parser.ParseQuery(&ast.Source{Input: "query{a(b:" + text + ")}"})
	if err != nil {
		t.Fatal(err)
	}
	return doc.Operations[0].SelectionSet[0].(*ast.Field).Arguments[0].Value
}

// fromJSON decodes as the gateway does.
func fromJSON(t testing.TB, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// given are variables that become arguments in the order in which they are met.
type given struct {
	values map[string]any
	met    []string
}

func (g *given) Operand(v *ast.Value, t *catalog.Type, list bool) (connectors.Operand, error) {
	got, err := catalog.CoerceValue(v, t, list, g.values)
	if err != nil || got.IsNull() {
		return connectors.Const(got), err
	}
	g.met = append(g.met, v.Raw)
	return connectors.Arg(len(g.met) - 1), nil
}

func (g *given) Value(name string) (any, bool) { v, ok := g.values[name]; return v, ok }

func typeNamed(t testing.TB, c *catalog.Catalog, scalar connectors.Scalar) *catalog.Type {
	return &catalog.Type{TypeRef: connectors.TypeRef{Scalar: scalar}, Leaf: scalar, Output: string(scalar), Input: string(scalar)}
}

func TestCoerceScalars(t *testing.T) {
	for _, c := range []struct {
		scalar connectors.Scalar
		in     string
		want   string // kind:text, or error
	}{
		{"Int", "5", "int:5"}, {"Int", "2147483647", "int:2147483647"}, {"Int", "2147483648", "error"}, {"Int", "-2147483648", "int:-2147483648"},
		{"Int", "-2147483649", "error"}, {"Int", `"5"`, "error"}, {"Int", "5.0", "error"}, {"Int", "1e3", "error"}, {"Int", "null", "null:"},
		{"SafeInt", "9007199254740991", "int:9007199254740991"}, {"SafeInt", "9007199254740992", "error"}, {"SafeInt", "-9007199254740991", "int:-9007199254740991"},
		{"BigInt", "9007199254740993", "int:9007199254740993"}, {"BigInt", `"123456789012345678901234567890"`, "int:123456789012345678901234567890"},
		{"BigInt", `"+007"`, "int:7"}, {"BigInt", `"-0"`, "int:0"}, {"BigInt", `"1.0"`, "error"}, {"BigInt", `"x"`, "error"}, {"BigInt", "1.5", "error"},
		{"Decimal", `"10.50"`, "decimal:10.50"}, {"Decimal", "10", "decimal:10"}, {"Decimal", "10.5", "error"}, {"Decimal", `"-0.0"`, "decimal:0.0"},
		{"Decimal", `"007.10"`, "decimal:7.10"}, {"Decimal", `".5"`, "decimal:0.5"}, {"Decimal", `"1e3"`, "error"}, {"Decimal", `""`, "error"}, {"Decimal", `"NaN"`, "error"},
		{"Float", "1.5", "float:1.5"}, {"Float", "3", "float:3"}, {"Float", `"1.5"`, "error"}, {"Float", "1e999", "error"},
		{"String", `"a"`, "string:a"}, {"String", "5", "error"}, {"String", "true", "error"},
		{"ID", `"a"`, "string:a"}, {"ID", "5", "string:5"}, {"ID", "5.5", "error"},
		{"Boolean", "true", "bool:true"}, {"Boolean", `"true"`, "error"}, {"Boolean", "1", "error"},
		{"UUID", `"6BA7B810-9DAD-11D1-80B4-00C04FD430C8"`, "string:6ba7b810-9dad-11d1-80b4-00c04fd430c8"}, {"UUID", `"6ba7b8109dad11d180b400c04fd430c8"`, "error"},
		{"Date", `"2026-01-31"`, "string:2026-01-31"}, {"Date", `"2026-02-30"`, "error"}, {"Date", `"0000-00-00"`, "error"}, {"Date", `"2026-1-1"`, "error"},
		{"Time", `"08:30"`, "string:08:30"}, {"Time", `"08:30:00.123"`, "string:08:30:00.123"}, {"Time", `"24:00:00"`, "error"}, {"Time", `"08:60"`, "error"}, {"Time", `"08:30:00Z"`, "error"},
		{"DateTime", `"2026-01-31T10:00:00+02:00"`, "string:2026-01-31T08:00:00Z"}, {"DateTime", `"2026-01-31T10:00:00.1200Z"`, "string:2026-01-31T10:00:00.1200Z"},
		{"DateTime", `"2026-01-31T10:00:00"`, "error"}, {"DateTime", `"2026-01-31 10:00:00Z"`, "error"}, {"DateTime", `"2026-01-31T10:00:00,5Z"`, "error"}, {"DateTime", `"infinity"`, "error"},
		{"LocalDateTime", `"2026-01-31T10:00:00"`, "string:2026-01-31T10:00:00"}, {"LocalDateTime", `"2026-01-31T10:00:00Z"`, "error"},
		{"Duration", `"P1DT2H"`, "string:P1DT2H"}, {"Duration", `"P"`, "error"}, {"Duration", `"PT"`, "error"}, {"Duration", `"1 day"`, "error"},
		{"Bytes", `"aGk="`, "bytes:aGk="}, {"Bytes", `"aGk"`, "error"}, {"Bytes", `"a-_="`, "error"},
		{"JSON", `{a: [1, null, true], b: "x"}`, `json:{"a":[1,null,true],"b":"x"}`}, {"JSON", "1.50", "json:1.50"},
	} {
		typ := typeNamed(t, nil, c.scalar)
		got, err := catalog.CoerceLiteral(literal(t, c.in), typ, false)
		check(t, fmt.Sprintf("%s %s", c.scalar, c.in), got, err, c.want)
		if strings.Contains(c.in, "{") {
			continue
		}
		got, err = catalog.CoerceVariable(fromJSON(t, c.in), typ, false)
		check(t, fmt.Sprintf("%s variable %s", c.scalar, c.in), got, err, c.want)
	}
}

func check(t *testing.T, what string, got connectors.Value, err error, want string) {
	t.Helper()
	if err != nil {
		if connectors.CodeOf(err) != connectors.CodeBadInput || want != "error" {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
		return
	}
	if s := got.Kind.String() + ":" + got.Text; s != want {
		t.Errorf("%s: %s, want %s", what, s, want)
	}
}

func TestCoerceListsAndObjects(t *testing.T) {
	c := build(t, shop)
	part := c.Function("desk.PostRefund").Arg("parts").Type
	v, err := catalog.CoerceLiteral(literal(t, `[{amount: 1} {note: "x" amount: 2}]`), part, false)
	if err != nil || len(v.Items) != 2 || !v.Items[1].Get("amount").Equal(connectors.Int(2)) {
		t.Errorf("%v %v", v, err)
	}
	v, err = catalog.CoerceLiteral(literal(t, `{amount: 1}`), part, false)
	if err != nil || len(v.Items) != 1 {
		t.Errorf("a single value is a list of one: %v %v", v, err)
	}
	for _, bad := range []string{`[{note: "x"}]`, `[{amount: 1 more: 2}]`, `[{amount: null}]`, `[null]`, `[{amount: 1 amount: 2}]`, `[[]]`} {
		if _, err := catalog.CoerceLiteral(literal(t, bad), part, false); connectors.CodeOf(err) != connectors.CodeBadInput {
			t.Errorf("%s: %v", bad, err)
		}
	}
	mood := c.Collection("crm.customers").Field("mood").Type
	if v, err := catalog.CoerceLiteral(literal(t, "GOOD"), mood, false); err != nil || v.Text != "good" {
		t.Errorf("an enum is the system's value: %v %v", v, err)
	}
	if v, err := catalog.CoerceVariable("BAD", mood, false); err != nil || v.Text != "bad" {
		t.Errorf("%v %v", v, err)
	}
	for _, bad := range []string{`"GOOD"`, "good", "UGLY"} {
		if _, err := catalog.CoerceLiteral(literal(t, bad), mood, false); err == nil {
			t.Errorf("%s is a mood", bad)
		}
	}
	typ := typeNamed(t, c, connectors.ScalarInt)
	vars := map[string]any{"a": json.Number("1")}
	if v, err := catalog.CoerceValue(literal(t, "[$a, 2]"), typ, true, vars); err != nil || len(v.Items) != 2 {
		t.Errorf("%v %v", v, err)
	}
	if _, err := catalog.CoerceValue(literal(t, "[$b, 2]"), typ, true, vars); err == nil || !strings.Contains(err.Error(), "$b") {
		t.Errorf("a missing variable is named: %v", err)
	}
	if v, err := catalog.CoerceValue(literal(t, "$b"), typ, true, vars); err != nil || v.Kind != connectors.KindAbsent {
		t.Errorf("%v %v", v, err)
	}
}

func TestCheckFits(t *testing.T) {
	c := build(t, shop).Collection("crm.customers")
	for _, k := range []struct {
		field string
		value connectors.Value
		ok    bool
	}{
		{"name", connectors.String(strings.Repeat("ü", 20)), true}, {"name", connectors.String(strings.Repeat("ü", 21)), false},
		{"balance", connectors.Decimal("10.00"), true}, {"balance", connectors.Decimal("10.005"), false}, {"balance", connectors.Decimal("10.100"), true},
		{"balance", connectors.Decimal("99999999.99"), true}, {"balance", connectors.Decimal("100000000"), false}, {"balance", connectors.Decimal("-0000000001.5"), true},
		{"balance", connectors.Null, true}, {"region", connectors.String(strings.Repeat("x", 9999)), true},
	} {
		err := catalog.CheckFits(k.value, c.Field(k.field).Type)
		if (err == nil) != k.ok || err != nil && connectors.CodeOf(err) != connectors.CodeValidationFailed {
			t.Errorf("%s = %s: %v", k.field, k.value.Text, err)
		}
	}
}

// text writes a condition for reading.
func text(c *connectors.Condition) string {
	if c == nil {
		return "all"
	}
	return string(c.AppendCanonical(nil))
}

func TestFilterCondition(t *testing.T) {
	c := build(t, shop, shopGraph)
	customers := c.Collection("crm.customers")
	vars := map[string]any{"id": json.Number("7"), "f": map[string]any{"region": map[string]any{"eq": "EU"}}, "null": nil, "ids": []any{json.Number("1")}}
	for _, k := range []struct{ in, want string }{
		{`{}`, "all"}, {`null`, "all"}, {`$none`, "all"}, {`$null`, "all"},
		{`{id: {eq: 7}}`, `["eq","id",["int","7"]]`},
		{`{id: {gt: 1 lt: 9}}`, `["and",["gt","id",["int","1"]],["lt","id",["int","9"]]]`},
		{`{createdAt: {gte: "2026-01-31T10:00:00+02:00"}}`, `["gte","created_at",["string","2026-01-31T08:00:00Z"]]`},
		{`{region: {in: ["a", "b"]}}`, `["in","region",["list",[["string","a"],["string","b"]]]]`},
		{`{region: {in: "a"}}`, `["in","region",["list",[["string","a"]]]]`},
		{`{region: {in: []}}`, `["in","region",["list",[]]]`},
		{`{region: {isNull: true}}`, `["isNull","region",["bool","true"]]`},
		{`{meta: {hasKey: "a"}}`, `["hasKey","meta",["string","a"]]`},
		{`{mood: {eq: GOOD}}`, `["eq","mood",["string","good"]]`},
		{`{or: []}`, `["or"]`}, {`{and: []}`, "all"}, {`{or: [{}, {id: {eq: 1}}]}`, "all"}, {`{not: {}}`, `["or"]`},
		{`{or: {id: {eq: 1}}}`, `["eq","id",["int","1"]]`},
		{`{not: {or: [{id: {eq: 1}} {region: {eq: "x"}}]}}`, `["not",["or",["eq","id",["int","1"]],["eq","region",["string","x"]]]]`},
		{`{orders: {some: {id: {eq: 1}}}}`, `["related","some",["orders",["id","customer_id"]],["eq","id",["int","1"]]]`},
		{`{orders: {every: {} none: {note: {eq: "x"}}}}`, `["and",["related","every",["orders",["id","customer_id"]],["null"]],["related","none",["orders",["id","customer_id"]],["eq","note",["string","x"]]]]`},
		{`{id: {eq: $id}}`, `["eq","id",["arg","1"]]`}, {`{region: {in: $ids}}`, "error"}, {`{id: {in: $ids}}`, `["in","id",["arg","1"]]`},
		{`$f`, `["eq","region",["string","EU"]]`}, {`{and: [$f, {id: {eq: 1}}]}`, `["and",["eq","region",["string","EU"]],["eq","id",["int","1"]]]`},
		{`{id: {}}`, "error"}, {`{id: {eq: null}}`, "error"}, {`{id: {eq: $null}}`, "error"}, {`{id: {eq: $none}}`, "error $none"}, {`{id: $none}`, "error $none"},
		{`{id: null}`, "error"}, {`{and: null}`, "error"}, {`{and: [null]}`, "error"}, {`{and: [$none]}`, "error $none"}, {`{not: $none}`, "error $none"},
		{`{orders: {}}`, "error"}, {`{orders: {some: null}}`, "error"}, {`{orders: {any: {}}}`, "error"}, {`{orders: $none}`, "error $none"},
		{`{nothing: {eq: 1}}`, "error"}, {`{id: {like: "x"}}`, "error"}, {`{id: 7}`, "error"}, {`{tickets: {some: {}}}`, "error another source"}, {`7`, "error"},
		{`{id: {eq: "7"}}`, "error"}, {`{region: {in: [null]}}`, "error"}, {`{tags: {eq: "x"}}`, "error"}, {`{region: {in: ["a", $none]}}`, "error $none"},
	} {
		got, err := catalog.FilterCondition(customers, catalog.Literal(literal(t, k.in)), catalog.InputOptions{Variables: &given{values: vars}})
		if rest, isError := strings.CutPrefix(k.want, "error"); isError {
			if connectors.CodeOf(err) != connectors.CodeBadInput || !strings.Contains(err.Error(), strings.TrimSpace(rest)) {
				t.Errorf("%s: %v %s", k.in, err, text(got))
			}
			continue
		}
		if err != nil || text(got) != k.want {
			t.Errorf("%s: %s %v, want %s", k.in, text(got), err, k.want)
		}
	}
	if got, err := catalog.FilterCondition(customers, catalog.Input{}, catalog.InputOptions{}); got != nil || err != nil {
		t.Errorf("an absent filter matches everything: %v %v", got, err)
	}
	for _, in := range []string{`{}`, `{and: []}`, `{or: [{}]}`} {
		if _, err := catalog.FilterCondition(customers, catalog.Literal(literal(t, in)), catalog.InputOptions{NotEmpty: true}); err == nil {
			t.Errorf("%s passes where a filter must not be empty", in)
		}
	}
	_, err := catalog.FilterCondition(customers, catalog.JSON(fromJSON(t, `{"and":[{"id":{"eq":"x"}}]}`)), catalog.InputOptions{})
	var e *connectors.Error
	if !errors.As(err, &e) || strings.Join(e.Path, ".") != "and.0.id.eq" {
		t.Errorf("the path is %v", err)
	}
}

// What a view may not compare, a variable does not compare either.
func TestFilterKeepsToTheView(t *testing.T) {
	c := build(t, shop, shopGraph)
	customers := c.Collection("crm.customers")
	v := parseView(t, c, "crm.customers read{id ?region}\ncrm.orders read{id customer_id}")
	related := func(*catalog.Relation) *connectors.Condition {
		return connectors.Compare("note", connectors.OpEq, connectors.Const(connectors.String("mine")))
	}
	for in, want := range map[string]string{
		`{"id":{"eq":1}}`:                     `["eq","id",["int","1"]]`,
		`{"orders":{"some":{"id":{"eq":1}}}}`: `["related","some",["orders",["id","customer_id"],["eq","note",["string","mine"]]],["eq","id",["int","1"]]]`,
		`{"region":{"eq":"x"}}`:               "error", `{"name":{"eq":"x"}}`: "error", `{"orders":{"some":{"note":{"eq":"x"}}}}`: "error",
		`{"orders":{"some":{"customer":{"name":{"eq":"x"}}}}}`: "error",
	} {
		got, err := catalog.FilterCondition(customers, catalog.JSON(fromJSON(t, in)), catalog.InputOptions{View: v, Related: related})
		if want == "error" {
			if err == nil || strings.Contains(err.Error(), "mean") {
				t.Errorf("%s: %v %s", in, err, text(got))
			}
			continue
		}
		if err != nil || text(got) != want {
			t.Errorf("%s: %s %v", in, text(got), err)
		}
	}
	hidden := parseView(t, c, "crm.customers read{id}")
	if _, err := catalog.FilterCondition(customers, catalog.JSON(fromJSON(t, `{"orders":{"some":{}}}`)), catalog.InputOptions{View: hidden}); err == nil {
		t.Error("a filter goes through a relation to what may not be read")
	}
}

func TestOrderTerms(t *testing.T) {
	c := build(t, shop, shopGraph)
	orders := c.Collection("crm.orders")
	o := catalog.InputOptions{}
	got, err := catalog.OrderTerms(orders, catalog.Literal(literal(t, `[{note: DESC_NULLS_LAST} {customer: {createdAt: ASC}}]`)), o)
	if err != nil || len(got) != 2 || !got[0].Desc || got[0].Nulls != connectors.NullsLast || got[1].Field != "created_at" || got[1].Via[0].To != "customers" {
		t.Errorf("%+v %v", got, err)
	}
	got, err = catalog.OrderTerms(orders, catalog.JSON(fromJSON(t, `{"id":"ASC"}`)), o)
	if err != nil || len(got) != 1 || got[0].Desc {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{`[{}]`, `[{id: ASC note: ASC}]`, `[{id: UP}]`, `[{id: "ASC"}]`, `[{nothing: ASC}]`, `[null]`, `[{id: null}]`, `[{customer: ASC}]`} {
		if _, err := catalog.OrderTerms(orders, catalog.Literal(literal(t, bad)), o); connectors.CodeOf(err) != connectors.CodeBadInput {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if got, err := catalog.OrderTerms(orders, catalog.Input{}, o); got != nil || err != nil {
		t.Errorf("%v %v", got, err)
	}
	if _, err := catalog.OrderTerms(c.Collection("crm.customers"), catalog.Literal(literal(t, `[{orders: {id: ASC}}]`)), o); err == nil {
		t.Error("an order goes to many")
	}
}

func TestWriteInputs(t *testing.T) {
	c := build(t, shop, shopGraph)
	customers := c.Collection("crm.customers")
	o := catalog.InputOptions{Variables: &given{values: map[string]any{"n": "Ann"}}}
	show := func(as []catalog.Assigned) string {
		var out []string
		for _, a := range as {
			sign := "="
			if a.Increment {
				sign = "+="
			}
			v := a.Operand.Const.Text
			if a.Operand.Arg > 0 {
				v = fmt.Sprintf("$%d", a.Operand.Arg)
			} else if a.Operand.Const.Kind == connectors.KindNull {
				v = "null"
			}
			out = append(out, a.Field.System+sign+v)
		}
		return strings.Join(out, " ")
	}
	for _, k := range []struct {
		act      policy.Act
		in, want string
	}{
		{policy.Create, `{taxNo: "1" country: "DE" name: "Ann" createdAt: "x"}`, "error"},
		{policy.Create, `{taxNo: "1" country: "DE" name: $n region: $none}`, "name=$1 country=DE tax_no=1"},
		{policy.Create, `{taxNo: "1" name: "Ann"}`, "error required"},
		{policy.Create, `{taxNo: "1" country: null name: "Ann"}`, "error null"},
		{policy.Create, `{taxNo: "1" country: "DE" name: "Ann" balance: "1.005"}`, "invalid after the point"},
		{policy.Update, `{balance: {set: "1.50"} visits: {increment: -1} region: null}`, "region=null balance=1.50 visits+=-1"},
		{policy.Update, `{score: null}`, "score=null"}, {policy.Update, `{balance: null}`, "error"}, {policy.Update, `{balance: {set: null}}`, "error"},
		{policy.Update, `{balance: {set: "1" increment: "1"}}`, "error exactly one"}, {policy.Update, `{balance: {}}`, "error"}, {policy.Update, `{balance: "1"}`, "error"},
		{policy.Update, `{visits: {increment: $none}}`, "error $none"}, {policy.Update, `{}`, "error empty"}, {policy.Update, `{id: {set: 1}}`, "error"}, {policy.Update, `{name: "a" name: "b"}`, "error twice"},
		{policy.Update, `{region: $none}`, "error empty"},
	} {
		got, err := catalog.RecordInput(customers, k.act, catalog.Literal(literal(t, k.in)), o)
		code, rest := connectors.CodeBadInput, ""
		switch {
		case strings.HasPrefix(k.want, "error"):
			rest = strings.TrimSpace(strings.TrimPrefix(k.want, "error"))
		case strings.HasPrefix(k.want, "invalid"):
			code, rest = connectors.CodeValidationFailed, strings.TrimSpace(strings.TrimPrefix(k.want, "invalid"))
		default:
			if err != nil || show(got) != k.want {
				t.Errorf("%s: %s %v, want %s", k.in, show(got), err, k.want)
			}
			continue
		}
		if connectors.CodeOf(err) != code || !strings.Contains(err.Error(), rest) {
			t.Errorf("%s: %v %s", k.in, err, show(got))
		}
	}
	v := parseView(t, c, "crm.customers read update{region}")
	if _, err := catalog.RecordInput(customers, policy.Update, catalog.JSON(fromJSON(t, `{"name":"x"}`)), catalog.InputOptions{View: v}); err == nil {
		t.Error("a field is written that the view may not give")
	}
	key, err := catalog.KeyOperands(customers, map[string]catalog.Input{"id": catalog.Literal(literal(t, "5"))}, o)
	if err != nil || show(key) != "id=5" {
		t.Errorf("%s %v", show(key), err)
	}
	if _, err := catalog.KeyOperands(customers, map[string]catalog.Input{"id": catalog.Literal(literal(t, "$none"))}, o); err == nil {
		t.Error("a key without value")
	}
	u, err := catalog.UniqueOperands(customers, catalog.Literal(literal(t, `{countryAndTaxNo: {taxNo: "1" country: "DE"}}`)), o)
	if err != nil || show(u) != "country=DE tax_no=1" {
		t.Errorf("%s %v", show(u), err)
	}
	for _, bad := range []string{`{}`, `{email: null}`, `{email: "a" countryAndTaxNo: {}}`, `{countryAndTaxNo: {country: "DE"}}`, `{region: "x"}`, `{email: $none}`, `{countryAndTaxNo: {country: "DE" taxNo: "1" x: 1}}`} {
		if _, err := catalog.UniqueOperands(customers, catalog.Literal(literal(t, bad)), o); connectors.CodeOf(err) != connectors.CodeBadInput {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestCallArguments(t *testing.T) {
	c := build(t, shop)
	refund, get := c.Function("desk.PostRefund"), c.Function("desk.GetTicket")
	got, err := catalog.CallArguments(refund, map[string]catalog.Input{"input": catalog.Literal(literal(t, `{charge: "ch" kind: A parts: [{amount: 1}]}`))}, catalog.InputOptions{})
	if err != nil || len(got) != 3 {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{`{amount: 1}`, `{charge: "x" amount: 1.5}`, `{charge: "x" more: 1}`, `null`} {
		if _, err := catalog.CallArguments(refund, map[string]catalog.Input{"input": catalog.Literal(literal(t, bad))}, catalog.InputOptions{}); connectors.CodeOf(err) != connectors.CodeBadInput {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if got, err := catalog.CallArguments(get, map[string]catalog.Input{"id": catalog.Literal(literal(t, `"x"`))}, catalog.InputOptions{}); err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := catalog.CallArguments(get, nil, catalog.InputOptions{}); err == nil {
		t.Error("a required argument is missing")
	}
}

func TestGroups(t *testing.T) {
	c := build(t, shop).Collection("crm.customers")
	by, err := catalog.GroupFields(c, catalog.Literal(literal(t, "[REGION CREATED_AT]")), catalog.InputOptions{})
	if err != nil || len(by) != 2 || by[1].System != "created_at" || c.GroupField("REGION") != by[0] {
		t.Errorf("%v %v", by, err)
	}
	for _, bad := range []string{"[]", "[NOTHING]", "[REGION REGION]", "[TAGS]"} {
		if _, err := catalog.GroupFields(c, catalog.Literal(literal(t, bad)), catalog.InputOptions{}); err == nil {
			t.Errorf("%s", bad)
		}
	}
	h, err := catalog.HavingTerms(c, catalog.Literal(literal(t, `{count: {gt: 5} sum: {visits: {gte: "10" lt: "20"}}}`)), catalog.InputOptions{})
	if err != nil || len(h) != 3 || h[0].Value.Func != connectors.AggCount || h[1].Value.Field != "visits" {
		t.Errorf("%v %v", h, err)
	}
	for _, bad := range []string{`{count: {}}`, `{sum: {}}`, `{sum: {name: {eq: "1"}}}`, `{max: {name: {like: "x"}}}`, `{total: {eq: 1}}`} {
		if _, err := catalog.HavingTerms(c, catalog.Literal(literal(t, bad)), catalog.InputOptions{}); connectors.CodeOf(err) != connectors.CodeBadInput {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
