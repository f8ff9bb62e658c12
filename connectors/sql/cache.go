package sql

import (
	"sync"

	"github.com/countersign/countersign/connectors"
)

// cacheSize bounds the compiled selects of one engine. Beyond it any one is
// dropped: it costs compiling again and nothing else.
const cacheSize = 1024

// A cacheKey is a shape and the form of its values.
type cacheKey struct {
	key  string
	form form
}

// A form is what of a query's values decides its SQL: which values of the
// cursors are null, and whether there is a single entry to join with.
type form struct {
	after, before uint32
	one           bool
}

// formOf is the form of a query's values.
func formOf(q *connectors.Query) form {
	s := q.Select
	f := form{one: len(q.Bind) == 1 && len(s.Bind) == 1 && s.Page == nil && s.Aggregate == nil}
	f.after, f.before = cursorMasks(s, q.Args)
	return f
}

// A cache keeps compiled selects, and updates that read what they wrote.
type cache struct {
	mu   sync.RWMutex
	byID map[cacheKey]*statement
}

// get returns the compiled select, compiling it where it is not there. A select
// without a key is compiled each time.
func (c *cache) get(m *model, q *connectors.Query) (*statement, error) {
	s, f := q.Select, formOf(q)
	if s.Key == "" {
		return compileSelect(m, s, f)
	}
	return c.find(cacheKey{s.Key, f}, func() (*statement, error) { return compileSelect(m, s, f) })
}

// find returns what is kept under a key, or compiles and keeps it.
func (c *cache) find(key cacheKey, compile func() (*statement, error)) (*statement, error) {
	c.mu.RLock()
	st := c.byID[key]
	c.mu.RUnlock()
	if st != nil {
		return st, nil
	}
	st, err := compile()
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
