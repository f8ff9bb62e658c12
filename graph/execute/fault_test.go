package execute_test

import (
	"context"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
)

// A cell whose value the scalar has no place for is null and said so; a null of
// the source is only null.
func TestFaultyCells(t *testing.T) {
	w := world(t, "shop")
	r, err := w.Request("human owner", `{ customers(first: 5) { nodes { id country } } }`, "")
	if err != nil {
		t.Fatal(err)
	}
	p, bad := r.Build()
	if bad != nil {
		t.Fatal(bad)
	}
	b := &connectors.Block{Columns: len(p.Steps[0].Select.Columns)}
	for row := range 2 {
		for _, c := range p.Steps[0].Select.Columns {
			v := connectors.Int(int64(row))
			if c.Field == "country" {
				v = connectors.Null
				if row == 1 {
					b.Fault()
				}
			}
			b.AppendCell(v, connectors.ScalarInt)
		}
	}
	e := &execute.Executor{Sources: map[string]connectors.Connector{"crm": canned{b}}}
	out := e.Query(context.Background(), p, r.Bindings())
	if want := `{"customers":{"nodes":[{"id":0,"country":null},{"id":1,"country":null}]}}`; string(out.Data) != want {
		t.Errorf("answered %s", out.Data)
	}
	if len(out.Errors) != 1 || out.Errors[0].Code != connectors.CodeUpstreamError || len(out.Errors[0].Path) != 4 || out.Errors[0].Path[3] != "country" || out.Errors[0].Path[2] != 1 {
		t.Errorf("errors are %+v", out.Errors)
	}
}
