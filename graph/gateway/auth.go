package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy/identity"
)

// The endpoints below /auth/ make and end sessions. They take JSON, which a
// foreign page cannot send without being asked first, from an allowed origin.

const maxAuthBody = 16 << 10

func (g *Gateway) authRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /auth/sign-in", authEndpoint(g, g.signIn))
	mux.HandleFunc("GET /auth/providers", g.serveProviders)
	mux.HandleFunc("POST /auth/provider", authEndpoint(g, g.startProvider))
	mux.HandleFunc("GET "+CallbackPath, g.finishProvider)
	mux.HandleFunc("POST /auth/link", authEndpoint(g, g.redeemLink))
	mux.HandleFunc("POST /auth/sign-out", authEndpoint(g, g.signOut))
	mux.HandleFunc("POST /auth/device", authEndpoint(g, g.startDevice))
	mux.HandleFunc("POST /auth/device/token", authEndpoint(g, g.pollDevice))
	mux.HandleFunc("POST /auth/device/approve", authEndpoint(g, g.approveDevice))
}

// authEndpoint decodes one JSON object, calls fn and writes its answer.
func authEndpoint[T any](g *Gateway, fn func(w http.ResponseWriter, r *http.Request, in *T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		in := new(T)
		err := g.sameSite(r)
		if err == nil {
			err = decodeAuth(w, r, in)
		}
		var out any
		if err == nil {
			out, err = fn(w, r, in)
		}
		if err != nil {
			g.signInRefused(r, in, err)
			g.writeAuthError(w, r, err)
			return
		}
		if out == nil {
			out = struct{}{}
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		// An error here is a client that went away.
		json.NewEncoder(w).Encode(out)
	}
}

func decodeAuth(w http.ResponseWriter, r *http.Request, in any) error {
	if r.Header.Get("Content-Type") != mediaJSON && r.Header.Get("Content-Type") != mediaJSON+"; charset=utf-8" {
		return connectors.Errorf(connectors.CodeBadInput, "the request's Content-Type must be application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAuthBody))
	if err != nil || whole("the body", body) != nil || json.Unmarshal(body, in) != nil {
		return connectors.Errorf(connectors.CodeBadInput, "the body must be a JSON object")
	}
	return nil
}

// sameSite refuses a request that a page elsewhere made the browser send.
func (g *Gateway) sameSite(r *http.Request) error {
	if origin := r.Header.Get("Origin"); origin != "" && !g.allowedOrigin(r, origin) {
		return connectors.Errorf(connectors.CodeForbidden, "this origin may not do that")
	}
	return nil
}

// allowedOrigin tells whether a page of that origin may use a cookie here: our
// own pages, and those the configuration names.
func (g *Gateway) allowedOrigin(r *http.Request, origin string) bool {
	if g.cfg.Origins[origin] {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && (u.Host == r.Host || g.cfg.PublicHost != "" && u.Host == g.cfg.PublicHost)
}

func (g *Gateway) writeAuthError(w http.ResponseWriter, r *http.Request, err error) {
	e := connectors.AsError(err)
	status := http.StatusBadRequest
	switch e.Code {
	case connectors.CodeUnauthenticated, connectors.CodeSignInRequired:
		status = http.StatusUnauthorized
	case connectors.CodeForbidden, connectors.CodeSuspended:
		status = http.StatusForbidden
	case connectors.CodeRateLimited:
		status = http.StatusTooManyRequests
	case connectors.CodeNotFound:
		status = http.StatusNotFound
	case connectors.CodeUpstreamUnavailable:
		status = http.StatusServiceUnavailable
	case connectors.CodeInternal:
		status = http.StatusInternalServerError
		g.cfg.Log.ErrorContext(r.Context(), "sign-in failed", "error", err, "cause", errors.Unwrap(err))
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": e.Code, "message": e.Message}})
}

// address is the client's, or what a trusted proxy says it is: behindProxy put
// it there.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

const maxAgentName = 120

// clientName is what a session is listed as.
func clientName(r *http.Request) string {
	name := r.UserAgent()
	if len(name) > maxAgentName {
		name = name[:maxAgentName]
	}
	return name
}

type signInBody struct{ Email, Password string }

func (g *Gateway) signIn(w http.ResponseWriter, r *http.Request, in *signInBody) (any, error) {
	session, err := g.cfg.Identity.SignIn(r.Context(), identity.Attempt{User: in.Email, Password: in.Password, Address: address(r), Client: clientName(r)})
	return g.signedIn(w, session, err)
}

func (g *Gateway) signedIn(w http.ResponseWriter, session *identity.Session, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	http.SetCookie(w, g.cfg.Identity.Cookie(session.Token))
	return map[string]string{"name": session.Principal.Name}, nil
}

type linkBody struct{ Token, Email, Name, Password string }

func (g *Gateway) redeemLink(w http.ResponseWriter, r *http.Request, in *linkBody) (any, error) {
	session, err := g.cfg.Identity.Redeem(r.Context(), identity.Redemption{Token: in.Token, User: in.Email, Name: in.Name, Password: in.Password, Client: clientName(r)})
	return g.signedIn(w, session, err)
}

func (g *Gateway) signOut(w http.ResponseWriter, r *http.Request, _ *struct{}) (any, error) {
	if err := g.cfg.Identity.SignOut(r.Context(), g.cfg.Identity.FromRequest(r)); err != nil {
		return nil, err
	}
	http.SetCookie(w, g.cfg.Identity.Cookie(""))
	return nil, nil
}

func (g *Gateway) startDevice(_ http.ResponseWriter, r *http.Request, _ *struct{}) (any, error) {
	d, err := g.cfg.Identity.StartDevice(r.Context(), "", address(r), clientName(r))
	if err != nil {
		return nil, err
	}
	return map[string]any{"deviceCode": d.DeviceCode, "userCode": d.UserCode, "verificationUri": g.publicURL(r) + "/device",
		"expiresIn": int(time.Until(d.ExpiresAt).Seconds()), "interval": int(d.Interval.Seconds())}, nil
}

func (g *Gateway) publicURL(r *http.Request) string {
	if g.cfg.PublicURL != "" {
		return g.cfg.PublicURL
	}
	if g.encrypted(r) {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

type deviceBody struct{ DeviceCode, UserCode string }

func (g *Gateway) pollDevice(_ http.ResponseWriter, r *http.Request, in *deviceBody) (any, error) {
	session, err := g.cfg.Identity.PollDevice(r.Context(), in.DeviceCode)
	switch {
	case errors.Is(err, identity.ErrAuthorizationPending):
		return map[string]string{"status": "pending"}, nil
	case errors.Is(err, identity.ErrAccessDenied), errors.Is(err, identity.ErrExpiredToken):
		return map[string]string{"status": "ended"}, nil
	case err != nil:
		return nil, err
	}
	return map[string]string{"status": "done", "token": session.Token, "name": session.Principal.Name}, nil
}

func (g *Gateway) approveDevice(_ http.ResponseWriter, r *http.Request, in *deviceBody) (any, error) {
	cred := g.cfg.Identity.FromRequest(r)
	if cred.ByCookie() && r.Header.Get(csrfHeader) == "" {
		return nil, connectors.Errorf(connectors.CodeCSRFRequired, "the header %s is missing", csrfHeader)
	}
	p, err := g.cfg.Identity.Authenticate(r.Context(), cred)
	if err != nil {
		return nil, err
	}
	return nil, g.cfg.Identity.DecideDevice(r.Context(), p, in.UserCode, true)
}
