package gateway

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// serveGraphQL picks the transport: WebSocket, SSE, or one answer to a POST or
// GET, which has a transport of its own so that data is written as it is.
func (g *Gateway) serveGraphQL(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin != "" && !g.cors(w, r, origin) {
		return
	}
	if r.Header.Get("Upgrade") != "" {
		g.serveSocket(w, r)
		return
	}
	media := accepts(r)
	c, errs := g.asked(w, r)
	if errs != nil {
		g.answer(w, media, &Response{Errors: errs, TraceID: c.traceID})
		return
	}
	var batch []*Request
	switch r.Method {
	case http.MethodPost:
		c.req, batch, errs = readPost(w, r, &c.state.limits)
		if batch != nil {
			g.serveBatch(w, r, c, batch)
			return
		}
		if errs == nil && wantsStream(r) {
			g.serveStream(w, r, c.principal, c.req)
			return
		}
	case http.MethodGet:
		readAll(w)
		c.req, errs = readGet(r, c.state.limits.Body)
		c.readOnly = true
	default:
		w.Header().Set("Allow", "GET, POST")
		writeText(w, http.StatusMethodNotAllowed, "method not allowed\n")
		return
	}
	if errs != nil {
		g.answer(w, media, &Response{Errors: errs, TraceID: c.traceID})
		return
	}
	g.answer(w, media, g.run(r.Context(), c))
}

// asked says who asks, on which snapshot, with which limits. The call is there
// also where it is refused: it has the trace.
func (g *Gateway) asked(w http.ResponseWriter, r *http.Request) (*call, []Error) {
	c := &call{traceID: traceOf(r)}
	cred := g.cfg.Identity.FromRequest(r)
	p, err := g.cfg.Identity.Authenticate(r.Context(), cred)
	if err != nil {
		if connectors.CodeOf(err) == connectors.CodeUnauthenticated {
			w.Header().Set("WWW-Authenticate", `Bearer realm="countersign"`)
		}
		g.credentialRefused(r, err)
		return c, []Error{fromError(err, nil)}
	}
	if cred.ByCookie() && r.Header.Get(csrfHeader) == "" {
		return c, refuse(connectors.CodeCSRFRequired, "the header %s is missing: a browser's cookie alone is not enough", csrfHeader)
	}
	c.principal, c.snap = p, g.Snapshot()
	if c.state, err = g.state(c.snap, p); err != nil {
		return c, []Error{fromError(err, nil)}
	}
	return c, nil
}

func (g *Gateway) answer(w http.ResponseWriter, media string, resp *Response) {
	h := w.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	resp.write(w, media)
}

var (
	noStore = []string{"private, no-store"}
	noSniff = []string{"nosniff"}
)

// cors answers preflights and marks answers for pages elsewhere; false: the
// request is answered.
func (g *Gateway) cors(w http.ResponseWriter, r *http.Request, origin string) bool {
	h := w.Header()
	h.Add("Vary", "Origin")
	if g.cfg.Origins[origin] {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "Retry-After")
	}
	if r.Method != http.MethodOptions {
		return true
	}
	if g.cfg.Origins[origin] {
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, "+csrfHeader+", Traceparent")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
	return false
}

// traceOf is the id of the caller's trace where it sent one, else a new one. It
// is no secret: it need not be unpredictable, only unique.
func traceOf(r *http.Request) string {
	if header := r.Header.Get("Traceparent"); header != "" {
		if parts := strings.Split(header, "-"); len(parts) == 4 && len(parts[1]) == 32 && isHex(parts[1]) {
			return parts[1]
		}
	}
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	var text [32]byte
	hex.Encode(text[:], id[:])
	return string(text[:])
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}
