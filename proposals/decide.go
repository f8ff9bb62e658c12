package proposals

import (
	"context"
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A Decide is what a person says about exactly this content.
type Decide struct {
	Handle      string
	Revision    int
	ContentHash string
	ReviewHash  string // approve only
	Comment     string
}

// maxComment bounds what people write, in bytes.
const maxComment = 10_000

// Approve records an approval (T2, T3).
//
// Fails with CodeNotFound, CodeForbidden (no seat, no right, an author, not a
// person who signed in), CodeContentChanged, CodeCannotReview, CodeWrongState,
// CodeProposalExpired. The same approval sent twice answers the stored one.
func (s *Service) Approve(ctx context.Context, who *policy.Principal, in Decide) (*Entry, error) {
	return s.decide(ctx, who, in, EventApprove, DecideApprove)
}

// Reject records a rejection (T4). Fails as Approve does, but for
// CodeCannotReview.
func (s *Service) Reject(ctx context.Context, who *policy.Principal, in Decide) (*Entry, error) {
	return s.decide(ctx, who, in, EventReject, DecideReject)
}

func (s *Service) decide(ctx context.Context, who *policy.Principal, in Decide, kind EventKind, said DecisionKind) (*Entry, error) {
	if len(in.Comment) > maxComment {
		return nil, connectors.Errorf(connectors.CodeTooLarge, "the comment is too long")
	}
	d, _, err := s.transit(ctx, who.Tenant, Ref{Handle: in.Handle}, func(g *ground, d *Dossier) (*plan, error) {
		l, err := s.seen(ctx, g, d, who)
		if err != nil {
			return nil, err
		}
		if stored(d, who, in, said) {
			return &plan{done: true}, nil
		}
		return &plan{view: l.view, event: Event{Kind: kind, Actor: ActorOf(who), Revision: in.Revision,
			ContentHash: in.ContentHash, ReviewHash: in.ReviewHash, Comment: in.Comment}}, nil
	})
	if err != nil {
		return nil, err
	}
	s.cfg.Failpoint("P2")
	if d.Proposal.State == Approved {
		s.cfg.Failpoint("P3")
	}
	return s.entry(ctx, s.cfg.Authorizer(), who, d)
}

// stored: this very decision of this person is the one that counts already.
func stored(d *Dossier, who *policy.Principal, in Decide, said DecisionKind) bool {
	for _, dec := range latest(d, in.Revision) {
		if dec.Person == who.ID && who.Interactive && dec.Kind == said && dec.ContentHash == in.ContentHash &&
			(said != DecideApprove || dec.ReviewHash == in.ReviewHash) {
			return true
		}
	}
	return false
}

// Withdraw ends a proposal at its author's wish (T8). A proposal that was
// withdrawn already is answered as it is. Fails with CodeNotFound,
// CodeForbidden, CodeWrongState (claimed or decided already).
func (s *Service) Withdraw(ctx context.Context, who *policy.Principal, handle, comment string) (*Entry, error) {
	if len(comment) > maxComment {
		return nil, connectors.Errorf(connectors.CodeTooLarge, "the comment is too long")
	}
	d, _, err := s.transit(ctx, who.Tenant, Ref{Handle: handle}, func(g *ground, d *Dossier) (*plan, error) {
		l, err := s.seen(ctx, g, d, who)
		if err != nil {
			return nil, err
		}
		if d.Proposal.State == Withdrawn && isAuthor(d, who.ID) {
			return &plan{done: true}, nil
		}
		return &plan{view: l.view, event: Event{Kind: EventWithdraw, Actor: ActorOf(who), Comment: comment}}, nil
	})
	if err != nil {
		return nil, err
	}
	return s.entry(ctx, s.cfg.Authorizer(), who, d)
}

// A Settle says what came of a proposal whose outcome is unknown.
type Settle struct {
	Handle string
	// To is Executed or Failed.
	To State
	// Evidence is how the person knows; required.
	Evidence string
}

// Settle ends OUTCOME_UNKNOWN (T18) by a named human who is no author. Fails
// with CodeNotFound, CodeForbidden, CodeBadInput, CodeWrongState.
func (s *Service) Settle(ctx context.Context, who *policy.Principal, in Settle) (*Entry, error) {
	if len(in.Evidence) > maxComment {
		return nil, connectors.Errorf(connectors.CodeTooLarge, "the evidence is too long")
	}
	d, _, err := s.transit(ctx, who.Tenant, Ref{Handle: in.Handle}, func(g *ground, d *Dossier) (*plan, error) {
		l, err := s.seen(ctx, g, d, who)
		if err != nil {
			return nil, err
		}
		return &plan{view: l.view, event: Event{Kind: EventReconcile, Actor: ActorOf(who), To: in.To, Evidence: in.Evidence,
			Say: "settled by " + who.Name}}, nil
	})
	if err != nil {
		return nil, err
	}
	return s.entry(ctx, s.cfg.Authorizer(), who, d)
}

// Refuse answers for what the table has and this version does not do: request
// changes, revise, retract, comment, undo, break glass, forced retry.
func (s *Service) Refuse(what string) error {
	return connectors.Errorf(connectors.CodeUnsupported, "%s is not supported yet", what)
}

// Invalidate ends an unclaimed proposal (T10): what it rests on is gone. reason
// is a word: stale, policy, schema, revoked, killed.
func (s *Service) Invalidate(ctx context.Context, tenant, handle, reason, say string) error {
	_, _, err := s.transit(ctx, tenant, Ref{Handle: handle}, func(*ground, *Dossier) (*plan, error) {
		return &plan{event: Event{Kind: EventInvalidate, Reason: reason, Say: say}}, nil
	})
	return err
}

// Expire ends an unclaimed proposal whose time is over (T9). It is cosmetic:
// the deadline is a guard of everything else.
func (s *Service) Expire(ctx context.Context, tenant, handle string) error {
	_, _, err := s.transit(ctx, tenant, Ref{Handle: handle}, func(*ground, *Dossier) (*plan, error) {
		return &plan{event: Event{Kind: EventExpire}}, nil
	})
	return err
}

// seen looks at the proposal as the principal, who is told nothing of one that
// they may not see.
func (s *Service) seen(ctx context.Context, g *ground, d *Dossier, who *policy.Principal) (*looked, error) {
	review, err := decodeReview(d.Current())
	if err != nil {
		return nil, err
	}
	may, err := s.visible(ctx, g.az, who, d, Content{Set: &d.Current().Set, Review: review})
	if err != nil {
		return nil, err
	}
	if !may {
		return nil, noSuch()
	}
	return s.look(ctx, g, d, who)
}

// visible: to its authors, and to people who could approve it. An agent sees
// what it proposed for the same person only.
func (s *Service) visible(ctx context.Context, az Authorizer, who *policy.Principal, d *Dossier, c Content) (bool, error) {
	if who == nil || who.Tenant != d.Proposal.Tenant {
		return false, nil
	}
	if who.Kind != policy.Human {
		_, forWhom, _ := behind(who)
		return who.Kind != policy.Anonymous && who.ID == d.Proposal.Author.Principal && forWhom == d.Proposal.Author.For, nil
	}
	if isAuthor(d, who.ID) || slices.ContainsFunc(d.Decisions, func(x *Decision) bool { return x.Person == who.ID }) {
		return true, nil
	}
	return allowed(az.MayApprove(ctx, who, c))
}
