package gateway_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/gateway"
)

const trustedText = `# What agents may ask.
query Names @tool(description: "Everybody's name") {
  customers { nodes { ...who } }
}

fragment who on Customer { id name }
fragment other on Customer { region }

mutation Rename($id: Int!, $by: String! @from(value: "agent.name")) @tool(description: "Rename") {
  updateCustomer(id: $id, patch: {name: $by}) { outcome diff { after } }
}

query Mine($region: String! @from(value: "claims.region"), $first: Int = 5) {
  customers(filter: {region: {eq: $region}}, first: $first) { nodes { name } }
}

query Credit { customers { nodes { credit } } }
`

func trusted(t testing.TB, w *world, only map[string][]string, files ...string) *gateway.Trusted {
	t.Helper()
	var in []gateway.TrustedFile
	for i, text := range append([]string{trustedText}, files...) {
		in = append(in, gateway.TrustedFile{Name: fmt.Sprintf("operations/%d.graphql", i), Text: text})
	}
	out, problems := gateway.LoadTrusted(in)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	out = out.With(only)
	w.door.Swap(gateway.NewSnapshot(w.base.Catalog, w.base.Engine).WithTrusted(out))
	return out
}

// send runs a request that is no plain text.
func (w *world) send(who string, req gateway.Request) answer {
	w.t.Helper()
	r := w.door.Run(w.t.Context(), w.people.person(w.t, who), &req)
	return answer{data: string(r.Data), errors: r.Errors}
}

func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func apq(hash string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"persistedQuery":{"version":1,"sha256Hash":%q}}`, hash))
}

func trustedWorld(t testing.TB) *world {
	strict := gateway.Limits{Documents: gateway.DocumentsTrusted}
	return limitedWorld(t, gateway.RoleLimits{"*": usual(), "agent": strict, "reader": strict, "anonymous": strict, "support": strict})
}

func TestTrustedDocuments(t *testing.T) {
	w := trustedWorld(t)
	docs := trusted(t, w, nil, "query Whole { customers { nodes { name } } }\n")
	names, rename := docs.List()[0], docs.List()[1]
	if names.Text != "query Names {\n  customers { nodes { ...who } }\n}\n\nfragment who on Customer { id name }" {
		t.Errorf("the text that runs is %q", names.Text)
	}
	if names.Hash != sha(names.Text) || names.Tool != "Everybody's name" || !names.IsTool || names.Line != 2 || rename.Line != 9 {
		t.Errorf("%+v", names)
	}
	if strings.Contains(rename.Text, "@") {
		t.Errorf("a directive of ours is left in %q", rename.Text)
	}
	text := "query Names{customers{nodes{...who __typename}}}fragment who on Customer{id,name}"
	for what, c := range map[string]struct {
		who  string
		req  gateway.Request
		code connectors.Code
		data string
	}{
		"by name":                            {"bea", gateway.Request{ID: "Names"}, "", `{"customers":{"nodes":[{"id":1,"name":"Ada"}`},
		"by hash":                            {"bea", gateway.Request{ID: names.Hash}, "", `{"customers":`},
		"by hash, as the specification":      {"bea", gateway.Request{ID: "sha256:" + names.Hash}, "", `{"customers":`},
		"by hash, as Apollo":                 {"bea", gateway.Request{Extensions: apq(strings.ToUpper(names.Hash))}, "", `{"customers":`},
		"the hash of a file":                 {"bea", gateway.Request{Extensions: apq(sha("query Whole { customers { nodes { name } } }\n"))}, "", `{"customers":`},
		"the text":                           {"bea", gateway.Request{Query: names.Text}, "", `{"customers":{"nodes":[{"id":1,"name":"Ada"}`},
		"the text, minified, with typenames": {"bea", gateway.Request{Query: text}, "", `{"customers":{"nodes":[{"id":1,"name":"Ada","__typename":"Customer"}`},
		"the text with its hash":             {"bea", gateway.Request{Query: text, Extensions: apq(sha(text))}, "", `{"customers":`},
		"the text with another's hash":       {"bea", gateway.Request{Query: text, Extensions: apq(names.Hash)}, "BAD_INPUT", ""},
		"another text":                       {"bea", gateway.Request{Query: "{ customers { nodes { name } } }"}, "OPERATION_NOT_ALLOWED", ""},
		"a text with a field more":           {"bea", gateway.Request{Query: strings.Replace(names.Text, "id name", "id name: id", 1)}, "OPERATION_NOT_ALLOWED", ""},
		"an alias of __typename":             {"bea", gateway.Request{Query: strings.Replace(names.Text, "id name", "id x: __typename name", 1)}, "OPERATION_NOT_ALLOWED", ""},
		"introspection":                      {"bea", gateway.Request{Query: "{ __schema { types { name } } }"}, "OPERATION_NOT_ALLOWED", ""},
		"no document":                        {"bea", gateway.Request{Query: "{ customers {"}, "OPERATION_NOT_ALLOWED", ""},
		"nothing":                            {"bea", gateway.Request{}, "OPERATION_NOT_ALLOWED", ""},
		"an unknown name":                    {"bea", gateway.Request{ID: "Nothing"}, "PERSISTED_NOT_FOUND", ""},
		"an unknown hash":                    {"bea", gateway.Request{Extensions: apq(sha("x"))}, "PERSISTED_NOT_FOUND", ""},
		"a hash of something else":           {"bea", gateway.Request{Extensions: json.RawMessage(`{"persistedQuery":{"version":1,"sha256Hash":"abc"}}`)}, "BAD_INPUT", ""},
		"a hash of another version":          {"bea", gateway.Request{Extensions: json.RawMessage(`{"persistedQuery":{"version":2,"sha256Hash":"` + names.Hash + `"}}`)}, "BAD_INPUT", ""},
		"a name and a text":                  {"bea", gateway.Request{ID: "Names", Query: text}, "BAD_INPUT", ""},
		"the name twice":                     {"bea", gateway.Request{ID: "Names", OperationName: "Names"}, "", `{"customers":`},
		"a name and another":                 {"bea", gateway.Request{ID: "Names", OperationName: "Mine"}, "BAD_INPUT", ""},
		"what the caller may not see":        {"bea", gateway.Request{ID: "Credit"}, "OPERATION_NOT_ALLOWED", ""},
		"what the owner may see":             {"olga", gateway.Request{ID: "Credit"}, "", `{"customers":{"nodes":[{"credit":10}`},
		"anonymous":                          {"nobody", gateway.Request{Query: "{ __typename }"}, "OPERATION_NOT_ALLOWED", ""},
		"any text of the owner":              {"olga", gateway.Request{Query: "{ customers(first: 1) { nodes { name } } }"}, "", `{"customers":{"nodes":[{"name":"Ada"}`},
		"a trusted text of the owner":        {"olga", gateway.Request{Query: trustedText, OperationName: "Names"}, "VALIDATION_FAILED", ""},
		"with our directives, of the owner": {"olga", gateway.Request{Query: `query Names @tool(description: "Everybody's name") { customers { nodes { ...who } } }
			fragment who on Customer { id name }`}, "VALIDATION_FAILED", ""},
	} {
		a := w.send(c.who, c.req)
		if a.code() != c.code || !strings.HasPrefix(a.data, c.data) || c.code != "" && a.data != "" {
			t.Errorf("%s is answered %q %v", what, a.data, a.errors)
		}
		for _, e := range a.errors {
			if c.who != "olga" && strings.Contains(e.Message, "credit") {
				t.Errorf("%s: a refusal names what the caller may not see: %s", what, e.Message)
			}
		}
	}
}

// What @from fills nobody else sets, and it is who asks.
func TestFromIdentity(t *testing.T) {
	w := trustedWorld(t)
	trusted(t, w, nil, `query One($r: String @from(value: "claims.region")) { customers(filter: {region: {eq: $r}}) { totalCount } }`)
	a := w.send("triage", gateway.Request{ID: "Rename", Variables: map[string]any{"id": json.Number("1")}, Extensions: json.RawMessage(`{"write":{"mode":"PREVIEW"}}`)})
	if !strings.Contains(a.data, `"triage"`) {
		t.Errorf("the agent's name is not what is written: %s %v", a.data, a.errors)
	}
	if a := w.send("maria", gateway.Request{ID: "Mine"}); a.data != `{"customers":{"nodes":[{"name":"Ada"},{"name":"Cyd"}]}}` {
		t.Errorf("the claim's region: %s %v", a.data, a.errors)
	}
	if a := w.send("helper", gateway.Request{ID: "Mine"}); a.data != `{"customers":{"nodes":[{"name":"Ada"},{"name":"Cyd"}]}}` {
		t.Errorf("the region of the person behind an agent: %s %v", a.data, a.errors)
	}
	for what, req := range map[string]gateway.Request{
		"by name":     {ID: "Mine", Variables: map[string]any{"region": "US"}},
		"null":        {ID: "Mine", Variables: map[string]any{"region": nil}},
		"by its text": {Query: strings.ReplaceAll("query Mine($region: String!, $first: Int = 5) { customers(filter: {region: {eq: $region}}, first: $first) { nodes { name } } }", "\n", " "), Variables: map[string]any{"region": "US"}},
	} {
		if a := w.send("maria", req); a.code() != connectors.CodeBadInput || a.data != "" {
			t.Errorf("a variable of who asks was sent %s: %s %v", what, a.data, a.errors)
		}
	}
	if a := w.send("bea", gateway.Request{ID: "Mine"}); a.code() != connectors.CodeForbidden {
		t.Errorf("a claim that is missing: %s %v", a.data, a.errors)
	}
	if a := w.send("bea", gateway.Request{ID: "One"}); a.code() == "" {
		t.Errorf("a claim that is missing and may be null matches everything: %s", a.data)
	}
	if a := w.send("maria", gateway.Request{ID: "Rename", Variables: map[string]any{"id": json.Number("1")}}); a.code() != connectors.CodeForbidden && a.code() != connectors.CodeOperationNotAllowed {
		t.Errorf("a person has no agent's name: %s %v", a.data, a.errors)
	}
}

// An agent sends what is listed for it, whatever its roles may; so does one that
// stands behind it.
func TestAgentOperations(t *testing.T) {
	w := newWorld(t)
	trusted(t, w, map[string][]string{"helper": {"Names"}, "triage": {}})
	for _, c := range []struct {
		who  string
		req  gateway.Request
		code connectors.Code
	}{
		{"helper", gateway.Request{ID: "Names"}, ""},
		{"helper", gateway.Request{ID: "Mine"}, connectors.CodeOperationNotAllowed},
		{"helper", gateway.Request{Query: "{ customers { nodes { name } } }"}, connectors.CodeOperationNotAllowed},
		{"triage", gateway.Request{ID: "Names"}, connectors.CodeOperationNotAllowed},
		{"maria", gateway.Request{Query: "{ customers { nodes { name } } }"}, ""},
	} {
		if a := w.send(c.who, c.req); a.code() != c.code {
			t.Errorf("%s with %+v: %s %v", c.who, c.req, a.data, a.errors)
		}
	}
}

// Automatic persisted queries: a text is kept for its tenant once it was valid,
// under the hash that is its own.
func TestPersistedQueries(t *testing.T) {
	w := newWorld(t)
	text := "{ customers { totalCount } }"
	if a := w.send("olga", gateway.Request{Extensions: apq(sha(text))}); a.code() != connectors.CodePersistedNotFound || a.errors[0].Message != "PersistedQueryNotFound" {
		t.Errorf("before it was sent: %s %v", a.data, a.errors)
	}
	for _, bad := range []gateway.Request{{Query: text + " ", Extensions: apq(sha(text))}, {Query: "{ nothing }", Extensions: apq(sha("{ nothing }"))}} {
		if a := w.send("olga", bad); a.code() == "" {
			t.Errorf("%+v is answered %s", bad, a.data)
		}
	}
	for _, hash := range []string{sha(text), sha("{ nothing }")} {
		if a := w.send("olga", gateway.Request{Extensions: apq(hash)}); a.code() != connectors.CodePersistedNotFound {
			t.Errorf("what was refused was kept: %s %v", a.data, a.errors)
		}
	}
	if a := w.send("olga", gateway.Request{Query: text, Extensions: apq(sha(text))}); a.data != `{"customers":{"totalCount":3}}` {
		t.Errorf("%s %v", a.data, a.errors)
	}
	if a := w.send("maria", gateway.Request{Extensions: apq(sha(text))}); a.data != `{"customers":{"totalCount":2}}` {
		t.Errorf("another caller of the tenant: %s %v", a.data, a.errors)
	}
	other := *w.people.person(t, "olga")
	other.Tenant = "elsewhere"
	if r := w.door.Run(t.Context(), &other, &gateway.Request{Extensions: apq(sha(text))}); len(r.Errors) == 0 || r.Errors[0].Code != connectors.CodePersistedNotFound {
		t.Errorf("another tenant finds it: %s", r.Data)
	}
	// What comes later pushes out what was used longest ago, and never more is kept.
	for i := range 200 {
		long := fmt.Sprintf("{ a%d: customers { totalCount } } # %s", i, strings.Repeat("x", 1000))
		if a := w.send("olga", gateway.Request{Query: long, Extensions: apq(sha(long))}); a.code() != "" {
			t.Fatal(a.errors)
		}
	}
	if a := w.send("olga", gateway.Request{Extensions: apq(sha(text))}); a.code() != connectors.CodePersistedNotFound {
		t.Errorf("the texts of a tenant are not bounded: %s", a.data)
	}
}

// Whatever is wrong with a file is told with its place; nothing is ignored.
func TestTrustedProblems(t *testing.T) {
	for text, want := range map[string]string{
		"{ a }":                                              "o.graphql:1:1: a trusted document needs a name",
		"query A { a } query A { b }":                        "o.graphql:1:15: there is an operation A already",
		"query A {\n a(":                                     "o.graphql:2:4: Expected Name",
		"query A { ...f }":                                   "o.graphql:1:14: there is no fragment f in this file",
		"query A @tool { a }":                                "o.graphql:1:10: @tool needs description",
		`query A @tool(name: "x") {a}`:                       "o.graphql:1:15: @tool has no argument name",
		"query A @tool(description: 1) {a}":                  "o.graphql:1:15: @tool(description:) must be a string",
		`query A @from(value: "agent.name") {a}`:             "o.graphql:1:10: @from cannot stand on an operation",
		`query A { a @tool(description: "x") }`:              "o.graphql:1:14: @tool cannot stand on a field",
		`query A($x: Int @tool(description: "x")) { a }`:     "o.graphql:1:18: @tool cannot stand on a variable",
		`query A { a { id @export(as: "x") } }`:              "o.graphql:1:19: @export is not supported yet",
		`query A($x: String @from(value: "export.x")) { a }`: `o.graphql:1:21: @from(value: "export.x"): @export is not supported yet`,
		`query A($x: String @from(value: "agent.key")) {a}`:  `o.graphql:1:21: @from(value: "agent.key") names nothing`,
		`query A($x: Int @from(value: "agent.name")) {a}`:    "o.graphql:1:18: $x is filled with a text: Int does not hold it",
		`query A($x: ID = 1 @from(value: "agent.name")) {a}`: "o.graphql:1:21: $x has a default and @from",
		"query A { a(b: \"\xff\") }":                         "o.graphql: the file is not UTF-8 text",
		`fragment f on T @export(as: "x") { a } query A {b}`: "o.graphql:1:18: @export cannot stand on a fragment",
	} {
		_, problems := gateway.LoadTrusted([]gateway.TrustedFile{{Name: "o.graphql", Text: text}})
		if len(problems) == 0 || !strings.HasPrefix(problems[0].String(), want) {
			t.Errorf("%s\nis told %v, not %s", text, problems, want)
		}
	}
}

// Cut and put together again, a document is what it was: the same operations run,
// whatever stands around and between them.
func TestTrustedAssembled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gap := rapid.SampledFrom([]string{" ", "\n", "\n# é { } @tool(\n", ",", "\ufeff", "\t\r\n"})
		tool := rapid.SampledFrom([]string{"", `@tool(description: "a ) \" } é")`, `@tool(description: """ } ) """) `})
		n := rapid.IntRange(1, 4).Draw(t, "operations")
		text := ""
		for i := range n {
			g := func() string { return gap.Draw(t, "gap") }
			text += fmt.Sprintf("%squery%sO%d(%s$a:%sString = \"é)}\"%s,$b: String @from(value: \"principal.id\")%s)%s%s{%sf%d(x: {a: $a})%s{%s...F%d%s}%s}%sfragment F%d on T%s{%sx%d%s}", g(), g()+" ", i, g(), g(), g(), g(), g(),
				tool.Draw(t, "tool"), g(), i, g(), g(), i, g(), g(), g(), i, g(), g(), i, g())
		}
		docs, problems := gateway.LoadTrusted([]gateway.TrustedFile{{Name: "o", Text: text}})
		if len(problems) > 0 {
			t.Fatalf("%q: %v", text, problems)
		}
		for i, d := range docs.List() {
			again, problems := gateway.LoadTrusted([]gateway.TrustedFile{{Name: "o", Text: d.Text}})
			if len(problems) > 0 || len(again.List()) != 1 || again.List()[0].Text != d.Text || again.List()[0].Name != fmt.Sprintf("O%d", i) {
				t.Fatalf("%q was made of %q: %v", d.Text, text, problems)
			}
			if strings.Contains(strings.ReplaceAll(d.Text, "@tool(\n", ""), "@") || !strings.Contains(d.Text, fmt.Sprintf("x%d", i)) {
				t.Fatalf("%q was made of %q", d.Text, text)
			}
		}
	})
}
