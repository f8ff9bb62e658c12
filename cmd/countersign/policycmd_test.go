package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

func (r *demoRun) policy(args ...string) (stdout, stderr string, code int) {
	return command("", append(append([]string{"policy"}, args...), "--config", filepath.Join(r.files, configName))...)
}

// TestDemoPolicyTests: the tests that the demo's configuration comes with pass,
// check runs them too, and a policy that changes what they say fails in both.
func TestDemoPolicyTests(t *testing.T) {
	t.Parallel()
	r := demoFiles(t)
	out, errs, code := r.policy("test")
	if code != exitDone || !strings.Contains(out, " passed, 0 failed") {
		t.Fatalf("policy test: %d\n%s%s", code, out, errs)
	}
	file := filepath.Join(r.files, "policy", "policy.csv")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opened := strings.Replace(string(text), "shop.customers{* -taxId},            read,           allow", "shop.customers{* taxId}, read, allow", 1)
	opened = strings.Replace(opened, "{* taxId}", "", 1) + "\np, support, shop.customers{taxId}, read, allow\n"
	if err := os.WriteFile(file, []byte(opened), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, code = r.policy("test")
	if code != exitFailed || !strings.Contains(out, "expected Customer.taxId to be absent, and it exists") {
		t.Errorf("policy test over a policy that opens tax numbers: %d\n%s", code, out)
	}
	_, errs, code = command("", "check", "--config", filepath.Join(r.files, configName))
	if code != exitFailed || !strings.Contains(errs, "tax numbers are for finance only") || !strings.Contains(errs, "[policy_test]") {
		t.Errorf("check over a policy that opens tax numbers: %d\n%s", code, errs)
	}
}

// TestPolicyTestGolden: each file of testdata/policytest is a file of policy tests
// over the demo's configuration, and what policy test says of it.
func TestPolicyTestGolden(t *testing.T) {
	t.Parallel()
	r := demoFiles(t)
	files, err := filepath.Glob("testdata/policytest/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(t.TempDir(), "some.policy_test.yaml")
			var want string
			for _, f := range a.Files {
				switch f.Name {
				case "tests":
					if err := os.WriteFile(name, f.Data, 0o600); err != nil {
						t.Fatal(err)
					}
				case "want":
					want = string(f.Data)
				}
			}
			out, errs, _ := r.policy("test", name)
			got := strings.ReplaceAll(out+errs, filepath.Dir(name)+string(filepath.Separator), "")
			got = regexp.MustCompile(`in [0-9.]+[a-zµ]+\n`).ReplaceAllString(got, "in TIME\n")
			if *update {
				writeGolden(t, file, a, got)
			} else if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func writeGolden(t *testing.T, file string, a *txtar.Archive, got string) {
	t.Helper()
	a.Files = append(a.Files[:1:1], txtar.File{Name: "want", Data: []byte(got)})
	if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}
