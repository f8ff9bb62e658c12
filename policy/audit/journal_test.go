package audit_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/policy/audit"
)

// A log takes what is appended, in transactions that a test can hold up or fail.
type log struct {
	mu      sync.Mutex
	commits [][]audit.Event
	fail    error
	begun   chan struct{} // told of each commit that begins; may be nil
	hold    chan struct{} // each commit waits for one; may be nil
}

func (l *log) AppendAll(_ context.Context, events []audit.Event) error {
	if l.begun != nil {
		l.begun <- struct{}{}
	}
	if l.hold != nil {
		<-l.hold
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.commits = append(l.commits, append([]audit.Event(nil), events...))
	return nil
}

func (l *log) events() (out []audit.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.commits {
		out = append(out, c...)
	}
	return out
}

// What is recorded while a commit is under way shares the next one.
func TestGroupCommit(t *testing.T) {
	l := &log{begun: make(chan struct{}), hold: make(chan struct{})}
	j := &audit.Journal{Store: l}
	var wg sync.WaitGroup
	record := func(kind string) {
		wg.Go(func() {
			if err := j.Record(t.Context(), audit.Event{Tenant: "t", Kind: kind}); err != nil {
				t.Error(err)
			}
		})
	}
	record("first")
	<-l.begun
	for i := range 20 {
		record(fmt.Sprint("later", i))
	}
	for audit.Waiting(j) < 20 {
		runtime.Gosched()
	}
	l.hold <- struct{}{}
	<-l.begun
	l.hold <- struct{}{}
	wg.Wait()
	if len(l.commits) != 2 || len(l.commits[0]) != 1 || len(l.commits[1]) != 20 {
		t.Fatalf("%d commits: %v", len(l.commits), l.commits)
	}
}

// A writer is told when its own event is committed, however many there are.
func TestRecordWaits(t *testing.T) {
	l := &log{}
	j := &audit.Journal{Store: l}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for k := range 10 {
				kind := fmt.Sprint(i, ".", k)
				if err := j.Record(t.Context(), audit.Event{Tenant: "t", Kind: kind}); err != nil {
					t.Error(err)
				}
				there := false
				for _, e := range l.events() {
					there = there || e.Kind == kind
				}
				if !there {
					t.Errorf("%s is not committed", kind)
				}
			}
		})
	}
	wg.Wait()
	if n := len(l.events()); n != 200 {
		t.Fatalf("%d events", n)
	}
}

// kept are intents that count what was begun and not ended.
type kept struct {
	mu   sync.Mutex
	open int
	fail error
}

func (k *kept) Begin([]audit.Event) (func(), error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return nil, k.fail
	}
	k.open++
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.open--
	}, nil
}

// A store that is away delays a direct write's event and loses none: its intent
// is kept until it is committed.
func TestDirectWriteOutlivesTheStore(t *testing.T) {
	l, k := &log{fail: errors.New("away")}, &kept{}
	j := &audit.Journal{Store: l, Intents: k}
	events := []audit.Event{{Tenant: "t", Kind: "write.unknown"}}
	d, err := j.Begin(events)
	if err != nil || events[0].ID == "" || k.open != 1 {
		t.Fatal(err, events, k.open)
	}
	events[0].Kind = "write.applied"
	if err := d.Done(t.Context(), events); err == nil {
		t.Fatal("the store took it")
	}
	j.Flush(t.Context(), false)
	if k.open != 1 || len(l.events()) != 0 {
		t.Fatal(k.open, l.events())
	}
	l.fail = nil
	j.Flush(t.Context(), false)
	if got := l.events(); k.open != 0 || len(got) != 1 || got[0].Kind != "write.applied" || got[0].ID != events[0].ID {
		t.Fatal(k.open, got)
	}
	k.fail = errors.New("full")
	if _, err := j.Begin(events); err == nil {
		t.Fatal("begun without an intent")
	}
}

// Guessing writes one event per guesser and minute, and one that counts the rest.
func TestSampled(t *testing.T) {
	l := &log{}
	at := time.Unix(0, 0)
	j := &audit.Journal{Store: l, Now: func() time.Time { return at }}
	denied := audit.Event{Tenant: "t", Kind: "access.denied", Subject: "crm.customers", Payload: []byte(`{"act":"read"}`)}
	for range 1000 {
		j.Sampled("agent:a", denied)
	}
	j.Sampled("agent:b", denied)
	j.Flush(t.Context(), false)
	if got := l.events(); len(got) != 2 {
		t.Fatalf("%d events", len(got))
	}
	at = at.Add(time.Minute)
	j.Flush(t.Context(), false)
	got := l.events()
	if len(got) != 3 || string(got[2].Payload) != `{"act":"read","count":999}` || got[2].Subject != "crm.customers" {
		t.Fatalf("%+v", got)
	}
	j.Sampled("agent:a", denied)
	j.Flush(t.Context(), true)
	if got = l.events(); len(got) != 4 {
		t.Fatalf("%d events", len(got))
	}
}

// Whoever makes up names fills neither memory nor log.
func TestSampledNamesAreBounded(t *testing.T) {
	l := &log{}
	j := &audit.Journal{Store: l, Queue: 100}
	for i := range 50_000 {
		j.Sampled(fmt.Sprint("guesser", i), audit.Event{Tenant: "t", Kind: "identity.signInFailed", Subject: fmt.Sprint("user", i)})
	}
	if n := audit.Windows(j); n > 10_001 {
		t.Fatalf("%d windows", n)
	}
	j.Flush(t.Context(), true)
	got := l.events()
	if len(got) > 101 {
		t.Fatalf("%d events", len(got))
	}
	if last := got[len(got)-1]; last.Kind != audit.KindDropped || string(last.Payload) == "" {
		t.Fatalf("%+v", last)
	}
}

// What is noted waits for nobody, is bounded, and what was dropped is counted.
func TestNotesAreBounded(t *testing.T) {
	l := &log{}
	j := &audit.Journal{Store: l, Queue: 3}
	for i := range 10 {
		j.Note(audit.Event{Tenant: "t", Kind: fmt.Sprint(i)})
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	j.Run(ctx)
	got := l.events()
	if len(got) != 4 || got[3].Kind != audit.KindDropped || string(got[3].Payload) != `{"events":7}` {
		t.Fatalf("%+v", got)
	}
	l.fail = errors.New("away")
	j.Note(audit.Event{Tenant: "t", Kind: "kept"})
	j.Flush(t.Context(), false)
	l.fail = nil
	j.Flush(t.Context(), false)
	if got = l.events(); len(got) != 5 || got[4].Kind != "kept" {
		t.Fatalf("%+v", got)
	}
	var none *audit.Journal
	none.Note(audit.Event{})
	none.Sampled("", audit.Event{})
	if err := none.Record(t.Context(), audit.Event{}); err != nil {
		t.Fatal(err)
	}
}
