package plan

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// String is the plan for people: the same text for the same plan, what explain
// prints, and the golden file of tests. It holds no value of a request.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", p.Kind)
	for _, w := range p.Writes {
		p.writeText(&b, w)
	}
	for _, s := range p.Steps {
		p.stepText(&b, s)
	}
	for _, f := range p.Fields {
		fieldText(&b, f, "  ")
	}
	return b.String()
}

func (p *Plan) stepText(b *strings.Builder, s *Step) {
	fmt.Fprintf(b, "step %d %s %s", s.ID, s.Object, strings.Join(s.Path, "."))
	switch {
	case s.Parent != nil:
		fmt.Fprintf(b, " under %d by %v on %s", s.Parent.ID, s.Keys, strings.Join(s.Select.Bind, ","))
	case s.Write != nil:
		fmt.Fprintf(b, " after %s on %s", s.Write.Key, strings.Join(s.Select.Bind, ","))
	}
	if s.Group >= 0 {
		fmt.Fprintf(b, " snapshot %d", s.Group)
	}
	b.WriteByte('\n')
	args := p.Args[s.ArgFrom:s.ArgTo]
	sel := s.Select
	if len(sel.Columns) > 0 {
		b.WriteString("  columns")
		for _, c := range sel.Columns {
			b.WriteString(" " + c.Field)
			if c.If != nil {
				b.WriteString("?(" + conditionText(c.If, args) + ")")
			}
		}
		b.WriteByte('\n')
	}
	if sel.Function != "" {
		b.WriteString("  call")
		for _, a := range sel.Call {
			b.WriteString(" " + a.Name + "=" + operandText(a.Operand, args))
		}
		b.WriteByte('\n')
	}
	line := func(name, text string) {
		if text != "" {
			b.WriteString("  " + name + " " + text + "\n")
		}
	}
	line("permit", conditionText(s.Permit, args))
	line("where", conditionText(sel.Where, args))
	line("order", orderText(sel.Order))
	line("aggregate", aggregateText(sel.Aggregate, args))
	if sel.Page != nil {
		line("page", pageText(s, args))
	}
}

func pageText(s *Step, args []Arg) string {
	page := s.Select.Page
	out := "limit " + operandText(page.Limit, args)
	if page.Reverse {
		out += " from the end"
	}
	if page.Offset.Arg > 0 || page.Offset.Const.Kind != connectors.KindAbsent {
		out += " offset " + operandText(page.Offset, args)
	}
	if len(page.After) > 0 {
		out += " after " + operandText(page.After[0], args)
	}
	if len(page.Before) > 0 {
		out += " before " + operandText(page.Before[0], args)
	}
	return out
}

func orderText(terms []connectors.OrderTerm) string {
	var out []string
	for _, t := range terms {
		text := ""
		for _, r := range t.Via {
			text += r.To + "."
		}
		text += t.Field
		if t.Desc {
			text += " desc"
		}
		switch t.Nulls {
		case connectors.NullsFirst:
			text += " nulls first"
		case connectors.NullsLast:
			text += " nulls last"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func aggregateText(a *connectors.Aggregate, args []Arg) string {
	if a == nil {
		return ""
	}
	var out []string
	if len(a.GroupBy) > 0 {
		out = append(out, "by "+strings.Join(a.GroupBy, ","))
	}
	for _, v := range a.Values {
		out = append(out, valueText(v))
	}
	for _, h := range a.Having {
		out = append(out, "having "+valueText(h.Value)+" "+string(h.Op)+" "+operandText(h.Operand, args))
	}
	return strings.Join(out, " ")
}

func valueText(v connectors.AggregateValue) string {
	if v.Field == "" {
		return string(v.Func)
	}
	return string(v.Func) + "(" + v.Field + ")"
}

func conditionText(c *connectors.Condition, args []Arg) string {
	if c == nil {
		return ""
	}
	switch c.Op {
	case connectors.OpAnd, connectors.OpOr:
		var items []string
		for _, i := range c.Items {
			items = append(items, conditionText(i, args))
		}
		if len(items) == 0 {
			return "nothing"
		}
		return "(" + strings.Join(items, " "+string(c.Op)+" ") + ")"
	case connectors.OpNot:
		return "not " + conditionText(c.Items[0], args)
	case connectors.OpTrue:
		return "true"
	case connectors.OpRelated:
		out := string(c.Quantifier) + " " + c.Relation.To
		if c.Relation.Where != nil {
			out += "[" + conditionText(c.Relation.Where, args) + "]"
		}
		if c.Inner != nil {
			out += "{" + conditionText(c.Inner, args) + "}"
		}
		return out
	}
	return c.Field + " " + string(c.Op) + " " + operandText(c.Operand, args)
}

// operandText names where a value comes from; constants are written by the
// operation or the policy, so they are no secret of a request.
func operandText(o connectors.Operand, args []Arg) string {
	if o.Arg == 0 {
		return string(o.Const.AppendJSON(nil, connectors.ScalarJSON))
	}
	if o.Arg > len(args) {
		return "?"
	}
	a := &args[o.Arg-1]
	switch a.Kind {
	case ArgParam:
		return "@" + strconv.Itoa(a.Param)
	case ArgPage:
		if a.Add > 0 {
			return a.Value.String() + "+" + strconv.Itoa(a.Add)
		}
		return a.Value.String()
	case ArgCursor:
		return "cursor " + a.Value.String()
	case ArgNode:
		return "id " + a.Value.String()
	}
	return a.Value.String()
}

func (p *Plan) writeText(b *strings.Builder, w *Write) {
	args := p.Args[w.ArgFrom:w.ArgTo]
	for _, r := range w.Records {
		fmt.Fprintf(b, "write %s %s %s %s\n", r.ID, w.Kind, w.Object, r.Effect)
		set := func(name string, list []SetOperand) {
			if len(list) == 0 {
				return
			}
			b.WriteString("  " + name)
			for _, s := range list {
				sign := "="
				if s.Increment {
					sign = "+="
				}
				b.WriteString(" " + s.Field + sign + operandText(s.Operand, args))
			}
			b.WriteByte('\n')
		}
		set("key", r.Key)
		set("set", r.Set)
		if len(r.Call) > 0 {
			b.WriteString("  call")
			for _, a := range r.Call {
				b.WriteString(" " + a.Name + "=" + operandText(a.Operand, args))
			}
			b.WriteByte('\n')
		}
		for _, c := range []struct {
			name string
			cond *connectors.Condition
		}{{"permit", r.Permit}, {"where", r.Where}, {"direct", r.Direct}, {"check", r.Check}} {
			if c.cond != nil {
				b.WriteString("  " + c.name + " " + conditionText(c.cond, args) + "\n")
			}
		}
		if w.HasMaxRows {
			b.WriteString("  at most " + operandText(w.MaxRows, args) + "\n")
		}
		if w.HasIfVersion {
			b.WriteString("  if version " + operandText(w.IfVersion, args) + "\n")
		}
	}
	if len(w.Review) > 0 {
		b.WriteString("  review " + strings.Join(w.Review, " ") + "\n")
	}
	if w.Blind {
		b.WriteString("  preview looks for no collisions\n")
	}
}

var fieldKinds = [...]string{"cell", "const", "id", "object", "one", "many", "nodes", "edges", "cursor", "node", "pageInfo",
	"hasNext", "hasPrevious", "start", "end", "count", "aggregate", "nested", "groups", "call", "member", "payload",
	"outcome", "record", "records", "result", "affected", "diff", "member", "proposal", "duplicate", "errors", "member", "masked"}

func fieldText(b *strings.Builder, f *Field, indent string) {
	b.WriteString(indent + f.Key)
	if f.NonNull {
		b.WriteByte('!')
	}
	b.WriteString(" " + fieldKinds[f.Kind])
	switch f.Kind {
	case FieldCell, FieldObject:
		b.WriteString(" " + strconv.Itoa(f.Column))
	case FieldCount:
		b.WriteString(" " + strconv.Itoa(f.Column))
	case FieldMasked:
		if f.Column >= 0 {
			b.WriteString(" " + strconv.Itoa(f.Column))
		}
		for _, m := range f.Masks {
			b.WriteString(" " + string(m.Mask) + " " + strconv.Itoa(m.Column))
		}
	case FieldConst:
		b.WriteString(" " + string(f.Text))
	case FieldMember, FieldDiffMember, FieldErrMember:
		b.WriteString(" " + f.Member)
	}
	if f.Step != nil {
		b.WriteString(" of step " + strconv.Itoa(f.Step.ID))
	}
	if f.Leaf != nil && f.Leaf.Names != nil {
		names := make([]string, 0, len(f.Leaf.Names))
		for _, n := range f.Leaf.Names {
			names = append(names, n)
		}
		sort.Strings(names)
		b.WriteString(" enum " + strings.Join(names, "|"))
	}
	b.WriteByte('\n')
	if f.Select != nil {
		for _, sub := range f.Select.Fields {
			fieldText(b, sub, indent+"  ")
		}
	}
}
