package catalog

import (
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

func named(name string) *ast.Type { return &ast.Type{NamedType: name, Position: builtAt} }
func nonNull(name string) *ast.Type {
	return &ast.Type{NamedType: name, NonNull: true, Position: builtAt}
}
func listOf(elem *ast.Type, nonNull bool) *ast.Type {
	return &ast.Type{Elem: elem, NonNull: nonNull, Position: builtAt}
}

func object(name, description string, fields ...*ast.FieldDefinition) *ast.Definition {
	return &ast.Definition{Kind: ast.Object, Name: name, Description: description, Fields: fields, Position: builtAt}
}

func field(name, description string, t *ast.Type, args ...*ast.ArgumentDefinition) *ast.FieldDefinition {
	return &ast.FieldDefinition{Name: name, Description: description, Type: t, Arguments: args, Position: builtAt}
}

func argument(name string, t *ast.Type) *ast.ArgumentDefinition {
	return &ast.ArgumentDefinition{Name: name, Type: t, Position: builtAt}
}

// typeOf is the type of a field in the graph.
func typeOf(t *Type, name string, nonNull bool) *ast.Type {
	if t.List {
		return listOf(&ast.Type{NamedType: name, NonNull: !t.ItemNullable, Position: builtAt}, nonNull)
	}
	return &ast.Type{NamedType: name, NonNull: nonNull, Position: builtAt}
}

// generate makes the definition of a type of the data plane.
func (s *sight) generate(name string, t typeInfo) *ast.Definition {
	h := s.shown[t.collection]
	switch t.role {
	case roleRecord:
		return s.record(h)
	case roleObject:
		return objectDefinition(t.object)
	case roleEnum:
		return enumDefinition(t.enum)
	case roleConnection:
		return connectionDefinition(h)
	case roleEdge:
		return object(name, "", field("cursor", "", nonNull("String")), field("node", "", nonNull(h.c.Type)))
	case roleAggregate, roleGroup:
		return aggregateDefinition(h, name, t.role)
	case roleAggregateFields:
		def := object(name, "")
		for _, f := range h.aggregated(t.fn) {
			scalar, _ := t.fn.ScalarOf(f.Type.Leaf)
			def.Fields = append(def.Fields, field(f.Name, f.Spec.Comment, named(string(scalar))))
		}
		return def
	case roleGroupKey:
		def := object(name, "The values of the fields grouped by; the others are null.")
		for _, f := range h.grouped() {
			def.Fields = append(def.Fields, field(f.Name, f.Spec.Comment, named(f.Type.Output)))
		}
		return def
	case rolePayload:
		return payload(name, recordField(h, h.c.PayloadField(), named(h.c.Type)))
	case rolePayloadMany:
		return payload(name, recordField(h, h.c.PayloadManyField(), listOf(nonNull(h.c.Type), false)))
	case roleCallPayload:
		var result *ast.FieldDefinition
		if r := t.function.Result; r != nil && r.shows() {
			result = field("result", "What the source answered; null unless APPLIED.", typeOf(r, r.Output, false))
		}
		return payload(name, result)
	}
	return s.generateInput(name, t, h)
}

// record is the type of a collection's records.
func (s *sight) record(h *shown) *ast.Definition {
	def := object(h.c.Type, h.c.Spec.Comment)
	if h.c.NodeID {
		def.Interfaces = []string{"Node"}
		def.Fields = append(def.Fields, field(nodeIDField, "The id of this record in the whole graph, for node(id:).", nonNull("ID")))
	}
	for i, f := range h.c.Fields {
		if h.cells[i] == invisible {
			continue
		}
		g := field(f.Name, f.Spec.Comment, typeOf(f.Type, f.Type.Output, h.cells[i] == always && !f.Nullable))
		g.Directives = deprecation(f.Spec.Deprecated)
		def.Fields = append(def.Fields, g)
	}
	for _, r := range h.c.Relations {
		if !s.relates(r) {
			continue
		}
		if r.Many {
			def.Fields = append(def.Fields, field(r.Name, r.Comment, named(r.To.ConnectionType()), s.shown[r.To].listArguments()...))
		} else {
			def.Fields = append(def.Fields, field(r.Name, r.Comment, named(r.To.Type)))
		}
	}
	return def
}

func deprecation(deprecated bool) ast.DirectiveList {
	if !deprecated {
		return nil
	}
	reason := &ast.Value{Raw: "The source says so.", Kind: ast.StringValue, Position: builtAt}
	return ast.DirectiveList{{Name: "deprecated", Position: builtAt, Location: ast.LocationFieldDefinition,
		Arguments: ast.ArgumentList{{Name: "reason", Value: reason, Position: builtAt}}}}
}

// listArguments are the arguments of a list of records, the same for the root
// field and for relations.
func (s *shown) listArguments() ast.ArgumentDefinitionList {
	var args ast.ArgumentDefinitionList
	add := func(name string, t *ast.Type) { args = append(args, argument(name, t)) }
	if s.filterable {
		add("filter", named(s.c.FilterType()))
	}
	if s.orderable {
		add("orderBy", listOf(nonNull(s.c.OrderByType()), false))
	}
	p := s.c.Spec.Paging
	add("first", named("Int"))
	if p.Keyset {
		add("after", named("String"))
	}
	if p.Last {
		add("last", named("Int"))
		if p.Keyset {
			add("before", named("String"))
		}
	}
	if p.Offset {
		add("offset", named("Int"))
	}
	return args
}

func connectionDefinition(h *shown) *ast.Definition {
	c := h.c
	def := object(c.ConnectionType(), "",
		field("nodes", "", listOf(nonNull(c.Type), true)),
		field("edges", "", listOf(nonNull(c.EdgeType()), true)),
		field("pageInfo", "", nonNull("PageInfo")))
	if c.Spec.Count {
		def.Fields = append(def.Fields, field("totalCount", "How many there are in all, whatever the page; costs a call of its own.", named("SafeInt")))
	}
	if c.Spec.Aggregate {
		def.Fields = append(def.Fields, field("aggregate", "Over all of them, whatever the page; costs a call of its own.", named(c.AggregateType())))
	}
	return def
}

// aggregated are the fields that a function is offered over.
func (s *shown) aggregated(fn connectors.AggregateFunc) []*Field {
	var out []*Field
	for i, f := range s.c.Fields {
		if s.cells[i] != always || f.Type.List || f.Type.Members != nil || f.Type.Values != nil {
			continue
		}
		for _, g := range f.Spec.Aggregates {
			if _, ok := fn.ScalarOf(f.Type.Leaf); ok && g == fn {
				out = append(out, f)
			}
		}
	}
	return out
}

// grouped are the fields that can be grouped by.
func (s *shown) grouped() []*Field {
	if !s.c.Spec.Aggregate {
		return nil
	}
	var out []*Field
	for i, f := range s.c.Fields {
		if s.cells[i] == always && f.Spec.Group && !f.Type.List && f.Type.Members == nil {
			out = append(out, f)
		}
	}
	return out
}

func aggregateDefinition(h *shown, name string, r role) *ast.Definition {
	def := object(name, "")
	if r == roleGroup {
		def.Fields = append(def.Fields, field("key", "", nonNull(h.c.groupKeyType())))
	}
	def.Fields = append(def.Fields, field("count", "", named("SafeInt")))
	for _, fn := range aggregateFuncs {
		if len(h.aggregated(fn)) > 0 {
			def.Fields = append(def.Fields, field(string(fn), "", named(h.c.functionType(fn))))
		}
	}
	return def
}

func recordField(h *shown, name string, t *ast.Type) *ast.FieldDefinition {
	if !h.reads {
		return nil
	}
	return field(name, "After the write; null unless APPLIED.", t)
}

// payload is what every root mutation field of a source answers.
func payload(name string, own *ast.FieldDefinition) *ast.Definition {
	def := object(name, "", field("outcome", "", nonNull("WriteOutcome")))
	if own != nil {
		def.Fields = append(def.Fields, own)
	}
	def.Fields = append(def.Fields,
		field("affectedCount", "", named("Int")),
		field("diff", "In a preview or proposal, what the caller may read of it.", listOf(nonNull("RecordDiff"), true)),
		field("proposal", "", named("Proposal")),
		field("duplicate", "The proposal is an equal open one that was there already.", nonNull("Boolean")),
		field("errors", "", listOf(nonNull("WriteError"), true)))
	return def
}

func objectDefinition(o *ObjectType) *ast.Definition {
	def := object(o.Type, o.Spec.Comment)
	for _, f := range o.Fields {
		if o.fields[f.Name] != f || !f.shows() {
			continue
		}
		g := field(f.Name, f.Spec.Comment, typeOf(f.Type, f.Type.Output, !f.Nullable))
		g.Directives = deprecation(f.Spec.Deprecated)
		def.Fields = append(def.Fields, g)
	}
	return def
}

func enumDefinition(e *Enum) *ast.Definition {
	def := &ast.Definition{Kind: ast.Enum, Name: e.Type, Description: e.Spec.Comment, Position: builtAt}
	for _, v := range e.Values {
		description := ""
		if v.Name != v.System {
			description = fmt.Sprintf("%q", v.System)
		}
		def.EnumValues = append(def.EnumValues, &ast.EnumValueDefinition{Name: v.Name, Description: description, Position: builtAt})
	}
	return def
}

func nodeDefinition() *ast.Definition {
	return &ast.Definition{Kind: ast.Interface, Name: "Node", Description: "A record that can be had by its id alone.", Position: builtAt,
		Fields: ast.FieldList{field(nodeIDField, "", nonNull("ID"))}}
}

func directionDefinition() *ast.Definition {
	def := &ast.Definition{Kind: ast.Enum, Name: "OrderDirection", Position: builtAt,
		Description: "ASC and DESC leave nulls where the source sorts them."}
	for _, d := range directions {
		def.EnumValues = append(def.EnumValues, &ast.EnumValueDefinition{Name: d.name, Position: builtAt})
	}
	return def
}

// directions are the values of OrderDirection.
var directions = [...]struct {
	name  string
	desc  bool
	nulls connectors.Nulls
}{
	{"ASC", false, connectors.NullsDefault}, {"ASC_NULLS_FIRST", false, connectors.NullsFirst}, {"ASC_NULLS_LAST", false, connectors.NullsLast},
	{"DESC", true, connectors.NullsDefault}, {"DESC_NULLS_FIRST", true, connectors.NullsFirst}, {"DESC_NULLS_LAST", true, connectors.NullsLast},
}
