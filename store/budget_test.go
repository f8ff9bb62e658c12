package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy/budget"
	"github.com/countersign/countersign/store"
)

// Several nodes use one budget at once: together they have it, and no more; and
// the next window has it again.
func TestBudgetIsShared(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		var late atomic.Int64
		start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		clock := func() time.Time { return start.Add(time.Duration(late.Load())) }
		s := open(t, dsn, store.Options{Mode: store.Server, Now: clock})
		rule := budget.Rule{What: budget.Requests, Limit: 500, Per: time.Hour}
		h := []budget.Holder{{Tenant: "default", Principal: "agent:triage", Rules: []budget.Rule{rule}}}
		for range 2 {
			var admitted atomic.Int64
			var wg sync.WaitGroup
			nodes := []*budget.Ledger{budget.NewLedger(s, clock), budget.NewLedger(s, clock), budget.NewLedger(s, clock)}
			for _, l := range nodes {
				for range 3 {
					wg.Go(func() {
						for range 100 {
							switch err := l.Request(t.Context(), h); {
							case err == nil:
								admitted.Add(1)
							case err.Code != connectors.CodeRateLimited:
								t.Errorf("%v", err)
							}
						}
					})
				}
			}
			wg.Wait()
			if n := admitted.Load(); n > rule.Limit || n < rule.Limit*9/10 {
				t.Errorf("%d of %d were admitted", n, rule.Limit)
			}
			w, err := s.Budget(t.Context(), budget.Key{Tenant: "default", Principal: "agent:triage", What: rule.What, Per: rule.Per})
			if err != nil || w.Used != rule.Limit || w.Left != rule.Per {
				t.Errorf("%+v, %v", w, err)
			}
			if w, err := s.Budget(t.Context(), budget.Key{Tenant: "other", Principal: "agent:triage", What: rule.What, Per: rule.Per}); err != nil || w.Used != 0 {
				t.Errorf("another tenant's: %+v, %v", w, err)
			}
			late.Add(int64(time.Hour))
		}
	})
}
