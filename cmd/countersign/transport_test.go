package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// raw sends text as it is.
func (s *socket) raw(t testing.TB, text string) {
	t.Helper()
	if err := s.conn.Write(s.ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// refused is the code of the error message that an operation is answered with;
// nothing of that operation may follow.
func (s *socket) refused(t testing.TB, id, payload string) string {
	t.Helper()
	s.raw(t, fmt.Sprintf(`{"id":%q,"type":"subscribe","payload":%s}`, id, payload))
	m := s.of(t, id)
	if m.Type != "error" {
		t.Errorf("%s is answered by %s: %s", payload, m.Type, m.Payload)
		return ""
	}
	var errs []answerError
	if err := json.Unmarshal(m.Payload, &errs); err != nil || len(errs) == 0 {
		t.Errorf("%s is answered %s: %v", payload, m.Payload, err)
		return ""
	}
	// Whatever followed would come before the answer to another one.
	s.subscribe(t, "after-"+id, "{ __typename }")
	for _, kind := range []string{"next", "complete"} {
		if m, err := s.read(); err != nil || m.ID != "after-"+id || m.Type != kind {
			t.Fatalf("behind the error of %s comes %+v %v", payload, m, err)
		}
	}
	code, _ := errs[0].Extensions["code"].(string)
	return code
}

// TestSocketRefusals: over a WebSocket what is refused before it ran is an error
// message, and what ran is a result, with its errors.
func TestSocketRefusals(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	ws := dial(t, n, bearer(s.signIn(t, n, "olga@shop.example")))
	ws.init(t, nil)
	for i, c := range []struct{ payload, code string }{
		{`{"query":"{ items("}`, "BAD_INPUT"},
		{`{"query":"{ nothing }"}`, "VALIDATION_FAILED"},
		{`{"query":"subscription { nothing }"}`, "VALIDATION_FAILED"},
		{`{"query":"query a { __typename }","operationName":"b"}`, "BAD_INPUT"},
		{`{"query":"query a { __typename } query b { __typename }"}`, "BAD_INPUT"},
		{`{"query":"query ($i: SafeInt!) { item(id: $i) { id } }"}`, "BAD_INPUT"},
		{`{"query":"query ($i: SafeInt!) { item(id: $i) { id } }","variables":{"i":"x"}}`, "BAD_INPUT"},
		{`{"query":"query ($i: ID!) { proposal(id: $i) { id } }","variables":{"i":{}}}`, "BAD_INPUT"},
		{`{"query":"subscription ($i: ID!) { proposalChanged(id: $i) { id } }"}`, "BAD_INPUT"},
		{`{"query":"subscription ($i: ID!) { proposalChanged(id: $i) { id } }","variables":{"i":{}}}`, "BAD_INPUT"},
		{`{"query":"subscription ($f: ProposalFilter) { proposalsChanged(filter: $f) { id } }","variables":{"f":{"state":{"eq":"NONE"}}}}`, "BAD_INPUT"},
		{`{"query":""}`, "BAD_INPUT"},
		{`{"query":5}`, "BAD_INPUT"},
		{`{"query":"{ __typename }","variables":[1]}`, "BAD_INPUT"},
		{`[]`, "BAD_INPUT"},
		{`null`, "BAD_INPUT"},
	} {
		if code := ws.refused(t, fmt.Sprint(i), c.payload); code != c.code {
			t.Errorf("%s is refused with %s, not %s", c.payload, code, c.code)
		}
	}
	anonymous := dial(t, n, nil)
	anonymous.init(t, nil)
	if code := anonymous.refused(t, "1", `{"query":"subscription { proposalsChanged { id } }"}`); code == "" {
		t.Error("an anonymous subscription has no code")
	}
	// What ran: a write that does not fit, and a control field that fails.
	if a := ws.ask(t, "w", `mutation { updateItem(id: 1, patch: {stock: {set: -1}}) { outcome errors { code } } }`); a.at("updateItem.errors.0.code") != "CHECK_VIOLATION" {
		t.Errorf("a write that fails: %s", a.raw)
	}
	if a := ws.ask(t, "c", `mutation { withdrawProposal(id: "none") { id } }`); a.code() != "NOT_FOUND" || a.at("withdrawProposal") != "null" {
		t.Errorf("a control field that fails: %s", a.raw)
	}
	// A preview that is asked for beside the document is one.
	ws.raw(t, `{"id":"p","type":"subscribe","payload":{"query":"mutation { updateItem(id: 1, patch: {stock: {set: 40}}) { outcome } }","extensions":{"write":{"mode":"PREVIEW"}}}}`)
	if m := ws.of(t, "p"); !strings.Contains(string(m.Payload), "PREVIEW") {
		t.Errorf("a preview is answered %s", m.Payload)
	}
	ws.of(t, "p")
	if a := ws.ask(t, "s", `{ item(id: 1) { stock } }`); a.at("item.stock") != "1" {
		t.Errorf("the preview wrote: %s", a.raw)
	}
}

// TestTextAsSent: text that a decoder would change is refused by every
// transport, and what is allowed is kept to the letter.
func TestTextAsSent(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	olga := s.signIn(t, n, "olga@shop.example")
	write := `mutation ($b: String!) { createNote(input: {itemId: 1, body: $b}) { outcome note { body } } }`
	read := `query ($b: String!) { notes(filter: {body: {eq: $b}}) { totalCount } }`
	spoiled := map[string]string{"a high half": `\ud800`, "a low half": `x\udc00`, "halves the wrong way": `\udc00\ud800`, "two high halves": `\ud83d\ud83d\ude00`,
		"a half, then an escape": `\ud800\n`, "a half at the end of a word": `\\\ud83dx`, "bytes that are no text": "\xff", "half a character": "\xe2\x82"}
	ws := dial(t, n, bearer(olga))
	ws.init(t, nil)
	i := 0
	for what, text := range spoiled {
		binary := !strings.Contains(text, `\u`)
		for where, body := range map[string]string{
			"a variable": fmt.Sprintf(`{"query":%q,"variables":{"b":"%s"}}`, write, text), "a name of a variable": fmt.Sprintf(`{"query":%q,"variables":{"b":"x","%s":1}}`, write, text),
			"the document": fmt.Sprintf(`{"query":"mutation { createNote(input: {itemId: 1, body: \"%s\"}) { outcome } }"}`, text),
			// Here the escape is GraphQL's own.
			"a string of the document": fmt.Sprintf(`{"query":"mutation { createNote(input: {itemId: 1, body: \"%s\"}) { outcome } }"}`, strings.ReplaceAll(text, `\`, `\\`)),
			"options":                  fmt.Sprintf(`{"query":%q,"variables":{"b":"x"},"extensions":{"write":{"reason":"%s"}}}`, write, text),
		} {
			for _, accept := range []string{"application/json", "text/event-stream", "multipart/mixed"} {
				h := bearer(olga)
				h.Set("Accept", accept)
				if _, answer := n.post(t, "/graphql", h, body); !strings.Contains(answer, `"BAD_INPUT"`) || strings.Contains(answer, "APPLIED") {
					t.Errorf("%s in %s, accepting %s, is answered %s", what, where, accept, answer)
				}
			}
			if i++; binary {
				other := dial(t, n, bearer(olga))
				other.init(t, nil)
				other.raw(t, `{"id":"1","type":"subscribe","payload":`+body+`}`)
				if code := other.closed(t); code != 1007 {
					t.Errorf("%s in %s closes a WebSocket with %d", what, where, code)
				}
			} else if code := ws.refused(t, fmt.Sprint(i), body); code != "BAD_INPUT" {
				t.Errorf("%s in %s over WebSocket is refused with %q", what, where, code)
			}
		}
		for _, query := range []string{
			"query=" + url.QueryEscape(read) + "&variables=" + url.QueryEscape(`{"b":"`+text+`"}`),
			"query=" + url.QueryEscape(`{ notes(filter: {body: {eq: "`+text+`"}}) { totalCount } }`),
		} {
			if a := get(t, n, olga, query); a.code() != "BAD_INPUT" || a.Data != nil {
				t.Errorf("%s in a GET is answered %s", what, a.raw)
			}
		}
	}
	if a := n.must(t, olga, `{ notes { totalCount } }`, nil); a.at("notes.totalCount") != "60" {
		t.Errorf("something was written: %s", a.raw)
	}
	for text, want := range map[string]string{`\ud83d\ude00`: "😀", `\\ud800`: `\ud800`, `\u00e9`: "é", "\ufffd": "\ufffd", `\ufffd`: "\ufffd"} {
		if a, err := n.send(bearer(olga), fmt.Sprintf(`{"query":%q,"variables":{"b":"%s"}}`, write, text)); err != nil || a.at("createNote.note.body") != want {
			t.Errorf("%s is kept as %+v %v", text, a, err)
		}
	}
	for text, want := range map[string]string{`"\ud83d\ude00"`: "😀", `"""\ud800"""`: `\ud800`, "\"x\" # \\ud800\n": "x"} {
		if a := n.must(t, olga, `mutation { createNote(input: {itemId: 1, body: `+text+`}) { note { body } } }`, nil); a.at("createNote.note.body") != want {
			t.Errorf("%s in a document is kept as %s", text, a.raw)
		}
	}
	for text, want := range map[string]int{`{"type":"unheard"}`: 4400, `no JSON`: 4400, `{"type":"ping","payload":{"x":"\ud800"}}`: 4400} {
		other := dial(t, n, bearer(olga))
		other.init(t, nil)
		other.raw(t, text)
		if code := other.closed(t); code != want {
			t.Errorf("%s closes with %d", text, code)
		}
	}
}

// TestBadBeginnings: a WebSocket whose first message cannot be read is closed.
func TestBadBeginnings(t *testing.T) {
	leavesNothing(t)
	s := newShop(t, "")
	n := within(t, s.site)
	for _, text := range []string{`{"type":"connection_init","payload":5}`, `{"type":"connection_init","payload":["x"]}`, `{"type":"subscribe","id":"1","payload":{"query":"{ __typename }"}}`,
		`{"type":"subscribe","id":"1","payload":{"query":"\ud800"}}`, `{"type":"connection_init","payload":{"x":"\ud800"}}`, `[]`, "\xff"} {
		ws := dial(t, n, nil)
		ws.raw(t, text)
		if code := ws.closed(t); code == 0 {
			t.Errorf("after %q it is not closed properly", text)
		}
	}
}

func get(t testing.TB, n *node, token, query string) *answer {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, n.url+"/graphql?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = bearer(token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a, err := read(res, string(raw))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestSlowClients: who does not finish a request in time is cut off; everybody
// else is served, and what takes long to answer, or never ends, goes on.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.write(t, "countersign.yaml", strings.Replace(s.read(t, "countersign.yaml"), "http: {", "http: { readTimeout: 300ms,", 1))
	s.staff(t)
	n := within(t, s.site)
	lea := s.signIn(t, n, "lea@shop.example")
	sse := listen(t, n, bearer(lea), `subscription { proposalsChanged { id } }`)
	ws := dial(t, n, bearer(lea))
	ws.init(t, nil)
	ws.subscribe(t, "1", `subscription { proposalsChanged { id } }`)
	head := "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + lea + "\r\nContent-Type: application/json\r\n"
	for what, text := range map[string]string{
		"in its headers":         fmt.Sprintf(head, "/graphql"),
		"in its body":            fmt.Sprintf(head, "/graphql") + "Content-Length: 1000\r\n\r\n" + `{"query":"`,
		"in a chunk":             fmt.Sprintf(head, "/graphql") + "Transfer-Encoding: chunked\r\n\r\n10\r\n{",
		"before a stream":        fmt.Sprintf(head, "/graphql") + "Accept: text/event-stream\r\nContent-Length: 1000\r\n\r\n{",
		"as nobody":              "POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: 1000\r\n\r\n{",
		"signing in":             fmt.Sprintf(head, "/auth/sign-in") + "Content-Length: 1000\r\n\r\n{",
		"with a body for a page": fmt.Sprintf(head, "/") + "Content-Length: 1000\r\n\r\n{",
		"with nothing":           "",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		// While that one says no more, others are served.
		n.must(t, lea, "{ viewer { id } }", nil)
		said, err := io.ReadAll(conn)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("who is slow %s is not cut off: %v, after %s", what, err, said)
		}
		if what == "in its body" && !strings.Contains(string(said), `"TIMEOUT"`) {
			t.Errorf("who is slow %s is told %s", what, said)
		}
	}
	// By now every deadline of theirs is over.
	id := s.propose(t, n, 5, 77)
	for seen := ""; seen != id; {
		seen = ws.data(t).at("proposalsChanged.id")
	}
	for name, data := sse.next(); !strings.Contains(data, id); name, data = sse.next() {
		if name != "next" {
			t.Fatalf("the stream said %q %s", name, data)
		}
	}
}

// TestMultipart: a subscription over multipart goes on, and ends; an operation
// of one result is answered plainly.
func TestMultipart(t *testing.T) {
	leavesNothing(t)
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	lead := s.signIn(t, n, "lea@shop.example")
	ws := dial(t, n, bearer(lead))
	ws.init(t, nil)
	stock := 100
	for _, accept := range []string{"application/json, multipart/mixed", `multipart/mixed;boundary="graphql";subscriptionSpec="1.0",application/json`} {
		wrapped := strings.Contains(accept, "subscriptionSpec")
		h := bearer(lead)
		h.Set("Accept", accept)
		if a, err := n.send(h, `{"query":"{ viewer { id } }"}`); err != nil || a.at("viewer.id") == "null" {
			t.Errorf("a query accepting %s is answered %+v %v", accept, a, err)
		}
		if a, err := n.send(h, `{"query":"{ nothing }"}`); err != nil || a.code() != "VALIDATION_FAILED" {
			t.Errorf("a wrong query accepting %s is answered %+v %v", accept, a, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url+"/graphql", strings.NewReader(`{"query":"subscription { proposalsChanged { id state } }"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = h.Clone()
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		media, params, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
		if err != nil || media != "multipart/mixed" || wrapped == (params["subscriptionspec"] == "") {
			t.Fatalf("accepting %s: %s %v", accept, res.Header.Get("Content-Type"), err)
		}
		parts := bufio.NewScanner(res.Body)
		parts.Split(between("--" + params["boundary"]))
		if !parts.Scan() || parts.Text() != "" {
			t.Fatalf("it begins with %q %v", parts.Text(), parts.Err())
		}
		for i := range 5 {
			stock++
			id := s.propose(t, n, 5+i, stock)
			for seen := ""; seen != id; {
				seen = part(t, parts, wrapped).at("proposalsChanged.id")
			}
		}
		if wrapped {
			n.stop(t)
			rest := ""
			for parts.Scan() {
				rest = parts.Text()
			}
			if parts.Err() != nil || rest != "--\r\n" {
				t.Fatalf("it ends with %q %v", rest, parts.Err())
			}
			break
		}
		if err := res.Body.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}
}

// between splits at a delimiter, as soon as it is there.
func between(delimiter string) bufio.SplitFunc {
	return func(data []byte, end bool) (int, []byte, error) {
		if i := bytes.Index(data, []byte(delimiter)); i >= 0 {
			return i + len(delimiter), data[:i], nil
		}
		if end && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	}
}

// part reads one result of a multipart answer.
func part(t testing.TB, parts *bufio.Scanner, wrapped bool) *answer {
	t.Helper()
	if !parts.Scan() {
		t.Fatalf("it ended: %v", parts.Err())
	}
	head, raw, ok := strings.Cut(parts.Text(), "\r\n\r\n")
	if !ok || strings.TrimSpace(head) != "Content-Type: application/json" {
		t.Fatalf("a part is %q", parts.Text())
	}
	var m struct {
		Data    map[string]any
		HasNext bool
		Payload struct{ Data map[string]any }
	}
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	a := &answer{raw: raw, Data: m.Data}
	if wrapped {
		a.Data = m.Payload.Data
	} else if !m.HasNext {
		t.Fatalf("it says that it ended: %s", raw)
	}
	return a
}
