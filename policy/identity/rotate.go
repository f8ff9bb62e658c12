package identity

import (
	"context"
	"errors"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A Rotation says which key is to be replaced.
type Rotation struct {
	Tenant string // empty: the default tenant
	ID     string // of the old key
	// Overlap is how long the old key is still valid; nil: as configured
	// (Config.APIKeyOverlap). It never lives longer than it would have.
	Overlap *time.Duration
	// Lives bounds the new key's life, as in NewKey.
	Lives time.Duration
}

// RotateKey makes a new key like an old one and ends that, in one transaction.
// CodeNotFound where the tenant has no such key, CodeWrongState for one that is
// over, and else as CreateKey.
func (s *Service) RotateKey(ctx context.Context, by *policy.Principal, r Rotation) (*Key, error) {
	tenant := tenantOf(r.Tenant)
	overlap := s.cfg.APIKeyOverlap
	if r.Overlap != nil {
		overlap = *r.Overlap
	}
	if overlap < 0 {
		return nil, connectors.Errorf(connectors.CodeBadInput, "the overlap must not be less than 0")
	}
	for {
		key, err := s.rotate(ctx, by, tenant, r, overlap)
		if errors.Is(err, ErrConflict) && ctx.Err() == nil {
			continue
		}
		if err == nil {
			s.cache.drop()
		}
		return key, err
	}
}

func (s *Service) rotate(ctx context.Context, by *policy.Principal, tenant string, r Rotation, overlap time.Duration) (*Key, error) {
	rows, err := s.store.Credentials(ctx, tenant, Filter{ID: r.ID, Kind: KindKey})
	if err != nil {
		return nil, err
	}
	if r.ID == "" || len(rows) == 0 {
		return nil, connectors.Errorf(connectors.CodeNotFound, "no key here has this id")
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	old := rows[0]
	if !old.live(now) {
		return nil, connectors.Errorf(connectors.CodeWrongState, "this key is revoked or expired: make a new one")
	}
	in := NewKey{Tenant: tenant, Principal: old.Principal, For: old.For, Label: old.Label, Lives: r.Lives}
	if err := s.checkKey(ctx, tenant, in); err != nil {
		return nil, err
	}
	token, c, err := s.newKey(in, tenant, now)
	if err != nil {
		return nil, err
	}
	if by != nil {
		c.CreatedBy = by.ID
	}
	if overlap == 0 {
		old.RevokedAt = now
	} else if end := now.Add(overlap); end.Before(old.ExpiresAt) {
		old.ExpiresAt = end
	}
	note := Note{Kind: "identity.keyRotated", Tenant: tenant, Subject: old.Principal, By: by,
		Details: map[string]string{"credential": c.ID, "instead": old.ID, "overlap": overlap.String(), "for": old.For}}
	if err := s.store.SaveIdentity(ctx, Change{Credentials: []*Credential{old, c}, Notes: []Note{note}}); err != nil {
		return nil, err
	}
	return &Key{Token: token, ID: c.ID, ExpiresAt: c.ExpiresAt}, nil
}

// newKey is a key that is not stored yet.
func (s *Service) newKey(k NewKey, tenant string, now time.Time) (string, *Credential, error) {
	lives := s.cfg.APIKeyMaxAge
	if k.Lives > 0 {
		lives = min(lives, k.Lives)
	}
	token, c, err := newCredential(KindKey, keyPrefix, tenant, now, lives)
	if err != nil {
		return "", nil, err
	}
	c.Principal, c.For, c.Label = k.Principal, k.For, k.Label
	return token, c, nil
}
