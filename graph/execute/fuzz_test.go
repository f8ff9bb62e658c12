package execute_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/graph/execute"
)

// FuzzOperation plans and executes any valid document with any variables: no
// panic, always JSON, and one plan for one key.
func FuzzOperation(f *testing.F) {
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var query, vars string
		for _, part := range a.Files {
			switch part.Name {
			case "query":
				query = string(part.Data)
			case "variables":
				vars = string(part.Data)
			}
		}
		f.Add(query, vars)
	}
	f.Add(`query ($f: CustomerFilter) { customers(filter: {and: [$f, {not: $f}]}) { nodes { id } } }`, `{"f":{"id":{"in":[1,null]}}}`)
	f.Add(`query ($o: CustomerOrderBy!, $r: CustomerFilter) { customers(orderBy: [$o], filter: {or: [$r]}) { nodes { id } } }`, `{"o":{"name":"ASC"},"r":{}}`)
	w := world(f, "shop")
	plans := map[string]string{}
	f.Fuzz(func(t *testing.T, document, variables string) {
		r, err := w.Request("human owner", document, variables)
		if err != nil {
			t.Skip()
		}
		key := document + "\x00" + r.Key()
		p, bad := r.Build()
		if bad != nil {
			return
		}
		text := p.String()
		if known, ok := plans[key]; ok && known != text {
			t.Fatalf("one key, two plans:\n%s\n%s", known, text)
		}
		if len(plans) < 10_000 {
			plans[key] = text
		}
		e := &execute.Executor{Sources: w.Sources()}
		if p.Kind == "mutation" {
			m, bad := e.Prepare(context.Background(), p, r.Bindings())
			if bad != nil {
				return
			}
			defer m.Close()
			if out := m.Render(context.Background(), nil); !json.Valid(out.Data) {
				t.Fatalf("%s", out.Data)
			}
			return
		}
		out := e.Query(context.Background(), p, r.Bindings())
		if !json.Valid(out.Data) {
			t.Fatalf("%s", out.Data)
		}
		for _, err := range out.Errors {
			if strings.Contains(err.Message, "another shape") {
				t.Fatalf("%s", err.Message)
			}
		}
	})
}

// FuzzProject projects any JSON cell by a selection: no panic, always JSON.
func FuzzProject(f *testing.F) {
	for _, cell := range []string{`{"name":"A","age":1,"tags":["x"]}`, `{}`, `[]`, `null`, `{"name":{"a":"}"}}`, `{"name":"\"","tags":["\\",null]}`, ` { "name" : "x" } `} {
		f.Add([]byte(cell))
	}
	w := world(f, "shop")
	r, err := w.Request("human owner", `{ tickets { nodes { reporter { name age tags } labels } } }`, "")
	if err != nil {
		f.Fatal(err)
	}
	p, bad := r.Build()
	if bad != nil {
		f.Fatal(bad)
	}
	f.Fuzz(func(t *testing.T, cell []byte) {
		if !json.Valid(cell) {
			t.Skip()
		}
		e := &execute.Executor{}
		e.Sources = w.Sources()
		e.Sources["desk"] = canned{block(2, string(cell), string(cell))}
		out := e.Query(context.Background(), p, r.Bindings())
		if !json.Valid(out.Data) {
			t.Fatalf("%s -> %s", cell, out.Data)
		}
	})
}
