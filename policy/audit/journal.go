package audit

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
)

// An Appender commits events that stand for themselves.
type Appender interface {
	// AppendAll commits all of the events in one transaction, at the time of the
	// store's clock. Events whose ID is there already are left as they are.
	AppendAll(ctx context.Context, events []Event) error
}

// Intents keep what is about to be done outside of the store, where it costs
// next to nothing and outlives the process.
type Intents interface {
	// Begin keeps the events until end is called. When it returns, they survive
	// the end of the process, however it ends.
	Begin(events []Event) (end func(), err error)
}

// A Journal appends what happens outside of the store's own transactions: direct
// writes, denials, sign-ins that failed, reads by agents.
//
// What must not be lost is committed before Record returns; all that wait at
// the same time share one transaction, so that the cost of a commit is theirs
// together. What may be lost is queued by Note: nobody waits for it, the queue
// is bounded, and what did not fit is counted in an event of its own.
//
// Its fields are set before the first call. A nil Journal keeps nothing. All
// methods may be called concurrently; Run must run for Note and for what the
// store did not take at first.
type Journal struct {
	Store Appender
	// Intents of direct writes; nil: a write whose process dies before its event
	// was committed leaves none.
	Intents Intents
	// Every is how often what was noted is committed; 200ms by default.
	Every time.Duration
	// Queue bounds what is noted and not committed yet; 1,000 by default.
	Queue int
	// Sample is how long a repetition of what was sampled is only counted; a
	// minute by default.
	Sample time.Duration
	// Failed is told of what the store did not take; the next round tries again.
	// It may be nil.
	Failed func(error)
	// Now replaces the clock of the samples, for tests.
	Now func() time.Time

	mu      sync.Mutex
	waiting []*entry // for the next commit
	leading bool     // somebody commits now
	noted   []Event
	dropped map[string]int64 // by tenant
	late    []*entry         // what must not be lost and was not taken
	windows map[sampleKey]*window
}

// An entry waits for its commit.
type entry struct {
	events []Event
	end    func()
	err    error
	// turn is told that the entry was committed or refused (false), or that its
	// owner is to commit for all who wait (true).
	turn chan bool
}

const (
	defaultEvery  = 200 * time.Millisecond
	defaultQueue  = 1000
	defaultSample = time.Minute
	commitTime    = 10 * time.Second
	// commitMost bounds one transaction, and maxLate what is kept of a store that
	// is away: the intents hold the rest.
	commitMost = 500
	maxLate    = 10_000
)

// Record commits events, together with what others record at the same time. It
// does not end with ctx: what happened did happen.
func (j *Journal) Record(ctx context.Context, events ...Event) error {
	if j == nil || len(events) == 0 {
		return nil
	}
	return j.commit(ctx, &entry{events: events})
}

// commit waits until e is committed. The first who comes commits for all who
// wait by then, and hands over to the next.
func (j *Journal) commit(ctx context.Context, e *entry) error {
	e.turn = make(chan bool, 1)
	j.mu.Lock()
	j.waiting = append(j.waiting, e)
	lead := !j.leading
	j.leading = true
	j.mu.Unlock()
	if !lead && !<-e.turn {
		return e.err
	}
	j.mu.Lock()
	batch := j.waiting
	if n := cut(batch); n < len(batch) {
		j.waiting = append([]*entry(nil), batch[n:]...)
		batch = batch[:n]
	} else {
		j.waiting = nil
	}
	j.mu.Unlock()
	j.write(ctx, batch)
	j.mu.Lock()
	if len(j.waiting) > 0 {
		j.waiting[0].turn <- true
	} else {
		j.leading = false
	}
	j.mu.Unlock()
	for _, other := range batch {
		if other != e {
			other.turn <- false
		}
	}
	return e.err
}

// cut is how many entries, from the first, one transaction takes.
func cut(batch []*entry) int {
	events := 0
	for i, e := range batch {
		if events += len(e.events); events > commitMost && i > 0 {
			return i
		}
	}
	return len(batch)
}

// write commits a batch whole, or keeps it for Run.
func (j *Journal) write(ctx context.Context, batch []*entry) {
	var events []Event
	for _, e := range batch {
		events = append(events, e.events...)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancel()
	err := j.Store.AppendAll(ctx, events)
	for _, e := range batch {
		if e.err = err; err == nil && e.end != nil {
			e.end()
		}
	}
	if err != nil {
		j.mu.Lock()
		if len(j.late)+len(batch) <= maxLate {
			j.late = append(j.late, batch...)
		}
		j.mu.Unlock()
	}
}

// A Direct is a direct write between its first byte and its event.
type Direct struct {
	j   *Journal
	end func()
}

// Begin keeps what is about to be done: should the process die before Done, the
// next start appends these events as they are, so they say that the outcome is
// not known. An error means that nothing may be done.
func (j *Journal) Begin(events []Event) (*Direct, error) {
	for i := range events {
		if err := identify(&events[i]); err != nil {
			return nil, err
		}
	}
	if j.Intents == nil {
		return &Direct{j: j}, nil
	}
	end, err := j.Intents.Begin(events)
	return &Direct{j: j, end: end}, err
}

// Done commits what became of it: the events of Begin with their outcome. Where
// the store does not take them now the error says so, and Run goes on trying.
func (d *Direct) Done(ctx context.Context, events []Event) error {
	return d.j.commit(ctx, &entry{events: events, end: d.end})
}

// identify gives an event the id that it is known by before it is committed.
func identify(e *Event) error {
	if e.ID != "" {
		return nil
	}
	id, err := uuid.NewV7()
	e.ID = id.String()
	return err
}

// Note queues an event. It never blocks; what does not fit is counted.
func (j *Journal) Note(e Event) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.note(e)
}

// note is Note under the lock.
func (j *Journal) note(e Event) {
	limit := j.Queue
	if limit <= 0 {
		limit = defaultQueue
	}
	if len(j.noted) < limit {
		j.noted = append(j.noted, e)
		return
	}
	if j.dropped == nil {
		j.dropped = map[string]int64{}
	}
	j.dropped[e.Tenant]++
}

// Run commits what is noted until ctx ends, and then once more.
func (j *Journal) Run(ctx context.Context) {
	every := j.Every
	if every <= 0 {
		every = defaultEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			j.Flush(ctx, false)
		case <-ctx.Done():
			j.Flush(ctx, true)
			return
		}
	}
}

// Flush commits what is noted now. With all, also what is still being counted.
func (j *Journal) Flush(ctx context.Context, all bool) {
	j.mu.Lock()
	j.expire(all)
	noted, late := j.noted, j.late
	j.noted, j.late = nil, nil
	for tenant, n := range j.dropped {
		noted = append(noted, Event{Tenant: tenant, Kind: KindDropped, Subject: "audit", Payload: payload(map[string]any{"events": n})})
	}
	j.dropped = nil
	j.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancel()
	if len(late) > 0 {
		j.write(ctx, late)
		if err := late[0].err; err != nil {
			j.failed(err)
		}
	}
	for len(noted) > 0 {
		n := min(len(noted), commitMost)
		if err := j.Store.AppendAll(ctx, noted[:n]); err != nil {
			j.failed(err)
			j.again(noted)
			return
		}
		noted = noted[n:]
	}
}

// again puts back what the store did not take; what does not fit is counted.
func (j *Journal) again(events []Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	newer := j.noted
	j.noted = nil
	for _, e := range append(events, newer...) {
		j.note(e)
	}
}

func (j *Journal) failed(err error) {
	if j.Failed != nil {
		j.Failed(err)
	}
}
