package connectors_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
)

// counter is a connector that counts what reaches it.
type counter struct {
	connectors.Connector
	previews, applies atomic.Int64
}

func (c *counter) Preview(context.Context, *connectors.Permit, *connectors.Change) (*connectors.Effect, error) {
	c.previews.Add(1)
	return &connectors.Effect{}, nil
}

func (c *counter) Apply(context.Context, *connectors.Permit, *connectors.Change) (*connectors.Effect, error) {
	c.applies.Add(1)
	return &connectors.Effect{}, nil
}

func change(city string) *connectors.Change {
	return &connectors.Change{Version: connectors.ChangeVersion, Source: "crm", Tenant: "default", Steps: []connectors.Step{{
		ID: "a", Kind: connectors.Update, Collection: "customers", Key: []connectors.Assign{{Field: "id", Value: connectors.Int(1)}},
		Set: []connectors.Assign{{Field: "city", Value: connectors.String(city)}}}}}
}

// Nothing is written without a permit for this very change, unspent, in time.
func TestGateRefuses(t *testing.T) {
	now := time.Unix(1000, 0)
	gate, issuer := connectors.NewGate(func() time.Time { return now })
	_, other := connectors.NewGate(nil)
	inner := &counter{}
	c := gate.Wrap("crm", inner)
	ctx := context.Background()
	later := now.Add(time.Minute)
	spent := issuer.Issue(connectors.PermitApply, change("Bonn"), 0, later)
	if _, err := c.Apply(ctx, spent, change("Bonn")); err != nil {
		t.Fatal("a permit that fits is refused:", err)
	}
	revoked := issuer.Issue(connectors.PermitApply, change("Bonn"), 0, later)
	issuer.Revoke(revoked)
	moved := change("Bonn")
	moved.Source = "erp"
	for name, p := range map[string]*connectors.Permit{
		"none":           nil,
		"zero":           {},
		"spent":          spent,
		"revoked":        revoked,
		"another change": issuer.Issue(connectors.PermitApply, change("Köln"), 0, later),
		"a preview":      issuer.Issue(connectors.PermitPreview, change("Bonn"), 0, later),
		"too late":       issuer.Issue(connectors.PermitApply, change("Bonn"), 0, now.Add(-time.Second)),
		"another source": issuer.Issue(connectors.PermitApply, moved, 0, later),
		"another gate":   other.Issue(connectors.PermitApply, change("Bonn"), 0, later),
	} {
		if _, err := c.Apply(ctx, p, change("Bonn")); connectors.CodeOf(err) != connectors.CodeForbidden {
			t.Errorf("%s: answered %v", name, err)
		}
	}
	if _, err := c.Preview(ctx, issuer.Issue(connectors.PermitApply, change("Bonn"), 0, later), change("Bonn")); err == nil {
		t.Error("a permit to apply lets a preview pass")
	}
	if n, m := inner.applies.Load(), inner.previews.Load(); n != 1 || m != 0 {
		t.Errorf("%d writes and %d previews reached the connector", n, m)
	}
}

func TestPermitIsSpentOnce(t *testing.T) {
	gate, issuer := connectors.NewGate(nil)
	inner := &counter{}
	c := gate.Wrap("crm", inner)
	p := issuer.Issue(connectors.PermitApply, change("Bonn"), 0, time.Now().Add(time.Minute))
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() { c.Apply(context.Background(), p, change("Bonn")) })
	}
	wg.Wait()
	if n := inner.applies.Load(); n != 1 {
		t.Errorf("one permit let %d writes pass", n)
	}
}
