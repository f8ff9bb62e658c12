package gateway

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/policy"
)

var someRoles = []string{"*", "anonymous", "a", "b", "c"}

// drawn draws limits; a field may be not said, unless whole.
func drawn(t *rapid.T, whole bool) Limits {
	low := 0
	if whole {
		low = 1
	}
	n := func(name string) int { return rapid.IntRange(low, 3).Draw(t, name) }
	return Limits{Depth: n("depth"), Aliases: n("aliases"), Tokens: n("tokens"), Cost: n("cost"), Page: n("page"), MaxRows: n("rows"),
		Body: int64(n("body")), Rows: n("records"), Response: int64(n("response")), Batch: n("batch"), Timeout: time.Duration(n("timeout")), Introspection: Switch(rapid.IntRange(low, 2).Draw(t, "introspection")),
		Documents: Documents(rapid.IntRange(low, 2).Draw(t, "documents"))}
}

func drawnLimits(t *rapid.T) RoleLimits {
	out := RoleLimits{"*": drawn(t, true)}
	for _, role := range someRoles[1:] {
		if rapid.Bool().Draw(t, "has "+role) {
			out[role] = drawn(t, false)
		}
	}
	return out
}

func drawnPrincipal(t *rapid.T) *policy.Principal {
	p := &policy.Principal{Kind: policy.Human, Roles: rapid.SliceOfNDistinct(rapid.SampledFrom(someRoles[2:]), 0, 3, rapid.ID).Draw(t, "roles")}
	if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
		return &policy.Principal{Kind: policy.Anonymous}
	}
	return p
}

func rolesOf(p *policy.Principal) []string { return append([]string{"*"}, p.Roles...) }

// fields are all limits as numbers, so that none is left out of a comparison.
func fields(l Limits) []int64 {
	v := reflect.ValueOf(l)
	out := make([]int64, v.NumField())
	for i := range out {
		if f := v.Field(i); f.CanUint() {
			out[i] = int64(f.Uint())
		} else {
			out[i] = f.Int()
		}
	}
	return out
}

// Of one person: the largest that any of their roles says, else everybody's. Of
// a chain: the smallest of each link.
func TestRoleLimitsAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := drawnLimits(t)
		p := drawnPrincipal(t)
		link := *p
		if p.Kind != policy.Anonymous && rapid.Bool().Draw(t, "chain") {
			link.For = drawnPrincipal(t)
		}
		one := func(p *policy.Principal) []int64 {
			said := [][]int64{}
			roles := p.Roles
			if p.Kind == policy.Anonymous {
				roles = []string{"anonymous"}
			}
			base := fields(limits["*"])
			for _, r := range roles {
				if l, ok := limits[r]; ok {
					row := fields(l)
					for i := range row {
						if row[i] == 0 {
							row[i] = base[i]
						}
					}
					said = append(said, row)
				}
			}
			if len(said) == 0 {
				return base
			}
			out := slices.Clone(said[0])
			for _, row := range said {
				for i := range row {
					out[i] = max(out[i], row[i])
				}
			}
			return out
		}
		want := one(&link)
		if link.For != nil {
			for i, n := range one(link.For) {
				want[i] = min(want[i], n)
			}
		}
		got := fields(limits.For(&link, rolesOf))
		if !slices.Equal(got, want) {
			t.Fatalf("%+v with %+v: %v, not %v", link, limits, got, want)
		}
		if slices.Contains(got, 0) {
			t.Fatalf("a limit of nothing: %v", got)
		}
	})
}

// A role more never takes anything, somebody behind never gives anything.
func TestRoleLimitsAreMonotonous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := drawnLimits(t)
		p := drawnPrincipal(t)
		alone := fields(limits.For(p, rolesOf))
		chained := *p
		chained.For = drawnPrincipal(t)
		for i, n := range fields(limits.For(&chained, rolesOf)) {
			if n > alone[i] {
				t.Fatalf("acting for somebody gives more: field %d: %d > %d", i, n, alone[i])
			}
		}
		behind := fields(limits.For(chained.For, rolesOf))
		for i, n := range fields(limits.For(&chained, rolesOf)) {
			if n > behind[i] {
				t.Fatalf("an agent has more than who it acts for: field %d: %d > %d", i, n, behind[i])
			}
		}
	})
}
