package identity_test

import (
	"crypto"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

// key makes a key that is bound to nobody.
func (h *house) key(principal string) *identity.Key {
	h.t.Helper()
	k, err := h.CreateKey(h.t.Context(), nil, identity.NewKey{Principal: principal})
	must(h.t, err)
	return k
}

// exchanged makes an access token for whom the subject's token is of.
func (h *house) exchanged(key, subject string) *identity.Access {
	h.t.Helper()
	a, err := h.Exchange(h.t.Context(), identity.Exchange{Actor: key, ForSubject: true, Subject: subject})
	must(h.t, err)
	return a
}

// ids of a chain.
func ids(p *policy.Principal) []string {
	var out []string
	for _, q := range p.Chain() {
		out = append(out, q.ID)
	}
	return out
}

func wantRefused(t *testing.T, what string, err error, why string, code connectors.Code) {
	t.Helper()
	var r *identity.Refusal
	if !errors.As(err, &r) || r.Why != why || r.Err.Code != code {
		t.Errorf("%s: %v (%+v), want %s with %s", what, err, r, why, code)
	}
}

// TestExchange: an agent's key and a person's session become a token of the
// agent for that person, which ends with each thing that it rests on.
func TestExchange(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	ctx := t.Context()
	must(t, h.SetClaims(ctx, nil, "", maria, map[string]connectors.Value{"region": connectors.String("EU")}))
	key, session := h.key("agent:triage"), h.signIn("maria@acme.example")
	_, err := h.who(key.Token)
	wantCode(t, err, connectors.CodeForbidden) // it must act for a person
	a := h.exchanged(key.Token, session.Token)
	if !strings.HasPrefix(a.Token, "cst_") || a.Lives != 15*time.Minute {
		t.Fatalf("%s for %s", a.Token, a.Lives)
	}
	p := h.mustBe(a.Token, "agent:triage")
	if p.Kind != policy.Agent || p.Interactive || !p.SignedInAt.IsZero() || p.CredentialID != a.ID || !slices.Equal(p.Roles, []string{"agent-support"}) {
		t.Fatalf("%+v", p)
	}
	if q := p.For; q == nil || q.ID != maria || q.Interactive || !q.SignedInAt.IsZero() || !q.Claims["region"].Equal(connectors.String("EU")) || q.CredentialID == "" {
		t.Fatalf("%+v", p.For)
	}
	// The person loses a role: so does who acts for them.
	must(t, h.SetRoles(ctx, nil, "", maria, nil))
	if p := h.mustBe(a.Token, "agent:triage"); len(p.For.Roles) != 0 {
		t.Fatalf("%+v", p.For)
	}
	other := h.node(nil, identity.Options{})
	ends := func(what string, code connectors.Code, token string) {
		t.Helper()
		_, err := h.who(token)
		if connectors.CodeOf(err) != code {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
		// Another node answers out of its memory for a second at most.
		h.clock.pass(time.Second)
		if _, err := other.Authenticate(ctx, identity.Credentials{Bearer: token}); connectors.CodeOf(err) != code {
			t.Errorf("%s, on another node: %v, want %s", what, err, code)
		}
	}
	fresh := func() string {
		token := h.exchanged(key.Token, session.Token).Token
		if _, err := other.Authenticate(ctx, identity.Credentials{Bearer: token}); err != nil {
			t.Fatal(err)
		}
		return token
	}
	for what, id := range map[string]string{"the agent": "agent:triage", "the person": maria} {
		token := fresh()
		must(t, h.Suspend(ctx, nil, "", id, true))
		ends(what+" is suspended", connectors.CodeSuspended, token)
		must(t, h.Suspend(ctx, nil, "", id, false))
		h.mustBe(token, "agent:triage")
	}
	token := fresh()
	must(t, h.Revoke(ctx, nil, "", h.mustBe(token, "agent:triage").CredentialID))
	ends("the token is revoked", connectors.CodeUnauthenticated, token)
	token = fresh()
	must(t, h.SignOut(ctx, identity.Credentials{Bearer: session.Token}))
	ends("the person signed out", connectors.CodeUnauthenticated, token)
	session = h.signIn("maria@acme.example")
	token = fresh()
	must(t, h.Revoke(ctx, nil, "", key.ID))
	ends("the key is revoked", connectors.CodeUnauthenticated, token)
	key = h.key("agent:triage")
	token = fresh()
	h.clock.pass(15 * time.Minute)
	ends("the time is over", connectors.CodeUnauthenticated, token)
	if got := slices.Compact(slices.DeleteFunc(h.kinds(), func(k string) bool { return k != "identity.tokenIssued" })); len(got) != 1 {
		t.Errorf("the audit log: %v", h.kinds())
	}
}

// TestExchangeLives: never longer than what it rests on.
func TestExchangeLives(t *testing.T) {
	h := newHouse(t, func(c *identity.Config) { c.Exchange.MaxAge = 10 * time.Minute }, identity.Options{})
	key, session := h.key("agent:helper"), h.signIn("maria@acme.example")
	if a := h.exchanged(key.Token, session.Token); a.Lives != 10*time.Minute {
		t.Error(a.Lives)
	}
	short, err := h.CreateKey(t.Context(), nil, identity.NewKey{Principal: "agent:helper", Lives: time.Minute})
	must(t, err)
	if a := h.exchanged(short.Token, session.Token); a.Lives != time.Minute {
		t.Error(a.Lives)
	}
	long := h.node(func(c *identity.Config) { c.Exchange.MaxAge = 24 * time.Hour }, identity.Options{})
	a, err := long.Exchange(t.Context(), identity.Exchange{Actor: key.Token, ForSubject: true, Subject: session.Token})
	if err != nil || a.Lives != 15*time.Minute {
		t.Errorf("%+v %v", a, err)
	}
	// What was made for a token ends with it.
	housekeeper := h.key("agent:triage")
	h.clock.pass(7 * time.Minute)
	if second := h.exchanged(housekeeper.Token, a.Token); second.Lives != 8*time.Minute {
		t.Error(second.Lives)
	}
}

// TestExchangeChains: an agent may hand on what it does for a person to another
// agent, so far and no further; each of the chain counts.
func TestExchangeChains(t *testing.T) {
	h := newHouse(t, func(c *identity.Config) {
		for _, name := range []string{"one", "two", "three", "four"} {
			c.Agents[name] = identity.Agent{Owner: "lead@acme.example", Roles: []string{name}}
		}
	}, identity.Options{})
	ctx := t.Context()
	session := h.signIn("maria@acme.example")
	keys, tokens := map[string]*identity.Key{}, map[string]string{}
	before := session.Token
	for _, name := range []string{"one", "two", "three", "four"} {
		keys[name] = h.key("agent:" + name)
	}
	for _, name := range []string{"one", "two", "three"} {
		tokens[name] = h.exchanged(keys[name].Token, before).Token
		before = tokens[name]
	}
	p := h.mustBe(before, "agent:three")
	if got := ids(p); !slices.Equal(got, []string{"agent:three", "agent:two", "agent:one", maria}) {
		t.Fatal(got)
	}
	_, err := h.Exchange(ctx, identity.Exchange{Actor: keys["four"].Token, ForSubject: true, Subject: before})
	wantRefused(t, "a fourth agent", err, identity.RefusedGrant, connectors.CodeForbidden)
	_, err = h.Exchange(ctx, identity.Exchange{Actor: keys["one"].Token, ForSubject: true, Subject: tokens["two"]})
	wantRefused(t, "an agent that acts already", err, identity.RefusedGrant, connectors.CodeForbidden)
	_, err = h.Exchange(ctx, identity.Exchange{Actor: keys["one"].Token, ForSubject: true, Subject: tokens["one"]})
	wantRefused(t, "its own token again", err, identity.RefusedGrant, connectors.CodeForbidden)
	// A chain that is longer than configured now is worth nothing.
	shorter := h.node(func(c *identity.Config) {
		c.Exchange.MaxActors = 2
		for _, name := range []string{"one", "two", "three"} {
			c.Agents[name] = identity.Agent{Owner: "lead@acme.example"}
		}
	}, identity.Options{})
	_, err = shorter.Authenticate(ctx, identity.Credentials{Bearer: before})
	wantCode(t, err, connectors.CodeUnauthenticated)
	for _, id := range []string{"agent:one", "agent:two", "agent:three", maria} {
		must(t, h.Suspend(ctx, nil, "", id, true))
		_, err := h.who(before)
		wantCode(t, err, connectors.CodeSuspended)
		must(t, h.Suspend(ctx, nil, "", id, false))
		h.mustBe(before, "agent:three")
	}
	must(t, h.Revoke(ctx, nil, "", keys["one"].ID))
	for _, name := range []string{"one", "two", "three"} {
		_, err := h.who(tokens[name])
		wantCode(t, err, connectors.CodeUnauthenticated)
	}
}

// TestExchangeOfJWT: an issuer's user token as subject gives what it said, as
// far as the person still has it.
func TestExchangeOfJWT(t *testing.T) {
	i := newIssuer(t)
	k := rsaKey(t)
	i.set(func(m map[string]crypto.Signer) { m["k1"] = k })
	h := newHouse(t, config(i), identity.Options{})
	signed := func(with jwt.MapClaims) string {
		return sign(t, jwt.SigningMethodRS256, "k1", k, claims(i, h.clock, with))
	}
	key := h.key("agent:triage")
	a := h.exchanged(key.Token, signed(jwt.MapClaims{"exp": h.clock.now().Add(5 * time.Minute).Unix(), "groups": []string{"acme-leads", "acme-support"}}))
	if a.Lives > 5*time.Minute+30*time.Second {
		t.Error(a.Lives)
	}
	p := h.mustBe(a.Token, "agent:triage")
	if !slices.Equal(p.For.Roles, []string{"customer", "lead", "support"}) || !p.For.Claims["region"].Equal(connectors.String("EU")) {
		t.Fatalf("%+v", p.For)
	}
	// A later token says less of the person: what was made for the earlier one
	// has no more.
	if _, err := h.who(signed(jwt.MapClaims{"groups": []string{"acme-support"}})); err != nil {
		t.Fatal(err)
	}
	h.clock.pass(time.Second)
	if p = h.mustBe(a.Token, "agent:triage"); !slices.Equal(p.For.Roles, []string{"customer", "support"}) {
		t.Fatalf("%+v", p.For)
	}
	// Somebody whose record says more gets no more than the token says.
	must(t, h.SetRoles(t.Context(), nil, "", p.For.ID, []string{"owner"}))
	if p = h.mustBe(h.exchanged(key.Token, signed(nil)).Token, "agent:triage"); slices.Contains(p.For.Roles, "owner") {
		t.Fatalf("%+v", p.For)
	}
	good := signed(nil)
	for what, subject := range map[string]string{
		"expired":          signed(jwt.MapClaims{"exp": h.clock.now().Add(-time.Minute).Unix()}),
		"another audience": signed(jwt.MapClaims{"aud": "another"}),
		"another key":      sign(t, jwt.SigningMethodRS256, "k1", rsaKey(t), claims(i, h.clock, nil)),
		"alg none":         sign(t, jwt.SigningMethodNone, "k1", jwt.UnsafeAllowNoneSignatureType, claims(i, h.clock, nil)),
		"swapped claims":   swap(good, signed(jwt.MapClaims{"sub": "boss"})),
	} {
		_, err := h.Exchange(t.Context(), identity.Exchange{Actor: key.Token, ForSubject: true, Subject: subject})
		wantRefused(t, what, err, identity.RefusedGrant, connectors.CodeUnauthenticated)
	}
}

func swap(token, claims string) string {
	a, b := strings.Split(token, "."), strings.Split(claims, ".")
	return a[0] + "." + b[1] + "." + a[2]
}

// TestExchangeRefused: who may not act, and what is nobody's word.
func TestExchangeRefused(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	ctx := t.Context()
	must(t, h.AddService(ctx, nil, "", "billing", lead, []string{"r"}))
	session := h.signIn("maria@acme.example")
	key, never, helper := h.key("agent:triage"), h.key("agent:housekeeping"), h.key("agent:helper")
	bound, err := h.CreateKey(ctx, nil, identity.NewKey{Principal: "agent:helper", For: maria})
	must(t, err)
	service, person := h.key("service:billing"), h.key(lead)
	alone, err := h.Exchange(ctx, identity.Exchange{Actor: helper.Token})
	must(t, err)
	if p := h.mustBe(alone.Token, "agent:helper"); p.For != nil {
		t.Fatalf("%+v", p)
	}
	of, err := h.Exchange(ctx, identity.Exchange{Actor: service.Token, Client: "service:billing"})
	must(t, err)
	if p := h.mustBe(of.Token, "service:billing"); p.Kind != policy.Service || p.Interactive || !slices.Equal(p.Roles, []string{"r"}) {
		t.Fatalf("%+v", p)
	}
	gone := h.signIn("lead@acme.example")
	must(t, h.SignOut(ctx, identity.Credentials{Bearer: gone.Token}))
	link, err := h.CreateLink(ctx, nil, identity.KindSignIn, "", maria, time.Hour)
	must(t, err)
	for _, c := range []struct {
		what string
		in   identity.Exchange
		why  string
		code connectors.Code
	}{
		{"no key", identity.Exchange{ForSubject: true, Subject: session.Token}, identity.RefusedClient, connectors.CodeUnauthenticated},
		{"an unknown key", identity.Exchange{Actor: "cs_" + strings.Repeat("A", 43), ForSubject: true, Subject: session.Token}, identity.RefusedClient, connectors.CodeUnauthenticated},
		{"a session as actor", identity.Exchange{Actor: session.Token, ForSubject: true, Subject: session.Token}, identity.RefusedClient, connectors.CodeUnauthenticated},
		{"an access token as actor", identity.Exchange{Actor: alone.Token, ForSubject: true, Subject: session.Token}, identity.RefusedClient, connectors.CodeUnauthenticated},
		{"another's name", identity.Exchange{Actor: key.Token, Client: "helper", ForSubject: true, Subject: session.Token}, identity.RefusedClient, connectors.CodeUnauthenticated},
		{"an agent that never acts for a person", identity.Exchange{Actor: never.Token, ForSubject: true, Subject: session.Token}, identity.RefusedActor, connectors.CodeForbidden},
		{"an agent that must, alone", identity.Exchange{Actor: key.Token}, identity.RefusedActor, connectors.CodeForbidden},
		{"a bound key", identity.Exchange{Actor: bound.Token, ForSubject: true, Subject: session.Token}, identity.RefusedActor, connectors.CodeForbidden},
		{"a service for a person", identity.Exchange{Actor: service.Token, ForSubject: true, Subject: session.Token}, identity.RefusedActor, connectors.CodeForbidden},
		{"a person's key", identity.Exchange{Actor: person.Token, ForSubject: true, Subject: session.Token}, identity.RefusedActor, connectors.CodeForbidden},
		{"an agent's key as subject", identity.Exchange{Actor: key.Token, ForSubject: true, Subject: helper.Token}, identity.RefusedGrant, connectors.CodeUnauthenticated},
		{"a person's key as subject", identity.Exchange{Actor: key.Token, ForSubject: true, Subject: person.Token}, identity.RefusedGrant, connectors.CodeUnauthenticated},
		{"an agent's own token as subject", identity.Exchange{Actor: key.Token, ForSubject: true, Subject: alone.Token}, identity.RefusedGrant, connectors.CodeForbidden},
		{"a service's token as subject", identity.Exchange{Actor: key.Token, ForSubject: true, Subject: of.Token}, identity.RefusedGrant, connectors.CodeForbidden},
		{"a session that is over", identity.Exchange{Actor: key.Token, ForSubject: true, Subject: gone.Token}, identity.RefusedGrant, connectors.CodeUnauthenticated},
		{"a link", identity.Exchange{Actor: key.Token, ForSubject: true, Subject: link.Token}, identity.RefusedGrant, connectors.CodeUnauthenticated},
		{"nothing", identity.Exchange{Actor: key.Token, ForSubject: true}, identity.RefusedGrant, connectors.CodeUnauthenticated},
		{"words", identity.Exchange{Actor: key.Token, ForSubject: true, Subject: maria}, identity.RefusedGrant, connectors.CodeUnauthenticated},
	} {
		a, err := h.Exchange(ctx, c.in)
		if a != nil {
			t.Errorf("%s: %+v", c.what, a)
		}
		wantRefused(t, c.what, err, c.why, c.code)
	}
	for range 200 {
		if _, err = h.Exchange(ctx, identity.Exchange{Actor: "cs_wrong", Address: "192.0.2.9"}); connectors.CodeOf(err) == connectors.CodeRateLimited {
			break
		}
	}
	wantCode(t, err, connectors.CodeRateLimited)
}

// TestAccessTokensArePurged: what is over does not pile up.
func TestAccessTokensArePurged(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	key := h.key("agent:helper")
	for range 3 {
		_, err := h.Exchange(t.Context(), identity.Exchange{Actor: key.Token})
		must(t, err)
		h.clock.pass(2 * time.Hour)
	}
	rows, err := h.Credentials(t.Context(), "", identity.KindAccess, "")
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d access tokens are kept: %v", len(rows), err)
	}
}
