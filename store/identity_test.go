package store_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/store"
)

func sampleRecord(tenant, id string, at time.Time) *identity.Record {
	return &identity.Record{Tenant: tenant, ID: id, Kind: policy.Human, Name: "Ünï \x00 ' \" ☃", Password: "$x$", Owner: "user:o", Suspended: true, CreatedAt: at,
		Grants: []identity.Grant{{Provider: identity.LocalProvider, Roles: []string{"a", "b"}, AsOf: at,
			Claims: map[string]connectors.Value{"n": connectors.Int(7), "l": connectors.ListOf(connectors.String("x"), connectors.Null)}}}}
}

func sampleCredential(tenant, id string, at time.Time) *identity.Credential {
	return &identity.Credential{ID: id, Tenant: tenant, Kind: identity.KindKey, Hash: "hash-" + id, Alias: "alias-" + id, Principal: "user:a", For: "user:b", Label: "l",
		CreatedAt: at, CreatedBy: "user:c", ExpiresAt: at.Add(time.Hour), LastUsedAt: at, SignedInAt: at.Add(-time.Minute)}
}

func save(s *store.Store, t *testing.T, c identity.Change) error {
	return s.SaveIdentity(t.Context(), c)
}

// TestIdentityStore is the conformance suite of identity.Store.
func TestIdentityStore(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		at, err := s.Now(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r, c := sampleRecord("default", "user:a", at), sampleCredential("default", "c1", at)
		note := identity.Note{Kind: "identity.tested", Tenant: "default", Subject: "user:a", By: &policy.Principal{ID: "user:x", Kind: policy.Human, CredentialID: "k"}, Details: map[string]string{"why": "test"}}
		if err := save(s, t, identity.Change{Records: []*identity.Record{r}, Credentials: []*identity.Credential{c}, Notes: []identity.Note{note}}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Record(t.Context(), "default", "user:a")
		if err != nil {
			t.Fatal(err)
		}
		r.Version = 1
		if !reflect.DeepEqual(got, r) {
			t.Fatalf("got  %+v\nwant %+v", got, r)
		}
		c.Version = 1
		for _, hash := range []string{c.Hash, c.Alias} {
			got, now, err := s.Credential(t.Context(), hash)
			if err != nil || !reflect.DeepEqual(got, c) || now.Before(at) || now.Location() != time.UTC {
				t.Fatalf("%+v %v %v", got, now, err)
			}
		}
		events, err := s.Events(t.Context(), "default", "user:a", 0, 10)
		if err != nil || len(events) != 1 || events[0].Kind != "identity.tested" || events[0].Actors[0].Credential != "k" || string(events[0].Payload) != `{"why":"test"}` || events[0].At.Before(at) {
			t.Fatalf("%+v %v", events, err)
		}
		notFound(t, s)
		conflicts(t, s, at)
		lists(t, s, at)
	})
}

func notFound(t *testing.T, s *store.Store) {
	t.Helper()
	for _, tenant := range []string{"other", ""} {
		if _, err := s.Record(t.Context(), tenant, "user:a"); !errors.Is(err, identity.ErrNotFound) {
			t.Fatal(err)
		}
	}
	for _, hash := range []string{"", "x", "alias-"} {
		if _, _, err := s.Credential(t.Context(), hash); !errors.Is(err, identity.ErrNotFound) {
			t.Fatal(err)
		}
	}
}

// conflicts wants nothing written of a change of which one row moved.
func conflicts(t *testing.T, s *store.Store, at time.Time) {
	t.Helper()
	before, err := s.Events(t.Context(), "default", "", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	fresh := func(i int) *identity.Record { return sampleRecord("default", fmt.Sprint("user:fresh", i), at) }
	again := sampleRecord("default", "user:a", at)
	stale := sampleRecord("default", "user:a", at)
	stale.Version = 7
	missing := sampleRecord("other", "user:a", at)
	missing.Version = 1
	sameHash, sameAlias := sampleCredential("default", "c2", at), sampleCredential("other", "c3", at)
	sameHash.Hash, sameAlias.Alias = "hash-c1", "alias-c1"
	foreign := sampleCredential("other", "c1", at)
	foreign.Version = 1
	note := identity.Note{Kind: "identity.tested", Tenant: "default", Subject: "x"}
	for i, c := range []identity.Change{
		{Records: []*identity.Record{fresh(1), again}}, {Records: []*identity.Record{fresh(2), stale}}, {Records: []*identity.Record{fresh(3), missing}},
		{Records: []*identity.Record{fresh(4)}, Credentials: []*identity.Credential{sampleCredential("default", "c1", at)}},
		{Records: []*identity.Record{fresh(5)}, Credentials: []*identity.Credential{sameHash}},
		{Records: []*identity.Record{fresh(6)}, Credentials: []*identity.Credential{sameAlias}},
		{Records: []*identity.Record{fresh(7)}, Credentials: []*identity.Credential{foreign}},
	} {
		c.Notes = []identity.Note{note}
		if err := save(s, t, c); !errors.Is(err, identity.ErrConflict) {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	for i := range 8 {
		if _, err := s.Record(t.Context(), "default", fresh(i).ID); !errors.Is(err, identity.ErrNotFound) {
			t.Fatalf("half of change %d was kept: %v", i, err)
		}
	}
	after, err := s.Events(t.Context(), "default", "", 0, 1000)
	if err != nil || len(after) != len(before) {
		t.Fatalf("%d events before, %d after: %v", len(before), len(after), err)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			c := sampleCredential("default", "c1", at)
			c.Version, c.UsedAt = 1, at
			switch err := save(s, t, identity.Change{Credentials: []*identity.Credential{c}}); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, identity.ErrConflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d of 16 compare-and-swaps won", won.Load())
	}
}

func lists(t *testing.T, s *store.Store, at time.Time) {
	t.Helper()
	agent := sampleRecord("default", "agent:a", at)
	agent.Kind = policy.Agent
	session := sampleCredential("default", "c4", at)
	session.Kind, session.Alias = identity.KindSession, ""
	bare := sampleCredential("default", "c5", at)
	bare.Alias, bare.Principal = "", "user:z" // two without an alias do not collide
	change := identity.Change{Records: []*identity.Record{agent, sampleRecord("default", "user:0", at), sampleRecord("other", "user:a", at)}, Credentials: []*identity.Credential{session, bare}}
	if err := save(s, t, change); err != nil {
		t.Fatal(err)
	}
	people, err := s.Records(t.Context(), "default", policy.Human)
	if err != nil || len(people) != 2 || people[0].ID != "user:0" || people[1].ID != "user:a" {
		t.Fatalf("%+v %v", people, err)
	}
	for f, want := range map[identity.Filter]int{{}: 3, {Kind: identity.KindSession}: 1, {Principal: "user:a"}: 2, {ID: "c1"}: 1, {ID: "c1", Kind: identity.KindSession}: 0} {
		got, err := s.Credentials(t.Context(), "default", f)
		if err != nil || len(got) != want {
			t.Fatalf("%+v: %d %v", f, len(got), err)
		}
	}
	if got, err := s.Credentials(t.Context(), "other", identity.Filter{ID: "c1"}); err != nil || len(got) != 0 {
		t.Fatalf("%+v %v", got, err)
	}
}

// TestIdentityOverBoth runs the way of a person and an agent over both
// databases, with the store's real clock.
func TestIdentityOverBoth(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		who, err := identity.New(identity.Config{LocalUsers: true, Password: identity.PasswordCost{MemoryKiB: 64, Passes: 1, Threads: 1},
			Agents: map[string]identity.Agent{"a": {Owner: "boss", Roles: []string{"r"}}}}, s, identity.Options{})
		if err != nil {
			t.Fatal(err)
		}
		link, ok, err := who.FirstRun(t.Context(), "", time.Hour)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		session, err := who.Redeem(t.Context(), identity.Redemption{Token: link.Token, User: "boss", Password: "a long password"})
		if err != nil {
			t.Fatal(err)
		}
		boss, err := who.Authenticate(t.Context(), identity.Credentials{Cookie: session.Token})
		if err != nil || boss.ID != "user:boss" || !boss.Interactive {
			t.Fatal(boss, err)
		}
		key, err := who.CreateKey(t.Context(), boss, identity.NewKey{Principal: "agent:a", For: boss.ID})
		if err != nil {
			t.Fatal(err)
		}
		agent, err := who.Authenticate(t.Context(), identity.Credentials{Bearer: key.Token})
		if err != nil || agent.For.ID != boss.ID {
			t.Fatal(agent, err)
		}
		if err := who.Revoke(t.Context(), boss, "", key.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := who.Authenticate(t.Context(), identity.Credentials{Bearer: key.Token}); connectors.CodeOf(err) != connectors.CodeUnauthenticated {
			t.Fatal(err)
		}
		if _, err := who.SignIn(t.Context(), identity.Attempt{User: "boss", Password: "a long password"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Credentials(t.Context(), policy.DefaultTenant, identity.Filter{}); err != nil {
			t.Fatal(err)
		}
		sealAll(t, s)
		if w := verify(t, s).Wrong(); w != nil {
			t.Fatal(w)
		}
	})
}
