package policy_test

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

func loadText(t testing.TB, csv string) *policy.Engine {
	t.Helper()
	e, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(csv)}}, declare(defaultSchema), policy.Options{CatalogVersion: "c1"})
	if e == nil {
		t.Fatal(problems)
	}
	return e
}

func TestHashes(t *testing.T) {
	csv := `
p, a, crm.customers{id name}, read, allow
p, a, crm.orders, read|update, allow, {region: {eq: $claims.region}}
p, b, crm.customers{id name}, read, allow
p, b, crm.orders, read|update, allow, {region: {eq: $claims.other}}
p, c, crm.orders, read|update, propose
p, d, crm.orders, read|update, allow, {region: {eq: $claims.region}}, {max: 1}
p, d, crm.customers{id name}, read, allow
p, e, crm.orders{id}, read, allow
p, e, crm.orders{total}, read, allow, {region: {eq: "EU"}}
p, f, crm.orders{id total}, read, allow
`
	csv = strings.ReplaceAll(csv, "read|update, propose", "update, propose")
	e := loadText(t, csv)
	view := func(roles ...string) *policy.View { return e.View(person("user:x", roles...)) }
	if len(view("a").Shape) != 32 || len(view("a").Authority) != 32 {
		t.Error("hashes are 32 characters")
	}
	if view("a", "b") != view("b", "a") {
		t.Error("a role set in another order makes another view")
	}
	withClaims := person("user:y", "a")
	withClaims.Claims = map[string]connectors.Value{"region": connectors.String("EU")}
	if e.View(withClaims) != view("a") {
		t.Error("a view depends on who or on claims")
	}
	again := loadText(t, csv)
	for _, r := range []string{"a", "b", "c", "d", "e", "f"} {
		x, y := view(r), again.View(person("user:x", r))
		if x.Shape != y.Shape || x.Authority != y.Authority {
			t.Errorf("%s: loaded twice, other hashes", r)
		}
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{{"a", "b", true}, {"a", "d", true}, {"a", "c", false}, {"e", "f", false}} {
		x, y := view(c.a), view(c.b)
		if (x.Shape == y.Shape) != c.same {
			t.Errorf("shapes of %s and %s: same is %v", c.a, c.b, !c.same)
		}
		if x.Authority == y.Authority {
			t.Errorf("%s and %s have one authority", c.a, c.b)
		}
	}
	agent := &policy.Principal{ID: "agent:a", Kind: policy.Agent, Roles: []string{"a"}}
	if e.View(agent).Shape == view("a").Shape {
		t.Error("an agent's schema lacks what decides, and has the same shape")
	}
	other, _ := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(csv)}}, declare(defaultSchema), policy.Options{CatalogVersion: "c2"})
	if other.View(agent).Authority == e.View(agent).Authority {
		t.Error("another catalog, the same authority")
	}
	changed := loadText(t, csv+"# a comment\n")
	if changed.Version() == e.Version() || changed.View(agent).Authority == e.View(agent).Authority {
		t.Error("another policy, the same version")
	}
}

func TestParams(t *testing.T) {
	e := loadText(t, `
p, a, crm.customers, read, allow, {region: {eq: $claims.region}}
p, a, crm.orders, read, allow, {and: [{status: {eq: $claims.status}} {region: {eq: $claims.region}}]}
p, a, crm.notes, create, allow, , {set: {author: $principal.id}}
p, Z, crm.employees, read, allow, {name: {eq: $claims.other}}
`)
	v := e.View(person("user:x", "a"))
	want := []policy.Param{
		{Kind: policy.ParamClaim, Name: "region", Type: connectors.TypeRef{Scalar: connectors.ScalarString}},
		{Kind: policy.ParamClaim, Name: "status", Type: connectors.TypeRef{Scalar: connectors.ScalarString}},
		{Kind: policy.ParamPrincipal, Name: "id", Type: connectors.TypeRef{Scalar: connectors.ScalarString}},
	}
	if !reflect.DeepEqual(v.Params, want) {
		t.Errorf("one table for all conditions: %v", v.Params)
	}
	// Views share what is the same to the last position, and nothing else.
	if w := e.View(person("user:y", "a", "b")); w == v || w.Object("crm.customers") != v.Object("crm.customers") {
		t.Error("a role without lines makes another access")
	}
	w := e.View(person("user:y", "a", "Z"))
	claimed := func(v *policy.View) string { return conditionText(v.Object("crm.customers").Read.Row, v.Params) }
	if w.Object("crm.customers") == v.Object("crm.customers") || claimed(w) != claimed(v) || w.Params[0].Name != "other" {
		t.Errorf("a condition points elsewhere: %s, %s", claimed(v), claimed(w))
	}
	if w.Authority == v.Authority || w.Shape == v.Shape {
		t.Error("another role's lines, the same hashes")
	}
}

// TestSharedViews: a view of an engine that made many others is the view of one
// that made none.
func TestSharedViews(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines, e := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, true)
		for range rapid.IntRange(0, 4).Draw(t, "before") {
			e.View(person("user:x", drawRoles(t, "others")...))
		}
		agent := &policy.Principal{ID: "agent:a", Kind: policy.Agent, Roles: drawRoles(t, "agent"), Tenant: "default", For: person("user:x", drawRoles(t, "person")...)}
		for _, p := range []*policy.Principal{agent, agent.For} {
			v, w := e.View(p), load(t, lines).View(p)
			if viewText(v) != viewText(w) || v.Shape != w.Shape || v.Authority != w.Authority {
				t.Fatalf("after others:\n%s\nalone:\n%s", viewText(v), viewText(w))
			}
		}
	})
}

func TestBind(t *testing.T) {
	owner := &policy.Principal{ID: "user:o", Name: "Ona", Kind: policy.Human, Tenant: "default"}
	agent := &policy.Principal{ID: "agent:a", Name: "a", Kind: policy.Agent, Owner: "user:o", Tenant: "default", For: owner, Roles: []string{"r"}}
	claims := map[string]connectors.Value{
		"text": connectors.String("EU"), "int": connectors.Int(42), "big": connectors.String("9007199254740993"),
		"null": connectors.Null, "list": connectors.ListOf(connectors.String("a"), connectors.String("b")),
		"uuid": connectors.String("9F2C1A7E-1111-4222-8333-444455556666"), "date": connectors.String("2026-05-04"), "bool": connectors.True, "base64": connectors.String("aGk="),
		"decimal": connectors.String("10.50"), "wide": connectors.Int(1 << 40), "float": connectors.Float(1.5), "mixed": connectors.ListOf(connectors.String("a"), connectors.Int(1)),
	}
	owner.Claims = claims
	agent.Claims = map[string]connectors.Value{"text": connectors.String("the agent's own")}
	scalar := func(s connectors.Scalar) connectors.TypeRef { return connectors.TypeRef{Scalar: s} }
	claim := func(name string, s connectors.Scalar) policy.Param {
		return policy.Param{Kind: policy.ParamClaim, Name: name, Type: scalar(s)}
	}
	for _, c := range []struct {
		param policy.Param
		want  string // "" for missing
	}{
		{claim("text", connectors.ScalarString), `"EU"`},
		{claim("text", connectors.ScalarInt), ""},
		{claim("nothing", connectors.ScalarString), ""},
		{claim("null", connectors.ScalarString), ""},
		{claim("int", connectors.ScalarString), ""},
		{claim("int", connectors.ScalarID), `"42"`},
		{claim("int", connectors.ScalarInt), "42"},
		{claim("int", connectors.ScalarDecimal), "42"},
		{claim("wide", connectors.ScalarInt), ""},
		{claim("wide", connectors.ScalarSafeInt), "1099511627776"},
		{claim("big", connectors.ScalarBigInt), "9007199254740993"},
		{claim("big", connectors.ScalarInt), ""},
		{claim("decimal", connectors.ScalarDecimal), "10.50"},
		{claim("decimal", connectors.ScalarFloat), ""},
		{claim("float", connectors.ScalarFloat), "1.5"},
		{claim("float", connectors.ScalarInt), ""},
		{claim("uuid", connectors.ScalarUUID), `"9f2c1a7e-1111-4222-8333-444455556666"`},
		{claim("text", connectors.ScalarUUID), ""},
		{claim("date", connectors.ScalarDate), `"2026-05-04"`},
		{claim("date", connectors.ScalarDateTime), ""},
		{claim("bool", connectors.ScalarBoolean), "true"},
		{claim("text", connectors.ScalarBoolean), ""},
		{claim("text", connectors.ScalarBytes), ""},
		{claim("base64", connectors.ScalarBytes), "aGk="},
		{claim("text", connectors.ScalarJSON), ""},
		{policy.Param{Kind: policy.ParamClaim, Name: "text", Type: connectors.TypeRef{Enum: "Region"}}, `"EU"`},
		{policy.Param{Kind: policy.ParamClaim, Name: "list", Type: scalar(connectors.ScalarString), List: true}, `["a" "b"]`},
		{policy.Param{Kind: policy.ParamClaim, Name: "text", Type: scalar(connectors.ScalarString), List: true}, ""},
		{policy.Param{Kind: policy.ParamClaim, Name: "mixed", Type: scalar(connectors.ScalarString), List: true}, ""},
		{claim("list", connectors.ScalarString), ""},
		{policy.Param{Kind: policy.ParamPrincipal, Name: "id", Type: scalar(connectors.ScalarString)}, `"agent:a"`},
		{policy.Param{Kind: policy.ParamPrincipal, Name: "kind", Type: scalar(connectors.ScalarString)}, `"agent"`},
		{policy.Param{Kind: policy.ParamPrincipal, Name: "tenant", Type: scalar(connectors.ScalarString)}, `"default"`},
		{policy.Param{Kind: policy.ParamPrincipal, Name: "roles", Type: scalar(connectors.ScalarString), List: true}, `["*" "r"]`},
		{policy.Param{Kind: policy.ParamPrincipal, Name: "shoe", Type: scalar(connectors.ScalarString)}, ""},
		{policy.Param{Kind: policy.ParamAgent, Name: "name", Type: scalar(connectors.ScalarString)}, `"a"`},
		{policy.Param{Kind: policy.ParamAgent, Name: "owner", Type: scalar(connectors.ScalarString)}, `"user:o"`},
		{policy.Param{Kind: policy.ParamNow, Type: scalar(connectors.ScalarDateTime)}, `"2026-05-04T12:00:00Z"`},
		{policy.Param{Kind: policy.ParamNow, Type: scalar(connectors.ScalarDate)}, `"2026-05-04"`},
		{policy.Param{Kind: policy.ParamNow, Type: scalar(connectors.ScalarInt)}, ""},
	} {
		v := &policy.View{Params: []policy.Param{c.param}, Roles: []string{"*", "r"}}
		values, missing := v.Bind(agent, noon)
		got := ""
		if missing == nil {
			got = valueText(values[0])
		} else if !values[0].IsNull() {
			t.Errorf("%v is missing and has a value", c.param)
		}
		if got != c.want {
			t.Errorf("%s %s as %v: %s, want %s", c.param.Kind, c.param.Name, c.param.Type, got, c.want)
		}
	}
	v := &policy.View{Params: []policy.Param{{Kind: policy.ParamAgent, Name: "name", Type: scalar(connectors.ScalarString)}}}
	if _, missing := v.Bind(owner, noon); missing == nil {
		t.Error("a person without an agent has an agent's name")
	}
	if _, missing := v.Bind(nil, noon); missing == nil {
		t.Error("nobody has an agent's name")
	}
	var none *policy.View
	if values, missing := none.Bind(agent, time.Now()); values != nil || missing != nil || none.Object("x") != nil || none.Explain("x", policy.Read, "") != nil {
		t.Error("no view has no parameters")
	}
}

func TestHolding(t *testing.T) {
	e := loadText(t, `
g, lead, support
g, owner, lead
g, user:o@x, owner
g, agent:a, support
p, support, crm.notes, read, allow
p, other, crm.notes, read, allow
`)
	roles, members := e.Holding("support")
	if !reflect.DeepEqual(roles, []string{"lead", "owner", "support"}) || !reflect.DeepEqual(members, []string{"agent:a", "user:o@x"}) {
		t.Errorf("%v %v", roles, members)
	}
	if roles, members := e.Holding("owner"); !reflect.DeepEqual(roles, []string{"owner"}) || !reflect.DeepEqual(members, []string{"user:o@x"}) {
		t.Errorf("%v %v", roles, members)
	}
	if got := e.Roles(); !reflect.DeepEqual(got, []string{"lead", "other", "owner", "support"}) {
		t.Error(got)
	}
}

// TestNoEngine: what is not there permits nothing.
func TestNoEngine(t *testing.T) {
	var e *policy.Engine
	v := e.View(person("user:x", "a"))
	if len(v.Objects) != 0 || v.CanDecide || v.Kind != "" {
		t.Error("no engine, and a view that lets")
	}
	if _, err := e.Route(policy.ChangeFacts{}); err == nil {
		t.Error("no engine, and a route")
	}
	real := loadText(t, "p, *, *, *, allow\n")
	if v := real.View(nil); len(v.Objects) != 0 {
		t.Error("nobody, and a view that lets")
	}
	if v := real.View(&policy.Principal{}); len(v.Objects) != 0 {
		t.Error("the zero principal may something")
	}
	if v := real.View(&policy.Principal{ID: "agent:a", Kind: policy.Agent, For: &policy.Principal{}}); len(v.Objects) != 0 {
		t.Error("a chain to nobody may something")
	}
}

// TestConcurrent: one view is built once, and more views than are kept, decisions
// and route are safe side by side.
func TestConcurrent(t *testing.T) {
	var csv strings.Builder
	for i := range 50 {
		fmt.Fprintf(&csv, "p, r%d, crm.orders, read|update, allow, {region: {eq: \"%d\"}}\n", i, i)
	}
	e, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(csv.String())}}, declare(defaultSchema), policy.Options{Views: 4})
	if e == nil {
		t.Fatal(problems)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				r := (i*7 + g) % 50
				v := e.View(person("user:x", fmt.Sprintf("r%d", r)))
				want := fmt.Sprintf("s_region eq \"%d\"", r)
				if got := conditionText(v.Object("crm.orders").Read.Row, v.Params); got != want {
					t.Errorf("%s, want %s", got, want)
				}
				if d := v.Object("crm.orders").Update.Decide([]string{"s_total"}); conditionText(d.Permit, v.Params) != want {
					t.Errorf("%v", d)
				}
			}
			if _, err := e.WhoCan(policy.Read, "stripe.GetBalance"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestProblemFiles: what is no file of a policy, what is no YAML and what is
// empty.
func TestProblemFiles(t *testing.T) {
	for name, c := range map[string]struct{ file, data, want string }{
		"a name":             {"policy.yaml", "x: y", "policy.yaml: no file of a policy. A policy is policy.csv, conditions.yaml and approvals.yaml"},
		"no YAML":            {"approvals.yaml", "version: [", "approvals.yaml:1:10: not YAML: sequence end token ']' not found"},
		"a key twice":        {"conditions.yaml", "a: { on: x }\na: { on: y }", `conditions.yaml:2:1: not YAML: mapping key "a" already defined at [1:1]`},
		"two documents":      {"conditions.yaml", "a: { on: x }\n---\nb: { on: y }", "conditions.yaml:3:1: one document only"},
		"a list":             {"conditions.yaml", "- a", "conditions.yaml:1:1: conditions.yaml is a mapping of keys to values"},
		"a variable":         {"conditions.yaml", "a: { on: '${X}', where: '{id: {eq: 1}}' }", "conditions.yaml:1:10: ${...} in policy files is not supported yet. Write $${ for a literal ${"},
		"bytes of no text":   {"policy.csv", "p, a\xff", "policy.csv:1: the line is not valid UTF-8 text"},
		"an empty approvals": {"approvals.yaml", "# nothing\n", "approvals.yaml: nothing says who decides what no rule matches. Write defaults: { require: [{ role: ... }] }"},
	} {
		_, problems := policy.Load([]policy.File{{Name: c.file, Data: []byte(c.data)}}, declare(defaultSchema), policy.Options{})
		got := ""
		if len(problems) > 0 {
			got = problems[0].String()
			if name == "a variable" || name == "no YAML" {
				got = problems[1].String()
			}
		}
		if got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
