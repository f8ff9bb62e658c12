package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"sort"

	"github.com/countersign/countersign/connectors"
)

// Fingerprint is a hash over what a stored change of an object rests on: the
// key, the version, and type, nullability and writability of the fields it
// gives (system names; none means all), or the arguments and result of a
// function. It does not move with comments, names in the graph or what the
// source can filter. "" where there is no such object.
func (c *Catalog) Fingerprint(object string, fields ...string) string {
	h := sha256.New()
	if f := c.functions[object]; f != nil {
		p := &printer{h: h, source: f.Source.Schema, seen: map[string]bool{}}
		p.put("function", f.Source.Schema.Connector, f.Name, f.Spec.Reads, f.Spec.Call, f.Spec.Result)
		if f.Spec.Act != nil {
			p.put(f.Spec.Act)
		}
		if f.Spec.Result != nil {
			p.types(*f.Spec.Result)
		}
		p.fields(f.Spec.Args, nil)
		return sum(h)
	}
	col := c.byObject[object]
	if col == nil {
		return ""
	}
	p := &printer{h: h, source: col.Source.Schema, seen: map[string]bool{}}
	p.put("collection", col.Source.Schema.Connector, col.Name, col.Spec.Key, col.Spec.VersionField, col.Spec.HasVersion)
	var only map[string]bool
	if len(fields) > 0 {
		only = map[string]bool{}
		for _, f := range append(fields, col.Spec.Key...) {
			only[f] = true
		}
	}
	p.fields(col.Spec.Fields, only)
	return sum(h)
}

func sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// A printer writes what a fingerprint is over.
type printer struct {
	h      hash.Hash
	source *connectors.Schema
	seen   map[string]bool
}

// put writes values; each is framed by its encoding.
func (p *printer) put(values ...any) {
	for _, v := range values {
		raw, err := json.Marshal(v)
		if err != nil {
			raw = []byte(err.Error())
		}
		p.h.Write(raw)
		p.h.Write([]byte{'\n'})
	}
}

func (p *printer) fields(fields []*connectors.Field, only map[string]bool) {
	sorted := append([]*connectors.Field(nil), fields...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Name < sorted[j].Name })
	for _, f := range sorted {
		if only != nil && !only[f.Name] {
			continue
		}
		p.put(f.Name, f.Type, f.Nullable, f.Default, f.DefaultValue, f.ReadOnly, f.CreateOnly)
		p.types(f.Type)
	}
}

// types writes the enum or object that a type names, once.
func (p *printer) types(t connectors.TypeRef) {
	switch {
	case t.Enum != "" && !p.seen["e"+t.Enum]:
		p.seen["e"+t.Enum] = true
		if e := p.source.Enum(t.Enum); e != nil {
			p.put("enum", e.Name, e.Values)
		}
	case t.Object != "" && !p.seen["o"+t.Object]:
		p.seen["o"+t.Object] = true
		if o := p.source.Object(t.Object); o != nil {
			p.put("object", o.Name)
			p.fields(o.Fields, nil)
		}
	}
}

// version is a hash over everything that the catalog was built from.
func (b *builder) version() string {
	p := &printer{h: sha256.New()}
	for _, s := range b.cat.Sources {
		p.put(s.Name, s.Prefix, s.ReadOnly, s.Schema, b.o.Names[s.Name])
	}
	for _, f := range b.files {
		p.put(f.Text)
	}
	for _, s := range b.o.Control {
		p.put(s.Input)
	}
	return sum(p.h)[:32]
}
