package identity

import (
	"sync"
	"time"
)

// cacheAge is how long an answer may be reused: a revocation holds within it,
// on every node.
const cacheAge = time.Second

// cacheSize bounds how many answers are kept.
const cacheSize = 10_000

// A cache holds what was found of a token, by the token's digest: who it is of,
// for a second, and what a verified JWT says, until it is over. Only valid ones
// are in it.
type cache[V any] struct {
	now func() time.Time
	mu  sync.RWMutex
	m   map[string]cached[V]
	gen uint64 // counts the times something was dropped
}

type cached[V any] struct {
	value V
	until time.Time
}

func newCache[V any](now func() time.Time) *cache[V] {
	return &cache[V]{now: now, m: map[string]cached[V]{}}
}

// get answers the zero value where there is nothing that still holds.
func (c *cache[V]) get(hash []byte) (value V) {
	c.mu.RLock()
	e, ok := c.m[string(hash)]
	c.mu.RUnlock()
	if !ok || !c.now().Before(e.until) {
		return value
	}
	return e.value
}

// generation is asked before the store is read, and given to put: an answer
// that was read before something was dropped is not kept.
func (c *cache[V]) generation() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.gen
}

// put keeps an answer that was asked for in a generation, until a time.
func (c *cache[V]) put(hash string, gen uint64, value V, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if gen != c.gen {
		return
	}
	if len(c.m) >= cacheSize {
		c.evict()
	}
	c.m[hash] = cached[V]{value: value, until: until}
}

// evict makes room: what is over goes, and where that is nothing, anything.
func (c *cache[V]) evict() {
	now := c.now()
	for hash, e := range c.m {
		if !now.Before(e.until) {
			delete(c.m, hash)
		}
	}
	for hash := range c.m {
		if len(c.m) < cacheSize {
			return
		}
		delete(c.m, hash)
	}
}

// drop forgets everything: somebody's rights or credentials changed on this
// node, and hold at once here.
func (c *cache[V]) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	clear(c.m)
}
