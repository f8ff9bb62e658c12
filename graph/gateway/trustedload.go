package gateway

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/lexer"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/countersign/countersign/policy"
)

// The directives that are ours. They stand in trusted documents only: what is
// run, and what a source is asked, has none of them.
const (
	dirFrom   = "from"
	dirExport = "export"
	dirTool   = "tool"
)

// LoadTrusted reads the files of operations. All that is wrong with them by
// themselves is reported, with file and line; what their operations ask for is
// Check's to compare with schemas.
func LoadTrusted(files []TrustedFile) (*Trusted, []policy.Problem) {
	l := &trustedLoader{out: &Trusted{byName: map[string]*TrustedDocument{}, byHash: map[string]*TrustedDocument{}, byPrint: map[[32]byte]*TrustedDocument{}}}
	for _, f := range files {
		l.file(f)
	}
	return l.out, l.problems
}

type trustedLoader struct {
	out      *Trusted
	problems []policy.Problem
	name     string // of the file at hand
}

func (l *trustedLoader) problem(at *ast.Position, code, hint, format string, args ...any) {
	p := policy.Problem{File: l.name, Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}
	if at != nil {
		p.Line, p.Column = at.Line, at.Column
	}
	l.problems = append(l.problems, p)
}

func (l *trustedLoader) file(f TrustedFile) {
	l.name = f.Name
	if !utf8.ValidString(f.Text) || halfQuoted(f.Text) {
		l.problem(nil, policy.ProblemSyntax, "", "the file is not UTF-8 text")
		return
	}
	query, err := parser.ParseQuery(&ast.Source{Input: f.Text, Name: f.Name})
	if err != nil {
		at := &ast.Position{Line: 1}
		message := "the file cannot be parsed"
		if ge, ok := err.(*gqlerror.Error); ok {
			message = ge.Message
			if len(ge.Locations) > 0 {
				at.Line, at.Column = ge.Locations[0].Line, ge.Locations[0].Column
			}
		}
		l.problem(at, policy.ProblemSyntax, "", "%s", message)
		return
	}
	parts := cut(f.Text)
	for _, fr := range query.Fragments {
		l.noneOfOurs(fr.Directives, "on a fragment")
		l.selection(fr.SelectionSet)
	}
	for _, op := range query.Operations {
		l.operation(f, query, op, parts)
	}
}

func (l *trustedLoader) operation(f TrustedFile, query *ast.QueryDocument, op *ast.OperationDefinition, parts []part) {
	if op.Name == "" {
		l.problem(op.Position, policy.ProblemSyntax, "write query NAME { … }", "a trusted document needs a name: it is its id")
		return
	}
	if other := l.out.byName[op.Name]; other != nil {
		l.problem(op.Position, "duplicate_key", "", "there is an operation %s already (%s, line %d)", op.Name, other.File, other.Line)
		return
	}
	before := len(l.problems)
	d := &TrustedDocument{Name: op.Name, Kind: op.Operation, File: f.Name, Line: op.Position.Line}
	l.tool(d, op.Directives)
	for _, v := range op.VariableDefinitions {
		l.from(d, v)
	}
	l.selection(op.SelectionSet)
	used := map[string]bool{}
	l.uses(query, op.SelectionSet, used)
	if len(l.problems) > before {
		return
	}
	d.Text, d.padded = assemble(f.Text, parts, op.Name, used)
	d.Hash = digest(d.Text)
	l.add(d, f, query)
}

// add makes a document known by name, hash and tokens.
func (l *trustedLoader) add(d *TrustedDocument, f TrustedFile, query *ast.QueryDocument) {
	l.out.list = append(l.out.list, d)
	l.out.byName[d.Name] = d
	l.out.byHash[d.Hash] = d
	whole, bare, _ := prints(d.Text, len(d.Text)) // it was parsed
	l.out.byPrint[whole], l.out.byPrint[bare] = d, d
	if len(query.Operations) == 1 {
		// Such a file is what a client's build tools hash and send.
		l.out.byHash[digest(f.Text)], l.out.byHash[digest(strings.TrimSpace(f.Text))] = d, d
		if whole, bare, ok := prints(f.Text, len(f.Text)); ok {
			l.out.byPrint[whole], l.out.byPrint[bare] = d, d
		}
	}
}

// uses collects the fragments that a selection spreads, directly or not.
func (l *trustedLoader) uses(query *ast.QueryDocument, set ast.SelectionSet, used map[string]bool) {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			l.uses(query, sel.SelectionSet, used)
		case *ast.InlineFragment:
			l.uses(query, sel.SelectionSet, used)
		case *ast.FragmentSpread:
			if used[sel.Name] {
				continue
			}
			used[sel.Name] = true
			if fr := query.Fragments.ForName(sel.Name); fr != nil {
				l.uses(query, fr.SelectionSet, used)
				continue
			}
			l.problem(sel.Position, policy.ProblemUnknownName, "put it into the same file", "there is no fragment %s in this file", sel.Name)
		}
	}
}

func (l *trustedLoader) tool(d *TrustedDocument, list ast.DirectiveList) {
	for _, dir := range list {
		switch dir.Name {
		case dirTool:
			d.IsTool = true
			d.Tool = l.argument(dir, "description")
		case dirFrom, dirExport:
			l.misplaced(dir, "on an operation")
		}
	}
}

var fromValue = regexp.MustCompile(`^(agent\.(name)|principal\.(id|name|kind|tenant)|claims\.([A-Za-z_][A-Za-z0-9_]*))$`)

// from reads @from of a variable.
func (l *trustedLoader) from(d *TrustedDocument, v *ast.VariableDefinition) {
	for _, dir := range v.Directives {
		if dir.Name != dirFrom {
			l.noneOfOurs(ast.DirectiveList{dir}, "on a variable")
			continue
		}
		value := l.argument(dir, "value")
		if value == "" {
			continue
		}
		if strings.HasPrefix(value, "export.") {
			l.problem(dir.Position, policy.ProblemNotSupported, "send two operations", "@from(value: %q): @export is not supported yet", value)
			continue
		}
		m := fromValue.FindStringSubmatch(value)
		if m == nil {
			l.problem(dir.Position, policy.ProblemUnknownName, "write agent.name, principal.id, principal.name, principal.kind, principal.tenant or claims.NAME",
				"@from(value: %q) names nothing that is known of who asks", value)
			continue
		}
		if d.hides(v.Variable) {
			l.problem(dir.Position, policy.ProblemMisplaced, "", "@from stands twice on $%s", v.Variable)
			continue
		}
		if v.DefaultValue != nil {
			l.problem(dir.Position, policy.ProblemMisplaced, "take the default out", "$%s has a default and @from: it would never be used", v.Variable)
		}
		f := fromIdentity{variable: v.Variable, nullable: !v.Type.NonNull, name: m[2] + m[3] + m[4]}
		switch {
		case m[2] != "":
			f.kind = policy.ParamAgent
		case m[3] != "":
			f.kind = policy.ParamPrincipal
		default:
			f.kind = policy.ParamClaim
		}
		if name := v.Type.Name(); f.kind != policy.ParamClaim && (v.Type.Elem != nil || name != "String" && name != "ID") {
			l.problem(dir.Position, policy.ProblemWrongType, "declare it as String", "$%s is filled with a text: %s does not hold it", v.Variable, v.Type.String())
		}
		d.from = append(d.from, f)
	}
}

// argument is the one argument of a directive of ours, a string.
func (l *trustedLoader) argument(dir *ast.Directive, name string) string {
	for _, a := range dir.Arguments {
		if a.Name != name {
			l.problem(a.Position, policy.ProblemUnknownKey, "write "+name, "@%s has no argument %s", dir.Name, a.Name)
			return ""
		}
		if a.Value.Kind != ast.StringValue && a.Value.Kind != ast.BlockValue {
			l.problem(a.Position, policy.ProblemWrongType, "", "@%s(%s:) must be a string", dir.Name, name)
			return ""
		}
		if a.Value.Raw != "" {
			return a.Value.Raw
		}
	}
	l.problem(dir.Position, policy.ProblemMisplaced, "write @"+dir.Name+"("+name+`: "…")`, "@%s needs %s", dir.Name, name)
	return ""
}

// selection refuses directives of ours on fields and fragments.
func (l *trustedLoader) selection(set ast.SelectionSet) {
	for _, sel := range set {
		switch sel := sel.(type) {
		case *ast.Field:
			l.noneOfOurs(sel.Directives, "on a field")
			l.selection(sel.SelectionSet)
		case *ast.InlineFragment:
			l.noneOfOurs(sel.Directives, "on a fragment")
			l.selection(sel.SelectionSet)
		case *ast.FragmentSpread:
			l.noneOfOurs(sel.Directives, "on a fragment")
		}
	}
}

func (l *trustedLoader) noneOfOurs(list ast.DirectiveList, where string) {
	for _, dir := range list {
		switch {
		case dir.Name == dirExport && where == "on a field":
			l.problem(dir.Position, policy.ProblemNotSupported, "send two operations", "@export is not supported yet")
		case slices.Contains([]string{dirFrom, dirExport, dirTool}, dir.Name):
			l.misplaced(dir, where)
		}
	}
}

func (l *trustedLoader) misplaced(dir *ast.Directive, where string) {
	right := map[string]string{dirFrom: "on a variable", dirTool: "on an operation", dirExport: "on a field"}
	l.problem(dir.Position, policy.ProblemMisplaced, "it stands "+right[dir.Name], "@%s cannot stand %s", dir.Name, where)
}

// A part is a definition of a file, from its first character to behind its last
// one, and where directives of ours stand in it.
type part struct {
	fragment, name string
	from, to       int
	ours           [][2]int
}

// cut finds the definitions of a document that was parsed.
func cut(text string) []part {
	offsets := make([]int, 0, len(text)+1) // of characters, in bytes
	for i := range text {
		offsets = append(offsets, i)
	}
	offsets = append(offsets, len(text))
	lex := lexer.New(&ast.Source{Input: text})
	next := func() lexer.Token {
		for {
			token, err := lex.ReadToken()
			if err != nil {
				return lexer.Token{Kind: lexer.EOF} // it was parsed: there is no error
			}
			if token.Kind != lexer.Comment {
				return token
			}
		}
	}
	var parts []part
	for token := next(); token.Kind != lexer.EOF; token = next() {
		p := part{from: offsets[token.Pos.Start]}
		// The keyword, or the brace of a query without one.
		keyword := token.Kind == lexer.Name
		if keyword {
			fragment := token.Value == "fragment"
			token = next()
			if token.Kind == lexer.Name {
				if p.name = token.Value; fragment {
					p.fragment, p.name = token.Value, ""
				}
				token = next()
			}
		}
		p.to = p.body(token, next, offsets)
		parts = append(parts, p)
	}
	return parts
}

// body reads up to the brace that ends a definition, and answers where it ends.
func (p *part) body(token lexer.Token, next func() lexer.Token, offsets []int) int {
	depth := 0
	for token.Kind != lexer.EOF {
		switch token.Kind {
		case lexer.BraceL, lexer.ParenL, lexer.BracketL:
			depth++
		case lexer.BraceR, lexer.ParenR, lexer.BracketR:
			depth--
			if depth == 0 && token.Kind == lexer.BraceR {
				return offsets[token.Pos.Start] + 1
			}
		case lexer.At:
			at := offsets[token.Pos.Start]
			if token = next(); slices.Contains([]string{dirFrom, dirExport, dirTool}, token.Value) {
				token = p.skip(at, next, offsets)
				continue
			}
		}
		token = next()
	}
	return offsets[len(offsets)-1]
}

// skip passes a directive of ours, which begins at at, and answers the token
// behind it.
func (p *part) skip(at int, next func() lexer.Token, offsets []int) lexer.Token {
	token := next()
	if token.Kind == lexer.ParenL {
		for depth := 1; depth > 0 && token.Kind != lexer.EOF; {
			token = next()
			switch token.Kind {
			case lexer.ParenL:
				depth++
			case lexer.ParenR:
				depth--
			}
		}
		p.ours = append(p.ours, [2]int{at, offsets[token.Pos.Start] + 1})
		return next()
	}
	p.ours = append(p.ours, [2]int{at, offsets[token.Pos.Start]})
	return token
}

// assemble answers an operation with the fragments it uses: as its text, and as
// it stands in its file.
func assemble(text string, parts []part, name string, fragments map[string]bool) (plain, padded string) {
	blank := []byte(text)
	for i, c := range blank {
		if c != '\n' && c != '\r' {
			blank[i] = ' '
		}
	}
	var pieces []string
	for _, p := range parts {
		if p.name != name && !fragments[p.fragment] || p.name == "" && p.fragment == "" {
			continue
		}
		piece := []byte(text[p.from:p.to])
		for _, span := range p.ours {
			for i := span[0]; i < span[1]; i++ {
				if piece[i-p.from] != '\n' && piece[i-p.from] != '\r' {
					piece[i-p.from] = ' '
				}
			}
		}
		copy(blank[p.from:], piece)
		pieces = append(pieces, tidy(string(piece), p))
	}
	return strings.Join(pieces, "\n\n"), string(blank)
}

// tidy takes out the blanks that stand in place of a directive of ours, and
// those in front of it.
func tidy(piece string, p part) string {
	for i := len(p.ours) - 1; i >= 0; i-- {
		from, to := p.ours[i][0]-p.from, p.ours[i][1]-p.from
		piece = strings.TrimRight(piece[:from], " \t") + piece[to:]
	}
	return piece
}
