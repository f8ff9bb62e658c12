package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

// The token endpoint speaks OAuth 2.0 (RFC 6749) with two grants: an agent's
// key and a person's token become an access token of that agent for that person
// (RFC 8693), and a key alone one of its own. Errors are those of the RFCs,
// with our code beside them. Whom somebody acts for is said by a verified token
// and nothing else; no header is looked at.

const (
	tokenPath    = "/oauth/token"
	metadataPath = "/.well-known/oauth-authorization-server"

	grantExchange    = "urn:ietf:params:oauth:grant-type:token-exchange"
	grantCredentials = "client_credentials"

	typeAccess = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT    = "urn:ietf:params:oauth:token-type:jwt"

	// maxTokenBody holds two tokens of the longest kind.
	maxTokenBody = 64 << 10
)

// The errors that the endpoint itself makes.
const (
	oauthInvalidRequest = "invalid_request"
	oauthInvalidScope   = "invalid_scope"
	oauthInvalidTarget  = "invalid_target"
	oauthGrantType      = "unsupported_grant_type"
)

func (g *Gateway) oauthRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST "+tokenPath, g.serveToken)
	mux.HandleFunc("GET "+metadataPath, g.serveMetadata)
}

// serveMetadata tells clients where and how (RFC 8414).
func (g *Gateway) serveMetadata(w http.ResponseWriter, r *http.Request) {
	base := strings.TrimSuffix(g.publicURL(r), "/")
	w.Header().Set("Content-Type", mediaJSON)
	// An error here is a client that went away.
	json.NewEncoder(w).Encode(map[string]any{
		"issuer":                                base,
		"token_endpoint":                        base + tokenPath,
		"grant_types_supported":                 []string{grantExchange, grantCredentials},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"response_types_supported":              []string{}, // there is no authorization endpoint
		"service_documentation":                 base + "/",
	})
}

// An oauthError is an answer of RFC 6749, section 5.2.
type oauthError struct {
	status int
	basic  bool            // the client sent a key in the header: it is told how
	Word   string          `json:"error"`
	Say    string          `json:"error_description"`
	Code   connectors.Code `json:"code,omitempty"` // ours
	retry  int             // seconds
}

func oauthBad(word, say string) *oauthError {
	return &oauthError{status: http.StatusBadRequest, Word: word, Say: say, Code: connectors.CodeBadInput}
}

// An oauthActor is the chain of an answer: who acts, and for whom that acted.
type oauthActor struct {
	Subject string      `json:"sub"`
	Actor   *oauthActor `json:"act,omitempty"`
}

// actorsOf is a chain in the order of RFC 8693: the person is the subject, and
// whoever acts now stands outermost.
func actorsOf(p *policy.Principal) (subject string, act *oauthActor) {
	chain := p.Chain()
	if len(chain) == 1 {
		return p.ID, nil
	}
	for _, q := range slices.Backward(chain[:len(chain)-1]) {
		act = &oauthActor{Subject: q.ID, Actor: act}
	}
	return chain[len(chain)-1].ID, act
}

func (g *Gateway) serveToken(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Content-Type", mediaJSON)
	h["X-Content-Type-Options"] = noSniff
	access, bad := g.exchange(w, r)
	if bad == nil {
		subject, act := actorsOf(access.Principal)
		out := map[string]any{"access_token": access.Token, "token_type": "Bearer", "expires_in": int(access.Lives.Seconds()),
			"issued_token_type": typeAccess, "sub": subject}
		if act != nil {
			out["act"] = act
		}
		json.NewEncoder(w).Encode(out) // an error here is a client that went away
		return
	}
	if bad.basic {
		h.Set("WWW-Authenticate", `Basic realm="countersign"`)
	}
	if bad.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(bad.retry))
	}
	w.WriteHeader(bad.status)
	json.NewEncoder(w).Encode(bad)
}

func (g *Gateway) exchange(w http.ResponseWriter, r *http.Request) (*identity.Access, *oauthError) {
	if err := g.sameSite(r); err != nil {
		return nil, &oauthError{status: http.StatusForbidden, Word: oauthInvalidRequest, Say: connectors.AsError(err).Message, Code: connectors.CodeForbidden}
	}
	form, bad := tokenForm(w, r)
	if bad != nil {
		return nil, bad
	}
	in := identity.Exchange{Address: address(r)}
	basic, bad := clientOf(r, form, &in)
	if bad == nil {
		bad = g.grant(r, form, &in)
	}
	if bad != nil {
		return nil, bad
	}
	access, err := g.cfg.Identity.Exchange(r.Context(), in)
	if err != nil {
		return nil, g.oauthRefused(r, err, basic, form.Has("actor_token"))
	}
	return access, nil
}

// tokenForm reads the body. A parameter that stands there twice says two
// things.
func tokenForm(w http.ResponseWriter, r *http.Request) (url.Values, *oauthError) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, oauthBad(oauthInvalidRequest, "the request's Content-Type must be application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return nil, oauthBad(oauthInvalidRequest, "parameters stand in the body, not in the address")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTokenBody))
	if err != nil || whole("the body", body) != nil {
		return nil, oauthBad(oauthInvalidRequest, "the body cannot be read, or is too long")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, oauthBad(oauthInvalidRequest, "the body is no form")
	}
	for name, values := range form {
		if len(values) > 1 && name != "audience" && name != "resource" {
			return nil, oauthBad(oauthInvalidRequest, "a parameter stands there twice")
		}
	}
	return form, nil
}

// clientOf finds the actor's key: the client's secret, in the header or the
// body, or the actor's token. basic: it was in the header.
func clientOf(r *http.Request, form url.Values, in *identity.Exchange) (basic bool, bad *oauthError) {
	in.Client, in.Actor = form.Get("client_id"), form.Get("client_secret")
	ways := 0
	if in.Actor != "" {
		ways++
	}
	if r.Header.Get("Authorization") != "" {
		user, secret, ok := r.BasicAuth()
		name, err := url.QueryUnescape(user)
		secret, failed := url.QueryUnescape(secret)
		if !ok || err != nil || failed != nil || in.Client != "" && in.Client != name {
			return true, &oauthError{status: http.StatusUnauthorized, basic: true, Word: identity.RefusedClient, Code: connectors.CodeUnauthenticated,
				Say: "send the agent's name and its API key by HTTP Basic, as client_id and client_secret, or the key as actor_token"}
		}
		in.Client, in.Actor, basic, ways = name, secret, true, ways+1
	}
	if token := form.Get("actor_token"); token != "" {
		if kind := form.Get("actor_token_type"); kind != typeAccess {
			return basic, oauthBad(oauthInvalidRequest, "actor_token_type must be "+typeAccess)
		}
		if in.Actor != "" && in.Actor != token {
			return basic, oauthBad(oauthInvalidRequest, "actor_token is not the client's own key")
		}
		in.Actor, ways = token, max(ways, 1)
	} else if form.Has("actor_token_type") {
		return basic, oauthBad(oauthInvalidRequest, "actor_token_type without actor_token")
	}
	switch ways {
	case 1:
		return basic, nil
	case 0:
		return basic, &oauthError{status: http.StatusUnauthorized, basic: true, Word: identity.RefusedClient, Code: connectors.CodeUnauthenticated,
			Say: "the agent's API key is missing: HTTP Basic, client_secret or actor_token"}
	}
	return basic, oauthBad(oauthInvalidRequest, "the client's key stands there twice")
}

// grant reads what is asked for.
func (g *Gateway) grant(r *http.Request, form url.Values, in *identity.Exchange) *oauthError {
	if form.Get("scope") != "" {
		return oauthBad(oauthInvalidScope, "there are no scopes: the policy says what an agent may, and what its person may")
	}
	own := strings.TrimSuffix(g.publicURL(r), "/")
	for _, name := range []string{"audience", "resource"} {
		for _, target := range form[name] {
			if t := strings.TrimSuffix(target, "/"); t != own && !strings.HasPrefix(t, own+"/") {
				return oauthBad(oauthInvalidTarget, "the token is for "+own+" and nobody else")
			}
		}
	}
	if form.Has("act") || form.Has("may_act") {
		return oauthBad(oauthInvalidRequest, "who acts is said by the key and the subject's token, not by a parameter")
	}
	switch form.Get("grant_type") {
	case grantCredentials:
		if form.Has("subject_token") {
			return oauthBad(oauthInvalidRequest, "subject_token belongs to the grant "+grantExchange)
		}
		return nil
	case grantExchange:
	case "":
		return oauthBad(oauthInvalidRequest, "grant_type is missing")
	default:
		return oauthBad(oauthGrantType, "grant_type must be "+grantExchange+" or "+grantCredentials)
	}
	in.ForSubject, in.Subject = true, form.Get("subject_token")
	if in.Subject == "" {
		return oauthBad(oauthInvalidRequest, "subject_token is missing")
	}
	if kind := form.Get("subject_token_type"); kind != typeAccess && kind != typeJWT {
		return oauthBad(oauthInvalidRequest, "subject_token_type must be "+typeAccess+" or "+typeJWT)
	}
	if kind := form.Get("requested_token_type"); kind != "" && kind != typeAccess {
		return oauthBad(oauthInvalidRequest, "requested_token_type must be "+typeAccess)
	}
	return nil
}

// oauthRefused puts a refusal into the words of the RFCs. What is wrong with an
// actor's token is invalid_request there, as with a subject's.
func (g *Gateway) oauthRefused(r *http.Request, err error, basic, actorToken bool) *oauthError {
	e := connectors.AsError(err)
	out := &oauthError{status: http.StatusBadRequest, Say: e.Message, Code: e.Code}
	var refusal *identity.Refusal
	switch {
	case errors.As(err, &refusal):
		out.Word = refusal.Why
		if refusal.Why == identity.RefusedClient && !actorToken {
			out.status, out.basic = http.StatusUnauthorized, basic
		} else if refusal.Why == identity.RefusedClient {
			out.Word = oauthInvalidRequest
		}
		g.credentialRefused(r, e)
	case e.Code == connectors.CodeRateLimited:
		out.status, out.Word = http.StatusTooManyRequests, "slow_down"
		out.retry = max(1, int(e.RetryAfter.Seconds()))
	case e.Code == connectors.CodeUpstreamUnavailable:
		out.status, out.Word = http.StatusServiceUnavailable, "temporarily_unavailable"
	default:
		out.status, out.Word = http.StatusInternalServerError, "server_error"
		out.Say = "something went wrong inside; the log has it"
		g.cfg.Log.ErrorContext(r.Context(), "a token exchange failed", "error", err, "cause", errors.Unwrap(e))
	}
	return out
}
