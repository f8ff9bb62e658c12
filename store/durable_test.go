package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/proposals/proposalstest"
	"github.com/countersign/countersign/store"
)

// TestMain also is the child process that the durability test kills.
func TestMain(m *testing.M) {
	if dsn := os.Getenv("COUNTERSIGN_STORE_CHILD"); dsn != "" {
		if err := writeForever(dsn); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	if dir := os.Getenv("COUNTERSIGN_INTENTS_CHILD"); dir != "" {
		if err := intend(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForever commits proposals with their events, two rows each, and says
// which are acknowledged.
func writeForever(dsn string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, dsn, store.Options{Mode: store.Server})
	if err != nil {
		return err
	}
	sealer := audit.Sealer{Store: s, Every: time.Millisecond, Batch: 3}
	go sealer.Run(ctx)
	for i := 1; ; i++ {
		p := proposalstest.SampleProposal("default", i, time.Now().UTC())
		err := s.Tx(ctx, func(tx proposals.Tx) error {
			if err := tx.Put(p, 0); err != nil {
				return err
			}
			return tx.Audit(proposalstest.SampleEvent(p, "proposal.propose"))
		})
		if err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// TestKilled kills a writing server with SIGKILL and wants everything it
// acknowledged, whole, in a chain that verifies.
func TestKilled(t *testing.T) {
	dsn := databases["sqlite"](t)
	acknowledged := 0
	for round := range 3 {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), "COUNTERSIGN_STORE_CHILD="+dsn)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 { // the sample's ids begin anew
			dsn = databases["sqlite"](t)
			child.Env = append(os.Environ(), "COUNTERSIGN_STORE_CHILD="+dsn)
			acknowledged = 0
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if acknowledged, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
			if acknowledged >= 20+13*round {
				break
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // acknowledged before it died
			if acknowledged, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
		}
		_ = child.Wait() // killed
		if acknowledged < 20 {
			t.Fatalf("the child only wrote %d", acknowledged)
		}
		s := open(t, dsn, store.Options{Mode: store.Server})
		if s.Restored() {
			t.Fatal("a crash is taken for a restored backup")
		}
		list, err := s.List(t.Context(), proposals.Filter{Tenant: "default", Limit: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != acknowledged && len(list) != acknowledged+1 { // one may have died between commit and word
			t.Fatalf("%d proposals, %d acknowledged", len(list), acknowledged)
		}
		if n := len(events(t, s, "default")); n != len(list) {
			t.Fatalf("%d events for %d proposals", n, len(list))
		}
		sealAll(t, s)
		if r := verify(t, s); r.Wrong() != nil || r.Tenants[0].Sealed != int64(len(list)) {
			t.Fatal(r)
		}
	}
}

func TestOneServerPerFile(t *testing.T) {
	dsn := databases["sqlite"](t)
	first, err := store.Open(t.Context(), dsn, store.Options{Mode: store.Server})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(t.Context(), dsn, store.Options{Mode: store.Server}); !errors.Is(err, store.ErrInUse) {
		t.Fatalf("two servers on one file: %v", err)
	}
	tool := open(t, dsn, store.Options{Mode: store.Tool}) // makes keys beside it
	appendEvents(t, tool, "t", 1, 1)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dsn, store.Options{Mode: store.Server})
}

func TestIncarnation(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		dir := t.TempDir()
		for i := range 3 {
			s, err := store.Open(t.Context(), dsn, store.Options{Mode: store.Server, DataDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if s.Incarnation() != int64(i)+1 || s.Restored() {
				t.Fatalf("start %d: incarnation %d restored %v", i, s.Incarnation(), s.Restored())
			}
			appendEvents(t, s, "t", 10*i, 3)
			sealAll(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// copyStore copies an SQLite store that nobody has open.
func copyStore(t *testing.T, from, to string) {
	t.Helper()
	for _, end := range []string{"", "-wal"} {
		b, err := os.ReadFile(strings.TrimPrefix(from, "sqlite:") + end)
		if errors.Is(err, os.ErrNotExist) && end != "" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(strings.TrimPrefix(to, "sqlite:")+end, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRestoredBackup puts an older copy of the store in its place: one of an
// earlier start, and one of the same start.
func TestRestoredBackup(t *testing.T) {
	for _, restarts := range []int{0, 1} {
		t.Run(fmt.Sprint(restarts, " restarts since the backup"), func(t *testing.T) {
			dsn, backup, dir := databases["sqlite"](t), databases["sqlite"](t), t.TempDir()
			work := func(first int) {
				s, err := store.Open(t.Context(), dsn, store.Options{Mode: store.Tool, DataDir: dir})
				if err != nil {
					t.Fatal(err)
				}
				appendEvents(t, s, "t", first, 3)
				sealAll(t, s)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			start := func() (*store.Store, func()) {
				s, err := store.Open(t.Context(), dsn, store.Options{Mode: store.Server, DataDir: dir})
				if err != nil {
					t.Fatal(err)
				}
				return s, func() {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				}
			}
			_, stop := start()
			stop()
			work(1)
			copyStore(t, dsn, backup)
			work(11)
			for range restarts {
				_, stop := start()
				stop()
			}
			copyStore(t, backup, dsn)
			before := int64(0)
			for range 2 { // until recovery ended, over restarts too
				s, stop := start()
				if !s.Restored() {
					t.Fatal("an older backup was not noticed")
				}
				if s.Incarnation() <= before || s.Incarnation() <= int64(restarts)+1 {
					t.Fatalf("the incarnation went back to %d", s.Incarnation())
				}
				before = s.Incarnation()
				if w := verify(t, s).Wrong(); w == nil || w.Kind != audit.WrongMissing || w.Seq != 4 {
					t.Fatalf("what was lost is not named: %+v", w)
				}
				stop()
			}
			s, stop := start()
			if err := s.EndRecovery(t.Context()); err != nil {
				t.Fatal(err)
			}
			stop()
			s, stop = start()
			defer stop()
			if s.Restored() {
				t.Fatal("recovery never ends")
			}
			sealAll(t, s)
			if w := verify(t, s).Wrong(); w != nil {
				t.Fatal(w)
			}
		})
	}
}

// TestStoreGone ends the server of PostgreSQL's connections, and takes the file
// of SQLite away.
func TestStoreGone(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		dsn := databases["postgres"](t)
		s := open(t, dsn, store.Options{Mode: store.Server})
		db := raw(t, dsn)
		err := s.Tx(t.Context(), func(tx proposals.Tx) error {
			if err := tx.Audit(audit.Event{Tenant: "t", Kind: "a.b"}); err != nil {
				return err
			}
			if _, err := db.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
				return err
			}
			return tx.Audit(audit.Event{Tenant: "t", Kind: "a.c"})
		})
		if connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable {
			t.Fatal(err)
		}
		if n := len(events(t, s, "t")); n != 0 {
			t.Fatalf("%d events of a transaction that was cut off", n)
		}
		appendEvents(t, s, "t", 1, 1) // and it recovers
	})
	t.Run("nobody there", func(t *testing.T) {
		_, err := store.Open(t.Context(), "postgres://u:topsecret@127.0.0.1:1/x", store.Options{Mode: store.Server})
		if connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable || strings.Contains(err.Error(), "topsecret") {
			t.Fatal(err)
		}
	})
	t.Run("no store at all", func(t *testing.T) {
		for _, dsn := range []string{"", "mysql://x", "x.db"} {
			if _, err := store.Open(t.Context(), dsn, store.Options{}); connectors.CodeOf(err) != connectors.CodeBadInput {
				t.Fatal(err)
			}
		}
		file := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(file, []byte(strings.Repeat("this is no database ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Open(t.Context(), "sqlite:"+file, store.Options{Mode: store.Server}); connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable {
			t.Fatal(err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		each(t, func(t *testing.T, dsn string) {
			s, err := store.Open(t.Context(), dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := s.Ping(t.Context()); connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable {
				t.Fatal(err)
			}
			if err := s.Append(t.Context(), audit.Event{Tenant: "t"}); connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable {
				t.Fatal(err)
			}
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		each(t, func(t *testing.T, dsn string) {
			s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Append(ctx, audit.Event{Tenant: "t"}); connectors.CodeOf(err) != connectors.CodeTimeout {
				t.Fatal(err)
			}
		})
	})
}

func TestSources(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		for range 2 {
			seen, err := s.SeeSource(t.Context(), "default", "crm", "one")
			if err != nil || seen.First != "one" || seen.Current != "one" || seen.FirstAt.IsZero() || !seen.FirstAt.Equal(seen.CurrentAt) {
				t.Fatalf("%+v %v", seen, err)
			}
		}
		if n := len(events(t, s, "default")); n != 0 {
			t.Fatalf("%d events for nothing", n)
		}
		seen, err := s.SeeSource(t.Context(), "default", "crm", "two")
		if err != nil || seen.First != "one" || seen.Current != "two" {
			t.Fatalf("%+v %v", seen, err)
		}
		if e := events(t, s, "default"); len(e) != 1 || e[0].Kind != "source.exchanged" || string(e[0].Payload) != `{"is":"two","was":"one"}` {
			t.Fatalf("%+v", e)
		}
		if seen, err = s.SeeSource(t.Context(), "other", "crm", "three"); err != nil || seen.First != "three" {
			t.Fatalf("%+v %v", seen, err)
		}
		if err := errors.Join(s.Pin(t.Context(), "v1", []byte("lock")), s.Pin(t.Context(), "v1", []byte("other"))); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Pinned(t.Context(), "v1"); err != nil || string(got) != "lock" {
			t.Fatal(string(got), err)
		}
		if _, err := s.Pinned(t.Context(), "v2"); connectors.CodeOf(err) != connectors.CodeNotFound {
			t.Fatal(err)
		}
	})
}
