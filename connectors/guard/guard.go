// Package guard holds decorators of connectors.Connector that keep one slow or
// broken system from taking the rest with it: a deadline per call, and a
// bulkhead that bounds how many calls one system has at once.
//
// They wrap the connector inside of the gate. They must not know what a call
// means: no permissions, no plans, no system. They never repeat a call.
package guard

import (
	"context"
	"iter"
	"sync/atomic"
	"time"

	"github.com/countersign/countersign/connectors"
)

// Limits of one source. Each has a default, which a zero value means.
type Limits struct {
	// Deadline bounds each call, and a query until its rows are closed;
	// DefaultDeadline. A shorter Select.Timeout or Change.Deadline counts.
	Deadline time.Duration
	// Concurrent is how many calls the source has at once; DefaultConcurrent.
	Concurrent int
	// Wait is how long a call waits for its turn; DefaultWait.
	Wait time.Duration
}

// The defaults of Limits.
const (
	DefaultDeadline   = 30 * time.Second
	DefaultConcurrent = 16
	DefaultWait       = time.Second
)

// Wrap puts both decorators before a connector: a call waits for its turn
// within its deadline.
func Wrap(c connectors.Connector, l Limits) connectors.Connector {
	return Deadline(Bulkhead(c, l.Concurrent, l.Wait), l.Deadline)
}

// Deadline ends calls that take longer than d (0: DefaultDeadline). For a query
// it covers the rows until they are closed. Watch has none. What a call answers
// when its context ends is the connector's to say: a write that was sent may
// answer CodeOutcomeUnknown.
func Deadline(c connectors.Connector, d time.Duration) connectors.Connector {
	if d <= 0 {
		d = DefaultDeadline
	}
	return &deadline{c, d}
}

type deadline struct {
	inner connectors.Connector
	limit time.Duration
}

// within is the shorter of the limit and what was asked for.
func (d *deadline) within(asked time.Duration) time.Duration {
	if asked > 0 && asked < d.limit {
		return asked
	}
	return d.limit
}

func (d *deadline) Describe(ctx context.Context) (*connectors.Schema, error) {
	ctx, cancel := context.WithTimeout(ctx, d.limit)
	defer cancel()
	return d.inner.Describe(ctx)
}

func (d *deadline) Query(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	var asked time.Duration
	if q != nil && q.Select != nil {
		asked = q.Select.Timeout
	}
	until := time.Now().Add(d.within(asked))
	ctx, cancel := before(ctx, until)
	rows, err := d.inner.Query(ctx, q)
	if err != nil {
		cancel()
		return nil, err
	}
	return &timedRows{inner: rows, until: until, cancel: cancel}, nil
}

// before bounds a context where it does not end sooner by itself: a request
// usually does, and another timer would only cost.
func before(ctx context.Context, until time.Time) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok && !end.After(until) {
		return ctx, nothing
	}
	return context.WithDeadline(ctx, until)
}

func nothing() {}

func (d *deadline) Preview(ctx context.Context, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	ctx, cancel := d.forChange(ctx, c)
	defer cancel()
	return d.inner.Preview(ctx, p, c)
}

func (d *deadline) Apply(ctx context.Context, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	ctx, cancel := d.forChange(ctx, c)
	defer cancel()
	return d.inner.Apply(ctx, p, c)
}

func (d *deadline) forChange(ctx context.Context, c *connectors.Change) (context.Context, context.CancelFunc) {
	var asked time.Duration
	if c != nil {
		asked = c.Deadline
	}
	return before(ctx, time.Now().Add(d.within(asked)))
}

func (d *deadline) Watch(ctx context.Context, q *connectors.Query) iter.Seq2[*connectors.Event, error] {
	return d.inner.Watch(ctx, q)
}

func (d *deadline) Close() error { return d.inner.Close() }

// timedRows keep the query's context until they are closed.
type timedRows struct {
	inner  connectors.Rows
	until  time.Time
	cancel context.CancelFunc
}

func (r *timedRows) Next(ctx context.Context) (*connectors.Block, error) {
	ctx, cancel := before(ctx, r.until)
	defer cancel()
	return r.inner.Next(ctx)
}

func (r *timedRows) Close() error {
	defer r.cancel()
	return r.inner.Close()
}

// Bulkhead lets n calls be under way at once (0: DefaultConcurrent); others
// wait at most for wait (0: DefaultWait) and are then refused with
// CodeUpstreamUnavailable and RetryAfter, before anything was sent. The code is
// that of a system that does not answer, because to the caller it is one, and
// RATE_LIMITED is said to those who asked too often themselves. A query keeps
// its place until its rows have ended or are closed. Watch has no place.
func Bulkhead(c connectors.Connector, n int, wait time.Duration) connectors.Connector {
	if n <= 0 {
		n = DefaultConcurrent
	}
	if wait <= 0 {
		wait = DefaultWait
	}
	return &bulkhead{inner: c, places: make(chan struct{}, n), wait: wait}
}

type bulkhead struct {
	inner  connectors.Connector
	places chan struct{}
	wait   time.Duration
}

// enter takes a place, which leave gives back.
func (b *bulkhead) enter(ctx context.Context) error {
	select {
	case b.places <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(b.wait)
	defer timer.Stop()
	select {
	case b.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return connectors.AsError(ctx.Err())
	case <-timer.C:
		e := connectors.Errorf(connectors.CodeUpstreamUnavailable, "the system has too many calls under way")
		e.RetryAfter = b.wait
		return e
	}
}

func (b *bulkhead) leave() { <-b.places }

func (b *bulkhead) Describe(ctx context.Context) (*connectors.Schema, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	return b.inner.Describe(ctx)
}

func (b *bulkhead) Query(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	rows, err := b.inner.Query(ctx, q)
	if err != nil {
		b.leave()
		return nil, err
	}
	return &placedRows{inner: rows, of: b}, nil
}

func (b *bulkhead) Preview(ctx context.Context, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	return b.inner.Preview(ctx, p, c)
}

func (b *bulkhead) Apply(ctx context.Context, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	return b.inner.Apply(ctx, p, c)
}

func (b *bulkhead) Watch(ctx context.Context, q *connectors.Query) iter.Seq2[*connectors.Event, error] {
	return b.inner.Watch(ctx, q)
}

func (b *bulkhead) Close() error { return b.inner.Close() }

// placedRows keep their place until nothing more comes.
type placedRows struct {
	inner connectors.Rows
	of    *bulkhead
	left  atomic.Bool
}

// leave gives the place back once.
func (r *placedRows) leave() {
	if r.left.CompareAndSwap(false, true) {
		r.of.leave()
	}
}

func (r *placedRows) Next(ctx context.Context) (*connectors.Block, error) {
	block, err := r.inner.Next(ctx)
	if block == nil || err != nil {
		r.leave()
	}
	return block, err
}

func (r *placedRows) Close() error {
	defer r.leave()
	return r.inner.Close()
}
