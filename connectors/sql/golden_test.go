package sql_test

import (
	"encoding/json"
	"flag"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/sql"
)

var update = flag.Bool("update", false, "write what is computed into the golden files")

// compiled is a text as it stands in a golden file.
func compiled(text string) string { return strings.TrimRight(text, "\n") + "\n" }

// nastyConfig is the configuration of the introspection cases.
func nastyConfig(dialect, url string) sql.Config {
	cfg := sql.Config{Name: "nasty", Dialect: dialect, URL: url, Exclude: []string{"*_bak"},
		Keys: map[string][]string{"happy": {"id"}}, References: []sql.Reference{{From: "happy", Fields: []string{"id"}, To: "order", On: []string{"id"}}},
		Version: map[string]string{"note": "body"}, Preview: map[string]string{"line": "rollback"}, Outcome: map[string]string{"*": "transactional", "note": "unverifiable"}}
	return cfg
}

func TestDescribe(t *testing.T) {
	for _, dialect := range dialects {
		connectortest.Golden(t, filepath.Join("testdata", "describe", dialect+".txtar"), *update, func(t *testing.T, a *txtar.Archive) *txtar.Archive {
			ddl := connectortest.Part(a, "ddl.sql")
			url := database(t, dialect, strings.Split(strings.TrimRight(ddl, "\n;"), ";\n")...)
			_, schema := open(t, nastyConfig(dialect, url))
			raw, err := json.MarshalIndent(schema, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			if schema.Identity == "" {
				t.Error("the system has no identity")
			}
			connectortest.SetPart(a, "schema.json", compiled(folded(string(raw))))
			return a
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
	var s connectors.Schema
	if err := json.Unmarshal([]byte(connectortest.Part(a, "schema.json")), &s); err != nil {
		t.Fatal(err)
	}
	return &s
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
	engines := map[string]*sql.Engine{}
	for _, d := range dialects {
		engines[d] = offline(t, d)
	}
	connectortest.Golden(t, filepath.Join("testdata", "compile", "*.txtar"), *update, func(t *testing.T, a *txtar.Archive) *txtar.Archive {
		var s connectors.Select
		dec := json.NewDecoder(strings.NewReader(connectortest.Part(a, "select.json")))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		var args []connectors.Value
		if raw := connectortest.Part(a, "args.json"); raw != "" {
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
			connectortest.SetPart(a, d+".sql", compiled(text))
		}
		return a
	})
}
