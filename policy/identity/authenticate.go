package identity

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// Authenticate says who is asking. Without a credential it is the anonymous
// principal. A credential that is present and not valid is
// CodeUnauthenticated; a valid one of somebody suspended is CodeSuspended; a
// key of an agent that must act for a person and is bound to none is
// CodeForbidden. The principal is shared and must not be changed.
//
// An answer is at most a second old, so a revocation holds within a second.
// Whoever keeps a connection open asks again.
func (s *Service) Authenticate(ctx context.Context, c Credentials) (*policy.Principal, error) {
	if c.None() {
		return policy.AnonymousPrincipal(), nil
	}
	token := c.Bearer
	if c.ByCookie() {
		token = c.Cookie
	}
	if !c.Malformed && len(token) <= maxToken && (!c.ByCookie() || strings.HasPrefix(token, sessionPrefix)) {
		// Only what passed all that follows is in the cache.
		digest := digestToken(token)
		if p := s.cache.get(digest[:]); p != nil {
			return p, nil
		}
	}
	kind := formOf(token)
	if c.Malformed || kind == formUnknown || kind == formLink || kind == formDevice || kind == formBrowser || (c.ByCookie() && kind != formSession) {
		return nil, invalid("not a bearer token")
	}
	hash := hashToken(token)
	gen, begun := s.cache.generation(), s.clock()
	p, lives, err := s.load(ctx, kind, token, hash)
	if err != nil {
		return nil, err
	}
	s.cache.put(hash, gen, p, begun.Add(min(cacheAge, lives)))
	return p, nil
}

// load asks the store, or verifies a JWT. lives is how long the answer holds at
// most.
func (s *Service) load(ctx context.Context, kind form, token, hash string) (*policy.Principal, time.Duration, error) {
	if kind == formJWT {
		return s.authenticateJWT(ctx, token, hash)
	}
	c, now, err := s.store.Credential(ctx, hash)
	if errors.Is(err, ErrNotFound) {
		return nil, 0, invalid("unknown token")
	}
	if err != nil {
		return nil, 0, err
	}
	if !c.live(now) {
		return nil, 0, invalid("spent, revoked or expired")
	}
	lives := c.ExpiresAt.Sub(now)
	var p *policy.Principal
	switch {
	case kind == formSession && c.Kind == KindSession:
		p, err = s.sessionPrincipal(ctx, c, now)
	case kind == formKey && c.Kind == KindKey:
		lives = min(lives, c.CreatedAt.Add(s.cfg.APIKeyMaxAge).Sub(now))
		p, err = s.keyPrincipal(ctx, c, now)
	case kind == formAccess && c.Kind == KindAccess:
		p, lives, err = s.accessPrincipal(ctx, c, now)
	default:
		err = invalid("a token of another kind")
	}
	if err == nil && lives <= 0 {
		err = invalid("older than the configured maximum")
	}
	return p, lives, err
}

func (s *Service) sessionPrincipal(ctx context.Context, c *Credential, now time.Time) (*policy.Principal, error) {
	if now.Sub(c.LastUsedAt) >= s.cfg.Sessions.Idle || now.Sub(c.CreatedAt) >= s.cfg.Sessions.Max {
		return nil, invalid("idle or too old")
	}
	p, err := s.activePerson(ctx, c.Tenant, c.Principal, now)
	if err != nil {
		return nil, err
	}
	p.Interactive = p.Kind == policy.Human
	p.SignedInAt = c.SignedInAt
	p.CredentialID = c.ID
	return p, s.touch(ctx, c, now)
}

// touch notes the use of a session, rarely: reading must not write. That
// somebody else wrote the row meanwhile does not matter.
func (s *Service) touch(ctx context.Context, c *Credential, now time.Time) error {
	if now.Sub(c.LastUsedAt) < s.cfg.Sessions.Idle/32 {
		return nil
	}
	used := *c
	used.LastUsedAt = now
	err := s.store.SaveIdentity(ctx, Change{Credentials: []*Credential{&used}})
	if err == nil || errors.Is(err, ErrConflict) {
		return nil
	}
	if connectors.CodeOf(err) == connectors.CodeUpstreamUnavailable {
		// A full disk does not end sessions: they go idle a little early.
		return nil
	}
	return err
}

// activePerson is a person or service of the store; whoever is gone makes the
// credential invalid.
func (s *Service) activePerson(ctx context.Context, tenant, id string, now time.Time) (*policy.Principal, error) {
	r, err := s.store.Record(ctx, tenant, id)
	if errors.Is(err, ErrNotFound) {
		return nil, invalid("its principal is gone")
	}
	if err != nil {
		return nil, err
	}
	if r.Suspended {
		return nil, suspended()
	}
	p, _ := s.personOf(r, now)
	return p, nil
}

func (s *Service) keyPrincipal(ctx context.Context, c *Credential, now time.Time) (*policy.Principal, error) {
	name, isAgent := strings.CutPrefix(c.Principal, agentPrefix)
	if !isAgent {
		p, err := s.activePerson(ctx, c.Tenant, c.Principal, now)
		if err == nil {
			p.CredentialID = c.ID
		}
		return p, err
	}
	p, err := s.activeAgent(ctx, c.Tenant, name)
	if err != nil {
		return nil, err
	}
	p.CredentialID = c.ID
	if c.For != "" {
		if p.For, err = s.activePerson(ctx, c.Tenant, c.For, now); err != nil {
			return nil, err
		}
		p.For.CredentialID = c.ID
	}
	return p, s.checkActsFor(name, c.For != "")
}

// activeAgent is a configured agent that is not suspended.
func (s *Service) activeAgent(ctx context.Context, tenant, name string) (*policy.Principal, error) {
	p := s.agentOf(tenant, name)
	if p == nil {
		return nil, invalid("its agent is not configured any more")
	}
	r, err := s.store.Record(ctx, tenant, p.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		return p, nil
	case err != nil:
		return nil, err
	case r.Suspended:
		return nil, suspended()
	}
	return p, nil
}
