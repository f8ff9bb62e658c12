package httpcall_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "s3cr3t/with+odd&chars"

// serve starts a server and a client for it.
func serve(t *testing.T, h http.HandlerFunc, change func(*httpcall.Options)) *httpcall.Client {
	t.Helper()
	web := httptest.NewServer(h)
	o := httpcall.Options{BaseURL: web.URL, Auth: httpcall.Auth{Bearer: secret}, RetryMin: 1, RetryMax: time.Millisecond}
	if change != nil {
		change(&o)
	}
	c, err := httpcall.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); web.CloseClientConnections(); web.Close() })
	return c
}

func drop(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

func post(c *httpcall.Client) *httpcall.Request {
	return &httpcall.Request{Method: "POST", URL: c.URL("/things", ""), Header: []httpcall.Pair{{Name: "Content-Type", Value: "application/json"}}, Body: []byte(`{"a":1}`)}
}

// TestStatuses holds the table of outcome.go: what a status means for a read,
// a write with a key and any other write.
func TestStatuses(t *testing.T) {
	for _, x := range []struct {
		status                  int
		read, idempotent, write connectors.Code
	}{
		{200, "", "", ""}, {201, "", "", ""}, {204, "", "", ""},
		{400, connectors.CodeValidationFailed, connectors.CodeValidationFailed, connectors.CodeValidationFailed},
		{401, connectors.CodeUpstreamError, connectors.CodeUpstreamError, connectors.CodeUpstreamError},
		{403, connectors.CodeUpstreamError, connectors.CodeUpstreamError, connectors.CodeUpstreamError},
		{404, connectors.CodeNotFound, connectors.CodeNotFound, connectors.CodeNotFound},
		{408, connectors.CodeUpstreamUnavailable, connectors.CodeOutcomeUnknown, connectors.CodeOutcomeUnknown},
		{409, connectors.CodeVersionConflict, connectors.CodeVersionConflict, connectors.CodeVersionConflict},
		{412, connectors.CodeVersionConflict, connectors.CodeVersionConflict, connectors.CodeVersionConflict},
		{413, connectors.CodeTooLarge, connectors.CodeTooLarge, connectors.CodeTooLarge},
		{418, connectors.CodeUpstreamError, connectors.CodeUpstreamError, connectors.CodeUpstreamError},
		{422, connectors.CodeValidationFailed, connectors.CodeValidationFailed, connectors.CodeValidationFailed},
		{429, connectors.CodeUpstreamRateLimited, connectors.CodeUpstreamRateLimited, connectors.CodeUpstreamRateLimited},
		{500, connectors.CodeUpstreamUnavailable, connectors.CodeOutcomeUnknown, connectors.CodeOutcomeUnknown},
		{501, connectors.CodeUpstreamError, connectors.CodeUpstreamError, connectors.CodeUpstreamError},
		{502, connectors.CodeUpstreamUnavailable, connectors.CodeOutcomeUnknown, connectors.CodeOutcomeUnknown},
		{503, connectors.CodeUpstreamUnavailable, connectors.CodeOutcomeUnknown, connectors.CodeOutcomeUnknown},
		{303, connectors.CodeUpstreamError, connectors.CodeOutcomeUnknown, connectors.CodeOutcomeUnknown},
	} {
		var calls atomic.Int32
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			if x.status == 303 {
				w.Header().Set("Location", "https://elsewhere.example/")
			}
			w.WriteHeader(x.status)
		}, nil)
		for kind, want := range []connectors.Code{x.read, x.idempotent, x.write} {
			calls.Store(0)
			_, err := c.Do(context.Background(), httpcall.Kind(kind), post(c))
			if got := connectors.CodeOf(err); got != want {
				t.Errorf("status %d, kind %d: %q, want %q", x.status, kind, got, want)
			}
			repeated := calls.Load() > 1
			if transient := x.status == 429 || x.status == 500 || x.status == 502 || x.status == 503; repeated != (transient && httpcall.Kind(kind) != httpcall.Write) {
				t.Errorf("status %d, kind %d: sent %d times", x.status, kind, calls.Load())
			}
		}
	}
}

func TestDroppedReply(t *testing.T) {
	for kind, want := range map[httpcall.Kind]struct {
		code  connectors.Code
		calls int32
	}{
		httpcall.Read:            {connectors.CodeUpstreamUnavailable, 3},
		httpcall.IdempotentWrite: {connectors.CodeOutcomeUnknown, 3},
		httpcall.Write:           {connectors.CodeOutcomeUnknown, 1},
	} {
		var calls atomic.Int32
		c := serve(t, func(w http.ResponseWriter, r *http.Request) { calls.Add(1); drop(w) }, nil)
		_, err := c.Do(context.Background(), kind, post(c))
		if got := connectors.CodeOf(err); got != want.code || calls.Load() != want.calls {
			t.Errorf("kind %d: %q after %d calls, want %q after %d", kind, got, calls.Load(), want.code, want.calls)
		}
	}
}

// TestWriteAfterReads: a bare write never takes a connection that reads used,
// and is never sent again by the transport.
func TestWriteAfterReads(t *testing.T) {
	var mu sync.Mutex
	conns := make(map[string][]string)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[r.RemoteAddr] = append(conns[r.RemoteAddr], r.Method)
		mu.Unlock()
		if r.ProtoMajor != 1 || r.Method == "POST" && !r.Close {
			t.Errorf("%s over %s, close %v", r.Method, r.Proto, r.Close)
		}
	}, nil)
	for range 3 {
		c.Do(context.Background(), httpcall.Read, &httpcall.Request{Method: "GET", URL: c.URL("/a", "")})
		c.Do(context.Background(), httpcall.Write, post(c))
	}
	mu.Lock()
	defer mu.Unlock()
	for addr, methods := range conns {
		if strings.Contains(strings.Join(methods, " "), "POST") && len(methods) != 1 {
			t.Errorf("the connection %s carried %v", addr, methods)
		}
	}
	if len(conns) != 4 {
		t.Errorf("%d connections, want one for the reads and one per write", len(conns))
	}
}

func TestNothingSent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + l.Addr().String()
	l.Close()
	tlsServer := httptest.NewTLSServer(http.NotFoundHandler())
	tlsServer.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	defer tlsServer.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for _, url := range []string{refused, "http://no-such-host.invalid", tlsServer.URL, strings.Replace(plain.URL, "http:", "https:", 1)} {
		c, err := httpcall.New(httpcall.Options{BaseURL: url, RetryMin: 1, RetryMax: 1, TLS: &tls.Config{}})
		if err != nil {
			t.Fatal(err)
		}
		for kind := range httpcall.Write + 1 {
			if _, err := c.Do(context.Background(), kind, post(c)); connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable {
				t.Errorf("%s, kind %d: %v", url, kind, err)
			}
		}
		c.Close()
	}
}

func TestTimeouts(t *testing.T) {
	arrived := make(chan struct{}, 10)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		// Reading the body first lets the server notice that the client left.
		io.Copy(io.Discard, r.Body)
		arrived <- struct{}{}
		<-r.Context().Done()
	}, nil)
	for kind, want := range []connectors.Code{connectors.CodeTimeout, connectors.CodeOutcomeUnknown, connectors.CodeOutcomeUnknown} {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-arrived; cancel() }()
		if _, err := c.Do(ctx, httpcall.Kind(kind), post(c)); connectors.CodeOf(err) != want {
			t.Errorf("kind %d: %v, want %s", kind, err, want)
		}
		// Ended before anything was sent.
		if _, err := c.Do(ctx, httpcall.Kind(kind), post(c)); connectors.CodeOf(err) != connectors.CodeTimeout {
			t.Errorf("kind %d, over before: %v", kind, err)
		}
	}
}

// TestDoubtStays: after a dropped reply a refusal of the repetition proves
// nothing, and a success everything.
func TestDoubtStays(t *testing.T) {
	for second, want := range map[int]connectors.Code{200: "", 422: connectors.CodeOutcomeUnknown, 409: connectors.CodeOutcomeUnknown, 401: connectors.CodeOutcomeUnknown} {
		var calls atomic.Int32
		var bodies [2][]byte
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			n := calls.Add(1)
			bodies[(n-1)%2], _ = io.ReadAll(r.Body)
			if n == 1 {
				drop(w)
				return
			}
			w.WriteHeader(second)
		}, nil)
		if _, err := c.Do(context.Background(), httpcall.IdempotentWrite, post(c)); connectors.CodeOf(err) != want {
			t.Errorf("dropped, then %d: %v, want %q", second, err, want)
		}
		if calls.Load() != 2 || !bytes.Equal(bodies[0], bodies[1]) || len(bodies[0]) == 0 {
			t.Errorf("%d attempts with %q and %q", calls.Load(), bodies[0], bodies[1])
		}
	}
	// A first attempt that was refused for sure leaves no doubt.
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.WriteHeader(429)
			return
		}
		w.WriteHeader(422)
	}, nil)
	if _, err := c.Do(context.Background(), httpcall.IdempotentWrite, post(c)); connectors.CodeOf(err) != connectors.CodeValidationFailed {
		t.Errorf("slowed down, then refused: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	var calls atomic.Int32
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(429)
	}, nil)
	_, err := c.Do(context.Background(), httpcall.Read, post(c))
	if e := connectors.AsError(err); e.Code != connectors.CodeUpstreamRateLimited || e.RetryAfter != 30*time.Second || calls.Load() != 1 {
		t.Errorf("%v, retry after %s, %d calls", e, e.RetryAfter, calls.Load())
	}
}

func TestUnreadableAnswers(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 2000)
	for name, h := range map[string]http.HandlerFunc{
		"too large": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); w.Write(big) },
		"cut": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(201)
			w.Write([]byte("{"))
		},
	} {
		c := serve(t, h, func(o *httpcall.Options) { o.ResponseBytes = 1000 })
		for _, kind := range []httpcall.Kind{httpcall.IdempotentWrite, httpcall.Write} {
			resp, err := c.Do(context.Background(), kind, post(c))
			if err != nil || resp.Status != 201 || resp.Unreadable == nil || resp.Body != nil {
				t.Errorf("%s, kind %d: a write that was done is told as %v, %v", name, kind, resp, err)
			}
		}
		want := connectors.CodeUpstreamError
		if name == "cut" {
			want = connectors.CodeUpstreamUnavailable
		}
		if _, err := c.Do(context.Background(), httpcall.Read, post(c)); connectors.CodeOf(err) != want {
			t.Errorf("%s, read: %v, want %s", name, err, want)
		}
	}
	// Exactly the limit is read.
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(big) }, func(o *httpcall.Options) { o.ResponseBytes = int64(len(big)) })
	if resp, err := c.Do(context.Background(), httpcall.Read, post(c)); err != nil || len(resp.Body) != len(big) {
		t.Errorf("an answer of the very limit: %v", err)
	}
}

// TestNoSecretAnywhere sends every kind of credential to a server that repeats
// all it got, fails in every way, and searches what comes out.
func TestNoSecretAnywhere(t *testing.T) {
	for name, auth := range map[string]httpcall.Auth{
		"bearer": {Bearer: secret}, "basic": {Basic: &httpcall.Basic{User: "me", Password: secret}},
		"header": {APIKey: &httpcall.APIKey{Name: "X-Key", Value: secret, In: httpcall.InHeader}},
		"query":  {APIKey: &httpcall.APIKey{Name: "key", Value: secret, In: httpcall.InQuery}},
	} {
		var mode atomic.Int32
		var seen atomic.Int32
		var log bytes.Buffer
		change := func(o *httpcall.Options) {
			o.Auth, o.Headers = auth, map[string]string{"X-Static": "static-" + secret}
			o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, password, _ := r.BasicAuth()
			if r.Header.Get("Authorization") == "Bearer "+secret || password == secret || r.Header.Get("X-Key") == secret || r.URL.Query().Get("key") == secret {
				seen.Add(1)
			}
			switch mode.Load() {
			case 0:
				w.WriteHeader(422)
				fmt.Fprintf(w, `{"error":%q,"Authorization":"x","api_key":"abc","list":[{"nested":%q}]}`, secret, r.RequestURI+r.Header.Get("Authorization")+r.Header.Get("X-Static"))
			case 1:
				drop(w)
			case 2:
				http.Redirect(w, r, "https://elsewhere.example"+r.RequestURI, http.StatusFound)
			}
		}, change)
		for m := range int32(3) {
			mode.Store(m)
			for kind := range httpcall.Write + 1 {
				r := post(c)
				_, err := c.Do(context.Background(), kind, r)
				if err == nil {
					t.Fatal("no error")
				}
				e := connectors.AsError(err)
				text := fmt.Sprintf("%v %v %s %+v", e, e.Cause, e.Upstream, r.Shown())
				for _, s := range []string{secret, "s3cr3t", "c3IzY3I"} {
					if strings.Contains(text, s) {
						t.Errorf("%s, way %d, kind %d: %s", name, m, kind, text)
					}
				}
				if m == 0 && !strings.Contains(text, "[redacted]") {
					t.Errorf("%s: what the system said is gone: %s", name, text)
				}
				if strings.Contains(text, `"abc"`) {
					t.Errorf("%s: a member that is named a secret is told: %s", name, text)
				}
			}
		}
		if seen.Load() == 0 {
			t.Errorf("%s: the credential never arrived", name)
		}
		if strings.Contains(log.String(), "s3cr3t") || !strings.Contains(log.String(), "path=/things") {
			t.Errorf("%s: the log: %s", name, log.String())
		}
	}
}

func TestRedirects(t *testing.T) {
	var other atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { other.Add(1) }))
	defer elsewhere.Close()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/near":
			http.Redirect(w, r, "/there", http.StatusFound)
		case "/far":
			http.Redirect(w, r, elsewhere.URL+"/", http.StatusFound)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case "/there":
			if r.Header.Get("Authorization") == "" {
				w.WriteHeader(401)
			}
		}
	}, nil)
	for path, want := range map[string]connectors.Code{"/near": "", "/far": connectors.CodeUpstreamError, "/round": connectors.CodeUpstreamError} {
		if _, err := c.Do(context.Background(), httpcall.Read, &httpcall.Request{Method: "GET", URL: c.URL(path, "")}); connectors.CodeOf(err) != want {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if other.Load() != 0 {
		t.Error("our credential went elsewhere")
	}
}

func TestFollow(t *testing.T) {
	c, err := httpcall.New(httpcall.Options{BaseURL: "https://desk.example/api", Auth: httpcall.Auth{APIKey: &httpcall.APIKey{Name: "key", Value: "v", In: httpcall.InQuery}}})
	if err != nil {
		t.Fatal(err)
	}
	from := c.URL("/tickets", "page=1")
	for link, want := range map[string]string{
		"https://desk.example/api/tickets?page=2": "https://desk.example/api/tickets?page=2",
		"?page=2":                                       "https://desk.example/api/tickets?page=2",
		"/api/tickets?key=v&page=2#x":                   "https://desk.example/api/tickets?page=2",
		"https://evil.example/api/tickets":              "",
		"//evil.example/":                               "",
		"http://desk.example/api/tickets":               "",
		"https://me:pw@desk.example/api/tickets?page=2": "",
		"https://desk.example:8443/":                    "",
		"%zz":                                           "",
	} {
		got, err := c.Follow(from, link)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", link, got, err, want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []httpcall.Options{
		{}, {BaseURL: "desk.example"}, {BaseURL: "ftp://desk.example"}, {BaseURL: "https://u:p@desk.example"}, {BaseURL: "https://desk.example?a=b"},
		{BaseURL: "https://desk.example", Auth: httpcall.Auth{Bearer: "a", Basic: &httpcall.Basic{}}},
		{BaseURL: "https://desk.example", Auth: httpcall.Auth{APIKey: &httpcall.APIKey{Name: "a", Value: "b", In: "cookie"}}},
		{BaseURL: "https://desk.example", Headers: map[string]string{"host": "x"}},
	} {
		if _, err := httpcall.New(o); err == nil || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestHeaderValuesCannotBreakOut(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {}, nil)
	for kind := range httpcall.Write + 1 {
		r := post(c)
		r.Header = append(r.Header, httpcall.Pair{Name: "X-Arg", Value: "a\r\nX-Admin: 1"})
		if _, err := c.Do(context.Background(), kind, r); connectors.CodeOf(err) != connectors.CodeBadInput {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
}

// TestShownIsSent: what a preview shows is what arrives.
func TestShownIsSent(t *testing.T) {
	var got [32]byte
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = sha256.Sum256([]byte(r.Method + " http://" + r.Host + r.RequestURI + "\n" + r.Header.Get("Content-Type") + "\n" + string(body)))
	}, nil)
	for kind := range httpcall.Write + 1 {
		r := post(c)
		r.URL = c.URL("/a%2Fb/ü%20", "x=%5B1%5D&y=a+b")
		r.URL = strings.Replace(r.URL, "ü", "%C3%BC", 1)
		s := r.Shown()
		want := sha256.Sum256([]byte(s.Method + " " + s.URL + "\n" + s.Header[0].Value.Text + "\n" + s.Body))
		if _, err := c.Do(context.Background(), kind, r); err != nil || got != want {
			t.Errorf("kind %d: something else arrived than %+v, %v", kind, s, err)
		}
	}
}
