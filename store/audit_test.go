package store_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/store"
)

// raw is the database behind a store's back: what an attacker has.
func raw(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	driver, name := "pgx", dsn
	if file, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		driver, name = "sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath()}).String()
	} else {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set("search_path", store.Schema)
		u.RawQuery = q.Encode()
		name = u.String()
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func run(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// appendEvents appends events numbered from first, alternating between two
// tenants.
func appendEvents(t *testing.T, s *store.Store, tenant string, first, n int) {
	t.Helper()
	for i := first; i < first+n; i++ {
		payload, err := json.Marshal(map[string]string{"i": fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		e := audit.Event{ID: fmt.Sprintf("%s-%d", tenant, i), Tenant: tenant, Kind: "test.happened", Subject: fmt.Sprint("subject", i), From: "A", To: "B",
			Actors:        audit.ActorsOf(&policy.Principal{ID: "agent:a", Kind: policy.Agent, CredentialID: "c", For: &policy.Principal{ID: "user:u", Kind: policy.Human}}),
			PolicyVersion: "p1", TraceID: "t1", Payload: payload}
		if err := s.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func sealAll(t *testing.T, s *store.Store) int {
	t.Helper()
	n, err := (&audit.Sealer{Store: s, Batch: 7}).SealAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func verify(t *testing.T, s *store.Store) audit.Report {
	t.Helper()
	report, err := audit.Verify(t.Context(), s, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestAuditChain(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		if r := verify(t, s); len(r.Tenants) != 0 || r.Wrong() != nil {
			t.Fatalf("an empty log: %v", r)
		}
		appendEvents(t, s, "one", 1, 20)
		appendEvents(t, s, "two", 1, 3)
		if n := sealAll(t, s); n != 23 {
			t.Fatalf("sealed %d", n)
		}
		appendEvents(t, s, "one", 21, 4)
		r := verify(t, s)
		if r.Wrong() != nil || len(r.Tenants) != 2 {
			t.Fatal(r)
		}
		if one := r.Tenants[0]; one.Tenant != "one" || one.Sealed != 20 || one.Unsealed != 4 || one.Head.Seq != 20 {
			t.Fatalf("%+v", one)
		}
		if two := r.Tenants[1]; two.Sealed != 3 || two.Unsealed != 0 {
			t.Fatalf("%+v", two)
		}
		got, err := s.Events(t.Context(), "one", "subject7", 0, 10)
		if err != nil || len(got) != 1 || got[0].ID != "one-7" || string(got[0].Payload) != `{"i":"7"}` || len(got[0].Actors) != 2 || got[0].Seq != 7 {
			t.Fatalf("%+v %v", got, err)
		}
		page, err := s.Events(t.Context(), "one", "", 0, 3)
		if err != nil || len(page) != 3 || page[0].ID != "one-24" {
			t.Fatalf("%+v %v", page, err)
		}
		if page, err = s.Events(t.Context(), "one", "", page[2].N, 1); err != nil || page[0].ID != "one-21" {
			t.Fatalf("%+v %v", page, err)
		}
	})
}

// TestAuditTampered changes the sealed log behind the store's back in every way
// and wants the first wrong event named.
func TestAuditTampered(t *testing.T) {
	for _, c := range []struct {
		name   string
		change []string
		seq    int64
		kind   string
	}{
		{"a kind is flipped", []string{`UPDATE audit_event SET kind = 'test.harmless' WHERE seq = 5`}, 5, audit.WrongChanged},
		{"a subject", []string{`UPDATE audit_event SET subject = 'x' WHERE seq = 5`}, 5, audit.WrongChanged},
		{"a state before", []string{`UPDATE audit_event SET from_state = 'x' WHERE seq = 5`}, 5, audit.WrongChanged},
		{"a state after", []string{`UPDATE audit_event SET to_state = 'x' WHERE seq = 5`}, 5, audit.WrongChanged},
		{"a time", []string{`UPDATE audit_event SET at = at + 1 WHERE seq = 5`}, 5, audit.WrongChanged},
		{"an id", []string{`UPDATE audit_event SET id = 'x' WHERE seq = 5`}, 5, audit.WrongChanged},
		{"a policy version", []string{`UPDATE audit_event SET policy_version = 'x' WHERE seq = 5`}, 5, audit.WrongChanged},
		{"a trace", []string{`UPDATE audit_event SET trace_id = 'x' WHERE seq = 5`}, 5, audit.WrongChanged},
		{"an actor", []string{`UPDATE audit_event SET actors = replace(actors, 'user:u', 'user:v') WHERE seq = 5`}, 5, audit.WrongChanged},
		{"actors that are no JSON", []string{`UPDATE audit_event SET actors = '{' WHERE seq = 5`}, 5, audit.WrongChanged},
		{"a payload's digest", []string{`UPDATE audit_event SET payload_digest = 'x' WHERE seq = 5`}, 5, audit.WrongChanged},
		{"a hash", []string{`UPDATE audit_event SET hash = 'x' WHERE seq = 5`}, 5, audit.WrongChanged},
		{"a payload", []string{`UPDATE audit_payload SET payload = salt WHERE event_id = 't-5'`}, 5, audit.WrongPayload},
		{"a salt", []string{`UPDATE audit_payload SET salt = payload WHERE event_id = 't-5'`}, 5, audit.WrongPayload},
		{"a payload is removed", []string{`DELETE FROM audit_payload WHERE event_id = 't-5'`}, 5, audit.WrongPayload},
		{"an event is deleted", []string{`DELETE FROM audit_event WHERE seq = 5`}, 5, audit.WrongMissing},
		{"the first is deleted", []string{`DELETE FROM audit_event WHERE seq = 1`}, 1, audit.WrongMissing},
		{"the end is cut", []string{`DELETE FROM audit_event WHERE seq > 15`}, 16, audit.WrongMissing},
		{"the end is cut, head and all", []string{`DELETE FROM audit_event WHERE seq > 15`, `UPDATE audit_head SET seq = 15, hash = (SELECT hash FROM audit_event WHERE seq = 15)`}, 16, audit.WrongMissing},
		{"everything is deleted", []string{`DELETE FROM audit_event`, `DELETE FROM audit_head`}, 1, audit.WrongMissing},
		{"an event is taken out of the chain", []string{`UPDATE audit_event SET seq = NULL, hash = NULL WHERE seq = 5`}, 5, audit.WrongMissing},
		{"two are swapped", []string{`UPDATE audit_event SET seq = 1000 WHERE seq = 5`, `UPDATE audit_event SET seq = 5 WHERE seq = 6`, `UPDATE audit_event SET seq = 6 WHERE seq = 1000`}, 5, audit.WrongMoved},
		{"two are swapped with their hashes", []string{
			`UPDATE audit_event SET seq = 1000, hash = (SELECT hash FROM audit_event WHERE seq = 6) WHERE seq = 5`,
			`UPDATE audit_event SET seq = 5, hash = (SELECT hash FROM audit_event WHERE seq = 4) WHERE seq = 6`,
			`UPDATE audit_event SET seq = 6 WHERE seq = 1000`}, 5, audit.WrongChanged},
		{"one is moved to the end", []string{`UPDATE audit_event SET seq = 1000 WHERE seq = 5`}, 5, audit.WrongMissing},
		{"two wrongs, the first is named", []string{`UPDATE audit_event SET kind = 'x' WHERE seq = 9`, `DELETE FROM audit_payload WHERE event_id = 't-3'`}, 3, audit.WrongPayload},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn := databases["sqlite"](t)
			s := open(t, dsn, store.Options{Mode: store.Server})
			appendEvents(t, s, "t", 1, 20)
			sealAll(t, s)
			appendEvents(t, s, "t", 21, 2)
			db := raw(t, dsn)
			for _, change := range c.change {
				run(t, db, change)
			}
			w := verify(t, s).Wrong()
			if w == nil || w.Seq != c.seq || w.Kind != c.kind {
				t.Fatalf("got %+v, want event %d %s", w, c.seq, c.kind)
			}
			if c.kind == audit.WrongMissing != (w.EventID == "") {
				t.Fatalf("which event? %+v", w)
			}
		})
	}
}

// TestAuditTamperedPostgres holds that the other database stores what is
// hashed.
func TestAuditTamperedPostgres(t *testing.T) {
	dsn := databases["postgres"](t)
	s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
	appendEvents(t, s, "t", 1, 20)
	sealAll(t, s)
	if w := verify(t, s).Wrong(); w != nil {
		t.Fatal(w)
	}
	db := raw(t, dsn)
	run(t, db, `UPDATE audit_event SET actors = replace(actors, 'user:u', 'user:v') WHERE seq = 5`)
	if w := verify(t, s).Wrong(); w == nil || w.Seq != 5 || w.Kind != audit.WrongChanged {
		t.Fatal(w)
	}
}

// TestAuditRewritten computes the whole chain anew: only the head beside the
// data knows.
func TestAuditRewritten(t *testing.T) {
	dsn, dir := databases["sqlite"](t), t.TempDir()
	s := open(t, dsn, store.Options{Mode: store.Server, DataDir: dir})
	appendEvents(t, s, "t", 1, 20)
	sealAll(t, s)
	db := raw(t, dsn)
	run(t, db, `UPDATE audit_event SET kind = 'test.harmless' WHERE seq = 5`)
	run(t, db, `UPDATE audit_event SET seq = NULL, hash = NULL`)
	run(t, db, `DELETE FROM audit_head`)
	elsewhere := open(t, dsn, store.Options{Mode: store.Tool, DataDir: t.TempDir()})
	sealAll(t, elsewhere)
	if w := verify(t, elsewhere).Wrong(); w != nil {
		t.Fatalf("the forged chain is whole in itself: %+v", w)
	}
	if w := verify(t, s).Wrong(); w == nil || w.Kind != audit.WrongHead || w.Seq != 20 {
		t.Fatalf("got %+v", w)
	}
}

func TestAuditErasure(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		appendEvents(t, s, "t", 1, 5)
		sealAll(t, s)
		if err := s.Erase(t.Context(), audit.Event{Tenant: "other", Kind: audit.KindErased, Subject: "t-3"}); err == nil {
			t.Fatal("another tenant erased it")
		}
		if err := s.Erase(t.Context(), audit.Event{Tenant: "t", Kind: "something", Subject: "t-3"}); err == nil {
			t.Fatal("erased without an erasure's event")
		}
		if err := s.Erase(t.Context(), audit.Event{Tenant: "t", Kind: audit.KindErased, Subject: "t-3"}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // before and after the erasure itself is sealed
			r := verify(t, s)
			if r.Wrong() != nil || r.Tenants[0].Erased != 1 {
				t.Fatal(r)
			}
			sealAll(t, s)
		}
		got, err := s.Events(t.Context(), "t", "subject3", 0, 1)
		if err != nil || got[0].Payload != nil || got[0].Salt != nil {
			t.Fatalf("%+v %v", got, err)
		}
	})
}

// TestSealerUnderWriters runs several sealers beside writers that roll back
// now and then, and wants one whole chain per tenant with every event once.
func TestSealerUnderWriters(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		s := open(t, dsn, store.Options{Mode: store.Server, DataDir: t.TempDir()})
		ctx, cancel := context.WithCancel(t.Context())
		var sealers, writers sync.WaitGroup
		for range 3 {
			ticks := make(chan time.Time)
			sealers.Go(func() {
				(&audit.Sealer{Store: s, Batch: 5, Ticks: ticks, Failed: func(err error) { t.Error(err) }}).Run(ctx)
			})
			sealers.Go(func() {
				for {
					select {
					case ticks <- time.Time{}:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		const each, writersN = 30, 6
		for w := range writersN {
			writers.Go(func() {
				for i := range each {
					err := s.Tx(t.Context(), func(tx proposals.Tx) error {
						if err := tx.Audit(audit.Event{Tenant: fmt.Sprint("tenant", w%2), Kind: "test.happened", Subject: fmt.Sprint(w, i)}); err != nil {
							return err
						}
						if i%3 == 2 {
							return context.Canceled // rolled back
						}
						return nil
					})
					if err != nil && i%3 != 2 {
						t.Error(err)
					}
				}
			})
		}
		writers.Wait()
		cancel()
		sealers.Wait()
		r := verify(t, s)
		if r.Wrong() != nil || len(r.Tenants) != 2 {
			t.Fatal(r)
		}
		for _, tenant := range r.Tenants {
			if tenant.Sealed != writersN/2*each*2/3 || tenant.Unsealed != 0 {
				t.Fatalf("%+v", tenant)
			}
		}
	})
}

// TestVerifyBesideServer reads with a store of its own while the server is up,
// as `audit verify --data` does, and after it.
func TestVerifyBesideServer(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		dir := t.TempDir()
		s, err := store.Open(t.Context(), dsn, store.Options{Mode: store.Server, DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		appendEvents(t, s, "t", 1, 9)
		sealAll(t, s)
		appendEvents(t, s, "t", 10, 1)
		check := func() {
			t.Helper()
			reader := open(t, dsn, store.Options{DataDir: dir})
			r := verify(t, reader)
			if r.Wrong() != nil || r.Tenants[0].Sealed != 9 || r.Tenants[0].Unsealed != 1 {
				t.Fatal(r)
			}
			if err := reader.Append(t.Context(), audit.Event{Tenant: "t"}); err == nil {
				t.Fatal("a reader wrote")
			}
		}
		check()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		check()
		if file, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("%v %v", info.Mode(), err)
			}
			if _, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "none.db"), store.Options{}); err == nil {
				t.Fatal("a reader made a store")
			}
		}
	})
}
