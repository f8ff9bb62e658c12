//go:build linux

package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/countersign/countersign/bench/lab"
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/guard"
	"github.com/countersign/countersign/connectors/sql"
	"github.com/countersign/countersign/graph"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/store"
)

// A door is the read and write path of the program in this process, put
// together as the program does it, so that a profile shows nothing else.
type door struct {
	http.Handler
	key string
}

// newDoor makes one over a database with the data.
func newDoor(tb testing.TB, url string) *door {
	tb.Helper()
	ctx := context.Background()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatalf("%v: %v", err, connectors.AsError(err).Cause)
		}
	}
	keys, err := store.NewKeyring("0123456789abcdef0123456789abcdef")
	must(err)
	s, err := store.Open(ctx, "sqlite:"+filepath.Join(tb.TempDir(), "countersign.db"), store.Options{Mode: store.Server, Keyring: keys})
	must(err)
	tb.Cleanup(func() { s.Close() })
	who, err := identity.New(identity.Config{APIKeyMaxAge: time.Hour, Agents: map[string]identity.Agent{
		agent: {Owner: "owner", Roles: []string{"bench"}, ActsFor: identity.ActsForNever}}}, s, identity.Options{})
	must(err)
	key, err := who.CreateKey(ctx, nil, identity.NewKey{Principal: identity.AgentID(agent)})
	must(err)

	describing, err := sql.Open(sql.Config{Name: source, Dialect: sql.Postgres, URL: url}, nil)
	must(err)
	schema, err := describing.Describe(ctx)
	must(err)
	must(describing.Close())
	engine, err := sql.Open(sql.Config{Name: source, Dialect: sql.Postgres, URL: url, PoolMax: 16}, schema)
	must(err)
	tb.Cleanup(func() { engine.Close() })
	gate, issuer := connectors.NewGate(nil)
	cache, err := execute.NewCache(1<<20, func(string, string) time.Duration { return 0 })
	must(err)
	exec := &execute.Executor{Sources: map[string]connectors.Connector{source: gate.Wrap(source, guard.Wrap(engine, guard.Limits{Concurrent: 64}))},
		Issuer: issuer, Cache: cache}

	cat, problems := catalog.Build([]catalog.Source{{Name: source, Schema: schema}}, nil, catalog.Options{Control: graph.ControlSDL()})
	rights, more := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(rules)},
		{Name: "approvals.yaml", Data: []byte("version: 1\ndefaults: {require: [{role: owner}]}\n")}}, catalog.NewBinder(cat), policy.Options{CatalogVersion: cat.Version, Agents: []string{agent}})
	for _, p := range append(problems, more...) {
		if !p.Warning {
			tb.Fatalf("%+v", p)
		}
	}
	intents, _, err := store.OpenIntents(ctx, tb.TempDir(), s)
	must(err)
	tb.Cleanup(func() { intents.Close() })
	limits := gateway.RoleLimits{"*": {Depth: 12, Aliases: 30, Tokens: 2000, Cost: 1_000_000, Page: 100, MaxRows: 100, Body: 1 << 20, Timeout: 15 * time.Second, Introspection: gateway.On}}
	var g *gateway.Gateway
	service := proposals.New(proposals.Config{Store: s, Authorizer: func() proposals.Authorizer { return g.Authorizer() }})
	g = gateway.New(gateway.Config{Identity: who, Executor: exec, Proposals: service, Audit: &audit.Journal{Store: s, Intents: intents}, Control: &graph.Resolver{Identity: who}, Limits: limits, Pages: http.NotFoundHandler(),
		Sealer: func(tenant string) plan.Sealer { return keys.Stable("graph", tenant) }, Log: slog.New(slog.DiscardHandler), Now: time.Now},
		gateway.NewSnapshot(cat, rights))
	tb.Cleanup(g.Close)
	return &door{g, key.Token}
}

// A response takes an answer as net/http would, and allocates nothing.
type response struct {
	header http.Header
	body   bytes.Buffer
	status int
}

func (r *response) Header() http.Header         { return r.header }
func (r *response) Write(p []byte) (int, error) { return r.body.Write(p) }
func (r *response) WriteHeader(status int)      { r.status = status }

// body is a request body that is read again for each request.
type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

// request is what net/http would hand over, without the connection.
func (d *door) request(b []byte) (*http.Request, *bytes.Reader) {
	r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Authorization", "Bearer "+d.key)
	reader := bytes.NewReader(b)
	r.Body = body{reader}
	return r, reader
}

// clients is how many ask at once.
const clients = 32

// benchmark asks one scenario, again and again, past the network: the handler
// is called as net/http calls it, by as many at once as in the comparison.
// Profiles of it (-cpuprofile, -memprofile with -memprofilerate 1) show where the
// time of a request goes.
func benchmark(b *testing.B, name string) {
	url := connectortest.Postgres(b)
	if err := lab.Fill(b.Context(), url, 100_000); err != nil {
		b.Fatal(err)
	}
	d, s := newDoor(b, url), scenarioNamed(name)
	requests := make([][]byte, 100)
	for i := range requests {
		requests[i] = s.body(s.countersign, uint64(i))
	}
	b.ReportAllocs()
	b.SetParallelism(clients / runtime.GOMAXPROCS(0))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		w := &response{header: http.Header{}}
		r, reader := d.request(nil)
		for n := 0; pb.Next(); n++ {
			reader.Reset(requests[n%len(requests)])
			w.body.Reset()
			d.ServeHTTP(w, r)
			if w.status != http.StatusOK || !bytes.HasPrefix(w.body.Bytes(), []byte(`{"data":{"`)) {
				b.Errorf("status %d: %s", w.status, w.body.Bytes())
				return
			}
		}
	})
}

// BenchmarkPointRead is one record by key.
func BenchmarkPointRead(b *testing.B) { benchmark(b, "point") }

// BenchmarkList is 50 records of a filter.
func BenchmarkList(b *testing.B) { benchmark(b, "list") }

// BenchmarkNested is three levels, about 95 KB.
func BenchmarkNested(b *testing.B) { benchmark(b, "nested") }

// BenchmarkUpdate is one column of one record.
func BenchmarkUpdate(b *testing.B) { benchmark(b, "update") }
