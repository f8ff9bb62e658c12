package execute

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// A run is one operation under way. Each step's result is written by the one
// goroutine that runs it, and read by those it starts and after all ended.
type run struct {
	e      *Executor
	ctx    context.Context
	p      *plan.Plan
	in     *plan.Bindings
	limits Limits
	values plan.Values

	results []result
	binds   []bindSet
	snaps   []snapshot
	rows    atomic.Int64
	cells   atomic.Int64
	calls   atomic.Int64
	// written are the keys of the records that each write left, for the steps
	// that read them.
	written [][][]connectors.Value
	// given are the answers of steps, by id, that came with a write's effect.
	given map[int]*connectors.Block

	wg    sync.WaitGroup
	slots chan struct{}
}

// spent is what the sources were asked for until now.
func (r *run) spent() Spent {
	return Spent{Calls: int(r.calls.Load()), Rows: int(r.rows.Load()), Cells: int(r.cells.Load())}
}

// A snapshot is shared by the steps of one group. They run one after another in
// one goroutine, so it needs no lock.
type snapshot struct {
	token  *connectors.Snapshot
	left   int
	failed *connectors.Error
}

// read runs steps without a parent, with all below them, and waits.
func (r *run) read(roots []*plan.Step) {
	for _, s := range roots {
		if s.Write != nil {
			r.bindWrite(s)
		}
	}
	r.fan(roots, -1, false)
	r.wg.Wait()
}

// fan runs steps side by side where they are on different sources: the steps of
// one snapshot group form a lane, every other step its own. The lane of the
// group under way stays in this goroutine; hold tells that the group has more
// to do, so that nothing else may be waited for here.
func (r *run) fan(steps []*plan.Step, current int, hold bool) {
	last, mine := -1, false
	for i, s := range steps {
		if current >= 0 && s.Group == current {
			mine = true
			continue
		}
		if s.Group >= 0 && inLane(steps[:i], s.Group) {
			continue
		}
		if last >= 0 {
			r.spawn(steps, last)
		}
		last = i
	}
	if last >= 0 && (mine || hold) {
		r.spawn(steps, last)
		last = -1
	}
	if mine {
		for _, s := range steps {
			if s.Group == current {
				r.step(s)
			}
		}
	}
	if last >= 0 {
		r.lane(steps, last)
	}
}

func inLane(steps []*plan.Step, group int) bool {
	for _, s := range steps {
		if s.Group == group {
			return true
		}
	}
	return false
}

// lane runs the step at i and those after it that share its snapshot.
func (r *run) lane(steps []*plan.Step, i int) {
	group := steps[i].Group
	r.step(steps[i])
	if group < 0 {
		return
	}
	for _, s := range steps[i+1:] {
		if s.Group == group {
			r.step(s)
		}
	}
}

// spawn runs a lane in its own goroutine, which read waits for.
func (r *run) spawn(steps []*plan.Step, i int) {
	if r.slots == nil {
		r.slots = make(chan struct{}, r.limits.Concurrency)
	}
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		r.lane(steps, i)
	}()
}

// step runs one step and then what is below it.
func (r *run) step(s *plan.Step) {
	res := &r.results[s.ID]
	if s.Group < 0 {
		res.err = r.query(s, res, nil)
	} else {
		g := &r.snaps[s.Group]
		if g.token == nil && g.left > 1 {
			g.token = new(connectors.Snapshot)
		}
		if res.err = g.failed; res.err == nil {
			res.err = r.query(s, res, g.token)
		}
		if res.err != nil && res.err.Code != connectors.CodeRowCapExceeded {
			g.failed = res.err
		}
		if g.left--; g.left == 0 && g.token != nil {
			g.token.End()
		}
	}
	if len(s.Children) == 0 {
		return
	}
	for _, c := range s.Children {
		r.bind(c)
	}
	if res.err != nil || res.n == 0 {
		// Nothing is below nothing; the steps are only ticked off.
		for _, c := range s.Children {
			r.step(c)
		}
		return
	}
	r.fan(s.Children, s.Group, s.Group >= 0 && r.snaps[s.Group].left > 0)
}
