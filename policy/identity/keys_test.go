package identity_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

const (
	maria = "user:maria@acme.example"
	lead  = "user:lead@acme.example"
)

func TestAgentKey(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	must(t, h.SetClaims(t.Context(), nil, "", maria, map[string]connectors.Value{"region": connectors.String("EU")}))
	key, err := h.CreateKey(t.Context(), nil, identity.NewKey{Principal: "agent:triage", For: maria, Label: "laptop"})
	must(t, err)
	if !strings.HasPrefix(key.Token, "cs_") {
		t.Fatal(key.Token)
	}
	p := h.mustBe(key.Token, "agent:triage")
	if p.Kind != policy.Agent || p.Interactive || p.Owner != lead || p.CredentialID != key.ID || !slices.Equal(p.Roles, []string{"agent-support"}) {
		t.Fatalf("%+v", p)
	}
	person := p.For
	if person == nil || person.ID != maria || person.Interactive || !person.SignedInAt.IsZero() || !person.Claims["region"].Equal(connectors.String("EU")) {
		t.Fatalf("%+v", person)
	}
	// The person behind it is suspended: the agent may nothing for them.
	must(t, h.Suspend(t.Context(), nil, "", maria, true))
	_, err = h.who(key.Token)
	wantCode(t, err, connectors.CodeSuspended)
	must(t, h.Suspend(t.Context(), nil, "", maria, false))
	h.mustBe(key.Token, "agent:triage")
	must(t, h.Suspend(t.Context(), nil, "", "agent:triage", true))
	_, err = h.who(key.Token)
	wantCode(t, err, connectors.CodeSuspended)
	infos, err := h.Agents(t.Context(), "")
	if err != nil || len(infos) != 3 || !infos[2].Suspended || infos[0].Suspended {
		t.Fatalf("%+v %v", infos, err)
	}
	must(t, h.Suspend(t.Context(), nil, "", "agent:triage", false))
	h.mustBe(key.Token, "agent:triage")
	// Gone from the configuration, its keys are worth nothing.
	without := h.node(func(c *identity.Config) { delete(c.Agents, "triage") }, identity.Options{})
	_, err = without.Authenticate(t.Context(), identity.Credentials{Bearer: key.Token})
	wantCode(t, err, connectors.CodeUnauthenticated)
	// What was a binding that fits may fit no more.
	never := h.node(func(c *identity.Config) {
		a := c.Agents["triage"]
		a.ActsFor = identity.ActsForNever
		c.Agents["triage"] = a
	}, identity.Options{})
	_, err = never.Authenticate(t.Context(), identity.Credentials{Bearer: key.Token})
	wantCode(t, err, connectors.CodeForbidden)
	list, err := h.Credentials(t.Context(), "", identity.KindKey, "agent:triage")
	if err != nil || len(list) != 1 || list[0].For != maria || list[0].Label != "laptop" || !list[0].Live {
		t.Fatalf("%+v %v", list, err)
	}
	must(t, h.Revoke(t.Context(), nil, "", key.ID))
	must(t, h.Revoke(t.Context(), nil, "", key.ID))
	_, err = h.who(key.Token)
	wantCode(t, err, connectors.CodeUnauthenticated)
	wantCode(t, h.Revoke(t.Context(), nil, "", "unknown"), connectors.CodeNotFound)
	wantCode(t, h.Revoke(t.Context(), nil, "other", key.ID), connectors.CodeNotFound)
	wantCode(t, h.Revoke(t.Context(), nil, "", ""), connectors.CodeNotFound)
}

func TestKeysThatCannotBe(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	for _, c := range []struct {
		key  identity.NewKey
		code connectors.Code
	}{
		{identity.NewKey{Principal: "agent:nobody"}, connectors.CodeNotFound},
		{identity.NewKey{Principal: "user:nobody"}, connectors.CodeNotFound},
		{identity.NewKey{Principal: ""}, connectors.CodeNotFound},
		{identity.NewKey{Principal: "agent:housekeeping", For: maria}, connectors.CodeForbidden},
		{identity.NewKey{Principal: "agent:helper", For: "user:nobody"}, connectors.CodeNotFound},
		{identity.NewKey{Principal: "agent:helper", For: "agent:triage"}, connectors.CodeNotFound},
		{identity.NewKey{Principal: maria, For: lead}, connectors.CodeBadInput},
	} {
		_, err := h.CreateKey(t.Context(), nil, c.key)
		if connectors.CodeOf(err) != c.code {
			t.Errorf("%+v: %v, want %s", c.key, err, c.code)
		}
	}
}

func TestKeysEnd(t *testing.T) {
	h := newHouse(t, func(c *identity.Config) { c.APIKeyMaxAge = 48 * time.Hour }, identity.Options{})
	short, err := h.CreateKey(t.Context(), nil, identity.NewKey{Principal: "agent:housekeeping", Lives: time.Hour})
	must(t, err)
	long, err := h.CreateKey(t.Context(), nil, identity.NewKey{Principal: "agent:helper", Lives: 1000 * time.Hour})
	must(t, err)
	h.mustBe(short.Token, "agent:housekeeping")
	h.clock.pass(time.Hour)
	_, err = h.who(short.Token)
	wantCode(t, err, connectors.CodeUnauthenticated)
	h.clock.pass(24 * time.Hour)
	if p := h.mustBe(long.Token, "agent:helper"); p.For != nil || !slices.Equal(p.Roles, []string{"a", "b"}) {
		t.Fatalf("%+v", p)
	}
	// A maximum that was lowered holds for keys that are there.
	lower := h.node(func(c *identity.Config) { c.APIKeyMaxAge = 25 * time.Hour }, identity.Options{})
	_, err = lower.Authenticate(t.Context(), identity.Credentials{Bearer: long.Token})
	wantCode(t, err, connectors.CodeUnauthenticated)
	h.clock.pass(23 * time.Hour)
	_, err = h.who(long.Token)
	wantCode(t, err, connectors.CodeUnauthenticated)
}

func TestServiceAndPersonKeys(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	must(t, h.AddService(t.Context(), nil, "", "billing", lead, []string{"r"}))
	wantCode(t, h.AddService(t.Context(), nil, "", "billing", lead, nil), connectors.CodeUniqueViolation)
	wantCode(t, h.AddService(t.Context(), nil, "", "a b", lead, nil), connectors.CodeBadInput)
	key, err := h.CreateKey(t.Context(), nil, identity.NewKey{Principal: "service:billing"})
	must(t, err)
	if p := h.mustBe(key.Token, "service:billing"); p.Kind != policy.Service || p.Interactive || p.Owner != lead || !slices.Equal(p.Roles, []string{"r"}) {
		t.Fatalf("%+v", p)
	}
	key, err = h.CreateKey(t.Context(), nil, identity.NewKey{Principal: maria})
	must(t, err)
	if p := h.mustBe(key.Token, maria); p.Interactive {
		t.Fatal("a person's key is not interactive")
	}
	must(t, h.RevokeAll(t.Context(), nil, "", identity.KindKey, maria))
	_, err = h.who(key.Token)
	wantCode(t, err, connectors.CodeUnauthenticated)
	wantCode(t, h.RevokeAll(t.Context(), nil, "", identity.KindKey, ""), connectors.CodeBadInput)
}

func TestIssuedSession(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	s, err := h.IssueSession(t.Context(), "", maria, "demo")
	must(t, err)
	if p := h.mustBe(s.Token, maria); !p.Interactive {
		t.Fatal("not interactive")
	}
	_, err = h.IssueSession(t.Context(), "", "agent:triage", "demo")
	wantCode(t, err, connectors.CodeNotFound)
	must(t, h.RevokeAll(t.Context(), nil, "", identity.KindSession, maria))
	_, err = h.who(s.Token)
	wantCode(t, err, connectors.CodeUnauthenticated)
}

func TestDirectory(t *testing.T) {
	h := newHouse(t, nil, identity.Options{})
	var directory policy.Directory = h.Service
	p, asOf, err := directory.Current(t.Context(), policy.DefaultTenant, maria)
	if err != nil || p.Interactive || p.CredentialID != "" || !asOf.Equal(h.clock.now()) || !slices.Equal(p.Roles, []string{"support"}) {
		t.Fatalf("%+v %v %v", p, asOf, err)
	}
	p, _, err = directory.Current(t.Context(), policy.DefaultTenant, "agent:triage")
	if err != nil || p.Kind != policy.Agent || p.For != nil || p.Owner != lead {
		t.Fatalf("%+v %v", p, err)
	}
	holders, err := directory.Holders(t.Context(), policy.DefaultTenant, []string{"lead", "support"})
	if err != nil || !slices.Equal(holders, []string{lead, maria}) {
		t.Fatal(holders, err)
	}
	must(t, h.Suspend(t.Context(), nil, "", lead, true))
	must(t, h.Suspend(t.Context(), nil, "", "agent:triage", true))
	if holders, err = directory.Holders(t.Context(), policy.DefaultTenant, []string{"lead", "support"}); err != nil || !slices.Equal(holders, []string{maria}) {
		t.Fatal(holders, err)
	}
	if holders, err = directory.Holders(t.Context(), "other", []string{"lead", "support"}); err != nil || len(holders) != 0 {
		t.Fatal(holders, err)
	}
	for _, id := range []string{lead, "agent:triage", "agent:nobody", "user:nobody", ""} {
		_, _, err := directory.Current(t.Context(), policy.DefaultTenant, id)
		wantCode(t, err, connectors.CodeForbidden)
		if err.Error() != "FORBIDDEN: unknown, suspended or revoked" {
			t.Fatalf("tells them apart: %v", err)
		}
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	for name, cfg := range map[string]identity.Config{
		"agent's name":   {Agents: map[string]identity.Agent{"A b": {Owner: "x"}}},
		"no owner":       {Agents: map[string]identity.Agent{"a": {}}},
		"actsFor":        {Agents: map[string]identity.Agent{"a": {Owner: "x", ActsFor: "sometimes"}}},
		"issuer":         {Issuers: []identity.Issuer{{Issuer: "acme", Audience: "x"}}},
		"audience":       {Issuers: []identity.Issuer{{Issuer: "https://acme.example"}}},
		"kind":           {Issuers: []identity.Issuer{{Issuer: "https://acme.example", Audience: "x", Kind: policy.Agent}}},
		"subject":        {Issuers: []identity.Issuer{{Issuer: "https://acme.example", Audience: "x", Subject: "name"}}},
		"the same twice": {Issuers: []identity.Issuer{{Issuer: "https://acme.example", Audience: "x"}, {Issuer: "https://acme.example", Audience: "y"}}},
	} {
		if _, err := identity.New(cfg, nil, identity.Options{}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
