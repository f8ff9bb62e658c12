package sql_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

var update = flag.Bool("update", false, "write what is computed into the golden files")

// An archive is a golden case in a file.
type archive struct {
	path string
	*txtar.Archive
}

func load(t *testing.T, path string) *archive {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return &archive{path, a}
}

// get returns a file of the archive.
func (a *archive) get(name string) (string, bool) {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data), true
		}
	}
	return "", false
}

// golden compares, or writes with -update.
func (a *archive) golden(t *testing.T, name, got string) {
	t.Helper()
	got = strings.TrimRight(got, "\n") + "\n"
	want, ok := a.get(name)
	if *update {
		if ok {
			for i := range a.Files {
				if a.Files[i].Name == name {
					a.Files[i].Data = []byte(got)
				}
			}
		} else {
			a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(got)})
		}
		if err := os.WriteFile(a.path, txtar.Format(a.Archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s in %s: got\n%s\nwant\n%s", name, a.path, got, want)
	}
}

// nastyConfig is the configuration of the introspection cases.
func nastyConfig(dialect, url string) sql.Config {
	cfg := sql.Config{Name: "nasty", Dialect: dialect, URL: url, Exclude: []string{"*_bak"},
		Keys: map[string][]string{"happy": {"id"}}, References: []sql.Reference{{From: "happy", Fields: []string{"id"}, To: "order", On: []string{"id"}}},
		Version: map[string]string{"note": "body"}, Preview: map[string]string{"line": "rollback"}, Outcome: map[string]string{"*": "transactional", "note": "unverifiable"}}
	return cfg
}

func TestDescribe(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			a := load(t, filepath.Join("testdata", "describe", dialect+".txtar"))
			ddl, _ := a.get("ddl.sql")
			url := database(t, dialect, strings.Split(strings.TrimRight(ddl, "\n;"), ";\n")...)
			_, schema := open(t, nastyConfig(dialect, url))
			raw, err := json.MarshalIndent(schema, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			a.golden(t, "schema.json", folded(string(raw)))
			if schema.Identity == "" {
				t.Error("the system has no identity")
			}
		})
	}
}

// folded writes the innermost objects and lists on one line each.
func folded(s string) string {
	inner := regexp.MustCompile(`([\[{])\n\s*([^\[\]{}]*?)\n\s*([\]}])`)
	for range 2 {
		s = inner.ReplaceAllStringFunc(s, func(m string) string {
			lines := strings.Split(m, "\n")
			for i := range lines {
				lines[i] = strings.TrimSpace(lines[i])
			}
			one := strings.Join(lines, " ")
			if len(one) > 150 {
				return m
			}
			return one
		})
	}
	return s
}

// pinned reads the schema of an introspection case.
func pinned(t testing.TB, dialect string) *connectors.Schema {
	t.Helper()
	a, err := txtar.ParseFile(filepath.Join("testdata", "describe", dialect+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		if f.Name == "schema.json" {
			var s connectors.Schema
			if err := json.Unmarshal(f.Data, &s); err != nil {
				t.Fatal(err)
			}
			return &s
		}
	}
	t.Fatal("no schema.json")
	return nil
}

// offline opens an engine over a pinned schema; there is no database behind it.
func offline(t testing.TB, dialect string) *sql.Engine {
	t.Helper()
	url := "postgres://nobody@127.0.0.1:1/none"
	if dialect == sql.SQLite {
		url = filepath.Join(t.TempDir(), "none.db")
	}
	e, err := sql.Open(sql.Config{Name: "offline", Dialect: dialect, URL: url}, pinned(t, dialect))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestCompile compiles the select of each case for the schema of the
// introspection cases. The number of the parameters follows the text.
func TestCompile(t *testing.T) {
	cases, err := filepath.Glob(filepath.Join("testdata", "compile", "*.txtar"))
	if err != nil || len(cases) == 0 {
		t.Fatal("no cases", err)
	}
	engines := map[string]*sql.Engine{}
	for _, d := range dialects {
		engines[d] = offline(t, d)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a := load(t, path)
			raw, _ := a.get("select.json")
			var s connectors.Select
			dec := json.NewDecoder(strings.NewReader(raw))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&s); err != nil {
				t.Fatal(err)
			}
			var args []connectors.Value
			if raw, ok := a.get("args.json"); ok {
				if err := json.Unmarshal([]byte(raw), &args); err != nil {
					t.Fatal(err)
				}
			}
			for _, d := range dialects {
				text, n, err := engines[d].Compile(&s, args)
				if err != nil {
					text = "error: " + err.Error()
				} else {
					text += "\n" + strconv.Itoa(n) + " parameters"
				}
				a.golden(t, d+".sql", text)
			}
		})
	}
}
