package memory

import (
	"context"
	"iter"
	"strconv"
	"sync"

	"github.com/countersign/countersign/connectors"
)

// A FaultPoint is a method of the contract that a fault concerns.
type FaultPoint string

// The methods that can be made to fail.
const (
	OnDescribe FaultPoint = "describe"
	OnQuery    FaultPoint = "query"
	OnPreview  FaultPoint = "preview"
	OnApply    FaultPoint = "apply"
)

// A Fault makes calls go wrong. Before runs ahead of the call, and an error of
// it is the answer while nothing was done. After runs when the call has
// succeeded, and an error of it replaces the answer while what was done stays.
type Fault struct {
	On     FaultPoint
	Times  int // how many calls it concerns; 0: every one
	Before func(context.Context) error
	After  func(context.Context) error
}

// Inject adds a fault. Of several of one method the oldest that is not used up
// counts.
func (m *Memory) Inject(f Fault) {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.list = append(m.faults.list, &pendingFault{Fault: f})
}

// Heal removes all faults.
func (m *Memory) Heal() {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	m.faults.list = nil
}

// DropReply is a fault of one Apply that is done and whose answer is lost.
func DropReply() Fault {
	return Fault{On: OnApply, Times: 1, After: func(context.Context) error {
		return connectors.Errorf(connectors.CodeOutcomeUnknown, "the connection was lost after the change was sent")
	}}
}

// Unavailable is a fault under which nothing answers.
func Unavailable(on FaultPoint) Fault {
	return Fault{On: on, Before: func(context.Context) error {
		return connectors.Errorf(connectors.CodeUpstreamUnavailable, "the system does not answer")
	}}
}

// Hold is a fault under which a call waits, before it does anything, until
// release is closed or its context ends. Entered receives once per waiting call
// unless it is nil.
func Hold(on FaultPoint, entered chan<- struct{}, release <-chan struct{}) Fault {
	return Fault{On: on, Before: func(ctx context.Context) error {
		if entered != nil {
			select {
			case entered <- struct{}{}:
			case <-ctx.Done():
				return connectors.AsError(ctx.Err())
			}
		}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return connectors.AsError(ctx.Err())
		}
	}}
}

type pendingFault struct {
	Fault
	used int
}

type faults struct {
	mu    sync.Mutex
	list  []*pendingFault
	calls map[FaultPoint]int
}

func (f *faults) init() { f.calls = map[FaultPoint]int{} }

// before counts the call and runs the first half of its fault. A fault that has
// a second half is used up there.
func (f *faults) before(ctx context.Context, on FaultPoint) error {
	f.mu.Lock()
	f.calls[on]++
	hook := f.pick(on, func(p *pendingFault) func(context.Context) error { return p.Before })
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(ctx)
}

func (f *faults) after(ctx context.Context, on FaultPoint) error {
	f.mu.Lock()
	hook := f.pick(on, func(p *pendingFault) func(context.Context) error { return p.After })
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(ctx)
}

func (f *faults) pick(on FaultPoint, half func(*pendingFault) func(context.Context) error) func(context.Context) error {
	for _, p := range f.list {
		if p.On != on || half(p) == nil || p.Times > 0 && p.used >= p.Times {
			continue
		}
		p.used++
		return half(p)
	}
	return nil
}

// Calls is how often a method was called, failed calls included.
func (m *Memory) Calls(on FaultPoint) int {
	m.faults.mu.Lock()
	defer m.faults.mu.Unlock()
	return m.faults.calls[on]
}

// effects counts what really happened.
type effects struct {
	mu    sync.Mutex
	steps []connectors.Step
}

func (e *effects) add(steps ...connectors.Step) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.steps = append(e.steps, steps...)
}

// Effects are the steps that took effect, in order: committed writes and calls
// that ran. What was repeated from a marker or an idempotency key is not among
// them.
func (m *Memory) Effects() []connectors.Step {
	m.effects.mu.Lock()
	defer m.effects.mu.Unlock()
	return append([]connectors.Step(nil), m.effects.steps...)
}

// events is the log that Watch reads.
type events struct {
	mu    sync.Mutex
	log   []event
	grown chan struct{} // closed and replaced when the log grows
	ended chan struct{}
}

type event struct {
	connectors.Event
	row *row // after, or before a deletion: what Where is asked about
	st  *state
}

func (e *events) init() { e.grown, e.ended = make(chan struct{}), make(chan struct{}) }

func (e *events) add(list []event) {
	if len(list) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range list {
		ev.Cursor = strconv.Itoa(len(e.log) + 1)
		e.log = append(e.log, ev)
	}
	close(e.grown)
	e.grown = make(chan struct{})
}

func (e *events) from(n int) ([]event, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.log[n:], e.grown
}

func (e *events) close() { close(e.ended) }

// Watch yields the changes of a collection that are committed after Watch was
// called, those whose record matches Where; other parts of the shape are not
// looked at.
func (m *Memory) Watch(ctx context.Context, q *connectors.Query) iter.Seq2[*connectors.Event, error] {
	fail := func(err error) iter.Seq2[*connectors.Event, error] {
		return func(yield func(*connectors.Event, error) bool) { yield(nil, err) }
	}
	if !m.schema.Capabilities.Watch {
		return fail(unsupported("changes cannot be watched"))
	}
	st := m.state.Load()
	if q == nil || q.Select == nil || st.tables[q.Select.Collection] == nil {
		return fail(unsupported("there is no such collection"))
	}
	k := &compiler{schema: m.schema, st: st, args: q.Args}
	where, err := k.condition(st.tables[q.Select.Collection], q.Select.Where)
	if err != nil {
		return fail(err)
	}
	past, _ := m.events.from(0)
	next := len(past)
	return func(yield func(*connectors.Event, error) bool) {
		for {
			list, grown := m.events.from(next)
			for _, e := range list {
				next++
				if e.Collection == q.Select.Collection && where(e.st, e.row) == isTrue && !yield(&e.Event, nil) {
					return
				}
			}
			if len(list) > 0 {
				continue
			}
			select {
			case <-grown:
			case <-ctx.Done():
				return
			case <-m.events.ended:
				return
			}
		}
	}
}
