package identity_test

import (
	"slices"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy/identity"
)

// TestRotate: the new key is like the old one, which ends at once or after the
// overlap, on every node.
func TestRotate(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	ctx := t.Context()
	other := h.node(nil, identity.Options{})
	on := func(s *identity.Service, token string) connectors.Code {
		_, err := s.Authenticate(ctx, identity.Credentials{Bearer: token})
		return connectors.CodeOf(err)
	}
	old, err := h.CreateKey(ctx, nil, identity.NewKey{Principal: "agent:triage", For: maria, Label: "laptop"})
	must(t, err)
	if code := on(other, old.Token); code != "" {
		t.Fatal(code)
	}
	next, err := h.RotateKey(ctx, nil, identity.Rotation{ID: old.ID})
	must(t, err)
	if p := h.mustBe(next.Token, "agent:triage"); p.For == nil || p.For.ID != maria {
		t.Fatalf("%+v", p)
	}
	if code := on(h.Service, old.Token); code != connectors.CodeUnauthenticated {
		t.Errorf("the old key here: %s", code)
	}
	h.clock.pass(time.Second)
	if code := on(other, old.Token); code != connectors.CodeUnauthenticated {
		t.Errorf("the old key on another node: %s", code)
	}
	hour := time.Hour
	last, err := h.RotateKey(ctx, nil, identity.Rotation{ID: next.ID, Overlap: &hour, Lives: 30 * time.Minute})
	must(t, err)
	h.mustBe(next.Token, "agent:triage")
	h.clock.pass(30 * time.Minute)
	h.mustBe(next.Token, "agent:triage")
	if code := on(h.Service, last.Token); code != connectors.CodeUnauthenticated {
		t.Errorf("a key that is over: %s", code)
	}
	h.clock.pass(30 * time.Minute)
	if code := on(h.Service, next.Token); code != connectors.CodeUnauthenticated {
		t.Errorf("after the overlap: %s", code)
	}
	_, err = h.RotateKey(ctx, nil, identity.Rotation{ID: next.ID})
	wantCode(t, err, connectors.CodeWrongState)
	_, err = h.RotateKey(ctx, nil, identity.Rotation{ID: "unknown"})
	wantCode(t, err, connectors.CodeNotFound)
	_, err = h.RotateKey(ctx, nil, identity.Rotation{Tenant: "other", ID: next.ID})
	wantCode(t, err, connectors.CodeNotFound)
	// An overlap makes no key live longer than it would have.
	short, err := h.CreateKey(ctx, nil, identity.NewKey{Principal: "agent:helper", Lives: time.Minute})
	must(t, err)
	lasting := h.node(func(c *identity.Config) { c.APIKeyOverlap = time.Hour }, identity.Options{})
	_, err = lasting.RotateKey(ctx, nil, identity.Rotation{ID: short.ID})
	must(t, err)
	h.mustBe(short.Token, "agent:helper")
	h.clock.pass(time.Minute)
	if code := on(h.Service, short.Token); code != connectors.CodeUnauthenticated {
		t.Errorf("an overlap made a key live longer: %s", code)
	}
	if !slices.Contains(h.kinds(), "identity.keyRotated") {
		t.Error(h.kinds())
	}
}
