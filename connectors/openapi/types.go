package openapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/countersign/countersign/connectors"
)

// Bounds of what is made of one document.
const (
	maxObjects   = 20000
	maxInline    = 24 // levels of objects without a name
	maxFlatDepth = 64 // levels of allOf
)

// A typer turns schemas into our types. Named schemas become objects and enums
// of that name; others are named after where they stand.
type typer struct {
	objects  map[string]*connectors.Object
	enums    map[string]*connectors.Enum
	taken    map[string]bool // names that objects must not have, lower-case and plain
	owner    map[string]*openapi3.Schema
	leftOut  []connectors.Omission
	warnings []string
}

func newTyper() *typer {
	return &typer{objects: map[string]*connectors.Object{}, enums: map[string]*connectors.Enum{}, taken: map[string]bool{}, owner: map[string]*openapi3.Schema{}}
}

func (t *typer) warn(format string, args ...any) {
	w := fmt.Sprintf(format, args...)
	if !slices.Contains(t.warnings, w) {
		t.warnings = append(t.warnings, w)
	}
}

// A typed is a type with what else a schema says of a field.
type typed struct {
	connectors.TypeRef
	nullable, readOnly, writeOnly, deprecated bool
	comment                                   string
	def                                       *connectors.Value
}

func (x typed) field(name string, required bool) *connectors.Field {
	return &connectors.Field{Name: name, Type: x.TypeRef, Nullable: x.nullable || !required, Comment: x.comment,
		ReadOnly: x.readOnly, WriteOnly: x.writeOnly, Deprecated: x.deprecated}
}

// A flat is a schema with its allOf merged and null taken out of its unions.
type flat struct {
	name       string // of the component; "" where it has none
	source     *openapi3.Schema
	types      []string
	format     string
	enum       []any
	props      []string
	schemas    map[string]*openapi3.SchemaRef
	required   map[string]bool
	items      *openapi3.SchemaRef
	maxLength  *uint64
	comment    string
	def        any
	union      bool
	closed     bool // additional members are no part of it
	unresolved bool
	nullable   bool
	readOnly   bool
	writeOnly  bool
	deprecated bool
}

func componentName(ref string) string {
	name, ok := strings.CutPrefix(ref, "#/components/schemas/")
	if !ok || strings.Contains(name, "/") {
		return ""
	}
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
}

func flatten(ref *openapi3.SchemaRef) *flat {
	f := &flat{schemas: map[string]*openapi3.SchemaRef{}, required: map[string]bool{}}
	f.name, f.source = identity(ref)
	f.merge(ref, map[*openapi3.Schema]bool{}, 0)
	return f
}

// identity is the component that a schema is, by itself or wrapped in an allOf
// or a choice with null, with the schema that holds its properties.
func identity(ref *openapi3.SchemaRef) (string, *openapi3.Schema) {
	for range maxFlatDepth {
		if ref == nil || ref.Value == nil {
			return "", nil
		}
		s := ref.Value
		if n := componentName(ref.Ref); n != "" {
			return n, s
		}
		if len(s.Properties) > 0 {
			return "", s
		}
		var parts openapi3.SchemaRefs
		for _, p := range slices.Concat(s.AllOf, s.OneOf, s.AnyOf) {
			if p != nil && p.Value != nil && !p.Value.Type.Is("null") {
				parts = append(parts, p)
			}
		}
		if len(parts) != 1 {
			return "", s
		}
		ref = parts[0]
	}
	return "", nil
}

// merge adds a schema; seen are those on the way, for schemas that contain
// themselves.
func (f *flat) merge(ref *openapi3.SchemaRef, seen map[*openapi3.Schema]bool, depth int) {
	if ref == nil || ref.Value == nil || seen[ref.Value] || depth > maxFlatDepth {
		return
	}
	s := ref.Value
	seen[s] = true
	defer delete(seen, s)
	f.own(s)
	for _, part := range s.AllOf {
		f.merge(part, seen, depth+1)
	}
	for _, union := range []openapi3.SchemaRefs{s.OneOf, s.AnyOf} {
		var rest openapi3.SchemaRefs
		for _, part := range union {
			if part != nil && part.Value != nil && part.Value.Type.Is("null") {
				f.nullable = true
				continue
			}
			rest = append(rest, part)
		}
		switch len(rest) {
		case 0:
		case 1:
			f.merge(rest[0], seen, depth+1)
		default:
			// A choice of what must be given beside the same properties is no
			// choice of types.
			if len(s.Properties) == 0 || slices.ContainsFunc(rest, func(p *openapi3.SchemaRef) bool { return p != nil && p.Value != nil && len(p.Value.Properties) > 0 }) {
				f.union = true
			}
		}
	}
}

// own adds what a schema itself says.
func (f *flat) own(s *openapi3.Schema) {
	if _, ok := s.Extensions[extUnresolved]; ok {
		f.unresolved = true
	}
	if s.Always != nil {
		f.unresolved = true
	}
	for _, ty := range s.Type.Slice() {
		if ty == "null" {
			f.nullable = true
		} else if !slices.Contains(f.types, ty) {
			f.types = append(f.types, ty)
		}
	}
	for _, p := range order(s) {
		if _, ok := f.schemas[p]; !ok {
			f.props = append(f.props, p)
		}
		f.schemas[p] = s.Properties[p]
	}
	for _, r := range s.Required {
		f.required[r] = true
	}
	for _, e := range s.Enum {
		if e == nil {
			f.nullable = true
		} else {
			f.enum = append(f.enum, e)
		}
	}
	if f.format == "" {
		f.format = s.Format
		if f.format == "" && strings.HasPrefix(s.ContentEncoding, "base64") {
			f.format = "byte"
		}
	}
	if f.items == nil {
		f.items = s.Items
	}
	if f.maxLength == nil {
		f.maxLength = s.MaxLength
	}
	if f.comment == "" {
		f.comment = s.Description
		if f.comment == "" {
			f.comment = s.Title
		}
	}
	if f.def == nil {
		f.def = s.Default
	}
	f.nullable = f.nullable || s.Nullable
	f.readOnly = f.readOnly || s.ReadOnly
	f.writeOnly = f.writeOnly || s.WriteOnly
	f.deprecated = f.deprecated || s.Deprecated
	if a := s.AdditionalProperties; a.Has != nil && !*a.Has {
		f.closed = true
	}
}

// kind is the one type, or "".
func (f *flat) kind() string {
	switch {
	case f.union || f.unresolved:
		return ""
	case len(f.types) == 1:
		return f.types[0]
	case len(f.types) == 0 && len(f.props) > 0:
		return "object"
	case len(f.types) == 0 && f.items != nil:
		return "array"
	case len(f.types) == 0 && len(f.enum) > 0 && allStrings(f.enum):
		return "string"
	case len(f.types) == 2 && slices.Contains(f.types, "integer") && slices.Contains(f.types, "number"):
		return "number"
	}
	return ""
}

func allStrings(list []any) bool {
	return !slices.ContainsFunc(list, func(x any) bool { _, ok := x.(string); return !ok })
}

// typeOf is the type of a schema that stands at the place named hint.
func (t *typer) typeOf(ref *openapi3.SchemaRef, hint string, depth int) typed {
	f := flatten(ref)
	x := typed{nullable: f.nullable, readOnly: f.readOnly, writeOnly: f.writeOnly, deprecated: f.deprecated, comment: clip(f.comment)}
	kind := f.kind()
	switch kind {
	case "array":
		x.TypeRef = t.listOf(f, hint, depth)
	case "object":
		x.TypeRef = t.objectOf(f, hint, depth)
	case "string":
		x.TypeRef = t.textOf(f, hint)
	case "integer", "number", "boolean":
		x.TypeRef = numberOf(kind, f.format)
	default:
		x.TypeRef = connectors.TypeRef{Scalar: connectors.ScalarJSON}
		switch {
		case f.union:
			t.warn("%s may be of several types (oneOf, anyOf) and is JSON for now", at(f, hint))
		case len(f.types) > 1:
			t.warn("%s may be of the types %s and is JSON", at(f, hint), strings.Join(f.types, ", "))
		}
	}
	if kind != "object" && kind != "array" {
		x.Native = strings.TrimSuffix(kind+"/"+f.format, "/")
	}
	x.def = defaultOf(f.def, x.TypeRef)
	return x
}

func at(f *flat, hint string) string {
	if f.name != "" {
		return f.name
	}
	return hint
}

// clip bounds a comment: vendors write pages.
func clip(s string) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, "\ufffd"))
	const most = 500
	if len(s) <= most {
		return s
	}
	cut := strings.ToValidUTF8(s[:most], "")
	if i := strings.LastIndexAny(cut, " \n"); i > most/2 {
		cut = cut[:i]
	}
	return cut + "…"
}

func (t *typer) listOf(f *flat, hint string, depth int) connectors.TypeRef {
	if f.items == nil {
		return connectors.TypeRef{Scalar: connectors.ScalarJSON, List: true, ItemNullable: true}
	}
	item := t.typeOf(f.items, hint, depth+1)
	if item.List {
		// Lists of lists stay JSON inside.
		return connectors.TypeRef{Scalar: connectors.ScalarJSON, List: true, ItemNullable: item.nullable}
	}
	out := item.TypeRef
	out.List, out.ItemNullable = true, item.nullable
	return out
}

// objectOf makes an object of a schema with properties; one without is JSON.
func (t *typer) objectOf(f *flat, hint string, depth int) connectors.TypeRef {
	if len(f.props) == 0 || depth > maxInline || len(t.objects) >= maxObjects {
		return connectors.TypeRef{Scalar: connectors.ScalarJSON}
	}
	name := t.nameOf(f, hint)
	if _, ok := t.objects[name]; ok {
		return connectors.TypeRef{Object: name}
	}
	o := &connectors.Object{Name: name, Comment: clip(f.comment)}
	t.objects[name] = o // before its fields: they may lead back here
	inner := depth + 1
	if f.name != "" {
		inner = 0
	}
	for _, p := range f.props {
		o.Fields = append(o.Fields, t.typeOf(f.schemas[p], at(f, hint)+"_"+p, inner).field(p, f.required[p]))
	}
	return connectors.TypeRef{Object: name}
}

// nameOf is the name of an object or enum: the component's, else the place's.
// Where a collection's records have that name in the graph it is made another,
// which depends on nothing but the collections that are configured.
func (t *typer) nameOf(f *flat, hint string) string {
	base := at(f, hint)
	if t.taken[strings.ToLower(plain(base))] {
		base += "_object"
	}
	name := base
	for n := 2; t.owner[name] != nil && t.owner[name] != f.source; n++ {
		name = fmt.Sprintf("%s_%d", base, n)
	}
	t.owner[name] = f.source
	return name
}

// plain is a name without what the graph's names leave out.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
}

func (t *typer) textOf(f *flat, hint string) connectors.TypeRef {
	if len(f.enum) > 0 && allStrings(f.enum) {
		return t.enumOf(f, hint)
	}
	out := connectors.TypeRef{Scalar: connectors.ScalarString}
	switch strings.ToLower(f.format) {
	case "date":
		out.Scalar = connectors.ScalarDate
	case "date-time":
		out.Scalar = connectors.ScalarDateTime
	case "uuid":
		out.Scalar = connectors.ScalarUUID
	case "duration":
		out.Scalar = connectors.ScalarDuration
	case "byte", "binary":
		out.Scalar = connectors.ScalarBytes
	case "decimal":
		out.Scalar = connectors.ScalarDecimal
	case "int64", "uint64":
		out.Scalar = connectors.ScalarBigInt
	}
	if out.Scalar == connectors.ScalarString && f.maxLength != nil && *f.maxLength < 1<<31 {
		out.MaxLength = int(*f.maxLength)
	}
	return out
}

func (t *typer) enumOf(f *flat, hint string) connectors.TypeRef {
	e := &connectors.Enum{Name: t.nameOf(f, hint), Comment: clip(f.comment)}
	for _, v := range f.enum {
		if s := v.(string); !slices.Contains(e.Values, s) {
			e.Values = append(e.Values, s)
		}
	}
	// An empty or unnameable value cannot stand in the graph.
	if slices.ContainsFunc(e.Values, func(s string) bool { return plain(s) == "" }) {
		t.warn("%s has values that cannot be named, and is text", at(f, hint))
		return connectors.TypeRef{Scalar: connectors.ScalarString}
	}
	t.enums[e.Name] = e
	return connectors.TypeRef{Enum: e.Name}
}

func numberOf(kind, format string) connectors.TypeRef {
	switch kind {
	case "boolean":
		return connectors.TypeRef{Scalar: connectors.ScalarBoolean}
	case "integer":
		switch format {
		case "int8", "int16", "int32", "uint8", "uint16":
			return connectors.TypeRef{Scalar: connectors.ScalarInt}
		case "int64", "uint64":
			return connectors.TypeRef{Scalar: connectors.ScalarBigInt}
		}
		return connectors.TypeRef{Scalar: connectors.ScalarSafeInt}
	}
	if format == "decimal" {
		return connectors.TypeRef{Scalar: connectors.ScalarDecimal}
	}
	return connectors.TypeRef{Scalar: connectors.ScalarFloat}
}

// defaultOf is a constant default; nil where there is none or it does not fit.
func defaultOf(def any, ty connectors.TypeRef) *connectors.Value {
	if def == nil || ty.List || ty.Object != "" {
		return nil
	}
	raw, err := json.Marshal(def)
	if err != nil {
		return nil
	}
	cell := (&decoder{}).append(nil, raw, ty, 0)
	v, err := connectors.ParseCell(cell, ty.Leaf())
	if err != nil || v.IsNull() {
		return nil
	}
	return &v
}
