package main

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/store"
)

// A recovery holds back what a store that was restored from an older backup
// does not know to have been done already. A change that its own marker or key
// makes safe to repeat runs as ever; any other one of that time is not sent, and
// its outcome is unknown until a person says it.
type recovery struct {
	store *store.Store
	log   *slog.Logger

	mu   sync.Mutex
	lost map[[sha256.Size]byte]bool // digests of changes that may have been done
}

// newRecovery looks at what may have run in the lost time; nil where nothing
// was lost.
func newRecovery(ctx context.Context, s *store.Store, log *slog.Logger) (*recovery, error) {
	if !s.Restored() {
		return nil, nil
	}
	r := &recovery{store: s, log: log, lost: map[[sha256.Size]byte]bool{}}
	f := proposals.Filter{Tenant: policy.DefaultTenant, States: []proposals.State{proposals.Approved, proposals.Executing}, Limit: 200}
	for {
		heads, err := s.List(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, h := range heads {
			d, err := s.Get(ctx, h.Tenant, proposals.Ref{ID: h.ID})
			if err != nil {
				return nil, err
			}
			r.hold(&d.Current().Set)
		}
		if len(heads) < f.Limit {
			break
		}
		f.Before = heads[len(heads)-1].ID
	}
	log.Warn("the store was restored from an older backup: what may have been done since is not sent again", "held", len(r.lost))
	if len(r.lost) == 0 {
		return nil, s.EndRecovery(ctx)
	}
	return r, nil
}

func (r *recovery) hold(set *proposals.ChangeSet) {
	for i := range set.Changes {
		switch proposals.ClassOf(set, i) {
		case connectors.Transactional, connectors.Idempotent:
		default:
			r.lost[set.Changes[i].Digest()] = true
		}
	}
}

// held tells whether a change must not be sent, and ends the recovery with the
// last of them. A nil recovery holds nothing.
func (r *recovery) held(ctx context.Context, c *connectors.Change) error {
	if r == nil {
		return nil
	}
	digest := c.Digest()
	r.mu.Lock()
	mine := r.lost[digest]
	delete(r.lost, digest)
	last := mine && len(r.lost) == 0
	r.mu.Unlock()
	if !mine {
		return nil
	}
	if last {
		if err := r.store.EndRecovery(ctx); err != nil {
			r.log.Error("the recovery of the store could not be ended", "error", err)
		}
	}
	return connectors.Errorf(connectors.CodeOutcomeUnknown, "the store was restored from a backup: this may have been done in the time that was lost")
}
