package store_test

import (
	"errors"
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
	for name, keys := range map[string]*store.Keyring{"encrypted": keyring(t), "in clear": nil} {
		t.Run(name, func(t *testing.T) {
			for name, dsn := range databases {
				t.Run(name, func(t *testing.T) {
					proposalstest.RunStore(t, func(t *testing.T) proposalstest.Opened {
						s := open(t, dsn(t), store.Options{Mode: store.Server, Keyring: keys, DataDir: t.TempDir()})
						return proposalstest.Opened{Store: s, Events: func(t *testing.T, tenant string) []audit.Event { return events(t, s, tenant) }}
					})
				})
			}
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
