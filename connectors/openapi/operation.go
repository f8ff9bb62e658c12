package openapi

import (
	"cmp"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/countersign/countersign/connectors"
)

// Places of an argument in a request.
const (
	inPath   = "path"
	inQuery  = "query"
	inHeader = "header"
	inBody   = "body" // a member of the body
	inWhole  = "whole"
)

// A param is one argument of an operation and where it goes.
type param struct {
	wire    string // its name in the request
	in      string
	style   string
	explode bool
	field   *connectors.Field // with the argument's name
	list    int               // for lists: most items; 0: not said
}

// An operation is one method of one path.
type operation struct {
	id      string
	method  string
	path    string
	params  []*param
	media   string // of the body; "" without
	answer  answerKind
	result  *connectors.TypeRef
	maybe   bool // it may answer nothing although it succeeds
	schema  *openapi3.SchemaRef
	tags    []string
	comment string
	old     bool // deprecated
	reads   bool
	etag    bool // it answers with an ETag
	ifMatch bool // it takes If-Match
	keyed   bool // it documents an Idempotency-Key
	outcome OutcomeConfig

	// What it is read from; let go once the model is made.
	item *openapi3.PathItem
	src  *openapi3.Operation
}

// An answerKind says how an answer is read.
type answerKind uint8

const (
	answerNothing answerKind = iota
	answerJSON
	answerText
)

func (o *operation) param(name string) *param {
	for _, p := range o.params {
		if p.field.Name == name {
			return p
		}
	}
	return nil
}

// wire finds a parameter by its name in the request, of path or query first.
func (o *operation) wire(name string, in ...string) *param {
	for _, p := range o.params {
		if p.wire == name && slices.Contains(in, p.in) {
			return p
		}
	}
	return nil
}

// An omission is the reason why an operation is left out.
type omission string

func (o omission) Error() string { return string(o) }

var pathName = regexp.MustCompile(`\{([^{}]*)\}`)

// A reader makes operations of a document.
type reader struct {
	typer *typer
	cfg   *Config
}

// operations lists what the document has, sorted by path and method, not yet
// read in detail.
func (r *reader) operations(doc *openapi3.T) []*operation {
	var all []*operation
	items := doc.Paths.Map()
	for _, path := range slices.Sorted(maps.Keys(items)) {
		item := items[path]
		if item == nil {
			continue
		}
		ops := item.Operations()
		for _, method := range slices.Sorted(maps.Keys(ops)) {
			src := ops[method]
			o := &operation{id: src.OperationID, method: strings.ToUpper(method), path: path, tags: src.Tags, old: src.Deprecated, item: item, src: src}
			if o.id == "" {
				o.id = strings.ToLower(method) + "_" + strings.Trim(noWord.ReplaceAllString(path, "_"), "_")
			}
			o.comment = clip(cmp.Or(src.Summary, src.Description))
			o.reads = o.method == http.MethodGet
			all = append(all, o)
		}
	}
	return all
}

var noWord = regexp.MustCompile(`[^A-Za-z0-9]+`)

// read fills in an operation; an error is the reason to leave it out.
func (r *reader) read(o *operation) error {
	switch o.method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return omission(o.method + " is not offered")
	}
	if !strings.HasPrefix(o.path, "/") {
		return omission("its path does not begin with a slash")
	}
	if err := r.parameters(o, o.item.Parameters, o.src.Parameters); err != nil {
		return err
	}
	if err := r.body(o, o.src.RequestBody); err != nil {
		return err
	}
	for _, m := range pathName.FindAllStringSubmatch(o.path, -1) {
		if o.wire(m[1], inPath) == nil {
			return omission("the path names {" + m[1] + "}, which is no parameter")
		}
	}
	return r.responses(o, o.src.Responses)
}

func (r *reader) parameters(o *operation, lists ...openapi3.Parameters) error {
	var all openapi3.Parameters
	for _, list := range lists { // the operation's own replace those of the path
		for _, p := range list {
			if p == nil || p.Value == nil {
				return omission("a parameter cannot be read")
			}
			if _, ok := p.Value.Extensions[extUnresolved]; ok {
				return omission("a parameter is a reference that leads nowhere")
			}
			all = slices.DeleteFunc(all, func(q *openapi3.ParameterRef) bool { return q.Value.Name == p.Value.Name && q.Value.In == p.Value.In })
			all = append(all, p)
		}
	}
	for _, in := range []string{inPath, inQuery, inHeader, "cookie"} {
		for _, p := range all {
			if p.Value.In != in {
				continue
			}
			if err := r.parameter(o, p.Value); err != nil {
				if p.Value.Required || in == inPath {
					return err
				}
				r.typer.leftOut = append(r.typer.leftOut, connectors.Omission{Path: o.method + " " + o.path + ": " + p.Value.Name, Reason: err.Error()})
			}
		}
	}
	return nil
}

func (r *reader) parameter(o *operation, src *openapi3.Parameter) error {
	if src.In == inHeader {
		switch strings.ToLower(src.Name) {
		case "accept", "content-type", "authorization":
			return nil // the document has other places for these
		case "idempotency-key":
			o.keyed = true
			return nil // set from the step's key, never by a client
		case "if-match":
			o.ifMatch = true
			return nil
		}
		if strings.EqualFold(src.Name, o.outcome.Header) {
			return nil
		}
	}
	p := &param{wire: src.Name, in: src.In, style: src.Style}
	schema := src.Schema
	switch {
	case src.In == "cookie":
		return omission("cookies are not supported yet")
	case src.Name == "":
		return omission("a parameter has no name")
	case schema == nil:
		return omission("the parameter " + src.Name + " is written as a media type, which is not supported yet")
	case strings.Contains(src.Name, "\n") || src.In == inHeader && !isToken(src.Name):
		return omission("the parameter's name cannot be sent")
	}
	if p.style == "" {
		p.style = map[string]string{inPath: "simple", inQuery: "form", inHeader: "simple"}[src.In]
	}
	p.explode = p.style == "form" || p.style == "deepObject"
	if src.Explode != nil {
		p.explode = *src.Explode
	}
	ty := r.typer.typeOf(schema, o.id+"_"+src.Name, 0)
	if reason := p.writable(ty.TypeRef); reason != "" {
		return omission("the parameter " + src.Name + " " + reason)
	}
	if flat := flatten(schema); ty.List && schema.Value.MaxItems != nil && *schema.Value.MaxItems < 1<<20 && !flat.union {
		p.list = int(*schema.Value.MaxItems)
	}
	if src.Description != "" {
		ty.comment = clip(src.Description)
	}
	ty.deprecated = ty.deprecated || src.Deprecated
	r.add(o, p, ty, src.Required)
	return nil
}

// writable says why a parameter cannot be sent in its style; "" when it can.
func (p *param) writable(t connectors.TypeRef) string {
	simple := p.style == "simple" && p.in != inQuery || p.style == "form" && p.in == inQuery
	switch {
	case t.Object != "" && !t.List && p.style == "deepObject":
	case t.Object != "":
		return "is an object, which cannot be sent there yet"
	case t.List && slices.Contains([]string{"spaceDelimited", "pipeDelimited"}, p.style) && p.in == inQuery:
	case !simple:
		return "has the style " + p.style + ", which is not supported yet"
	}
	return ""
}

func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// add makes an argument. Two of one name in different places are told apart by
// the place of the second.
func (r *reader) add(o *operation, p *param, ty typed, required bool) {
	name := p.wire
	for o.param(name) != nil {
		name += "_" + p.in
	}
	p.field = ty.field(name, required)
	// A client may leave out what the system fills in.
	if !required && ty.def != nil {
		p.field.Default, p.field.DefaultValue = true, ty.def
	}
	p.field.ReadOnly, p.field.WriteOnly = false, false
	o.params = append(o.params, p)
}

func (r *reader) body(o *operation, ref *openapi3.RequestBodyRef) error {
	if ref == nil || ref.Value == nil || o.reads {
		return nil
	}
	if _, ok := ref.Value.Extensions[extUnresolved]; ok {
		return omission("its body is a reference that leads nowhere")
	}
	media, content := pickMedia(ref.Value.Content, isJSON, isForm)
	if content == nil {
		if len(ref.Value.Content) == 0 || !ref.Value.Required {
			return nil
		}
		return omission("its body is neither JSON nor a form: " + strings.Join(sortedKeys(ref.Value.Content), ", "))
	}
	o.media = media
	if content.Schema == nil {
		if isForm(media) {
			return omission("its body is a form of unknown members")
		}
		r.add(o, &param{wire: "body", in: inWhole}, typed{TypeRef: connectors.TypeRef{Scalar: connectors.ScalarJSON}}, ref.Value.Required)
		return nil
	}
	f := flatten(content.Schema)
	if f.kind() != "object" || len(f.props) == 0 {
		if isForm(media) {
			return omission("its body is a form of unknown members")
		}
		r.add(o, &param{wire: "body", in: inWhole}, r.typer.typeOf(content.Schema, o.id+"_body", 0), ref.Value.Required)
		return nil
	}
	hint := at(f, o.id)
	for _, name := range f.props {
		ty := r.typer.typeOf(f.schemas[name], hint+"_"+name, 1)
		if ty.readOnly {
			continue
		}
		if isForm(media) && (ty.Object != "" && ty.List) {
			return omission("its form has lists of objects, which are not supported yet")
		}
		r.add(o, &param{wire: name, in: inBody}, ty, f.required[name] && ref.Value.Required)
	}
	return nil
}

func (r *reader) responses(o *operation, src *openapi3.Responses) error {
	var found bool
	for _, status := range []string{"200", "201", "202", "203", "206", "2XX", "2xx", "204", "205", "default"} {
		ref := src.Value(status)
		if ref == nil || ref.Value == nil || status == "default" && found {
			continue
		}
		if header := ref.Value.Headers["ETag"]; header != nil {
			o.etag = true
		}
		if len(ref.Value.Content) == 0 {
			o.maybe = o.maybe || status != "default"
			found = true
			if o.reads && o.answer == answerNothing && status != "204" && status != "205" {
				// The document forgot to say; what reads answers something.
				o.answer, o.result = answerJSON, &connectors.TypeRef{Scalar: connectors.ScalarJSON}
			}
			continue
		}
		if o.answer != answerNothing && o.schema != nil {
			continue
		}
		found = true
		media, content := pickMedia(ref.Value.Content, isJSON, isText)
		if content == nil {
			return omission("it answers with " + strings.Join(sortedKeys(ref.Value.Content), ", ") + ", which is not supported yet")
		}
		if !isJSON(media) {
			o.answer, o.result = answerText, &connectors.TypeRef{Scalar: connectors.ScalarString}
			continue
		}
		o.answer, o.schema = answerJSON, content.Schema
		ty := typed{TypeRef: connectors.TypeRef{Scalar: connectors.ScalarJSON}, nullable: true}
		if content.Schema != nil {
			ty = r.typer.typeOf(content.Schema, o.id+"_result", 0)
		}
		o.result, o.maybe = &ty.TypeRef, o.maybe || ty.nullable
	}
	if o.reads && o.answer == answerNothing {
		return omission("it reads and answers nothing")
	}
	return nil
}

// pickMedia takes the first media type of the first test that any passes.
func pickMedia(content openapi3.Content, tests ...func(string) bool) (string, *openapi3.MediaType) {
	for _, test := range tests {
		for _, name := range sortedKeys(content) {
			if m := content[name]; m != nil && test(name) {
				return name, m
			}
		}
	}
	return "", nil
}

func sortedKeys(content openapi3.Content) []string {
	var names []string
	for name := range content {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func mediaType(s string) string {
	kind, _, err := mime.ParseMediaType(s)
	if err != nil {
		kind, _, _ = strings.Cut(s, ";")
	}
	return strings.ToLower(strings.TrimSpace(kind))
}

func isJSON(s string) bool {
	kind := mediaType(s)
	return kind == "application/json" || strings.HasSuffix(kind, "+json") || kind == "*/*" || kind == "application/*"
}

func isForm(s string) bool { return mediaType(s) == "application/x-www-form-urlencoded" }

func isText(s string) bool { return mediaType(s) == "text/plain" }

// function is the operation as one of the source's functions.
func (o *operation) function() *connectors.Function {
	f := &connectors.Function{Name: o.id, Comment: o.comment, Result: o.result, Nullable: o.maybe, Reads: o.reads,
		Deprecated: o.old, Call: fmt.Sprintf("%s %s", o.method, o.path)}
	for _, p := range o.params {
		f.Args = append(f.Args, p.field)
	}
	if !o.reads {
		f.Act = &connectors.Act{Class: o.outcome.Class, Preview: connectors.PreviewNone}
	}
	return f
}
