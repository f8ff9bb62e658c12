package policy_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/policy"
)

func TestSatisfied(t *testing.T) {
	lead := func(n int) policy.Seat { return policy.Seat{Role: "lead", Count: n} }
	fin := policy.Seat{Role: "finance", Count: 1}
	confirm := policy.Seat{Confirm: true, Count: 1, Else: []policy.Seat{lead(1)}}
	who := func(id string, roles ...string) policy.Approver { return policy.Approver{ID: id, Roles: roles} }
	requester := policy.Approver{ID: "r", Roles: []string{"lead", "finance"}, Requester: true}
	for name, c := range map[string]struct {
		seats     []policy.Seat
		approvers []policy.Approver
		missing   []policy.Seat
	}{
		"no seats are never satisfied":     {nil, []policy.Approver{who("a", "lead")}, nil},
		"nobody":                           {[]policy.Seat{lead(1)}, nil, []policy.Seat{lead(1)}},
		"one of two":                       {[]policy.Seat{lead(2)}, []policy.Approver{who("a", "lead")}, []policy.Seat{lead(1)}},
		"one person counts once":           {[]policy.Seat{lead(2)}, []policy.Approver{who("a", "lead"), who("a", "lead")}, []policy.Seat{lead(1)}},
		"one person sits in one seat":      {[]policy.Seat{lead(1), fin}, []policy.Approver{who("a", "lead", "finance")}, []policy.Seat{fin}},
		"a wrong role":                     {[]policy.Seat{lead(1)}, []policy.Approver{who("a", "support")}, []policy.Seat{lead(1)}},
		"a seat of no role":                {[]policy.Seat{{Count: 1}}, []policy.Approver{who("a", "")}, []policy.Seat{{Count: 1}}},
		"only the requester confirms":      {[]policy.Seat{confirm}, []policy.Approver{who("a", "lead")}, []policy.Seat{confirm}},
		"the requester sits nowhere else":  {[]policy.Seat{lead(1)}, []policy.Approver{requester}, []policy.Seat{lead(1)}},
		"the requester under another name": {[]policy.Seat{lead(1)}, []policy.Approver{requester, who("r", "lead")}, []policy.Seat{lead(1)}},
	} {
		ok, missing := policy.Satisfied(c.seats, c.approvers)
		if ok || !reflect.DeepEqual(missing, c.missing) {
			t.Errorf("%s: %v, missing %v", name, ok, missing)
		}
	}
	for name, c := range map[string]struct {
		seats     []policy.Seat
		approvers []policy.Approver
	}{
		"who could do both makes room": {[]policy.Seat{lead(1), fin}, []policy.Approver{who("a", "lead", "finance"), who("b", "lead")}},
		"three leads for two":          {[]policy.Seat{lead(2)}, []policy.Approver{who("a", "lead"), who("b", "lead"), who("c", "lead")}},
		"a count of zero is one":       {[]policy.Seat{{Role: "lead"}}, []policy.Approver{who("a", "lead")}},
		"confirm and a role":           {[]policy.Seat{confirm, fin}, []policy.Approver{requester, who("b", "finance")}},
	} {
		if ok, missing := policy.Satisfied(c.seats, c.approvers); !ok || missing != nil {
			t.Errorf("%s: %v, missing %v", name, ok, missing)
		}
	}
	if requester.May([]policy.Seat{lead(1)}) || !requester.May([]policy.Seat{confirm}) || !who("a", "lead").May([]policy.Seat{fin, lead(1)}) {
		t.Error("May does not say who could sit")
	}
}

// TestSatisfiedByTrying compares the matching with trying every way to seat
// people.
func TestSatisfiedByTrying(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roles := []string{"a", "b", "c"}
		var seats []policy.Seat
		for range rapid.IntRange(1, 3).Draw(t, "seats") {
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				seats = append(seats, policy.Seat{Confirm: true, Count: 1})
				continue
			}
			seats = append(seats, policy.Seat{Role: rapid.SampledFrom(roles).Draw(t, "role"), Count: rapid.IntRange(1, 2).Draw(t, "count")})
		}
		var people []policy.Approver
		for i := range rapid.IntRange(0, 5).Draw(t, "people") {
			people = append(people, policy.Approver{ID: fmt.Sprint(i), Requester: rapid.IntRange(0, 4).Draw(t, "requester") == 0,
				Roles: rapid.SliceOfNDistinct(rapid.SampledFrom(roles), 0, 3, rapid.ID[string]).Draw(t, "roles")})
		}
		var places []policy.Seat
		for _, s := range seats {
			for range s.Count {
				places = append(places, s)
			}
		}
		most := tryAll(places, people, map[string]bool{})
		ok, missing := policy.Satisfied(seats, people)
		left := 0
		for _, m := range missing {
			left += m.Count
		}
		if ok != (most == len(places)) || left != len(places)-most {
			t.Fatalf("%v for %v: %v with %d left; at most %d of %d can be seated", people, seats, ok, left, most, len(places))
		}
	})
}

func tryAll(places []policy.Seat, people []policy.Approver, taken map[string]bool) int {
	if len(places) == 0 {
		return 0
	}
	best := tryAll(places[1:], people, taken)
	for _, p := range people {
		if taken[p.ID] {
			continue
		}
		fits := p.Requester && places[0].Confirm
		for _, r := range p.Roles {
			fits = fits || !p.Requester && !places[0].Confirm && r == places[0].Role
		}
		if fits {
			taken[p.ID] = true
			best = max(best, 1+tryAll(places[1:], people, taken))
			delete(taken, p.ID)
		}
	}
	return best
}

func TestResolve(t *testing.T) {
	lead, two := policy.Seat{Role: "lead", Count: 1}, policy.Seat{Role: "lead", Count: 2}
	confirm := policy.Seat{Confirm: true, Count: 1, Else: []policy.Seat{lead}}
	bare := policy.Seat{Confirm: true, Count: 1}
	for name, c := range map[string]struct {
		in   []policy.Seat
		may  bool
		want []policy.Seat
	}{
		"somebody may confirm":         {[]policy.Seat{confirm}, true, []policy.Seat{confirm}},
		"nobody may: else":             {[]policy.Seat{confirm}, false, []policy.Seat{lead}},
		"else joins seats of its role": {[]policy.Seat{confirm, two}, false, []policy.Seat{two}},
		"without else it stays, unmet": {[]policy.Seat{bare}, false, []policy.Seat{bare}},
		"seats of a role are one":      {[]policy.Seat{lead, two}, true, []policy.Seat{two}},
		"one without else is unmet":    {[]policy.Seat{confirm, bare}, false, []policy.Seat{bare, lead}},
	} {
		if got := policy.Resolve(c.in, c.may); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCombine(t *testing.T) {
	review := func(rule string, expire time.Duration, seats ...policy.Seat) policy.Routing {
		return policy.Routing{Then: policy.ThenReview, Rule: rule, PolicyVersion: "v", Seats: seats, Veto: 2, Expire: expire}
	}
	approve := policy.Routing{Then: policy.ThenApprove, Rule: "dust", PolicyVersion: "v", Veto: 1, Expire: time.Hour}
	reject := policy.Routing{Then: policy.ThenReject, Rule: "never", Say: "no", PolicyVersion: "v", Veto: 1, Expire: time.Hour}
	lead, leads, fin := policy.Seat{Role: "lead", Count: 1}, policy.Seat{Role: "lead", Count: 2}, policy.Seat{Role: "finance", Count: 1}
	confirm := policy.Seat{Confirm: true, Count: 1, Else: []policy.Seat{lead}}
	bare := policy.Seat{Confirm: true, Count: 1}
	for name, c := range map[string]struct {
		in   []policy.Routing
		want string
	}{
		"largest count, shortest expiry": {[]policy.Routing{review("a", 9*time.Hour, lead, fin), review("b", 5*time.Hour, leads)}, "review by a,b 1×finance 2×lead veto 2 expire 5h0m0s"},
		"approved only if all are":       {[]policy.Routing{approve, review("a", 9*time.Hour, lead)}, "review by a 1×lead veto 1 expire 1h0m0s"},
		"all approved":                   {[]policy.Routing{approve, approve}, "approve by dust veto 1 expire 1h0m0s"},
		"one reject rejects all":         {[]policy.Routing{approve, review("a", 9*time.Hour, lead), reject}, `reject by never saying "no" veto 1 expire 1h0m0s`},
		"one person confirms once":       {[]policy.Routing{review("a", time.Hour, confirm), review("b", time.Hour, confirm, fin)}, "review by a,b confirm/else 1×lead 1×finance veto 2 expire 1h0m0s"},
		"an else for all or for none":    {[]policy.Routing{review("a", time.Hour, confirm), review("b", time.Hour, bare)}, "review by a,b confirm veto 2 expire 1h0m0s"},
		"the zero routing approves not":  {[]policy.Routing{{}, approve}, "review veto 0 expire 0s"},
	} {
		if got := routingText(policy.Combine(c.in)); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := policy.Combine(nil); !reflect.DeepEqual(got, policy.Routing{}) {
		t.Errorf("of nothing: %v", got)
	}
}
