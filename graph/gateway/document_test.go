package gateway

import (
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/lexer"
	"github.com/vektah/gqlparser/v2/parser"
)

// nested is nesting by the real lexer; false where it cannot read the text.
func nested(text string) (deepest int, ok bool) {
	lex := lexer.New(&ast.Source{Input: text})
	depth := 0
	for {
		tok, err := lex.ReadToken()
		if err != nil {
			return 0, false
		}
		switch tok.Kind {
		case lexer.EOF:
			return deepest, true
		case lexer.BraceL, lexer.BracketL, lexer.ParenL:
			depth++
			deepest = max(deepest, depth)
		case lexer.BraceR, lexer.BracketR, lexer.ParenR:
			depth--
		}
	}
}

// FuzzNesting: how deeply a text nests is what the real lexer sees, so that
// nothing gets deeper into the parser behind a string or a comment.
func FuzzNesting(f *testing.F) {
	for _, text := range []string{
		`{ a(b: [1, {c: "}"}]) { d } }`, "{ # }\n a }", "{ # }\r a }", `{ a(s: "\"{") }`, `{ a(s: "\\") { b } }`, `{ a(s: """ \""" { """) { b } }`,
		`""""""{`, `"""""{`, `"" { }`, `"""a""""{"`, "\"a\n{", `"a\`, `"`, `"""`, `"""\"""`, "\"\\\n{", "#", "\ufeff{", `}}}{{{`, "{ \"\u2028{\" }",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := nesting(text)
		if want, ok := nested(text); ok && got != want {
			t.Fatalf("%q nests %d deep, not %d", text, want, got)
		}
	})
}

// What counts as a token here is what the parser's limit counts.
func TestTokensAsTheParser(t *testing.T) {
	for _, text := range []string{
		`{ a }`, "# c\n{ a # d\n b } # e", `query Q($v: [Int!]! = [1, 2]) @x(a: {b: $v}) { a: b(c: "s", d: """b""") { ...F ... on T { g } } } fragment F on T { h }`,
	} {
		n := tokens(text)
		if _, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, n); err != nil {
			t.Errorf("%q: with %d tokens: %v", text, n, err)
		}
		if _, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, n-1); err == nil || !isTokenLimit(err.Error()) {
			t.Errorf("%q: with %d tokens: %v", text, n-1, err)
		}
	}
}

// The library's words that errors are told apart by.
func TestParserLimitsAreTold(t *testing.T) {
	for text, want := range map[string]string{
		strings.Repeat("{a", 2000) + strings.Repeat("}", 2000): "DEPTH_EXCEEDED",
		`{ a b c d e f g h }`: "COST_EXCEEDED",
		`{ a `:                "BAD_INPUT",
	} {
		limit := 5
		if want == "DEPTH_EXCEEDED" {
			limit = 1 << 20
		}
		_, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, limit)
		if err == nil {
			t.Fatalf("%.20q was parsed", text)
		}
		if got := syntaxErrors(err); string(got[0].Code) != want {
			t.Errorf("%.20q: %s (%v), not %s", text, got[0].Code, err, want)
		}
	}
}
