package proposals

import (
	"context"
	"maps"
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// looked is what policy and directory say about a proposal now.
type looked struct {
	view View
	// denied says why the author chain may not do it; nil where it may.
	denied error
	// waits: somebody's claims are too old to tell, so nothing is decided.
	waits error
}

// look computes the view of a proposal on the ground given. actor, where not
// nil, is the person acting, as verified in this very request; everybody else
// is read from the directory.
func (s *Service) look(ctx context.Context, g *ground, d *Dossier, actor *policy.Principal) (*looked, error) {
	rev := d.Current()
	review, err := decodeReview(rev)
	if err != nil {
		return nil, err
	}
	c := Content{Set: &rev.Set, Review: review}
	l := &looked{view: View{PolicyVersion: g.az.Version(), Complete: review.Complete,
		Requirement: d.Proposal.Requirement, Persons: map[string]Person{}}}
	author, err := s.author(ctx, &d.Proposal)
	switch {
	case connectors.CodeOf(err) == connectors.CodeForbidden:
		l.denied = err
	case err != nil:
		return nil, err
	default:
		if err := s.lookAuthor(ctx, g, d, c, author, actor == nil, l); err != nil {
			return nil, err
		}
	}
	for _, dec := range latest(d, rev.Number) {
		if dec.Kind != DecideApprove && dec.Kind != DecideBreakGlass || actor != nil && dec.Person == actor.ID {
			continue
		}
		p, _, err := s.cfg.Directory.Current(ctx, d.Proposal.Tenant, dec.Person)
		if connectors.CodeOf(err) == connectors.CodeForbidden {
			continue // a rule, or somebody who is gone
		}
		if err != nil {
			return nil, err
		}
		if len(p.Roles) == 0 && len(dec.Roles) > 0 {
			l.waits = connectors.Errorf(connectors.CodeSignInRequired, "%s has to sign in again", dec.Person)
		}
		if l.view.Persons[p.ID], err = s.person(ctx, g, d, c, p); err != nil {
			return nil, err
		}
	}
	if actor != nil {
		if l.view.Persons[actor.ID], err = s.person(ctx, g, d, c, actor); err != nil {
			return nil, err
		}
	}
	return l, s.knowPersons(ctx, d, l.view.Persons)
}

// knowPersons says which of the accounts are of one person, and of an author's.
func (s *Service) knowPersons(ctx context.Context, d *Dossier, persons map[string]Person) error {
	if len(persons) == 0 {
		return nil
	}
	same, err := s.cfg.Directory.Persons(ctx, d.Proposal.Tenant, slices.AppendSeq(d.Authors(), maps.Keys(persons)))
	if err != nil {
		return err
	}
	for id, p := range persons {
		p.Same = same[id]
		p.Behind = slices.ContainsFunc(d.Authors(), func(a string) bool { return same[a] == same[id] })
		persons[id] = p
	}
	return nil
}

// amountsNow are the amounts of the changes: at the claim (fresh) as they can be
// told now, and for whoever looks at it as they were frozen where that says all.
func (s *Service) amountsNow(ctx context.Context, g *ground, d *Dossier, c Content, author *policy.Principal, fresh bool) ([]policy.Amount, error) {
	if fresh || len(d.Proposal.Amounts) != len(c.Review.Changes) {
		return g.az.Amounts(ctx, author, c)
	}
	out := make([]policy.Amount, len(d.Proposal.Amounts))
	for i := range out {
		out[i] = policy.Amount{Declared: true, Money: &d.Proposal.Amounts[i]}
	}
	return out, nil
}

// lookAuthor asks whether the chain may do it now, and what is required now.
func (s *Service) lookAuthor(ctx context.Context, g *ground, d *Dossier, c Content, author *policy.Principal, fresh bool, l *looked) error {
	err := g.az.Recheck(ctx, author, c)
	switch connectors.CodeOf(err) {
	case "":
		l.view.Authorised = true
	case connectors.CodeSignInRequired:
		l.waits = err
	case connectors.CodeForbidden:
		l.denied = err
		for _, p := range author.Chain() {
			if p.Kind == policy.Human && len(p.Roles) == 0 {
				l.waits = connectors.Errorf(connectors.CodeSignInRequired, "%s has to sign in again", p.ID)
			}
		}
	case connectors.CodeProposalStale:
		l.denied = err
	default:
		return err
	}
	if l.denied != nil || l.waits != nil {
		return nil // the requirement stays what it was
	}
	if c.Amounts, err = s.amountsNow(ctx, g, d, c, author, fresh); err != nil {
		return err
	}
	c.Today = d.Proposal.AmountToday
	if known, _ := amountsOf(c.Amounts); d.Proposal.Counted && !slices.Equal(known, d.Proposal.Amounts) {
		l.view.Authorised = false
		l.denied = connectors.Errorf(connectors.CodeProposalStale, "the amount is another one now than it was when this was proposed")
		return nil
	}
	route, err := s.route(ctx, g.az, author, c)
	if err != nil {
		return err
	}
	l.view.Requirement = route.Requirement
	switch route.Then {
	case ThenApprove:
		l.view.AutoApprove = route.Rule
	case ThenReject:
		l.view.Authorised = false
		l.denied = connectors.Errorf(connectors.CodeForbidden, "a rule rejects this now")
	}
	return nil
}

// author is the author chain as the directory knows it now. Somebody of it who
// is gone is CodeForbidden.
func (s *Service) author(ctx context.Context, p *Proposal) (*policy.Principal, error) {
	who, _, err := s.cfg.Directory.Current(ctx, p.Tenant, p.Author.Principal)
	if err != nil {
		return nil, err
	}
	out := *who
	out.For = nil
	end := &out
	for _, id := range p.Author.behind() {
		next, _, err := s.cfg.Directory.Current(ctx, p.Tenant, id)
		if err != nil {
			return nil, err
		}
		link := *next
		link.For = nil
		end.For, end = &link, &link
	}
	return &out, nil
}

// route finds the rule of every change and joins them.
func (s *Service) route(ctx context.Context, az Authorizer, author *policy.Principal, c Content) (*Route, error) {
	routes := make([]*Route, 0, len(c.Review.Changes))
	for i := range c.Review.Changes {
		r, err := az.Route(ctx, author, c, &c.Review.Changes[i])
		if err != nil {
			return nil, err
		}
		routes = append(routes, r)
	}
	return mergeRoutes(routes), nil
}

// person asks what a principal may do about this proposal.
func (s *Service) person(ctx context.Context, g *ground, d *Dossier, c Content, p *policy.Principal) (Person, error) {
	out := Person{Human: p.Kind == policy.Human}
	if !out.Human {
		return out, nil
	}
	out.Roles = g.az.Roles(p)
	var err error
	if out.MayApprove, err = allowed(g.az.MayApprove(ctx, p, c)); err != nil {
		return out, err
	}
	if d.Proposal.Author.For == p.ID && d.Proposal.Author.Principal != p.ID {
		if out.MayConfirm, err = allowed(g.az.Allows(ctx, p, c)); err != nil {
			return out, err
		}
	}
	_, out.MayRead, err = g.az.Redact(ctx, p, c.Review)
	return out, err
}

// allowed reads a refusal as no.
func allowed(err error) (bool, error) {
	switch connectors.CodeOf(err) {
	case "":
		return true, nil
	case connectors.CodeForbidden, connectors.CodeProposalStale, connectors.CodeSignInRequired:
		return false, nil
	}
	return false, err
}

// eligible tells whether distinct persons who are no authors could fill every
// seat. Whoever's claims are too old to tell counts: they may sign in.
func (s *Service) eligible(ctx context.Context, g *ground, d *Dossier, c Content, req Requirement) (bool, error) {
	var voters []voter
	for _, seat := range req.Seats {
		if seat.Confirm && d.Proposal.Author.For != "" {
			p, _, err := s.cfg.Directory.Current(ctx, d.Proposal.Tenant, d.Proposal.Author.For)
			if err == nil {
				may, err := allowed(g.az.Allows(ctx, p, c))
				if err != nil {
					return false, err
				}
				voters = join(voters, voter{id: p.ID, confirm: may && p.ID != d.Proposal.Author.Principal && p.Kind == policy.Human})
			} else if connectors.CodeOf(err) != connectors.CodeForbidden {
				return false, err
			}
		}
		if seat.Role == "" {
			continue
		}
		ids, err := s.cfg.Directory.Holders(ctx, d.Proposal.Tenant, g.az.Granting(seat.Role))
		if err != nil {
			return false, err
		}
		same, err := s.cfg.Directory.Persons(ctx, d.Proposal.Tenant, slices.Concat(d.Authors(), ids))
		if err != nil {
			return false, err
		}
		for _, id := range ids {
			if slices.ContainsFunc(d.Authors(), func(a string) bool { return same[a] == same[id] }) {
				continue
			}
			may, err := s.couldApprove(ctx, g, d, c, id)
			if err != nil {
				return false, err
			}
			if may {
				voters = join(voters, voter{id: same[id], roles: []string{seat.Role}})
			}
			if may && req.met(voters) {
				return true, nil
			}
		}
	}
	return req.met(voters), nil
}

func (s *Service) couldApprove(ctx context.Context, g *ground, d *Dossier, c Content, id string) (bool, error) {
	p, _, err := s.cfg.Directory.Current(ctx, d.Proposal.Tenant, id)
	if connectors.CodeOf(err) == connectors.CodeForbidden {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if len(p.Roles) == 0 {
		return p.Kind == policy.Human, nil
	}
	return allowed(g.az.MayApprove(ctx, p, c))
}
