package catalog

import (
	"github.com/vektah/gqlparser/v2/ast"
)

// A hiddenRelation waits until relations have names: the field to hide may be
// one.
type hiddenRelation struct {
	collection *Collection
	d          *directive
}

// directives applies everything of the graph files but @rename.
func (b *builder) directives() {
	for _, ext := range b.exts {
		if len(ext.Interfaces) > 0 {
			b.problem(ProblemSyntax, ext.Position, "", "%s cannot be given interfaces", ext.Name)
		}
		if ext.Kind != ast.Object {
			b.otherKinds(ext)
			continue
		}
		if name := ext.Name; name == "Query" || name == "Mutation" {
			b.root(ext)
			continue
		}
		things := b.candidates(ext.Name)
		switch {
		case len(things) == 1:
			b.extend(things[0], ext)
		case !onlyRenames(ext):
			b.pick(things, ext.Name, "", &directive{pos: ext.Position})
		}
	}
}

func onlyRenames(def *ast.Definition) bool {
	for _, d := range def.Directives {
		if d.Name != "rename" {
			return false
		}
	}
	return len(def.Fields) == 0
}

// otherKinds refuses extensions of inputs, enums and so on: what directives
// there are for them is not built yet.
func (b *builder) otherKinds(def *ast.Definition) {
	refused := false
	for _, d := range def.Directives {
		if later[d.Name] || d.Name == "secret" {
			b.problem(ProblemNotSupported, d.Position, "", "@%s on %s is not supported yet", d.Name, def.Name)
			refused = true
		}
	}
	if !refused {
		b.problem(ProblemSyntax, def.Position, "", "only types can be extended, and %s is none", def.Name)
	}
}

func (b *builder) extend(thing any, def *ast.Definition) {
	c, isCollection := thing.(*Collection)
	for _, raw := range def.Directives {
		if raw.Name == "rename" {
			continue
		}
		d := b.check(raw)
		switch {
		case d == nil:
		case !isCollection:
			b.problem(ProblemNotSupported, d.pos, "", "@%s on the nested type %s is not supported yet", raw.Name, def.Name)
		case raw.Name == "hide":
			b.hide(c, d)
		case raw.Name == "label":
			if !d.has("field") {
				b.problem(ProblemSyntax, d.pos, `@label(field: "name")`, "@label needs the field that names a record")
			} else if f := b.field(c, d); f != nil {
				c.Labels = append(c.Labels, Label{Field: f, Text: d.text["text"]})
			}
		case raw.Name == "secret":
			if f := b.field(c, d); f != nil {
				f.Secret = true
			}
		default:
			b.problem(ProblemSyntax, d.pos, "", "@%s stands at a field", raw.Name)
		}
	}
	for _, f := range def.Fields {
		b.fieldDeclaration(c, f)
	}
}

// fieldDeclaration reads a field that an extension adds.
func (b *builder) fieldDeclaration(c *Collection, f *ast.FieldDefinition) {
	if len(f.Directives) == 0 {
		b.problem(ProblemSyntax, f.Position, "", "%s: a graph file adds no fields but relations (@relation)", f.Name)
		return
	}
	for i, raw := range f.Directives {
		d := b.check(raw)
		switch {
		case d == nil:
		case raw.Name != "relation":
			b.problem(ProblemSyntax, d.pos, "", "@%s does not stand at a field", raw.Name)
		case c == nil:
			b.problem(ProblemNotSupported, d.pos, "", "relations of nested types are not supported yet")
		case i > 0:
			b.problem(ProblemCollision, d.pos, "", "%s is declared twice", f.Name)
		default:
			b.declare(c, f, d)
		}
	}
}

func (b *builder) field(c *Collection, d *directive) *Field {
	name := d.text["field"]
	if f := c.fields[name]; f != nil {
		return f
	}
	var known []string
	for _, f := range c.Fields {
		known = append(known, f.Name)
	}
	b.problem(ProblemUnknownName, d.at["field"], didYouMean(name, known), "%s has no field %q", c.Type, name)
	return nil
}

func (b *builder) hide(c *Collection, d *directive) {
	if !d.has("field") {
		c.Hidden = true
		return
	}
	if f := c.fields[d.text["field"]]; f != nil {
		f.Hidden = true
		return
	}
	b.hiddenRelations = append(b.hiddenRelations, hiddenRelation{c, d})
}

func (b *builder) hideRelations() {
	for _, h := range b.hiddenRelations {
		if r := h.collection.relations[h.d.text["field"]]; r != nil {
			r.Hidden = true
			continue
		}
		b.field(h.collection, h.d)
	}
}

// root applies the directives on Query and Mutation.
func (b *builder) root(def *ast.Definition) {
	for _, f := range def.Fields {
		b.problem(ProblemSyntax, f.Position, "", "a graph file adds no root fields: %s", f.Name)
	}
	for _, raw := range def.Directives {
		if raw.Name == "rename" {
			continue
		}
		d := b.check(raw)
		switch {
		case d == nil:
		case raw.Name != "hide":
			b.problem(ProblemSyntax, d.pos, "", "@%s does not stand at %s", raw.Name, def.Name)
		case !d.has("field"):
			b.problem(ProblemSyntax, d.pos, "", "@hide on %s needs a field", def.Name)
		default:
			b.hideRoot(def.Name, d)
		}
	}
}

func (b *builder) hideRoot(root string, d *directive) {
	name, found := d.text["field"], false
	known := b.functionNames(root)
	for _, f := range b.cat.Functions {
		if f.Field == name && f.Reads() == (root == "Query") {
			f.Hidden, found = true, true
		}
	}
	for _, c := range b.cat.Collections {
		query, mutation := rootNames(c)
		names := query
		if root == "Mutation" {
			names = mutation
		}
		if names[name] != 0 {
			c.hidden[name], found = true, true
		}
		for n := range names {
			known = append(known, n)
		}
	}
	if !found {
		b.problem(ProblemUnknownName, d.at["field"], didYouMean(name, known), "%s has no field %q", root, name)
	}
}
