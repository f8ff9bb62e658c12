package catalog

import (
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

// references makes relations, in both directions, of the foreign keys that the
// sources declare.
func (b *builder) references() {
	for _, c := range b.cat.Collections {
		for _, ref := range c.Spec.References {
			b.reference(c, ref)
		}
	}
}

func (b *builder) reference(c *Collection, ref connectors.Reference) {
	to := b.cat.byObject[c.Source.Name+"."+ref.To]
	if to == nil || len(ref.Fields) == 0 || len(ref.Fields) != len(ref.On) {
		return // its other end is not connected
	}
	var fields, on []*Field
	cast := false
	for i := range ref.Fields {
		f, g := c.system[ref.Fields[i]], to.system[ref.On[i]]
		if f == nil || g == nil {
			return
		}
		if !joinable(f.Type, g.Type) {
			b.configProblem(ProblemType, "", "%s: the foreign key %s pairs %s with %s; it is left out", c.Object, ref.Name, f.Type.Output, g.Type.Output)
			b.problems[len(b.problems)-1].Warning = true
			return
		}
		cast = cast || f.Type.Leaf != g.Type.Leaf
		fields, on = append(fields, f), append(on, g)
	}
	if !to.IsKey(on) {
		b.configProblem(ProblemRelation, "", "%s: the foreign key %s leads to what is no key of %s; it is left out", c.Object, ref.Name, to.Object)
		b.problems[len(b.problems)-1].Warning = true
		return
	}
	one := &Relation{From: c, To: to, Fields: fields, On: on, cast: cast}
	back := &Relation{From: to, To: c, Fields: on, On: fields, Many: !c.IsKey(fields), Inverse: one, cast: cast}
	one.Inverse = back
	one.candidates, one.weak = b.toOneNames(c, to, fields)
	back.candidates = b.toManyNames(to, c, fields, on, back.Many)
	if bindable(to, on) {
		c.Relations = append(c.Relations, one)
	}
	if bindable(c, fields) {
		to.Relations = append(to.Relations, back)
	}
}

// bindable tells whether a collection can be read for values of these fields.
func bindable(c *Collection, fields []*Field) bool {
	if c.Spec.AnyBind {
		return true
	}
	for _, names := range c.Spec.BindFields {
		if len(names) != len(fields) {
			continue
		}
		all := true
		for _, f := range fields {
			found := false
			for _, n := range names {
				found = found || n == f.System
			}
			all = all && found
		}
		if all {
			return true
		}
	}
	return c.Spec.Get && sameFields(fields, c.Key) && len(c.Key) > 0
}

// toOneNames are the names of a relation to one: its column without _id, or the
// target; where that is taken, the target by the columns.
func (b *builder) toOneNames(from, to *Collection, fields []*Field) (names []string, weak bool) {
	target := b.plain[to].single
	by := target + "By" + byColumns(fields)
	if len(fields) == 1 {
		if ws, ok := withoutID(words(fields[0].System)); ok {
			return []string{camel(ws), by}, false
		}
	}
	return []string{target, by}, true
}

// toManyNames are the names of the other direction: the child's collection
// where the columns are the target's key name or TARGET_id, else CHILDREN by
// the column.
func (b *builder) toManyNames(target, child *Collection, fields, on []*Field, many bool) []string {
	base := b.plain[child].plural
	if !many {
		base = b.plain[child].single
	}
	by := base + "By" + byColumns(fields)
	own := len(fields) > 0
	single := camel(words(b.plain[target].single))
	for i, f := range fields {
		name := camel(words(f.System))
		named := name == camel(words(on[i].System)) || len(fields) == 1 && name == single+"Id"
		own = own && named
	}
	if own && target != child {
		return []string{base, by}
	}
	return []string{by, by + "Key"}
}

func byColumns(fields []*Field) string {
	var parts []string
	for _, f := range fields {
		ws, _ := withoutID(words(f.System))
		parts = append(parts, pascal(ws))
	}
	return strings.Join(parts, "And")
}

// nameRelations names what foreign keys gave. Fields and declared relations
// keep their names; nothing that is added hides one.
func (b *builder) nameRelations() {
	for _, c := range b.cat.Collections {
		wanted := map[string][]*Relation{}
		for _, r := range c.Relations {
			if !r.declared {
				wanted[r.candidates[0]] = append(wanted[r.candidates[0]], r)
			}
		}
		for _, r := range c.Relations {
			if r.declared {
				continue
			}
			strong := 0
			for _, other := range wanted[r.candidates[0]] {
				if !other.weak {
					strong++
				}
			}
			alone := len(wanted[r.candidates[0]]) == 1 || (strong == 1 && !r.weak)
			r.Name = r.candidates[0]
			if !alone || c.taken(r.Name) {
				r.Name = r.candidates[1]
			}
			if c.taken(r.Name) {
				b.problem(ProblemCollision, nil, fmt.Sprintf("extend type %s @rename(field: %q, to: ...)", c.Type, r.Name),
					"%s: the relation to %s and another field are both named %q", c.Object, r.To.Object, r.Name)
				continue
			}
			c.relations[r.Name] = r
		}
	}
	for _, p := range b.relationRenames {
		b.renameRelation(p)
	}
}

func (c *Collection) taken(name string) bool {
	return c.fields[name] != nil || c.relations[name] != nil
}

func (b *builder) renameRelation(p relationRename) {
	c, name, to := p.collection, p.d.text["field"], p.d.text["to"]
	r := c.relations[name]
	switch {
	case r == nil:
		for n := range c.relations {
			p.known = append(p.known, n)
		}
		b.problem(ProblemUnknownName, p.d.at["field"], didYouMean(name, p.known), "%s has no field %q", c.Type, name)
	case r.declared:
		b.problem(ProblemCollision, p.d.pos, "name it so where it is declared", "%s.%s is declared in a graph file", c.Type, name)
	case c.taken(to):
		b.problem(ProblemCollision, p.d.at["to"], "", "%s has a field %q already", c.Type, to)
	default:
		delete(c.relations, name)
		r.Name = to
		c.relations[to] = r
	}
}

// declare adds the relation of a field declared with @relation, and its
// inverse.
func (b *builder) declare(c *Collection, f *ast.FieldDefinition, d *directive) {
	to := b.cat.byObject[d.text["to"]]
	if to == nil {
		var known []string
		for name := range b.cat.byObject {
			known = append(known, name)
		}
		b.problem(ProblemUnknownName, d.at["to"], didYouMean(d.text["to"], known), "there is no collection %q", d.text["to"])
		return
	}
	many, ok := b.cardinality(f, to)
	if !ok {
		return
	}
	fields, ok1 := b.fieldList(c, d, "fields")
	on, ok2 := b.fieldList(to, d, "on")
	if !ok1 || !ok2 || !b.pairs(c, to, fields, on, d) {
		return
	}
	r := &Relation{Name: f.Name, From: c, To: to, Many: many, Fields: fields, On: on,
		Cross: c.Source != to.Source, Comment: f.Description, declared: true}
	for i := range fields {
		r.cast = r.cast || fields[i].Type.Leaf != on[i].Type.Leaf
	}
	switch {
	case !many && !to.IsKey(on):
		b.problem(ProblemRelation, f.Position, fmt.Sprintf("%s: %sConnection", f.Name, to.Type),
			"%s.%s leads to one %s, but %s is no key of %s", c.Type, f.Name, to.Type, fieldNames(on), to.Object)
		return
	case !bindable(to, on):
		b.problem(ProblemRelation, d.at["on"], "", "%s cannot be read by %s: the source offers no such filter", to.Object, fieldNames(on))
		return
	}
	if !b.addRelation(c, r, f.Position, f.Name) {
		return
	}
	inverse := d.text["inverse"]
	if inverse == "" {
		return
	}
	back := &Relation{Name: inverse, From: to, To: c, Many: !c.IsKey(fields), Fields: on, On: fields,
		Cross: r.Cross, Inverse: r, declared: true, cast: r.cast}
	switch {
	case !validName(inverse):
		b.problem(ProblemInvalidName, d.at["inverse"], "", "%q is no name in GraphQL", inverse)
	case !bindable(c, fields):
		b.problem(ProblemRelation, d.at["inverse"], "leave inverse out", "%s cannot be read by %s: the source offers no such filter", c.Object, fieldNames(fields))
	case b.addRelation(to, back, d.at["inverse"], inverse):
		r.Inverse = back
	}
}

// addRelation adds a declared relation unless its name is taken.
func (b *builder) addRelation(c *Collection, r *Relation, pos *ast.Position, name string) bool {
	if c.taken(name) {
		b.problem(ProblemCollision, pos, fmt.Sprintf("extend type %s @rename(field: %q, to: %q), or another name here", c.Type, name, name+"2"),
			"%s has a field %q already", c.Type, name)
		return false
	}
	c.Relations = append(c.Relations, r)
	c.relations[name] = r
	return true
}

// cardinality reads the declared type: X to one, XConnection to many.
func (b *builder) cardinality(f *ast.FieldDefinition, to *Collection) (many, ok bool) {
	t := f.Type
	want := fmt.Sprintf("%s or %sConnection", to.Type, to.Type)
	switch {
	case len(f.Arguments) > 0:
		b.problem(ProblemSyntax, f.Position, "", "the arguments of %q are generated", f.Name)
	case !validName(f.Name):
		b.problem(ProblemInvalidName, f.Position, "", "%q is no name for a field", f.Name)
	case t.NonNull:
		b.problem(ProblemType, t.Position, "write "+want, "a relation is always nullable")
	case t.Elem != nil:
		b.problem(ProblemType, t.Position, "write "+want, "a relation to many is a connection")
	case t.NamedType == to.Type:
		return false, true
	case t.NamedType == to.Type+"Connection":
		return true, true
	default:
		b.problem(ProblemType, t.Position, "write "+want, "the type %q is not that of %s", t.NamedType, to.Object)
	}
	return false, false
}

func (b *builder) fieldList(c *Collection, d *directive, arg string) ([]*Field, bool) {
	var out []*Field
	for _, name := range d.lists[arg] {
		f := c.fields[name]
		switch {
		case f != nil:
			out = append(out, f)
		case strings.Contains(name, "("):
			b.problem(ProblemNotSupported, d.at[arg], "", "a function in %s is not supported yet: %s", arg, name)
		default:
			var known []string
			for n := range c.fields {
				known = append(known, n)
			}
			b.problem(ProblemUnknownName, d.at[arg], didYouMean(name, known), "%s has no field %q", c.Type, name)
		}
	}
	return out, len(out) == len(d.lists[arg])
}

// pairs checks that paired fields can be compared.
func (b *builder) pairs(c, to *Collection, fields, on []*Field, d *directive) bool {
	if len(fields) != len(on) {
		b.problem(ProblemRelation, d.at["on"], "", "fields and on pair by position: %d and %d names", len(fields), len(on))
		return false
	}
	ok := true
	for i := range fields {
		if !joinable(fields[i].Type, on[i].Type) {
			b.problem(ProblemType, d.at["on"], "", "%s.%s is %s and %s.%s is %s: they cannot be compared",
				c.Type, fields[i].Name, typeText(fields[i].Type), to.Type, on[i].Name, typeText(on[i].Type))
			ok = false
		}
	}
	return ok
}

func typeText(t *Type) string {
	if t.List {
		return "[" + t.Output + "]"
	}
	return t.Output
}

func fieldNames(fields []*Field) string {
	var out []string
	for _, f := range fields {
		out = append(out, f.Name)
	}
	return strings.Join(out, " ")
}
