package identity

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A User is a person as others may see them.
type User struct {
	Tenant    string    `json:"tenant"`
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Roles     []string  `json:"roles"`
	Local     bool      `json:"local"` // has a password here
	Suspended bool      `json:"suspended"`
	CreatedAt time.Time `json:"createdAt"`
}

// A NewUser is what AddUser is told.
type NewUser struct {
	Tenant string // empty: the default tenant
	// User is what they sign in with: a short name or an e-mail address.
	User  string
	Name  string // for people; empty: User
	Roles []string
	// Password may be empty: then they get a link that sets it
	// (CreateLink KindPassword).
	Password string
}

// AddUser makes a local person. by is who does it; nil: whoever holds the
// machine. CodeBadInput for names and passwords that cannot be, and
// CodeUniqueViolation where the person exists.
func (s *Service) AddUser(ctx context.Context, by *policy.Principal, u NewUser) (*User, error) {
	r, err := s.newRecord(ctx, u)
	if err != nil {
		return nil, err
	}
	note := Note{Kind: "identity.userAdded", Tenant: r.Tenant, Subject: r.ID, By: by, Details: map[string]string{"roles": strings.Join(u.Roles, " ")}}
	err = s.store.SaveIdentity(ctx, Change{Records: []*Record{r}, Notes: []Note{note}})
	if errors.Is(err, ErrConflict) {
		return nil, connectors.Errorf(connectors.CodeUniqueViolation, "%s exists already", r.ID)
	}
	if err != nil {
		return nil, err
	}
	return s.userOf(r, r.CreatedAt), nil
}

func (s *Service) newRecord(ctx context.Context, u NewUser) (*Record, error) {
	if !s.cfg.LocalUsers {
		return nil, connectors.Errorf(connectors.CodeUnsupported, "local users are off (identity.localUsers)")
	}
	name := strings.ToLower(strings.TrimSpace(u.User))
	if !namePattern.MatchString(name) || len(name) > maxName {
		return nil, connectors.Errorf(connectors.CodeBadInput, "%q is no name to sign in with; use an e-mail address, or lower-case letters, digits, . _ + -", u.User)
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	r := &Record{Tenant: tenantOf(u.Tenant), ID: UserID(name), Kind: policy.Human, Name: u.Name, CreatedAt: now}
	if r.Name == "" {
		r.Name = name
	}
	r.Grants = []Grant{{Provider: LocalProvider, Roles: slices.Sorted(slices.Values(u.Roles)), AsOf: now}}
	if u.Password != "" {
		r.Password, err = s.hashPassword(ctx, u.Password)
	}
	return r, err
}

// SetRoles replaces the roles that were granted here; it holds at once on this
// node and within a second on others.
func (s *Service) SetRoles(ctx context.Context, by *policy.Principal, tenant, id string, roles []string) error {
	roles = slices.Sorted(slices.Values(roles))
	return s.changeRecord(ctx, tenant, id, func(r *Record, now time.Time) (*Note, error) {
		r.setGrant(Grant{Provider: LocalProvider, Roles: roles, Claims: r.grant(LocalProvider).Claims, AsOf: now})
		return &Note{Kind: "identity.rolesSet", By: by, Details: map[string]string{"roles": strings.Join(roles, " ")}}, nil
	})
}

// SetClaims replaces the claims that were granted here.
func (s *Service) SetClaims(ctx context.Context, by *policy.Principal, tenant, id string, claims map[string]connectors.Value) error {
	return s.changeRecord(ctx, tenant, id, func(r *Record, now time.Time) (*Note, error) {
		r.setGrant(Grant{Provider: LocalProvider, Roles: r.grant(LocalProvider).Roles, Claims: claims, AsOf: now})
		return &Note{Kind: "identity.claimsSet", By: by}, nil
	})
}

// Suspend stops or resumes a person, service or configured agent, with all
// their credentials and whatever acts for them. It says nothing of one that is
// so already.
func (s *Service) Suspend(ctx context.Context, by *policy.Principal, tenant, id string, stop bool) error {
	tenant = tenantOf(tenant)
	if name, ok := strings.CutPrefix(id, agentPrefix); ok {
		if err := s.makeAgentRecord(ctx, tenant, name); err != nil {
			return err
		}
	}
	kind := "identity.resumed"
	if stop {
		kind = "identity.suspended"
	}
	return s.changeRecord(ctx, tenant, id, func(r *Record, _ time.Time) (*Note, error) {
		if r.Suspended == stop {
			return nil, nil
		}
		r.Suspended = stop
		return &Note{Kind: kind, By: by}, nil
	})
}

func (s *Service) makeAgentRecord(ctx context.Context, tenant, name string) error {
	p := s.agentOf(tenant, name)
	if p == nil {
		return connectors.Errorf(connectors.CodeNotFound, "no agent %q is configured", name)
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return err
	}
	err = s.store.SaveIdentity(ctx, Change{Records: []*Record{{Tenant: tenant, ID: p.ID, Kind: policy.Agent, Name: name, CreatedAt: now}}})
	if errors.Is(err, ErrConflict) {
		return nil // it is there
	}
	return err
}

// changeRecord reads, changes and writes a record, again where it moved
// meanwhile. A nil note: nothing is to be written.
func (s *Service) changeRecord(ctx context.Context, tenant, id string, change func(*Record, time.Time) (*Note, error)) error {
	tenant = tenantOf(tenant)
	for {
		r, err := s.store.Record(ctx, tenant, id)
		if errors.Is(err, ErrNotFound) {
			return connectors.Errorf(connectors.CodeNotFound, "nobody here is %s", id)
		}
		if err != nil {
			return err
		}
		now, err := s.store.Now(ctx)
		if err != nil {
			return err
		}
		note, err := change(r, now)
		if err != nil || note == nil {
			return err
		}
		note.Tenant, note.Subject = tenant, id
		err = s.store.SaveIdentity(ctx, Change{Records: []*Record{r}, Notes: []Note{*note}})
		if errors.Is(err, ErrConflict) && ctx.Err() == nil {
			continue
		}
		s.cache.drop()
		return err
	}
}

// Users lists the people of a tenant, by id.
func (s *Service) Users(ctx context.Context, tenant string) ([]User, error) {
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	records, err := s.store.Records(ctx, tenantOf(tenant), policy.Human)
	if err != nil {
		return nil, err
	}
	out := make([]User, 0, len(records))
	for _, r := range records {
		out = append(out, *s.userOf(r, now))
	}
	return out, nil
}

func (s *Service) userOf(r *Record, now time.Time) *User {
	p, _ := s.personOf(r, now)
	return &User{Tenant: r.Tenant, ID: r.ID, Name: r.Name, Roles: p.Roles, Local: r.Password != "", Suspended: r.Suspended, CreatedAt: r.CreatedAt}
}

// An AgentInfo is a configured agent with its state.
type AgentInfo struct {
	ID        string   `json:"id"`
	Name      string   `json:"name"`
	Owner     string   `json:"owner"`
	Purpose   string   `json:"purpose"`
	Roles     []string `json:"roles"`
	ActsFor   ActsFor  `json:"actsFor"`
	Suspended bool     `json:"suspended"`
}

// Agents lists the configured agents, by name.
func (s *Service) Agents(ctx context.Context, tenant string) ([]AgentInfo, error) {
	records, err := s.store.Records(ctx, tenantOf(tenant), policy.Agent)
	if err != nil {
		return nil, err
	}
	stopped := map[string]bool{}
	for _, r := range records {
		stopped[r.ID] = r.Suspended
	}
	var out []AgentInfo
	for _, name := range s.AgentNames() {
		a, id := s.cfg.Agents[name], AgentID(name)
		if a.ActsFor == "" {
			a.ActsFor = ActsForOptional
		}
		out = append(out, AgentInfo{ID: id, Name: name, Owner: UserID(a.Owner), Purpose: a.Purpose, Roles: a.Roles, ActsFor: a.ActsFor, Suspended: stopped[id]})
	}
	return out, nil
}

// AddService makes a service that API keys can be made for.
func (s *Service) AddService(ctx context.Context, by *policy.Principal, tenant, name, owner string, roles []string) error {
	if !namePattern.MatchString(name) || len(name) > maxName {
		return connectors.Errorf(connectors.CodeBadInput, "%q is no name for a service", name)
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return err
	}
	r := &Record{Tenant: tenantOf(tenant), ID: ServiceID(name), Kind: policy.Service, Name: name, Owner: owner, CreatedAt: now,
		Grants: []Grant{{Provider: LocalProvider, Roles: slices.Sorted(slices.Values(roles)), AsOf: now}}}
	note := Note{Kind: "identity.serviceAdded", Tenant: r.Tenant, Subject: r.ID, By: by, Details: map[string]string{"roles": strings.Join(roles, " ")}}
	err = s.store.SaveIdentity(ctx, Change{Records: []*Record{r}, Notes: []Note{note}})
	if errors.Is(err, ErrConflict) {
		return connectors.Errorf(connectors.CodeUniqueViolation, "%s exists already", r.ID)
	}
	return err
}

func (r *Record) grant(provider string) Grant {
	for _, g := range r.Grants {
		if g.Provider == provider {
			return g
		}
	}
	return Grant{Provider: provider}
}

func (r *Record) setGrant(grant Grant) {
	for i := range r.Grants {
		if r.Grants[i].Provider == grant.Provider {
			r.Grants[i] = grant
			return
		}
	}
	r.Grants = append(r.Grants, grant)
}

func tenantOf(tenant string) string {
	if tenant == "" {
		return policy.DefaultTenant
	}
	return tenant
}
