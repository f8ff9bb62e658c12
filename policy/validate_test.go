package policy_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

const validatedSchema = `
crm.customers read create update delete: id:ID name phone tags:String[] total:Decimal big:BigInt stock:Int at:DateTime data:JSON
`

// withValidators loads a policy with one validator of these expressions, which
// are JSON strings: those are YAML too.
func withValidators(must, set string) (*policy.Engine, []policy.Problem) {
	quote := func(s string) string {
		raw, err := json.Marshal(s)
		if err != nil {
			return `""`
		}
		return strings.ReplaceAll(string(raw), "${", "$${")
	}
	text := "version: 1\ndefaults: { require: [{ role: lead }] }\nvalidators:\n  - name: v\n    on: crm.customers\n    must: " + quote(must) + "\n"
	if set != "" {
		text += "    set: { phone: " + quote(set) + " }\n"
	}
	return policy.Load([]policy.File{{Name: "policy.csv", Data: []byte("p, support, *, *, allow\np, lead, *, read|approve, allow\n")},
		{Name: "approvals.yaml", Data: []byte(text)}}, declare(validatedSchema), policy.Options{})
}

func phoneWriting(phone string) *policy.Writing {
	return &policy.Writing{Object: "crm.customers", Now: noon, Principal: &policy.Principal{ID: "user:s", Kind: policy.Human, Roles: []string{"support"}},
		Step: &connectors.Step{Kind: connectors.Create, Set: []connectors.Assign{{Field: "s_phone", Value: connectors.String(phone)}}}}
}

// FuzzExpression: any text is loaded or refused with a place, and what is loaded
// can be run.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{`input.phone == "x"`, `has(input.phone)`, `input.tags.all(t, t != "")`, `decimal("1e400") > 1`, `input.phone.matches("(a{1000}){1000}")`,
		`input.phone.matches("^\\+[1-9][0-9]{6,14}$")`, `"%s".format([input.total]) == ""`, `[1,2].map(x, x).exists(y, y > 1)`, `now.getHours("Nowhere") > 1`,
		`((((((`, `input.total.round(9999)`, `principal.claims.x.y == 1`, "a\n.b", `-9223372036854775808 / -1 == 0`, `input["phone"] == ""`, `timestamp("x") == now`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, problems := withValidators(text, "")
		if (e == nil) != policy.Errors(problems) {
			t.Fatalf("%q: %v", text, problems)
		}
		for _, p := range problems {
			if p.Line == 0 || p.Message == "" {
				t.Errorf("%q: %+v", text, p)
			}
		}
		if e != nil {
			e.Validate(phoneWriting("+49 30"))
		}
	})
}

// An expression that takes too much is stopped, and does not pass.
func TestCostIsLimited(t *testing.T) {
	e, problems := withValidators(`input.phone.split("").all(a, input.phone.split("").all(b, input.phone.split("").all(c, true)))`, "")
	if e == nil {
		t.Fatal(problems)
	}
	if _, errs := e.Validate(phoneWriting(strings.Repeat("x", 300))); len(errs) != 1 || errs[0].Cause == nil || !strings.Contains(errs[0].Cause.Error(), "cost") {
		t.Errorf("%+v", errs)
	}
	if _, errs := e.Validate(phoneWriting("xy")); len(errs) != 0 {
		t.Errorf("%+v", errs)
	}
}

// What a set leaves is what must looks at, and what is left in the step; asking
// again says the same and changes nothing. Many at once see only their own.
func TestSetThenMust(t *testing.T) {
	e, problems := withValidators(`!input.phone.contains(" ") && input.phone.size() <= 5`, `input.phone.replace(" ", "")`)
	if e == nil {
		t.Fatal(problems)
	}
	rapid.Check(t, func(t *rapid.T) {
		phones := rapid.SliceOfN(rapid.StringMatching(`[0-9 ]{0,9}`), 1, 6).Draw(t, "phones")
		var wg sync.WaitGroup
		for _, phone := range phones {
			wg.Go(func() {
				w := phoneWriting(phone)
				checks, errs := e.Validate(w)
				plain := strings.ReplaceAll(phone, " ", "")
				if got := w.Step.Set[0].Value.Text; got != plain || (len(errs) == 0) != (len(plain) <= 5) {
					t.Errorf("%q became %q: %v", phone, got, errs)
				}
				if again := e.Recheck(w, checks); (again == nil) != (len(errs) == 0) || w.Step.Set[0].Value.Text != plain {
					t.Errorf("%q: %v, then %v", phone, errs, again)
				}
			})
		}
		wg.Wait()
	})
}
