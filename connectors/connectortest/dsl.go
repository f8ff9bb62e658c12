package connectortest

import (
	"fmt"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A DescribedSource is a source as [ParseSources] read it.
type DescribedSource struct {
	Name   string
	Flags  Flags
	Schema *connectors.Schema
}

// Flags are the words behind a declaration: name, or name=value.
type Flags map[string]string

// Has tells whether a flag is given.
func (f Flags) Has(name string) bool { _, ok := f[name]; return ok }

// ParseSources reads schemas in the short language of the tests, one declaration
// a line:
//
//	source crm prefix=p readonly
//	enum status open closed
//	# comment of what follows
//	collection customers view
//	  id Int! key default
//	  email String(120) unique filter=eq,in
//	  account_id Int ref=accounts.id
//	  unique a_b a b
//	  ref fk_name account_id -> accounts(id)
//	object address
//	  street String
//	function PostRefund -> Refund!
//	  amount Decimal(10,2)!
//	function balance reads -> object:address!
//
// What flags of a source mean is the caller's. What a collection can do is set by
// declare, which is given its flags when its fields are known; filter=… and
// nofilter of a field take from that.
func ParseSources(text string, declare func(*connectors.Collection, Flags)) ([]DescribedSource, error) {
	p := &dsl{declare: declare}
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		var err error
		switch {
		case len(words) == 0:
			continue
		case words[0] == "#":
			p.comment = strings.Join(words[1:], " ")
			continue
		case len(words) < 2:
			err = fmt.Errorf("%q", words)
		case strings.HasPrefix(line, " "):
			err = p.inner(words)
		default:
			p.end()
			err = p.top(words)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		p.comment = ""
	}
	p.end()
	return p.sources, nil
}

type dsl struct {
	sources []DescribedSource
	declare func(*connectors.Collection, Flags)
	comment string
	fields  *[]*connectors.Field
	// The collection being read, its flags, and what narrows its fields.
	col    *connectors.Collection
	flags  Flags
	narrow []func()
}

// end completes a collection.
func (p *dsl) end() {
	if p.col != nil {
		p.declare(p.col, p.flags)
	}
	for _, f := range p.narrow {
		f()
	}
	p.col, p.narrow = nil, nil
}

func (p *dsl) top(words []string) error {
	flags := Flags{}
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, "=")
		flags[k] = v
	}
	if words[0] == "source" {
		p.sources = append(p.sources, DescribedSource{Name: words[1], Flags: flags, Schema: &connectors.Schema{Connector: "memory"}})
		return nil
	}
	if len(p.sources) == 0 {
		return fmt.Errorf("%q stands in no source", words[0])
	}
	s := p.sources[len(p.sources)-1].Schema
	switch words[0] {
	case "enum":
		s.Enums = append(s.Enums, &connectors.Enum{Name: words[1], Values: words[2:], Comment: p.comment})
	case "object":
		o := &connectors.Object{Name: words[1], Comment: p.comment}
		s.Objects = append(s.Objects, o)
		p.fields = &o.Fields
	case "collection":
		p.col, p.flags = &connectors.Collection{Name: words[1], Comment: p.comment, View: flags.Has("view")}, flags
		s.Collections = append(s.Collections, p.col)
		p.fields = &p.col.Fields
	case "function":
		f := &connectors.Function{Name: words[1], Comment: p.comment, Reads: flags.Has("reads")}
		if !f.Reads {
			f.Act = &connectors.Act{Class: connectors.Unverifiable, Preview: connectors.PreviewNone}
		}
		if n := len(words); n > 3 && words[n-2] == "->" {
			r, nullable := typeOf(words[n-1])
			f.Result, f.Nullable = &r, nullable
		}
		s.Functions = append(s.Functions, f)
		p.fields = &f.Args
	default:
		return fmt.Errorf("%q", words[0])
	}
	return nil
}

func (p *dsl) inner(words []string) error {
	switch words[0] {
	case "unique":
		p.col.Uniques = append(p.col.Uniques, connectors.UniqueKey{Name: words[1], Fields: words[2:]})
		return nil
	case "ref":
		to, on, _ := strings.Cut(strings.TrimSuffix(words[4], ")"), "(")
		p.col.References = append(p.col.References, connectors.Reference{Name: words[1], Fields: strings.Split(words[2], ","), To: to, On: strings.Split(on, ",")})
		return nil
	}
	r, nullable := typeOf(words[1])
	f := &connectors.Field{Name: words[0], Type: r, Nullable: nullable, Comment: p.comment}
	*p.fields = append(*p.fields, f)
	for _, w := range words[2:] {
		if err := p.flag(f, w); err != nil {
			return err
		}
	}
	return nil
}

// flag is a word behind a field.
func (p *dsl) flag(f *connectors.Field, word string) error {
	k, v, _ := strings.Cut(word, "=")
	switch k {
	case "key":
		p.col.Key = append(p.col.Key, f.Name)
	case "unique":
		p.col.Uniques = append(p.col.Uniques, connectors.UniqueKey{Name: f.Name, Fields: []string{f.Name}})
	case "ref":
		to, on, _ := strings.Cut(v, ".")
		p.col.References = append(p.col.References, connectors.Reference{Name: f.Name, Fields: []string{f.Name}, To: to, On: []string{on}})
	case "bind":
		p.col.BindFields = append(p.col.BindFields, []string{f.Name})
	case "default":
		f.Default = true
	case "readonly":
		f.ReadOnly = true
	case "createonly":
		f.CreateOnly = true
	case "writeonly":
		f.WriteOnly = true
	case "deprecated":
		f.Deprecated = true
	case "nofilter":
		p.narrow = append(p.narrow, func() { f.Filter, f.Order, f.Group, f.Aggregates = nil, false, false, nil })
	case "filter":
		p.narrow = append(p.narrow, func() {
			f.Filter, f.Order = nil, false
			for _, op := range strings.Split(v, ",") {
				f.Filter = append(f.Filter, connectors.Op(op))
			}
		})
	default:
		return fmt.Errorf("%q", word)
	}
	return nil
}

// typeOf reads Int, Int!, [Int!]!, String(120), Decimal(10,2), enum:NAME and
// object:NAME.
func typeOf(text string) (r connectors.TypeRef, nullable bool) {
	nullable = !strings.HasSuffix(text, "!")
	text = strings.TrimSuffix(text, "!")
	if strings.HasPrefix(text, "[") {
		r.List = true
		text = strings.Trim(text, "[]")
		r.ItemNullable = !strings.HasSuffix(text, "!")
		text = strings.TrimSuffix(text, "!")
	}
	text, limits, _ := strings.Cut(text, "(")
	kind, name, named := strings.Cut(text, ":")
	switch {
	case named && kind == "enum":
		r.Enum = name
	case named:
		r.Object = name
	case text == string(connectors.ScalarDecimal) && limits != "":
		r.Scalar, r.HasScale = connectors.ScalarDecimal, true
		fmt.Sscanf(limits, "%d,%d)", &r.Precision, &r.Scale)
	default:
		r.Scalar = connectors.Scalar(text)
		fmt.Sscanf(limits, "%d)", &r.MaxLength)
	}
	return r, nullable
}
