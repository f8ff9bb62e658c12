package plan

import (
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// A DiffShape says what of a changed record the caller may see, and under which
// names.
type DiffShape struct {
	// Fields by the system's own name; what is missing is not shown.
	Fields map[string]DiffField
	// Order of the fields, by the system's own names.
	Order  []string
	Labels []string
}

// A DiffField is a readable field.
type DiffField struct {
	Name   string // the graph's
	Scalar connectors.Scalar
	Names  map[string]string // of enum values; nil for others
	Mask   policy.Mask       // what is shown of its values
}

// Shown is what the caller is shown of a value. A diff shows no digests: it would
// tell that of a value which the caller only tries.
func (f DiffField) Shown(v connectors.Value) connectors.Value {
	return MaskedValue(f.Mask, v)
}

// MaskedValue is a value under a mask, where values that somebody tries may stand
// beside others: HASH is REDACT there.
func MaskedValue(m policy.Mask, v connectors.Value) connectors.Value {
	if m == policy.MaskNone || v.Kind == connectors.KindAbsent || v.IsNull() {
		return v
	}
	if m == policy.MaskHash {
		m = policy.MaskRedact
	}
	text, ok := m.Text(v.Text, nil)
	if !ok {
		return connectors.Null
	}
	return connectors.String(text)
}

// maskOf is how every record shows the field; ok is false where it depends on the
// record.
func maskOf(c policy.Cell) (m policy.Mask, ok bool) {
	switch {
	case c.If == nil:
		return policy.MaskNone, true
	case c.Never() && len(c.Masks) == 1 && c.Masks[0].If == nil:
		return c.Masks[0].Mask, true
	}
	return policy.MaskNone, false
}

// review sets what a preview reads, and what of it the caller is shown.
func (b *builder) review(w *Write, c *catalog.Collection, access *policy.Access) {
	seen := map[string]bool{}
	add := func(field string) {
		if f := c.SystemField(field); f != nil && !f.Spec.WriteOnly && !seen[field] {
			seen[field] = true
			w.Review = append(w.Review, field)
		}
	}
	for _, l := range c.Labels {
		add(l.Field.System)
	}
	for _, r := range w.Records {
		for _, cond := range []*connectors.Condition{r.Where, r.Direct, r.Check} {
			fieldsOf(cond, add)
		}
	}
	if w.Kind == connectors.Delete {
		for _, f := range c.Fields {
			if !f.Secret {
				add(f.System)
			}
		}
	}
	w.Blind = b.blind(w, c)
	if access.Read == nil {
		return
	}
	w.Diff = &DiffShape{Fields: map[string]DiffField{}}
	if !w.Many && w.Kind != connectors.Create {
		w.Visible = w.table.bound(access.Read.Row)
	}
	for _, f := range c.Fields {
		cell, readable := access.Read.Fields[f.System]
		mask, known := maskOf(cell)
		if !readable || !known || f.Secret || f.Hidden {
			continue
		}
		d := DiffField{Name: f.Name, Scalar: f.Type.Leaf, Mask: mask}
		if f.Type.Values != nil {
			d.Names = leafNames(f.Type)
		}
		w.Diff.Fields[f.System] = d
		w.Diff.Order = append(w.Diff.Order, f.System)
	}
	for _, l := range c.Labels {
		w.Diff.Labels = append(w.Diff.Labels, l.Field.System)
	}
}

// blind tells whether the records that a write could collide with, refer to or
// leave without a parent are not all readable, by the fields that would tell.
func (b *builder) blind(w *Write, c *catalog.Collection) bool {
	set := map[string]bool{}
	for _, r := range w.Records {
		for _, s := range r.Set {
			set[s.Field] = true
		}
	}
	touches := func(fields []string) bool {
		return slices.ContainsFunc(fields, func(f string) bool { return set[f] })
	}
	uniques := [][]string{w.KeyFields}
	for _, u := range c.Spec.Uniques {
		uniques = append(uniques, u.Fields)
	}
	for _, fields := range uniques {
		if touches(fields) && !b.readsAll(c.Object, fields) {
			return true
		}
	}
	for _, d := range b.in.Catalog.Collections {
		if d.Source != c.Source {
			continue
		}
		for _, ref := range d.Spec.References {
			parent := c.Source.Name + "." + ref.To
			if d == c && touches(ref.Fields) && !b.readsAll(parent, ref.On) {
				return true
			}
			if parent == c.Object && (w.Kind == connectors.Delete || w.Kind == connectors.Update && touches(ref.On)) && !b.readsAll(d.Object, ref.Fields) {
				return true
			}
		}
	}
	return false
}

// readsAll tells whether the caller reads these fields of every record.
func (b *builder) readsAll(object string, fields []string) bool {
	access := b.in.View.Object(object)
	if access == nil || access.Read == nil || access.Read.Row != nil {
		return false
	}
	for _, f := range fields {
		if cell, ok := access.Read.Fields[f]; !ok || cell.If != nil {
			return false
		}
	}
	return true
}

func leafNames(t *catalog.Type) map[string]string {
	names := make(map[string]string, len(t.Values.Values))
	for _, v := range t.Values.Values {
		names[v.System] = v.Name
	}
	return names
}

// fieldsOf calls add for each field of the record itself in a condition.
func fieldsOf(c *connectors.Condition, add func(string)) {
	if c == nil {
		return
	}
	if c.Field != "" {
		add(c.Field)
	}
	for _, i := range c.Items {
		fieldsOf(i, add)
	}
	if c.Relation != nil {
		for _, f := range c.Relation.Fields {
			add(f)
		}
	}
}
