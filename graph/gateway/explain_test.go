package gateway_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/gateway"
)

// explained is what is foreseen of a mutation, as JSON.
func (w *world) explained(who, query, variables string) string {
	w.t.Helper()
	req := &gateway.Request{Query: query}
	if variables != "" {
		d := json.NewDecoder(strings.NewReader(variables))
		d.UseNumber()
		if err := d.Decode(&req.Variables); err != nil {
			w.t.Fatal(err)
		}
	}
	ex, errs := gateway.Explain(w.door.Snapshot(), w.limits, w.people.person(w.t, who), req)
	if len(errs) > 0 {
		return errorLine(&errs[0])
	}
	raw, err := json.MarshalIndent(ex.Change, "", "  ")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(raw) + "\n"
}

// TestExplainCases: each file of testdata/explain is mutations in the world of
// testdata/world.txtar, whose files it may replace (approvals.yaml) or put
// lines before (policy.csv): "explain WHO", variables, and what is foreseen.
// Nothing is proposed and nothing is written.
func TestExplainCases(t *testing.T) {
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
			w := newWorld(t, func(files map[string]string) {
				for _, f := range a.Files {
					switch f.Name {
					case "approvals.yaml":
						files[f.Name] = string(f.Data)
					case "policy.csv":
						files[f.Name] = string(f.Data) + files[f.Name]
					}
				}
			})
			got := &txtar.Archive{Comment: a.Comment}
			for i, f := range a.Files {
				if f.Name == "answer" || f.Name == "variables" {
					continue
				}
				got.Files = append(got.Files, f)
				who, ok := strings.CutPrefix(f.Name, "explain ")
				if !ok {
					continue
				}
				variables := ""
				if i+1 < len(a.Files) && a.Files[i+1].Name == "variables" {
					variables = string(a.Files[i+1].Data)
					got.Files = append(got.Files, a.Files[i+1])
				}
				answer := txtar.File{Name: "answer", Data: []byte(w.explained(who, string(f.Data), variables))}
				got.Files = append(got.Files, answer)
			}
			if len(w.handles()) > 0 {
				t.Error("something was proposed")
			}
			text := txtar.Format(got)
			if *update {
				if err := os.WriteFile(file, text, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if want := txtar.Format(a); !bytes.Equal(text, want) {
				t.Errorf("got:\n%s\nwanted:\n%s", text, want)
			}
		})
	}
}

// TestExplainRunsNoMutation: what writes is refused where queries are run.
func TestExplainRunsNoMutation(t *testing.T) {
	w := newWorld(t)
	exec := &execute.Executor{Sources: w.base.Sources()}
	for _, query := range []string{`mutation { updateCustomer(id: 1, patch: {name: "new"}) { outcome } }`, `mutation { refund(input: {amount: 5}) { outcome } }`} {
		trial, errs := gateway.RunExplained(t.Context(), w.door.Snapshot(), w.limits, exec, w.people.person(t, "olga"), &gateway.Request{Query: query})
		if trial != nil || len(errs) != 1 || errs[0].Code == "" {
			t.Errorf("%s: %+v %v", query, trial, errs)
		}
	}
	if got := w.ask("olga", `{ customer(id: 1) { name } }`); !strings.Contains(got.data, "Ada") {
		t.Errorf("%+v", got)
	}
}

// TestForeseenIsRouted: where no rule is open, what was foreseen is what
// happens.
func TestForeseenIsRouted(t *testing.T) {
	for query, rule := range map[string]string{
		`mutation { refund(input: {amount: 5}) { outcome } }`:                            "small",
		`mutation { refund(input: {amount: 50}) { outcome proposal { id } } }`:           "",
		`mutation { refund(input: {amount: 5000}) { outcome errors { code message } } }`: "never",
	} {
		w := newWorld(t)
		ex, errs := gateway.Explain(w.door.Snapshot(), w.limits, w.people.person(t, "triage"), &gateway.Request{Query: query})
		if len(errs) > 0 || ex.Change.Routing == nil || ex.Change.Routing.Rule != rule || len(ex.Change.Records[0].Open) > 0 {
			t.Fatalf("%s: %v %+v", query, errs, ex)
		}
		w.ask("triage", query)
		p := w.last().Proposal
		if p.Rule != rule {
			t.Errorf("%s: foreseen %q, decided by %q", query, rule, p.Rule)
		}
	}
}
