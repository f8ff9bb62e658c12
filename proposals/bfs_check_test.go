package proposals

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// key identifies what matters of a universe: what differs only in ids or times
// of day is one.
func (u *universe) key(s scenario) string {
	var b strings.Builder
	p := &u.D.Proposal
	if p.State.Terminal() {
		// What cannot matter any more is one.
		fmt.Fprint(&b, p.State, p.ReasonCode, u.Base, u.Sources, u.Flights)
		return b.String()
	}
	if p.State == Executing || p.State == OutcomeUnknown {
		// Nobody decides or revises any more: all that is left of it is whether
		// the approvals hold, and whether what was claimed is what is there.
		now := u.Now
		if p.State == OutcomeUnknown {
			now = 0
		}
		fmt.Fprint(&b, p.State, "|", now, u.Policy, u.Base, len(u.Sources.Effects), u.Sources.Marker != "", u.Sources.Marker == "void",
			u.Sources.Key, u.Mind[0].Stage, "|", u.Mind[1].Stage, u.Claims, u.Forced, u.ClaimHash == u.D.Current().ContentHash,
			approved(&u.D, s.view(&universe{})))
		for _, f := range u.Flights {
			fmt.Fprint(&b, "|", f.Executor, f.Void)
		}
		last := &Attempt{} // of a store that was restored there may be none
		if len(u.D.Attempts) > 0 {
			last = u.D.Attempts[len(u.D.Attempts)-1]
		}
		open := len((&step{d: &u.D}).unproven())
		fmt.Fprint(&b, "|", len(u.D.Attempts), open, last.State, last.SettledAs, last.Void, last.Executor, last.DispatchedAt.IsZero(), last.LeaseUntil.Unix())
		return b.String()
	}
	fmt.Fprint(&b, p.State, p.Revision, p.Epoch, "|", u.Now, u.Policy, u.Base, u.Sources, u.Flights, u.Mind, u.Claims, u.Forced, u.ClaimHash)
	for _, d := range u.D.Decisions {
		fmt.Fprint(&b, "|", d.Person, d.Kind, d.Revision, d.Interactive)
	}
	for _, a := range u.D.Attempts {
		fmt.Fprint(&b, "|", a.Epoch, a.Number, a.State, a.SettledAs, a.Void, a.Executor, a.DispatchedAt.IsZero(), a.LeaseUntil.Unix())
	}
	return b.String()
}

// check holds a universe, and the step to it, against the invariants.
func (s scenario) check(u, from *universe) error {
	p, d := &u.D.Proposal, &u.D
	fail := func(id, format string, args ...any) error {
		raw, _ := json.Marshal(u)
		return fmt.Errorf("%s: %s\n%s", id, fmt.Sprintf(format, args...), raw)
	}
	if from != nil {
		was := &from.D.Proposal
		if was.State.Terminal() && (p.State != was.State || p.Version != was.Version) {
			return fail("I8", "out of %s", was.State)
		}
		if p.Version < was.Version || p.Version-was.Version != int64(u.Events-from.Events) {
			return fail("I8, I16", "version %d after %d with %d events", p.Version, was.Version, u.Events-from.Events)
		}
		if u.Claims > from.Claims {
			if err := s.checkClaim(u, from, fail); err != nil {
				return err
			}
		}
		if dispatches(d) > dispatches(&from.D) && (u.Now == 2) && !lastVoid(d) {
			return fail("I6", "dispatched after the deadline")
		}
		if was.State == OutcomeUnknown && p.State != OutcomeUnknown && p.State != Executing && p.ReasonCode != "reconciled" {
			return fail("I11", "unknown left without evidence")
		}
	}
	for _, e := range u.Sources.Effects {
		if u.Claims == 0 || e != u.ClaimHash {
			return fail("I1", "effect %s without a claim of it", e)
		}
	}
	if s.class != connectors.Unverifiable && len(u.Sources.Effects) > 1 {
		return fail("I5", "%d effects", len(u.Sources.Effects))
	}
	if s.class == connectors.Unverifiable && len(u.Sources.Effects) > 1+u.Forced {
		return fail("I5", "%d effects after %d forced retries", len(u.Sources.Effects), u.Forced)
	}
	for _, dec := range d.Decisions {
		if !dec.Interactive || dec.Person == "agent" {
			return fail("I4", "decided by %s", dec.Person)
		}
		if dec.Person == "maria" && !(s.confirm && dec.Kind != DecideBreakGlass) {
			return fail("I3", "decided by its author %s", dec.Person)
		}
	}
	return s.checkRest(u, fail)
}

// checkRest: what a state at rest says is true.
func (s scenario) checkRest(u *universe, fail func(string, string, ...any) error) error {
	p, d := &u.D.Proposal, &u.D
	noEffect := len(u.Sources.Effects) == 0
	switch p.State {
	case Executed:
		proof := p.ReasonCode == "reconciled"
		for _, a := range d.Attempts {
			proof = proof || a.SettledAs == Applied && a.Evidence != ""
		}
		if !proof || noEffect {
			return fail("I9", "EXECUTED without evidence or effect")
		}
	case Failed, Expired, Rejected, Withdrawn, Invalidated:
		if !noEffect {
			return fail("I9", "%s with an effect", p.State)
		}
		// Nor may one arrive later: what is still on its way must be harmless.
		for _, f := range u.Flights {
			if !f.Void && u.Sources.Marker != "void" && p.ReasonCode != "reconciled" {
				return fail("I9", "%s with a request on its way", p.State)
			}
		}
	case Executing:
		if p.WakeAt.IsZero() {
			return fail("I20", "no timer")
		}
	}
	for _, a := range d.Attempts {
		if a.State == Dispatching && p.State != Executing {
			return fail("I10", "an unsettled dispatch in %s", p.State)
		}
	}
	if p.State.Open() && p.State != OutcomeUnknown && p.State != Partial && p.WakeAt.IsZero() {
		return fail("I20", "%s without a timer", p.State)
	}
	return nil
}

// checkClaim: a claim rests on decisions of distinct persons on the current
// content that satisfy the requirement under current policy.
func (s scenario) checkClaim(u, from *universe, fail func(string, string, ...any) error) error {
	void := lastVoid(&u.D)
	if from.Policy == 1 && !void {
		return fail("I13", "claimed after policy said no")
	}
	if void {
		return nil
	}
	leads, confirmed := map[string]bool{}, false
	rev := from.D.Proposal.Revision
	said := map[string]DecisionKind{}
	for _, dec := range from.D.Decisions {
		if dec.Revision == rev {
			said[dec.Person] = dec.Kind
		}
	}
	for person, kind := range said {
		switch {
		case kind == DecideBreakGlass && person == "r2":
			return nil
		case kind == DecideApprove && person == "maria":
			confirmed = true
		case kind == DecideApprove:
			leads[person] = true
		}
	}
	if s.confirm && confirmed || !s.confirm && len(leads) >= s.seats[0].Count {
		return nil
	}
	return fail("I2, I7", "claimed on %v", said)
}

// settleMinds: whoever lost its claim can do nothing more under it (P9), and so
// need not be followed any further: its requests on their way are.
func (s scenario) settleMinds(u *universe) error {
	if n := len(u.D.Attempts); n > 0 {
		// Nor does a name help: the epoch is what counts.
		e := Event{Executor: u.D.Attempts[n-1].Executor, Epoch: u.D.Proposal.Epoch - 1, Lease: bfsLease, SettledAs: Applied, Evidence: "late"}
		for _, e.Kind = range []EventKind{EventDispatch, EventApplied} {
			if _, _, _, err := Next(&u.D, e, bfsTime(u.Now), s.view(u)); err == nil {
				return fmt.Errorf("P9: %s under an old epoch", e.Kind)
			}
		}
	}
	for i, m := range u.Mind {
		if m.Stage == "" || m.Epoch == u.D.Proposal.Epoch && u.D.Proposal.State == Executing {
			continue
		}
		for _, kind := range []EventKind{EventDispatch, EventApplied, EventNotApplied, EventRetry} {
			e := Event{Kind: kind, Executor: fmt.Sprint("x", i), Epoch: m.Epoch, Lease: bfsLease, SettledAs: NotApplied, Evidence: "late", Attempt: s.request("content1", false)}
			if kind == EventApplied {
				e.SettledAs = Applied
			}
			if _, _, _, err := Next(&u.D, e, bfsTime(u.Now), s.view(u)); err == nil {
				return fmt.Errorf("P9: %s under a lost claim", kind)
			}
		}
		u.Mind[i] = executing{}
		u.orphan(i)
	}
	return nil
}

func dispatches(d *Dossier) (n int) {
	for _, a := range d.Attempts {
		if !a.DispatchedAt.IsZero() {
			n++
		}
	}
	return n
}

func lastVoid(d *Dossier) bool {
	return len(d.Attempts) > 0 && d.Attempts[len(d.Attempts)-1].Void
}
