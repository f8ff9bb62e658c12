package proposals

import (
	"slices"

	"github.com/countersign/countersign/connectors"
)

// A ChangeSet is what a mutation operation would do: changes in order, each on
// one source, and what they rest on. It is stored and never derived again from
// GraphQL text.
type ChangeSet struct {
	Changes []connectors.Change `json:"changes"`
	// Targets, one per source that a change is on.
	Targets []Target `json:"targets"`
}

// A Target is the system that a change is meant for.
type Target struct {
	Source string `json:"source"`
	// Identity names the system itself beyond its address (Schema.Identity): what
	// was approved for one system cannot run on another.
	Identity string `json:"identity"`
	// SchemaHash is over the pinned schema of what the changes touch.
	SchemaHash string `json:"schemaHash"`
	// Atomic: several steps on it are all or none.
	Atomic bool `json:"atomic,omitempty"`
	// Sensitive are fields ("collection.field", "function.argument") whose
	// values enter hashes as HMAC and are shown to nobody.
	Sensitive []string `json:"sensitive,omitempty"`
}

// Sources lists the sources of the changes in order, each once; none of nil.
func (s *ChangeSet) Sources() []string {
	if s == nil {
		return nil
	}
	var out []string
	seen := make(map[string]bool)
	for i := range s.Changes {
		if name := s.Changes[i].Source; !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// ClassOf is what can be known about a change after a crash: the weakest class
// of its steps, which share one transaction where it is transactional.
func ClassOf(s *ChangeSet, change int) connectors.OutcomeClass {
	if change < 0 || change >= len(s.Changes) {
		return connectors.Unverifiable
	}
	order := []connectors.OutcomeClass{connectors.Transactional, connectors.Conditional, connectors.Idempotent,
		connectors.Verifiable, connectors.Searchable, connectors.Unverifiable}
	weakest := 0
	for i := range s.Changes[change].Steps {
		at := slices.Index(order, s.Changes[change].Steps[i].Class)
		if at < 0 {
			return connectors.Unverifiable
		}
		weakest = max(weakest, at)
	}
	return order[weakest]
}
