package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/console"
	"github.com/countersign/countersign/graph"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/policy/identity"
	validators "github.com/countersign/countersign/policy/remote"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/store"
)

// How long the server takes for things that have no limit of their own.
const (
	shutdownTimeout = 10 * time.Second
	sweepEvery      = 6 * time.Hour
)

// An app is a gateway with everything it is made of. It is opened, run once,
// and closed.
type app struct {
	cfg      *config.Config
	log      *slog.Logger
	store    *store.Store
	sources  *sources
	cache    *execute.Cache
	identity *identity.Service
	service  *proposals.Service
	executor *proposals.Executor
	gateway  *gateway.Gateway
	sealer   *audit.Sealer
	journal  *audit.Journal
	reloader *reloader
	intents  *store.Intents
	restored string // what /readyz says of a store that was restored; set once, before anything is served
	listener net.Listener
	tls      *certificate // nil: plain HTTP
}

// openApp puts the rooms together. It dials no source: those that are down are
// told of and come back without a restart.
func openApp(ctx context.Context, p *project, dataDir string, log *slog.Logger) (a *app, err error) {
	a = &app{cfg: p.cfg, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
			a = nil
		}
	}()
	if err := writable(dataDir); err != nil {
		return a, err
	}
	keys, err := openKeyring(p.cfg, dataDir)
	if err != nil {
		return a, err
	}
	if a.store, err = openStore(ctx, p.cfg, dataDir, store.Server, keys); err != nil {
		return a, err
	}
	if err := a.openJournal(ctx, dataDir); err != nil {
		return a, err
	}
	if p.cfg.HTTP.TLS != nil {
		if a.tls, err = newCertificate(p.cfg, log); err != nil {
			return a, err
		}
	}
	gate, issuer := connectors.NewGate(nil)
	a.sources = newSources(log, func(ctx context.Context, source, identity string) error {
		_, err := a.store.SeeSource(ctx, policy.DefaultTenant, source, identity)
		return err
	})
	for _, name := range p.cfg.Sources.Names {
		s := p.cfg.Sources.Values[name]
		c, err := connect(p.cfg, name, s, p.schemas[name], log)
		if err != nil {
			return a, fmt.Errorf("source %s: %w", name, err)
		}
		a.sources.add(gate, name, s.Connector, c, s.Limits)
	}
	a.cache, err = newCache(p.cfg)
	if err != nil {
		return a, err
	}
	exec := &execute.Executor{Sources: a.sources.gated, Issuer: issuer, Cache: a.cache, Asker: &validators.Asker{}}
	return a, a.assemble(p, exec, issuer, keys)
}

// assemble makes everything above the store and the sources.
func (a *app) assemble(p *project, exec *execute.Executor, issuer *connectors.Issuer, keys *store.Keyring) (err error) {
	if a.identity, err = identity.New(identityConfig(p.cfg), a.store, identity.Options{Sealer: keys}); err != nil {
		return err
	}
	current, byID, err := keys.DeriveAll("proposals")
	if err != nil {
		return err
	}
	a.service = proposals.New(proposals.Config{Store: a.store, Authorizer: func() proposals.Authorizer { return a.gateway.Authorizer() },
		Directory: &directory{Service: a.identity, snapshot: func() *gateway.Snapshot { return a.gateway.Snapshot() }}, Keys: proposals.Keys{Current: current, ByID: byID}, TraceID: graph.TraceID, Caps: caps(p.cfg), Log: a.log, Failpoint: failpoint()})
	a.executor = proposals.NewExecutor(proposals.ExecutorConfig{Service: a.service, Name: "executor-" + uuid.NewString(), Issuer: issuer,
		Lease: testLease(), RequestTime: testLease(),
		Apply: func(ctx context.Context, source string, permit *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
			conn := a.sources.gated[source]
			if conn == nil {
				return nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "there is no source %s any more", source)
			}
			effect, err := conn.Apply(ctx, permit, c)
			exec.Cache.Wrote(source)
			return effect, err
		},
		KeyRetention: a.keyRetention})
	pages, err := console.Handler()
	if err != nil {
		return err
	}
	sign, err := signer(keys)
	if err != nil {
		return err
	}
	a.sealer = &audit.Sealer{Store: a.store, Signer: sign, Signing: a.store, Failed: func(err error) { a.log.Error("sealing audit events", "error", err) }}
	cfg := gateway.Config{Identity: a.identity, Executor: exec, Proposals: a.service, Sources: a.sources,
		Control: &graph.Resolver{Proposals: a.service, Identity: a.identity, Audit: a.store, Sources: a.sources.States},
		Sealer:  func(tenant string) plan.Sealer { return keys.Stable("graph", tenant) },
		Audit:   a.journal, UnrecordedWrites: p.cfg.Telemetry.Audit.Writes == "none",
		Limits: roleLimits(p.cfg), Budgets: budgets(p.cfg, a.store), Origins: origins(p.cfg), PublicURL: p.cfg.URL, Ready: a.store.Ping, Notes: a.notes, Metrics: metrics(), Pages: pages,
		Proxies: proxies(p.cfg), Persisted: int(p.cfg.HTTP.PersistedQueries),
		Log: a.log, Now: time.Now}
	if u, err := url.Parse(p.cfg.URL); err == nil {
		cfg.PublicHost = u.Host
	}
	a.gateway = gateway.New(cfg, p.snapshot())
	a.reloader = newReloader(a, p)
	return nil
}

// notes are what /readyz says beside the sources.
func (a *app) notes() []string {
	notes := a.reloader.notes()
	if a.restored != "" {
		notes = append(notes, "store: "+a.restored)
	}
	return notes
}

// writable makes the data folder where it is missing, and refuses one in which
// nothing can be made: what would fail there later is not what is wrong.
func writable(dataDir string) error {
	err := os.MkdirAll(dataDir, 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(dataDir, ".writable-*"); err == nil {
			return errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	return fmt.Errorf("the data folder %s cannot be written (%w); make it writable for the user that runs countersign, or name another with --data", dataDir, err)
}

func openKeyring(cfg *config.Config, dataDir string) (*store.Keyring, error) {
	if len(cfg.Secret) > 0 {
		return store.NewKeyring(cfg.Secret...)
	}
	return store.LoadKeyring(dataDir)
}

func openStore(ctx context.Context, cfg *config.Config, dataDir string, mode store.Mode, keys *store.Keyring) (*store.Store, error) {
	dsn := "sqlite:" + filepath.Join(dataDir, "countersign.db")
	if cfg != nil && cfg.Store != "" {
		dsn = cfg.Store
	}
	return store.Open(ctx, dsn, store.Options{Mode: mode, DataDir: dataDir, Keyring: keys})
}

func identityConfig(cfg *config.Config) identity.Config {
	out := identity.Config{MaxAge: cfg.Identity.MaxAge, LocalUsers: cfg.Identity.LocalUsers, APIKeyMaxAge: cfg.Identity.APIKeys.MaxAge, APIKeyOverlap: cfg.Identity.APIKeys.Overlap,
		Exchange: identity.ExchangeLimits{MaxAge: cfg.Identity.Exchange.MaxAge, MaxActors: cfg.Identity.Exchange.MaxActors},
		Sessions: identity.Sessions{Idle: cfg.Identity.Sessions.Idle, Max: cfg.Identity.Sessions.Max, Fresh: cfg.Identity.Sessions.Fresh}, Agents: map[string]identity.Agent{}, PlainHTTP: true}
	if u, err := url.Parse(cfg.URL); err == nil && u.Scheme == "https" || cfg.URL == "" && cfg.HTTP.TLS != nil {
		out.PlainHTTP = false
	}
	if cfg.URL != "" {
		out.RedirectURL = strings.TrimSuffix(cfg.URL, "/") + gateway.CallbackPath
	}
	for name, ag := range cfg.Agents.Values {
		out.Agents[name] = identity.Agent{Owner: ag.Owner, Purpose: ag.Purpose, Roles: ag.Roles, ActsFor: identity.ActsFor(ag.ActsFor)}
	}
	for _, is := range cfg.Identity.Issuers {
		issuer := identity.Issuer{Issuer: is.Issuer, Audience: is.Audience, Interactive: is.Interactive, Kind: policy.PrincipalKind(is.Kind), Subject: is.Subject,
			Roles: identity.Roles{Fixed: is.Roles.Fixed, From: is.Roles.From, Map: is.Roles.Map}, Claims: is.Claims, Tenant: is.Tenant, Skew: is.Skew}
		if is.SignIn != nil {
			issuer.Flow = &identity.Flow{ClientID: is.SignIn.ClientID, ClientSecret: is.SignIn.ClientSecret, Scopes: is.SignIn.Scopes}
		}
		out.Issuers = append(out.Issuers, issuer)
	}
	return out
}

func roleLimits(cfg *config.Config) gateway.RoleLimits {
	out := gateway.RoleLimits{}
	base := config.DefaultLimits()
	out["*"] = limitsOf(base)
	for role, l := range cfg.Limits.Values {
		mine := limitsOf(l)
		if role == "*" {
			mine = mine.Over(out["*"])
		}
		out[role] = mine
	}
	return out
}

func limitsOf(l config.Limits) gateway.Limits {
	return gateway.Limits{Depth: l.Depth, Aliases: l.Aliases, Tokens: l.Tokens, Cost: l.Cost.Operation, Page: l.Page, MaxRows: l.MaxRows,
		Body: int64(l.Body), Timeout: l.Timeout, Rows: l.Rows, Response: int64(l.Response), Batch: l.Batch, Introspection: gateway.SwitchOf(l.Introspection), Documents: documentsOf[l.Documents]}
}

var documentsOf = map[string]gateway.Documents{"trusted": gateway.DocumentsTrusted, "any": gateway.DocumentsAny}

func origins(cfg *config.Config) map[string]bool {
	out := map[string]bool{}
	for _, o := range cfg.HTTP.CORS.Origins {
		out[o] = true
	}
	return out
}

// proxies are those whose word about a caller is believed. All were checked.
func proxies(cfg *config.Config) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range cfg.HTTP.TrustedProxies {
		if n, err := config.ParseNetwork(text); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// cacheSize bounds what is kept of sources' answers, in bytes.
const cacheSize = 64 << 20

// newCache configures how long answers of sources may be used again; nothing
// is cached unless said.
func newCache(cfg *config.Config) (*execute.Cache, error) {
	return execute.NewCache(cacheSize, func(source, name string) time.Duration {
		rules := cfg.Sources.Values[source].Cache
		if c, ok := rules[name]; ok {
			return c.TTL
		}
		return rules["*"].TTL
	})
}

// metrics are the process's own for now.
func metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// listen takes the address, so that whoever starts the program knows it before
// anything else is said.
func (a *app) listen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	a.listener = l
	return nil
}

// scheme is that of the address it listens on.
func (a *app) scheme() string {
	if a.tls != nil {
		return "https"
	}
	return "http"
}

// run serves until ctx ends, and returns when everything it started has ended.
func (a *app) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tenants, err := a.tenants(ctx)
	if err != nil {
		return err
	}
	for _, tenant := range tenants {
		if err := a.service.PolicyLoaded(ctx, tenant); err != nil {
			return fmt.Errorf("the store refused the policy's version: %w", err)
		}
	}
	if err := a.recover(ctx); err != nil {
		return fmt.Errorf("the store was restored from an older backup, and what may have been done since could not be told: %w", err)
	}
	a.journal.Note(a.reloader.started())
	var wg sync.WaitGroup
	background := func(what string, fn func(context.Context) error) {
		wg.Go(func() {
			if err := fn(ctx); err != nil && ctx.Err() == nil {
				a.log.Error("a background task ended", "task", what, "error", err)
			}
		})
	}
	background("sources", func(ctx context.Context) error { a.sources.run(ctx); return nil })
	background("directory", func(ctx context.Context) error {
		a.identity.Run(ctx, func(err error) { a.log.Warn("asking providers again about people", "error", err) })
		return nil
	})
	background("audit", func(ctx context.Context) error { a.sealer.Run(ctx); return nil })
	background("journal", func(ctx context.Context) error { a.journal.Run(ctx); return nil })
	background("proposals", a.service.Run)
	background("executor", a.executor.Run)
	background("sweep", a.sweep)
	background("reload", a.reloader.run)
	server := newServer(a.cfg, a.gateway, a.log)
	failed := make(chan error, 1)
	wg.Go(func() { failed <- serveOn(server, a.listener, a.tls) })
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	a.gateway.Close()
	ending, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer done()
	if shut := server.Shutdown(ending); shut != nil {
		a.log.Warn("some requests were cut off", "error", shut)
		server.Close()
	}
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// tenants are those that the store knows, and the default one.
func (a *app) tenants(ctx context.Context) ([]string, error) {
	known, err := a.store.Tenants(ctx)
	if err != nil {
		return nil, fmt.Errorf("the store cannot be read: %w", err)
	}
	if !slices.Contains(known, policy.DefaultTenant) {
		known = append(known, policy.DefaultTenant)
	}
	return known, nil
}

// keyRetention is how long a system remembers an idempotency key; 0: the
// default.
func (a *app) keyRetention(source, object string) time.Duration {
	return a.cfg.Sources.Values[source].Outcome.For(object).Keep
}

// recover is the first thing done with a store that was restored from an older
// backup: nothing that may have been done in the lost time is done again.
func (a *app) recover(ctx context.Context) error {
	if !a.store.Restored() {
		return nil
	}
	tenants, err := a.tenants(ctx)
	if err != nil {
		return err
	}
	n := 0
	for _, tenant := range tenants {
		some, err := a.service.Restored(ctx, tenant, a.keyRetention)
		if err != nil {
			return err
		}
		n += some
	}
	a.log.Warn("the store was restored from an older backup: what was approved then, and cannot be sent twice, is of unknown outcome until a person settles it", "unknown", n)
	a.restored = fmt.Sprintf("restored from an older backup; %d proposals became OUTCOME_UNKNOWN", n)
	return a.store.EndRecovery(ctx)
}

// sweep forgets what nobody can ask for any more.
func (a *app) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := a.store.Sweep(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn("sweeping the store", "error", err)
		}
		if keep := a.cfg.Telemetry.Audit.Keep; keep > 0 {
			if n, err := a.store.Prune(ctx, keep); err != nil && ctx.Err() == nil {
				a.log.Warn("removing old audit events", "error", err)
			} else if n > 0 {
				a.log.Info("removed audit events that are older than telemetry.audit.keep", "events", n)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *app) close() error {
	var errs []error
	if a.sources != nil {
		errs = append(errs, a.sources.close())
	}
	if a.cache != nil {
		a.cache.Close()
	}
	errs = append(errs, a.intents.Close())
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	return errors.Join(errs...)
}
