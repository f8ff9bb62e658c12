package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/lexer"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A TrustedFile is a file of operations, as written.
type TrustedFile struct{ Name, Text string }

// Trusted are the documents that a configuration vouches for. They belong to a
// snapshot and are immutable. The nil value holds none.
type Trusted struct {
	list   []*TrustedDocument // in the order of files and lines
	byName map[string]*TrustedDocument
	byHash map[string]*TrustedDocument
	// byPrint finds a document by its tokens: with our directives, and without.
	byPrint map[[sha256.Size]byte]*TrustedDocument
	// only says what an agent may send at all; an agent that is not in it may
	// send whatever its roles may.
	only map[string]map[string]bool
}

// A TrustedDocument is one operation with the fragments it uses.
type TrustedDocument struct {
	// Name is the operation's, and the id of the document.
	Name string
	// Hash is the SHA-256 of Text, in lower-case hex.
	Hash string
	// Text is what is run: the operation and its fragments as written, without
	// the directives that are ours.
	Text string
	// Kind is what the operation does.
	Kind ast.Operation
	// Tool is the description of @tool; "" without one.
	Tool string
	// IsTool: the operation has @tool.
	IsTool bool
	File   string
	Line   int

	// from are the variables that the caller's identity fills.
	from []fromIdentity
	// padded is Text where it stands in its file, with blanks for the rest, so
	// that positions of what is wrong are the file's.
	padded string
}

// A fromIdentity is a variable with @from: nobody sends it.
type fromIdentity struct {
	variable string
	kind     policy.ParamKind
	name     string
	nullable bool
}

// With answers the same documents, where each of the named agents may send only
// some. It is for assembling; t is not used any more.
func (t *Trusted) With(only map[string][]string) *Trusted {
	if len(only) == 0 {
		return t
	}
	out := &Trusted{only: map[string]map[string]bool{}}
	if t != nil {
		*out = *t
		out.only = map[string]map[string]bool{}
	}
	for agent, names := range only {
		out.only[agent] = map[string]bool{}
		for _, name := range names {
			out.only[agent][name] = true
		}
	}
	return out
}

// List is every document, in the order of files and lines.
func (t *Trusted) List() []*TrustedDocument {
	if t == nil {
		return nil
	}
	return t.list
}

// Names lists the ids, sorted.
func (t *Trusted) Names() []string {
	var out []string
	for _, d := range t.List() {
		out = append(out, d.Name)
	}
	slices.Sort(out)
	return out
}

// find answers the document of an id: an operation's name, or a hash with or
// without sha256: in front.
func (t *Trusted) find(id string) *TrustedDocument {
	if t == nil {
		return nil
	}
	if d := t.byName[id]; d != nil {
		return d
	}
	return t.byHash[strings.TrimPrefix(id, "sha256:")]
}

// match answers the document that a text is, whatever its white space, commas
// and comments, with or without our directives, and with __typename selected
// where the document does not: client libraries put it in. typed tells of that.
func (t *Trusted) match(text string, most int) (d *TrustedDocument, typed bool) {
	if t == nil {
		return nil, false
	}
	whole, bare, ok := prints(text, most)
	if !ok {
		return nil, false
	}
	if d := t.byPrint[whole]; d != nil {
		return d, false
	}
	d = t.byPrint[bare]
	return d, d != nil
}

// prints are digests over the tokens of a text: of all, and without those that
// select __typename. ok is false for what is no GraphQL, or has more than most.
func prints(text string, most int) (whole, bare [sha256.Size]byte, ok bool) {
	all, some := sha256.New(), sha256.New()
	lex := lexer.New(&ast.Source{Input: text})
	var before lexer.Type
	var line []byte
	for n := 0; ; n++ {
		token, err := lex.ReadToken()
		if err != nil || n > most {
			return whole, bare, false
		}
		if token.Kind == lexer.EOF {
			all.Sum(whole[:0])
			some.Sum(bare[:0])
			return whole, bare, true
		}
		if token.Kind == lexer.Comment {
			continue
		}
		line = append(line[:0], byte(token.Kind))
		line = append(line, token.Value...)
		line = append(line, 0) // no token holds it
		all.Write(line)
		// An alias of it is another key of the answer.
		if token.Kind != lexer.Name || token.Value != "__typename" || before == lexer.Colon {
			some.Write(line)
		}
		before = token.Kind
	}
}

// may tells whether every agent in the chain may send a document; nil stands for
// one that is no trusted one.
func (t *Trusted) may(p *policy.Principal, d *TrustedDocument) bool {
	if t == nil || t.only == nil {
		return true
	}
	for q := p; q != nil; q = q.For {
		if only, ok := t.only[q.Name]; ok && q.Kind == policy.Agent && (d == nil || !only[d.Name]) {
			return false
		}
	}
	return true
}

// restricted tells whether a principal may send some documents only, whatever
// its roles may.
func (t *Trusted) restricted(p *policy.Principal) bool { return !t.may(p, nil) }

// typed is the document with a client's text, which selects __typename more
// often and is otherwise the same.
func (d *TrustedDocument) typed(text string) *TrustedDocument {
	out := *d
	out.Text = text
	return &out
}

// hides tells whether a variable is filled by who asks.
func (d *TrustedDocument) hides(variable string) bool {
	return slices.ContainsFunc(d.from, func(f fromIdentity) bool { return f.variable == variable })
}

// bind answers the variables with those that the caller's identity fills.
func (d *TrustedDocument) bind(p *policy.Principal, given map[string]any) (map[string]any, []Error) {
	if len(d.from) == 0 {
		return given, nil
	}
	out := make(map[string]any, len(given)+len(d.from))
	for k, v := range given {
		out[k] = v
	}
	for _, f := range d.from {
		if _, sent := given[f.variable]; sent {
			return nil, refuse(connectors.CodeBadInput, "the variable $%s cannot be sent: it is who asks", f.variable)
		}
		v, ok := policy.ValueOf(p, f.kind, f.name)
		switch {
		case ok:
			out[f.variable] = decoded(v)
		case !f.nullable:
			return nil, refuse(connectors.CodeForbidden, "this operation needs to know of who asks what is not known")
		default:
			out[f.variable] = nil
		}
	}
	return out, nil
}

// decoded is a value as a request's variables are decoded.
func decoded(v connectors.Value) any {
	switch v.Kind {
	case connectors.KindBool:
		return v.Text == connectors.True.Text
	case connectors.KindInt, connectors.KindFloat:
		return json.Number(v.Text)
	case connectors.KindList:
		out := make([]any, len(v.Items))
		for i, item := range v.Items {
			out[i] = decoded(item)
		}
		return out
	case connectors.KindObject:
		out := make(map[string]any, len(v.Members))
		for _, m := range v.Members {
			out[m.Name] = decoded(m.Value)
		}
		return out
	}
	if v.IsNull() {
		return nil
	}
	return v.Text
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
