package proposals

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/countersign/countersign/connectors"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// run sends the attempt that was prepared, and those after it, until the
// proposal is settled or must be left to whoever comes next. The lease is
// renewed all the while.
func (x *Executor) run(ctx context.Context, d *Dossier) error {
	stop := x.renew(d)
	defer stop()
	for n := 1; ; n++ {
		a := current(d)
		// What is under way is finished, also when the program ends: cutting it
		// off would make its outcome unknown.
		outside := context.WithoutCancel(ctx)
		next, err := x.attempt(outside, d, a, n)
		if err != nil || next == nil {
			return err
		}
		d = next.dossier
		if next.wait > 0 {
			timer := time.NewTimer(next.wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil // provably not sent: the lease ends, and anybody takes over
			}
		}
	}
}

// current is the attempt of the head's epoch that is not settled.
func current(d *Dossier) *Attempt {
	var out *Attempt
	for _, a := range d.Attempts {
		if a.Epoch == d.Proposal.Epoch && a.State != Settled {
			out = a
		}
	}
	return out
}

// onward is another attempt, after a wait.
type onward struct {
	dossier *Dossier
	wait    time.Duration
}

// attempt marks, sends and settles one attempt. Nil, nil: it is over here.
func (x *Executor) attempt(ctx context.Context, d *Dossier, a *Attempt, n int) (*onward, error) {
	if a == nil {
		return nil, nil
	}
	c, err := x.change(d, a.Change, a.Void)
	if err != nil {
		return nil, err
	}
	if sum := c.Digest(); hexOf(sum[:]) != a.RequestDigest {
		return nil, refusal(connectors.CodeInternal, "what would be sent is not what was claimed")
	}
	d, err = x.event(ctx, d, Event{Kind: EventDispatch, Change: a.Change})
	if err != nil {
		return nil, x.undispatched(ctx, d, a, err)
	}
	x.s.cfg.Failpoint("P5")
	effect, err := x.send(ctx, d, c)
	x.s.cfg.Failpoint("P6")
	return x.settled(ctx, d, a, n, effect, err)
}

// send is the one place from which a stored change leaves.
func (x *Executor) send(ctx context.Context, d *Dossier, c *connectors.Change) (*connectors.Effect, error) {
	ctx, cancel := context.WithTimeout(ctx, x.cfg.RequestTime)
	defer cancel()
	permit := x.cfg.Issuer.Issue(connectors.PermitApply, c, d.Proposal.Epoch, x.cfg.Now().Add(x.cfg.RequestTime))
	defer x.cfg.Issuer.Revoke(permit)
	return x.cfg.Apply(ctx, c.Source, permit, c)
}

// event applies an executor's event of the epoch that d holds. The returned
// dossier is d where it fails. Once something was sent, a store that does not
// answer is asked again until the lease is over: only now can it be told what
// came of it.
func (x *Executor) event(ctx context.Context, d *Dossier, e Event) (*Dossier, error) {
	e.Executor, e.Epoch, e.Lease = x.cfg.Name, d.Proposal.Epoch, x.cfg.Lease
	until := x.cfg.Now().Add(x.cfg.Lease)
	for n := 1; ; n++ {
		out, err := x.s.executorEvent(ctx, d.Proposal.Tenant, d.Proposal.ID, e)
		if err == nil {
			return out, nil
		}
		broken := connectors.CodeOf(err) == connectors.CodeInternal || connectors.CodeOf(err) == connectors.CodeTimeout
		if !broken || e.Kind == EventDispatch || x.cfg.Now().After(until) {
			return d, err
		}
		timer := time.NewTimer(x.cfg.Backoff(n))
		select {
		case <-ctx.Done():
			timer.Stop()
			return d, err
		case <-timer.C:
		}
	}
}

// executorEvent applies an event that rests on nothing but rows and clock: what
// was authorised is so by the claim, and kill switches are read inside.
func (s *Service) executorEvent(ctx context.Context, tenant, id string, e Event) (*Dossier, error) {
	var out *Dossier
	var commands []Command
	err := s.retrying(ctx, func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			d, err := tx.Get(tenant, Ref{ID: id})
			if err != nil {
				return err
			}
			out, commands, err = s.commit(ctx, tx, d, e, View{})
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	s.after(&out.Proposal, commands)
	return out, nil
}

// undispatched: T12 was refused, so nothing was sent by this attempt. Where
// nothing was ever sent the proposal ends; else the lease runs out and whoever
// takes over finds out what became of it.
func (x *Executor) undispatched(ctx context.Context, d *Dossier, a *Attempt, why error) error {
	e := Event{Kind: EventGiveUp, Change: a.Change, Say: connectors.AsError(why).Message}
	switch connectors.CodeOf(why) {
	case connectors.CodeSuspended:
		e.To, e.Reason = Invalidated, "killed"
	case connectors.CodeProposalExpired:
		e.To, e.Reason = Expired, "expired"
	default:
		return why
	}
	if len((&step{d: d}).unproven()) > 0 {
		return nil
	}
	_, err := x.event(ctx, d, e)
	return err
}

// outcome is what can be told from an answer.
type outcome struct {
	as       Settlement
	evidence string
	code     connectors.Code
	say      string
	response json.RawMessage
	voided   bool
	// again: the same request may succeed later.
	again bool
}

// read tells what an answer proves. Only errors of the contract prove that
// nothing was done; whatever else went wrong leaves it open.
func read(a *Attempt, effect *connectors.Effect, err error) outcome {
	if err == nil && effect == nil {
		return outcome{as: UnknownOutcome, code: connectors.CodeInternal, say: "the source answered nothing"}
	}
	if err == nil {
		o := outcome{as: Applied, evidence: effect.Evidence}
		if o.evidence == "" {
			o.evidence = "answered"
		}
		if a.Void && effect.Evidence == "void" {
			return outcome{as: NotApplied, evidence: "void", voided: true}
		}
		if raw, err := json.Marshal(effect); err == nil {
			o.response = raw
		}
		return o
	}
	var e *connectors.Error
	if !errors.As(err, &e) {
		return outcome{as: UnknownOutcome, code: connectors.CodeOutcomeUnknown, say: "the answer was lost"}
	}
	o := outcome{code: e.Code, say: e.Message}
	switch e.Code {
	case connectors.CodeOutcomeUnknown, connectors.CodeTimeout, connectors.CodeInternal:
		o.as = UnknownOutcome
	default:
		o.as, o.evidence, o.again = NotApplied, "refused: "+string(e.Code), e.Code.Retryable()
	}
	if effect != nil && len(effect.Steps) > 0 {
		// Some steps were done and others not, which this version cannot settle.
		o.as, o.evidence, o.again = UnknownOutcome, "", false
		o.say = "a part of the change was done"
	}
	return o
}

// settled writes what came of an attempt (T13 to T16).
func (x *Executor) settled(ctx context.Context, d *Dossier, a *Attempt, n int, effect *connectors.Effect, err error) (*onward, error) {
	o := read(a, effect, err)
	e := Event{Change: a.Change, SettledAs: o.as, Evidence: o.evidence, ErrorCode: o.code, Say: o.say, Response: o.response, Voided: o.voided}
	x.s.cfg.Failpoint("P7")
	switch {
	case o.as == Applied:
		e.Kind = EventApplied
		_, err := x.event(ctx, d, e)
		x.s.cfg.Failpoint("P8")
		return nil, err
	case o.voided:
		return nil, x.voided(ctx, d, e)
	case o.as == NotApplied && !a.Void:
		return x.notDone(ctx, d, a, n, e, o)
	}
	return x.unclear(ctx, d, a, n, e)
}

// voided: the marker proves that it did not and will not run. Where the last
// real attempt was refused, that is why it failed.
func (x *Executor) voided(ctx context.Context, d *Dossier, e Event) error {
	now, err := x.s.cfg.Store.Now(ctx)
	if err != nil {
		return err
	}
	var real *Attempt
	for _, a := range d.Attempts {
		if a.Change == e.Change && !a.Void && !a.DispatchedAt.IsZero() {
			real = a
		}
	}
	switch {
	case real != nil && real.SettledAs == NotApplied:
		e.Kind, e.ErrorCode = EventNotApplied, connectors.Code(real.ErrorCode)
	case !now.Before(d.Proposal.ExecDeadline):
		e.Kind, e.To, e.Reason, e.Say = EventGiveUp, Expired, "expired", "it was not done in time"
	default:
		e.Kind, e.To, e.Reason, e.Say = EventGiveUp, Invalidated, "policy", "it was not to run any more, and has not"
	}
	_, err = x.event(ctx, d, e)
	return err
}

// notDone: this attempt is proven not to have done anything.
func (x *Executor) notDone(ctx context.Context, d *Dossier, a *Attempt, n int, e Event, o outcome) (*onward, error) {
	if o.again && n < x.cfg.Attempts {
		if next, err := x.again(ctx, d, a, n, e, false); err == nil {
			return next, nil
		}
	}
	e.Kind = EventNotApplied
	_, err := x.event(ctx, d, e)
	if connectors.CodeOf(err) != connectors.CodeWrongState {
		return nil, err
	}
	// An earlier dispatch may still be done: only a void speaks for it too.
	if next, err := x.again(ctx, d, a, n, e, true); err == nil {
		return next, nil
	}
	e.Kind = EventAmbiguous
	_, err = x.event(ctx, d, e)
	return nil, err
}

// unclear: nobody can tell whether this attempt did anything. The class may
// find out by doing it again; else a person must.
func (x *Executor) unclear(ctx context.Context, d *Dossier, a *Attempt, n int, e Event) (*onward, error) {
	e.SettledAs, e.Evidence = UnknownOutcome, ""
	if next, err := x.again(ctx, d, a, n, e, a.Void); err == nil {
		return next, nil
	}
	if !a.Void {
		// It may not run again; a void finds out what became of it.
		if next, err := x.again(ctx, d, a, n, e, true); err == nil {
			return next, nil
		}
	}
	e.Kind = EventAmbiguous
	_, err := x.event(ctx, d, e)
	return nil, err
}

// voidTries is how often a void is tried before a person has to look.
const voidTries = 20

// again prepares one more attempt (T15), the same or a void one.
func (x *Executor) again(ctx context.Context, d *Dossier, a *Attempt, n int, e Event, void bool) (*onward, error) {
	if void && n > voidTries {
		return nil, refusal(connectors.CodeWrongState, "tried often enough")
	}
	r := Request{IdempotencyKey: a.IdempotencyKey, Digest: a.RequestDigest, KeyUntil: a.KeyUntil, Void: a.Void}
	if void != a.Void {
		now, err := x.s.cfg.Store.Now(ctx)
		if err != nil {
			return nil, err
		}
		if r, err = x.request(d, a.Change, void, now); err != nil {
			return nil, err
		}
	}
	e.Kind, e.Attempt, e.Wait = EventRetry, r, x.cfg.Backoff(n)
	out, err := x.event(ctx, d, e)
	if err != nil {
		return nil, err
	}
	return &onward{dossier: out, wait: e.Wait}, nil
}

// renew keeps the lease until stop is called, which waits for it.
func (x *Executor) renew(d *Dossier) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(x.cfg.Lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			ctx, cancel := context.WithTimeout(context.Background(), x.cfg.Lease)
			err := x.s.renewLease(ctx, d.Proposal.Tenant, d.Proposal.ID, d.Proposal.Epoch, x.cfg.Name, x.cfg.Lease)
			cancel()
			if connectors.CodeOf(err) == connectors.CodeWrongState {
				return // lost: every further event of this epoch is refused
			}
		}
	})
	return sync.OnceFunc(func() { close(done); wg.Wait() })
}

// renewLease makes the lease of the epoch longer. It is no transition.
func (s *Service) renewLease(ctx context.Context, tenant, id string, epoch int64, executor string, lease time.Duration) error {
	return s.retrying(ctx, func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			d, err := tx.Get(tenant, Ref{ID: id})
			if err != nil {
				return err
			}
			now, err := tx.Now()
			if err != nil {
				return err
			}
			a := current(d)
			if d.Proposal.State != Executing || d.Proposal.Epoch != epoch || a == nil || a.Executor != executor || !now.Before(a.LeaseUntil) {
				return refusal(connectors.CodeWrongState, "this executor has lost the proposal")
			}
			until := now.Add(lease)
			if until.Before(a.LeaseUntil) {
				return nil // a wait before a retry made it longer
			}
			b, h := *a, d.Proposal
			b.LeaseUntil, h.WakeAt, h.Version = until, until, h.Version+1
			if err := tx.Put(&h, d.Proposal.Version); err != nil {
				return err
			}
			return tx.Write(&b)
		})
	})
}
