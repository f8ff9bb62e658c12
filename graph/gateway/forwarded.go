package gateway

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Whoever sends a request can write X-Forwarded-For and X-Forwarded-Proto. They
// are believed where the other end of the connection is a proxy that the
// configuration names, and then only as far as proxies that it names wrote them.

const (
	forwardedFor   = "X-Forwarded-For"
	forwardedProto = "X-Forwarded-Proto"
)

// behindProxy is the request as the proxy got it: RemoteAddr is the caller's,
// and X-Forwarded-Proto stays only where it is believed.
func (g *Gateway) behindProxy(r *http.Request) *http.Request {
	peer, ok := peerOf(r.RemoteAddr)
	if !ok || !g.trusts(peer) {
		return r
	}
	client := peer
	// Each proxy appends whom it heard from; the first from the right that is no
	// proxy of ours is the caller. What is further left it may have made up.
	for _, list := range backwards(r.Header.Values(forwardedFor)) {
		a, ok := peerOf(list)
		if !ok {
			break
		}
		if client = a; !g.trusts(a) {
			break
		}
	}
	out := r.WithContext(context.WithValue(r.Context(), believed{}, true))
	out.RemoteAddr = netip.AddrPortFrom(client, 0).String()
	return out
}

// believed marks the context of a request that came from a trusted proxy.
type believed struct{}

func (g *Gateway) trusts(a netip.Addr) bool {
	for _, n := range g.cfg.Proxies {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// peerOf reads an address, with or without a port.
func peerOf(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return a.Unmap(), err == nil
}

// backwards are the entries of a header that lists, the last first.
func backwards(values []string) []string {
	all := strings.Split(strings.Join(values, ","), ",")
	out := make([]string, 0, len(all))
	for i := len(all) - 1; i >= 0; i-- {
		out = append(out, all[i])
	}
	return out
}

// encrypted tells whether the caller's connection is, as far as is known here.
func (g *Gateway) encrypted(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	return len(g.cfg.Proxies) > 0 && r.Context().Value(believed{}) != nil && strings.EqualFold(r.Header.Get(forwardedProto), "https")
}

var (
	noReferrer = []string{"no-referrer"}
	noFrames   = []string{"DENY"}
	sameOrigin = []string{"same-origin"}
	onlyTLS    = []string{"max-age=31536000"}
)

// secure sets the headers that every answer has. Pages have a content policy of
// their own beside them.
func (g *Gateway) secure(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["X-Content-Type-Options"] = noSniff
	h["Referrer-Policy"] = noReferrer
	h["X-Frame-Options"] = noFrames
	h["Cross-Origin-Resource-Policy"] = sameOrigin
	if g.encrypted(r) {
		h["Strict-Transport-Security"] = onlyTLS
	}
}
