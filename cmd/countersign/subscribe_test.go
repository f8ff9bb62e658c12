package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

const stockProposal = `mutation ($id: SafeInt!, $n: SafeInt!) { updateItem(id: $id, patch: {stock: {set: $n}}) { outcome proposal { id } errors { code message } } }`

func (s *shopSite) propose(t testing.TB, n *node, item, stock int) string {
	t.Helper()
	a := n.must(t, s.tokens["bot"], stockProposal, vars{"id": item, "n": stock})
	if a.at("updateItem.outcome") != "PROPOSED" {
		t.Fatalf("proposing: %s", a.raw)
	}
	return a.at("updateItem.proposal.id")
}

// events reads server-sent events.
type events struct {
	res  *http.Response
	scan *bufio.Scanner
}

// listen opens a subscription over SSE.
func listen(t testing.TB, n *node, h http.Header, query string) *events {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	body, err := json.Marshal(vars{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url+"/graphql", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h.Clone()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		res.Body.Close()
	})
	scan := bufio.NewScanner(res.Body)
	scan.Buffer(nil, 1<<20)
	return &events{res: res, scan: scan}
}

// next is the next event's name and data; "" at the end.
func (e *events) next() (name, data string) {
	for e.scan.Scan() {
		line := e.scan.Text()
		if v, ok := strings.CutPrefix(line, "event:"); ok {
			name = strings.TrimSpace(v)
		}
		if v, ok := strings.CutPrefix(line, "data:"); ok {
			data += strings.TrimSpace(v)
		}
		if line == "" && name != "" {
			return name, data
		}
	}
	return "", ""
}

// leavesNothing checks, when all else is cleaned up, that no goroutine is left.
// Such a test does not run beside others.
func leavesNothing(t *testing.T) {
	t.Helper()
	idle := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, idle)
	})
}

// TestSubscriptions: a proposal's changes arrive over WebSocket and SSE, to
// those who may see it; nothing is left behind when all is over.
func TestSubscriptions(t *testing.T) {
	leavesNothing(t)
	s := newShop(t, "")
	s.staff(t)
	_, other := s.addKey(t, "bot", "olga@shop.example")
	n := within(t, s.site)
	lead := s.signIn(t, n, "lea@shop.example")

	ws := dial(t, n, bearer(lead))
	ws.init(t, nil)
	ws.subscribe(t, "1", `subscription { proposalsChanged { id state changes { diff { after } } canApprove { yes } } }`)
	sse := listen(t, n, bearer(s.tokens["bot"]), `subscription { proposalsChanged { id state } }`)
	if got := sse.res.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") || sse.res.StatusCode != http.StatusOK {
		t.Fatalf("SSE is answered %s %s", sse.res.Status, got)
	}
	// Of the same agent for another person: nothing of this may be seen.
	blind := listen(t, n, bearer(other), `subscription { proposalsChanged { id state } }`)
	subscribed(t, n, s, ws)

	id := s.propose(t, n, 5, 77)
	var a *answer
	for a = ws.data(t); a.at("proposalsChanged.id") != id; a = ws.data(t) {
	}
	if a.at("proposalsChanged.state") != "PENDING" || a.at("proposalsChanged.changes.0.diff.0.after.stock") != "77" || a.at("proposalsChanged.canApprove.yes") != "true" {
		t.Errorf("the reviewer is told %s", a.raw)
	}
	n.approve(t, lead, id)
	for a.at("proposalsChanged.state") != "EXECUTED" {
		a = ws.data(t)
	}
	for state := ""; state != "EXECUTED"; {
		name, data := sse.next()
		if name != "next" {
			t.Fatalf("SSE said %q %s", name, data)
		}
		var got answer
		var payload struct{ Data map[string]any }
		if err := json.Unmarshal([]byte(data), &payload); err != nil {
			t.Fatal(err)
		}
		got.Data = payload.Data
		if got.at("proposalsChanged.id") == id {
			state = got.at("proposalsChanged.state")
		}
	}
	// One by id; a filter; several over one connection.
	ws.subscribe(t, "2", fmt.Sprintf(`subscription { proposalChanged(id: %q) { id state } }`, id))
	ws.write(t, map[string]any{"type": "complete", "id": "2"})
	ws.write(t, map[string]any{"type": "complete", "id": "1"})
	if got := ws.ask(t, "3", "{ viewer { id } }"); got.at("viewer.id") != "user:lea@shop.example" {
		t.Errorf("a query over WebSocket: %s", got.raw)
	}
	refusedSubscriptions(t, n, ws, lead)
	n.stop(t)
	if code := ws.closed(t); code == 4401 {
		t.Errorf("at its end the gateway closes with %d", code)
	}
	for name, data := blind.next(); name != "" && name != "complete"; name, data = blind.next() {
		if strings.Contains(data, id) {
			t.Errorf("the agent acting for another person is told %s", data)
		}
	}
}

// subscribed waits until a subscription is there: what happens before it begins
// is not told.
func subscribed(t testing.TB, n *node, s *shopSite, ws *socket) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		ws.data(t)
	}()
	for i := 0; ; i++ {
		s.propose(t, n, 10+i%40, 1000+i)
		select {
		case <-done:
			return
		default:
		}
	}
}

// refusedSubscriptions: who may not subscribe is told so with a code.
func refusedSubscriptions(t *testing.T, n *node, ws *socket, lead string) {
	t.Helper()
	ws.subscribe(t, "4", `subscription { nothing { id } }`)
	if m := ws.of(t, "4"); !strings.Contains(string(m.Payload), "VALIDATION_FAILED") {
		t.Errorf("an unknown subscription: %s %s", m.Type, m.Payload)
	}
	anonymous := dial(t, n, nil)
	anonymous.init(t, nil)
	anonymous.subscribe(t, "1", `subscription { proposalsChanged { id } }`)
	if m, err := anonymous.read(); err != nil || !strings.Contains(string(m.Payload), `"code"`) {
		t.Errorf("an anonymous subscription: %v %+v", err, m)
	}
	for what, h := range map[string]http.Header{
		"a cookie of another page": {"Cookie": {"countersign-session=" + lead}, "Origin": {"https://evil.example"}, "Countersign-Csrf": {"1"}},
		"a cookie alone":           {"Cookie": {"countersign-session=" + lead}}, "a cookie without an origin": {"Cookie": {"countersign-session=" + lead}, "Countersign-Csrf": {"1"}}, "a wrong key": bearer("cs_wrong"),
	} {
		e := listen(t, n, h, `subscription { proposalsChanged { id } }`)
		if got := e.res.Header.Get("Content-Type"); strings.HasPrefix(got, "text/event-stream") {
			t.Errorf("SSE with %s is answered %s %s", what, e.res.Status, got)
		}
	}
	for what, c := range map[string][2]string{"a huge body": {`{"query":"` + strings.Repeat(" ", 2<<20) + `"}`, "TOO_LARGE"}, "no JSON": {`{"query": secret-of-the-client`, "BAD_INPUT"},
		"a batch": {`[{"query":"subscription { proposalsChanged { id } }"}]`, "BAD_INPUT"}} {
		h := bearer(lead)
		h.Set("Accept", "text/event-stream")
		if a, err := n.send(h, c[0]); err != nil || a.code() != c[1] {
			t.Errorf("SSE with %s: %v %+v", what, err, a)
		}
	}
	if strings.Contains(n.stderr.String(), "secret-of-the-client") {
		t.Errorf("what a client sent is in the log: %s", n.stderr)
	}
	if numbers := listen(t, n, bearer(lead), `subscription { proposalsChanged(filter: {state: {in: [PENDING]}}) { id } }`); numbers.res.StatusCode != http.StatusOK {
		t.Errorf("SSE with a filter is answered %s", numbers.res.Status)
	}
	own := listen(t, n, http.Header{"Cookie": {"countersign-session=" + lead}, "Countersign-Csrf": {"1"}, "Origin": {n.url}}, `subscription { proposalsChanged { id } }`)
	if got := own.res.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Errorf("SSE by cookie from our own page is answered %s %s", own.res.Status, got)
	}
}

// TestAbandonedSubscriptions: clients that go away leave nothing behind.
func TestAbandonedSubscriptions(t *testing.T) {
	leavesNothing(t)
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	lead := s.signIn(t, n, "lea@shop.example")
	n.must(t, lead, "{ viewer { id } }", nil)
	http.DefaultClient.CloseIdleConnections()
	running := goleak.IgnoreCurrent()
	for range 5 {
		ws := dial(t, n, bearer(lead))
		ws.init(t, nil)
		ws.subscribe(t, "1", `subscription { proposalsChanged { id } }`)
		ws.subscribe(t, "2", `subscription { proposalChanged(id: "x") { id } }`)
		ws.conn.CloseNow()
		e := listen(t, n, bearer(lead), `subscription { proposalsChanged { id } }`)
		e.res.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "their goroutines to end", func() (bool, string) {
		err := goleak.Find(running)
		if err != nil {
			return false, err.Error()
		}
		return true, ""
	})
}
