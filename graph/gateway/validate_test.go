package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

const watched = `version: 1
defaults:
  require: [{ role: lead }]
rules:
  - name: small
    on: desk.refund
    when: '{input: {amount: {lte: 10}}}'
    then: approve
validators:
  - name: email
    on: crm.customers
    acts: [create, update]
    set: { email: 'input.email.trim().lowerAscii()' }
    must: '!has(input.email) || input.email.contains("@")'
    say: An e-mail has an @
    path: email
  - name: small-refunds
    on: desk.refund
    must: input.amount > 0
  - name: with-a-memo
    on: desk.refund
    must: has(input.memo)
    say: A refund without a memo is looked at
    else: { review: role:lead }
  - name: one
    on: crm.customers
    acts: [delete]
    must: key.id != 1
    say: The first one stays.
`

func validated(files map[string]string) {
	files["approvals.yaml"] = watched
}

// Every way to write passes the validators, and what they leave is what is
// stored, shown, hashed and done.
func TestValidators(t *testing.T) {
	w := newWorld(t)
	w.reload(validated)
	update := func(who, email, options string) answer {
		return w.ask(who, `mutation { updateCustomer(id: 1, patch: {email: "`+email+`"}`+options+`) { outcome affectedCount errors { code message path } } }`)
	}
	for _, options := range []string{"", ", options: {mode: PREVIEW}", ", options: {mode: PROPOSE}"} {
		a := update("olga", "nobody", options)
		if want := `{"updateCustomer":{"outcome":"NOT_APPLIED","affectedCount":null,"errors":[{"code":"VALIDATION_FAILED","message":"An e-mail has an @","path":["patch","email"]}]}}`; a.data != want {
			t.Errorf("%s: %s %v", options, a.data, a.errors)
		}
	}
	if a := update("olga", " A@B.Example ", ""); !strings.Contains(a.data, `"APPLIED"`) {
		t.Fatalf("%s %v", a.data, a.errors)
	}
	if a := w.ask("olga", `{ customer(id: 1) { email } }`); !strings.Contains(a.data, `"a@b.example"`) {
		t.Errorf("done as %s", a.data)
	}
	if a := w.ask("olga", `mutation { createCustomers(inputs: [{name: "X", email: "x@x", region: "EU"}, {name: "Y", email: "y", region: "EU"}]) { outcome errors { path } } }`); !strings.Contains(a.data, `["inputs","1","email"]`) {
		t.Errorf("%s %v", a.data, a.errors)
	}
	if a := w.ask("olga", `mutation { deleteCustomer(id: 1) { outcome errors { message } } }`); !strings.Contains(a.data, "The first one stays.") {
		t.Errorf("%s %v", a.data, a.errors)
	}
	if a := update("olga", " C@D.Example ", ", options: {mode: PROPOSE}"); !strings.Contains(a.data, `"PROPOSED"`) {
		t.Fatalf("%s %v", a.data, a.errors)
	}
	c := w.content()
	after := c.Review.Changes[0].Diff[0].After
	if i := slices.IndexFunc(after, func(x connectors.Assign) bool { return x.Field == "email" }); i < 0 || after[i].Value.Text != "c@d.example" ||
		c.Set.Changes[0].Steps[0].Set[0].Value.Text != "c@d.example" {
		t.Errorf("shown as %+v, stored as %+v", after, c.Set.Changes[0].Steps[0].Set)
	}
}

// A validator that holds a write makes a proposal of what policy allows, with its
// seat beside those of the rule; one that a rule approves is for people too.
func TestHeld(t *testing.T) {
	w := newWorld(t)
	w.reload(validated)
	refund := func(who, input string) answer {
		return w.ask(who, `mutation { refund(input: {`+input+`}) { outcome errors { code message } } }`)
	}
	if a := refund("olga", `amount: 5, memo: "m"`); !strings.Contains(a.data, `"APPLIED"`) {
		t.Fatalf("%s %v", a.data, a.errors)
	}
	if a := refund("olga", `amount: 5`); !strings.Contains(a.data, `"PROPOSED"`) {
		t.Errorf("allowed, and held: %s %v", a.data, a.errors)
	}
	if a := refund("triage", `amount: 5`); !strings.Contains(a.data, `"PROPOSED"`) {
		t.Fatalf("%s %v", a.data, a.errors)
	}
	seats := w.last().Proposal.Requirement.Seats
	if len(seats) != 1 || seats[0].Role != "lead" || w.last().Proposal.State != proposals.Pending {
		t.Errorf("a rule approves it, a validator holds it: %+v", seats)
	}
	checks := w.content().Review.Changes[0].Checks
	if len(checks) != 2 || checks[1].Verdict != policy.Held || checks[1].Say != "A refund without a memo is looked at" {
		t.Errorf("%+v", checks)
	}
}

// What was approved is asked about again under the policy of then.
func TestRecheckedByValidators(t *testing.T) {
	for name, c := range map[string]struct {
		change func(map[string]string)
		code   connectors.Code
	}{
		"the same": {validated, ""},
		"stricter": {func(f map[string]string) {
			validated(f)
			f["approvals.yaml"] = strings.Replace(f["approvals.yaml"], `contains("@")`, `endsWith("@acme.example")`, 1)
		}, connectors.CodeForbidden},
		"another set changes nothing": {func(f map[string]string) {
			validated(f)
			f["approvals.yaml"] = strings.Replace(f["approvals.yaml"], `input.email.trim().lowerAscii()`, `input.email.upperAscii()`, 1)
		}, ""},
		"a service that was not asked": {func(f map[string]string) {
			validated(f)
			f["approvals.yaml"] += "  - { name: far, on: crm.customers, http: { url: 'https://checks.example', secret: '${SECRET}' } }\n"
		}, connectors.CodeForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.reload(validated)
			w.propose("olga", `mutation { updateCustomer(id: 1, patch: {email: "New@B.example"}, options: {mode: PROPOSE}) { outcome } }`)
			w.reload(c.change)
			if code := w.recheck("olga"); code != c.code {
				t.Errorf("%q, want %q", code, c.code)
			}
		})
	}
}

// asker answers as a service would.
type asker struct {
	ok     bool
	err    error
	asked  atomic.Int32
	latest atomic.Value
}

// Ask implements policy.Asker.
func (a *asker) Ask(_ context.Context, _ *policy.Remote, body []byte) (*policy.Answer, error) {
	a.asked.Add(1)
	a.latest.Store(string(body))
	return &policy.Answer{OK: a.ok, Say: "too\x00 odd", Path: "amount"}, a.err
}

// A service is asked once for each write, after everything else would let it
// pass; its failure is never a pass.
func TestRemoteValidators(t *testing.T) {
	far := func(more string) func(map[string]string) {
		return func(f map[string]string) {
			validated(f)
			f["approvals.yaml"] += "  - { name: far, on: desk.refund, http: { url: 'https://checks.example', secret: '${SECRET}' }" + more + " }\n"
		}
	}
	for name, c := range map[string]struct {
		more  string
		a     *asker
		want  string
		input string
		asked int32
	}{
		"passes":           {"", &asker{ok: true}, `{"outcome":"APPLIED","errors":[]}`, `amount: 5, memo: "m"`, 1},
		"refuses":          {"", &asker{}, `{"outcome":"NOT_APPLIED","errors":[{"message":"too odd","path":["input","amount"]}]}`, `amount: 5, memo: "m"`, 1},
		"holds":            {", else: review", &asker{}, `{"outcome":"PROPOSED","errors":[]}`, `amount: 5, memo: "m"`, 1},
		"fails":            {"", &asker{ok: true, err: errors.New("away")}, `{"outcome":"NOT_APPLIED","errors":[{"message":"the validator far cannot be asked now","path":[]}]}`, `amount: 5, memo: "m"`, 1},
		"fails and holds":  {", onFailure: review", &asker{err: errors.New("away")}, `{"outcome":"PROPOSED","errors":[]}`, `amount: 5, memo: "m"`, 1},
		"refused before":   {"", &asker{ok: true}, `{"outcome":"NOT_APPLIED","errors":[{"message":"the validator small-refunds does not let this pass","path":[]}]}`, `amount: 0, memo: "m"`, 0},
		"nobody to ask it": {"", nil, `{"outcome":"NOT_APPLIED","errors":[{"message":"the validator far cannot be asked now","path":[]}]}`, `amount: 5, memo: "m"`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.a != nil {
				w.exec.Asker = c.a
			}
			w.reload(far(c.more))
			a := w.ask("olga", `mutation { refund(input: {`+c.input+`}) { outcome errors { message path } } }`)
			if want := `{"refund":` + c.want + `}`; strings.ReplaceAll(a.data, `"path":null`, `"path":[]`) != want {
				t.Errorf("got %s %v\nwant %s", a.data, a.errors, want)
			}
			if c.a == nil {
				return
			}
			if n := c.a.asked.Load(); n != c.asked {
				t.Errorf("asked %d times", n)
			}
			if c.asked == 0 {
				return
			}
			var body struct {
				Validator, Object, Act string
				Input                  map[string]any
				Principal              map[string]any
			}
			if err := json.Unmarshal([]byte(c.a.latest.Load().(string)), &body); err != nil || body.Validator != "far" || body.Object != "desk.refund" ||
				body.Act != "call" || body.Input["memo"] != "m" || body.Principal["id"] == "" || body.Principal["claims"] != nil {
				t.Errorf("%s %v", c.a.latest.Load(), err)
			}
		})
	}
}

// What is foreseen of a write is what its validators say.
func TestForeseenValidators(t *testing.T) {
	w := newWorld(t)
	w.reload(validated)
	for query, want := range map[string]gateway.Prospect{
		`mutation { updateCustomer(id: 1, patch: {email: "x"}) { outcome } }`:   gateway.WouldRefuse,
		`mutation { updateCustomer(id: 1, patch: {email: "x@y"}) { outcome } }`: gateway.WouldApply,
		`mutation { refund(input: {amount: 5}) { outcome } }`:                   gateway.WouldPropose,
		`mutation { refund(input: {amount: 5, memo: "m"}) { outcome } }`:        gateway.WouldApply,
	} {
		e, errs := gateway.Explain(w.door.Snapshot(), w.limits, w.people.person(t, "olga"), &gateway.Request{Query: query})
		if len(errs) > 0 || e.Change == nil || e.Change.Outcome != want || len(e.Change.Records[0].Validators) == 0 {
			t.Errorf("%s: %+v %v", query, e, errs)
		}
	}
}
