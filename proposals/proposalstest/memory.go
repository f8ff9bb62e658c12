// Package proposalstest has what tests of proposals and of their stores need:
// a store in memory, the conformance suite that every store runs, and sample
// records.
//
// It must not know any real store, source or policy.
package proposalstest

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/proposals"
)

// A Memory is a store in memory. Its transactions are serial. Rows are kept
// encoded, so nobody holds a pointer into it.
type Memory struct {
	// Clock is the store's clock. It must not be changed while in use.
	Clock func() time.Time

	mu   sync.Mutex
	data memoryData
}

// memoryData is replaced as a whole at a commit.
type memoryData struct {
	heads     map[string][]byte   // tenant/id
	revisions map[string][][]byte // tenant/id
	decisions map[string][][]byte
	attempts  map[string]map[attemptKey][]byte
	keys      map[string][]byte // tenant/principal/key
	control   map[string][]byte
	uses      map[string][]byte // tenant/principal
	outbox    map[string][]byte
	events    []audit.Event
}

type attemptKey struct{ change, number int }

// NewMemory makes an empty store whose clock is the machine's.
func NewMemory() *Memory {
	return &Memory{
		Clock: func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) },
		data: memoryData{
			heads: map[string][]byte{}, revisions: map[string][][]byte{}, decisions: map[string][][]byte{},
			attempts: map[string]map[attemptKey][]byte{}, keys: map[string][]byte{}, control: map[string][]byte{},
			outbox: map[string][]byte{}, uses: map[string][]byte{},
		},
	}
}

func (d memoryData) clone() memoryData {
	d.heads, d.keys = maps.Clone(d.heads), maps.Clone(d.keys)
	d.control, d.outbox = maps.Clone(d.control), maps.Clone(d.outbox)
	d.uses = maps.Clone(d.uses)
	d.revisions, d.decisions = maps.Clone(d.revisions), maps.Clone(d.decisions)
	d.attempts = maps.Clone(d.attempts)
	d.events = slices.Clone(d.events)
	return d
}

// Events are the audit events in the order of their commits.
func (m *Memory) Events() []audit.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.data.events)
}

// Outbox counts the messages that wait.
func (m *Memory) Outbox() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.data.outbox)
}

// Tx runs fn alone, on a copy.
func (m *Memory) Tx(ctx context.Context, fn func(proposals.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	tx := &memoryTx{data: m.data.clone(), now: m.Clock()}
	if err := fn(tx); err != nil {
		return err
	}
	m.data = tx.data
	return nil
}

// Get reads one dossier.
func (m *Memory) Get(_ context.Context, tenant string, by proposals.Ref) (*proposals.Dossier, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data.get(tenant, by)
}

// List lists heads, newest first.
func (m *Memory) List(_ context.Context, f proposals.Filter) ([]*proposals.Proposal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*proposals.Proposal
	for _, p := range m.data.all() {
		if p.Tenant == f.Tenant && matches(f, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *proposals.Proposal) int { return cmp.Compare(b.ID, a.ID) })
	return out[:min(len(out), f.Limit)], nil
}

func matches(f proposals.Filter, p *proposals.Proposal) bool {
	return (len(f.States) == 0 || slices.Contains(f.States, p.State)) &&
		(len(f.Author) == 0 || slices.Contains(f.Author, p.Author.Principal) ||
			p.Author.For != "" && slices.Contains(f.Author, p.Author.For)) &&
		!p.UpdatedAt.Before(f.UpdatedSince) &&
		(f.Before == "" || p.ID < f.Before)
}

// Due lists heads that somebody has to look at.
func (m *Memory) Due(_ context.Context, states []proposals.State, limit int) ([]*proposals.Proposal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Clock()
	var out []*proposals.Proposal
	for _, p := range m.data.all() {
		if slices.Contains(states, p.State) && !p.WakeAt.IsZero() && !p.WakeAt.After(now) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *proposals.Proposal) int {
		return cmp.Or(a.WakeAt.Compare(b.WakeAt), cmp.Compare(a.ID, b.ID))
	})
	return out[:min(len(out), limit)], nil
}

// Control reads the control row.
func (m *Memory) Control(_ context.Context, tenant string) (*proposals.Control, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data.controlOf(tenant)
}

// Use reads what a principal has in use.
func (m *Memory) Use(_ context.Context, tenant, principal string) (*proposals.Use, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data.use(tenant, principal)
}

// Now is the clock.
func (m *Memory) Now(context.Context) (time.Time, error) { return m.Clock(), nil }

func (d *memoryData) all() []*proposals.Proposal {
	out := make([]*proposals.Proposal, 0, len(d.heads))
	for _, raw := range d.heads {
		if p, err := decode[proposals.Proposal](raw); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func (d *memoryData) get(tenant string, by proposals.Ref) (*proposals.Dossier, error) {
	for _, p := range d.all() {
		if p.Tenant != tenant {
			continue
		}
		switch {
		case by.ID != "" && p.ID == by.ID, by.Handle != "" && p.Handle == by.Handle,
			by.DedupeKey != "" && p.DedupeKey == by.DedupeKey && p.State.Open() && !p.Deliberate:
			return d.dossier(p)
		}
	}
	return nil, proposals.ErrNotFound
}

func (d *memoryData) dossier(p *proposals.Proposal) (*proposals.Dossier, error) {
	out := &proposals.Dossier{Proposal: *p}
	key := p.Tenant + "/" + p.ID
	for _, raw := range d.revisions[key] {
		r, err := decode[proposals.Revision](raw)
		if err != nil {
			return nil, err
		}
		out.Revisions = append(out.Revisions, r)
	}
	for _, raw := range d.decisions[key] {
		r, err := decode[proposals.Decision](raw)
		if err != nil {
			return nil, err
		}
		out.Decisions = append(out.Decisions, r)
	}
	for _, raw := range d.attempts[key] {
		r, err := decode[proposals.Attempt](raw)
		if err != nil {
			return nil, err
		}
		out.Attempts = append(out.Attempts, r)
	}
	slices.SortFunc(out.Attempts, func(a, b *proposals.Attempt) int {
		return cmp.Or(cmp.Compare(a.Change, b.Change), cmp.Compare(a.Number, b.Number))
	})
	return out, nil
}

func (d *memoryData) controlOf(tenant string) (*proposals.Control, error) {
	raw, ok := d.control[tenant]
	if !ok {
		return &proposals.Control{Tenant: tenant}, nil
	}
	return decode[proposals.Control](raw)
}

func (d *memoryData) use(tenant, principal string) (*proposals.Use, error) {
	raw, ok := d.uses[tenant+"\x00"+principal]
	if !ok {
		return &proposals.Use{Tenant: tenant, Principal: principal}, nil
	}
	return decode[proposals.Use](raw)
}

type memoryTx struct {
	data memoryData
	now  time.Time
}

func (t *memoryTx) Now() (time.Time, error) { return t.now, nil }

func (t *memoryTx) Control(tenant string) (*proposals.Control, error) {
	return t.data.controlOf(tenant)
}

func (t *memoryTx) Use(tenant, principal string) (*proposals.Use, error) {
	return t.data.use(tenant, principal)
}

func (t *memoryTx) Get(tenant string, by proposals.Ref) (*proposals.Dossier, error) {
	return t.data.get(tenant, by)
}

func (t *memoryTx) Put(p *proposals.Proposal, was int64) error {
	key := p.Tenant + "/" + p.ID
	raw, there := t.data.heads[key]
	if there != (was != 0) {
		return proposals.ErrConflict
	}
	if there {
		old, err := decode[proposals.Proposal](raw)
		if err != nil {
			return err
		}
		if old.Version != was {
			return proposals.ErrConflict
		}
	}
	if p.State.Open() && !p.Deliberate {
		other, err := t.data.get(p.Tenant, proposals.Ref{DedupeKey: p.DedupeKey})
		if err == nil && other.Proposal.ID != p.ID {
			return proposals.ErrDuplicate
		}
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	t.data.heads[key] = raw
	return nil
}

func (t *memoryTx) Write(rows ...proposals.Row) error {
	for _, row := range rows {
		raw, err := json.Marshal(row)
		if err != nil {
			return err
		}
		if err := t.write(row, raw); err != nil {
			return err
		}
	}
	return nil
}

func (t *memoryTx) write(row proposals.Row, raw []byte) error {
	switch r := row.(type) {
	case *proposals.Revision:
		return appendNumbered(t.data.revisions, r.Tenant+"/"+r.Proposal, r.Number, raw)
	case *proposals.Decision:
		return appendNumbered(t.data.decisions, r.Tenant+"/"+r.Proposal, r.Number, raw)
	case *proposals.Attempt:
		key := r.Tenant + "/" + r.Proposal
		m := maps.Clone(t.data.attempts[key])
		if m == nil {
			m = map[attemptKey][]byte{}
		}
		m[attemptKey{r.Change, r.Number}] = raw
		t.data.attempts[key] = m
	case *proposals.IdempotencyRecord:
		t.data.keys[r.Tenant+"\x00"+r.Principal+"\x00"+r.Key] = raw
	case *proposals.OutboxMessage:
		if _, taken := t.data.outbox[r.ID]; taken {
			return proposals.ErrConflict
		}
		t.data.outbox[r.ID] = raw
	case *proposals.Control:
		old, err := t.data.controlOf(r.Tenant)
		if err != nil {
			return err
		}
		if r.Version != old.Version+1 {
			return proposals.ErrConflict
		}
		t.data.control[r.Tenant] = raw
	case *proposals.Use:
		old, err := t.data.use(r.Tenant, r.Principal)
		if err != nil {
			return err
		}
		if r.Version != old.Version+1 {
			return proposals.ErrConflict
		}
		t.data.uses[r.Tenant+"\x00"+r.Principal] = raw
	}
	return nil
}

// appendNumbered refuses a number that is not the next one.
func appendNumbered(m map[string][][]byte, key string, number int, raw []byte) error {
	if number != len(m[key])+1 {
		return proposals.ErrConflict
	}
	m[key] = append(slices.Clone(m[key]), raw)
	return nil
}

func (t *memoryTx) Idempotency(tenant, principal, key string) (*proposals.IdempotencyRecord, error) {
	raw, ok := t.data.keys[tenant+"\x00"+principal+"\x00"+key]
	if !ok {
		return nil, proposals.ErrNotFound
	}
	r, err := decode[proposals.IdempotencyRecord](raw)
	if err != nil {
		return nil, err
	}
	if !r.ExpiresAt.After(t.now) {
		return nil, proposals.ErrNotFound
	}
	return r, nil
}

func (t *memoryTx) Audit(e audit.Event) error {
	e.At = t.now
	t.data.events = append(t.data.events, e)
	return nil
}

func decode[T any](raw []byte) (*T, error) {
	out := new(T)
	return out, json.Unmarshal(raw, out)
}
