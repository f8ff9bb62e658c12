package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestKillSwitchCommands: an administrator stops writes from the command line,
// proposals and direct ones, and nobody else does.
func TestKillSwitchCommands(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	owner, lead, bot := s.signIn(t, n, "olga@shop.example"), s.signIn(t, n, "lea@shop.example"), s.tokens["bot"]
	as := func(token string, args ...string) (string, string, int) {
		return command("", append(args, "--url", n.url, "--token", token)...)
	}
	if out, errs, code := as(lead, "kill", "set", "--all", "--reason", "no"); code != exitFailed || !strings.Contains(errs, "FORBIDDEN") {
		t.Errorf("a lead stops everything: %d %s%s", code, out, errs)
	}
	if out, errs, code := as(owner, "kill", "set", "--reason", "no"); code != exitUsage {
		t.Errorf("without a scope: %d %s%s", code, out, errs)
	}
	if out, errs, code := as(owner, "kill", "set", "--source", "nothing", "--reason", "no"); code != exitFailed || !strings.Contains(errs, "NOT_FOUND") {
		t.Errorf("of no source: %d %s%s", code, out, errs)
	}
	const write = `mutation($s: SafeInt!) { updateItem(id: 3, patch: {stock: {set: $s}}) { outcome errors { code } } }`
	outcome := func(token string, stock int) string {
		a := n.ask(t, token, write, vars{"s": stock})
		return a.at("updateItem.outcome") + " " + a.at("updateItem.errors.0.code")
	}
	for i, c := range []struct {
		scope               []string
		person, agent, read string
	}{
		{[]string{"--all"}, "SUSPENDED", "SUSPENDED", "60"},
		{[]string{"--source", "shop"}, "SUSPENDED", "SUSPENDED", "60"},
		{[]string{"--agent", "bot"}, "APPLIED", "SUSPENDED", "60"},
	} {
		if out, errs, code := as(owner, append([]string{"kill", "set", "--reason", "a leak"}, c.scope...)...); code != exitDone {
			t.Fatalf("%v: %d %s%s", c.scope, code, out, errs)
		}
		if out, _, _ := as(owner, "kill", "list"); !strings.Contains(out, "a leak") || !strings.Contains(out, "olga@shop.example") {
			t.Errorf("listed as %s", out)
		}
		if got := outcome(owner, 100+i); !strings.Contains(got, c.person) {
			t.Errorf("%v, a person: %s", c.scope, got)
		}
		if got := outcome(bot, 200+i); !strings.Contains(got, c.agent) {
			t.Errorf("%v, an agent: %s", c.scope, got)
		}
		if got := n.must(t, bot, "{ items { totalCount } }", nil).at("items.totalCount"); got != c.read {
			t.Errorf("%v, reading: %s", c.scope, got)
		}
		if out, errs, code := as(owner, append([]string{"kill", "lift"}, c.scope...)...); code != exitDone || !strings.Contains(out, "lifted") {
			t.Fatalf("%v: %d %s%s", c.scope, code, out, errs)
		}
		if got := outcome(bot, 300+i); !strings.Contains(got, "PROPOSED") {
			t.Errorf("%v, lifted: %s", c.scope, got)
		}
	}
	audit := n.must(t, owner, "{ countersign { audit(first: 50) { nodes { action actor } } } }", nil).raw
	if strings.Count(audit, "kill.set") != 3 || strings.Count(audit, "kill.lifted") != 3 {
		t.Errorf("the audit log: %s", audit)
	}
	// A suspension stands among them, and cannot be lifted by itself.
	as(owner, "agents", "suspend", "bot")
	if out, _, _ := as(owner, "kill", "list"); !strings.Contains(out, "suspended") {
		t.Errorf("listed as %s", out)
	}
	if out, _, _ := as(owner, "kill", "lift", "--agent", "bot"); !strings.Contains(out, "no such") {
		t.Errorf("lifting a suspension: %s", out)
	}
	as(owner, "agents", "resume", "bot")
	if out, _, _ := as(owner, "kill", "list"); strings.Contains(out, "suspended") {
		t.Errorf("listed as %s", out)
	}
}

// TestKeysOnAServer: keys made, listed, rotated and revoked by an administrator
// over the graph, and by nobody else.
func TestKeysOnAServer(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	owner, lead := s.signIn(t, n, "olga@shop.example"), s.signIn(t, n, "lea@shop.example")
	as := func(token string, args ...string) (string, string, int) {
		return command("", append(args, "--url", n.url, "--token", token)...)
	}
	made := func(out, errs string, code int) (token, id string) {
		t.Helper()
		found := regexp.MustCompile(`key (\S+) of`).FindStringSubmatch(errs)
		if code != exitDone || found == nil {
			t.Fatalf("%d %s%s", code, out, errs)
		}
		return strings.TrimSpace(out), found[1]
	}
	key, id := made(as(owner, "agents", "keys", "add", "bot", "--for", "lea@shop.example", "--label", "night", "--expires", "1d"))
	if a := n.must(t, key, "{ viewer { id actsFor } }", nil); a.at("viewer.actsFor") != "lea@shop.example" {
		t.Errorf("%s", a.raw)
	}
	if out, errs, code := as(owner, "agents", "keys", "list", "bot"); code != exitDone || !strings.Contains(out, id) || !strings.Contains(out, "night") || strings.Contains(out, key) {
		t.Errorf("%d %s%s", code, out, errs)
	}
	for _, args := range [][]string{{"keys", "add", "bot"}, {"keys", "rotate", "bot", id}, {"keys", "revoke", "bot", id}, {"keys", "list", "bot"}, {"suspend", "bot"}} {
		if out, errs, code := as(lead, append([]string{"agents"}, args...)...); code != exitFailed || !strings.Contains(errs, "FORBIDDEN") && !strings.Contains(errs, "NOT_FOUND") {
			t.Errorf("a lead, %v: %d %s%s", args, code, out, errs)
		}
	}
	next, nextID := made(as(owner, "agents", "keys", "rotate", "bot", id))
	if a := n.ask(t, key, "{ viewer { id } }", nil); a.status != http.StatusUnauthorized {
		t.Errorf("the old key: %s", a.raw)
	}
	if a := n.must(t, next, "{ viewer { id actsFor } }", nil); a.at("viewer.actsFor") != "lea@shop.example" {
		t.Errorf("%s", a.raw)
	}
	last, lastID := made(as(owner, "agents", "keys", "rotate", "bot", nextID, "--overlap", "1h"))
	for _, token := range []string{next, last} {
		n.must(t, token, "{ viewer { id } }", nil)
	}
	if out, errs, code := as(owner, "agents", "keys", "revoke", "bot", lastID); code != exitDone {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if a := n.ask(t, last, "{ viewer { id } }", nil); a.status != http.StatusUnauthorized {
		t.Errorf("a revoked key: %s", a.raw)
	}
	// A service account has keys and decides nothing.
	s.run(t, "users", "add", "ci", "--service", "--owner", "olga@shop.example", "--role", "lead", "--data", s.data())
	service, _ := made(as(owner, "agents", "keys", "add", "service:ci"))
	if a := n.must(t, service, "{ viewer { id kind interactive } }", nil); a.at("viewer.kind") != "SERVICE" || a.at("viewer.interactive") != "false" {
		t.Errorf("%s", a.raw)
	}
	if g := n.token(t, basic("service:ci", service), "grant_type", "client_credentials"); g.status != http.StatusOK || n.must(t, g.Token, "{ viewer { id } }", nil).at("viewer.id") != "service:ci" {
		t.Errorf("%+v", g)
	}
	decidingFields(t, n, map[string]string{"an agent's key": s.tokens["bot"], "a bound key": next, "a service's key": service,
		"an access token": n.exchange(t, s.tokens["bot"], owner, typeAccess).Token})
}

// decidingFields: none of the fields that decide exists for who is no person,
// whoever stands behind them.
func decidingFields(t *testing.T, n *node, tokens map[string]string) {
	t.Helper()
	for what, token := range tokens {
		for _, field := range []string{
			`approveProposal(id: "x", revision: 1, contentHash: "x", reviewHash: "x") { id }`, `rejectProposal(id: "x", revision: 1, contentHash: "x") { id }`,
			`settleProposal(id: "x", outcome: APPLIED, evidence: "x") { id }`, `countersignSuspendAgent(name: "bot") { name }`, `countersignResumeAgent(name: "bot") { name }`,
			`countersignSetKillSwitch(reason: "x") { at }`, `countersignLiftKillSwitch`, `countersignAgentKeysAdd(name: "bot") { token }`,
			`countersignAgentKeysRotate(name: "bot", id: "x") { token }`, `countersignAgentKeysRevoke(name: "bot", id: "x") { id }`,
		} {
			if a := n.ask(t, token, "mutation { "+field+" }", nil); a.code() != "VALIDATION_FAILED" || a.Data != nil {
				t.Errorf("%s, %s: %s", what, field, a.raw)
			}
		}
	}
}
