package gateway_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// paying is a world in which refunds have amounts: dust is approved by rule as
// long as the day's sum is small, and an absent amount is the customer's credit.
func paying(t *testing.T, caps func(string) proposals.Caps) *world {
	t.Helper()
	return cappedWorld(t, caps, func(files map[string]string) {
		files["schema"] = strings.Replace(files["schema"], "  amount Int!\n  memo String\n", "  amount Int\n  memo String\n  customer Int\n  currency String\n", 1)
		files["policy.csv"] += "p, support, desk.refund, call, propose\np, support, desk.refund, call, allow, {amount: {lte: 300}}\n"
		files["policy.csv"] = strings.Replace(files["policy.csv"], "p, support, desk.*, read|call, allow\n", "p, support, desk.*, read, allow\n", 1)
		files["approvals.yaml"] = `version: 1
amounts:
  desk.refund:
    value: input.amount
    else: look.c.credit
    currency: EUR
    unit: minor
    look: { c: 'query ($customer: Int!) { customer(id: $customer) { credit } }' }
defaults: { require: [{ role: lead }] }
rules:
  - { name: dust, on: desk.refund, when: '{amount: {lte: "5.00 EUR"} amountToday: {lte: "20.00 EUR"}}', then: approve }
  - { name: huge, on: desk.refund, when: '{amount: {gt: "500.00 EUR"}}', then: reject, say: too much }
`
	})
}

const refund = `mutation { refund(input: {%s, memo: "%d"}) { outcome errors { code message } } }`

// Threat 30: a hundred refunds of a sum that is approved by rule are not: the
// day's sum counts, open reservations with it.
func TestSlicingUnderAThreshold(t *testing.T) {
	w := paying(t, nil)
	var mu sync.Mutex
	outcomes := map[string]int{}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 25 {
				a := w.ask("triage", fmt.Sprintf(refund, "amount: 499", worker*25+i))
				mu.Lock()
				outcomes[a.data]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	by := map[string]int{}
	heads, err := w.store.List(t.Context(), proposals.Filter{Tenant: policy.DefaultTenant, Limit: 200})
	if err != nil || len(heads) != 100 {
		t.Fatalf("%d proposals, %v: %v", len(heads), err, outcomes)
	}
	for _, h := range heads {
		by[h.Rule]++
	}
	if by["dust"] != 4 { // 4 × 4.99 ≤ 20
		t.Errorf("approved by rule: %v", by)
	}
	u, err := w.store.Use(t.Context(), policy.DefaultTenant, "agent:triage")
	if err != nil || u.Sums["EUR"].Today(proposals.DayOf(time.Now())) != 499_000_000 {
		t.Errorf("used and reserved: %+v, %v", u, err)
	}
}

// What the amount is: what is named, else what the author can look up, else
// UNKNOWN, which a rule that rejects matches and none that approves.
func TestAmountsAreLookedUp(t *testing.T) {
	for _, c := range []struct{ who, input, rule string }{
		{"triage", "amount: 500", "dust"},
		{"triage", "amount: 501", ""},
		{"triage", "amount: 50001", "huge"},
		{"triage", "customer: 2", "dust"}, // a credit of 0
		{"triage", "customer: 1", "dust"}, // 0.10
		{"triage", "customer: 3", "huge"}, // null
		{"triage", "customer: 9", "huge"}, // nobody
		{"triage", "memo2: 1", ""},
		{"triage", "amount: -1", "huge"},
		{"triage", "amount: null, customer: 1", "dust"},
	} {
		w := paying(t, nil)
		a := w.ask("triage", fmt.Sprintf(refund, c.input, 1))
		if strings.Contains(c.input, "memo2") {
			if a.code() != connectors.CodeValidationFailed {
				t.Errorf("%+v", a)
			}
			continue
		}
		if d := w.last(); d.Proposal.Rule != c.rule {
			t.Errorf("%s: %q, not %q: %s", c.input, d.Proposal.Rule, c.rule, a.data)
		}
	}
}

// What is reserved, used and free again; a direct call counts as well.
func TestAmountBudget(t *testing.T) {
	ten := &policy.Money{Currency: "EUR", Micros: 10_000_000}
	w := paying(t, func(id string) proposals.Caps { return proposals.Caps{Amount: ten, OpenProposals: 3} })
	use := func(who string) string {
		u, err := w.store.Use(t.Context(), policy.DefaultTenant, who)
		if err != nil {
			t.Fatal(err)
		}
		s := u.Sums["EUR"]
		return fmt.Sprintf("%d open, %d used, %d reserved", u.Open, s.Used/10_000, s.Reserved/10_000)
	}
	is := func(who, want string) {
		t.Helper()
		if got := use(who); got != want {
			t.Errorf("%s: %s, not %s", who, got, want)
		}
	}
	refused := func(a answer, code string) {
		t.Helper()
		if !strings.Contains(a.data, `"NOT_APPLIED"`) || !strings.Contains(a.data, code) {
			t.Errorf("%s %+v", a.data, a.errors)
		}
	}
	refused(w.ask("triage", fmt.Sprintf(refund, "customer: 3", 3)), "FORBIDDEN") // UNKNOWN: the rule that rejects
	w.ask("triage", fmt.Sprintf(refund, "amount: 900", 1))
	is("agent:triage", "1 open, 0 used, 900 reserved")
	refused(w.ask("triage", fmt.Sprintf(refund, "amount: 101", 2)), "BUDGET_EXHAUSTED")
	w.ask("triage", fmt.Sprintf(refund, "amount: 900", 1)) // an equal one is the same one
	is("agent:triage", "1 open, 0 used, 900 reserved")
	if err := w.approve("lea"); err != nil {
		t.Fatal(err)
	}
	w.settled()
	is("agent:triage", "0 open, 900 used, 0 reserved")
	w.ask("triage", fmt.Sprintf(refund, "amount: 100", 4))
	w.settled() // dust is approved by rule: no, the day's sum is 10.00
	is("agent:triage", "0 open, 1000 used, 0 reserved")
	refused(w.ask("triage", fmt.Sprintf(refund, "amount: 1", 5)), "BUDGET_EXHAUSTED")
	// Of a person: at once up to 3.00.
	for i := range 3 {
		if a := w.ask("maria", fmt.Sprintf(refund, "amount: 300", i)); !strings.Contains(a.data, "APPLIED") {
			t.Fatalf("%s %+v", a.data, a.errors)
		}
	}
	is("user:maria", "0 open, 900 used, 0 reserved")
	refused(w.ask("maria", fmt.Sprintf(refund, "amount: 101", 4)), "BUDGET_EXHAUSTED")
	is("user:maria", "0 open, 900 used, 0 reserved")
	// The next day.
	w.late.Store(int64(24 * time.Hour))
	if a := w.ask("maria", fmt.Sprintf(refund, "amount: 300", 5)); !strings.Contains(a.data, "APPLIED") {
		t.Errorf("the next day: %s", a.data)
	}
	is("user:maria", "0 open, 300 used, 0 reserved")
}

// Open proposals have a bound of their own, and those that end make room.
func TestOpenProposalsAreBounded(t *testing.T) {
	w := paying(t, func(id string) proposals.Caps { return proposals.Caps{OpenProposals: 2} })
	update := `mutation { updateCustomer(id: 1, patch: {email: "%d@x"}) { outcome errors { code } } }`
	for i := range 2 {
		if a := w.ask("triage", fmt.Sprintf(update, i)); !strings.Contains(a.data, "PROPOSED") {
			t.Fatal(a.data)
		}
	}
	if a := w.ask("triage", fmt.Sprintf(update, 2)); !strings.Contains(a.data, "BUDGET_EXHAUSTED") {
		t.Fatal(a.data)
	}
	if err := w.approve("lea"); err != nil {
		t.Fatal(err)
	}
	w.settled()
	if a := w.ask("triage", fmt.Sprintf(update, 3)); !strings.Contains(a.data, "PROPOSED") {
		t.Errorf("one has ended: %s", a.data)
	}
}
