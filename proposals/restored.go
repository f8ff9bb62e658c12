package proposals

import (
	"context"
	"time"

	"github.com/countersign/countersign/connectors"
)

// restoredSay is what people are told of a proposal that the lost time covers.
const restoredSay = "the store was restored from an older backup: it may have been done in the time that was lost"

// restoredPage is how many heads are read at once.
const restoredPage = 200

// Restored settles what a store that was restored from an older backup does not
// know to have been sent already (T16a). Whatever was approved or claimed then
// becomes OUTCOME_UNKNOWN, for a person to settle, unless sending it again does
// no harm: a marker collides, or the system still remembers the key. retention
// is as ExecutorConfig.KeyRetention. It is called before any executor runs, may
// be called again after a failure, and answers how many became unknown.
func (s *Service) Restored(ctx context.Context, tenant string, retention func(source, object string) time.Duration) (int, error) {
	n := 0
	f := Filter{Tenant: tenant, States: []State{Approved, Executing}, Limit: restoredPage}
	for {
		heads, err := s.cfg.Store.List(ctx, f)
		if err != nil {
			return n, outward(err)
		}
		for _, h := range heads {
			d, err := s.cfg.Store.Get(ctx, tenant, Ref{ID: h.ID})
			if err != nil {
				return n, outward(err)
			}
			// When it was sent is not known; it was after the head was written.
			e := Event{Kind: EventRestored, Say: restoredSay, Attempt: Request{KeyUntil: h.UpdatedAt.Add(keyRemembered(&d.Current().Set.Changes[0], retention))}}
			_, err = s.executorEvent(ctx, tenant, h.ID, e)
			switch connectors.CodeOf(err) {
			case "":
				n++
			case connectors.CodeWrongState: // nothing to fear of this one
			default:
				return n, err
			}
		}
		if len(heads) < f.Limit {
			return n, nil
		}
		f.Before = heads[len(heads)-1].ID
	}
}

// keyRemembered is how long the system remembers the keys of a change.
func keyRemembered(c *connectors.Change, retention func(source, object string) time.Duration) time.Duration {
	keep := DefaultKeepUpKey
	for i := range c.Steps {
		if retention != nil {
			if k := retention(c.Source, c.Steps[i].Collection+c.Steps[i].Function); k > 0 {
				keep = min(keep, k)
			}
		}
	}
	return keep
}
