package catalog_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// control reads the control plane's schema as the program has it.
func control(t testing.TB) []*ast.Source {
	t.Helper()
	files, err := filepath.Glob("../schema/*.graphqls")
	if err != nil || len(files) == 0 {
		t.Fatalf("no control schema: %v", err)
	}
	var out []*ast.Source
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &ast.Source{Name: filepath.Base(f), Input: string(text)})
	}
	return out
}

// parseSources reads schemas in the language of [connectortest.ParseSources].
// They declare what most databases do; flags add to that and take from it:
//
//	source crm prefix=p readonly norelated
//	collection customers noget nolist nobind noacts nofilterwrites nopaging increment aggregate version offset last
func parseSources(t testing.TB, text string) []catalog.Source {
	t.Helper()
	described, err := connectortest.ParseSources(text, declare)
	if err != nil {
		t.Fatal(err)
	}
	var sources []catalog.Source
	for _, d := range described {
		d.Schema.Capabilities = connectors.Capabilities{Atomic: true, Related: !d.Flags.Has("norelated")}
		sources = append(sources, catalog.Source{Name: d.Name, Prefix: d.Flags["prefix"], ReadOnly: d.Flags.Has("readonly"), Schema: d.Schema})
	}
	return sources
}

func declare(c *connectors.Collection, flags connectortest.Flags) {
	c.Get, c.List, c.AnyBind, c.Count = !flags.Has("noget"), !flags.Has("nolist"), !flags.Has("nobind"), true
	c.Aggregate, c.HasVersion = flags.Has("aggregate"), flags.Has("version")
	c.Paging = connectors.Paging{Keyset: !flags.Has("nopaging"), Offset: flags.Has("offset"), Last: flags.Has("last")}
	act := &connectors.Act{Class: connectors.Transactional, Preview: connectors.PreviewRead, ByFilter: !flags.Has("nofilterwrites"), Increment: flags.Has("increment")}
	if !flags.Has("noacts") {
		c.Acts = map[connectors.StepKind]*connectors.Act{connectors.Create: act, connectors.Update: act, connectors.Delete: act}
	}
	for _, f := range c.Fields {
		f.Filter = defaultOps(f.Type)
		f.Order = !f.Type.List && f.Type.Object == ""
		f.Group = f.Order
		for _, fn := range []connectors.AggregateFunc{connectors.AggSum, connectors.AggAvg, connectors.AggMin, connectors.AggMax} {
			if _, ok := fn.ScalarOf(f.Type.Scalar); ok && !f.Type.List {
				f.Aggregates = append(f.Aggregates, fn)
			}
		}
	}
}

func defaultOps(r connectors.TypeRef) []connectors.Op {
	if r.List || r.Object != "" {
		return []connectors.Op{connectors.OpIsNull}
	}
	ops := []connectors.Op{connectors.OpEq, connectors.OpNe, connectors.OpIn, connectors.OpNotIn, connectors.OpIsNull}
	if r.Enum != "" {
		return ops
	}
	switch r.Scalar {
	case connectors.ScalarBoolean, connectors.ScalarBytes:
		return ops
	case connectors.ScalarJSON:
		return []connectors.Op{connectors.OpIsNull, connectors.OpHasKey}
	}
	ops = append(ops, connectors.OpGt, connectors.OpGte, connectors.OpLt, connectors.OpLte)
	if r.Scalar == connectors.ScalarString || r.Scalar == connectors.ScalarID {
		ops = append(ops, connectors.OpLike, connectors.OpILike, connectors.OpStartsWith, connectors.OpEndsWith, connectors.OpContains)
	}
	return ops
}

// fullView permits everything that there is.
func fullView(c *catalog.Catalog) *policy.View {
	v := &policy.View{Kind: policy.Human, CanDecide: true, Objects: map[string]*policy.Access{}}
	for _, o := range catalog.NewBinder(c).Objects() {
		v.Objects[o.Name] = accessOf(o)
	}
	return v
}

func accessOf(o policy.Object) *policy.Access {
	a := &policy.Access{Object: o.Name}
	fields := map[string]bool{}
	cells := map[string]policy.Cell{}
	for _, f := range o.Fields {
		fields[f.System] = true
		cells[f.System] = policy.Cell{}
	}
	for _, act := range o.Acts {
		w := &policy.WriteAccess{Fields: fields, Decide: func([]string) *policy.Decision { return &policy.Decision{Effect: policy.Allow} }}
		switch act {
		case policy.Read:
			a.Read = &policy.ReadAccess{Fields: cells}
		case policy.Create:
			a.Create = w
		case policy.Update:
			a.Update = w
		case policy.Delete:
			a.Delete = w
		case policy.Call:
			a.Call = w
		}
	}
	return a
}

// parseView reads the tests' short language for views, one object a line:
//
//	all
//	decide
//	crm.customers read{id name ?region} create{name} update{*} delete
//	crm.PostRefund call{*} set{author}
func parseView(t testing.TB, c *catalog.Catalog, text string) *policy.View {
	t.Helper()
	full := fullView(c)
	v := &policy.View{Kind: policy.Human, Objects: map[string]*policy.Access{}}
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		name, rest, _ := strings.Cut(line, " ")
		switch name {
		case "":
			continue
		case "all":
			v.Objects = full.Objects
			continue
		case "decide":
			v.CanDecide = true
			continue
		}
		base := full.Objects[name]
		if base == nil {
			t.Fatalf("view: no object %q", name)
		}
		v.Objects[name] = parseAccess(t, base, rest)
	}
	return v
}

func parseAccess(t testing.TB, base *policy.Access, text string) *policy.Access {
	a := &policy.Access{Object: base.Object}
	var last *policy.WriteAccess
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		var act, list string
		if i := strings.IndexAny(text, "{ "); i >= 0 && text[i] == '{' {
			act = text[:i]
			list, text, _ = strings.Cut(text[i+1:], "}")
		} else {
			act, text, _ = strings.Cut(text, " ")
			list = "*"
		}
		write := func(from *policy.WriteAccess) *policy.WriteAccess {
			if from == nil {
				t.Fatalf("view: the source cannot %s %s", act, base.Object)
			}
			w := &policy.WriteAccess{Fields: map[string]bool{}, Decide: from.Decide}
			for _, f := range strings.Fields(list) {
				if f == "*" {
					w.Fields = from.Fields
					break
				}
				w.Fields[f] = true
			}
			last = w
			return w
		}
		switch act {
		case "read":
			a.Read = &policy.ReadAccess{Fields: map[string]policy.Cell{}}
			for _, f := range strings.Fields(list) {
				if f == "*" {
					a.Read.Fields = base.Read.Fields
					break
				}
				var cell policy.Cell
				if strings.HasPrefix(f, "?") {
					f, cell.If = f[1:], connectors.Compare("x", connectors.OpIsNull, connectors.Const(connectors.True))
				}
				a.Read.Fields[f] = cell
			}
		case "create":
			a.Create = write(base.Create)
		case "update":
			a.Update = write(base.Update)
		case "delete":
			a.Delete = write(base.Delete)
		case "call":
			a.Call = write(base.Call)
		case "set":
			rest := map[string]bool{}
			for f := range last.Fields {
				rest[f] = true
			}
			for _, f := range strings.Fields(list) {
				last.Presets = append(last.Presets, policy.Preset{Field: f})
				delete(rest, f)
			}
			last.Fields = rest
		default:
			t.Fatalf("view: %q", act)
		}
	}
	return a
}
