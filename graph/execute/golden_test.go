package execute_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/graph/plan/plantest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A case is a txtar file: its comment names the world ("world shop"), then
//
//	as         the principal: kind, roles, claims
//	query      the document
//	variables  JSON; may be missing
//	fail       "source code": the source fails with it; may be missing
//	plan       the plan, or why there is none
//	answer     data and errors
func TestCases(t *testing.T) { connectortest.Golden(t, "testdata/cases/*.txtar", *update, runCase) }

func runCase(t *testing.T, a *txtar.Archive) *txtar.Archive {
	world := world(t, strings.Fields(string(a.Comment))[1])
	parts := map[string]string{}
	for _, f := range a.Files {
		parts[f.Name] = strings.TrimSpace(string(f.Data))
	}
	fail(t, world, parts["fail"])
	text, answer := play(t, world, parts)
	connectortest.WithoutParts(a, "plan", "answer")
	connectortest.SetPart(a, "plan", text)
	connectortest.SetPart(a, "answer", answer)
	return a
}

func world(t testing.TB, name string) *plantest.World {
	t.Helper()
	return worldWith(t, name, func(data string) string { return data })
}

// worldWith is a world with other records.
func worldWith(t testing.TB, name string, change func(data string) string) *plantest.World {
	t.Helper()
	a, err := txtar.ParseFile("testdata/worlds/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Files {
		if a.Files[i].Name == "data.json" {
			a.Files[i].Data = []byte(change(string(a.Files[i].Data)))
		}
	}
	w, err := plantest.New(a)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func fail(t *testing.T, w *plantest.World, text string) {
	t.Helper()
	if text == "" {
		return
	}
	source, code, _ := strings.Cut(text, " ")
	w.Memory[source].Inject(connectortest.Fault{On: connectortest.OnQuery, Before: func(context.Context) error {
		return connectors.Errorf(connectors.Code(code), "it failed")
	}})
}

// play plans and executes; texts are made to be read.
func play(t testing.TB, w *plantest.World, parts map[string]string) (planned, answer string) {
	t.Helper()
	r, err := w.Request(parts["as"], parts["query"], parts["variables"])
	if errors.Is(err, plantest.ErrInvalid) {
		return "invalid\n", err.Error() + "\n"
	}
	if err != nil {
		t.Fatal(err)
	}
	p, bad := r.Build()
	if bad != nil {
		return "refused\n", string(bad.Code) + " " + strings.Join(bad.Path, ".") + ": " + bad.Message + "\n"
	}
	e, close := executor(t, w)
	defer close()
	return p.String(), pretty(t, run(t, e, r, p))
}

func executor(t testing.TB, w *plantest.World) (*execute.Executor, func()) {
	t.Helper()
	gate, issuer := connectors.NewGate(nil)
	e := &execute.Executor{Sources: map[string]connectors.Connector{}, Issuer: issuer}
	for name, c := range w.Sources() {
		e.Sources[name] = gate.Wrap(name, c)
	}
	return e, func() {}
}

// run answers as a gateway would: direct writes are done, others previewed and
// proposed.
func run(t testing.TB, e *execute.Executor, r *plantest.Request, p *plan.Plan) execute.Result {
	t.Helper()
	ctx := context.Background()
	if p.Kind != "mutation" {
		return e.Query(ctx, p, r.Bindings())
	}
	in := r.Bindings()
	options, bad := p.WriteOptions(in, nil)
	if bad != nil {
		return execute.Result{Data: []byte("null"), Errors: []execute.GraphQLError{execute.ErrorOf(bad, nil)}}
	}
	m, bad := e.Prepare(ctx, p, in)
	if bad != nil {
		return execute.Result{Data: []byte("null"), Errors: []execute.GraphQLError{execute.ErrorOf(bad, nil)}}
	}
	defer m.Close()
	switch {
	case m.Refused():
	case options.Mode == plan.ModePreview:
		m.Preview(ctx)
	case m.NeedsProposal() || options.Mode == plan.ModePropose:
		if m.Preview(ctx); !m.Refused() {
			m.Proposed("p1", false)
		}
	default:
		m.Apply(ctx)
	}
	return m.Render(ctx, func(_ *plan.RawSelection, id string) ([]byte, []execute.GraphQLError) {
		return []byte(`{"id":"` + id + `"}`), nil
	})
}

func pretty(t testing.TB, r execute.Result) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, r.Data, "", "  "); err != nil {
		t.Fatalf("the answer is no JSON: %v\n%s", err, r.Data)
	}
	b.WriteByte('\n')
	for _, e := range r.Errors {
		path, _ := json.Marshal(e.Path)
		b.WriteString("error " + string(e.Code) + " " + string(path))
		if e.Source != "" {
			b.WriteString(" " + e.Source)
		}
		if len(e.Input) > 0 {
			b.WriteString(" input " + strings.Join(e.Input, "."))
		}
		b.WriteString(": " + e.Message + "\n")
	}
	return b.String()
}

// planned is a request with its plan.
func planned(t testing.TB, w *plantest.World, who, document, variables string) (*plantest.Request, *plan.Plan) {
	t.Helper()
	r, err := w.Request(who, document, variables)
	if err != nil {
		t.Fatal(err)
	}
	p, bad := r.Build()
	if bad != nil {
		t.Fatal(bad)
	}
	return r, p
}
