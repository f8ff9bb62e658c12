package catalog

import (
	"fmt"
	"sort"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// rootNames are the root fields that follow from a collection's names.
func rootNames(c *Collection) (query, mutation map[string]ElementKind) {
	one, many := title(c.Single), title(c.Plural)
	return map[string]ElementKind{c.Single: RootGet, c.Single + "By": RootGetBy, c.Plural: RootList, c.Plural + "Groups": RootGroups},
		map[string]ElementKind{
			"create" + one: RootCreate, "create" + many: RootCreateMany,
			"update" + one: RootUpdate, "update" + many: RootUpdateMany,
			"delete" + one: RootDelete, "delete" + many: RootDeleteMany,
		}
}

// ConnectionType is the type of a page of records.
func (c *Collection) ConnectionType() string { return c.Type + "Connection" }

// EdgeType is the type of a connection's edges.
func (c *Collection) EdgeType() string { return c.Type + "Edge" }

// FilterType is the input that chooses records.
func (c *Collection) FilterType() string { return c.Type + "Filter" }

// OrderByType is the input of one term of an order.
func (c *Collection) OrderByType() string { return c.Type + "OrderBy" }

// KeyType is the input over the unique keys beside the primary key.
func (c *Collection) KeyType() string { return c.Type + "Key" }

// InputType is the input of a create, PatchType that of an update.
func (c *Collection) InputType() string { return c.Type + "Input" }

// PatchType is the input of an update.
func (c *Collection) PatchType() string { return c.Type + "Patch" }

// PayloadType is the payload of a write of one record.
func (c *Collection) PayloadType() string { return c.Type + "Payload" }

// PayloadManyType is the payload of a bulk write.
func (c *Collection) PayloadManyType() string { return title(c.Plural) + "Payload" }

// AggregateType holds a connection's aggregates, GroupType one group.
func (c *Collection) AggregateType() string { return c.Type + "Aggregate" }

// GroupType is one group of customersGroups.
func (c *Collection) GroupType() string { return c.Type + "Group" }

func (c *Collection) keyPartType(u *Unique) string { return c.KeyType() + title(u.Name) }
func (c *Collection) groupKeyType() string         { return c.Type + "GroupKey" }
func (c *Collection) groupByType() string          { return c.Type + "GroupBy" }
func (c *Collection) havingType() string           { return c.Type + "Having" }
func (c *Collection) relatedType() string          { return c.Type + "Related" }
func (c *Collection) functionType(f connectors.AggregateFunc) string {
	return c.Type + title(string(f))
}
func (c *Collection) functionHavingType(f connectors.AggregateFunc) string {
	return c.Type + title(string(f)) + "Having"
}

var aggregateFuncs = [...]connectors.AggregateFunc{connectors.AggSum, connectors.AggAvg, connectors.AggMin, connectors.AggMax}

// generatedTypes are all types that follow from a collection's names, whether
// or not a view has them: no later column or right moves a name.
func generatedTypes(c *Collection) map[string]typeInfo {
	out := map[string]typeInfo{
		c.Type: {role: roleRecord}, c.ConnectionType(): {role: roleConnection}, c.EdgeType(): {role: roleEdge},
		c.AggregateType(): {role: roleAggregate}, c.GroupType(): {role: roleGroup}, c.groupKeyType(): {role: roleGroupKey},
		c.PayloadType(): {role: rolePayload}, c.PayloadManyType(): {role: rolePayloadMany},
	}
	for name, r := range map[string]role{c.FilterType(): roleFilter, c.OrderByType(): roleOrderBy, c.KeyType(): roleKey, c.InputType(): roleInput,
		c.PatchType(): rolePatch, c.groupByType(): roleGroupBy, c.havingType(): roleHaving, c.relatedType(): roleRelated} {
		out[name] = typeInfo{role: r}
	}
	for _, f := range aggregateFuncs {
		out[c.functionType(f)] = typeInfo{role: roleAggregateFields, fn: f}
		out[c.functionHavingType(f)] = typeInfo{role: roleFunctionHaving, fn: f}
	}
	for _, u := range c.Uniques {
		if len(u.Fields) > 1 {
			out[c.keyPartType(u)] = typeInfo{role: roleKeyPart, unique: u}
		}
	}
	for name, t := range out {
		t.collection = c
		out[name] = t
	}
	return out
}

// A claim is a name and who has it.
type claim struct {
	owner  any
	source *Source
	object string
}

// A collision is two things of one name.
type collision struct {
	kind, name string // kind: type, Query or Mutation
	first      claim  // of the source that was there earlier
	second     claim
}

// claims are the names in use.
type claims struct {
	builder    *builder
	by         map[string]claim // by kind and name
	collisions []collision
}

// claim takes all names, source by source: of two things the one of the later
// source gives way.
func (b *builder) claim() {
	b.claims = &claims{builder: b, by: map[string]claim{}}
	for _, s := range b.cat.Sources {
		b.claimSource(s)
	}
	b.cat.query["node"] = Element{Kind: RootNode}
	for _, c := range b.claims.collisions {
		hint, file := b.resolution(c)
		p := policy.Problem{File: file, Code: ProblemCollision, Hint: hint,
			Message: fmt.Sprintf("%s and %s both give the name %s %q", c.first.object, c.second.object, kindText(c.kind), c.name)}
		b.problems = append(b.problems, p)
	}
}

func (b *builder) claimSource(s *Source) {
	for _, c := range b.cat.Collections {
		if c.Source != s {
			continue
		}
		own := claim{c, s, c.Object}
		types := generatedTypes(c)
		for _, name := range sortedKeys(types) {
			if b.claims.take("type", name, own) {
				b.cat.types[name] = types[name]
			}
		}
		query, mutation := rootNames(c)
		b.claimRoots("Query", query, own, c, b.cat.query)
		b.claimRoots("Mutation", mutation, own, c, b.cat.mutation)
	}
	for _, e := range b.cat.Enums {
		own := claim{e, s, s.Name + "." + e.Spec.Name}
		if e.Source == s && b.claims.take("type", e.Type, own) && b.claims.take("type", e.Type+"Comparison", own) {
			b.cat.types[e.Type] = typeInfo{role: roleEnum, enum: e}
		}
	}
	for _, o := range b.cat.Objects {
		own := claim{o, s, objectOf(o)}
		if o.Source == s && o.output && b.claims.take("type", o.Type, own) {
			b.cat.types[o.Type] = typeInfo{role: roleObject, object: o}
		}
		if o.Source == s && o.input && b.claims.take("type", o.Input, own) {
			b.cat.types[o.Input] = typeInfo{role: roleObjectInput, object: o}
		}
	}
	for _, f := range b.cat.Functions {
		if f.Source == s {
			b.claimFunction(f)
		}
	}
}

func (b *builder) claimRoots(kind string, names map[string]ElementKind, own claim, c *Collection, to map[string]Element) {
	for _, n := range sortedKeys(names) {
		if b.claims.take(kind, n, own) {
			to[n] = Element{Kind: names[n], Collection: c}
		}
	}
}

func (b *builder) claimFunction(f *Function) {
	own := claim{f, f.Source, f.Object}
	if f.Reads() {
		if b.claims.take("Query", f.Field, own) {
			b.cat.query[f.Field] = Element{Kind: RootFunction, Function: f}
		}
		return
	}
	if b.claims.take("Mutation", f.Field, own) {
		b.cat.mutation[f.Field] = Element{Kind: RootCall, Function: f}
	}
	if b.claims.take("type", f.InputType(), own) {
		b.cat.types[f.InputType()] = typeInfo{role: roleCallInput, function: f}
	}
	if b.claims.take("type", f.PayloadType(), own) {
		b.cat.types[f.PayloadType()] = typeInfo{role: roleCallPayload, function: f}
	}
}

func kindText(kind string) string {
	if kind == "type" {
		return "of the type"
	}
	return "of the " + kind + " field"
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// take claims a name. Of the names that two things share, only the first is
// told; the rest follow from it.
func (c *claims) take(kind, name string, own claim) bool {
	other, taken := c.by[kind+" "+name]
	if !taken && kind == "type" && c.builder.control[name] {
		other, taken = claim{object: "the control plane"}, true
	}
	if !taken {
		c.by[kind+" "+name] = own
		return true
	}
	if other.owner == own.owner {
		// One thing whose own derived names meet, such as a type Key in the
		// plural; it needs another name all the same.
		other.object = own.object + " itself"
	}
	for _, k := range c.collisions {
		if k.first.owner == other.owner && k.second.owner == own.owner {
			return false
		}
	}
	c.collisions = append(c.collisions, collision{kind, name, other, own})
	return false
}

// resolution is what to write so that a collision ends, and where.
func (b *builder) resolution(c collision) (hint, file string) {
	if source, prefix := c.prefix(); prefix != "" {
		return fmt.Sprintf("sources.%s.prefix: %s", source, prefix), b.o.Config
	}
	return b.renameLine(c, 0), b.o.GraphFile
}

// prefix is the prefix that would end the collision of two sources, where that
// is the way.
func (c collision) prefix() (source, prefix string) {
	s := c.second.source
	if s == c.first.source || s == nil || s.Prefix != "" || c.first.source == nil {
		return "", ""
	}
	if _, isFunction := c.second.owner.(*Function); isFunction {
		return "", "" // functions keep their own names
	}
	return s.Name, camel(words(s.Name))
}

// renameLine is the line of a graph file that gives the second thing another
// name; attempt makes it differ from one that did not help.
func (b *builder) renameLine(c collision, attempt int) string {
	suffix := ""
	if attempt > 0 {
		suffix = fmt.Sprint(attempt + 1)
	}
	source := pascal(words(c.second.source.Name))
	switch t := c.second.owner.(type) {
	case *Function:
		root := "Mutation"
		if t.Reads() {
			root = "Query"
		}
		return fmt.Sprintf("extend type %s @rename(field: %q, of: %q, to: %q)", root, b.generatedFieldOf(t), t.Object, untitle(source)+title(t.Field)+suffix)
	case *Enum:
		return fmt.Sprintf("# the enum %s cannot be renamed; rename %s", t.Type, c.first.object)
	}
	generated, current := b.generatedTypeOf(c.second.owner)
	to := source + current + suffix
	if strings.HasPrefix(current, source) {
		to = current + fmt.Sprint(attempt+2)
	}
	return fmt.Sprintf("extend type %s @rename(of: %q, to: %q)", generated, objectOf(c.second.owner), to)
}

func (b *builder) generatedTypeOf(thing any) (generated, current string) {
	switch t := thing.(type) {
	case *Collection:
		current = t.Type
	case *ObjectType:
		current = t.Type
	}
	for name, things := range b.generatedTypes {
		for _, t := range things {
			if t == thing {
				return name, current
			}
		}
	}
	return current, current
}

func (b *builder) generatedFieldOf(f *Function) string {
	for name, fs := range b.generatedFields {
		for _, g := range fs {
			if g == f {
				return name
			}
		}
	}
	return f.Field
}

// A Resolution is what init writes so that nothing collides.
type Resolution struct {
	// Lines to append to the graph file.
	Lines []string
	// Prefixes to set in the configuration, by source.
	Prefixes map[string]string
}

// ResolveCollisions finds the renames and prefixes with which the sources build
// without collision: of two that collide, the later source gives way. Problems
// of other kinds are left to Build.
func ResolveCollisions(sources []Source, files []SDLFile, o Options) Resolution {
	out := Resolution{Prefixes: map[string]string{}}
	sources = append([]Source(nil), sources...)
	tried := map[string]int{}
	for range 200 {
		extra := SDLFile{Name: "init", Text: strings.Join(out.Lines, "\n")}
		b := newBuilder(sources, append(append([]SDLFile(nil), files...), extra), o)
		b.run()
		if b.claims == nil {
			return out
		}
		if !b.resolveOne(sources, &out, tried) {
			return out
		}
	}
	return out
}

// resolveOne writes down the next rename or prefix; false where nothing is
// left to do.
func (b *builder) resolveOne(sources []Source, out *Resolution, tried map[string]int) bool {
	for _, c := range b.claims.collisions {
		if source, prefix := c.prefix(); prefix != "" {
			for i := range sources {
				if sources[i].Name == source {
					sources[i].Prefix = prefix
				}
			}
			out.Prefixes[source] = prefix
			// Lines that name its types by their old names would be wrong now.
			out.Lines = nil
			return true
		}
		if _, isEnum := c.second.owner.(*Enum); isEnum {
			c.first, c.second = c.second, c.first
		}
		if c.second.source == nil {
			continue
		}
		line := b.renameLine(c, tried[c.second.object])
		if strings.HasPrefix(line, "#") {
			continue
		}
		tried[c.second.object]++
		out.drop(fmt.Sprintf("of: %q", c.second.object))
		out.Lines = append(out.Lines, line)
		return true
	}
	for _, p := range b.problems {
		if p.Code == ProblemCollision && strings.Contains(p.Hint, "of:") && strings.Contains(p.Hint, "@rename(field") && tried[p.Hint] == 0 && p.Line == 0 {
			tried[p.Hint]++
			out.Lines = append(out.Lines, p.Hint)
			return true
		}
	}
	return false
}

// drop removes the line that holds a text: a rename that did not help.
func (r *Resolution) drop(text string) {
	var kept []string
	for _, l := range r.Lines {
		if !strings.Contains(l, text) {
			kept = append(kept, l)
		}
	}
	r.Lines = kept
}
