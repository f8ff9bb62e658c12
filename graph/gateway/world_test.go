package gateway_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"go.uber.org/goleak"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/graph/plan/plantest"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/proposals/proposalstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; nothing waits that long unless it is broken.
const patience = 30 * time.Second

// A world is a gateway over sources in memory, with a service of proposals and
// an executor that runs.
type world struct {
	t       testing.TB
	files   map[string]string
	base    *plantest.World
	door    *gateway.Gateway
	exec    *execute.Executor
	service *proposals.Service
	store   *proposalstest.Memory
	people  people
	systems systems
	limits  gateway.RoleLimits
	events  eventLog
	journal *audit.Journal
	// late is how far the store's clock goes before the machine's, in ns.
	late atomic.Int64
}

// usual are limits that no case meets by accident.
func usual() gateway.Limits {
	return gateway.Limits{Depth: 12, Aliases: 30, Tokens: 2000, Cost: 100_000, Page: 100, MaxRows: 100, Body: 1 << 20, Rows: 50_000, Response: 16 << 20, Batch: 1,
		Timeout: 15 * time.Second, Introspection: gateway.On, Documents: gateway.DocumentsAny}
}

func newWorld(t testing.TB, change ...func(files map[string]string)) *world {
	return limitedWorld(t, gateway.RoleLimits{"*": usual()}, change...)
}

func limitedWorld(t testing.TB, limits gateway.RoleLimits, change ...func(files map[string]string)) *world {
	t.Helper()
	return budgetedWorld(t, limits, nil, change...)
}

func budgetedWorld(t testing.TB, limits gateway.RoleLimits, budgets *gateway.Budgets, change ...func(files map[string]string)) *world {
	t.Helper()
	return openWorld(t, limits, budgets, nil, change...)
}

func cappedWorld(t testing.TB, caps func(string) proposals.Caps, change ...func(files map[string]string)) *world {
	t.Helper()
	return openWorld(t, gateway.RoleLimits{"*": usual()}, nil, caps, change...)
}

func openWorld(t testing.TB, limits gateway.RoleLimits, budgets *gateway.Budgets, caps func(string) proposals.Caps, change ...func(files map[string]string)) *world {
	t.Helper()
	a, err := txtar.ParseFile("testdata/world.txtar")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, files: map[string]string{}, store: proposalstest.NewMemory(), limits: limits}
	for _, f := range a.Files {
		w.files[f.Name] = string(f.Data)
	}
	w.files["control.graphqls"] = graph.ControlSDL()[0].Input
	for _, fn := range change {
		fn(w.files)
	}
	w.store.Clock = func() time.Time { return time.Now().Add(time.Duration(w.late.Load())) }
	w.base = w.build()
	w.people.read(t, w.files["people"])
	w.systems.ids = map[string]string{}
	gate, issuer := connectors.NewGate(nil)
	exec := &execute.Executor{Sources: map[string]connectors.Connector{}, Issuer: issuer}
	w.exec = exec
	for name, c := range w.base.Sources() {
		exec.Sources[name] = gate.Wrap(name, c)
		w.systems.ids[name] = "system:" + name
	}
	quiet := slog.New(slog.DiscardHandler)
	w.service = proposals.New(proposals.Config{Store: w.store, Authorizer: func() proposals.Authorizer { return w.door.Authorizer() },
		Directory: &w.people, Keys: proposals.Keys{Current: "k", ByID: map[string][]byte{"k": []byte("0123456789abcdef0123456789abcdef")}},
		TraceID: graph.TraceID, Caps: caps, Log: quiet})
	w.journal = &audit.Journal{Store: &w.events}
	w.door = gateway.New(gateway.Config{Executor: exec, Audit: w.journal, Proposals: w.service, Sources: &w.systems,
		Control: &graph.Resolver{Proposals: w.service, Sources: w.systems.States}, Limits: limits, Budgets: budgets,
		Sealer: func(string) plan.Sealer { return plantest.Sealer{} }, Pages: http.NotFoundHandler(), Log: quiet,
		Now: func() time.Time { return plantest.Now }, Persisted: 64 << 10}, gateway.NewSnapshot(w.base.Catalog, w.base.Engine))
	if err := w.service.PolicyLoaded(t.Context(), policy.DefaultTenant); err != nil {
		t.Fatal(err)
	}
	x := proposals.NewExecutor(proposals.ExecutorConfig{Service: w.service, Name: "x", Issuer: issuer, Poll: time.Millisecond,
		Apply: func(ctx context.Context, source string, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
			return exec.Sources[source].Apply(ctx, p, c)
		}})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = x.Run(ctx) })
	running.Go(func() { _ = w.service.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait(); w.door.Close() })
	return w
}

// build makes sources, catalog and policy of the files.
func (w *world) build() *plantest.World {
	w.t.Helper()
	a := &txtar.Archive{}
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(w.files[name])})
	}
	base, err := plantest.New(a)
	if err != nil {
		w.t.Fatal(err)
	}
	return base
}

// reload puts changed files in force, over the same systems.
func (w *world) reload(change func(files map[string]string)) {
	w.t.Helper()
	change(w.files)
	next := w.build()
	w.door.Swap(gateway.NewSnapshot(next.Catalog, next.Engine))
	if err := w.service.PolicyLoaded(w.t.Context(), policy.DefaultTenant); err != nil {
		w.t.Fatal(err)
	}
}

// ask runs an operation as one of the people.
func (w *world) ask(who, query string, more ...string) answer {
	w.t.Helper()
	req := &gateway.Request{Query: query}
	if len(more) > 0 && more[0] != "" {
		d := json.NewDecoder(strings.NewReader(more[0]))
		d.UseNumber()
		if err := d.Decode(&req.Variables); err != nil {
			w.t.Fatal(err)
		}
	}
	if len(more) > 1 && more[1] != "" {
		req.Extensions = json.RawMessage(more[1])
	}
	r := w.door.Run(w.t.Context(), w.people.person(w.t, who), req)
	return answer{data: string(r.Data), errors: r.Errors}
}

type answer struct {
	data   string
	errors []gateway.Error
}

// code is that of the first error.
func (a answer) code() connectors.Code {
	if len(a.errors) == 0 {
		return ""
	}
	return a.errors[0].Code
}

// last is the newest proposal.
func (w *world) last() *proposals.Dossier {
	w.t.Helper()
	heads, err := w.store.List(w.t.Context(), proposals.Filter{Tenant: policy.DefaultTenant, Limit: 1})
	if err != nil || len(heads) == 0 {
		w.t.Fatalf("there is no proposal: %v", err)
	}
	d, err := w.store.Get(w.t.Context(), policy.DefaultTenant, proposals.Ref{Handle: heads[0].Handle})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// approve decides on the newest proposal as one of the people.
func (w *world) approve(who string) error {
	w.t.Helper()
	d := w.last()
	r := d.Current()
	_, err := w.service.Approve(w.t.Context(), w.people.person(w.t, who), proposals.Decide{Handle: d.Proposal.Handle, Revision: r.Number,
		ContentHash: r.ContentHash, ReviewHash: r.ReviewHash})
	return err
}

// settled waits until the newest proposal is neither approved nor executing.
func (w *world) settled() *proposals.Proposal {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	d, err := w.service.Await(ctx, policy.DefaultTenant, w.last().Proposal.Handle, func(p *proposals.Proposal) bool {
		return p.State != proposals.Approved && p.State != proposals.Executing
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return &d.Proposal
}

// people is a directory of everybody in the world.
type people struct {
	mu    sync.Mutex
	known map[string]*policy.Principal // by the name in the file
}

// read reads lines: name, kind, roles, claim=value, for:name, owner:name.
func (d *people) read(t testing.TB, text string) {
	t.Helper()
	d.known = map[string]*policy.Principal{}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		var plain []string
		var behind, owner string
		for _, word := range strings.Fields(rest) {
			if v, ok := strings.CutPrefix(word, "for:"); ok {
				behind = v
			} else if v, ok := strings.CutPrefix(word, "owner:"); ok {
				owner = "user:" + v
			} else {
				plain = append(plain, word)
			}
		}
		p := plantest.Principal(strings.Join(plain, " "))
		p.ID, p.Name, p.Owner, p.CredentialID = "user:"+name, name, owner, "credential:"+name
		if p.Kind == policy.Agent {
			p.ID = "agent:" + name
		}
		if behind != "" {
			whom := *d.known[behind]
			whom.Interactive = false
			p.For = &whom
		}
		p.Interactive = p.Kind == policy.Human
		d.known[name] = p
	}
}

func (d *people) person(t testing.TB, name string) *policy.Principal {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if name == "nobody" {
		return policy.AnonymousPrincipal()
	}
	p := d.known[name]
	if p == nil {
		t.Fatalf("nobody is called %s", name)
	}
	return p
}

// become changes somebody.
func (d *people) become(name string, change func(*policy.Principal)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := *d.known[name]
	change(&p)
	d.known[name] = &p
}

// Current implements policy.Directory.
func (d *people) Current(_ context.Context, _, id string) (*policy.Principal, time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.known {
		if p.ID == id {
			out := *p
			out.Interactive, out.CredentialID = false, ""
			return &out, time.Now(), nil
		}
	}
	return nil, time.Time{}, connectors.Errorf(connectors.CodeForbidden, "unknown")
}

// Persons implements policy.Directory: nobody has two accounts.
func (d *people) Persons(_ context.Context, _ string, ids []string) (map[string]string, error) {
	out := map[string]string{}
	for _, id := range ids {
		out[id] = id
	}
	return out, nil
}

// Holders implements policy.Directory.
func (d *people) Holders(_ context.Context, _ string, roles []string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, p := range d.known {
		if p.Kind == policy.Human && slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(p.Roles, r) }) {
			out = append(out, p.ID)
		}
	}
	slices.Sort(out)
	return out, nil
}

// systems tells which systems stand behind the sources.
type systems struct {
	mu  sync.Mutex
	ids map[string]string
}

// States implements gateway.SourceStates.
func (s *systems) States() []graph.SourceState { return nil }

// Identity implements gateway.SourceStates.
func (s *systems) Identity(_ context.Context, source string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids[source], nil
}

func (s *systems) swap(source, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[source] = id
}
