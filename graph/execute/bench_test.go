package execute_test

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
)

// canned answers every query with the same block.
type canned struct{ block *connectors.Block }

func (c canned) Describe(context.Context) (*connectors.Schema, error) { return nil, nil }

func (c canned) Query(context.Context, *connectors.Query) (connectors.Rows, error) {
	return &once{c.block}, nil
}

func (c canned) Preview(context.Context, *connectors.Permit, *connectors.Change) (*connectors.Effect, error) {
	return nil, nil
}

func (c canned) Apply(context.Context, *connectors.Permit, *connectors.Change) (*connectors.Effect, error) {
	return nil, nil
}

func (c canned) Watch(context.Context, *connectors.Query) iter.Seq2[*connectors.Event, error] {
	return nil
}

func (c canned) Close() error { return nil }

type once struct{ block *connectors.Block }

func (o *once) Next(context.Context) (*connectors.Block, error) {
	b := o.block
	o.block = nil
	return b, nil
}

func (o *once) Close() error { return nil }

func cannedRows(rows, columns int) canned {
	b := &connectors.Block{Columns: columns}
	for i := range rows * columns {
		b.Data = fmt.Appendf(b.Data, `"value %d"`, i)
		b.EndCell()
	}
	return canned{b}
}

// allocations is how often an operation allocates, plan and request being there.
func allocations(t *testing.T, document, variables string, source connectors.Connector) float64 {
	w := world(t, "shop")
	r, err := w.Request("human owner", document, variables)
	if err != nil {
		t.Fatal(err)
	}
	p, bad := r.Build()
	if bad != nil {
		t.Fatal(bad)
	}
	e := &execute.Executor{Sources: map[string]connectors.Connector{"crm": source}}
	in := r.Bindings()
	return testing.AllocsPerRun(200, func() {
		out := e.Query(context.Background(), p, in)
		if len(out.Errors) > 0 {
			t.Fatal(out.Errors)
		}
		out.Release()
	})
}

const (
	pointRead = `query ($id: Int!) { customer(id: $id) { id name email region } }`
	listOf50  = `{ customers(first: 50) { nodes { id name email region country credit } } }`
)

// The point read is what most requests are; a list must not allocate per cell.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates: the numbers are asserted without it")
		return
	}
	if n := allocations(t, pointRead, `{"id": 1}`, cannedRows(1, 4)); n > 40 {
		t.Errorf("a point read allocates %v times", n)
	}
	few := allocations(t, listOf50, "", cannedRows(1, 6))
	many := allocations(t, listOf50, "", cannedRows(50, 6))
	if many > few+2 {
		t.Errorf("50 rows allocate %v times, one row %v times", many, few)
	}
}

func benchmark(b *testing.B, document, variables string, source connectors.Connector) {
	w := world(b, "shop")
	r, err := w.Request("human owner", document, variables)
	if err != nil {
		b.Fatal(err)
	}
	p, bad := r.Build()
	if bad != nil {
		b.Fatal(bad)
	}
	e := &execute.Executor{Sources: map[string]connectors.Connector{"crm": source}}
	in := r.Bindings()
	b.ReportAllocs()
	for b.Loop() {
		out := e.Query(context.Background(), p, in)
		out.Release()
	}
}

func BenchmarkPointRead(b *testing.B) { benchmark(b, pointRead, `{"id": 1}`, cannedRows(1, 4)) }
func BenchmarkListOf50(b *testing.B)  { benchmark(b, listOf50, "", cannedRows(50, 6)) }

// BenchmarkBuild is what an operation costs the first time.
func BenchmarkBuild(b *testing.B) {
	w := world(b, "shop")
	r, err := w.Request("human owner", `query ($f: CustomerFilter, $n: Int) { customers(filter: $f, first: $n) { nodes { id name orders(first: 3) { nodes { id total } totalCount } } } }`,
		`{"f": {"region": {"eq": "EU"}}, "n": 5}`)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, bad := r.Build(); bad != nil {
			b.Fatal(bad)
		}
	}
}

// BenchmarkSkeleton is what every request pays to find its plan.
func BenchmarkSkeleton(b *testing.B) {
	w := world(b, "shop")
	r, err := w.Request("human owner", pointRead, `{"id": 1}`)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = r.Key()
	}
}
