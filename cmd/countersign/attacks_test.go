package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/template"

	"github.com/rogpeppe/go-internal/txtar"
)

// internals are what no answer may show: files, Go, SQL, stacks.
var internals = regexp.MustCompile(`\.go\b|/tmp/|/root/|goroutine|runtime error|panic|github\.com|\bSELECT\b|sqlite:|no such (table|column)|near "|unmarshal|json: |\*ast\.|map\[`)

// most is what one attack may make the program allocate, bystander and all: tens
// of times what is sent, whatever it says.
const most = 96 << 20

// expand writes a file of the corpus out.
func expand(t testing.TB, text string) string {
	t.Helper()
	tmpl, err := template.New("").Funcs(template.FuncMap{
		"repeat": func(n int, s string) string { return strings.Repeat(s, n) },
		"nest": func(n int, open, in, closed string) string {
			return strings.Repeat(open, n) + in + strings.Repeat(closed, n)
		},
	}).Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := tmpl.Execute(&out, nil); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A bystander asks all the time, and must be answered all the time.
type bystander struct {
	asked  atomic.Int64
	failed atomic.Pointer[string]
}

func (b *bystander) run(ctx context.Context, n *node, token string) {
	for ctx.Err() == nil {
		a, err := n.try(token, `{ item(id: 9) { name } }`, nil)
		if err != nil || a.at("item.name") != "Item 9" {
			told := fmt.Sprintf("%+v %v", a, err)
			b.failed.CompareAndSwap(nil, &told)
			return
		}
		b.asked.Add(1)
	}
}

// next waits until it was answered once more.
func (b *bystander) next(t testing.TB) {
	t.Helper()
	before := b.asked.Load()
	eventually(t, "an answer to a bystander", func() (bool, string) {
		if told := b.failed.Load(); told != nil {
			t.Fatalf("a bystander is answered %s", *told)
		}
		return b.asked.Load() > before+1, ""
	})
}

// TestAttacks sends a corpus of documents and bodies made to cost much, to break
// in or to make the program talk. Each is answered with a code and within a bound
// of memory, by no word from inside, while somebody else is served.
func TestAttacks(t *testing.T) {
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	olga := s.signIn(t, n, "olga@shop.example")
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	other := &bystander{}
	running.Go(func() { other.run(ctx, n, olga) })
	other.next(t)
	corpus, err := txtar.ParseFile("testdata/attacks/corpus.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range corpus.Files {
		want, name, _ := strings.Cut(f.Name, " ")
		text := expand(t, strings.TrimSuffix(string(f.Data), "\n"))
		if !strings.HasPrefix(name, "body ") {
			text = fmt.Sprintf(`{"query":%s}`, jsonText(t, text))
		}
		attack(t, n, name, want, bearer(olga), text)
		other.next(t)
	}
	headers(t, n, olga, other)
	slow(t, n, other)
	if a := n.must(t, olga, `{ items { totalCount } item(id: 1) { stock } }`, nil); a.at("items.totalCount") != "60" || a.at("item.stock") != "1" {
		t.Errorf("something was written: %s", a.raw)
	}
	if told := n.stderr.String(); strings.Contains(told, "panic") {
		t.Errorf("something panicked: %s", told)
	}
}

func jsonText(t testing.TB, s string) string {
	t.Helper()
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\x01", `\u0001`).Replace(s) + `"`
}

// attack sends a body and looks at what comes of it.
func attack(t *testing.T, n *node, name, want string, h http.Header, body string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	res, text, err := n.tryPost("/graphql", h, body)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > most {
		t.Errorf("%s: %d MiB were allocated for %d KiB", name, used>>20, len(body)>>10)
	}
	if len(text) > 64<<10 && want != "-" {
		t.Errorf("%s: the answer has %d bytes", name, len(text))
	}
	a, err := read(res, text)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	for _, e := range a.Errors {
		if code, _ := e.Extensions["code"].(string); code == "" || code == "INTERNAL" {
			t.Errorf("%s is answered without a code of its own: %.300s", name, text)
		}
		if internals.MatchString(e.Message) {
			t.Errorf("%s is told of the inside: %.300s", name, e.Message)
		}
	}
	if want != "-" && (a.code() != want || len(a.Data) > 0 && !allNull(a.Data)) {
		t.Errorf("%s is answered %.300s, not %s", name, text, want)
	}
}

func allNull(data map[string]any) bool {
	for _, v := range data {
		if v != nil {
			return false
		}
	}
	return true
}

// headers are attacks outside of the body.
func headers(t *testing.T, n *node, token string, other *bystander) {
	t.Helper()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 200 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	ask := `{"query":"{ item(id: 9) { name } }"}`
	with := func(name, value string) http.Header {
		h := bearer(token)
		h.Set(name, value)
		return h
	}
	cookie := http.Header{"Cookie": {"countersign-session=" + token}}
	for _, c := range []struct {
		name string
		h    http.Header
		body string
		want []string
	}{
		{"a body that unpacks to 200 MiB", with("Content-Encoding", "gzip"), bomb.String(), []string{"BAD_INPUT"}},
		{"a packed body", with("Content-Encoding", "deflate"), ask, []string{"BAD_INPUT"}},
		{"several codings", with("Content-Encoding", "gzip, gzip, gzip"), bomb.String(), []string{"BAD_INPUT"}},
		{"a form", with("Content-Type", "application/x-www-form-urlencoded"), "query={__typename}", []string{"BAD_INPUT"}},
		{"text", with("Content-Type", "text/plain"), ask, []string{"BAD_INPUT"}},
		{"a form with files", with("Content-Type", "multipart/form-data; boundary=x"), "--x--", []string{"BAD_INPUT"}},
		{"a cookie alone", cookie, ask, []string{"CSRF_REQUIRED"}},
		{"a cookie alone, as text", http.Header{"Cookie": cookie["Cookie"], "Content-Type": {"text/plain"}}, ask, []string{"CSRF_REQUIRED"}},
		{"a token that is SQL", bearer("' OR 1=1 --"), ask, []string{"UNAUTHENTICATED"}},
		{"a token that is long", bearer(strings.Repeat("x", 100_000)), ask, []string{"UNAUTHENTICATED"}},
		{"a trace that is none", with("Traceparent", "00-"+strings.Repeat("'", 32)+"-1-1"), `{"query":"{ nothing }"}`, []string{"VALIDATION_FAILED"}},
	} {
		attack(t, n, c.name, c.want[0], c.h, c.body)
		other.next(t)
	}
	res, text := n.post(t, "/graphql", with("Origin", "https://evil.example"), ask)
	if len(res.Header["Access-Control-Allow-Origin"]) > 0 {
		t.Errorf("another page may read: %s", text)
	}
	for _, path := range []string{"/op/..%2f..%2fetc%2fpasswd", "/op/' OR 1=1", "/op/" + strings.Repeat("x", 10_000), "/graphql?query=" + strings.Repeat("%7b", 50_000)} {
		req, err := http.NewRequest(http.MethodGet, n.url+strings.ReplaceAll(path, " ", "%20"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = bearer(token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(res.Body)
		res.Body.Close()
		if err != nil || internals.MatchString(body.String()) || !slices.Contains([]string{"PERSISTED_NOT_FOUND", "DEPTH_EXCEEDED"}, codeIn(body.String())) {
			t.Errorf("%.60s is answered %.200s %v", path, body.String(), err)
		}
	}
}

var codeMember = regexp.MustCompile(`"code":"([A-Z_]+)"`)

func codeIn(text string) string {
	if m := codeMember.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// slow keeps connections with requests that never end, and sends what is no
// HTTP; somebody else is served meanwhile.
func slow(t *testing.T, n *node, other *bystander) {
	t.Helper()
	address := strings.TrimPrefix(n.url, "http://")
	for i, text := range []string{
		"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{",
		"POST /graphql HTTP/1.1\r\nHost: x\r\nX-",
		"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n{",
		"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n{}\r\n",
		"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"\x16\x03\x01\x00\x00",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		for range 20 {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if _, err := conn.Write([]byte(text)); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
		other.next(t)
	}
}
