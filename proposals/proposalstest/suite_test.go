package proposalstest_test

import (
	"testing"

	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/proposals/proposalstest"
)

func TestMemory(t *testing.T) {
	proposalstest.RunStore(t, func(t *testing.T) proposalstest.Opened {
		m := proposalstest.NewMemory()
		return proposalstest.Opened{Store: m, Events: func(_ *testing.T, tenant string) []audit.Event {
			var out []audit.Event
			for _, e := range m.Events() {
				if e.Tenant == tenant {
					out = append(out, e)
				}
			}
			return out
		}}
	})
}
