package policy_test

import (
	"fmt"
	"sort"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// conditionText prints a condition with parameters by name.
func conditionText(c *connectors.Condition, params []policy.Param) string {
	if c == nil {
		return "all"
	}
	list := func(word string) string {
		var parts []string
		for _, i := range c.Items {
			parts = append(parts, conditionText(i, params))
		}
		if len(parts) == 1 && word == " or " {
			return "[" + parts[0] + "]" // a fence
		}
		return "(" + strings.Join(parts, word) + ")"
	}
	switch c.Op {
	case connectors.OpAnd:
		return list(" and ")
	case connectors.OpOr:
		if len(c.Items) == 0 {
			return "none"
		}
		return list(" or ")
	case connectors.OpNot:
		return "not " + conditionText(c.Items[0], params)
	case connectors.OpTrue:
		return "true"
	case connectors.OpRelated:
		return fmt.Sprintf("%s %s{%s}", c.Quantifier, c.Relation.To, conditionText(c.Inner, params))
	}
	return c.Field + " " + string(c.Op) + " " + operandText(c.Operand, params)
}

func operandText(o connectors.Operand, params []policy.Param) string {
	if o.Arg > 0 {
		p := params[o.Arg-1]
		return "$" + string(p.Kind) + "." + p.Name
	}
	return valueText(o.Const)
}

func valueText(v connectors.Value) string {
	if v.Kind == connectors.KindList {
		var parts []string
		for _, i := range v.Items {
			parts = append(parts, valueText(i))
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	if v.Kind == connectors.KindString {
		return fmt.Sprintf("%q", v.Text)
	}
	return v.Text
}

// viewText prints a view, objects and fields sorted.
func viewText(v *policy.View) string {
	var b strings.Builder
	for _, name := range keys(v.Objects) {
		a := v.Objects[name]
		if r := a.Read; r != nil {
			fmt.Fprintf(&b, "%s read %s\n", name, conditionText(r.Row, v.Params))
			byCell := map[string][]string{}
			for _, f := range keys(r.Fields) {
				c := conditionText(r.Fields[f].If, v.Params)
				for _, m := range r.Fields[f].Masks {
					c += " else " + string(m.Mask) + " " + conditionText(m.If, v.Params)
				}
				byCell[c] = append(byCell[c], f)
			}
			for _, c := range keys(byCell) {
				fmt.Fprintf(&b, "  %s: %s\n", strings.Join(byCell[c], " "), c)
			}
		}
		for _, w := range []struct {
			act    string
			access *policy.WriteAccess
		}{{"create", a.Create}, {"update", a.Update}, {"delete", a.Delete}, {"call", a.Call}, {"approve", a.Approve}} {
			if w.access != nil {
				writeText(&b, v, name, w.act, w.access)
			}
		}
	}
	return b.String()
}

func writeText(b *strings.Builder, v *policy.View, name, act string, w *policy.WriteAccess) {
	fmt.Fprintf(b, "%s %s", name, act)
	for _, p := range w.Presets {
		fmt.Fprintf(b, " set %s=%s", p.Field, operandText(p.Operand, v.Params))
	}
	b.WriteString("\n")
	by := map[string][]string{}
	var order []string
	say := func(label string, fields []string) {
		d := decisionText(w.Decide(fields), v.Params)
		if by[d] == nil {
			order = append(order, d)
		}
		by[d] = append(by[d], label)
	}
	for _, f := range keys(w.Fields) {
		say(f, []string{f})
	}
	say("-", nil)
	for _, d := range order {
		fmt.Fprintf(b, "  %s: %s\n", strings.Join(by[d], " "), d)
	}
}

func decisionText(d *policy.Decision, params []policy.Param) string {
	out := d.Effect.String()
	add := func(word string, c *connectors.Condition) {
		if c != nil {
			out += " " + word + " " + conditionText(c, params)
		}
	}
	add("permit", d.Permit)
	add("direct", d.Direct)
	add("check", d.Check)
	if d.DirectIf != nil {
		out += " directIf " + conditionText(d.DirectIf.Where, params) + " then " + conditionText(d.DirectIf.Check, params)
	}
	if d.Max > 0 {
		out += fmt.Sprintf(" max %d", d.Max)
	}
	return out
}

func keys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
