// Package countersign_test guards the structure of the whole repository: who
// may import whom, that every package says what it is for, and that exported
// names are documented. It must not know what any package does.
package countersign_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/countersign/countersign"

// imports says which packages of ours each room may use. A pattern ending in /*
// covers the folder's own packages below it; "everything" is only for cmd.
var imports = map[string][]string{
	"connectors":               {},
	"connectors/memory":        {"connectors"},
	"connectors/connectortest": {"connectors", "connectors/memory"},
	"connectors/guard":         {"connectors"},
	"connectors/httpcall":      {"connectors"},
	"connectors/openapi":       {"connectors", "connectors/httpcall"},
	"connectors/sql":           {"connectors"},
	"policy":                   {"connectors"},
	"policy/audit":             {"connectors", "policy"},
	"policy/identity":          {"connectors", "policy"},
	"policy/remote":            {"policy"},
	"policy/budget":            {"connectors"},
	"graph/catalog":            {"connectors", "policy"},
	"graph/plan":               {"connectors", "policy", "graph/catalog"},
	"graph/plan/plantest":      {"connectors", "connectors/connectortest", "policy", "graph/catalog", "graph/plan"},
	"graph/execute":            {"connectors", "policy", "graph/plan"},
	"graph/model":              {},
	"graph/generated":          {"graph/model"},
	"graph":                    {"connectors", "graph/generated", "graph/model", "policy", "policy/*", "proposals", "graph/catalog"},
	"graph/gateway":            {"connectors", "graph", "graph/*", "policy", "policy/*", "proposals"},
	"proposals":                {"connectors", "policy", "policy/audit", "graph/plan"},
	"proposals/proposalstest":  {"connectors", "policy", "policy/audit", "proposals"},
	"store":                    {"connectors", "policy", "policy/*", "graph/catalog", "proposals"},
	"console":                  {},
	"console/browsertest":      {},
	"examples/demo":            {},
	"examples/desk":            {},
	"examples/shop":            {},
	"cmd/countersign/config":   {"policy"},
	"cmd/countersign":          {"everything"},
	"cmd/countersign/proof":    {"connectors", "connectors/memory", "graph", "graph/*", "policy", "proposals", "store"},
	"bench":                    {"everything"},
}

// owners says which libraries only some rooms may use.
var owners = map[string][]string{
	"github.com/99designs/gqlgen":            {"graph", "graph/generated", "graph/model", "graph/gateway", "bench/*"},
	"github.com/vektah/gqlparser":            {"graph", "graph/generated", "graph/gateway", "graph/catalog", "graph/plan", "graph/plan/plantest", "policy", "bench/*"},
	"github.com/casbin/casbin":               {"policy"},
	"github.com/google/cel-go":               {"policy"},
	"github.com/dgraph-io/ristretto":         {"graph/execute"},
	"github.com/hashicorp/go-retryablehttp":  {"connectors/httpcall"},
	"github.com/jackc/pgx":                   {"connectors/sql", "connectors/connectortest", "store", "bench/*"},
	"modernc.org/sqlite":                     {"connectors/sql", "store", "examples/shop"},
	"github.com/getkin/kin-openapi":          {"connectors/openapi"},
	"github.com/pressly/goose":               {"store"},
	"github.com/alecthomas/kong":             {"cmd/countersign"},
	"github.com/valyala/fasthttp":            {"bench/*"},
	"github.com/graph-gophers/dataloader":    {"bench/*"},
	"google.golang.org/grpc":                 {},
	"github.com/hashicorp/go-plugin":         {},
	"github.com/prometheus/client_golang":    {"graph/gateway", "cmd/countersign"},
	"github.com/golang-jwt/jwt":              {"policy/identity"},
	"github.com/coreos/go-oidc":              {"policy/identity"},
	"golang.org/x/crypto":                    {"policy/identity", "store"},
	"github.com/countersign/countersign/cmd": {"cmd/*"},
}

// covers tells whether a list of rooms names dir.
func covers(list []string, dir string) bool {
	return slices.ContainsFunc(list, func(p string) bool {
		if base, ok := strings.CutSuffix(p, "/*"); ok {
			return strings.HasPrefix(dir, base+"/") || dir == base
		}
		return p == dir || p == "everything"
	})
}

// packages parses every hand-written, non-test file, by folder.
func packages(t *testing.T) map[string][]*ast.File {
	t.Helper()
	fset := token.NewFileSet()
	out := map[string][]*ast.File{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && name != "." || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		out[dir] = append(out[dir], f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImports(t *testing.T) {
	for dir, files := range packages(t) {
		room := dir
		if strings.HasPrefix(dir, "bench/") {
			room = "bench"
		}
		allowed, known := imports[room]
		if !known {
			t.Errorf("%s is a room that the table does not know", dir)
			continue
		}
		for _, f := range files {
			for _, i := range f.Imports {
				name := strings.Trim(i.Path.Value, `"`)
				for lib, rooms := range owners {
					if (name == lib || strings.HasPrefix(name, lib+"/")) && !covers(rooms, dir) && !strings.HasPrefix(dir, "cmd/") {
						t.Errorf("%s imports %s, which belongs to %v", dir, name, rooms)
					}
				}
				if inner, ok := strings.CutPrefix(name, module+"/"); ok && !covers(allowed, inner) {
					t.Errorf("%s imports %s; it may import %v", dir, inner, allowed)
				}
			}
		}
	}
}

func TestPackageDocs(t *testing.T) {
	for dir, files := range packages(t) {
		if dir == "graph/generated" {
			continue
		}
		var doc string
		for _, f := range files {
			if f.Doc != nil {
				doc += f.Doc.Text()
			}
		}
		if len(doc) < 60 {
			t.Errorf("%s does not say what it is for", dir)
		}
		if !strings.Contains(doc, "not know") && !strings.HasPrefix(dir, "bench") && !strings.HasPrefix(dir, "cmd/countersign") {
			t.Errorf("%s does not say what it must not know", dir)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for dir, files := range packages(t) {
		if dir == "graph/generated" {
			continue
		}
		for _, f := range files {
			if ast.IsGenerated(f) {
				continue
			}
			for _, d := range f.Decls {
				undocumented(t, dir, d)
			}
		}
	}
}

func undocumented(t *testing.T, dir string, d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			t.Errorf("%s: %s has no doc", dir, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					t.Errorf("%s: %s has no doc", dir, s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					t.Errorf("%s: %s has no doc", dir, s.Names[0].Name)
				}
			}
		}
	}
}

// exportedReceiver tells whether a function is visible outside: methods of
// unexported types are documented by the interface they fulfil.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	typ := d.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
			continue
		case *ast.IndexExpr:
			typ = x.X
			continue
		case *ast.IndexListExpr:
			typ = x.X
			continue
		case *ast.Ident:
			return x.IsExported()
		}
		return true
	}
}

// Nothing of the program starts by being imported, and nothing gives up by
// panicking.
func TestNoInitAndNoPanic(t *testing.T) {
	for dir, files := range packages(t) {
		if strings.HasSuffix(dir, "test") {
			continue // a test's own doubles may give up loudly
		}
		for _, f := range files {
			if ast.IsGenerated(f) {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					if n.Recv == nil && n.Name.Name == "init" {
						t.Errorf("%s has an init function", dir)
					}
				case *ast.CallExpr:
					if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "panic" {
						t.Errorf("%s panics", dir)
					}
				}
				return true
			})
		}
	}
}

// The top level is what the decisions say, and no more.
func TestTopLevel(t *testing.T) {
	allowed := []string{"cmd", "graph", "connectors", "policy", "proposals", "store", "console", "docs", "examples", "bench", "bin",
		"gqlgen.yml", "go.mod", "go.sum", "Makefile", "README.md", "LICENSE", "house_test.go"}
	entries, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e, ".") && !slices.Contains(allowed, path.Base(e)) {
			t.Errorf("%s stands at the top level without a decision", e)
		}
	}
}
