package catalog

import (
	"strings"
	"sync"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator"

	"github.com/countersign/countersign/connectors"
)

// A base is what all views have: the control plane's schema, in two forms.
type base struct {
	// types by whether the view decides: the fields marked @decides are there
	// or not. The mark itself is in neither.
	types      [2]map[string]*ast.Definition
	directives map[string]*ast.DirectiveDefinition
	oneOf      ast.DirectiveList

	// pool holds the definitions of collections and functions by what a view
	// shows of them, so that views share what is equal. It forgets everything
	// when it is full: it decides memory, never content.
	mu   sync.Mutex
	pool map[string]*ast.Definition
}

const poolSize = 1 << 17

// required are the types of the control plane that payloads are made of.
var required = [...]string{"WriteOutcome", "WriteOptions", "WriteError", "RecordDiff", "Proposal", "PageInfo"}

// builtAt is the position of all definitions that come from no file.
var builtAt = &ast.Position{Line: 1, Column: 1, Src: &ast.Source{Name: "catalog"}}

// loadControl reads the control plane's schema; false where it cannot be.
func (b *builder) loadControl() bool {
	schema, err := validator.LoadSchema(append([]*ast.Source{validator.Prelude}, b.o.Control...)...)
	if err != nil {
		b.problem(ProblemInternal, nil, "", "the control plane's schema: %v", err)
		return false
	}
	if schema.Query == nil || schema.Query.Name != "Query" || schema.Query.Fields.ForName("viewer") == nil {
		b.problem(ProblemInternal, nil, "", "the control plane's schema has no viewer")
		return false
	}
	b.control = map[string]bool{}
	base := &base{directives: map[string]*ast.DirectiveDefinition{}, pool: map[string]*ast.Definition{}}
	base.types = [2]map[string]*ast.Definition{{}, {}}
	for name, def := range schema.Types {
		if !def.BuiltIn && def.Kind != ast.Scalar && name != "Query" && name != "Mutation" && name != "Subscription" {
			b.control[name] = true
		}
		base.types[0][name], base.types[1][name] = withoutDecides(def, false), withoutDecides(def, true)
	}
	for _, name := range required {
		if schema.Types[name] == nil {
			b.problem(ProblemInternal, nil, "", "the control plane's schema has no type %s", name)
			return false
		}
	}
	for name, d := range schema.Directives {
		// Our engine does not do @defer; the prelude offers it.
		if name != "defer" && name != decidesDirective {
			base.directives[name] = d
		}
	}
	base.oneOf = ast.DirectiveList{{Name: "oneOf", Definition: base.directives["oneOf"], Location: ast.LocationInputObject, Position: builtAt}}
	for _, s := range scalars {
		for i := range base.types {
			if d := base.types[i][string(s)]; d == nil {
				base.types[i][string(s)] = &ast.Definition{Kind: ast.Scalar, Name: string(s), Description: scalarDescriptions[s], Position: builtAt}
			}
		}
	}
	b.cat.base = base
	return true
}

const decidesDirective = "decides"

// withoutDecides copies a definition without the mark and, where the view does
// not decide, without the fields marked. It is the same where nothing is.
func withoutDecides(def *ast.Definition, decides bool) *ast.Definition {
	marked := false
	for _, f := range def.Fields {
		marked = marked || f.Directives.ForName(decidesDirective) != nil
	}
	if !marked {
		return def
	}
	out := *def
	out.Fields = nil
	for _, f := range def.Fields {
		if f.Directives.ForName(decidesDirective) == nil {
			out.Fields = append(out.Fields, f)
			continue
		}
		if !decides {
			continue
		}
		g := *f
		g.Directives = nil
		for _, d := range f.Directives {
			if d.Name != decidesDirective {
				g.Directives = append(g.Directives, d)
			}
		}
		out.Fields = append(out.Fields, &g)
	}
	return &out
}

// shared gives the definition that the pool has under a key, or makes it.
func (b *base) shared(key string, build func() *ast.Definition) *ast.Definition {
	b.mu.Lock()
	def := b.pool[key]
	b.mu.Unlock()
	if def != nil {
		return def
	}
	def = build()
	b.mu.Lock()
	defer b.mu.Unlock()
	if other := b.pool[key]; other != nil {
		return other
	}
	if len(b.pool) >= poolSize {
		b.pool = map[string]*ast.Definition{}
	}
	b.pool[key] = def
	return def
}

// A comparison is the input with which a field of a type is compared.
type comparison struct {
	typ *Type // its scalar or enum; lists and objects: only isNull
	ops []connectors.Op
}

// comparisons names the comparison input of every field: after the type alone
// where the field has its usual comparisons, else with what is missing or more.
func comparisons(c *Catalog) map[string]comparison {
	out := map[string]comparison{}
	known := map[string]string{} // most fields of a type have the same comparisons
	for _, col := range c.Collections {
		for _, f := range col.Fields {
			key := typeText(f.Type) + opNames(f.Spec.Filter)
			name, ok := known[key]
			if !ok {
				if ops := fieldOps(f); len(ops) > 0 {
					name = comparisonName(f.Type, ops)
					out[name] = comparison{f.Type, ops}
				}
				known[key] = name
			}
			f.comparison = name
		}
	}
	for _, s := range scalars {
		t := &Type{TypeRef: connectors.TypeRef{Scalar: s}, Leaf: s, Output: string(s), Input: string(s)}
		if h := havingOps(t); len(h) > 0 {
			out[havingName(s)] = comparison{t, h}
		}
	}
	return out
}

func comparisonName(t *Type, ops []connectors.Op) string {
	usual := usualOps(t)
	base := t.Output + "Comparison"
	if t.List || t.Members != nil {
		return "JSONComparisonIsNull"
	}
	missing, more := minus(usual, ops), minus(ops, usual)
	switch {
	case len(missing) == 0 && len(more) == 0:
		return base
	case len(missing)+len(more) > 3:
		return base + opNames(ops)
	}
	if len(missing) > 0 {
		base += "Without" + opNames(missing)
	}
	if len(more) > 0 {
		base += "With" + opNames(more)
	}
	return base
}

func minus(a, b []connectors.Op) []connectors.Op {
	var out []connectors.Op
	for _, op := range a {
		if len(intersect([]connectors.Op{op}, b)) == 0 {
			out = append(out, op)
		}
	}
	return out
}

func opNames(ops []connectors.Op) string {
	var b strings.Builder
	for _, op := range ops {
		b.WriteString(title(string(op)))
	}
	return b.String()
}

// havingOps are the comparisons of aggregates.
func havingOps(t *Type) []connectors.Op {
	return intersect(usualOps(t), []connectors.Op{connectors.OpEq, connectors.OpNe, connectors.OpGt, connectors.OpGte, connectors.OpLt, connectors.OpLte})
}

func havingName(s connectors.Scalar) string { return string(s) + "ComparisonOfGroup" }
