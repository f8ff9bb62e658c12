package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const (
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"
)

// A granted is an answer of /oauth/token.
type granted struct {
	status    int
	header    http.Header
	Token     string `json:"access_token"`
	Type      string `json:"token_type"`
	Issued    string `json:"issued_token_type"`
	ExpiresIn int    `json:"expires_in"`
	Sub       string
	Act       json.RawMessage
	Error     string
	Say       string `json:"error_description"`
	Code      string
}

// token posts a form to /oauth/token.
func (n *node) token(t testing.TB, h http.Header, form ...string) *granted {
	t.Helper()
	values := url.Values{}
	for i := 0; i+1 < len(form); i += 2 {
		values.Add(form[i], form[i+1])
	}
	with := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for k, v := range h {
		with[k] = v
	}
	res, text := n.post(t, "/oauth/token", with, values.Encode())
	g := &granted{status: res.StatusCode, header: res.Header}
	if err := json.Unmarshal([]byte(text), g); err != nil {
		t.Fatalf("%s %s", res.Status, text)
	}
	return g
}

// exchange is the token of an agent for whom the subject's token is of.
func (n *node) exchange(t testing.TB, key, subject, kind string) *granted {
	t.Helper()
	return n.token(t, nil, "grant_type", grantExchange, "actor_token", key, "actor_token_type", typeAccess, "subject_token", subject, "subject_token_type", kind)
}

func basic(user, secret string) http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(secret))
	return r.Header
}

// TestTokenExchange: an agent acts for a person by a token that both of their
// credentials made, sees what both may, and decides nothing.
func TestTokenExchange(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	s.addUser(t, "carl@shop.example", "clerk-us")
	n := within(t, s.site)
	bot := s.tokens["bot"]
	carl, lea := s.signIn(t, n, "carl@shop.example"), s.signIn(t, n, "lea@shop.example")
	g := n.exchange(t, bot, carl, typeAccess)
	if g.status != http.StatusOK || g.Type != "Bearer" || g.Issued != typeAccess || g.ExpiresIn != 900 || g.Sub != "user:carl@shop.example" || string(g.Act) != `{"sub":"agent:bot"}` {
		t.Fatalf("%+v", g)
	}
	if g.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the answer may be kept: %v", g.header)
	}
	a := n.must(t, g.Token, "{ viewer { id kind interactive actsFor } items { totalCount } }", nil)
	if a.at("viewer.id") != "agent:bot" || a.at("viewer.actsFor") != "carl@shop.example" || a.at("viewer.interactive") != "false" || a.at("items.totalCount") != "20" {
		t.Errorf("%s", a.raw)
	}
	if a := n.must(t, n.exchange(t, bot, lea, typeAccess).Token, "{ items { totalCount } }", nil); a.at("items.totalCount") != "60" {
		t.Errorf("for lea: %s", a.raw)
	}
	if a := n.must(t, n.exchange(t, bot, s.issuer.token(t, "u1", "EU", nil), typeJWT).Token, "{ items { totalCount } }", nil); a.at("items.totalCount") != "20" {
		t.Errorf("for an application's user: %s", a.raw)
	}
	// A header says nothing of whom somebody acts for.
	h := bearer(bot)
	for _, name := range []string{"X-On-Behalf-Of", "On-Behalf-Of", "X-Acting-As", "Act"} {
		h.Set(name, "user:olga@shop.example")
	}
	if a, err := n.send(h, `{"query":"{ viewer { id actsFor } }"}`); err != nil || a.at("viewer.actsFor") != "null" && a.at("viewer.actsFor") != "" {
		t.Errorf("by header: %v %s", err, a.raw)
	}
	for what, form := range map[string][]string{
		"HTTP Basic": {"grant_type", "client_credentials"}, "HTTP Basic, for somebody": {"grant_type", grantExchange, "subject_token", carl, "subject_token_type", typeAccess},
	} {
		if g := n.token(t, basic("bot", bot), form...); g.status != http.StatusOK || n.must(t, g.Token, "{ viewer { id } }", nil).at("viewer.id") != "agent:bot" {
			t.Errorf("%s: %+v", what, g)
		}
	}
	if g := n.token(t, nil, "grant_type", "client_credentials", "client_id", "bot", "client_secret", bot); g.status != http.StatusOK || g.Act != nil {
		t.Errorf("client credentials in the body: %+v", g)
	}
	tokenRefusals(t, n, bot, carl, g.Token)
	// It ends with the person's sign-in.
	if res, text := n.post(t, "/auth/sign-out", bearer(carl), "{}"); res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", res.Status, text)
	}
	if a := n.ask(t, g.Token, "{ viewer { id } }", nil); a.code() != "UNAUTHENTICATED" {
		t.Errorf("after signing out: %s", a.raw)
	}
	tokenMetadata(t, n)
}

func tokenRefusals(t *testing.T, n *node, bot, carl, access string) {
	t.Helper()
	subject := func(token string, more ...string) []string {
		return append([]string{"grant_type", grantExchange, "subject_token", token, "subject_token_type", typeAccess}, more...)
	}
	actor := []string{"actor_token", bot, "actor_token_type", typeAccess}
	join := func(a, b []string) []string { return append(append([]string{}, a...), b...) }
	for what, c := range map[string]struct {
		h      http.Header
		form   []string
		status int
		word   string
	}{
		"no key":                    {nil, subject(carl), 401, "invalid_client"},
		"a wrong key":               {basic("bot", "cs_wrong"), subject(carl), 401, "invalid_client"},
		"another's name":            {basic("robot", bot), subject(carl), 401, "invalid_client"},
		"a bearer for a client":     {bearer(bot), subject(carl), 401, "invalid_client"},
		"a wrong actor":             {nil, subject(carl, "actor_token", "cs_wrong", "actor_token_type", typeAccess), 400, "invalid_request"},
		"two keys":                  {basic("bot", bot), subject(carl, "client_secret", bot, "client_id", "bot"), 400, "invalid_request"},
		"no grant":                  {nil, actor, 400, "invalid_request"},
		"another grant":             {nil, join(actor, []string{"grant_type", "password"}), 400, "unsupported_grant_type"},
		"no subject":                {nil, join(actor, []string{"grant_type", grantExchange}), 400, "invalid_request"},
		"a subject of no type":      {nil, join(actor, []string{"grant_type", grantExchange, "subject_token", carl}), 400, "invalid_request"},
		"the key as subject":        {nil, join(actor, subject(bot)), 400, "invalid_request"},
		"its own token":             {nil, join(actor, subject(access)), 400, "invalid_request"},
		"an id as subject":          {nil, join(actor, subject("user:olga@shop.example")), 400, "invalid_request"},
		"a forged act":              {nil, join(actor, subject(carl, "act", `{"sub":"user:olga@shop.example"}`)), 400, "invalid_request"},
		"a scope":                   {nil, join(actor, subject(carl, "scope", "admin")), 400, "invalid_scope"},
		"another target":            {nil, join(actor, subject(carl, "audience", "https://evil.example")), 400, "invalid_target"},
		"another resource":          {nil, join(actor, subject(carl, "resource", n.url+".evil.example")), 400, "invalid_target"},
		"another token type":        {nil, join(actor, subject(carl, "requested_token_type", typeJWT)), 400, "invalid_request"},
		"a parameter twice":         {nil, join(actor, subject(carl, "subject_token", access)), 400, "invalid_request"},
		"a subject with no need":    {nil, join(actor, []string{"grant_type", "client_credentials", "subject_token", carl}), 400, "invalid_request"},
		"JSON":                      {http.Header{"Content-Type": {"application/json"}}, join(actor, subject(carl)), 400, "invalid_request"},
		"a page of somebody else's": {http.Header{"Origin": {"https://evil.example"}}, join(actor, subject(carl)), 403, "invalid_request"},
		"a huge body":               {nil, join(actor, subject(strings.Repeat("x", 100<<10))), 400, "invalid_request"},
	} {
		g := n.token(t, c.h, c.form...)
		if g.status != c.status || g.Error != c.word || g.Token != "" || g.Say == "" {
			t.Errorf("%s is answered %d %+v", what, g.status, g)
		}
		if g.status == http.StatusUnauthorized && c.h != nil && !strings.HasPrefix(g.header.Get("WWW-Authenticate"), "Basic") {
			t.Errorf("%s: %v", what, g.header)
		}
	}
	if g := n.token(t, nil, join(actor, subject(carl, "audience", n.url+"/graphql"))...); g.status != http.StatusOK {
		t.Errorf("for our own address: %+v", g)
	}
}

func tokenMetadata(t *testing.T, n *node) {
	t.Helper()
	res, err := http.Get(n.url + "/.well-known/oauth-authorization-server")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var meta struct {
		Issuer   string
		Endpoint string   `json:"token_endpoint"`
		Grants   []string `json:"grant_types_supported"`
	}
	if err := json.NewDecoder(res.Body).Decode(&meta); err != nil || meta.Endpoint != meta.Issuer+"/oauth/token" || meta.Issuer != n.url || len(meta.Grants) != 2 {
		t.Errorf("%v %+v", err, meta)
	}
}
