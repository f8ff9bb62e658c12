package catalog

import (
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// renames gives types, root fields and fields their new names: types first, so
// that a file may extend a type by its new name as well.
func (b *builder) renames() {
	type pending struct {
		ext *ast.Definition
		d   *directive
	}
	var fields []pending
	renamed := map[any]bool{}
	for _, ext := range b.exts {
		for _, raw := range ext.Directives {
			if raw.Name != "rename" {
				continue
			}
			d := b.check(raw)
			if d == nil {
				continue
			}
			if !validName(d.text["to"]) {
				b.problem(ProblemInvalidName, d.at["to"], "", "%q is no name in GraphQL", d.text["to"])
				continue
			}
			if d.has("field") {
				fields = append(fields, pending{ext, d})
				continue
			}
			b.renameType(ext, d, renamed)
		}
	}
	for _, p := range fields {
		switch p.ext.Name {
		case "Query", "Mutation":
			b.renameFunction(p.ext.Name, p.d, renamed)
		default:
			b.renameField(p.ext, p.d, renamed)
		}
	}
}

// candidates are the things that an extended name may mean: by its new name,
// else by the generated one.
func (b *builder) candidates(name string) []any {
	var out []any
	for _, c := range b.cat.Collections {
		if c.Type == name {
			out = append(out, c)
		}
	}
	for _, o := range b.cat.Objects {
		if o.Type == name {
			out = append(out, o)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, t := range b.generatedTypes[name] {
		if _, isEnum := t.(*Enum); !isEnum {
			out = append(out, t)
		}
	}
	return out
}

func objectOf(thing any) string {
	switch t := thing.(type) {
	case *Collection:
		return t.Object
	case *ObjectType:
		return t.Source.Name + "." + t.Spec.Name
	case *Function:
		return t.Object
	}
	return ""
}

// pick chooses among things of one name by the argument of.
func (b *builder) pick(things []any, name, of string, d *directive) any {
	if len(things) == 0 {
		b.problem(ProblemUnknownName, d.pos, didYouMean(name, b.typeNames()), "there is no type %q", name)
		return nil
	}
	if of == "" {
		if len(things) == 1 {
			return things[0]
		}
		b.problem(ProblemAmbiguous, d.pos, fmt.Sprintf("say which: of: %q", objectOf(things[0])), "several things are named %q", name)
		return nil
	}
	for _, t := range things {
		if objectOf(t) == of {
			return t
		}
	}
	var known []string
	for _, t := range things {
		known = append(known, objectOf(t))
	}
	b.problem(ProblemUnknownName, d.at["of"], "one of "+strings.Join(known, ", "), "%q is not named %q", of, name)
	return nil
}

func (b *builder) typeNames() []string {
	var out []string
	for _, c := range b.cat.Collections {
		out = append(out, c.Type)
	}
	for _, o := range b.cat.Objects {
		out = append(out, o.Type)
	}
	return append(out, "Query", "Mutation")
}

func (b *builder) renameType(def *ast.Definition, d *directive, renamed map[any]bool) {
	name, to := def.Name, d.text["to"]
	if name == "Query" || name == "Mutation" {
		b.problem(ProblemSyntax, d.pos, "", "%s cannot be renamed; name a field", name)
		return
	}
	var things []any
	for _, t := range b.generatedTypes[name] {
		if _, isEnum := t.(*Enum); !isEnum {
			things = append(things, t)
		}
	}
	thing := b.pick(things, name, d.text["of"], d)
	if thing == nil {
		return
	}
	switch {
	case renamed[thing]:
		b.problem(ProblemCollision, d.pos, "", "%s is renamed twice", objectOf(thing))
		return
	case reservedType(to) || b.control[to]:
		b.problem(ProblemInvalidName, d.at["to"], "", "the name %q is reserved", to)
		return
	}
	renamed[thing] = true
	switch t := thing.(type) {
	case *ObjectType:
		t.Type = to
	case *Collection:
		_, many := baseNames(to)
		t.Type, t.Single, t.Plural = to, camel(words(to)), camel(many)
		if t.Plural == t.Single {
			t.Plural += "List"
		}
		if p := d.text["plural"]; p != "" {
			if !validName(p) || p == t.Single {
				b.problem(ProblemInvalidName, d.at["plural"], "", "%q cannot be the plural of %q", p, t.Single)
				return
			}
			t.Plural = untitle(p)
		}
		if b.reservedRoots(t) {
			b.problem(ProblemInvalidName, d.at["to"], "", "the root fields of %q would have reserved names", to)
		}
		b.plain[t] = baseName{single: t.Single, plural: t.Plural}
	}
}

func (b *builder) renameFunction(root string, d *directive, renamed map[any]bool) {
	name, to := d.text["field"], d.text["to"]
	var things []any
	for _, f := range b.generatedFields[name] {
		if f.Reads() == (root == "Query") {
			things = append(things, f)
		}
	}
	if len(things) == 0 {
		hint := ""
		for _, c := range b.cat.Collections {
			query, mutation := rootNames(c)
			if query[name] != 0 || mutation[name] != 0 {
				hint = fmt.Sprintf("rename the type, its root fields follow: extend type %s @rename(to: ...)", c.Type)
			}
		}
		if hint == "" {
			hint = didYouMean(name, b.functionNames(root))
		}
		b.problem(ProblemUnknownName, d.at["field"], hint, "%s has no function %q", root, name)
		return
	}
	thing := b.pick(things, name, d.text["of"], d)
	f, ok := thing.(*Function)
	if !ok {
		return
	}
	switch {
	case renamed[f]:
		b.problem(ProblemCollision, d.pos, "", "%s is renamed twice", f.Object)
	case reservedRoot(to) || reservedType(title(to)+"Payload") || reservedType(title(to)+"Input"):
		b.problem(ProblemInvalidName, d.at["to"], "", "the name %q is reserved", to)
	default:
		renamed[f] = true
		f.Field = to
	}
}

func (b *builder) functionNames(root string) []string {
	var out []string
	for _, f := range b.cat.Functions {
		if f.Reads() == (root == "Query") {
			out = append(out, f.Field)
		}
	}
	return out
}

// renameField renames a field. of is the system's own name of the one that is
// meant, alone or behind its object: "crm.customers.zip_code".
func (b *builder) renameField(def *ast.Definition, d *directive, renamed map[any]bool) {
	name, of := d.text["field"], d.text["of"]
	things := b.candidates(def.Name)
	if of != "" {
		things = append(things, b.generatedTypes[def.Name]...)
	}
	var found []*Field
	var known []string
	var only any // the thing that is meant
	seen := map[any]bool{}
	for _, thing := range things {
		if seen[thing] {
			continue
		}
		seen[thing] = true
		for _, f := range fieldsOf(thing) {
			known = append(known, f.generated)
			if f.generated == name && (of == "" || of == f.System || of == objectOf(thing)+"."+f.System) {
				found, only = append(found, f), thing
			}
		}
	}
	switch {
	case len(things) == 0 || len(things) > 1 && of == "":
		b.pick(things, def.Name, "", d)
	case len(found) > 1:
		b.problem(ProblemAmbiguous, d.pos, fmt.Sprintf("say which: of: %q", objectOf(only)+"."+found[0].System), "%s has several fields that come to %q", def.Name, name)
	case len(found) == 0:
		if c, ok := things[0].(*Collection); ok && of == "" {
			// It may be a relation, whose names are not known yet.
			b.relationRenames = append(b.relationRenames, relationRename{c, d, known})
			return
		}
		b.problem(ProblemUnknownName, d.at["field"], didYouMean(name, known), "%s has no field %q", def.Name, name)
	case renamed[found[0]]:
		b.problem(ProblemCollision, d.pos, "", "%s.%s is renamed twice", def.Name, name)
	default:
		renamed[found[0]] = true
		found[0].Name = d.text["to"]
	}
}

func fieldsOf(thing any) []*Field {
	switch t := thing.(type) {
	case *Collection:
		return t.Fields
	case *ObjectType:
		return t.Fields
	}
	return nil
}

// A relationRename waits until relations have names.
type relationRename struct {
	collection *Collection
	d          *directive
	known      []string
}
