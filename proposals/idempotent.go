package proposals

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// How long another request under the same key is waited for, and how often it
// is looked at. A direct write takes no longer; whoever made one that did was
// lost, and its answer with it. What can be repeated is repeated sooner: done
// twice at the same time it has one effect as well.
const (
	keyLost   = time.Minute
	keyRepeat = 3 * time.Second
	keyPoll   = 50 * time.Millisecond
)

// A Claim is an idempotency key of a principal, for a write that is done at
// once. Proposals keep their own keys.
type Claim struct {
	s   *Service
	rec IdempotencyRecord
	// Answer, where not nil, is what the same request was answered before:
	// nothing is to be done again. Proposal is the handle of what it made.
	Answer   json.RawMessage
	Proposal string
}

// Done tells whether the request was answered before.
func (c *Claim) Done() bool { return c != nil && (c.Answer != nil || c.Proposal != "") }

// Run names the write to the systems it is done in, the same when it is begun
// again.
func (c *Claim) Run() string { return c.rec.Run }

// ClaimKey takes an idempotency key for a direct write, or finds what it was
// answered before. While another request under the same key is under way it is
// waited for, until ctx ends. A claim that is not Done must be ended with Finish
// or Abandon. Of one that never was, because its process died, a request that is
// repeatable (its sources tell a second time from a first) is answered with a
// claim of its own, to be run again as it is; any other with CodeOutcomeUnknown.
//
// Fails with CodeIdempotencyMismatch, CodeOutcomeUnknown, CodeTimeout.
func (s *Service) ClaimKey(ctx context.Context, who *policy.Principal, key, digest string, repeatable bool) (*Claim, error) {
	tick := time.NewTicker(keyPoll)
	defer tick.Stop()
	for {
		c, err := s.tryKey(ctx, who, key, digest, repeatable)
		if c != nil && !c.Done() {
			s.cfg.Failpoint("K1")
		}
		if err != nil || c != nil {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, connectors.AsError(ctx.Err())
		case <-tick.C:
		}
	}
}

// FindKey looks for what a request under this key was answered before, and
// takes nothing: nil where there is none, and not Done where it was begun and has
// no answer yet. Fails with CodeIdempotencyMismatch.
func (s *Service) FindKey(ctx context.Context, who *policy.Principal, key, digest string) (*Claim, error) {
	var out *Claim
	err := s.retrying(ctx, func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			out = nil
			known, err := tx.Idempotency(who.Tenant, who.ID, key)
			switch {
			case errors.Is(err, ErrNotFound):
				return nil
			case err != nil:
				return err
			case known.Digest != digest:
				return connectors.Errorf(connectors.CodeIdempotencyMismatch, "this idempotency key was used for another request")
			}
			out = &Claim{s: s, rec: *known, Answer: known.Answer, Proposal: known.Proposal}
			return nil
		})
	})
	return out, err
}

// tryKey answers nil, nil while another request has the key.
func (s *Service) tryKey(ctx context.Context, who *policy.Principal, key, digest string, repeatable bool) (*Claim, error) {
	if key == "" || digest == "" || who == nil || who.Kind == policy.Anonymous {
		return nil, connectors.Errorf(connectors.CodeBadInput, "an idempotency key needs somebody who signed in")
	}
	var out *Claim
	err := s.retrying(ctx, func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			out = nil
			now, err := tx.Now()
			if err != nil {
				return err
			}
			known, err := tx.Idempotency(who.Tenant, who.ID, key)
			switch {
			case errors.Is(err, ErrNotFound):
				out = &Claim{s: s, rec: IdempotencyRecord{Tenant: who.Tenant, Principal: who.ID, Key: key, Digest: digest,
					State: IdempotencyOpen, Run: newHandle(), CreatedAt: now, ExpiresAt: now.Add(s.cfg.KeepKeys)}}
				return tx.Write(&out.rec)
			case err != nil:
				return err
			case known.Digest != digest:
				return connectors.Errorf(connectors.CodeIdempotencyMismatch, "this idempotency key was used for another request")
			case known.State == IdempotencyDone:
				out = &Claim{s: s, rec: *known, Answer: known.Answer, Proposal: known.Proposal}
			case repeatable && now.Sub(known.CreatedAt) > keyRepeat:
				out = &Claim{s: s, rec: *known}
				out.rec.CreatedAt = now
				return tx.Write(&out.rec)
			case now.Sub(known.CreatedAt) > keyLost:
				return lostAnswer()
			}
			return nil
		})
	})
	return out, err
}

func lostAnswer() error {
	return connectors.Errorf(connectors.CodeOutcomeUnknown, "the same request was under way when its answer was lost: it may or may not have been done")
}

// Finish keeps the answer for whoever sends the same request again. It is kept
// as it is, so it must be what its principal may see.
func (c *Claim) Finish(ctx context.Context, answer json.RawMessage) error {
	c.s.cfg.Failpoint("K2")
	return c.end(ctx, func(r *IdempotencyRecord, now time.Time) {
		r.State, r.Answer = IdempotencyDone, answer
		r.ExpiresAt = now.Add(c.s.cfg.KeepKeys)
	})
}

// Abandon frees the key: provably nothing was done.
func (c *Claim) Abandon(ctx context.Context) error {
	return c.end(ctx, func(r *IdempotencyRecord, now time.Time) { r.ExpiresAt = now })
}

func (c *Claim) end(ctx context.Context, change func(*IdempotencyRecord, time.Time)) error {
	return c.s.retrying(ctx, func() error {
		return c.s.cfg.Store.Tx(ctx, func(tx Tx) error {
			now, err := tx.Now()
			if err != nil {
				return err
			}
			r := c.rec
			change(&r, now)
			return tx.Write(&r)
		})
	})
}
