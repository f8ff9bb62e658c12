package gateway_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// content is what the newest proposal is about.
func (w *world) content() proposals.Content {
	w.t.Helper()
	rev, review := w.last().Current(), new(proposals.Review)
	if err := json.Unmarshal(rev.Review, review); err != nil {
		w.t.Fatal(err)
	}
	return proposals.Content{Set: &rev.Set, Review: review}
}

func (w *world) propose(who, mutation string) {
	w.t.Helper()
	if a := w.ask(who, mutation); len(a.errors) > 0 || !strings.Contains(a.data, `"PROPOSED"`) {
		w.t.Fatalf("%s: %s %v", mutation, a.data, a.errors)
	}
}

func (w *world) recheck(who string) connectors.Code {
	w.t.Helper()
	return connectors.CodeOf(w.door.Authorizer().Recheck(w.t.Context(), w.people.person(w.t, who), w.content()))
}

func lines(text string) func(map[string]string) {
	return func(files map[string]string) {
		files["policy.csv"] = "p, owner, *, *, allow\np, lead, *, read|approve, allow\np, agent, crm.*, read, allow\n" + text
	}
}

const rename = `mutation { updateCustomer(id: 1, patch: {name: "Eve"}, options: {mode: PROPOSE}) { outcome } }`

// What may be proposed under one policy is asked of another one.
func TestRecheck(t *testing.T) {
	order := `mutation { createOrder(input: {customerId: 1, status: OPEN, total: 5}, options: {mode: PROPOSE}) { outcome } }`
	drop := `mutation { deleteOrder(id: 11, options: {mode: PROPOSE}) { outcome } }`
	move := `mutation { updateCustomer(id: 1, patch: {region: "US"}, options: {mode: PROPOSE}) { outcome } }`
	many := `mutation { updateCustomers(filter: {region: {eq: "EU"}}, patch: {name: "E"}, maxRows: 5, options: {mode: PROPOSE}) { outcome } }`
	plain := "p, agent, crm.customers, update, propose\n"
	for name, c := range map[string]struct {
		mutation, before, after string
		code                    connectors.Code
	}{
		"the same":                     {rename, plain, plain, ""},
		"allowed by now":               {rename, plain, "p, agent, crm.customers, update, allow\n", ""},
		"gone":                         {rename, plain, "", connectors.CodeForbidden},
		"denied":                       {rename, plain, plain + "p, agent, crm.customers, update, deny\n", connectors.CodeForbidden},
		"another field":                {rename, plain, "p, agent, crm.customers{email}, update, propose\n", connectors.CodeForbidden},
		"a condition holds":            {rename, plain, "p, agent, crm.customers, update, propose, {region: {eq: \"EU\"}}\n", ""},
		"a condition fails":            {rename, plain, "p, agent, crm.customers, update, propose, {region: {eq: \"US\"}}\n", connectors.CodeForbidden},
		"a claim is missing":           {rename, plain, "p, agent, crm.customers, update, propose, {region: {eq: $claims.region}}\n", connectors.CodeForbidden},
		"a check holds":                {rename, plain, "p, agent, crm.customers, update, propose, , {check: {name: {eq: \"Eve\"}}}\n", ""},
		"a check moved":                {rename, plain, "p, agent, crm.customers, update, propose, , {check: {name: {eq: \"Ada\"}}}\n", connectors.CodeForbidden},
		"it leaves what it may":        {move, plain, "p, agent, crm.customers, update, propose, {region: {eq: \"EU\"}}\n", connectors.CodeForbidden},
		"it enters what it may":        {move, plain, "p, agent, crm.customers, update, propose, {region: {eq: \"US\"}}\n", connectors.CodeForbidden},
		"either holds":                 {rename, plain, "p, agent, crm.customers, update, propose, {or: [{region: {eq: \"EU\"}} {name: {eq: \"x\"}}]}\n", connectors.CodeForbidden},
		"as many":                      {many, plain, "p, agent, crm.customers, update, propose, , {max: 2}\n", ""},
		"too many":                     {many, plain, "p, agent, crm.customers, update, propose, , {max: 1}\n", connectors.CodeForbidden},
		"related holds":                {drop, "p, agent, crm.orders, delete, propose\n", "p, agent, crm.orders, delete, propose, {customer: {region: {eq: \"EU\"}}}\n", ""},
		"related fails":                {drop, "p, agent, crm.orders, delete, propose\n", "p, agent, crm.orders, delete, propose, {customer: {region: {eq: \"US\"}}}\n", connectors.CodeForbidden},
		"a preset holds":               {order, preset("clerk: $principal.id"), preset("clerk: $principal.id"), ""},
		"a preset is another":          {order, preset("clerk: $principal.id"), preset("clerk: $principal.name"), connectors.CodeForbidden},
		"a preset is new":              {order, "p, agent, crm.orders, create, propose\n", preset("clerk: $principal.id"), connectors.CodeForbidden},
		"a preset is the time of then": {order, preset("placed: $now"), preset("placed: $now"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lines(c.before))
			w.propose("triage", c.mutation)
			w.reload(lines(c.after))
			if got := w.recheck("triage"); got != c.code {
				t.Errorf("%q, not %q", got, c.code)
			}
		})
	}
}

func preset(set string) string {
	return "p, agent, crm.orders, create, propose, , {set: {" + set + "}}\n"
}

// A preset of the principal is of who asks now: another author is no author.
func TestPresetOfAnother(t *testing.T) {
	w := newWorld(t, lines(preset("clerk: $principal.id")))
	w.propose("triage", `mutation { createOrder(input: {customerId: 1, status: OPEN, total: 5}) { outcome } }`)
	if got := w.recheck("triage"); got != "" {
		t.Errorf("%s", got)
	}
	if got := w.recheck("helper"); got != connectors.CodeForbidden {
		t.Errorf("another agent: %q", got)
	}
}

// What a related record says is asked of the source each time; where the source
// cannot say, nobody says yes.
func TestRelatedIsAskedAgain(t *testing.T) {
	w := newWorld(t, lines("p, agent, crm.orders, delete, propose\n"))
	w.propose("triage", `mutation { deleteOrder(id: 11) { outcome } }`)
	w.reload(lines("p, agent, crm.orders, delete, propose, {customer: {region: {eq: \"EU\"}}}\n"))
	if got := w.recheck("triage"); got != "" {
		t.Fatalf("%s", got)
	}
	w.base.Memory["crm"].Inject(connectortest.Unavailable(connectortest.OnQuery))
	if got := w.recheck("triage"); got != connectors.CodeUpstreamUnavailable {
		t.Errorf("while the source is down: %q", got)
	}
	w.base.Memory["crm"].Heal()
	if a := w.ask("olga", `mutation { updateCustomer(id: 1, patch: {region: "US"}) { outcome } }`); len(a.errors) > 0 {
		t.Fatal(a.errors)
	}
	if got := w.recheck("triage"); got != connectors.CodeForbidden {
		t.Errorf("after the related record moved: %q", got)
	}
}

// The chain's strictest holds, and the confirm seat is for who may do it alone.
func TestAllowsAndChain(t *testing.T) {
	for name, c := range map[string]struct {
		line   string
		allows connectors.Code
	}{
		"allowed":               {"p, support, crm.customers, read|update, allow\n", ""},
		"proposed":              {"p, support, crm.customers, update, propose\n", connectors.CodeForbidden},
		"allowed these":         {"p, support, crm.customers, update, propose\np, support, crm.customers, update, allow, {region: {eq: \"EU\"}}\n", ""},
		"allowed others":        {"p, support, crm.customers, update, propose\np, support, crm.customers, update, allow, {region: {eq: \"US\"}}\n", connectors.CodeForbidden},
		"nothing":               {"", connectors.CodeForbidden},
		"allowed, by own claim": {"p, support, crm.customers, update, allow, {region: {eq: $claims.region}}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			agent := "p, agent, crm.customers, update, propose\n"
			w := newWorld(t, lines(agent))
			w.propose("triage", rename)
			w.reload(lines(agent + c.line))
			az := w.door.Authorizer()
			if got := connectors.CodeOf(az.Allows(t.Context(), w.people.person(t, "maria"), w.content())); got != c.allows {
				t.Errorf("maria: %q, not %q", got, c.allows)
			}
			if got := connectors.CodeOf(az.Allows(t.Context(), w.people.person(t, "triage"), w.content())); got != connectors.CodeForbidden {
				t.Errorf("who may only propose, may: %q", got)
			}
			if got := w.recheck("helper"); (got == "") != (c.line != "") {
				t.Errorf("an agent for maria: %q", got)
			}
		})
	}
}

// Who may approve is told by the record as it was shown and by the source.
func TestMayApprove(t *testing.T) {
	update := "p, agent, crm.*, update, propose\n"
	for name, c := range map[string]struct {
		line string
		code connectors.Code
	}{
		"any":               {"p, regional, crm.orders, approve, allow\n", ""},
		"none":              {"", connectors.CodeForbidden},
		"this field":        {"p, regional, crm.orders{status}, approve, allow\n", ""},
		"another field":     {"p, regional, crm.orders{total}, approve, allow\n", connectors.CodeForbidden},
		"this record":       {"p, regional, crm.orders, approve, allow, {total: {lte: 5}}\n", ""},
		"another record":    {"p, regional, crm.orders, approve, allow, {total: {gt: 5}}\n", connectors.CodeForbidden},
		"this relation":     {"p, regional, crm.orders, approve, allow, {customer: {region: {eq: $claims.region}}}\n", ""},
		"another relation":  {"p, regional, crm.orders, approve, allow, {customer: {region: {eq: \"US\"}}}\n", connectors.CodeForbidden},
		"a claim not there": {"p, regional, crm.orders, approve, allow, {clerk: {eq: $claims.desk}}\n", connectors.CodeForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lines(update))
			w.propose("triage", `mutation { updateOrder(id: 11, patch: {status: PAID}) { outcome } }`)
			w.reload(lines(update + c.line))
			if got := connectors.CodeOf(w.door.Authorizer().MayApprove(t.Context(), w.people.person(t, "rita"), w.content())); got != c.code {
				t.Errorf("%q, not %q", got, c.code)
			}
		})
	}
}

// What a viewer may not read is in no part of what they are shown.
func TestRedact(t *testing.T) {
	update := "p, agent, crm.*, update, propose\n"
	for name, c := range map[string]struct {
		line  string
		whole bool
		shown []string
	}{
		"all":               {"p, regional, crm.customers, read, allow\n", true, []string{"SECRET-NEW", "ada@x"}},
		"nothing":           {"", false, nil},
		"another record":    {"p, regional, crm.customers, read, allow, {region: {eq: \"US\"}}\n", false, nil},
		"own records":       {"p, regional, crm.customers, read, allow, {region: {eq: $claims.region}}\n", true, []string{"SECRET-NEW", "ada@x"}},
		"without the field": {"p, regional, crm.customers{* -email}, read, allow\n", false, nil},
		"where it may": {"p, regional, crm.customers{* -email}, read, allow\np, regional, crm.customers{email}, read, allow, {credit: {gt: 5}}\n", true,
			[]string{"SECRET-NEW", "ada@x"}},
		"where it may not": {"p, regional, crm.customers{* -email}, read, allow\np, regional, crm.customers{email}, read, allow, {credit: {gt: 50}}\n", false, nil},
		"masked":           {"p, regional, crm.customers, read, allow, , {mask: {email: REDACT}}\n", false, nil},
		"masked by digest": {"p, regional, crm.customers, read, allow, , {mask: {email: HASH}}\n", false, nil},
		"by a relation":    {"p, regional, crm.orders, read, allow\np, regional, crm.customers, read, allow, {orders: {some: {total: {eq: 5}}}}\n", true, []string{"SECRET-NEW", "ada@x"}},
		"by no relation":   {"p, regional, crm.orders, read, allow\np, regional, crm.customers, read, allow, {orders: {some: {total: {eq: 15}}}}\n", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lines(update))
			w.propose("triage", `mutation { updateCustomer(id: 1, patch: {email: "SECRET-NEW"}) { outcome } }`)
			w.reload(lines(update + c.line))
			shown, whole, err := w.door.Authorizer().Redact(t.Context(), w.people.person(t, "rita"), w.content().Review)
			if err != nil || whole != c.whole {
				t.Fatalf("whole: %t, %v", whole, err)
			}
			raw, err := json.Marshal(shown)
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"SECRET-NEW", "ada@x"} {
				if strings.Contains(string(raw), word) != (c.shown != nil) {
					t.Errorf("%s in %s", word, raw)
				}
			}
		})
	}
}

// The policy turns between the vote and the claim: it is the claim's that holds.
func TestPolicyTurnsAfterTheVote(t *testing.T) {
	for name, c := range map[string]struct {
		turn  func(w *world)
		state proposals.State
	}{
		"it stands":          {func(*world) {}, proposals.Executed},
		"the author may not": {func(w *world) { w.reload(lines("")) }, proposals.Invalidated},
		"another system":     {func(w *world) { w.systems.swap("crm", "system:other") }, proposals.Invalidated},
		"another schema": {func(w *world) {
			w.reload(func(f map[string]string) {
				f["schema"] = strings.Replace(f["schema"], "email String!", "email String", 1)
			})
		}, proposals.Invalidated},
		"the author's role is new": {func(w *world) {
			w.people.become("triage", func(p *policy.Principal) { p.Kind, p.Roles = policy.Service, nil })
		}, proposals.Invalidated},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lines("p, agent, crm.customers, update, propose\n"))
			due := time.Now().Add(time.Hour)
			w.propose("triage", `mutation { updateCustomer(id: 1, patch: {name: "Eve"}, options: {notBefore: "`+due.UTC().Format(time.RFC3339)+`"}) { outcome } }`)
			if err := w.approve("lea"); err != nil {
				t.Fatal(err)
			}
			if p := w.last().Proposal; p.State != proposals.Approved {
				t.Fatalf("it is %s before its time", p.State)
			}
			c.turn(w)
			w.late.Store(int64(2 * time.Hour))
			p := w.settled()
			if p.State != c.state {
				t.Errorf("%s %s %s, not %s", p.State, p.ReasonCode, p.Say, c.state)
			}
			want := `{"customer":{"name":"Ada"}}`
			if c.state == proposals.Executed {
				want = `{"customer":{"name":"Eve"}}`
			}
			if a := w.ask("olga", `{ customer(id: 1) { name } }`); a.data != want {
				t.Errorf("%s", a.data)
			}
		})
	}
}

// Somebody else's, another tenant's, and no proposal at all are one answer, to
// the byte, whatever is asked.
func TestOneAnswerForNothing(t *testing.T) {
	w := newWorld(t, func(files map[string]string) { files["people"] += "eve human lead\n" })
	w.people.become("eve", func(p *policy.Principal) { p.Tenant = "other" })
	w.propose("triage", rename)
	real := w.last().Proposal.Handle
	r := w.last().Current()
	ghost := strings.Map(func(c rune) rune {
		if c >= 'a' && c < 'z' || c >= '0' && c < '9' {
			return c + 1
		}
		return c
	}, real)
	decide := `, revision: 1, contentHash: "` + r.ContentHash + `"`
	for _, who := range []string{"eve", "bea", "helper"} {
		for _, op := range []string{
			`{ proposal(id: "ID") { id state } }`, `mutation { withdrawProposal(id: "ID") { id } }`,
			`mutation { rejectProposal(id: "ID"` + decide + `) { id } }`,
			`mutation { approveProposal(id: "ID"` + decide + `, reviewHash: "` + r.ReviewHash + `") { id } }`,
			`mutation { settleProposal(id: "ID", outcome: DONE, evidence: "x") { id } }`,
		} {
			there, nowhere := w.ask(who, strings.ReplaceAll(op, "ID", real)), w.ask(who, strings.ReplaceAll(op, "ID", ghost))
			if a, b := whole(there), whole(nowhere); a != b {
				t.Errorf("%s, %s:\n%s\n%s", who, op, a, b)
			}
		}
	}
	if p := w.last().Proposal; p.State != proposals.Pending {
		t.Errorf("it is %s", p.State)
	}
}

func whole(a answer) string {
	out := a.data + "\n"
	for i := range a.errors {
		out += errorLine(&a.errors[i])
	}
	return out
}
