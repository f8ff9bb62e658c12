package openapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/openapi"
)

// A suiteAPI is the conformance suite's data behind HTTP, in one of the ways in
// which APIs are made. Its system has constraints that the document does not tell
// of, and it is as sloppy as APIs are: text is found by prefixes of any case,
// lists hold a record that was not asked for, batches come in another order.
type suiteAPI struct {
	version string // of OpenAPI
	style   string // of paging
	batch   bool
	etag    bool // records have versions, and writes take If-Match
	keyed   bool // writes take an Idempotency-Key
	asLink  bool // the next page is named by a link in the answer
	nested  bool // tracks are listed under their album only
	partial bool // artists are never deleted, albums are read only
	web     *httptest.Server
	mu      sync.Mutex
	systems []*connectortest.Memory
	replies map[string]reply
}

// A reply is what was answered under an idempotency key.
type reply struct {
	request string
	status  int
	etag    string
	body    []byte
}

// suiteFilters are the filters of the API, by collection and field.
var suiteFilters = map[string]map[string][]connectors.Op{
	connectortest.Artists: {"name": {connectors.OpEq}, "country": {connectors.OpEq, connectors.OpIn}, "active": {connectors.OpEq}, "rating": {connectors.OpGte, connectors.OpLt}},
	connectortest.Albums: {"artist_id": {connectors.OpEq, connectors.OpIn}, "title": {connectors.OpEq}, "price": {connectors.OpEq, connectors.OpGt},
		"plays": {connectors.OpGte}, "released": {connectors.OpLte}},
	connectortest.Tracks: {"album_id": {connectors.OpEq}, "size": {connectors.OpEq}, "gain": {connectors.OpLt}},
	connectortest.Customers: {"email": {connectors.OpEq}, "note": {connectors.OpEq}, "vip": {connectors.OpEq}, "balance": {connectors.OpEq, connectors.OpGte},
		"created": {connectors.OpGte, connectors.OpLt}, "referrer_id": {connectors.OpEq}},
}

func (a *suiteAPI) start(t *testing.T) {
	a.replies = map[string]reply{}
	a.web = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.web.Close)
}

// open is a source over a fresh copy of the data.
func (a *suiteAPI) open(t testing.TB) connectors.Connector {
	t.Helper()
	a.mu.Lock()
	a.systems = append(a.systems, connectortest.NewMemory(connectortest.FullSchema(connectortest.SuiteCollections()...), connectortest.SuiteData()))
	url := a.web.URL + "/" + strconv.Itoa(len(a.systems)-1)
	a.mu.Unlock()
	src, err := openapi.Open(a.config(t, url), nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func (a *suiteAPI) config(t testing.TB, url string) openapi.Config {
	t.Helper()
	spec, err := json.Marshal(a.document())
	if err != nil {
		t.Fatal(err)
	}
	cfg := openapi.Config{SpecData: spec, BaseURL: url, Collections: map[string]openapi.CollectionConfig{}, Limits: openapi.Limits{CallsPerOperation: 5000}}
	if a.keyed {
		cfg.Outcome = map[string]openapi.OutcomeConfig{"*": {Class: connectors.Idempotent, Header: "Idempotency-Key", Keep: 1 << 40}}
	}
	for _, c := range connectortest.SuiteCollections() {
		own := openapi.CollectionConfig{Key: c.Key, List: "list_" + c.Name, Get: "get_" + c.Name, Create: "create_" + c.Name, Update: "update_" + c.Name,
			Delete: "delete_" + c.Name, Filter: map[string]map[connectors.Op]string{}}
		for field, ops := range suiteFilters[c.Name] {
			own.Filter[field] = map[connectors.Op]string{}
			for _, op := range ops {
				own.Filter[field][op] = field + "_" + string(op)
			}
			if slices.Contains(ops, connectors.OpIn) { // one parameter serves both
				own.Filter[field] = map[connectors.Op]string{connectors.OpEq: field + "_in"}
			}
		}
		if a.batch && len(c.Key) == 1 {
			own.Batch = openapi.BatchConfig{Operation: "many_" + c.Name, Parameter: "id", Max: 7}
		}
		switch own.Page = (openapi.PageConfig{Style: a.style, Size: "size"}); a.style {
		case openapi.PageNone:
			own.Page = openapi.PageConfig{}
		case openapi.PageNumber, openapi.PageOffset:
			own.Page.Parameter = "at"
		case openapi.PageCursor:
			if own.Page.Next = "next"; !a.asLink {
				own.Page.Parameter = "token"
			}
		}
		if a.nested && c.Name == connectortest.Tracks {
			own.Filter["album_id"] = map[connectors.Op]string{connectors.OpEq: "album_id"}
		}
		if a.partial && c.Name == connectortest.Artists {
			own.Delete = ""
		}
		if a.partial && c.Name == connectortest.Albums {
			own.Create, own.Update, own.Delete = "", "", ""
		}
		cfg.Collections[c.Name] = own
	}
	return cfg
}

// serve answers one request: /system/collection…
func (a *suiteAPI) serve(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	body, err := io.ReadAll(r.Body)
	n, numberErr := strconv.Atoi(parts[0])
	if err != nil || numberErr != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &served{suiteAPI: a, system: a.systems[n], r: r, body: body}
	if parts = parts[1:]; len(parts) == 3 && parts[2] == connectortest.Tracks {
		s.under, parts = parts[1], parts[2:]
	}
	for _, c := range connectortest.SuiteCollections() {
		if c.Name == parts[0] {
			s.c, s.key = c, parts[1:]
		}
	}
	out := s.once(parts[0] + "#" + strconv.Itoa(n))
	if out.etag != "" && a.etag {
		w.Header().Set("ETag", out.etag)
	}
	for name, v := range s.header {
		w.Header().Set(name, v)
	}
	if out.body != nil {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(out.status)
	w.Write(out.body)
}

// served is one request being answered.
type served struct {
	*suiteAPI
	system *connectortest.Memory
	c      *connectors.Collection
	r      *http.Request
	key    []string
	under  string // the album in the path of a list
	body   []byte
	header map[string]string
}

// once answers a write under a key as it was answered before.
func (s *served) once(scope string) reply {
	key := s.r.Header.Get("Idempotency-Key")
	if key == "" || s.r.Method == http.MethodGet {
		return s.answer()
	}
	request := s.r.Method + s.r.URL.Path + string(s.body)
	if known, ok := s.replies[scope+key]; ok {
		if known.request != request {
			return reply{status: http.StatusUnprocessableEntity}
		}
		s.header = map[string]string{"Idempotent-Replayed": "true"}
		return known
	}
	out := s.answer()
	if out.request = request; out.status < 300 {
		s.replies[scope+key] = out
	}
	return out
}

func (s *served) answer() reply {
	switch s.r.Method {
	case http.MethodGet:
		if len(s.key) == 0 {
			return s.list()
		}
		if s.key[0] == "many" {
			var ids []connectors.Value
			for _, id := range s.r.URL.Query()["id"] {
				ids = append(ids, connectors.Value{Kind: connectors.KindInt, Text: id})
			}
			records, _ := s.records(connectors.Compare("id", connectors.OpIn, connectors.Const(connectors.ListOf(ids...))))
			slices.Reverse(records)
			return reply{status: 200, body: slices.Concat([]byte("["), bytes.Join(records, []byte(",")), []byte("]"))}
		}
		var where []*connectors.Condition
		for _, a := range s.keyed() {
			where = append(where, connectors.Compare(a.Field, connectors.OpEq, connectors.Const(a.Value)))
		}
		records, versions := s.records(connectors.And(where...))
		if len(records) != 1 {
			return reply{status: 404}
		}
		return reply{status: 200, body: records[0], etag: versions[0]}
	case http.MethodPost:
		return s.write(connectors.Step{Kind: connectors.Create, Set: s.assigns()})
	case http.MethodPatch:
		return s.write(connectors.Step{Kind: connectors.Update, Key: s.keyed(), Set: s.assigns()})
	}
	return s.write(connectors.Step{Kind: connectors.Delete, Key: s.keyed()})
}

func (s *served) keyed() []connectors.Assign {
	var out []connectors.Assign
	for i, k := range s.c.Key {
		out = append(out, connectors.Assign{Field: k, Value: connectors.Value{Kind: connectors.KindInt, Text: s.key[i]}})
	}
	return out
}

// assigns reads the body, and the album of the path.
func (s *served) assigns() []connectors.Assign {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(s.body, &members); err != nil {
		return []connectors.Assign{{Field: "the body is no object"}}
	}
	var out []connectors.Assign
	if s.under != "" {
		out = append(out, connectors.Assign{Field: "album_id", Value: connectors.Value{Kind: connectors.KindInt, Text: s.under}})
	}
	for name, raw := range members {
		v := connectors.Null
		if f := s.c.Field(name); f != nil && string(raw) != "null" {
			v = s.valueOf(f, strings.Trim(string(raw), `"`))
			if v.Kind == connectors.KindString {
				json.Unmarshal(raw, &v.Text)
			}
		}
		out = append(out, connectors.Assign{Field: name, Value: v})
	}
	return out
}

// valueOf is the text of a request as a value of a field.
func (s *served) valueOf(f *connectors.Field, text string) connectors.Value {
	kind := connectors.KindString
	switch f.Type.Scalar {
	case connectors.ScalarInt, connectors.ScalarBigInt:
		kind = connectors.KindInt
	case connectors.ScalarFloat:
		kind = connectors.KindFloat
	case connectors.ScalarDecimal:
		kind = connectors.KindDecimal
	case connectors.ScalarBoolean:
		kind = connectors.KindBool
	}
	return connectors.Value{Kind: kind, Text: text}
}

// records are those that match as JSON, in the system's order, with their ETags.
func (s *served) records(where *connectors.Condition) (records [][]byte, versions []string) {
	sel := &connectors.Select{Collection: s.c.Name, Where: where}
	for _, f := range s.c.Fields {
		sel.Columns = append(sel.Columns, connectors.Column{Field: f.Name})
	}
	sel.Columns = append(sel.Columns, connectors.Column{Version: true})
	rows, _, err := read(s.system, &connectors.Query{Select: sel})
	if err != nil {
		panic(err)
	}
	for _, row := range rows {
		records = append(records, s.encode(func(i int) string { return row[i] }))
		versions = append(versions, row[len(row)-1])
	}
	return records, versions
}

// encode writes a record of cells: whole numbers, and decimals in one of the
// versions, are JSON numbers.
func (s *served) encode(cell func(int) string) []byte {
	b := []byte("{")
	for i, f := range s.c.Fields {
		text := cell(i)
		if f.Type.Scalar == connectors.ScalarBigInt || f.Type.Scalar == connectors.ScalarDecimal && !s.decimalText() {
			text = strings.Trim(text, `"`)
		}
		b = append(b, fmt.Sprintf("%q:%s,", f.Name, text)...)
	}
	return append(b[:len(b)-1], '}')
}

// list answers a page.
func (s *served) list() reply {
	q := s.r.URL.Query()
	var where []*connectors.Condition
	if s.under != "" {
		where = append(where, eq("album_id", connectors.Value{Kind: connectors.KindInt, Text: s.under}))
	}
	for field, ops := range suiteFilters[s.c.Name] {
		f := s.c.Field(field)
		for _, op := range ops {
			given := q[field+"_"+string(op)]
			if len(given) == 0 {
				continue
			}
			v := s.valueOf(f, given[0])
			switch {
			case op == connectors.OpIn:
				v = connectors.ListOf(connectortest.SuiteData()[s.c.Name][0].Get(field))
				for _, text := range given {
					v.Items = append(v.Items, s.valueOf(f, text))
				}
			case op == connectors.OpEq && f.Type.Scalar == connectors.ScalarString:
				op, v.Text = connectors.OpILike, strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(v.Text)+"%"
			}
			where = append(where, connectors.Compare(field, op, connectors.Const(v)))
		}
	}
	records, _ := s.records(connectors.And(where...))
	size, err := strconv.Atoi(q.Get("size"))
	if err != nil {
		size = 50
	}
	at, _ := strconv.Atoi(q.Get("at"))
	switch s.style {
	case openapi.PageNone:
		size = len(records)
	case openapi.PageNumber:
		at = (at - 1) * size
	case openapi.PageCursor:
		at, _ = strconv.Atoi(strings.TrimPrefix(q.Get("token"), "t"))
	}
	at = min(at, len(records))
	end := min(at+size, len(records))
	next := ""
	if end < len(records) {
		q.Set("at", strconv.Itoa(end))
		s.header = map[string]string{"Link": `</first>; rel="first", <` + s.r.URL.Path + "?" + q.Encode() + `>; title="a, b"; rel="prefetch next"`}
		next = "t" + strconv.Itoa(end)
		if q.Set("token", next); s.asLink {
			next = s.r.URL.Path + "?" + q.Encode()
		}
		next = `,"next":` + strconv.Quote(next)
	}
	return reply{status: 200, body: slices.Concat([]byte(`{"items":[`), bytes.Join(records[at:end], []byte(",")), []byte("]"+next+"}"))}
}

// write does one step, and answers the record.
func (s *served) write(step connectors.Step) reply {
	step.ID, step.Collection = "a", s.c.Name
	for _, f := range s.c.Fields {
		step.Return = append(step.Return, f.Name)
	}
	if match := s.r.Header.Get("If-Match"); match != "" {
		match = strings.Trim(match, `"`)
		step.IfVersion = &match
	}
	effect, err := s.system.Apply(s.r.Context(), nil, &connectors.Change{Version: connectors.ChangeVersion, Steps: []connectors.Step{step}})
	switch connectors.CodeOf(err) {
	case "":
	case connectors.CodeNotFound:
		return reply{status: 404}
	case connectors.CodeVersionConflict:
		return reply{status: 412}
	case connectors.CodeUniqueViolation, connectors.CodeReferenceViolation:
		return reply{status: 409}
	default:
		return reply{status: 422}
	}
	if step.Kind == connectors.Delete {
		return reply{status: 204}
	}
	rec := effect.Steps[0].After[0]
	return reply{status: 200, etag: strconv.Quote(rec.Version), body: s.encode(func(i int) string {
		f := s.c.Fields[i]
		return string(rec.Get(f.Name).AppendJSON(nil, f.Type.Leaf()))
	})}
}
