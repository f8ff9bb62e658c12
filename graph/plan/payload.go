package plan

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
)

var payloadKinds = map[catalog.ElementKind]FieldKind{
	catalog.PayloadOutcome: FieldOutcome, catalog.PayloadAffectedCount: FieldAffected, catalog.PayloadDiff: FieldDiff,
	catalog.PayloadProposal: FieldProposal, catalog.PayloadDuplicate: FieldDuplicate, catalog.PayloadErrors: FieldErrors,
	catalog.PayloadRecord: FieldRecord, catalog.PayloadRecords: FieldRecords, catalog.PayloadResult: FieldResult,
}

// payload plans what a write answers. What is selected of the record is read
// after the last change.
func (b *builder) payload(w *Write, g *group, e catalog.Element) (*Field, *connectors.Error) {
	out := newField(g, FieldPayload)
	out.Source, out.Column = w.Source, w.Index
	typeName := g.first.Definition.Type.Name()
	groups, err := b.collect(typeName, g.sets...)
	if err != nil {
		return nil, err
	}
	out.Select = &Selection{Type: typeName}
	for _, sub := range groups {
		if sub.first.Name == "__typename" {
			out.Select.Fields = append(out.Select.Fields, typename(sub, typeName))
			continue
		}
		el, ok := b.in.Catalog.Element(typeName, sub.first.Name)
		kind, known := payloadKinds[el.Kind]
		if !ok || !known {
			return nil, forbidden()
		}
		f := newField(sub, kind)
		f.Source = w.Source
		switch kind {
		case FieldRecord, FieldRecords:
			err = b.after(w, f, sub, e.Collection)
		case FieldResult:
			f.Leaf = leafOf(e.Function.Result, sub.first.Definition.Type)
			f.Leaf.Checked = true
			if e.Function.Result.Members != nil {
				f.Select, err = b.object(e.Function.Result.Members, sub.sets, []string{g.key, sub.key})
			}
			sourced(f, w.Source)
		case FieldDiff:
			f.Select, err = b.members(sub, FieldDiffMember)
		case FieldErrors:
			f.Select, err = b.members(sub, FieldErrMember)
		case FieldProposal:
			f.Raw = &RawSelection{Field: sub.first}
			for _, set := range sub.sets {
				f.Raw.Set = append(f.Raw.Set, set...)
			}
		}
		if err != nil {
			return nil, err
		}
		out.Select.Fields = append(out.Select.Fields, f)
	}
	return out, nil
}

// after plans the reading of the records that were written, by their keys.
func (b *builder) after(w *Write, f *Field, g *group, c *catalog.Collection) *connectors.Error {
	if w.Kind == connectors.Delete || len(c.Key) == 0 {
		f.Kind, f.Text = FieldConst, []byte("null")
		return nil
	}
	path := []string{w.Key, g.key}
	s, err := b.reading(c, path)
	if err != nil {
		return err
	}
	s.step.One, s.step.Write = true, w
	for _, k := range c.Key {
		s.sel.Bind = append(s.sel.Bind, k.System)
		s.step.KeyScalars = append(s.step.KeyScalars, k.Type.Leaf)
		s.step.keyTypes = append(s.step.keyTypes, k.Type)
	}
	s.step.Bind = b.bind(bindKey{write: w})
	f.Step = s.step
	if f.Kind == FieldRecords {
		path = append(path, "0")
	}
	f.Select, err = b.record(s, g.sets, path)
	return err
}

// members plans an object whose members the executor knows by name.
func (b *builder) members(g *group, kind FieldKind) (*Selection, *connectors.Error) {
	typeName := g.first.Definition.Type.Name()
	groups, err := b.collect(typeName, g.sets...)
	if err != nil {
		return nil, err
	}
	out := &Selection{Type: typeName}
	for _, sub := range groups {
		if sub.first.Name == "__typename" {
			out.Fields = append(out.Fields, typename(sub, typeName))
			continue
		}
		f := newField(sub, kind)
		f.Member = sub.first.Name
		out.Fields = append(out.Fields, f)
	}
	return out, nil
}
