package policy

import (
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A Difference is what one view lets somebody do with an object and another does
// not, or otherwise. What cannot be told from conditions alone (two that differ)
// may both open and close something.
type Difference struct {
	Object string
	Act    Act
	// Fields by the graph's names, sorted, for which it is the same; empty: the
	// object as a whole.
	Fields []string
	// From and To say what each view lets, in words; "" is nothing.
	From, To string
	// Opens: something may be seen or done, or done at once, that was not before.
	// Closes: something may not be that was.
	Opens, Closes bool
	// Lines decide in the view after; where nothing is left, in the one before.
	Lines []LineRef
}

// Compare lists the differences between two views, which may be of two policies
// over two catalogs, sorted by object and act. It is empty where no cell and no
// act of any record differs.
func Compare(from, to *View) []Difference {
	objects := map[string]bool{}
	for _, v := range []*View{from, to} {
		for name := range v.Objects {
			objects[name] = true
		}
	}
	var out []Difference
	for _, object := range sortedKeys(objects) {
		for _, act := range acts() {
			out = append(out, compareAct(from, to, object, act)...)
		}
	}
	return out
}

// ExplainField is Explain with the field by the graph's name.
func (v *View) ExplainField(object string, act Act, field string) []LineRef {
	if o, ok := v.names.byName[object]; ok && field != "" {
		if f, ok := v.names.fields[o][field]; ok {
			field = v.names.objects[o].Fields[f].System
		}
	}
	return v.Explain(object, act, field)
}

// compareAct groups the fields whose differences read alike.
func compareAct(from, to *View, object string, act Act) []Difference {
	a, b := from.rightsOf(object, act), to.rightsOf(object, act)
	fields := map[string]bool{}
	for _, rights := range []map[string]*right{a, b} {
		for f := range rights {
			fields[f] = true
		}
	}
	var out []Difference
	index := map[string]int{}
	for _, f := range sortedKeys(fields) {
		x, y := a[f], b[f]
		d := Difference{Object: object, Act: act, From: x.text(), To: y.text(), Opens: opens(x, y), Closes: opens(y, x)}
		if !d.Opens && !d.Closes {
			continue
		}
		key := strconv.FormatBool(f == "") + d.From + "\x00" + d.To
		i, known := index[key]
		if !known {
			i = len(out)
			index[key] = i
			out = append(out, d)
		}
		system := f
		if f != "" {
			system = either(x, y).system
			out[i].Fields = append(out[i].Fields, f)
		}
		lines := to.Explain(object, act, system)
		if y == nil && len(lines) == 0 {
			lines = from.Explain(object, act, system)
		}
		for _, l := range lines {
			if !slices.Contains(out[i].Lines, l) {
				out[i].Lines = append(out[i].Lines, l)
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(out), func(d Difference) bool { return len(d.Fields) == 0 && told(d, out) })
}

// told tells whether fields say already what holds for the act without any.
func told(d Difference, all []Difference) bool {
	opens, closes := !d.Opens, !d.Closes
	for i := range all {
		if len(all[i].Fields) > 0 {
			opens, closes = opens || all[i].Opens, closes || all[i].Closes
		}
	}
	return opens && closes
}

func either(x, y *right) *right {
	if y != nil {
		return y
	}
	return x
}

// A right is what a view says of one field, or of an act that takes none. A nil
// right is none. Conditions are texts that are equal where they are the same; ""
// is no condition.
type right struct {
	system string
	read   bool
	// rows are visible or may be written, or for reading: show the value.
	rows string
	// seen, for reading, is which records are visible at all.
	seen   string
	masks  string
	effect Effect
	// direct may be written at once, where the effect is Propose; never says that
	// none may.
	direct string
	never  bool
	check  string
	preset string
	max    int
}

// rightsOf are the rights of an act by field; "" is the act itself, for those
// that can be done without naming a field.
func (v *View) rightsOf(object string, act Act) map[string]*right {
	out := map[string]*right{}
	access := v.Object(object)
	if access == nil {
		return out
	}
	if act == Read {
		if access.Read != nil {
			v.readRights(object, access.Read, out)
		}
		return out
	}
	w := access.write(act)
	if w == nil {
		return out
	}
	if r := v.writeRight(w, nil); r != nil {
		out[""] = r
	}
	if act == Approve {
		return out // a decision is about all of a change
	}
	for _, f := range sortedKeys(w.Fields) {
		if r := v.writeRight(w, []string{f}); r != nil {
			r.system = f
			out[v.graphName(object, f)] = r
		}
	}
	return out
}

func (v *View) readRights(object string, read *ReadAccess, out map[string]*right) {
	seen := v.Text(read.Row)
	for _, f := range sortedKeys(read.Fields) {
		cell := read.Fields[f]
		r := &right{system: f, read: true, seen: seen, rows: v.Text(cell.If)}
		for _, m := range cell.Masks {
			r.masks += " " + string(m.Mask)
			if m.If != nil {
				r.masks += " where " + v.Text(m.If)
			}
		}
		out[v.graphName(object, f)] = r
	}
}

func (v *View) writeRight(w *WriteAccess, fields []string) *right {
	d := w.Decide(fields)
	if d.Effect == Denied {
		return nil
	}
	r := &right{effect: d.Effect, rows: v.Text(d.Permit), direct: v.Text(d.Direct), check: v.Text(d.Check), max: d.Max}
	r.never = d.Effect == Propose && d.Direct == nil && d.DirectIf == nil
	if d.DirectIf != nil {
		r.direct += " " + v.Text(d.DirectIf.Where) + " check " + v.Text(d.DirectIf.Check)
	}
	for _, p := range w.Presets {
		r.preset += " " + p.Field + ": " + v.operandText(p.Operand)
	}
	return r
}

// opens tells whether y lets something that x does not.
func opens(x, y *right) bool {
	switch {
	case y == nil:
		return false
	case x == nil:
		return true
	case x.read:
		return widens(x.seen, y.seen) || widens(x.rows, y.rows) || x.masks != y.masks && y.masks != "" && x.rows != ""
	case y.effect > x.effect, widens(x.rows, y.rows), widens(x.check, y.check):
		return true
	case y.effect == Propose && x.effect == Propose && !y.never && (x.never || x.direct != y.direct):
		return true
	}
	return x.preset != "" && x.preset != y.preset || x.max > 0 && (y.max == 0 || y.max > x.max)
}

// widens tells whether a condition may match what another one does not.
func widens(from, to string) bool { return from != "" && from != to }

func (r *right) text() string {
	if r == nil {
		return ""
	}
	var parts []string
	add := func(word, text string) {
		if text != "" {
			parts = append(parts, strings.TrimSpace(word+" "+strings.TrimSpace(text)))
		}
	}
	if r.read {
		switch {
		case r.rows == nothing && r.masks == "":
			parts = append(parts, "null")
		case r.rows == nothing:
			add("masked", r.masks)
		default:
			parts = append(parts, "shown")
			add("where", r.rows)
			add("else masked", r.masks)
		}
		add("of records where", r.seen)
		return strings.Join(parts, " ")
	}
	parts = append(parts, r.effect.String())
	add("where", r.rows)
	if r.effect == Propose {
		add("at once where", r.direct)
	}
	if r.check != r.rows {
		add("check", r.check)
	}
	add("set", r.preset)
	if r.max > 0 {
		add("max", strconv.Itoa(r.max))
	}
	return strings.Join(parts, " ")
}

// graphName is a field by its name in the graph.
func (v *View) graphName(object, system string) string {
	if v.names != nil {
		if o, ok := v.names.byName[object]; ok {
			if f, ok := v.names.systemField(o, system); ok {
				return v.names.objects[o].Fields[f].Graph
			}
		}
	}
	return system
}

// nothing is the text of the condition that no record matches.
const nothing = "nothing"

// Text is a condition of the view in words, for people; "" for none. Fields go by
// the system's names. Two conditions of one text are the same, in views of two
// policies too.
func (v *View) Text(c *connectors.Condition) string {
	if c == nil {
		return ""
	}
	switch c.Op {
	case connectors.OpAnd, connectors.OpOr:
		var items []string
		for _, i := range c.Items {
			items = append(items, v.Text(i))
		}
		switch len(items) {
		case 0:
			return nothing
		case 1:
			return items[0]
		}
		sort.Strings(items)
		return "(" + strings.Join(items, " "+string(c.Op)+" ") + ")"
	case connectors.OpNot:
		return "not " + v.Text(c.Items[0])
	case connectors.OpTrue:
		return "true"
	case connectors.OpRelated:
		out := string(c.Quantifier) + " " + c.Relation.To + " by " + strings.Join(c.Relation.Fields, " ")
		if c.Relation.Where != nil {
			out += "[" + v.Text(c.Relation.Where) + "]"
		}
		if c.Inner != nil {
			out += "{" + v.Text(c.Inner) + "}"
		}
		return out
	}
	return c.Field + " " + string(c.Op) + " " + v.operandText(c.Operand)
}

func (v *View) operandText(o connectors.Operand) string {
	if o.Arg == 0 {
		return string(o.Const.AppendJSON(nil, connectors.ScalarJSON))
	}
	if o.Arg > len(v.Params) {
		return "?"
	}
	p := v.Params[o.Arg-1]
	switch p.Kind {
	case ParamClaim:
		return "$claims." + p.Name
	case ParamNow:
		return "$now"
	}
	return "$" + string(p.Kind) + "." + p.Name
}
