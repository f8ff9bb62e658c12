package proposals

import (
	"context"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// CanApprove tells whether the person could approve the current content now,
// and if not, why: the error that Approve would answer. Nothing is written.
func (s *Service) CanApprove(ctx context.Context, who *policy.Principal, handle string) error {
	g, err := s.stand(ctx, who.Tenant)
	if err != nil {
		return outward(err)
	}
	d, err := s.cfg.Store.Get(ctx, who.Tenant, Ref{Handle: handle})
	if err != nil {
		return outward(err)
	}
	l, err := s.seen(ctx, g, d, who)
	if err != nil {
		return outward(err)
	}
	rev := d.Current()
	if rev == nil {
		return connectors.Errorf(connectors.CodeInternal, "a proposal without content")
	}
	_, _, _, err = Next(d, Event{Kind: EventApprove, Actor: ActorOf(who), Revision: rev.Number,
		ContentHash: rev.ContentHash, ReviewHash: rev.ReviewHash}, g.now, l.view)
	return outward(err)
}
