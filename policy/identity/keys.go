package identity

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A NewKey is what CreateKey is told.
type NewKey struct {
	Tenant string // empty: the default tenant
	// Principal is an agent's, service's or person's id.
	Principal string
	// For is the id of the person that an agent's key is bound to.
	For   string
	Label string
	// Lives bounds its life; 0, or more than configured: the configured maximum.
	Lives time.Duration
}

// A Key is an API key, shown once.
type Key struct {
	Token     string
	ID        string
	ExpiresAt time.Time
}

// CreateKey makes an API key. CodeNotFound where nobody has the id or the
// person it is bound to does not exist; CodeForbidden where the binding does
// not fit the agent's actsFor; CodeSuspended for somebody suspended.
func (s *Service) CreateKey(ctx context.Context, by *policy.Principal, k NewKey) (*Key, error) {
	tenant := tenantOf(k.Tenant)
	if err := s.checkKey(ctx, tenant, k); err != nil {
		return nil, err
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	token, c, err := s.newKey(k, tenant, now)
	if err != nil {
		return nil, err
	}
	if by != nil {
		c.CreatedBy = by.ID
	}
	note := Note{Kind: "identity.keyMade", Tenant: tenant, Subject: k.Principal, By: by, Details: map[string]string{"credential": c.ID, "for": k.For}}
	if err := s.store.SaveIdentity(ctx, Change{Credentials: []*Credential{c}, Notes: []Note{note}}); err != nil {
		return nil, err
	}
	return &Key{Token: token, ID: c.ID, ExpiresAt: c.ExpiresAt}, nil
}

func (s *Service) checkKey(ctx context.Context, tenant string, k NewKey) error {
	name, isAgent := strings.CutPrefix(k.Principal, agentPrefix)
	if !isAgent {
		if k.For != "" {
			return connectors.Errorf(connectors.CodeBadInput, "only an agent's key is bound to a person")
		}
		r, err := s.store.Record(ctx, tenant, k.Principal)
		if errors.Is(err, ErrNotFound) {
			return connectors.Errorf(connectors.CodeNotFound, "nobody here is %s", k.Principal)
		}
		if err == nil && r.Suspended {
			err = suspended()
		}
		return err
	}
	if s.agentOf(tenant, name) == nil {
		return connectors.Errorf(connectors.CodeNotFound, "no agent %q is configured (agents in countersign.yaml)", name)
	}
	if k.For == "" {
		return nil // where a person is required, an exchange names them
	}
	if err := s.checkActsFor(name, true); err != nil {
		return err
	}
	_, err := s.person(ctx, tenant, k.For)
	return err
}

// A CredentialInfo is a credential as its owner or an administrator sees it.
type CredentialInfo struct {
	ID         string         `json:"id"`
	Kind       CredentialKind `json:"kind"`
	Principal  string         `json:"principal"`
	For        string         `json:"for,omitempty"`
	Label      string         `json:"label,omitempty"`
	CreatedAt  time.Time      `json:"createdAt"`
	CreatedBy  string         `json:"createdBy,omitempty"`
	ExpiresAt  time.Time      `json:"expiresAt"`
	LastUsedAt time.Time      `json:"lastUsedAt,omitzero"`
	RevokedAt  time.Time      `json:"revokedAt,omitzero"`
	// Live: it works now.
	Live bool `json:"live"`
}

// Credentials lists keys or sessions, the newest first. An empty principal is
// everybody.
func (s *Service) Credentials(ctx context.Context, tenant string, kind CredentialKind, principal string) ([]CredentialInfo, error) {
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.store.Credentials(ctx, tenantOf(tenant), Filter{Kind: kind, Principal: principal})
	if err != nil {
		return nil, err
	}
	out := make([]CredentialInfo, 0, len(rows))
	for _, c := range rows {
		out = append(out, infoOf(c, now))
	}
	return out, nil
}

// A SessionInfo is a sign-in that still works.
type SessionInfo struct {
	CredentialInfo
	// SignedInAt is when the person last proved who they are; zero: not known.
	SignedInAt time.Time
}

// Sessions lists the sign-ins that still work, the newest first. An empty
// principal is everybody.
func (s *Service) Sessions(ctx context.Context, tenant, principal string) ([]SessionInfo, error) {
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.store.Credentials(ctx, tenantOf(tenant), Filter{Kind: KindSession, Principal: principal})
	if err != nil {
		return nil, err
	}
	var out []SessionInfo
	for _, c := range rows {
		if c.live(now) && now.Sub(c.LastUsedAt) < s.cfg.Sessions.Idle && now.Sub(c.CreatedAt) < s.cfg.Sessions.Max {
			out = append(out, SessionInfo{CredentialInfo: infoOf(c, now), SignedInAt: c.SignedInAt})
		}
	}
	return out, nil
}

func infoOf(c *Credential, now time.Time) CredentialInfo {
	return CredentialInfo{ID: c.ID, Kind: c.Kind, Principal: c.Principal, For: c.For, Label: c.Label, CreatedAt: c.CreatedAt,
		CreatedBy: c.CreatedBy, ExpiresAt: c.ExpiresAt, LastUsedAt: c.LastUsedAt, RevokedAt: c.RevokedAt, Live: c.live(now)}
}

// Revoke ends a credential by its id: at once on this node, within a second on
// others. CodeNotFound where the tenant has none of this id; one that is
// revoked already stays so.
func (s *Service) Revoke(ctx context.Context, by *policy.Principal, tenant, id string) error {
	rows, err := s.store.Credentials(ctx, tenantOf(tenant), Filter{ID: id})
	if err != nil {
		return err
	}
	if id == "" || len(rows) == 0 {
		return connectors.Errorf(connectors.CodeNotFound, "no credential here has this id")
	}
	return s.revoke(ctx, by, rows[0])
}

// RevokeAll ends every credential of a kind that a principal has.
func (s *Service) RevokeAll(ctx context.Context, by *policy.Principal, tenant string, kind CredentialKind, principal string) error {
	if principal == "" {
		return connectors.Errorf(connectors.CodeBadInput, "whose credentials?")
	}
	return s.revokeAll(ctx, by, tenantOf(tenant), Filter{Kind: kind, Principal: principal})
}

func (s *Service) revokeAll(ctx context.Context, by *policy.Principal, tenant string, f Filter) error {
	rows, err := s.store.Credentials(ctx, tenant, f)
	for i := 0; err == nil && i < len(rows); i++ {
		err = s.revoke(ctx, by, rows[i])
	}
	return err
}

func (s *Service) revoke(ctx context.Context, by *policy.Principal, c *Credential) error {
	return s.changeCredential(ctx, c.Hash, func(c *Credential, now time.Time) (*Note, error) {
		if !c.RevokedAt.IsZero() {
			return nil, nil
		}
		c.RevokedAt = now
		return &Note{Kind: "identity.revoked", By: by, Details: map[string]string{"credential": c.ID, "kind": string(c.Kind)}}, nil
	})
}
