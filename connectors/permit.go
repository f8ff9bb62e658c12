package connectors

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"iter"
	"sync"
	"time"
)

// PermitKind says what a permit is for.
type PermitKind string

// The two things that need a permit.
const (
	PermitPreview PermitKind = "preview"
	PermitApply   PermitKind = "apply"
)

// A Permit lets one very change be previewed or applied once. Its zero value
// and nil let nothing be done. Only an Issuer makes one that a gate accepts.
type Permit struct {
	kind     PermitKind
	source   string
	digest   [sha256.Size]byte
	epoch    int64
	deadline time.Time
	nonce    [16]byte
}

// Epoch is the epoch of the execution the permit was issued for; 0 for others.
func (p *Permit) Epoch() int64 {
	if p == nil {
		return 0
	}
	return p.epoch
}

// A Gate stands before every connector: no Preview and no Apply passes without
// a permit that its Issuer made for this very change, unspent and in time.
// All methods may be called concurrently.
type Gate struct {
	mu   sync.Mutex
	live map[[16]byte]*Permit
	now  func() time.Time
}

// An Issuer makes permits for its gate. It is handed to those two that may
// write: the executor of direct writes and the executor of proposals.
type Issuer struct{ gate *Gate }

// NewGate makes a gate and its issuer. The program calls it once.
func NewGate(now func() time.Time) (*Gate, *Issuer) {
	if now == nil {
		now = time.Now
	}
	g := &Gate{live: make(map[[16]byte]*Permit), now: now}
	return g, &Issuer{gate: g}
}

// Issue makes a permit for c on its source until the deadline. A permit of the
// past, or for a change without a source, is issued and never accepted.
func (i *Issuer) Issue(kind PermitKind, c *Change, epoch int64, deadline time.Time) *Permit {
	p := &Permit{kind: kind, source: c.Source, digest: c.Digest(), epoch: epoch, deadline: deadline}
	rand.Read(p.nonce[:]) // never fails: crypto/rand aborts the program instead
	i.gate.mu.Lock()
	defer i.gate.mu.Unlock()
	i.gate.sweep()
	i.gate.live[p.nonce] = p
	return p
}

// Revoke makes a permit useless; a spent one is left alone.
func (i *Issuer) Revoke(p *Permit) {
	if p == nil {
		return
	}
	i.gate.mu.Lock()
	defer i.gate.mu.Unlock()
	delete(i.gate.live, p.nonce)
}

// sweep forgets permits that were never used. Called with the lock held.
func (g *Gate) sweep() {
	if len(g.live) < 1024 {
		return
	}
	now := g.now()
	for n, p := range g.live {
		if now.After(p.deadline) {
			delete(g.live, n)
		}
	}
}

func (g *Gate) spend(p *Permit, kind PermitKind, source string, c *Change) error {
	if p == nil || c == nil {
		return unpermitted()
	}
	g.mu.Lock()
	known, ok := g.live[p.nonce]
	ok = ok && known == p
	if ok {
		delete(g.live, p.nonce)
	}
	g.mu.Unlock()
	if !ok || p.kind != kind || p.source != source || c.Source != source || g.now().After(p.deadline) {
		return unpermitted()
	}
	d := c.Digest()
	if subtle.ConstantTimeCompare(d[:], p.digest[:]) != 1 {
		return unpermitted()
	}
	return nil
}

func unpermitted() error { return Errorf(CodeForbidden, "a write without a permit was refused") }

// Wrap puts the gate before a connector. It is the outermost decorator, and
// nobody else keeps the raw connector.
func (g *Gate) Wrap(source string, c Connector) Connector { return &gated{g, source, c} }

type gated struct {
	gate   *Gate
	source string
	inner  Connector
}

func (w *gated) Describe(ctx context.Context) (*Schema, error) { return w.inner.Describe(ctx) }

func (w *gated) Query(ctx context.Context, q *Query) (Rows, error) { return w.inner.Query(ctx, q) }

func (w *gated) Preview(ctx context.Context, p *Permit, c *Change) (*Effect, error) {
	if err := w.gate.spend(p, PermitPreview, w.source, c); err != nil {
		return nil, err
	}
	return w.inner.Preview(ctx, nil, c)
}

func (w *gated) Apply(ctx context.Context, p *Permit, c *Change) (*Effect, error) {
	if err := w.gate.spend(p, PermitApply, w.source, c); err != nil {
		return nil, err
	}
	return w.inner.Apply(ctx, nil, c)
}

func (w *gated) Watch(ctx context.Context, q *Query) iter.Seq2[*Event, error] {
	return w.inner.Watch(ctx, q)
}

func (w *gated) Close() error { return w.inner.Close() }
