package store

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/proposals/proposalstest"
)

// TestDiskFull fills the database up to a limit: a write is refused with the
// store's code, nothing of it is kept, reads go on, and so do writes when there
// is room again.
func TestDiskFull(t *testing.T) {
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "store.db"), Options{Mode: Server})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	limit := func(pages int) {
		if _, err := s.write.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(120)
	write := func(i int) error {
		p := proposalstest.SampleProposal("default", i, time.Now().UTC())
		return s.Tx(t.Context(), func(tx proposals.Tx) error {
			if err := tx.Put(p, 0); err != nil {
				return err
			}
			if err := tx.Audit(proposalstest.SampleEvent(p, "proposal.propose")); err != nil {
				return err
			}
			return tx.Write(proposalstest.SampleRevision(p, 1))
		})
	}
	n := 0
	for i := 1; err == nil && i < 5000; i++ {
		err = write(i)
		if err == nil {
			n = i
		}
	}
	if connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable || connectors.AsError(err).Source != "store" || n == 0 {
		t.Fatalf("after %d: %v", n, err)
	}
	check := func() {
		t.Helper()
		list, err := s.List(t.Context(), proposals.Filter{Tenant: "default", Limit: 10_000})
		if err != nil {
			t.Fatal(err)
		}
		events, err := s.Events(t.Context(), "default", "", 0, 10_000)
		if err != nil || len(list) != n || len(events) != n {
			t.Fatalf("%d proposals and %d events of %d: %v", len(list), len(events), n, err)
		}
	}
	check()
	limit(10_000)
	if err := write(n + 1); err != nil {
		t.Fatalf("does not recover: %v", err)
	}
	n++
	check()
}
