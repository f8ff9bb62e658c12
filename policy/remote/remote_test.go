package remote

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/policy"
)

const secret = "0123456789abcdef0123"

func question(url string) *policy.Remote {
	return &policy.Remote{URL: url, Secret: secret, Deadline: 5 * time.Second}
}

// The signature is verified as the specification has it, written a second time.
func TestSigned(t *testing.T) {
	for name, c := range map[string]struct {
		secret string
		key    []byte
	}{
		"plain":  {secret, []byte(secret)},
		"whsec_": {"whsec_" + base64.StdEncoding.EncodeToString([]byte("another-key-of-24-bytes!")), []byte("another-key-of-24-bytes!")},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mac := hmac.New(sha256.New, c.key)
				io.WriteString(mac, r.Header.Get("webhook-id")+"."+r.Header.Get("webhook-timestamp")+"."+string(body))
				want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
				if r.Header.Get("webhook-signature") != want || r.Header.Get("webhook-timestamp") != "1000" || r.Method != http.MethodPost || string(body) != `{"a":1}` {
					t.Errorf("%v %s", r.Header, body)
				}
				io.WriteString(w, `{"ok": false, "say": "no", "path": "amount"}`)
			}))
			defer server.Close()
			r := question(server.URL)
			r.Secret = c.secret
			a := &Asker{Now: func() time.Time { return time.Unix(1000, 0) }}
			got, err := a.Ask(t.Context(), r, []byte(`{"a":1}`))
			if err != nil || got.OK || got.Say != "no" || got.Path != "amount" {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

// What is no answer is a failure, never a pass.
func TestWrongAnswers(t *testing.T) {
	var reached atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		io.WriteString(w, `{"ok":true}`)
	}))
	defer elsewhere.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"empty":       func(http.ResponseWriter, *http.Request) {},
		"no ok":       func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) },
		"null":        func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `null`) },
		"ok is text":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"ok":"true"}`) },
		"sets":        func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"ok":true,"set":{"amount":1}}`) },
		"two answers": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"ok":true}{"ok":false}`) },
		"not JSON":    func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `ok`) },
		"500": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			io.WriteString(w, `{"ok":true}`)
		},
		"201": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(201)
			io.WriteString(w, `{"ok":true}`)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"ok":true,"say":"`+strings.Repeat("x", MaxAnswer)+`"}`)
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"ok":true}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			if got, err := new(Asker).Ask(t.Context(), question(server.URL), nil); err == nil {
				t.Errorf("taken for an answer: %+v", got)
			}
		})
	}
	if reached.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// A slow validator is waited for no longer than its deadline, and asked once.
func TestDeadline(t *testing.T) {
	var asked atomic.Int32
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.ReadAll(r.Body)
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(done)
	r := question(server.URL)
	r.Deadline = 100 * time.Millisecond
	if _, err := new(Asker).Ask(context.Background(), r, nil); err == nil || asked.Load() != 1 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
}

// A refused connection is tried once more, nothing else is.
func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	dials := 0
	a := &Asker{Transport: func(tr *http.Transport) {
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials++
			return dial(ctx, network, address)
		}
	}}
	if _, err := a.Ask(t.Context(), question(url), nil); err == nil || dials != 2 {
		t.Errorf("%v, %d dials", err, dials)
	}
}

// Addresses inside are refused unless they are listed.
func TestPermitted(t *testing.T) {
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	for text, want := range map[string]bool{
		"93.184.216.34": true, "2606:4700::1": true, "10.1.2.3": true,
		"10.2.0.1": false, "127.0.0.1": false, "::1": false, "0.0.0.0": false, "169.254.169.254": false, "192.168.1.1": false, "172.16.0.1": false,
		"100.64.0.1": false, "224.0.0.1": false, "255.255.255.255": false, "fe80::1": false, "fd00::1": false, "64:ff9b::a00:1": false, "2002:a00:1::": false, "::": false,
	} {
		if got := permitted(netip.MustParseAddr(text).Unmap(), false, allow); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if !permitted(netip.MustParseAddr("127.0.0.1"), true, nil) || permitted(netip.MustParseAddr("93.184.216.34"), true, nil) {
		t.Error("a loopback host is this machine, and nothing else")
	}
}

// A name that leads inside is refused when it is connected to, and text is not
// sent in the clear.
func TestInsideIsNotReached(t *testing.T) {
	var reached atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer server.Close()
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	for _, url := range []string{"https://127.0.0.1.nip.example" + port, "https://0.0.0.0" + port, "https://[::ffff:0:0]" + port, "http://93.184.216.34" + port} {
		r := question(url)
		r.Deadline = 300 * time.Millisecond
		a := &Asker{}
		if _, err := a.Ask(t.Context(), r, nil); err == nil {
			t.Errorf("%s was asked", url)
		}
	}
	if reached.Load() != 0 {
		t.Error("the server was reached")
	}
}
