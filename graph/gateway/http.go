package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql/handler/transport"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
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
	traceID := traceOf(r)
	cred := g.cfg.Identity.FromRequest(r)
	p, err := g.cfg.Identity.Authenticate(r.Context(), cred)
	if err != nil {
		if connectors.CodeOf(err) == connectors.CodeUnauthenticated {
			w.Header().Set("WWW-Authenticate", `Bearer realm="countersign"`)
		}
		g.answer(w, media, &Response{Errors: []Error{fromError(err, nil)}, TraceID: traceID})
		return
	}
	if cred.ByCookie() && r.Header.Get(csrfHeader) == "" {
		g.answer(w, media, &Response{TraceID: traceID, Errors: refuse(connectors.CodeCSRFRequired, "the header %s is missing: a browser's cookie alone is not enough", csrfHeader)})
		return
	}
	snap := g.Snapshot()
	st, err := g.state(snap, p)
	if err != nil {
		g.answer(w, media, &Response{Errors: []Error{fromError(err, nil)}, TraceID: traceID})
		return
	}
	var req *Request
	var errs []Error
	switch r.Method {
	case http.MethodPost:
		if req, errs = readPost(r, st.limits.Body); errs == nil && wantsEvents(r) {
			g.serveEvents(w, r, p, req)
			return
		}
	case http.MethodGet:
		req, errs = readGet(r, st.limits.Body)
	default:
		w.Header().Set("Allow", "GET, POST")
		writeText(w, http.StatusMethodNotAllowed, "method not allowed\n")
		return
	}
	if errs != nil {
		g.answer(w, media, &Response{Errors: errs, TraceID: traceID})
		return
	}
	g.answer(w, media, g.run(r.Context(), &call{principal: p, snap: snap, state: st, traceID: traceID, req: req, readOnly: r.Method == http.MethodGet}))
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

func wantsEvents(r *http.Request) bool {
	accept := r.Header.Get("Accept")
	if accept == mediaJSON || accept == "" {
		return false // the common case, without parsing
	}
	for _, part := range strings.Split(accept, ",") {
		if media, _, err := mime.ParseMediaType(part); err == nil && (media == mediaEvents || media == mediaMixed) {
			return true
		}
	}
	return false
}

// serveEvents hands a subscription over SSE or multipart to the library's
// transports. A cookie needs an allowed origin as over WebSocket.
func (g *Gateway) serveEvents(w http.ResponseWriter, r *http.Request, p *policy.Principal, req *Request) {
	cred := g.cfg.Identity.FromRequest(r)
	if origin := r.Header.Get("Origin"); cred.ByCookie() && !g.allowedOrigin(r, origin) {
		g.answer(w, mediaJSON, &Response{TraceID: traceOf(r), Errors: refuse(connectors.CodeForbidden, "a subscription by cookie needs an allowed Origin")})
		return
	}
	// The library decodes a body of its own, that is known to be good: it would
	// log a bad one.
	body, err := json.Marshal(req)
	if err != nil {
		g.answer(w, mediaJSON, &Response{TraceID: traceOf(r), Errors: []Error{fromError(err, nil)}})
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	exec := &executor{g: g, principal: p, cred: cred, traceID: traceOf(r)}
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	defer context.AfterFunc(g.closing, cancel)()
	watch.Go(func() {
		// The stream ends with its credential.
		defer cancel()
		exec.watchCredential(ctx)
	})
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if strings.Contains(r.Header.Get("Accept"), mediaMixed) {
		transport.MultipartMixed{}.Do(w, r, exec)
		return
	}
	transport.SSE{KeepAlivePingInterval: pingEvery}.Do(w, r, exec)
}
