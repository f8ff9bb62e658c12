package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"

	"github.com/countersign/countersign/connectors"
)

// Signing in at a provider is the authorization code flow (RFC 6749, OpenID
// Connect) with PKCE (S256). BeginSignIn gives the browser a token to keep in a
// cookie; state, nonce and the PKCE verifier are digests of it, so that the
// browser's return is worth nothing in another browser, and what is stored, the
// token's own digest, is worth nothing to who reads it. FinishSignIn spends the
// token before it asks the provider: a return that is sent twice is refused.

// signInLives is how long a sign-in at a provider may take.
const signInLives = 10 * time.Minute

// maxPath bounds the path to go to after a sign-in.
const maxPath = 2000

// A Problem is why a sign-in at a provider came to nothing: one of few words,
// which a page has sentences for. What a provider says in its own words is for
// the log only.
type Problem string

// The problems of signing in at a provider.
const (
	ProblemDenied      Problem = "denied"      // the person, or the provider, refused
	ProblemOver        Problem = "over"        // not begun in this browser, over, or used already
	ProblemProvider    Problem = "provider"    // the provider's answer is not good
	ProblemUnavailable Problem = "unavailable" // the provider cannot be reached
	ProblemEmail       Problem = "email"       // no verified e-mail address, and one is needed
	ProblemTenant      Problem = "tenant"      // no tenant, and one is needed
	ProblemStale       Problem = "stale"       // no proof of a new sign-in, and one was asked for
	ProblemSuspended   Problem = "suspended"   // the account is suspended here
)

// A SignInError says why a sign-in at a provider came to nothing.
type SignInError struct {
	Problem Problem
	Cause   error
}

// Error implements error; it is for the log.
func (e *SignInError) Error() string {
	return "signing in at a provider: " + string(e.Problem) + ": " + e.Cause.Error()
}

// Unwrap gives the cause.
func (e *SignInError) Unwrap() error { return e.Cause }

func problem(p Problem, cause error) error { return &SignInError{Problem: p, Cause: cause} }

// problemOf is the problem in an error; anything that is none is the store's or
// the provider's being away.
func problemOf(err error) error {
	var known *SignInError
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case connectors.CodeOf(err) == connectors.CodeSuspended:
		return problem(ProblemSuspended, err)
	case connectors.CodeOf(err) == connectors.CodeUnauthenticated:
		return problem(ProblemProvider, err)
	case connectors.CodeOf(err) == connectors.CodeUpstreamUnavailable, errors.Is(err, errUnreachable):
		return problem(ProblemUnavailable, err)
	}
	return err
}

// A Provider is an issuer that people sign in at.
type Provider struct {
	// ID is the issuer's URL; Name is for a button.
	ID, Name string
}

// providerNames are those that people know by another name than their host.
var providerNames = []struct{ host, name string }{
	{"accounts.google.com", "Google"}, {"login.microsoftonline.com", "Microsoft"}, {"github.com", "GitHub"},
	{".okta.com", "Okta"}, {".auth0.com", "Auth0"}, {"gitlab.com", "GitLab"},
}

// Providers lists where people may sign in, in the order of the configuration.
func (s *Service) Providers() []Provider {
	out := []Provider{}
	for _, i := range s.cfg.Issuers {
		if i.Flow == nil {
			continue
		}
		p := Provider{ID: i.Issuer, Name: s.issuers[i.Issuer].host}
		for _, known := range providerNames {
			if p.Name == known.host || strings.HasPrefix(known.host, ".") && strings.HasSuffix(p.Name, known.host) {
				p.Name = known.name
			}
		}
		out = append(out, p)
	}
	return out
}

// LocalUsers tells whether people sign in with a password.
func (s *Service) LocalUsers() bool { return s.cfg.LocalUsers }

// A Start is what BeginSignIn is told.
type Start struct {
	Issuer string
	// To is the path to go to afterwards; anything but a path of this server is
	// taken for "/".
	To string
	// Fresh: the person must prove anew who they are.
	Fresh bool
	// Address is the client's; it bounds how often. Client is what the session
	// is listed as.
	Address, Client string
}

// A Started sign-in: the browser keeps Token in the cookie (SignInCookie) and
// goes to URL.
type Started struct{ URL, Token string }

// BeginSignIn begins a sign-in at a provider. CodeNotFound where people do not
// sign in there; CodeRateLimited; CodeUpstreamUnavailable where it cannot be
// reached.
func (s *Service) BeginSignIn(ctx context.Context, in Start) (*Started, error) {
	v := s.issuers[in.Issuer]
	if v == nil || v.Flow == nil {
		return nil, connectors.Errorf(connectors.CodeNotFound, "people do not sign in there")
	}
	if err := s.limits.take("browser\x00"+in.Address, ratePerAddress); err != nil {
		return nil, err
	}
	config, _, err := s.oauth(ctx, v)
	if err != nil {
		return nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "%s cannot be reached right now", v.host).WithCause(err)
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	token, c, err := newCredential(KindBrowser, browserPrefix, tenantOf(""), now, signInLives)
	if err != nil {
		return nil, err
	}
	c.Label, c.Begun = in.Client, &Begun{Issuer: in.Issuer, To: localPath(in.To), Fresh: in.Fresh}
	if err := s.store.SaveIdentity(ctx, Change{Credentials: []*Credential{c}}); err != nil {
		return nil, err
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(derived("verifier", token))}
	if s.github == nil || v != s.github.verifier {
		options = append(options, oidc.Nonce(derived("nonce", token)), oauth2.SetAuthURLParam("max_age", strconv.Itoa(int(s.cfg.Sessions.Max.Seconds()))))
	}
	var prompt []string
	if in.Fresh {
		prompt = append(prompt, "login")
		options = append(options, oauth2.SetAuthURLParam("max_age", strconv.Itoa(int(s.cfg.Sessions.Fresh.Seconds()))))
	}
	if slices.Contains(v.Flow.Scopes, oidc.ScopeOfflineAccess) {
		prompt = append(prompt, "consent") // without it, providers give no refresh token
	}
	if len(prompt) > 0 {
		options = append(options, oauth2.SetAuthURLParam("prompt", strings.Join(prompt, " ")))
	}
	return &Started{URL: config.AuthCodeURL(derived("state", token), options...), Token: token}, nil
}

// derived is a value that only who has the token can know before it is sent.
func derived(what, token string) string {
	sum := sha256.Sum256([]byte("countersign/sign-in/" + what + "\x00" + token))
	return tokenEncoding.EncodeToString(sum[:])
}

// localPath is a path of this server, and "/" for all that is none.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > maxPath || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") ||
		strings.ContainsFunc(to, func(r rune) bool { return r == '\\' || r < 0x21 || r == 0x7f }) {
		return "/"
	}
	return to
}

// oauth is how the provider is spoken to.
func (s *Service) oauth(ctx context.Context, v *verifier) (*oauth2.Config, metadata, error) {
	config := &oauth2.Config{ClientID: v.Flow.ClientID, ClientSecret: v.Flow.ClientSecret, RedirectURL: s.cfg.RedirectURL, Scopes: v.Flow.Scopes}
	if s.github != nil && v == s.github.verifier {
		config.Endpoint = s.github.endpoint()
		return config, metadata{}, nil
	}
	provider, found, err := v.discover(ctx)
	if err != nil {
		return nil, found, err
	}
	config.Endpoint = provider.Endpoint()
	// A code works once, so the way to send the secret is not found by trying.
	config.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if v.Flow.ClientSecret == "" || len(found.AuthMethods) > 0 && !slices.Contains(found.AuthMethods, "client_secret_basic") {
		config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	if !slices.Contains(config.Scopes, oidc.ScopeOpenID) {
		config.Scopes = append([]string{oidc.ScopeOpenID}, config.Scopes...)
	}
	return config, found, nil
}

// A Return is what the browser brings back from a provider.
type Return struct {
	// Token is that of the cookie.
	Token string
	// State, Code, Issuer (iss) and Error are those of the address.
	State, Code, Issuer, Error string
}

// FinishSignIn ends a sign-in at a provider with a session, and says where to
// go. Errors are *SignInError, or the store's.
func (s *Service) FinishSignIn(ctx context.Context, in Return) (session *Session, to string, err error) {
	c, v, err := s.spendReturn(ctx, in)
	if err != nil {
		return nil, "", problemOf(err)
	}
	said, refresh, err := s.askProvider(ctx, v, c, in)
	if err != nil {
		return nil, "", problemOf(err)
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, "", err
	}
	if err := s.recordClaims(ctx, said, now, refresh); err != nil {
		return nil, "", problemOf(err)
	}
	r, err := s.person(ctx, said.record.Tenant, said.record.ID)
	if err != nil {
		return nil, "", problemOf(err)
	}
	s.cache.drop() // roles may be others now
	session, err = s.begin(ctx, r, signIn{how: v.host, client: c.Label, at: said.authTime, unproven: said.authTime.IsZero()}, Change{})
	return session, c.Begun.To, problemOf(err)
}

// spendReturn makes sure that this browser began it, and that nobody ends it
// again.
func (s *Service) spendReturn(ctx context.Context, in Return) (*Credential, *verifier, error) {
	if formOf(in.Token) != formBrowser {
		return nil, nil, problem(ProblemOver, errors.New("no cookie of a sign-in"))
	}
	if subtle.ConstantTimeCompare([]byte(in.State), []byte(derived("state", in.Token))) != 1 {
		return nil, nil, problem(ProblemOver, errors.New("the state is another one"))
	}
	c, now, err := s.store.Credential(ctx, hashToken(in.Token))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, nil, err
	}
	if err != nil || c.Kind != KindBrowser || c.Begun == nil || !c.live(now) {
		return nil, nil, problem(ProblemOver, errors.New("unknown, over or used"))
	}
	c.UsedAt = now
	if err := s.store.SaveIdentity(ctx, Change{Credentials: []*Credential{c}}); errors.Is(err, ErrConflict) {
		return nil, nil, problem(ProblemOver, errors.New("used at the same time"))
	} else if err != nil {
		return nil, nil, err
	}
	v := s.issuers[c.Begun.Issuer]
	switch {
	case v == nil || v.Flow == nil:
		return nil, nil, problem(ProblemOver, errors.New("its provider is not configured any more"))
	case in.Issuer != "" && in.Issuer != v.Issuer.Issuer && v.Issuer.Issuer != GitHubIssuer:
		return nil, nil, problem(ProblemProvider, errors.New("the answer is of another issuer"))
	case in.Error == "access_denied":
		return nil, nil, problem(ProblemDenied, errors.New(in.Error))
	case in.Error == "temporarily_unavailable" || in.Error == "server_error":
		return nil, nil, problem(ProblemUnavailable, errors.New(in.Error))
	case in.Error != "" || in.Code == "":
		return nil, nil, problem(ProblemProvider, errors.New("the provider answered "+strconv.Quote(in.Error)))
	}
	return c, v, nil
}

// askProvider exchanges the code and learns who it is.
func (s *Service) askProvider(ctx context.Context, v *verifier, c *Credential, in Return) (*statement, []byte, error) {
	config, found, err := s.oauth(ctx, v)
	if err != nil {
		return nil, nil, err
	}
	if found.NamesItself && in.Issuer == "" {
		return nil, nil, problem(ProblemProvider, errors.New("the answer does not say of which issuer it is"))
	}
	client := context.WithValue(ctx, oauth2.HTTPClient, v.client)
	token, err := config.Exchange(client, in.Code, oauth2.VerifierOption(derived("verifier", in.Token)))
	if err != nil {
		return nil, nil, exchangeError(err)
	}
	if s.github != nil && v == s.github.verifier {
		said, err := s.github.who(ctx, token.AccessToken)
		if err == nil && c.Begun.Fresh {
			err = problem(ProblemStale, errors.New("GitHub does not say when somebody signed in"))
		}
		return said, nil, err
	}
	said, err := v.who(ctx, token, derived("nonce", in.Token))
	if err != nil {
		return nil, nil, err
	}
	now := v.now()
	if said.authTime.After(now.Add(v.Skew)) {
		return nil, nil, problem(ProblemProvider, errors.New("auth_time is not yet"))
	}
	// A sign-in that was asked for anew happened after it was asked for.
	if c.Begun.Fresh && said.authTime.Before(c.CreatedAt.Add(-v.Skew)) {
		return nil, nil, problem(ProblemStale, errors.New("auth_time is missing, or before this sign-in began"))
	}
	refresh, err := s.sealRefresh(said.record, v, token.RefreshToken)
	return said, refresh, err
}

func exchangeError(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < 500 {
		return problem(ProblemProvider, errors.New("the code was refused: "+refused.ErrorCode))
	}
	return problem(ProblemUnavailable, errors.New("the code could not be exchanged"))
}

// who verifies the ID token of an answer, and asks for what is not in it. An
// empty nonce is not compared: a refreshed token has none.
func (v *verifier) who(ctx context.Context, token *oauth2.Token, nonce string) (*statement, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, problem(ProblemProvider, errors.New("an answer without an ID token"))
	}
	claims, _, err := v.verify(ctx, raw, v.Flow.ClientID)
	if err != nil {
		return nil, err
	}
	if got, _ := claims["nonce"].(string); nonce != "" && subtle.ConstantTimeCompare([]byte(got), []byte(nonce)) != 1 {
		return nil, problem(ProblemProvider, errors.New("the nonce is another one"))
	}
	audience, _ := claims.GetAudience()
	if azp, there := claims["azp"]; there && azp != v.Flow.ClientID || !there && len(audience) > 1 {
		return nil, problem(ProblemProvider, errors.New("the ID token is for another client"))
	}
	if v.lacks(claims) {
		if err := v.askUserInfo(ctx, token, claims); err != nil {
			return nil, err
		}
	}
	return v.state(claims)
}

// lacks tells whether a claim is missing that the configuration uses.
func (v *verifier) lacks(claims jwt.MapClaims) bool {
	names := []string{"email", "name"}
	if v.Roles.From != "" {
		names = append(names, v.Roles.From)
	}
	if v.Tenant != "" {
		names = append(names, v.Tenant)
	}
	for _, theirs := range v.Claims {
		names = append(names, theirs)
	}
	return slices.ContainsFunc(names, func(name string) bool { _, there := claims[name]; return !there })
}

// askUserInfo adds claims that the ID token does not have; those it has stay.
func (v *verifier) askUserInfo(ctx context.Context, token *oauth2.Token, claims jwt.MapClaims) error {
	provider, _, err := v.discover(ctx)
	if err != nil || provider.UserInfoEndpoint() == "" {
		return err
	}
	info, err := provider.UserInfo(oidc.ClientContext(ctx, v.client), oauth2.StaticTokenSource(token))
	if err != nil {
		return problem(ProblemUnavailable, err)
	}
	if info.Subject == "" || info.Subject != claims["sub"] {
		return problem(ProblemProvider, errors.New("userinfo is of somebody else"))
	}
	var raw json.RawMessage
	if err := info.Claims(&raw); err != nil {
		return problem(ProblemProvider, err)
	}
	more := jwt.MapClaims{}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	if err := decoder.Decode(&more); err != nil {
		return problem(ProblemProvider, err)
	}
	if claims["email"] != nil && claims["email"] != more["email"] {
		delete(more, "email_verified") // it is about another address
	}
	for name, value := range more {
		if _, there := claims[name]; !there && name != "auth_time" {
			claims[name] = value
		}
	}
	return nil
}
