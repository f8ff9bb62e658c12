package execute_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"

	"github.com/countersign/countersign/graph/plan/plantest"
	"github.com/countersign/countersign/policy"
)

const twoSchema = `
source crm
collection customers
  id Int! key default
  name String!
  email String! unique
  region String!
  born Date
  code String
  credit Decimal
collection orders
  id Int! key default
  customer_id Int! ref=customers.id
  note String
  placed DateTime!
  total Decimal!
source desk nosnapshot maxbind=2
collection tickets
  id Int! key default
  email String!
  subject String!
`

const twoGraph = `
extend type Customer @label(field: "name") {
  tickets: TicketConnection @relation(to: "desk.tickets", fields: ["email"], on: ["email"], inverse: "customer")
}
`

// A twoField is a field of the two worlds with the masks it carries.
type twoField struct {
	system, graph string
	kind          string // text, date, instant, number, ref
	nullable      bool
}

func twoFields() map[string][]twoField {
	return map[string][]twoField{
		"crm.customers": {{"id", "id", "number", false}, {"name", "name", "text", false}, {"email", "email", "text", false}, {"region", "region", "text", false},
			{"born", "born", "date", true}, {"code", "code", "text", true}, {"credit", "credit", "number", true}},
		"crm.orders": {{"id", "id", "number", false}, {"customer_id", "customerId", "ref", false}, {"note", "note", "text", true},
			{"placed", "placed", "instant", false}, {"total", "total", "number", false}},
		"desk.tickets": {{"id", "id", "number", false}, {"email", "email", "text", false}, {"subject", "subject", "text", false}},
	}
}

type record map[string]any

// records are those of a world by object.
type records map[string][]record

// A twoWhere is a condition in its own language, with what it looks at and what it
// says in this test's own words.
type twoWhere struct {
	text  string
	looks []string // "object.field"
	holds func(w records, r record) bool
}

func twoWheres() map[string][]twoWhere {
	all := twoWhere{holds: func(records, record) bool { return true }}
	return map[string][]twoWhere{
		"crm.customers": {all, {`{region: {eq: $claims.region}}`, []string{"crm.customers.region"}, func(_ records, r record) bool { return r["region"] == "EU" }},
			{`{not: {code: {isNull: true}}}`, []string{"crm.customers.code"}, func(_ records, r record) bool { return r["code"] != nil }}},
		"crm.orders": {all, {`{id: {gt: 11}}`, nil, func(_ records, r record) bool { return r["id"].(int) > 11 }},
			{`{customer: {region: {eq: "EU"}}}`, []string{"crm.customers.region", "crm.orders.customer_id"}, func(w records, r record) bool {
				return slices.ContainsFunc(w["crm.customers"], func(c record) bool { return c["id"] == r["customer_id"] && c["region"] == "EU" })
			}}},
		"desk.tickets": {all, {`{id: {in: [1 2]}}`, nil, func(_ records, r record) bool { return r["id"].(int) < 3 }}},
	}
}

// A twoLine is a line for reading.
type twoLine struct {
	object string
	fields []string // graph names; nil: all
	deny   bool
	where  twoWhere
	masks  map[string]policy.Mask
}

func (l twoLine) String() string {
	braces, effect, with := "", "allow", ""
	if l.fields != nil {
		braces = "{" + strings.Join(l.fields, " ") + "}"
	}
	if l.deny {
		effect = "deny"
	}
	for _, f := range slices.Sorted(maps.Keys(l.masks)) {
		with += f + ": " + string(l.masks[f]) + " "
	}
	if with != "" {
		with = ", {mask: {" + with + "}}"
	}
	return fmt.Sprintf("p, r, %s%s, read, %s, %s%s\n", l.object, braces, effect, l.where.text, with)
}

func (l twoLine) covers(f twoField) bool {
	return l.fields == nil || slices.Contains(l.fields, f.graph)
}

func drawTwoLine(t *rapid.T) twoLine {
	objects := slices.Sorted(maps.Keys(twoFields()))
	l := twoLine{object: rapid.SampledFrom(objects).Draw(t, "object"), masks: map[string]policy.Mask{}}
	l.where = twoWheres()[l.object][0]
	if rapid.Bool().Draw(t, "conditional") {
		l.where = rapid.SampledFrom(twoWheres()[l.object]).Draw(t, "where")
	}
	fields := twoFields()[l.object]
	if rapid.IntRange(0, 2).Draw(t, "some fields") == 0 {
		for _, f := range fields {
			if rapid.Bool().Draw(t, f.graph) {
				l.fields = append(l.fields, f.graph)
			}
		}
	}
	l.deny = rapid.IntRange(0, 7).Draw(t, "deny") == 0
	for _, f := range fields {
		if !l.covers(f) || l.deny {
			continue
		}
		fit := map[string][]policy.Mask{"text": {"", "", policy.MaskLast4, policy.MaskHash, policy.MaskRedact, policy.MaskNull},
			"date": {"", policy.MaskYear, policy.MaskNull}, "instant": {"", policy.MaskYear, policy.MaskNull},
			"number": {"", "", "", policy.MaskNull}, "ref": {"", policy.MaskNull}}[f.kind]
		if m := rapid.SampledFrom(fit).Draw(t, "mask of "+f.graph); m != "" {
			l.masks[f.graph] = m
		}
	}
	return l
}

// order of the masks from the one that shows most, in this test's own words.
var twoOrder = []policy.Mask{policy.MaskNone, policy.MaskLast4, policy.MaskYear, policy.MaskHash, policy.MaskRedact, policy.MaskNull}

// shown is how a cell is shown by the sentences of the reference; MaskNull also
// where it is not shown at all.
func shown(lines []twoLine, w records, object string, r record, f twoField) policy.Mask {
	best := len(twoOrder) - 1
	for _, l := range lines {
		if l.object != object || !l.where.holds(w, r) {
			continue
		}
		if l.deny && l.covers(f) {
			return policy.MaskNull
		}
		if !l.deny && l.covers(f) {
			best = min(best, slices.Index(twoOrder, policy.Mask(l.masks[f.graph])))
		}
	}
	return twoOrder[best]
}

type twoDraw struct {
	t *rapid.T
	n int
}

// text is one that stands nowhere else; its length and end may be given.
func (d *twoDraw) text(length int, end string) string {
	d.n++
	head := fmt.Sprintf("%x", 4096+d.n*7919%60000)
	for len(head) < length-len(end) {
		head = string(rune('a'+d.n%26)) + head
	}
	if length > 0 {
		head = head[len(head)-(length-len(end)):]
	}
	return head + end
}

func (d *twoDraw) value(f twoField) any {
	if f.nullable && rapid.IntRange(0, 4).Draw(d.t, "null") == 0 {
		return nil
	}
	switch f.kind {
	case "date":
		return rapid.SampledFrom([]string{"1970-05-06", "1970-11-30", "1980-02-03"}).Draw(d.t, f.system)
	case "instant":
		return rapid.SampledFrom([]string{"2026-05-06T01:02:03Z", "2026-11-30T00:00:00Z", "2027-02-03T04:05:06Z"}).Draw(d.t, f.system)
	case "number":
		return rapid.SampledFrom([]string{"1.00", "7.50", "20.00"}).Draw(d.t, f.system)
	case "ref":
		return rapid.IntRange(1, 3).Draw(d.t, f.system)
	}
	if f.system == "region" {
		return rapid.SampledFrom([]string{"EU", "US"}).Draw(d.t, f.system)
	}
	return d.text(rapid.SampledFrom([]int{9, 12}).Draw(d.t, "length"), "")
}

func (d *twoDraw) world() records {
	w := records{}
	for _, object := range slices.Sorted(maps.Keys(twoFields())) {
		first := map[string]int{"crm.customers": 1, "crm.orders": 11, "desk.tickets": 1}[object]
		for i := range 3 {
			r := record{}
			for _, f := range twoFields()[object] {
				r[f.system] = d.value(f)
			}
			r["id"] = first + i
			w[object] = append(w[object], r)
		}
	}
	for _, ticket := range w["desk.tickets"] {
		if i := rapid.IntRange(0, 3).Draw(d.t, "ticket of"); i < 3 {
			ticket["email"] = w["crm.customers"][i]["email"]
		}
	}
	return w
}

// other is another value that is shown the same.
func (d *twoDraw) other(f twoField, old any, m policy.Mask) any {
	text, _ := old.(string)
	switch {
	case m == policy.MaskNone || m == policy.MaskHash || m != policy.MaskNull && old == nil:
		return old
	case m == policy.MaskLast4 && len(text) < 8:
		return d.text(len(text), "")
	case m == policy.MaskLast4:
		return d.text(len(text), text[len(text)-4:])
	case m == policy.MaskYear && len(text) == 10:
		return text[:4] + "-07-07"
	case m == policy.MaskYear:
		return text[:4] + "-07-07T07:07:07Z"
	case m == policy.MaskRedact:
		f.nullable = false
	}
	return d.value(f)
}

// altered is a world that differs in cells alone that are not shown as they are,
// and on which no line's condition looks.
func (d *twoDraw) altered(w records, lines []twoLine) records {
	looked := map[string]bool{}
	for _, l := range lines {
		for _, name := range l.where.looks {
			looked[name] = true
		}
	}
	out := records{}
	for _, object := range slices.Sorted(maps.Keys(w)) {
		for _, r := range w[object] {
			changed := maps.Clone(r)
			for _, f := range twoFields()[object] {
				if f.system != "id" && !looked[object+"."+f.system] && rapid.Bool().Draw(d.t, "altered") {
					changed[f.system] = d.other(f, r[f.system], shown(lines, w, object, r, f))
				}
			}
			out[object] = append(out[object], changed)
		}
	}
	return out
}

func twoWorld(t *rapid.T, csv string, w records) *plantest.World {
	data, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	made, err := plantest.New(&txtar.Archive{Files: []txtar.File{{Name: "schema", Data: []byte(twoSchema)}, {Name: "graph.graphql", Data: []byte(twoGraph)},
		{Name: "policy.csv", Data: []byte(csv)}, {Name: "data.json", Data: data}}})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// A document draws operations of a schema: whatever it lets ask.
type drawn struct {
	t      *rapid.T
	w      *plantest.World
	schema *ast.Schema
	words  []string
}

func (d *drawn) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(d.t, label) }

func (d *drawn) operation() string {
	kind, root := "query", d.schema.Query
	if d.schema.Mutation != nil && d.pick("kind", 3) == 0 {
		kind, root = "mutation", d.schema.Mutation
	}
	var fields ast.FieldList
	for _, f := range root.Fields {
		if _, own := d.w.Catalog.Element(root.Name, f.Name); own && f.Name != "node" {
			fields = append(fields, f)
		}
	}
	if len(fields) == 0 {
		return "{ viewer { id } }"
	}
	return kind + " { " + d.field(fields[d.pick("root", len(fields))], 0) + " }"
}

func (d *drawn) field(f *ast.FieldDefinition, depth int) string {
	var args []string
	for _, a := range f.Arguments {
		switch {
		case a.Name == "options":
			args = append(args, "options: {mode: PREVIEW}")
		case a.Name == "after" || a.Name == "before" || a.Name == "ifVersion":
		case a.Type.NonNull && a.DefaultValue == nil || d.pick(a.Name, 3) == 0:
			args = append(args, a.Name+": "+d.input(a.Type, 0))
		}
	}
	out := f.Name
	if len(args) > 0 {
		out += "(" + strings.Join(args, " ") + ")"
	}
	def := d.schema.Types[f.Type.Name()]
	if def.Kind != ast.Object {
		return out
	}
	return out + " { " + d.selection(def, depth+1) + " }"
}

func (d *drawn) selection(def *ast.Definition, depth int) string {
	out := []string{"__typename"}
	for _, f := range def.Fields {
		leaf := d.schema.Types[f.Type.Name()].Kind != ast.Object
		if strings.HasPrefix(f.Name, "__") || f.Name == "proposal" || !leaf && depth > 5 || d.pick(f.Name, 3) == 0 {
			continue
		}
		out = append(out, d.field(f, depth))
	}
	return strings.Join(out, " ")
}

func (d *drawn) input(typ *ast.Type, depth int) string {
	if typ.Elem != nil {
		items := []string{d.input(typ.Elem, depth)}
		if d.pick("two", 3) == 0 {
			items = append(items, d.input(typ.Elem, depth))
		}
		return "[" + strings.Join(items, " ") + "]"
	}
	def := d.schema.Types[typ.Name()]
	switch def.Kind {
	case ast.Enum:
		return def.EnumValues[d.pick("enum", len(def.EnumValues))].Name
	case ast.InputObject:
		return d.object(def, depth)
	}
	switch def.Name {
	case "Int":
		return rapid.SampledFrom([]string{"1", "2", "3", "11", "12"}).Draw(d.t, "int")
	case "Boolean":
		return rapid.SampledFrom([]string{"true", "false"}).Draw(d.t, "bool")
	case "Decimal":
		return rapid.SampledFrom([]string{`"1.00"`, `"7.50"`}).Draw(d.t, "decimal")
	case "Date":
		return `"1970-05-06"`
	case "DateTime":
		return `"2026-05-06T01:02:03Z"`
	}
	word := rapid.SampledFrom(d.words).Draw(d.t, "word")
	return `"` + word[:rapid.SampledFrom([]int{len(word), 1}).Draw(d.t, "part")] + `"`
}

func (d *drawn) object(def *ast.Definition, depth int) string {
	var out []string
	chosen := d.pick("member", len(def.Fields))
	for i, f := range def.Fields {
		single := def.Directives.ForName("oneOf") != nil
		switch {
		case i == chosen, f.Type.NonNull && f.DefaultValue == nil, !single && d.pick(f.Name, 6) == 0:
			if depth > 3 && d.schema.Types[f.Type.Name()].Kind == ast.InputObject && !f.Type.NonNull && len(out)+1 < len(def.Fields) {
				chosen++
				continue
			}
			out = append(out, f.Name+": "+d.input(f.Type, depth+1))
		}
	}
	return "{" + strings.Join(out, " ") + "}"
}

// Property: two worlds that differ only in what a principal is not shown, or is
// shown masked, answer equally whatever the schema lets ask, previews included;
// and no answer holds what is not shown.
func TestTwoWorlds(t *testing.T) {
	asked, failed := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		d := &twoDraw{t: rt}
		var lines []twoLine
		csv := ""
		for range rapid.IntRange(1, 6).Draw(rt, "lines") {
			l := drawTwoLine(rt)
			if l.fields != nil && len(l.fields) == 0 {
				continue
			}
			lines = append(lines, l)
			csv += l.String()
		}
		for _, object := range slices.Sorted(maps.Keys(twoFields())) {
			if rapid.Bool().Draw(rt, "writes "+object) {
				csv += "p, r, " + object + ", create|update|delete, propose\n"
			}
		}
		one := d.world()
		two := d.altered(one, lines)
		worlds := []*plantest.World{twoWorld(rt, csv, one), twoWorld(rt, csv, two)}
		var words []string
		for _, w := range []records{one, two} {
			for _, object := range slices.Sorted(maps.Keys(w)) {
				for _, r := range w[object] {
					for _, f := range twoFields()[object] {
						if text, ok := r[f.system].(string); ok && f.kind == "text" {
							words = append(words, text)
						}
					}
				}
			}
		}
		const who = "human r region=EU"
		for range 4 {
			view, err := worlds[0].Request(who, "{ viewer { id } }", "")
			if err != nil {
				rt.Fatal(err)
			}
			doc := (&drawn{rt, worlds[0], view.Schema, words}).operation()
			var answers []string
			for _, w := range worlds {
				_, answer := play(t, w, map[string]string{"as": who, "query": doc})
				answers = append(answers, answer)
			}
			if asked++; !strings.HasPrefix(answers[0], "{") {
				failed++
			}
			if answers[0] != answers[1] {
				rt.Fatalf("%s\n%s\n%s\n%v\n%v\n%s", csv, doc, answers[0], one, two, answers[1])
			}
			for object, list := range one {
				for _, r := range list {
					for _, f := range twoFields()[object] {
						text, ok := r[f.system].(string)
						if ok && f.kind == "text" && f.system != "region" && !strings.Contains(doc, text) && strings.Contains(answers[0], text) && hiddenEverywhere(lines, one, text) {
							rt.Fatalf("%s\n%s\n%s of %v is in\n%s", csv, doc, f.graph, r, answers[0])
						}
					}
				}
			}
		}
	})
	if failed*3 > asked {
		t.Errorf("%d of %d operations were refused: they show nothing", failed, asked)
	}
}

// hiddenEverywhere tells that no record shows the text as it is.
func hiddenEverywhere(lines []twoLine, w records, text string) bool {
	for object, list := range w {
		for _, r := range list {
			for _, f := range twoFields()[object] {
				if r[f.system] == text && shown(lines, w, object, r, f) == policy.MaskNone {
					return false
				}
			}
		}
	}
	return true
}
