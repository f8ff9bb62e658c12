package policy

import (
	"container/list"
	"sync"
)

// viewCache keeps the views used last. It is bounded: role sets come from
// tokens. It decides speed only; what falls out is built again.
type viewCache struct {
	mu      sync.Mutex
	most    int
	entries map[string]*list.Element
	order   *list.List // of *cachedView, the last used first
}

type cachedView struct {
	key  string
	once sync.Once
	view *View
}

func newViewCache(most int) *viewCache {
	if most <= 0 {
		most = 256
	}
	return &viewCache{most: most, entries: map[string]*list.Element{}, order: list.New()}
}

// get builds each view once, however many ask for it at the same time; the lock
// is not held meanwhile.
func (c *viewCache) get(key string, build func() *View) *View {
	c.mu.Lock()
	el := c.entries[key]
	if el == nil {
		el = c.order.PushFront(&cachedView{key: key})
		c.entries[key] = el
		if c.order.Len() > c.most {
			last := c.order.Back()
			c.order.Remove(last)
			delete(c.entries, last.Value.(*cachedView).key)
		}
	} else {
		c.order.MoveToFront(el)
	}
	entry := el.Value.(*cachedView)
	c.mu.Unlock()
	entry.once.Do(func() { entry.view = build() })
	return entry.view
}

// decisionCache keeps the compiled decisions of one act on one object by field
// set. Field sets come from documents, so it is bounded: when full it begins
// anew.
type decisionCache struct {
	mu      sync.Mutex
	entries map[string]*Decision
}

const decisionsKept = 512

func (c *decisionCache) get(key string, make_ func() *Decision) *Decision {
	c.mu.Lock()
	d := c.entries[key]
	c.mu.Unlock()
	if d != nil {
		return d
	}
	d = make_()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil || len(c.entries) >= decisionsKept {
		c.entries = map[string]*Decision{}
	}
	c.entries[key] = d
	return d
}
