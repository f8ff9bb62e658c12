package graph

import (
	"context"
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/model"
	"github.com/countersign/countersign/policy/identity"
)

// sessions lists the caller's sign-ins, or everybody's for an administrator who
// asks for all.
func (r *Resolver) sessions(ctx context.Context, c *Caller, all bool) ([]*model.CountersignSession, error) {
	of := c.Principal.ID
	if all {
		if !c.Admin() {
			return nil, connectors.Errorf(connectors.CodeForbidden, "everybody's sign-ins are shown to the role %s", AdminRole)
		}
		of = ""
	}
	found, err := r.Identity.Sessions(ctx, c.Principal.Tenant, of)
	if err != nil {
		return nil, err
	}
	out := []*model.CountersignSession{}
	for _, s := range found {
		m := &model.CountersignSession{ID: s.ID, Person: s.Principal, Client: optional(s.Label), CreatedAt: s.CreatedAt,
			LastUsedAt: s.LastUsedAt, ExpiresAt: s.ExpiresAt, Current: s.ID == c.Principal.CredentialID}
		if !s.SignedInAt.IsZero() {
			m.SignedInAt = &s.SignedInAt
		}
		out = append(out, m)
	}
	return out, nil
}

// revokeSession ends a sign-in: one's own, or anybody's by an administrator.
func (r *Resolver) revokeSession(ctx context.Context, id string) (*model.CountersignSession, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	if !c.Principal.Interactive {
		return nil, connectors.Errorf(connectors.CodeSignInRequired, "only a person who signed in does that")
	}
	found, err := r.sessions(ctx, c, c.Admin())
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(found, func(s *model.CountersignSession) bool { return s.ID == id })
	if i < 0 {
		return nil, connectors.Errorf(connectors.CodeNotFound, "no sign-in of yours has this id")
	}
	return found[i], r.Identity.Revoke(ctx, c.Principal, c.Principal.Tenant, id)
}

// links lists which accounts are of one person.
func (r *Resolver) links(ctx context.Context, c *Caller) ([]*model.CountersignLink, error) {
	found, err := r.Identity.Bonds(ctx, c.Principal.Tenant)
	if err != nil {
		return nil, err
	}
	out := []*model.CountersignLink{}
	for _, b := range found {
		m := &model.CountersignLink{A: b.A, B: b.B, How: model.CountersignLinkKindEmail, By: optional(b.By)}
		if b.How == identity.LinkByAdministrator {
			m.How = model.CountersignLinkKindAdministrator
		}
		if !b.At.IsZero() {
			m.At = &b.At
		}
		out = append(out, m)
	}
	return out, nil
}

// relink changes what is one person, by an administrator who signed in.
func (r *Resolver) relink(ctx context.Context, change func(*Caller) error) ([]*model.CountersignLink, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case !c.Principal.Interactive:
		return nil, connectors.Errorf(connectors.CodeSignInRequired, "only a person who signed in does that")
	case !c.Admin():
		return nil, connectors.Errorf(connectors.CodeForbidden, "the role %s does that", AdminRole)
	}
	if err := change(c); err != nil {
		return nil, err
	}
	return r.links(ctx, c)
}
