package sql

import (
	"sync"

	"github.com/countersign/countersign/connectors"
)

// cacheSize bounds the compiled selects of one engine. Beyond it any one is
// dropped: it costs compiling again and nothing else.
const cacheSize = 1024

// A cacheKey is a shape and which values of its cursors are null.
type cacheKey struct {
	key           string
	after, before uint32
}

// A cache keeps compiled selects.
type cache struct {
	mu   sync.RWMutex
	byID map[cacheKey]*statement
}

// get returns the compiled select, compiling it where it is not there. A select
// without a key is compiled each time.
func (c *cache) get(m *model, s *connectors.Select, args []connectors.Value) (*statement, error) {
	after, before := cursorMasks(s, args)
	if s.Key == "" {
		return compileSelect(m, s, after, before)
	}
	key := cacheKey{s.Key, after, before}
	c.mu.RLock()
	st := c.byID[key]
	c.mu.RUnlock()
	if st != nil {
		return st, nil
	}
	st, err := compileSelect(m, s, after, before)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.byID[key]; old != nil {
		return old, nil
	}
	if c.byID == nil {
		c.byID = make(map[cacheKey]*statement)
	}
	for k := range c.byID {
		if len(c.byID) < cacheSize {
			break
		}
		delete(c.byID, k)
	}
	c.byID[key] = st
	return st, nil
}
