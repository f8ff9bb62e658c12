package catalog_test

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"

	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

var update = flag.Bool("update", false, "write what came out into the golden cases")

// TestGolden runs the cases of testdata: sources, graph.graphql and view on the
// one side, the schema's data plane and the problems on the other.
func TestGolden(t *testing.T) { connectortest.Golden(t, "testdata/*.txtar", *update, golden) }

func golden(t *testing.T, archive *txtar.Archive) *txtar.Archive {
	connectortest.WithoutParts(archive, "problems", "init", "schema")
	in := map[string]string{}
	for _, f := range archive.Files {
		in[f.Name] = string(f.Data)
	}
	var sdl []catalog.SDLFile
	if text, ok := in["graph.graphql"]; ok {
		sdl = append(sdl, catalog.SDLFile{Name: "graph.graphql", Text: text})
	}
	sources := parseSources(t, in["sources"])
	o := catalog.Options{Control: control(t)}
	c, problems := catalog.Build(sources, sdl, o)
	got := map[string]string{"problems": problemText(problems)}
	if onlyCollisions(problems) {
		got["init"] = initText(t, sources, sdl, o)
	}
	if c != nil {
		view := "all\ndecide\n"
		if text, ok := in["view"]; ok {
			view = text
		}
		schema, err := c.Schema(parseView(t, c, view))
		if err != nil {
			t.Fatal(err)
		}
		mustBeValid(t, schema)
		got["schema"] = dataPlane(t, schema, strings.Fields(in["show"]), strings.Fields(in["control"]))
	}
	for _, name := range []string{"problems", "init", "schema"} {
		if got[name] != "" {
			connectortest.SetPart(archive, name, got[name])
		}
	}
	return archive
}

// onlyCollisions tells whether init alone could mend it.
func onlyCollisions(problems []policy.Problem) bool {
	for _, p := range problems {
		if p.Code != catalog.ProblemCollision || p.Line != 0 {
			return false
		}
	}
	return len(problems) > 0
}

func problemText(problems []policy.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Code, p.Message)
		if p.Warning {
			b.WriteString(" (warning)")
		}
		if p.Hint != "" {
			fmt.Fprintf(&b, "\n    %s", p.Hint)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// initText is what init would write, and proves that it builds.
func initText(t *testing.T, sources []catalog.Source, sdl []catalog.SDLFile, o catalog.Options) string {
	t.Helper()
	r := catalog.ResolveCollisions(sources, sdl, o)
	var b strings.Builder
	for i := range sources {
		if p := r.Prefixes[sources[i].Name]; p != "" {
			sources[i].Prefix = p
			fmt.Fprintf(&b, "sources.%s.prefix: %s\n", sources[i].Name, p)
		}
	}
	for _, l := range r.Lines {
		fmt.Fprintln(&b, l)
	}
	sdl = append(sdl[:len(sdl):len(sdl)], catalog.SDLFile{Name: "init", Text: strings.Join(r.Lines, "\n")})
	if c, problems := catalog.Build(sources, sdl, o); c == nil {
		t.Errorf("what init would write does not build:\n%s\n%s", b.String(), problemText(problems))
	}
	return b.String()
}

// mustBeValid loads the printed schema again with the library's checks.
func mustBeValid(t testing.TB, schema *ast.Schema) {
	t.Helper()
	text := catalog.Print(schema)
	if _, err := validator.LoadSchema(validator.Prelude, &ast.Source{Name: "printed", Input: text}); err != nil {
		t.Fatalf("the schema is not valid: %v\n%s", err, text)
	}
}

// dataPlane prints what the control plane and the scalars do not say: the types
// of show, or all. Of the types of whole, the control plane's fields as well.
func dataPlane(t testing.TB, schema *ast.Schema, show, whole []string) string {
	base, err := validator.LoadSchema(append([]*ast.Source{validator.Prelude}, control(t)...)...)
	if err != nil {
		t.Fatal(err)
	}
	own := &ast.Schema{Types: map[string]*ast.Definition{}}
	root := func(def, of *ast.Definition) *ast.Definition {
		if def == nil {
			return nil
		}
		out := *def
		out.Fields = nil
		for _, f := range def.Fields {
			if of == nil || of.Fields.ForName(f.Name) == nil || slices.Contains(whole, def.Name) {
				out.Fields = append(out.Fields, f)
			}
		}
		if len(out.Fields) == 0 {
			return nil
		}
		own.Types[out.Name] = &out
		return &out
	}
	own.Query, own.Mutation = root(schema.Query, base.Query), root(schema.Mutation, base.Mutation)
	for name, def := range schema.Types {
		if base.Types[name] == nil && def.Kind != ast.Scalar {
			own.Types[name] = def
		}
	}
	if len(show)+len(whole) > 0 {
		keep := append(show, whole...)
		for name := range own.Types {
			if !slices.Contains(keep, name) {
				delete(own.Types, name)
			}
		}
		if own.Types["Query"] == nil {
			own.Query = nil
		}
		if own.Types["Mutation"] == nil {
			own.Mutation = nil
		}
	}
	return catalog.Print(own)
}
