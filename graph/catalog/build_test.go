package catalog_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// build makes the catalog of a text in the tests' language.
func build(t testing.TB, sources string, sdl ...string) *catalog.Catalog {
	t.Helper()
	var files []catalog.SDLFile
	for _, s := range sdl {
		files = append(files, catalog.SDLFile{Name: "graph.graphql", Text: s})
	}
	c, problems := catalog.Build(parseSources(t, sources), files, catalog.Options{Control: control(t)})
	if c == nil {
		t.Fatal(problemText(problems))
	}
	return c
}

const shop = `
source crm
enum mood good bad
collection customers version offset last aggregate increment
  id Int! key default
  name String(20)!
  email String unique
  region String
  mood enum:mood
  balance Decimal(10,2)! default
  visits SafeInt! default
  total BigInt
  score Float
  born Date
  tags [String!]
  meta JSON
  country String!
  tax_no String!
  created_at DateTime! default readonly
  unique by_tax country tax_no
collection orders aggregate
  id BigInt! key default
  customer_id Int! ref=customers.id
  note String
source desk norelated
collection tickets nobind
  id ID! key
  requester_email String bind
  customer_id String bind
function PostRefund writes -> Boolean
  charge String!
  amount SafeInt
  kind enum:k
  parts [object:part!]
function GetTicket reads -> String
  id String!
enum k A B
object part
  amount Int!
  note String
`

const shopGraph = `
extend type Customer @label(field: "name") @secret(field: "taxNo") {
  tickets: TicketConnection @relation(to: "desk.tickets", fields: ["email"], on: ["requesterEmail"], inverse: "customer")
}`

// A name depends on nothing but the thing itself: the same collection has the
// same names whatever stands beside it, or it is refused.
func TestNamesAreIndependent(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		table := rapid.SampledFrom([]string{"customers", "order", "news", "write_logs", "sales.orders", "people", "x1"})
		column := rapid.SampledFrom([]string{"a", "b_id", "c", "Name", "note"})
		draw := func(label string) (string, string) {
			name := table.Draw(rt, label)
			text := "collection " + name + "\n  id Int! key\n"
			for _, f := range rapid.SliceOfNDistinct(column, 0, 4, func(s string) string { return s }).Draw(rt, label+"Fields") {
				text += "  " + f + " String\n"
			}
			return name, text
		}
		name, one := draw("one")
		alone := build(t, "source crm\n"+one).Collection("crm." + name)
		_, two := draw("two")
		sources := "source other\n" + two + "source crm\n" + one
		if rapid.Bool().Draw(rt, "same") {
			sources = "source crm\n" + two + one
		}
		c, problems := catalog.Build(parseSources(t, sources), nil, catalog.Options{Control: control(t)})
		if c == nil {
			for _, p := range problems {
				if p.Code != catalog.ProblemCollision {
					rt.Fatal(problemText(problems))
				}
			}
			return
		}
		beside := c.Collection("crm." + name)
		if alone.Type != beside.Type || alone.Single != beside.Single || alone.Plural != beside.Plural {
			rt.Fatalf("%v and %v", alone, beside)
		}
		for i := range alone.Fields {
			if alone.Fields[i].Name != beside.Fields[i].Name {
				rt.Fatalf("%s and %s", alone.Fields[i].Name, beside.Fields[i].Name)
			}
		}
	})
}

// What init writes always builds, and leaves the names of the first source.
func TestResolveCollisions(t *testing.T) {
	o := catalog.Options{Control: control(t)}
	rapid.Check(t, func(rt *rapid.T) {
		thing := rapid.SampledFrom([]string{"collection order", "collection orders", "collection Order", "collection order_connection", "collection order_inputs",
			"collection proposals", "collection news", "enum order a", "enum orders a", "object order", "function create_order writes", "function orders reads -> Int", "function createOrder writes"})
		text := ""
		n := rapid.IntRange(1, 3).Draw(rt, "sources")
		for i := range n {
			text += fmt.Sprintf("source s%d\n", i)
			for _, line := range rapid.SliceOfNDistinct(thing, 0, 6, func(s string) string { return strings.Join(strings.Fields(s)[1:2], "") }).Draw(rt, "things") {
				text += line + "\n"
				if strings.HasPrefix(line, "collection") {
					text += "  id Int! key\n  a_b Int\n"
					if rapid.Bool().Draw(rt, "twice") {
						text += "  aB Int\n"
					}
				} else if strings.HasPrefix(line, "object") {
					text += "  x Int\n"
				}
			}
		}
		sources := parseSources(t, text)
		r := catalog.ResolveCollisions(sources, nil, o)
		for i := range sources {
			if p := r.Prefixes[sources[i].Name]; p != "" {
				sources[i].Prefix = p
				if i == 0 {
					rt.Fatal("the first source got a prefix")
				}
			}
		}
		lines := strings.Join(r.Lines, "\n")
		if c, problems := catalog.Build(sources, []catalog.SDLFile{{Name: "graph.graphql", Text: lines}}, o); c == nil {
			rt.Fatalf("%s\n%s\n%v\n%s", text, lines, r.Prefixes, problemText(problems))
		}
	})
}

// randomView permits a random part of everything.
func randomView(rt *rapid.T, c *catalog.Catalog) *policy.View {
	full := fullView(c)
	v := &policy.View{Kind: policy.Human, CanDecide: rapid.Bool().Draw(rt, "decides"), Objects: map[string]*policy.Access{}}
	for _, o := range catalog.NewBinder(c).Objects() {
		base := full.Objects[o.Name]
		a := &policy.Access{Object: o.Name}
		pick := func(label string) map[string]bool {
			out := map[string]bool{}
			for _, f := range o.Fields {
				if rapid.IntRange(0, 3).Draw(rt, label) > 0 {
					out[f.System] = true
				}
			}
			return out
		}
		write := func(w *policy.WriteAccess) *policy.WriteAccess {
			if w == nil || rapid.Bool().Draw(rt, "write") {
				return nil
			}
			return &policy.WriteAccess{Fields: pick("given")}
		}
		if base.Read != nil && rapid.IntRange(0, 3).Draw(rt, "read") > 0 {
			a.Read = &policy.ReadAccess{Fields: map[string]policy.Cell{}}
			for f := range pick("seen") {
				var cell policy.Cell
				if rapid.IntRange(0, 3).Draw(rt, "cell") == 0 {
					cell.If = connectors.Nothing()
				}
				a.Read.Fields[f] = cell
			}
		}
		a.Create, a.Update, a.Delete, a.Call = write(base.Create), write(base.Update), write(base.Delete), write(base.Call)
		v.Objects[o.Name] = a
	}
	return v
}

// Every schema of every view loads with the library's own checks, has no name
// of what the view may not, and equal views have equal schemas.
func TestEveryViewIsValid(t *testing.T) {
	c := build(t, shop, shopGraph)
	fresh := build(t, shop, shopGraph)
	rapid.Check(t, func(rt *rapid.T) {
		v := randomView(rt, c)
		schema, err := c.Schema(v)
		if err != nil {
			rt.Fatal(err)
		}
		mustBeValid(t, schema)
		again, err := fresh.Schema(v)
		if err != nil {
			rt.Fatal(err)
		}
		if catalog.Print(schema) != catalog.Print(again) {
			rt.Fatal("two catalogs of the same sources show one view differently")
		}
		for _, col := range c.Collections {
			a := v.Objects[col.Object]
			def := schema.Types[col.Type]
			for _, f := range col.Fields {
				if def != nil && def.Fields.ForName(f.Name) != nil && (a.Read == nil || !contains(a.Read.Fields, f.System)) {
					rt.Fatalf("%s.%s is shown", col.Type, f.Name)
				}
				filter := schema.Types[col.FilterType()]
				if filter != nil && filter.Fields.ForName(f.Name) != nil && (!contains(a.Read.Fields, f.System) || a.Read.Fields[f.System].If != nil) {
					rt.Fatalf("%s.%s can be filtered by", col.Type, f.Name)
				}
			}
		}
	})
}

func contains(m map[string]policy.Cell, name string) bool { _, ok := m[name]; return ok }

// Every field of every schema is found by its element, or is the control
// plane's.
func TestElementsCoverTheSchema(t *testing.T) {
	c := build(t, shop, shopGraph)
	schema, err := c.Schema(fullView(c))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[catalog.ElementKind]bool{}
	base := map[string]bool{}
	plain, err := c.Schema(&policy.View{CanDecide: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, def := range plain.Types {
		for _, f := range def.Fields {
			base[name+"."+f.Name] = true
		}
	}
	control := map[string]bool{"WriteError": true, "RecordDiff": true, "Node": true}
	for name, def := range schema.Types {
		if def.Kind != ast.Object || def.BuiltIn || control[name] || strings.HasPrefix(name, "Proposal") {
			continue
		}
		for _, f := range def.Fields {
			e, ok := c.Element(name, f.Name)
			if !ok && !base[name+"."+f.Name] {
				t.Errorf("nothing is known of %s.%s", name, f.Name)
			}
			if ok && base[name+"."+f.Name] {
				t.Errorf("%s.%s is the control plane's", name, f.Name)
			}
			seen[e.Kind] = true
		}
	}
	for k := catalog.RootGet; k <= catalog.PayloadErrors; k++ {
		if !seen[k] && k != catalog.ObjectField {
			t.Errorf("no field is of kind %d", k)
		}
	}
	if _, ok := c.Element("Customer", "nothing"); ok {
		t.Error("a field that does not exist has an element")
	}
}

func TestDefinitionsAreShared(t *testing.T) {
	c := build(t, shop)
	one, err := c.Schema(fullView(c))
	if err != nil {
		t.Fatal(err)
	}
	v := fullView(c)
	delete(v.Objects, "desk.tickets")
	two, err := c.Schema(v)
	if err != nil {
		t.Fatal(err)
	}
	if one.Types["Order"] != two.Types["Order"] {
		t.Error("what is equal is not shared")
	}
	if two.Types["Ticket"] != nil {
		t.Error("what is not permitted is there")
	}
	if two.Directives["defer"] != nil || two.Directives["decides"] != nil {
		t.Error("a directive that is not the clients' is in the schema")
	}
}

func TestModel(t *testing.T) {
	c := build(t, shop, shopGraph)
	col := c.Collection("crm.customers")
	if c.Record("Customer") != col || c.Record("CustomerEdge") != nil || c.Collection("crm.nothing") != nil {
		t.Error("collections are not found by type")
	}
	if f := col.Field("createdAt"); f == nil || f.System != "created_at" || col.SystemField("created_at") != f {
		t.Error("fields are not found")
	}
	if len(col.Labels) != 1 || col.Labels[0].Field.Name != "name" || !col.Field("taxNo").Secret || col.Field("name").Secret {
		t.Error("labels or secrets are lost")
	}
	r := col.Relation("tickets")
	if r == nil || !r.Many || !r.Cross || r.Filterable() || r.Inverse == nil || r.Inverse.Name != "customer" || r.Inverse.Many {
		t.Errorf("the relation is %+v", r)
	}
	o := col.Relation("orders")
	if k := o.Connector(); !o.Filterable() || k.To != "orders" || k.Fields[0] != "id" || k.On[0] != "customer_id" {
		t.Errorf("the relation is %+v", o)
	}
	if f := c.Function("desk.PostRefund"); f.Field != "postRefund" || f.Arg("amount") == nil || f.PayloadType() != "PostRefundPayload" {
		t.Errorf("the function is %+v", f)
	}
	if !col.IsKey([]*catalog.Field{col.Field("taxNo"), col.Field("country")}) || col.IsKey([]*catalog.Field{col.Field("country")}) {
		t.Error("keys are not known")
	}
}

func TestCast(t *testing.T) {
	c := build(t, shop)
	text := c.Collection("desk.tickets").Field("customerId").Type
	integer := c.Collection("crm.customers").Field("id").Type
	if v, ok := catalog.Cast(connectors.Int(7), text); !ok || !v.Equal(connectors.String("7")) {
		t.Errorf("7 as a text is %v", v)
	}
	if v, ok := catalog.Cast(connectors.String("7"), integer); !ok || !v.Equal(connectors.Int(7)) {
		t.Errorf("a text as 7 is %v", v)
	}
	for _, s := range []string{"07", "+7", "x", "", "7.0", "99999999999"} {
		if _, ok := catalog.Cast(connectors.String(s), integer); ok {
			t.Errorf("%q is no Int", s)
		}
	}
	if _, ok := catalog.Cast(connectors.Null, integer); ok {
		t.Error("null is no key")
	}
}

// thousand is a schema of 1,000 tables with 16 fields each.
func thousand() []catalog.Source {
	s := &connectors.Schema{Connector: "memory", Capabilities: connectors.Capabilities{Related: true}}
	act := &connectors.Act{ByFilter: true, Increment: true}
	for i := range 1000 {
		c := &connectors.Collection{Name: fmt.Sprintf("table%dx", i), Key: []string{"id"}, Get: true, List: true, AnyBind: true, Count: true, Aggregate: true,
			Paging: connectors.Paging{Keyset: true, Offset: true, Last: true}, Acts: map[connectors.StepKind]*connectors.Act{connectors.Create: act, connectors.Update: act, connectors.Delete: act}}
		for j := range 16 {
			f := &connectors.Field{Name: fmt.Sprintf("field_%d", j), Order: true, Group: true, Type: connectors.TypeRef{Scalar: connectors.ScalarString}, Nullable: true}
			if j < 4 {
				f.Type.Scalar = connectors.ScalarInt
			}
			if j == 0 {
				f.Name, f.Nullable = "id", false
			}
			f.Filter = defaultOps(f.Type)
			f.Aggregates = []connectors.AggregateFunc{connectors.AggMin, connectors.AggMax}
			c.Fields = append(c.Fields, f)
		}
		if i > 0 {
			c.References = []connectors.Reference{{Fields: []string{"field_1"}, To: fmt.Sprintf("table%dx", i/2), On: []string{"id"}}}
		}
		s.Collections = append(s.Collections, c)
	}
	return []catalog.Source{{Name: "crm", Schema: s}}
}

func BenchmarkBuild1000(b *testing.B) {
	sources, o := thousand(), catalog.Options{Control: control(b)}
	for b.Loop() {
		if c, problems := catalog.Build(sources, nil, o); c == nil {
			b.Fatal(problemText(problems))
		}
	}
}

func BenchmarkSchema1000(b *testing.B) {
	o := catalog.Options{Control: control(b)}
	for b.Loop() {
		b.StopTimer()
		c, _ := catalog.Build(thousand(), nil, o)
		v := fullView(c)
		b.StartTimer()
		if _, err := c.Schema(v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSchema1000Again(b *testing.B) {
	c, _ := catalog.Build(thousand(), nil, catalog.Options{Control: control(b)})
	v := fullView(c)
	for b.Loop() {
		if _, err := c.Schema(v); err != nil {
			b.Fatal(err)
		}
	}
}
