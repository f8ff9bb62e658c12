package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/store"
)

// changed is a copy of the demo's configuration whose policy.csv is other.
func (r *demoRun) changed(t *testing.T, change func(string) string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(r.files)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "policy", "policy.csv")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(change(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func diffOf(t *testing.T, args ...string) (d policyDiff, code int) {
	t.Helper()
	out, errs, code := command("", append([]string{"policy", "diff", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	return d, code
}

// TestPolicyDiff compares the demo's policy with itself and with others, as JSON,
// as text and as Markdown, and counts the records of the shop.
func TestPolicyDiff(t *testing.T) {
	t.Parallel()
	r := demoFiles(t)
	if d, code := diffOf(t, r.files, r.files, "--fail-on", "gain"); code != exitDone || d.Gains+d.Losses+len(d.Subjects) > 0 || d.Approvals {
		t.Errorf("a policy and itself: %d %+v", code, d)
	}
	narrow := r.changed(t, func(text string) string {
		return regexp.MustCompile(`(?m)^p, support, shop\.order\*.*$`).ReplaceAllString(text, `p, support, shop.orders, read, allow, {status: {eq: "paid"}}`)
	})
	// No secrets are needed to compare, only to count.
	if err := os.Rename(filepath.Join(narrow, envName), filepath.Join(narrow, "env")); err != nil {
		t.Fatal(err)
	}
	if d, code := diffOf(t, r.files, narrow, "--fail-on", "gain"); code != exitDone || d.Gains != 0 || d.Losses == 0 {
		t.Errorf("what only narrows: %d %+v", code, d)
	}
	if d, code := diffOf(t, narrow, r.files, "--fail-on", "gain"); code != exitFailed || d.Losses != 0 || d.Gains == 0 {
		t.Errorf("what only opens: %d %+v", code, d)
	}
	if err := os.Rename(filepath.Join(narrow, "env"), filepath.Join(narrow, envName)); err != nil {
		t.Fatal(err)
	}
	d, _ := diffOf(t, r.files, narrow, "--count")
	var orders recordsDiff
	for _, s := range d.Subjects {
		for _, rec := range s.Records {
			if s.Who == "role:support" && rec.Object == "shop.orders" {
				orders = rec
			}
		}
	}
	if orders.Note != "" || orders.After == 0 || orders.Opened != 0 || orders.Closed != orders.Before-orders.After || orders.Closed == 0 {
		t.Errorf("counted %+v", orders)
	}
	claims := r.changed(t, func(text string) string {
		return strings.Replace(text, "p, support, shop.products,                       read,           allow", "p, support, shop.products, read, allow, {category: {eq: $claims.category}}", 1)
	})
	out, _, _ := command("", "policy", "diff", r.files, claims, "--count")
	if !strings.Contains(out, "not counted: it depends on $claims.category; give --claim") || !strings.Contains(out, "where category eq $claims.category") {
		t.Errorf("a claim that nobody gave:\n%s", out)
	}
	out, _, _ = command("", "policy", "diff", r.files, claims, "--count", "--claim", "category=none", "--markdown")
	if !strings.Contains(out, "| narrower | read |") || !strings.Contains(out, "`` shop.products ``: ") || strings.Contains(out, "not counted") {
		t.Errorf("with the claim:\n%s", out)
	}
	person := r.changed(t, func(text string) string { return text + "\ng, user:x@shop.example, finance\n" })
	if d, _ := diffOf(t, r.files, person); len(d.Subjects) != 1 || d.Subjects[0].Who != "user:x@shop.example" {
		t.Errorf("a person who is given a role: %+v", d)
	}
}

// TestPolicyWhoCan asks for roles, agents, people of the store and who did not
// sign in.
func TestPolicyWhoCan(t *testing.T) {
	t.Parallel()
	r := demoFiles(t)
	data := t.TempDir()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(data, "countersign.db"), store.Options{Mode: store.Tool, DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := identity.New(identity.Config{LocalUsers: true}, s, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ids.AddUser(t.Context(), nil, identity.NewUser{User: "f@shop.example", Roles: []string{"finance"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ask := func(act, object string) string {
		out, errs, code := r.policy("who-can", act, object, "--data", data)
		if code != exitDone {
			t.Fatalf("%d %s", code, errs)
		}
		return regexp.MustCompile(` {2,}`).ReplaceAllString(out, " ")
	}
	want := "role:finance\n shown {taxId}\n policy.csv:22 p, finance, shop.customers{taxId}, read, allow\n" +
		"role:owner\n shown {taxId}\n policy.csv:29 p, owner, *, read, allow\nuser:f@shop.example\n shown {taxId}\n policy.csv:22 p, finance, shop.customers{taxId}, read, allow\n"
	if got := ask("read", "shop.customers.taxId"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := ask("update", "shop.customers.segment"); !strings.Contains(got, "agent:triage\n propose {segment}") || !strings.Contains(got, "role:support\n propose {segment}") || strings.Contains(got, "anonymous") {
		t.Errorf("got\n%s", got)
	}
	if got := ask("delete", "shop.customers"); got != "nobody may delete shop.customers\n" {
		t.Errorf("got\n%s", got)
	}
	for _, args := range [][]string{{"read", "shop.customers.nmae"}, {"reed", "shop.customers"}} {
		if _, errs, code := r.policy("who-can", args[0], args[1]); code == exitDone || errs == "" {
			t.Errorf("%v: %d %s", args, code, errs)
		}
	}
}

// TestDocsWorkflow: the workflow in docs/policy.md is YAML, and every command of
// this program in it is one that the program has.
func TestDocsWorkflow(t *testing.T) {
	m := regexp.MustCompile("(?ms)^```yaml workflow\n(.*?)^```$").FindStringSubmatch(page(t, "docs/policy.md"))
	if m == nil {
		t.Fatal("docs/policy.md has no workflow")
	}
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct {
				Uses string `yaml:"uses"`
				Run  string `yaml:"run"`
			} `yaml:"steps"`
		} `yaml:"jobs"`
	}
	if err := yaml.Unmarshal([]byte(m[1]), &workflow); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, job := range workflow.Jobs {
		for _, step := range job.Steps {
			for line := range strings.Lines(step.Run) {
				words := strings.Fields(line)
				if len(words) == 0 || words[0] != "countersign" {
					continue
				}
				ran++
				var args []string
				for _, w := range words[1:] {
					if w == "|" || w == ">" || w == ">>" {
						break
					}
					args = append(args, w)
				}
				if out, errs, code := command("", append(args, "--help")...); code != exitDone {
					t.Errorf("%s: %d %s%s", line, code, out, errs)
				}
			}
		}
	}
	if ran < 3 {
		t.Errorf("the workflow runs %d commands", ran)
	}
}
