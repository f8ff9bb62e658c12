package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// addIssuer configures one more issuer of the shop: its tokens decide, and their
// groups are roles.
func (s *shopSite) addIssuer(t testing.TB, more string) *issuer {
	t.Helper()
	i := newIssuer(t)
	s.write(t, "countersign.yaml", strings.Replace(s.read(t, "countersign.yaml"), "  issuers:\n", fmt.Sprintf(`  issuers:
    - issuer: %s
      audience: shop-graph
      interactive: true
      roles: { from: groups, map: { leads: lead, clerks: clerk-us, owners: owner } }
%s`, i.web.URL, more), 1))
	return i
}

// person signs a token of somebody who signed in just now.
func (i *issuer) person(t testing.TB, subject, group string, with jwt.MapClaims) string {
	t.Helper()
	return i.token(t, subject, "US", func(c jwt.MapClaims) {
		c["auth_time"], c["groups"] = time.Now().Unix(), []string{group}
		for name, v := range with {
			c[name] = v
		}
	})
}

func email(address string) jwt.MapClaims {
	return jwt.MapClaims{"email": address, "email_verified": true}
}

const proposeStock = `mutation ($id: SafeInt!, $stock: SafeInt!) { updateItem(id: $id, patch: {stock: {set: $stock}}) { outcome proposal { id } errors { code } } }`

func proposed(t testing.TB, a *answer) string {
	t.Helper()
	id := a.at("updateItem.proposal.id")
	if id == "" {
		t.Fatalf("nothing is proposed: %s", a.raw)
	}
	return id
}

// TestLinkedAccounts: one person with several accounts decides once, and never
// on what they proposed themselves.
func TestLinkedAccounts(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	a, b := s.addIssuer(t, ""), s.addIssuer(t, "")
	s.write(t, "policy/approvals.yaml", "version: 1\ndefaults: { require: [{ role: lead, count: 2 }], expire: 72h }\n")
	s.addUser(t, "olga@shop.example", "owner")
	n := within(t, s.site)
	olga := s.signIn(t, n, "olga@shop.example")

	clara, claraToo := a.person(t, "clara", "clerks", email("clara@shop.example")), b.person(t, "c2", "leads", email("Clara@shop.example"))
	leo, leoToo := a.person(t, "leo", "leads", email("leo@shop.example")), b.person(t, "l2", "leads", email("leo@shop.example"))
	for _, token := range []string{claraToo, leo, leoToo} {
		n.must(t, token, whoAmI, nil)
	}
	if r := n.ask(t, clara, proposeStock, vars{"id": 1, "stock": 91}); r.code() != "NO_ELIGIBLE_REVIEWER" && r.at("updateItem.errors.0.code") != "NO_ELIGIBLE_REVIEWER" {
		t.Fatalf("one person with two accounts is enough for two seats: %s", r.raw)
	}
	lina, mara := b.person(t, "lina", "leads", nil), b.person(t, "mara", "leads", nil)
	n.must(t, lina, whoAmI, nil)
	n.must(t, mara, whoAmI, nil)
	id := proposed(t, n.must(t, clara, proposeStock, vars{"id": 1, "stock": 91}))
	if r := n.approve(t, claraToo, id); r.code() != "FORBIDDEN" {
		t.Errorf("the author approves by another account: %s", r.raw)
	}
	for _, token := range []string{leo, leoToo} {
		if r := n.approve(t, token, id); r.at("approveProposal.state") != "PENDING" {
			t.Errorf("one person fills two seats: %s", r.raw)
		}
	}

	// An administrator knows that mara is clara.
	host := func(i *issuer) string { return "user:" + strings.TrimPrefix(i.web.URL, "http://") }
	link := fmt.Sprintf(`mutation { countersignLinkAccounts(ids: [%q, %q]) { a b how by } }`, host(a)+"/clara", host(b)+"/mara")
	if r := n.ask(t, lina, link, nil); r.code() != "FORBIDDEN" {
		t.Errorf("anybody links accounts: %s", r.raw)
	}
	if r := n.ask(t, olga, strings.Replace(link, "/mara", "/nobody", 1), nil); r.code() != "NOT_FOUND" {
		t.Errorf("nobody is linked: %s", r.raw)
	}
	n.must(t, olga, link, nil)
	if r := n.approve(t, mara, id); r.code() != "FORBIDDEN" {
		t.Errorf("the author approves by an account that an administrator linked: %s", r.raw)
	}
	unlink := strings.NewReplacer("Link", "Unlink", "ids: [", "a: ", ", \"", ", b: \"", "])", ")").Replace(link)
	n.must(t, olga, unlink, nil)
	if r := n.ask(t, olga, unlink, nil); r.code() != "NOT_FOUND" {
		t.Errorf("unlinked twice: %s", r.raw)
	}
	byMail := fmt.Sprintf(`mutation { countersignUnlinkAccounts(a: %q, b: "user:clara@shop.example") { a } }`, host(a)+"/clara")
	if r := n.ask(t, olga, byMail, nil); r.code() != "FORBIDDEN" {
		t.Errorf("what a provider says is taken back: %s", r.raw)
	}
	if r := n.approve(t, mara, id); r.code() != "" {
		t.Errorf("another person approves: %s", r.raw)
	}
	if state := n.settledState(t, olga, id); state != "EXECUTED" {
		t.Errorf("two persons approved, and it is %s", state)
	}
	log := n.must(t, olga, `{ countersign { links { a b how } audit(first: 100) { nodes { action subject } } } }`, nil)
	if !strings.Contains(log.raw, `"identity.unlinked"`) || !strings.Contains(log.raw, `"how":"EMAIL"`) {
		t.Errorf("the log has %s", log.raw)
	}
}

const listSessions = `query ($all: Boolean) { countersign { sessions(all: $all) { id person client current signedInAt } } }`

// TestSessions: everybody sees and ends their own sign-ins, an administrator
// everybody's.
func TestSessions(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	first, olga, lea := s.signIn(t, n, "olga@shop.example"), s.signIn(t, n, "olga@shop.example"), s.signIn(t, n, "lea@shop.example")
	own := n.must(t, olga, listSessions, nil)
	if own.at("countersign.sessions.0.current") != "true" || own.at("countersign.sessions.1.current") != "false" || own.at("countersign.sessions.2.id") != "" || own.at("countersign.sessions.0.signedInAt") == "" {
		t.Errorf("olga's are %s", own.raw)
	}
	if r := n.ask(t, lea, listSessions, vars{"all": true}); r.code() != "FORBIDDEN" {
		t.Errorf("everybody sees all: %s", r.raw)
	}
	if r := n.must(t, olga, listSessions, vars{"all": true}); r.at("countersign.sessions.2.id") == "" || !strings.Contains(r.raw, "user:lea@shop.example") {
		t.Errorf("all are %s", r.raw)
	}
	if r := n.must(t, s.tokens["bot"], listSessions, nil); r.at("countersign.sessions.0.id") != "" {
		t.Errorf("an agent sees %s", r.raw)
	}
	revoke := func(id string) string { return fmt.Sprintf(`mutation { countersignRevokeSession(id: %q) { id } }`, id) }
	if r := n.ask(t, lea, revoke(own.at("countersign.sessions.1.id")), nil); r.code() != "NOT_FOUND" {
		t.Errorf("another's sign-in is ended: %s", r.raw)
	}
	if r := n.ask(t, s.tokens["bot"], revoke(own.at("countersign.sessions.1.id")), nil); r.code() == "" {
		t.Errorf("an agent ends a sign-in: %s", r.raw)
	}
	over := func(what, token string) {
		t.Helper()
		eventually(t, what+" to be over", func() (bool, string) {
			a, err := n.try(token, whoAmI, nil)
			return err == nil && a.status == http.StatusUnauthorized, a.raw
		})
	}
	n.must(t, olga, revoke(own.at("countersign.sessions.1.id")), nil)
	over("one's own", first)
	n.must(t, olga, whoAmI, nil)
	of := n.must(t, lea, listSessions, nil).at("countersign.sessions.0.id")
	n.must(t, olga, revoke(of), nil)
	over("another's, by an administrator,", lea)
	if r := n.ask(t, olga, revoke(of), nil); r.code() != "NOT_FOUND" {
		t.Errorf("one that is over is ended: %s", r.raw)
	}
}

// TestTenantsOverHTTP: two tenants of one gateway see nothing of each other.
func TestTenantsOverHTTP(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	i := s.addIssuer(t, "      tenant: org\n")
	n := within(t, s.site)
	of := func(org, subject, group string) string {
		return i.person(t, subject, group, jwt.MapClaims{"org": org, "email": subject + "@shop.example", "email_verified": true})
	}
	clerk, lead, owner := of("north", "clerk", "clerks"), of("north", "lead", "leads"), of("north", "boss", "owners")
	southLead, southOwner := of("south", "lead", "leads"), of("south", "boss", "owners")
	for _, token := range []string{clerk, lead, owner, southLead, southOwner} {
		n.must(t, token, whoAmI, nil)
	}
	if a := n.must(t, southLead, whoAmI, nil); a.at("viewer.tenant") != "south" {
		t.Fatalf("is %s", a.raw)
	}
	if a := n.ask(t, i.person(t, "x", "leads", nil), whoAmI, nil); a.code() != "UNAUTHENTICATED" {
		t.Errorf("without a tenant: %s", a.raw)
	}
	id := proposed(t, n.must(t, clerk, proposeStock, vars{"id": 1, "stock": 91}))
	nothing := strings.Repeat("A", len(id))
	shown := n.proposal(t, lead, id)
	decide := func(token, id string) string {
		return n.ask(t, token, approveMutation, vars{"id": id, "r": 1, "c": shown.at("proposal.contentHash"), "v": shown.at("proposal.reviewHash")}).raw
	}
	same := func(what, theirs, nobodys string) {
		t.Helper()
		strip := func(text string) string { return traceID.ReplaceAllString(text, "") }
		if strip(theirs) != strip(nobodys) {
			t.Errorf("%s of another tenant is not as of nothing:\n%s\n%s", what, theirs, nobodys)
		}
	}
	for _, token := range []string{southLead, southOwner} {
		same("reading a proposal", n.ask(t, token, proposalQuery, vars{"id": id}).raw, n.ask(t, token, proposalQuery, vars{"id": nothing}).raw)
		same("approving a proposal", decide(token, id), decide(token, nothing))
		if a := n.must(t, token, `{ proposals { nodes { id } } }`, nil); a.at("proposals.nodes.0.id") != "" {
			t.Errorf("the list has %s", a.raw)
		}
	}
	audit := `{ countersign { links { a } sessions(all: true) { id } audit(first: 100) { nodes { action subject actor payload } } } }`
	if a := n.must(t, southOwner, audit, nil); strings.Contains(a.raw, id) || strings.Contains(a.raw, "clerk") {
		t.Errorf("the log of the south has %s", a.raw)
	}
	if a := n.must(t, owner, audit, nil); !strings.Contains(a.raw, "clerk") {
		t.Errorf("the log of the north has %s", a.raw)
	}
	if a := n.approve(t, lead, id); a.code() != "" {
		t.Fatalf("approving is answered %s", a.raw)
	}
	if state := n.settledState(t, owner, id); state != "EXECUTED" {
		t.Errorf("it is %s", state)
	}
	// Another policy is in force for every tenant.
	n.stop(t)
	s.write(t, "policy/policy.csv", s.read(t, "policy/policy.csv")+"p, lead, shop.item, update, propose\n")
	n = within(t, s.site)
	proposed(t, n.must(t, of("north", "clerk", "clerks"), proposeStock, vars{"id": 4, "stock": 92}))
}
