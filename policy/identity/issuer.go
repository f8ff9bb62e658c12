package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// An Issuer is whose word is believed of who somebody is: by the JWTs that it
// signs for Audience, and where people may sign in with it (Flow).
type Issuer struct {
	// Issuer is its URL, exactly as in the tokens' iss; https, or http on this
	// machine. All else is found by discovery. GitHubIssuer is no OpenID
	// provider, and people may sign in with it all the same.
	Issuer string
	// JWKS is where its keys are, instead of where discovery says.
	JWKS string
	// Flow: people sign in there for the console. nil: they do not.
	Flow *Flow
	// Audience must be among a JWT's aud. Empty: no JWT of it is believed.
	Audience string
	// Interactive: a person's JWT that says when they signed in (auth_time), and
	// that nobody else acts with (act), decides like a session.
	Interactive bool
	// Kind is Human (default) or Service.
	Kind policy.PrincipalKind
	// Subject is the claim that names the principal: "sub" (default), whose ids
	// hold the issuer's host so that no two issuers share one; or "email", which
	// the issuer must say is verified, and is the same person as a local user of
	// that name.
	Subject string
	Roles   Roles
	// Claims: our name → the issuer's.
	Claims map[string]string
	// Tenant is the claim that names the tenant; empty: the default one.
	Tenant string
	// Skew of clocks that is forgiven; DefaultSkew.
	Skew time.Duration
}

// A Flow is how people sign in at an issuer: the authorization code flow with
// PKCE.
type Flow struct {
	ClientID string
	// ClientSecret may be empty for a public client.
	ClientSecret string
	// Scopes; with offline_access claims are refreshed without the person.
	Scopes []string
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

// DefaultSkew of clocks is forgiven where nothing is configured.
const DefaultSkew = 30 * time.Second

// maxSkew is the most that may be configured: more would make every token's
// life longer than its issuer meant.
const maxSkew = 5 * time.Minute

// errUnreachable: an issuer could not be asked.
var errUnreachable = errors.New("the issuer could not be asked")

// A verifier knows one issuer.
type verifier struct {
	Issuer
	host   string
	client *http.Client
	now    func() time.Time
	keys   *keySet
	// verified holds what tokens say that were verified before.
	verified *cache[*statement]

	mu       sync.Mutex
	provider *oidc.Provider // nil until it is needed
	metadata metadata
	found    time.Time
}

// metadata is what an issuer says of itself beside go-oidc's endpoints.
type metadata struct {
	JWKS        string   `json:"jwks_uri"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	// NamesItself: it adds iss to what a browser brings back.
	NamesItself bool `json:"authorization_response_iss_parameter_supported"`
}

// metadataAge is how long an issuer's description of itself is used.
const metadataAge = 24 * time.Hour

func newVerifier(i Issuer, opts Options) (*verifier, error) {
	if err := i.check(); err != nil {
		return nil, err
	}
	u, err := url.Parse(i.Issuer)
	if err != nil {
		return nil, err
	}
	if i.Kind == "" {
		i.Kind = policy.Human
	}
	if i.Subject == "" {
		i.Subject = "sub"
	}
	if i.Skew <= 0 {
		i.Skew = DefaultSkew
	}
	client := *opts.HTTP
	client.Transport = bounded{client.Transport}
	v := &verifier{Issuer: i, host: u.Host, client: &client, now: opts.Now, verified: newCache[*statement](opts.Now)}
	v.keys = newKeySet(v.client, opts.Now, v.keysAddress)
	return v, nil
}

func (i *Issuer) check() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("identity.issuers: %s: %s", i.Issuer, fmt.Sprintf(format, args...))
	}
	switch {
	case !secureAddress(i.Issuer):
		return fmt.Errorf("identity.issuers: %q is no issuer's URL: it begins with https://, or http:// on this machine", i.Issuer)
	case i.Audience == "" && i.Flow == nil:
		return wrong("it needs an audience, or signIn; without an audience, tokens made for other services would do here")
	case i.Flow != nil && i.Flow.ClientID == "":
		return wrong("signIn needs a clientId")
	case i.Kind != "" && i.Kind != policy.Human && i.Kind != policy.Service:
		return wrong("kind is human or service, not %q", string(i.Kind))
	case i.Flow != nil && i.Kind == policy.Service:
		return wrong("only people sign in; kind: service has no signIn")
	case i.Subject != "" && i.Subject != "sub" && i.Subject != "email":
		return wrong("subject is sub or email, not %q", i.Subject)
	case i.Interactive && i.Audience == "":
		return wrong("interactive is about JWTs, and without an audience none is believed")
	case i.Interactive && i.Kind == policy.Service:
		return wrong("interactive is for people; it is of kind service")
	case i.Skew > maxSkew:
		return wrong("a skew of more than %s would make every token's life longer", maxSkew)
	case i.Issuer == GitHubIssuer && i.Audience != "":
		return wrong("it signs no JWTs; write signIn without audience")
	}
	return nil
}

// secureAddress tells whether an issuer may have this address: https, or http
// to this machine itself, where nobody is on the way.
func secureAddress(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// bounded cuts answers off that are too long.
type bounded struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	next := b.next
	if next == nil {
		next = http.DefaultTransport
	}
	res, err := next.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

// discover asks the issuer what it offers, once a day.
func (v *verifier) discover(ctx context.Context) (*oidc.Provider, metadata, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.provider != nil && v.now().Sub(v.found) < metadataAge {
		return v.provider, v.metadata, nil
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, v.client), v.Issuer.Issuer)
	var found metadata
	if err == nil {
		err = provider.Claims(&found)
	}
	if err == nil {
		for _, address := range []string{found.JWKS, provider.Endpoint().AuthURL, provider.Endpoint().TokenURL, provider.UserInfoEndpoint()} {
			if address != "" && !secureAddress(address) {
				err = errors.New("it names an address that is not secure: " + address)
			}
		}
	}
	if err != nil {
		if v.provider != nil && ctx.Err() == nil {
			return v.provider, v.metadata, nil
		}
		return nil, metadata{}, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	v.provider, v.metadata, v.found = provider, found, v.now()
	return provider, found, nil
}

func (v *verifier) keysAddress(ctx context.Context) (string, error) {
	if v.JWKS != "" {
		return v.JWKS, nil
	}
	_, found, err := v.discover(ctx)
	if err == nil && found.JWKS == "" {
		err = fmt.Errorf("%w: it names no keys", errUnreachable)
	}
	return found.JWKS, err
}

// A statement is what an issuer said of somebody, verified.
type statement struct {
	// record has one grant.
	record *Record
	// email is verified; empty: none is known.
	email string
	// authTime is when the person proved who they are; zero: not said.
	authTime time.Time
	expires  time.Time
	gen      uint64 // of the keys
}

// state reads the claims of a verified token or answer.
func (v *verifier) state(claims jwt.MapClaims) (*statement, error) {
	id, name, err := v.subject(claims)
	if err != nil {
		return nil, err
	}
	r := &Record{Tenant: policy.DefaultTenant, ID: id, Kind: v.Kind, Name: name}
	if v.Tenant != "" {
		r.Tenant, _ = claims[v.Tenant].(string)
		if !tenantPattern.MatchString(r.Tenant) {
			return nil, &SignInError{Problem: ProblemTenant, Cause: errors.New("the claim " + v.Tenant + " names no tenant")}
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
	out := &statement{record: r, email: verifiedEmail(claims)}
	if seconds, ok := claims["auth_time"].(json.Number); ok {
		if at, err := seconds.Int64(); err == nil && at > 0 {
			out.authTime = time.Unix(at, 0).UTC()
		}
	}
	return out, nil
}

// verifiedEmail is the address that the claims say is verified, in lower case;
// empty where there is none.
func verifiedEmail(claims jwt.MapClaims) string {
	email, _ := claims["email"].(string)
	email = strings.ToLower(email)
	if verified, _ := claims["email_verified"].(bool); !verified {
		return ""
	}
	if !namePattern.MatchString(email) || !strings.Contains(email, "@") || len(email) > maxName {
		return ""
	}
	return email
}

// subject is the principal's id and name.
func (v *verifier) subject(claims jwt.MapClaims) (id, name string, err error) {
	prefix := userPrefix
	if v.Kind == policy.Service {
		prefix = servicePrefix
	}
	name, _ = claims["name"].(string)
	if v.Subject == "email" {
		email := verifiedEmail(claims)
		if email == "" {
			return "", "", &SignInError{Problem: ProblemEmail, Cause: errors.New("no verified e-mail address")}
		}
		return prefix + email, orName(name, email), nil
	}
	sub, _ := claims["sub"].(string)
	if sub == "" || len(sub) > maxName || strings.ContainsFunc(sub, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return "", "", &SignInError{Problem: ProblemProvider, Cause: errors.New("no usable sub")}
	}
	// No local name holds a slash.
	return prefix + v.host + "/" + sub, orName(name, sub), nil
}

func orName(name, otherwise string) string {
	if name == "" || len(name) > maxName {
		return otherwise
	}
	return name
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
