package policy

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// Tests are one *.policy_test.yaml: records, people, and what they must and must
// not be able to do. Every name in it is one that the policy and what is pinned
// know.
type Tests struct {
	File  string
	Given []TestRecords
	Who   []TestWho
	Cases []TestCase
	Can   []TestTriple
}

// TestRecords are the records of one collection.
type TestRecords struct {
	Object  string // "source.collection"
	Line    int
	Records []TestRecord
}

// A TestRecord is one record, by the system's names.
type TestRecord struct {
	Line   int
	Fields []TestField
}

// A TestField is a value as the file has it. A number may stand for a text.
type TestField struct {
	Name  string // the system's
	Value json.RawMessage
	Line  int
}

// A TestWho is somebody who asks: a person with roles and claims, or an agent,
// for one of the persons.
type TestWho struct {
	Name   string
	Line   int
	Roles  []string
	Claims map[string]connectors.Value
	Agent  string
	For    string
}

// A TestCase is one operation, run once per entry of Runs.
type TestCase struct {
	Name      string
	Line      int
	As        string
	Operation string
	Runs      []TestRun
}

// A TestRun is one run of an operation.
type TestRun struct {
	Line      int
	Variables json.RawMessage // an object; nil: none
	Expect    TestExpect
}

// A TestExpect is what must come of a run. What is zero was not said.
type TestExpect struct {
	Data    json.RawMessage
	Outcome string
	Error   string
	// Absent are elements of the schema, "Type.field", that must not exist for
	// who asks.
	Absent []string
	// Rule routed the proposal; ApprovedBy is "rule" where it also approved it.
	Rule, ApprovedBy string
	// MayDecide could approve the proposal now; MayNotDecide could not.
	MayDecide, MayNotDecide []string
}

// A TestTriple is a right: somebody, an act, an object or one of its fields.
type TestTriple struct {
	Line   int
	As     string
	Act    Act
	Object string
	// Field by the system's name and by the graph's; "": the object as a whole.
	Field, FieldName string
	Expect           Effect
}

// ReadTests reads a file of policy tests. Problems are sorted by place; where one
// of them is an error the tests are not to be run.
func (e *Engine) ReadTests(f File) (*Tests, []Problem) {
	r := &testReader{engine: e, out: &Tests{File: f.Name}}
	doc, ok := readYAML(f.Name, f.Data, &r.report)
	if !ok {
		r.add(Problem{File: f.Name, Code: ProblemSyntax, Message: "the file has no tests", Hint: "Write cases: or can:"})
		return r.out, r.sorted()
	}
	entries, _ := doc.entries("a file of policy tests")
	// Cases refer to people, whatever stands first.
	for _, e := range entries {
		if e.key == "who" {
			r.who(e.value)
		}
	}
	for _, e := range entries {
		switch e.key {
		case "who":
		case "given":
			r.given(e.value)
		case "cases":
			for _, item := range e.value.items() {
				r.testCase(item)
			}
		case "can":
			for _, item := range e.value.items() {
				r.triple(item)
			}
		default:
			unknownKey(e, "a file of policy tests", "given", "who", "cases", "can")
		}
	}
	if len(r.out.Cases)+len(r.out.Can) == 0 && !Errors(r.problems) {
		doc.problem(ProblemSyntax, "the file tests nothing", "Write cases: or can:")
	}
	return r.out, r.sorted()
}

type testReader struct {
	report
	engine *Engine
	out    *Tests
}

func (r *testReader) given(n yamlNode) {
	entries, _ := n.entries("given")
	for _, e := range entries {
		o, ok := r.engine.names.byName[e.key]
		switch {
		case !ok:
			e.keyAt.problem(ProblemUnknownName, `"`+e.key+`" names nothing that is pinned`, didYouMean(e.key, r.engine.names.all))
			continue
		case r.engine.names.objects[o].Function:
			e.keyAt.problem(ProblemMisplaced, `"`+e.key+`" is a function and holds no records: what it is called with is recorded`, "")
			continue
		}
		line, _ := e.keyAt.place()
		records := TestRecords{Object: e.key, Line: line}
		for _, item := range e.value.items() {
			records.Records = append(records.Records, r.record(o, item))
		}
		r.out.Given = append(r.out.Given, records)
	}
}

func (r *testReader) record(o int32, n yamlNode) TestRecord {
	out := TestRecord{}
	out.Line, _ = n.place()
	entries, _ := n.entries("a record")
	for _, e := range entries {
		f, ok := r.engine.names.fields[o][e.key]
		if !ok {
			e.keyAt.problem(ProblemUnknownName, r.engine.names.objects[o].Name+` has no field "`+e.key+`"`, didYouMean(e.key, r.engine.names.fieldNames(o)))
			continue
		}
		value, good := e.value.json(e.key)
		if !good {
			continue
		}
		line, _ := e.keyAt.place()
		out.Fields = append(out.Fields, TestField{Name: r.engine.names.objects[o].Fields[f].System, Value: value, Line: line})
	}
	return out
}

func (r *testReader) who(n yamlNode) {
	entries, _ := n.entries("who")
	for _, e := range entries {
		w := TestWho{Name: e.key, Claims: map[string]connectors.Value{}}
		w.Line, _ = e.keyAt.place()
		if e.key == string(Anonymous) {
			e.keyAt.problem(ProblemMisplaced, "anonymous is there without being named", "")
		}
		keys, _ := e.value.entries("somebody")
		for _, k := range keys {
			switch k.key {
			case "roles":
				w.Roles = r.roles(k.value)
			case "claims":
				r.claims(k.value, w.Claims)
			case "agent":
				w.Agent, _ = k.value.text("agent")
				if known := r.engine.opts.Agents; known != nil && w.Agent != "" && !slices.Contains(known, w.Agent) {
					k.value.problem(ProblemUnknownName, `there is no agent "`+w.Agent+`"`, didYouMean(w.Agent, known))
				}
			case "for":
				w.For, _ = k.value.text("for")
			default:
				unknownKey(k, "somebody", "roles", "claims", "agent", "for")
			}
		}
		if w.For != "" && w.Agent == "" {
			e.keyAt.problem(ProblemMisplaced, "only an agent acts for somebody", "Write { agent: NAME, for: PERSON }")
		}
		if w.Agent != "" && len(w.Roles) > 0 {
			e.keyAt.problem(ProblemMisplaced, "an agent has the roles of its declaration", "Leave roles away")
		}
		r.out.Who = append(r.out.Who, w)
	}
	for _, e := range entries {
		for i := range r.out.Who {
			if w := &r.out.Who[i]; w.Name == e.key && w.For != "" {
				r.person(e.keyAt, w.For)
			}
		}
	}
}

// person reports a name that is nobody's, or that of an agent.
func (r *testReader) person(n yamlNode, name string) {
	i := slices.IndexFunc(r.out.Who, func(w TestWho) bool { return w.Name == name })
	switch {
	case i < 0:
		n.problem(ProblemUnknownName, `nobody under who is called "`+name+`"`, didYouMean(name, r.names()))
	case r.out.Who[i].Agent != "":
		n.problem(ProblemMisplaced, `"`+name+`" is an agent, and a person is wanted`, "")
	}
}

func (r *testReader) names() []string {
	var out []string
	for _, w := range r.out.Who {
		out = append(out, w.Name)
	}
	return out
}

// as reads who asks.
func (r *testReader) as(n yamlNode) string {
	name, ok := n.text("as")
	if ok && name != string(Anonymous) && !slices.Contains(r.names(), name) {
		n.problem(ProblemUnknownName, `nobody under who is called "`+name+`"`, didYouMean(name, append(r.names(), string(Anonymous))))
	}
	return name
}

func (r *testReader) roles(n yamlNode) []string {
	known := r.engine.Roles()
	known = append(known, r.engine.opts.Roles...)
	var out []string
	for _, item := range n.items() {
		role, ok := item.text("a role")
		if ok && !slices.Contains(known, role) {
			item.problem(ProblemUnknownName, `there is no role "`+role+`"`, didYouMean(role, known))
		}
		out = append(out, role)
	}
	return out
}

func (r *testReader) claims(n yamlNode, into map[string]connectors.Value) {
	entries, _ := n.entries("claims")
	for _, e := range entries {
		if v, ok := e.value.claim(e.key); ok {
			into[e.key] = v
		}
	}
}

// triple reads an entry of can.
func (r *testReader) triple(n yamlNode) {
	t := TestTriple{}
	t.Line, _ = n.place()
	entries, _ := n.entries("an entry of can")
	seen := map[string]bool{}
	for _, e := range entries {
		seen[e.key] = true
		switch e.key {
		case "as":
			t.As = r.as(e.value)
		case "act":
			text, _ := e.value.text("act")
			t.Act = Act(text)
			if b := bitOf(t.Act); b == 0 || t.Act == BreakGlass {
				e.value.problem(ProblemUnknownName, `there is no act "`+text+`"`, didYouMean(text, []string{"read", "create", "update", "delete", "call", "approve"}))
			}
		case "object":
			r.tripleObject(e.value, &t)
		case "expect":
			text, _ := e.value.text("expect")
			switch text {
			case "allow":
				t.Expect = Allow
			case "propose":
				t.Expect = Propose
			case "deny":
			default:
				e.value.problem(ProblemUnknownName, `an effect is allow, propose or deny, not "`+text+`"`, didYouMean(text, []string{"allow", "propose", "deny"}))
			}
		default:
			unknownKey(e, "an entry of can", "as", "act", "object", "expect")
		}
	}
	for _, key := range []string{"as", "act", "object", "expect"} {
		if !seen[key] {
			n.problem(ProblemSyntax, "an entry of can needs "+key, "Write { as: NAME, act: read, object: source.collection.field, expect: deny }")
			return
		}
	}
	r.out.Can = append(r.out.Can, t)
}

// tripleObject reads source.collection, source.function, or one of their fields.
func (r *testReader) tripleObject(n yamlNode, t *TestTriple) {
	text, _ := n.text("object")
	object, field, bad := r.engine.names.split(text)
	if bad != nil {
		n.problem(bad.Code, bad.Message, bad.Hint)
		return
	}
	t.Object, t.FieldName = object, field
	if field != "" {
		o := r.engine.names.byName[object]
		t.Field = r.engine.names.objects[o].Fields[r.engine.names.fields[o][field]].System
	}
}

// Name splits "source.object" or "source.object.field"; the field goes by the
// graph's name. What names nothing is CodeBadInput with the nearest name.
func (e *Engine) Name(text string) (object, field string, err error) {
	object, field, bad := e.names.split(text)
	if bad != nil {
		message := bad.Message
		if bad.Hint != "" {
			message += ". " + bad.Hint
		}
		return "", "", connectors.Errorf(connectors.CodeBadInput, "%s", message)
	}
	return object, field, nil
}

// split reads an object or one of its fields. Names of collections may have dots
// themselves: the whole text comes first.
func (n *names) split(text string) (object, field string, bad *Problem) {
	if _, ok := n.byName[text]; ok {
		return text, "", nil
	}
	if i := strings.LastIndexByte(text, '.'); i > 0 {
		if o, ok := n.byName[text[:i]]; ok {
			object, field = text[:i], text[i+1:]
			if _, ok := n.fields[o][field]; !ok {
				return "", "", &Problem{Code: ProblemUnknownName, Message: object + ` has no field "` + field + `"`, Hint: didYouMean(field, n.fieldNames(o))}
			}
			return object, field, nil
		}
	}
	return "", "", &Problem{Code: ProblemUnknownName, Message: `"` + text + `" names nothing that is pinned`, Hint: didYouMean(text, n.all)}
}
