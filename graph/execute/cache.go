package execute

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"golang.org/x/sync/singleflight"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// A Cache keeps the answers of steps that the configuration says may be kept,
// and lets equal ones under way share one call. It decides speed, never
// correctness: a key holds the tenant, the source, the versions of catalog and
// authority, the statement and every bound value, claims included; entries may
// vanish at any time. Its methods may be called concurrently.
type Cache struct {
	// ttl is how long answers of a source's collection or function are kept; 0:
	// not at all.
	ttl     func(source, name string) time.Duration
	store   *ristretto.Cache[string, []*connectors.Block]
	flights singleflight.Group

	mu sync.RWMutex
	// generations count the writes to each source through us.
	generations map[string]*atomic.Uint64
}

// NewCache makes a cache of at most size bytes. ttl answers, for a source and
// the collection or function by the system's own name, how long answers may be
// kept; most are 0.
func NewCache(size int64, ttl func(source, name string) time.Duration) (*Cache, error) {
	store, err := ristretto.NewCache(&ristretto.Config[string, []*connectors.Block]{
		NumCounters: max(1000, size/100), MaxCost: size, BufferItems: 64, IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, connectors.Errorf(connectors.CodeInternal, "the cache cannot be made").WithCause(err)
	}
	return &Cache{ttl: ttl, store: store, generations: map[string]*atomic.Uint64{}}, nil
}

// Close ends the cache's own goroutines.
func (c *Cache) Close() { c.store.Close() }

// Wrote makes everything kept of a source useless: it was written to.
func (c *Cache) Wrote(source string) {
	if c != nil {
		c.generation(source).Add(1)
	}
}

func (c *Cache) generation(source string) *atomic.Uint64 {
	c.mu.RLock()
	g := c.generations[source]
	c.mu.RUnlock()
	if g != nil {
		return g
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if g = c.generations[source]; g == nil {
		g = new(atomic.Uint64)
		c.generations[source] = g
	}
	return g
}

// keeps is how long the step's answers may be kept.
func (c *Cache) keeps(s *plan.Step) time.Duration {
	if c == nil || c.ttl == nil {
		return 0
	}
	name := s.Select.Collection
	if name == "" {
		name = s.Select.Function
	}
	return c.ttl(s.Source, name)
}

// through answers from what is kept or under way, or asks. Blocks are shared
// between requests and never changed.
func (c *Cache) through(r *run, s *plan.Step, q *connectors.Query, source connectors.Connector, ttl time.Duration) ([]*connectors.Block, error) {
	key := c.key(r.in, s, q)
	if blocks, ok := c.store.Get(key); ok {
		kept(r.ctx, s, q)
		return blocks, nil
	}
	mine := false
	v, err, shared := c.flights.Do(key, func() (any, error) {
		mine = true
		r.calls.Add(1)
		blocks, err := fetch(r.ctx, source, q, nil)
		if err != nil {
			return nil, err
		}
		c.store.SetWithTTL(key, blocks, sizeOf(blocks), ttl)
		return blocks, nil
	})
	if err == nil {
		if !mine {
			kept(r.ctx, s, q)
		}
		blocks, _ := v.([]*connectors.Block)
		return blocks, nil
	}
	if shared && r.ctx.Err() == nil && connectors.CodeOf(err) == connectors.CodeTimeout {
		// The one who asked may have been cancelled; that is not our end.
		r.calls.Add(1)
		return fetch(r.ctx, source, q, nil)
	}
	return nil, err
}

// kept tells whoever asks for an explanation that nothing was sent.
func kept(ctx context.Context, s *plan.Step, q *connectors.Query) {
	if t := connectors.TraceOf(ctx); t != nil {
		t.Add(connectors.Sent{Source: s.Source, Object: q.Select.Collection + q.Select.Function, Keys: len(q.Bind), Kept: true, Began: time.Now()})
	}
}

func sizeOf(blocks []*connectors.Block) int64 {
	n := int64(64)
	for _, b := range blocks {
		n += int64(len(b.Data) + 4*len(b.Ends) + 4*len(b.Bind))
	}
	return n
}

// key digests everything that decides the answer. Parts are separated by their
// lengths, so that no two lists of parts are one.
func (c *Cache) key(in *plan.Bindings, s *plan.Step, q *connectors.Query) string {
	b := make([]byte, 0, 512)
	for _, part := range []string{in.Tenant, s.Source, in.Version, in.Authority, q.Select.Key} {
		b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
	}
	b = binary.AppendUvarint(b, c.generation(s.Source).Load())
	for _, v := range q.Args {
		b = v.AppendCanonical(b)
	}
	b = binary.AppendUvarint(append(b, 0), uint64(len(q.Bind)))
	for _, entry := range q.Bind {
		for _, v := range entry {
			b = v.AppendCanonical(b)
		}
	}
	sum := sha256.Sum256(b)
	return string(sum[:])
}

// fetch reads all blocks of a query.
func fetch(ctx context.Context, c connectors.Connector, q *connectors.Query, into []*connectors.Block) ([]*connectors.Block, error) {
	rows, err := c.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for {
		b, err := rows.Next(ctx)
		if err != nil {
			return nil, err
		}
		if b == nil {
			return into, nil
		}
		if b.Rows() > 0 {
			into = append(into, b)
		}
	}
}
