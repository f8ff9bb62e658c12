package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	ratelimit "golang.org/x/time/rate"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// An Issuer is whose JWTs are believed. They are never interactive: such a
// token does not decide.
type Issuer struct {
	// Issuer is its URL, exactly as in the tokens' iss. Its keys are found by
	// discovery, or at JWKS.
	Issuer string
	JWKS   string
	// Audience must be among a token's aud.
	Audience string
	// Kind is Human (default) or Service.
	Kind policy.PrincipalKind
	// Subject is the claim that names the principal: "sub" (default), whose ids
	// hold the issuer's host so that no two issuers share one; or "email", which
	// the token must say is verified, and is the same person as a local user of
	// that name.
	Subject string
	Roles   Roles
	// Claims: our name → the token's.
	Claims map[string]string
	// Tenant is the claim that names the tenant; empty: the default one.
	Tenant string
	// Skew of clocks that is forgiven; 60s.
	Skew time.Duration
}

// Roles says which roles a token gives.
type Roles struct {
	// From is a claim with a word or a list of words, Map what they are as roles;
	// words that are not in it give nothing.
	From string
	Map  map[string]string
	// Fixed are given to everybody.
	Fixed []string
}

// algorithms are those a signature may have: asymmetric ones only, so that a
// public key is never taken for a shared secret, and never "none".
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

const (
	defaultSkew = 60 * time.Second
	// maxKeys bounds what an issuer's key set may hold, in bytes.
	maxKeys = 1 << 20
	// recordEvery bounds how often a token that says nothing new is recorded.
	recordEvery = 5 * time.Minute
)

// A verifier knows one issuer.
type verifier struct {
	Issuer
	host   string
	client *http.Client
	now    func() time.Time

	mu   sync.Mutex
	keys oidc.KeySet // nil until its first token
}

func newVerifier(i Issuer, opts Options) (*verifier, error) {
	u, err := url.Parse(i.Issuer)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, fmt.Errorf("identity.issuers: %q is no issuer's URL", i.Issuer)
	}
	if i.Audience == "" {
		return nil, fmt.Errorf("identity.issuers: %s needs an audience; without one, tokens made for other services would do here", i.Issuer)
	}
	if i.Kind == "" {
		i.Kind = policy.Human
	}
	if i.Kind != policy.Human && i.Kind != policy.Service {
		return nil, fmt.Errorf("identity.issuers: %s: kind is human or service, not %q", i.Issuer, string(i.Kind))
	}
	if i.Subject == "" {
		i.Subject = "sub"
	}
	if i.Subject != "sub" && i.Subject != "email" {
		return nil, fmt.Errorf("identity.issuers: %s: subject %q is not supported yet; use sub or email", i.Issuer, i.Subject)
	}
	if i.Skew <= 0 {
		i.Skew = defaultSkew
	}
	client := *opts.HTTP
	transport := client.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	client.Transport = &calm{next: transport, limit: ratelimit.NewLimiter(ratelimit.Every(2*time.Second), 8)}
	return &verifier{Issuer: i, host: u.Host, client: &client, now: opts.Now}, nil
}

// calm keeps forged tokens, each of which makes the key set look for new keys,
// from becoming a flood at the issuer, and bounds its answers.
type calm struct {
	next  http.RoundTripper
	limit *ratelimit.Limiter
}

var errCalm = errors.New("the issuer's keys were fetched too often just now")

// RoundTrip refuses what is too often.
func (c *calm) RoundTrip(r *http.Request) (*http.Response, error) {
	if !c.limit.Allow() {
		return nil, errCalm
	}
	resp, err := c.next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxKeys), resp.Body}
	}
	return resp, err
}

// authenticateJWT verifies a token and records what it says of its principal.
// lives is how long the token is valid.
func (s *Service) authenticateJWT(ctx context.Context, token string) (*policy.Principal, time.Duration, error) {
	unverified := jwt.MapClaims{}
	parsed, _, err := jwt.NewParser(jwt.WithJSONNumber(), jwt.WithStrictDecoding()).ParseUnverified(token, unverified)
	if err != nil {
		return nil, 0, invalid("no JWT: " + err.Error())
	}
	issuer, _ := unverified["iss"].(string)
	v := s.issuers[issuer]
	if v == nil {
		return nil, 0, invalid("a JWT of an issuer that is not configured")
	}
	alg, _ := parsed.Header["alg"].(string)
	if !slices.Contains(algorithms, alg) {
		return nil, 0, invalid("a JWT with a signature that is not allowed")
	}
	claims, err := v.verify(ctx, token)
	if err != nil {
		return nil, 0, err
	}
	r, err := v.record(claims)
	if err != nil {
		return nil, 0, err
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, 0, err
	}
	if err := s.recordClaims(ctx, r, now); err != nil {
		return nil, 0, err
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return nil, 0, invalid("a JWT without exp")
	}
	// In a request it is what this token says, not what others said before.
	p := &policy.Principal{ID: r.ID, Kind: r.Kind, Name: r.Name, Tenant: r.Tenant, Roles: r.Grants[0].Roles, Claims: r.Grants[0].Claims, CredentialID: "jwt:" + v.host}
	return p, expires.Add(v.Skew).Sub(v.now()), nil
}

// verify checks signature, issuer, audience and times.
func (v *verifier) verify(ctx context.Context, token string) (jwt.MapClaims, error) {
	keys, err := v.keySet(ctx)
	if err != nil {
		return nil, err
	}
	payload, err := keys.VerifySignature(ctx, token)
	if err != nil {
		return nil, v.signatureError(ctx, err)
	}
	claims := jwt.MapClaims{}
	decoder := json.NewDecoder(strings.NewReader(string(payload)))
	decoder.UseNumber()
	if err := decoder.Decode(&claims); err != nil {
		return nil, invalid("a JWT whose claims are no JSON object")
	}
	err = jwt.NewValidator(jwt.WithLeeway(v.Skew), jwt.WithTimeFunc(v.now), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithIssuer(v.Issuer.Issuer), jwt.WithAudience(v.Audience)).Validate(claims)
	if err != nil {
		return nil, invalid(err.Error())
	}
	if _, delegated := claims["act"]; delegated {
		return nil, invalid("a JWT that somebody else acts with (act) is not supported yet")
	}
	return claims, nil
}

// signatureError tells a bad signature from keys that cannot be had.
func (v *verifier) signatureError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if strings.HasPrefix(err.Error(), "fetching keys") && !errors.Is(err, errCalm) {
		return connectors.Errorf(connectors.CodeUpstreamUnavailable, "the keys of the token's issuer cannot be fetched right now").WithCause(err)
	}
	return invalid(err.Error())
}

// keySet finds the issuer's keys when its first token comes.
func (v *verifier) keySet(ctx context.Context) (oidc.KeySet, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys != nil {
		return v.keys, nil
	}
	ctx = oidc.ClientContext(ctx, v.client)
	address := v.JWKS
	if address == "" {
		provider, err := oidc.NewProvider(ctx, v.Issuer.Issuer)
		var found struct {
			JWKS string `json:"jwks_uri"`
		}
		if err == nil {
			err = provider.Claims(&found)
		}
		if err != nil || found.JWKS == "" {
			return nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the issuer of the token cannot be asked for its keys right now").WithCause(err)
		}
		address = found.JWKS
	}
	// It outlives the request.
	v.keys = oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), v.client), address)
	return v.keys, nil
}

// record is what a verified token says of its principal.
func (v *verifier) record(claims jwt.MapClaims) (*Record, error) {
	id, name, err := v.subject(claims)
	if err != nil {
		return nil, err
	}
	r := &Record{Tenant: policy.DefaultTenant, ID: id, Kind: v.Kind, Name: name}
	if v.Tenant != "" {
		if r.Tenant, _ = claims[v.Tenant].(string); r.Tenant == "" {
			return nil, invalid("a JWT without the tenant's claim")
		}
	}
	g := Grant{Provider: v.Issuer.Issuer, Claims: map[string]connectors.Value{}}
	g.Roles = append(g.Roles, v.Roles.Fixed...)
	for _, word := range wordsOf(claims[v.Roles.From]) {
		if role, ok := v.Roles.Map[word]; ok && !slices.Contains(g.Roles, role) {
			g.Roles = append(g.Roles, role)
		}
	}
	slices.Sort(g.Roles)
	for ours, theirs := range v.Claims {
		if raw, ok := claims[theirs]; ok {
			g.Claims[ours] = valueOf(raw)
		}
	}
	r.Grants = []Grant{g}
	return r, nil
}

// subject is the principal's id and name.
func (v *verifier) subject(claims jwt.MapClaims) (id, name string, err error) {
	prefix := userPrefix
	if v.Kind == policy.Service {
		prefix = servicePrefix
	}
	name, _ = claims["name"].(string)
	if v.Subject == "email" {
		email, _ := claims["email"].(string)
		email = strings.ToLower(email)
		if verified, _ := claims["email_verified"].(bool); !verified {
			return "", "", invalid("a JWT whose e-mail address is not verified")
		}
		if !namePattern.MatchString(email) || !strings.Contains(email, "@") || len(email) > maxName {
			return "", "", invalid("a JWT without a usable e-mail address")
		}
		return prefix + email, orName(name, email), nil
	}
	sub, _ := claims["sub"].(string)
	if sub == "" || len(sub) > maxName || strings.ContainsFunc(sub, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return "", "", invalid("a JWT without a usable sub")
	}
	// No local name holds a slash.
	return prefix + v.host + "/" + sub, orName(name, sub), nil
}

func orName(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// recordClaims keeps what a token said, for the Directory: when it is new, or
// some time passed. Somebody suspended is refused.
func (s *Service) recordClaims(ctx context.Context, said *Record, now time.Time) error {
	grant := said.Grants[0]
	grant.AsOf = now
	for {
		r, err := s.store.Record(ctx, said.Tenant, said.ID)
		if errors.Is(err, ErrNotFound) {
			r, err = &Record{Tenant: said.Tenant, ID: said.ID, Kind: said.Kind, CreatedAt: now}, nil
		}
		if err != nil {
			return err
		}
		if r.Suspended {
			return suspended()
		}
		old := r.grant(grant.Provider)
		same := r.Version > 0 && slices.Equal(old.Roles, grant.Roles) && reflect.DeepEqual(old.Claims, grant.Claims)
		if same && now.Sub(old.AsOf) < min(recordEvery, s.cfg.MaxAge/2) {
			return nil
		}
		change := Change{Records: []*Record{r}}
		if !same {
			change.Notes = []Note{{Kind: "identity.claimsRecorded", Tenant: r.Tenant, Subject: r.ID, Details: map[string]string{"issuer": grant.Provider, "roles": strings.Join(grant.Roles, " ")}}}
		}
		r.setGrant(grant)
		if r.Password == "" || r.Name == "" {
			r.Name = said.Name
		}
		err = s.store.SaveIdentity(ctx, change)
		if errors.Is(err, ErrConflict) && ctx.Err() == nil {
			continue
		}
		return err
	}
}

// wordsOf reads a claim that is a word, or a list of words.
func wordsOf(claim any) []string {
	switch c := claim.(type) {
	case string:
		return []string{c}
	case []any:
		var out []string
		for _, item := range c {
			if word, ok := item.(string); ok {
				out = append(out, word)
			}
		}
		return out
	}
	return nil
}

// valueOf is a claim as a typed value. Objects are JSON.
func valueOf(claim any) connectors.Value {
	switch c := claim.(type) {
	case string:
		return connectors.String(c)
	case bool:
		return connectors.Bool(c)
	case json.Number:
		if !strings.ContainsAny(c.String(), ".eE") {
			return connectors.Value{Kind: connectors.KindInt, Text: c.String()}
		}
		return connectors.Decimal(c.String())
	case []any:
		items := make([]connectors.Value, len(c))
		for i := range c {
			items[i] = valueOf(c[i])
		}
		return connectors.ListOf(items...)
	case nil:
		return connectors.Null
	}
	raw, err := json.Marshal(claim)
	if err != nil {
		return connectors.Null
	}
	return connectors.Value{Kind: connectors.KindJSON, Text: string(raw)}
}
