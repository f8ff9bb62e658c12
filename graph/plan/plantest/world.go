// Package plantest is the world that tests of plans, and of everything above
// them, stand on: sources in memory described in a few lines, a policy in its
// own language, and operations validated against the schema of a view.
//
// It is imported by tests only. It must not know how plans are executed, nor
// the gateway.
package plantest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
)

// A World is sources with records, a catalog over them and a policy.
type World struct {
	Catalog *catalog.Catalog
	Engine  *policy.Engine
	Memory  map[string]*connectortest.Memory
	Limits  plan.Limits

	mu      sync.Mutex
	schemas map[string]*ast.Schema
}

// control is what payloads need of the control plane's schema.
const control = `
directive @decides on FIELD_DEFINITION
scalar DateTime
scalar JSON
type Query { viewer: Viewer! }
type Viewer { id: ID! }
type Mutation { approveProposal(id: ID!): Proposal @decides withdrawProposal(id: ID!): Proposal }
type Proposal { id: ID! state: String! }
enum WriteMode { AUTO PREVIEW PROPOSE JOB }
enum WriteOutcome { APPLIED PROPOSED ACCEPTED PREVIEWED NOT_APPLIED UNKNOWN }
input WriteOptions { mode: WriteMode = AUTO idempotencyKey: String reason: String evidence: [EvidenceInput!] notBefore: DateTime expiresAt: DateTime wait: Int }
input EvidenceInput { title: String! text: String url: String }
type WriteError { code: ErrorCode! message: String! path: [String!]! retryable: Boolean! }
type RecordDiff { key: String label: String before: JSON after: JSON fields: [String!]! }
type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }
`

// New reads a world: the files schema (see parseSources), graph.graphql,
// data.json ({"source.collection": [records]}), functions.json
// ({"source.function": answer}), policy.csv and approvals.yaml of an archive.
// control.graphqls takes the place of what payloads need of the control plane.
func New(a *txtar.Archive) (*World, error) {
	files := map[string]string{}
	for _, f := range a.Files {
		files[f.Name] = string(f.Data)
	}
	sources, err := parseSources(files["schema"])
	if err != nil {
		return nil, err
	}
	var codes []string
	for _, c := range connectors.Codes() {
		codes = append(codes, string(c))
	}
	sdl := control + "enum ErrorCode { " + strings.Join(codes, " ") + " }"
	if whole, ok := files["control.graphqls"]; ok {
		sdl = whole
	}
	w := &World{Memory: map[string]*connectortest.Memory{}, schemas: map[string]*ast.Schema{}, Limits: plan.Limits{Cost: 1 << 30}}
	var problems []policy.Problem
	w.Catalog, problems = catalog.Build(sources, []catalog.SDLFile{{Name: "graph.graphql", Text: files["graph.graphql"]}},
		catalog.Options{Control: []*ast.Source{{Name: "control.graphqls", Input: sdl}}})
	if w.Catalog == nil {
		return nil, fmt.Errorf("catalog: %v", problems)
	}
	rights := []policy.File{{Name: "policy.csv", Data: []byte(files["policy.csv"])}}
	if text, ok := files["approvals.yaml"]; ok {
		rights = append(rights, policy.File{Name: "approvals.yaml", Data: []byte(text)})
	}
	w.Engine, problems = policy.Load(rights, catalog.NewBinder(w.Catalog), policy.Options{CatalogVersion: w.Catalog.Version,
		Expand: func(string) (string, error) { return "0123456789abcdef", nil }})
	if w.Engine == nil {
		return nil, fmt.Errorf("policy: %v", problems)
	}
	if err := w.load(sources, files["data.json"]); err != nil {
		return nil, err
	}
	return w, w.functions(files["functions.json"])
}

// valueOf reads JSON as a value of the type.
func valueOf(cell []byte, t connectors.TypeRef) (connectors.Value, error) {
	if !t.List || cell[0] == 'n' {
		return connectors.ParseCell(cell, t.Leaf())
	}
	var items []json.RawMessage
	if err := json.Unmarshal(cell, &items); err != nil {
		return connectors.Value{}, err
	}
	out := connectors.Value{Kind: connectors.KindList}
	for _, item := range items {
		v, err := connectors.ParseCell(item, t.Leaf())
		if err != nil {
			return connectors.Value{}, err
		}
		out.Items = append(out.Items, v)
	}
	return out, nil
}

// functions makes each function answer the same value always.
func (w *World) functions(text string) error {
	answers := map[string]json.RawMessage{}
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &answers); err != nil {
		return fmt.Errorf("functions.json: %w", err)
	}
	for name, answer := range answers {
		source, function, _ := strings.Cut(name, ".")
		if w.Memory[source] == nil {
			return fmt.Errorf("functions.json: there is no source %q", source)
		}
		value, err := valueOf(answer, connectors.TypeRef{Scalar: connectors.ScalarJSON, List: answer[0] == '['})
		if err != nil {
			return fmt.Errorf("functions.json: %s: %w", name, err)
		}
		w.Memory[source].Handle(function, func(context.Context, connectors.Value) (connectors.Value, error) { return value, nil })
	}
	return nil
}

func (w *World) load(sources []catalog.Source, text string) error {
	data := map[string][]map[string]json.RawMessage{}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &data); err != nil {
			return fmt.Errorf("data.json: %w", err)
		}
	}
	for _, s := range sources {
		records := map[string][]connectors.Record{}
		for _, c := range s.Schema.Collections {
			for _, raw := range data[s.Name+"."+c.Name] {
				var r connectors.Record
				for _, f := range c.Fields {
					cell, ok := raw[f.Name]
					if !ok {
						continue
					}
					v, err := valueOf(bytes.TrimSpace(cell), f.Type)
					if err != nil {
						return fmt.Errorf("%s.%s.%s: %w", s.Name, c.Name, f.Name, err)
					}
					r.Fields = append(r.Fields, connectors.Assign{Field: f.Name, Value: v})
				}
				records[c.Name] = append(records[c.Name], r)
			}
		}
		w.Memory[s.Name] = connectortest.NewMemory(s.Schema, records)
	}
	return nil
}

// Sources are the connectors of the world by name.
func (w *World) Sources() map[string]connectors.Connector {
	out := map[string]connectors.Connector{}
	for name, m := range w.Memory {
		out[name] = m
	}
	return out
}

// Principal reads one from text: "human support region=EU n=5", "agent triage".
// Roles come first, then claims; integers are integers.
func Principal(text string) *policy.Principal {
	p := &policy.Principal{ID: "user:" + text, Kind: policy.Human, Name: "test", Tenant: policy.DefaultTenant, Claims: map[string]connectors.Value{}}
	for i, word := range strings.Fields(text) {
		name, value, claim := strings.Cut(word, "=")
		switch {
		case i == 0:
			p.Kind = policy.PrincipalKind(word)
		case !claim:
			p.Roles = append(p.Roles, word)
		default:
			p.Claims[name] = connectors.String(value)
			if v, err := connectors.ParseCell([]byte(value), connectors.ScalarInt); err == nil && v.Kind == connectors.KindInt {
				p.Claims[name] = v
			}
		}
	}
	return p
}

// A Request is an operation of a principal, validated against their schema.
type Request struct {
	Principal *policy.Principal
	View      *policy.View
	Schema    *ast.Schema
	Operation *ast.OperationDefinition
	Variables map[string]any
	world     *World
}

// Schema is the schema of a view; one per shape.
func (w *World) Schema(v *policy.View) (*ast.Schema, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.schemas[v.Shape]; s != nil {
		return s, nil
	}
	s, err := w.Catalog.Schema(v)
	if err == nil {
		w.schemas[v.Shape] = s
	}
	return s, err
}

// ErrInvalid wraps what the validator refuses.
var ErrInvalid = errors.New("the document is not valid")

// Request parses and validates a document for a principal. variables are JSON.
func (w *World) Request(principal, document, variables string) (*Request, error) {
	r := &Request{Principal: Principal(principal), world: w}
	r.View = w.Engine.View(r.Principal)
	var err error
	if r.Schema, err = w.Schema(r.View); err != nil {
		return nil, err
	}
	doc, err := parser.ParseQuery(&ast.Source{Input: document})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if errs := validator.ValidateWithRules(r.Schema, doc, rules.NewDefaultRules()); len(errs) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, errs)
	}
	if len(doc.Operations) == 0 {
		return nil, fmt.Errorf("%w: no operation", ErrInvalid)
	}
	r.Operation = doc.Operations[0]
	if strings.TrimSpace(variables) != "" {
		dec := json.NewDecoder(strings.NewReader(variables))
		dec.UseNumber()
		if err := dec.Decode(&r.Variables); err != nil {
			return nil, fmt.Errorf("%w: variables: %w", ErrInvalid, err)
		}
	}
	return r, nil
}

// Build plans the request.
func (r *Request) Build() (*plan.Plan, *connectors.Error) {
	return plan.Build(plan.Input{Catalog: r.world.Catalog, View: r.View, Schema: r.Schema, Operation: r.Operation,
		Variables: r.Variables, Limits: r.world.Limits, Sealer: Sealer{}})
}

// Now is the clock of every request.
var Now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Bindings are the values of the request.
func (r *Request) Bindings() *plan.Bindings {
	b := &plan.Bindings{Operation: r.Operation, Variables: r.Variables, Tenant: r.Principal.Tenant,
		Authority: r.View.Authority, Version: r.world.Catalog.Version, Sealer: Sealer{}}
	b.Params, b.Missing = r.View.Bind(r.Principal, Now)
	return b
}

// Key is what a cache of plans would hold the plan under.
func (r *Request) Key() string {
	return r.View.Authority + "\x00" + string(plan.AppendSkeleton(nil, r.Schema, r.Operation, r.Variables, Sealer{}))
}

// Sealer is a sealer without a secret: readable in golden files, and it refuses
// what it did not make.
type Sealer struct{}

// Seal marks and encodes.
func (Sealer) Seal(plain []byte) string { return "s" + base64.RawURLEncoding.EncodeToString(plain) }

// Digest is short, and differs for what differs.
func (Sealer) Digest(value []byte) string {
	sum := sha256.Sum256(append([]byte("plantest\x00"), value...))
	return hex.EncodeToString(sum[:16])
}

// Open is the inverse of Seal.
func (Sealer) Open(sealed string) ([]byte, error) {
	if !strings.HasPrefix(sealed, "s") {
		return nil, errors.New("not sealed here")
	}
	return base64.RawURLEncoding.DecodeString(sealed[1:])
}
