package gateway

import (
	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/graph/generated"
	"github.com/countersign/countersign/policy"
)

// How much is kept, per snapshot or schema. What falls out is made again.
const (
	maxShapes    = 256
	maxStates    = 1024
	maxDocuments = 1000
	maxPlans     = 64
)

// A Snapshot is everything that decides what a request may see and do. It is
// immutable: a reload makes another one, and operations under way finish on
// the one they began with.
type Snapshot struct {
	Catalog *catalog.Catalog
	Policy  *policy.Engine
	// Trusted are the documents of the configuration; nil: none.
	Trusted *Trusted

	// principals are those of the last moments: identities are looked up anew
	// every second, and are the same pointer until then.
	principals *generations[*policy.Principal, *viewState]
	states     *generations[*policy.View, *viewState]
	shapes     *generations[string, *viewSchema]
}

// NewSnapshot puts a catalog and the policy bound to it together.
func NewSnapshot(c *catalog.Catalog, e *policy.Engine) *Snapshot {
	return &Snapshot{Catalog: c, Policy: e,
		principals: newGenerations[*policy.Principal, *viewState](maxStates),
		states:     newGenerations[*policy.View, *viewState](maxStates),
		shapes:     newGenerations[string, *viewSchema](maxShapes)}
}

// WithTrusted is the snapshot with trusted documents; s is not used any more.
func (s *Snapshot) WithTrusted(t *Trusted) *Snapshot {
	s.Trusted = t
	return s
}

// A viewState is what a request of a view needs: the schema of its shape, and
// its limits.
type viewState struct {
	view   *policy.View
	schema *viewSchema
	limits Limits
}

// A viewSchema is the GraphQL schema of one shape, with the documents that were
// validated against it and the control plane that answers introspection for it.
type viewSchema struct {
	schema  *ast.Schema
	rules   *rules.Rules
	docs    *generations[string, *document]
	control graphql.ExecutableSchema
}

// state answers the view of a principal and what goes with it.
func (g *Gateway) state(s *Snapshot, p *policy.Principal) (*viewState, error) {
	if st, ok := s.principals.get(p); ok {
		return st, nil
	}
	st, err := g.stateOf(s, p)
	if err == nil {
		s.principals.put(p, st)
	}
	return st, err
}

func (g *Gateway) stateOf(s *Snapshot, p *policy.Principal) (*viewState, error) {
	view := s.Policy.View(p)
	if st, ok := s.states.get(view); ok {
		return st, nil
	}
	vs, ok := s.shapes.get(view.Shape)
	if !ok {
		schema, err := s.Catalog.Schema(view)
		if err != nil {
			return nil, connectors.Errorf(connectors.CodeInternal, "the schema of this view cannot be made").WithCause(err)
		}
		vs = &viewSchema{schema: schema, rules: quietRules(), docs: newGenerations[string, *document](maxDocuments),
			control: generated.NewExecutableSchema(generated.Config{Schema: schema, Resolvers: g.cfg.Control})}
		s.shapes.put(view.Shape, vs)
	}
	st := &viewState{view: view, schema: vs, limits: g.cfg.Limits.For(p, func(q *policy.Principal) []string { return s.Policy.View(q).Roles })}
	s.states.put(view, st)
	return st, nil
}

// document answers the parsed document of a text, from the cache or made now.
// A document that was refused is not kept: its text is the client's.
func (st *viewState) document(text string, c *catalog.Catalog) (*document, []Error) {
	if doc, ok := st.schema.docs.get(text); ok {
		return doc, st.within(doc)
	}
	doc, errs := st.schema.parse(text, st.limits, c)
	if errs != nil {
		return nil, errs
	}
	st.schema.docs.put(text, doc)
	return doc, nil
}

// within checks a cached document against the limits of this caller: another
// one of the same shape may have had larger ones.
func (st *viewState) within(doc *document) []Error {
	if doc.tokens > st.limits.Tokens {
		return refuse(connectors.CodeCostExceeded, "the document has more than %d tokens", st.limits.Tokens)
	}
	for _, op := range doc.operations {
		if errs := op.within(st.limits); errs != nil {
			return errs
		}
	}
	return nil
}
