package catalog

import (
	"fmt"
	"sort"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// Codes of the problems found while building.
const (
	ProblemSyntax       = "syntax"
	ProblemUnknownName  = "unknown_name"
	ProblemInvalidName  = "invalid_name"
	ProblemCollision    = "name_collision"
	ProblemAmbiguous    = "ambiguous_name"
	ProblemType         = "type_mismatch"
	ProblemRelation     = "relation"
	ProblemNotSupported = "not_supported"
	ProblemInternal     = "internal"
)

// An SDLFile is a graph file: its name for problems, and its text.
type SDLFile struct {
	Name string
	Text string
}

// Options of Build.
type Options struct {
	// Control is the SDL of the control plane: with Query, Mutation and the
	// types that payloads are made of. @decides marks fields of those who may
	// decide.
	Control []*ast.Source
	// Config and GraphFile are the names of the files that problems without a
	// line of their own are about; countersign.yaml and graph.graphql if empty.
	Config    string
	GraphFile string
	// Names pinned in the lock, by source. What is not pinned is named anew.
	Names map[string]*Names
}

// Build makes the catalog of the sources, in the order of the configuration,
// as the graph files want it. It returns no catalog where one of the problems
// is no warning. It reports all problems, not the first.
func Build(sources []Source, files []SDLFile, o Options) (*Catalog, []policy.Problem) {
	b := newBuilder(sources, files, o)
	b.run()
	sort.SliceStable(b.problems, func(i, j int) bool {
		p, q := b.problems[i], b.problems[j]
		if p.File != q.File {
			return p.File < q.File
		}
		return p.Line < q.Line
	})
	for _, p := range b.problems {
		if !p.Warning {
			return nil, b.problems
		}
	}
	b.cat.Version = b.version()
	return b.cat, b.problems
}

// A builder holds what is known while a catalog is built.
type builder struct {
	o        Options
	cat      *Catalog
	files    []SDLFile
	problems []policy.Problem

	control map[string]bool   // types of the control plane
	exts    []*ast.Definition // every `extend type` of the graph files
	claims  *claims
	// generated types and root fields by their names before any rename.
	generatedTypes  map[string][]any // *Collection, *ObjectType or *Enum
	generatedFields map[string][]*Function
	plain           map[*Collection]baseName
	relationRenames []relationRename
	hiddenRelations []hiddenRelation
	fieldTypes      []*Type // every type of a field, to be given its final names
}

// A baseName is a collection's name without prefix, as relations use it.
type baseName struct{ single, plural string }

func newBuilder(sources []Source, files []SDLFile, o Options) *builder {
	if o.Config == "" {
		o.Config = "countersign.yaml"
	}
	if o.GraphFile == "" {
		o.GraphFile = "graph.graphql"
	}
	b := &builder{o: o, files: files, cat: &Catalog{
		byObject: map[string]*Collection{}, functions: map[string]*Function{},
		types: map[string]typeInfo{}, query: map[string]Element{}, mutation: map[string]Element{},
	}, generatedTypes: map[string][]any{}, generatedFields: map[string][]*Function{}, plain: map[*Collection]baseName{}}
	for i := range sources {
		s := sources[i]
		b.cat.Sources = append(b.cat.Sources, &s)
	}
	return b
}

func (b *builder) run() {
	if !b.loadControl() {
		return
	}
	for _, s := range b.cat.Sources {
		b.addSource(s)
	}
	sort.Slice(b.cat.Collections, func(i, j int) bool { return b.cat.Collections[i].Object < b.cat.Collections[j].Object })
	sort.Slice(b.cat.Functions, func(i, j int) bool { return b.cat.Functions[i].Object < b.cat.Functions[j].Object })
	b.parseFiles()
	b.renames()
	sort.SliceStable(b.cat.Objects, func(i, j int) bool { return b.cat.Objects[i].Type < b.cat.Objects[j].Type })
	sort.SliceStable(b.cat.Enums, func(i, j int) bool { return b.cat.Enums[i].Type < b.cat.Enums[j].Type })
	b.finishTypes()
	b.finishObjects()
	for _, c := range b.cat.Collections {
		b.index(c)
	}
	b.references()
	b.directives()
	b.nameRelations()
	b.hideRelations()
	for _, c := range b.cat.Collections {
		b.finish(c)
	}
	b.claim()
	b.cat.comparisons = comparisons(b.cat)
}

func (b *builder) problem(code string, pos *ast.Position, hint, format string, args ...any) {
	p := policy.Problem{File: b.o.GraphFile, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}
	if pos != nil {
		p.Line, p.Column = pos.Line, pos.Column
		if pos.Src != nil {
			p.File = pos.Src.Name
		}
	}
	b.problems = append(b.problems, p)
}

// configProblem is a problem of the configuration rather than of a graph file.
func (b *builder) configProblem(code, hint, format string, args ...any) {
	b.problem(code, nil, hint, format, args...)
	b.problems[len(b.problems)-1].File = b.o.Config
}

func (b *builder) addSource(s *Source) {
	if s.Schema == nil {
		s.Schema = &connectors.Schema{}
	}
	names := b.o.Names[s.Name]
	r := resolver{builder: b, source: s, enums: map[string]*Enum{}, objects: map[string]*ObjectType{}}
	for _, e := range s.Schema.Enums {
		r.enums[e.Name] = newEnum(s, e)
	}
	for _, o := range s.Schema.Objects {
		r.objects[o.Name] = &ObjectType{Source: s, Spec: o, fields: map[string]*Field{}}
	}
	for _, o := range s.Schema.Objects {
		t := r.objects[o.Name]
		for _, f := range o.Fields {
			r.addField(&t.Fields, f, o.Name, "", false)
		}
	}
	taken := map[string]bool{}
	for _, spec := range s.Schema.Collections {
		for name := range generatedTypes(b.addCollection(r, spec, names)) {
			taken[name] = true
		}
	}
	for _, spec := range s.Schema.Functions {
		f := b.addFunction(r, spec, names)
		taken[f.InputType()], taken[f.PayloadType()] = true, true
	}
	r.nameTypes(names, taken)
}

// front puts the source's prefix in front of a type's name or, where the name
// is reserved and there is none, the source's own name.
func (b *builder) front(s *Source, typeName string) string {
	if s.Prefix != "" {
		typeName = pascal(words(s.Prefix)) + typeName
	}
	if reservedType(typeName) || b.control[typeName] {
		return pascal(words(s.Name)) + typeName
	}
	return typeName
}

func (b *builder) addCollection(r resolver, spec *connectors.Collection, names *Names) *Collection {
	s := r.source
	c := &Collection{Object: s.Name + "." + spec.Name, Source: s, Name: spec.Name, Spec: spec,
		fields: map[string]*Field{}, system: map[string]*Field{}, relations: map[string]*Relation{}, groupBy: map[string]*Field{}, hidden: map[string]bool{}}
	one, many := baseNames(spec.Name)
	base := CollectionNames{Type: pascal(one), Single: camel(one), Plural: camel(many)}
	if pinned, ok := names.collection(spec.Name); ok {
		base = pinned
	}
	c.base = CollectionNames{Type: base.Type, Single: base.Single, Plural: base.Plural, Fields: map[string]string{}}
	b.plain[c] = baseName{single: base.Single, plural: base.Plural}
	c.Type, c.Single, c.Plural = base.Type, base.Single, base.Plural
	if s.Prefix != "" {
		p := words(s.Prefix)
		c.Type, c.Single, c.Plural = pascal(p)+c.Type, camel(p)+title(c.Single), camel(p)+title(c.Plural)
	}
	if reservedType(c.Type) || b.control[c.Type] || b.reservedRoots(c) {
		p := words(s.Name)
		c.Type, c.Single, c.Plural = pascal(p)+c.Type, camel(p)+title(c.Single), camel(p)+title(c.Plural)
	}
	for _, f := range spec.Fields {
		r.addField(&c.Fields, f, spec.Name, base.Fields[f.Name], spec.View)
	}
	for i, f := range c.Fields {
		f.index = i
		c.base.Fields[f.System] = f.Name
		c.system[f.System] = f
	}
	b.cat.Collections = append(b.cat.Collections, c)
	b.cat.byObject[c.Object] = c
	b.generatedTypes[c.Type] = append(b.generatedTypes[c.Type], c)
	for _, k := range spec.Key {
		if f := c.system[k]; f != nil {
			c.Key = append(c.Key, f)
		}
	}
	if len(c.Key) != len(spec.Key) {
		c.Key = nil
	}
	return c
}

// reservedRoots tells whether one of the root fields that follow from the
// collection's names belongs to the control plane.
func (b *builder) reservedRoots(c *Collection) bool {
	query, mutation := rootNames(c)
	for name := range query {
		if reservedRoot(name) {
			return true
		}
	}
	for name := range mutation {
		if reservedRoot(name) {
			return true
		}
	}
	return false
}

func (b *builder) addFunction(r resolver, spec *connectors.Function, names *Names) *Function {
	s := r.source
	f := &Function{Object: s.Name + "." + spec.Name, Source: s, Name: spec.Name, Spec: spec, Nullable: spec.Nullable, args: map[string]*Field{}}
	f.base = names.function(spec.Name, camel(words(spec.Name)))
	f.Field = f.base
	if reservedRoot(f.Field) || reservedType(title(f.Field)+"Payload") || reservedType(title(f.Field)+"Input") {
		f.Field = camel(words(s.Name)) + title(f.Field)
	}
	for _, a := range spec.Args {
		r.addField(&f.Args, a, spec.Name, "", false)
	}
	if spec.Result != nil {
		f.Result = r.resolve(*spec.Result)
	}
	for _, a := range f.Args {
		// Arguments cannot be renamed: two of one name are told apart by place.
		for base, n := a.Name, 2; f.args[a.Name] != nil; n++ {
			a.Name = fmt.Sprintf("%s%d", base, n)
		}
		f.args[a.Name] = a
	}
	b.cat.Functions = append(b.cat.Functions, f)
	b.cat.functions[f.Object] = f
	b.generatedFields[f.Field] = append(b.generatedFields[f.Field], f)
	return f
}

// index fills the lookups of a collection once its names are final.
func (b *builder) index(c *Collection) {
	b.uniqueFields(c.Fields, c.fields, c.Object, c.Type)
	for _, u := range c.Spec.Uniques {
		q := &Unique{}
		for i, name := range u.Fields {
			f := c.system[name]
			if f == nil {
				break
			}
			if i > 0 {
				q.Name += "And" + title(f.Name)
			} else {
				q.Name = f.Name
			}
			q.Fields = append(q.Fields, f)
		}
		if len(q.Fields) == len(u.Fields) && len(q.Fields) > 0 && !sameFields(q.Fields, c.Key) && !c.hasUnique(q.Name) {
			c.Uniques = append(c.Uniques, q)
		}
	}
	sort.Slice(c.Uniques, func(i, j int) bool { return c.Uniques[i].Name < c.Uniques[j].Name })
}

func (c *Collection) hasUnique(name string) bool {
	for _, u := range c.Uniques {
		if u.Name == name {
			return true
		}
	}
	return false
}

func sameFields(a, b []*Field) bool {
	if len(a) != len(b) {
		return false
	}
	for _, f := range a {
		found := false
		for _, g := range b {
			found = found || f == g
		}
		if !found {
			return false
		}
	}
	return true
}

// uniqueFields fills a lookup by graph name; two fields of one name are a
// problem with the rename to write.
func (b *builder) uniqueFields(fields []*Field, by map[string]*Field, object, typeName string) {
	for _, f := range fields {
		if other := by[f.Name]; other != nil {
			b.problem(ProblemCollision, nil,
				fmt.Sprintf("extend type %s @rename(field: %q, of: %q, to: %q)", typeName, f.generated, object+"."+f.System, f.Name+"2"),
				"%s: %q and %q both come to the field name %q", object, other.System, f.System, f.Name)
			continue
		}
		by[f.Name] = f
	}
}

// finish decides what rests on all names of a collection.
func (b *builder) finish(c *Collection) {
	sort.Slice(c.Relations, func(i, j int) bool { return c.Relations[i].Name < c.Relations[j].Name })
	c.NodeID = len(c.Key) > 0 && c.Spec.Get && c.fields[nodeIDField] == nil && c.relations[nodeIDField] == nil
	for _, f := range c.Fields {
		if !f.Spec.Group || c.fields[f.Name] != f {
			continue
		}
		v := upper(f.Name)
		if f.Type.List || f.Type.Members != nil {
			continue
		}
		if c.groupBy[v] != nil {
			b.problem(ProblemCollision, nil, fmt.Sprintf("extend type %s @rename(field: %q, to: ...)", c.Type, f.Name),
				"%s: the fields %q and %q both come to the enum value %s", c.Object, c.groupBy[v].Name, f.Name, v)
			continue
		}
		c.groupBy[v] = f
	}
}
