package gateway

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// What a cache answers was put under that key last; what is used again and
// again stays; it never holds more than it may.
func TestGenerations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(0, 9).Draw(t, "most")
		g := newGenerations[string, int](most)
		put, recent := map[string]int{}, []string{}
		used := func(key string) {
			for i, k := range recent {
				if k == key {
					recent = append(recent[:i], recent[i+1:]...)
					break
				}
			}
			recent = append(recent, key)
		}
		for n := range rapid.IntRange(1, 60).Draw(t, "steps") {
			key := fmt.Sprint(rapid.IntRange(0, 12).Draw(t, "key"))
			var v int
			var ok bool
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				g.put(key, n)
				put[key] = n
				used(key)
				continue
			case 1:
				v, ok = g.get(key)
			case 2:
				v, ok = lookup(g, []byte(key))
			}
			want, known := put[key]
			if ok && (!known || v != want) {
				t.Fatalf("%s is %d, not %d (%t)", key, v, want, known)
			}
			// Half of what it holds at most is never lost: the young map.
			for i, k := range recent {
				if k == key && len(recent)-i <= max(2, most)/2 && !ok {
					t.Fatalf("%s was used just now and is gone", key)
				}
			}
			if ok {
				used(key)
			}
			if size := len(g.young) + len(g.old); size > max(2, most) {
				t.Fatalf("it holds %d of at most %d", size, most)
			}
		}
	})
}

func TestGenerationsConcurrently(t *testing.T) {
	g := newGenerations[string, int](8)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := range 2000 {
				key := fmt.Sprint(n % 13)
				if v, ok := g.get(key); ok && v != n%13 {
					t.Errorf("%s is %d", key, v)
				}
				g.put(key, n%13)
			}
		})
	}
	wg.Wait()
}
