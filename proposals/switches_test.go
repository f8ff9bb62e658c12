package proposals_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// TestKillSwitches: who may set them, what they cover, that they are audited and
// lifted again.
func TestKillSwitches(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	ctx := t.Context()
	owner := person("user:olga", "owner")
	for what, by := range map[string]*policy.Principal{"an agent": agent(), "nobody": nil,
		"a person's key": {ID: "user:olga", Kind: policy.Human, Tenant: tenant}} {
		_, err := w.svc.SetKillSwitch(ctx, by, proposals.KillSwitch{Say: what})
		wantCode(t, err, connectors.CodeSignInRequired)
		_, err = w.svc.LiftKillSwitch(ctx, by, proposals.KillSwitch{})
		wantCode(t, err, connectors.CodeSignInRequired)
	}
	sub := agent()
	sub.ID, sub.For = "agent:sub", agent()
	for i, c := range []struct {
		k                  proposals.KillSwitch
		agent, sub, person bool // stopped at crm
	}{
		{proposals.KillSwitch{}, true, true, true},
		{proposals.KillSwitch{Source: "crm"}, true, true, true},
		{proposals.KillSwitch{Source: "desk"}, false, false, false},
		{proposals.KillSwitch{Agent: "agent:triage"}, true, true, false},
		{proposals.KillSwitch{Agent: "agent:sub"}, false, true, false},
		{proposals.KillSwitch{Agent: "agent:triage", Source: "crm"}, true, true, false},
		{proposals.KillSwitch{Agent: "agent:triage", Source: "desk"}, false, false, false},
	} {
		c.k.Say = "stop"
		set, err := w.svc.SetKillSwitch(ctx, owner, c.k)
		if err != nil || set.By != "user:olga" || !set.At.Equal(w.now()) {
			t.Fatalf("%+v %v", set, err)
		}
		if again, err := w.svc.SetKillSwitch(ctx, owner, c.k); err != nil || *again != *set {
			t.Fatalf("%+v %v", again, err)
		}
		for p, want := range map[*policy.Principal]bool{agent(): c.agent, sub: c.sub, person("user:maria", "support"): c.person} {
			if got := connectors.CodeOf(w.svc.Stopped(ctx, p, []string{"x", "crm"})) == connectors.CodeSuspended; got != want {
				t.Errorf("%+v stops %s: %v", c.k, p.ID, got)
			}
		}
		_, err = w.svc.Propose(ctx, w.request(fmt.Sprint("v", i)))
		if stopped := connectors.CodeOf(err) == connectors.CodeSuspended; stopped != c.agent {
			t.Errorf("%+v and a proposal: %v", c.k, err)
		}
		if lifted, err := w.svc.LiftKillSwitch(ctx, owner, c.k); err != nil || !lifted {
			t.Fatal(lifted, err)
		}
		if lifted, err := w.svc.LiftKillSwitch(ctx, owner, c.k); err != nil || lifted {
			t.Fatal(lifted, err)
		}
	}
	if left, err := w.svc.KillSwitches(ctx, tenant); err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
}

// TestKillSwitchUnderLoad: switches flip while proposals are claimed and
// dispatched. Nothing that one covers is marked as dispatched after it
// committed: the mark and the switch are compared in one transaction.
func TestKillSwitchUnderLoad(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	ctx := t.Context()
	owner := person("user:olga", "owner")
	for range 3 {
		defer run(w.executor(w.svc, nil))()
	}
	var handles []string
	type span struct{ from, to time.Time }
	var killed []span
	var flips sync.WaitGroup
	stop := make(chan struct{})
	flips.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			k, err := w.svc.SetKillSwitch(ctx, owner, proposals.KillSwitch{Source: "crm", Say: "stop"})
			if err != nil {
				t.Error(err)
				return
			}
			// Whatever is dispatched from here to the next step of the clock is so
			// strictly between the two instants.
			w.advance(time.Millisecond)
			if _, err := w.svc.KillSwitches(ctx, tenant); err != nil {
				t.Error(err)
			}
			w.advance(time.Millisecond)
			until := w.now()
			if _, err := w.svc.LiftKillSwitch(ctx, owner, proposals.KillSwitch{Source: "crm"}); err != nil {
				t.Error(err)
				return
			}
			killed = append(killed, span{k.At, until})
			w.advance(time.Millisecond)
		}
	})
	for i := range 60 {
		out, err := w.svc.Propose(ctx, w.request(fmt.Sprint("v", i)))
		if connectors.CodeOf(err) == connectors.CodeSuspended {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, out.Dossier.Proposal.Handle)
		if _, err := w.svc.Approve(ctx, person("user:lea", "lead"), decision(out.Dossier)); err != nil {
			t.Fatal(err)
		}
	}
	dispatched, stopped := 0, 0
	for _, handle := range handles {
		d := w.await(handle, proposals.Executed, proposals.Invalidated, proposals.Failed)
		if d.Proposal.ReasonCode == "killed" {
			stopped++
		}
		for _, a := range d.Attempts {
			if a.DispatchedAt.IsZero() {
				continue
			}
			dispatched++
		}
	}
	close(stop)
	flips.Wait()
	for _, handle := range handles {
		d, err := w.store.Get(context.Background(), tenant, proposals.Ref{Handle: handle})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range d.Attempts {
			for _, k := range killed {
				if a.DispatchedAt.After(k.from) && a.DispatchedAt.Before(k.to) {
					t.Fatalf("dispatched at %s, stopped from %s to %s", a.DispatchedAt, k.from, k.to)
				}
			}
		}
	}
	t.Logf("%d proposals, %d dispatched, %d stopped, %d flips", len(handles), dispatched, stopped, len(killed))
}
