package gateway

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/vektah/gqlparser/v2/ast"
)

// serveOpenAPI describes /op/ to one caller: exactly the trusted documents that
// it may send and that its schema has.
func (g *Gateway) serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin != "" && !g.cors(w, r, origin) {
		return
	}
	c, errs := g.asked(w, r)
	if errs != nil {
		g.answerOp(w, c, errs)
		return
	}
	raw, err := json.MarshalIndent(g.openAPI(c, g.publicURL(r)), "", "  ")
	if err != nil {
		g.answerOp(w, c, []Error{fromError(err, nil)})
		return
	}
	h := w.Header()
	h["Cache-Control"] = noStore
	h.Set("Content-Type", "application/json; charset=utf-8")
	// An error here is a client that went away.
	w.Write(raw)
}

type object = map[string]any

// openAPI is the description as OpenAPI 3.1.
func (g *Gateway) openAPI(c *call, base string) object {
	b := &opBuilder{schema: c.state.schema.schema, schemas: object{"Error": errorSchema()}}
	paths := object{}
	for _, d := range c.snap.Trusted.List() {
		if !c.snap.Trusted.may(c.principal, d) || d.Kind == ast.Subscription {
			continue
		}
		doc, errs := c.state.document(d.Text, c.snap.Catalog)
		if errs != nil || doc.only == nil {
			continue
		}
		paths[opPrefix+d.Name] = b.path(d, doc.only.def)
	}
	return object{"openapi": "3.1.0", "info": object{"title": "Operations", "version": c.snap.Catalog.Version},
		"servers": []object{{"url": base}}, "paths": paths, "security": []object{{"bearer": []string{}}},
		"components": object{"schemas": b.schemas, "securitySchemes": object{"bearer": object{"type": "http", "scheme": "bearer"}}}}
}

func errorSchema() object {
	text := object{"type": "string"}
	return object{"type": "object", "required": []string{"message", "extensions"}, "properties": object{"message": text,
		"path": object{"type": "array", "items": object{}},
		"extensions": object{"type": "object", "required": []string{"code"}, "properties": object{"code": text,
			"retryable": object{"type": "boolean"}, "traceId": text, "retryAfterMs": object{"type": "integer"}}}}}
}

type opBuilder struct {
	schema  *ast.Schema
	schemas object
}

// path describes one document: as GET where it only reads and its variables are
// plain, else as POST.
func (b *opBuilder) path(d *TrustedDocument, def *ast.OperationDefinition) object {
	var vars ast.VariableDefinitionList
	plain := d.Kind == ast.Query
	for _, v := range def.VariableDefinitions {
		if d.hides(v.Variable) {
			continue
		}
		vars = append(vars, v)
		leaf := b.schema.Types[v.Type.Name()]
		plain = plain && (v.Type.Elem == nil || v.Type.Elem.Elem == nil) && leaf != nil && leaf.Kind != ast.InputObject && leaf.Name != "JSON"
	}
	errs := object{"type": "array", "items": object{"$ref": "#/components/schemas/Error"}}
	answer := func(what string, schema object) object {
		return object{"description": what, "content": object{"application/json": object{"schema": schema}}}
	}
	op := object{"operationId": d.Name, "responses": object{
		"200": answer("The answer. What could not be told is null, and in errors.", object{"type": "object", "required": []string{"data"},
			"properties": object{"data": b.selection(b.schema.Types[rootType(def)], def.SelectionSet), "errors": errs}}),
		"default": answer("Nothing was answered.", object{"type": "object", "required": []string{"errors"}, "properties": object{"errors": errs}})}}
	if d.Tool != "" {
		op["description"] = d.Tool
	}
	if plain {
		var parameters []object
		for _, v := range vars {
			parameters = append(parameters, object{"name": v.Variable, "in": "query", "required": v.Type.NonNull && v.DefaultValue == nil, "schema": b.bare(v.Type)})
		}
		if parameters != nil {
			op["parameters"] = parameters
		}
		return object{"get": op}
	}
	properties, required := object{}, []string{}
	for _, v := range vars {
		properties[v.Variable] = b.input(v.Type)
		if v.Type.NonNull && v.DefaultValue == nil {
			required = append(required, v.Variable)
		}
	}
	op["requestBody"] = object{"required": len(required) > 0, "content": object{"application/json": object{"schema": object{
		"type": "object", "properties": properties, "required": required, "additionalProperties": false}}}}
	return object{"post": op}
}

// bare is a type as a parameter has it: there is no null in a query string.
func (b *opBuilder) bare(t *ast.Type) object {
	c := *t
	c.NonNull = true
	if c.Elem != nil {
		e := *c.Elem
		e.NonNull = true
		c.Elem = &e
	}
	return b.input(&c)
}

// input is the schema of a variable or an input's field.
func (b *opBuilder) input(t *ast.Type) object {
	var out object
	def := b.schema.Types[t.NamedType]
	switch {
	case t.Elem != nil:
		out = object{"type": "array", "items": b.input(t.Elem)}
	case def != nil && def.Kind == ast.InputObject:
		b.inputObject(def)
		out = object{"$ref": "#/components/schemas/" + def.Name}
	default:
		out = leafSchema(def)
	}
	return orNull(out, t.NonNull)
}

func (b *opBuilder) inputObject(def *ast.Definition) {
	if b.schemas[def.Name] != nil {
		return
	}
	properties, required := object{}, []string{}
	out := object{"type": "object", "properties": properties, "additionalProperties": false}
	b.schemas[def.Name] = out // before its fields: they may lead back to it
	for _, f := range def.Fields {
		properties[f.Name] = b.input(f.Type)
		if f.Type.NonNull && f.DefaultValue == nil {
			required = append(required, f.Name)
		}
	}
	if len(required) > 0 {
		out["required"] = required
	}
}

// A selected is what is asked for under one key of an object.
type selected struct {
	field *ast.Field
	sets  ast.SelectionSet
	// always: it is there whatever the type and the variables are.
	always bool
}

// selection is the schema of an object as it was selected.
func (b *opBuilder) selection(def *ast.Definition, set ast.SelectionSet) object {
	var keys []string
	found := map[string]*selected{}
	var collect func(set ast.SelectionSet, always bool)
	collect = func(set ast.SelectionSet, always bool) {
		for _, sel := range set {
			switch sel := sel.(type) {
			case *ast.Field:
				s := found[sel.Alias]
				if s == nil {
					s = &selected{field: sel}
					found[sel.Alias] = s
					keys = append(keys, sel.Alias)
				}
				s.sets = append(s.sets, sel.SelectionSet...)
				s.always = s.always || always && len(sel.Directives) == 0
			case *ast.InlineFragment:
				collect(sel.SelectionSet, always && len(sel.Directives) == 0 && (sel.TypeCondition == "" || sel.TypeCondition == def.Name))
			case *ast.FragmentSpread:
				if f := sel.Definition; f != nil {
					collect(f.SelectionSet, always && len(sel.Directives) == 0 && f.TypeCondition == def.Name)
				}
			}
		}
	}
	collect(set, true)
	properties, required := object{}, []string{}
	for _, key := range keys {
		s := found[key]
		properties[key] = b.output(s.field, s.sets)
		if s.always {
			required = append(required, key)
		}
	}
	slices.Sort(required)
	return object{"type": "object", "properties": properties, "required": required}
}

func (b *opBuilder) output(f *ast.Field, set ast.SelectionSet) object {
	if f.Definition == nil {
		return object{} // __typename and the like
	}
	var of func(t *ast.Type) object
	of = func(t *ast.Type) object {
		var out object
		def := b.schema.Types[t.NamedType]
		switch {
		case t.Elem != nil:
			out = object{"type": "array", "items": of(t.Elem)}
		case def != nil && def.IsCompositeType():
			out = b.selection(def, set)
		default:
			out = leafSchema(def)
		}
		return orNull(out, t.NonNull)
	}
	return of(f.Definition.Type)
}

// orNull lets a schema be null too.
func orNull(s object, nonNull bool) object {
	if nonNull || len(s) == 0 {
		return s
	}
	if t, ok := s["type"].(string); ok && s["enum"] == nil {
		s["type"] = []string{t, "null"}
		return s
	}
	return object{"anyOf": []object{s, {"type": "null"}}}
}

// formats of scalars that are texts, as JSON Schema knows them.
var formats = map[string]string{"DateTime": "date-time", "Date": "date", "Duration": "duration", "UUID": "uuid"}

// leafSchema is the schema of an enum or a scalar.
func leafSchema(def *ast.Definition) object {
	switch {
	case def == nil || def.Name == "JSON":
		return object{}
	case def.Kind == ast.Enum:
		var values []string
		for _, v := range def.EnumValues {
			values = append(values, v.Name)
		}
		return object{"type": "string", "enum": values}
	}
	switch def.Name {
	case "Int", "SafeInt":
		return object{"type": "integer"}
	case "Float":
		return object{"type": "number"}
	case "Boolean":
		return object{"type": "boolean"}
	}
	out := object{"type": "string"}
	if f := formats[def.Name]; f != "" {
		out["format"] = f
	}
	return out
}
