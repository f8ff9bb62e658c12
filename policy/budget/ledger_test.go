package budget_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy/budget"
)

// memory is a store with a clock that is turned by hand.
type memory struct {
	mu     sync.Mutex
	now    time.Time
	used   map[budget.Key]int64
	began  map[budget.Key]time.Time
	leases int
	broken error
}

func newMemory() *memory {
	return &memory{now: time.Unix(1_700_000_000, 0).Truncate(24 * time.Hour), used: map[budget.Key]int64{}, began: map[budget.Key]time.Time{}}
}

func (m *memory) clock() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *memory) turn(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

func (m *memory) LeaseBudget(_ context.Context, key budget.Key, fn func(int64) int64) (budget.Window, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return budget.Window{}, m.broken
	}
	m.leases++
	w := m.window(key)
	w.Used += fn(w.Used)
	m.used[key], m.began[key] = w.Used, m.now.Truncate(key.Per)
	return w, nil
}

func (m *memory) Budget(_ context.Context, key budget.Key) (budget.Window, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.window(key), m.broken
}

func (m *memory) window(key budget.Key) budget.Window {
	from := m.now.Truncate(key.Per)
	w := budget.Window{Left: from.Add(key.Per).Sub(m.now)}
	if m.began[key].Equal(from) {
		w.Used = m.used[key]
	}
	return w
}

func holder(rules ...budget.Rule) []budget.Holder {
	return []budget.Holder{{Tenant: "default", Principal: "agent:triage", Rules: rules}}
}

// Over several nodes and windows: what is admitted never is more than the
// budget, and what is refused was not there, but for what other nodes hold.
func TestNeverMoreThanTheBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := newMemory()
		rule := budget.Rule{What: budget.Cost, Limit: rapid.Int64Range(1, 500).Draw(t, "limit"), Per: time.Minute}
		nodes := make([]*budget.Ledger, rapid.IntRange(1, 4).Draw(t, "nodes"))
		for i := range nodes {
			nodes[i] = budget.NewLedger(store, store.clock)
		}
		var used int64
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "turn") == 0 {
				before := store.clock().Truncate(rule.Per)
				store.turn(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
				if !store.clock().Truncate(rule.Per).Equal(before) {
					used = 0
				}
			}
			estimate := rapid.Int64Range(1, rule.Limit+2).Draw(t, "estimate")
			node := nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")]
			bill, err := node.Begin(t.Context(), holder(rule), budget.Amount{Cost: estimate})
			if err != nil {
				if err.Code != connectors.CodeBudgetExhausted {
					t.Fatal(err)
				}
				held := int64(len(nodes)-1) * rule.Limit // whatever others may hold
				if len(nodes) == 1 {
					held = 0
				}
				if used+estimate+held <= rule.Limit {
					t.Fatalf("%d of %d are used, and %d are refused", used, rule.Limit, estimate)
				}
				if (err.RetryAfter > 0) == (estimate > rule.Limit) || err.PolicyFinal != (estimate > rule.Limit) || len(err.Because) == 0 || len(err.Unblock) == 0 {
					t.Fatalf("a refusal of %d of %d: %+v", estimate, rule.Limit, err)
				}
				if _, w := node.Uses(t.Context(), holder(rule)); w != nil {
					t.Fatal(w)
				}
				continue
			}
			// It may cost less than was thought, never more.
			cost := rapid.Int64Range(0, estimate).Draw(t, "cost")
			if err := bill.End(t.Context(), budget.Amount{Cost: cost}); err != nil {
				t.Fatal(err)
			}
			if used += cost; used > rule.Limit {
				t.Fatalf("%d of %d are used", used, rule.Limit)
			}
		}
	})
}

// A large budget is leased in slices: a hundred requests ask the store a few
// times.
func TestSlices(t *testing.T) {
	store := newMemory()
	l := budget.NewLedger(store, store.clock)
	rule := budget.Rule{What: budget.Requests, Limit: 60_000, Per: time.Minute}
	for range 10_000 {
		if err := l.Request(t.Context(), holder(rule)); err != nil {
			t.Fatal(err)
		}
	}
	if store.leases > 5 {
		t.Errorf("ten thousand requests asked the store %d times", store.leases)
	}
	uses, err := l.Uses(t.Context(), holder(rule))
	if err != nil || len(uses) != 1 || uses[0].Used != 10_000 {
		t.Errorf("used: %+v, %v", uses, err)
	}
}

// A budget that is used up is not asked for again until its window ends.
func TestExhaustedAsksNobody(t *testing.T) {
	store := newMemory()
	l := budget.NewLedger(store, store.clock)
	rule := budget.Rule{What: budget.Requests, Limit: 3, Per: time.Minute}
	for range 3 {
		if err := l.Request(t.Context(), holder(rule)); err != nil {
			t.Fatal(err)
		}
	}
	asked := store.leases
	store.turn(10 * time.Second)
	for range 1000 {
		err := l.Request(t.Context(), holder(rule))
		if err == nil || err.Code != connectors.CodeRateLimited || err.RetryAfter != 50*time.Second {
			t.Fatalf("%+v", err)
		}
	}
	if store.leases != asked {
		t.Errorf("a thousand refusals asked the store %d times", store.leases-asked)
	}
	store.turn(50 * time.Second)
	if err := l.Request(t.Context(), holder(rule)); err != nil {
		t.Errorf("the next window: %v", err)
	}
}

// What is known afterwards only ends with the operation that exceeds it: its
// overshoot is told to the other nodes.
func TestOvershootIsTold(t *testing.T) {
	store := newMemory()
	a, b := budget.NewLedger(store, store.clock), budget.NewLedger(store, store.clock)
	h := holder(budget.Rule{What: budget.RowsRead, Limit: 100, Per: 24 * time.Hour})
	bill, err := a.Begin(t.Context(), h, budget.Amount{Cost: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := bill.End(t.Context(), budget.Amount{Read: 250}); err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]*budget.Ledger{"the same node": a, "another": b} {
		if _, err := l.Begin(t.Context(), h, budget.Amount{}); err == nil || err.Code != connectors.CodeBudgetExhausted {
			t.Errorf("%s: %v", name, err)
		}
		if uses, err := l.Uses(t.Context(), h); err != nil || uses[0].Used != 250 {
			t.Errorf("%s: %+v, %v", name, uses, err)
		}
	}
}

// Where one budget of several refuses, nothing of the others is used.
func TestRefusedTakesNothing(t *testing.T) {
	store := newMemory()
	l := budget.NewLedger(store, store.clock)
	agent := budget.Holder{Tenant: "default", Principal: "agent:triage", Rules: []budget.Rule{{What: budget.Cost, Limit: 100, Per: time.Hour}}}
	person := budget.Holder{Tenant: "default", Principal: "user:ada", Rules: []budget.Rule{{What: budget.Cost, Limit: 10, Per: time.Hour}}}
	for range 20 {
		if _, err := l.Begin(t.Context(), []budget.Holder{agent, person}, budget.Amount{Cost: 11}); err == nil {
			t.Fatal("more than the person has")
		}
	}
	bill, err := l.Begin(t.Context(), []budget.Holder{agent}, budget.Amount{Cost: 100})
	if err != nil {
		t.Fatalf("the agent's own budget was used: %v", err)
	}
	if err := bill.End(t.Context(), budget.Amount{Cost: 100}); err != nil {
		t.Fatal(err)
	}
}

// What cannot be counted is not done; what was leased before still is there.
func TestStoreAway(t *testing.T) {
	store := newMemory()
	l := budget.NewLedger(store, store.clock)
	rule := budget.Rule{What: budget.Requests, Limit: 100, Per: time.Minute}
	if err := l.Request(t.Context(), holder(rule)); err != nil {
		t.Fatal(err)
	}
	store.broken = &connectors.Error{Code: connectors.CodeUpstreamUnavailable, Source: "store", Cause: errors.New("gone")}
	for range 4 { // of a slice of five
		if err := l.Request(t.Context(), holder(rule)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Request(t.Context(), holder(rule)); err == nil || err.Code != connectors.CodeUpstreamUnavailable {
		t.Errorf("without the store: %v", err)
	}
}

func TestJoinedRules(t *testing.T) {
	minute := budget.Rule{What: budget.Requests, Limit: 60, Per: time.Minute}
	hour := budget.Rule{What: budget.Requests, Limit: 2000, Per: time.Hour}
	if got := budget.Larger([]budget.Rule{hour}, []budget.Rule{minute}); len(got) != 1 || got[0] != minute {
		t.Errorf("60 a minute is more than 2000 an hour: %v", got)
	}
	if got := budget.Both([]budget.Rule{hour}, []budget.Rule{minute}); len(got) != 2 {
		t.Errorf("both hold: %v", got)
	}
	half := budget.Rule{What: budget.Requests, Limit: 30, Per: time.Minute}
	if got := budget.Both([]budget.Rule{minute}, []budget.Rule{half}); len(got) != 1 || got[0] != half {
		t.Errorf("the smaller: %v", got)
	}
}
