package main

import (
	"os"
	"strings"
	"testing"
)

// TestProduction: everything that must not go live is listed with its file, line
// and what to write, and a configuration without any of it passes.
func TestProduction(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.write(t, "countersign.yaml", `version: 1
url: http://graph.example
store: ${STORE:-postgres://c@db.example/c}
http: { cors: { origins: ["https://*.example", "http://app.example"] } }
sources:
  shop: { connector: sqlite, url: shop.db }
identity:
  issuers:
    - issuer: https://app.example
      audience: shop-graph
      roles: { fixed: [customer] }
    - issuer: https://staff.example
      audience: shop-graph
      kind: human
      subject: email
      signIn: { clientId: shop, clientSecret: "${STAFF_SECRET:-x}" }
      roles: { fixed: [lead] }
  apiKeys: { maxAge: 400d }
agents:
  bot: { owner: olga@shop.example, purpose: Tests, roles: [bot], actsFor: never }
limits:
  "*": { depth: 500, timeout: 1h }
`)
	s.write(t, "policy/policy.csv", shopPolicy+`p, anonymous, shop.item{name}, read, allow
p, *, shop.note, read, allow
p, bot, shop.note, delete, allow
`)
	s.write(t, ".env", "A=b\n")
	if err := os.Chmod(s.file(".env"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.pin(t)
	_, errs, code := command("", "check", "--config", s.file("countersign.yaml"))
	if code != 0 {
		t.Fatalf("check ended with %d: %s", code, errs)
	}
	_, errs, code = command("", "check", "--production", "--config", s.file("countersign.yaml"))
	if code != 1 {
		t.Errorf("check --production ended with %d", code)
	}
	got := strings.ReplaceAll(errs, s.dir+"/", "")
	const golden = "testdata/production.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("check --production says\n%s\nwant\n%s", got, want)
	}
	s.write(t, "countersign.yaml", `version: 1
url: https://graph.example
secret: ${SECRET:-0123456789abcdef0123456789abcdef}
store: ${STORE:-postgres://c@db.example/c?sslmode=verify-full}
sources:
  shop: { connector: sqlite, url: shop.db, outcome: transactional }
identity: { localUsers: false, apiKeys: { maxAge: 90d } }
agents:
  bot: { owner: olga@shop.example, purpose: Tests, roles: [bot], actsFor: required, budget: { requests: 60/min } }
`)
	s.write(t, "policy/policy.csv", shopPolicy)
	if err := os.Chmod(s.file(".env"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.pin(t)
	s.run(t, "check", "--production")
}
