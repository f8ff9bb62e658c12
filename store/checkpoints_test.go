package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/store"
)

func testSigner(t *testing.T, first byte) *audit.Signer {
	t.Helper()
	s, err := audit.NewSigner(append([]byte{first}, make([]byte, 31)...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signed is a log of 20 events with checkpoints at 10 and 18, and two events
// that are not sealed.
func signed(t *testing.T, dsn string) *store.Store {
	t.Helper()
	s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
	for _, n := range []struct{ first, n int }{{1, 10}, {11, 8}} {
		appendEvents(t, s, "t", n.first, n.n)
		runOnce(t, s, testSigner(t, 1))
	}
	appendEvents(t, s, "t", 19, 2)
	sealAll(t, s)
	appendEvents(t, s, "t", 21, 2)
	return s
}

// runOnce seals and signs what is there.
func runOnce(t *testing.T, s *store.Store, by *audit.Signer) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	(&audit.Sealer{Store: s, Signer: by, Signing: s, Failed: func(err error) { t.Error(err) }}).Run(ctx)
}

func prove(t *testing.T, s *store.Store, opts audit.Options) audit.Report {
	t.Helper()
	r, err := audit.Verify(t.Context(), s, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCheckpoints signs a chain, changes it in every way, and wants named what
// is wrong: by the keys, and by a checkpoint that was kept elsewhere.
func TestCheckpoints(t *testing.T) {
	keys := []audit.PublicKey{testSigner(t, 1).Public()}
	rewrite := []string{`UPDATE audit_event SET kind = 'test.harmless' WHERE seq = 5`, `UPDATE audit_event SET seq = NULL, hash = NULL`, `DELETE FROM audit_head`}
	for _, c := range []struct {
		name   string
		change []string
		seq    int64
		kind   string
		says   string
		// elsewhere: only a checkpoint that was kept elsewhere finds it.
		elsewhere bool
	}{
		{"an event is flipped", []string{`UPDATE audit_event SET kind = 'x' WHERE seq = 5`}, 5, audit.WrongChanged, "event 5 (x of subject5) is not what was sealed", false},
		{"an event is deleted", []string{`DELETE FROM audit_event WHERE seq = 5`}, 5, audit.WrongMissing, "event 5 is missing", false},
		{"two are swapped", []string{`UPDATE audit_event SET seq = 1000 WHERE seq = 5`, `UPDATE audit_event SET seq = 5 WHERE seq = 9`, `UPDATE audit_event SET seq = 9 WHERE seq = 1000`}, 5, audit.WrongMoved,
			"that one (test.happened of subject5) stands at 9", false},
		{"the end is cut below a checkpoint", []string{`DELETE FROM audit_event WHERE seq > 15`, `UPDATE audit_head SET seq = 15, hash = (SELECT hash FROM audit_event WHERE seq = 15)`}, 16, audit.WrongMissing,
			"ends at event 15, but event 18 was signed at", false},
		{"the end is cut with its checkpoint", []string{`DELETE FROM audit_event WHERE seq > 15`, `UPDATE audit_head SET seq = 15, hash = (SELECT hash FROM audit_event WHERE seq = 15)`,
			`DELETE FROM audit_checkpoint WHERE seq > 15`}, 16, audit.WrongMissing, "ends at event 15, but event 18 was signed at", true},
		{"the chain is written anew", rewrite, 10, audit.WrongHead, "up to event 10 is not the one that was signed", false},
		{"the chain is written anew, without checkpoints", append(rewrite, `DELETE FROM audit_checkpoint`), 18, audit.WrongHead, "up to event 18 is not the one that was signed", true},
		{"a checkpoint's time is flipped", []string{`UPDATE audit_checkpoint SET at = at + 1 WHERE seq = 10`}, 10, audit.WrongSignature, "the checkpoint of event 10", false},
		{"a checkpoint's hash is flipped", []string{`UPDATE audit_checkpoint SET hash = 'x' WHERE seq = 10`}, 10, audit.WrongSignature, "the checkpoint of event 10", false},
		{"a checkpoint is another's", []string{`UPDATE audit_checkpoint SET signature = (SELECT c.signature FROM audit_checkpoint c WHERE c.seq = 10) WHERE seq = 18`}, 18, audit.WrongSignature, "the checkpoint of event 18", false},
		{"the beginning is cut, as if it were old", []string{`INSERT INTO audit_base SELECT tenant, seq, hash FROM audit_event WHERE seq = 7`, `DELETE FROM audit_event WHERE seq <= 7`}, 1, audit.WrongMissing, "the events up to 7 are missing, and no checkpoint", false},
		{"the beginning is cut at a checkpoint", []string{`INSERT INTO audit_base SELECT tenant, seq, hash FROM audit_event WHERE seq = 10`, `DELETE FROM audit_event WHERE seq <= 10`}, 1, audit.WrongMissing, "the events up to 10 are missing, and no event tells", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, dsn string) {
				s := signed(t, dsn)
				kept, err := s.Checkpoints(t.Context(), "t", 0, 10)
				if err != nil || len(kept) != 2 || kept[1].Seq != 18 {
					t.Fatal(kept, err)
				}
				if r := prove(t, s, audit.Options{Keys: keys, Outside: kept[1:]}); r.Wrong() != nil || r.Tenants[0].Signed.Seq != 18 || !strings.Contains(r.String(), "ends at event 20") ||
					!strings.Contains(r.String(), "signed up to event 18") {
					t.Fatal(r, r.Wrong())
				}
				db := raw(t, dsn)
				for _, change := range c.change {
					run(t, db, change)
				}
				if strings.Contains(c.name, "anew") {
					sealAll(t, open(t, dsn, store.Options{Mode: store.Tool, DataDir: t.TempDir()}))
				}
				// Read where nothing is kept beside: what the store alone can tell.
				alone := open(t, dsn, store.Options{DataDir: t.TempDir()})
				w := prove(t, alone, audit.Options{Keys: keys}).Wrong()
				if c.elsewhere {
					if w != nil {
						t.Fatalf("found without what was kept elsewhere: %+v", w)
					}
					w = prove(t, alone, audit.Options{Keys: keys, Outside: kept[1:]}).Wrong()
				}
				if w == nil || w.Seq != c.seq || w.Kind != c.kind || !strings.Contains(w.Message, c.says) {
					t.Fatalf("got %+v, want %d %s %q", w, c.seq, c.kind, c.says)
				}
			})
		})
	}
}

// TestCheckpointsOfAnotherKey: whoever has the store and not the secret cannot
// sign another chain.
func TestCheckpointsOfAnotherKey(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		appendEvents(t, s, "t", 1, 3)
		runOnce(t, s, testSigner(t, 2))
		if w := prove(t, s, audit.Options{Keys: []audit.PublicKey{testSigner(t, 1).Public()}}).Wrong(); w == nil || w.Kind != audit.WrongSignature || w.Seq != 3 {
			t.Fatal(w)
		}
		// After a rotation both keys prove.
		appendEvents(t, s, "t", 4, 1)
		runOnce(t, s, testSigner(t, 1))
		both := []audit.PublicKey{testSigner(t, 1).Public(), testSigner(t, 2).Public()}
		if r := prove(t, s, audit.Options{Keys: both}); r.Wrong() != nil || r.Tenants[0].Checkpoints != 2 {
			t.Fatal(r.Wrong())
		}
	})
}

// TestSealerSigns signs after so many events, or so long, and not before.
func TestSealerSigns(t *testing.T) {
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	s := open(t, databases["sqlite"](t), store.Options{Mode: store.Server, Now: func() time.Time { return at }})
	ticks := make(chan time.Time)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		(&audit.Sealer{Store: s, Signer: testSigner(t, 1), Signing: s, SignEvents: 5, SignAfter: time.Hour, Ticks: ticks, Failed: func(err error) { t.Error(err) }}).Run(ctx)
	}()
	// One tick begins a round, the next is taken when it ended.
	round := func(want ...int64) {
		t.Helper()
		ticks <- at
		ticks <- at
		ticks <- at
		var got []int64
		list, err := s.Checkpoints(t.Context(), "t", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			got = append(got, c.Seq)
		}
		if len(got) != len(want) || len(got) > 0 && got[len(got)-1] != want[len(want)-1] {
			t.Fatalf("checkpoints at %v, want %v", got, want)
		}
	}
	appendEvents(t, s, "t", 1, 1)
	round(1) // the first at once: nothing was signed for an hour
	appendEvents(t, s, "t", 2, 4)
	round(1)
	appendEvents(t, s, "t", 6, 1)
	round(1, 6)
	appendEvents(t, s, "t", 7, 1)
	round(1, 6)
	stop()
	<-ended
	if list, err := s.Checkpoints(t.Context(), "t", 0, 10); err != nil || list[len(list)-1].Seq != 7 {
		t.Fatal("an orderly end signs", list, err)
	}
}

// TestPrune removes what is too old, up to a checkpoint, and the rest verifies.
func TestPrune(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
		dir := t.TempDir()
		opts := store.Options{Mode: store.Server, DataDir: dir, Now: func() time.Time { return at }}
		s, err := store.Open(t.Context(), dsn, opts)
		if err != nil {
			t.Fatal(err)
		}
		by := testSigner(t, 1)
		appendEvents(t, s, "t", 1, 10)
		runOnce(t, s, by)
		at = at.AddDate(0, 0, 10)
		appendEvents(t, s, "t", 11, 5)
		runOnce(t, s, by)
		prune := func(days, want int) {
			t.Helper()
			n, err := s.Prune(t.Context(), time.Duration(days)*24*time.Hour)
			if err != nil || int(n) != want {
				t.Fatal(n, want, err)
			}
			for range 2 { // before and after its own event is sealed
				r := prove(t, s, audit.Options{Keys: []audit.PublicKey{by.Public()}})
				if r.Wrong() != nil {
					t.Fatal(r, r.Wrong())
				}
				sealAll(t, s)
			}
		}
		prune(20, 0)
		prune(5, 10)
		prune(5, 0)
		if got, err := s.Events(t.Context(), "t", "", 0, 100); err != nil || len(got) != 6 || got[0].Kind != audit.KindPruned {
			t.Fatal(len(got), err)
		}
		runOnce(t, s, by)
		at = at.AddDate(0, 0, 10)
		prune(5, 6)
		// Even where nothing of what was sealed is left the store is no older one.
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = store.Open(t.Context(), dsn, opts); err != nil || s.Restored() {
			t.Fatal(err, s.Restored())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
