package plan_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/graph/plan/plantest"
)

const small = `
-- schema --
source crm
enum status open paid
collection customers
  id Int! key default
  name String!
  credit Decimal
  active Boolean!
  born Date
  prefs JSON
collection orders
  id Int! key default
  customer_id Int! ref=customers.id
  status enum:status!
-- policy.csv --
p, owner, *, *, allow
p, clerk, crm.customers{id name}, read, allow, {credit: {gt: "1.00"}}
p, clerk, crm.orders, read, allow
-- data.json --
{}
`

func world(t testing.TB) *plantest.World {
	t.Helper()
	w, err := plantest.New(txtar.Parse([]byte(small)))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func request(t testing.TB, w *plantest.World, who, document, variables string) *plantest.Request {
	t.Helper()
	r, err := w.Request(who, document, variables)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every operator that takes a value, with the type of its operand and one.
var operators = []struct{ field, op, typ, literal, value string }{
	{"id", "eq", "Int", "1", "1"}, {"id", "ne", "Int", "1", "1"}, {"id", "gt", "Int", "1", "1"}, {"id", "gte", "Int", "1", "1"},
	{"id", "lt", "Int", "1", "1"}, {"id", "lte", "Int", "1", "1"}, {"id", "in", "[Int!]", "[1]", "[1]"}, {"id", "notIn", "[Int!]", "[1]", "[1]"},
	{"id", "isNull", "Boolean", "true", "true"}, {"name", "like", "String", `"a"`, `"a"`}, {"name", "ilike", "String", `"a"`, `"a"`},
	{"name", "startsWith", "String", `"a"`, `"a"`}, {"name", "endsWith", "String", `"a"`, `"a"`}, {"name", "contains", "String", `"a"`, `"a"`},
	{"credit", "eq", "Decimal", `"1.00"`, `"1.00"`}, {"active", "eq", "Boolean", "true", "true"}, {"born", "lt", "Date", `"2020-01-01"`, `"2020-01-01"`},
	{"prefs", "hasKey", "String", `"a"`, `"a"`},
}

// Every place a comparison can stand; %s is the comparison.
var places = []string{
	`{%s}`, `{and: [{%s}]}`, `{or: [{%s}, {id: {gt: 0}}]}`, `{not: {%s}}`, `{orders: {some: {customer: {%s}}}}`,
	`{orders: {none: {customer: {not: {%s}}}}}`, `{and: [{or: [{not: {%s}}]}]}`,
}

// A variable left out, or null, never turns a comparison into everything: every
// operator in every place, as a literal, as a leaf and inside a filter given as
// a variable, in reads and in writes.
func TestMissingOperands(t *testing.T) {
	w := world(t)
	for _, op := range operators {
		for _, place := range places {
			for _, root := range []string{
				`query (%[1]s) { customers(filter: %[2]s) { nodes { id } } }`,
				`query (%[1]s) { customers(filter: %[2]s) { totalCount } }`,
				`query (%[1]s) { customersGroups(by: [NAME], filter: %[2]s) { count } }`,
				`mutation (%[1]s) { updateCustomers(filter: %[2]s, patch: {name: "x"}) { outcome } }`,
				`mutation (%[1]s) { deleteCustomers(filter: %[2]s) { outcome } }`,
			} {
				leaf := fmt.Sprintf(place, op.field+": {"+op.op+": $v}")
				doc := fmt.Sprintf(root, "$v: "+op.typ, leaf)
				check := func(variables string, ok bool) {
					t.Helper()
					r := request(t, w, "human owner", doc, variables)
					p, bad := r.Build()
					if bad == nil {
						bad = p.Bind(r.Bindings(), &plan.Values{})
					}
					if ok != (bad == nil) || bad != nil && bad.Code != connectors.CodeBadInput {
						t.Errorf("%s %s: %v", doc, variables, bad)
					}
					if bad != nil && !strings.Contains(bad.Message, "$v") && variables == "{}" {
						t.Errorf("%s: the variable is not named: %s", doc, bad.Message)
					}
				}
				check("{}", false)
				check(`{"v": null}`, false)
				check(`{"v": `+op.value+`}`, true)
			}
			whole := `query ($f: CustomerFilter) { customers(filter: $f) { nodes { id } } }`
			for inner, ok := range map[string]bool{`"` + op.op + `": ` + op.value: true, `"` + op.op + `": null`: false, ``: false} {
				filter := fmt.Sprintf(asJSON(place), `"`+op.field+`": {`+inner+`}`)
				r := request(t, w, "human owner", whole, `{"f": `+filter+`}`)
				p, bad := r.Build()
				if bad == nil {
					bad = p.Bind(r.Bindings(), &plan.Values{})
				}
				if ok != (bad == nil) || bad != nil && bad.Code != connectors.CodeBadInput {
					t.Errorf("%s: %v", filter, bad)
				}
			}
		}
	}
}

// asJSON quotes the names of a literal.
func asJSON(literal string) string {
	for _, name := range []string{"and", "or", "not", "orders", "some", "none", "customer", "id", "gt"} {
		literal = strings.ReplaceAll(literal, name+": ", `"`+name+`": `)
	}
	return literal
}

// An empty filter, in whatever shape, writes nothing.
func TestEmptyFiltersInWrites(t *testing.T) {
	w := world(t)
	for _, filter := range []string{`{}`, `{"and": []}`, `{"and": [{}]}`, `{"or": [{}]}`, `{"or": [{"id": {"eq": 1}}, {}]}`, `{"not": {"or": []}}`} {
		r := request(t, w, "human owner", `mutation ($f: CustomerFilter!) { deleteCustomers(filter: $f) { outcome } }`, `{"f": `+filter+`}`)
		if p, bad := r.Build(); bad == nil || bad.Code != connectors.CodeBadInput {
			t.Errorf("%s: %v\n%s", filter, bad, p)
		}
	}
}

// Property: the values of leaves are not in the skeleton, the structure is; and
// equal skeletons give equal plans.
func TestSkeletonIsTheStructure(t *testing.T) {
	w := world(t)
	const doc = `query ($f: CustomerFilter, $n: Int, $o: [CustomerOrderBy!], $s: Boolean = false) { customers(filter: $f, first: $n, orderBy: $o) { nodes { id name @skip(if: $s) } } }`
	leaf := rapid.Custom(func(t *rapid.T) map[string]any {
		v := rapid.IntRange(0, 3).Draw(t, "value")
		return rapid.SampledFrom([]map[string]any{
			{"id": map[string]any{"eq": v}}, {"id": map[string]any{"gt": v, "lt": v + 1}}, {"name": map[string]any{"eq": fmt.Sprint(v)}},
			{"id": map[string]any{"in": []int{v, v}}}, {"id": map[string]any{"in": []int{v}}}, {},
		}).Draw(t, "leaf")
	})
	filter := rapid.Custom(func(t *rapid.T) map[string]any {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return map[string]any{"and": rapid.SliceOfN(leaf, 0, 3).Draw(t, "and")}
		case 1:
			return map[string]any{"not": leaf.Draw(t, "not")}
		case 2:
			return map[string]any{"or": rapid.SliceOfN(leaf, 0, 2).Draw(t, "or")}
		}
		return leaf.Draw(t, "plain")
	})
	plans := map[string]string{}
	rapid.Check(t, func(rt *rapid.T) {
		vars := map[string]any{}
		if rapid.Bool().Draw(rt, "filtered") {
			vars["f"] = filter.Draw(rt, "filter")
		}
		if rapid.Bool().Draw(rt, "sized") {
			vars["n"] = rapid.IntRange(0, 5).Draw(rt, "n")
		}
		if rapid.Bool().Draw(rt, "ordered") {
			vars["o"] = []any{map[string]any{"name": rapid.SampledFrom([]string{"ASC", "DESC"}).Draw(rt, "direction")}}
		}
		if rapid.Bool().Draw(rt, "skipped") {
			vars["s"] = rapid.Bool().Draw(rt, "skip")
		}
		raw, err := json.Marshal(vars)
		if err != nil {
			rt.Fatal(err)
		}
		r := request(t, w, "human owner", doc, string(raw))
		p, bad := r.Build()
		if bad != nil {
			rt.Fatal(bad)
		}
		if known, ok := plans[r.Key()]; ok && known != p.String() {
			rt.Fatalf("one skeleton, two plans:\n%s\n%s", known, p)
		}
		plans[r.Key()] = p.String()
	})
	// Leaves alone make no further plan: structures are few.
	if len(plans) > 600 {
		t.Errorf("%d plans", len(plans))
	}
}

// A scalar variable takes one byte.
func TestSkeletonIsShort(t *testing.T) {
	w := world(t)
	r := request(t, w, "human owner", `query ($id: Int!) { customer(id: $id) { id } }`, `{"id": 123456}`)
	if n := len(plan.AppendSkeleton(nil, r.Schema, r.Operation, r.Variables, nil)); n != 1 {
		t.Errorf("%d bytes", n)
	}
}

// No plan holds a value of a variable or of a claim.
func TestPlansHoldNoValues(t *testing.T) {
	w := world(t)
	r := request(t, w, "human owner", `query ($f: CustomerFilter, $n: Int) { customers(filter: $f, first: $n) { nodes { id } } }`,
		`{"f": {"name": {"eq": "secret"}, "id": {"in": [4711]}}, "n": 17}`)
	p, bad := r.Build()
	if bad != nil {
		t.Fatal(bad)
	}
	raw, err := json.Marshal(p.Steps[0].Select)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"secret", "4711", "17"} {
		if strings.Contains(string(raw)+p.String(), value) {
			t.Errorf("%s is in the plan", value)
		}
	}
}

// What is too expensive is refused when it is bound, before a source is asked.
func TestCost(t *testing.T) {
	w := world(t)
	w.Limits = plan.Limits{Cost: 50}
	const doc = `query ($n: Int) { customers(first: $n) { nodes { id orders(first: $n) { nodes { id status } } } } }`
	for n, ok := range map[int]bool{5: true, 100: false} {
		r := request(t, w, "human owner", doc, fmt.Sprintf(`{"n": %d}`, n))
		p, bad := r.Build()
		if bad != nil {
			t.Fatal(bad)
		}
		bad = p.Bind(r.Bindings(), &plan.Values{})
		if ok != (bad == nil) || !ok && bad.Code != connectors.CodeCostExceeded {
			t.Errorf("%d: %v", n, bad)
		}
	}
}

// A claim that nobody bound is missing: it never helps to match.
func TestUnboundParametersDeny(t *testing.T) {
	w, err := plantest.New(txtar.Parse([]byte(strings.Replace(small, `{credit: {gt: "1.00"}}`, `{name: {eq: $claims.name}}`, 1))))
	if err != nil {
		t.Fatal(err)
	}
	r := request(t, w, "human clerk", `{ customers { nodes { id } } }`, "")
	p, bad := r.Build()
	if bad != nil {
		t.Fatal(bad)
	}
	for name, in := range map[string]func(*plan.Bindings){
		"as bound": func(*plan.Bindings) {}, "unmarked": func(b *plan.Bindings) { b.Missing = nil }, "none": func(b *plan.Bindings) { b.Params, b.Missing = nil, nil },
	} {
		b := r.Bindings()
		in(b)
		var v plan.Values
		if bad := p.Bind(b, &v); bad != nil {
			t.Fatal(bad)
		}
		if where := v.Select(p.Steps[0]).Where; !plan.Nothing(where) {
			t.Errorf("%s: %+v", name, where)
		}
	}
}

// What is nested too deeply is refused when it is planned.
func TestDepth(t *testing.T) {
	w := world(t)
	w.Limits.Depth = 4
	for doc, ok := range map[string]bool{
		`{ customers { nodes { orders { nodes { id } } } } }`:                                 true,
		`{ customers { nodes { orders { nodes { customer { orders { totalCount } } } } } } }`: false,
	} {
		if _, bad := request(t, w, "human owner", doc, "").Build(); ok != (bad == nil) || !ok && bad.Code != connectors.CodeDepthExceeded {
			t.Errorf("%s: %v", doc, bad)
		}
	}
}
