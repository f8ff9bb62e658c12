package proposals

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A ProposeRequest is a mutation operation that is to be proposed.
type ProposeRequest struct {
	// Author is who asks, as verified in this request, with the chain behind.
	Author *policy.Principal
	// Lender owns the credential where that is neither the author nor its owner.
	Lender string
	// Operation is its name, Document its text, Variables one JSON object.
	Operation string
	Document  string
	Variables json.RawMessage
	// Set is what would run. Propose fills in Expect where it is nil.
	Set ChangeSet
	// Effects are what Preview answered, one per change.
	Effects []*connectors.Effect
	// Checks are what validators said of the steps; none of a step that no
	// validator is about.
	Checks []StepChecks
	// Reason is the author's own words.
	Reason   string
	Evidence []string
	// NotBefore and ExpiresAt as the author asked; zero: not. ExpiresAt can only
	// shorten what the rule says.
	NotBefore time.Time
	ExpiresAt time.Time
	// IdempotencyKey as given by the client, and the RequestDigest it is
	// compared by.
	IdempotencyKey string
	Digest         string
}

// StepChecks are the validators that looked at one step of the change set.
type StepChecks struct {
	Change, Step int
	Checks       []policy.Check
}

// A ProposeResult is a proposal that is there now.
type ProposeResult struct {
	Dossier *Dossier
	Review  *Review
	// Duplicate: an equal open one of the same author chain was there already.
	Duplicate bool
	// Replayed: the same request under the same idempotency key made it before.
	Replayed bool
	// Answer, with Replayed and without a Dossier: the same request was done at
	// once before, and answered so.
	Answer json.RawMessage
}

// Propose keeps a change set until it is decided (T1, T1a, T1b).
//
// Fails with CodeBadInput, CodeNotFound (no record matches), CodeForbidden,
// CodeSuspended, CodeNoEligibleReviewer, CodeIdempotencyMismatch,
// CodeOutcomeUnknown (an equal one may or may not have been done),
// CodeUnsupported (several sources), CodeTooLarge.
func (s *Service) Propose(ctx context.Context, r *ProposeRequest) (*ProposeResult, error) {
	s.cfg.Failpoint("P0")
	if err := checkRequest(r); err != nil {
		return nil, err
	}
	// Preconditions are filled into a copy: the caller keeps what it has.
	set := r.Set
	set.Changes = slices.Clone(set.Changes)
	for i := range set.Changes {
		set.Changes[i].Steps = slices.Clone(set.Changes[i].Steps)
	}
	review, err := freeze(&set, r.Effects)
	if err != nil {
		return nil, connectors.AsError(err)
	}
	review.Operation, review.Document, review.Variables = r.Operation, r.Document, r.Variables
	review.Reason, review.Evidence = r.Reason, r.Evidence
	for _, c := range r.Checks {
		for i := range review.Changes {
			if rc := &review.Changes[i]; rc.Change == c.Change && rc.Step == c.Step {
				rc.Checks = c.Checks
			}
		}
	}
	var out *ProposeResult
	var commands []Command
	err = s.retrying(ctx, func() error {
		g, err := s.stand(ctx, r.Author.Tenant)
		if err != nil {
			return err
		}
		e, v, err := s.draft(ctx, g, r, &set, review)
		if err != nil {
			return err
		}
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			if err := g.same(tx); err != nil {
				return err
			}
			out, commands, err = s.insert(ctx, tx, r, e, v)
			if errors.Is(err, ErrDuplicate) {
				return errMoved // an equal one was made meanwhile: read it
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	s.cfg.Failpoint("P1")
	if !out.Duplicate && !out.Replayed {
		s.after(&out.Dossier.Proposal, commands)
		out.Review = review
		return out, nil
	}
	if out.Dossier != nil {
		out.Review, err = decodeReview(out.Dossier.Current())
	}
	return out, err
}

// Limits of what a proposal may hold.
const (
	maxSteps   = 1000
	maxReason  = 10_000 // bytes
	maxContent = 4 << 20
)

func checkRequest(r *ProposeRequest) error {
	if r.Author == nil || r.Author.Kind == policy.Anonymous || r.Author.Kind == "" {
		return connectors.Errorf(connectors.CodeUnauthenticated, "nobody can propose anonymously")
	}
	if len(r.Set.Changes) == 0 {
		return connectors.Errorf(connectors.CodeBadInput, "a proposal of nothing")
	}
	if len(r.Set.Changes) > 1 {
		return connectors.Errorf(connectors.CodeUnsupported, "a proposal over several sources is not supported yet: propose one per source")
	}
	c := &r.Set.Changes[0]
	target := slices.IndexFunc(r.Set.Targets, func(t Target) bool { return t.Source == c.Source })
	switch {
	case len(c.Steps) == 0:
		return connectors.Errorf(connectors.CodeBadInput, "a proposal of nothing")
	case len(c.Steps) > maxSteps || len(r.Reason) > maxReason || len(r.Document)+len(r.Variables) > maxContent:
		return connectors.Errorf(connectors.CodeTooLarge, "too large to be proposed")
	case target < 0 || c.Tenant != r.Author.Tenant || c.Marker != nil:
		return connectors.Errorf(connectors.CodeInternal, "a change without its target")
	case len(c.Steps) > 1 && !r.Set.Targets[target].Atomic:
		return connectors.Errorf(connectors.CodeUnsupported, "several writes in one proposal are not supported yet on a source that is not transactional: propose one by one")
	case r.IdempotencyKey != "" && r.Digest == "":
		return connectors.Errorf(connectors.CodeInternal, "an idempotency key without a digest")
	}
	return validText(&r.Set)
}

// draft computes everything about a new proposal on one ground.
func (s *Service) draft(ctx context.Context, g *ground, r *ProposeRequest, set *ChangeSet, review *Review) (Event, View, error) {
	fail := func(err error) (Event, View, error) { return Event{}, View{}, err }
	c := Content{Set: set, Review: review}
	v := View{PolicyVersion: g.ctl.PolicyVersion, Complete: review.Complete}
	if err := g.az.Recheck(ctx, r.Author, c); err != nil {
		return fail(err)
	}
	v.Authorised = true
	amounts, err := s.charge(ctx, g, r.Author, &c)
	if err != nil {
		return fail(err)
	}
	route, err := s.route(ctx, g.az, r.Author, c)
	if err != nil {
		return fail(err)
	}
	v.Requirement = route.Requirement
	id, err := uuid.NewV7()
	if err != nil {
		return fail(err)
	}
	head := Proposal{Tenant: r.Author.Tenant, ID: id.String(), Handle: newHandle(), Author: authorOf(r), Rule: route.Rule,
		Amounts: amounts.Head.Amounts, AmountToday: c.Today}
	s.times(&head, g, r, route)
	if head.DedupeKey, err = DedupeKey(&head, set, s.cfg.Keys); err != nil {
		return fail(err)
	}
	rev := Revision{Tenant: head.Tenant, Proposal: head.ID, Number: 1, Author: r.Author.ID, Operation: r.Operation,
		Document: r.Document, Variables: r.Variables, Reason: r.Reason, Set: *set, Encoding: EncodingVersion,
		KeyID: s.cfg.Keys.Current, Evidence: r.Evidence}
	if rev.Review, err = json.Marshal(review); err != nil {
		return fail(err)
	}
	if rev.ContentHash, err = ContentHash(&head, &rev, s.cfg.Keys); err != nil {
		return fail(err)
	}
	if rev.ReviewHash, err = ReviewHash(rev.ContentHash, review); err != nil {
		return fail(err)
	}
	e := Event{Kind: EventPropose, Actor: ActorOf(r.Author), New: &Draft{Head: head, Revision: rev, Complete: review.Complete,
		AmountUnknown: amounts.AmountUnknown, UseVersion: amounts.UseVersion, Day: amounts.Day}}
	switch {
	case route.Then == ThenReject:
		e.Kind, e.Say = EventAutoReject, route.Say
	case route.Then == ThenApprove && review.Complete:
		e.Kind, v.AutoApprove = EventAutoApprove, route.Rule
	case route.Then == ThenApprove:
		return fail(connectors.Errorf(connectors.CodeCannotReview, "the rule that approves this by itself cannot see all that it would change"))
	default:
		if v.Eligible, err = s.eligible(ctx, g, &Dossier{Proposal: head}, c, route.Requirement); err != nil {
			return fail(err)
		}
	}
	return e, v, nil
}

// charge finds the amounts of a new proposal, and what they come to today.
func (s *Service) charge(ctx context.Context, g *ground, author *policy.Principal, c *Content) (*Draft, error) {
	out := &Draft{}
	var err error
	// Where a query failed its amount is UNKNOWN: people decide, and who has a
	// budget of amounts is refused.
	c.Amounts, _ = g.az.Amounts(ctx, author, *c)
	known, _ := amountsOf(c.Amounts)
	u := &Use{}
	if len(known) > 0 {
		if u, err = s.cfg.Store.Use(ctx, author.Tenant, author.ID); err != nil {
			return nil, err
		}
	}
	c.Today = s.amounts(u, c.Amounts, g.now, out)
	return out, nil
}

// times sets the deadlines: the shorter of what the rule says and the author
// asked for. What is approved in time still has to run in time.
func (s *Service) times(head *Proposal, g *ground, r *ProposeRequest, route *Route) {
	expire := route.Expire
	if expire <= 0 {
		expire = s.cfg.Expire
	}
	micro := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return t.UTC().Truncate(time.Microsecond)
	}
	head.ExpiresAt = micro(g.now.Add(expire))
	if !r.ExpiresAt.IsZero() && r.ExpiresAt.Before(head.ExpiresAt) {
		head.ExpiresAt = micro(r.ExpiresAt)
	}
	head.NotBefore = micro(r.NotBefore)
	head.ExecDeadline = head.ExpiresAt
	if !head.NotBefore.IsZero() && !head.NotBefore.Before(head.ExpiresAt) {
		head.ExecDeadline = head.NotBefore.Add(afterNotBefore)
	}
}

func authorOf(r *ProposeRequest) Author {
	a := Author{Principal: r.Author.ID, Kind: r.Author.Kind, Name: r.Author.Name, Credential: r.Author.CredentialID,
		Owner: r.Author.Owner, Lender: r.Lender}
	a.Via, a.For, a.ForName = behind(r.Author)
	return a
}

// insert is T1's transaction: what is there already answers first.
func (s *Service) insert(ctx context.Context, tx Tx, r *ProposeRequest, e Event, v View) (*ProposeResult, []Command, error) {
	head := &e.New.Head
	if r.IdempotencyKey != "" {
		known, err := tx.Idempotency(head.Tenant, r.Author.ID, r.IdempotencyKey)
		if err == nil {
			out, err := replay(tx, known, r)
			return out, nil, err
		}
		if !errors.Is(err, ErrNotFound) {
			return nil, nil, err
		}
	}
	open, err := tx.Get(head.Tenant, Ref{DedupeKey: head.DedupeKey})
	switch {
	case err == nil && r.IdempotencyKey == "":
		return &ProposeResult{Dossier: open, Duplicate: true}, nil, nil
	case err == nil && open.Proposal.State == OutcomeUnknown:
		return nil, nil, connectors.Errorf(connectors.CodeOutcomeUnknown, "an equal change may or may not have been done: it has to be settled first")
	case err == nil:
		e.New.Head.Deliberate = true
	case !errors.Is(err, ErrNotFound):
		return nil, nil, err
	}
	d, commands, err := s.commit(ctx, tx, &Dossier{}, e, v)
	if err != nil {
		return nil, nil, err
	}
	if r.IdempotencyKey != "" {
		now, err := tx.Now()
		if err != nil {
			return nil, nil, err
		}
		until := now.Add(s.cfg.KeepKeys)
		if d.Proposal.ExecDeadline.After(until) {
			until = d.Proposal.ExecDeadline
		}
		if err := tx.Write(&IdempotencyRecord{Tenant: head.Tenant, Principal: r.Author.ID, Key: r.IdempotencyKey,
			Digest: r.Digest, State: IdempotencyDone, Proposal: d.Proposal.Handle, CreatedAt: now, ExpiresAt: until}); err != nil {
			return nil, nil, err
		}
	}
	return &ProposeResult{Dossier: d}, commands, nil
}

// replay answers the proposal that this very request made before.
func replay(tx Tx, known *IdempotencyRecord, r *ProposeRequest) (*ProposeResult, error) {
	switch {
	case known.Digest != r.Digest:
		return nil, connectors.Errorf(connectors.CodeIdempotencyMismatch, "this idempotency key was used for another request")
	case known.State == IdempotencyOpen:
		return nil, lostAnswer()
	case known.Proposal == "":
		return &ProposeResult{Answer: known.Answer, Replayed: true}, nil
	}
	d, err := tx.Get(known.Tenant, Ref{Handle: known.Proposal})
	if err != nil {
		return nil, err
	}
	return &ProposeResult{Dossier: d, Replayed: true}, nil
}

// behind is the chain behind a principal: the agents, and the person at its end.
func behind(p *policy.Principal) (via []Link, person, name string) {
	chain := p.Chain()[1:]
	if len(chain) == 0 {
		return nil, "", ""
	}
	last := chain[len(chain)-1]
	for _, q := range chain[:len(chain)-1] {
		via = append(via, Link{ID: q.ID, Owner: q.Owner})
	}
	return via, last.ID, last.Name
}
