package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// demoFiles are the demo's systems and configuration, without its gateway.
func demoFiles(t *testing.T) *demoRun {
	t.Helper()
	dir := t.TempDir()
	e := &env{ctx: context.Background(), stdin: strings.NewReader(""), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, getenv: os.Getenv}
	r := &demoRun{env: e, dir: dir, files: filepath.Join(dir, "config"), people: map[string]string{}}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.setUp(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *demoRun) explain(args ...string) (stdout, stderr string, code int) {
	return command("", append([]string{"explain", "--config", filepath.Join(r.files, configName), "--data", r.dir}, args...)...)
}

// timeless is an explanation without what differs from run to run.
func timeless(text string) string {
	text = regexp.MustCompile(`[0-9.]+ ms\b`).ReplaceAllString(text, "N ms")
	return regexp.MustCompile(`"ms": [0-9.]+`).ReplaceAllString(text, `"ms": 0`)
}

// TestExplainGolden: each file of testdata/explain is an operation over the
// demo's configuration: as, operation, variables and flags (one a line), and
// what explain says.
func TestExplainGolden(t *testing.T) {
	t.Parallel()
	r := demoFiles(t)
	files, err := filepath.Glob("testdata/explain/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var args []string
			var want string
			for _, f := range a.Files {
				text := strings.TrimRight(string(f.Data), "\n")
				switch f.Name {
				case "as":
					args = append(args, "--as", text)
				case "operation":
					args = append(args, text)
				case "variables":
					args = append(args, "--variables", text)
				case "flags":
					args = append(args, strings.Split(text, "\n")...)
				case "output":
					want = string(f.Data)
				default:
					t.Fatalf("a case has no %s", f.Name)
				}
			}
			out, errs, _ := r.explain(args...)
			got := timeless(out + errs)
			if *update {
				a.Files = append(a.Files[:len(a.Files):len(a.Files)], txtar.File{Name: "output", Data: []byte(got)})
				if n := len(a.Files); n > 1 && a.Files[n-2].Name == "output" {
					a.Files = append(a.Files[:n-2], a.Files[n-1])
				}
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwanted:\n%s", got, want)
			}
		})
	}
}

// TestExplainHoldsNoSecret: credentials, addresses and claims stand in no
// explanation: of queries that work, that fail, of mutations, as text and as
// JSON; not even where the operation holds a claim's value or a claim stands in
// a request.
func TestExplainHoldsNoSecret(t *testing.T) {
	t.Parallel()
	const claim = "claim-canary@shop.example"
	r := demoFiles(t)
	policyFile := filepath.Join(r.files, "policy", "policy.csv")
	was, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	insider := "p, insider, desk.tickets, read|update, allow, {requesterEmail: {eq: $claims.email}}\np, insider, shop.customers, read|update, allow, {email: {eq: $claims.email}}\n" +
		"p, insider, shop.addresses, read, allow\np, insider, desk.refunds, create, propose, , {set: {reason: $claims.email}}\n"
	if err := os.WriteFile(policyFile, append([]byte(insider), was...), 0o600); err != nil {
		t.Fatal(err)
	}
	text := func(s string) string { return `"` + s + `"` }
	queries := map[string]string{
		"its own":       `{ deskTickets(first: 2) { nodes { subject } } customers { nodes { name addresses { nodes { id } } } } }`,
		"by key":        `{ deskTicket(id: 3) { subject } customer(id: 3) { name } }`,
		"by variable":   `query ($e: String!) { deskTickets(filter: {requesterEmail: {eq: $e}}) { nodes { id } } customers(filter: {email: {eq: $e}}) { nodes { id } } }`,
		"an update":     `mutation { updateDeskTicket(id: 3, patch: {priority: LOW}) { outcome } updateCustomer(id: 3, patch: {phone: "1"}) { outcome } }`,
		"a preset":      `mutation { createDeskRefund(input: {ticketId: 1, orderId: 4, currency: "EUR", amount: "12.00"}) { outcome } }`,
		"what is wrong": `{ deskTickets(first: 1) { nothing } }`,
	}
	secrets := []string{claim, "claim-canary", r.token, r.url, strings.TrimPrefix(r.url, "http://")}
	check := func(state string) {
		t.Helper()
		for name, query := range queries {
			for _, form := range [][]string{nil, {"--json"}} {
				args := append([]string{"--as", "role:insider", "--claim", "email=" + claim, query}, form...)
				if name == "by variable" {
					args = append(args, "--variables", `{"e":`+text(claim)+`}`)
				}
				out, errs, code := r.explain(args...)
				if (code != exitDone) != (name == "what is wrong") {
					t.Errorf("%s, %s ended with %d: %s", state, name, code, errs)
				}
				for _, s := range secrets {
					if strings.Contains(out+errs, s) {
						t.Errorf("%s, %s: %s stands in\n%s%s", state, name, s, out, errs)
					}
				}
				if form != nil && code == exitDone && !json.Valid([]byte(out)) {
					t.Errorf("%s, %s is no JSON: %s", state, name, out)
				}
			}
		}
	}
	check("up")
	// What was asked is told all the same where nobody answers.
	if err := r.server.Close(); err != nil {
		t.Fatal(err)
	}
	check("down")
	out, _, _ := r.explain("--as", "role:insider", "--claim", "email="+claim, queries["its own"])
	for _, want := range []string{"GET /tickets?page%5Bsize%5D=2&requester=…", "no answer, UPSTREAM_UNAVAILABLE", "2 values: …, 30"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

// TestSchemaOfARole: a role that only agents hold is seen by an agent, who
// decides nothing; one that people inherit is seen by a person.
func TestSchemaOfARole(t *testing.T) {
	t.Parallel()
	r := demoFiles(t)
	config := filepath.Join(r.files, configName)
	for as, decides := range map[string]bool{"role:agent-support": false, "agent:triage": false, "role:support": true, "role:manager": true} {
		out := do(t, "", "schema", "--config", config, "--as", as)
		if strings.Contains(out, "approveProposal(") != decides {
			t.Errorf("%s may decide: %v, wanted %v", as, !decides, decides)
		}
	}
	if role, agent := do(t, "", "schema", "--config", config, "--as", "role:agent-support"), do(t, "", "schema", "--config", config, "--as", "agent:triage"); role != agent {
		t.Error("the only agent of a role sees something else than the role does")
	}
	// A person who inherits it makes it a person's.
	policyFile := filepath.Join(r.files, "policy", "policy.csv")
	was, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(policyFile, append([]byte("g, owner, agent-support\n"), was...), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := do(t, "", "schema", "--config", config, "--as", "role:agent-support"); !strings.Contains(out, "approveProposal(") {
		t.Error("a role that people inherit is shown as an agent's")
	}
	if _, _, code := command("", "schema", "--config", config, "--as", "agent:nobody"); code != exitUsage {
		t.Errorf("an agent that does not exist ended with %d", code)
	}
}
