package proposals_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/proposals"
)

var classes = []connectors.OutcomeClass{connectors.Transactional, connectors.Idempotent, connectors.Unverifiable}

// each runs a test for every class.
func each(t *testing.T, fn func(t *testing.T, w *world)) {
	for _, c := range classes {
		t.Run(string(c), func(t *testing.T) { fn(t, newWorld(t, c)) })
	}
}

func (w *world) wantEffects(effects int) {
	w.t.Helper()
	if got, _ := w.src.count(); got != effects {
		w.t.Fatalf("%d effects, want %d", got, effects)
	}
}

func TestApprovedIsExecutedOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := w.propose("new")
		w.wantEffects(0)
		w.approve(d)
		stops := []func(){run(w.executor(w.svc, nil)), run(w.executor(w.svc, nil)), run(w.executor(w.service(nil), nil))}
		d = w.await(d.Proposal.Handle, proposals.Executed)
		for _, stop := range stops {
			stop()
		}
		w.wantEffects(1)
		if len(d.Attempts) != 1 || d.Attempts[0].Evidence != "committed" || d.Proposal.Epoch != 1 {
			t.Fatalf("attempts: %+v", d.Attempts)
		}
	})
}

// what is sent upstream is what was hashed when it was approved.
func TestSentIsWhatWasApproved(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := w.propose("new")
		w.approve(d)
		defer run(w.executor(w.svc, nil))()
		d = w.await(d.Proposal.Handle, proposals.Executed)
		want := d.Current().Set.Changes[0]
		if w.src.class == connectors.Transactional {
			want.Marker = &connectors.Marker{Proposal: d.Proposal.Handle, ContentHash: d.Current().ContentHash}
		}
		sum := want.Digest()
		if len(w.src.digests) != 1 || w.src.digests[0] != string(sum[:]) {
			t.Fatal("other bytes were sent than approved")
		}
	})
}

// The answer is dropped after the effect: exactly one effect where the class
// finds out, an honest unknown where it cannot.
func TestDroppedReply(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.src.inject(fault{after: errDropped}, fault{after: errDropped})
		d := w.propose("new")
		w.approve(d)
		defer run(w.executor(w.svc, nil))()
		if w.src.class == connectors.Unverifiable {
			d = w.await(d.Proposal.Handle, proposals.OutcomeUnknown)
			w.wantEffects(1)
			if _, sent := w.src.count(); sent != 1 {
				t.Fatalf("sent %d times", sent)
			}
			settle(t, w, d)
			return
		}
		d = w.await(d.Proposal.Handle, proposals.Executed)
		w.wantEffects(1)
		if len(d.Attempts) != 3 {
			t.Fatalf("%d attempts", len(d.Attempts))
		}
	})
}

// settle: unknown is left by a named human who is no author, with evidence.
func settle(t *testing.T, w *world, d *proposals.Dossier) {
	t.Helper()
	ctx := context.Background()
	in := proposals.Settle{Handle: d.Proposal.Handle, To: proposals.Executed, Evidence: "seen in the system"}
	_, err := w.svc.Settle(ctx, person("user:olga", "lead"), in)
	wantCode(t, err, connectors.CodeForbidden)
	_, err = w.svc.Settle(ctx, agent(), in)
	wantCode(t, err, connectors.CodeForbidden)
	none := in
	none.Evidence = " "
	_, err = w.svc.Settle(ctx, person("user:lea", "lead"), none)
	wantCode(t, err, connectors.CodeBadInput)
	out, err := w.svc.Propose(ctx, w.request("new"))
	if err != nil || !out.Duplicate {
		t.Fatalf("an equal one while the outcome is unknown: %+v %v", out, err)
	}
	keyed := w.request("new")
	keyed.IdempotencyKey, keyed.Digest = "k", "d"
	_, err = w.svc.Propose(ctx, keyed)
	wantCode(t, err, connectors.CodeOutcomeUnknown)
	e, err := w.svc.Settle(ctx, person("user:lea", "lead"), in)
	if err != nil || e.Dossier.Proposal.State != proposals.Executed {
		t.Fatalf("settle: %v", err)
	}
}

// An answer that is no error of the contract proves nothing.
func TestForeignErrorsAreUnknown(t *testing.T) {
	for _, err := range []error{errors.New("boom"), context.DeadlineExceeded, connectors.Errorf(connectors.CodeTimeout, "slow"), connectors.Errorf(connectors.CodeInternal, "x")} {
		w := newWorld(t, connectors.Unverifiable)
		w.src.inject(fault{before: err})
		d := w.propose("new")
		w.approve(d)
		stop := run(w.executor(w.svc, nil))
		w.await(d.Proposal.Handle, proposals.OutcomeUnknown)
		stop()
	}
}

// Proven not done and temporary: tried again, also without a key. For good: it
// has failed.
func TestProvenNotDone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.src.inject(fault{before: connectors.Errorf(connectors.CodeUpstreamUnavailable, "down")})
		d := w.propose("new")
		w.approve(d)
		defer run(w.executor(w.svc, nil))()
		d = w.await(d.Proposal.Handle, proposals.Executed)
		w.wantEffects(1)
		if len(d.Attempts) != 2 || d.Attempts[0].SettledAs != proposals.NotApplied {
			t.Fatalf("%+v", d.Attempts)
		}
		down := fault{before: connectors.Errorf(connectors.CodeUpstreamUnavailable, "down")}
		w.src.inject(down, down, down)
		d = w.propose("newer")
		w.approve(d)
		d = w.await(d.Proposal.Handle, proposals.Failed, proposals.Invalidated)
		w.wantEffects(1)
		if len(d.Attempts) != 3 {
			t.Fatalf("%d attempts", len(d.Attempts))
		}
	})
}

// The first dispatch is lost, the second refused: the refusal does not speak
// for the first, which may still arrive. Only a void does.
func TestRefusalAfterLostDispatch(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	w.src.inject(fault{before: errDropped}, fault{before: connectors.Errorf(connectors.CodeCheckViolation, "no")})
	d := w.propose("new")
	w.approve(d)
	defer run(w.executor(w.svc, nil))()
	d = w.await(d.Proposal.Handle, proposals.Failed)
	w.wantEffects(0)
	last := d.Attempts[len(d.Attempts)-1]
	if !last.Void || last.Evidence != "void" || w.src.markers[d.Proposal.Handle] != "void" {
		t.Fatalf("failed without a void: %+v", last)
	}
}

func TestStaleIsInvalidated(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		d := w.propose("new")
		w.src.value = "moved meanwhile"
		w.approve(d)
		defer run(w.executor(w.svc, nil))()
		d = w.await(d.Proposal.Handle, proposals.Invalidated)
		w.wantEffects(0)
		if d.Proposal.ReasonCode != "stale" {
			t.Fatalf("reason %q", d.Proposal.ReasonCode)
		}
	})
}

// A crash at each point: another executor takes over when the lease is over.
func TestCrashPoints(t *testing.T) {
	for _, point := range []string{"P4", "P5", "P6", "P7", "P8"} {
		t.Run(point, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				crashed := make(chan struct{})
				svc := w.service(func(name string) {
					if name == point {
						close(crashed)
						runtime.Goexit() // nothing after this point happens, as in a killed process
					}
				})
				d := w.propose("new")
				w.approve(d)
				stop := run(w.executor(svc, nil))
				<-crashed
				stop()
				defer run(w.executor(w.svc, nil))()
				if point != "P8" {
					w.stays(d.Proposal.Handle, proposals.Executing)
				}
				w.advance(11 * time.Second)
				w.advance(5 * time.Second) // the longest request
				want := proposals.Executed
				effects := 1
				if w.src.class == connectors.Unverifiable && (point == "P5" || point == "P6" || point == "P7") {
					want = proposals.OutcomeUnknown
					if point == "P5" {
						effects = 0
					}
				}
				w.await(d.Proposal.Handle, want)
				w.wantEffects(effects)
			})
		})
	}
}

// stays checks that nobody touches a proposal that is under a lease: another
// proposal goes through the same executor meanwhile.
func (w *world) stays(handle string, s proposals.State) {
	w.t.Helper()
	other := w.propose("other")
	w.src.mu.Lock()
	w.src.value = "old"
	w.src.mu.Unlock()
	w.approve(other)
	w.await(other.Proposal.Handle, proposals.Executed)
	w.src.mu.Lock()
	w.src.effects--
	w.src.mu.Unlock()
	d := w.await(handle, s)
	if d.Proposal.Epoch != 1 {
		w.t.Fatalf("taken over under a live lease: epoch %d", d.Proposal.Epoch)
	}
	w.src.mu.Lock()
	w.src.value = "old"
	w.src.mu.Unlock()
}

// P9: the old executor wakes after it lost its lease.
func TestOldExecutorWakes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		entered, release := make(chan struct{}, 1), make(chan struct{})
		w.src.inject(fault{entered: entered, hold: release})
		d := w.propose("new")
		w.approve(d)
		stopOld := run(w.executor(w.svc, nil))
		<-entered // dispatched, the request is on its way
		w.advance(16 * time.Second)
		stopNew := run(w.executor(w.service(nil), nil))
		want := proposals.Executed
		if w.src.class == connectors.Unverifiable {
			want = proposals.OutcomeUnknown
		}
		w.await(d.Proposal.Handle, want)
		close(release) // the old request arrives after all
		stopOld()
		stopNew()
		w.wantEffects(1)
		d = w.await(d.Proposal.Handle, want)
		if want == proposals.Executed && d.Proposal.Epoch != 2 {
			t.Fatalf("epoch %d", d.Proposal.Epoch)
		}
	})
}

// Policy, kill switch and deadline are asked again at the claim.
func TestClaimAsksAgain(t *testing.T) {
	for name, c := range map[string]struct {
		move   func(w *world)
		want   proposals.State
		reason string
	}{
		"the author may not any more": {func(w *world) {
			w.auth.change(func(a *authority) { a.recheck = connectors.Errorf(connectors.CodeForbidden, "no"); a.version = "p2" })
		}, proposals.Invalidated, "policy"},
		"another system": {func(w *world) {
			w.auth.change(func(a *authority) {
				a.recheck = connectors.Errorf(connectors.CodeProposalStale, "another system")
				a.version = "p2"
			})
		}, proposals.Invalidated, "schema"},
		"the approver lost the role": {func(w *world) {
			w.auth.change(func(a *authority) { a.people["user:lea"].Roles = []string{"support"} })
		}, proposals.Invalidated, "policy"},
		"the approver is gone": {func(w *world) {
			w.auth.change(func(a *authority) { delete(a.people, "user:lea") })
		}, proposals.Invalidated, "policy"},
		"the agent is gone": {func(w *world) {
			w.auth.change(func(a *authority) { delete(a.people, "agent:triage") })
		}, proposals.Invalidated, "policy"},
		"policy requires more": {func(w *world) {
			w.auth.change(func(a *authority) {
				a.route.Requirement.Seats = []proposals.Seat{{Role: "lead", Count: 2}}
				a.version = "p2"
			})
		}, proposals.Invalidated, "policy"},
		"a kill switch": {func(w *world) { w.kill("crm") }, proposals.Invalidated, "killed"},
		"too late":      {func(w *world) { w.advance(73 * time.Hour) }, proposals.Expired, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, connectors.Unverifiable)
			d := w.propose("new")
			w.approve(d)
			c.move(w)
			if err := w.svc.PolicyLoaded(context.Background(), tenant); err != nil {
				t.Fatal(err)
			}
			defer run(w.executor(w.svc, nil))()
			d = w.await(d.Proposal.Handle, c.want)
			if d.Proposal.ReasonCode != c.reason {
				t.Fatalf("reason %q", d.Proposal.ReasonCode)
			}
			w.wantEffects(0)
		})
	}
}

// kill sets a switch for a source.
func (w *world) kill(name string) {
	w.t.Helper()
	err := w.store.Tx(context.Background(), func(tx proposals.Tx) error {
		c, err := tx.Control(tenant)
		if err != nil {
			return err
		}
		c.Version++
		c.KillSwitches = append(c.KillSwitches, proposals.KillSwitch{Source: name, By: "user:o", At: w.now()})
		return tx.Write(c)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// A kill switch between claim and dispatch: no T12 that it covers succeeds.
func TestKillBeforeDispatch(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		svc := w.service(func(name string) {
			if name == "P4" {
				w.kill("crm")
			}
		})
		d := w.propose("new")
		w.approve(d)
		defer run(w.executor(svc, nil))()
		d = w.await(d.Proposal.Handle, proposals.Invalidated)
		w.wantEffects(0)
		if d.Proposal.ReasonCode != "killed" || len(d.Attempts) != 1 || !d.Attempts[0].DispatchedAt.IsZero() {
			t.Fatalf("%s %+v", d.Proposal.ReasonCode, d.Attempts[0])
		}
	})
}

// A kill switch after a lost dispatch: class transactional proves by a void
// that it did not and will not run, or finds that it did.
func TestKillAfterLostDispatch(t *testing.T) {
	for _, applied := range []bool{false, true} {
		w := newWorld(t, connectors.Transactional)
		lost := fault{before: errDropped}
		if applied {
			lost = fault{after: errDropped}
		}
		w.src.inject(lost)
		svc := w.service(func(name string) {
			if name == "P6" {
				if effects, _ := w.src.count(); effects == 0 == !applied && len(w.src.markers) == map[bool]int{false: 0, true: 1}[applied] {
					w.kill("crm")
				}
			}
		})
		d := w.propose("new")
		w.approve(d)
		stop := run(w.executor(svc, nil))
		want := map[bool]proposals.State{false: proposals.Invalidated, true: proposals.Executed}[applied]
		w.await(d.Proposal.Handle, want)
		stop()
		w.wantEffects(map[bool]int{false: 0, true: 1}[applied])
	}
}

// Somebody's claims are too old to tell: the claim waits, and goes on after
// they signed in.
func TestWaitsForSignIn(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	d := w.propose("new")
	w.approve(d)
	var roles []string
	w.auth.change(func(a *authority) { roles, a.people["user:lea"].Roles = a.people["user:lea"].Roles, nil })
	defer run(w.executor(w.svc, nil))()
	for {
		if d = w.await(d.Proposal.Handle, proposals.Approved); d.Proposal.ReasonCode == "sign_in_required" {
			break
		}
		runtime.Gosched()
	}
	w.auth.change(func(a *authority) { a.people["user:lea"].Roles = roles })
	w.advance(time.Minute)
	w.await(d.Proposal.Handle, proposals.Executed)
	w.wantEffects(1)
}

// It runs neither before notBefore nor with a policy that is not in force.
func TestNotBefore(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	r := w.request("new")
	r.NotBefore = w.now().Add(time.Hour)
	out, err := w.svc.Propose(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	w.approve(out.Dossier)
	defer run(w.executor(w.svc, nil))()
	w.stays2(out.Dossier.Proposal.Handle)
	w.advance(time.Hour)
	w.await(out.Dossier.Proposal.Handle, proposals.Executed)
}

// stays2: another proposal passes it.
func (w *world) stays2(handle string) {
	w.t.Helper()
	other := w.propose("other")
	w.approve(other)
	w.await(other.Proposal.Handle, proposals.Executed)
	w.await(handle, proposals.Approved)
	w.src.mu.Lock()
	w.src.value = "old"
	w.src.mu.Unlock()
}

func TestSweeperExpires(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	d := w.propose("new")
	w.advance(72 * time.Hour)
	_, err := w.svc.Approve(context.Background(), person("user:lea", "lead"), decision(d))
	wantCode(t, err, connectors.CodeProposalExpired)
	defer run(w.executor(w.svc, nil))()
	w.await(d.Proposal.Handle, proposals.Expired)
}

// Every state change has its audit event, in order.
func TestAuditFollows(t *testing.T) {
	w := newWorld(t, connectors.Idempotent)
	w.src.inject(fault{after: errDropped})
	d := w.propose("new")
	w.approve(d)
	stop := run(w.executor(w.svc, nil))
	w.await(d.Proposal.Handle, proposals.Executed)
	stop()
	state := ""
	var kinds []string
	for _, e := range w.store.Events() {
		if e.Subject != d.Proposal.Handle {
			continue
		}
		if e.From != state {
			t.Fatalf("%s comes from %q, not %q", e.Kind, e.From, state)
		}
		state = e.To
		kinds = append(kinds, e.Kind)
	}
	want := "proposal.proposed proposal.approved proposal.claimed proposal.dispatched proposal.retried proposal.dispatched proposal.executed"
	if got := joinWords(kinds); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func joinWords(words []string) string {
	out := ""
	for i, w := range words {
		if i > 0 {
			out += " "
		}
		out += w
	}
	return out
}
