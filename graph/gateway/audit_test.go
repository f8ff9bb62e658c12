package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/policy/audit"
)

// An eventLog takes what the journal commits.
type eventLog struct {
	mu     sync.Mutex
	events []audit.Event
}

func (l *eventLog) AppendAll(_ context.Context, events []audit.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, events...)
	return nil
}

// take gives what was committed since it was last asked, with what is noted.
func (w *world) take() []audit.Event {
	w.t.Helper()
	w.journal.Flush(w.t.Context(), true)
	w.events.mu.Lock()
	defer w.events.mu.Unlock()
	out := w.events.events
	w.events.events = nil
	return out
}

// one is the single event since take, as text.
func (w *world) one() string {
	w.t.Helper()
	events := w.take()
	if len(events) != 1 {
		w.t.Fatalf("%d events: %+v", len(events), events)
	}
	e := &events[0]
	var actors []string
	for _, a := range e.Actors {
		actors = append(actors, a.ID)
	}
	if e.PolicyVersion == "" || e.Tenant != "default" || !json.Valid(e.Payload) {
		w.t.Fatalf("%+v", e)
	}
	return e.Kind + " " + e.Subject + " by " + strings.Join(actors, " for ") + " " + string(e.Payload)
}

// Each direct write is an event before its answer: who, what, which records, which
// fields, and what became of it. Values of secret fields are not in it.
func TestDirectWritesAreRecorded(t *testing.T) {
	w := newWorld(t, func(files map[string]string) {
		files["graph.graphql"] += "extend type Customer @secret(field: \"email\")\n"
		files["policy.csv"] += "p, owner, crm.customers{email}, *, allow\n"
	})
	for _, c := range []struct{ who, operation, want string }{
		{"maria", `mutation Rename { updateCustomer(id: 1, patch: {name: "Adele", email: "canary@x"}) { outcome } }`,
			`write.applied crm.customers by user:maria {"operation":"Rename","act":"update","fields":["name","email"],"records":[{"key":{"id":1},"set":{"name":"Adele"}}],"affected":1,"outcome":"APPLIED"}`},
		{"helper", `mutation { updateTicket(id: 1, patch: {subject: "S"}) { outcome } }`, ""},
		{"olga", `mutation { createCustomer(input: {id: 77, name: "Eve", email: "eve@x", region: "EU"}) { outcome } }`,
			`write.applied crm.customers by user:olga {"act":"create","fields":["id","name","email","region"],"records":[{"key":{"id":77},"set":{"id":77,"name":"Eve","region":"EU"}}],"affected":1,"outcome":"APPLIED"}`},
		{"olga", `mutation { updateCustomers(filter: {region: {eq: "US"}}, patch: {credit: {set: 1}}, maxRows: 5) { outcome } }`,
			`write.applied crm.customers by user:olga {"act":"update","fields":["credit"],"records":[{"set":{"credit":1}},{"key":{"id":2}}],"affected":1,"outcome":"APPLIED"}`},
		{"olga", `mutation { deleteCustomer(id: 4711) { outcome } }`,
			`write.notApplied crm.customers by user:olga {"act":"delete","records":[{"key":{"id":4711}}],"affected":0,"outcome":"NOT_APPLIED","code":"NOT_FOUND"}`},
		{"olga", `mutation { refund(input: {amount: 5, memo: "m"}) { outcome } }`,
			`write.applied desk.refund by user:olga {"act":"call","fields":["amount","memo"],"records":[{"set":{"amount":5,"memo":"m"}}],"affected":1,"outcome":"APPLIED"}`},
	} {
		answer := w.ask(c.who, c.operation)
		if c.want == "" {
			w.take()
			continue
		}
		// Before anything is flushed: it is committed when the answer is there.
		if n := len(w.events.events); n != 1 {
			t.Errorf("%s: %d events are committed with the answer %v", c.operation, n, answer)
		}
		if got := w.one(); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.operation, got, c.want)
		}
	}
	w.ask("triage", `mutation { updateCustomer(id: 2, patch: {name: "B"}) { outcome } }`)
	w.ask("maria", `{ customers { nodes { name } } }`)
	w.ask("maria", `mutation { updateCustomer(id: 1, patch: {name: "P"}, options: {mode: PREVIEW}) { outcome } }`)
	if events := w.take(); len(events) > 0 {
		t.Errorf("a proposal, a read or a preview is no direct write: %+v", events)
	}
}

// What cannot be recorded is not done.
func TestUnrecordedIsNotDone(t *testing.T) {
	w := newWorld(t)
	w.journal.Intents = full{}
	w.ask("olga", `mutation { updateCustomer(id: 1, patch: {name: "Adele"}) { outcome } }`)
	w.journal.Intents = nil
	if got := string(w.ask("olga", `{ customer(id: 1) { name } }`).data); !strings.Contains(got, "Ada\"") {
		t.Fatalf("it was done: %s", got)
	}
}

type full struct{}

func (full) Begin([]audit.Event) (func(), error) { return nil, errors.New("no space left") }

// What somebody names that exists and not for them, or writes without the right,
// is noted; a name that does not exist is not.
func TestDenialsAreNoted(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ who, operation, want string }{
		{"bea", `{ customers { nodes { iban } } }`, `access.denied crm.customers{iban} by user:bea {"act":"read"}`},
		{"bea", `mutation { deleteTicket(id: 1) { outcome } }`, `access.denied desk.tickets by user:bea {"act":"delete"}`},
		{"maria", `mutation { updateOrder(id: 1, patch: {total: 5}) { outcome } }`, ""},
		{"bea", `{ customers { nodes { nothing } } }`, ""},
	} {
		w.ask(c.who, c.operation)
		if c.want == "" {
			for _, e := range w.take() {
				if e.Kind == "access.denied" {
					t.Errorf("%s: %+v", c.operation, e)
				}
			}
			continue
		}
		if got := w.one(); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.operation, got, c.want)
		}
	}
	for range 100 {
		w.ask("bea", `{ customers { nodes { iban } } }`)
	}
	if events := w.take(); len(events) != 2 || !strings.Contains(string(events[1].Payload), `"count":99`) {
		t.Errorf("repetitions are counted: %+v", events)
	}
}
