package policy_test

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/policy"
)

func seeds(f *testing.F, name string) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range txtar.Parse(raw).Files {
			if part.Name == name {
				f.Add(string(part.Data))
			}
		}
	}
}

// FuzzPolicyCSV: any text loads or is refused with places inside of it; what
// loads opens nothing to who holds no role; and cells are where they are said to
// be, and those of encoding/csv where that reads the same language.
func FuzzPolicyCSV(f *testing.F) {
	seeds(f, "policy.csv")
	f.Fuzz(func(t *testing.T, data string) {
		if len(data) > 4096 {
			return
		}
		lines := strings.Split(strings.TrimPrefix(data, "\ufeff"), "\n")
		rows, _ := policy.ReadCSV(data)
		for _, row := range rows {
			for _, c := range row {
				if c.Line < 1 || c.Line > len(lines) || c.Column < 1 {
					t.Fatalf("cell %+v is outside of the text", c)
				}
				if at := lines[c.Line-1]; !strings.Contains(c.Text, `"`) && !strings.HasPrefix(at[min(c.Column-1, len(at)):], c.Text) {
					t.Fatalf("cell %+v does not stand there in %q", c, at)
				}
			}
		}
		for i, line := range lines {
			compareCSV(t, i+1, line)
		}
		e, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(data)}}, declare(defaultSchema), policy.Options{})
		if (e == nil) != policy.Errors(problems) {
			t.Fatal("an engine beside errors")
		}
		for _, p := range problems {
			if p.Line < 0 || p.Line > len(lines) || p.Column < 0 || p.Message == "" || p.Code == "" {
				t.Fatalf("%+v", p)
			}
		}
		if e != nil {
			for name, a := range e.View(&policy.Principal{ID: "agent:x", Kind: policy.Agent}).Objects {
				if !strings.Contains(data, "*") {
					t.Fatalf("%s for nobody: %+v", name, a)
				}
			}
		}
	})
}

func compareCSV(t *testing.T, n int, line string) {
	if strings.ContainsAny(line, "\"#\r\x00\ufffd") || strings.TrimSpace(line) == "" || strings.ToValidUTF8(line, "") != line {
		return
	}
	r := csv.NewReader(strings.NewReader(line))
	r.TrimLeadingSpace, r.LazyQuotes, r.FieldsPerRecord = true, true, -1
	want, err := r.Read()
	if err != nil {
		return
	}
	rows, problems := policy.ReadCSV(line)
	if len(problems) > 0 || len(rows) > 1 {
		t.Fatalf("line %d: %v", n, problems)
	}
	for i := range want {
		// Only blanks are spaces here; a cell of other spaces is for the loader to refuse.
		got := ""
		if len(rows) == 1 && i < len(rows[0]) {
			got = rows[0][i].Text
		}
		if strings.TrimSpace(got) != strings.TrimSpace(want[i]) {
			t.Fatalf("line %d, cell %d: %q, encoding/csv %q", n, i, got, want[i])
		}
	}
}

// FuzzApprovals: any text loads or is refused, and no change is approved by a rule
// of a text that has none.
func FuzzApprovals(f *testing.F) {
	seeds(f, "approvals.yaml")
	lines := "p, agent-support, *, create|update|delete|call, propose\np, lead, *, read|approve, allow\n"
	f.Fuzz(func(t *testing.T, data string) {
		if len(data) > 4096 {
			return
		}
		e, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(lines)}, {Name: "approvals.yaml", Data: []byte(data)}},
			declare(defaultSchema), policy.Options{})
		if (e == nil) != policy.Errors(problems) {
			t.Fatal("an engine beside errors")
		}
		if e == nil {
			return
		}
		for _, object := range []string{"crm.customers", "stripe.PostRefunds"} {
			r, err := e.Route(policy.ChangeFacts{Object: object, Act: policy.Update, Records: 1})
			if err != nil {
				continue
			}
			if r.Then == policy.ThenReview && len(r.Seats) == 0 || r.Expire <= 0 || r.Veto < 1 {
				t.Fatalf("%+v", r)
			}
			if r.Then == policy.ThenApprove && !strings.Contains(data, "approve") {
				t.Fatal("approved by nothing")
			}
		}
	})
}
