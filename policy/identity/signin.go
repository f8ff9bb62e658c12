package identity

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A Session is what a sign-in made. Token is shown nowhere else.
type Session struct {
	Token     string
	ExpiresAt time.Time
	Principal *policy.Principal
}

// An Attempt to sign in.
type Attempt struct {
	Tenant   string // empty: the default tenant
	User     string
	Password string
	// Address is the client's, behind trusted proxies; it bounds guessing.
	Address string
	// Client is what the session is listed as, for its owner.
	Client string
}

// SignIn checks a password. CodeUnauthenticated says neither whether the name
// or the password was wrong; CodeRateLimited comes before any password is
// looked at; CodeSuspended only after the right one.
func (s *Service) SignIn(ctx context.Context, a Attempt) (*Session, error) {
	if !s.cfg.LocalUsers {
		return nil, connectors.Errorf(connectors.CodeUnsupported, "signing in with a password is off (identity.localUsers)")
	}
	tenant, id := tenantOf(a.Tenant), UserID(strings.TrimSpace(a.User))
	if len(id) > maxName {
		return nil, wrongPassword()
	}
	byUser, byAddress := "user\x00"+tenant+"\x00"+id, "address\x00"+a.Address
	if err := s.limits.take(byAddress, ratePerAddress); err != nil {
		return nil, err
	}
	if err := s.limits.take(byUser, ratePerUser); err != nil {
		return nil, err
	}
	r, err := s.store.Record(ctx, tenant, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	stored := s.decoy
	if r != nil && r.Password != "" {
		stored = r.Password
	}
	ok, err := s.verifyPassword(ctx, stored, a.Password)
	if err != nil {
		return nil, err
	}
	if !ok || stored == s.decoy {
		return nil, wrongPassword()
	}
	s.limits.giveBack(byUser)
	s.limits.giveBack(byAddress)
	if r.Suspended {
		return nil, suspended()
	}
	return s.begin(ctx, r, signIn{how: "password", client: a.Client}, Change{})
}

func wrongPassword() error {
	return connectors.Errorf(connectors.CodeUnauthenticated, "the name or the password is wrong")
}

// signIn says how a session comes to be.
type signIn struct {
	how, client string
	at          time.Time // when the person proved who they are; zero: now
	// unproven: nobody says when that was, so it never counts as fresh.
	unproven bool
	by       *policy.Principal
}

// begin makes a session and writes it together with what led to it.
func (s *Service) begin(ctx context.Context, r *Record, how signIn, with Change) (*Session, error) {
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	token, c, err := newCredential(KindSession, sessionPrefix, r.Tenant, now, s.cfg.Sessions.Max)
	if err != nil {
		return nil, err
	}
	c.Principal, c.Label, c.LastUsedAt, c.SignedInAt = r.ID, how.client, now, how.at
	if c.SignedInAt.IsZero() && !how.unproven {
		c.SignedInAt = now
	}
	with.Credentials = append(with.Credentials, c)
	by := how.by
	if by == nil {
		by = &policy.Principal{ID: r.ID, Kind: r.Kind, Tenant: r.Tenant, CredentialID: c.ID}
	}
	with.Notes = append(with.Notes, Note{Kind: "identity.signedIn", Tenant: r.Tenant, Subject: r.ID, By: by, Details: map[string]string{"how": how.how, "credential": c.ID}})
	if err := s.store.SaveIdentity(ctx, with); err != nil {
		return nil, err
	}
	p, _ := s.personOf(r, now)
	p.Interactive, p.SignedInAt, p.CredentialID = p.Kind == policy.Human, c.SignedInAt, c.ID
	return &Session{Token: token, ExpiresAt: c.ExpiresAt, Principal: p}, nil
}

// newCredential makes a token and the row that stands for it.
func newCredential(kind CredentialKind, prefix, tenant string, now time.Time, lives time.Duration) (string, *Credential, error) {
	token, hash, err := newToken(prefix)
	if err != nil {
		return "", nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return "", nil, err
	}
	return token, &Credential{ID: id.String(), Tenant: tenant, Kind: kind, Hash: hash, CreatedAt: now, ExpiresAt: now.Add(lives)}, nil
}

// IssueSession makes a session for a person without a sign-in. It is for
// whoever holds the machine (the demo, tests), never for a request.
func (s *Service) IssueSession(ctx context.Context, tenant, id, client string) (*Session, error) {
	r, err := s.person(ctx, tenantOf(tenant), id)
	if err != nil {
		return nil, err
	}
	return s.begin(ctx, r, signIn{how: "issued", client: client}, Change{})
}

// person is an active person of the store.
func (s *Service) person(ctx context.Context, tenant, id string) (*Record, error) {
	r, err := s.store.Record(ctx, tenant, id)
	if errors.Is(err, ErrNotFound) || (err == nil && r.Kind != policy.Human) {
		return nil, connectors.Errorf(connectors.CodeNotFound, "no person here is %s: nobody has signed in as them yet", id)
	}
	if err == nil && r.Suspended {
		err = suspended()
	}
	return r, err
}

// SignOut ends the session of these credentials. Without a session it does
// nothing: the wish is fulfilled.
func (s *Service) SignOut(ctx context.Context, c Credentials) error {
	token := c.Bearer
	if c.ByCookie() {
		token = c.Cookie
	}
	if formOf(token) != formSession {
		return nil
	}
	return s.changeCredential(ctx, hashToken(token), func(c *Credential, now time.Time) (*Note, error) {
		if c.Kind != KindSession || !c.live(now) {
			return nil, nil
		}
		c.RevokedAt = now
		return &Note{Kind: "identity.signedOut", By: &policy.Principal{ID: c.Principal, Kind: policy.Human, CredentialID: c.ID}}, nil
	})
}

// changeCredential reads, changes and writes a credential, again where it moved
// meanwhile. A nil note: nothing is to be written. One that is not there is
// left alone.
func (s *Service) changeCredential(ctx context.Context, hash string, change func(*Credential, time.Time) (*Note, error)) error {
	for {
		c, now, err := s.store.Credential(ctx, hash)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		note, err := change(c, now)
		if err != nil || note == nil {
			return err
		}
		note.Tenant, note.Subject = c.Tenant, c.Principal
		err = s.store.SaveIdentity(ctx, Change{Credentials: []*Credential{c}, Notes: []Note{*note}})
		if errors.Is(err, ErrConflict) && ctx.Err() == nil {
			continue
		}
		s.cache.drop()
		return err
	}
}
