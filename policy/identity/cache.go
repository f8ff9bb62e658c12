package identity

import (
	"sync"
	"time"

	"github.com/countersign/countersign/policy"
)

// cacheAge is how long an answer may be reused: a revocation holds within it,
// on every node.
const cacheAge = time.Second

// cacheSize bounds how many answers are kept.
const cacheSize = 10_000

// A cache holds who a token was found to be, by the token's digest. Only valid
// ones: an answer of it is at most a second old.
type cache struct {
	now func() time.Time
	mu  sync.RWMutex
	m   map[string]cached
	gen uint64 // counts the times something was dropped
}

type cached struct {
	principal *policy.Principal
	until     time.Time
	id        string // of the credential; "" for JWTs
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, m: map[string]cached{}}
}

func (c *cache) get(hash []byte) *policy.Principal {
	c.mu.RLock()
	e, ok := c.m[string(hash)]
	c.mu.RUnlock()
	if !ok || !c.now().Before(e.until) {
		return nil
	}
	return e.principal
}

// generation is asked before the store is read, and given to put: an answer
// that was read before something was dropped is not kept.
func (c *cache) generation() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.gen
}

// put keeps an answer for at most cacheAge from begun, the time before the
// store was read.
func (c *cache) put(hash string, gen uint64, begun time.Time, e cached, lives time.Duration) {
	e.until = begun.Add(min(cacheAge, lives))
	c.mu.Lock()
	defer c.mu.Unlock()
	if gen != c.gen {
		return
	}
	if len(c.m) >= cacheSize {
		c.evict()
	}
	c.m[hash] = e
}

// evict makes room: what is over goes, and where that is nothing, anything.
func (c *cache) evict() {
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
func (c *cache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	clear(c.m)
}
