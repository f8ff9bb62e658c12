package openapi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/countersign/countersign/connectors"
)

// A collection is a configured one with the operations it is made of.
type collection struct {
	name string
	cfg  CollectionConfig
	spec *connectors.Collection

	get, list, batch, create, update, delete *operation
	// source is the schema of a record, to know it again in other answers.
	source *openapi3.Schema
	// Paths of the record or list in answers.
	getPath, listPath, batchPath, createPath, updatePath []string
	// unwrapped tells which writes answer with the record.
	createAnswers, updateAnswers bool
	// key arguments by key field, for get, update and delete.
	getKey, updateKey, deleteKey map[string]*param
	// arguments by field, for create and update.
	createArgs, updateArgs map[string]*param
	createNeeds            []string // fields that create must be given
	filter                 map[string]map[connectors.Op]*param
	required               []string // fields that list cannot do without
	batchParam             *param
	batchMax, pageMax      int
	sizeParam, pageParam   *param
}

// collection makes one of its configuration. Errors are the configuration's.
func (r *reader) collection(name string, cfg CollectionConfig, find func(string) (*operation, error)) (*collection, error) {
	c := &collection{name: name, cfg: cfg, filter: map[string]map[connectors.Op]*param{},
		spec: &connectors.Collection{Name: name, Acts: map[connectors.StepKind]*connectors.Act{}}}
	for _, x := range []struct {
		at   string
		id   string
		into **operation
	}{{"list", cfg.List, &c.list}, {"get", cfg.Get, &c.get}, {"batch.operation", cfg.Batch.Operation, &c.batch},
		{"create", cfg.Create, &c.create}, {"update", cfg.Update, &c.update}, {"delete", cfg.Delete, &c.delete}} {
		writes := x.at == "create" || x.at == "update" || x.at == "delete"
		if x.id == "" || writes && r.cfg.ReadOnly {
			continue
		}
		o, err := find(x.id)
		if err != nil {
			return nil, c.wrong("%s: %v", x.at, err)
		}
		if o.reads == writes {
			return nil, c.wrong("%s: %s %s cannot be used for it", x.at, o.method, o.path)
		}
		*x.into = o
	}
	if c.list == nil && c.get == nil {
		return nil, c.wrong("list or get must be given")
	}
	steps := []func(*reader) error{c.records, c.keys, c.lists, c.filters, c.writes}
	for _, step := range steps {
		if err := step(r); err != nil {
			return nil, err
		}
	}
	c.declare()
	return c, nil
}

func (c *collection) wrong(format string, args ...any) error {
	return wrongConfig("collections.%s.%s", c.name, fmt.Sprintf(format, args...))
}

// records finds the record in answers, and makes the fields of its properties.
func (c *collection) records(r *reader) error {
	var item *openapi3.SchemaRef
	if c.list != nil {
		path, found, err := c.listIn(c.list, nil)
		if err != nil {
			return err
		}
		c.listPath, item = path, found
	}
	record := item
	if c.get != nil {
		if c.get.schema == nil {
			return c.wrong("get: the document does not say what %s answers", c.get.id)
		}
		_, want := identity(item)
		path, found := recordIn(c.get.schema, split(c.cfg.Record), want)
		if found == nil {
			return c.wrong("record: %s answers nothing there", c.get.id)
		}
		c.getPath, record = path, found
	}
	if c.batch != nil {
		_, want := identity(record)
		path, _, err := c.listIn(c.batch, want)
		if err != nil {
			return err
		}
		c.batchPath = path
	}
	f := flatten(record)
	_, c.source = identity(record)
	if f.kind() != "object" || len(f.props) == 0 {
		return c.wrong("items: the records are no objects with properties that the document names")
	}
	c.spec.Comment = clip(f.comment)
	hint := at(f, c.name)
	for _, p := range f.props {
		c.spec.Fields = append(c.spec.Fields, r.typer.typeOf(f.schemas[p], hint+"_"+p, 1).field(p, f.required[p]))
	}
	return nil
}

func split(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(path, ".")
}

// listIn finds the list in an answer: at the configured path, as the answer
// itself, or as its only list of objects (of records, where these are known).
func (c *collection) listIn(o *operation, want *openapi3.Schema) ([]string, *openapi3.SchemaRef, error) {
	if o.schema == nil {
		return nil, nil, c.wrong("items: the document does not say what %s answers", o.id)
	}
	if c.cfg.Items != "" {
		path := split(c.cfg.Items)
		f := flatten(follow(o.schema, path))
		if f.kind() == "array" && f.items != nil {
			return path, f.items, nil
		}
		if want == nil {
			return nil, nil, c.wrong("items: %s answers no list at %q", o.id, c.cfg.Items)
		}
	}
	f := flatten(o.schema)
	if f.kind() == "array" && f.items != nil {
		return nil, f.items, nil
	}
	var names []string
	var items *openapi3.SchemaRef
	for _, p := range f.props {
		x := flatten(f.schemas[p])
		if x.kind() != "array" || x.items == nil || flatten(x.items).kind() != "object" {
			continue
		}
		if _, source := identity(x.items); want == nil || source == want {
			names, items = append(names, p), x.items
		}
	}
	if len(names) != 1 {
		return nil, nil, c.wrong("items: say where in the answer of %s the records are (lists found: %s)", o.id, strings.Join(names, ", "))
	}
	return names, items, nil
}

func follow(ref *openapi3.SchemaRef, path []string) *openapi3.SchemaRef {
	for _, name := range path {
		ref = flatten(ref).schemas[name]
	}
	return ref
}

// recordIn finds the record in an answer; want is its schema where known.
func recordIn(answer *openapi3.SchemaRef, path []string, want *openapi3.Schema) ([]string, *openapi3.SchemaRef) {
	if len(path) > 0 {
		if found := follow(answer, path); found != nil {
			return path, found
		}
		if want == nil {
			return nil, nil
		}
	}
	if _, source := identity(answer); want == nil || source == want {
		return nil, answer
	}
	f := flatten(answer)
	for _, p := range f.props {
		if _, source := identity(f.schemas[p]); source == want {
			return []string{p}, f.schemas[p]
		}
	}
	return nil, answer
}

// keys checks the key, and finds the arguments that take it.
func (c *collection) keys(*reader) error {
	c.spec.Key = slices.Clone(c.cfg.Key)
	if len(c.spec.Key) == 0 && c.spec.Field("id") != nil {
		c.spec.Key = []string{"id"}
	}
	for _, name := range c.spec.Key {
		f := c.spec.Field(name)
		if f == nil || f.Type.List || f.Type.Object != "" || f.Type.Scalar == connectors.ScalarJSON || f.WriteOnly {
			return c.wrong("key: %q is no field that can be a key", name)
		}
		f.Nullable = false
	}
	for _, x := range []struct {
		at   string
		o    *operation
		into *map[string]*param
	}{{"get", c.get, &c.getKey}, {"update", c.update, &c.updateKey}, {"delete", c.delete, &c.deleteKey}} {
		if x.o == nil {
			continue
		}
		args, err := c.keyArgs(x.at, x.o)
		if err != nil {
			return err
		}
		*x.into = args
	}
	return nil
}

// keyArgs pairs the parameters of a path with the key: by name, else by place.
func (c *collection) keyArgs(what string, o *operation) (map[string]*param, error) {
	var path []*param
	for _, m := range pathName.FindAllStringSubmatch(o.path, -1) {
		path = append(path, o.wire(m[1], inPath))
	}
	if len(c.spec.Key) == 0 || len(path) != len(c.spec.Key) {
		return nil, c.wrong("%s: the path %s must name the %d fields of the key", what, o.path, len(c.spec.Key))
	}
	named := true
	for _, k := range c.spec.Key {
		named = named && slices.ContainsFunc(path, func(p *param) bool { return p.wire == k })
	}
	args := make(map[string]*param, len(path))
	for i, p := range path {
		key := c.spec.Key[i]
		if named {
			key = p.wire
		}
		args[key] = p
	}
	for _, p := range o.params {
		if p.in != inPath && p.in != inBody && !p.field.Nullable {
			return nil, c.wrong("%s: %s needs %s, which is no field of the key", what, o.id, p.wire)
		}
	}
	return args, nil
}

// lists checks how the list pages and how the batch takes its keys.
func (c *collection) lists(*reader) error {
	if c.batch != nil {
		p := c.batch.wire(c.cfg.Batch.Parameter, inQuery)
		if p == nil || !p.field.Type.List || len(c.spec.Key) != 1 {
			return c.wrong("batch.parameter: %q must be a parameter of %s that takes a list of single keys", c.cfg.Batch.Parameter, c.batch.id)
		}
		for _, q := range c.batch.params {
			if q != p && !q.field.Nullable {
				return c.wrong("batch: %s needs %s as well", c.batch.id, q.wire)
			}
		}
		c.batchParam, c.batchMax = p, atLeastOne(c.cfg.Batch.Max, p.list, 50)
	}
	if c.list == nil {
		return nil
	}
	page := c.cfg.Page
	need := func(at, name string, into **param) error {
		if name == "" {
			return nil
		}
		if *into = c.list.wire(name, inQuery); *into == nil {
			return c.wrong("page.%s: %s has no query parameter %q", at, c.list.id, name)
		}
		return nil
	}
	if err := need("size", page.Size, &c.sizeParam); err != nil {
		return err
	}
	if err := need("parameter", page.Parameter, &c.pageParam); err != nil {
		return err
	}
	switch page.Style {
	case "", PageNone, PageLink:
	case PageCursor:
		if page.Next == "" {
			return c.wrong("page.next: say where in the answer the next page is named")
		}
	case PageNumber, PageOffset:
		if c.pageParam == nil {
			return c.wrong("page.parameter: the style %s needs the parameter to count in", page.Style)
		}
	default:
		return c.wrong("page.style: %q is none of cursor, page, offset, link, none", page.Style)
	}
	documented := 0
	if c.sizeParam != nil {
		if s := c.list.src.Parameters.GetByInAndName(inQuery, page.Size); s != nil && s.Schema != nil && s.Schema.Value != nil && s.Schema.Value.Max != nil {
			documented = int(min(*s.Schema.Value.Max, 10000))
		}
	}
	c.pageMax = atLeastOne(page.Max, documented, 100)
	return nil
}

// atLeastOne is the first that is positive.
func atLeastOne(list ...int) int {
	for _, n := range list {
		if n > 0 {
			return n
		}
	}
	return 1
}

// filters finds the parameters that filter the list.
func (c *collection) filters(*reader) error {
	if c.list == nil {
		if len(c.cfg.Filter) > 0 {
			return c.wrong("filter: there is no list to filter")
		}
		return nil
	}
	for _, name := range sortedFilter(c.cfg.Filter) {
		f := c.spec.Field(name)
		if f == nil || f.WriteOnly || f.Type.List || f.Type.Leaf() == connectors.ScalarJSON {
			return c.wrong("filter.%s: the records have no such field to compare", name)
		}
		c.filter[name] = map[connectors.Op]*param{}
		for op, wire := range c.cfg.Filter[name] {
			p := c.list.wire(wire, inQuery, inPath)
			switch {
			case p == nil:
				return c.wrong("filter.%s: %s has no parameter %q in its path or query", name, c.list.id, wire)
			case !slices.Contains([]connectors.Op{connectors.OpEq, connectors.OpIn, connectors.OpGt, connectors.OpGte, connectors.OpLt, connectors.OpLte}, op):
				return c.wrong("filter.%s: the comparison %q is not supported for parameters", name, op)
			case op == connectors.OpIn && !p.field.Type.List:
				return c.wrong("filter.%s.in: %s takes no list", name, wire)
			}
			c.filter[name][op] = p
			if op == connectors.OpEq && p.field.Type.List && c.cfg.Filter[name][connectors.OpIn] == "" {
				c.filter[name][connectors.OpIn] = p
			}
		}
	}
	for _, p := range c.list.params {
		if p.field.Nullable || p == c.sizeParam || p == c.pageParam {
			continue
		}
		field := ""
		for name, ops := range c.filter {
			if ops[connectors.OpEq] == p {
				field = name
			}
		}
		if field == "" {
			return c.wrong("filter: %s cannot do without %s: say which field it is", c.list.id, p.wire)
		}
		c.required = append(c.required, field)
	}
	slices.Sort(c.required)
	return nil
}

func sortedFilter(m map[string]map[connectors.Op]string) []string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
