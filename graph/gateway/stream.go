package gateway

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A framing is how results stand in the body of one answer.
type framing struct {
	media              string
	begin, before, end string
	after, ping        string
	// payload makes a result of a GraphQL response.
	payload func(resp []byte) []byte
}

// framings by what a client accepts. A boundary is written as soon as what it
// ends is, so that the client need not wait for the next part to see this one.
var framings = map[string]*framing{
	mediaEvents: {media: mediaEvents, begin: ":\n\n", before: "event: next\ndata: ", after: "\n\n", end: "event: complete\n\n", ping: ": ping\n\n",
		payload: func(resp []byte) []byte { return resp }},
	mediaMixed: {media: mediaMixed + `; boundary="graphql"`, begin: "--graphql", before: partHeader, after: partEnd,
		end: partHeader + `{"hasNext":false}` + partEnd + "--\r\n",
		payload: func(resp []byte) []byte {
			return append(resp[:len(resp)-1], `,"hasNext":true}`...)
		}},
	// As Apollo's clients ask for subscriptions.
	subscriptionSpec: {media: mediaMixed + `; boundary="graphql"; subscriptionSpec="1.0"`, begin: "--graphql", before: partHeader, after: partEnd,
		end: "--\r\n", ping: partHeader + "{}" + partEnd,
		payload: func(resp []byte) []byte {
			return append(append([]byte(`{"payload":`), resp...), '}')
		}},
}

const (
	subscriptionSpec = "subscriptionspec" // mime.ParseMediaType's spelling
	partHeader       = "\r\nContent-Type: application/json\r\n\r\n"
	partEnd          = "\r\n--graphql"
)

// wantsStream tells whether the client accepts an answer of several results.
func wantsStream(r *http.Request) bool { return framingFor(r) != nil }

func framingFor(r *http.Request) *framing {
	accept := r.Header.Get("Accept")
	if accept == mediaJSON || accept == "" {
		return nil // the common case, without parsing
	}
	for _, part := range strings.Split(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err == nil && media == mediaMixed && params[subscriptionSpec] != "" {
			return framings[subscriptionSpec]
		}
		if f := framings[media]; err == nil && f != nil {
			return f
		}
	}
	return nil
}

// serveStream answers an operation by its results as they come. Only a
// subscription has several: where events were not asked for, everything else is
// one plain answer. A cookie needs an allowed origin, as over WebSocket.
func (g *Gateway) serveStream(w http.ResponseWriter, r *http.Request, p *policy.Principal, req *Request) {
	cred, f := g.cfg.Identity.FromRequest(r), framingFor(r)
	exec := &executor{g: g, principal: p, cred: cred, traceID: traceOf(r)}
	c, errs := g.prepare(r.Context(), p, req, exec.traceID)
	if f.media != mediaEvents && (errs != nil || c.op.def.Operation != ast.Subscription) {
		if errs != nil {
			g.answer(w, accepts(r), &Response{Errors: errs, TraceID: exec.traceID})
			return
		}
		g.answer(w, accepts(r), g.runPrepared(r.Context(), c))
		return
	}
	if origin := r.Header.Get("Origin"); cred.ByCookie() && !g.allowedOrigin(r, origin) {
		g.answer(w, mediaJSON, &Response{TraceID: exec.traceID, Errors: refuse(connectors.CodeForbidden, "a subscription by cookie needs an allowed Origin")})
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	s := &stream{w: w, control: http.NewResponseController(w), framing: f, cancel: cancel}
	var beside sync.WaitGroup
	// The next answer of this connection has a deadline of its own, or none. An
	// error here is a connection without any.
	defer s.control.SetWriteDeadline(time.Time{})
	defer beside.Wait()
	defer cancel()
	defer context.AfterFunc(g.closing, cancel)()
	beside.Go(func() {
		// The stream ends with its credential.
		defer cancel()
		exec.watchCredential(ctx)
	})
	var next graphql.ResponseHandler
	running := ctx
	if errs != nil {
		next = exec.refused(ctx, errs)
	} else {
		next, running = exec.DispatchOperation(ctx, exec.operation(c))
	}
	// Who sees the beginning is subscribed.
	h := w.Header()
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, noSniff
	h.Set("Content-Type", f.media)
	s.write(f.begin)
	var pings sync.WaitGroup
	pings.Go(func() { s.pings(ctx) })
	for resp := next(running); resp != nil; resp = next(running) {
		s.result(resp)
	}
	cancel()
	pings.Wait() // nothing comes behind the end
	s.write(f.end)
}

// A stream is the body of an answer that goes on. What is written is on its way
// when write returns; who does not read is cut off.
type stream struct {
	*framing
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	cancel  context.CancelFunc
}

func (s *stream) result(resp *graphql.Response) {
	raw, err := json.Marshal(resp)
	if err != nil {
		s.cancel() // it was made of JSON, so it can be encoded
		return
	}
	s.write(s.before + string(s.payload(raw)) + s.after)
}

func (s *stream) write(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// An error of the deadline is a connection without any, and shows below.
	s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.w.Write([]byte(text)); err != nil {
		s.cancel()
		return
	}
	if s.control.Flush() != nil {
		s.cancel()
	}
}

func (s *stream) pings(ctx context.Context) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.write(s.ping)
		}
	}
}
