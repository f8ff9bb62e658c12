package proposalstest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/countersign/countersign/proposals"
)

func due(t *testing.T, o Opened) {
	at := now(t, o.Store)
	add := func(n int, s proposals.State, wake time.Time) {
		p := SampleProposal("default", n, at)
		p.State, p.WakeAt = s, wake
		create(t, o.Store, p)
	}
	add(1, proposals.Approved, at.Add(-time.Minute))
	add(2, proposals.Approved, at.Add(time.Hour))
	add(3, proposals.Executing, at.Add(-2*time.Minute))
	add(4, proposals.Pending, at.Add(-3*time.Minute))
	add(5, proposals.Approved, time.Time{})
	elsewhere := SampleProposal("elsewhere", 6, at)
	elsewhere.State, elsewhere.WakeAt = proposals.Approved, at.Add(-time.Second)
	create(t, o.Store, elsewhere)
	ids := func(limit int, states ...proposals.State) []string {
		got, err := o.Store.Due(t.Context(), states, limit)
		must(t, err)
		var out []string
		for _, p := range got {
			out = append(out, p.ID[len(p.ID)-1:])
		}
		return out
	}
	same(t, ids(10, proposals.Approved, proposals.Executing), []string{"3", "1", "6"})
	same(t, ids(10, proposals.Pending), []string{"4"})
	same(t, ids(1, proposals.Approved, proposals.Executing), []string{"3"})
}

func listPages(t *testing.T, o Opened) {
	at := now(t, o.Store)
	const n = 25
	var want []string
	for i := range n {
		p := SampleProposal("default", i+1, at)
		p.UpdatedAt = at.Add(time.Duration(i) * time.Second)
		if i%2 == 0 {
			p.State = proposals.Executed
		}
		if i%5 == 0 {
			p.Author.Principal, p.Author.For = "user:carl", ""
		}
		create(t, o.Store, p)
		want = append([]string{p.ID}, want...)
	}
	read := func(f proposals.Filter) []string {
		var ids []string
		f.Tenant = "default"
		for {
			page, err := o.Store.List(t.Context(), f)
			must(t, err)
			if len(page) > f.Limit {
				t.Fatalf("a page of %d", len(page))
			}
			for _, p := range page {
				ids = append(ids, p.ID)
			}
			if len(page) < f.Limit {
				return ids
			}
			f.Before = page[len(page)-1].ID
		}
	}
	same(t, read(proposals.Filter{Limit: 7}), want)
	same(t, read(proposals.Filter{Limit: 100}), want)
	if got := read(proposals.Filter{Limit: 3, States: []proposals.State{proposals.Executed}}); len(got) != 13 || got[0] != want[0] {
		t.Fatalf("by state: %d", len(got))
	}
	if got := read(proposals.Filter{Limit: 3, States: []proposals.State{proposals.Executed, proposals.Pending}}); len(got) != n {
		t.Fatalf("by two states: %d", len(got))
	}
	if got := read(proposals.Filter{Limit: 3, Author: []string{"user:carl"}}); len(got) != 5 {
		t.Fatalf("by author: %d", len(got))
	}
	if got := read(proposals.Filter{Limit: 3, Author: []string{"user:maria", "user:nobody"}}); len(got) != 20 {
		t.Fatalf("by the person behind: %d", len(got))
	}
	if got := read(proposals.Filter{Limit: 3, Author: []string{""}}); len(got) != 0 {
		t.Fatalf("nobody is the person behind an author that acts for itself: %d", len(got))
	}
	if got := read(proposals.Filter{Limit: 3, UpdatedSince: at.Add(20 * time.Second)}); len(got) != 5 {
		t.Fatalf("updated since: %d", len(got))
	}
}

func tenants(t *testing.T, o Opened) {
	p := SampleProposal("one", 1, now(t, o.Store))
	create(t, o.Store, p)
	for _, by := range []proposals.Ref{{ID: p.ID}, {Handle: p.Handle}, {DedupeKey: p.DedupeKey}} {
		_, err := o.Store.Get(t.Context(), "two", by)
		wantErr(t, err, proposals.ErrNotFound)
	}
	got, err := o.Store.List(t.Context(), proposals.Filter{Tenant: "two", Limit: 10})
	must(t, err)
	if len(got) != 0 {
		t.Fatal("listed another tenant's")
	}
}

func clock(t *testing.T, o Opened) {
	before := now(t, o.Store)
	var first, second time.Time
	must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
		var err error
		first, err = tx.Now()
		must(t, err)
		second, err = tx.Now()
		return err
	}))
	after := now(t, o.Store)
	if !first.Equal(second) {
		t.Fatal("the clock moved inside of a transaction")
	}
	if first.Before(before) || after.Before(first) {
		t.Fatalf("out of order: %v %v %v", before, first, after)
	}
	for _, at := range []time.Time{before, first, after} {
		if at.Location() != time.UTC || !at.Equal(at.Truncate(time.Microsecond)) {
			t.Fatalf("%v is not UTC in microseconds", at)
		}
	}
}

func auditOneToOne(t *testing.T, o Opened) {
	p := SampleProposal("default", 1, now(t, o.Store))
	create(t, o.Store, p)
	for v := int64(1); v < 10; v++ {
		q := *p
		q.Version = v + 1
		stop := errors.New("stop")
		err := o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
			if err := tx.Put(&q, v); err != nil {
				return err
			}
			if err := tx.Audit(SampleEvent(&q, fmt.Sprintf("proposal.step%d", v))); err != nil {
				return err
			}
			if v%3 == 0 {
				return stop
			}
			return nil
		})
		if v%3 == 0 {
			wantErr(t, err, stop)
			must(t, o.Store.Tx(t.Context(), func(tx proposals.Tx) error {
				if err := tx.Put(&q, v); err != nil {
					return err
				}
				return tx.Audit(SampleEvent(&q, fmt.Sprintf("proposal.again%d", v)))
			}))
		} else {
			must(t, err)
		}
	}
	got := o.Events(t, "default")
	if len(got) != 10 {
		t.Fatalf("%d events for 10 transitions", len(got))
	}
	first := got[0]
	if first.At.IsZero() {
		t.Fatal("an event without the store's time")
	}
	first.ID, first.At = "", time.Time{}
	same(t, first, SampleEvent(p, "proposal.propose"))
	if got[3].Kind != "proposal.again3" {
		t.Fatalf("event 3 is %s", got[3].Kind)
	}
	if len(o.Events(t, "elsewhere")) != 0 {
		t.Fatal("events of another tenant")
	}
}
