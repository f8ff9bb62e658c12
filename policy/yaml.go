package policy

import (
	"errors"
	"strconv"
	"strings"
	"time"

	yaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// A yamlNode is a value of a YAML document that is read strictly: whoever reads
// it says what it must be, and each thing it is not is reported with its place.
type yamlNode struct {
	node ast.Node
	file string
	r    *report
}

// readYAML parses a document; ok is false where it is no YAML or empty.
func readYAML(file string, data []byte, r *report) (yamlNode, bool) {
	if strings.TrimSpace(string(data)) == "" {
		return yamlNode{}, false
	}
	doc, err := parser.ParseBytes(data, 0)
	if err != nil {
		p := Problem{File: file, Code: ProblemSyntax, Message: "not YAML: " + err.Error()}
		var ye yaml.Error
		if errors.As(err, &ye) {
			p.Message = "not YAML: " + ye.GetMessage()
			if tk := ye.GetToken(); tk != nil && tk.Position != nil {
				p.Line, p.Column = tk.Position.Line, tk.Position.Column
			}
		}
		r.add(p)
		return yamlNode{}, false
	}
	var body ast.Node
	for _, d := range doc.Docs {
		if d.Body == nil {
			continue
		}
		if _, isComment := d.Body.(*ast.CommentGroupNode); isComment {
			continue
		}
		if body != nil {
			n := yamlNode{d.Body, file, r}
			n.problem(ProblemSyntax, "one document only", "")
			return yamlNode{}, false
		}
		body = d.Body
	}
	return yamlNode{body, file, r}, body != nil
}

func (n yamlNode) place() (line, column int) {
	node := n.node
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 {
		node = m.Values[0].Key
	}
	if mv, ok := node.(*ast.MappingValueNode); ok {
		node = mv.Key
	}
	if node == nil || node.GetToken() == nil || node.GetToken().Position == nil {
		return 0, 0
	}
	return node.GetToken().Position.Line, node.GetToken().Position.Column
}

func (n yamlNode) problem(code, message, hint string) {
	line, column := n.place()
	n.r.add(Problem{File: n.file, Line: line, Column: column, Code: code, Message: message, Hint: hint})
}

// warn reports something that does not stop check or serve.
func (n yamlNode) warn(code, message, hint string) {
	line, column := n.place()
	n.r.add(Problem{File: n.file, Line: line, Column: column, Code: code, Message: message, Hint: hint, Warning: true})
}

// at is the place of the node's text, for problems inside of it. A quoted
// scalar's text begins behind the quote; where it is escaped or folded, or a
// block, the column is only that of its beginning.
func (n yamlNode) at() place {
	line, column := n.place()
	exact := false
	if s, ok := n.node.(*ast.StringNode); ok {
		origin := strings.TrimSpace(s.GetToken().Origin)
		exact = !strings.ContainsAny(origin, "\n\\") && !strings.Contains(strings.Trim(origin, "'"), "''")
		if strings.HasPrefix(origin, "'") || strings.HasPrefix(origin, `"`) {
			column++
		}
	}
	return place{file: n.file, line: line, col: func(offset int) int {
		if !exact {
			return column
		}
		return column + offset
	}}
}

type yamlEntry struct {
	key   string
	keyAt yamlNode
	value yamlNode
}

// entries reads a mapping; ok is false where it is none.
func (n yamlNode) entries(what string) ([]yamlEntry, bool) {
	var values []*ast.MappingValueNode
	switch m := n.node.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		n.problem(ProblemWrongType, what+" is a mapping of keys to values", "")
		return nil, false
	}
	out := make([]yamlEntry, 0, len(values))
	for _, v := range values {
		key, isText := v.Key.(*ast.StringNode)
		if !isText {
			k := yamlNode{v.Key, n.file, n.r}
			k.problem(ProblemSyntax, "a key is plain text", "")
			continue
		}
		out = append(out, yamlEntry{key.Value, yamlNode{v.Key, n.file, n.r}, yamlNode{v.Value, n.file, n.r}})
	}
	return out, true
}

// items reads a list; a single value stands for a list of it.
func (n yamlNode) items() []yamlNode {
	s, ok := n.node.(*ast.SequenceNode)
	if !ok {
		return []yamlNode{n}
	}
	out := make([]yamlNode, 0, len(s.Values))
	for _, v := range s.Values {
		out = append(out, yamlNode{v, n.file, n.r})
	}
	return out
}

// text reads a string.
func (n yamlNode) text(what string) (string, bool) {
	var s string
	switch v := n.node.(type) {
	case *ast.StringNode:
		s = v.Value
	case *ast.LiteralNode:
		s = v.Value.Value
	default:
		n.problem(ProblemWrongType, what+" is a text", "")
		return "", false
	}
	if strings.Contains(strings.ReplaceAll(s, "$${", ""), "${") {
		n.problem(ProblemNotSupported, "${...} in policy files is not supported yet", "Write $${ for a literal ${")
		return "", false
	}
	return strings.ReplaceAll(s, "$${", "${"), true
}

// literal reads the text of a GraphQL literal, which YAML must not read itself.
func (n yamlNode) literal(what string) (string, bool) {
	switch n.node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		n.problem(ProblemQuoteIt, what+" is a GraphQL literal and YAML reads it as a map: quote it", what+": '{...}'")
		return "", false
	}
	return n.text(what)
}

// number reads an integer of at least 1.
func (n yamlNode) number(what string) (int, bool) {
	if v, ok := n.node.(*ast.IntegerNode); ok {
		if i, err := strconv.Atoi(v.GetToken().Value); err == nil && i >= 1 && i <= 1_000_000 {
			return i, true
		}
	}
	n.problem(ProblemWrongType, what+" is a whole number, 1 or more", "")
	return 0, false
}

// duration reads 500ms, 5s, 15m, 8h, 90d.
func (n yamlNode) duration(what string) (time.Duration, bool) {
	s, ok := n.node.(*ast.StringNode)
	if ok {
		if d, good := parseDuration(s.Value); good {
			return d, true
		}
	}
	n.problem(ProblemWrongType, what+" is a duration", "Write 500ms, 5s, 15m, 8h or 90d")
	return 0, false
}

func parseDuration(text string) (time.Duration, bool) {
	units := []struct {
		suffix string
		unit   time.Duration
	}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}}
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err == nil && digits[0] != '+' && n > 0 && n <= int64(10*365*24*time.Hour/u.unit) {
			return time.Duration(n) * u.unit, true
		}
	}
	return 0, false
}
