package desk_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/countersign/countersign/examples/desk"
)

type client struct {
	t     *testing.T
	url   string
	token string
}

func start(t *testing.T, o desk.Options) (*desk.Server, *client) {
	t.Helper()
	s, err := desk.New(o)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s.Handler())
	t.Cleanup(func() { web.Close(); s.Close() })
	return s, &client{t, web.URL, o.Token}
}

func people() []string { return []string{"anna@example.com", "jan@example.org", "mia@example.net"} }

// do sends a request and reads the answer's JSON; header holds pairs.
func (c *client) do(method, path, body string, header ...string) (int, map[string]any, http.Header) {
	c.t.Helper()
	url := path
	if !strings.HasPrefix(path, "http") {
		url = c.url + path
	}
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, nil
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	var v map[string]any
	if err := json.Unmarshal(raw, &v); err != nil && len(raw) > 0 {
		v = map[string]any{"raw": string(raw)}
	}
	return resp.StatusCode, v, resp.Header
}

func TestDocumentIsValidAndNamesItsServer(t *testing.T) {
	_, c := start(t, desk.Options{})
	_, served, _ := c.do("GET", "/openapi.json", "")
	if got := served["servers"].([]any)[0].(map[string]any)["url"]; got != c.url {
		t.Errorf("the served document says %v, not %s", got, c.url)
	}
	doc, err := openapi3.NewLoader().LoadFromData(desk.Document("https://desk.example"))
	if err != nil {
		t.Fatal(err)
	}
	if doc.Servers[0].URL != "https://desk.example" {
		t.Errorf("the document says %s", doc.Servers[0].URL)
	}
}

func TestPagesHoldEveryTicketOnce(t *testing.T) {
	_, c := start(t, desk.Options{Requesters: people(), Tickets: 95})
	seen := make(map[float64]bool)
	next := "/tickets?page%5Bsize%5D=20"
	pages := 0
	for next != "" {
		status, v, _ := c.do("GET", next, "")
		if status != 200 {
			t.Fatalf("%d %v", status, v)
		}
		pages++
		for _, x := range v["data"].([]any) {
			id := x.(map[string]any)["id"].(float64)
			if seen[id] {
				t.Errorf("ticket %v stands on two pages", id)
			}
			seen[id] = true
		}
		next, _ = v["links"].(map[string]any)["next"].(string)
	}
	if len(seen) != 95 || pages != 5 {
		t.Errorf("%d tickets on %d pages", len(seen), pages)
	}
}

func TestFilters(t *testing.T) {
	_, c := start(t, desk.Options{Requesters: people(), Tickets: 400})
	_, v, _ := c.do("GET", "/tickets?page[size]=100&status=closed&requester=anna@example.com,mia@example.net", "")
	if len(v["data"].([]any)) == 0 {
		t.Fatal("nothing found")
	}
	for _, x := range v["data"].([]any) {
		m := x.(map[string]any)
		if m["status"] != "closed" || m["requesterEmail"] == "jan@example.org" {
			t.Errorf("%v does not match", m)
		}
	}
	_, v, _ = c.do("GET", "/tickets?page[size]=100&updatedSince=2026-11-10T00:00:00Z", "")
	if n := len(v["data"].([]any)); n == 0 || n == 100 {
		t.Errorf("%d tickets on the page since then", n)
	}
	for path, want := range map[string]int{"/tickets?status=new": 400, "/tickets?page[size]=0": 400, "/tickets?page[after]=%21": 400,
		"/tickets?updatedSince=now": 400, "/tickets/batch": 400, "/tickets/batch?ids=1,x": 400, "/tickets/0": 404, "/tickets/x": 404, "/refunds/1": 404, "/nothing": 404} {
		if status, v, h := c.do("GET", path, ""); status != want || v["status"] != float64(want) || h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("GET %s: %d %v, want %d", path, status, v, want)
		}
	}
	_, v, _ = c.do("GET", "/tickets/batch?ids=3,1,9999", "")
	if n := len(v["data"].([]any)); n != 2 {
		t.Errorf("a batch of two known ids has %d", n)
	}
}

const refund = `{"ticketId":1,"orderId":7,"amount":"19.90","currency":"EUR","reason":"Arrived damaged"}`

func TestIdempotencyKey(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	s, c := start(t, desk.Options{Requesters: people(), Tickets: 5, Now: func() time.Time { return now }})
	status, first, _ := c.do("POST", "/refunds", refund, "Idempotency-Key", "k1")
	if status != 201 {
		t.Fatalf("%d %v", status, first)
	}
	status, again, h := c.do("POST", "/refunds", refund, "Idempotency-Key", "k1")
	if status != 201 || again["id"] != first["id"] || h.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the same key: %d %v", status, again)
	}
	if status, _, _ = c.do("POST", "/refunds", strings.Replace(refund, "19", "20", 1), "Idempotency-Key", "k1"); status != 422 {
		t.Errorf("another body under the key: %d", status)
	}
	now = now.Add(25 * time.Hour)
	if _, later, _ := c.do("POST", "/refunds", refund, "Idempotency-Key", "k1"); later["id"] == first["id"] {
		t.Error("the key is remembered for ever")
	}
	if n := s.Effects()["createRefund"]; n != 2 {
		t.Errorf("%d effects", n)
	}
}

func TestStateSurvivesWithoutClose(t *testing.T) {
	dir := t.TempDir()
	o := desk.Options{Dir: dir, Requesters: people(), Tickets: 20}
	_, c := start(t, o)
	_, made, _ := c.do("POST", "/refunds", refund, "Idempotency-Key", "k1")
	c.do("PATCH", "/tickets/3", `{"priority":"urgent","assignee":null}`)
	c.do("POST", "/tickets/3/comments", `{"body":"Called back."}`)
	_, ticket, head := c.do("GET", "/tickets/3", "")
	// A crash in the middle of a line.
	f, err := os.OpenFile(filepath.Join(dir, "desk.journal"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"refund":{"id":99`)
	f.Close()

	o.Requesters = nil // the seed is in the journal
	s, c2 := start(t, o)
	_, again, head2 := c2.do("GET", "/tickets/3", "")
	if fmt.Sprint(again) != fmt.Sprint(ticket) || head.Get("ETag") != head2.Get("ETag") {
		t.Errorf("before %v %v, after %v %v", ticket, head["Etag"], again, head2["Etag"])
	}
	if _, replay, _ := c2.do("POST", "/refunds", refund, "Idempotency-Key", "k1"); replay["id"] != made["id"] || s.Effects()["createRefund"] != 0 {
		t.Errorf("the key was forgotten: %v", replay)
	}
	if _, v, _ := c2.do("GET", "/tickets/3/comments", ""); v["data"].([]any)[0].(map[string]any)["body"] != "Called back." {
		t.Errorf("the comment is gone: %v", v)
	}
	if status, _, _ := c2.do("POST", "/refunds", refund); status != 201 {
		t.Errorf("no writing after the cut line: %d", status)
	}
	_, c3 := start(t, o)
	if _, v, _ := c3.do("GET", "/refunds?ticketId=1&page[size]=100", ""); len(v["data"].([]any)) != 2 {
		t.Errorf("refunds after the second start: %v", v)
	}
}

func TestETags(t *testing.T) {
	s, c := start(t, desk.Options{Requesters: people(), Tickets: 400})
	_, _, h := c.do("GET", "/tickets/400", "")
	tag := h.Get("ETag")
	if status, _, _ := c.do("GET", "/tickets/400", "", "If-None-Match", tag); status != 304 {
		t.Errorf("unchanged: %d", status)
	}
	if ok, err := s.Edit(400, func(t *desk.Ticket) { t.Subject = "Changed at the desk"; t.Status = "open" }); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if status, _, _ := c.do("PATCH", "/tickets/400", `{"status":"solved"}`, "If-Match", tag); status != 412 {
		t.Errorf("an old tag: %d", status)
	}
	_, _, h = c.do("GET", "/tickets/400", "")
	if status, v, _ := c.do("PATCH", "/tickets/400", `{"status":"solved"}`, "If-Match", h.Get("ETag")); status != 200 || v["status"] != "solved" {
		t.Errorf("the right tag: %d %v", status, v)
	}
}

func TestRefusals(t *testing.T) {
	s, c := start(t, desk.Options{Requesters: people(), Tickets: 400})
	for _, x := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/refunds", strings.Replace(refund, `"19.90"`, `"1e3"`, 1), 422},
		{"POST", "/refunds", strings.Replace(refund, `"19.90"`, `"-1"`, 1), 422},
		{"POST", "/refunds", strings.Replace(refund, `"19.90"`, `"0.00"`, 1), 422},
		{"POST", "/refunds", strings.Replace(refund, `"19.90"`, `19.90`, 1), 400},
		{"POST", "/refunds", strings.Replace(refund, `"ticketId":1`, `"ticketId":99999`, 1), 422},
		{"POST", "/refunds", refund + "{}", 400},
		{"POST", "/refunds", strings.Replace(refund, `"EUR"`, `"euro"`, 1), 422},
		{"POST", "/tickets", `{"subject":"a","description":"b"}`, 422},
		{"POST", "/tickets", `{"subject":"a","description":"b","requesterEmail":"x"}`, 422},
		{"POST", "/tickets", `{"subject":"a","description":"b","requesterEmail":"x@example.com","status":"open"}`, 400},
		{"PATCH", "/tickets/1", `{"status":"open"}`, 409},
		{"PATCH", "/tickets/400", `{"status":"new"}`, 422},
		{"PATCH", "/tickets/400", `{"unknown":1}`, 400},
		{"POST", "/tickets/1/comments", `{"body":""}`, 422},
		{"DELETE", "/tickets/1", ``, 404},
	} {
		if status, v, _ := c.do(x.method, x.path, x.body); status != x.want {
			t.Errorf("%s %s %s: %d %v, want %d", x.method, x.path, x.body, status, v, x.want)
		}
	}
	if len(s.Effects()) != 0 {
		t.Errorf("refused calls did something: %v", s.Effects())
	}
	if status, v, _ := c.do("POST", "/tickets", `{"subject":"Hello","description":"b","requesterEmail":"x@example.com","orderId":null,"tags":["a"]}`); status != 201 || v["status"] != "open" {
		t.Errorf("%d %v", status, v)
	}
}

func TestTokenAndRate(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	_, c := start(t, desk.Options{Token: "secret", Rate: 2, Now: func() time.Time { return now }})
	if status, _, _ := c.do("GET", "/tickets", "", "Authorization", "Bearer wrong"); status != 401 {
		t.Errorf("a wrong token: %d", status)
	}
	for range 2 {
		if status, _, _ := c.do("GET", "/tickets", ""); status != 200 {
			t.Errorf("within the rate: %d", status)
		}
	}
	status, _, h := c.do("GET", "/tickets", "")
	if status != 429 || h.Get("Retry-After") != "30" {
		t.Errorf("over the rate: %d, Retry-After %q", status, h.Get("Retry-After"))
	}
	now = now.Add(30 * time.Second)
	if status, _, _ := c.do("GET", "/tickets", ""); status != 200 {
		t.Errorf("after waiting: %d", status)
	}
}

func TestFaults(t *testing.T) {
	s, c := start(t, desk.Options{Requesters: people(), Tickets: 5})
	try := func(f desk.Fault, wantStatus, wantEffects int) {
		t.Helper()
		f.Operation, f.Times = "createRefund", 1
		before := s.Effects()["createRefund"]
		s.Misbehave(f)
		status, _, _ := c.do("POST", "/refunds", refund)
		if n := s.Effects()["createRefund"] - before; status != wantStatus || n != wantEffects {
			t.Errorf("%s: status %d and %d effects, want %d and %d", f.Kind, status, n, wantStatus, wantEffects)
		}
	}
	open := make(chan struct{})
	close(open)
	try(desk.Fault{Kind: desk.FaultDropReply}, 0, 1)
	try(desk.Fault{Kind: desk.FaultDropBefore}, 0, 0)
	try(desk.Fault{Kind: desk.FaultStatus, Status: 503}, 503, 0)
	try(desk.Fault{Kind: desk.FaultStatusDone, Status: 500}, 500, 1)
	try(desk.Fault{Kind: desk.FaultGarbage}, 200, 1)
	try(desk.Fault{Kind: desk.FaultHuge}, 200, 1)
	try(desk.Fault{Kind: desk.FaultBody, Body: "[]"}, 200, 1)
	try(desk.Fault{Kind: desk.FaultHold, Until: open}, 201, 1)
	try(desk.Fault{Kind: "none"}, 201, 1)
	s.Misbehave(desk.Fault{Kind: desk.FaultStatus, Status: 503})
	for range 3 {
		if status, _, _ := c.do("GET", "/tickets/1", ""); status != 503 {
			t.Errorf("a lasting fault: %d", status)
		}
	}
	s.ClearFaults()
	if status, _, _ := c.do("GET", "/tickets/1", ""); status != 200 {
		t.Errorf("after the faults: %d", status)
	}
}

func TestJournalThatIsBrokenInsideIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "desk.journal"), []byte("{}\nnonsense\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := desk.New(desk.Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("opened with %v", err)
	}
}

func TestSeedIsDeterministic(t *testing.T) {
	var first []byte
	for range 2 {
		dir := t.TempDir()
		s, err := desk.New(desk.Options{Dir: dir, Requesters: people(), Orders: map[string][]int64{"anna@example.com": {5, 9}}})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		raw, err := os.ReadFile(filepath.Join(dir, "desk.journal"))
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, raw) {
			t.Error("two seeds differ")
		}
		first = raw
	}
	if n := bytes.Count(first, []byte(`{"ticket"`)); n != 400 {
		t.Errorf("%d tickets", n)
	}
}
