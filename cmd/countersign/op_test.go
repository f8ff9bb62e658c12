package main

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/countersign/countersign/connectors/httpcall"
	"github.com/countersign/countersign/connectors/openapi"
)

const shopOperations = `query Stock($id: SafeInt!) @tool(description: "How many there are") {
  item(id: $id) { name stock }
}

query Region($region: String! @from(value: "claims.region"), $first: Int = 3) {
  items(filter: {region: {eq: $region}}, first: $first) { nodes { id ...named } }
}

fragment named on Item { name price }

query Named($names: [String!]!) { items(filter: {name: {in: $names}}) { nodes { id } } }

mutation SetStock($id: SafeInt!, $patch: ItemPatch!) {
  updateItem(id: $id, patch: $patch) { outcome proposal { id } errors { code } }
}

query Notes { notes { totalCount } }
`

// request sends one request and reads the answer.
func (n *node) request(t testing.TB, method, path, body string, h http.Header) (*answer, string) {
	t.Helper()
	req, err := http.NewRequest(method, n.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range h {
		req.Header[k] = v
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := &answer{status: res.StatusCode, header: res.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, a) // an answer of a refused method has no body
	return a, string(raw)
}

func newOpShop(t testing.TB) *shopSite {
	t.Helper()
	s := newShop(t, "")
	s.write(t, "operations/shop.graphql", shopOperations)
	cfg := strings.Replace(s.read(t, "countersign.yaml"), "actsFor: optional", "actsFor: optional, operations: [Stock, SetStock]", 1)
	s.write(t, "countersign.yaml", cfg+"limits:\n  customer: { documents: trusted }\n  anonymous: { documents: trusted, introspection: false }\n")
	s.staff(t)
	return s
}

// /op/NAME runs trusted documents for who speaks no GraphQL, with the statuses
// of HTTP, and describes them to each caller.
func TestOperationsOverREST(t *testing.T) {
	t.Parallel()
	s := newOpShop(t)
	n := within(t, s.site)
	olga, bot := bearer(s.signIn(t, n, "olga@shop.example")), bearer(s.tokens["bot"])
	user := bearer(s.issuer.token(t, "u1", "EU", nil))
	for _, c := range []struct {
		who          http.Header
		method, path string
		body         string
		status       int
		want         string
	}{
		{user, "POST", "/op/Region", `{"first":1}`, 200, `{"data":{"items":{"nodes":[{"id":3,"name":"Item 3","price":"3.75"}]}}}`},
		{user, "POST", "/op/Region", "", 200, `{"data":{"items":{"nodes":[{"id":3,`},
		{user, "GET", "/op/Region?first=1", "", 200, `{"data":{"items":{"nodes":[{"id":3,`},
		{user, "GET", "/op/Named?names=Item+6&names=Item+9", "", 200, `{"data":{"items":{"nodes":[{"id":6},{"id":9}]}}}`},
		{user, "GET", "/op/Region?region=US", "", 400, `BAD_INPUT`},
		{user, "POST", "/op/Region", `{"region":"US"}`, 400, `BAD_INPUT`},
		{user, "POST", "/op/Region", `{"first":"x"}`, 400, `BAD_INPUT`},
		{user, "POST", "/op/Region", `[1]`, 400, `BAD_INPUT`},
		{user, "POST", "/op/Region", `{"first":`, 400, `BAD_INPUT`},
		{user, "POST", "/op/Notes", "", 403, `OPERATION_NOT_ALLOWED`},
		{user, "POST", "/graphql", `{"query":"{ __typename }"}`, 200, `OPERATION_NOT_ALLOWED`},
		{user, "POST", "/graphql", `{"id":"Region","variables":{"first":1}}`, 200, `{"data":{"items"`},
		{user, "GET", "/graphql?id=Region", "", 200, `{"data":{"items"`},
		{user, "POST", "/op/Nothing", "", 404, `PERSISTED_NOT_FOUND`},
		{bot, "GET", "/op/Stock?id=7", "", 200, `{"data":{"item":{"name":"Item 7","stock":7}}}`},
		{bot, "GET", "/op/Stock", "", 400, `BAD_INPUT`},
		{bot, "GET", "/op/Stock?id=7&id=8", "", 400, `BAD_INPUT`},
		{bot, "POST", "/op/Region", "", 403, `OPERATION_NOT_ALLOWED`},
		{bot, "GET", "/op/SetStock?id=7", "", 405, ``},
		{bot, "PUT", "/op/Stock?id=7", "", 405, ``},
		{bot, "POST", "/op/SetStock", `{"id":7,"patch":{"stock":{"set":9}}}`, 200, `"outcome":"PROPOSED"`},
		{olga, "POST", "/op/SetStock", `{"id":7,"patch":{"stock":{"set":9}}}`, 200, `"outcome":"APPLIED"`},
		{olga, "POST", "/op/Notes", "", 200, `{"data":{"notes":{"totalCount":60}}}`},
		{http.Header{}, "POST", "/op/Notes", "", 403, `OPERATION_NOT_ALLOWED`},
		{bearer("cs_wrong"), "POST", "/op/Notes", "", 401, `UNAUTHENTICATED`},
		{http.Header{"Cookie": {"countersign-session=" + strings.TrimPrefix(olga.Get("Authorization"), "Bearer ")}}, "POST", "/op/Notes", "", 403, `CSRF_REQUIRED`},
	} {
		a, raw := n.request(t, c.method, c.path, c.body, c.who)
		if a.status != c.status || !strings.Contains(raw, c.want) {
			t.Errorf("%s %s %s is answered %d %s", c.method, c.path, c.body, a.status, raw)
		}
		if a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s %s: the headers are %v", c.method, c.path, a.header)
		}
	}
	// The key of a repeated write is REST's own header.
	olga.Set("Idempotency-Key", "k1")
	first, _ := n.request(t, "POST", "/op/SetStock", `{"id":8,"patch":{"stock":{"increment":1}}}`, olga)
	second, raw := n.request(t, "POST", "/op/SetStock", `{"id":8,"patch":{"stock":{"increment":1}}}`, olga)
	if first.at("updateItem.outcome") != "APPLIED" || second.raw != first.raw {
		t.Errorf("repeated: %s, then %s", first.raw, raw)
	}
	olga.Del("Idempotency-Key")
	if a := n.must(t, strings.TrimPrefix(olga.Get("Authorization"), "Bearer "), `{ item(id: 8) { stock } }`, nil); a.at("item.stock") != "9" {
		t.Errorf("the stock is %s", a.raw)
	}
}

// The description is valid, holds exactly what the caller may send, and is enough
// for our own connector to call it.
func TestOperationsDescribed(t *testing.T) {
	t.Parallel()
	s := newOpShop(t)
	n := within(t, s.site)
	olga := bearer(s.signIn(t, n, "olga@shop.example"))
	var document string
	for who, want := range map[string][]string{"olga": {"/op/Named", "/op/Notes", "/op/Region", "/op/SetStock", "/op/Stock"}, "bot": {"/op/SetStock", "/op/Stock"}, "user": {"/op/Named", "/op/Region", "/op/Stock"}, "nobody": nil} {
		h := map[string]http.Header{"olga": olga, "bot": bearer(s.tokens["bot"]), "user": bearer(s.issuer.token(t, "u1", "EU", nil)), "nobody": {}}[who]
		a, raw := n.request(t, "GET", "/op/openapi.json", "", h)
		doc, err := openapi3.NewLoader().LoadFromData([]byte(raw))
		if a.status != 200 || err != nil {
			t.Fatalf("%s: %d %v", who, a.status, err)
		}
		if err := doc.Validate(t.Context()); err != nil {
			t.Errorf("%s is described by what is not valid: %v", who, err)
		}
		var paths []string
		for path := range doc.Paths.Map() {
			paths = append(paths, path)
		}
		slices.Sort(paths)
		if !slices.Equal(paths, want) {
			t.Errorf("%s is told of %v, not %v", who, paths, want)
		}
		if strings.Contains(raw, `"region"`) && who == "user" {
			t.Errorf("a variable of who asks is described: %s", raw)
		}
		if who == "olga" {
			document = raw
		}
	}
	c, err := openapi.Open(openapi.Config{Name: "self", SpecData: []byte(document), BaseURL: n.url,
		Auth: httpcall.Auth{Bearer: strings.TrimPrefix(olga.Get("Authorization"), "Bearer ")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	schema, err := c.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range schema.Functions {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"Named", "Notes", "Region", "SetStock", "Stock"}) {
		t.Errorf("our connector finds %v", names)
	}
}
