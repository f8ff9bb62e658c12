package execute_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/plan/plantest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scripted answers queries by a function, whatever they ask.
type scripted struct {
	canned
	query func(context.Context, *connectors.Query) (connectors.Rows, error)
}

func (s scripted) Query(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	return s.query(ctx, q)
}

func block(columns int, cells ...string) *connectors.Block {
	b := &connectors.Block{Columns: columns}
	for _, c := range cells {
		b.Data = append(b.Data, c...)
		b.EndCell()
	}
	return b
}

func ask(t *testing.T, w *plantest.World, e *execute.Executor, document, variables string) execute.Result {
	t.Helper()
	r, p := planned(t, w, "human owner", document, variables)
	out := e.Query(context.Background(), p, r.Bindings())
	if !json.Valid(out.Data) {
		t.Fatalf("no JSON: %s", out.Data)
	}
	return out
}

func wants(t *testing.T, out execute.Result, data string, codes ...connectors.Code) {
	t.Helper()
	if string(out.Data) != data {
		t.Errorf("data %s\nwanted %s", out.Data, data)
	}
	var got []string
	for _, e := range out.Errors {
		got = append(got, string(e.Code))
	}
	var want []string
	for _, c := range codes {
		want = append(want, string(c))
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("errors %v, wanted %v", out.Errors, codes)
	}
}

func crmOf(c connectors.Connector) *execute.Executor {
	return &execute.Executor{Sources: map[string]connectors.Connector{"crm": c}}
}

// A null where none can be takes what holds it, up to the first that can be
// null, and is told once with its path.
func TestNullPropagates(t *testing.T) {
	w := world(t, "shop")
	e := crmOf(canned{block(2, "1", `"Ada"`, "2", "null")})
	out := ask(t, w, e, `{ customers { nodes { id name } } }`, "")
	wants(t, out, `{"customers":null}`, connectors.CodeUpstreamError)
	if path, _ := json.Marshal(out.Errors[0].Path); string(path) != `["customers","nodes",1,"name"]` {
		t.Errorf("path %s", path)
	}
	e = crmOf(canned{block(2, "1", "null")})
	wants(t, ask(t, w, e, `{ customer(id: 1) { id name } orders: customer(id: 1) { id country } }`, ""),
		`{"customer":null,"orders":{"id":1,"country":null}}`, connectors.CodeUpstreamError)
}

// A value that the enum does not have, or that is not of a member's type, is
// null with an error that names the source.
func TestForeignValues(t *testing.T) {
	w := world(t, "shop")
	e := crmOf(canned{block(1, `"lost"`)})
	wants(t, ask(t, w, e, `{ orders { nodes { status } } }`, ""), `{"orders":null}`, connectors.CodeUpstreamError)
	desk := func(cell string) *execute.Executor {
		return &execute.Executor{Sources: map[string]connectors.Connector{"desk": canned{block(1, cell)}}}
	}
	for cell, want := range map[string]string{
		`{"name":"A","age":"x"}`:                     `{"tickets":{"nodes":[{"reporter":{"name":"A","age":null,"tags":null}}]}}`,
		`{"name":"A","age":5e9}`:                     `{"tickets":{"nodes":[{"reporter":{"name":"A","age":null,"tags":null}}]}}`,
		`{"age":1}`:                                  `{"tickets":{"nodes":[{"reporter":null}]}}`,
		`"text"`:                                     `{"tickets":{"nodes":[{"reporter":null}]}}`,
		`{"name":"A","tags":["x",null]}`:             `{"tickets":{"nodes":[{"reporter":{"name":"A","age":null,"tags":null}}]}}`,
		`{"name":"A","tags":{"a":1}}`:                `{"tickets":{"nodes":[{"reporter":{"name":"A","age":null,"tags":null}}]}}`,
		`{"na\u006de":"A","tags" : [ "x" , "]" ]  }`: `{"tickets":{"nodes":[{"reporter":{"name":"A","age":null,"tags":["x","]"]}}]}}`,
	} {
		out := ask(t, w, desk(cell), `{ tickets { nodes { reporter { name age tags } } } }`, "")
		if string(out.Data) != want {
			t.Errorf("%s: %s\nwanted %s", cell, out.Data, want)
		}
		if strings.Contains(cell, "u006d") == (len(out.Errors) > 0) {
			t.Errorf("%s: errors %v", cell, out.Errors)
		}
	}
}

// A source that answers in another shape than it was asked for is an error, not
// a crash or another's data.
func TestWrongShapes(t *testing.T) {
	w := world(t, "shop")
	document := `{ customers { nodes { id orders { nodes { id } } } } }`
	parents := block(1, "1", "2")
	for name, child := range map[string]*connectors.Block{
		"columns":       {Columns: 2, Data: []byte("11"), Ends: []uint32{1, 2}, Bind: []uint32{0}},
		"no ordinals":   block(1, "1"),
		"beyond":        {Columns: 1, Data: []byte("1"), Ends: []uint32{1}, Bind: []uint32{7}},
		"apart":         {Columns: 1, Data: []byte("123"), Ends: []uint32{1, 2, 3}, Bind: []uint32{0, 1, 0}},
		"half a record": {Columns: 1, Data: []byte("12"), Ends: []uint32{1, 2}, Bind: []uint32{0}},
	} {
		e := crmOf(scripted{query: func(_ context.Context, q *connectors.Query) (connectors.Rows, error) {
			if q.Select.Collection == "orders" {
				return connectors.BlocksOf(child), nil
			}
			return connectors.BlocksOf(parents), nil
		}})
		out := ask(t, w, e, document, "")
		if want := `{"customers":{"nodes":[{"id":1,"orders":null},{"id":2,"orders":null}]}}`; string(out.Data) != want || len(out.Errors) != 1 {
			t.Errorf("%s: %s %v", name, out.Data, out.Errors)
		}
	}
}

// Rows of several blocks, and entries in any order, come to where they belong.
func TestBlocksAndOrdinals(t *testing.T) {
	w := world(t, "shop")
	e := crmOf(scripted{query: func(_ context.Context, q *connectors.Query) (connectors.Rows, error) {
		if q.Select.Collection == "orders" {
			a, b := block(1, "20", "21"), block(1, "10")
			a.Bind, b.Bind = []uint32{1, 1}, []uint32{0}
			return connectors.BlocksOf(a, b), nil
		}
		return connectors.BlocksOf(block(1, "1"), block(1, "2", "3")), nil
	}})
	wants(t, ask(t, w, e, `{ customers { nodes { id orders { nodes { id } } } } }`, ""),
		`{"customers":{"nodes":[{"id":1,"orders":{"nodes":[{"id":10}]}},{"id":2,"orders":{"nodes":[{"id":20},{"id":21}]}},{"id":3,"orders":{"nodes":[]}}]}}`)
}

// An answer that is too large, or an operation that reads too much, ends with
// its code.
func TestLimits(t *testing.T) {
	w := world(t, "shop")
	e := crmOf(cannedRows(1000, 2))
	e.Limits.Bytes = 2000
	wants(t, ask(t, w, e, `{ customers { nodes { id name } } }`, ""), "null", connectors.CodeTooLarge)
	e = crmOf(cannedRows(1000, 2))
	e.Limits.Rows = 999
	wants(t, ask(t, w, e, `{ customers { nodes { id name } } }`, ""), `{"customers":null}`, connectors.CodeRowCapExceeded)
}

// A source that never answers ends with the operation's time; the others stand.
func TestTimeout(t *testing.T) {
	w := world(t, "shop")
	e := &execute.Executor{Sources: w.Sources()}
	e.Sources["desk"] = scripted{query: func(ctx context.Context, _ *connectors.Query) (connectors.Rows, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	e.Limits.Timeout = 50 * time.Millisecond
	wants(t, ask(t, w, e, `{ tickets { nodes { id } } customers(first: 1) { nodes { id } } }`, ""),
		`{"tickets":null,"customers":{"nodes":[{"id":1}]}}`, connectors.CodeTimeout)
}

// Statements of one operation on one source see one snapshot, which ends with
// the last of them; a single statement takes none.
func TestSnapshots(t *testing.T) {
	w := world(t, "shop")
	var mu sync.Mutex
	tokens := map[*connectors.Snapshot]int{}
	w.Memory["crm"].OnQuery = func(q *connectors.Query) {
		mu.Lock()
		defer mu.Unlock()
		tokens[q.Snapshot]++
	}
	e := &execute.Executor{Sources: w.Sources()}
	ask(t, w, e, `{ customers { nodes { id } } }`, "")
	if tokens[nil] != 1 || len(tokens) != 1 {
		t.Errorf("a single statement: %v", tokens)
	}
	clear(tokens)
	ask(t, w, e, `{ customers { nodes { id orders { nodes { id orderLines { nodes { qty } } } totalCount } } } orders { totalCount } }`, "")
	if len(tokens) != 1 || tokens[nil] != 0 {
		t.Errorf("five statements on one source: %v", tokens)
	}
	for token, n := range tokens {
		if n != 5 {
			t.Errorf("%d statements", n)
		}
		if _, live := token.Lock(); live {
			t.Error("the snapshot was not ended")
		}
	}
}

// A snapshot is never held while another source is waited for: the tickets
// answer only after the orders, of the same level, were read. What is read
// behind them is in a snapshot of its own.
func TestSnapshotIsNotHeldForAnotherSource(t *testing.T) {
	w := world(t, "shop")
	var crm []*connectors.Snapshot
	counted := make(chan struct{})
	w.Memory["crm"].OnQuery = func(q *connectors.Query) {
		if crm = append(crm, q.Snapshot); len(crm) == 2 {
			close(counted)
		}
	}
	desk := w.Memory["desk"]
	e := &execute.Executor{Sources: w.Sources()}
	e.Sources["desk"] = scripted{query: func(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
		select {
		case <-counted:
			return desk.Query(ctx, q)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	out := ask(t, w, e, `{ customers(first: 2) { nodes { tickets { nodes { customer { id orders { totalCount } } } } orders { totalCount } } } }`, "")
	if len(out.Errors) > 0 {
		t.Fatal(out.Errors)
	}
	if len(crm) != 4 || crm[0] != crm[1] || crm[2] != crm[3] || crm[0] == crm[2] {
		t.Errorf("snapshots %v", crm)
	}
}

// One call per level, in parts where the source takes only so many keys, with
// each key once.
func TestBatches(t *testing.T) {
	w := world(t, "shop")
	var sizes []int
	w.Memory["desk"].OnQuery = func(q *connectors.Query) { sizes = append(sizes, len(q.Bind)) }
	e := &execute.Executor{Sources: w.Sources()}
	ask(t, w, e, `{ orders { nodes { customer { tickets { nodes { id } } } } } }`, "")
	if len(sizes) != 2 || sizes[0]+sizes[1] != 3 {
		t.Errorf("calls %v: three customers have orders, and two keys are the most", sizes)
	}
}

// A source that fails is asked no more within its snapshot, and told where it
// is first met.
func TestOneFailureEndsTheSource(t *testing.T) {
	w := world(t, "shop")
	w.Memory["crm"].Inject(connectortest.Fault{On: connectortest.OnQuery, Times: 1, Before: func(context.Context) error {
		return connectors.Errorf(connectors.CodeUpstreamError, "it broke")
	}})
	e := &execute.Executor{Sources: w.Sources()}
	wants(t, ask(t, w, e, `{ customers { nodes { id } totalCount } }`, ""), `{"customers":null}`, connectors.CodeUpstreamError)
	if n := w.Memory["crm"].Calls(connectortest.OnQuery); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// A source that is not configured (any more) is unavailable, not a crash.
func TestNoSource(t *testing.T) {
	w := world(t, "shop")
	wants(t, ask(t, w, &execute.Executor{}, `{ customers { nodes { id } } }`, ""), `{"customers":null}`, connectors.CodeUpstreamUnavailable)
}

// Many operations at once share plans and pools.
func TestConcurrent(t *testing.T) {
	w := world(t, "shop")
	e := &execute.Executor{Sources: w.Sources()}
	r, p := planned(t, w, "human owner", `{ customers { nodes { id orders { nodes { id } } tickets { nodes { id customer { id } } } } } tickets { totalCount } }`, "")
	want := answer(e, r, p)
	var wg sync.WaitGroup
	for range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 20 {
				if got := answer(e, r, p); got != want {
					t.Errorf("%s\nwanted %s", got, want)
				}
			}
		}()
	}
	wg.Wait()
}
