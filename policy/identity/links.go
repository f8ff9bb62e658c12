package identity

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// Links carry a token (csl_…) that works once. Opening one with GET must show
// a page and spend nothing (Peek); only its form redeems it. The token is best
// carried in the fragment, which reaches no log.

// A Link is a token to be made into an address, shown once.
type Link struct {
	Token     string
	ExpiresAt time.Time
}

// FirstRun makes the link that makes the first person, with role owner, and
// ends earlier ones. ok is false, and no link is made, where there are people
// already, or local users are off.
func (s *Service) FirstRun(ctx context.Context, tenant string, lives time.Duration) (link Link, ok bool, err error) {
	tenant = tenantOf(tenant)
	if !s.cfg.LocalUsers {
		return Link{}, false, nil
	}
	if some, err := s.anybody(ctx, tenant); some || err != nil {
		return Link{}, false, err
	}
	if err := s.revokeAll(ctx, nil, tenant, Filter{Kind: KindFirstRun}); err != nil {
		return Link{}, false, err
	}
	link, err = s.newLink(ctx, nil, KindFirstRun, tenant, "", lives)
	return link, err == nil, err
}

func (s *Service) anybody(ctx context.Context, tenant string) (bool, error) {
	people, err := s.store.Records(ctx, tenant, policy.Human)
	for _, r := range people {
		if r.Password != "" {
			return true, err
		}
	}
	return false, err
}

// CreateLink makes a link of KindSignIn or KindPassword for a person. It is for
// whoever holds the machine or administers people; by is who that is.
func (s *Service) CreateLink(ctx context.Context, by *policy.Principal, kind CredentialKind, tenant, id string, lives time.Duration) (Link, error) {
	if kind != KindSignIn && kind != KindPassword {
		return Link{}, connectors.Errorf(connectors.CodeBadInput, "no link can be made of kind %q", string(kind))
	}
	tenant = tenantOf(tenant)
	if _, err := s.person(ctx, tenant, id); err != nil {
		return Link{}, err
	}
	return s.newLink(ctx, by, kind, tenant, id, lives)
}

func (s *Service) newLink(ctx context.Context, by *policy.Principal, kind CredentialKind, tenant, id string, lives time.Duration) (Link, error) {
	now, err := s.store.Now(ctx)
	if err != nil {
		return Link{}, err
	}
	token, c, err := newCredential(kind, linkPrefix, tenant, now, lives)
	if err != nil {
		return Link{}, err
	}
	c.Principal = id
	if by != nil {
		c.CreatedBy = by.ID
	}
	note := Note{Kind: "identity.linkMade", Tenant: tenant, Subject: id, By: by, Details: map[string]string{"kind": string(kind), "credential": c.ID}}
	if err := s.store.SaveIdentity(ctx, Change{Credentials: []*Credential{c}, Notes: []Note{note}}); err != nil {
		return Link{}, err
	}
	return Link{Token: token, ExpiresAt: c.ExpiresAt}, nil
}

// A Peeked link says what it is for, without spending it.
type Peeked struct {
	Kind      CredentialKind
	Principal string // empty for KindFirstRun
	Name      string
	ExpiresAt time.Time
}

// Peek looks at a link. CodeUnauthenticated where it does not work (any more).
func (s *Service) Peek(ctx context.Context, token string) (*Peeked, error) {
	c, r, _, err := s.openLink(ctx, token)
	if err != nil {
		return nil, err
	}
	p := &Peeked{Kind: c.Kind, Principal: c.Principal, ExpiresAt: c.ExpiresAt}
	if r != nil {
		p.Name = r.Name
	}
	return p, nil
}

// openLink finds a link that works now, and the person it is for.
func (s *Service) openLink(ctx context.Context, token string) (*Credential, *Record, time.Time, error) {
	if formOf(token) != formLink {
		return nil, nil, time.Time{}, invalid("no link")
	}
	c, now, err := s.store.Credential(ctx, hashToken(token))
	if errors.Is(err, ErrNotFound) || (err == nil && !c.live(now)) {
		return nil, nil, now, spent()
	}
	if err != nil {
		return nil, nil, now, err
	}
	if c.Kind == KindFirstRun {
		some, err := s.anybody(ctx, c.Tenant)
		if err == nil && some {
			err = spent()
		}
		return c, nil, now, err
	}
	r, err := s.person(ctx, c.Tenant, c.Principal)
	return c, r, now, err
}

func spent() error {
	return connectors.Errorf(connectors.CodeUnauthenticated, "this link does not work any more: it works once, and not for long")
}

// A Redemption is what the form of a link sends. Which fields count depends on
// the link's kind.
type Redemption struct {
	Token string
	// User and Name are the first person's (KindFirstRun); Password is theirs,
	// or the new one (KindPassword).
	User, Name, Password string
	Client               string
}

// Redeem spends a link and signs in: as its person (KindSignIn), after setting
// their password (KindPassword), or as the first person, which it makes with
// the role owner (KindFirstRun). Of several that redeem one link at once, one
// does.
func (s *Service) Redeem(ctx context.Context, in Redemption) (*Session, error) {
	c, r, now, err := s.openLink(ctx, in.Token)
	if err != nil {
		return nil, err
	}
	change := Change{}
	switch c.Kind {
	case KindFirstRun:
		if in.Password == "" {
			return nil, checkPassword("")
		}
		r, err = s.newRecord(ctx, NewUser{Tenant: c.Tenant, User: in.User, Name: in.Name, Password: in.Password, Roles: []string{"owner"}})
		if err != nil {
			return nil, err
		}
		change.Records = []*Record{r}
		change.Notes = []Note{{Kind: "identity.userAdded", Tenant: r.Tenant, Subject: r.ID, Details: map[string]string{"roles": "owner", "how": "first run"}}}
	case KindPassword:
		if r.Password, err = s.hashPassword(ctx, in.Password); err != nil {
			return nil, err
		}
		change.Records = []*Record{r}
		change.Notes = []Note{{Kind: "identity.passwordSet", Tenant: r.Tenant, Subject: r.ID}}
	case KindSignIn:
	default:
		return nil, spent()
	}
	c.UsedAt = now
	change.Credentials = []*Credential{c}
	session, err := s.begin(ctx, r, signIn{how: string(c.Kind), client: in.Client}, change)
	if errors.Is(err, ErrConflict) {
		if c.Kind == KindFirstRun && s.exists(ctx, r) {
			return nil, connectors.Errorf(connectors.CodeUniqueViolation, "%s exists already", r.ID)
		}
		return nil, spent()
	}
	s.cache.drop()
	return session, err
}

func (s *Service) exists(ctx context.Context, r *Record) bool {
	_, err := s.store.Record(ctx, r.Tenant, r.ID)
	return err == nil
}

// CheckLinkToken tells whether a text has the outer form of a link's token, so
// that a page need not ask the store about anything else.
func CheckLinkToken(text string) bool { return formOf(strings.TrimSpace(text)) == formLink }
