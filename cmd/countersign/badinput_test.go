package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/countersign/countersign/examples/desk"
)

// deskSource is a help desk beside the shop, which counts its calls.
func deskSource(t testing.TB) (d *desk.Server, base, yaml string) {
	t.Helper()
	d, err := desk.New(desk.Options{Requesters: []string{"a@example.org"}, Tickets: 20})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(d.Handler())
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		d.Close()
	})
	return d, web.URL, deskYAML(web.URL)
}

func deskYAML(base string) string {
	return fmt.Sprintf(`  desk:
    connector: openapi
    prefix: desk
    spec: %[1]s/openapi.json
    url: %[1]s
    collections:
      tickets: { list: listTickets, get: getTicket, update: updateTicket, key: [id], page: { style: cursor, next: links.next, size: "page[size]" }, filter: { status: status } }
    outcome: { "*": { class: idempotent, header: Idempotency-Key, keep: 24h } }
`, base)
}

func calls(d *desk.Server) int {
	n := 0
	for _, c := range d.Requests() {
		n += c
	}
	return n
}

// A bad request is refused with a code before any source is asked.
type bad struct {
	what, query string
	vars        vars
	code        string
}

// TestBadInput: every wrong request is answered with a coded error, without
// data, and no source hears of it.
func TestBadInput(t *testing.T) {
	t.Parallel()
	d, _, yaml := deskSource(t)
	s := newShop(t, yaml)
	s.staff(t)
	n := within(t, s.site)
	owner := s.signIn(t, n, "olga@shop.example")
	n.must(t, owner, "{ deskTickets(first: 2) { nodes { id } } items(first: 1) { nodes { id } } }", nil)
	asked := calls(d)
	for _, c := range badRequests() {
		a := n.ask(t, owner, c.query, c.vars)
		if a.code() != c.code || a.Data != nil {
			t.Errorf("%s is answered %.400s, not %s", c.what, a.raw, c.code)
		}
		for _, e := range a.Errors {
			if strings.Contains(strings.ToLower(e.Message), "did you mean") || e.Extensions["traceId"] == "" {
				t.Errorf("%s: %s", c.what, a.raw)
			}
		}
		if now := calls(d); now != asked {
			t.Errorf("%s reached a source", c.what)
			asked = now
		}
	}
	badTransport(t, n, owner)
	if calls(d) != asked {
		t.Error("a bad request reached a source")
	}
	nothingThere(t, n, owner)
	if got := s.f.value(t, "SELECT count(*) FROM item WHERE stock <> id"); got != "0" {
		t.Errorf("%s items were changed", got)
	}
	if strings.Contains(n.stderr.String(), "panic") {
		t.Errorf("something panicked:\n%s", n.stderr)
	}
}

// with puts a part beside one that would call a source.
func with(part string) string { return "{ deskTickets(first: 2) { nodes { id } } " + part + " }" }

func withVars(vars, part string) string { return "query (" + vars + ") " + with(part) }

func badRequests() []bad {
	deep := func(open, inner, end string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	var aliases strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&aliases, "a%d: deskTicket(id: %d) { id } ", i, i)
	}
	bomb := "{ deskTickets(first: 1) { nodes { id } } items { nodes { ...f0 } } } "
	for i := range 30 {
		bomb += fmt.Sprintf("fragment f%d on Item { ...f%d ...f%d } ", i, i+1, i+1)
	}
	bomb += "fragment f30 on Item { id name }"
	out := []bad{
		{"half a document", "{ items", nil, "BAD_INPUT"}, {"no document", "", nil, "BAD_INPUT"}, {"only a comment", "# nothing", nil, "BAD_INPUT"},
		{"garbage", "\x01\x02 ) ) (", nil, "BAD_INPUT"}, {"an unfinished string", `{ items(filter: {name: {eq: "x}}) { nodes { id } } }`, nil, "BAD_INPUT"},
		{"an unknown root field", with("itemz { nodes { id } }"), nil, "VALIDATION_FAILED"}, {"an unknown field", with("items { nodes { nam } }"), nil, "VALIDATION_FAILED"},
		{"an unknown argument", with("items(filtr: {}) { nodes { id } }"), nil, "VALIDATION_FAILED"}, {"an unknown filter", with("items(filter: {nam: {eq: 1}}) { nodes { id } }"), nil, "VALIDATION_FAILED"},
		{"an unknown operator", with(`items(filter: {name: {equals: "x"}}) { nodes { id } }`), nil, "VALIDATION_FAILED"}, {"an unknown enum value", with("items(orderBy: [{name: ASCENDING}]) { nodes { id } }"), nil, "VALIDATION_FAILED"},
		{"an unknown type", withVars("$f: ItemFiltre", "items(filter: $f) { nodes { id } }"), nil, "VALIDATION_FAILED"}, {"an unknown fragment type", with("... on Quary { __typename }"), nil, "VALIDATION_FAILED"},
		{"no selection", with("items"), nil, "VALIDATION_FAILED"}, {"a selection of a leaf", with("items { totalCount { x } }"), nil, "VALIDATION_FAILED"},
		{"fragments in a circle", with("items { nodes { ...a } }") + "fragment a on Item { ...b } fragment b on Item { ...a }", nil, "VALIDATION_FAILED"},
		{"a wrong literal", with(`items(first: "x") { nodes { id } }`), nil, "VALIDATION_FAILED"}, {"a wrong key", with(`item(id: "abc") { id }`), nil, "BAD_INPUT"},
		{"a wrong variable", withVars("$n: Int", "items(first: $n) { nodes { id } }"), vars{"n": "x"}, "BAD_INPUT"}, {"a wrong key in a variable", withVars("$i: SafeInt!", "item(id: $i) { id }"), vars{"i": "abc"}, "BAD_INPUT"},
		{"a key with a fraction", withVars("$i: SafeInt!", "item(id: $i) { id }"), vars{"i": json.Number("1.5")}, "BAD_INPUT"}, {"a key beyond all", withVars("$i: SafeInt!", "item(id: $i) { id }"), vars{"i": json.Number("90071992547409930")}, "BAD_INPUT"},
		{"a missing variable", withVars("$i: SafeInt!", "item(id: $i) { id }"), nil, "BAD_INPUT"}, {"a null variable", withVars("$i: SafeInt!", "item(id: $i) { id }"), vars{"i": nil}, "BAD_INPUT"},
		{"an undeclared variable", with("item(id: $i) { id }"), nil, "VALIDATION_FAILED"}, {"an unknown member", withVars("$f: ItemFilter", "items(filter: $f) { nodes { id } }"), vars{"f": vars{"nam": vars{"eq": "x"}}}, "BAD_INPUT"},
		{"two members of one", withVars("$o: [ItemOrderBy!]", "items(orderBy: $o) { nodes { id } }"), vars{"o": []any{vars{"id": "ASC", "name": "ASC"}}}, "BAD_INPUT"},
		{"a negative page", with("items(first: -1) { nodes { id } }"), nil, "BAD_INPUT"}, {"both ends", with("items(first: 1, last: 1) { nodes { id } }"), nil, "BAD_INPUT"},
		{"a cursor of another", with(`items(after: "garbage") { nodes { id } }`), nil, "BAD_INPUT"}, {"two operations", "query a { __typename } query b { __typename }", nil, "BAD_INPUT"},
		{"a subscription by POST", "subscription { proposalsChanged { id } }", nil, "UNSUPPORTED"},
		{"writing and deciding", `mutation { updateItem(id: 1, patch: {stock: {set: 0}}) { outcome } withdrawProposal(id: "x") { id } }`, nil, "BAD_INPUT"},
		{"two sets of options", `mutation { a: updateItem(id: 1, patch: {stock: {set: 0}}, options: {reason: "a"}) { outcome } b: updateItem(id: 2, patch: {stock: {set: 0}}, options: {reason: "b"}) { outcome } }`, nil, "BAD_INPUT"},
		{"a background job", `mutation { updateItem(id: 1, patch: {stock: {set: 0}}, options: {mode: JOB}) { outcome } }`, nil, "UNSUPPORTED"},
		{"an empty patch", `mutation { updateItem(id: 1, patch: {}) { outcome } }`, nil, "BAD_INPUT"}, {"a bulk write of everything", `mutation { updateItems(filter: {}, patch: {stock: {set: 0}}, maxRows: 5) { outcome } }`, nil, "BAD_INPUT"},
		{"100,000 levels", with(deep("items { nodes { ", "id", " } }", 50_000)), nil, "DEPTH_EXCEEDED"}, {"100,000 open braces", strings.Repeat("{", 100_000), nil, "DEPTH_EXCEEDED"},
		{"100,000 lists", with("items(filter: " + deep("[", "", "]", 100_000) + ") { nodes { id } }"), nil, "DEPTH_EXCEEDED"}, {"100,000 nots", with("items(filter: " + deep("{not: ", "{}", "}", 100_000) + ") { nodes { id } }"), nil, "DEPTH_EXCEEDED"},
		{"100,000 list types", "query ($a: " + deep("[", "Int", "]", 100_000) + ") { __typename }", nil, "DEPTH_EXCEEDED"},
		{"more levels than allowed", with(deep("notes { nodes { item { ", "id", " } } }", 5)), nil, "DEPTH_EXCEEDED"},
		{"levels over fragments", "{ deskTickets(first: 2) { nodes { id } } items { nodes { ...a } } } fragment a on Item { notes { nodes { item { ...b } } } } fragment b on Item { notes { nodes { item { ...c } } } } fragment c on Item { notes { nodes { item { notes { nodes { item { id } } } } } } }", nil, "DEPTH_EXCEEDED"},
		{"thousands of aliases", "{ " + aliases.String() + "}", nil, "COST_EXCEEDED"}, {"31 aliases", "{ " + strings.Join(strings.SplitAfter(aliases.String(), "} ")[:31], "") + "}", nil, "COST_EXCEEDED"},
		{"fragments that multiply", bomb, nil, "COST_EXCEEDED"}, {"thousands of directives", with("items { totalCount " + strings.Repeat("@skip(if: false) ", 3000) + "}"), nil, "COST_EXCEEDED"},
	}
	return append(out, badFilters()...)
}

// badFilters: a comparison without an operand never means everything.
func badFilters() []bad {
	out := []bad{}
	for what, filter := range map[string]string{
		"an empty comparison": `{id: {}}`, "one of two": `{name: {eq: "Item 1"}, id: {}}`, "in a list": `{or: [{id: {eq: 1}}, {id: {}}]}`, "below not": `{not: {id: {}}}`, "over a relation": `{notes: {some: {body: {}}}}`,
		"a null operand": `{id: {eq: null}}`, "a null in a list": `{id: {in: [1, null]}}`, "an empty some": `{notes: {}}`,
	} {
		code := "BAD_INPUT"
		if what == "a null in a list" {
			code = "VALIDATION_FAILED"
		}
		out = append(out, bad{what + " (literal)", with("items(filter: " + filter + ") { nodes { id } }"), nil, code})
	}
	for what, filter := range map[string]any{
		"an empty comparison": vars{"id": vars{}}, "one of two": vars{"name": vars{"eq": "Item 1"}, "id": vars{}}, "in a list": vars{"or": []any{vars{"id": vars{}}}}, "below not": vars{"not": vars{"id": vars{}}},
		"over a relation": vars{"notes": vars{"some": vars{"body": vars{}}}}, "a null operand": vars{"id": vars{"eq": nil}}, "a null in a list": vars{"id": vars{"in": []any{1, nil}}}, "a list for one": vars{"id": vars{"eq": []any{1}}},
	} {
		out = append(out, bad{what + " (variable)", withVars("$f: ItemFilter", "items(filter: $f) { nodes { id } }"), vars{"f": filter}, "BAD_INPUT"})
	}
	for what, filter := range map[string]string{
		"a missing operand": `{id: {eq: $v}}`, "a missing operand of two": `{id: {eq: $v, gte: 1}}`, "a missing operand below or": `{or: [{id: {eq: 3}}, {id: {eq: $v}}]}`, "a missing operand below not": `{not: {id: {ne: $v}}}`,
		"a missing operand in a list": `{id: {in: [1, $v]}}`, "a missing operand over a relation": `{notes: {none: {id: {lte: $v}}}}`,
	} {
		code := "BAD_INPUT"
		if what == "a missing operand in a list" {
			code = "VALIDATION_FAILED" // it may be null, and the list's elements may not
		}
		out = append(out, bad{what, withVars("$v: SafeInt", "items(filter: "+filter+") { nodes { id } }"), nil, code},
			bad{what + " in a write", `mutation ($v: SafeInt) { updateItems(filter: ` + filter + `, patch: {stock: {set: 0}}, maxRows: 100) { outcome } }`, nil, code})
	}
	return out
}

// badTransport: bodies, methods and media types.
func badTransport(t *testing.T, n *node, owner string) {
	t.Helper()
	const graphqlJSON = "application/graphql-response+json"
	do := func(what, method, path, contentType, body string, plain, graphql int, code string) {
		t.Helper()
		for accept, status := range map[string]int{"application/json": plain, graphqlJSON: graphql} {
			req, err := http.NewRequest(method, n.url+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header = bearer(owner)
			req.Header.Set("Accept", accept)
			if contentType != "" {
				req.Header.Set("Content-Type", contentType)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			var text strings.Builder
			if err := res.Write(&text); err != nil {
				t.Fatal(err)
			}
			_, payload, _ := strings.Cut(text.String(), "\r\n\r\n")
			var a answer
			jsonErr := json.Unmarshal([]byte(payload), &a)
			if res.StatusCode != status || a.code() != code || code != "" && (jsonErr != nil || a.Data != nil || !strings.HasPrefix(res.Header.Get("Content-Type"), accept)) {
				t.Errorf("%s, accepting %s, is answered %d %s %.300s", what, accept, res.StatusCode, res.Header.Get("Content-Type"), payload)
			}
		}
	}
	const media = "application/json"
	query := with("items { totalCount }")
	mutation := `mutation { updateItem(id: 1, patch: {stock: {set: 0}}) { outcome } }`
	do("a huge body", "POST", "/graphql", media, `{"query":"`+strings.Repeat(" ", 2<<20)+`"}`, 200, 413, "TOO_LARGE")
	do("much behind the body", "POST", "/graphql", media, `{"query":"{ __typename }"}`+strings.Repeat(" ", 2<<20), 200, 413, "TOO_LARGE")
	do("a huge variable", "POST", "/graphql", media, `{"query":"{ __typename }","variables":{"x":"`+strings.Repeat("x", 2<<20)+`"}}`, 200, 413, "TOO_LARGE")
	do("deep variables", "POST", "/graphql", media, `{"query":"{ __typename }","variables":{"x":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+`}}`, 200, 400, "BAD_INPUT")
	do("a batch", "POST", "/graphql", media, `[{"query":"{ __typename }"}]`, 200, 400, "BAD_INPUT")
	do("a string", "POST", "/graphql", media, `"{ __typename }"`, 200, 400, "BAD_INPUT")
	do("null", "POST", "/graphql", media, `null`, 200, 400, "BAD_INPUT")
	do("two objects", "POST", "/graphql", media, `{"query":"{ __typename }"}{"query":"{ __typename }"}`, 200, 400, "BAD_INPUT")
	do("no JSON", "POST", "/graphql", media, `query=x`, 200, 400, "BAD_INPUT")
	do("no body", "POST", "/graphql", media, ``, 200, 400, "BAD_INPUT")
	do("variables of the wrong type", "POST", "/graphql", media, `{"query":"{ __typename }","variables":[1]}`, 200, 400, "BAD_INPUT")
	do("invalid UTF-8", "POST", "/graphql", media, "{\"query\":\"{ items(filter: {name: {eq: \\\"\xff\\\"}}) { totalCount } }\"}", 200, 400, "BAD_INPUT")
	do("a form", "POST", "/graphql", "application/x-www-form-urlencoded", "query=%7B__typename%7D", 200, 400, "BAD_INPUT")
	do("text", "POST", "/graphql", "text/plain", `{"query":"{ __typename }"}`, 200, 400, "BAD_INPUT")
	do("a multipart form", "POST", "/graphql", "multipart/form-data; boundary=x", "--x--", 200, 400, "BAD_INPUT")
	do("no content type", "POST", "/graphql", "", `{"query":"{ __typename }"}`, 200, 400, "BAD_INPUT")
	do("a mutation by GET", "GET", "/graphql?query="+url.QueryEscape(mutation), "", "", 200, 405, "UNSUPPORTED")
	do("a GET of nothing", "GET", "/graphql", "", "", 200, 400, "BAD_INPUT")
	do("a GET with wrong variables", "GET", "/graphql?query=%7B__typename%7D&variables=%5B", "", "", 200, 400, "BAD_INPUT")
	do("an unknown operation", "POST", "/graphql", media, `{"query":"query a { __typename }","operationName":"b"}`, 200, 400, "BAD_INPUT")
	do("an unknown field", "POST", "/graphql", media, `{"query":"{ nothing }"}`, 200, 400, "VALIDATION_FAILED")
	do("PUT", "PUT", "/graphql", media, `{"query":"`+query+`"}`, 405, 405, "")
	do("DELETE", "DELETE", "/graphql", "", "", 405, 405, "")
}

// nothingThere: what does not exist is null, without an error and without a hint.
func nothingThere(t *testing.T, n *node, owner string) {
	t.Helper()
	a := n.must(t, owner, `{ item(id: 999) { id } proposal(id: "nothing") { id } items(filter: {id: {in: []}}) { totalCount nodes { id } } }`, nil)
	if a.raw != `{"data":{"item":null,"proposal":null,"items":{"totalCount":0,"nodes":[]}}}` {
		t.Errorf("what is not there: %s", a.raw)
	}
	for _, query := range []string{`mutation { updateItem(id: 999, patch: {stock: {set: 1}}) { outcome item { id } errors { code } } }`, `mutation { deleteItem(id: 999) { outcome errors { code } } }`} {
		if a := n.must(t, owner, query, nil); !strings.Contains(a.raw, `"NOT_APPLIED"`) || !strings.Contains(a.raw, `"NOT_FOUND"`) {
			t.Errorf("writing what is not there: %s", a.raw)
		}
	}
	for mutation, code := range map[string]string{
		`createItem(input: {name: "Item 1", region: "EU", stock: 1})`: "UNIQUE_VIOLATION", `updateItem(id: 1, patch: {stock: {set: -1}})`: "CHECK_VIOLATION",
		`createNote(input: {itemId: 999, body: "x"})`: "REFERENCE_VIOLATION", `deleteItem(id: 1)`: "REFERENCE_VIOLATION", `updateItem(id: 1, patch: {stock: {set: 1}}, ifVersion: "x")`: "",
	} {
		a := n.ask(t, owner, "mutation { w: "+mutation+" { outcome errors { code message path } } }", nil)
		if got := a.at("w.errors.0.code"); code != "" && got != code || strings.Contains(strings.ToLower(a.raw), "constraint failed") || strings.Contains(a.raw, "APPLIED\"") && !strings.Contains(a.raw, "NOT_APPLIED") {
			t.Errorf("%s is answered %s", mutation, a.raw)
		}
	}
	if a := n.ask(t, owner, `{ node(id: "garbage") { nodeId } }`, nil); a.code() != "" && a.code() != "BAD_INPUT" {
		t.Errorf("node of garbage: %s", a.raw)
	}
}
