package proposals_test

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/countersign/countersign/connectors"
)

// A source is a system of record that counts effects. It is of class
// transactional (markers), idempotent (keys) or unverifiable (neither), and can
// drop, delay and refuse.
type source struct {
	class connectors.OutcomeClass

	mu      sync.Mutex
	effects int
	sent    int // real requests that arrived
	digests []string
	markers map[string]string // proposal/change → "void" or "done"
	keys    map[string]bool
	value   string // of the one record
	faults  []fault
}

// A fault concerns one call, in order. before is answered without doing
// anything; after replaces the answer of what was done.
type fault struct {
	before, after error
	entered       chan<- struct{} // told when the call arrives
	hold          <-chan struct{} // the call waits for it, before doing anything
	holdAfter     <-chan struct{} // the call waits for it, after the effect
}

func newSource(class connectors.OutcomeClass) *source {
	return &source{class: class, markers: map[string]string{}, keys: map[string]bool{}, value: "old"}
}

var errDropped = connectors.Errorf(connectors.CodeOutcomeUnknown, "the connection was lost")

func (s *source) inject(f ...fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f...)
}

func (s *source) count() (effects, sent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.effects, s.sent
}

func (s *source) Apply(_ context.Context, _ *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	s.mu.Lock()
	var f fault
	if len(s.faults) > 0 {
		f, s.faults = s.faults[0], s.faults[1:]
	}
	s.mu.Unlock()
	if f.entered != nil {
		f.entered <- struct{}{}
	}
	if f.hold != nil {
		<-f.hold
	}
	if f.before != nil {
		return nil, f.before
	}
	effect, err := s.apply(c)
	if f.holdAfter != nil {
		<-f.holdAfter
	}
	if f.after != nil {
		return nil, f.after
	}
	return effect, err
}

func (s *source) apply(c *connectors.Change) (*connectors.Effect, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := &connectors.Effect{Steps: []connectors.StepEffect{{Affected: 1}}, Evidence: "committed"}
	if m := c.Marker; m != nil {
		if s.class != connectors.Transactional {
			return nil, errors.New("a marker for a class without")
		}
		key := m.Proposal
		switch {
		case s.markers[key] == "done":
			done.Evidence, done.Repeated = "marker", true
			return done, nil
		case m.Void:
			repeated := s.markers[key] == "void"
			s.markers[key] = "void"
			return &connectors.Effect{Evidence: "void", Repeated: repeated}, nil
		case s.markers[key] == "void":
			return nil, connectors.Errorf(connectors.CodeWrongState, "made void")
		}
	}
	s.sent++
	d := c.Digest()
	s.digests = append(s.digests, string(d[:]))
	if s.class == connectors.Idempotent {
		key := c.Steps[0].IdempotencyKey
		if key == "" {
			return nil, errors.New("no key")
		}
		if s.keys[key] {
			done.Repeated = true
			return done, nil
		}
		s.keys[key] = true
	}
	for _, e := range c.Steps[0].Expect {
		for _, f := range e.Fields {
			if f.Field == "name" && f.Value.Text != s.value {
				return nil, connectors.Errorf(connectors.CodeProposalStale, "the record moved")
			}
		}
	}
	s.effects++
	s.value = c.Steps[0].Set[0].Value.Text
	if c.Marker != nil {
		s.markers[c.Marker.Proposal] = "done"
	}
	return done, nil
}

func (s *source) Describe(context.Context) (*connectors.Schema, error) {
	return &connectors.Schema{}, nil
}
func (s *source) Query(context.Context, *connectors.Query) (connectors.Rows, error) {
	return connectors.BlocksOf(), nil
}
func (s *source) Preview(context.Context, *connectors.Permit, *connectors.Change) (*connectors.Effect, error) {
	return nil, connectors.Errorf(connectors.CodeUnsupported, "no")
}
func (s *source) Watch(context.Context, *connectors.Query) iter.Seq2[*connectors.Event, error] {
	return func(func(*connectors.Event, error) bool) {}
}
func (s *source) Close() error { return nil }
