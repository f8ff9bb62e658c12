package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestReviewersByPolicyLine: a person whom policy.csv alone gives a role by
// name can be asked, decides, and counts when what they approved is claimed.
// Without the line nobody is left; nor is somebody there whom the line names
// and nobody knows.
func TestReviewersByPolicyLine(t *testing.T) {
	t.Parallel()
	const line = "g, user:rita@shop.example, lead\n"
	s := newShop(t, "")
	s.addUser(t, "olga@shop.example", "owner")
	s.addUser(t, "rita@shop.example")
	_, s.tokens["bot"] = s.addKey(t, "bot", "")
	policy := s.read(t, "policy/policy.csv")
	with := func(line string) *node {
		s.write(t, "policy/policy.csv", policy+line)
		n := serve(t, s.site)
		n.ready(t)
		return n
	}
	propose := func(n *node, id int) *answer {
		t.Helper()
		return n.must(t, s.tokens["bot"], fmt.Sprintf(`mutation { updateItem(id: %d, patch: {stock: {set: 7}}) { outcome proposal { id } errors { code message } } }`, id), nil)
	}

	n := with(line)
	rita := s.signIn(t, n, "rita@shop.example")
	a := propose(n, 1)
	id := a.at("updateItem.proposal.id")
	if a.at("updateItem.outcome") != "PROPOSED" {
		t.Fatalf("with a reviewer by line: %s", a.raw)
	}
	if a := n.must(t, rita, "{ viewer { roles } }", nil); a.at("viewer.roles") != `["lead"]` {
		t.Errorf("her roles are %s", a.raw)
	}
	if a := n.approve(t, rita, id); a.at("approveProposal.state") == "" {
		t.Errorf("she approves: %s", a.raw)
	}
	if state := n.settledState(t, rita, id); state != "EXECUTED" {
		t.Errorf("it is %s", state)
	}
	if got := s.f.value(t, "SELECT stock FROM item WHERE id = 1"); got != "7" {
		t.Errorf("the stock is %s", got)
	}
	waiting := propose(n, 2).at("updateItem.proposal.id")
	p := n.proposal(t, rita, waiting)
	n.stop(t)

	for _, other := range []string{"", "g, user:nobody@shop.example, lead\n"} {
		n = with(other)
		a := propose(n, 3)
		if a.at("updateItem.outcome") != "NOT_APPLIED" || a.at("updateItem.errors.0.code") != "NO_ELIGIBLE_REVIEWER" {
			t.Errorf("with %q: %s", strings.TrimSpace(other), a.raw)
		}
		if a := n.ask(t, rita, approveMutation, vars{"id": waiting, "r": 1, "c": p.at("proposal.contentHash"), "v": p.at("proposal.reviewHash")}); a.code() == "" {
			t.Errorf("with %q she still approves: %s", strings.TrimSpace(other), a.raw)
		}
		n.stop(t)
	}

	n = with(line)
	if a := n.approve(t, rita, waiting); len(a.Errors) > 0 {
		t.Errorf("with the line back she approves: %s", a.raw)
	}
	if state := n.settledState(t, rita, waiting); state != "EXECUTED" {
		t.Errorf("it is %s", state)
	}
	n.stop(t)
}
