package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/proposals/proposalstest"
	"github.com/countersign/countersign/store"
)

// databases are both kinds of store, each with a fresh database per call.
var databases = map[string]func(t *testing.T) string{
	"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "store #1?.db") },
	"postgres": func(t *testing.T) string { return connectortest.Postgres(t) },
}

// each runs a test over both.
func each(t *testing.T, run func(t *testing.T, dsn string)) {
	for name, dsn := range databases {
		t.Run(name, func(t *testing.T) { run(t, dsn(t)) })
	}
}

func keyring(t *testing.T, secrets ...string) *store.Keyring {
	t.Helper()
	if len(secrets) == 0 {
		secrets = []string{"0123456789abcdef0123456789abcdef"}
	}
	k, err := store.NewKeyring(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t *testing.T, dsn string, opts store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestProposalsSuite(t *testing.T) {
	for _, c := range []struct {
		database string
		keys     *store.Keyring
	}{{"sqlite", keyring(t)}, {"sqlite", nil}, {"postgres", keyring(t)}} {
		t.Run(fmt.Sprintf("%s encrypted %v", c.database, c.keys != nil), func(t *testing.T) {
			proposalstest.RunStore(t, func(t *testing.T) proposalstest.Opened {
				s := open(t, databases[c.database](t), store.Options{Mode: store.Server, Keyring: c.keys, DataDir: t.TempDir()})
				return proposalstest.Opened{Store: s, Events: func(t *testing.T, tenant string) []audit.Event { return events(t, s, tenant) }}
			})
		})
	}
}

// events are a tenant's events in the order they were written.
func events(t *testing.T, s *store.Store, tenant string) []audit.Event {
	t.Helper()
	records, err := s.Events(t.Context(), tenant, "", 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(records)
	out := make([]audit.Event, len(records))
	for i := range records {
		out[i] = records[i].Event
	}
	return out
}

var _ proposals.Store = (*store.Store)(nil)

// TestIdempotencyRace sends one key many times at once: one request makes
// something, all others find it.
func TestIdempotencyRace(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		var wg sync.WaitGroup
		var made, found atomic.Int32
		for range 16 {
			wg.Go(func() {
				err := s.Tx(t.Context(), func(tx proposals.Tx) error {
					now, err := tx.Now()
					if err != nil {
						return err
					}
					_, err = tx.Idempotency("default", "user:a", "key")
					if err == nil {
						found.Add(1)
						return nil
					}
					if !errors.Is(err, proposals.ErrNotFound) {
						return err
					}
					made.Add(1)
					return tx.Write(&proposals.IdempotencyRecord{Tenant: "default", Principal: "user:a", Key: "key", CreatedAt: now, ExpiresAt: now.Add(time.Hour)})
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 || found.Load() != 15 {
			t.Fatalf("made %d times, found %d times", made.Load(), found.Load())
		}
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := s.Tx(t.Context(), func(tx proposals.Tx) error {
			_, err := tx.Idempotency("default", "user:a", "key")
			return err
		})
		if err != nil {
			t.Fatalf("swept too early: %v", err)
		}
	})
}

// TestIdempotencyWaits holds that the second transaction waits for the first,
// which both databases do in ways of their own.
func TestIdempotencyWaits(t *testing.T) {
	dsn := databases["postgres"](t)
	s := open(t, dsn, store.Options{Mode: store.Server})
	db := raw(t, dsn)
	second := make(chan error, 1)
	ask := func(tx proposals.Tx) error {
		_, err := tx.Idempotency("default", "user:a", "key")
		return err
	}
	err := s.Tx(t.Context(), func(tx proposals.Tx) error {
		if err := ask(tx); !errors.Is(err, proposals.ErrNotFound) {
			return fmt.Errorf("the first one found %w", err)
		}
		go func() { second <- s.Tx(t.Context(), ask) }()
		for waiting := 0; waiting == 0; {
			select {
			case err := <-second:
				return fmt.Errorf("the second one did not wait: %w", err)
			default:
			}
			if err := db.QueryRow(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&waiting); err != nil {
				return err
			}
		}
		at, err := tx.Now()
		if err != nil {
			return err
		}
		return tx.Write(&proposals.IdempotencyRecord{Tenant: "default", Principal: "user:a", Key: "key", CreatedAt: at, ExpiresAt: at.Add(time.Hour)})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Fatalf("the second one does not see what the first one made: %v", err)
	}
}
