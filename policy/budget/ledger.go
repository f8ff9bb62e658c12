package budget

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/countersign/countersign/connectors"
)

// sliceOf is the part of what is left that is leased at once.
const sliceOf = 20

// maxCounters bounds the counters kept in memory; what was leased by those that
// are let go is lost until their window ends.
const maxCounters = 100_000

// A Ledger is one node's part of the budgets. It is safe for concurrent use.
type Ledger struct {
	store    Store
	now      func() time.Time
	mu       sync.Mutex
	counters map[Key]*counter
}

// A counter is what this node leased of one budget.
type counter struct {
	mu sync.Mutex
	// left of the leases; below 0: used beyond them, and told with the next.
	left int64
	// used is what the store said, leases of all nodes included.
	used int64
	// ends is when the window does, by this machine's clock; zero: nothing was
	// asked yet.
	ends time.Time
}

// NewLedger makes a ledger over a store. now is a clock that measures durations:
// time.Now.
func NewLedger(store Store, now func() time.Time) *Ledger {
	return &Ledger{store: store, now: now, counters: map[Key]*counter{}}
}

// Request counts one request of all holders. The error is CodeRateLimited, or
// the store's.
func (l *Ledger) Request(ctx context.Context, holders []Holder) *connectors.Error {
	for _, h := range holders {
		for _, r := range h.Rules {
			if r.What != Requests {
				continue
			}
			if err := l.take(ctx, h, r, 1, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// A Bill is what an operation took before it ran.
type Bill struct {
	l       *Ledger
	holders []Holder
	took    Amount
}

// Begin takes what is known before an operation runs (its estimated cost, the
// records it may write), and sees that something is left of what is known
// afterwards only. The error is CodeBudgetExhausted, or the store's; nothing is
// taken then.
func (l *Ledger) Begin(ctx context.Context, holders []Holder, estimate Amount) (*Bill, *connectors.Error) {
	b := &Bill{l: l, holders: holders, took: Amount{Cost: estimate.Cost, Written: estimate.Written}}
	for i, h := range holders {
		for j, r := range h.Rules {
			if r.What == Requests || r.What == RowsWritten && estimate.Written == 0 {
				continue
			}
			n := b.took.of(r.What)
			if err := l.take(ctx, h, r, max(n, 1), n); err != nil {
				b.giveBack(i, j)
				return nil, err
			}
		}
	}
	return b, nil
}

// giveBack returns what was taken before rule j of holder i refused.
func (b *Bill) giveBack(i, j int) {
	for x, h := range b.holders[:i+1] {
		for y, r := range h.Rules {
			if x == i && y >= j {
				return
			}
			b.l.counter(h, r).give(b.took.of(r.What), b.l.now())
		}
	}
}

// End settles the bill with what was measured. A debt that is more than this
// node has leased is told to the store at once; where that fails, with the next
// lease.
func (b *Bill) End(ctx context.Context, measured Amount) error {
	var failed error
	for _, h := range b.holders {
		for _, r := range h.Rules {
			if r.What == Requests {
				continue
			}
			if err := b.l.settle(ctx, h, r, measured.of(r.What)-b.took.of(r.What)); err != nil {
				failed = err
			}
		}
	}
	return failed
}

// Uses tells how the budgets of holders stand.
func (l *Ledger) Uses(ctx context.Context, holders []Holder) ([]Use, error) {
	var out []Use
	for _, h := range holders {
		for _, r := range h.Rules {
			w, err := l.store.Budget(ctx, keyOf(h, r))
			if err != nil {
				return nil, err
			}
			c := l.counter(h, r)
			c.mu.Lock()
			if l.now().Before(c.ends) {
				w.Used -= c.left // leased here, and not used yet
			}
			c.mu.Unlock()
			out = append(out, Use{Rule: r, Principal: h.Principal, Used: max(w.Used, 0), Ends: w.Left})
		}
	}
	return out, nil
}

func keyOf(h Holder, r Rule) Key {
	return Key{Tenant: h.Tenant, Principal: h.Principal, What: r.What, Per: r.Per}
}

func (l *Ledger) counter(h Holder, r Rule) *counter {
	key := keyOf(h, r)
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counters[key]
	if c == nil {
		if len(l.counters) >= maxCounters {
			l.forget()
		}
		c = new(counter)
		l.counters[key] = c
	}
	return c
}

// forget lets counters of windows that are over go, and some others where none
// is: the store still knows what they leased.
func (l *Ledger) forget() {
	now, n := l.now(), 0
	for key, c := range l.counters {
		c.mu.Lock()
		over := !now.Before(c.ends)
		c.mu.Unlock()
		if over {
			delete(l.counters, key)
			n++
		}
	}
	for key := range l.counters {
		if n > maxCounters/10 {
			return
		}
		delete(l.counters, key)
		n++
	}
}

// give adds to what is left of a window that is not over.
func (c *counter) give(n int64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.ends) {
		c.left += n
	}
}

// take takes n where need is left, here or in the store.
func (l *Ledger) take(ctx context.Context, h Holder, r Rule, need, n int64) *connectors.Error {
	c := l.counter(h, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := l.now()
	if !now.Before(c.ends) {
		c.left, c.used, c.ends = 0, 0, time.Time{}
	}
	if c.left < need {
		// What the store said is left only gets less until the window ends.
		if !c.ends.IsZero() && c.left+r.Limit-c.used < need {
			return exhausted(h, r, need, c.left+r.Limit-c.used, c.ends.Sub(now))
		}
		if err := l.lease(ctx, c, h, r, need); err != nil {
			return connectors.AsError(err)
		}
		if c.left < need {
			return exhausted(h, r, need, c.left+r.Limit-c.used, c.ends.Sub(now))
		}
	}
	c.left -= n
	return nil
}

// lease asks the store for a slice that makes left at least need, where that
// much is there; c is locked. A debt is told in any case.
func (l *Ledger) lease(ctx context.Context, c *counter, h Holder, r Rule, need int64) error {
	var add int64
	asked := l.now()
	w, err := l.store.LeaseBudget(ctx, keyOf(h, r), func(used int64) int64 {
		debt := max(-c.left, 0)
		free := r.Limit - used - debt
		add = debt
		if c.left+debt+free >= need {
			slice := max(free/sliceOf, int64(r.Rate()), need-c.left-debt)
			add += max(min(slice, free), 0)
		}
		return add
	})
	if err != nil {
		return err
	}
	c.left += add
	c.used = w.Used
	c.ends = asked.Add(w.Left)
	return nil
}

// settle corrects what was taken by n more, or less.
func (l *Ledger) settle(ctx context.Context, h Holder, r Rule, n int64) error {
	if n == 0 {
		return nil
	}
	c := l.counter(h, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !l.now().Before(c.ends) {
		return nil // that window is over
	}
	c.left -= n
	if c.left >= 0 {
		return nil
	}
	return l.lease(ctx, c, h, r, 0)
}

// exhausted is the refusal, which says when it ends.
func exhausted(h Holder, r Rule, need, left int64, ends time.Duration) *connectors.Error {
	e := connectors.Errorf(connectors.CodeBudgetExhausted, "the budget of %s is used up: %d in %s", r.What, r.Limit, perText(r.Per))
	if r.What == Requests {
		e = connectors.Errorf(connectors.CodeRateLimited, "too many requests: %d in %s are allowed", r.Limit, perText(r.Per))
	}
	left = max(left, 0)
	e.Because = []string{fmt.Sprintf("%s has %d of %d %s in %s left, and this needs %d", h.Principal, left, r.Limit, words(r.What), perText(r.Per), need)}
	if need > r.Limit {
		// Waiting does not help.
		e.PolicyFinal = true
		e.Unblock = []string{"ask for smaller pages, fewer levels or fewer records: the whole budget is less than this needs"}
		return e
	}
	e.RetryAfter = max(ends, time.Second)
	e.Unblock = []string{fmt.Sprintf("wait %s: then the budget is whole again", max(ends.Round(time.Second), time.Second))}
	if left > 0 && (r.What == Cost || r.What == RowsWritten) {
		e.Unblock = append(e.Unblock, "or ask for less: smaller pages, fewer levels, fewer records")
	}
	return e
}

// words are a kind in words: upstreamCalls are upstream calls.
func words(w What) string {
	switch w {
	case UpstreamCalls:
		return "calls of sources"
	case RowsRead:
		return "records read"
	case RowsWritten:
		return "records written"
	}
	return strings.ToLower(string(w))
}

func perText(per time.Duration) string {
	switch per {
	case time.Second:
		return "a second"
	case time.Minute:
		return "a minute"
	case time.Hour:
		return "an hour"
	case 24 * time.Hour:
		return "a day"
	}
	return per.String()
}
