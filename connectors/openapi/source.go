// Package openapi connects a REST API that an OpenAPI 3.0 or 3.1 document
// describes. Operations are functions; collections exist where the
// configuration says which operations they are made of. The document is read,
// our own model is made of it, and it is let go.
//
// Reads are repeated where that helps, writes only where the system knows them
// by an idempotency key; see package httpcall. Nothing is cached here.
//
// It must not know GraphQL, policy, proposals, or where the configuration and
// the document come from.
package openapi

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/jinzhu/inflection"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
)

// A Source is one configured API. All methods may be called concurrently.
type Source struct {
	cfg    Config
	client *httpcall.Client
	// described is the schema of the document as it is; model is what is
	// served, with the pinned schema where one was given.
	described *connectors.Schema
	model     *model

	// ctx ends every call when the source is closed; calls counts them.
	ctx   context.Context
	end   context.CancelFunc
	calls sync.WaitGroup
	mu    sync.Mutex // guards ended and calls.Add against Close
	ended bool
}

// A model is everything needed to serve queries and changes. It is immutable.
type model struct {
	schema      *connectors.Schema
	functions   map[string]*operation
	collections map[string]*collection
	objects     map[string]*connectors.Object
	enums       map[string]*connectors.Enum
	decoder     *decoder
}

// Open makes a source. It reads the document and connects to nothing. Where a
// schema is pinned, only what stands in it is served, with the types it says.
// Errors are about the configuration or the document, and safe to show.
func Open(cfg Config, pinned *connectors.Schema) (*Source, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	if err := cfg.checkOutcomes(); err != nil {
		return nil, err
	}
	client, err := cfg.client()
	if err != nil {
		return nil, err
	}
	m, err := buildModel(&cfg)
	if err != nil {
		return nil, err
	}
	cfg.SpecData = nil
	s := &Source{cfg: cfg, client: client, described: m.schema, model: m}
	s.ctx, s.end = context.WithCancel(context.Background())
	if pinned != nil {
		s.model = m.pin(pinned)
	}
	return s, nil
}

// Read describes a document without configuration: what init and describe show.
func Read(document []byte) (*connectors.Schema, error) {
	m, err := buildModel(&Config{SpecData: document})
	if err != nil {
		return nil, err
	}
	return m.schema, nil
}

func buildModel(cfg *Config) (*model, error) {
	doc, err := readDocument(cfg.SpecData)
	if err != nil {
		return nil, err
	}
	r := &reader{typer: newTyper(), cfg: cfg}
	for name := range cfg.Collections {
		// The graph names records after the collection.
		r.typer.taken[strings.ToLower(plain(inflection.Singular(name)))] = true
	}
	r.typer.leftOut = doc.leftOut
	r.typer.warnings = doc.warnings
	b := &builder{reader: r, all: r.operations(doc.spec), byID: map[string]*operation{}, used: map[*operation]bool{}, errs: map[*operation]error{},
		model: &model{functions: map[string]*operation{}, collections: map[string]*collection{}, objects: r.typer.objects, enums: r.typer.enums,
			decoder: &decoder{objects: r.typer.objects}}}
	return b.build()
}

// A builder makes the model.
type builder struct {
	*reader
	all   []*operation
	byID  map[string]*operation
	used  map[*operation]bool // by a collection
	errs  map[*operation]error
	model *model
}

func (b *builder) build() (*model, error) {
	for _, o := range b.all {
		if b.byID[o.id] != nil {
			b.leaveOut(o, "another operation has the same operationId "+o.id)
			continue
		}
		b.byID[o.id] = o
	}
	selected, err := b.cfg.selected(b.all)
	if err != nil {
		return nil, err
	}
	if err := b.cfg.unusedOutcomes(func(name string) bool { _, ok := b.cfg.Collections[name]; return ok || b.byID[name] != nil }); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(b.cfg.Collections)) {
		c, err := b.collection(name, b.cfg.Collections[name], func(id string) (*operation, error) { return b.find(id, name) })
		if err != nil {
			return nil, err
		}
		b.model.collections[name] = c
	}
	for _, o := range b.all {
		if !selected[o] || b.used[o] || b.byID[o.id] != o || b.cfg.ReadOnly && !o.reads {
			continue
		}
		if err := b.detail(o, ""); err != nil {
			b.leaveOut(o, err.Error())
			continue
		}
		b.model.functions[o.id] = o
		if o.keyed && !o.reads && o.outcome.Class == connectors.Unverifiable {
			b.typer.warn("%s takes an Idempotency-Key: say so under outcome, and it can be repeated safely", o.id)
		}
	}
	b.finish()
	return b.model, nil
}

func (b *builder) leaveOut(o *operation, reason string) {
	b.typer.leftOut = append(b.typer.leftOut, connectors.Omission{Path: o.method + " " + o.path, Reason: reason})
}

// find is an operation for a collection.
func (b *builder) find(id, collection string) (*operation, error) {
	o := b.byID[id]
	if o == nil {
		return nil, omission("the document has no operation " + id)
	}
	b.used[o] = true
	return o, b.detail(o, collection)
}

// detail reads an operation once.
func (b *builder) detail(o *operation, collection string) error {
	err, ok := b.errs[o]
	if ok {
		return err
	}
	o.outcome = b.cfg.outcome(o.id, collection)
	err = b.read(o)
	b.errs[o] = err
	return err
}

// finish makes the schema, and lets go of the document.
func (b *builder) finish() {
	m := b.model
	s := &connectors.Schema{Connector: "openapi", Identity: b.cfg.BaseURL, LeftOut: b.typer.leftOut, Warnings: b.typer.warnings}
	for _, name := range slices.Sorted(maps.Keys(m.collections)) {
		s.Collections = append(s.Collections, m.collections[name].spec)
	}
	for _, id := range slices.Sorted(maps.Keys(m.functions)) {
		s.Functions = append(s.Functions, m.functions[id].function())
	}
	for _, o := range b.all {
		o.item, o.src, o.schema = nil, nil, nil
	}
	for _, c := range m.collections {
		c.source = nil
	}
	reach := &reach{objects: m.objects, enums: m.enums, schema: s, seen: map[string]bool{}}
	reach.all()
	slices.SortFunc(s.LeftOut, func(a, b connectors.Omission) int {
		return strings.Compare(a.Path+"\x00"+a.Reason, b.Path+"\x00"+b.Reason)
	})
	s.LeftOut = slices.Compact(s.LeftOut)
	slices.Sort(s.Warnings)
	m.schema = s
}

// reach collects the objects and enums that are used.
type reach struct {
	objects map[string]*connectors.Object
	enums   map[string]*connectors.Enum
	schema  *connectors.Schema
	seen    map[string]bool
}

func (r *reach) all() {
	for _, c := range r.schema.Collections {
		r.fields(c.Fields)
	}
	for _, f := range r.schema.Functions {
		r.fields(f.Args)
		if f.Result != nil {
			r.use(*f.Result)
		}
	}
	slices.SortFunc(r.schema.Objects, func(a, b *connectors.Object) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.schema.Enums, func(a, b *connectors.Enum) int { return strings.Compare(a.Name, b.Name) })
}

func (r *reach) fields(list []*connectors.Field) {
	for _, f := range list {
		r.use(f.Type)
	}
}

func (r *reach) use(t connectors.TypeRef) {
	if e := r.enums[t.Enum]; e != nil && !r.seen["enum "+t.Enum] {
		r.seen["enum "+t.Enum] = true
		r.schema.Enums = append(r.schema.Enums, e)
	}
	if o := r.objects[t.Object]; o != nil && !r.seen[t.Object] {
		r.seen[t.Object] = true
		r.schema.Objects = append(r.schema.Objects, o)
		r.fields(o.Fields)
	}
}

// pin is the model with the schema of the lock: what it does not have is not
// served, and cells are of the types that it says.
func (m *model) pin(pinned *connectors.Schema) *model {
	out := &model{schema: pinned, functions: map[string]*operation{}, collections: map[string]*collection{},
		objects: map[string]*connectors.Object{}, enums: map[string]*connectors.Enum{}}
	for _, o := range pinned.Objects {
		out.objects[o.Name] = o
	}
	for _, e := range pinned.Enums {
		out.enums[e.Name] = e
	}
	out.decoder = &decoder{objects: out.objects}
	for _, f := range pinned.Functions {
		if o := m.functions[f.Name]; o != nil && o.reads == f.Reads {
			o := *o
			o.result = f.Result
			out.functions[f.Name] = &o
		}
	}
	for _, spec := range pinned.Collections {
		if c := m.collections[spec.Name]; c != nil && slices.Equal(c.spec.Key, spec.Key) {
			c := *c
			c.spec = spec
			out.collections[spec.Name] = &c
		}
	}
	return out
}

// Describe tells what the document offers. It connects to nothing.
func (s *Source) Describe(ctx context.Context) (*connectors.Schema, error) {
	if err := ctx.Err(); err != nil {
		return nil, connectors.AsError(err)
	}
	return s.described, nil
}

// Watch is not supported: an API does not tell what changes.
func (s *Source) Watch(context.Context, *connectors.Query) iter.Seq2[*connectors.Event, error] {
	return func(yield func(*connectors.Event, error) bool) {
		yield(nil, unsupported("an API cannot be watched"))
	}
}

// Close ends calls under way and waits for them.
func (s *Source) Close() error {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.end()
	s.calls.Wait()
	s.client.Close()
	return nil
}

// begin counts a call in; done must be called at its end.
func (s *Source) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the source is closed")
	}
	s.calls.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel(); s.calls.Done() }, nil
}

func unsupported(format string, args ...any) *connectors.Error {
	return connectors.Errorf(connectors.CodeUnsupported, format, args...)
}

func badInput(format string, args ...any) *connectors.Error {
	return connectors.Errorf(connectors.CodeBadInput, format, args...)
}
