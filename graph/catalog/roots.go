package catalog

import (
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

// queryFields are the root fields that read.
func (s *sight) queryFields() ast.FieldList {
	var out ast.FieldList
	for _, c := range s.cat.Collections {
		h := s.shown[c]
		if h == nil || !h.reads {
			continue
		}
		add := func(name, description string, t *ast.Type, args ...*ast.ArgumentDefinition) {
			if !c.hidden[name] {
				out = append(out, field(name, description, t, args...))
			}
		}
		if key := s.keyArguments(h); c.Spec.Get && key != nil && h.keyReadable() {
			add(c.Single, c.Spec.Comment, named(c.Type), key...)
		}
		if len(h.keys()) > 0 {
			add(c.Single+"By", "", named(c.Type), argument("key", nonNull(c.KeyType())))
		}
		if !c.Spec.List {
			continue
		}
		add(c.Plural, c.Spec.Comment, named(c.ConnectionType()), h.listArguments()...)
		if len(h.grouped()) > 0 {
			args := ast.ArgumentDefinitionList{argument("by", listOf(nonNull(c.groupByType()), true))}
			if h.filterable {
				args = append(args, argument("filter", named(c.FilterType())))
			}
			args = append(args, argument("having", named(c.havingType())))
			add(c.Plural+"Groups", "", listOf(nonNull(c.GroupType()), false), args...)
		}
	}
	for _, f := range s.cat.Functions {
		if f.Reads() && s.callable(f) {
			var args ast.ArgumentDefinitionList
			for _, a := range s.callArgs(f) {
				g := inputField(a)
				args = append(args, &ast.ArgumentDefinition{Name: g.Name, Description: g.Description, Type: g.Type, Position: builtAt})
			}
			g := field(f.Field, f.Spec.Comment, typeOf(f.Result, f.Result.Output, false), args...)
			g.Directives = deprecation(f.Spec.Deprecated)
			out = append(out, g)
		}
	}
	if s.nodes {
		out = append(out, field("node", "A record by its nodeId.", named("Node"), argument("id", nonNull("ID"))))
	}
	return out
}

// callable tells whether the view can call a function: every argument that it
// needs may be given, or is preset.
func (s *sight) callable(f *Function) bool {
	a := s.view.Object(f.Object)
	if a == nil || a.Call == nil || f.Hidden || !f.Reads() && f.Source.ReadOnly || f.Reads() && (f.Result == nil || !f.Result.shows()) {
		return false
	}
	preset := map[string]bool{}
	for _, p := range a.Call.Presets {
		preset[p.Field] = true
	}
	for _, arg := range f.Args {
		if !arg.Spec.Nullable && !arg.Spec.Default && (!writes(a.Call, arg) || !arg.gives()) && !preset[arg.System] {
			return false
		}
	}
	return true
}

// keyArguments are the key's own fields as arguments; nil where there is no key
// that can be named.
func (s *sight) keyArguments(h *shown) ast.ArgumentDefinitionList {
	var out ast.ArgumentDefinitionList
	for _, k := range h.c.Key {
		if k.Hidden {
			return nil
		}
		out = append(out, argument(k.Name, typeOf(k.Type, k.Type.Input, true)))
	}
	return out
}

func (s *shown) keyReadable() bool {
	for _, k := range s.c.Key {
		if s.cell(k) != always {
			return false
		}
	}
	return true
}

// mutationFields are the root fields that write. All take the options of the
// operation and answer a payload.
func (s *sight) mutationFields() ast.FieldList {
	var out ast.FieldList
	for _, c := range s.cat.Collections {
		if h := s.shown[c]; h != nil {
			out = append(out, s.writesOf(h)...)
		}
	}
	for _, f := range s.cat.Functions {
		if f.Reads() || !s.callable(f) {
			continue
		}
		var args ast.ArgumentDefinitionList
		if len(s.callArgs(f)) > 0 {
			args = append(args, argument("input", nonNull(f.InputType())))
		}
		args = append(args, argument("options", named("WriteOptions")))
		g := field(f.Field, f.Spec.Comment, named(f.PayloadType()), args...)
		g.Directives = deprecation(f.Spec.Deprecated)
		out = append(out, g)
	}
	return out
}

func (s *sight) writesOf(h *shown) ast.FieldList {
	c := h.c
	var out ast.FieldList
	add := func(name, payload string, args ...*ast.ArgumentDefinition) {
		if !c.hidden[name] {
			args = append(args, argument("options", named("WriteOptions")))
			out = append(out, field(name, "", named(payload), args...))
		}
	}
	one, many := title(c.Single), title(c.Plural)
	if len(h.writeFields(roleInput)) > 0 {
		add("create"+one, c.PayloadType(), argument("input", nonNull(c.InputType())))
		add("create"+many, c.PayloadManyType(), argument("inputs", listOf(nonNull(c.InputType()), true)))
	}
	key := s.keyArguments(h)
	versioned := func(args ast.ArgumentDefinitionList) ast.ArgumentDefinitionList {
		if c.Spec.HasVersion || c.Spec.VersionField != "" {
			args = append(args, argument("ifVersion", named("String")))
		}
		return args
	}
	if len(h.writeFields(rolePatch)) > 0 {
		patch := argument("patch", nonNull(c.PatchType()))
		if key != nil {
			add("update"+one, c.PayloadType(), versioned(append(key[:len(key):len(key)], patch))...)
		}
		if c.Act(connectors.Update).ByFilter && h.filterable {
			add("update"+many, c.PayloadManyType(), argument("filter", nonNull(c.FilterType())), patch, maxRows())
		}
	}
	if act := c.Act(connectors.Delete); act != nil && h.access.Delete != nil {
		if key != nil {
			add("delete"+one, c.PayloadType(), versioned(key[:len(key):len(key)])...)
		}
		if act.ByFilter && h.filterable {
			add("delete"+many, c.PayloadManyType(), argument("filter", nonNull(c.FilterType())), maxRows())
		}
	}
	return out
}

// maxRows bounds a bulk write: one record unless the caller says more.
func maxRows() *ast.ArgumentDefinition {
	a := argument("maxRows", nonNull("Int"))
	a.DefaultValue = &ast.Value{Raw: "1", Kind: ast.IntValue, Position: builtAt}
	return a
}
