package identity_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/store"
)

// A clock that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// cheap makes hashes that cost nothing worth waiting for.
var cheap = identity.PasswordCost{MemoryKiB: 64, Passes: 1, Threads: 1}

const password = "correct horse battery"

// A house is a service over a real store with a clock of its own.
type house struct {
	*identity.Service
	t     testing.TB
	store *store.Store
	clock *clock
}

func agents() map[string]identity.Agent {
	return map[string]identity.Agent{
		"triage":       {Owner: "lead@acme.example", Roles: []string{"agent-support"}, ActsFor: identity.ActsForRequired, Purpose: "drafts"},
		"housekeeping": {Owner: "lead@acme.example", Roles: []string{"agent-ops"}, ActsFor: identity.ActsForNever},
		"helper":       {Owner: "lead@acme.example", Roles: []string{"b", "a"}},
	}
}

// newHouse opens a store with lead and maria in it.
func newHouse(t testing.TB, change func(*identity.Config), opts identity.Options) *house {
	t.Helper()
	h := &house{t: t, clock: newClock()}
	var err error
	h.store, err = store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), store.Options{Mode: store.Tool, Now: h.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.store.Close(); err != nil {
			t.Error(err)
		}
	})
	h.Service = h.node(change, opts)
	for user, roles := range map[string][]string{"lead@acme.example": {"lead", "support"}, "Maria@acme.example": {"support"}} {
		if _, err := h.AddUser(t.Context(), nil, identity.NewUser{User: user, Roles: roles, Password: password}); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// node is another service over the same store.
func (h *house) node(change func(*identity.Config), opts identity.Options) *identity.Service {
	h.t.Helper()
	cfg := identity.Config{LocalUsers: true, Agents: agents(), Password: cheap}
	if change != nil {
		change(&cfg)
	}
	opts.Now = h.clock.now
	s, err := identity.New(cfg, h.store, opts)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *house) signIn(user string) *identity.Session {
	h.t.Helper()
	s, err := h.SignIn(h.t.Context(), identity.Attempt{User: user, Password: password, Address: "192.0.2.1"})
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// who authenticates a bearer.
func (h *house) who(bearer string) (*policy.Principal, error) {
	return h.Authenticate(h.t.Context(), identity.Credentials{Bearer: bearer})
}

func (h *house) mustBe(bearer, id string) *policy.Principal {
	h.t.Helper()
	p, err := h.who(bearer)
	if err != nil {
		h.t.Fatal(err)
	}
	if p.ID != id {
		h.t.Fatalf("is %s, want %s", p.ID, id)
	}
	return p
}

func wantCode(t testing.TB, err error, code connectors.Code) {
	t.Helper()
	if connectors.CodeOf(err) != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kinds are the kinds of the tenant's audit events, oldest first.
func (h *house) kinds() []string {
	h.t.Helper()
	records, err := h.store.Events(h.t.Context(), policy.DefaultTenant, "", 0, 1000)
	must(h.t, err)
	var out []string
	for i := len(records) - 1; i >= 0; i-- {
		out = append(out, records[i].Kind)
	}
	return out
}
