package proposals_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// Self-approval over every chain: whoever stands behind what was asked does not
// decide on it, by whichever identity.
func TestNoSelfApproval(t *testing.T) {
	maria := person("user:maria", "lead")
	for name, c := range map[string]struct {
		author *policy.Principal
		lender string
		who    *policy.Principal
		code   connectors.Code // "": may
	}{
		"another person":                       {agent(), "", person("user:lea", "lead"), ""},
		"the agent":                            {agent(), "", agent(), connectors.CodeForbidden},
		"the agent with an interactive token":  {agent(), "", with(agent(), func(p *policy.Principal) { p.Interactive, p.Roles = true, []string{"lead"} }), connectors.CodeForbidden},
		"the person it acts for":               {agent(), "", maria, connectors.CodeForbidden},
		"its owner":                            {agent(), "", person("user:olga", "lead"), connectors.CodeForbidden},
		"who lent the credential":              {agent(), "user:lou", person("user:lou", "lead"), connectors.CodeForbidden},
		"a person on their own":                {person("user:maria", "support"), "", maria, connectors.CodeForbidden},
		"another, of a person's own":           {person("user:maria", "support"), "", person("user:lea", "lead"), ""},
		"without the role":                     {agent(), "", person("user:fin", "finance"), connectors.CodeForbidden},
		"without approve":                      {agent(), "", person("user:nobody", "support"), connectors.CodeNotFound},
		"an API key of a person":               {agent(), "", with(person("user:lea", "lead"), func(p *policy.Principal) { p.Interactive = false }), connectors.CodeForbidden},
		"a service":                            {agent(), "", with(person("service:x", "lead"), func(p *policy.Principal) { p.Kind = policy.Service }), connectors.CodeNotFound},
		"another agent for the same person":    {agent(), "", with(agent(), func(p *policy.Principal) { p.ID = "agent:other" }), connectors.CodeNotFound},
		"anonymous":                            {agent(), "", policy.AnonymousPrincipal(), connectors.CodeNotFound},
		"somebody of another tenant":           {agent(), "", with(person("user:lea", "lead"), func(p *policy.Principal) { p.Tenant = "other" }), connectors.CodeNotFound},
		"the owner of a service that proposed": {with(agent(), func(p *policy.Principal) { p.ID, p.Kind, p.For, p.Owner = "service:s", policy.Service, nil, "user:lea" }), "", person("user:lea", "lead"), connectors.CodeForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, connectors.Transactional)
			other := c.who.Tenant != tenant
			if other {
				if err := w.svc.PolicyLoaded(t.Context(), c.who.Tenant); err != nil {
					t.Fatal(err)
				}
			}
			r := w.request("new")
			r.Author, r.Lender = c.author, c.lender
			out, err := w.svc.Propose(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.svc.Approve(t.Context(), c.who, decision(out.Dossier))
			wantCode(t, err, c.code)
			if c.code == connectors.CodeForbidden && c.who.Kind == policy.Human {
				_, err = w.svc.Reject(t.Context(), c.who, decision(out.Dossier))
				if c.who.ID == "user:fin" {
					return // holds approve, so a no of theirs counts
				}
				wantCode(t, err, c.code)
			}
		})
	}
}

func with(p *policy.Principal, fn func(*policy.Principal)) *policy.Principal {
	q := *p
	fn(&q)
	return &q
}

// The confirm seat: only who the agent acts for, only while their own view
// allows it, at the decision and at the claim.
func TestConfirmSeat(t *testing.T) {
	maria := person("user:maria", "support")
	setup := func(t *testing.T) (*world, *proposals.Dossier) {
		w := newWorld(t, connectors.Transactional)
		w.auth.change(func(a *authority) {
			a.route.Requirement.Seats = []proposals.Seat{{Confirm: true, Count: 1}}
			a.confirms["user:maria"] = true
			a.confirms["user:olga"] = true
		})
		return w, w.propose("new")
	}
	t.Run("confirms", func(t *testing.T) {
		w, d := setup(t)
		for _, who := range []*policy.Principal{person("user:olga", "lead"), with(maria, func(p *policy.Principal) { p.Interactive = false }), agent()} {
			_, err := w.svc.Approve(t.Context(), who, decision(d))
			wantCode(t, err, connectors.CodeForbidden)
		}
		if _, err := w.svc.Approve(t.Context(), person("user:lea", "lead"), decision(d)); connectors.CodeOf(err) != connectors.CodeForbidden {
			t.Fatalf("a lead in the confirm seat: %v", err)
		}
		if _, err := w.svc.Approve(t.Context(), maria, decision(d)); err != nil {
			t.Fatal(err)
		}
		defer run(w.executor(w.svc, nil))()
		w.await(d.Proposal.Handle, proposals.Executed)
	})
	t.Run("the allow is gone at the decision", func(t *testing.T) {
		w, d := setup(t)
		w.auth.change(func(a *authority) { delete(a.confirms, "user:maria") })
		_, err := w.svc.Approve(t.Context(), maria, decision(d))
		wantCode(t, err, connectors.CodeForbidden)
	})
	t.Run("the allow is gone at the claim", func(t *testing.T) {
		w, d := setup(t)
		if _, err := w.svc.Approve(t.Context(), maria, decision(d)); err != nil {
			t.Fatal(err)
		}
		w.auth.change(func(a *authority) { delete(a.confirms, "user:maria") })
		defer run(w.executor(w.svc, nil))()
		w.await(d.Proposal.Handle, proposals.Invalidated)
		w.wantEffects(0)
	})
	t.Run("nobody could", func(t *testing.T) {
		w, _ := setup(t)
		w.auth.change(func(a *authority) { delete(a.confirms, "user:maria") })
		_, err := w.svc.Propose(t.Context(), w.request("newer"))
		wantCode(t, err, connectors.CodeNoEligibleReviewer)
	})
	t.Run("a person on their own has none", func(t *testing.T) {
		w, _ := setup(t)
		r := w.request("newer")
		r.Author = person("user:maria", "support")
		_, err := w.svc.Propose(t.Context(), r)
		wantCode(t, err, connectors.CodeNoEligibleReviewer)
	})
}

func TestEligible(t *testing.T) {
	for name, c := range map[string]struct {
		seats []proposals.Seat
		code  connectors.Code
	}{
		"one lead":                       {[]proposals.Seat{{Role: "lead", Count: 1}}, ""},
		"two leads":                      {[]proposals.Seat{{Role: "lead", Count: 2}}, ""},
		"the owner is no third":          {[]proposals.Seat{{Role: "lead", Count: 3}}, connectors.CodeNoEligibleReviewer},
		"a lead and finance":             {[]proposals.Seat{{Role: "lead", Count: 1}, {Role: "finance", Count: 1}}, ""},
		"nobody holds it":                {[]proposals.Seat{{Role: "pope", Count: 1}}, connectors.CodeNoEligibleReviewer},
		"nothing is required of anybody": {nil, connectors.CodeNoEligibleReviewer},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, connectors.Transactional)
			w.auth.change(func(a *authority) { a.route.Requirement.Seats = c.seats })
			_, err := w.svc.Propose(t.Context(), w.request("new"))
			wantCode(t, err, c.code)
		})
	}
}

// Votes bind to revision and hashes, and to what the voter may read.
func TestContentBinds(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	d := w.propose("new")
	lea := person("user:lea", "lead")
	for name, change := range map[string]func(*proposals.Decide){
		"content":  func(in *proposals.Decide) { in.ContentHash = "0" },
		"review":   func(in *proposals.Decide) { in.ReviewHash = "0" },
		"revision": func(in *proposals.Decide) { in.Revision++ },
		"empty":    func(in *proposals.Decide) { in.ContentHash, in.ReviewHash = "", "" },
	} {
		in := decision(d)
		change(&in)
		if _, err := w.svc.Approve(t.Context(), lea, in); connectors.CodeOf(err) != connectors.CodeContentChanged {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.auth.change(func(a *authority) { a.blind["user:lea"] = true })
	_, err := w.svc.Approve(t.Context(), lea, decision(d))
	wantCode(t, err, connectors.CodeCannotReview)
	w.auth.change(func(a *authority) { delete(a.blind, "user:lea") })
	w.approve(d)

	r := w.request("incomplete")
	r.Effects[0].Steps[0].Incomplete = "ten thousand more"
	out, err := w.svc.Propose(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.svc.Approve(t.Context(), lea, decision(out.Dossier))
	wantCode(t, err, connectors.CodeCannotReview)
	if _, err = w.svc.Reject(t.Context(), lea, decision(out.Dossier)); err != nil {
		t.Fatal(err)
	}
}

// The same decision sent twice answers with the stored one; another's does not.
func TestDecisionTwice(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	w.auth.change(func(a *authority) { a.route.Requirement.Seats = []proposals.Seat{{Role: "lead", Count: 2}} })
	d := w.propose("new")
	for range 3 {
		e, err := w.svc.Approve(t.Context(), person("user:lea", "lead"), decision(d))
		if err != nil || e.Dossier.Proposal.State != proposals.Pending || len(e.Dossier.Decisions) != 1 {
			t.Fatalf("%v %+v", err, e)
		}
	}
	e, err := w.svc.Approve(t.Context(), person("user:lou", "lead"), decision(d))
	if err != nil || e.Dossier.Proposal.State != proposals.Approved {
		t.Fatalf("%v", err)
	}
	if _, err = w.svc.Approve(t.Context(), person("user:lea", "lead"), decision(d)); err != nil {
		t.Fatalf("again after the end: %v", err)
	}
	_, err = w.svc.Reject(t.Context(), person("user:lea", "lead"), decision(d))
	wantCode(t, err, connectors.CodeWrongState)
}

func TestDuplicateAndIdempotency(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	ctx := t.Context()
	first := w.propose("new")
	again, err := w.svc.Propose(ctx, w.request("new"))
	if err != nil || !again.Duplicate || again.Dossier.Proposal.Handle != first.Proposal.Handle || again.Review == nil {
		t.Fatalf("%v %+v", err, again)
	}
	other := w.request("new")
	other.Author = with(agent(), func(p *policy.Principal) { p.For = person("user:nobody", "support") })
	if out, err := w.svc.Propose(ctx, other); err != nil || out.Duplicate {
		t.Fatalf("for another person: %v %+v", err, out)
	}
	keyed := func(key, digest, value string) *proposals.ProposeRequest {
		r := w.request(value)
		r.IdempotencyKey, r.Digest = key, digest
		return r
	}
	purpose, err := w.svc.Propose(ctx, keyed("k1", "d1", "new"))
	if err != nil || purpose.Duplicate || purpose.Dossier.Proposal.Handle == first.Proposal.Handle || !purpose.Dossier.Proposal.Deliberate {
		t.Fatalf("on purpose: %v %+v", err, purpose)
	}
	replay, err := w.svc.Propose(ctx, keyed("k1", "d1", "new"))
	if err != nil || !replay.Replayed || replay.Dossier.Proposal.Handle != purpose.Dossier.Proposal.Handle {
		t.Fatalf("replayed: %v %+v", err, replay)
	}
	_, err = w.svc.Propose(ctx, keyed("k1", "d2", "newer"))
	wantCode(t, err, connectors.CodeIdempotencyMismatch)
	// Also after the end.
	if _, err := w.svc.Withdraw(ctx, agent(), purpose.Dossier.Proposal.Handle, ""); err != nil {
		t.Fatal(err)
	}
	replay, err = w.svc.Propose(ctx, keyed("k1", "d1", "new"))
	if err != nil || replay.Dossier.Proposal.State != proposals.Withdrawn {
		t.Fatalf("after the end: %v %+v", err, replay)
	}
	w.advance(8 * 24 * time.Hour)
	if fresh, err := w.svc.Propose(ctx, keyed("k1", "d3", "newest")); err != nil || fresh.Replayed {
		t.Fatalf("after it was forgotten: %v", err)
	}
	// What is moved under the change does not make it another.
	moved := w.request("new")
	moved.Effects[0].Steps[0].Before[0].Fields[1].Value = connectors.String("older")
	if out, err := w.svc.Propose(ctx, moved); err != nil || !out.Duplicate {
		t.Fatalf("%v %+v", err, out)
	}
}

func TestRules(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	w.auth.change(func(a *authority) { a.route = proposals.Route{Rule: "dust", Then: proposals.ThenApprove} })
	d := w.propose("new")
	if d.Proposal.State != proposals.Approved || len(d.Decisions) != 1 || d.Decisions[0].Person != "policy:dust@p1" {
		t.Fatalf("%+v", d)
	}
	defer run(w.executor(w.svc, nil))()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got, err := w.svc.Await(ctx, tenant, d.Proposal.Handle, func(p *proposals.Proposal) bool { return p.State.Terminal() })
	if err != nil || got.Proposal.State != proposals.Executed {
		t.Fatalf("%v %+v", err, got)
	}
	w.auth.change(func(a *authority) {
		a.route = proposals.Route{Rule: "never", Then: proposals.ThenReject, Say: "propose an update instead"}
	})
	d = w.propose("newer")
	if d.Proposal.State != proposals.Rejected || d.Proposal.Say != "propose an update instead" {
		t.Fatalf("%+v", d.Proposal)
	}
}

// A rule that approves no more at the claim does not carry.
func TestRuleIsAskedAgain(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	w.auth.change(func(a *authority) { a.route = proposals.Route{Rule: "dust", Then: proposals.ThenApprove} })
	d := w.propose("new")
	w.auth.change(func(a *authority) {
		a.version = "p2"
		a.route = proposals.Route{Rule: "large", Then: proposals.ThenReview, Requirement: proposals.Requirement{Seats: []proposals.Seat{{Role: "lead", Count: 1}}}}
	})
	if err := w.svc.PolicyLoaded(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	defer run(w.executor(w.svc, nil))()
	w.await(d.Proposal.Handle, proposals.Invalidated)
	w.wantEffects(0)
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, connectors.Unverifiable)
	for name, c := range map[string]struct {
		change func(*proposals.ProposeRequest)
		code   connectors.Code
	}{
		"anonymous":       {func(r *proposals.ProposeRequest) { r.Author = policy.AnonymousPrincipal() }, connectors.CodeUnauthenticated},
		"nobody":          {func(r *proposals.ProposeRequest) { r.Author = nil }, connectors.CodeUnauthenticated},
		"nothing":         {func(r *proposals.ProposeRequest) { r.Set.Changes = nil }, connectors.CodeBadInput},
		"several sources": {func(r *proposals.ProposeRequest) { r.Set.Changes = append(r.Set.Changes, r.Set.Changes[0]) }, connectors.CodeUnsupported},
		"several writes that are not atomic": {func(r *proposals.ProposeRequest) {
			r.Set.Targets[0].Atomic = false
			r.Set.Changes[0].Steps = append(r.Set.Changes[0].Steps, r.Set.Changes[0].Steps[0])
		}, connectors.CodeUnsupported},
		"no record":     {func(r *proposals.ProposeRequest) { r.Effects[0].Steps[0] = connectors.StepEffect{} }, connectors.CodeNotFound},
		"no preview":    {func(r *proposals.ProposeRequest) { r.Effects = nil }, connectors.CodeInternal},
		"another":       {func(r *proposals.ProposeRequest) { r.Set.Changes[0].Tenant = "other" }, connectors.CodeInternal},
		"bad text":      {func(r *proposals.ProposeRequest) { r.Set.Changes[0].Steps[0].Set[0].Value.Text = "\xff" }, connectors.CodeBadInput},
		"too late":      {func(r *proposals.ProposeRequest) { r.ExpiresAt = w.now() }, connectors.CodeBadInput},
		"a long reason": {func(r *proposals.ProposeRequest) { r.Reason = string(make([]byte, 20_000)) }, connectors.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.request("new")
			c.change(r)
			_, err := w.svc.Propose(t.Context(), r)
			wantCode(t, err, c.code)
		})
	}
	if n := len(w.store.Events()); n != 1 {
		t.Fatalf("%d events: something was kept", n)
	}
	w.kill("crm")
	_, err := w.svc.Propose(t.Context(), w.request("new"))
	wantCode(t, err, connectors.CodeSuspended)
	w.auth.change(func(a *authority) { a.version = "p2" })
	_, err = w.svc.Propose(t.Context(), w.request("new"))
	wantCode(t, err, connectors.CodeUpstreamUnavailable)
	if err := w.svc.Refuse("revising a proposal"); connectors.CodeOf(err) != connectors.CodeUnsupported {
		t.Fatal(err)
	}
}

// Another tenant's id answers as one of nothing does.
func TestTenantsDoNotSeeEachOther(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	d := w.propose("new")
	if err := w.svc.PolicyLoaded(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	stranger := with(person("user:lea", "lead"), func(p *policy.Principal) { p.Tenant = "other" })
	_, a := w.svc.Get(t.Context(), stranger, d.Proposal.Handle)
	_, b := w.svc.Get(t.Context(), stranger, "nothing")
	if a == nil || a.Error() != b.Error() {
		t.Fatalf("%v against %v", a, b)
	}
	in := decision(d)
	_, a = w.svc.Approve(t.Context(), stranger, in)
	in.Handle = "nothing"
	_, b = w.svc.Approve(t.Context(), stranger, in)
	if a == nil || a.Error() != b.Error() {
		t.Fatalf("%v against %v", a, b)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t, connectors.Transactional)
	var want []string
	for i := range 7 {
		w.advance(time.Second)
		d := w.propose(string(rune('a' + i)))
		want = append([]string{d.Proposal.Handle}, want...)
	}
	read := func(who *policy.Principal, r proposals.ListRequest) []string {
		var got []string
		for {
			page, err := w.svc.List(t.Context(), who, r)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				got = append(got, e.Dossier.Proposal.Handle)
			}
			if !page.More {
				return got
			}
			r.After = got[len(got)-1]
		}
	}
	lea := person("user:lea", "lead")
	if got := read(lea, proposals.ListRequest{First: 3}); !slices.Equal(got, want) {
		t.Fatalf("got %v want %v", got, want)
	}
	if got := read(agent(), proposals.ListRequest{First: 2}); !slices.Equal(got, want) {
		t.Fatalf("the agent: %v", got)
	}
	for _, who := range []*policy.Principal{person("user:nobody"), policy.AnonymousPrincipal(), with(agent(), func(p *policy.Principal) { p.For = person("user:nobody") }),
		with(lea, func(p *policy.Principal) { p.Tenant = "other" })} {
		if got := read(who, proposals.ListRequest{}); len(got) != 0 {
			t.Fatalf("%s sees %v", who.ID, got)
		}
	}
	if got := read(person("user:maria", "support"), proposals.ListRequest{Mine: true}); len(got) != 7 {
		t.Fatalf("the person behind: %v", got)
	}
	if got := read(lea, proposals.ListRequest{States: []proposals.State{proposals.Executed}}); len(got) != 0 {
		t.Fatalf("by state: %v", got)
	}
	_, err := w.svc.List(t.Context(), lea, proposals.ListRequest{After: "nothing"})
	wantCode(t, err, connectors.CodeBadInput)
}
