package proposals_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/proposals"
)

func (w *world) restored(keep time.Duration) int {
	w.t.Helper()
	n, err := w.svc.Restored(context.Background(), tenant, func(string, string) time.Duration { return keep })
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// A store as it was when a proposal was approved, or claimed and not marked as
// sent: where sending twice would do it twice, nothing is sent.
func TestRestored(t *testing.T) {
	const keep = time.Hour
	for _, point := range []string{"approved", "P4"} {
		each(t, func(t *testing.T, w *world) {
			approved := w.propose("new")
			w.approve(approved)
			pending := w.propose("newer")
			if point == "P4" {
				w.executor(w.service(func(name string) {
					if name == point {
						runtime.Goexit() // nothing after this point happens, as in a killed process
					}
				}), nil).Once(context.Background())
				w.await(approved.Proposal.Handle, proposals.Executing)
			}
			w.advance(keep - time.Minute)
			want := map[connectors.OutcomeClass]int{connectors.Unverifiable: 1}[w.src.class]
			if got := w.restored(keep); got != want {
				t.Errorf("%d became unknown inside the key's retention, not %d", got, want)
			}
			w.advance(2 * time.Minute)
			want = map[connectors.OutcomeClass]int{connectors.Idempotent: 1}[w.src.class]
			if got := w.restored(keep); got != want {
				t.Errorf("%d became unknown after it, not %d", got, want)
			}
			stop := run(w.executor(w.svc, nil))
			defer stop()
			if w.src.class == connectors.Transactional {
				w.await(approved.Proposal.Handle, proposals.Executed)
				w.wantEffects(1)
				return
			}
			d := w.await(approved.Proposal.Handle, proposals.OutcomeUnknown)
			if _, sent := w.src.count(); sent != 0 {
				t.Errorf("it was sent %d times", sent)
			}
			settle(t, w, d)
			w.await(pending.Proposal.Handle, proposals.Pending)
		})
	}
}
