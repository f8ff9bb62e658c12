package proposalstest

import (
	"errors"
	"sync"
	"testing"

	"github.com/countersign/countersign/proposals"
)

// use: what a principal has is read back, compared and swapped, and apart from
// others; 32 transactions that add to it lose nothing.
func use(t *testing.T, o Opened) {
	ctx := t.Context()
	u, err := o.Store.Use(ctx, "t1", "agent:a")
	must(t, err)
	same(t, u, &proposals.Use{Tenant: "t1", Principal: "agent:a"})
	first := &proposals.Use{Tenant: "t1", Principal: "agent:a", Version: 1, Open: 2, Sums: map[string]proposals.Sum{"EUR": {Day: 3, Used: 4, Reserved: 9_007_199_254_740_993}}}
	must(t, o.Store.Tx(ctx, func(tx proposals.Tx) error { return tx.Write(first) }))
	wantErr(t, o.Store.Tx(ctx, func(tx proposals.Tx) error { return tx.Write(first) }), proposals.ErrConflict)
	u, err = o.Store.Use(ctx, "t1", "agent:a")
	must(t, err)
	if u.Sums["EUR"] != first.Sums["EUR"] || u.Open != 2 || u.Version != 1 {
		t.Fatalf("%+v", u)
	}
	for _, other := range [][2]string{{"t2", "agent:a"}, {"t1", "agent:b"}} {
		u, err := o.Store.Use(ctx, other[0], other[1])
		must(t, err)
		if u.Open != 0 || u.Version != 0 {
			t.Errorf("of another: %+v", u)
		}
	}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for {
				err := o.Store.Tx(ctx, func(tx proposals.Tx) error {
					u, err := tx.Use("t1", "agent:c")
					if err != nil {
						return err
					}
					u.Open++
					u.Version++
					return tx.Write(u)
				})
				if !errors.Is(err, proposals.ErrConflict) {
					if err != nil {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	wg.Wait()
	u, err = o.Store.Use(ctx, "t1", "agent:c")
	must(t, err)
	if u.Open != 32 {
		t.Errorf("%d of 32 were counted", u.Open)
	}
}
