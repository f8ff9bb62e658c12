package execute_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/graph/plan/plantest"
)

// prepare makes a mutation of a principal.
func prepare(t *testing.T, w *plantest.World, who, document string) *execute.Mutation {
	t.Helper()
	e, _ := executor(t, w)
	r, p := planned(t, w, who, document, "")
	m, bad := e.Prepare(context.Background(), p, r.Bindings())
	if bad != nil {
		t.Fatal(bad)
	}
	t.Cleanup(m.Close)
	return m
}

func rendered(m *execute.Mutation) string {
	out := m.Render(context.Background(), nil)
	return string(out.Data)
}

// A write whose answer is lost is UNKNOWN, and what comes after it is not begun.
func TestUnknownOutcome(t *testing.T) {
	w := world(t, "shop")
	w.Memory["crm"].Inject(connectortest.DropReply())
	m := prepare(t, w, "human owner", `mutation {
		a: updateCustomer(id: 1, patch: {name: "x"}) { outcome errors { code retryable } customer { id } affectedCount }
		b: updateTicket(id: 1, patch: {subject: "y"}) { outcome errors { code } }
	}`)
	m.Apply(context.Background())
	want := `{"a":{"outcome":"UNKNOWN","errors":[{"code":"OUTCOME_UNKNOWN","retryable":false}],"customer":null,"affectedCount":null},` +
		`"b":{"outcome":"NOT_APPLIED","errors":[{"code":"ROLLED_BACK"}]}}`
	if got := rendered(m); got != want {
		t.Errorf("%s\nwanted %s", got, want)
	}
	if n := len(w.Memory["desk"].Effects()); n != 0 {
		t.Errorf("%d effects after an unknown outcome", n)
	}
}

// Over several sources what was done before a failure stays, and is told.
func TestFirstFailureStops(t *testing.T) {
	w := world(t, "shop")
	m := prepare(t, w, "human owner", `mutation {
		a: updateCustomer(id: 1, patch: {name: "x"}) { outcome }
		b: updateTicket(id: 99, patch: {subject: "y"}) { outcome errors { code } }
	}`)
	m.Apply(context.Background())
	if got, want := rendered(m), `{"a":{"outcome":"APPLIED"},"b":{"outcome":"NOT_APPLIED","errors":[{"code":"NOT_FOUND"}]}}`; got != want {
		t.Errorf("%s\nwanted %s", got, want)
	}
}

// Nothing is applied without Prepare having said so: a mutation that must be
// proposed refuses Apply.
func TestApplyRefusesWhatMustBeProposed(t *testing.T) {
	w := world(t, "shop")
	m := prepare(t, w, "agent agent", `mutation { updateCustomer(id: 2, patch: {name: "x"}) { outcome errors { code } } }`)
	if !m.NeedsProposal() {
		t.Fatal("an agent's write of that record is proposed")
	}
	m.Apply(context.Background())
	if got, want := rendered(m), `{"updateCustomer":{"outcome":"NOT_APPLIED","errors":[{"code":"FORBIDDEN"}]}}`; got != want {
		t.Errorf("%s\nwanted %s", got, want)
	}
	if n := len(w.Memory["crm"].Effects()); n != 0 {
		t.Errorf("%d effects", n)
	}
}

// A record that stops matching what lets it be written at once, between the
// look and the write, is left alone.
func TestDirectConditionIsPartOfTheWrite(t *testing.T) {
	w := world(t, "shop")
	m := prepare(t, w, "agent agent", `mutation { updateCustomer(id: 1, patch: {name: "x"}) { outcome errors { code } } }`)
	if m.NeedsProposal() {
		t.Fatal("the record may be written at once")
	}
	other := prepare(t, w, "human owner", `mutation { updateCustomer(id: 1, patch: {country: "US"}) { outcome } }`)
	other.Apply(context.Background())
	m.Apply(context.Background())
	if got, want := rendered(m), `{"updateCustomer":{"outcome":"NOT_APPLIED","errors":[{"code":"NOT_FOUND"}]}}`; got != want {
		t.Errorf("%s\nwanted %s", got, want)
	}
}

// What is to be proposed says what must still be true when it runs: the fields
// written and those that policy read, and nothing else.
func TestPreviewExpects(t *testing.T) {
	w := world(t, "shop")
	m := prepare(t, w, "agent agent", `mutation { updateCustomer(id: 2, patch: {name: "x"}) { outcome } }`)
	m.Preview(context.Background())
	if m.Refused() || len(m.Changes) != 1 || len(m.Changes[0].Steps) != 1 {
		t.Fatalf("%+v", m.Changes)
	}
	step := m.Changes[0].Steps[0]
	raw, _ := json.Marshal(step.Expect)
	for _, field := range []string{`"name"`, `"country"`} {
		if !strings.Contains(string(raw), field) {
			t.Errorf("%s is not expected: %s", field, raw)
		}
	}
	if strings.Contains(string(raw), "credit") {
		t.Errorf("a field that nobody looked at: %s", raw)
	}
	if n := len(w.Memory["crm"].Effects()); n != 0 {
		t.Errorf("a preview had %d effects", n)
	}
	// It runs as long as that is true, and not any more when it is not.
	c := m.Changes[0]
	if _, err := w.Memory["crm"].Preview(context.Background(), nil, &c); err != nil {
		t.Errorf("unmoved: %v", err)
	}
	prepareAndApply(t, w, `mutation { updateCustomer(id: 2, patch: {country: "DE"}) { outcome } }`)
	if _, err := w.Memory["crm"].Apply(context.Background(), nil, &c); connectors.CodeOf(err) != connectors.CodeProposalStale {
		t.Errorf("moved: %v", err)
	}
}

func prepareAndApply(t *testing.T, w *plantest.World, document string) {
	t.Helper()
	m := prepare(t, w, "human owner", document)
	m.Apply(context.Background())
	if got := rendered(m); !strings.Contains(got, "APPLIED") || strings.Contains(got, "NOT_APPLIED") {
		t.Fatal(got)
	}
}

// The diff of a proposal shows what its author may read, also where they may
// write more: two worlds that differ in what they may not read give equal
// payloads.
func TestDiffShowsWhatMayBeRead(t *testing.T) {
	var got []string
	for _, credit := range []string{`"credit":"0.00"`, `"credit":"99.00"`} {
		w := worldWith(t, "shop", func(data string) string { return strings.Replace(data, `"credit":"0.00"`, credit, 1) })
		m := prepare(t, w, "agent blind", `mutation {
			a: updateCustomer(id: 2, patch: {credit: {set: "5.00"}}) { outcome diff { key label before after fields } }
			b: updateCustomer(id: 1, patch: {credit: {set: "5.00"}}) { outcome diff { key label before after fields } }
		}`)
		m.Preview(context.Background())
		got = append(got, rendered(m))
	}
	if got[0] != got[1] {
		t.Errorf("%s\n%s", got[0], got[1])
	}
	// Customer 2 is out of their sight altogether.
	if !strings.Contains(got[0], `"a":{"outcome":"PREVIEWED","diff":[]}`) || !strings.Contains(got[0], `"label":"Ada"`) {
		t.Errorf("%s", got[0])
	}
}

// An execution that came while the operation waited replaces what the preview
// said.
func TestAppliedAfterPreview(t *testing.T) {
	w := world(t, "shop")
	m := prepare(t, w, "agent agent", `mutation { updateCustomer(id: 2, patch: {name: "x"}) { outcome affectedCount diff { key } customer { name } } }`)
	m.Preview(context.Background())
	m.Proposed("p1", false)
	effect, err := w.Memory["crm"].Apply(context.Background(), nil, &m.Changes[0])
	if err != nil {
		t.Fatal(err)
	}
	m.Applied(0, effect)
	if got, want := rendered(m), `{"updateCustomer":{"outcome":"APPLIED","affectedCount":1,"diff":[],"customer":{"name":"x"}}}`; got != want {
		t.Errorf("%s\nwanted %s", got, want)
	}
}

// Options belong to the operation, wherever they stand.
func TestWriteOptions(t *testing.T) {
	w := world(t, "shop")
	for _, c := range []struct {
		document, extension string
		want                plan.Mode
		bad                 bool
	}{
		{`mutation { deleteOrder(id: 1) { outcome } }`, ``, plan.ModeAuto, false},
		{`mutation { deleteOrder(id: 1, options: {mode: PROPOSE}) { outcome } }`, ``, plan.ModePropose, false},
		{`mutation { deleteOrder(id: 1) { outcome } }`, `{"mode":"PREVIEW"}`, plan.ModePreview, false},
		{`mutation { deleteOrder(id: 1, options: {mode: PREVIEW}) { outcome } b: deleteOrder(id: 2) { outcome } }`, ``, plan.ModePreview, false},
		{`mutation { deleteOrder(id: 1, options: {mode: PREVIEW}) { outcome } }`, `{"mode":"PREVIEW"}`, plan.ModePreview, false},
		{`mutation { deleteOrder(id: 1, options: {mode: PREVIEW}) { outcome } }`, `{"mode":"AUTO"}`, "", true},
		{`mutation { deleteOrder(id: 1) { outcome } }`, `{"mode":"NEVER"}`, "", true},
		{`mutation { deleteOrder(id: 1) { outcome } }`, `{"wait":11}`, "", true},
		{`mutation { deleteOrder(id: 1) { outcome } }`, `{"evidence":[{"text":"no title"}]}`, "", true},
		{`mutation { deleteOrder(id: 1) { outcome } }`, `{"secret":1}`, "", true},
		{`mutation { deleteOrder(id: 1) { outcome } }`, `{"notBefore":"tomorrow"}`, "", true},
		{`mutation { deleteOrder(id: 1) { outcome } }`, `{"notBefore":"2026-01-01T00:00:00Z","wait":0,"evidence":[{"title":"t","url":"u"}],"idempotencyKey":"k","reason":"r"}`, plan.ModeAuto, false},
	} {
		r, p := planned(t, w, "human owner", c.document, "")
		var ext any
		if c.extension != "" {
			dec := json.NewDecoder(strings.NewReader(c.extension))
			dec.UseNumber()
			if err := dec.Decode(&ext); err != nil {
				t.Fatal(err)
			}
		}
		o, bad := p.WriteOptions(r.Bindings(), ext)
		if (bad != nil) != c.bad || !c.bad && o.Mode != c.want {
			t.Errorf("%s %s: %+v %v", c.document, c.extension, o, bad)
		}
	}
}
