package execute_test

import (
	"context"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/plan/plantest"
)

// readsBack answers the reads of a change together with its effect, as a
// connector that can does.
type readsBack struct {
	connectors.Connector
	asked *int // by the caller itself
	given *int // with effects
}

func (c readsBack) Query(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	*c.asked++
	return c.Connector.Query(ctx, q)
}

func (c readsBack) Apply(ctx context.Context, p *connectors.Permit, change *connectors.Change) (*connectors.Effect, error) {
	effect, err := c.Connector.Apply(ctx, p, change)
	if err != nil {
		return effect, err
	}
	for _, q := range change.Reads {
		rows, err := c.Connector.Query(ctx, q)
		if err != nil {
			return nil, err
		}
		block, err := rows.Next(ctx)
		if err != nil {
			return nil, err
		}
		if block == nil {
			block = &connectors.Block{Columns: len(q.Select.Columns)}
		}
		effect.Reads = append(effect.Reads, block)
		*c.given++
	}
	return effect, nil
}

// What comes with the effect is the answer that asking afterwards gives, and
// then nothing is asked. Readings that share a snapshot, and those of several or
// unknown records, are asked for afterwards.
func TestReadsComeWithTheEffect(t *testing.T) {
	for document, given := range map[string]int{
		`mutation { updateCustomer(id: 1, patch: {name: "x"}) { outcome customer { id name email region } } }`:                                     1,
		`mutation { updateCustomer(id: 1, patch: {name: "x"}) { a: customer { id } b: customer { name } } }`:                                       0,
		`mutation { updateCustomer(id: 1, patch: {name: "x"}) { outcome } }`:                                                                       0,
		`mutation { updateCustomer(id: 99, patch: {name: "x"}) { outcome customer { id } errors { code } } }`:                                      0,
		`mutation { a: updateCustomer(id: 1, patch: {name: "x"}) { customer { name } } b: updateCustomer(id: 2, patch: {name: "y"}) { outcome } }`: 0,
		`mutation { updateCustomers(filter: {id: {eq: 1}}, patch: {name: "x"}) { customers { id name } } }`:                                        0,
	} {
		plain, _, _ := written(t, document, false)
		together, asked, n := written(t, document, true)
		if plain != together {
			t.Errorf("%s\nasked afterwards: %s\nwith the effect:  %s", document, plain, together)
		}
		if n != given || given > 0 && asked != 0 {
			t.Errorf("%s: %d came with the effect, %d were asked for", document, n, asked)
		}
	}
}

func written(t *testing.T, document string, together bool) (answer string, asked, given int) {
	t.Helper()
	w := world(t, "shop")
	e, _ := executor(t, w)
	if together {
		e.Sources["crm"] = readsBack{e.Sources["crm"], &asked, &given}
	}
	return applied(t, w, e, document), asked, given
}

func applied(t *testing.T, w *plantest.World, e *execute.Executor, document string) string {
	t.Helper()
	r, p := planned(t, w, "human owner", document, "")
	m, bad := e.Prepare(t.Context(), p, r.Bindings())
	if bad != nil {
		t.Fatal(bad)
	}
	defer m.Close()
	m.Apply(t.Context())
	return rendered(m)
}
