package guard_test

import (
	"context"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/guard"
)

func memory() *connectortest.Memory {
	return connectortest.NewMemory(connectortest.FullSchema(connectortest.SuiteCollections()...), connectortest.SuiteData())
}

func artists() *connectors.Query {
	return &connectors.Query{Select: (&connectors.Select{Collection: connectortest.Artists, Columns: []connectors.Column{{Field: "id"}}}).Seal()}
}

// TestConforms: a guarded connector does all that the connector does.
func TestConforms(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{Open: func(testing.TB) connectors.Connector {
		return guard.Wrap(memory(), guard.Limits{Deadline: time.Minute, Concurrent: 32, Wait: time.Minute})
	}})
}

func TestDeadlineEndsEachCall(t *testing.T) {
	ctx := context.Background()
	change := &connectors.Change{Steps: []connectors.Step{{ID: "a", Kind: connectors.Delete, Collection: connectortest.Artists,
		Key: []connectors.Assign{{Field: "id", Value: connectors.Int(14)}}}}}
	for point, call := range map[connectortest.FaultPoint]func(connectors.Connector) error{
		connectortest.OnDescribe: func(c connectors.Connector) error { _, err := c.Describe(ctx); return err },
		connectortest.OnQuery:    func(c connectors.Connector) error { _, err := c.Query(ctx, artists()); return err },
		connectortest.OnPreview:  func(c connectors.Connector) error { _, err := c.Preview(ctx, nil, change); return err },
		connectortest.OnApply:    func(c connectors.Connector) error { _, err := c.Apply(ctx, nil, change); return err },
	} {
		m := memory()
		m.Inject(connectortest.Hold(point, nil, nil)) // for ever
		if err := call(guard.Deadline(m, time.Millisecond)); connectors.CodeOf(err) != connectors.CodeTimeout {
			t.Errorf("%s without an end: %v", point, err)
		}
		m.Heal()
		if err := call(guard.Deadline(m, time.Hour)); err != nil {
			t.Errorf("%s in time: %v", point, err)
		}
	}
	m := memory()
	m.Inject(connectortest.Hold(connectortest.OnQuery, nil, nil))
	q := artists()
	q.Select.Timeout = time.Millisecond
	if _, err := guard.Deadline(m, time.Hour).Query(ctx, q); connectors.CodeOf(err) != connectors.CodeTimeout {
		t.Errorf("a shorter timeout of the query: %v", err)
	}
	m.Heal()
	m.Inject(connectortest.Hold(connectortest.OnApply, nil, nil))
	change.Deadline = time.Millisecond
	if _, err := guard.Deadline(m, time.Hour).Apply(ctx, nil, change); connectors.CodeOf(err) != connectors.CodeTimeout {
		t.Errorf("a shorter deadline of the change: %v", err)
	}
}

// slowRows never have a next block before their context ends.
type slowRows struct {
	connectors.Connector
	query context.Context
}

func (s *slowRows) Query(ctx context.Context, _ *connectors.Query) (connectors.Rows, error) {
	s.query = ctx
	return s, nil
}

func (s *slowRows) Next(ctx context.Context) (*connectors.Block, error) {
	<-ctx.Done()
	return nil, connectors.AsError(ctx.Err())
}

func (s *slowRows) Close() error { return nil }

func TestDeadlineCoversTheRows(t *testing.T) {
	slow := &slowRows{}
	rows, err := guard.Deadline(slow, 10*time.Millisecond).Query(context.Background(), artists())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rows.Next(context.Background()); connectors.CodeOf(err) != connectors.CodeTimeout {
		t.Errorf("a block that never comes: %v", err)
	}
	rows, err = guard.Deadline(slow, time.Hour).Query(context.Background(), artists())
	if err != nil {
		t.Fatal(err)
	}
	if slow.query.Err() != nil {
		t.Error("the query's context ended before the rows were closed")
	}
	rows.Close()
	if slow.query.Err() == nil {
		t.Error("closed rows keep the query's context")
	}
}

func TestBulkheadIsFull(t *testing.T) {
	ctx := context.Background()
	m := memory()
	c := guard.Bulkhead(m, 2, time.Millisecond)
	open := make([]connectors.Rows, 2)
	for i := range open {
		var err error
		if open[i], err = c.Query(ctx, artists()); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Apply(ctx, nil, &connectors.Change{})
	if e := connectors.AsError(err); e == nil || e.Code != connectors.CodeUpstreamUnavailable || e.RetryAfter != time.Millisecond || !e.Code.Retryable() {
		t.Errorf("a third call: %v", err)
	}
	if m.Calls(connectortest.OnApply) != 0 {
		t.Error("a refused call reached the connector")
	}
	// Rows that have ended give their place back, and closing them does not
	// give it back again.
	for b, err := open[0].Next(ctx); b != nil; b, err = open[0].Next(ctx) {
		if err != nil {
			t.Fatal(err)
		}
	}
	open[0].Close()
	open[0].Close()
	third, err := c.Query(ctx, artists())
	if err != nil {
		t.Fatalf("a call after one has ended: %v", err)
	}
	if _, err := c.Describe(ctx); connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable {
		t.Errorf("a place was given back twice: %v", err)
	}
	third.Close()
	open[1].Close()
	if _, err := c.Describe(ctx); err != nil {
		t.Errorf("a call after all have ended: %v", err)
	}
	// A failing call gives its place back too.
	for range 5 {
		if _, err := c.Query(ctx, &connectors.Query{}); connectors.CodeOf(err) != connectors.CodeBadInput {
			t.Errorf("a query of nothing: %v", err)
		}
	}
}

func TestBulkheadWaits(t *testing.T) {
	ctx := context.Background()
	m := memory()
	c := guard.Bulkhead(m, 1, time.Hour)
	rows, err := c.Query(ctx, artists())
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Describe(ended); connectors.CodeOf(err) != connectors.CodeTimeout {
		t.Errorf("waiting under a context that has ended: %v", err)
	}
	done := make(chan error)
	go func() { _, err := c.Describe(ctx); done <- err }()
	rows.Close()
	if err := <-done; err != nil {
		t.Errorf("a call that waited: %v", err)
	}
}
