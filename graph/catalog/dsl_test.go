package catalog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
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

// parseSources reads the tests' short language for schemas:
//
//	source crm prefix=p readonly
//	enum status open closed
//	collection customers view nokey noacts
//	  # comment of the next field
//	  id Int! key default
//	  email String unique filter=eq,in
//	  unique a_b a b
//	  ref fk_name account_id -> accounts(id)
//	object address
//	  street String
//	function PostRefund writes -> Refund!
//	  amount Int!
func parseSources(t testing.TB, text string) []catalog.Source {
	t.Helper()
	p := &dsl{t: t}
	for i, line := range strings.Split(text, "\n") {
		p.line = i + 1
		p.take(line)
	}
	return p.sources
}

type dsl struct {
	t       testing.TB
	line    int
	sources []catalog.Source
	col     *connectors.Collection
	fields  *[]*connectors.Field
	comment string
}

func (p *dsl) take(line string) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	if words[0] == "#" {
		p.comment = strings.Join(words[1:], " ")
		return
	}
	comment := p.comment
	p.comment = ""
	if !strings.HasPrefix(line, " ") {
		p.top(words, comment)
		return
	}
	switch words[0] {
	case "unique":
		p.col.Uniques = append(p.col.Uniques, connectors.UniqueKey{Name: words[1], Fields: words[2:]})
	case "ref":
		to, on, _ := strings.Cut(strings.TrimSuffix(words[4], ")"), "(")
		p.col.References = append(p.col.References, connectors.Reference{Name: words[1], Fields: strings.Split(words[2], ","), To: to, On: strings.Split(on, ",")})
	default:
		p.field(words, comment)
	}
}

func (p *dsl) top(words []string, comment string) {
	flags := map[string]string{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		flags[k] = v
	}
	has := func(k string) bool { _, ok := flags[k]; return ok }
	if words[0] == "source" {
		p.sources = append(p.sources, catalog.Source{Name: words[1], Prefix: flags["prefix"], ReadOnly: has("readonly"),
			Schema: &connectors.Schema{Connector: "memory", Capabilities: connectors.Capabilities{Atomic: true, Related: !has("norelated")}}})
		return
	}
	s := p.sources[len(p.sources)-1].Schema
	switch words[0] {
	case "enum":
		s.Enums = append(s.Enums, &connectors.Enum{Name: words[1], Values: words[2:], Comment: comment})
	case "object":
		o := &connectors.Object{Name: words[1], Comment: comment}
		s.Objects = append(s.Objects, o)
		p.fields = &o.Fields
	case "collection":
		act := &connectors.Act{Class: connectors.Transactional, Preview: connectors.PreviewRead, ByFilter: !has("nofilterwrites"), Increment: has("increment")}
		c := &connectors.Collection{Name: words[1], Comment: comment, View: has("view"), Get: !has("noget"), List: !has("nolist"), AnyBind: !has("nobind"),
			Count: true, Aggregate: has("aggregate"), HasVersion: has("version"),
			Paging: connectors.Paging{Keyset: !has("nopaging"), Offset: has("offset"), Last: has("last")}}
		if !has("noacts") {
			c.Acts = map[connectors.StepKind]*connectors.Act{connectors.Create: act, connectors.Update: act, connectors.Delete: act}
		}
		s.Collections = append(s.Collections, c)
		p.col, p.fields = c, &c.Fields
	case "function":
		f := &connectors.Function{Name: words[1], Comment: comment, Reads: has("reads")}
		if !f.Reads {
			f.Act = &connectors.Act{Class: connectors.Unverifiable}
		}
		if n := len(words); n > 3 && words[n-2] == "->" {
			r, nullable := p.typ(words[n-1])
			f.Result, f.Nullable = &r, nullable
		}
		s.Functions = append(s.Functions, f)
		p.fields = &f.Args
	default:
		p.t.Fatalf("line %d: %q", p.line, words[0])
	}
}

// typ reads Int, Int!, [Int!]!, enum:NAME and object:NAME.
func (p *dsl) typ(text string) (connectors.TypeRef, bool) {
	var r connectors.TypeRef
	nullable := !strings.HasSuffix(text, "!")
	text = strings.TrimSuffix(text, "!")
	if strings.HasPrefix(text, "[") {
		r.List = true
		text = strings.Trim(text, "[]")
		r.ItemNullable = !strings.HasSuffix(text, "!")
		text = strings.TrimSuffix(text, "!")
	}
	text, limits, _ := strings.Cut(text, "(")
	switch {
	case strings.HasPrefix(text, "enum:"):
		r.Enum = text[5:]
	case strings.HasPrefix(text, "object:"):
		r.Object = text[7:]
	default:
		r.Scalar = connectors.Scalar(text)
		if r.Scalar == connectors.ScalarDecimal && limits != "" {
			fmt.Sscanf(limits, "%d,%d)", &r.Precision, &r.Scale)
			r.HasScale = true
		} else if limits != "" {
			fmt.Sscanf(limits, "%d)", &r.MaxLength)
		}
	}
	return r, nullable
}

func (p *dsl) field(words []string, comment string) {
	r, nullable := p.typ(words[1])
	f := &connectors.Field{Name: words[0], Type: r, Nullable: nullable, Comment: comment, Order: !r.List && r.Object == "", Group: !r.List && r.Object == ""}
	f.Filter = defaultOps(r)
	for _, fn := range []connectors.AggregateFunc{connectors.AggSum, connectors.AggAvg, connectors.AggMin, connectors.AggMax} {
		if _, ok := fn.ScalarOf(r.Scalar); ok && !r.List {
			f.Aggregates = append(f.Aggregates, fn)
		}
	}
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "key":
			p.col.Key = append(p.col.Key, f.Name)
		case "unique":
			p.col.Uniques = append(p.col.Uniques, connectors.UniqueKey{Name: f.Name, Fields: []string{f.Name}})
		case "ref":
			to, on, _ := strings.Cut(v, ".")
			p.col.References = append(p.col.References, connectors.Reference{Name: f.Name, Fields: []string{f.Name}, To: to, On: []string{on}})
		case "bind":
			p.col.BindFields = append(p.col.BindFields, []string{f.Name})
		case "default":
			f.Default = true
		case "readonly":
			f.ReadOnly = true
		case "createonly":
			f.CreateOnly = true
		case "writeonly":
			f.WriteOnly = true
		case "deprecated":
			f.Deprecated = true
		case "nofilter":
			f.Filter, f.Order, f.Group, f.Aggregates = nil, false, false, nil
		case "filter":
			f.Filter, f.Order = nil, false
			for _, op := range strings.Split(v, ",") {
				f.Filter = append(f.Filter, connectors.Op(op))
			}
		default:
			p.t.Fatalf("line %d: %q", p.line, w)
		}
	}
	*p.fields = append(*p.fields, f)
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
