package audit

import (
	"context"
	"time"
)

// A Sealer extends the chains while it runs. Several may run over one store, in
// one process or many: the store lets one of them extend a chain at a time.
// The zero value but for Store is ready. One Run at a time.
type Sealer struct {
	Store Store
	// Every is how often it looks; 500ms by default. An event is sealed at most
	// about that much after its commit.
	Every time.Duration
	// Batch is how many events are sealed in one transaction; 500 by default.
	Batch int
	// Signer signs the head of a chain, into Signing, when it has grown by
	// SignEvents (1,000) or SignAfter (a minute) is over since the last time;
	// nil: nothing is signed.
	Signer     *Signer
	Signing    Signing
	SignEvents int64
	SignAfter  time.Duration
	// Failed is told of each round that failed; the next round tries again. It
	// may be nil.
	Failed func(error)
	// Ticks replaces the clock, for tests: one round per value.
	Ticks <-chan time.Time

	unsigned bool // something was sealed and not signed yet
}

const (
	defaultSignEvents = 1000
	defaultSignAfter  = time.Minute
)

// roundTime bounds one round.
const roundTime = 10 * time.Second

// Run seals and signs until ctx ends, and then once more, so that an orderly end
// leaves nothing unsealed or unsigned. It takes up to 20 seconds to end where the
// store hangs. It returns when that is done; whoever starts it waits for it before
// closing the store.
func (s *Sealer) Run(ctx context.Context) {
	ticks := s.Ticks
	if ticks == nil {
		every := s.Every
		if every <= 0 {
			every = 500 * time.Millisecond
		}
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		ticks = ticker.C
	}
	s.unsigned = true // by whoever ran before
	for {
		s.round(ctx, false)
		select {
		case <-ticks:
		case <-ctx.Done():
			s.round(ctx, true)
			return
		}
	}
}

// round does not end with ctx: one that is cut off leaves its lock behind for a
// moment, and the last round would find the chain taken.
func (s *Sealer) round(ctx context.Context, last bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), roundTime)
	defer cancel()
	n, err := s.SealAll(ctx)
	s.unsigned = s.unsigned || n > 0
	if err == nil {
		err = s.sign(ctx, last)
	}
	if err != nil && s.Failed != nil {
		s.Failed(err)
	}
}

// SealAll seals what is committed now and returns how many events that were.
func (s *Sealer) SealAll(ctx context.Context) (int, error) {
	batch := s.Batch
	if batch <= 0 {
		batch = 500
	}
	total := 0
	for {
		n, err := s.Store.Seal(ctx, batch)
		total += n
		if err != nil || n == 0 {
			return total, err
		}
	}
}
