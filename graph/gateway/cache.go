package gateway

import "sync"

// A generations cache is bounded and cheap to read: what was used since the
// young map was begun is in it, what was not goes with the old one.
// Values are immutable. It may be used by any number of goroutines.
type generations[K comparable, V any] struct {
	mu    sync.RWMutex
	young map[K]V
	old   map[K]V
	max   int
}

func newGenerations[K comparable, V any](most int) *generations[K, V] {
	return &generations[K, V]{young: map[K]V{}, max: max(2, most)}
}

func (g *generations[K, V]) get(key K) (V, bool) {
	g.mu.RLock()
	v, ok := g.young[key]
	if ok {
		g.mu.RUnlock()
		return v, true
	}
	v, ok = g.old[key]
	g.mu.RUnlock()
	if ok {
		g.put(key, v)
	}
	return v, ok
}

func (g *generations[K, V]) put(key K, v V) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.young) >= g.max/2 {
		if _, there := g.young[key]; !there {
			g.old, g.young = g.young, make(map[K]V, g.max/2)
		}
	}
	g.young[key] = v
}

// lookup is get with a key that is not a string yet: nothing is allocated.
func lookup[V any](g *generations[string, V], key []byte) (V, bool) {
	g.mu.RLock()
	v, ok := g.young[string(key)]
	g.mu.RUnlock()
	if ok {
		return v, true
	}
	return g.get(string(key))
}
