package proposals

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// rereadEvery is how often what other nodes did is read, and rereadBehind how
// far back: a transaction may commit that long after its clock was read.
const (
	rereadEvery  = 2 * time.Second
	rereadBehind = 15 * time.Second
	rereadPage   = 200
	// maxSeen bounds what is remembered as told; what is forgotten may be told
	// again.
	maxSeen = 10_000
	// changedRetry is the first wait of GetChanged.
	changedRetry = 50 * time.Millisecond
)

// watchers tell who listens which proposals changed: handles, nothing else.
type watchers struct {
	mu   sync.Mutex
	all  map[*watcher]bool
	seen map[string]int64 // handle → version told last
}

type watcher struct {
	tenant  string
	pending []string // under watchers.mu; each handle once
	wake    chan struct{}
}

func newWatchers() *watchers {
	return &watchers{all: map[*watcher]bool{}, seen: map[string]int64{}}
}

// publish never waits: what a slow listener has not taken is kept once.
func (w *watchers) publish(tenant, handle string, version int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) == 0 {
		clear(w.seen)
		return
	}
	if w.seen[handle] >= version {
		return
	}
	if len(w.seen) >= maxSeen {
		clear(w.seen)
	}
	w.seen[handle] = version
	for x := range w.all {
		if x.tenant == tenant && !slices.Contains(x.pending, handle) {
			x.pending = append(x.pending, handle)
			select {
			case x.wake <- struct{}{}:
			default:
			}
		}
	}
}

// tenants that somebody listens to.
func (w *watchers) tenants() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for x := range w.all {
		if !slices.Contains(out, x.tenant) {
			out = append(out, x.tenant)
		}
	}
	return out
}

// Watch yields the handle of each proposal of the tenant that changed, until
// ctx ends or the consumer stops. Several changes of one proposal may be told
// as one. A handle is no content and enables nothing: the consumer reads it
// with Get as whoever it is for. Registered when Watch returns.
func (s *Service) Watch(ctx context.Context, tenant string) iter.Seq[string] {
	x := &watcher{tenant: tenant, wake: make(chan struct{}, 1)}
	s.watch.mu.Lock()
	s.watch.all[x] = true
	s.watch.mu.Unlock()
	drop := func() {
		s.watch.mu.Lock()
		delete(s.watch.all, x)
		s.watch.mu.Unlock()
	}
	// A consumer that never begins to range does not stay registered.
	context.AfterFunc(ctx, drop)
	return func(yield func(string) bool) {
		defer drop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-x.wake:
			}
			s.watch.mu.Lock()
			batch := x.pending
			x.pending = nil
			s.watch.mu.Unlock()
			for _, handle := range batch {
				if !yield(handle) {
					return
				}
			}
		}
	}
}

// GetChanged is Get for who was told that a proposal changed: while the store is
// away it waits, until ctx ends, so that what was told is not lost.
func (s *Service) GetChanged(ctx context.Context, viewer *policy.Principal, handle string) (*Entry, error) {
	for wait := changedRetry; ; wait = min(2*wait, rereadEvery) {
		e, err := s.Get(ctx, viewer, handle)
		if err == nil || connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable || connectors.AsError(err).Source != "store" {
			return e, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// Run tells listeners what other nodes did, until ctx ends. What could not be
// read, because the store was away or this process stood still, is read later:
// each time from the last that it could be.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(rereadEvery)
	defer tick.Stop()
	read := map[string]time.Time{} // tenant → when what changed was last read, by this machine's clock
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		tenants := s.watch.tenants()
		maps.DeleteFunc(read, func(tenant string, _ time.Time) bool { return !slices.Contains(tenants, tenant) })
		for _, tenant := range tenants {
			if err := s.reread(ctx, tenant, read); err != nil && ctx.Err() == nil {
				s.cfg.Log.WarnContext(ctx, "proposals: reading what changed", "error", err)
			}
		}
	}
}

// reread tells what changed since the last reading, which it notes.
func (s *Service) reread(ctx context.Context, tenant string, read map[string]time.Time) error {
	begun := time.Now()
	last, ok := read[tenant]
	if !ok {
		// Somebody listens since the last tick.
		last = begun.Add(-rereadEvery)
		read[tenant] = last
	}
	now, err := s.cfg.Store.Now(ctx)
	if err != nil {
		return err
	}
	f := Filter{Tenant: tenant, UpdatedSince: now.Add(-time.Since(last) - rereadBehind), Limit: rereadPage}
	for {
		page, err := s.cfg.Store.List(ctx, f)
		if err != nil {
			return err
		}
		for _, p := range page {
			s.watch.publish(p.Tenant, p.Handle, p.Version)
		}
		if len(page) < f.Limit {
			read[tenant] = begun
			return nil
		}
		f.Before = page[len(page)-1].ID
	}
}

// Await answers the proposal's dossier once done says so of its head, or as it
// stands when ctx ends (without an error), whichever is first. For waiting for
// what a rule approved at once.
func (s *Service) Await(ctx context.Context, tenant, handle string, done func(*Proposal) bool) (*Dossier, error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	changes := s.Watch(watching, tenant)
	outside := context.WithoutCancel(ctx)
	d, err := s.cfg.Store.Get(outside, tenant, Ref{Handle: handle})
	if err != nil || done(&d.Proposal) {
		return d, outward(err)
	}
	for changed := range changes {
		if changed != handle {
			continue
		}
		if d, err = s.cfg.Store.Get(outside, tenant, Ref{Handle: handle}); err != nil || done(&d.Proposal) {
			return d, outward(err)
		}
	}
	d, err = s.cfg.Store.Get(outside, tenant, Ref{Handle: handle})
	return d, outward(err)
}
