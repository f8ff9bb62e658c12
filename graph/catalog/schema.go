package catalog

import (
	"sort"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/formatter"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// Schema makes the GraphQL schema of a view: what the view permits, what is
// reachable from it, and nothing else; every view has viewer. Definitions are
// shared between the schemas of one catalog and must not be changed. The caller
// keeps the schema by the view's Shape: views of one shape have equal schemas.
func (c *Catalog) Schema(v *policy.View) (*ast.Schema, error) {
	s := &sight{cat: c, view: v, control: c.base.types[0]}
	if v != nil && v.CanDecide {
		s.control = c.base.types[1]
	}
	s.look()
	out := &ast.Schema{
		Types: map[string]*ast.Definition{}, Directives: c.base.directives,
		PossibleTypes: map[string][]*ast.Definition{}, Implements: map[string][]*ast.Definition{},
	}
	s.out = out.Types
	out.Query = s.root("Query", s.queryFields())
	out.Mutation = s.root("Mutation", s.mutationFields())
	out.Subscription = s.root("Subscription", nil)
	for name, def := range s.control {
		if def.BuiltIn {
			s.need(name)
		}
	}
	if err := s.complete(); err != nil {
		return nil, err
	}
	relate(out)
	return out, nil
}

// Print writes a schema as SDL, types sorted by name.
func Print(schema *ast.Schema) string {
	var b strings.Builder
	formatter.NewFormatter(&b, formatter.WithIndent("  ")).FormatSchema(schema)
	return b.String()
}

// A sight is one view's look at the catalog while its schema is made.
type sight struct {
	cat     *Catalog
	view    *policy.View
	control map[string]*ast.Definition
	shown   map[*Collection]*shown
	nodes   bool // some type can be had by node(id:)
	out     map[string]*ast.Definition
	queue   []string
}

// visibility of a field in a view.
type visibility uint8

const (
	invisible   visibility = iota
	masked                 // never its own value: nullable, and in no input
	hashed                 // the same, and which records have equal ones is told
	conditional            // null or masked for some records: nullable, and in no input
	always
)

// shown is what a view shows of one collection.
type shown struct {
	c      *Collection
	access *policy.Access
	reads  bool // the record type exists
	cells  []visibility
	// filterable and orderable: the inputs have members.
	filterable, orderable bool
	// signature tells views apart that show something else of the collection.
	signature string
}

func (s *shown) cell(f *Field) visibility { return s.cells[f.index] }

// look decides what is shown of every collection, until nothing changes.
func (s *sight) look() {
	s.shown = make(map[*Collection]*shown, len(s.cat.Collections))
	for _, c := range s.cat.Collections {
		s.glance(c)
		if h := s.shown[c]; h != nil {
			s.nodes = s.nodes || h.reads && c.NodeID
		}
	}
	for changed := true; changed; {
		changed = false
		for _, h := range s.shown {
			for _, r := range h.c.Relations {
				if !s.relatesInInputs(r) {
					continue
				}
				to := s.shown[r.To]
				if !h.filterable && to.filterable {
					h.filterable, changed = true, true
				}
				if !h.orderable && !r.Many && to.orderable {
					h.orderable, changed = true, true
				}
			}
		}
	}
	for _, h := range s.shown {
		h.signature = s.sign(h)
	}
}

// relates tells whether the view has the relation: both ends are read, and the
// fields that join them can be seen, unless they are a key or hidden from all.
// A relation over a masked field would tell which records have its value, and
// the other end the value itself: it is there only where both ends are shown as
// digests, which tell that already.
func (s *sight) relates(r *Relation) bool { return s.joined(r, conditional) }

// relatesInInputs tells whether filters and orders may go through the relation.
func (s *sight) relatesInInputs(r *Relation) bool { return r.Filterable() && s.joined(r, always) }

func (s *sight) joined(r *Relation, least visibility) bool {
	from, to := s.shown[r.From], s.shown[r.To]
	if r.Hidden || from == nil || to == nil || !from.reads || !to.reads {
		return false
	}
	for i := range r.Fields {
		a, b := from.veiled(r.Fields[i]), to.veiled(r.On[i])
		if a == hashed && b == hashed && least == conditional {
			continue
		}
		if a != invisible || b != invisible || !from.joins(r.Fields[i], least) || !to.joins(r.On[i], least) {
			return false
		}
	}
	return true
}

// veiled is the visibility of a field whose value is never shown as it is;
// invisible for all others.
func (s *shown) veiled(f *Field) visibility {
	if v := s.cell(f); !f.Hidden && (v == masked || v == hashed) {
		return v
	}
	return invisible
}

func (s *shown) joins(f *Field, least visibility) bool {
	if f.Hidden || s.cell(f) >= least {
		return true
	}
	if s.cell(f) == conditional {
		return false
	}
	for _, k := range s.c.Key {
		if f == k {
			return true
		}
	}
	return false
}

// sign writes down everything that the collection's definitions depend on.
func (s *sight) sign(h *shown) string {
	b := make([]byte, 0, 2*len(h.c.Fields)+len(h.c.Relations)+8)
	flag := func(bits ...bool) {
		var x byte
		for i, bit := range bits {
			if bit {
				x |= 1 << i
			}
		}
		b = append(b, x)
	}
	flag(h.reads, h.filterable, h.orderable, h.access.Create != nil, h.access.Update != nil, h.access.Delete != nil)
	for i, f := range h.c.Fields {
		flag(h.cells[i]&1 != 0, h.cells[i]&2 != 0, h.cells[i]&4 != 0, writes(h.access.Create, f), writes(h.access.Update, f))
	}
	for _, r := range h.c.Relations {
		to := s.shown[r.To]
		in := s.relatesInInputs(r)
		flag(s.relates(r), in, in && to.filterable, in && to.orderable, to != nil && to.filterable, to != nil && to.orderable)
	}
	return string(b)
}

func writes(w *policy.WriteAccess, f *Field) bool { return w != nil && w.Fields[f.System] }

// root makes a root type of the control plane's fields and those of the data
// plane; nil where there are none.
func (s *sight) root(name string, fields ast.FieldList) *ast.Definition {
	def := &ast.Definition{Kind: ast.Object, Name: name, Position: builtAt}
	var own ast.FieldList
	if c := s.control[name]; c != nil {
		def.Description = c.Description
		own = c.Fields
		def.Fields = append(def.Fields, own...)
	}
	sort.Slice(fields, func(i, j int) bool { return fields[i].Name < fields[j].Name })
	for _, f := range fields {
		if own.ForName(f.Name) == nil {
			def.Fields = append(def.Fields, f)
		}
	}
	if len(def.Fields) == 0 {
		return nil
	}
	s.out[name] = def
	s.refer(def)
	return def
}

// need asks for a type by name; it is defined later, once.
func (s *sight) need(name string) {
	if _, ok := s.out[name]; !ok {
		s.out[name] = nil
		s.queue = append(s.queue, name)
	}
}

// refer asks for everything that a definition names.
func (s *sight) refer(def *ast.Definition) {
	for _, i := range def.Interfaces {
		s.need(i)
	}
	for _, t := range def.Types {
		s.need(t)
	}
	for _, f := range def.Fields {
		s.need(f.Type.Name())
		for _, a := range f.Arguments {
			s.need(a.Type.Name())
		}
	}
}

// complete defines everything that was asked for.
func (s *sight) complete() error {
	for len(s.queue) > 0 {
		name := s.queue[len(s.queue)-1]
		s.queue = s.queue[:len(s.queue)-1]
		def := s.define(name)
		if def == nil {
			return connectors.Errorf(connectors.CodeInternal, "the schema of a view names the type %q, which nothing defines", name)
		}
		s.out[name] = def
		s.refer(def)
	}
	return nil
}

// define makes the definition of a type as the view shows it; nil where there
// is none.
func (s *sight) define(name string) *ast.Definition {
	if name == "Node" && s.control[name] == nil {
		return s.cat.base.shared("Node", nodeDefinition)
	}
	if def := s.control[name]; def != nil {
		return def
	}
	if c, ok := s.cat.comparisons[name]; ok {
		return s.cat.base.shared(name, func() *ast.Definition { return comparisonDefinition(name, c) })
	}
	if scalar, ok := strings.CutSuffix(name, "Change"); ok && sharedInput(name) {
		return s.cat.base.shared(name, func() *ast.Definition { return s.changeDefinition(name, scalar) })
	}
	if name == "OrderDirection" {
		return s.cat.base.shared(name, directionDefinition)
	}
	t := s.cat.types[name]
	key := name
	switch {
	case t.collection != nil:
		h := s.shown[t.collection]
		if h == nil {
			return nil
		}
		key += "\x00" + h.signature
	case t.function != nil:
		key += "\x00" + s.signCall(t.function)
	}
	return s.cat.base.shared(key, func() *ast.Definition { return s.generate(name, t) })
}

// signCall writes down what a function's definitions depend on.
func (s *sight) signCall(f *Function) string {
	a := s.view.Object(f.Object)
	b := make([]byte, len(f.Args))
	for i, arg := range f.Args {
		if a != nil && writes(a.Call, arg) {
			b[i] = 1
		}
	}
	return string(b)
}

// relate fills in which types implement which.
func relate(schema *ast.Schema) {
	names := sortedKeys(schema.Types)
	for _, name := range names {
		def := schema.Types[name]
		switch def.Kind {
		case ast.Object, ast.InputObject:
			for _, i := range def.Interfaces {
				schema.AddPossibleType(i, def)
				schema.AddImplements(name, schema.Types[i])
			}
			schema.AddPossibleType(name, def)
		case ast.Interface:
			for _, i := range def.Interfaces {
				schema.AddPossibleType(i, def)
				schema.AddImplements(name, schema.Types[i])
			}
		case ast.Union:
			for _, t := range def.Types {
				schema.AddPossibleType(name, schema.Types[t])
				schema.AddImplements(t, def)
			}
		}
	}
}
