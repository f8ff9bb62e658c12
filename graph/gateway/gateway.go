package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/generated"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/proposals"
)

// A Config is what the door is made of. Every field but Audit, Budgets, Origins,
// PublicURL, PublicHost and Metrics is needed.
type Config struct {
	Identity  *identity.Service
	Executor  *execute.Executor
	Proposals *proposals.Service
	// Control are the resolvers of the control plane.
	Control generated.ResolverRoot
	// Sources tells of the systems behind: whether they are up, who they are.
	Sources SourceStates
	// Sealers make cursors and global ids of a tenant.
	Sealer func(tenant string) plan.Sealer
	Limits RoleLimits
	// Budgets are what principals may use in a time; nil: nothing is counted.
	Budgets *Budgets
	// Audit keeps what happens outside of the store's own transactions: direct
	// writes, denials; nil: nothing. UnrecordedWrites leaves direct writes out.
	Audit            *audit.Journal
	UnrecordedWrites bool
	// AnyDocument lifts what limits and agents say of documents: for explaining.
	AnyDocument bool
	// Persisted bounds the texts kept of automatic persisted queries, in bytes per
	// tenant; 0: none are kept.
	Persisted int
	// Origins of pages elsewhere that may call (CORS) and, over WebSocket, use a
	// cookie.
	Origins map[string]bool
	// Proxies are networks whose X-Forwarded-* headers are believed.
	Proxies []netip.Prefix
	// PublicURL is the address in links; PublicHost its host.
	PublicURL  string
	PublicHost string
	// Ready answers nil when the store and the catalog are there.
	Ready func(context.Context) error
	// Notes are lines that /readyz adds: what somebody should look at, though
	// requests are answered. nil: none.
	Notes func() []string
	// Metrics serves /metrics; nil: there is none.
	Metrics http.Handler
	// Pages serves everything else: the console.
	Pages http.Handler
	Log   *slog.Logger
	Now   func() time.Time
}

// SourceStates tells of the systems behind the graph.
type SourceStates interface {
	// States lists every configured source.
	States() []graph.SourceState
	// Identity is the hashed identity of the system behind a source, learned
	// since the start; retryable CodeUpstreamUnavailable while it is not known.
	Identity(ctx context.Context, source string) (string, error)
}

// A Gateway is the door. It is an http.Handler, safe for concurrent use.
type Gateway struct {
	cfg      Config
	snapshot atomic.Pointer[Snapshot]
	era      atomic.Pointer[era] // ends when another snapshot is in force
	mux      *http.ServeMux
	socket   socket
	// persisted are the texts that clients registered.
	persisted *persisted
	// open counts WebSockets, for Close to wait for; mu keeps new ones from
	// coming once it waits.
	mu      sync.Mutex
	open    sync.WaitGroup
	closing context.Context
	stop    context.CancelFunc
}

// New makes the door over a first snapshot.
func New(cfg Config, first *Snapshot) *Gateway {
	g := &Gateway{cfg: cfg, mux: http.NewServeMux(), persisted: newPersisted(cfg.Persisted)}
	g.closing, g.stop = context.WithCancel(context.Background())
	g.snapshot.Store(first)
	g.era.Store(newEra())
	g.socket = g.newSocket()
	g.mux.HandleFunc("/graphql", g.serveGraphQL)
	g.mux.HandleFunc("GET /op/openapi.json", g.serveOpenAPI)
	g.mux.HandleFunc("/op/{name}", g.serveOp)
	g.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "live\n") })
	g.mux.HandleFunc("GET /readyz", g.serveReady)
	if cfg.Metrics != nil {
		g.mux.Handle("GET /metrics", cfg.Metrics)
	}
	g.authRoutes(g.mux)
	g.oauthRoutes(g.mux)
	g.mux.Handle("/", cfg.Pages)
	return g
}

// Swap puts a new snapshot in place. Operations under way finish on the one
// they began with; subscriptions are planned again on the new one, or end.
func (g *Gateway) Swap(s *Snapshot) {
	g.snapshot.Store(s)
	g.era.Swap(newEra()).end()
}

// An era is the time of one snapshot.
type era struct {
	context.Context
	end context.CancelFunc
}

func newEra() *era {
	ctx, end := context.WithCancel(context.Background())
	return &era{ctx, end}
}

// Snapshot is the one in force.
func (g *Gateway) Snapshot() *Snapshot { return g.snapshot.Load() }

// Close ends subscriptions and waits for their connections.
func (g *Gateway) Close() {
	g.mu.Lock()
	g.stop()
	g.mu.Unlock()
	g.era.Load().end()
	g.open.Wait()
}

// enter counts one connection more; false once the gateway ends.
func (g *Gateway) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing.Err() != nil {
		return false
	}
	g.open.Add(1)
	return true
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(g.cfg.Proxies) > 0 {
		r = g.behindProxy(r)
	}
	g.secure(w, r)
	// The read path is one comparison away from its handler.
	if r.URL.Path == "/graphql" {
		g.serveGraphQL(w, r)
		return
	}
	g.mux.ServeHTTP(w, r)
}

func (g *Gateway) serveReady(w http.ResponseWriter, r *http.Request) {
	if err := g.cfg.Ready(r.Context()); err != nil {
		g.cfg.Log.WarnContext(r.Context(), "not ready", "error", err)
		writeText(w, http.StatusServiceUnavailable, "not ready: "+connectors.AsError(err).Message+"\n")
		return
	}
	text := "ready\n"
	if g.cfg.Notes != nil {
		for _, note := range g.cfg.Notes() {
			text += note + "\n"
		}
	}
	for _, s := range g.cfg.Sources.States() {
		text += "source " + s.Name + " (" + s.Connector + "): " + string(s.Status)
		if s.Message != "" {
			text += ", " + s.Message
		}
		text += "\n"
	}
	writeText(w, http.StatusOK, text)
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error here is a client that went away.
	w.Write([]byte(text))
}
