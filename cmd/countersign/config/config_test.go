package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connectors/connectortest"
)

var update = flag.Bool("update", false, "write the golden files")

func env(name string) (string, bool) {
	v, ok := map[string]string{"CRM_URL": "postgres://u:p@localhost/crm", "EMPTY": "", "NESTED": "${CRM_URL}"}[name]
	return v, ok
}

// Each case is a file: the YAML, then the problems it must have, one a line.
func TestProblems(t *testing.T) {
	connectortest.Golden(t, "testdata/*.txtar", *update, func(t *testing.T, a *txtar.Archive) *txtar.Archive {
		cfg, problems := config.Parse("countersign.yaml", a.Files[0].Data, env)
		if cfg != nil {
			problems = append(problems, cfg.LiteralSecrets...)
		}
		var out strings.Builder
		for _, p := range problems {
			fmt.Fprintf(&out, "%s:%d %s: %s", p.File, p.Line, p.Code, p.Message)
			if p.Hint != "" {
				fmt.Fprintf(&out, " [%s]", p.Hint)
			}
			out.WriteByte('\n')
		}
		connectortest.SetPart(a, "problems", out.String())
		return a
	})
}

const minimal = "version: 1\nsources:\n  crm: { connector: postgres, url: \"${CRM_URL}\" }\n"

func TestDefaults(t *testing.T) {
	cfg, problems := config.Parse("countersign.yaml", []byte(minimal), env)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if cfg.Listen != "127.0.0.1:8080" || cfg.Identity.MaxAge != 24*time.Hour || !cfg.Identity.LocalUsers {
		t.Errorf("defaults are %+v", cfg)
	}
	s, _ := cfg.Sources.Get("crm")
	if s.URL != "postgres://u:p@localhost/crm" || len(cfg.LiteralSecrets) > 0 {
		t.Errorf("url %q, literal secrets %v", s.URL, cfg.LiteralSecrets)
	}
}

// YAML 1.2: on, yes and no are plain words, as keys too.
func TestWordsOfYAML11(t *testing.T) {
	cfg, problems := config.Parse("c", []byte(minimal+"agents:\n  on: { owner: yes, roles: [no, off, y], purpose: on }\n"), env)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	a, ok := cfg.Agents.Get("on")
	if !ok || a.Owner != "yes" || strings.Join(a.Roles, " ") != "no off y" || a.Purpose != "on" {
		t.Errorf("read as %+v", a)
	}
}

func TestExpandOnce(t *testing.T) {
	cfg, _ := config.Parse("c", []byte(minimal+"agents:\n  a: { owner: \"${NESTED}\", roles: [\"$${CRM_URL}\"], purpose: \"${NO:-x}\" }\n"), env)
	a, _ := cfg.Agents.Get("a")
	if a.Owner != "${CRM_URL}" || a.Roles[0] != "${CRM_URL}" || a.Purpose != "x" {
		t.Errorf("expanded to %+v", a)
	}
}

func TestEnvFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("countersign.yaml", minimal, 0o600)
	write(".env", "# c\nCRM_URL=\"postgres://x/y\"\nnonsense\n", 0o644)
	cfg, problems := config.Load(filepath.Join(dir, "countersign.yaml"))
	s, _ := cfg.Sources.Get("crm")
	if s.URL != "postgres://x/y" {
		t.Errorf("url is %q", s.URL)
	}
	if len(problems) != 2 || !problems[0].Warning || problems[1].Line != 3 {
		t.Errorf("problems are %v", problems)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add("a: &a [*a]\n")
	f.Add("limits: { \"*\": { depth: 1e9 } }\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, problems := config.Parse("c", []byte(text), env)
		if cfg == nil && len(problems) == 0 {
			t.Error("neither a configuration nor a problem")
		}
	})
}
