package identity_test

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

func TestAnonymousAndMalformed(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	session := h.signIn("maria@acme.example")
	p, err := h.Authenticate(t.Context(), identity.Credentials{})
	if err != nil || p.Kind != policy.Anonymous || p.Interactive {
		t.Fatal(p, err)
	}
	request := func(change func(*http.Request)) identity.Credentials {
		r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
		change(r)
		return h.FromRequest(r)
	}
	for name, c := range map[string]identity.Credentials{
		"basic":            request(func(r *http.Request) { r.SetBasicAuth("maria", password) }),
		"empty bearer":     request(func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }),
		"empty header":     request(func(r *http.Request) { r.Header.Set("Authorization", "") }),
		"two headers":      request(func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + session.Token, "Bearer x"} }),
		"nonsense":         {Bearer: "nonsense"},
		"unknown session":  {Bearer: "css_" + strings.Repeat("A", 43)},
		"unknown key":      {Bearer: "cs_" + strings.Repeat("A", 43)},
		"too long":         {Bearer: strings.Repeat("a.", 20000) + "."},
		"a JWT of nobody":  {Bearer: "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0."},
		"truncated":        {Bearer: session.Token[:len(session.Token)-1]},
		"one letter off":   {Bearer: session.Token[:10] + "_" + session.Token[11:] + ""},
		"trailing newline": {Bearer: session.Token + "\n"},
		"bad with good cookie": request(func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer nonsense")
			r.AddCookie(h.Cookie(session.Token))
		}),
		"bad cookie": {Cookie: "nonsense"},
		"empty cookie is none, a basic header is not": request(func(r *http.Request) {
			r.Header.Set("Authorization", "Basic x")
			r.AddCookie(h.Cookie(session.Token))
		}),
	} {
		if p, err := h.Authenticate(t.Context(), c); connectors.CodeOf(err) != connectors.CodeUnauthenticated {
			t.Errorf("%s: %v %v", name, p, err)
		}
	}
	by := request(func(r *http.Request) { r.AddCookie(h.Cookie(session.Token)) })
	if p, err := h.Authenticate(t.Context(), by); err != nil || p.ID != "user:maria@acme.example" || !by.ByCookie() {
		t.Fatal(p, err)
	}
	both := request(func(r *http.Request) {
		r.Header.Set("Authorization", "bearer  "+session.Token)
		r.AddCookie(h.Cookie(session.Token))
	})
	if both.ByCookie() {
		t.Fatal("a bearer that a page set itself is no cookie")
	}
	h.mustBe(both.Bearer, "user:maria@acme.example")
}

func TestCookie(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	c := h.Cookie("x")
	if c.Name != "__Host-countersign" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode {
		t.Fatalf("%+v", c)
	}
	if h.Cookie("").MaxAge >= 0 {
		t.Fatal("not forgotten")
	}
	plain := h.node(func(c *identity.Config) { c.PlainHTTP = true }, identity.Options{}).Cookie("x")
	if strings.HasPrefix(plain.Name, "__") || plain.Secure || !plain.HttpOnly {
		t.Fatalf("%+v", plain)
	}
}

func TestSignIn(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	s, err := h.SignIn(t.Context(), identity.Attempt{User: " MARIA@acme.example", Password: password, Address: "a", Client: "Firefox"})
	must(t, err)
	p := h.mustBe(s.Token, "user:maria@acme.example")
	if !p.Interactive || p.Kind != policy.Human || !reflect.DeepEqual(p.Roles, []string{"support"}) || !p.SignedInAt.Equal(h.clock.now()) || p.CredentialID == "" || p.Tenant != policy.DefaultTenant {
		t.Fatalf("%+v", p)
	}
	if strings.Contains(s.Token, p.CredentialID) {
		t.Fatal("the credential's id says something of its secret")
	}
	for _, a := range []identity.Attempt{
		{User: "maria@acme.example", Password: password + "x"}, {User: "nobody@acme.example", Password: password},
		{User: "maria@acme.example"}, {User: "", Password: ""}, {User: strings.Repeat("x", 5000), Password: password},
		{User: "maria@acme.example", Password: strings.Repeat("x", 5000)}, {Tenant: "other", User: "maria@acme.example", Password: password},
	} {
		_, err := h.SignIn(t.Context(), a)
		wantCode(t, err, connectors.CodeUnauthenticated)
		if err.Error() != "UNAUTHENTICATED: the name or the password is wrong" {
			t.Fatalf("says too much: %v", err)
		}
	}
	list, err := h.Credentials(t.Context(), "", identity.KindSession, p.ID)
	if err != nil || len(list) != 1 || list[0].Label != "Firefox" || !list[0].Live {
		t.Fatalf("%+v %v", list, err)
	}
	if kinds := h.kinds(); !slices.Contains(kinds, "identity.userAdded") || !slices.Contains(kinds, "identity.signedIn") {
		t.Fatal(kinds)
	}
}

func TestSignInIsOff(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	s := h.signIn("maria@acme.example")
	off := h.node(func(c *identity.Config) { c.LocalUsers = false }, identity.Options{})
	_, err := off.SignIn(t.Context(), identity.Attempt{User: "maria@acme.example", Password: password})
	wantCode(t, err, connectors.CodeUnsupported)
	p, err := off.Authenticate(t.Context(), identity.Credentials{Bearer: s.Token})
	if err != nil || len(p.Roles) != 0 {
		t.Fatalf("roles granted here still count: %+v %v", p, err)
	}
	if _, ok, err := off.FirstRun(t.Context(), "", time.Hour); ok || err != nil {
		t.Fatal(ok, err)
	}
}

func TestGuessingIsBounded(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	attempt := func(user, pw, address string) error {
		_, err := h.SignIn(t.Context(), identity.Attempt{User: user, Password: pw, Address: address})
		return err
	}
	// The right password costs nothing, however often.
	for range 50 {
		must(t, attempt("maria@acme.example", password, "192.0.2.1"))
	}
	// Wrong ones from many addresses: the user is closed, also for the right one.
	for i := range 10 {
		wantCode(t, attempt("maria@acme.example", "wrong", "192.0.2."+string(rune('a'+i))), connectors.CodeUnauthenticated)
	}
	err := attempt("maria@acme.example", password, "198.51.100.1")
	wantCode(t, err, connectors.CodeRateLimited)
	if e := connectors.AsError(err); e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
		t.Fatalf("retry after %v", e.RetryAfter)
	}
	must(t, attempt("lead@acme.example", password, "198.51.100.1"))
	h.clock.pass(30 * time.Second)
	must(t, attempt("maria@acme.example", password, "198.51.100.1"))
	// Many users from one address: the address is closed.
	var limited bool
	for i := range 60 {
		err := attempt("guess"+strings.Repeat("x", i), "wrong", "203.0.113.9")
		limited = limited || connectors.CodeOf(err) == connectors.CodeRateLimited
	}
	if !limited {
		t.Fatal("one address may guess without end")
	}
}

func TestSessionEnds(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	idle := h.signIn("maria@acme.example")
	for range 5 { // used, it lives on
		h.clock.pass(3 * time.Hour)
		h.mustBe(idle.Token, "user:maria@acme.example")
	}
	h.clock.pass(8 * time.Hour)
	_, err := h.who(idle.Token)
	wantCode(t, err, connectors.CodeUnauthenticated)

	old := h.signIn("maria@acme.example")
	for range 7 {
		h.clock.pass(3 * time.Hour)
		h.mustBe(old.Token, "user:maria@acme.example")
	}
	h.clock.pass(3 * time.Hour) // 24 h since it began
	_, err = h.who(old.Token)
	wantCode(t, err, connectors.CodeUnauthenticated)

	out := h.signIn("maria@acme.example")
	h.mustBe(out.Token, "user:maria@acme.example")
	must(t, h.SignOut(t.Context(), identity.Credentials{Cookie: out.Token}))
	_, err = h.who(out.Token)
	wantCode(t, err, connectors.CodeUnauthenticated)
	must(t, h.SignOut(t.Context(), identity.Credentials{Cookie: out.Token}))
	must(t, h.SignOut(t.Context(), identity.Credentials{}))
}

// TestRevokedWithinASecond holds that another node stops within a second, and
// this one at once.
func TestRevokedWithinASecond(t *testing.T) {
	for name, revoke := range map[string]func(h *house, p *policy.Principal) error{
		"revoked":   func(h *house, p *policy.Principal) error { return h.Revoke(t.Context(), nil, "", p.CredentialID) },
		"suspended": func(h *house, p *policy.Principal) error { return h.Suspend(t.Context(), nil, "", p.ID, true) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil, identity.Options{})
			other := h.node(nil, identity.Options{})
			s := h.signIn("maria@acme.example")
			p := h.mustBe(s.Token, "user:maria@acme.example")
			if _, err := other.Authenticate(t.Context(), identity.Credentials{Bearer: s.Token}); err != nil {
				t.Fatal(err)
			}
			h.clock.pass(500 * time.Millisecond)
			must(t, revoke(h, p))
			if _, err := h.who(s.Token); err == nil {
				t.Fatal("this node still believes it")
			}
			if _, err := other.Authenticate(t.Context(), identity.Credentials{Bearer: s.Token}); err != nil {
				t.Fatalf("the other node asked the store within the second: %v", err)
			}
			h.clock.pass(500 * time.Millisecond)
			if _, err := other.Authenticate(t.Context(), identity.Credentials{Bearer: s.Token}); err == nil {
				t.Fatal("the other node still believes it after a second")
			}
		})
	}
}

func TestSuspendedAndResumed(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	s := h.signIn("maria@acme.example")
	must(t, h.Suspend(t.Context(), nil, "", "user:maria@acme.example", true))
	must(t, h.Suspend(t.Context(), nil, "", "user:maria@acme.example", true))
	_, err := h.who(s.Token)
	wantCode(t, err, connectors.CodeSuspended)
	_, err = h.SignIn(t.Context(), identity.Attempt{User: "maria@acme.example", Password: password})
	wantCode(t, err, connectors.CodeSuspended)
	_, err = h.SignIn(t.Context(), identity.Attempt{User: "maria@acme.example", Password: "wrong"})
	wantCode(t, err, connectors.CodeUnauthenticated)
	must(t, h.Suspend(t.Context(), nil, "", "user:maria@acme.example", false))
	h.mustBe(s.Token, "user:maria@acme.example")
	wantCode(t, h.Suspend(t.Context(), nil, "", "user:nobody", true), connectors.CodeNotFound)
	n := 0
	for _, kind := range h.kinds() {
		if kind == "identity.suspended" || kind == "identity.resumed" {
			n++
		}
	}
	if n != 2 {
		t.Fatalf("%d events for two changes", n)
	}
}

func TestUsers(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	for _, u := range []identity.NewUser{{User: "a b"}, {User: ""}, {User: "x/y"}, {User: strings.Repeat("x", 300)}, {User: "ok", Password: "short"}} {
		_, err := h.AddUser(t.Context(), nil, u)
		wantCode(t, err, connectors.CodeBadInput)
	}
	_, err := h.AddUser(t.Context(), nil, identity.NewUser{User: "MARIA@acme.example"})
	wantCode(t, err, connectors.CodeUniqueViolation)
	_, err = h.AddUser(t.Context(), nil, identity.NewUser{Tenant: "other", User: "maria@acme.example"})
	must(t, err)
	users, err := h.Users(t.Context(), "")
	if err != nil || len(users) != 2 || users[1].ID != "user:maria@acme.example" || !users[1].Local {
		t.Fatalf("%+v %v", users, err)
	}
	s := h.signIn("maria@acme.example")
	must(t, h.SetRoles(t.Context(), nil, "", "user:maria@acme.example", []string{"z", "a"}))
	must(t, h.SetClaims(t.Context(), nil, "", "user:maria@acme.example", map[string]connectors.Value{"region": connectors.String("EU")}))
	p := h.mustBe(s.Token, "user:maria@acme.example")
	if !slices.Equal(p.Roles, []string{"a", "z"}) || !p.Claims["region"].Equal(connectors.String("EU")) {
		t.Fatalf("%+v", p)
	}
}

// TestConcurrentSignIns runs under the race detector.
func TestConcurrentSignIns(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	s := h.signIn("maria@acme.example")
	var wg sync.WaitGroup
	var failed atomic.Int32
	for i := range 16 {
		wg.Go(func() {
			if i%4 == 0 {
				if _, err := h.SignIn(t.Context(), identity.Attempt{User: "lead@acme.example", Password: password, Address: "a"}); err != nil {
					failed.Add(1)
				}
			}
			h.clock.pass(time.Minute)
			if _, err := h.who(s.Token); err != nil {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if failed.Load() != 0 {
		t.Fatalf("%d failed", failed.Load())
	}
}
