package proposals

import (
	"context"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// CanApprove tells whether the person could approve the current content now,
// and if not, why: the error that Approve would answer. Nothing is written.
func (s *Service) CanApprove(ctx context.Context, who *policy.Principal, handle string) error {
	return s.can(ctx, who, handle, func(rev *Revision) Event {
		return Event{Kind: EventApprove, Actor: ActorOf(who), Revision: rev.Number, ContentHash: rev.ContentHash, ReviewHash: rev.ReviewHash}
	})
}

// CanWithdraw tells whether the principal could withdraw the proposal now, and
// if not, why: the error that Withdraw would answer. Nothing is written.
func (s *Service) CanWithdraw(ctx context.Context, who *policy.Principal, handle string) error {
	return s.can(ctx, who, handle, func(*Revision) Event { return Event{Kind: EventWithdraw, Actor: ActorOf(who)} })
}

// CanSettle tells whether the person could state now what came of it, and if
// not, why: the error that Settle would answer to good evidence. Nothing is
// written.
func (s *Service) CanSettle(ctx context.Context, who *policy.Principal, handle string) error {
	return s.can(ctx, who, handle, func(*Revision) Event {
		return Event{Kind: EventReconcile, Actor: ActorOf(who), To: Executed, Evidence: "asked"}
	})
}

// can asks the table what it would answer to the event now.
func (s *Service) can(ctx context.Context, who *policy.Principal, handle string, ask func(*Revision) Event) error {
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
	_, _, _, err = Next(d, ask(rev), g.now, l.view)
	return outward(err)
}
