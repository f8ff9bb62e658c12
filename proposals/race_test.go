package proposals_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// 64 at once: approvals, a withdrawal and claims of one proposal; exactly one
// way out, and as many events as versions.
func TestRaces(t *testing.T) {
	for range 5 {
		w := newWorld(t, connectors.Transactional)
		d := w.propose("new")
		stop := run(w.executor(w.svc, nil))
		var wg sync.WaitGroup
		var approved, withdrawn atomic.Int64
		for i := range 64 {
			wg.Go(func() {
				if i%8 == 0 {
					if _, err := w.svc.Withdraw(context.Background(), agent(), d.Proposal.Handle, ""); err == nil {
						withdrawn.Add(1)
					}
					return
				}
				who := person([]string{"user:lea", "user:lou"}[i%2], "lead")
				if _, err := w.svc.Approve(context.Background(), who, decision(d)); err == nil {
					approved.Add(1)
				}
			})
		}
		wg.Wait()
		d = w.await(d.Proposal.Handle, proposals.Executed, proposals.Withdrawn)
		stop()
		effects, _ := w.src.count()
		if (d.Proposal.State == proposals.Executed) != (effects == 1) || effects > 1 {
			t.Fatalf("%s with %d effects", d.Proposal.State, effects)
		}
		if d.Proposal.State == proposals.Executed && withdrawn.Load() > 0 || approved.Load()+withdrawn.Load() == 0 {
			t.Fatalf("%s after %d approvals and %d withdrawals", d.Proposal.State, approved.Load(), withdrawn.Load())
		}
		events := 0
		for _, e := range w.store.Events() {
			if e.Subject == d.Proposal.Handle {
				events++
			}
		}
		if int64(events) != d.Proposal.Version {
			t.Fatalf("%d events, version %d", events, d.Proposal.Version)
		}
	}
}

// 64 equal proposals at once are one.
func TestOneOpenProposal(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	var mu sync.Mutex
	handles := map[string]bool{}
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			out, err := w.svc.Propose(context.Background(), w.request("new"))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			handles[out.Dossier.Proposal.Handle] = true
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(handles) != 1 {
		t.Fatalf("%d proposals", len(handles))
	}
}

func TestWatch(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, elsewhere := w.svc.Watch(ctx, tenant), w.svc.Watch(ctx, "other")
	d := w.propose("new")
	for handle := range changes {
		if handle != d.Proposal.Handle {
			t.Fatalf("told of %s", handle)
		}
		break
	}
	cancel()
	for handle := range elsewhere {
		t.Fatalf("another tenant was told of %s", handle)
	}
}

func TestDirectWriteKeys(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	ctx, who := t.Context(), agent()
	c, err := w.svc.ClaimKey(ctx, who, "k", "d", false)
	if err != nil || c.Done() {
		t.Fatalf("%v %+v", err, c)
	}
	_, err = w.svc.ClaimKey(ctx, who, "k", "other", false)
	wantCode(t, err, connectors.CodeIdempotencyMismatch)
	got := make(chan *proposals.Claim)
	go func() {
		second, err := w.svc.ClaimKey(ctx, who, "k", "d", false)
		if err != nil {
			t.Error(err)
		}
		got <- second
	}()
	if err := c.Finish(ctx, []byte(`{"a":1}`)); err != nil {
		t.Fatal(err)
	}
	if second := <-got; !second.Done() || string(second.Answer) != `{"a":1}` {
		t.Fatalf("%+v", second)
	}
	// The policy proposes it now: what was done is not proposed again.
	r := w.request("new")
	r.IdempotencyKey, r.Digest = "k", "d"
	if out, err := w.svc.Propose(ctx, r); err != nil || out.Dossier != nil || string(out.Answer) != `{"a":1}` {
		t.Fatalf("%v %+v", err, out)
	}
	// Freed, nothing was done.
	c, err = w.svc.ClaimKey(ctx, who, "k2", "d", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Abandon(ctx); err != nil {
		t.Fatal(err)
	}
	if c, err = w.svc.ClaimKey(ctx, who, "k2", "another", false); err != nil || c.Done() {
		t.Fatalf("%v", err)
	}
	// Lost: what can be repeated is, by one at a time; of the rest nobody knows.
	w.advance(5 * time.Second)
	if c, err = w.svc.ClaimKey(ctx, who, "k2", "another", true); err != nil || c.Done() {
		t.Fatalf("%v", err)
	}
	if found, err := w.svc.FindKey(ctx, who, "k2", "another"); err != nil || found == nil || found.Done() {
		t.Fatalf("%v %+v", err, found)
	}
	w.advance(2 * time.Minute)
	_, err = w.svc.ClaimKey(ctx, who, "k2", "another", false)
	wantCode(t, err, connectors.CodeOutcomeUnknown)
	_, err = w.svc.ClaimKey(ctx, policy.AnonymousPrincipal(), "k", "d", false)
	wantCode(t, err, connectors.CodeBadInput)
}
