package catalog

import (
	"sort"

	"github.com/countersign/countersign/policy"
)

// A Binder binds the texts of policy files against a catalog. It implements
// policy.Binder.
type Binder struct{ cat *Catalog }

// NewBinder makes the binder of a catalog.
func NewBinder(c *Catalog) *Binder { return &Binder{cat: c} }

// Objects lists everything that is pinned, sorted by name. Hidden fields and
// collections are not among it: no line can open what nobody sees.
func (b *Binder) Objects() []policy.Object {
	var out []policy.Object
	for _, c := range b.cat.Collections {
		if c.Hidden {
			continue
		}
		o := policy.Object{Name: c.Object, Source: c.Source.Name, Fields: objectFields(c.Fields)}
		if c.Spec.Get || c.Spec.List {
			o.Acts = append(o.Acts, policy.Read)
		}
		for _, act := range []policy.Act{policy.Create, policy.Update, policy.Delete} {
			if c.Act(stepKinds[act]) != nil {
				o.Acts = append(o.Acts, act)
			}
		}
		out = append(out, o)
	}
	for _, f := range b.cat.Functions {
		o := policy.Object{Name: f.Object, Source: f.Source.Name, Function: true, Reads: f.Reads(), Fields: objectFields(f.Args)}
		if f.Reads() || !f.Source.ReadOnly {
			o.Acts = []policy.Act{policy.Call}
		}
		out = append(out, o)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func objectFields(fields []*Field) []policy.ObjectField {
	out := make([]policy.ObjectField, 0, len(fields))
	for _, f := range fields {
		if !f.Hidden {
			out = append(out, policy.ObjectField{Graph: f.Name, System: f.System, Secret: f.Secret})
		}
	}
	return out
}
