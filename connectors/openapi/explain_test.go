package openapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
	"github.com/countersign/countersign/connectors/openapi"
	"github.com/countersign/countersign/examples/desk"
)

// told runs a query and lists what the trace was told, one line each.
func told(t *testing.T, src connectors.Connector, q *connectors.Query, own ...string) string {
	t.Helper()
	trace := connectors.NewTrace(func(text string) bool {
		for _, o := range own {
			if o == text {
				return true
			}
		}
		return false
	})
	if rows, err := src.Query(connectors.WithTrace(context.Background(), trace), q); err == nil {
		rows.Close()
	}
	var b strings.Builder
	for _, s := range trace.Sent() {
		fmt.Fprintf(&b, "%s %s keys=%d %s %s %d attempts=%d %s\n", s.Source, s.Object, s.Keys, s.Method, s.Target, s.Status, s.Attempts, s.Failed)
		if s.Took <= 0 || s.Began.IsZero() || s.Kept {
			t.Errorf("%+v", s)
		}
	}
	return b.String()
}

func sameLines(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%swanted\n%s", what, got, want)
	}
}

// TestTrace: every request is told with its path and query; a value stands in
// it only where the caller wrote it, whatever else the request carries.
func TestTrace(t *testing.T) {
	f := start(t, nil)
	open := sel("tickets", "id")
	open.Where = connectors.And(eq("status", connectors.String("open")), eq("requesterEmail", connectors.String("person0@example.com")))
	open.Page = limit(2)
	sameLines(t, "a list", told(t, f.src, &connectors.Query{Select: open}, "open"),
		"desk tickets keys=0 GET /tickets?page%5Bsize%5D=2&status=open&requester=… 200 attempts=1 \n")

	one := sel("tickets", "id")
	one.Where = eq("id", connectors.Int(3))
	sameLines(t, "a record of a key that is not the caller's", told(t, f.src, &connectors.Query{Select: one}), "desk tickets keys=0 GET /tickets/… 200 attempts=1 \n")
	one.Where = eq("id", connectors.Int(123456))
	sameLines(t, "a record that is not there", told(t, f.src, &connectors.Query{Select: one}, "123456"), "desk tickets keys=0 GET /tickets/123456 404 attempts=1 NOT_FOUND\n")

	joined := sel("tickets", "id")
	joined.Bind = []string{"id"}
	sameLines(t, "a join", told(t, f.src, &connectors.Query{Select: joined, Bind: [][]connectors.Value{{connectors.Int(1)}, {connectors.Int(2)}}}),
		"desk tickets keys=2 GET /tickets/batch?ids=… 200 attempts=1 \n")

	f.desk.Misbehave(desk.Fault{Kind: desk.FaultStatus, Status: http.StatusServiceUnavailable, Times: 1})
	one.Where = eq("id", connectors.Int(3))
	sameLines(t, "a request that is repeated", told(t, f.src, &connectors.Query{Select: one}, "3"), "desk tickets keys=0 GET /tickets/3 200 attempts=2 \n")

	f.web.Close()
	// How often it was put on a connection is up to what the transport noticed.
	if down := told(t, f.src, &connectors.Query{Select: one}, "3"); !strings.Contains(down, "GET /tickets/3 0 attempts=") || !strings.Contains(down, "UPSTREAM_UNAVAILABLE") {
		t.Errorf("a source that is down: %s", down)
	}
}

// TestTraceOfPages: links of a system are shown by what is known of them.
func TestTraceOfPages(t *testing.T) {
	f := start(t, nil)
	all := sel("tickets", "id")
	all.Where = connectors.Compare("updatedAt", connectors.OpGte, connectors.Const(connectors.String("2001-01-01T00:00:00Z")))
	all.Page = limit(250)
	lines := strings.Split(strings.TrimSpace(told(t, f.src, &connectors.Query{Select: all}, "2001-01-01T00:00:00Z")), "\n")
	if len(lines) < 2 {
		t.Fatalf("one page: %v", lines)
	}
	for i, line := range lines {
		want := []string{"GET /tickets?", "page%5Bsize%5D=100", "updatedSince=2001-01-01T00%3A00%3A00Z", " 200 "}
		if i > 0 {
			want = append(want, "=…")
		}
		for _, w := range want {
			if !strings.Contains(line, w) {
				t.Errorf("page %d lacks %s: %s", i, w, line)
			}
		}
	}
}

// TestTraceHoldsNoSecret: credentials in the query, in headers and in the
// address, and a link that repeats them, stand in nothing that is told; not
// even where the caller knows them.
func TestTraceHoldsNoSecret(t *testing.T) {
	const key, header, token = "k3y-canary+/", "h3ader-canary", "b3arer-canary"
	secrets := []string{key, "k3y-canary", header, token, "tenant-canary"}
	var calls atomic.Int64
	var base string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if calls.Add(1) == 1 {
			fmt.Fprintf(w, `{"items":[{"id":"1"},{"id":"2"}],"next":"%s/things?api_key=%s&size=2&of=someone&from=c4nary"}`, base, strings.ReplaceAll(key, "+/", "%2B%2F"))
			return
		}
		fmt.Fprint(w, `{"items":[]}`)
	})
	for name, auth := range map[string]httpcall.Auth{
		"query":  {APIKey: &httpcall.APIKey{Name: "api_key", Value: key, In: httpcall.InQuery}},
		"bearer": {Bearer: token},
	} {
		calls.Store(0)
		web := newWeb(t, handler)
		base = web.URL + "/tenant-canary"
		src, err := openapi.Open(openapi.Config{Name: "things", BaseURL: base, SpecData: []byte(thingsDocument), Auth: auth, Headers: map[string]string{"X-Org": header},
			Collections: map[string]openapi.CollectionConfig{"things": {List: "listThings", Key: []string{"id"}, Items: "items",
				Page:   openapi.PageConfig{Style: openapi.PageCursor, Next: "next", Size: "size"},
				Filter: map[string]map[connectors.Op]string{"owner": {connectors.OpEq: "of"}}}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		q := sel("things", "id")
		q.Where = eq("owner", connectors.String("someone"))
		got := told(t, src, &connectors.Query{Select: q}, append(secrets, "someone")...)
		if !strings.Contains(got, "GET /things?size=100&of=someone 200") && !strings.Contains(got, "GET /things?of=someone&size=100 200") || !strings.Contains(got, "from=…") {
			t.Errorf("%s: %s", name, got)
		}
		q.Where = eq("owner", connectors.String(token+key+header))
		calls.Store(1)
		got += told(t, src, &connectors.Query{Select: q}, token+key+header)
		for _, s := range append(secrets, "c4nary", web.URL) {
			if auth.Bearer != "" && strings.HasPrefix(s, "k3y") {
				continue // no credential of this source
			}
			if auth.Bearer == "" && s == token {
				continue
			}
			if strings.Contains(got, s) {
				t.Errorf("%s: %s stands in\n%s", name, s, got)
			}
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

const thingsDocument = `
openapi: 3.1.0
info: { title: things, version: "1" }
paths:
  /things:
    get:
      operationId: listThings
      parameters:
        - { name: of, in: query, schema: { type: string } }
        - { name: size, in: query, schema: { type: integer } }
        - { name: from, in: query, schema: { type: string } }
      responses:
        "200":
          description: ok
          content:
            application/json:
              schema:
                type: object
                required: [items]
                properties:
                  next: { type: string }
                  items:
                    type: array
                    items:
                      type: object
                      required: [id]
                      properties: { id: { type: string }, owner: { type: string } }
`

func newWeb(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(func() { web.CloseClientConnections(); web.Close() })
	return web
}

// TestFencedIsPushed: a condition that a line of the policy stands behind is an
// "or" of one, and is asked for like any other.
func TestFencedIsPushed(t *testing.T) {
	f := start(t, nil)
	fenced := func(c *connectors.Condition) *connectors.Condition {
		return &connectors.Condition{Op: connectors.OpOr, Items: []*connectors.Condition{c}}
	}
	q := sel("tickets", "id")
	q.Page = limit(2)
	for _, c := range []*connectors.Condition{fenced(eq("status", connectors.String("open"))),
		connectors.And(fenced(connectors.And(eq("status", connectors.String("open")))), &connectors.Condition{Op: connectors.OpTrue})} {
		q.Where = c
		sameLines(t, "fenced", told(t, f.src, &connectors.Query{Select: q}, "open"), "desk tickets keys=0 GET /tickets?page%5Bsize%5D=2&status=open 200 attempts=1 \n")
	}
	q.Where = fenced(connectors.Or(eq("status", connectors.String("open")), eq("status", connectors.String("closed"))))
	sameLines(t, "one of two", told(t, f.src, &connectors.Query{Select: q}, "open"), "desk tickets keys=0 GET /tickets?page%5Bsize%5D=100 200 attempts=1 \n")
}
