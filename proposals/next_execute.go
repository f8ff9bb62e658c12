package proposals

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/countersign/countersign/connectors"
)

// last is the newest attempt of the event's change; nil before the first.
func (n *step) last() *Attempt {
	var out *Attempt
	for _, a := range n.d.Attempts {
		if a.Change == n.e.Change && (out == nil || a.Number > out.Number) {
			out = a
		}
	}
	return out
}

// unproven are dispatches that may have had an effect and whose outcome nobody
// knows. A void attempt has no effect.
func (n *step) unproven() []*Attempt {
	var out []*Attempt
	for _, a := range n.d.Attempts {
		if !a.DispatchedAt.IsZero() && !a.Void && a.SettledAs != Applied && a.SettledAs != NotApplied {
			out = append(out, a)
		}
	}
	return out
}

// unsettled are attempts that are not settled, and those settled as unknown or
// superseded.
func (n *step) unsettled() []*Attempt {
	out := n.unproven()
	for _, a := range n.d.Attempts {
		if a.State != Settled && (a.DispatchedAt.IsZero() || a.Void) {
			out = append(out, a)
		}
	}
	return out
}

// settle writes what an attempt came to.
func (n *step) settle(a *Attempt, as Settlement) {
	b := *a
	b.State, b.SettledAs, b.SettledAt = Settled, as, n.now
	if as == SupersededByNext || as == NeverDispatched {
		n.rows = append(n.rows, &b) // what the event knows is not about this one
		return
	}
	b.ErrorCode, b.Evidence = string(n.e.ErrorCode), n.e.Evidence
	if len(n.e.Response) > 0 {
		sum := sha256.Sum256(n.e.Response)
		b.Response, b.ResponseDigest = n.e.Response, hex.EncodeToString(sum[:])
	}
	n.rows = append(n.rows, &b)
}

// prepare makes the next attempt of the change, under the head's epoch.
func (n *step) prepare(number int, r Request, leaseUntil time.Time) {
	n.rows = append(n.rows, &Attempt{
		Tenant: n.head.Tenant, Proposal: n.head.ID, Change: n.e.Change, Number: number, Epoch: n.head.Epoch,
		State: Prepared, Void: r.Void, IdempotencyKey: r.IdempotencyKey, RequestDigest: r.Digest, KeyUntil: r.KeyUntil,
		Executor: n.e.Executor, LeaseUntil: leaseUntil, PreparedAt: n.now,
	})
	n.to(Executing, leaseUntil)
	n.send = true
}

// mayRun are the guards that T11, T12 and T17 share for what has an effect.
func (n *step) mayRun() error {
	p := &n.d.Proposal
	switch {
	case n.v.Killed != "":
		return refusal(connectors.CodeSuspended, "writes are stopped: %s", n.v.Killed)
	case n.now.Before(p.NotBefore):
		return refusal(connectors.CodeWrongState, "it is not to run yet")
	case !n.now.Before(p.ExecDeadline):
		return refusal(connectors.CodeProposalExpired, "the proposal's time is over")
	}
	return nil
}

// authorised are the guards of a claim: an approval is an input to a new
// decision, which is taken now.
func (n *step) authorised() error {
	if err := n.mayRun(); err != nil {
		return err
	}
	if !n.v.Authorised {
		return refusal(connectors.CodeForbidden, "its author may not do this any more")
	}
	if !n.v.Complete || !approved(n.d, n.v) {
		return refusal(connectors.CodeForbidden, "the approvals do not satisfy what policy requires now")
	}
	return nil
}

func (n *step) claim() error {
	rev := n.d.Current()
	if n.e.Executor == "" || n.e.Lease <= 0 || n.e.Attempt.Digest == "" || n.e.Attempt.Void {
		return refusal(connectors.CodeInternal, "a claim without executor, lease or request")
	}
	if rev == nil || n.e.ContentHash != rev.ContentHash || n.e.Revision != rev.Number {
		return refusal(connectors.CodeContentChanged, "not what was approved")
	}
	if err := n.authorised(); err != nil {
		return err
	}
	n.head.Epoch++
	n.because("", "")
	n.prepare(1, n.e.Attempt, n.now.Add(n.e.Lease))
	return nil
}

// reclaim is T17: a lease is over, which is no evidence of anything.
func (n *step) reclaim() error {
	last, rev := n.last(), n.d.Current()
	switch {
	case last == nil || rev == nil || n.e.Executor == "" || n.e.Lease <= 0 || n.e.Attempt.Digest == "":
		return refusal(connectors.CodeInternal, "a claim without executor, lease or request")
	case n.e.ContentHash != rev.ContentHash:
		return refusal(connectors.CodeContentChanged, "not what was approved")
	case n.now.Before(last.LeaseUntil):
		return refusal(connectors.CodeWrongState, "another executor has it")
	}
	class := ClassOf(&rev.Set, n.e.Change)
	if n.e.Attempt.Void {
		if class != connectors.Transactional {
			return refusal(connectors.CodeWrongState, "only a marker can prove that it did not run")
		}
	} else {
		if err := n.authorised(); err != nil {
			return err
		}
		if err := n.resendable(class, n.e.Attempt); err != nil {
			return err
		}
	}
	for _, a := range n.d.Attempts {
		if a.State == Settled {
			continue
		}
		as := SupersededByNext
		if a.State == Prepared {
			as = NeverDispatched
		}
		n.settle(a, as)
	}
	n.head.Epoch++
	n.prepare(last.Number+1, n.e.Attempt, n.now.Add(n.e.Lease))
	return nil
}

// resendable tells whether sending (again) can do no harm: nothing was sent
// whose outcome is open, or the class finds out by itself.
func (n *step) resendable(class connectors.OutcomeClass, r Request) error {
	open := n.unproven()
	if len(open) == 0 {
		return nil
	}
	switch class {
	case connectors.Transactional:
		return nil // the marker waits and collides
	case connectors.Idempotent:
		for _, a := range open {
			if a.IdempotencyKey == "" || a.IdempotencyKey != r.IdempotencyKey || a.RequestDigest != r.Digest {
				return refusal(connectors.CodeWrongState, "not the same request under the same key")
			}
			if !a.KeyUntil.IsZero() && !n.now.Before(a.KeyUntil) {
				return refusal(connectors.CodeWrongState, "the system has forgotten the key")
			}
		}
		return nil
	}
	return refusal(connectors.CodeWrongState, "nobody can tell whether it was done")
}

// mine finds the attempt that the executor of the epoch works on.
func (n *step) mine(state AttemptState) (*Attempt, error) {
	a := n.last()
	if a == nil || n.e.Epoch != n.d.Proposal.Epoch || a.Epoch != n.e.Epoch || a.Executor != n.e.Executor || a.State != state {
		return nil, refusal(connectors.CodeWrongState, "this executor has lost the proposal")
	}
	return a, nil
}

func (n *step) dispatch() error {
	a, err := n.mine(Prepared)
	if err != nil {
		return err
	}
	if !n.now.Before(a.LeaseUntil) {
		return refusal(connectors.CodeWrongState, "this executor has lost the proposal")
	}
	if !a.Void {
		if err := n.mayRun(); err != nil {
			return err
		}
	}
	b := *a
	b.State, b.DispatchedAt = Dispatching, n.now
	n.rows = append(n.rows, &b)
	return nil
}

func (n *step) applied() error {
	a, err := n.mine(Dispatching)
	if err != nil {
		return err
	}
	rev := n.d.Current()
	if n.e.Evidence == "" || n.e.SettledAs != Applied {
		return refusal(connectors.CodeInternal, "done without evidence")
	}
	if len(rev.Set.Changes) > 1 && !n.othersApplied() {
		return refusal(connectors.CodeUnsupported, "several sources in one proposal are not supported yet")
	}
	// A resolution settles the earlier dispatches of the same change as well:
	// the marker or the key made them one.
	for _, b := range n.unproven() {
		if b.Change == n.e.Change && b.Number != a.Number {
			n.settle(b, SupersededByNext)
		}
	}
	n.settle(a, Applied)
	n.to(Executed, time.Time{})
	n.because("", "")
	return nil
}

func (n *step) othersApplied() bool {
	done := map[int]bool{n.e.Change: true}
	for _, a := range n.d.Attempts {
		if a.SettledAs == Applied {
			done[a.Change] = true
		}
	}
	return len(done) == len(n.d.Current().Set.Changes)
}

func (n *step) notApplied() error {
	a, err := n.mine(Dispatching)
	if err != nil {
		return err
	}
	if n.e.Evidence == "" || n.e.SettledAs != NotApplied {
		return refusal(connectors.CodeInternal, "not done without evidence")
	}
	// An earlier dispatch may still be on its way: only a committed void speaks
	// for it too.
	if err := n.speaksForAll(a); err != nil {
		return err
	}
	for _, b := range n.unsettled() {
		n.settle(b, NotApplied)
	}
	if n.e.ErrorCode == connectors.CodeProposalStale {
		n.to(Invalidated, time.Time{})
		n.because("stale", n.e.Say)
		return nil
	}
	n.to(Failed, time.Time{})
	n.because("failed", n.e.Say)
	return nil
}

// speaksForAll: what this attempt proves of itself holds for every dispatch
// before it whose outcome is open. A refusal does not, also under the same
// idempotency key: the earlier request may still be on its way.
func (n *step) speaksForAll(a *Attempt) error {
	if a.Void {
		if !n.e.Voided {
			return refusal(connectors.CodeWrongState, "only a committed void proves that it was not done")
		}
		return nil
	}
	for _, b := range n.unproven() {
		if b.Change != a.Change || b.Number != a.Number {
			return refusal(connectors.CodeWrongState, "an earlier dispatch may still be done")
		}
	}
	return nil
}

func (n *step) giveUp() error {
	if n.e.To != Expired && n.e.To != Invalidated {
		return refusal(connectors.CodeInternal, "giving up ends in EXPIRED or INVALIDATED")
	}
	a := n.last()
	if a == nil {
		return refusal(connectors.CodeInternal, "nothing to give up")
	}
	over := !n.now.Before(a.LeaseUntil)
	if !over && (n.e.Epoch != n.d.Proposal.Epoch || n.e.Executor != a.Executor) {
		return refusal(connectors.CodeWrongState, "another executor has it")
	}
	voided := a.Void && a.State == Dispatching && n.e.Epoch == n.d.Proposal.Epoch && n.e.Executor == a.Executor &&
		n.e.Voided && n.e.SettledAs == NotApplied && n.e.Evidence != ""
	if len(n.unproven()) > 0 && !voided {
		return refusal(connectors.CodeWrongState, "it was dispatched and may be done")
	}
	for _, b := range n.unsettled() {
		as := NeverDispatched
		if !b.DispatchedAt.IsZero() {
			as = NotApplied
		}
		n.settle(b, as)
	}
	n.to(n.e.To, time.Time{})
	n.because(n.e.Reason, n.e.Say)
	return nil
}

// retry is T15: the same request again under the same claim.
func (n *step) retry() error {
	a, err := n.mine(Dispatching)
	if err != nil {
		return err
	}
	if n.e.SettledAs != NotApplied && n.e.SettledAs != UnknownOutcome || n.e.SettledAs == NotApplied && n.e.Evidence == "" {
		return refusal(connectors.CodeInternal, "a retry says what the attempt before came to")
	}
	if n.e.Attempt.Void {
		if ClassOf(&n.d.Current().Set, n.e.Change) != connectors.Transactional {
			return refusal(connectors.CodeWrongState, "only a marker can prove that it did not run")
		}
	} else if err := n.mayRetry(a); err != nil {
		return err
	}
	n.settle(a, n.e.SettledAs)
	n.prepare(a.Number+1, n.e.Attempt, n.now.Add(n.e.Wait).Add(n.e.Lease))
	return nil
}

func (n *step) mayRetry(a *Attempt) error {
	if a.Void || n.e.Attempt.Digest != a.RequestDigest || n.e.Attempt.IdempotencyKey != a.IdempotencyKey {
		return refusal(connectors.CodeWrongState, "a retry sends the same bytes under the same key")
	}
	if err := n.mayRun(); err != nil {
		return err
	}
	class := ClassOf(&n.d.Current().Set, n.e.Change)
	if n.e.SettledAs == NotApplied && len(n.unproven()) == 1 {
		return nil // the only open dispatch is this one, and it is proven
	}
	return n.resendable(class, n.e.Attempt)
}

// ambiguous is T16. A lost lease or a timeout is no evidence of failure.
func (n *step) ambiguous() error {
	if len(n.unproven()) == 0 {
		return refusal(connectors.CodeWrongState, "nothing was dispatched whose outcome is open")
	}
	a := n.last()
	holder := n.e.Epoch == n.d.Proposal.Epoch && n.e.Executor != "" && n.e.Executor == a.Executor
	if !holder && n.now.Before(a.LeaseUntil.Add(n.v.RequestTime)) {
		return refusal(connectors.CodeWrongState, "another executor has it")
	}
	for _, b := range n.d.Attempts {
		if b.State == Settled {
			continue
		}
		as := UnknownOutcome
		if b.DispatchedAt.IsZero() {
			as = NeverDispatched
		}
		n.settle(b, as)
	}
	n.to(OutcomeUnknown, time.Time{})
	n.because("outcome_unknown", n.e.Say)
	return nil
}

// restored is T16a: the store is older than what was done. What was approved or
// claimed then may have been sent since, so even an attempt that it knows as not
// dispatched proves nothing.
func (n *step) restored() error {
	switch class := ClassOf(&n.d.Current().Set, n.e.Change); {
	case class == connectors.Transactional:
		return refusal(connectors.CodeWrongState, "the marker tells whether it was done")
	case class == connectors.Idempotent && n.now.Before(n.e.Attempt.KeyUntil):
		return refusal(connectors.CodeWrongState, "its key makes it safe to send again")
	}
	for _, a := range n.d.Attempts {
		if a.State != Settled {
			n.settle(a, UnknownOutcome)
		}
	}
	n.to(OutcomeUnknown, time.Time{})
	n.because("outcome_unknown", n.e.Say)
	return nil
}

func (n *step) forceRetry() error {
	if n.e.Actor.ID == "" || !n.e.Acknowledged {
		return refusal(connectors.CodeBadInput, "somebody must acknowledge that it may be done twice")
	}
	if err := n.settler(); err != nil {
		return err
	}
	if err := n.authorised(); err != nil {
		return err
	}
	last := n.last()
	if last == nil || n.e.Executor == "" || n.e.Lease <= 0 || n.e.Attempt.Digest == "" {
		return refusal(connectors.CodeInternal, "a claim without executor, lease or request")
	}
	n.head.Epoch++
	n.because("forced", n.e.Comment)
	n.prepare(last.Number+1, n.e.Attempt, n.now.Add(n.e.Lease))
	return nil
}

func (n *step) partial() error {
	set := &n.d.Current().Set
	applied, not := 0, 0
	for i := range set.Changes {
		var as Settlement
		for _, a := range n.d.Attempts {
			if a.Change == i && (a.SettledAs == Applied || a.SettledAs == NotApplied) {
				as = a.SettledAs
			}
		}
		switch as {
		case Applied:
			applied++
		case NotApplied, "":
			not++
		}
	}
	if applied == 0 || not == 0 {
		return refusal(connectors.CodeWrongState, "it is not partly done")
	}
	n.to(Partial, time.Time{})
	n.because("partial", n.e.Say)
	return nil
}
