package identity_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

func TestSignInLink(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	link, err := h.CreateLink(t.Context(), nil, identity.KindSignIn, "", "user:maria@acme.example", 10*time.Minute)
	must(t, err)
	for range 3 { // looking spends nothing
		seen, err := h.Peek(t.Context(), link.Token)
		if err != nil || seen.Kind != identity.KindSignIn || seen.Principal != "user:maria@acme.example" {
			t.Fatal(seen, err)
		}
	}
	if _, err := h.who(link.Token); connectors.CodeOf(err) != connectors.CodeUnauthenticated {
		t.Fatalf("a link is no bearer token: %v", err)
	}
	s, err := h.Redeem(t.Context(), identity.Redemption{Token: link.Token})
	must(t, err)
	if p := h.mustBe(s.Token, "user:maria@acme.example"); !p.Interactive {
		t.Fatal("not interactive")
	}
	_, err = h.Redeem(t.Context(), identity.Redemption{Token: link.Token})
	wantCode(t, err, connectors.CodeUnauthenticated)
	_, err = h.Peek(t.Context(), link.Token)
	wantCode(t, err, connectors.CodeUnauthenticated)

	late, err := h.CreateLink(t.Context(), nil, identity.KindSignIn, "", "user:maria@acme.example", 10*time.Minute)
	must(t, err)
	h.clock.pass(10 * time.Minute)
	_, err = h.Redeem(t.Context(), identity.Redemption{Token: late.Token})
	wantCode(t, err, connectors.CodeUnauthenticated)

	_, err = h.CreateLink(t.Context(), nil, identity.KindSignIn, "", "user:nobody", time.Minute)
	wantCode(t, err, connectors.CodeNotFound)
	_, err = h.CreateLink(t.Context(), nil, identity.KindSession, "", "user:maria@acme.example", time.Minute)
	wantCode(t, err, connectors.CodeBadInput)
	_, err = h.Redeem(t.Context(), identity.Redemption{Token: s.Token})
	wantCode(t, err, connectors.CodeUnauthenticated)
}

func TestLinkWorksOnce(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	link, err := h.CreateLink(t.Context(), nil, identity.KindSignIn, "", "user:maria@acme.example", time.Minute)
	must(t, err)
	var wg sync.WaitGroup
	var won atomic.Int32
	for range 16 {
		wg.Go(func() {
			if _, err := h.Redeem(t.Context(), identity.Redemption{Token: link.Token}); err == nil {
				won.Add(1)
			} else if connectors.CodeOf(err) != connectors.CodeUnauthenticated {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d sign-ins with one link", won.Load())
	}
}

func TestPasswordLink(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	_, err := h.AddUser(t.Context(), nil, identity.NewUser{User: "new", Roles: []string{"support"}})
	must(t, err)
	_, err = h.SignIn(t.Context(), identity.Attempt{User: "new", Password: ""})
	wantCode(t, err, connectors.CodeUnauthenticated)
	link, err := h.CreateLink(t.Context(), nil, identity.KindPassword, "", "user:new", time.Minute)
	must(t, err)
	_, err = h.Redeem(t.Context(), identity.Redemption{Token: link.Token, Password: "short"})
	wantCode(t, err, connectors.CodeBadInput)
	_, err = h.Redeem(t.Context(), identity.Redemption{Token: link.Token, Password: "long enough now"})
	must(t, err)
	_, err = h.SignIn(t.Context(), identity.Attempt{User: "new", Password: "long enough now"})
	must(t, err)
	_, err = h.Redeem(t.Context(), identity.Redemption{Token: link.Token, Password: "another password"})
	wantCode(t, err, connectors.CodeUnauthenticated)
}

func TestFirstRun(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	if _, ok, err := h.FirstRun(t.Context(), "", time.Hour); ok || err != nil {
		t.Fatalf("a first run where there are people: %v %v", ok, err)
	}
	old, ok, err := h.FirstRun(t.Context(), "fresh", time.Hour)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	link, _, err := h.FirstRun(t.Context(), "fresh", time.Hour)
	must(t, err)
	_, err = h.Redeem(t.Context(), identity.Redemption{Token: old.Token, User: "boss", Password: password})
	wantCode(t, err, connectors.CodeUnauthenticated) // the newer one ended it
	for _, in := range []identity.Redemption{{User: "boss"}, {User: "b o s s", Password: password}, {User: "boss", Password: "short"}} {
		in.Token = link.Token
		_, err = h.Redeem(t.Context(), in)
		wantCode(t, err, connectors.CodeBadInput)
	}
	s, err := h.Redeem(t.Context(), identity.Redemption{Token: link.Token, User: "Boss", Name: "The Boss", Password: password})
	must(t, err)
	p := h.mustBe(s.Token, "user:boss")
	if p.Tenant != "fresh" || p.Name != "The Boss" || len(p.Roles) != 1 || p.Roles[0] != "owner" || !p.Interactive {
		t.Fatalf("%+v", p)
	}
	_, err = h.Redeem(t.Context(), identity.Redemption{Token: link.Token, User: "boss2", Password: password})
	wantCode(t, err, connectors.CodeUnauthenticated)
	if _, ok, err := h.FirstRun(t.Context(), "fresh", time.Hour); ok || err != nil {
		t.Fatal(ok, err)
	}
}

func TestDevice(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	d, err := h.StartDevice(t.Context(), "", "192.0.2.1", "countersign login on laptop")
	must(t, err)
	if len(d.UserCode) != 9 || d.UserCode[4] != '-' || !d.ExpiresAt.After(h.clock.now()) {
		t.Fatalf("%+v", d)
	}
	_, err = h.PollDevice(t.Context(), d.DeviceCode)
	if !errors.Is(err, identity.ErrAuthorizationPending) {
		t.Fatal(err)
	}
	signedIn := h.signIn("maria@acme.example")
	maria := h.mustBe(signedIn.Token, "user:maria@acme.example")
	at := h.clock.now()
	h.clock.pass(5 * time.Minute)

	agent := &policy.Principal{ID: "agent:helper", Kind: policy.Agent, Tenant: "default", Interactive: true}
	keyed := *maria
	keyed.Interactive = false
	for _, by := range []*policy.Principal{nil, policy.AnonymousPrincipal(), agent, &keyed} {
		_, err := h.PendingDevice(t.Context(), by, d.UserCode)
		wantCode(t, err, connectors.CodeSignInRequired)
		wantCode(t, h.DecideDevice(t.Context(), by, d.UserCode, true), connectors.CodeSignInRequired)
	}
	wantCode(t, h.DecideDevice(t.Context(), maria, "BBBB-BBBB", true), connectors.CodeNotFound)
	wantCode(t, h.DecideDevice(t.Context(), maria, d.DeviceCode, true), connectors.CodeNotFound)

	pending, err := h.PendingDevice(t.Context(), maria, strings.ToLower(strings.ReplaceAll(d.UserCode, "-", " ")))
	if err != nil || pending.Client != "countersign login on laptop" {
		t.Fatal(pending, err)
	}
	must(t, h.DecideDevice(t.Context(), maria, d.UserCode, true))
	wantCode(t, h.DecideDevice(t.Context(), maria, d.UserCode, false), connectors.CodeNotFound)

	var wg sync.WaitGroup
	var token atomic.Pointer[identity.Session]
	var won atomic.Int32
	for range 8 {
		wg.Go(func() {
			if s, err := h.PollDevice(t.Context(), d.DeviceCode); err == nil {
				won.Add(1)
				token.Store(s)
			} else if !errors.Is(err, identity.ErrExpiredToken) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d sessions for one approval", won.Load())
	}
	p := h.mustBe(token.Load().Token, "user:maria@acme.example")
	if !p.Interactive || !p.SignedInAt.Equal(at) {
		t.Fatalf("the session is as fresh as the sign-in that approved it: %v, not %v", p.SignedInAt, at)
	}
}

func TestDeviceDeniedAndOver(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	maria := h.mustBe(h.signIn("maria@acme.example").Token, "user:maria@acme.example")
	d, err := h.StartDevice(t.Context(), "", "a", "")
	must(t, err)
	must(t, h.DecideDevice(t.Context(), maria, d.UserCode, false))
	if _, err := h.PollDevice(t.Context(), d.DeviceCode); !errors.Is(err, identity.ErrAccessDenied) {
		t.Fatal(err)
	}
	if d, err = h.StartDevice(t.Context(), "", "a", ""); err != nil {
		t.Fatal(err)
	}
	must(t, h.DecideDevice(t.Context(), maria, d.UserCode, true))
	must(t, h.Suspend(t.Context(), nil, "", maria.ID, true))
	_, err = h.PollDevice(t.Context(), d.DeviceCode)
	wantCode(t, err, connectors.CodeSuspended)
	must(t, h.Suspend(t.Context(), nil, "", maria.ID, false))
	h.clock.pass(10 * time.Minute)
	for _, code := range []string{d.DeviceCode, "csd_" + strings.Repeat("A", 43), "", d.UserCode} {
		if _, err := h.PollDevice(t.Context(), code); !errors.Is(err, identity.ErrExpiredToken) {
			t.Fatalf("%q: %v", code, err)
		}
	}
	// Guessing codes is bounded per person, starting per address.
	var limited bool
	for range 20 {
		_, err := h.PendingDevice(t.Context(), maria, "BBBB-BBBB")
		limited = limited || connectors.CodeOf(err) == connectors.CodeRateLimited
	}
	if !limited {
		t.Fatal("codes can be guessed without end")
	}
	limited = false
	for range 40 {
		_, err := h.StartDevice(t.Context(), "", "b", "")
		limited = limited || connectors.CodeOf(err) == connectors.CodeRateLimited
	}
	if !limited {
		t.Fatal("one address may begin without end")
	}
}
