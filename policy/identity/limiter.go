package identity

import (
	"sync"
	"time"

	"github.com/countersign/countersign/connectors"
)

// A limiter bounds attempts per key: a burst, then one per refill. It is per
// node and bounded; where it is full it forgets somebody, so that a flood of
// names cannot lock everybody out.
type limiter struct {
	now func() time.Time
	mu  sync.Mutex
	m   map[string]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

// A rate is how often something may be tried.
type rate struct {
	burst  float64
	refill time.Duration // for one more
}

// The rates of what can be guessed.
var (
	ratePerUser    = rate{burst: 10, refill: 30 * time.Second}
	ratePerAddress = rate{burst: 30, refill: 5 * time.Second}
	rateUserCode   = rate{burst: 10, refill: 30 * time.Second}
	rateDeviceNew  = rate{burst: 20, refill: 10 * time.Second}
)

const limiterSize = 20_000

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, m: map[string]*bucket{}}
}

// take spends one attempt, or says when the next one is free.
func (l *limiter) take(key string, r rate) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b := l.m[key]
	if b == nil {
		if len(l.m) >= limiterSize {
			l.evict(now)
		}
		b = &bucket{tokens: r.burst, at: now}
		l.m[key] = b
	}
	b.tokens = min(r.burst, b.tokens+float64(now.Sub(b.at))/float64(r.refill))
	b.at = now
	if b.tokens < 1 {
		err := connectors.Errorf(connectors.CodeRateLimited, "too many attempts; wait a little")
		err.RetryAfter = time.Duration((1 - b.tokens) * float64(r.refill))
		return err
	}
	b.tokens--
	return nil
}

// giveBack returns an attempt that turned out not to be a guess.
func (l *limiter) giveBack(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.m[key]; b != nil {
		b.tokens++
	}
}

// evict makes room: whoever has not tried for an hour, else anybody.
func (l *limiter) evict(now time.Time) {
	for key, b := range l.m {
		if now.Sub(b.at) > time.Hour {
			delete(l.m, key)
		}
	}
	for key := range l.m {
		if len(l.m) < limiterSize {
			return
		}
		delete(l.m, key)
	}
}
