package gateway

import (
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/lexer"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/graph/plan"
)

// A document was parsed and validated against one schema, and belongs to it:
// the validator writes into the syntax tree. It is read-only afterwards.
type document struct {
	text       string
	tokens     int
	query      *ast.QueryDocument
	operations map[string]*operation
	only       *operation // where there is exactly one
}

// An operation of a document, with what the planner and the control plane have
// of it.
type operation struct {
	doc *document
	def *ast.OperationDefinition
	// depth, aliases and selections as counted over fragments.
	depth, aliases, selections int
	introspects                bool
	// data: sources answer some of its root fields; control: the control plane
	// does; decides: some of those are more than __typename.
	data, control, decides bool
	// plans by authority and skeleton.
	plans *generations[string, *plan.Plan]
}

// parse reads, bounds and validates a document. Suggestions are off: they would
// tell names that the caller may not know.
func (s *viewSchema) parse(text string, lim Limits, c *catalog.Catalog) (*document, []Error) {
	if depth := nesting(text); depth > 4*lim.Depth+16 {
		return nil, refuse(connectors.CodeDepthExceeded, "the document nests too deeply (at most %d levels)", lim.Depth)
	}
	if halfQuoted(text) {
		return nil, refuse(connectors.CodeBadInput, "a string of the document "+halfPair)
	}
	query, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text, Name: "request"}, lim.Tokens)
	if err != nil {
		return nil, syntaxErrors(err)
	}
	doc := &document{text: text, tokens: tokens(text), query: query, operations: make(map[string]*operation, len(query.Operations))}
	for _, def := range query.Operations {
		op := &operation{doc: doc, def: def, plans: newGenerations[string, *plan.Plan](maxPlans)}
		if errs := op.measure(query, lim); errs != nil {
			return nil, errs
		}
		doc.operations[def.Name] = op
		doc.only = op
	}
	if len(query.Operations) != 1 {
		doc.only = nil
	}
	if list := validator.ValidateWithRules(s.schema, query, s.rules); len(list) > 0 {
		errs := validationErrors(list)
		errs[0].hidden = hiddenElements(query, c)
		return nil, errs
	}
	for _, op := range doc.operations {
		op.classify(c, op.def.SelectionSet)
	}
	return doc, nil
}

// classify tells whose the root fields are. Fragments are resolved and without
// circles: the document is valid.
func (o *operation) classify(c *catalog.Catalog, set ast.SelectionSet) {
	root := rootType(o.def)
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			if _, ok := c.Element(root, sel.Name); ok {
				o.data = true
			} else {
				o.control = true
				o.decides = o.decides || sel.Name != "__typename"
			}
		case *ast.InlineFragment:
			o.classify(c, sel.SelectionSet)
		case *ast.FragmentSpread:
			if sel.Definition != nil {
				o.classify(c, sel.Definition.SelectionSet)
			}
		}
	}
}

func quietRules() *rules.Rules {
	r := rules.NewDefaultRules()
	r.ReplaceRule(rules.FieldsOnCorrectTypeRule.Name, rules.FieldsOnCorrectTypeRuleWithoutSuggestions.RuleFunc)
	r.ReplaceRule(rules.KnownArgumentNamesRule.Name, rules.KnownArgumentNamesRuleWithoutSuggestions.RuleFunc)
	r.ReplaceRule(rules.KnownTypeNamesRule.Name, rules.KnownTypeNamesRuleWithoutSuggestions.RuleFunc)
	r.ReplaceRule(rules.ScalarLeafsRule.Name, rules.ScalarLeafsRuleWithoutSuggestions.RuleFunc)
	r.ReplaceRule(rules.ValuesOfCorrectTypeRule.Name, rules.ValuesOfCorrectTypeRuleWithoutSuggestions.RuleFunc)
	return r
}

// nesting counts how deeply braces, brackets and parentheses nest, outside of
// strings and comments: the parser recurses as deep as they do.
func nesting(text string) int {
	depth, deepest := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[', '(':
			depth++
			deepest = max(deepest, depth)
		case '}', ']', ')':
			depth--
		case '#':
			for i < len(text) && text[i] != '\n' && text[i] != '\r' {
				i++
			}
		case '"':
			i = skipString(text, i)
		}
	}
	return deepest
}

// skipString answers the index of the last character of the string that begins
// at i; of the text's last where it does not end.
func skipString(text string, i int) int {
	if len(text) >= i+3 && text[i:i+3] == `"""` {
		for i += 3; i < len(text); i++ {
			if text[i] == '\\' && len(text) >= i+4 && text[i:i+4] == `\"""` {
				i += 3
				continue
			}
			if text[i] == '"' && len(text) >= i+3 && text[i:i+3] == `"""` {
				return i + 2
			}
		}
		return i
	}
	for i++; i < len(text) && text[i] != '"' && text[i] != '\n'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

// tokens counts a document's as the parser does; the document was parsed.
func tokens(text string) int {
	lex := lexer.New(&ast.Source{Input: text})
	for n := 0; ; n++ {
		if tok, err := lex.ReadToken(); err != nil || tok.Kind == lexer.EOF {
			return n
		}
	}
}

// spread bounds what fragments multiply to: selections per token allowed.
const spread = 20

// held counts what variables hold, and stops behind most. They were decoded, so
// their depth is bounded.
func held(v any, most int) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, item := range v {
			if n += held(item, most-n); n > most {
				return n
			}
		}
	case []any:
		for _, item := range v {
			if n += held(item, most-n); n > most {
				return n
			}
		}
	}
	return n
}

// measure counts depth and aliases with fragments spread, and stops where a
// limit is passed, so that fragments that multiply cost nothing.
func (o *operation) measure(query *ast.QueryDocument, lim Limits) []Error {
	m := measure{query: query, lim: lim, visiting: map[string]bool{}}
	m.selections(o.def.SelectionSet, 1)
	o.depth, o.aliases, o.selections, o.introspects = m.depth, m.aliases, m.count, m.introspects
	return o.within(lim)
}

// within compares what was measured with a caller's limits.
func (o *operation) within(lim Limits) []Error {
	switch {
	case o.selections >= spread*lim.Tokens:
		return refuse(connectors.CodeCostExceeded, "the operation's fragments multiply to too many fields")
	case o.depth > lim.Depth:
		return refuse(connectors.CodeDepthExceeded, "the operation nests too deeply; at most %d levels are allowed", lim.Depth)
	case o.aliases > lim.Aliases:
		return refuse(connectors.CodeCostExceeded, "the operation has more than %d aliases", lim.Aliases)
	case o.introspects && lim.Introspection != On:
		return refuse(connectors.CodeOperationNotAllowed, "introspection is off for this caller")
	}
	return nil
}

type measure struct {
	query          *ast.QueryDocument
	lim            Limits
	visiting       map[string]bool
	depth, aliases int
	count          int
	introspects    bool
}

func (m *measure) selections(set ast.SelectionSet, depth int) {
	for _, sel := range set {
		m.count++
		if m.count >= spread*m.lim.Tokens || m.aliases > m.lim.Aliases || m.depth > m.lim.Depth {
			return
		}
		switch sel := sel.(type) {
		case *ast.Field:
			m.field(sel, depth)
		case *ast.InlineFragment:
			m.selections(sel.SelectionSet, depth)
		case *ast.FragmentSpread:
			// A fragment in a circle is the validator's to name.
			f := m.query.Fragments.ForName(sel.Name)
			if f == nil || m.visiting[sel.Name] {
				continue
			}
			m.visiting[sel.Name] = true
			m.selections(f.SelectionSet, depth)
			m.visiting[sel.Name] = false
		}
	}
}

func (m *measure) field(f *ast.Field, depth int) {
	if f.Name == "__schema" || f.Name == "__type" {
		// Tools ask for types of types of types: the library bounds that.
		m.introspects = true
		return
	}
	m.depth = max(m.depth, depth)
	if f.Alias != "" && f.Alias != f.Name {
		m.aliases++
	}
	m.selections(f.SelectionSet, depth+1)
}

// operation selects the one to run.
func (d *document) operation(name string) (*operation, []Error) {
	if name == "" {
		if d.only != nil {
			return d.only, nil
		}
		return nil, refuse(connectors.CodeBadInput, "the document has %d operations; name one", len(d.operations))
	}
	if op, ok := d.operations[name]; ok {
		return op, nil
	}
	return nil, refuse(connectors.CodeBadInput, "the document has no operation of that name")
}

func syntaxErrors(err error) []Error {
	out := Error{Message: "the document cannot be parsed", Code: connectors.CodeBadInput}
	if ge, ok := err.(*gqlerror.Error); ok {
		out.Message = "syntax: " + ge.Message
		out.Locations = locations(ge)
		if isTokenLimit(ge.Message) {
			out.Code = connectors.CodeCostExceeded
		}
		if isNestingLimit(ge.Message) {
			out.Code = connectors.CodeDepthExceeded
		}
	}
	return []Error{out}
}

func validationErrors(list gqlerror.List) []Error {
	out := make([]Error, 0, len(list))
	for _, ge := range list {
		out = append(out, Error{Message: ge.Message, Code: connectors.CodeValidationFailed, Locations: locations(ge)})
		if len(out) == maxErrors {
			break
		}
	}
	return out
}
