package identity

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// algorithms are those a signature may have: asymmetric ones only, so that a
// public key is never taken for a shared secret, and never "none".
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// recordEvery bounds how often a token that says nothing new is recorded.
const recordEvery = 5 * time.Minute

// authenticateJWT verifies a token and records what it says of its principal.
// lives is how long the token is valid. hash is the token's digest: what was
// verified once is not verified again until it is over, or its issuer gave up
// one of its keys.
func (s *Service) authenticateJWT(ctx context.Context, token, hash string) (*policy.Principal, time.Duration, error) {
	v, err := s.issuerOf(token)
	if err != nil {
		return nil, 0, err
	}
	said, err := v.believe(ctx, token, hash)
	if err != nil {
		return nil, 0, err
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, 0, err
	}
	if err := s.recordClaims(ctx, said, now, nil); err != nil {
		return nil, 0, err
	}
	// In a request it is what this token says, not what others said before.
	r := said.record
	p := &policy.Principal{ID: r.ID, Kind: r.Kind, Name: r.Name, Tenant: r.Tenant, Roles: r.Grants[0].Roles, Claims: r.Grants[0].Claims, CredentialID: "jwt:" + v.host}
	if v.Interactive && r.Kind == policy.Human && !said.authTime.IsZero() {
		p.Interactive, p.SignedInAt = true, said.authTime
	}
	return p, said.expires.Sub(v.now()), nil
}

// issuerOf finds whose word a token claims to be.
func (s *Service) issuerOf(token string) (*verifier, error) {
	unverified := jwt.MapClaims{}
	if _, _, err := jwt.NewParser(jwt.WithJSONNumber(), jwt.WithStrictDecoding()).ParseUnverified(token, unverified); err != nil {
		return nil, invalid("no JWT: " + err.Error())
	}
	issuer, _ := unverified["iss"].(string)
	v := s.issuers[issuer]
	if v == nil || v.Audience == "" {
		return nil, invalid("a JWT of an issuer whose tokens are not believed")
	}
	return v, nil
}

// believe verifies a bearer's token, or knows it.
func (v *verifier) believe(ctx context.Context, token, hash string) (*statement, error) {
	if known := v.verified.get([]byte(hash)); known != nil {
		if ring, err := v.keys.current(ctx); err == nil && ring.gen == known.gen {
			return known, nil
		}
	}
	gen := v.verified.generation()
	claims, ring, err := v.verify(ctx, token, v.Audience)
	if err != nil {
		return nil, err
	}
	if _, delegated := claims["act"]; delegated {
		return nil, invalid("a JWT that somebody else acts with (act) is not supported yet")
	}
	said, err := v.state(claims)
	if err != nil {
		return nil, invalid(err.Error())
	}
	if said.authTime.After(v.now().Add(v.Skew)) {
		return nil, invalid("a JWT whose auth_time is not yet")
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return nil, invalid("a JWT without exp")
	}
	said.expires, said.gen = expires.Add(v.Skew), ring.gen
	v.verified.put(hash, gen, said, said.expires)
	return said, nil
}

// verify checks signature, issuer, audience and times of a token.
func (v *verifier) verify(ctx context.Context, token, audience string) (jwt.MapClaims, *keyRing, error) {
	parser := jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithJSONNumber(), jwt.WithStrictDecoding(), jwt.WithLeeway(v.Skew), jwt.WithTimeFunc(v.now),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithIssuer(v.Issuer.Issuer), jwt.WithAudience(audience))
	claims, ring, err := v.keys.parse(ctx, parser, token)
	switch {
	case err == nil:
		return claims, ring, nil
	case ctx.Err() != nil:
		return nil, nil, ctx.Err()
	case errors.Is(err, errUnreachable):
		return nil, nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the keys of the token's issuer cannot be fetched right now").WithCause(err)
	}
	return nil, nil, invalid(err.Error())
}

// recordClaims keeps what an issuer said, for the Directory: when it is new, or
// some time passed. refresh, sealed, replaces what is kept to ask the issuer
// again; nil: that stays. Somebody suspended is refused.
func (s *Service) recordClaims(ctx context.Context, said *statement, now time.Time, refresh []byte) error {
	for {
		r, err := s.store.Record(ctx, said.record.Tenant, said.record.ID)
		if errors.Is(err, ErrNotFound) {
			r, err = &Record{Tenant: said.record.Tenant, ID: said.record.ID, Kind: said.record.Kind, CreatedAt: now}, nil
		}
		if err != nil {
			return err
		}
		if r.Suspended {
			return suspended()
		}
		change := s.claimsChange(r, said, now, refresh)
		if change == nil {
			return nil
		}
		err = s.store.SaveIdentity(ctx, *change)
		if errors.Is(err, ErrConflict) && ctx.Err() == nil {
			continue
		}
		return err
	}
}

// claimsChange puts what was said into a record; nil: it says nothing new.
func (s *Service) claimsChange(r *Record, said *statement, now time.Time, refresh []byte) *Change {
	grant := said.record.Grants[0]
	old := r.grant(grant.Provider)
	grant.AsOf, grant.Email, grant.Refresh = now, said.email, refresh
	if refresh == nil {
		grant.Refresh = old.Refresh
	}
	same := r.Version > 0 && slices.Equal(old.Roles, grant.Roles) && reflect.DeepEqual(old.Claims, grant.Claims) && old.Email == grant.Email
	if same && refresh == nil && now.Sub(old.AsOf) < min(recordEvery, s.cfg.MaxAge/2) {
		return nil
	}
	if len(grant.Refresh) > 0 {
		grant.RefreshAt = now.Add(s.cfg.MaxAge / 2)
	}
	change := &Change{Records: []*Record{r}}
	if !same {
		change.Notes = []Note{{Kind: "identity.claimsRecorded", Tenant: r.Tenant, Subject: r.ID, Details: map[string]string{"issuer": grant.Provider, "roles": strings.Join(grant.Roles, " ")}}}
	}
	if link := bondByEmail(r, grant.Email); link != nil && old.Email != grant.Email {
		change.Bonds = []Bond{*link}
		change.Notes = append(change.Notes, Note{Kind: "identity.linked", Tenant: r.Tenant, Subject: r.ID, Details: map[string]string{"with": link.B, "how": link.How}})
	}
	r.setGrant(grant)
	if r.Password == "" || r.Name == "" {
		r.Name = said.record.Name
	}
	return change
}
