package store_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/store"
)

// TestPersonsAgainstOracle: whatever is bonded and unbonded, accounts are of one
// person exactly where a path leads from one to the other.
func TestPersonsAgainstOracle(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		var tenants atomic.Int64
		rapid.Check(t, func(rt *rapid.T) {
			tenant := fmt.Sprintf("t%d", tenants.Add(1))
			ids := []string{"user:a", "user:B", "user:c", "user:É", "user:e/1", "user:f"}
			id := rapid.SampledFrom(ids)
			edges := map[[2]string]bool{}
			for range rapid.IntRange(1, 3).Draw(rt, "changes") {
				var change identity.Change
				for range rapid.IntRange(0, 4).Draw(rt, "bonds") {
					b := identity.Bond{Tenant: tenant, A: id.Draw(rt, "a"), B: id.Draw(rt, "b"), How: identity.LinkByAdministrator}
					change.Bonds = append(change.Bonds, b)
					edges[[2]string{b.A, b.B}] = true
				}
				if rapid.Bool().Draw(rt, "unbond") {
					b := identity.Bond{Tenant: tenant, A: id.Draw(rt, "a"), B: id.Draw(rt, "b")}
					change.Unbonds = append(change.Unbonds, b)
					delete(edges, [2]string{b.A, b.B})
					delete(edges, [2]string{b.B, b.A})
				}
				if err := s.SaveIdentity(t.Context(), change); err != nil {
					rt.Fatal(err)
				}
			}
			got, err := s.Persons(t.Context(), tenant, ids)
			if err != nil || len(got) != len(ids) {
				rt.Fatal(got, err)
			}
			alone, err := s.Persons(t.Context(), tenant, ids[:1])
			if err != nil || alone[ids[0]] != got[ids[0]] {
				rt.Fatalf("asked alone it is %v, among others %v (%v)", alone, got, err)
			}
			for _, a := range ids {
				for _, b := range ids {
					if (got[a] == got[b]) != leads(edges, a, b, map[string]bool{}) {
						rt.Fatalf("%s and %s: %v with %v", a, b, got, edges)
					}
				}
			}
			if elsewhere, err := s.Persons(t.Context(), tenant+"x", ids); err != nil || elsewhere["user:a"] != "user:a" {
				rt.Fatalf("another tenant has %v %v", elsewhere, err)
			}
		})
	})
}

// leads is the oracle: a path, by trying.
func leads(edges map[[2]string]bool, from, to string, seen map[string]bool) bool {
	if from == to {
		return true
	}
	seen[from] = true
	for e := range edges {
		for _, next := range []string{e[0], e[1]} {
			if (e[0] == from || e[1] == from) && !seen[next] && leads(edges, next, to, seen) {
				return true
			}
		}
	}
	return false
}

// TestDueRecords lists whom a provider is to be asked about.
func TestDueRecords(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		at := time.Unix(1e9, 0).UTC()
		for i, due := range []time.Duration{0, time.Hour, time.Minute, 2 * time.Hour} {
			r := sampleRecord("default", fmt.Sprintf("user:%d", i), at)
			if due > 0 {
				r.Grants = append(r.Grants, identity.Grant{Provider: "https://x", Refresh: []byte("sealed"), RefreshAt: at.Add(due)})
			}
			if err := s.SaveIdentity(t.Context(), identity.Change{Records: []*identity.Record{r}}); err != nil {
				t.Fatal(err)
			}
		}
		found, err := s.DueRecords(t.Context(), at.Add(time.Hour), 10)
		if err != nil || len(found) != 2 || found[0].ID != "user:2" || found[1].ID != "user:1" || string(found[0].Grants[1].Refresh) != "sealed" {
			t.Fatalf("%+v %v", found, err)
		}
		r := found[0]
		r.Grants = r.Grants[:1]
		if err := s.SaveIdentity(t.Context(), identity.Change{Records: []*identity.Record{r}}); err != nil {
			t.Fatal(err)
		}
		if found, err = s.DueRecords(t.Context(), at.Add(time.Hour), 1); err != nil || len(found) != 1 || found[0].ID != "user:1" {
			t.Fatalf("%+v %v", found, err)
		}
	})
}
