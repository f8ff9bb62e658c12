package proposals_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/proposals/proposalstest"
	"github.com/countersign/countersign/store"
)

// euros are the amount of a change of the tests: what is written is "NUMBER x".
func euros(c proposals.Content) []policy.Amount {
	n, _, _ := strings.Cut(c.Set.Changes[0].Steps[0].Set[0].Value.Text, " ")
	units, err := strconv.ParseInt(n, 10, 64)
	if err != nil {
		return []policy.Amount{{Declared: true}}
	}
	return []policy.Amount{{Declared: true, Money: eur(units)}}
}

func eur(n int64) *policy.Money { return &policy.Money{Currency: "EUR", Micros: n * 1_000_000} }

// I19: whatever is proposed, withdrawn, rejected, approved, executed and
// written at once side by side, what is used and reserved never is more than
// the budget, and at the end is what the proposals say.
func TestReservedAndUsedWithinTheBudget(t *testing.T) {
	t.Run("memory", func(t *testing.T) { withinBudget(t, proposalstest.NewMemory()) })
	for name, dsn := range map[string]string{"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "s.db"), "postgres": connectortest.Postgres(t)} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(t.Context(), dsn, store.Options{Mode: store.Server})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			withinBudget(t, s)
		})
	}
}

func withinBudget(t *testing.T, s proposals.Store) {
	const budget, open = 100, 6
	w := &world{t: t, auth: newAuthority(), src: newSource(connectors.Transactional)}
	w.auth.change(func(a *authority) { a.amounts = euros })
	gate, issuer := connectors.NewGate(nil)
	w.gate, w.issue = gate.Wrap("crm", w.src), issuer
	w.svc = proposals.New(proposals.Config{Store: s, Authorizer: func() proposals.Authorizer { return w.auth.snapshot() },
		Directory: w.auth, Keys: testKeys(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Caps: func(string) proposals.Caps { return proposals.Caps{OpenProposals: open, Amount: eur(budget)} }})
	ctx := context.Background()
	if err := w.svc.PolicyLoaded(ctx, tenant); err != nil {
		t.Fatal(err)
	}
	stop := run(w.executor(w.svc, func(c *proposals.ExecutorConfig) { c.Now = nil }))
	var spent, made, refused atomic.Int64
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(worker)))
			for i := range 15 {
				useStep(t, w, s, rng, fmt.Sprintf("%d-%d", worker, i), &spent, &made, &refused)
				u, err := s.Use(ctx, tenant, "agent:triage")
				if err != nil {
					t.Error(err)
				} else if sum := u.Sums["EUR"]; sum.Used+sum.Reserved > budget*1_000_000 || sum.Used < 0 || sum.Reserved < 0 || u.Open > open || u.Open < 0 {
					t.Errorf("more than the budget: %+v", u)
				}
			}
		})
	}
	wg.Wait()
	stop()
	heads, err := s.List(ctx, proposals.Filter{Tenant: tenant, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	opened, reserved, used := 0, int64(0), spent.Load()*1_000_000
	for _, h := range heads {
		switch {
		case h.State.Open():
			opened++
			reserved += h.Amounts[0].Micros
		case h.State == proposals.Executed:
			used += h.Amounts[0].Micros
		}
	}
	u, err := s.Use(ctx, tenant, "agent:triage")
	if err != nil {
		t.Fatal(err)
	}
	if sum := u.Sums["EUR"]; u.Open != opened || sum.Reserved != reserved || sum.Used != used {
		t.Errorf("%+v, and the proposals say %d open, %d reserved, %d used", u, opened, reserved, used)
	}
	if made.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d were made and %d refused: nothing was tested", made.Load(), refused.Load())
	}
}

// useStep is one thing that somebody does.
func useStep(t *testing.T, w *world, s proposals.Store, rng *rand.Rand, unique string, spent, made, refused *atomic.Int64) {
	ctx := context.Background()
	n := rng.Int64N(30)
	if rng.IntN(4) == 0 {
		direct, err := w.svc.Spend(ctx, agent(), []policy.Amount{{Declared: true, Money: eur(n)}})
		switch {
		case connectors.CodeOf(err) == connectors.CodeBudgetExhausted:
			refused.Add(1)
		case err != nil:
			t.Error(err)
		case rng.IntN(2) == 0:
			if err := direct.Free(ctx, []policy.Amount{{Declared: true, Money: eur(n)}}); err != nil {
				t.Error(err)
			}
		default:
			spent.Add(n)
		}
		return
	}
	out, err := w.svc.Propose(ctx, w.request(fmt.Sprintf("%d %s", n, unique)))
	if connectors.CodeOf(err) == connectors.CodeBudgetExhausted {
		refused.Add(1)
		// Make room.
		if heads, err := s.List(ctx, proposals.Filter{Tenant: tenant, States: []proposals.State{proposals.Pending}, Limit: 5}); err == nil {
			for _, h := range heads {
				if _, err := w.svc.Withdraw(ctx, agent(), h.Handle, ""); err != nil && connectors.CodeOf(err) != connectors.CodeWrongState {
					t.Error(err)
				}
			}
		}
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	made.Add(1)
	switch d := out.Dossier; rng.IntN(4) {
	case 0:
		_, err = w.svc.Withdraw(ctx, agent(), d.Proposal.Handle, "")
	case 1:
		_, err = w.svc.Reject(ctx, person("user:lea", "lead"), decision(d))
	case 2:
		_, err = w.svc.Approve(ctx, person("user:lea", "lead"), decision(d))
	}
	// Another one may have withdrawn it.
	if err != nil && connectors.CodeOf(err) != connectors.CodeWrongState {
		t.Error(err)
	}
}

// What an amount cannot be told of is refused where there is a budget, and
// waits for people where there is none; so is another currency.
func TestUnknownAmounts(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	w.auth.change(func(a *authority) { a.amounts = euros })
	if d := w.propose("1e3 x"); d.Proposal.State != proposals.Pending || d.Proposal.Amounts != nil {
		t.Errorf("%+v", d.Proposal)
	}
	for name, caps := range map[string]*policy.Money{"EUR": eur(100), "USD": {Currency: "USD", Micros: 1e9}} {
		svc := proposals.New(proposals.Config{Store: w.store, Authorizer: func() proposals.Authorizer { return w.auth.snapshot() },
			Directory: w.auth, Keys: testKeys(), Caps: func(string) proposals.Caps { return proposals.Caps{Amount: caps} }})
		text := "1e3 y"
		if name == "USD" {
			text = "3 y"
		}
		_, err := svc.Propose(t.Context(), w.request(text))
		wantCode(t, err, connectors.CodeBudgetExhausted)
		if e := connectors.AsError(err); !e.PolicyFinal || len(e.Because) == 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// The amount at the claim is the one that was approved, or nothing runs.
func TestAmountMovesBeforeTheClaim(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	w.auth.change(func(a *authority) { a.amounts = euros })
	d := w.propose("5 x")
	w.approve(d)
	w.auth.change(func(a *authority) {
		a.amounts = func(proposals.Content) []policy.Amount { return []policy.Amount{{Declared: true, Money: eur(6)}} }
	})
	stop := run(w.executor(w.svc, nil))
	defer stop()
	w.await(d.Proposal.Handle, proposals.Invalidated)
	if effects, _ := w.src.count(); effects != 0 {
		t.Errorf("%d effects", effects)
	}
	if u, err := w.store.Use(t.Context(), tenant, "agent:triage"); err != nil || u.Sums["EUR"].Reserved != 0 || u.Open != 0 {
		t.Errorf("%+v %v", u, err)
	}
}

// The day's sum that a rule was found by is the one that is there when the
// proposal is made: one that came between is counted, and the rule found again.
func TestDaysSumIsComparedInTheTransaction(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	var sums []int64
	w.auth.change(func(a *authority) {
		a.amounts = euros
		a.routed = func(c proposals.Content) {
			sums = append(sums, c.Today["EUR"]/1_000_000)
			if len(sums) == 1 {
				w.propose("7 between")
			}
		}
	})
	if d := w.propose("5 x"); d.Proposal.AmountToday["EUR"] != 12_000_000 {
		t.Errorf("%+v after %v", d.Proposal.AmountToday, sums)
	}
}
