package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy/identity"
)

// CallbackPath is where a provider sends the browser back to, behind the public
// address of this server.
const CallbackPath = "/auth/callback"

// problemNoRoles is what the sign-in page is told of somebody who signed in and
// may nothing; the other problems are identity's.
const problemNoRoles = "noroles"

// maxReturned bounds each parameter that a browser brings back.
const maxReturned = 4096

// serveProviders tells the sign-in page where people may sign in.
func (g *Gateway) serveProviders(w http.ResponseWriter, r *http.Request) {
	type provider struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	providers := []provider{}
	for _, p := range g.cfg.Identity.Providers() {
		providers = append(providers, provider{ID: p.ID, Name: p.Name})
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	// An error here is a client that went away.
	json.NewEncoder(w).Encode(map[string]any{"providers": providers, "password": g.cfg.Identity.LocalUsers()})
}

type providerBody struct {
	Issuer, To string
	Fresh      bool
}

// startProvider begins a sign-in: the page goes to the address it is answered.
// (A form would be held back by the page's own policy, which lets forms go
// nowhere else.)
func (g *Gateway) startProvider(w http.ResponseWriter, r *http.Request, in *providerBody) (any, error) {
	begun, err := g.cfg.Identity.BeginSignIn(r.Context(), identity.Start{Issuer: in.Issuer, To: in.To, Fresh: in.Fresh, Address: address(r), Client: clientName(r)})
	if err != nil {
		return nil, err
	}
	http.SetCookie(w, g.cfg.Identity.SignInCookie(begun.Token))
	return map[string]string{"url": begun.URL}, nil
}

// finishProvider takes the browser's return from a provider. It is a GET that
// makes a session: what keeps others from sending a browser here is that the
// state belongs to the cookie, and works once.
func (g *Gateway) finishProvider(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	query := r.URL.Query()
	one := func(name string) string {
		if values := query[name]; len(values) == 1 && len(values[0]) <= maxReturned {
			return values[0]
		}
		return ""
	}
	in := identity.Return{State: one("state"), Code: one("code"), Issuer: one("iss"), Error: one("error")}
	if cookie, err := r.Cookie(g.cfg.Identity.SignInCookieName()); err == nil {
		in.Token = cookie.Value
	}
	http.SetCookie(w, g.cfg.Identity.SignInCookie(""))
	session, to, err := g.cfg.Identity.FinishSignIn(r.Context(), in)
	if err != nil {
		g.signInFailed(w, r, err)
		return
	}
	// The session that the browser had is over: it has another one now.
	if old := g.cfg.Identity.FromRequest(r); old.ByCookie() {
		if err := g.cfg.Identity.SignOut(r.Context(), old); err != nil {
			g.cfg.Log.WarnContext(r.Context(), "ending a session that another one replaces", "error", err)
		}
	}
	http.SetCookie(w, g.cfg.Identity.Cookie(session.Token))
	if !slices.ContainsFunc(g.Snapshot().Policy.Expand(session.Principal), func(role string) bool { return role != "*" }) {
		to = "/sign-in?problem=" + problemNoRoles + "&to=" + url.QueryEscape(to)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// signInFailed sends the browser to the sign-in page, which says in words what
// the problem is; what the provider said is for the log.
func (g *Gateway) signInFailed(w http.ResponseWriter, r *http.Request, err error) {
	var known *identity.SignInError
	p := identity.ProblemUnavailable
	if errors.As(err, &known) {
		p = known.Problem
		if g.cfg.Audit != nil && p != identity.ProblemUnavailable {
			g.refusedEvent(kindSignInFailed, "unknown", r, connectors.CodeUnauthenticated)
		}
		g.cfg.Log.InfoContext(r.Context(), "a sign-in at a provider came to nothing", "problem", string(p), "cause", known.Cause)
	} else {
		g.cfg.Log.ErrorContext(r.Context(), "sign-in failed", "error", err, "cause", errors.Unwrap(err))
	}
	http.Redirect(w, r, "/sign-in?problem="+url.QueryEscape(string(p)), http.StatusSeeOther)
}
