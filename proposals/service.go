package proposals

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
)

// The defaults of what a configuration does not say.
const (
	DefaultExpire   = 72 * time.Hour
	DefaultKeepKeys = 7 * 24 * time.Hour
	// afterNotBefore is how long something may run that was to start after its
	// time for decisions is over.
	afterNotBefore = 24 * time.Hour
	// conflictTries is how often a transaction that collided is done again.
	conflictTries = 200
)

// Config is what a Service is made of. Store, Authorizer, Directory and Keys
// are required.
type Config struct {
	Store Store
	// Authorizer answers the snapshot in force. It is asked once per decision.
	Authorizer func() Authorizer
	Directory  policy.Directory
	Keys       Keys
	// Expire is how long a proposal may be decided on where no rule says; 0:
	// DefaultExpire.
	Expire time.Duration
	// KeepKeys is how long idempotency records are kept; 0: DefaultKeepKeys.
	KeepKeys time.Duration
	// Caps are what a principal may have open and reserved; nil: nothing is bound.
	Caps func(principal string) Caps
	// TraceID of the request; may be nil.
	TraceID func(context.Context) string
	// Failpoint is called at the crash points by name ("P1"); nil in production.
	Failpoint func(name string)
	Log       *slog.Logger // nil: slog.Default
}

// A Service is where proposals are made and decided on. All methods may be
// called concurrently. Errors are *connectors.Error; whoever may not see a
// proposal is answered exactly as if there were none.
type Service struct {
	cfg   Config
	watch *watchers
	wake  chan struct{}
	known seenSwitches
}

// New makes a Service. It starts nothing.
func New(cfg Config) *Service {
	if cfg.Expire <= 0 {
		cfg.Expire = DefaultExpire
	}
	if cfg.KeepKeys <= 0 {
		cfg.KeepKeys = DefaultKeepKeys
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.TraceID == nil {
		cfg.TraceID = func(context.Context) string { return "" }
	}
	if cfg.Failpoint == nil {
		cfg.Failpoint = func(string) {}
	}
	return &Service{cfg: cfg, watch: newWatchers(), wake: make(chan struct{}, 1)}
}

// PolicyLoaded says that this node's snapshot is the policy in force: decisions
// on any other are computed again. The program calls it at start and after each
// reload, for every tenant. It changes nothing where the version is the same.
func (s *Service) PolicyLoaded(ctx context.Context, tenant string) error {
	version := s.cfg.Authorizer().Version()
	return s.retrying(ctx, func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			c, err := tx.Control(tenant)
			if err != nil || c.PolicyVersion == version {
				return err
			}
			from := c.PolicyVersion
			c.Tenant, c.PolicyVersion = tenant, version
			c.Version++
			if err := tx.Write(c); err != nil {
				return err
			}
			return tx.Audit(audit.Event{Tenant: tenant, Kind: "policy.loaded", Subject: "policy", From: from, To: version,
				PolicyVersion: version, TraceID: s.cfg.TraceID(ctx)})
		})
	})
}

// errMoved: what a decision rests on is not what it was computed with.
var errMoved = errors.New("moved")

// retrying does it again while rows move under it.
func (s *Service) retrying(ctx context.Context, fn func() error) error {
	for i := range conflictTries {
		err := fn()
		if !errors.Is(err, errMoved) && !errors.Is(err, ErrConflict) {
			return outward(err)
		}
		if i > 2 {
			// Full jitter: those that collided come back apart.
			timer := time.NewTimer(mathrand.N(time.Duration(min(i, 20)) * 2 * time.Millisecond))
			select {
			case <-ctx.Done():
				timer.Stop()
				return connectors.AsError(ctx.Err())
			case <-timer.C:
			}
		}
	}
	return connectors.Errorf(connectors.CodeLockTimeout, "too many changes at once: try again")
}

// outward makes store errors those that callers see.
func outward(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound):
		return noSuch()
	}
	return connectors.AsError(err)
}

func noSuch() error {
	return connectors.Errorf(connectors.CodeNotFound, "there is no such proposal")
}

// ground is what a decision is computed on, outside of the transaction.
type ground struct {
	az  Authorizer
	ctl *Control
	now time.Time
}

// stand reads the ground. A node whose policy is not the one in force decides
// nothing.
func (s *Service) stand(ctx context.Context, tenant string) (*ground, error) {
	g := &ground{az: s.cfg.Authorizer()}
	var err error
	if g.ctl, err = s.cfg.Store.Control(ctx, tenant); err != nil {
		return nil, err
	}
	if g.ctl.PolicyVersion == "" {
		// A tenant that is here for the first time.
		if err := s.PolicyLoaded(ctx, tenant); err != nil {
			return nil, err
		}
		if g.ctl, err = s.cfg.Store.Control(ctx, tenant); err != nil {
			return nil, err
		}
	}
	if g.ctl.PolicyVersion != g.az.Version() {
		e := connectors.Errorf(connectors.CodeUpstreamUnavailable, "the policy is being loaded: try again")
		e.RetryAfter = time.Second
		return nil, e
	}
	if g.now, err = s.cfg.Store.Now(ctx); err != nil {
		return nil, err
	}
	return g, nil
}

// same tells whether the transaction stands on the same ground.
func (g *ground) same(tx Tx) error {
	c, err := tx.Control(g.ctl.Tenant)
	if err != nil {
		return err
	}
	if c.Version != g.ctl.Version || c.PolicyVersion != g.ctl.PolicyVersion {
		return errMoved
	}
	return nil
}

// A plan is an event that is to happen and what policy says about it; or the
// answer that stands already.
type plan struct {
	event Event
	view  View
	done  bool
}

// transit applies one event to one proposal: decide computes it on a snapshot,
// the transaction compares what it rests on and computes again where it moved.
func (s *Service) transit(ctx context.Context, tenant string, by Ref,
	decide func(*ground, *Dossier) (*plan, error)) (*Dossier, []Command, error) {
	var out *Dossier
	var commands []Command
	err := s.retrying(ctx, func() error {
		g, err := s.stand(ctx, tenant)
		if err != nil {
			return err
		}
		d, err := s.cfg.Store.Get(ctx, tenant, by)
		if err != nil {
			return err
		}
		p, err := decide(g, d)
		if err != nil {
			return err
		}
		if p.done {
			out, commands = d, nil
			return nil
		}
		p.view.PolicyVersion = g.ctl.PolicyVersion
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			if err := g.same(tx); err != nil {
				return err
			}
			at, err := tx.Get(tenant, Ref{ID: d.Proposal.ID})
			if err != nil {
				return err
			}
			if at.Proposal.Version != d.Proposal.Version {
				return errMoved
			}
			out, commands, err = s.commit(ctx, tx, at, p.event, p.view)
			return err
		})
	})
	if err != nil {
		return nil, nil, err
	}
	s.after(&out.Proposal, commands)
	return out, commands, nil
}

// commit runs Next inside the transaction, on the store's clock and kill
// switches, and writes what it says.
func (s *Service) commit(ctx context.Context, tx Tx, d *Dossier, e Event, v View) (*Dossier, []Command, error) {
	now, err := tx.Now()
	if err != nil {
		return nil, nil, err
	}
	// A new proposal's head is in the event.
	head, set := &d.Proposal, (*ChangeSet)(nil)
	if rev := d.Current(); rev != nil {
		set = &rev.Set
	}
	if e.New != nil {
		set = &e.New.Revision.Set
		if d.Proposal.State == None {
			head = &e.New.Head
		}
	}
	c, err := tx.Control(head.Tenant)
	if err != nil {
		return nil, nil, err
	}
	v.Killed = ""
	for _, source := range set.Sources() {
		if k := c.Killed(head.Author, source); k != nil {
			v.Killed = stopped(k)
		}
	}
	e.TraceID = s.cfg.TraceID(ctx)
	_, r, commands, err := Next(d, e, now, v)
	if err != nil {
		return nil, nil, err
	}
	if err := s.account(tx, d.Proposal.State, e.New, &r.Head); err != nil {
		return nil, nil, err
	}
	if err := tx.Put(&r.Head, r.Was); err != nil {
		return nil, nil, err
	}
	rows := r.Rows
	for _, cmd := range commands {
		if cmd.Kind == CommandNotify {
			m, err := notice(&r.Head, cmd.Topic, now)
			if err != nil {
				return nil, nil, err
			}
			rows = append(rows, m)
		}
	}
	if err := tx.Write(rows...); err != nil {
		return nil, nil, err
	}
	if err := tx.Audit(r.Audit); err != nil {
		return nil, nil, err
	}
	return joined(d, r), commands, nil
}

func stopped(k *KillSwitch) string {
	if k.Say != "" {
		return k.Say
	}
	return "by a kill switch"
}

// joined is the dossier after its records were written.
func joined(d *Dossier, r Records) *Dossier {
	out := &Dossier{Proposal: r.Head}
	out.Revisions = append(out.Revisions, d.Revisions...)
	out.Decisions = append(out.Decisions, d.Decisions...)
	out.Attempts = append(out.Attempts, d.Attempts...)
	for _, row := range r.Rows {
		switch x := row.(type) {
		case *Revision:
			out.Revisions = append(out.Revisions, x)
		case *Decision:
			out.Decisions = append(out.Decisions, x)
		case *Attempt:
			replaced := false
			for i, a := range out.Attempts {
				if a.Change == x.Change && a.Number == x.Number {
					out.Attempts[i], replaced = x, true
				}
			}
			if !replaced {
				out.Attempts = append(out.Attempts, x)
			}
		}
	}
	return out
}

// notice is an outbox row: ids and a topic, no content.
func notice(p *Proposal, topic string, now time.Time) (*OutboxMessage, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(map[string]string{"proposal": p.Handle, "state": string(p.State)})
	if err != nil {
		return nil, err
	}
	return &OutboxMessage{Tenant: p.Tenant, ID: id.String(), Topic: topic, Payload: raw, NextTry: now, At: now}, nil
}

// after does what a committed transition asks for in this process.
func (s *Service) after(p *Proposal, commands []Command) {
	for _, c := range commands {
		if c.Kind == CommandWake {
			select {
			case s.wake <- struct{}{}:
			default: // somebody is woken already
			}
		}
	}
	s.watch.publish(p.Tenant, p.Handle, p.Version)
}

// newHandle is public: 128 random bits that say nothing.
func newHandle() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}
