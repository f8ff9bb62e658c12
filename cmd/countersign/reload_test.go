package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReload: a changed policy is in force without a restart, a broken one is
// not and everybody can see why, and what the store knows follows.
func TestReload(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := serve(t, s.site)
	olga, lea := s.signIn(t, n, "olga@shop.example"), s.signIn(t, n, "lea@shop.example")
	bot := s.tokens["bot"]
	reads := func(token string) string {
		t.Helper()
		a, err := n.try(token, `{ items(filter: {id: {eq: 3}}) { nodes { price } } }`, nil)
		if err != nil {
			t.Fatal(err)
		}
		return a.code() + a.at("items.nodes.0.price")
	}
	if got := reads(bot); got != "3.75" {
		t.Fatalf("before: %s", got)
	}
	proposed := n.must(t, bot, `mutation { updateItem(id: 3, patch: {stock: {set: 4}}) { outcome proposal { id } } }`, nil).at("updateItem.proposal.id")
	ws := dial(t, n, bearer(bot))
	ws.init(t, nil)
	ws.subscribe(t, "1", `subscription { proposalsChanged { id changes { diff { after } } } }`)
	subscribed(t, n, s, ws)
	change := func(text string) { s.write(t, "policy/policy.csv", text) }
	change(strings.Replace(shopPolicy, "p, bot, shop.item, read, allow", "p, bot, shop.item{id name stock}, read, allow", 1))
	eventually(t, "the price to be hidden", func() (bool, string) { got := reads(bot); return got == "VALIDATION_FAILED", got })
	if got := reads(lea); got != "3.75" {
		t.Errorf("another role: %s", got)
	}
	// A subscription goes on, on the new policy.
	second := n.must(t, bot, `mutation { updateItem(id: 6, patch: {price: {set: "9.50"}}) { proposal { id } } }`, nil).at("updateItem.proposal.id")
	for a := ws.data(t); ; a = ws.data(t) {
		if a.at("proposalsChanged.id") != second {
			continue
		}
		if a.at("proposalsChanged.changes.0.diff.0.after.price") != "null" {
			t.Errorf("the subscriber still sees the price: %s", a.raw)
		}
		break
	}
	// The store followed: what is decided now is decided on the new policy.
	if a := n.approve(t, lea, proposed); a.code() != "" {
		t.Errorf("approving after a reload: %s", a.raw)
	}
	if got := n.settledState(t, lea, proposed); got != "EXECUTED" {
		t.Errorf("the proposal is %s", got)
	}
	broken := strings.Replace(shopPolicy, "p, bot, shop.item, read", "p, bot, shop.itme, read", 1)
	change(broken)
	eventually(t, "the mistake to be told", func() (bool, string) { text := n.readyz(t); return strings.Contains(text, "shop.itme"), text })
	if got := reads(bot); got != "VALIDATION_FAILED" {
		t.Errorf("a broken policy changed what is in force: %s", got)
	}
	n.stderr.find(t, `not reloaded: .*shop\.itme`, n.ended)
	// The graph file goes with it, and a signal does not wait for the next look.
	s.write(t, "graph.graphql", "extend type Item @rename(field: \"name\", to: \"title\")\n")
	change(shopPolicy)
	if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new name", func() (bool, string) {
		a, err := n.try(bot, `{ items(filter: {id: {eq: 3}}) { nodes { title } } }`, nil)
		return err == nil && a.at("items.nodes.0.title") == "Item 3", a.raw
	})
	if text := n.readyz(t); strings.Contains(text, "not in force") {
		t.Errorf("the mistake is mended, and /readyz says %s", text)
	}
	s.write(t, "countersign.yaml", s.read(t, "countersign.yaml")+"# changed\n")
	eventually(t, "the restart to be asked for", func() (bool, string) { text := n.readyz(t); return strings.Contains(text, "restart to use it"), text })
	eventually(t, "the events", func() (bool, string) {
		raw := n.must(t, olga, `{ countersign { audit(first: 100) { nodes { action payload } } } }`, nil).raw
		return strings.Count(raw, "configuration.reloaded") == 2 && strings.Count(raw, "policy.loaded") == 3 &&
			strings.Contains(raw, "configuration.refused") && strings.Contains(raw, "unknown_name") && strings.Contains(raw, "configuration.loaded"), raw
	})
}

// TestReloadUnderRequests swaps policies under requests: each is answered by one
// policy, whole.
func TestReloadUnderRequests(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := serve(t, s.site)
	bot := s.tokens["bot"]
	narrow := strings.Replace(shopPolicy, "p, bot, shop.item, read, allow", "p, bot, shop.item{id name}, read, allow, {region: {eq: \"EU\"}}", 1)
	seen := map[string]bool{}
	until := time.Now().Add(patience)
	for i := 0; len(seen) < 2 || i < 200; i++ {
		if time.Now().After(until) {
			t.Fatalf("seen only %v", seen)
		}
		if i%50 == 0 {
			s.write(t, "policy/policy.csv", []string{narrow, shopPolicy}[i/50%2])
			if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		a, err := n.try(bot, `{ items(first: 1, orderBy: [{id: ASC}], filter: {name: {isNull: false}}) { totalCount } __type(name: "Item") { fields { name } } }`, nil)
		if err != nil {
			t.Fatal(err)
		}
		wide := strings.Contains(a.raw, `"price"`)
		got := a.at("items.totalCount")
		if wide && got != "60" || !wide && got != "20" {
			t.Fatalf("a mix of two policies: %s", a.raw)
		}
		seen[got] = true
	}
}
