package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"

	"github.com/countersign/countersign/connectors"
)

// LockVersion is the version of the lock's format.
const LockVersion = 1

// A Lock is countersign.lock: what the sources offered when they were last
// described and accepted, and the names that this had in the graph. It is
// written by init and refresh and reviewed like code: JSON with one line for
// each field.
type Lock struct {
	Sources map[string]*PinnedSource
}

// A PinnedSource is one source of a lock.
type PinnedSource struct {
	Schema *connectors.Schema
	Names  *Names
}

// Names are the names of a source's things as this catalog generated them, for
// the lock. nil where there is no such source.
func (c *Catalog) Names(source string) *Names {
	out := &Names{Collections: map[string]CollectionNames{}, Functions: map[string]string{}, Types: map[string]string{}}
	found := false
	for _, s := range c.Sources {
		found = found || s.Name == source
	}
	if !found {
		return nil
	}
	for _, col := range c.Collections {
		if col.Source.Name == source {
			out.Collections[col.Name] = col.base
		}
	}
	for _, f := range c.Functions {
		if f.Source.Name == source {
			out.Functions[f.Name] = f.base
		}
	}
	for _, e := range c.Enums {
		if e.Source.Name == source {
			out.Types[e.Spec.Name] = e.base
		}
	}
	for _, o := range c.Objects {
		if o.Source.Name == source {
			out.Types[o.Spec.Name] = o.base
		}
	}
	return out
}

// The lines of the lock: the contract's own encoding, with the name in the
// graph beside it. A member of the outer struct hides the embedded one.
type (
	lockField struct {
		*connectors.Field
		Graph string `json:"graph,omitempty"`
	}
	lockCollection struct {
		*connectors.Collection
		Graph  *lockNames  `json:"graph,omitempty"`
		Fields []lockField `json:"fields,omitempty"`
	}
	lockNames struct {
		Type   string `json:"type"`
		Single string `json:"single"`
		Plural string `json:"plural"`
	}
	lockFunction struct {
		*connectors.Function
		Graph string      `json:"graph,omitempty"`
		Args  []lockField `json:"args,omitempty"`
	}
	lockEnum struct {
		*connectors.Enum
		Graph string `json:"graph,omitempty"`
	}
	lockObject struct {
		*connectors.Object
		Graph  string      `json:"graph,omitempty"`
		Fields []lockField `json:"fields,omitempty"`
	}
	lockSource struct {
		Connector    string                  `json:"connector"`
		Capabilities connectors.Capabilities `json:"capabilities"`
		Collections  []lockCollection        `json:"collections,omitempty"`
		Functions    []lockFunction          `json:"functions,omitempty"`
		Enums        []lockEnum              `json:"enums,omitempty"`
		Objects      []lockObject            `json:"objects,omitempty"`
		LeftOut      []connectors.Omission   `json:"leftOut,omitempty"`
		Warnings     []string                `json:"warnings,omitempty"`
	}
	lockFile struct {
		Version int                    `json:"version"`
		Sources map[string]*lockSource `json:"sources"`
	}
)

// Encode writes the lock. Equal locks are equal bytes.
func (l *Lock) Encode() ([]byte, error) {
	w := &lockWriter{}
	w.text(fmt.Sprintf("{\n\"version\": %d,\n\"sources\": {", LockVersion))
	for i, name := range sortedKeys(l.Sources) {
		w.separate(i)
		w.value(name)
		w.text(": ")
		w.source(l.Sources[name])
	}
	w.text("\n}\n}\n")
	return w.b.Bytes(), w.err
}

// A lockWriter writes JSON with line breaks where reviewers want them.
type lockWriter struct {
	b   bytes.Buffer
	err error
}

func (w *lockWriter) text(s string) { w.b.WriteString(s) }

func (w *lockWriter) separate(i int) {
	if i > 0 {
		w.text(",")
	}
	w.text("\n")
}

// value writes a value on one line.
func (w *lockWriter) value(v any) {
	e := json.NewEncoder(&w.b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		w.err = err
		return
	}
	w.b.Truncate(w.b.Len() - 1)
}

// open writes an object on one line and leaves it open for one more member.
func (w *lockWriter) open(v any, member string) {
	w.value(v)
	if w.err == nil {
		w.b.Truncate(w.b.Len() - 1)
		w.text(`,"` + member + `":[`)
	}
}

func (w *lockWriter) source(p *PinnedSource) {
	s, names := p.Schema, p.Names
	if s == nil {
		s = &connectors.Schema{}
	}
	if names == nil {
		names = &Names{}
	}
	w.text("{\n \"connector\": ")
	w.value(s.Connector)
	w.text(",\n \"capabilities\": ")
	w.value(s.Capabilities)
	list(w, "collections", s.Collections, func(c *connectors.Collection) string { return c.Name }, func(c *connectors.Collection) {
		n := names.Collections[c.Name]
		line := lockCollection{Collection: c}
		if n.Type != "" {
			line.Graph = &lockNames{n.Type, n.Single, n.Plural}
		}
		w.open(line, "fields")
		w.fields(c.Fields, n.Fields)
	})
	list(w, "functions", s.Functions, func(f *connectors.Function) string { return f.Name }, func(f *connectors.Function) {
		w.open(lockFunction{Function: f, Graph: names.Functions[f.Name]}, "args")
		w.fields(f.Args, nil)
	})
	list(w, "enums", s.Enums, func(e *connectors.Enum) string { return e.Name }, func(e *connectors.Enum) {
		w.value(lockEnum{e, names.Types[e.Name]})
	})
	list(w, "objects", s.Objects, func(o *connectors.Object) string { return o.Name }, func(o *connectors.Object) {
		w.open(lockObject{Object: o, Graph: names.Types[o.Name]}, "fields")
		w.fields(o.Fields, nil)
	})
	if len(s.LeftOut) > 0 {
		w.text(",\n \"leftOut\": ")
		w.value(s.LeftOut)
	}
	if len(s.Warnings) > 0 {
		w.text(",\n \"warnings\": ")
		w.value(s.Warnings)
	}
	w.text("\n}")
}

// list writes a list of a source, sorted by name, each element by its function.
func list[T any](w *lockWriter, name string, items []T, nameOf func(T) string, write func(T)) {
	if len(items) == 0 {
		return
	}
	sorted := append([]T(nil), items...)
	sort.SliceStable(sorted, func(i, j int) bool { return nameOf(sorted[i]) < nameOf(sorted[j]) })
	w.text(",\n \"" + name + "\": [")
	for i, item := range sorted {
		w.separate(i)
		w.text("  ")
		write(item)
	}
	w.text("\n ]")
}

// fields writes the rest of an object that was left open.
func (w *lockWriter) fields(fields []*connectors.Field, graph map[string]string) {
	for i, f := range fields {
		w.separate(i)
		w.text("    ")
		w.value(lockField{f, graph[f.Name]})
	}
	w.text("]}")
}

// DecodeLock reads a lock. What it does not know it refuses: a lock of a later
// version, or one that was edited wrongly.
func DecodeLock(text []byte) (*Lock, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var f lockFile
	if err := d.Decode(&f); err != nil {
		return nil, connectors.Errorf(connectors.CodeBadInput, "countersign.lock cannot be read at line %d: %v", 1+bytes.Count(text[:min(int(d.InputOffset()), len(text))], []byte("\n")), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, connectors.Errorf(connectors.CodeBadInput, "countersign.lock holds more than one value")
	}
	if f.Version != LockVersion {
		return nil, connectors.Errorf(connectors.CodeUnsupported, "countersign.lock is of version %d; this program reads version %d", f.Version, LockVersion)
	}
	out := &Lock{Sources: map[string]*PinnedSource{}}
	for name, s := range f.Sources {
		if s == nil {
			return nil, connectors.Errorf(connectors.CodeBadInput, "countersign.lock: the source %q is null", name)
		}
		p, err := s.pinned()
		if err != nil {
			return nil, err
		}
		out.Sources[name] = p
	}
	return out, nil
}

func (s *lockSource) pinned() (*PinnedSource, error) {
	names := &Names{Collections: map[string]CollectionNames{}, Functions: map[string]string{}, Types: map[string]string{}}
	out := &connectors.Schema{Connector: s.Connector, Capabilities: s.Capabilities, LeftOut: s.LeftOut, Warnings: s.Warnings}
	empty := connectors.Errorf(connectors.CodeBadInput, "countersign.lock: an entry has no name")
	for _, c := range s.Collections {
		if c.Collection == nil || c.Name == "" {
			return nil, empty
		}
		n := CollectionNames{Fields: map[string]string{}}
		if c.Graph != nil {
			n.Type, n.Single, n.Plural = c.Graph.Type, c.Graph.Single, c.Graph.Plural
		}
		var ok bool
		if c.Collection.Fields, ok = plainFields(c.Fields, n.Fields); !ok {
			return nil, empty
		}
		names.Collections[c.Name] = n
		out.Collections = append(out.Collections, c.Collection)
	}
	for _, f := range s.Functions {
		if f.Function == nil || f.Name == "" {
			return nil, empty
		}
		var ok bool
		if f.Function.Args, ok = plainFields(f.Args, nil); !ok {
			return nil, empty
		}
		names.Functions[f.Name] = f.Graph
		out.Functions = append(out.Functions, f.Function)
	}
	for _, e := range s.Enums {
		if e.Enum == nil || e.Name == "" {
			return nil, empty
		}
		names.Types[e.Name] = e.Graph
		out.Enums = append(out.Enums, e.Enum)
	}
	for _, o := range s.Objects {
		if o.Object == nil || o.Name == "" {
			return nil, empty
		}
		var ok bool
		if o.Object.Fields, ok = plainFields(o.Fields, nil); !ok {
			return nil, empty
		}
		names.Types[o.Name] = o.Graph
		out.Objects = append(out.Objects, o.Object)
	}
	return &PinnedSource{Schema: out, Names: names}, nil
}

func plainFields(lines []lockField, graph map[string]string) ([]*connectors.Field, bool) {
	var out []*connectors.Field
	for _, l := range lines {
		if l.Field == nil || l.Name == "" {
			return nil, false
		}
		out = append(out, l.Field)
		if graph != nil && l.Graph != "" {
			graph[l.Name] = l.Graph
		}
	}
	return out, true
}
