package connectors_test

import (
	"context"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
)

func TestTraceShows(t *testing.T) {
	trace := connectors.NewTrace(func(text string) bool { return text == "mine" || text == "7" })
	mine, other := connectors.String("mine"), connectors.String("other")
	for _, c := range []struct {
		v     connectors.Value
		shows bool
		text  string
	}{
		{connectors.Null, true, "null"}, {connectors.Value{}, true, "null"}, {mine, true, `"mine"`}, {other, false, "…"},
		{connectors.Int(7), true, "7"}, {connectors.Int(8), false, "…"}, {connectors.True, false, "…"},
		{connectors.ListOf(mine, other), false, `["mine",…]`}, {connectors.ListOf(mine), true, `["mine"]`},
		{connectors.ObjectOf(connectors.Member{Name: "a", Value: other}, connectors.Member{Name: "b", Value: mine}), false, `{"a":…,"b":"mine"}`},
		{connectors.Value{Kind: connectors.KindJSON, Text: `{"secret":1}`}, false, "…"},
	} {
		if got := trace.Shows(c.v); got != c.shows {
			t.Errorf("%+v is shown: %v", c.v, got)
		}
		if got := trace.Show(c.v); got != c.text {
			t.Errorf("%+v is %s, wanted %s", c.v, got, c.text)
		}
	}
	if connectors.NewTrace(nil).Shows(mine) {
		t.Error("a trace of nobody shows a value")
	}
}

// TestTraceOrder: what was sent comes in the order in which it began, and a
// context without a trace has none and costs no allocation.
func TestTraceOrder(t *testing.T) {
	trace := connectors.NewTrace(nil)
	ctx := connectors.WithTrace(context.Background(), trace)
	now := time.Now()
	for i, source := range []string{"second", "first"} {
		connectors.TraceOf(ctx).Add(connectors.Sent{Source: source, Began: now.Add(-time.Duration(i) * time.Second)})
	}
	if sent := trace.Sent(); len(sent) != 2 || sent[0].Source != "first" {
		t.Errorf("%+v", sent)
	}
	plain, stop := context.WithCancel(context.Background())
	defer stop()
	if n := testing.AllocsPerRun(100, func() {
		if connectors.TraceOf(plain) != nil {
			t.Error("a context without a trace has one")
		}
	}); n != 0 {
		t.Errorf("looking for no trace allocates %v times", n)
	}
}
