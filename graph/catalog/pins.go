package catalog

import "context"

// Pins keeps locks where all nodes find them. The store implements it; it
// caches what stands in countersign.lock beside the configuration and is never
// the truth.
type Pins interface {
	// Pin keeps the text of a lock under its version, for good.
	Pin(ctx context.Context, version string, text []byte) error
	// Pinned gives it back; CodeNotFound where it was never kept.
	Pinned(ctx context.Context, version string) ([]byte, error)
}

// Names are the names of one source's things in the graph before any prefix
// and rename: what the lock pins so that a better rule for names moves nothing.
type Names struct {
	Collections map[string]CollectionNames // by the system's name
	Functions   map[string]string          // root fields by the system's name
	Types       map[string]string          // types of enums and nested objects
}

// CollectionNames are the names that a collection's others derive from.
type CollectionNames struct {
	Type, Single, Plural string
	Fields               map[string]string // by the system's name
}

func (n *Names) collection(system string) (CollectionNames, bool) {
	if n == nil {
		return CollectionNames{}, false
	}
	c, ok := n.Collections[system]
	return c, ok && validName(c.Type) && validName(c.Single) && validName(c.Plural)
}

func (n *Names) function(system, otherwise string) string {
	if n != nil && validName(n.Functions[system]) {
		return n.Functions[system]
	}
	return otherwise
}

func (n *Names) typeName(system, otherwise string) string {
	if n != nil && validName(n.Types[system]) {
		return n.Types[system]
	}
	return otherwise
}
