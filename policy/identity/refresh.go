package identity

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Where a provider gave a refresh token (scope offline_access), it is asked
// again what it says of a person before its claims are too old, so that people
// need not sign in for a change that they approved to be done. The token is
// kept encrypted, bound to its account.

const (
	refreshPurpose = "identity/refresh"
	// refreshEvery is how often what is due is looked for.
	refreshEvery = time.Minute
	// refreshAgain is how long is waited after a try that failed, or that
	// another node may be making.
	refreshAgain = 10 * time.Minute
	// refreshMany bounds one round.
	refreshMany = 100
)

func refreshPlace(r *Record, v *verifier) []byte {
	return []byte(r.Tenant + "\x00" + r.ID + "\x00" + v.Issuer.Issuer)
}

// sealRefresh encrypts a refresh token; nil where none is to be kept.
func (s *Service) sealRefresh(r *Record, v *verifier, token string) ([]byte, error) {
	if token == "" || s.sealer == nil || !slices.Contains(v.Flow.Scopes, oidc.ScopeOfflineAccess) {
		return nil, nil
	}
	return s.sealer.Seal(refreshPurpose, refreshPlace(r, v), []byte(token))
}

// Run asks providers again, where that is due, until ctx ends. failed is told
// of what went wrong; it holds no secret.
func (s *Service) Run(ctx context.Context, failed func(error)) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		if err := s.RefreshDue(ctx); err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// RefreshDue asks providers again about those whose time has come. Of several
// nodes one does it for each. Errors of providers are joined; one that refuses
// ends what was kept: the person has to sign in.
func (s *Service) RefreshDue(ctx context.Context) error {
	now, err := s.store.Now(ctx)
	if err != nil {
		return err
	}
	records, err := s.store.DueRecords(ctx, now, refreshMany)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range records {
		for _, g := range r.Grants {
			if !g.RefreshAt.IsZero() && !now.Before(g.RefreshAt) {
				errs = append(errs, s.refresh(ctx, r.Tenant, r.ID, g.Provider, now))
			}
		}
	}
	return errors.Join(errs...)
}

// refresh asks one provider about one account. The time of the next try is
// written first: who finds it written leaves it alone.
func (s *Service) refresh(ctx context.Context, tenant, id, provider string, now time.Time) error {
	r, err := s.store.Record(ctx, tenant, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	g := r.grant(provider)
	if g.RefreshAt.IsZero() || now.Before(g.RefreshAt) {
		return nil
	}
	v := s.issuers[provider]
	if v == nil || v.Flow == nil || s.sealer == nil || r.Suspended {
		return s.endRefresh(ctx, r, g)
	}
	token, err := s.sealer.Open(refreshPurpose, refreshPlace(r, v), g.Refresh)
	if err != nil {
		return s.endRefresh(ctx, r, g) // sealed with a key that is gone
	}
	g.RefreshAt = now.Add(refreshAgain)
	r.setGrant(g)
	if err := s.store.SaveIdentity(ctx, Change{Records: []*Record{r}}); err != nil {
		if errors.Is(err, ErrConflict) {
			return nil
		}
		return err
	}
	said, next, err := s.askAgain(ctx, v, string(token))
	if err == nil && (said.record.ID != id || said.record.Tenant != tenant) {
		err = problem(ProblemProvider, errors.New("the refreshed token is of somebody else"))
	}
	if problemIs(problemOf(err), ProblemUnavailable) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		r, again := s.store.Record(ctx, tenant, id)
		if again != nil {
			return errors.Join(err, again)
		}
		return s.endRefresh(ctx, r, r.grant(provider))
	}
	if next == "" {
		next = string(token)
	}
	sealed, err := s.sealRefresh(said.record, v, next)
	if err != nil {
		return err
	}
	s.cache.drop()
	return s.recordClaims(ctx, said, now, sealed)
}

// askAgain gets new tokens for a refresh token.
func (s *Service) askAgain(ctx context.Context, v *verifier, token string) (*statement, string, error) {
	config, _, err := s.oauth(ctx, v)
	if err != nil {
		return nil, "", err
	}
	client := context.WithValue(ctx, oauth2.HTTPClient, v.client)
	fresh, err := config.TokenSource(client, &oauth2.Token{RefreshToken: token}).Token()
	if err != nil {
		return nil, "", exchangeError(err)
	}
	said, err := v.who(ctx, fresh, "")
	return said, fresh.RefreshToken, err
}

// endRefresh forgets a refresh token; what was said counts until it is too old.
func (s *Service) endRefresh(ctx context.Context, r *Record, g Grant) error {
	g.Refresh, g.RefreshAt = nil, time.Time{}
	r.setGrant(g)
	err := s.store.SaveIdentity(ctx, Change{Records: []*Record{r}, Notes: []Note{{Kind: "identity.refreshEnded", Tenant: r.Tenant, Subject: r.ID, Details: map[string]string{"issuer": g.Provider}}}})
	if errors.Is(err, ErrConflict) {
		return nil // the next round sees what it is now
	}
	return err
}
