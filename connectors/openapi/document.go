package openapi

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/countersign/countersign/connectors"
)

// Extensions we put into a document while reading it.
const (
	extOrder      = "x-countersign-order"      // the names of a schema's properties, in order
	extUnresolved = "x-countersign-unresolved" // a reference that leads nowhere
)

// validateBelow is the size up to which the library's own check is run. It
// takes seconds on large documents, and refuses good ones of large vendors, so
// it only ever gives a warning.
const validateBelow = 512 << 10

// A document is one that was read, with what had to be left out of it.
type document struct {
	spec     *openapi3.T
	leftOut  []connectors.Omission
	warnings []string
}

// readDocument reads an OpenAPI 3.0 or 3.1 document. Vendors' documents are
// often wrong in places: references that lead nowhere and parts of the wrong
// type are left out and listed, the rest works.
func readDocument(data []byte) (d *document, err error) {
	defer func() {
		// A document must not end the program, whatever the library makes of it.
		if r := recover(); r != nil {
			d, err = nil, unreadable(fmt.Errorf("panic: %v", r))
		}
	}()
	root, err := parseTree(data)
	if err != nil {
		return nil, unreadable(err)
	}
	if root.get("swagger").text() != "" {
		return nil, connectors.Errorf(connectors.CodeUnsupported, "the document is OpenAPI 2.0 (Swagger), which is not supported yet: convert it to 3.0 or 3.1")
	}
	if v := root.get("openapi").text(); !strings.HasPrefix(v, "3.0") && !strings.HasPrefix(v, "3.1") {
		return nil, connectors.Errorf(connectors.CodeUpstreamError, "the document does not say that it is OpenAPI 3.0 or 3.1")
	}
	d = &document{}
	r := &repairer{root: root, doc: d}
	r.walk(root, "", false, 0)
	d.spec, err = load(root)
	if err != nil {
		r.prune()
		d.spec, err = load(root)
	}
	// References to what is something else than the place wants: the library
	// names one at a time.
	for range 50 {
		if err == nil || !r.cut(err) {
			break
		}
		d.spec, err = load(root)
	}
	if err != nil {
		return nil, unreadable(err)
	}
	if len(data) < validateBelow {
		if err := d.spec.Validate(context.Background(), openapi3.DisableExamplesValidation(), openapi3.DisableSchemaDefaultsValidation()); err != nil {
			d.warnings = append(d.warnings, "the document is not wholly valid: "+firstLine(err.Error()))
		}
	}
	return d, nil
}

func unreadable(err error) *connectors.Error {
	return connectors.Errorf(connectors.CodeUpstreamError, "the document cannot be read as OpenAPI 3.0 or 3.1").WithCause(err)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

func load(root *tree) (*openapi3.T, error) {
	loader := openapi3.NewLoader() // refuses references to other files and hosts
	return loader.LoadFromData(root.append(nil))
}

// A repairer walks a document before the library sees it.
type repairer struct {
	root *tree
	doc  *document
}

func (r *repairer) leaveOut(path, reason string) {
	r.doc.leftOut = append(r.doc.leftOut, connectors.Omission{Path: path, Reason: reason})
}

// walk notes the order of properties and replaces references that lead nowhere.
// names tells that t is a map of names chosen by the document's author, in
// which a member "properties" is no keyword.
func (r *repairer) walk(t *tree, path string, names bool, depth int) {
	if t.scalar != nil {
		return
	}
	if t.isObject() && !names {
		// Choices are JSON, and the mapping of a discriminator often names files.
		if t.get("discriminator") != nil {
			t.drop("discriminator")
		}
		if ref := t.get("$ref").text(); ref != "" {
			if !r.resolves(ref) {
				r.leaveOut(path, "the reference "+ref+" leads nowhere in this document")
				t.names, t.items = nil, nil
				t.set(extUnresolved, textTree(ref))
				return
			}
		}
		if p := t.get("properties"); p != nil && p.isObject() && len(p.names) > 0 {
			order := &tree{array: true}
			for _, n := range p.names {
				order.items = append(order.items, textTree(n))
			}
			t.set(extOrder, order)
		}
	}
	for i, x := range t.items {
		name := fmt.Sprint(i)
		if !t.array {
			name = t.names[i]
		}
		if name == extOrder {
			continue
		}
		r.walk(x, path+"/"+name, !names && !t.array && x.isObject() && isNameMap(name), depth+1)
	}
}

func isNameMap(member string) bool {
	return slices.Contains([]string{"properties", "patternProperties", "$defs", "schemas", "responses", "headers", "paths", "webhooks",
		"requestBodies", "securitySchemes", "links", "callbacks", "mapping", "variables", "pathItems", "dependentSchemas"}, member)
}

// resolves tells whether a reference leads to something that is no reference
// itself, however often it is passed on.
func (r *repairer) resolves(ref string) bool {
	for range 50 {
		t := r.root.pointer(ref)
		if t == nil || t.scalar != nil {
			return false
		}
		if ref = t.get("$ref").text(); ref == "" {
			return true
		}
	}
	return false
}

var wrongTarget = regexp.MustCompile(`"(#/[^"]+)" \(expecting ref to ([a-zA-Z]+) object\)`)

// cut empties the references to a part of the document that is not of the kind
// that their places want, as an error of the library names it; it reports
// whether there was one.
func (r *repairer) cut(err error) bool {
	m := wrongTarget.FindStringSubmatch(err.Error())
	return m != nil && r.cutAll(r.root, "", m[1], m[2], "", "")
}

// cutAll empties the references to target below t in places of a kind. name is
// the member t stands in and above the one around that.
func (r *repairer) cutAll(t *tree, path, target, kind, name, above string) (found bool) {
	if t.scalar != nil {
		return false
	}
	if t.isObject() && t.get("$ref").text() == target && placeOf(name, above) == kind {
		r.leaveOut(path, "the reference "+target+" leads to something that is no "+kind)
		t.names, t.items = []string{extUnresolved}, []*tree{textTree(target)}
		return true
	}
	for i, x := range t.items {
		member := fmt.Sprint(i)
		if !t.array {
			member = t.names[i]
		}
		found = r.cutAll(x, path+"/"+member, target, kind, member, name) || found
	}
	return found
}

// placeOf is the kind of thing that a place holds.
func placeOf(name, above string) string {
	switch {
	case above == "parameters":
		return "parameter"
	case above == "responses":
		return "response"
	case above == "headers":
		return "header"
	case above == "examples":
		return "example"
	case above == "links":
		return "link"
	case above == "callbacks":
		return "callback"
	case above == "securitySchemes":
		return "securityScheme"
	case name == "requestBody" || above == "requestBodies":
		return "requestBody"
	}
	return "schema"
}

// prune takes out what the library cannot even read by itself: components and
// operations whose members have the wrong type.
func (r *repairer) prune() {
	broken := func(t *tree, into any) bool { return json.Unmarshal(t.append(nil), into) != nil }
	each := func(section string, make func() any) {
		m := r.root.get("components").get(section)
		if m == nil || !m.isObject() {
			return
		}
		for i, name := range m.names {
			if broken(m.items[i], make()) {
				r.leaveOut("/components/"+section+"/"+name, "it is not written as OpenAPI wants it")
				m.items[i] = &tree{names: []string{extUnresolved}, items: []*tree{textTree("invalid")}}
			}
		}
	}
	each("schemas", func() any { return new(openapi3.SchemaRef) })
	each("parameters", func() any { return new(openapi3.ParameterRef) })
	each("responses", func() any { return new(openapi3.ResponseRef) })
	each("requestBodies", func() any { return new(openapi3.RequestBodyRef) })
	each("headers", func() any { return new(openapi3.HeaderRef) })
	for _, section := range []string{"examples", "links", "callbacks"} {
		r.root.get("components").dropMember(section)
	}
	r.root.drop("webhooks")
	paths := r.root.get("paths")
	if paths == nil || !paths.isObject() {
		return
	}
	for i, path := range slices.Clone(paths.names) {
		item := paths.items[i]
		if item.scalar != nil || item.array {
			r.leaveOut(path, "it is not written as OpenAPI wants it")
			paths.items[i] = &tree{}
			continue
		}
		for _, method := range slices.Clone(item.names) {
			op := item.get(method)
			if slices.Contains(methods(), method) && broken(op, new(openapi3.Operation)) {
				r.leaveOut(strings.ToUpper(method)+" "+path, "it is not written as OpenAPI wants it")
				item.drop(method)
			}
		}
		if broken(item, new(openapi3.PathItem)) {
			r.leaveOut(path, "it is not written as OpenAPI wants it")
			paths.items[i] = &tree{}
		}
	}
}

// dropMember is drop for a tree that may be nil.
func (t *tree) dropMember(name string) {
	if t != nil {
		t.drop(name)
	}
}

func methods() []string {
	return []string{"get", "head", "post", "put", "patch", "delete", "options", "trace"}
}

// order is the names of a schema's properties as the document has them.
func order(s *openapi3.Schema) []string {
	var names []string
	if list, ok := s.Extensions[extOrder].([]any); ok {
		for _, x := range list {
			if n, ok := x.(string); ok && s.Properties[n] != nil && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	var rest []string
	for n := range s.Properties {
		if !slices.Contains(names, n) {
			rest = append(rest, n)
		}
	}
	slices.Sort(rest)
	return append(names, rest...)
}
