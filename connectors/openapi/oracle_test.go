package openapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/openapi"
)

// item is a record of an API that is as sloppy as APIs are: its filter by name
// takes prefixes of any case, and its list of cities is one more than asked for.
type item struct {
	ID    int64   `json:"id"`
	Name  *string `json:"name"`
	City  string  `json:"city"`
	Price string  `json:"price"`
}

func items() []item {
	names := []string{"Anna", "anna", "Annabel", "Bo", "Zoë", "a,b", ""}
	cities := []string{"Berlin", "berlin", "Köln", "Lyon"}
	var list []item
	for i := range 137 {
		x := item{ID: int64(i + 1), City: cities[i*7%len(cities)], Price: fmt.Sprintf("%d.%02d", i%13, i%3*25)}
		if i%5 > 0 {
			x.Name = &names[i*3%len(names)]
		}
		list = append(list, x)
	}
	return list
}

const itemDocument = `{"openapi":"3.1.0","info":{"title":"t","version":"1"},"paths":{
"/items":{"get":{"operationId":"list","parameters":[
 {"name":"name","in":"query","schema":{"type":"string"}},{"name":"min","in":"query","schema":{"type":"string","format":"decimal"}},
 {"name":"city","in":"query","schema":{"type":"array","maxItems":2,"items":{"type":"string"}}},
 {"name":"at","in":"query","schema":{"type":"integer"}},{"name":"token","in":"query","schema":{"type":"string"}},
 {"name":"size","in":"query","schema":{"type":"integer","maximum":20}}],
 "responses":{"200":{"description":"","content":{"application/json":{"schema":{"type":"object","properties":{"items":{"type":"array","items":{"$ref":"#/components/schemas/Item"}},"next":{"type":["string","null"]}}}}}}}}},
"/items/many":{"get":{"operationId":"many","parameters":[{"name":"id","in":"query","required":true,"schema":{"type":"array","items":{"type":"integer"}}}],
 "responses":{"200":{"description":"","content":{"application/json":{"schema":{"type":"array","items":{"$ref":"#/components/schemas/Item"}}}}}}}},
"/items/{id}":{"get":{"operationId":"get","parameters":[{"name":"id","in":"path","required":true,"schema":{"type":"integer"}}],
 "responses":{"200":{"description":"","content":{"application/json":{"schema":{"$ref":"#/components/schemas/Item"}}}}}}}},
"components":{"schemas":{"Item":{"type":"object","required":["id","city","price"],"properties":{
 "id":{"type":"integer"},"name":{"type":["string","null"]},"city":{"type":"string"},"price":{"type":"string","format":"decimal"}}}}}}`

// itemAPI serves the items in a style of paging.
func itemAPI(style string) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /items", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		list := slices.DeleteFunc(items(), func(x item) bool {
			if n := q.Get("name"); n != "" && (x.Name == nil || !strings.HasPrefix(strings.ToLower(*x.Name), strings.ToLower(n))) {
				return true
			}
			if m := q.Get("min"); m != "" && decimal.RequireFromString(x.Price).LessThan(decimal.RequireFromString(m)) {
				return true
			}
			cities := q["city"]
			return len(cities) > 0 && !slices.Contains(append(cities, "Lyon"), x.City)
		})
		size, err := strconv.Atoi(q.Get("size"))
		if err != nil {
			size = 20
		}
		at, _ := strconv.Atoi(q.Get("at"))
		switch style {
		case openapi.PageNone:
			size = len(list)
		case openapi.PageNumber:
			at = (at - 1) * size
		case openapi.PageCursor:
			at, _ = strconv.Atoi(strings.TrimPrefix(q.Get("token"), "t"))
		}
		at = min(at, len(list))
		end := min(at+size, len(list))
		body := map[string]any{"items": list[at:end]}
		if end < len(list) {
			q.Set("at", strconv.Itoa(end))
			link := "/items?" + q.Encode()
			w.Header().Set("Link", `</first>; rel="first", <`+link+`>; title="a, b"; rel="prefetch next"`)
			body["next"] = link
			if style == openapi.PageCursor {
				body["next"] = "t" + strconv.Itoa(end)
			}
		}
		answer(w, body)
	})
	mux.HandleFunc("GET /items/many", func(w http.ResponseWriter, r *http.Request) {
		list := slices.DeleteFunc(items(), func(x item) bool { return !slices.Contains(r.URL.Query()["id"], strconv.FormatInt(x.ID, 10)) })
		slices.Reverse(list)
		answer(w, list)
	})
	mux.HandleFunc("GET /items/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, x := range items() {
			if strconv.FormatInt(x.ID, 10) == r.PathValue("id") {
				answer(w, x)
				return
			}
		}
		w.WriteHeader(404)
	})
	return mux
}

func itemRecords() []connectors.Record {
	var list []connectors.Record
	for _, x := range items() {
		name := connectors.Null
		if x.Name != nil {
			name = connectors.String(*x.Name)
		}
		list = append(list, connectors.Record{Fields: []connectors.Assign{{Field: "id", Value: connectors.Int(x.ID)}, {Field: "name", Value: name},
			{Field: "city", Value: connectors.String(x.City)}, {Field: "price", Value: connectors.Decimal(x.Price)}}})
	}
	return list
}

// TestEqualsTheOracle: whatever is declared, asked in any combination, answers
// what the connector in memory answers over the same records, in every style of
// paging, with and without a batch.
func TestEqualsTheOracle(t *testing.T) {
	pages := map[string]openapi.PageConfig{
		"none": {}, "number": {Style: openapi.PageNumber, Parameter: "at", Size: "size"}, "offset": {Style: openapi.PageOffset, Parameter: "at", Size: "size"},
		"link": {Style: openapi.PageLink, Size: "size"}, "cursor": {Style: openapi.PageCursor, Next: "next", Parameter: "token", Size: "size"},
		"cursor as link": {Style: openapi.PageCursor, Next: "next"},
	}
	for name, page := range pages {
		for _, batch := range []string{"", "many"} {
			t.Run(name+" "+batch, func(t *testing.T) {
				style := page.Style
				if style == "" {
					style = openapi.PageNone
				}
				if name == "cursor as link" {
					style = openapi.PageLink
				}
				web := httptest.NewServer(itemAPI(style))
				defer web.Close()
				c := openapi.CollectionConfig{List: "list", Get: "get", Page: page, Filter: map[string]map[connectors.Op]string{
					"name": {connectors.OpEq: "name"}, "city": {connectors.OpEq: "city"}, "price": {connectors.OpGte: "min"}}}
				if batch != "" {
					c.Batch = openapi.BatchConfig{Operation: batch, Parameter: "id", Max: 7}
				}
				src, err := openapi.Open(openapi.Config{SpecData: []byte(itemDocument), BaseURL: web.URL, Collections: map[string]openapi.CollectionConfig{"items": c},
					Limits: openapi.Limits{CallsPerOperation: 1000}}, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer src.Close()
				schema, err := src.Describe(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				oracle := connectortest.NewMemory(schema, map[string][]connectors.Record{"items": itemRecords()})
				defer oracle.Close()
				rapid.Check(t, func(rt *rapid.T) {
					q := drawQuery(rt)
					got, gotErr := sorted(src, q)
					want, wantErr := sorted(oracle, q)
					if connectors.CodeOf(gotErr) != connectors.CodeOf(wantErr) || !slices.Equal(got, want) {
						raw, _ := json.Marshal(q)
						rt.Fatalf("got %d rows %.300v, %v\nwant %d rows %.300v, %v\nto %s", len(got), fmt.Sprint(got), gotErr, len(want), fmt.Sprint(want), wantErr, raw)
					}
				})
			})
		}
	}
}

// sorted reads all rows, each with its entry in front; rows come in no order
// unless one is asked for.
func sorted(c connectors.Connector, q *connectors.Query) ([]string, error) {
	rows, bind, err := read(c, q)
	var out []string
	for i, r := range rows {
		entry := ""
		if bind != nil {
			entry = fmt.Sprint(bind[i])
		}
		out = append(out, entry+fmt.Sprint(r))
	}
	slices.Sort(out)
	return out, err
}

func drawQuery(t *rapid.T) *connectors.Query {
	g := &drawer{t: t}
	s := sel("items", "id", "name", "city", "price")
	q := &connectors.Query{Select: s}
	switch rapid.IntRange(0, 5).Draw(t, "bind") {
	case 0:
		s.Bind = []string{"id"}
	case 1:
		s.Bind = []string{"city"}
	case 2:
		s.Bind = []string{"price"} // not declared
	}
	if s.Bind != nil {
		for _, v := range rapid.SliceOfNDistinct(rapid.Map(rapid.IntRange(0, 150), func(i int) string { return g.valueAt(s.Bind[0], i).Text }), 0, 20, rapid.ID[string]).Draw(t, "entries") {
			kind := connectors.KindString
			if s.Bind[0] == "id" {
				kind = connectors.KindInt
			} else if s.Bind[0] == "price" {
				kind = connectors.KindDecimal
			}
			q.Bind = append(q.Bind, []connectors.Value{{Kind: kind, Text: v}})
		}
	}
	if rapid.Bool().Draw(t, "where") {
		s.Where = g.condition(3)
	}
	// Which records are on a page is only the same where both read the list in
	// its own order: not where keys are looked up.
	if raw, _ := json.Marshal(s.Where); !strings.Contains(string(raw), `"id"`) && rapid.Bool().Draw(t, "page") {
		s.Page = &connectors.Page{Limit: connectors.Const(connectors.Int(int64(rapid.IntRange(0, 60).Draw(t, "limit")))),
			Offset: connectors.Const(connectors.Int(int64(rapid.IntRange(0, 60).Draw(t, "offset"))))}
	}
	if rapid.IntRange(0, 3).Draw(t, "masked") == 0 {
		s.Columns[1].If = g.condition(1)
	}
	if rapid.IntRange(0, 3).Draw(t, "bound") == 0 {
		s.MaxRows = rapid.IntRange(1, 150).Draw(t, "rows")
	}
	return q
}

type drawer struct{ t *rapid.T }

func (g *drawer) valueAt(field string, i int) connectors.Value {
	records := itemRecords()
	if i >= len(records) {
		switch field {
		case "id":
			return connectors.Int(int64(i * 1000))
		case "price":
			return connectors.Decimal("99.99")
		}
		return connectors.String("nothing has this, " + strconv.Itoa(i))
	}
	return records[i].Get(field)
}

func (g *drawer) value(field string) connectors.Value {
	if rapid.IntRange(0, 15).Draw(g.t, "null") == 0 {
		return connectors.Null
	}
	return g.valueAt(field, rapid.IntRange(0, 140).Draw(g.t, "value"))
}

func (g *drawer) condition(depth int) *connectors.Condition {
	kind := rapid.IntRange(0, 9).Draw(g.t, "kind")
	switch {
	case depth > 0 && kind < 4:
		c := &connectors.Condition{Op: connectors.OpAnd}
		if kind == 3 {
			c.Op = connectors.OpOr
		}
		for range rapid.IntRange(0, 3).Draw(g.t, "items") {
			c.Items = append(c.Items, g.condition(depth-1))
		}
		return c
	case depth > 0 && kind == 4:
		return connectors.Not(g.condition(depth - 1))
	}
	field := rapid.SampledFrom([]string{"id", "name", "city", "price"}).Draw(g.t, "field")
	op := rapid.SampledFrom(map[string][]connectors.Op{"id": {connectors.OpEq, connectors.OpIn}, "name": {connectors.OpEq},
		"city": {connectors.OpEq, connectors.OpIn}, "price": {connectors.OpGte, connectors.OpGte, connectors.OpLt}}[field]).Draw(g.t, "op") // lt is not declared
	operand := g.value(field)
	if op == connectors.OpIn {
		operand = connectors.ListOf()
		for range rapid.IntRange(0, 4).Draw(g.t, "n") {
			operand.Items = append(operand.Items, g.value(field))
		}
	}
	return connectors.Compare(field, op, connectors.Const(operand))
}
