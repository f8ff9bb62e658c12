package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// errorCode is the code of an answer of /auth/.
func errorCode(text string) string {
	var body struct{ Error struct{ Code string } }
	if json.Unmarshal([]byte(text), &body) != nil {
		return "no JSON"
	}
	return body.Error.Code
}

// TestSignInOverHTTP: the sign-in page's requests, the cookie, its header, and
// the end of a session.
func TestSignInOverHTTP(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	good := `{"email":"olga@shop.example","password":"` + testPassword + `"}`
	for _, c := range []struct {
		what, body string
		header     http.Header
		status     int
		code       string
	}{
		{"a wrong password", `{"email":"olga@shop.example","password":"wrong horse battery"}`, nil, 401, "UNAUTHENTICATED"},
		{"nobody", `{"email":"nobody@shop.example","password":"wrong horse battery"}`, nil, 401, "UNAUTHENTICATED"},
		{"another origin", good, http.Header{"Origin": {"https://evil.example"}}, 403, "FORBIDDEN"},
		{"a form", good, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 400, "BAD_INPUT"},
		{"no JSON", `{"email":`, nil, 400, "BAD_INPUT"},
		{"a huge body", `{"email":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 400, "BAD_INPUT"},
	} {
		res, text := n.post(t, "/auth/sign-in", c.header, c.body)
		if res.StatusCode != c.status || errorCode(text) != c.code || len(res.Cookies()) > 0 {
			t.Errorf("%s is answered %s %s", c.what, res.Status, text)
		}
	}
	_, wrong := n.post(t, "/auth/sign-in", nil, `{"email":"olga@shop.example","password":"wrong horse battery"}`)
	_, nobody := n.post(t, "/auth/sign-in", nil, `{"email":"nobody@shop.example","password":"wrong horse battery"}`)
	if wrong != nobody {
		t.Errorf("a wrong password and an unknown person differ: %s %s", wrong, nobody)
	}
	res, text := n.post(t, "/auth/sign-in", http.Header{"Origin": {n.url}}, good)
	if res.StatusCode != http.StatusOK || len(res.Cookies()) != 1 {
		t.Fatalf("signing in is answered %s %s", res.Status, text)
	}
	cookie := res.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite == http.SameSiteNoneMode || cookie.Path != "/" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the cookie is %s", cookie)
	}
	cookieRequests(t, n, cookie)
	withCookie := http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}, "Countersign-Csrf": {"1"}}
	if res, text := n.post(t, "/auth/sign-out", withCookie, "{}"); res.StatusCode != http.StatusOK {
		t.Fatalf("signing out is answered %s %s", res.Status, text)
	}
	eventually(t, "the session to be over", func() (bool, string) {
		a, err := n.send(withCookie, `{"query":"{ __typename }"}`)
		return err == nil && a.status == http.StatusUnauthorized, a.raw
	})
	for i := 0; ; i++ {
		res, text := n.post(t, "/auth/sign-in", nil, `{"email":"lea@shop.example","password":"guess number nine"}`)
		if res.StatusCode == http.StatusTooManyRequests && errorCode(text) == "RATE_LIMITED" {
			break
		}
		if i > 100 {
			t.Fatalf("guessing goes on and on: %s %s", res.Status, text)
		}
	}
}

// cookieRequests: what a browser sends by itself is not enough.
func cookieRequests(t *testing.T, n *node, cookie *http.Cookie) {
	t.Helper()
	h := http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}}
	body := `{"query":"{ viewer { id interactive } }"}`
	a, err := n.send(h, body)
	if err != nil || a.code() != "CSRF_REQUIRED" || a.Data != nil {
		t.Errorf("a cookie alone: %v %s", err, a.raw)
	}
	req, err := http.NewRequest(http.MethodGet, n.url+"/graphql?query=%7B__typename%7D", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h.Clone()
	req.Header.Set("Accept", "application/graphql-response+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("a GET by cookie alone: %s", res.Status)
	}
	h.Set("Countersign-Csrf", "1")
	if a, err := n.send(h, body); err != nil || a.at("viewer.id") != "user:olga@shop.example" || a.at("viewer.interactive") != "true" {
		t.Errorf("a cookie with the header: %v %s", err, a.raw)
	}
	if a := n.ask(t, cookie.Value, "{ viewer { id } }", nil); a.at("viewer.id") != "user:olga@shop.example" {
		t.Errorf("the same token as a bearer: %s", a.raw)
	}
}

// TestLogin signs a command line in with a code that a person confirms.
func TestLogin(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	owner := s.signIn(t, n, "olga@shop.example")
	home := t.TempDir()
	e := &env{ctx: t.Context(), stdin: strings.NewReader(""), stdout: &output{}, stderr: &output{}, getenv: func(name string) string {
		return map[string]string{"COUNTERSIGN_CONFIG_DIR": home}[name]
	}}
	ended, code := make(chan struct{}), -1
	go func() {
		defer close(ended)
		code = run(e, []string{"login", "--url", n.url})
	}()
	typed := e.stdout.(*output).find(t, `Open `+n.url+`/device and type the code (\S+)`, ended)
	body := `{"userCode":"` + strings.ToLower(typed) + `"}`
	for what, c := range map[string]struct {
		header http.Header
		body   string
		code   string
	}{
		"nobody":               {nil, body, "SIGN_IN_REQUIRED"},
		"an agent's key":       {bearer(s.tokens["bot"]), body, "SIGN_IN_REQUIRED"},
		"a wrong code":         {bearer(owner), `{"userCode":"BBBB-BBBB"}`, "NOT_FOUND"},
		"a cookie alone":       {http.Header{"Cookie": {"countersign-session=" + owner}}, body, "CSRF_REQUIRED"},
		"a page of others":     {http.Header{"Authorization": {"Bearer " + owner}, "Origin": {"https://evil.example"}}, body, "FORBIDDEN"},
		"an unknown sign-in":   {bearer("css_" + strings.Repeat("x", 43)), body, "UNAUTHENTICATED"},
		"an application's JWT": {bearer(s.issuer.token(t, "u1", "EU", nil)), body, "SIGN_IN_REQUIRED"},
	} {
		if res, text := n.post(t, "/auth/device/approve", c.header, c.body); errorCode(text) != c.code {
			t.Errorf("%s approving a device is answered %s %s, not %s", what, res.Status, text, c.code)
		}
	}
	if res, text := n.post(t, "/auth/device/approve", bearer(owner), body); res.StatusCode != http.StatusOK {
		t.Fatalf("approving is answered %s %s", res.Status, text)
	}
	<-ended
	if code != exitDone {
		t.Fatalf("login ended with %d: %s%s", code, e.stdout, e.stderr)
	}
	if info, err := os.Stat(filepath.Join(home, "tokens.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: %v %v", info, err)
	}
	list := &output{}
	e.stdout = list
	if code := run(e, []string{"proposals", "list", "--url", n.url}); code != exitDone || !strings.Contains(list.String(), "STATE") {
		t.Errorf("after login, listing ended with %d: %s%s", code, list, e.stderr)
	}
	if code := run(e, []string{"agents", "suspend", "bot", "--url", n.url}); code != exitDone {
		t.Errorf("after login, suspending ended with %d: %s", code, e.stderr)
	}
	home = t.TempDir()
	if code := run(e, []string{"proposals", "list", "--url", n.url}); code != exitFailed || !strings.Contains(e.stderr.(*output).String(), "login") {
		t.Errorf("without a login, listing ended with %d: %s", code, e.stderr)
	}
}

// TestRevocation: a revoked key is refused, everywhere, within about a second.
func TestRevocation(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	owner := s.signIn(t, n, "olga@shop.example")
	bot := s.tokens["bot"]
	n.must(t, bot, "{ viewer { id } }", nil)
	ws := dial(t, n, bearer(bot))
	ws.init(t, nil)
	ws.subscribe(t, "1", "subscription { proposalsChanged { id } }")
	sse := listen(t, n, bearer(bot), "subscription { proposalsChanged { id } }")
	s.run(t, "agents", "keys", "revoke", s.agentID, "--data", s.data())
	if code := ws.closed(t); code != 4401 {
		t.Errorf("the open connection ended with %d", code)
	}
	for name, _ := sse.next(); name != "" && name != "complete"; name, _ = sse.next() {
		t.Errorf("the open stream said %s", name)
	}
	if errors.Is(sse.scan.Err(), context.DeadlineExceeded) {
		t.Error("the open stream went on")
	}
	eventually(t, "401", func() (bool, string) {
		a, err := n.try(bot, "{ viewer { id } }", nil)
		if err != nil {
			return false, err.Error()
		}
		return a.status == http.StatusUnauthorized && a.code() == "UNAUTHENTICATED", a.raw
	})
	if _, res := tryDial(t.Context(), n, bearer(bot)); res == nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a new connection with a revoked key: %v", res)
	}

	// A suspended agent's key is good, and the agent may nothing.
	_, second := s.addKey(t, "bot", "")
	n.must(t, second, "{ viewer { id } }", nil)
	ws = dial(t, n, bearer(second))
	ws.init(t, nil)
	ws.subscribe(t, "1", "subscription { proposalsChanged { id } }")
	n.must(t, owner, `mutation { countersignSuspendAgent(name: "bot") { suspended } }`, nil)
	if code := ws.closed(t); code != 4403 {
		t.Errorf("the suspended agent's connection ended with %d", code)
	}
	eventually(t, "SUSPENDED", func() (bool, string) {
		a, err := n.try(second, "{ viewer { id } }", nil)
		if err != nil {
			return false, err.Error()
		}
		return a.code() == "SUSPENDED", a.raw
	})
	n.must(t, owner, `mutation { countersignResumeAgent(name: "bot") { suspended } }`, nil)
	eventually(t, "the agent to be back", func() (bool, string) {
		a, err := n.try(second, "{ viewer { id } }", nil)
		if err != nil {
			return false, err.Error()
		}
		return a.at("viewer.id") == "agent:bot", a.raw
	})
}

// TestIssuersTokens: an application's users read what their claims say, and
// decide nothing; any other token is refused.
func TestIssuersTokens(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	for region, want := range map[string]string{"EU": "20", "US": "20", "nowhere": "0"} {
		if got := n.must(t, s.issuer.token(t, "user-"+region, region, nil), "{ items { totalCount } }", nil).at("items.totalCount"); got != want {
			t.Errorf("in %s there are %s items", region, got)
		}
	}
	without := s.issuer.token(t, "unclaimed", "", func(c jwt.MapClaims) { delete(c, "region") })
	if got := n.must(t, without, "{ items { totalCount } }", nil).at("items.totalCount"); got != "0" {
		t.Errorf("without the claim there are %s items", got)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{"iss": s.issuer.web.URL, "aud": "shop-graph", "sub": "u", "region": "EU", "exp": time.Now().Add(time.Hour).Unix()}
	spoil := func(change func(jwt.MapClaims)) string { return s.issuer.token(t, "u", "EU", change) }
	for what, token := range map[string]string{
		"expired": spoil(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Hour).Unix() }), "another audience": spoil(func(c jwt.MapClaims) { c["aud"] = "another" }),
		"another issuer": spoil(func(c jwt.MapClaims) { c["iss"] = "https://evil.example" }), "not yet": spoil(func(c jwt.MapClaims) { c["nbf"] = time.Now().Add(time.Hour).Unix() }),
		"no expiry": spoil(func(c jwt.MapClaims) { delete(c, "exp") }), "another key": sign(t, jwt.SigningMethodES256, claims, other),
		"unsigned": sign(t, jwt.SigningMethodNone, claims, jwt.UnsafeAllowNoneSignatureType), "a shared secret": sign(t, jwt.SigningMethodHS256, claims, []byte("secret")),
	} {
		if a := n.ask(t, token, "{ viewer { id } }", nil); a.status != http.StatusUnauthorized || a.code() != "UNAUTHENTICATED" {
			t.Errorf("%s: %d %s", what, a.status, a.raw)
		}
	}
	a := n.ask(t, s.issuer.token(t, "u1", "EU", nil), approveMutation, vars{"id": "x", "r": 1, "c": "x", "v": "x"})
	if a.code() == "" {
		t.Errorf("a token decides: %s", a.raw)
	}
	if a := n.must(t, s.issuer.token(t, "u1", "EU", nil), "{ viewer { kind interactive roles } }", nil); a.at("viewer.interactive") != "false" {
		t.Errorf("a token is interactive: %s", a.raw)
	}
}

// TestOrigins: which pages elsewhere may call, with and without a cookie.
func TestOrigins(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	owner := s.signIn(t, n, "olga@shop.example")
	for origin, allowed := range map[string]bool{appOrigin: true, "https://evil.example": false, "null": false, appOrigin + ".evil.example": false} {
		req, err := http.NewRequest(http.MethodOptions, n.url+"/graphql", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"authorization,content-type"}}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		got := res.Header.Get("Access-Control-Allow-Origin")
		if (got == origin) != allowed || !allowed && got != "" || !strings.Contains(res.Header.Get("Vary"), "Origin") {
			t.Errorf("a preflight from %s allows %q", origin, got)
		}
		if allowed && !strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("a preflight allows the headers %q", res.Header.Get("Access-Control-Allow-Headers"))
		}
		cookie := http.Header{"Cookie": {"countersign-session=" + owner}, "Origin": {origin}}
		if conn, _ := tryDial(t.Context(), n, cookie); (conn != nil) != allowed {
			t.Errorf("a WebSocket by cookie from %s: %v", origin, conn != nil)
		}
	}
	if conn, _ := tryDial(t.Context(), n, http.Header{"Cookie": {"countersign-session=" + owner}}); conn != nil {
		t.Error("a WebSocket by cookie without an origin is accepted")
	}
	own := dial(t, n, http.Header{"Cookie": {"countersign-session=" + owner}, "Origin": {n.url}})
	own.init(t, nil)
	if a := own.ask(t, "1", "{ viewer { id } }"); a.at("viewer.id") != "user:olga@shop.example" {
		t.Errorf("by cookie from our own page: %s", a.raw)
	}
	// A page elsewhere may bring a token of its own.
	late := dial(t, n, http.Header{"Origin": {"https://evil.example"}})
	late.init(t, map[string]any{"Authorization": "Bearer " + s.tokens["bot"]})
	if a := late.ask(t, "1", "{ viewer { id } }"); a.at("viewer.id") != "agent:bot" {
		t.Errorf("by token in connection_init: %s", a.raw)
	}
	wrong := dial(t, n, nil)
	wrong.write(t, map[string]any{"type": "connection_init", "payload": map[string]any{"Authorization": "Bearer cs_wrong"}})
	if code := wrong.closed(t); code != 4401 && code != 4403 {
		t.Errorf("a wrong token in connection_init ends with %d", code)
	}
}
