package plantest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/catalog"
)

// parseSources reads schemas in a short language, one declaration a line:
//
//	source crm prefix=p nosnapshot norelated maxbind=2
//	enum status open closed
//	collection customers view nokey noacts class=unverifiable
//	  id Int! key default
//	  email String! unique
//	  account_id Int ref=accounts.id
//	object address
//	  street String
//	function balance reads -> object:address!
//	  amount Int!
func parseSources(text string) ([]catalog.Source, error) {
	p := &dsl{}
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		var err error
		if strings.HasPrefix(line, " ") {
			err = p.field(words)
		} else {
			err = p.top(words)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	for i := range p.sources {
		p.finish(&p.sources[i])
	}
	return p.sources, nil
}

type dsl struct {
	sources []catalog.Source
	flags   map[string]map[string]string // by source and collection
	col     *connectors.Collection
	fields  *[]*connectors.Field
}

func flagsOf(words []string) map[string]string {
	out := map[string]string{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		out[k] = v
	}
	return out
}

func (p *dsl) top(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("%q", words)
	}
	flags := flagsOf(words[1:])
	if words[0] == "source" {
		if p.flags == nil {
			p.flags = map[string]map[string]string{}
		}
		p.flags[words[1]] = flags
		p.sources = append(p.sources, catalog.Source{Name: words[1], Prefix: flags["prefix"], Schema: &connectors.Schema{Connector: "memory"}})
		return nil
	}
	src := &p.sources[len(p.sources)-1]
	s := src.Schema
	switch words[0] {
	case "enum":
		s.Enums = append(s.Enums, &connectors.Enum{Name: words[1], Values: words[2:]})
	case "object":
		o := &connectors.Object{Name: words[1]}
		s.Objects = append(s.Objects, o)
		p.fields = &o.Fields
	case "collection":
		c := &connectors.Collection{Name: words[1]}
		p.flags[src.Name+"."+c.Name] = flags
		s.Collections = append(s.Collections, c)
		p.col, p.fields = c, &c.Fields
	case "function":
		_, reads := flags["reads"]
		f := &connectors.Function{Name: words[1], Reads: reads}
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

func (p *dsl) field(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("%q", words)
	}
	r, nullable := typeOf(words[1])
	f := &connectors.Field{Name: words[0], Type: r, Nullable: nullable}
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "key":
			p.col.Key = append(p.col.Key, f.Name)
		case "unique":
			p.col.Uniques = append(p.col.Uniques, connectors.UniqueKey{Name: f.Name, Fields: []string{f.Name}})
		case "ref":
			to, on, _ := strings.Cut(v, ".")
			p.col.References = append(p.col.References, connectors.Reference{Name: f.Name, Fields: []string{f.Name}, To: to, On: []string{on}})
		case "default":
			f.Default = true
		default:
			return fmt.Errorf("%q", w)
		}
	}
	*p.fields = append(*p.fields, f)
	return nil
}

// typeOf reads Int, Int!, [Int!]!, enum:NAME and object:NAME.
func typeOf(text string) (connectors.TypeRef, bool) {
	var r connectors.TypeRef
	nullable := !strings.HasSuffix(text, "!")
	text = strings.TrimSuffix(text, "!")
	if strings.HasPrefix(text, "[") {
		r.List = true
		text = strings.Trim(text, "[]")
		r.ItemNullable = !strings.HasSuffix(text, "!")
		text = strings.TrimSuffix(text, "!")
	}
	switch {
	case strings.HasPrefix(text, "enum:"):
		r.Enum = text[5:]
	case strings.HasPrefix(text, "object:"):
		r.Object = text[7:]
	default:
		r.Scalar = connectors.Scalar(text)
	}
	return r, nullable
}

// finish declares everything the connector in memory can do, less what the
// flags take away.
func (p *dsl) finish(src *catalog.Source) {
	full := connectortest.FullSchema(src.Schema.Collections...)
	full.Functions, full.Enums, full.Objects = src.Schema.Functions, src.Schema.Enums, src.Schema.Objects
	flags := p.flags[src.Name]
	_, noSnapshot := flags["nosnapshot"]
	_, noRelated := flags["norelated"]
	_, noAtomic := flags["noatomic"]
	full.Capabilities.Snapshot = !noSnapshot
	full.Capabilities.Related = !noRelated
	full.Capabilities.Atomic = !noAtomic
	if flags["maxbind"] != "" {
		fmt.Sscan(flags["maxbind"], &full.Capabilities.MaxBind)
	}
	for _, c := range full.Collections {
		own := p.flags[src.Name+"."+c.Name]
		if _, ok := own["noacts"]; ok {
			c.Acts = nil
		}
		if _, ok := own["nokeyset"]; ok {
			c.Paging.Keyset = false
		}
		if _, ok := own["view"]; ok {
			c.View = true
		}
		for _, a := range c.Acts {
			if class := own["class"]; class != "" {
				a.Class = connectors.OutcomeClass(class)
			}
		}
	}
	slices.SortFunc(full.Collections, func(a, b *connectors.Collection) int { return strings.Compare(a.Name, b.Name) })
	src.Schema = full
}
