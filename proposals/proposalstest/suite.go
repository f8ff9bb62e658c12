package proposalstest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/proposals"
)

// An Opened store, with a look at its audit events where the suite cannot read
// them through the contract.
type Opened struct {
	Store proposals.Store
	// Events lists the audit events of a tenant in the order they were written
	// (sealed or not).
	Events func(t *testing.T, tenant string) []audit.Event
}

// RunStore is the conformance suite. open gives an empty store, closed by the
// test's cleanup.
func RunStore(t *testing.T, open func(t *testing.T) Opened) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Opened)
	}{
		{"every column comes back", everyColumn},
		{"a rollback leaves nothing", rollback},
		{"compare and swap", compareAndSwap},
		{"64 claims, one wins", claimRace},
		{"64 equal proposals, one is made", dedupeRace},
		{"dedupe frees with the end", dedupeFrees},
		{"append only", appendOnly},
		{"attempts are replaced", attemptReplaced},
		{"idempotency", idempotency},
		{"64 requests under one key, one makes it", keyRace},
		{"control", control},
		{"use", use},
		{"due", due},
		{"list pages", listPages},
		{"tenants are apart", tenants},
		{"clock", clock},
		{"audit one to one", auditOneToOne},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func now(t *testing.T, s proposals.Store) time.Time {
	t.Helper()
	at, err := s.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// same compares as JSON: nil and empty lists are equal, and so are times of
// different locations.
func same(t *testing.T, got, want any) {
	t.Helper()
	a, err := json.Marshal(got)
	must(t, err)
	b, err := json.Marshal(want)
	must(t, err)
	var x, y any
	must(t, json.Unmarshal(a, &x))
	must(t, json.Unmarshal(b, &y))
	if !reflect.DeepEqual(x, y) {
		t.Fatalf("got  %s\nwant %s", a, b)
	}
}

func create(t *testing.T, s proposals.Store, p *proposals.Proposal) {
	t.Helper()
	must(t, s.Tx(t.Context(), func(tx proposals.Tx) error {
		if err := tx.Put(p, 0); err != nil {
			return err
		}
		return tx.Audit(SampleEvent(p, "proposal.propose"))
	}))
}

func everyColumn(t *testing.T, o Opened) {
	at := now(t, o.Store)
	p := SampleProposal("default", 1, at)
	want := &proposals.Dossier{Proposal: *p, Revisions: []*proposals.Revision{SampleRevision(p, 1), SampleRevision(p, 2)},
		Decisions: []*proposals.Decision{SampleDecision(p, 1, "user:a"), SampleDecision(p, 2, "user:b")},
		Attempts:  []*proposals.Attempt{SampleAttempt(p, 0, 1), SampleAttempt(p, 0, 2), SampleAttempt(p, 1, 1)}}
	must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
		if err := tx.Put(p, 0); err != nil {
			return err
		}
		// Written out of order: the store sorts by number.
		return tx.Write(want.Revisions[0], want.Revisions[1], want.Attempts[2], want.Attempts[0], want.Attempts[1],
			want.Decisions[0], want.Decisions[1],
			&proposals.OutboxMessage{Tenant: "default", ID: "01900000-0000-7000-8000-000000000001", Topic: "proposed",
				Payload: json.RawMessage(`{}`), Attempts: 1, NextTry: at, At: at})
	}))
	for _, by := range []proposals.Ref{{ID: p.ID}, {Handle: p.Handle}, {DedupeKey: p.DedupeKey}} {
		got, err := o.Store.Get(t.Context(), "default", by)
		must(t, err)
		same(t, got, want)
		must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
			got, err := tx.Get("default", by)
			must(t, err)
			same(t, got, want)
			return nil
		}))
	}
	bare := &proposals.Proposal{Tenant: "default", ID: "01900000-0000-7000-8000-000000000099", Handle: "h99", State: proposals.Pending,
		Version: 1, Revision: 1, DedupeKey: "d99", CreatedAt: at, UpdatedAt: at, ExpiresAt: at}
	create(t, o.Store, bare)
	got, err := o.Store.Get(t.Context(), "default", proposals.Ref{ID: bare.ID})
	must(t, err)
	same(t, got.Proposal, bare)
	if !got.Proposal.WakeAt.IsZero() || !got.Proposal.NotBefore.IsZero() {
		t.Fatal("a zero time came back as another one")
	}
}

func rollback(t *testing.T, o Opened) {
	at := now(t, o.Store)
	p := SampleProposal("default", 1, at)
	stop := errors.New("stop")
	err := o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
		must(t, tx.Put(p, 0))
		must(t, tx.Write(SampleRevision(p, 1), SampleDecision(p, 1, "user:a"), SampleAttempt(p, 0, 1)))
		must(t, tx.Write(&proposals.Control{Tenant: "default", Version: 1, PolicyVersion: "p1"}))
		must(t, tx.Write(&proposals.IdempotencyRecord{Tenant: "default", Principal: "a", Key: "k", Digest: "d",
			State: proposals.IdempotencyDone, CreatedAt: at, ExpiresAt: at.Add(time.Hour)}))
		must(t, tx.Audit(SampleEvent(p, "proposal.propose")))
		return stop
	})
	wantErr(t, err, stop)
	_, err = o.Store.Get(t.Context(), "default", proposals.Ref{ID: p.ID})
	wantErr(t, err, proposals.ErrNotFound)
	c, err := o.Store.Control(t.Context(), "default")
	must(t, err)
	if c.Version != 0 {
		t.Fatal("the control row was kept")
	}
	must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
		_, err := tx.Idempotency("default", "a", "k")
		wantErr(t, err, proposals.ErrNotFound)
		return nil
	}))
	if e := o.Events(t, "default"); len(e) != 0 {
		t.Fatalf("%d audit events were kept", len(e))
	}
	// The rows' keys are free again.
	must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
		must(t, tx.Put(p, 0))
		return tx.Write(SampleRevision(p, 1))
	}))
}

func compareAndSwap(t *testing.T, o Opened) {
	p := SampleProposal("default", 1, now(t, o.Store))
	create(t, o.Store, p)
	put := func(version, was int64) error {
		q := *p
		q.Version, q.Epoch = version, version
		return o.Store.Tx(t.Context(), func(tx proposals.Tx) error { return tx.Put(&q, was) })
	}
	wantErr(t, put(1, 0), proposals.ErrConflict)
	wantErr(t, put(3, 2), proposals.ErrConflict)
	must(t, put(2, 1))
	wantErr(t, put(2, 1), proposals.ErrConflict)
	must(t, put(7, 2))
	got, err := o.Store.Get(t.Context(), "default", proposals.Ref{ID: p.ID})
	must(t, err)
	if got.Proposal.Version != 7 || got.Proposal.Epoch != 7 {
		t.Fatalf("version %d epoch %d", got.Proposal.Version, got.Proposal.Epoch)
	}
	missing := SampleProposal("default", 2, now(t, o.Store))
	err = o.Store.Tx(t.Context(), func(tx proposals.Tx) error { return tx.Put(missing, 1) })
	wantErr(t, err, proposals.ErrConflict)
}

const racers = 64

// race runs fn in many goroutines at once.
func race(fn func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range racers {
		wg.Go(func() { <-start; fn(i) })
	}
	close(start)
	wg.Wait()
}

func claimRace(t *testing.T, o Opened) {
	p := SampleProposal("default", 1, now(t, o.Store))
	p.State = proposals.Approved
	create(t, o.Store, p)
	var won atomic.Int64
	race(func(i int) {
		err := o.Store.Tx(context.WithoutCancel(t.Context()), func(tx proposals.Tx) error {
			d, err := tx.Get("default", proposals.Ref{ID: p.ID})
			if err != nil {
				return err
			}
			if d.Proposal.State != proposals.Approved {
				return proposals.ErrConflict
			}
			q := d.Proposal
			q.State, q.Version, q.Epoch = proposals.Executing, q.Version+1, q.Epoch+1
			if err := tx.Put(&q, d.Proposal.Version); err != nil {
				return err
			}
			a := SampleAttempt(p, 0, 1)
			a.Executor = fmt.Sprint(i)
			if err := tx.Write(a); err != nil {
				return err
			}
			return tx.Audit(SampleEvent(&q, "proposal.claim"))
		})
		switch {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, proposals.ErrConflict):
			t.Errorf("claim: %v", err)
		}
	})
	if won.Load() != 1 {
		t.Fatalf("%d claims won", won.Load())
	}
	got, err := o.Store.Get(t.Context(), "default", proposals.Ref{ID: p.ID})
	must(t, err)
	if got.Proposal.Version != 2 || len(got.Attempts) != 1 {
		t.Fatalf("version %d, %d attempts", got.Proposal.Version, len(got.Attempts))
	}
	if e := o.Events(t, "default"); len(e) != 2 {
		t.Fatalf("%d audit events for two transitions", len(e))
	}
}

func dedupeRace(t *testing.T, o Opened) {
	at := now(t, o.Store)
	var made, dup atomic.Int64
	race(func(i int) {
		p := SampleProposal("default", i+1, at)
		p.DedupeKey = "one"
		err := o.Store.Tx(context.WithoutCancel(t.Context()), func(tx proposals.Tx) error { return tx.Put(p, 0) })
		switch {
		case err == nil:
			made.Add(1)
		case errors.Is(err, proposals.ErrDuplicate), errors.Is(err, proposals.ErrConflict):
			dup.Add(1)
		default:
			t.Errorf("put: %v", err)
		}
	})
	if made.Load() != 1 || dup.Load() != racers-1 {
		t.Fatalf("made %d, refused %d", made.Load(), dup.Load())
	}
}

func dedupeFrees(t *testing.T, o Opened) {
	at := now(t, o.Store)
	first := SampleProposal("default", 1, at)
	first.DedupeKey = "one"
	create(t, o.Store, first)
	put := func(p *proposals.Proposal, was int64) error {
		return o.Store.Tx(t.Context(), func(tx proposals.Tx) error { return tx.Put(p, was) })
	}
	second := SampleProposal("default", 2, at)
	second.DedupeKey = "one"
	wantErr(t, put(second, 0), proposals.ErrDuplicate)
	for _, s := range proposals.States() {
		q := *first
		q.State, q.Version = s, first.Version+1
		must(t, put(&q, first.Version))
		first = &q
		_, err := o.Store.Get(t.Context(), "default", proposals.Ref{DedupeKey: "one"})
		if s.Open() {
			must(t, err)
		} else {
			wantErr(t, err, proposals.ErrNotFound)
		}
	}
	must(t, put(second, 0))
	purpose := SampleProposal("default", 3, at)
	purpose.DedupeKey, purpose.Deliberate = "one", true
	must(t, put(purpose, 0))
	got, err := o.Store.Get(t.Context(), "default", proposals.Ref{DedupeKey: "one"})
	must(t, err)
	if got.Proposal.ID != second.ID {
		t.Fatal("found one that was made on purpose")
	}
	other := SampleProposal("elsewhere", 4, at)
	other.DedupeKey = "one"
	must(t, put(other, 0))
}

func appendOnly(t *testing.T, o Opened) {
	p := SampleProposal("default", 1, now(t, o.Store))
	create(t, o.Store, p)
	write := func(r proposals.Row) error {
		return o.Store.Tx(t.Context(), func(tx proposals.Tx) error { return tx.Write(r) })
	}
	must(t, write(SampleRevision(p, 1)))
	wantErr(t, write(SampleRevision(p, 1)), proposals.ErrConflict)
	must(t, write(SampleDecision(p, 1, "user:a")))
	wantErr(t, write(SampleDecision(p, 1, "user:b")), proposals.ErrConflict)
	m := &proposals.OutboxMessage{Tenant: "default", ID: "01900000-0000-7000-8000-000000000001", Topic: "x", Payload: json.RawMessage(`{}`)}
	must(t, write(m))
	wantErr(t, write(m), proposals.ErrConflict)
}

func attemptReplaced(t *testing.T, o Opened) {
	p := SampleProposal("default", 1, now(t, o.Store))
	create(t, o.Store, p)
	a := SampleAttempt(p, 0, 1)
	a.State, a.SettledAs, a.SettledAt, a.Response = proposals.Prepared, "", time.Time{}, nil
	b := SampleAttempt(p, 0, 1)
	for _, r := range []*proposals.Attempt{a, b} {
		must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error { return tx.Write(r) }))
		got, err := o.Store.Get(t.Context(), "default", proposals.Ref{ID: p.ID})
		must(t, err)
		same(t, got.Attempts, []*proposals.Attempt{r})
	}
}

func idempotency(t *testing.T, o Opened) {
	at := now(t, o.Store)
	r := &proposals.IdempotencyRecord{Tenant: "default", Principal: "agent:a", Key: "k", Digest: "d1",
		State: proposals.IdempotencyOpen, CreatedAt: at, ExpiresAt: at.Add(time.Hour)}
	done := *r
	done.State, done.Proposal, done.Answer = proposals.IdempotencyDone, "h1", json.RawMessage(`{"n":9007199254740993}`)
	for _, want := range []*proposals.IdempotencyRecord{r, &done} {
		must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error { return tx.Write(want) }))
		must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
			got, err := tx.Idempotency("default", "agent:a", "k")
			must(t, err)
			same(t, got, want)
			for _, k := range [][3]string{{"other", "agent:a", "k"}, {"default", "agent:b", "k"}, {"default", "agent:a", "l"}} {
				_, err := tx.Idempotency(k[0], k[1], k[2])
				wantErr(t, err, proposals.ErrNotFound)
			}
			return nil
		}))
	}
	old := *r
	old.Key, old.ExpiresAt = "old", at.Add(-time.Second)
	must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error { return tx.Write(&old) }))
	must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
		_, err := tx.Idempotency("default", "agent:a", "old")
		wantErr(t, err, proposals.ErrNotFound)
		return nil
	}))
	// One that is over makes way for a new one.
	old.ExpiresAt, old.Digest = at.Add(time.Hour), "d2"
	must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error { return tx.Write(&old) }))
}

func keyRace(t *testing.T, o Opened) {
	at := now(t, o.Store)
	var wrote atomic.Int64
	race(func(i int) {
		made := false
		err := o.Store.Tx(context.WithoutCancel(t.Context()), func(tx proposals.Tx) error {
			made = false
			_, err := tx.Idempotency("default", "agent:a", "k")
			if !errors.Is(err, proposals.ErrNotFound) {
				return err
			}
			made = true
			return tx.Write(&proposals.IdempotencyRecord{Tenant: "default", Principal: "agent:a", Key: "k", Digest: fmt.Sprint(i),
				State: proposals.IdempotencyDone, CreatedAt: at, ExpiresAt: at.Add(time.Hour)})
		})
		switch {
		case err == nil && made:
			wrote.Add(1)
		case err != nil && !errors.Is(err, proposals.ErrConflict):
			t.Errorf("key: %v", err)
		}
	})
	if wrote.Load() != 1 {
		t.Fatalf("%d requests under one key were the first", wrote.Load())
	}
}

func control(t *testing.T, o Opened) {
	at := now(t, o.Store)
	c, err := o.Store.Control(t.Context(), "default")
	must(t, err)
	same(t, c, &proposals.Control{Tenant: "default"})
	want := &proposals.Control{Tenant: "default", Version: 1, PolicyVersion: "p1", Incarnation: 4,
		KillSwitches: []proposals.KillSwitch{{Source: "crm", Agent: "agent:x", Say: "stop", By: "user:o", At: at}}}
	write := func(c *proposals.Control) error {
		return o.Store.Tx(t.Context(), func(tx proposals.Tx) error { return tx.Write(c) })
	}
	must(t, write(want))
	wantErr(t, write(want), proposals.ErrConflict)
	c, err = o.Store.Control(t.Context(), "default")
	must(t, err)
	same(t, c, want)
	must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
		c, err := tx.Control("default")
		must(t, err)
		same(t, c, want)
		return nil
	}))
	var won atomic.Int64
	race(func(int) {
		next := *want
		next.Version = 2
		if err := o.Store.Tx(context.WithoutCancel(t.Context()), func(tx proposals.Tx) error { return tx.Write(&next) }); err == nil {
			won.Add(1)
		} else if !errors.Is(err, proposals.ErrConflict) {
			t.Errorf("control: %v", err)
		}
	})
	if won.Load() != 1 {
		t.Fatalf("%d writes of one version won", won.Load())
	}
}
