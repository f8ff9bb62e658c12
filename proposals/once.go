package proposals

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// awaitAnswer is how often a request with a key under way elsewhere is looked at.
const awaitAnswer = 50 * time.Millisecond

// Once runs a direct write under an idempotency key: the first time run is
// called and its answer kept; the same request under the same key is answered
// the stored answer, also while the first is still under way.
//
// Fails with CodeIdempotencyMismatch where the key was used for another
// request, and with CodeOutcomeUnknown where the first one began and its answer
// was never kept: it may or may not have been done.
func (s *Service) Once(ctx context.Context, who *policy.Principal, key, digest string, run func() json.RawMessage) (json.RawMessage, error) {
	var known *IdempotencyRecord
	err := s.retrying(ctx, func() error {
		known = nil
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			now, err := tx.Now()
			if err != nil {
				return err
			}
			r, err := tx.Idempotency(who.Tenant, who.ID, key)
			if err == nil {
				known = r
				return nil
			}
			if !errors.Is(err, ErrNotFound) {
				return err
			}
			return tx.Write(&IdempotencyRecord{Tenant: who.Tenant, Principal: who.ID, Key: key, Digest: digest, State: IdempotencyOpen,
				CreatedAt: now, ExpiresAt: now.Add(s.cfg.KeepKeys)})
		})
	})
	if err != nil {
		return nil, outward(err)
	}
	if known != nil {
		return s.stored(ctx, known, digest)
	}
	answer := run()
	// The write was done: its answer is kept even where the client went away.
	err = s.keep(context.WithoutCancel(ctx), who, key, answer)
	return answer, outward(err)
}

func (s *Service) keep(ctx context.Context, who *policy.Principal, key string, answer json.RawMessage) error {
	return s.retrying(ctx, func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			r, err := tx.Idempotency(who.Tenant, who.ID, key)
			if err != nil {
				return err
			}
			r.State, r.Answer = IdempotencyDone, answer
			return tx.Write(r)
		})
	})
}

// stored answers what a key made before.
func (s *Service) stored(ctx context.Context, r *IdempotencyRecord, digest string) (json.RawMessage, error) {
	if r.Digest != digest || r.Proposal != "" {
		return nil, connectors.Errorf(connectors.CodeIdempotencyMismatch, "this idempotency key was used for another request")
	}
	tick := time.NewTicker(awaitAnswer)
	defer tick.Stop()
	for r.State != IdempotencyDone {
		select {
		case <-ctx.Done():
			return nil, connectors.Errorf(connectors.CodeOutcomeUnknown, "the same request began before and has not ended: it may or may not have been done")
		case <-tick.C:
		}
		err := s.cfg.Store.Tx(ctx, func(tx Tx) (err error) {
			again, err := tx.Idempotency(r.Tenant, r.Principal, r.Key)
			if err == nil {
				r = again
			}
			return err
		})
		if err != nil && ctx.Err() == nil {
			return nil, outward(err)
		}
	}
	return r.Answer, nil
}
