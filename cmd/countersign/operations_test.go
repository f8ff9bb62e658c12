package main

import (
	"strings"
	"testing"
)

// check compares trusted documents with the schema of who may send them, and
// says where what is wrong stands.
func TestCheckOperations(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	out := func(operations, agent string) string {
		t.Helper()
		s.write(t, "operations/shop.graphql", operations)
		cfg := s.read(t, "countersign.yaml")
		s.write(t, "countersign.yaml", strings.Replace(cfg, "actsFor: optional", "actsFor: optional"+agent, 1))
		defer s.write(t, "countersign.yaml", cfg)
		stdout, stderr, _ := command("", "check", "--config", s.file("countersign.yaml"))
		return stdout + stderr
	}
	for _, c := range []struct{ operations, agent, want string }{
		{"query Stock($id: SafeInt!) {\n  item(id: $id) { name stock }\n}\n", "", "query Stock: role bot, role clerk-eu, role clerk-us, role customer, role lead, role owner, agent bot (sha256 "},
		{"query Stock($id: SafeInt!) {\n  item(id: $id) { name stok }\n}\n", "", "operations/shop.graphql:2:24: error: Stock: nobody may send it: role bot: Cannot query field \"stok\" on type \"Item\" [operation]\n    Did you mean \"stock\"?"},
		{"query Notes { notes { totalCount } }\n", ", operations: [Notes]", `operations/shop.graphql:1:15: error: Notes: agent bot: Cannot query field "notes" on type "Query"`},
		{"query Notes { notes { totalCount } }\n", ", operations: [Nots]", "countersign.yaml:14: error: agents.bot.operations: there is no trusted document Nots [unknown_name]\n    did you mean \"Notes\"?"},
		{"query A { __typename }\nquery A { __typename }", "", "operations/shop.graphql:2:1: error: there is an operation A already"},
		{"query A {\n  item(id: 1) { id @export(as: \"x\") } }", "", "operations/shop.graphql:2:21: error: @export is not supported yet"},
		{"query A { " + strings.Repeat("... { ", 3) + "item(id: 1) { " + strings.Repeat("id ", 2000) + "}" + strings.Repeat("}", 4), "", "A: nobody may send it: role bot: the document has"},
	} {
		if got := out(c.operations, c.agent); !strings.Contains(got, c.want) {
			t.Errorf("%s%s\nis told\n%s\nnot %s", c.operations, c.agent, got, c.want)
		}
	}
}
