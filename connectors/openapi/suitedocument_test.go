package openapi_test

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
)

type object = map[string]any

// document describes the API.
func (a *suiteAPI) document() object {
	paths, schemas := object{}, object{}
	for _, c := range connectortest.SuiteCollections() {
		record, create, patch := object{}, object{}, object{}
		var all, needed []string
		var keys []any
		key := ""
		for _, k := range c.Key {
			key += "/{" + k + "}"
			keys = append(keys, object{"name": k, "in": "path", "required": true, "schema": a.typeOf(c.Field(k), false)})
		}
		list := "/" + c.Name
		if a.nested && c.Name == connectortest.Tracks {
			list = "/albums/{album_id}/tracks"
		}
		for _, f := range c.Fields {
			record[f.Name] = a.typeOf(f, false)
			all = append(all, f.Name)
			if !strings.Contains(list, "{"+f.Name+"}") {
				create[f.Name] = a.typeOf(f, true)
				if !f.Nullable && !f.Default {
					needed = append(needed, f.Name)
				}
			}
			if !slices.Contains(c.Key, f.Name) {
				patch[f.Name] = a.typeOf(f, false)
			}
		}
		schemas[c.Name] = object{"type": "object", "required": all, "properties": record}
		one := object{"$ref": "#/components/schemas/" + c.Name}
		listed := a.operation("list_"+c.Name, a.listParameters(c, list), nil, object{"type": "object", "properties": object{
			"items": object{"type": "array", "items": one}, "next": object{"type": "string"}}})
		paths[list] = object{"get": listed, "post": a.operation("create_"+c.Name, a.listKeys(c, list), object{"type": "object", "required": needed, "properties": create}, one)}
		paths["/"+c.Name+key] = object{"get": a.operation("get_"+c.Name, keys, nil, one),
			"patch":  a.operation("update_"+c.Name, append(keys[:len(keys):len(keys)], a.ifMatch()...), object{"type": "object", "properties": patch}, one),
			"delete": a.operation("delete_"+c.Name, append(keys[:len(keys):len(keys)], a.ifMatch()...), nil, nil)}
		if len(c.Key) == 1 {
			paths["/"+c.Name+"/many"] = object{"get": a.operation("many_"+c.Name, []any{object{"name": "id", "in": "query", "required": true,
				"schema": object{"type": "array", "items": object{"type": "integer"}}}}, nil, object{"type": "array", "items": one})}
		}
	}
	n := []any{object{"name": "n", "in": "query", "required": true, "schema": object{"type": "integer"}}}
	paths["/count"] = object{"get": a.operation("count", n, nil, object{"type": "integer"}), "post": a.operation("recount", n, nil, object{"type": "integer"})}
	return object{"openapi": a.version, "info": object{"title": "suite", "version": "1"}, "paths": paths, "components": object{"schemas": schemas}}
}

func (a *suiteAPI) ifMatch() []any {
	if !a.etag {
		return nil
	}
	return []any{object{"name": "If-Match", "in": "header", "schema": object{"type": "string"}}}
}

func (a *suiteAPI) listKeys(c *connectors.Collection, path string) []any {
	var out []any
	for _, k := range c.Key {
		if strings.Contains(path, "{"+k+"}") {
			out = append(out, object{"name": k, "in": "path", "required": true, "schema": a.typeOf(c.Field(k), false)})
		}
	}
	return out
}

func (a *suiteAPI) listParameters(c *connectors.Collection, path string) []any {
	out := a.listKeys(c, path)
	add := func(name string, schema any) {
		out = append(out, object{"name": name, "in": "query", "schema": schema})
	}
	for field, ops := range suiteFilters[c.Name] {
		for _, op := range ops {
			f := *c.Field(field)
			f.Nullable, f.Type.MaxLength = false, 0
			if op == connectors.OpIn {
				add(field+"_in", object{"type": "array", "maxItems": 3, "items": a.typeOf(&f, false)})
			} else {
				add(field+"_"+string(op), a.typeOf(&f, false))
			}
		}
	}
	add("at", object{"type": "integer"})
	add("token", object{"type": "string"})
	add("size", object{"type": "integer", "maximum": 50})
	return out
}

// operation describes one; what it is sent and what it answers may be nil.
func (a *suiteAPI) operation(id string, parameters []any, body, answer any) object {
	ok := object{"description": "done"}
	if answer != nil {
		ok["content"] = object{"application/json": object{"schema": answer}}
	}
	if a.etag && strings.HasPrefix(id, "get_") {
		ok["headers"] = object{"ETag": object{"schema": object{"type": "string"}}}
	}
	out := object{"operationId": id, "parameters": parameters, "responses": object{"200": ok}}
	if parameters == nil {
		delete(out, "parameters")
	}
	if body != nil {
		out["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": body}}}
	}
	return out
}

// typeOf is the schema of a field.
func (a *suiteAPI) typeOf(f *connectors.Field, defaults bool) object {
	out := map[connectors.Scalar]object{
		connectors.ScalarInt: {"type": "integer", "format": "int32"}, connectors.ScalarBigInt: {"type": "integer", "format": "int64"},
		connectors.ScalarFloat: {"type": "number"}, connectors.ScalarBoolean: {"type": "boolean"}, connectors.ScalarString: {"type": "string"},
		connectors.ScalarDate: {"type": "string", "format": "date"}, connectors.ScalarDateTime: {"type": "string", "format": "date-time"},
		connectors.ScalarLocalDateTime: {"type": "string"}, connectors.ScalarDecimal: {"type": "string", "format": "decimal"},
	}[f.Type.Scalar]
	if f.Type.Scalar == connectors.ScalarDecimal && !a.decimalText() {
		out["type"] = "number"
	}
	if f.Type.MaxLength > 0 {
		out["maxLength"] = f.Type.MaxLength
	}
	if v := f.DefaultValue; v != nil && defaults {
		out["default"] = json.RawMessage(v.Text)
	}
	switch {
	case f.Nullable && a.version == "3.0.3":
		out["nullable"] = true
	case f.Nullable:
		out["type"] = []any{out["type"], "null"}
	}
	return out
}

func (a *suiteAPI) decimalText() bool { return a.version != "3.0.3" }
