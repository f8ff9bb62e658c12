package proposals_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/proposals/proposalstest"
)

// A world is everything around a Service, in memory, with a clock that stands
// until it is moved.
type world struct {
	t     testing.TB
	store *proposalstest.Memory
	clock atomic.Int64 // microseconds
	auth  *authority
	svc   *proposals.Service
	src   *source
	gate  connectors.Connector
	issue *connectors.Issuer
	n     atomic.Int64
}

const tenant = policy.DefaultTenant

func newWorld(t testing.TB, class connectors.OutcomeClass) *world {
	w := &world{t: t, store: proposalstest.NewMemory(), auth: newAuthority(), src: newSource(class)}
	w.clock.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMicro())
	w.store.Clock = w.now
	gate, issuer := connectors.NewGate(w.now)
	w.gate, w.issue = gate.Wrap("crm", w.src), issuer
	w.svc = w.service(nil)
	if err := w.svc.PolicyLoaded(context.Background(), tenant); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) now() time.Time          { return time.UnixMicro(w.clock.Load()).UTC() }
func (w *world) advance(d time.Duration) { w.clock.Add(d.Microseconds()) }
func (w *world) service(failpoint func(string)) *proposals.Service {
	return proposals.New(proposals.Config{Store: w.store, Authorizer: func() proposals.Authorizer { return w.auth.snapshot() },
		Directory: w.auth, Keys: testKeys(), Failpoint: failpoint, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

func testKeys() proposals.Keys {
	return proposals.Keys{Current: "k1", ByID: map[string][]byte{"k1": []byte("0123456789abcdef0123456789abcdef")}}
}

// executor makes one with a name of its own; it is not running.
func (w *world) executor(svc *proposals.Service, change func(*proposals.ExecutorConfig)) *proposals.Executor {
	cfg := proposals.ExecutorConfig{Service: svc, Name: fmt.Sprintf("x%d", w.n.Add(1)), Issuer: w.issue, Now: w.now,
		Poll: time.Millisecond, RequestTime: 5 * time.Second, Attempts: 3,
		Backoff: func(int) time.Duration { return 0 },
		Apply: func(ctx context.Context, _ string, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
			return w.gate.Apply(ctx, p, c)
		}}
	if change != nil {
		change(&cfg)
	}
	return proposals.NewExecutor(cfg)
}

// run runs an executor until stop is called, which waits for it.
func run(x *proposals.Executor) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = x.Run(ctx) })
	return func() { cancel(); wg.Wait() }
}

// await waits until the proposal is in one of the states.
func (w *world) await(handle string, states ...proposals.State) *proposals.Dossier {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		d, err := w.store.Get(ctx, tenant, proposals.Ref{Handle: handle})
		if err != nil {
			w.t.Fatal(err)
		}
		if slices.Contains(states, d.Proposal.State) {
			return d
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("the proposal is %s (%s %s), not %v", d.Proposal.State, d.Proposal.ReasonCode, d.Proposal.Say, states)
		case <-time.After(time.Millisecond):
		}
	}
}

func agent() *policy.Principal {
	return &policy.Principal{ID: "agent:triage", Kind: policy.Agent, Name: "Triage", Tenant: tenant, Roles: []string{"agent-support"},
		Owner: "user:olga", CredentialID: "key:1",
		For: &policy.Principal{ID: "user:maria", Kind: policy.Human, Name: "Maria", Tenant: tenant, Roles: []string{"support"}}}
}

func person(id string, roles ...string) *policy.Principal {
	return &policy.Principal{ID: id, Kind: policy.Human, Name: id, Tenant: tenant, Roles: roles, Interactive: true, CredentialID: "session:" + id}
}

// request is an update of one record, from "old" to value.
func (w *world) request(value string) *proposals.ProposeRequest {
	key := []connectors.Assign{{Field: "id", Value: connectors.Int(1)}}
	vars, _ := json.Marshal(map[string]string{"name": value})
	return &proposals.ProposeRequest{
		Author: agent(), Operation: "Rename", Document: "mutation Rename($name: String!) { x }", Variables: vars, Reason: "typo",
		Set: proposals.ChangeSet{
			Changes: []connectors.Change{{Version: connectors.ChangeVersion, Source: "crm", Tenant: tenant, Steps: []connectors.Step{{
				ID: "a", Kind: connectors.Update, Collection: "customers", Key: key, Class: w.src.class,
				Set: []connectors.Assign{{Field: "name", Value: connectors.String(value)}}}}}},
			Targets: []proposals.Target{{Source: "crm", Identity: "db:1", SchemaHash: "s1", Atomic: true}},
		},
		Effects: []*connectors.Effect{{Steps: []connectors.StepEffect{{Affected: 1,
			Before: []connectors.Record{{Key: key, Fields: []connectors.Assign{{Field: "id", Value: connectors.Int(1)}, {Field: "name", Value: connectors.String("old")}, {Field: "other", Value: connectors.String("x")}}}},
			After:  []connectors.Record{{Key: key, Fields: []connectors.Assign{{Field: "id", Value: connectors.Int(1)}, {Field: "name", Value: connectors.String(value)}, {Field: "other", Value: connectors.String("x")}}}},
		}}}},
	}
}

func (w *world) propose(value string) *proposals.Dossier {
	w.t.Helper()
	out, err := w.svc.Propose(context.Background(), w.request(value))
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Dossier
}

func decision(d *proposals.Dossier) proposals.Decide {
	r := d.Current()
	return proposals.Decide{Handle: d.Proposal.Handle, Revision: r.Number, ContentHash: r.ContentHash, ReviewHash: r.ReviewHash}
}

func (w *world) approve(d *proposals.Dossier) {
	w.t.Helper()
	if _, err := w.svc.Approve(context.Background(), person("user:lea", "lead"), decision(d)); err != nil {
		w.t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code connectors.Code) {
	t.Helper()
	if got := connectors.CodeOf(err); got != code {
		t.Fatalf("got %q (%v), want %q", got, err, code)
	}
}

// authority is policy and directory in one, to be changed by tests.
type authority struct {
	mu       sync.Mutex
	version  string
	people   map[string]*policy.Principal
	route    proposals.Route
	recheck  error           // of every author
	approve  map[string]bool // roles that hold approve
	confirms map[string]bool // persons whose own view allows
	blind    map[string]bool // persons who may not read it all
	amounts  func(proposals.Content) []policy.Amount
	routed   func(proposals.Content)
}

func newAuthority() *authority {
	a := &authority{version: "p1", people: map[string]*policy.Principal{}, approve: map[string]bool{"lead": true, "finance": true},
		confirms: map[string]bool{}, blind: map[string]bool{},
		route: proposals.Route{Rule: "r", Then: proposals.ThenReview, Requirement: proposals.Requirement{Seats: []proposals.Seat{{Role: "lead", Count: 1}}}}}
	ag := agent()
	for _, p := range []*policy.Principal{ag, ag.For, person("user:lea", "lead"), person("user:lou", "lead"), person("user:fin", "finance"),
		person("user:olga", "lead"), person("user:nobody")} {
		q := *p
		q.Interactive, q.For = false, nil
		a.people[p.ID] = &q
	}
	return a
}

func (a *authority) change(fn func(*authority)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fn(a)
}

// snapshot is immutable, as a real authorizer is.
func (a *authority) snapshot() *fixed {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := &fixed{version: a.version, route: a.route, recheck: a.recheck, amounts: a.amounts, routed: a.routed, approve: map[string]bool{}, confirms: map[string]bool{}, blind: map[string]bool{}}
	for k, v := range a.approve {
		f.approve[k] = v
	}
	for k, v := range a.confirms {
		f.confirms[k] = v
	}
	for k, v := range a.blind {
		f.blind[k] = v
	}
	return f
}

func (a *authority) Current(_ context.Context, _, id string) (*policy.Principal, time.Time, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.people[id]
	if !ok {
		return nil, time.Time{}, connectors.Errorf(connectors.CodeForbidden, "unknown")
	}
	q := *p
	return &q, time.Time{}, nil
}

// Persons implements policy.Directory: nobody has two accounts.
func (a *authority) Persons(_ context.Context, _ string, ids []string) (map[string]string, error) {
	out := map[string]string{}
	for _, id := range ids {
		out[id] = id
	}
	return out, nil
}

func (a *authority) Holders(_ context.Context, _ string, roles []string) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for id, p := range a.people {
		if p.Kind == policy.Human && slices.ContainsFunc(p.Roles, func(r string) bool { return slices.Contains(roles, r) }) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out, nil
}

type fixed struct {
	version                  string
	route                    proposals.Route
	recheck                  error
	amounts                  func(proposals.Content) []policy.Amount
	routed                   func(proposals.Content)
	approve, confirms, blind map[string]bool
}

func no(ok bool) error {
	if ok {
		return nil
	}
	return connectors.Errorf(connectors.CodeForbidden, "no")
}

func (f *fixed) Version() string { return f.version }
func (f *fixed) Recheck(_ context.Context, author *policy.Principal, _ proposals.Content) error {
	if f.recheck != nil {
		return f.recheck
	}
	return no(len(author.Roles) > 0)
}
func (f *fixed) MayApprove(_ context.Context, p *policy.Principal, _ proposals.Content) error {
	return no(slices.ContainsFunc(p.Roles, func(r string) bool { return f.approve[r] }))
}
func (f *fixed) Allows(_ context.Context, p *policy.Principal, _ proposals.Content) error {
	return no(f.confirms[p.ID])
}
func (f *fixed) Redact(_ context.Context, p *policy.Principal, r *proposals.Review) (*proposals.Review, bool, error) {
	return r, !f.blind[p.ID], nil
}
func (f *fixed) Amounts(_ context.Context, _ *policy.Principal, c proposals.Content) ([]policy.Amount, error) {
	if f.amounts == nil {
		return nil, nil
	}
	return f.amounts(c), nil
}
func (f *fixed) Roles(p *policy.Principal) []string { return p.Roles }
func (f *fixed) Granting(role string) []string      { return []string{role} }
func (f *fixed) Route(_ context.Context, _ *policy.Principal, c proposals.Content, _ *proposals.ReviewChange) (*proposals.Route, error) {
	if f.routed != nil {
		f.routed(c)
	}
	r := f.route
	return &r, nil
}
