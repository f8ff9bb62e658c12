package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestHelp: every command says what it is for, and what makes no sense ends
// with 2.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"", "serve", "demo", "init", "describe", "check", "schema", "explain", "refresh", "prepare", "login", "users", "users add", "users list",
		"agents", "agents list", "agents suspend", "agents resume", "agents keys", "agents keys add", "agents keys list", "agents keys revoke",
		"proposals", "proposals list", "proposals show", "proposals approve", "proposals reject", "proposals withdraw", "audit verify"} {
		out, errs, code := command("", append(strings.Fields(args), "--help")...)
		if code != exitDone || !strings.Contains(out, "Usage:") || errs != "" {
			t.Errorf("%s --help ended with %d: %s%s", args, code, out, errs)
		}
	}
	for _, args := range []string{"nothing", "serve --nothing", "init", "explain", "users add", "proposals approve", "agents keys", "prepare"} {
		if out, errs, code := command("", strings.Fields(args)...); code != exitUsage || out+errs == "" {
			t.Errorf("%s ended with %d: %s%s", args, code, out, errs)
		}
	}
}

// TestCommandsOverFiles: what needs no server.
func TestCommandsOverFiles(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	if out := s.run(t, "check"); !strings.Contains(out, "shop.item update: transactional, preview read") {
		t.Errorf("check says %s", out)
	}
	var problems []any
	if err := json.Unmarshal([]byte(s.run(t, "check", "--json")), &problems); err != nil || len(problems) > 0 {
		t.Errorf("check --json: %v %v", problems, err)
	}
	if out := s.run(t, "schema", "--as", "role:bot"); !strings.Contains(out, "updateItem(") || strings.Contains(out, "createItem(") || strings.Contains(out, "type Note ") {
		t.Errorf("the bot's schema is\n%.2000s", out)
	}
	explained := s.run(t, "explain", "--as", "role:clerk-eu", "{ items(first: 2) { nodes { id name } } }")
	for _, want := range []string{"identity", "clerk-eu", "policy.csv:5", "plan", "sent", `"item"`, "region"} {
		if !strings.Contains(explained, want) {
			t.Errorf("explain does not say %q:\n%s", want, explained)
		}
	}
	if out := s.run(t, "explain", "--as", "role:customer", "--claim", "region=AP", "{ items(first: 50) { totalCount } }"); !strings.Contains(out, "answer") || strings.Contains(out, "INTERNAL") {
		t.Errorf("explain with a claim says\n%s", out)
	}
	if out := s.run(t, "explain", "--as", "role:bot", `mutation { updateItem(id: 1, patch: {stock: {set: 0}}) { outcome } }`); !strings.Contains(out, "only planned") {
		t.Errorf("explain of a mutation says\n%s", out)
	}
	if s.f.value(t, "SELECT stock FROM item WHERE id = 1") != "1" {
		t.Error("explain wrote")
	}
	if _, errs, code := command("", "explain", "--as", "role:bot", "{ notes { nodes { id } } }", "--config", s.file("countersign.yaml")); code != exitFailed || !strings.Contains(errs, "VALIDATION_FAILED") {
		t.Errorf("explaining what may not be asked ended with %d: %s", code, errs)
	}
	var users []struct{ ID string }
	if err := json.Unmarshal([]byte(s.run(t, "users", "list", "--json", "--data", s.data())), &users); err != nil || len(users) != 2 {
		t.Errorf("users list --json: %v %v", users, err)
	}
	for args, want := range map[string]string{"agents list": "bot", "agents keys list bot": s.agentID, "users list": "user:lea@shop.example", "prepare shop": "countersign_effect", "refresh": "nothing changed"} {
		extra := []string{}
		if args != "prepare shop" && args != "refresh" {
			extra = []string{"--data", s.data()}
		}
		if out := s.run(t, append(strings.Fields(args), extra...)...); !strings.Contains(out, want) {
			t.Errorf("%s says\n%s", args, out)
		}
	}
	wrongFiles(t, s)
}

// wrongFiles: what is wrong is said with its place and what to write, by check
// and by serve, which does not start.
func wrongFiles(t *testing.T, s *shopSite) {
	t.Helper()
	for name, c := range map[string]struct{ file, from, to, want string }{
		"an unknown collection":  {"policy/policy.csv", "shop.item, read, allow, {region: {eq: \"EU\"}}", "shop.itms, read, allow", "policy.csv:5"},
		"a wrong condition":      {"policy/policy.csv", `{region: {eq: "EU"}}`, `{regoin: {eq: "EU"}}`, "policy.csv:5"},
		"a wrong type":           {"policy/policy.csv", `{region: {eq: "EU"}}`, `{id: {eq: "EU"}}`, "policy.csv:5"},
		"nobody to decide":       {"policy/approvals.yaml", "role: lead", "role: nobody", "approvals.yaml:2"},
		"an unknown key":         {"countersign.yaml", "agents:", "agnts:", "countersign.yaml:"},
		"what is not there yet":  {"countersign.yaml", "agents:", "telemetry: { otlp: http://x }\nagents:", "not supported yet"},
		"an unset variable":      {"countersign.yaml", "url: shop.db", "url: \"${NOBODY_SET_THIS}\"", "NOBODY_SET_THIS"},
		"a relation to nothing":  {"graph.graphql", "", "extend type Item { x: Nothing @relation(to: \"shop.nothing\", fields: [\"id\"], on: [\"id\"]) }\n", "graph.graphql:1"},
		"a line of other fields": {"policy/policy.csv", "shop.item{stock}, update, allow", "shop.item{stok}, update, allow", "policy.csv:6"},
	} {
		was := ""
		if c.from != "" {
			was = s.read(t, c.file)
		}
		now := strings.Replace(was, c.from, c.to, 1)
		if c.from == "" {
			now = c.to
		}
		if now == was {
			t.Fatalf("%s: nothing was changed", name)
		}
		s.write(t, c.file, now)
		for _, args := range [][]string{{"check", "--config", s.file("countersign.yaml")}, {"serve", "--config", s.file("countersign.yaml"), "--data", s.data(), "--listen", "127.0.0.1:0"}} {
			out, errs, code := command("", args...)
			if code != exitFailed || !strings.Contains(errs, c.want) || !strings.Contains(errs, "error") {
				t.Errorf("%s: %s ended with %d: %s%s", name, args[0], code, out, errs)
			}
		}
		s.write(t, c.file, was)
	}
	s.run(t, "check")
}

// TestProposalsCommands decides from a command line.
func TestProposalsCommands(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	lead := s.signIn(t, n, "lea@shop.example")
	owner := s.signIn(t, n, "olga@shop.example")
	at := func(token string, args ...string) (string, string, int) {
		return command("", append(args, "--url", n.url, "--token", token)...)
	}
	one, two, three := s.propose(t, n, 1, 91), s.propose(t, n, 2, 92), s.propose(t, n, 3, 93)
	if out, _, code := at(lead, "proposals", "list"); code != 0 || strings.Count(out, "PENDING") != 3 {
		t.Errorf("list ended with %d: %s", code, out)
	}
	var list struct{ Nodes []struct{ ID string } }
	out, _, code := at(lead, "proposals", "list", "--json", "--state", "PENDING")
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Nodes) != 3 || code != 0 {
		t.Errorf("list --json ended with %d: %s", code, out)
	}
	if out, _, code := at(lead, "proposals", "show", one); code != 0 || !strings.Contains(out, "stock: 1 -> 91") || !strings.Contains(out, "runs exactly once") {
		t.Errorf("show ended with %d: %s", code, out)
	}
	if out, errs, code := at(lead, "proposals", "approve", one, "--content-hash", strings.Repeat("0", 64)); code != exitFailed || !strings.Contains(errs, "CONTENT_CHANGED") {
		t.Errorf("approving other content ended with %d: %s%s", code, out, errs)
	}
	if out, errs, code := at(lead, "proposals", "approve", one, "--comment", "fine"); code != 0 || !strings.Contains(out, "now ") {
		t.Errorf("approve ended with %d: %s%s", code, out, errs)
	}
	if state := n.settledState(t, lead, one); state != "EXECUTED" {
		t.Errorf("it is %s", state)
	}
	if out, errs, code := at(lead, "proposals", "reject", two, "--comment", "no"); code != 0 || !strings.Contains(out, "now REJECTED") {
		t.Errorf("reject ended with %d: %s%s", code, out, errs)
	}
	if out, errs, code := at(s.tokens["bot"], "proposals", "withdraw", three); code != 0 || !strings.Contains(out, "now WITHDRAWN") {
		t.Errorf("withdraw ended with %d: %s%s", code, out, errs)
	}
	for what, c := range map[string][]string{"an ended one": {lead, "proposals", "approve", two}, "nothing": {lead, "proposals", "show", "nothing"}, "with a wrong token": {"css_wrong", "proposals", "list"}, "as an agent": {s.tokens["bot"], "proposals", "approve", two}} {
		if out, errs, code := at(c[0], c[1:]...); code != exitFailed || errs == "" {
			t.Errorf("%s: %v ended with %d: %s%s", what, c[1:], code, out, errs)
		}
	}
	if out, errs, code := at(owner, "agents", "suspend", "bot"); code != 0 || !strings.Contains(out, "suspended") {
		t.Errorf("suspend ended with %d: %s%s", code, out, errs)
	}
	if out, errs, code := at(owner, "agents", "resume", "bot"); code != 0 || !strings.Contains(out, "active") {
		t.Errorf("resume ended with %d: %s%s", code, out, errs)
	}
	if out, errs, code := at(lead, "agents", "suspend", "bot"); code != exitFailed {
		t.Errorf("another one's suspending ended with %d: %s%s", code, out, errs)
	}
	if _, errs, code := command("", "proposals", "list", "--url", "http://127.0.0.1:1", "--token", lead); code != exitFailed || !strings.Contains(errs, "127.0.0.1:1") {
		t.Errorf("asking nobody ended with %d: %s", code, errs)
	}
	// Two gateways on one data folder would run everything twice.
	if _, errs, code := command("", "serve", "--config", s.file("countersign.yaml"), "--data", s.data(), "--listen", "127.0.0.1:0"); code != exitFailed || errs == "" {
		t.Errorf("a second gateway on the same folder ended with %d: %s", code, errs)
	}
	do(t, "", "audit", "verify", "--data", s.data())
}
