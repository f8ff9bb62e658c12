package policy

import (
	"encoding/binary"
	"slices"
	"sync"
	"weak"
)

// A sharing lets views have one Access where the same lines give it: role sets
// are many, and most differ in few objects. It keeps nothing alive that no view
// holds. It may be used concurrently.
type sharing struct {
	mu      sync.Mutex
	entries map[string]weak.Pointer[Access]
	// sweep is the number of entries at which those that are gone are dropped.
	sweep int
}

const sweepFirst = 4096

func (s *sharing) get(key string) *Access {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.entries[key]; ok {
		return p.Value()
	}
	return nil
}

func (s *sharing) put(key string, a *Access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries, s.sweep = map[string]weak.Pointer[Access]{}, sweepFirst
	}
	if len(s.entries) >= s.sweep {
		for k, p := range s.entries {
			if p.Value() == nil {
				delete(s.entries, k)
			}
		}
		s.sweep = max(sweepFirst, 2*len(s.entries))
	}
	s.entries[key] = weak.Make(a)
}

// accessKey writes down all that an Access is made of: the lines of each person,
// which of them are of one role, and the places of their parameters in the view's
// table. It numbers the roles anew, so that roles without a line for the object
// make no difference, and gives every parameter its place.
func accessKey(object int32, canDecide bool, people []*grants, table *paramTable) string {
	key := binary.AppendUvarint(make([]byte, 0, 64), uint64(object))
	if canDecide {
		key = append(key, 1)
	}
	var roles []int
	for _, g := range people {
		roles = roles[:0]
		key = binary.AppendUvarint(append(key, 0), uint64(len(g.lets)))
		key = binary.AppendUvarint(key, uint64(len(g.denies)))
		for _, list := range [][]grant{g.lets, g.denies} {
			for i := range list {
				l := &list[i]
				at := slices.Index(roles, l.role)
				if at < 0 {
					at, roles = len(roles), append(roles, l.role)
				}
				l.role = at
				for _, n := range []int{l.line.index, l.at, at} {
					key = binary.AppendUvarint(key, uint64(n))
				}
				key = l.line.bound[object].appendParams(key, table)
			}
		}
	}
	return string(key)
}

func (b *lineBound) appendParams(key []byte, table *paramTable) []byte {
	if b == nil {
		return key
	}
	var lists [][]Param
	if b.where != nil {
		lists = append(lists, b.where.Params)
	}
	if b.check != nil {
		lists = append(lists, b.check.Params)
	}
	if b.set != nil {
		lists = append(lists, b.set.Params)
	}
	for _, params := range lists {
		for _, p := range params {
			key = binary.AppendUvarint(key, uint64(table.add(p)))
		}
	}
	return key
}
