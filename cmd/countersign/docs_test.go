package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/guard"
	"github.com/countersign/countersign/connectors/sql"
)

// These tests hold the documentation to the program.

var update = flag.Bool("update", false, "write the generated documentation")

const root = "../.."

// pages are the documents by their path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/decisions/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				t.Fatal(err)
			}
			out[filepath.ToSlash(rel)] = string(data)
		}
	}
	return out
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, ok := pages(t)[name]
	if !ok {
		t.Fatalf("there is no %s", name)
	}
	return text
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```$")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// anchors are the fragments that a page's headings make.
func anchors(text string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		slug := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		out = append(out, strings.ReplaceAll(slug, " ", "-"))
	}
	return out
}

func TestDocsLinks(t *testing.T) {
	all := pages(t)
	for name, text := range all {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			target := name
			if to != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(name), to))
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, m[1])
			}
			if anchor != "" && !slices.Contains(anchors(all[target]), anchor) {
				t.Errorf("%s: %s has no heading for %s", name, target, m[1])
			}
		}
	}
}

// Every test that a page names is there; and what lies outside of the
// repository is not mentioned.
func TestDocsNameRealTests(t *testing.T) {
	known := map[string]bool{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		data, err := os.ReadFile(name)
		for _, m := range regexp.MustCompile(`(?m)^func ((Test|Fuzz)\w+)`).FindAllSubmatch(data, -1) {
			known[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range pages(t) {
		for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`").FindAllStringSubmatch(text, -1) {
			if !known[m[1]] {
				t.Errorf("%s names %s, which is no test here", name, m[1])
			}
		}
	}
}

func TestDocsErrorCodes(t *testing.T) {
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| (yes|no) \\|").FindAllStringSubmatch(page(t, "docs/graph.md"), -1) {
		rows[m[1]] = m[2]
	}
	for _, code := range connectors.Codes() {
		want := map[bool]string{true: "yes", false: "no"}[code.Retryable()]
		if got := rows[string(code)]; got != want {
			t.Errorf("docs/graph.md says %q of %s, the program %q", got, code, want)
		}
		delete(rows, string(code))
	}
	for code := range rows {
		t.Errorf("docs/graph.md has the code %s, which the program has not", code)
	}
}

// configKeys lists every key of the configuration: true for one that is built.
func configKeys(t reflect.Type, path string, out map[string]bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		if path != "" {
			key = path + "." + key
		}
		configKey(f.Type, key, out)
	}
}

// names are what stands for names of the user's own, by the key they follow.
var names = map[string]string{"sources": "NAME", "agents": "NAME", "limits": "ROLE", "cache": "OPERATION", "outcome": "OPERATION", "collections": "COLLECTION"}

func configKey(t reflect.Type, key string, out map[string]bool) {
	last := key[strings.LastIndex(key, ".")+1:]
	switch {
	case t == reflect.TypeFor[config.Later]():
		out[key] = false
	case t == reflect.TypeFor[config.PEM]():
		out[key] = true
	case t.Kind() == reflect.Pointer:
		configKey(t.Elem(), key, out)
	case t.Kind() == reflect.Struct && strings.HasPrefix(t.Name(), "Map["):
		values, _ := t.FieldByName("Values")
		configKeys(values.Type.Elem(), key+"."+names[last], out)
	case t.Kind() == reflect.Map && t.Elem().Kind() == reflect.Struct:
		configKeys(t.Elem(), key+"."+names[last], out)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		configKeys(t.Elem(), key+"[]", out)
	case t == reflect.TypeFor[config.Rate](), t == reflect.TypeFor[config.CostLimit]():
		out[key] = true
	case t.Kind() == reflect.Struct:
		configKeys(t, key, out)
	default:
		out[key] = true
	}
}

func TestDocsConfigurationKeys(t *testing.T) {
	want := map[string]bool{}
	configKeys(reflect.TypeFor[config.Config](), "", want)
	text, refused, found := strings.Cut(page(t, "docs/configuration.md"), "## Refused today")
	if !found {
		t.Fatal("docs/configuration.md has no section of what is refused")
	}
	got := map[string]bool{}
	for built, part := range map[bool]string{true: text, false: refused} {
		for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(part, -1) {
			got[m[1]] = built
		}
	}
	for key, built := range want {
		if told, ok := got[key]; !ok {
			t.Errorf("docs/configuration.md does not have the key %s", key)
		} else if told != built {
			t.Errorf("docs/configuration.md has %s among what is built: %v; the program: %v", key, told, built)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("docs/configuration.md has the key %s, which the program has not", key)
		}
	}
}

// The defaults that the page names are those of the program.
func TestDocsDefaults(t *testing.T) {
	cfg, problems := config.Parse("countersign.yaml", []byte("version: 1\nsources: { a: { connector: sqlite, url: a.db } }\n"), func(string) (string, bool) { return "", false })
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	lim := config.DefaultLimits()
	want := map[string]string{
		"listen": cfg.Listen, "identity.maxAge": duration(cfg.Identity.MaxAge), "identity.localUsers": fmt.Sprint(cfg.Identity.LocalUsers),
		"identity.sessions.idle": duration(cfg.Identity.Sessions.Idle), "identity.sessions.max": duration(cfg.Identity.Sessions.Max),
		"identity.apiKeys.maxAge":            duration(cfg.Identity.APIKeys.MaxAge),
		"sources.NAME.limits.deadline":       duration(guard.DefaultDeadline),
		"sources.NAME.limits.concurrency":    fmt.Sprint(guard.DefaultConcurrent),
		"sources.NAME.pool.max":              fmt.Sprint(sql.DefaultPoolMax),
		"sources.NAME.pool.statementTimeout": duration(sql.DefaultStatementTimeout),
		"sources.NAME.pool.lockTimeout":      duration(sql.DefaultLockTimeout),
		"limits.ROLE.depth":                  fmt.Sprint(lim.Depth), "limits.ROLE.aliases": fmt.Sprint(lim.Aliases), "limits.ROLE.tokens": fmt.Sprint(lim.Tokens),
		"limits.ROLE.cost": fmt.Sprint(lim.Cost.Operation), "limits.ROLE.page": fmt.Sprint(lim.Page), "limits.ROLE.maxRows": fmt.Sprint(lim.MaxRows),
		"limits.ROLE.body": fmt.Sprintf("%dMiB", lim.Body>>20), "limits.ROLE.timeout": duration(lim.Timeout),
		"limits.ROLE.rows": fmt.Sprint(lim.Rows), "limits.ROLE.response": fmt.Sprintf("%dMiB", lim.Response>>20), "limits.ROLE.batch": fmt.Sprint(lim.Batch),
		"http.persistedQueries": fmt.Sprintf("%dMiB", cfg.HTTP.PersistedQueries>>20), "http.readTimeout": duration(config.DefaultReadTimeout),
		"limits.ROLE.documents": lim.Documents, "limits.ROLE.introspection": fmt.Sprint(*lim.Introspection),
	}
	text := page(t, "docs/configuration.md")
	for key, value := range want {
		if !strings.Contains(text, "\n| `"+key+"` | `"+value+"` |") {
			t.Errorf("docs/configuration.md does not say that the default of %s is %s", key, value)
		}
	}
}

// duration is a duration as the configuration writes it.
func duration(d time.Duration) string {
	if d >= 48*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if s = strings.TrimSuffix(s, "0m"); s == "" || d < time.Minute {
		return d.String()
	}
	return s
}

const (
	generatedBegin = "<!-- generated: by `go test ./cmd/countersign -run TestDocsCommands -update` -->\n"
	generatedEnd   = "<!-- end -->"
)

// TestDocsCommands writes docs/cli.md's commands and flags out of the program,
// and holds them there.
func TestDocsCommands(t *testing.T) {
	name := filepath.Join(root, "docs/cli.md")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := bytes.Index(data, []byte(generatedBegin)), bytes.Index(data, []byte(generatedEnd))
	if begin < 0 || end < begin {
		t.Fatal("docs/cli.md has no place for the commands")
	}
	var c cli
	parser, err := kong.New(&c, kong.Name("countersign"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, leaf := range parser.Model.Leaves(true) {
		describeCommand(&b, leaf)
	}
	want := slices.Concat(data[:begin], []byte(generatedBegin), []byte(b.String()), data[end:])
	if *update {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(data, want) {
		t.Error("docs/cli.md is not what the program has; run make gen")
	}
}

func describeCommand(b *strings.Builder, leaf *kong.Node) {
	fmt.Fprintf(b, "\n### countersign %s\n\n%s\n", leaf.Path(), leaf.Help)
	rows := [][3]string{}
	for _, arg := range leaf.Positional {
		help := arg.Help
		if !arg.Required {
			help += " Optional."
		}
		rows = append(rows, [3]string{"`" + strings.ToUpper(arg.Name) + "`", "", help})
	}
	for _, group := range leaf.AllFlags(true) {
		for _, f := range group {
			if f.Name == "help" {
				continue
			}
			help, value := f.Help, f.Default
			if f.Required {
				help += " Required."
			}
			if len(f.Envs) > 0 {
				help += " Also `" + strings.Join(f.Envs, "`, `") + "`."
			}
			if value != "" {
				value = "`" + value + "`"
			}
			rows = append(rows, [3]string{"`--" + f.Name + "`", value, help})
		}
	}
	if len(rows) == 0 {
		return
	}
	b.WriteString("\n| | default | |\n|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(b, "| %s | %s | %s |\n", r[0], r[1], strings.TrimSpace(r[2]))
	}
}

// Every command that a page shows in a block or in backticks is one of the
// program's, with flags that it has.
func TestDocsShowRealCommands(t *testing.T) {
	for name, text := range pages(t) {
		for _, line := range shownCommands(text) {
			var c cli
			parser, err := kong.New(&c, kong.Name("countersign"), kong.Exit(func(int) {}), kong.Writers(&bytes.Buffer{}, &bytes.Buffer{}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(line[1:]); err != nil {
				var pe *kong.ParseError
				if !errors.As(err, &pe) || !strings.HasPrefix(err.Error(), "expected") && !strings.HasPrefix(err.Error(), "missing") {
					t.Errorf("%s: countersign %s: %v", name, strings.Join(line[1:], " "), err)
				}
			}
		}
	}
}

var commandLine = regexp.MustCompile(`countersign [a-z][^\n|#>;)` + "`" + `]*`)

// shownCommands are the words of the command lines in a page.
func shownCommands(text string) [][]string {
	var out [][]string
	for _, block := range regexp.MustCompile("(?ms)^```sh.*?^```$|`countersign [a-z][^`]*`").FindAllString(text, -1) {
		for _, line := range commandLine.FindAllString(strings.ReplaceAll(block, "\\\n", " "), -1) {
			line = regexp.MustCompile(`'[^']*'|"[^"]*"|\$\([^)]*\)?|\$\w+`).ReplaceAllString(line, "X")
			if strings.ContainsAny(line, "…") || strings.Contains(line, "COMMAND") {
				continue
			}
			out = append(out, strings.Fields(line))
		}
	}
	return out
}
