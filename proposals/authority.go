package proposals

import (
	"context"
	"time"

	"github.com/countersign/countersign/policy"
)

// An Authorizer answers for one immutable snapshot of policy and catalog. The
// gateway implements it. All methods may be called concurrently; none is called
// inside a store transaction.
//
// Refusals are *connectors.Error: CodeForbidden where policy does not permit,
// CodeProposalStale where what a change was made for is gone (another system
// behind the source, another schema), CodeSignInRequired where claims are too
// old to tell, a retryable code where it cannot be told now.
type Authorizer interface {
	// Version is the policy's; it is compared with the control row.
	Version() string

	// Recheck authorises a change set again, as if its author asked now: the
	// effect of every change is allow or propose for the whole chain, on these
	// values, and every target still is the system, and has the schema, that
	// the set names. Called when proposed and at each claim.
	Recheck(ctx context.Context, author *policy.Principal, c Content) error

	// MayApprove tells whether the reviewer holds approve for every object and
	// these values (R4).
	MayApprove(ctx context.Context, reviewer *policy.Principal, c Content) error

	// Allows tells whether the person's own view allows every change at once:
	// the confirm seat.
	Allows(ctx context.Context, person *policy.Principal, c Content) error

	// Redact is a copy of the review with only what the viewer may read; whole
	// tells that nothing is missing (R7). A masked field counts as missing.
	Redact(ctx context.Context, viewer *policy.Principal, review *Review) (shown *Review, whole bool, err error)

	// Roles of the principal with those they inherit.
	Roles(p *policy.Principal) []string

	// Granting lists the roles that hold this role, itself included: whom
	// Directory.Holders is asked about.
	Granting(role string) []string

	// Amounts are those of the changes of the review, in its order. Where the
	// author's queries for one fail it is UNKNOWN; retry is their error, where it
	// may pass.
	Amounts(ctx context.Context, author *policy.Principal, c Content) (amounts []policy.Amount, retry error)

	// Route finds what approvals.yaml makes of one change.
	Route(ctx context.Context, author *policy.Principal, c Content, change *ReviewChange) (*Route, error)
}

// Content is what is asked about: the change set, and the frozen review that
// holds the records as they were.
type Content struct {
	Set    *ChangeSet
	Review *Review
	// Amounts of the review's changes, and what the author's come to today, by
	// currency; nil: UNKNOWN.
	Amounts []policy.Amount
	Today   map[string]int64
}

// AmountOf are the amount of a change and what the author's amounts come to
// today with it; nil: UNKNOWN.
func (c Content) AmountOf(change *ReviewChange) (amount, today *policy.Money) {
	for i := range c.Review.Changes {
		if &c.Review.Changes[i] == change && i < len(c.Amounts) {
			amount = c.Amounts[i].Money
		}
	}
	if amount == nil {
		return nil, nil
	}
	if sum, ok := c.Today[amount.Currency]; ok {
		today = &policy.Money{Currency: amount.Currency, Micros: sum}
	}
	return amount, today
}

// Then is what a rule makes of a change.
type Then string

// What a rule can make of a change.
const (
	ThenReview  Then = "review"
	ThenApprove Then = "approve"
	ThenReject  Then = "reject"
)

// A Route is the rule that a change found.
type Route struct {
	// Rule is its name; "" for the defaults.
	Rule        string
	Then        Then
	Requirement Requirement
	// Expire is how long it may be decided on; 0: the default.
	Expire time.Duration
	// Say is what a rejection tells.
	Say string
}

// mergeRoutes joins the routes of several changes: per seat the largest count
// that any asks, the shortest time; approved by rule only if each is, and one
// that rejects rejects all.
func mergeRoutes(routes []*Route) *Route {
	if len(routes) == 0 {
		return &Route{Then: ThenReview}
	}
	out := *routes[0]
	out.Requirement.Seats = nil
	for _, r := range routes {
		if r.Expire > 0 && (out.Expire == 0 || r.Expire < out.Expire) {
			out.Expire = r.Expire
		}
		switch {
		case out.Then == ThenReject:
		case r.Then == ThenReject:
			out.Then, out.Rule, out.Say = ThenReject, r.Rule, r.Say
		case out.Then == ThenApprove && r.Then != ThenApprove:
			out.Then, out.Rule = ThenReview, r.Rule
		}
		if r.Then == ThenReview {
			out.Requirement = mergeRequirements(out.Requirement, r.Requirement)
		}
	}
	return &out
}

func mergeRequirements(a, b Requirement) Requirement {
	a.Veto = max(min(a.Veto, b.Veto), 1)
	for _, s := range b.Seats {
		found := false
		for i := range a.Seats {
			if a.Seats[i].Role == s.Role && a.Seats[i].Confirm == s.Confirm {
				a.Seats[i].Count = max(a.Seats[i].Count, s.Count)
				found = true
			}
		}
		if !found {
			a.Seats = append(a.Seats, s)
		}
	}
	return a
}
