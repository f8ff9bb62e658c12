package identity

import (
	"context"
	"errors"
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// One person may have several accounts: at two providers, or a local one. Links
// between accounts say so. A link gives no right to either account; where
// persons are counted (who may decide on what they proposed, how many approved)
// the accounts of one person are one.

// bondByEmail links an account to whoever has this verified address; nil where
// there is nothing to link.
func bondByEmail(r *Record, email string) *Bond {
	if email == "" || r.Kind != policy.Human || r.ID == UserID(email) {
		return nil
	}
	return &Bond{Tenant: r.Tenant, A: r.ID, B: UserID(email), How: LinkByEmail}
}

// Persons implements policy.Directory.
func (s *Service) Persons(ctx context.Context, tenant string, ids []string) (map[string]string, error) {
	return s.store.Persons(ctx, tenant, ids)
}

// LinkAccounts says, by an administrator, that accounts are of one person.
// CodeBadInput for fewer than two or what is no person's account, CodeNotFound
// for somebody unknown.
func (s *Service) LinkAccounts(ctx context.Context, by *policy.Principal, tenant string, ids []string) error {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	if len(ids) < 2 {
		return connectors.Errorf(connectors.CodeBadInput, "name two accounts or more")
	}
	tenant = tenantOf(tenant)
	now, err := s.store.Now(ctx)
	if err != nil {
		return err
	}
	change := Change{}
	for _, id := range ids {
		r, err := s.store.Record(ctx, tenant, id)
		if errors.Is(err, ErrNotFound) || err == nil && r.Kind != policy.Human {
			return connectors.Errorf(connectors.CodeNotFound, "no person here is %s", id)
		}
		if err != nil {
			return err
		}
		if id == ids[0] {
			continue
		}
		link := Bond{Tenant: tenant, A: ids[0], B: id, How: LinkByAdministrator, At: now}
		if by != nil {
			link.By = by.ID
		}
		change.Bonds = append(change.Bonds, link)
		change.Notes = append(change.Notes, Note{Kind: "identity.linked", Tenant: tenant, Subject: id, By: by, Details: map[string]string{"with": ids[0], "how": LinkByAdministrator}})
	}
	return s.store.SaveIdentity(ctx, change)
}

// UnlinkAccounts takes back, by an administrator, that two accounts are of one
// person. CodeNotFound where no link is between them; CodeForbidden where a
// provider says it (they share a verified address), and where it is about
// oneself: who was one person with somebody could approve what they proposed.
func (s *Service) UnlinkAccounts(ctx context.Context, by *policy.Principal, tenant, a, b string) error {
	tenant = tenantOf(tenant)
	links, err := s.store.Bonds(ctx, tenant)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(links, func(l Bond) bool { return l.A == a && l.B == b || l.A == b && l.B == a })
	if i < 0 {
		return connectors.Errorf(connectors.CodeNotFound, "no link is between %s and %s", a, b)
	}
	if links[i].How != LinkByAdministrator {
		return connectors.Errorf(connectors.CodeForbidden, "their provider says that %s and %s are of one person", a, b)
	}
	if by != nil {
		same, err := s.store.Persons(ctx, tenant, []string{a, b, by.ID})
		if err != nil {
			return err
		}
		if same[by.ID] == same[a] || same[by.ID] == same[b] {
			return connectors.Errorf(connectors.CodeForbidden, "another administrator has to do that: these are accounts of yours")
		}
	}
	return s.store.SaveIdentity(ctx, Change{Unbonds: links[i : i+1], Notes: []Note{{Kind: "identity.unlinked", Tenant: tenant, Subject: b, By: by, Details: map[string]string{"from": a}}}})
}

// Bonds lists the links of a tenant.
func (s *Service) Bonds(ctx context.Context, tenant string) ([]Bond, error) {
	return s.store.Bonds(ctx, tenantOf(tenant))
}
