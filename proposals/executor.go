package proposals

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/countersign/countersign/connectors"
)

// The defaults of an executor.
const (
	DefaultLease       = 10 * time.Second
	DefaultWorkers     = 4
	DefaultPoll        = time.Second
	DefaultRequestTime = 30 * time.Second
	DefaultAttempts    = 8
	DefaultKeepUpKey   = 24 * time.Hour
	backoffBase        = 100 * time.Millisecond
	backoffMost        = 30 * time.Second
	dueAtOnce          = 100
	// postpone is how long a claim waits for somebody to sign in, or for a
	// source to answer, before it is looked at again.
	postpone = 15 * time.Second
)

// ExecutorConfig is what an Executor is made of. Service, Name, Apply and Issuer
// are required.
type ExecutorConfig struct {
	Service *Service
	// Name tells executors apart over all nodes and starts; never the same twice.
	Name string
	// Apply sends a stored change through the gate: the connector of the source.
	Apply func(ctx context.Context, source string, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error)
	// Issuer makes the permits.
	Issuer *connectors.Issuer
	// Now is the gate's clock, for the permits; nil: time.Now. Guards use the
	// store's.
	Now func() time.Time
	// KeyRetention is how long the system remembers an idempotency key of a
	// collection or function of a source; nil or 0: DefaultKeepUpKey.
	KeyRetention func(source, object string) time.Duration
	Lease        time.Duration // of a claim; renewed while it works
	Workers      int           // how many proposals run at once
	Poll         time.Duration // the net below the wake-up
	RequestTime  time.Duration // the longest that one Apply may take
	Attempts     int           // of what is proven not done, before it has failed
	// Backoff before attempt n (from 1); nil: full jitter over a doubling span.
	Backoff func(n int) time.Duration
}

// An Executor runs what was approved. Several may run, on one node or many.
type Executor struct {
	cfg ExecutorConfig
	s   *Service

	mu   sync.Mutex
	busy map[string]bool      // ids under way here
	wait map[string]time.Time // ids not to be looked at before (machine clock)
}

// NewExecutor makes an Executor; Run starts it.
func NewExecutor(cfg ExecutorConfig) *Executor {
	def := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	def(&cfg.Lease, DefaultLease)
	def(&cfg.Poll, DefaultPoll)
	def(&cfg.RequestTime, DefaultRequestTime)
	if cfg.Workers <= 0 {
		cfg.Workers = DefaultWorkers
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = DefaultAttempts
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Backoff == nil {
		cfg.Backoff = fullJitter
	}
	return &Executor{cfg: cfg, s: cfg.Service, busy: map[string]bool{}, wait: map[string]time.Time{}}
}

// fullJitter spreads those that failed together over a span that doubles.
func fullJitter(n int) time.Duration {
	span := backoffMost
	if n < 9 {
		span = min(span, backoffBase<<n)
	}
	return rand.N(span)
}

// Run claims and runs until ctx ends, then waits for what it has dispatched, at
// most the time of a request. It owns every goroutine it starts.
func (x *Executor) Run(ctx context.Context) error {
	slots := make(chan struct{}, x.cfg.Workers)
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(x.cfg.Poll)
	defer tick.Stop()
	for {
		more := x.round(ctx, slots, &wg)
		if more && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-x.s.wake:
		case <-tick.C:
		}
	}
}

// round looks once at everything that is due. It is true where more was due
// than it was given at once.
func (x *Executor) round(ctx context.Context, slots chan struct{}, wg *sync.WaitGroup) bool {
	due, err := x.s.cfg.Store.Due(ctx, []State{Approved, Executing, Pending, ChangesRequested}, dueAtOnce)
	if err != nil {
		if ctx.Err() == nil {
			x.s.cfg.Log.WarnContext(ctx, "proposals: looking for what is due", "error", err)
		}
		return false
	}
	x.forget()
	started := 0
	for _, p := range due {
		if !x.take(p.ID) {
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			x.release(p.ID, 0)
			return false
		}
		started++
		wg.Go(func() {
			pause := x.one(ctx, p)
			x.release(p.ID, pause)
			<-slots
		})
	}
	return len(due) == dueAtOnce && started > 0
}

func (x *Executor) take(id string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.busy[id] || x.cfg.Now().Before(x.wait[id]) {
		return false
	}
	x.busy[id] = true
	return true
}

// forget drops pauses that are over.
func (x *Executor) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.cfg.Now()
	maps.DeleteFunc(x.wait, func(_ string, until time.Time) bool { return !now.Before(until) })
}

func (x *Executor) release(id string, pause time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.busy, id)
	delete(x.wait, id)
	if pause > 0 {
		x.wait[id] = x.cfg.Now().Add(pause)
	}
}

// one does what is due for a proposal. The answer is how long this executor
// leaves it alone.
func (x *Executor) one(ctx context.Context, p *Proposal) time.Duration {
	var err error
	pause := time.Duration(0)
	switch p.State {
	case Approved:
		pause, err = x.approved(ctx, p)
	case Executing:
		pause, err = x.lost(ctx, p)
	default:
		err = x.s.Expire(ctx, p.Tenant, p.Handle)
	}
	switch connectors.CodeOf(err) {
	case "", connectors.CodeWrongState:
		return pause // another was faster
	}
	if ctx.Err() == nil {
		x.s.cfg.Log.WarnContext(ctx, "proposals: executing", "proposal", p.Handle, "error", err, "cause", connectors.AsError(err).Cause)
	}
	return max(pause, x.cfg.Poll)
}

// approved claims (T11) and runs; or ends what may not run any more.
func (x *Executor) approved(ctx context.Context, p *Proposal) (time.Duration, error) {
	var l *looked
	d, _, err := x.s.transit(ctx, p.Tenant, Ref{ID: p.ID}, func(g *ground, d *Dossier) (*plan, error) {
		if d.Proposal.State != Approved {
			return nil, refusal(connectors.CodeWrongState, "claimed already")
		}
		rev := d.Current()
		if hash, err := ContentHash(&d.Proposal, rev, x.s.cfg.Keys); err != nil || hash != rev.ContentHash {
			return nil, refusal(connectors.CodeContentChanged, "not what was approved")
		}
		var err error
		if l, err = x.s.look(ctx, g, d, nil); err != nil {
			return nil, err
		}
		if l.waits != nil && g.now.Before(d.Proposal.ExecDeadline) {
			return nil, l.waits
		}
		r, err := x.request(d, 0, false, g.now)
		return &plan{view: l.view, event: Event{Kind: EventClaim, Executor: x.cfg.Name, Lease: x.cfg.Lease, Attempt: r,
			Revision: rev.Number, ContentHash: rev.ContentHash}}, err
	})
	switch connectors.CodeOf(err) {
	case "":
		x.s.cfg.Failpoint("P4")
		return 0, x.run(ctx, d)
	case connectors.CodeForbidden:
		reason := "policy"
		if l != nil && connectors.CodeOf(l.denied) == connectors.CodeProposalStale {
			reason = "schema"
		}
		return 0, x.s.Invalidate(ctx, p.Tenant, p.Handle, reason, saying(l, err))
	case connectors.CodeSuspended:
		return 0, x.s.Invalidate(ctx, p.Tenant, p.Handle, "killed", connectors.AsError(err).Message)
	case connectors.CodeContentChanged:
		return 0, x.s.Invalidate(ctx, p.Tenant, p.Handle, "content", "what is stored is not what was approved")
	case connectors.CodeProposalExpired:
		return 0, x.s.Expire(ctx, p.Tenant, p.Handle)
	case connectors.CodeSignInRequired:
		return 0, x.postpone(ctx, p, "sign_in_required", connectors.AsError(err).Message)
	}
	return 0, err
}

// saying is the most exact reason that is safe to show.
func saying(l *looked, err error) string {
	if l != nil && l.denied != nil {
		return connectors.AsError(l.denied).Message
	}
	return connectors.AsError(err).Message
}

// postpone says why a proposal waits, and looks at it again later, so that it
// does not stand before others. It is no transition: no event.
func (x *Executor) postpone(ctx context.Context, p *Proposal, reason, say string) error {
	return x.s.retrying(ctx, func() error {
		return x.s.cfg.Store.Tx(ctx, func(tx Tx) error {
			d, err := tx.Get(p.Tenant, Ref{ID: p.ID})
			if err != nil || d.Proposal.State != p.State || d.Proposal.Epoch != p.Epoch {
				return err
			}
			now, err := tx.Now()
			if err != nil {
				return err
			}
			h := d.Proposal
			h.WakeAt = now.Add(postpone)
			if h.ExecDeadline.Before(h.WakeAt) {
				h.WakeAt = h.ExecDeadline
			}
			h.ReasonCode, h.Say, h.Version = reason, say, h.Version+1
			return tx.Put(&h, d.Proposal.Version)
		})
	})
}

// lost takes over a proposal whose lease is over (T17), or gives it up (T14a),
// or says that nobody knows (T16). A lost lease is no evidence of anything.
func (x *Executor) lost(ctx context.Context, p *Proposal) (time.Duration, error) {
	d, commands, err := x.s.transit(ctx, p.Tenant, Ref{ID: p.ID}, func(g *ground, d *Dossier) (*plan, error) {
		if d.Proposal.State != Executing || d.Proposal.WakeAt.After(g.now) {
			return nil, refusal(connectors.CodeWrongState, "another executor has it")
		}
		l, err := x.s.look(ctx, g, d, nil)
		if err != nil {
			return nil, err
		}
		return x.recovery(g, d, l)
	})
	if connectors.CodeOf(err) == connectors.CodeSignInRequired {
		return 0, x.postpone(ctx, p, "sign_in_required", connectors.AsError(err).Message)
	}
	if err != nil {
		return 0, err
	}
	for _, c := range commands {
		if c.Kind == CommandDispatch {
			return 0, x.run(ctx, d)
		}
	}
	return 0, nil
}

// recovery decides what becomes of a lost claim.
func (x *Executor) recovery(g *ground, d *Dossier, l *looked) (*plan, error) {
	n := &step{d: d, now: g.now}
	rev, p := d.Current(), &d.Proposal
	open := n.unproven()
	l.view.RequestTime = x.cfg.RequestTime
	l.view.PolicyVersion = g.ctl.PolicyVersion
	for _, source := range rev.Set.Sources() {
		if k := g.ctl.Killed(p.Author, source); k != nil {
			l.view.Killed = stopped(k)
		}
	}
	reclaim := func(void bool) (*plan, error) {
		r, err := x.request(d, 0, void, g.now)
		return &plan{view: l.view, event: Event{Kind: EventReclaim, Executor: x.cfg.Name, Lease: x.cfg.Lease, Attempt: r,
			ContentHash: rev.ContentHash}}, err
	}
	first, err := reclaim(false)
	if err != nil {
		return nil, err
	}
	if _, _, _, err = Next(d, first.event, g.now, l.view); err == nil {
		return first, nil
	}
	class := ClassOf(&rev.Set, 0)
	findsOut := len(open) == 0 || class == connectors.Transactional || class == connectors.Idempotent
	switch {
	case findsOut && l.waits != nil && g.now.Before(p.ExecDeadline) && l.view.Killed == "":
		return nil, l.waits
	case len(open) == 0:
		to, reason := x.ending(l, g.now, p)
		return &plan{view: l.view, event: Event{Kind: EventGiveUp, Executor: x.cfg.Name, To: to, Reason: reason, Say: saying(l, err)}}, nil
	case class == connectors.Transactional:
		return reclaim(true)
	}
	return &plan{view: l.view, event: Event{Kind: EventAmbiguous, Executor: x.cfg.Name, Say: "the executor was lost while the change was under way"}}, nil
}

// ending is where a proposal goes that may not run any more and provably has
// not.
func (x *Executor) ending(l *looked, now time.Time, p *Proposal) (State, string) {
	switch {
	case !now.Before(p.ExecDeadline):
		return Expired, "expired"
	case l.view.Killed != "":
		return Invalidated, "killed"
	}
	return Invalidated, "policy"
}

// request is what an attempt would send, in digests.
func (x *Executor) request(d *Dossier, change int, void bool, now time.Time) (Request, error) {
	c, err := x.change(d, change, void)
	if err != nil {
		return Request{}, err
	}
	sum := c.Digest()
	r := Request{Digest: hexOf(sum[:]), Void: void}
	if ClassOf(&d.Current().Set, change) == connectors.Idempotent {
		r.IdempotencyKey = c.Steps[0].IdempotencyKey
		// The system's memory begins with the first dispatch under the key.
		r.KeyUntil = now.Add(keyRemembered(c, x.cfg.KeyRetention))
		for _, a := range d.Attempts {
			if a.IdempotencyKey == r.IdempotencyKey && !a.DispatchedAt.IsZero() && a.KeyUntil.Before(r.KeyUntil) {
				r.KeyUntil = a.KeyUntil
			}
		}
	}
	return r, nil
}

// change is the stored change with what makes its execution unique: a marker or
// keys, both bound to the content that was approved.
func (x *Executor) change(d *Dossier, change int, void bool) (*connectors.Change, error) {
	rev := d.Current()
	if rev == nil || change >= len(rev.Set.Changes) {
		return nil, refusal(connectors.CodeInternal, "no such change")
	}
	c := rev.Set.Changes[change]
	c.Steps = append([]connectors.Step(nil), c.Steps...)
	class := ClassOf(&rev.Set, change)
	if class == connectors.Transactional {
		c.Marker = &connectors.Marker{Proposal: d.Proposal.Handle, Change: change, ContentHash: rev.ContentHash, Void: void}
	}
	for i := range c.Steps {
		c.Steps[i].IdempotencyKey = ""
		if c.Steps[i].Class == connectors.Idempotent {
			c.Steps[i].IdempotencyKey = idempotencyKey(rev.ContentHash, change, i)
		}
	}
	c.Deadline = x.cfg.RequestTime
	return &c, nil
}
