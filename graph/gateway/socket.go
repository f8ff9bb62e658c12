package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

const (
	pingEvery = 20 * time.Second
	// recheckEvery is how often an open connection's credential is looked at
	// again: a revocation holds within about a second.
	recheckEvery = time.Second
	initTimeout  = 10 * time.Second
	// closeUnauthenticated is graphql-transport-ws's code for a credential that
	// is not valid (any more).
	closeUnauthenticated = 4401
	// closeSuspended: the credential is good, and whoever it is of may nothing.
	closeSuspended = 4403
)

type socket struct{ limit int64 }

func (g *Gateway) newSocket() socket {
	return socket{limit: g.cfg.Limits["*"].Body}
}

// serveSocket accepts a WebSocket. A browser sends its cookie along from any
// page, so a cookie needs an allowed origin; a bearer token may come in the
// header or in connection_init.
func (g *Gateway) serveSocket(w http.ResponseWriter, r *http.Request) {
	cred := g.cfg.Identity.FromRequest(r)
	if cred.ByCookie() {
		if origin := r.Header.Get("Origin"); origin == "" || !g.allowedOrigin(r, origin) {
			g.answer(w, mediaResponse, &Response{TraceID: traceOf(r), Errors: refuse(connectors.CodeForbidden, "a WebSocket by cookie needs an allowed Origin")})
			return
		}
	}
	if !cred.None() {
		if _, err := g.cfg.Identity.Authenticate(r.Context(), cred); err != nil {
			g.answer(w, mediaResponse, &Response{Errors: []Error{fromError(err, nil)}, TraceID: traceOf(r)})
			return
		}
	}
	if !g.enter() {
		writeText(w, http.StatusServiceUnavailable, "this server is ending\n")
		return
	}
	defer g.open.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(g.closing, cancel)()
	exec := &executor{g: g, cred: cred, traceID: traceOf(r), socket: true}
	accept := &acceptor{exec: exec}
	ws := transport.Websocket{
		Implementation:        accept,
		InitTimeout:           initTimeout,
		KeepAlivePingInterval: 0,
		PingPongInterval:      pingEvery,
		MissingPongOk:         true,
		PayloadReadLimit:      &g.socket.limit,
		InitFunc: func(ctx context.Context, payload transport.InitPayload) (context.Context, *transport.InitPayload, error) {
			return exec.begin(ctx, payload)
		},
	}
	ws.Do(w, r.WithContext(ctx), exec)
	exec.end()
	accept.end()
}

// begin authenticates a connection, and keeps an eye on its credential.
func (x *executor) begin(ctx context.Context, payload transport.InitPayload) (context.Context, *transport.InitPayload, error) {
	if token := payload.Authorization(); token != "" {
		x.cred = identity.BearerOf(token)
	}
	p, err := x.g.cfg.Identity.Authenticate(ctx, x.cred)
	if err != nil {
		x.endWith(connectors.CodeOf(err))
		return ctx, nil, err
	}
	x.principal = p
	ctx, cancel := context.WithCancel(ctx)
	// The handler is counted already, and ends after this.
	x.g.open.Go(func() {
		defer cancel()
		x.watchCredential(ctx)
	})
	x.cancel = cancel
	return ctx, nil, nil
}

// watchCredential returns when the connection ends or its credential does.
func (x *executor) watchCredential(ctx context.Context) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := x.g.cfg.Identity.Authenticate(ctx, x.cred)
		switch code := connectors.CodeOf(err); code {
		case connectors.CodeUnauthenticated, connectors.CodeSuspended, connectors.CodeForbidden:
			x.endWith(code)
			return
		}
	}
}

// endWith notes why the connection is closed.
func (x *executor) endWith(code connectors.Code) {
	x.ended.Store(&code)
}

func (x *executor) end() {
	if x.cancel != nil {
		x.cancel()
	}
}

// An executor is one connection's way to the gateway, for the library's
// transports: it has the three methods they want.
type executor struct {
	g         *Gateway
	cred      identity.Credentials
	principal *policy.Principal
	traceID   string
	cancel    context.CancelFunc
	// ended is the code with which the credential is refused; nil: it is not.
	ended atomic.Pointer[connectors.Code]
	// socket: it serves a WebSocket, where what is refused has a message of its
	// own.
	socket bool
}

const callExtension = "countersign.call"

// CreateOperationContext reads one operation on the snapshot of now. What is
// wrong with it is told by DispatchOperation: the library would send it as a
// result.
func (x *executor) CreateOperationContext(ctx context.Context, params *graphql.RawParams) (*graphql.OperationContext, gqlerror.List) {
	req := &Request{Query: params.Query, OperationName: params.OperationName, Variables: params.Variables}
	var errs []Error
	if params.Extensions != nil {
		var err error
		if req.Extensions, err = json.Marshal(params.Extensions); err != nil {
			errs = []Error{fromError(err, nil)} // decoded from JSON, so it can be encoded
		}
	}
	c := &call{}
	if errs == nil {
		c, errs = x.g.prepare(ctx, x.principal, req, x.traceID)
	}
	if errs != nil {
		oc := &graphql.OperationContext{RecoverFunc: x.g.recovered}
		oc.Stats.SetExtension(callExtension, errs)
		return oc, nil
	}
	return x.operation(c), nil
}

// operation is what the library carries of a call.
func (x *executor) operation(c *call) *graphql.OperationContext {
	oc := x.g.operationContext(c.state, c.op.doc, c.op.def, c.vars)
	oc.Stats.SetExtension(callExtension, c)
	return oc
}

// DispatchOperation runs what CreateOperationContext read.
func (x *executor) DispatchOperation(ctx context.Context, oc *graphql.OperationContext) (graphql.ResponseHandler, context.Context) {
	switch c := oc.Stats.GetExtension(callExtension).(type) {
	case []Error:
		return x.refused(ctx, c), ctx
	case *call:
		if oc.Operation.Operation == ast.Subscription {
			return x.subscribe(ctx, c, oc)
		}
		resp := x.g.runPrepared(ctx, c)
		if resp.Data == nil || resp.misasked() {
			return x.refused(ctx, resp.Errors), ctx
		}
		out := x.response(resp)
		return graphql.OneShot(out), ctx
	}
	return x.refused(ctx, refuse(connectors.CodeInternal, "the operation was lost")), ctx
}

// misasked tells whether there is nothing but what is wrong with the input: a
// variable that does not fit is found where it is bound.
func (resp *Response) misasked() bool {
	return string(resp.Data) == "null" && !slices.ContainsFunc(resp.Errors, func(e Error) bool {
		return e.Code != connectors.CodeBadInput && e.Code != connectors.CodeValidationFailed
	})
}

// refused ends an operation of which nothing ran: over a WebSocket by an error
// message, else by a result that has errors only.
func (x *executor) refused(ctx context.Context, errs []Error) graphql.ResponseHandler {
	list := x.list(errs)
	if !x.socket {
		return graphql.OneShot(&graphql.Response{Errors: list})
	}
	for _, e := range list {
		transport.AddSubscriptionError(ctx, e)
	}
	return func(context.Context) *graphql.Response { return nil }
}

// subscribe runs a subscription of the control plane; sources have none yet.
func (x *executor) subscribe(ctx context.Context, c *call, oc *graphql.OperationContext) (graphql.ResponseHandler, context.Context) {
	s := &subscription{x: x, req: c.req}
	if errs := s.begin(ctx, c, oc); errs != nil {
		return x.refused(ctx, errs), ctx
	}
	return s.next, ctx
}

// A subscription is one document that is answered until it ends. When another
// snapshot is in force it is planned again; where its document is no longer one
// of the caller's schema it ends with FORBIDDEN.
type subscription struct {
	x      *executor
	req    *Request
	ctx    context.Context // of the present plan: ends with its era
	cancel func()
	events graphql.ResponseHandler
	ended  bool
}

// begin plans the document on its call's snapshot.
func (s *subscription) begin(ctx context.Context, c *call, oc *graphql.OperationContext) []Error {
	var errs []Error
	if oc.Variables, errs = c.coerced(); errs != nil {
		return errs
	}
	era := s.x.g.era.Load()
	inner, cancel := context.WithCancel(ctx)
	unhook := context.AfterFunc(era, cancel)
	s.cancel = cancel
	context.AfterFunc(inner, func() { unhook() })
	if s.x.g.Snapshot() != c.snap {
		cancel() // it moved since it was read
	}
	s.ctx = graphql.WithOperationContext(s.x.g.inform(inner, c), oc)
	first := graphql.WithResponseContext(s.ctx, s.x.g.present, s.x.g.recovered)
	s.events = c.state.schema.control.Exec(first)
	if errs := graphql.GetErrors(first); errs != nil {
		s.cancel()
		return fromGQL(errs)
	}
	return nil
}

// next waits for an answer; nil ends it.
func (s *subscription) next(ctx context.Context) *graphql.Response {
	for !s.ended {
		if ctx.Err() == nil && s.ctx.Err() == nil {
			inner := graphql.WithResponseContext(s.ctx, s.x.g.present, s.x.g.recovered)
			resp := s.events(inner)
			errs := graphql.GetErrors(inner)
			// An answer that the end of the era broke off is none.
			if resp != nil && (s.ctx.Err() == nil || len(resp.Errors)+len(errs) == 0) {
				resp.Errors = s.x.list(fromGQL(append(resp.Errors, errs...)))
				return resp
			}
		}
		moved := s.ctx.Err() != nil && ctx.Err() == nil && s.x.g.closing.Err() == nil
		s.cancel()
		if !moved {
			break
		}
		if errs := s.again(ctx); errs != nil {
			s.ended = true
			return s.x.refused(ctx, errs)(ctx)
		}
	}
	s.ended = true
	return nil
}

// again plans the document on the snapshot that is in force now.
func (s *subscription) again(ctx context.Context) []Error {
	c, errs := s.x.g.prepare(ctx, s.x.principal, s.req, s.x.traceID)
	if errs == nil {
		errs = s.begin(ctx, c, s.x.operation(c))
	}
	if errs == nil || errs[0].Code != connectors.CodeValidationFailed {
		return errs
	}
	out := refuse(connectors.CodeForbidden, "what you may see has changed, and this subscription is no longer part of it")
	out[0].Unblock = []string{"read the schema again and subscribe to what is there"}
	return out
}

// DispatchError answers a request that was refused.
func (x *executor) DispatchError(_ context.Context, list gqlerror.List) *graphql.Response {
	return &graphql.Response{Errors: x.list(fromGQL(list))}
}

func (x *executor) response(r *Response) *graphql.Response {
	out := &graphql.Response{Data: r.Data, Errors: x.list(r.Errors)}
	if r.Cost != nil {
		out.Extensions = map[string]any{"cost": rawJSON(r.Cost.appendJSON(nil))}
	}
	return out
}

func (x *executor) list(errs []Error) gqlerror.List {
	if len(errs) == 0 {
		return nil
	}
	out := make(gqlerror.List, len(errs))
	for i := range errs {
		out[i] = errs[i].gql(x.traceID)
	}
	return out
}
