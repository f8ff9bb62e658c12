package proposals

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"
)

// rereadEvery is how often what other nodes did is read, and rereadBehind how
// far back: a transaction may commit that long after its clock was read.
const (
	rereadEvery  = 2 * time.Second
	rereadBehind = 15 * time.Second
	rereadPage   = 200
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

// Run tells listeners what other nodes did, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(rereadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, tenant := range s.watch.tenants() {
			if err := s.reread(ctx, tenant); err != nil && ctx.Err() == nil {
				s.cfg.Log.WarnContext(ctx, "proposals: reading what changed", "error", err)
			}
		}
	}
}

func (s *Service) reread(ctx context.Context, tenant string) error {
	now, err := s.cfg.Store.Now(ctx)
	if err != nil {
		return err
	}
	f := Filter{Tenant: tenant, UpdatedSince: now.Add(-rereadBehind), Limit: rereadPage}
	for {
		page, err := s.cfg.Store.List(ctx, f)
		if err != nil {
			return err
		}
		for _, p := range page {
			s.watch.publish(p.Tenant, p.Handle, p.Version)
		}
		if len(page) < f.Limit {
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
