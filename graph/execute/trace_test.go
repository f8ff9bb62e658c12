package execute_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
)

// TestKeptIsTold: an answer that was kept is told as such to whoever asks what
// was sent.
func TestKeptIsTold(t *testing.T) {
	w := world(t, "shop")
	cache, err := execute.NewCache(1<<20, func(string, string) time.Duration { return time.Hour })
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	e := &execute.Executor{Sources: w.Sources(), Cache: cache}
	r, p := planned(t, w, "human owner", `{ customers(first: 1) { nodes { id } } }`, "")
	ask := func() []connectors.Sent {
		trace := connectors.NewTrace(nil)
		e.Query(connectors.WithTrace(context.Background(), trace), p, r.Bindings())
		return trace.Sent()
	}
	if first := ask(); len(first) != 0 {
		t.Fatalf("the first is told as %+v", first)
	}
	// The cache takes an answer in a moment later.
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); runtime.Gosched() {
		if sent := ask(); len(sent) > 0 {
			if s := sent[0]; len(sent) != 1 || !s.Kept || s.Source == "" || s.Object != "customers" || s.Began.IsZero() {
				t.Errorf("%+v", sent)
			}
			return
		}
	}
	t.Error("nothing was ever kept")
}
