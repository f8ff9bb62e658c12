package policy

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/countersign/countersign/connectors"
)

// An AmountSpec says what the amount of a change of one object is.
type AmountSpec struct {
	value, els, currency amountPath
	minor                bool
	// Looks are the queries that it may need, by name.
	Looks []Look
}

// A Look is a query whose answer an amount is read from. Its variables are
// filled by name from the change's input, or key.
type Look struct {
	Name  string
	Query string
}

// An amountPath leads to a value: input.FIELD…, look.NAME.FIELD…; or is a
// currency itself.
type amountPath struct {
	parts   []string // the first is input or look; none: not said
	literal string
}

// An Amount is what the amount of a change is.
type Amount struct {
	// Declared: the object has amounts; else nothing is counted.
	Declared bool
	// Money; nil: UNKNOWN, which is never 0.
	Money *Money
}

// AmountSpec answers what the amount of a change of the object is; nil: it has
// none.
func (e *Engine) AmountSpec(object string) *AmountSpec {
	if e == nil || e.approvals == nil {
		return nil
	}
	return e.approvals.amounts[object]
}

// HasAmounts tells whether any object has.
func (e *Engine) HasAmounts() bool {
	return e != nil && e.approvals != nil && len(e.approvals.amounts) > 0
}

// Of is the amount of a change, whose input goes by the graph's names. look
// answers the value that the single root field of a query has, as
// encoding/json decodes it with numbers kept; false: it could not be read. It
// is called only where it is needed.
func (s *AmountSpec) Of(input connectors.Value, look func(Look) (any, bool)) Amount {
	out := Amount{Declared: true}
	read := func(p amountPath) (string, bool, bool) { return s.read(p, input, look) }
	number, absent, ok := read(s.value)
	if absent {
		// What is there and cannot be read is not replaced by something else.
		number, _, ok = read(s.els)
	}
	if !ok {
		return out
	}
	currency := s.currency.literal
	if currency == "" {
		if currency, _, ok = read(s.currency); !ok {
			return out
		}
	}
	if m, ok := moneyOf(number, currency, s.minor); ok {
		out.Money = &m
	}
	return out
}

// read follows a path. absent: there is nothing; ok: there is a text or number.
func (s *AmountSpec) read(p amountPath, input connectors.Value, look func(Look) (any, bool)) (text string, absent, ok bool) {
	if len(p.parts) == 0 {
		return "", true, false
	}
	if p.parts[0] == "input" {
		v := input
		for _, name := range p.parts[1:] {
			v = v.Get(name)
		}
		switch v.Kind {
		case connectors.KindAbsent, connectors.KindNull:
			return "", true, false
		case connectors.KindInt, connectors.KindDecimal, connectors.KindFloat, connectors.KindString:
			return v.Text, false, true
		}
		return "", false, false
	}
	at := slices.IndexFunc(s.Looks, func(l Look) bool { return l.Name == p.parts[1] })
	if at < 0 {
		return "", false, false
	}
	v, known := look(s.Looks[at])
	for _, name := range p.parts[2:] {
		record, _ := v.(map[string]any)
		v = record[name]
	}
	switch v := v.(type) {
	case nil:
		return "", known, false
	case json.Number:
		return v.String(), false, known
	case string:
		return v, false, known
	}
	return "", false, false
}

func (l *loader) amounts(n yamlNode) {
	entries, _ := n.entries("amounts")
	l.approvals.amounts = map[string]*AmountSpec{}
	for _, e := range entries {
		o, ok := l.names.byName[e.key]
		if !ok {
			e.keyAt.problem(ProblemUnknownName, `there is no "`+e.key+`"`, didYouMean(e.key, sortedKeys(l.names.byName)))
			continue
		}
		if l.approvals.amounts[e.key] != nil {
			e.keyAt.problem(ProblemSyntax, `"`+e.key+`" stands twice`, "")
			continue
		}
		l.approvals.amounts[e.key] = l.amount(e.value, &l.names.objects[o])
	}
}

func (l *loader) amount(n yamlNode, o *Object) *AmountSpec {
	out := &AmountSpec{}
	entries, ok := n.entries("an amount")
	if !ok {
		return out
	}
	// The paths lead into look, wherever it stands.
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b yamlEntry) int { return cmp.Compare(b2i(b.key == "look"), b2i(a.key == "look")) })
	for _, e := range entries {
		switch e.key {
		case "look":
			out.Looks = l.looks(e.value, o)
		case "value":
			out.value = l.amountPath(e.value, e.key, o, out)
		case "else":
			out.els = l.amountPath(e.value, e.key, o, out)
		case "currency":
			out.currency = l.amountPath(e.value, e.key, o, out)
		case "unit":
			switch text, _ := e.value.text("unit"); text {
			case "minor":
				out.minor = true
			case "major", "":
			default:
				e.value.problem(ProblemUnknownName, `unit is major or minor, not "`+text+`"`, didYouMean(text, []string{"major", "minor"}))
			}
		default:
			unknownKey(e, "an amount", "value", "else", "currency", "unit", "look")
		}
	}
	if len(out.value.parts) == 0 || len(out.currency.parts) == 0 && out.currency.literal == "" {
		n.problem(ProblemSyntax, "an amount has a value and a currency", "Write { value: input.amount, currency: EUR }")
	}
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (l *loader) amountPath(n yamlNode, what string, o *Object, s *AmountSpec) amountPath {
	text, ok := n.text(what)
	if !ok {
		return amountPath{}
	}
	if code, isCode := currencyCode(text); what == "currency" && isCode {
		if code != text {
			n.problem(ProblemSyntax, "a currency is three capital letters", "Write "+code)
		}
		return amountPath{literal: code}
	}
	parts := strings.Split(text, ".")
	switch {
	case slices.Contains(parts, "") || len(parts) < 2:
	case parts[0] == "input":
		fields := map[string]bool{}
		for _, f := range o.Fields {
			fields[f.Graph] = true
		}
		if !fields[parts[1]] {
			n.problem(ProblemUnknownName, o.Name+` has no "`+parts[1]+`"`, didYouMean(parts[1], sortedKeys(fields)))
		}
		return amountPath{parts: parts}
	case parts[0] == "look" && len(parts) > 2:
		if !slices.ContainsFunc(s.Looks, func(k Look) bool { return k.Name == parts[1] }) {
			n.problem(ProblemUnknownName, `there is no look "`+parts[1]+`"`, "Write look: { "+parts[1]+": 'query …' }")
		}
		return amountPath{parts: parts}
	case parts[0] == "before" || parts[0] == "after":
		n.problem(ProblemNotSupported, "an amount out of "+parts[0]+" is not supported yet", "Write input.FIELD, or a look")
		return amountPath{}
	}
	n.problem(ProblemSyntax, `"`+text+`" leads nowhere`, "Write input.FIELD, look.NAME.FIELD, or for the currency its code")
	return amountPath{}
}

// looks reads queries whose variables the change fills.
func (l *loader) looks(n yamlNode, o *Object) []Look {
	entries, _ := n.entries("look")
	var out []Look
	for _, e := range entries {
		text, ok := e.value.literal("a look")
		if !ok {
			continue
		}
		doc, err := parser.ParseQuery(&ast.Source{Input: text})
		if err != nil {
			e.value.problem(ProblemSyntax, "the look "+e.key+" is no GraphQL query: "+err.Error(), "")
			continue
		}
		if len(doc.Operations) != 1 || doc.Operations[0].Operation != ast.Query || len(doc.Operations[0].SelectionSet) != 1 {
			e.value.problem(ProblemSyntax, "the look "+e.key+" is one query with one root field", "")
			continue
		}
		known := map[string]bool{}
		for _, f := range o.Fields {
			known[f.Graph] = true
		}
		for _, v := range doc.Operations[0].VariableDefinitions {
			if !known[v.Variable] {
				e.value.problem(ProblemUnknownName, "the look "+e.key+" needs $"+v.Variable+", which "+o.Name+" has not", didYouMean(v.Variable, sortedKeys(known)))
			}
		}
		out = append(out, Look{Name: e.key, Query: text})
	}
	return out
}

// amountsAreThere reports rules on amounts of which nothing has one.
func (l *loader) amountsAreThere() {
	for _, r := range l.approvals.rules {
		asks, has := false, false
		for o, node := range r.when {
			asks = asks || node.asksAmount()
			has = has || l.approvals.amounts[l.names.objects[o].Name] != nil
		}
		if asks && !has {
			r.at.problem(ProblemMisplaced, `the rule "`+r.name+`" asks for an amount, and nothing that it is on has one`,
				"Write amounts: { source.object: { value: input.FIELD, currency: EUR } }")
		}
	}
}

func (n *whenNode) asksAmount() bool {
	return n != nil && (n.subject == "amount" || n.subject == "amountToday" || slices.ContainsFunc(n.items, (*whenNode).asksAmount))
}
