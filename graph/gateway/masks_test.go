package gateway_test

import (
	"strings"
	"testing"

	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
)

// Two worlds that differ only in masked and invisible cells: whoever proposes and
// previews is shown the same in both, of what they try and of what is there; also
// where it is the very value, or one that another record has.
func TestMaskedProposals(t *testing.T) {
	const rights = `p, masked, crm.customers{* -iban}, read, allow, , {mask: {email: LAST4 name: HASH}}
p, masked, crm.customers, create|update|delete, propose
p, agent, crm.customers, create|update|delete, deny
`
	one := `{"id":1,"name":"Ada","email":"ada.lovelace@x","region":"EU","credit":10,"iban":"DE1"}`
	two := strings.NewReplacer("ada.love", "bob.hate", "DE1", "FR2").Replace(one)
	asks := []string{
		`{ customers { nodes { id name email } totalCount } }`,
		`mutation { updateCustomer(id: 1, patch: {email: "ada.lovelace@x"}) { outcome affectedCount errors { code message } diff { key label before after fields } proposal { state changes { diff { before after fields } } } } }`,
		`mutation { updateCustomer(id: 1, patch: {email: "bob.hatelace@x", name: "Ada"}, options: {mode: PREVIEW}) { outcome affectedCount errors { code message } diff { key label before after fields } } }`,
		`mutation { updateCustomer(id: 2, patch: {email: "ada.lovelace@x"}) { outcome affectedCount errors { code message } diff { before after fields } proposal { state changes { diff { before after fields } } } } }`,
		`mutation { createCustomer(input: {name: "Eve", email: "ada.lovelace@x", region: "EU"}) { outcome affectedCount errors { code message } diff { before after fields } proposal { state changes { diff { before after fields } } } } }`,
		`mutation { createCustomer(input: {name: "Eve", email: "bob.hatelace@x", region: "EU"}, options: {mode: PREVIEW}) { outcome errors { code message } diff { before after fields } } }`,
		`mutation { deleteCustomer(id: 3) { outcome affectedCount errors { code message } diff { before after fields } } }`,
		`{ proposals { nodes { state changes { diff { before after fields } } } } }`,
	}
	var answers [][]string
	for _, ada := range []string{one, two} {
		w := newWorld(t, lines(rights), func(f map[string]string) {
			f["people"] += "mona human masked\n"
			before := f["data.json"]
			f["data.json"] = strings.Replace(before, `{"id":1,"name":"Ada","email":"ada@x","region":"EU","credit":10,"iban":"DE1"}`, ada, 1)
			if f["data.json"] == before {
				t.Fatal("the world has changed")
			}
		})
		var got []string
		for _, ask := range asks {
			a := w.text(w.ask("mona", ask, "", ""))
			if strings.Contains(a, "ada.love") || strings.Contains(a, "bob.hate") {
				t.Errorf("%s shows what is masked:\n%s", ask, a)
			}
			got = append(got, a)
		}
		answers = append(answers, got)
	}
	for i, ask := range asks {
		if answers[0][i] != answers[1][i] {
			t.Errorf("%s\n%s\n%s", ask, answers[0][i], answers[1][i])
		}
		if strings.Contains(answers[0][i], "NOT_APPLIED") || strings.Contains(answers[0][i], "error ") {
			t.Errorf("%s shows nothing:\n%s", ask, answers[0][i])
		}
	}
}

// An explanation says which lines mask what the operation selects, and nothing of
// fields that it does not.
func TestExplainTellsMasks(t *testing.T) {
	w := newWorld(t, lines("p, reader, crm.customers{id name email credit}, read, allow, , {mask: {email: HASH credit: NULL}}\n"))
	ex, errs := gateway.Explain(w.door.Snapshot(), w.limits, w.people.person(t, "bea"), &gateway.Request{Query: `{ customers { nodes { name email } } }`})
	if errs != nil {
		t.Fatal(errs)
	}
	if len(ex.Masked) != 1 || ex.Masked[0].Field != "email" || ex.Masked[0].Mask != policy.MaskHash || !strings.Contains(ex.Masked[0].Line.Text, "email: HASH") {
		t.Errorf("%+v", ex.Masked)
	}
	if !strings.Contains(ex.Plan.String(), "email masked HASH") {
		t.Errorf("%s", ex.Plan)
	}
}
