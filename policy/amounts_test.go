package policy_test

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// exact is what a text is worth by other means: digits, perhaps a point and at
// most six digits; nil where it is no plain number of at most ten digits.
func exact(text string) *big.Rat {
	if !regexp.MustCompile(`^[0-9]{1,10}(\.[0-9]{1,6})?$`).MatchString(text) {
		return nil
	}
	r, _ := new(big.Rat).SetString(text)
	return r
}

func micros(r *big.Rat) int64 {
	n := new(big.Rat).Mul(r, big.NewRat(1_000_000, 1))
	return n.Num().Int64()
}

// FuzzMoney: whatever a threshold is tried to be evaded with is no sum, or is
// the sum that it says.
func FuzzMoney(f *testing.F) {
	for _, s := range []string{"10.00", "1e3", "１０", "-5", "+5", "NaN", "Infinity", "0x10", "1_000", "1,000", "1 000", "", ".", "5.", ".5", "00012.50",
		"9999999999.999999", "99999999999", "1.0000001", "10\u00a0", " 10", "١٠", "1E2", "1000.0000000000"} {
		f.Add(s, "EUR")
	}
	f.Add("10", "eur")
	f.Add("10", "ＥＵＲ")
	f.Add("10", "EU")
	f.Fuzz(func(t *testing.T, number, currency string) {
		got, ok := policy.ParseMoney(number + " " + currency)
		want := exact(number)
		code := regexp.MustCompile(`^[A-Z]{3}$`).MatchString(currency)
		if ok != (want != nil && code) {
			t.Fatalf("%q %q: a sum: %v", number, currency, ok)
		}
		if ok && (got.Micros != micros(want) || got.Currency != currency || got.Micros < 0) {
			t.Fatalf("%q %q is %+v", number, currency, got)
		}
		if again, ok2 := policy.ParseMoney(got.String()); ok && (!ok2 || again != got) {
			t.Fatalf("%+v is written %q", got, got)
		}
	})
}

const amountRules = `version: 1
amounts: { stripe.PostRefunds: { value: input.amount, currency: input.currency%s } }
defaults: { require: [{ role: lead }] }
rules:
  - { name: never, on: stripe.PostRefunds, when: '{amount: {gt: "500.00 EUR"}}', then: reject, say: "too much" }
  - { name: dust, on: stripe.PostRefunds, when: '{amount: {lte: "10.00 EUR"} amountToday: {lte: "20.00 EUR"}}', then: approve }
  - { name: not, on: stripe.PostRefunds, when: '{not: {amount: {gt: "10.00 EUR"}}}', then: approve }
  - { name: some, on: stripe.PostRefunds, when: '{or: [{amount: {lt: "5.00 EUR"}} {amount: {gte: "5.00 EUR"}}]}', then: review, require: [{ role: lead }] }
`

// UNKNOWN never makes a rule match that approves, and always makes one match
// that rejects: whatever the amount is written as.
func TestAmountsAgainstOracle(t *testing.T) {
	e := engineOf(t, strings.Replace(amountRules, "%s", "", 1))
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[0-9]{1,4}(\.[0-9]{1,7})?`), rapid.StringMatching(`-?[0-9]{0,2}[eE.,_ ]?[0-9]{0,3}`),
			rapid.SampledFrom([]string{"NaN", "１０", "Infinity", "-0", "1e3", "1e-3", "null", "0x1", "", "10.00"})).Draw(t, "amount")
		kind := rapid.SampledFrom([]connectors.Kind{connectors.KindString, connectors.KindDecimal, connectors.KindFloat, connectors.KindInt, connectors.KindAbsent, connectors.KindNull, connectors.KindBool}).Draw(t, "kind")
		currency := rapid.SampledFrom([]string{"EUR", "eur", "USD", "ＥＵＲ", "", "EURO"}).Draw(t, "currency")
		before := rapid.Int64Range(0, 20_000_000).Draw(t, "before")
		spec := e.AmountSpec("stripe.PostRefunds")
		input := connectors.ObjectOf(connectors.Member{Name: "amount", Value: connectors.Value{Kind: kind, Text: text}}, connectors.Member{Name: "currency", Value: connectors.String(currency)})
		got := spec.Of(input, func(policy.Look) (any, bool) { return nil, false })
		var want *policy.Money
		readable := kind != connectors.KindAbsent && kind != connectors.KindNull && kind != connectors.KindBool
		if r := exact(text); r != nil && readable && regexp.MustCompile(`^[A-Za-z]{3}$`).MatchString(currency) {
			want = &policy.Money{Currency: strings.ToUpper(currency), Micros: micros(r)}
		}
		if !got.Declared || (got.Money == nil) != (want == nil) || want != nil && *got.Money != *want {
			t.Fatalf("%s %q %q is %+v, not %+v", kind, text, currency, got.Money, want)
		}
		facts := policy.ChangeFacts{Object: "stripe.PostRefunds", Act: policy.Call, Records: 1, Input: input, Amount: got.Money}
		if got.Money != nil {
			today := got.Money.Plus(before)
			facts.AmountToday = &today
		}
		r, err := e.Route(facts)
		if err != nil {
			t.Fatal(err)
		}
		rule := "some"
		switch eur := want != nil && want.Currency == "EUR"; {
		case !eur || want.Micros > 500_000_000:
			rule = "never"
		case want.Micros <= 10_000_000 && want.Micros+before <= 20_000_000:
			rule = "dust"
		case want.Micros <= 10_000_000:
			rule = "not"
		}
		if r.Rule != rule {
			t.Fatalf("%s %q %q after %d: %s, not %s", kind, text, currency, before, r.Rule, rule)
		}
	})
}

// What is there and cannot be read is not replaced by what else there is;
// what is not there is.
func TestAmountElse(t *testing.T) {
	spec := engineOf(t, strings.Replace(amountRules, "%s", `, else: look.charge.amount, unit: minor, look: { charge: '{ charge { amount } }' }`, 1)).AmountSpec("stripe.PostRefunds")
	for _, c := range []struct {
		amount connectors.Value
		looked any
		known  bool
		want   string
	}{
		{connectors.Int(500), nil, false, "5.00 EUR"},
		{connectors.Value{}, map[string]any{"amount": json.Number("9000")}, true, "90.00 EUR"},
		{connectors.Null, map[string]any{"amount": "9000"}, true, "90.00 EUR"},
		{connectors.Null, map[string]any{"amount": json.Number("9e3")}, true, ""},
		{connectors.Null, map[string]any{"amount": json.Number("-9")}, true, ""},
		{connectors.Null, map[string]any{"amount": nil}, true, ""},
		{connectors.Null, nil, true, ""},
		{connectors.Null, map[string]any{"amount": json.Number("9000")}, false, ""},
		{connectors.String("x"), map[string]any{"amount": json.Number("1")}, true, ""},
		{connectors.String("5.00"), map[string]any{"amount": json.Number("1")}, true, ""}, // minor units are whole
	} {
		input := connectors.ObjectOf(connectors.Member{Name: "amount", Value: c.amount}, connectors.Member{Name: "currency", Value: connectors.String("EUR")})
		got := ""
		if m := spec.Of(input, func(policy.Look) (any, bool) { return c.looked, c.known }).Money; m != nil {
			got = m.String()
		}
		if got != c.want {
			t.Errorf("%+v else %v: %q, not %q", c.amount, c.looked, got, c.want)
		}
	}
}

func TestMinorUnits(t *testing.T) {
	for currency, want := range map[string]string{"EUR": "12.34 EUR", "JPY": "1234 JPY", "KWD": "1.234 KWD", "CLF": "0.1234 CLF"} {
		spec := engineOf(t, strings.Replace(amountRules, "%s", ", unit: minor", 1)).AmountSpec("stripe.PostRefunds")
		input := connectors.ObjectOf(connectors.Member{Name: "amount", Value: connectors.Int(1234)}, connectors.Member{Name: "currency", Value: connectors.String(currency)})
		if m := spec.Of(input, nil).Money; m == nil || m.String() != want {
			t.Errorf("%s: %v, not %s", currency, m, want)
		}
	}
}

func engineOf(t testing.TB, approvals string) *policy.Engine {
	t.Helper()
	csv := "p, agent-support, stripe.PostRefunds, call, propose\np, lead, *, read|approve, allow\n"
	e, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(csv)}, {Name: "approvals.yaml", Data: []byte(approvals)}},
		declare("stripe.PostRefunds call: charge amount:Int currency\n"), policy.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return e
}
