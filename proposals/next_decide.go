package proposals

import (
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// reviewer holds the guards R1 to R6 that every decision has in common. The
// numbers are the table's.
func (n *step) reviewer() error {
	a, p := n.e.Actor, n.v.Persons[n.e.Actor.ID]
	rev := n.d.Current()
	switch {
	case a.Kind != policy.Human || !a.Interactive || !p.Human: // R1
		return refusal(connectors.CodeForbidden, "only a person who signed in decides")
	case a.Tenant != n.d.Proposal.Tenant: // R2
		return refusal(connectors.CodeNotFound, "there is no such proposal")
	case !n.now.Before(n.deadline()): // R5, the state is the table's
		return refusal(connectors.CodeProposalExpired, "the proposal's time is over")
	case rev == nil || n.e.Revision != rev.Number || n.e.ContentHash != rev.ContentHash: // R6
		return refusal(connectors.CodeContentChanged, "the proposal is not what you looked at any more: read it again")
	}
	if n.mayConfirm(p) {
		return nil
	}
	if isAuthor(n.d, a.ID) || p.Behind { // R3
		return refusal(connectors.CodeForbidden, "nobody decides on what they, or who acts for them, proposed")
	}
	if !p.MayApprove { // R4
		return refusal(connectors.CodeForbidden, "your roles do not approve this")
	}
	return nil
}

// mayConfirm: a confirm seat is there, and the actor is who it is for.
func (n *step) mayConfirm(p Person) bool {
	return asVoter(n.d, n.e.Actor.ID, p).confirm &&
		slices.ContainsFunc(n.v.Requirement.Seats, func(s Seat) bool { return s.Confirm })
}

// deadline is until when the proposal may be decided on, or run.
func (n *step) deadline() time.Time {
	if n.d.Proposal.State == Approved || n.d.Proposal.State == Executing {
		return n.d.Proposal.ExecDeadline
	}
	return n.d.Proposal.ExpiresAt
}

func (n *step) approve() error {
	if err := n.reviewer(); err != nil {
		return err
	}
	p, rev := n.v.Persons[n.e.Actor.ID], n.d.Current()
	switch {
	case n.e.ReviewHash != rev.ReviewHash: // R6
		return refusal(connectors.CodeContentChanged, "the review is not what you looked at any more: read it again")
	case !p.MayRead: // R7
		return refusal(connectors.CodeCannotReview, "you may not read all that this would change")
	case !n.v.Complete: // R8
		return refusal(connectors.CodeCannotReview, "the review does not show all that this would change; it can be rejected only")
	case !n.now.Before(n.d.Proposal.ExecDeadline): // T9 as a guard of T3
		return refusal(connectors.CodeProposalExpired, "the proposal's time is over")
	case !n.v.Requirement.fits(asVoter(n.d, n.e.Actor.ID, p)):
		return refusal(connectors.CodeForbidden, "no seat of what this requires is for your roles")
	}
	n.decide(&Decision{Kind: DecideApprove}, rev)
	n.head.Requirement = n.v.Requirement
	if approved(n.with(), n.v) {
		n.approvedNow()
		return nil
	}
	n.to(Pending, n.head.ExpiresAt)
	return nil
}

// refuse is T4 and T5.
func (n *step) refuse() error {
	if err := n.reviewer(); err != nil {
		return err
	}
	rev := n.d.Current()
	if n.e.Kind == EventRequestChanges {
		n.decide(&Decision{Kind: DecideRequestChanges}, rev)
		n.to(ChangesRequested, n.head.ExpiresAt)
		n.because("changes_requested", n.e.Comment)
		return nil
	}
	n.decide(&Decision{Kind: DecideReject}, rev)
	against := 0
	for _, dec := range latest(n.with(), rev.Number) {
		if dec.Kind == DecideReject {
			against++
		}
	}
	if against < max(n.v.Requirement.Veto, 1) {
		n.to(Pending, n.head.ExpiresAt)
		return nil
	}
	n.to(Rejected, time.Time{})
	n.because("rejected", n.e.Comment)
	return nil
}

func (n *step) revise() error {
	h := n.head
	if err := n.admit(&h); err != nil {
		return err
	}
	a := n.e.Actor
	byAuthor := isAuthor(n.d, a.ID)
	if !byAuthor && !(n.v.ReviewersMayEdit && a.Kind == policy.Human && a.Interactive && n.v.Persons[a.ID].MayApprove) {
		return refusal(connectors.CodeForbidden, "only its authors change a proposal")
	}
	if !n.v.Eligible {
		return refusal(connectors.CodeNoEligibleReviewer, "nobody who could approve this exists")
	}
	rev := n.e.New.Revision
	rev.Tenant, rev.Proposal = h.Tenant, h.ID
	rev.Number, rev.At, rev.Author = n.head.Revision+1, n.now, a.ID
	n.rows = append(n.rows, &rev)
	n.head.Revision, n.head.Requirement = rev.Number, n.v.Requirement
	n.to(Pending, n.head.ExpiresAt)
	n.because("", "")
	return nil
}

func (n *step) retract() error {
	rev, a := n.d.Current(), n.e.Actor
	if a.Kind != policy.Human || !a.Interactive || a.Tenant != n.d.Proposal.Tenant {
		return refusal(connectors.CodeForbidden, "only a person who signed in decides")
	}
	for _, dec := range latest(n.d, rev.Number) {
		if dec.Person == a.ID && dec.Kind == DecideApprove {
			n.decide(&Decision{Kind: DecideRetract}, rev)
			n.to(Pending, n.head.ExpiresAt)
			return nil
		}
	}
	return refusal(connectors.CodeWrongState, "there is no approval of yours to take back")
}

func (n *step) breakGlass() error {
	a, p := n.e.Actor, n.v.Persons[n.e.Actor.ID]
	rev := n.d.Current()
	switch {
	case a.Kind != policy.Human || !a.Interactive || !p.Human || a.Tenant != n.d.Proposal.Tenant:
		return refusal(connectors.CodeForbidden, "only a person who signed in decides")
	case isAuthor(n.d, a.ID) || p.Behind:
		return refusal(connectors.CodeForbidden, "nobody decides on what they, or who acts for them, proposed")
	case !p.MayBreak:
		return refusal(connectors.CodeForbidden, "your roles do not break the glass")
	case !n.now.Before(n.deadline()):
		return refusal(connectors.CodeProposalExpired, "the proposal's time is over")
	case n.e.Revision != rev.Number || n.e.ContentHash != rev.ContentHash || n.e.ReviewHash != rev.ReviewHash:
		return refusal(connectors.CodeContentChanged, "the proposal is not what you looked at any more: read it again")
	case strings.TrimSpace(n.e.Comment) == "":
		return refusal(connectors.CodeBadInput, "a reason is required")
	case n.v.FreshFor <= 0 || n.now.Sub(a.SignedInAt) > n.v.FreshFor:
		return refusal(connectors.CodeSignInRequired, "sign in again")
	}
	n.decide(&Decision{Kind: DecideBreakGlass}, rev)
	n.approvedNow()
	n.because("break_glass", n.e.Comment)
	return nil
}

func (n *step) withdraw() error {
	a := n.e.Actor
	admin := n.v.Persons[a.ID].Admin && a.Kind == policy.Human && a.Interactive
	if a.Tenant != n.d.Proposal.Tenant || !isAuthor(n.d, a.ID) && !admin {
		return refusal(connectors.CodeForbidden, "only its authors withdraw a proposal")
	}
	n.to(Withdrawn, time.Time{})
	n.because("withdrawn", n.e.Comment)
	return nil
}

func (n *step) expire() error {
	if n.now.Before(n.deadline()) {
		return refusal(connectors.CodeWrongState, "the proposal's time is not over")
	}
	n.to(Expired, time.Time{})
	n.because("expired", "")
	return nil
}

func (n *step) invalidate() error {
	if n.e.Actor.ID != "" || n.e.Reason == "" {
		return refusal(connectors.CodeForbidden, "only the system invalidates, and says why")
	}
	n.to(Invalidated, time.Time{})
	n.because(n.e.Reason, n.e.Say)
	return nil
}

// reconcile is T18: somebody, or a probe, says what came of it.
func (n *step) reconcile() error {
	if n.e.To != Executed && n.e.To != Failed {
		return refusal(connectors.CodeBadInput, "it either was done or was not")
	}
	if strings.TrimSpace(n.e.Evidence) == "" {
		return refusal(connectors.CodeBadInput, "say how you know")
	}
	if err := n.settler(); err != nil {
		return err
	}
	as := Applied
	if n.e.To == Failed {
		as = NotApplied
	}
	for _, a := range n.unsettled() {
		n.settle(a, as)
	}
	n.to(n.e.To, time.Time{})
	n.because("reconciled", n.e.Say)
	return nil
}

// settler: a person who signed in, may approve this, and is no author; the zero
// actor is a probe of ours.
func (n *step) settler() error {
	a, p := n.e.Actor, n.v.Persons[n.e.Actor.ID]
	switch {
	case a.ID == "" && a.Kind == "":
		return nil
	case a.Tenant != n.d.Proposal.Tenant:
		return refusal(connectors.CodeNotFound, "there is no such proposal")
	case a.Kind != policy.Human || !a.Interactive || !p.Human:
		return refusal(connectors.CodeForbidden, "only a person who signed in settles")
	case isAuthor(n.d, a.ID) || p.Behind:
		return refusal(connectors.CodeForbidden, "nobody settles what they, or who acts for them, proposed")
	case !p.MayApprove:
		return refusal(connectors.CodeForbidden, "your roles do not approve this")
	}
	return nil
}

func (n *step) settlePartial() error {
	if strings.TrimSpace(n.e.Evidence) == "" {
		return refusal(connectors.CodeBadInput, "say how you know")
	}
	if err := n.settler(); err != nil {
		return err
	}
	n.to(SettledPartial, time.Time{})
	n.because("reconciled", n.e.Say)
	return nil
}
