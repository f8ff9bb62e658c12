package catalog

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// Diff says in lines for people what differs between two locks: + for what is
// new, - for what is gone, ~ for what changed. It is empty where nothing does.
func Diff(before, after *Lock) []string {
	d := &lockDiff{}
	for _, name := range both(before.Sources, after.Sources) {
		x, y := before.Sources[name], after.Sources[name]
		switch {
		case x == nil:
			d.add("+ source %s: %s", name, contents(y.Schema))
		case y == nil:
			d.add("- source %s", name)
		default:
			d.source(name, x.Schema, y.Schema)
		}
	}
	return d.lines
}

type lockDiff struct{ lines []string }

func (d *lockDiff) add(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func contents(s *connectors.Schema) string {
	return fmt.Sprintf("%d collections, %d functions", len(s.Collections), len(s.Functions))
}

func both[V any](a, b map[string]V) []string {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return sortedKeys(all)
}

func byName[T any](items []T, name func(T) string) map[string]T {
	out := make(map[string]T, len(items))
	for _, i := range items {
		out[name(i)] = i
	}
	return out
}

func (d *lockDiff) source(name string, x, y *connectors.Schema) {
	if x.Connector != y.Connector {
		d.add("~ source %s: connector %s → %s", name, x.Connector, y.Connector)
	}
	d.changed(name+" capabilities", x.Capabilities, y.Capabilities)
	collection := func(c *connectors.Collection) string { return c.Name }
	a, b := byName(x.Collections, collection), byName(y.Collections, collection)
	for _, n := range both(a, b) {
		switch {
		case a[n] == nil:
			d.add("+ %s.%s: a collection with %d fields", name, n, len(b[n].Fields))
		case b[n] == nil:
			d.add("- %s.%s", name, n)
		default:
			d.collection(name+"."+n, a[n], b[n])
		}
	}
	function := func(f *connectors.Function) string { return f.Name }
	f, g := byName(x.Functions, function), byName(y.Functions, function)
	for _, n := range both(f, g) {
		switch {
		case f[n] == nil:
			d.add("+ %s.%s: a function", name, n)
		case g[n] == nil:
			d.add("- %s.%s", name, n)
		default:
			p, q := *f[n], *g[n]
			d.fields(name+"."+n, p.Args, q.Args)
			p.Args, q.Args, p.Comment, q.Comment = nil, nil, "", ""
			d.changed(name+"."+n, p, q)
		}
	}
	enum := func(e *connectors.Enum) string { return e.Name }
	e, h := byName(x.Enums, enum), byName(y.Enums, enum)
	for _, n := range both(e, h) {
		if e[n] != nil && h[n] != nil {
			d.changed(name+" enum "+n, e[n].Values, h[n].Values)
		}
	}
	object := func(o *connectors.Object) string { return o.Name }
	o, p := byName(x.Objects, object), byName(y.Objects, object)
	for _, n := range both(o, p) {
		if o[n] != nil && p[n] != nil {
			d.fields(name+" type "+n, o[n].Fields, p[n].Fields)
		}
	}
}

func (d *lockDiff) collection(name string, x, y *connectors.Collection) {
	d.fields(name, x.Fields, y.Fields)
	if k, l := strings.Join(x.Key, " "), strings.Join(y.Key, " "); k != l {
		d.add("~ %s: key (%s) → (%s)", name, k, l)
	}
	p, q := *x, *y
	p.Fields, q.Fields, p.Key, q.Key, p.Comment, q.Comment = nil, nil, nil, nil, "", ""
	d.changed(name, p, q)
}

func (d *lockDiff) fields(name string, x, y []*connectors.Field) {
	field := func(f *connectors.Field) string { return f.Name }
	a, b := byName(x, field), byName(y, field)
	for _, n := range both(a, b) {
		switch {
		case a[n] == nil:
			d.add("+ %s.%s %s", name, n, specText(b[n]))
		case b[n] == nil:
			d.add("- %s.%s %s", name, n, specText(a[n]))
		case specText(a[n]) != specText(b[n]):
			d.add("~ %s.%s %s → %s", name, n, specText(a[n]), specText(b[n]))
		default:
			p, q := *a[n], *b[n]
			p.Comment, q.Comment = "", ""
			d.changed(name+"."+n, p, q)
		}
	}
}

// specText is a field's type as people read it.
func specText(f *connectors.Field) string {
	t := string(f.Type.Scalar) + f.Type.Enum + f.Type.Object
	if f.Type.MaxLength > 0 {
		t += fmt.Sprintf("(%d)", f.Type.MaxLength)
	}
	if f.Type.Precision > 0 {
		t += fmt.Sprintf("(%d,%d)", f.Type.Precision, f.Type.Scale)
	}
	if f.Type.List {
		t = "[" + t + "]"
	}
	if !f.Nullable {
		t += "!"
	}
	return t
}

// changed tells which members of two values differ.
func (d *lockDiff) changed(name string, x, y any) {
	a, b := members(x), members(y)
	for _, m := range both(a, b) {
		if string(a[m]) != string(b[m]) {
			d.add("~ %s: %s %s → %s", name, m, orNone(a[m]), orNone(b[m]))
		}
	}
}

// members are the parts of a value by name; a list is one part.
func members(v any) map[string]json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out map[string]json.RawMessage
	if json.Unmarshal(raw, &out) != nil {
		return map[string]json.RawMessage{"values": raw}
	}
	return out
}

func orNone(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "none"
	}
	return string(raw)
}
