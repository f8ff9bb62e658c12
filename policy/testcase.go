package policy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml/ast"

	"github.com/countersign/countersign/connectors"
)

// testCase reads an entry of cases.
func (r *testReader) testCase(n yamlNode) {
	c := TestCase{}
	c.Line, _ = n.place()
	entries, ok := n.entries("a case")
	if !ok {
		return
	}
	var single TestRun
	single.Line = c.Line
	expects, each := false, false
	for _, e := range entries {
		switch e.key {
		case "name":
			c.Name, _ = e.value.text("name")
		case "as":
			c.As = r.as(e.value)
		case "operation":
			c.Operation, _ = e.value.literal("operation")
		case "variables":
			single.Variables = r.variables(e.value)
		case "expect":
			expects = true
			single.Expect = r.expect(e.value)
		case "each":
			each = true
			for _, item := range e.value.items() {
				r.run(item, &c)
			}
		default:
			unknownKey(e, "a case", "name", "as", "operation", "variables", "expect", "each")
		}
	}
	switch {
	case c.Name == "" || c.As == "" || c.Operation == "":
		n.problem(ProblemSyntax, "a case needs a name, as, and an operation", "")
	case expects == each:
		n.problem(ProblemSyntax, "a case has either expect or each", "")
	case each && single.Variables != nil:
		n.problem(ProblemMisplaced, "variables stand beside expect, in each entry of each", "")
	case expects:
		c.Runs = append(c.Runs, single)
	}
	if slices.ContainsFunc(r.out.Cases, func(o TestCase) bool { return o.Name == c.Name }) {
		n.problem(ProblemMisplaced, `two cases are called "`+c.Name+`"`, "")
	}
	r.out.Cases = append(r.out.Cases, c)
}

func (r *testReader) run(n yamlNode, c *TestCase) {
	run := TestRun{}
	run.Line, _ = n.place()
	entries, _ := n.entries("an entry of each")
	expects := false
	for _, e := range entries {
		switch e.key {
		case "variables":
			run.Variables = r.variables(e.value)
		case "expect":
			expects = true
			run.Expect = r.expect(e.value)
		default:
			unknownKey(e, "an entry of each", "variables", "expect")
		}
	}
	if !expects {
		n.problem(ProblemSyntax, "an entry of each needs expect", "")
	}
	c.Runs = append(c.Runs, run)
}

func (r *testReader) variables(n yamlNode) json.RawMessage {
	raw, ok := n.json("variables")
	if ok && raw[0] != '{' {
		n.problem(ProblemWrongType, "variables are a mapping of names to values", "")
		return nil
	}
	return raw
}

func (r *testReader) expect(n yamlNode) TestExpect {
	out := TestExpect{}
	entries, _ := n.entries("expect")
	if len(entries) == 0 {
		n.problem(ProblemSyntax, "expect says nothing", "Write one of data, outcome, error, absent, rule, approvedBy, mayDecide, mayNotDecide")
	}
	for _, e := range entries {
		switch e.key {
		case "data":
			out.Data, _ = e.value.json("data")
		case "outcome":
			out.Outcome, _ = e.value.text("outcome")
			known := []string{"APPLIED", "PROPOSED", "ACCEPTED", "PREVIEWED", "NOT_APPLIED", "UNKNOWN"}
			if !slices.Contains(known, out.Outcome) {
				e.value.problem(ProblemUnknownName, `there is no outcome "`+out.Outcome+`"`, didYouMean(out.Outcome, known))
			}
		case "error":
			out.Error, _ = e.value.text("error")
			r.code(e.value, out.Error)
		case "absent":
			for _, item := range e.value.items() {
				element, _ := item.text("absent")
				out.Absent = append(out.Absent, element)
			}
		case "rule":
			out.Rule, _ = e.value.text("rule")
			r.rule(e.value, out.Rule)
		case "approvedBy":
			if out.ApprovedBy, _ = e.value.text("approvedBy"); out.ApprovedBy != "rule" {
				e.value.problem(ProblemWrongType, "a test decides nothing: only a rule approves in it", "Write approvedBy: rule")
			}
		case "mayDecide":
			out.MayDecide = r.persons(e.value)
		case "mayNotDecide":
			out.MayNotDecide = r.persons(e.value)
		case "validator", "amount":
			e.keyAt.problem(ProblemNotSupported, "expect."+e.key+" is not supported yet", "")
		default:
			unknownKey(e, "expect", "data", "outcome", "error", "absent", "rule", "validator", "amount", "approvedBy", "mayDecide", "mayNotDecide")
		}
	}
	return out
}

func (r *testReader) persons(n yamlNode) []string {
	var out []string
	for _, item := range n.items() {
		name, ok := item.text("a person")
		if ok {
			r.person(item, name)
		}
		out = append(out, name)
	}
	return out
}

func (r *testReader) rule(n yamlNode, name string) {
	var known []string
	if r.engine.approvals != nil {
		for _, rule := range r.engine.approvals.rules {
			known = append(known, rule.name)
		}
	}
	if !slices.Contains(known, name) {
		n.problem(ProblemUnknownName, `approvals.yaml has no rule "`+name+`"`, didYouMean(name, known))
	}
}

func (r *testReader) code(n yamlNode, code string) {
	var known []string
	for _, c := range connectors.Codes() {
		known = append(known, string(c))
	}
	if !slices.Contains(known, code) {
		n.problem(ProblemUnknownName, `there is no error code "`+code+`"`, didYouMean(code, known))
	}
}

// claim is a value with the type that a token would give it.
func (n yamlNode) claim(what string) (connectors.Value, bool) {
	switch v := n.node.(type) {
	case *ast.BoolNode:
		return connectors.Bool(v.Value), true
	case *ast.IntegerNode, *ast.FloatNode:
		raw, ok := n.json(what)
		if !ok {
			return connectors.Null, false
		}
		kind := connectors.KindInt
		if bytes.ContainsAny(raw, ".eE") {
			kind = connectors.KindDecimal
		}
		return connectors.Value{Kind: kind, Text: string(raw)}, true
	case *ast.StringNode, *ast.LiteralNode:
		text, ok := n.text(what)
		return connectors.String(text), ok
	case *ast.SequenceNode:
		var items []connectors.Value
		for _, item := range n.items() {
			v, ok := item.claim(what)
			if !ok {
				return connectors.Null, false
			}
			items = append(items, v)
		}
		return connectors.ListOf(items...), true
	}
	n.problem(ProblemWrongType, "a claim is a text, a number, true or false, or a list of these", "")
	return connectors.Null, false
}

// json is a value as JSON, in the order of the file. Numbers keep their digits.
func (n yamlNode) json(what string) (json.RawMessage, bool) {
	var b bytes.Buffer
	if !n.appendJSON(&b, what) {
		return nil, false
	}
	return b.Bytes(), true
}

func (n yamlNode) appendJSON(b *bytes.Buffer, what string) bool {
	switch v := n.node.(type) {
	case *ast.NullNode:
		b.WriteString("null")
	case *ast.BoolNode:
		b.WriteString(strconv.FormatBool(v.Value))
	case *ast.IntegerNode, *ast.FloatNode:
		text := v.GetToken().Value
		if !json.Valid([]byte(text)) {
			n.problem(ProblemWrongType, what+": "+text+" is no plain decimal number", "")
			return false
		}
		b.WriteString(text)
	case *ast.StringNode, *ast.LiteralNode:
		text, ok := n.text(what)
		if !ok {
			return false
		}
		raw, err := json.Marshal(text)
		if err != nil {
			n.problem(ProblemWrongType, what+" is no text", "")
			return false
		}
		b.Write(raw)
	case *ast.SequenceNode:
		return n.appendList(b, what)
	case *ast.MappingNode, *ast.MappingValueNode:
		return n.appendObject(b, what)
	default:
		n.problem(ProblemWrongType, what+": only texts, numbers, true, false, null, lists and mappings stand here", "")
		return false
	}
	return true
}

func (n yamlNode) appendList(b *bytes.Buffer, what string) bool {
	b.WriteByte('[')
	for i, item := range n.items() {
		if i > 0 {
			b.WriteByte(',')
		}
		if !item.appendJSON(b, what) {
			return false
		}
	}
	b.WriteByte(']')
	return true
}

func (n yamlNode) appendObject(b *bytes.Buffer, what string) bool {
	entries, ok := n.entries(what)
	b.WriteByte('{')
	for i, e := range entries {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(e.key)
		if err != nil {
			return false
		}
		b.Write(key)
		b.WriteByte(':')
		if !e.value.appendJSON(b, e.key) {
			return false
		}
	}
	b.WriteByte('}')
	return ok
}
