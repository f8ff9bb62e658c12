package execute

import (
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// A diff is what a write does, or would do, to one record, as far as the caller
// may read it.
type diff struct {
	key    string
	label  string
	before []byte // JSON; nil for a record that is created
	after  []byte // nil for one that is deleted
	fields []string
}

// diffs describes the records of a step. A view that reads nothing of the
// collection sees no diff.
func diffs(w *plan.Write, e *connectors.StepEffect) []diff {
	if w.Diff == nil {
		return nil
	}
	n := max(len(e.Before), len(e.After))
	out := make([]diff, 0, n)
	for i := range n {
		var before, after *connectors.Record
		if i < len(e.Before) {
			before = &e.Before[i]
		}
		if i < len(e.After) {
			after = &e.After[i]
		}
		out = append(out, diffOf(w, before, after))
	}
	return out
}

func diffOf(w *plan.Write, before, after *connectors.Record) diff {
	d := diff{before: recordJSON(w.Diff, before), after: recordJSON(w.Diff, after)}
	shown := before
	if shown == nil {
		shown = after
	}
	d.key = keyText(w.Diff, shown, w.KeyFields)
	d.label = texts(w.Diff, shown, w.Diff.Labels)
	for _, name := range w.Diff.Order {
		x, y := shownOf(w.Diff, before, name), shownOf(w.Diff, after, name)
		if x.Kind == connectors.KindAbsent && y.Kind == connectors.KindAbsent {
			continue
		}
		if !x.Equal(y) {
			d.fields = append(d.fields, w.Diff.Fields[name].Name)
		}
	}
	return d
}

// shownOf is what the caller is shown of a field: what is masked is compared as
// it is shown, so that nobody finds a value by trying.
func shownOf(shape *plan.DiffShape, r *connectors.Record, name string) connectors.Value {
	if r == nil {
		return connectors.Value{}
	}
	return shape.Fields[name].Shown(r.Get(name))
}

// keyText names the readable fields of the key, each with its value: "id 5", and
// "orderId 3, line 2" where the key has several. A proposal's own diff reads the
// same.
func keyText(shape *plan.DiffShape, r *connectors.Record, fields []string) string {
	var out []string
	for _, name := range fields {
		f, ok := shape.Fields[name]
		if v := shownOf(shape, r, name); ok && !v.IsNull() {
			out = append(out, f.Name+" "+v.Text)
		}
	}
	return strings.Join(out, ", ")
}

// texts are the readable fields' values for people.
func texts(shape *plan.DiffShape, r *connectors.Record, fields []string) string {
	var out []string
	for _, name := range fields {
		if _, ok := shape.Fields[name]; !ok {
			continue
		}
		if v := shownOf(shape, r, name); !v.IsNull() {
			out = append(out, v.Text)
		}
	}
	return strings.Join(out, " ")
}

// recordJSON is the readable part of a record in the graph's names.
func recordJSON(shape *plan.DiffShape, r *connectors.Record) []byte {
	if r == nil {
		return nil
	}
	b := []byte{'{'}
	for _, name := range shape.Order {
		v := shownOf(shape, r, name)
		if v.Kind == connectors.KindAbsent {
			continue
		}
		f := shape.Fields[name]
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(connectors.AppendJSONString(b, f.Name), ':')
		if given, ok := f.Names[v.Text]; ok && v.Kind == connectors.KindString {
			b = connectors.AppendJSONString(b, given)
			continue
		}
		b = v.AppendJSON(b, f.Scalar)
	}
	return append(b, '}')
}
