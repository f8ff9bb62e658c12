package catalog

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/countersign/countersign/policy"
)

// MaxGraphFile is the size in bytes above which a graph file is refused, and
// maxNesting the depth of brackets in it and in conditions: the parser is
// recursive.
const (
	MaxGraphFile = 4 << 20
	maxNesting   = 64
)

// parseFiles reads the graph files and keeps what they extend.
func (b *builder) parseFiles() {
	for _, f := range b.files {
		if len(f.Text) > MaxGraphFile || nesting(f.Text) > maxNesting {
			b.problems = append(b.problems, policy.Problem{File: f.Name, Code: ProblemSyntax, Message: "the file is too large, or nested too deep"})
			continue
		}
		doc, err := parser.ParseSchema(&ast.Source{Name: f.Name, Input: f.Text})
		if err != nil {
			b.syntaxProblem(f.Name, err)
			continue
		}
		for _, def := range doc.Definitions {
			if def.Name != "MoneyUnit" && def.Name != "Link" {
				b.problem(ProblemSyntax, def.Position, "extend type "+def.Name+" …", "a graph file defines no types: %s can only be extended", def.Name)
			}
		}
		for _, d := range doc.Directives {
			if directiveSpecs[d.Name] == nil && !later[d.Name] {
				b.problem(ProblemSyntax, d.Position, "", "a graph file defines no directives: @%s", d.Name)
			}
		}
		for _, s := range append(doc.Schema, doc.SchemaExtension...) {
			b.problem(ProblemSyntax, s.Position, "", "a graph file does not change the schema definition")
		}
		b.exts = append(b.exts, doc.Extensions...)
	}
}

func (b *builder) syntaxProblem(file string, err error) {
	p := policy.Problem{File: file, Code: ProblemSyntax, Message: err.Error()}
	var ge *gqlerror.Error
	if errors.As(err, &ge) {
		p.Message = ge.Message
		if len(ge.Locations) > 0 {
			p.Line, p.Column = ge.Locations[0].Line, ge.Locations[0].Column
		}
	}
	b.problems = append(b.problems, p)
}

// nesting is the depth of brackets outside of strings and comments.
func nesting(text string) int {
	depth, deepest := 0, 0
	scan(text, func(i int) {
		switch text[i] {
		case '{', '[', '(':
			depth++
			deepest = max(deepest, depth)
		case '}', ']', ')':
			depth--
		}
	})
	return deepest
}

// scan calls code for each byte of GraphQL text outside of strings and
// comments.
func scan(text string, code func(i int)) {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '#':
			for i < len(text) && text[i] != '\n' && text[i] != '\r' {
				i++
			}
		case strings.HasPrefix(text[i:], `"""`):
			end := i + 3
			for end < len(text) && !strings.HasPrefix(text[end:], `"""`) {
				if strings.HasPrefix(text[end:], `\"""`) {
					end += 3
				}
				end++
			}
			i = end + 2
		case text[i] == '"':
			for i++; i < len(text) && text[i] != '"' && text[i] != '\n'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		default:
			code(i)
		}
	}
}

// An argSpec says what a directive's argument may be: 's' a string, 'l' a list
// of strings; a capital is required. Others are refused by name in later.
type argSpec map[string]byte

// directiveSpecs are the directives of graph files that are built.
var directiveSpecs = map[string]argSpec{
	// of is the object ("source.collection", "source.function") or the system's
	// own field that is meant where several come to one name.
	"rename":   {"field": 's', "to": 'S', "plural": 's', "of": 's'},
	"hide":     {"field": 's'},
	"label":    {"field": 's', "text": 's'},
	"secret":   {"field": 'S'},
	"relation": {"to": 'S', "fields": 'L', "on": 'L', "inverse": 's', "via": '-', "onParentDelete": '-'},
}

// later are the directives of the reference that are not built yet.
var later = map[string]bool{"money": true, "lookup": true, "computed": true, "scalar": true}

// A directive is one that was checked: the texts of its arguments.
type directive struct {
	pos   *ast.Position
	text  map[string]string
	lists map[string][]string
	// at are the positions of the arguments' values.
	at map[string]*ast.Position
}

func (d *directive) has(name string) bool { _, ok := d.at[name]; return ok }

// check reads a directive's arguments; nil where there is a problem.
func (b *builder) check(d *ast.Directive) *directive {
	spec := directiveSpecs[d.Name]
	if later[d.Name] {
		b.problem(ProblemNotSupported, d.Position, "", "@%s is not supported yet", d.Name)
		return nil
	}
	if spec == nil {
		b.problem(ProblemUnknownName, d.Position, didYouMean(d.Name, directiveNames()), "there is no directive @%s", d.Name)
		return nil
	}
	out := &directive{pos: d.Position, text: map[string]string{}, lists: map[string][]string{}, at: map[string]*ast.Position{}}
	ok := true
	for _, a := range d.Arguments {
		kind, known := spec[a.Name]
		switch {
		case !known:
			b.problem(ProblemUnknownName, a.Position, "", "@%s has no argument %q", d.Name, a.Name)
			ok = false
		case out.has(a.Name):
			b.problem(ProblemSyntax, a.Position, "", "@%s has the argument %q twice", d.Name, a.Name)
			ok = false
		case kind == '-':
			b.problem(ProblemNotSupported, a.Position, "", "@%s(%s:) is not supported yet", d.Name, a.Name)
			ok = false
		default:
			ok = out.take(b, d.Name, a, kind) && ok
		}
	}
	for name, kind := range spec {
		if (kind == 'S' || kind == 'L') && !out.has(name) {
			b.problem(ProblemSyntax, d.Position, "", "@%s needs the argument %q", d.Name, name)
			ok = false
		}
	}
	if !ok {
		return nil
	}
	return out
}

func (d *directive) take(b *builder, name string, a *ast.Argument, kind byte) bool {
	d.at[a.Name] = a.Value.Position
	isText := func(v *ast.Value) bool { return v.Kind == ast.StringValue || v.Kind == ast.BlockValue }
	switch kind {
	case 's', 'S':
		if isText(a.Value) && a.Value.Raw != "" {
			d.text[a.Name] = a.Value.Raw
			return true
		}
	case 'L':
		items := a.Value.Children
		if isText(a.Value) {
			items = ast.ChildValueList{{Value: a.Value}}
		}
		for _, i := range items {
			if isText(i.Value) && i.Value.Raw != "" {
				d.lists[a.Name] = append(d.lists[a.Name], i.Value.Raw)
			}
		}
		if n := len(items); n > 0 && len(d.lists[a.Name]) == n {
			return true
		}
	}
	b.problem(ProblemSyntax, a.Value.Position, "", "@%s(%s:) takes %s", name, a.Name, map[bool]string{true: "a list of names", false: "a text"}[kind == 'L'])
	return false
}

func directiveNames() []string {
	return []string{"rename", "hide", "label", "secret", "relation"}
}

// didYouMean is the hint with the nearest known name; "" where none is near.
func didYouMean(name string, known []string) string {
	if n := nearest(name, known); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return ""
}
