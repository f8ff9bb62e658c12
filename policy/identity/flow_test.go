package identity_test

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

const callback = "https://graph.acme.example/auth/callback"

// A plainSealer binds to purpose and place, and hides nothing.
type plainSealer struct{}

func (plainSealer) Seal(purpose string, place, plain []byte) ([]byte, error) {
	return append([]byte("sealed|"+purpose+"|"+string(place)+"|"), plain...), nil
}

func (plainSealer) Open(purpose string, place, sealed []byte) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, []byte("sealed|"+purpose+"|"+string(place)+"|"))
	if !ok {
		return nil, errors.New("of another place")
	}
	return plain, nil
}

// A door is a house whose people sign in at an issuer.
type door struct {
	*house
	i   *issuer
	key *rsa.PrivateKey
}

func newDoor(t *testing.T, change func(*identity.Issuer), opts identity.Options) *door {
	d := &door{i: newIssuer(t), key: rsaKey(t)}
	d.i.set(func(m map[string]crypto.Signer) { m["k1"] = d.key })
	if opts.Sealer == nil {
		opts.Sealer = plainSealer{}
	}
	d.house = newHouse(t, func(c *identity.Config) {
		config(d.i)(c)
		c.RedirectURL = callback
		c.Issuers[0].Flow = &identity.Flow{ClientID: "cs", ClientSecret: "s3cret", Scopes: []string{"email", "offline_access"}}
		if change != nil {
			change(&c.Issuers[0])
		}
	}, opts)
	return d
}

// begin begins a sign-in and answers what the provider is told.
func (d *door) begin(fresh bool) (*identity.Started, url.Values) {
	d.t.Helper()
	begun, err := d.BeginSignIn(d.t.Context(), identity.Start{Issuer: d.i.URL, To: "/explorer", Fresh: fresh, Address: "a", Client: "test"})
	must(d.t, err)
	u, err := url.Parse(begun.URL)
	must(d.t, err)
	return begun, u.Query()
}

// idToken is what a good provider answers; with spoils it.
func (d *door) idToken(asked url.Values, with jwt.MapClaims) map[string]any {
	all := claims(d.i, d.clock, jwt.MapClaims{"aud": "cs", "nonce": asked.Get("nonce"), "auth_time": d.clock.now().Unix(), "name": "Maria", "email": "maria@acme.example", "email_verified": true})
	maps.Copy(all, with)
	for name, v := range with {
		if v == nil {
			delete(all, name)
		}
	}
	return map[string]any{"access_token": "access", "token_type": "Bearer", "id_token": sign(d.t, jwt.SigningMethodRS256, "k1", d.key, all), "refresh_token": "refresh-1"}
}

// finish returns to us with a code.
func (d *door) finish(begun *identity.Started, asked url.Values) (*identity.Session, string, error) {
	return d.FinishSignIn(d.t.Context(), identity.Return{Token: begun.Token, State: asked.Get("state"), Code: "code-1"})
}

func wantProblem(t *testing.T, what string, err error, want identity.Problem) {
	t.Helper()
	var problem *identity.SignInError
	if !errors.As(err, &problem) || problem.Problem != want {
		t.Errorf("%s: %v, not %s", what, err, want)
	}
}

func TestFlow(t *testing.T) {
	d := newDoor(t, nil, identity.Options{})
	begun, asked := d.begin(false)
	for name, want := range map[string]string{"response_type": "code", "client_id": "cs", "redirect_uri": callback, "code_challenge_method": "S256", "scope": "openid email offline_access", "prompt": "consent", "max_age": "86400"} {
		if asked.Get(name) != want {
			t.Errorf("%s is %q", name, asked.Get(name))
		}
	}
	var sent url.Values
	d.i.token = func(r *http.Request) (int, map[string]any) {
		user, secret, _ := r.BasicAuth()
		_ = r.ParseForm()
		if sent = r.PostForm; user != "cs" || secret != "s3cret" {
			return http.StatusUnauthorized, map[string]any{"error": "invalid_client"}
		}
		return http.StatusOK, d.idToken(asked, jwt.MapClaims{"groups": nil})
	}
	d.i.info = map[string]any{"sub": "u1", "groups": []string{"acme-leads"}, "email": "else@acme.example", "email_verified": true}
	session, to, err := d.finish(begun, asked)
	must(t, err)
	if sent.Get("code") != "code-1" || sent.Get("redirect_uri") != callback || len(sent.Get("code_verifier")) < 43 {
		t.Errorf("sent %v", sent)
	}
	p := session.Principal
	if to != "/explorer" || !p.Interactive || !p.SignedInAt.Equal(d.clock.now().Truncate(time.Second)) || !slices.Equal(p.Roles, []string{"customer", "lead"}) || p.Name != "Maria" {
		t.Errorf("%s %+v", to, p)
	}
	if p := d.mustBe(session.Token, p.ID); !slices.Equal(p.Roles, []string{"customer", "lead"}) {
		t.Errorf("%+v", p)
	}
	_, _, err = d.finish(begun, asked)
	wantProblem(t, "the same return", err, identity.ProblemOver)
	// The account is of the local person with the same address, and holds no more
	// than its own roles.
	same, err := d.Persons(t.Context(), policy.DefaultTenant, []string{p.ID, maria})
	must(t, err)
	if same[p.ID] != same[maria] {
		t.Errorf("are %v", same)
	}
	// What a browser holds works nowhere else.
	_, err = d.who(begun.Token)
	wantCode(t, err, connectors.CodeUnauthenticated)
}

// TestFlowRefuses spoils one thing after the other.
func TestFlowRefuses(t *testing.T) {
	d := newDoor(t, func(i *identity.Issuer) { i.Subject, i.Tenant = "email", "org" }, identity.Options{})
	d.i.info = map[string]any{"sub": "u1"}
	other := rsaKey(t)
	good := jwt.MapClaims{"org": "north"}
	try := func(with jwt.MapClaims, change func(map[string]any)) error {
		t.Helper()
		begun, asked := d.begin(false)
		all := maps.Clone(good)
		maps.Copy(all, with)
		d.i.token = func(*http.Request) (int, map[string]any) {
			answer := d.idToken(asked, all)
			if change != nil {
				change(answer)
			}
			return http.StatusOK, answer
		}
		_, _, err := d.finish(begun, asked)
		return err
	}
	must(t, try(nil, nil))
	at := func(after time.Duration) int64 { return d.clock.now().Add(after).Unix() }
	for what, c := range map[string]struct {
		with jwt.MapClaims
		want identity.Problem
	}{
		"another nonce":       {jwt.MapClaims{"nonce": "x"}, identity.ProblemProvider},
		"no nonce":            {jwt.MapClaims{"nonce": nil}, identity.ProblemProvider},
		"another client":      {jwt.MapClaims{"aud": "acme-graph"}, identity.ProblemProvider},
		"several, no azp":     {jwt.MapClaims{"aud": []string{"cs", "other"}}, identity.ProblemProvider},
		"azp of another":      {jwt.MapClaims{"azp": "other"}, identity.ProblemProvider},
		"another issuer":      {jwt.MapClaims{"iss": "https://evil.example"}, identity.ProblemProvider},
		"expired":             {jwt.MapClaims{"exp": at(-time.Minute)}, identity.ProblemProvider},
		"signed in tomorrow":  {jwt.MapClaims{"auth_time": at(time.Hour)}, identity.ProblemProvider},
		"e-mail not verified": {jwt.MapClaims{"email_verified": false}, identity.ProblemEmail},
		"no tenant":           {jwt.MapClaims{"org": nil}, identity.ProblemTenant},
		"a tenant with a nul": {jwt.MapClaims{"org": "a\x00b"}, identity.ProblemTenant},
	} {
		wantProblem(t, what, try(c.with, nil), c.want)
	}
	must(t, try(jwt.MapClaims{"aud": []string{"cs", "other"}, "azp": "cs"}, nil))
	wantProblem(t, "no ID token", try(nil, func(a map[string]any) { delete(a, "id_token") }), identity.ProblemProvider)
	wantProblem(t, "another key", try(nil, func(a map[string]any) {
		a["id_token"] = sign(t, jwt.SigningMethodRS256, "k1", other, jwt.MapClaims{"iss": d.i.URL, "aud": "cs"})
	}), identity.ProblemProvider)
	d.i.info = map[string]any{"sub": "somebody-else", "name": "x"}
	wantProblem(t, "userinfo of somebody else", try(jwt.MapClaims{"name": nil}, nil), identity.ProblemProvider)
	begun, asked := d.begin(false)
	d.i.token = func(*http.Request) (int, map[string]any) {
		return http.StatusBadRequest, map[string]any{"error": "invalid_grant"}
	}
	_, _, err := d.finish(begun, asked)
	wantProblem(t, "a code that was used", err, identity.ProblemProvider)
	begun, asked = d.begin(false)
	d.i.token = func(*http.Request) (int, map[string]any) { return http.StatusBadGateway, nil }
	_, _, err = d.finish(begun, asked)
	wantProblem(t, "a provider that is down", err, identity.ProblemUnavailable)
	begun, asked = d.begin(false)
	d.clock.pass(11 * time.Minute)
	_, _, err = d.finish(begun, asked)
	wantProblem(t, "too late", err, identity.ProblemOver)
	d.i.info = map[string]any{"sub": "u1"}
	must(t, d.Suspend(t.Context(), nil, "north", maria, true))
	wantProblem(t, "suspended", try(nil, nil), identity.ProblemSuspended)
}

// TestFreshSignIn: a new proof must be newer than the question.
func TestFreshSignIn(t *testing.T) {
	d := newDoor(t, nil, identity.Options{})
	d.i.info = map[string]any{"sub": "u1"}
	for what, c := range map[string]struct {
		at any
		ok bool
	}{"now": {d.clock.now().Unix(), true}, "before": {d.clock.now().Add(-time.Minute).Unix(), false}, "not said": {nil, false}} {
		begun, asked := d.begin(true)
		if asked.Get("prompt") != "login consent" || asked.Get("max_age") != "600" {
			t.Errorf("asks for %v", asked)
		}
		d.i.token = func(*http.Request) (int, map[string]any) {
			return http.StatusOK, d.idToken(asked, jwt.MapClaims{"auth_time": c.at})
		}
		_, _, err := d.finish(begun, asked)
		if c.ok {
			must(t, err)
		} else {
			wantProblem(t, what, err, identity.ProblemStale)
		}
	}
	// Where nobody asks for it, a session of unknown age never counts as recent.
	begun, asked := d.begin(false)
	d.i.token = func(*http.Request) (int, map[string]any) {
		return http.StatusOK, d.idToken(asked, jwt.MapClaims{"auth_time": nil})
	}
	session, _, err := d.finish(begun, asked)
	must(t, err)
	if p := d.mustBe(session.Token, session.Principal.ID); !p.SignedInAt.IsZero() || !p.Interactive {
		t.Errorf("%+v", p)
	}
}

// TestRefresh: the provider is asked again before claims are too old, once, and
// what it then says holds; where it refuses, they run out.
func TestRefresh(t *testing.T) {
	d := newDoor(t, nil, identity.Options{})
	d.i.info = map[string]any{"sub": "u1"}
	begun, asked := d.begin(false)
	d.i.token = func(*http.Request) (int, map[string]any) { return http.StatusOK, d.idToken(asked, nil) }
	session, _, err := d.finish(begun, asked)
	must(t, err)
	id := session.Principal.ID
	roles := func() []string {
		t.Helper()
		p, _, err := d.Current(t.Context(), policy.DefaultTenant, id)
		must(t, err)
		return p.Roles
	}
	var asks []string
	refuse := false
	d.i.token = func(r *http.Request) (int, map[string]any) {
		_ = r.ParseForm()
		asks = append(asks, r.PostForm.Get("grant_type")+" "+r.PostForm.Get("refresh_token"))
		if refuse {
			return http.StatusBadRequest, map[string]any{"error": "invalid_grant"}
		}
		answer := d.idToken(url.Values{}, jwt.MapClaims{"nonce": nil, "groups": []string{"acme-support"}})
		answer["refresh_token"] = "refresh-2"
		return http.StatusOK, answer
	}
	must(t, d.RefreshDue(t.Context()))
	if len(asks) != 0 {
		t.Fatalf("asked too early: %v", asks)
	}
	d.clock.pass(13 * time.Hour)
	must(t, d.RefreshDue(t.Context()))
	must(t, d.RefreshDue(t.Context()))
	if !slices.Equal(asks, []string{"refresh_token refresh-1"}) || !slices.Equal(roles(), []string{"customer", "support"}) {
		t.Fatalf("%v %v", asks, roles())
	}
	r, err := d.store.Record(t.Context(), policy.DefaultTenant, id)
	must(t, err)
	if raw, err := json.Marshal(r); err != nil || !strings.HasPrefix(string(r.Grants[0].Refresh), "sealed|") || bytes.Contains(raw, []byte("refresh-2")) {
		t.Errorf("kept is %s", r.Grants[0].Refresh)
	}
	d.clock.pass(13 * time.Hour)
	refuse = true
	if err := d.RefreshDue(t.Context()); err != nil {
		t.Errorf("a refusal is told as a failure: %v", err)
	}
	d.clock.pass(time.Hour)
	must(t, d.RefreshDue(t.Context()))
	if len(asks) != 2 || asks[1] != "refresh_token refresh-2" {
		t.Fatalf("asked %v", asks)
	}
	if len(roles()) == 0 {
		t.Error("what was said counts until it is too old")
	}
	d.clock.pass(11 * time.Hour)
	if len(roles()) != 0 {
		t.Errorf("too old, and still %v", roles())
	}
	holders, err := d.Holders(t.Context(), policy.DefaultTenant, []string{"support"})
	if err != nil || !slices.Contains(holders, id) {
		t.Errorf("whoever may sign in is a reviewer: %v %v", holders, err)
	}
}

// TestGitHub signs in at an API like GitHub's.
func TestGitHub(t *testing.T) {
	mux := http.NewServeMux()
	verified := true
	mux.HandleFunc("POST /login/oauth/access_token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if r.PostForm.Get("client_secret") != "s" || r.PostForm.Get("code_verifier") == "" || r.PostForm.Get("redirect_uri") != callback {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"gho_x","token_type":"bearer"}`))
	})
	api := func(path string, answer func(*http.Request) any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer gho_x" {
				http.Error(w, "no", http.StatusUnauthorized)
				return
			}
			_ = json.NewEncoder(w).Encode(answer(r))
		})
	}
	api("/user", func(*http.Request) any { return map[string]any{"id": 583231, "login": "octocat", "name": nil} })
	api("/user/emails", func(*http.Request) any {
		return []map[string]any{{"email": "old@acme.example", "primary": false, "verified": true}, {"email": "Maria@acme.example", "primary": true, "verified": verified}}
	})
	api("/user/teams", func(r *http.Request) any {
		if r.URL.Query().Get("page") != "1" {
			return []map[string]any{{"slug": "support", "organization": map[string]any{"login": "acme"}}}
		}
		var full []map[string]any
		for range 100 {
			full = append(full, map[string]any{"slug": "support", "organization": map[string]any{"login": "evil"}})
		}
		return full
	})
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	h := newHouse(t, func(c *identity.Config) {
		c.RedirectURL = callback
		c.Issuers = []identity.Issuer{{Issuer: identity.GitHubIssuer, Subject: "email", Flow: &identity.Flow{ClientID: "c", ClientSecret: "s", Scopes: []string{"read:org", "user:email"}},
			Roles: identity.Roles{From: "teams", Map: map[string]string{"acme/support": "support", "support": "owner"}}, Claims: map[string]string{"login": "login"}}}
	}, identity.Options{GitHub: identity.GitHubAddresses{Web: web.URL, API: web.URL}})
	if got := h.Providers(); len(got) != 1 || got[0].Name != "GitHub" {
		t.Errorf("%+v", got)
	}
	try := func(fresh bool) (*identity.Session, error) {
		begun, err := h.BeginSignIn(t.Context(), identity.Start{Issuer: identity.GitHubIssuer, Fresh: fresh, Address: "a"})
		must(t, err)
		u, err := url.Parse(begun.URL)
		must(t, err)
		if !strings.HasPrefix(begun.URL, web.URL+"/login/oauth/authorize?") || u.Query().Get("code_challenge") == "" || u.Query().Get("scope") != "read:org user:email" {
			t.Errorf("goes to %s", begun.URL)
		}
		session, _, err := h.FinishSignIn(t.Context(), identity.Return{Token: begun.Token, State: u.Query().Get("state"), Code: "c", Issuer: "https://github.com/login/oauth"})
		return session, err
	}
	session, err := try(false)
	must(t, err)
	p := session.Principal
	if p.ID != maria || !slices.Contains(p.Roles, "support") || slices.Contains(p.Roles, "owner") || !p.Claims["login"].Equal(connectors.String("octocat")) || !p.SignedInAt.IsZero() {
		t.Errorf("%+v", p)
	}
	_, err = try(true)
	wantProblem(t, "a fresh sign-in", err, identity.ProblemStale)
	verified = false
	_, err = try(false)
	wantProblem(t, "an address that is not verified", err, identity.ProblemEmail)
}

// TestIssuersAreChecked: what would be believed wrongly is refused at the start.
func TestIssuersAreChecked(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	flow := &identity.Flow{ClientID: "c"}
	for what, i := range map[string]identity.Issuer{
		"http":                  {Issuer: "http://idp.example", Audience: "a"},
		"no address":            {Issuer: "idp", Audience: "a"},
		"neither":               {Issuer: "https://idp.example"},
		"no client":             {Issuer: "https://idp.example", Flow: &identity.Flow{}},
		"a kind":                {Issuer: "https://idp.example", Audience: "a", Kind: policy.Agent},
		"a service signs in":    {Issuer: "https://idp.example", Flow: flow, Kind: policy.Service},
		"a subject":             {Issuer: "https://idp.example", Audience: "a", Subject: "upn"},
		"interactive, nothing":  {Issuer: "https://idp.example", Flow: flow, Interactive: true},
		"an interactive robot":  {Issuer: "https://idp.example", Audience: "a", Kind: policy.Service, Interactive: true},
		"a skew":                {Issuer: "https://idp.example", Audience: "a", Skew: time.Hour},
		"GitHub's tokens":       {Issuer: identity.GitHubIssuer, Audience: "a", Flow: flow},
		"nowhere to go back to": {Issuer: "https://idp.example", Flow: flow},
	} {
		cfg := identity.Config{Issuers: []identity.Issuer{i}}
		if what != "nowhere to go back to" {
			cfg.RedirectURL = callback
		}
		if _, err := identity.New(cfg, h.store, identity.Options{}); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	twice := identity.Issuer{Issuer: "https://idp.example", Audience: "a"}
	if _, err := identity.New(identity.Config{Issuers: []identity.Issuer{twice, twice}}, h.store, identity.Options{}); err == nil {
		t.Error("twice is taken")
	}
}

// TestDeviceOfTenants: a program gets the sign-in of whoever approves it, of
// their tenant; one that was begun for a tenant is approved by nobody else.
func TestDeviceOfTenants(t *testing.T) {
	d := newDoor(t, func(i *identity.Issuer) { i.Tenant = "org" }, identity.Options{})
	d.i.info = map[string]any{"sub": "u1"}
	begun, asked := d.begin(false)
	d.i.token = func(*http.Request) (int, map[string]any) {
		return http.StatusOK, d.idToken(asked, jwt.MapClaims{"org": "north"})
	}
	session, _, err := d.finish(begun, asked)
	must(t, err)
	by := d.mustBe(session.Token, session.Principal.ID)
	for tenant, ok := range map[string]bool{"": true, "north": true, "south": false} {
		device, err := d.StartDevice(t.Context(), tenant, "a", "test")
		must(t, err)
		if !ok {
			wantCode(t, d.DecideDevice(t.Context(), by, device.UserCode, true), connectors.CodeNotFound)
			continue
		}
		must(t, d.DecideDevice(t.Context(), by, device.UserCode, true))
		got, err := d.PollDevice(t.Context(), device.DeviceCode)
		must(t, err)
		if p := d.mustBe(got.Token, by.ID); p.Tenant != "north" || !p.Interactive {
			t.Errorf("%q: %+v", tenant, p)
		}
	}
}
