package gateway_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy/budget"
	"github.com/countersign/countersign/store"
)

// noon is when the budgets' tests are: no window ends while they run.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// counting is a world whose agents and roles have budgets, in a store of its own.
func counting(t *testing.T, roles, principals map[string][]budget.Rule) *world {
	t.Helper()
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "s.db"), store.Options{Mode: store.Tool, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return budgetedWorld(t, gateway.RoleLimits{"*": usual()}, &gateway.Budgets{Roles: roles, Principals: principals,
		Ledger: budget.NewLedger(s, func() time.Time { return noon })})
}

func rule(what budget.What, limit int64) budget.Rule {
	return budget.Rule{What: what, Limit: limit, Per: time.Hour}
}

const names = `{ customers { nodes { name } } }`

// Each kind of budget ends, and then no source is asked.
func TestBudgetsEnd(t *testing.T) {
	refund := `mutation { refund(input: {amount: %d, memo: "x"}) { outcome errors { code } } }`
	for _, c := range []struct {
		what  budget.What
		limit int64
		query string
		times int // it is admitted
		code  connectors.Code
	}{
		{budget.Requests, 3, names, 3, connectors.CodeRateLimited},
		{budget.Requests, 3, `{ viewer { id } }`, 3, connectors.CodeRateLimited},
		{budget.Requests, 3, `{ no such thing`, 3, connectors.CodeRateLimited}, // what is no document counts too
		{budget.Cost, 3, names, 3, connectors.CodeBudgetExhausted},
		{budget.UpstreamCalls, 2, names, 2, connectors.CodeBudgetExhausted},
		{budget.RowsRead, 5, names, 2, connectors.CodeBudgetExhausted}, // three records each
		{budget.RowsWritten, 2, strings.Replace(refund, "%d", "50", 1), 2, connectors.CodeBudgetExhausted},
		{budget.RowsWritten, 2, `mutation { updateCustomer(id: 1, patch: {name: "Ada"}) { outcome } }`, 2, connectors.CodeBudgetExhausted},
	} {
		t.Run(string(c.what)+" "+c.query, func(t *testing.T) {
			w := counting(t, nil, map[string][]budget.Rule{"agent:triage": {rule(c.what, c.limit)}})
			for i := range c.times {
				if a := w.ask("triage", c.query); a.code() == c.code {
					t.Fatalf("request %d: %+v", i, a.errors)
				}
				if strings.Contains(c.query, "refund") && w.last() == nil {
					t.Fatal("nothing was proposed")
				}
				// An equal proposal is the same one, and counts once.
				c.query = strings.Replace(c.query, "50", "51", 1)
			}
			sources := w.base.Sources()
			before := calls(sources)
			a := w.ask("triage", c.query)
			if a.code() != c.code || a.data != "" {
				t.Fatalf("the last: %s %+v", a.data, a.errors)
			}
			e := a.errors[0]
			if e.RetryAfter != time.Hour || len(e.Because) == 0 || len(e.Unblock) == 0 || !strings.Contains(e.Because[0], "agent:triage") {
				t.Errorf("it says not what to do: %+v", e)
			}
			if n := calls(sources) - before; n != 0 {
				t.Errorf("%d calls of sources", n)
			}
			if other := w.ask("helper", names); other.code() != "" {
				t.Errorf("another agent's: %+v", other.errors)
			}
		})
	}
}

func calls(sources map[string]connectors.Connector) int {
	n := 0
	for _, s := range sources {
		m := s.(*connectortest.Memory)
		for _, on := range []connectortest.FaultPoint{connectortest.OnQuery, connectortest.OnPreview, connectortest.OnApply} {
			n += m.Calls(on)
		}
	}
	return n
}

// An agent uses the budget of the person behind it as well; of several roles
// the largest holds, and everybody's where no role says one.
func TestBudgetsOfChainsAndRoles(t *testing.T) {
	w := counting(t, map[string][]budget.Rule{"support": {rule(budget.Requests, 2)}, "*": {rule(budget.Requests, 4)}}, nil)
	count := func(who string) int {
		for i := range 20 {
			if a := w.ask(who, names); a.code() == connectors.CodeRateLimited {
				return i
			} else if a.code() != "" {
				t.Fatalf("%s: %+v", who, a.errors)
			}
		}
		return 20
	}
	if n := count("olga"); n != 4 {
		t.Errorf("everybody's: %d", n)
	}
	if n := count("helper"); n != 2 {
		t.Errorf("an agent for somebody: %d", n)
	}
	if n := count("maria"); n != 0 {
		t.Errorf("the person behind it: %d", n)
	}
}

// What an operation costs is told to whom asks for it, and to nobody else.
func TestCostIsTold(t *testing.T) {
	for name, w := range map[string]*world{"uncounted": newWorld(t), "counted": counting(t, nil, map[string][]budget.Rule{"user:olga": {rule(budget.Cost, 1000)}})} {
		for query, want := range map[string]gateway.Cost{
			names: {Estimated: 1, Measured: 1, UpstreamCalls: 1, RowsRead: 3},
			`{ viewer { id } customers(first: 100) { nodes { name orders { nodes { id } } } } }`:               {Estimated: 34, Measured: 2, UpstreamCalls: 2, RowsRead: 5},
			`mutation { updateOrder(id: 11, patch: {total: {set: 6}}) { outcome order { total } } }`:           {Estimated: 1, Measured: 2, UpstreamCalls: 2, RowsRead: 1, RowsWritten: 1},
			`mutation { updateOrder(id: 11, patch: {total: {set: 6}}, options: {mode: PREVIEW}) { outcome } }`: {Measured: 1, UpstreamCalls: 1},
		} {
			for ext, told := range map[string]bool{`{"cost": true}`: true, `{"cost": false}`: false, ``: false} {
				r := w.door.Run(t.Context(), w.people.person(t, "olga"), &gateway.Request{Query: query, Extensions: json.RawMessage(ext)})
				if len(r.Errors) > 0 {
					t.Fatalf("%s: %+v", query, r.Errors)
				}
				if (r.Cost != nil) != told {
					t.Errorf("%s with %s: told %v", query, ext, r.Cost != nil)
				}
				if told && *r.Cost != want {
					t.Errorf("%s: %s cost %+v, not %+v", name, query, *r.Cost, want)
				}
			}
		}
	}
}

func TestUsageIsTold(t *testing.T) {
	w := counting(t, map[string][]budget.Rule{"support": {rule(budget.RowsRead, 50)}}, map[string][]budget.Rule{"agent:helper": {rule(budget.Requests, 10), rule(budget.Cost, 100)}})
	w.ask("helper", names)
	a := w.ask("helper", `{ viewer { limits { cost } usage { budget of limit perSeconds used remaining } } }`)
	want := `{"viewer":{"limits":{"cost":100000},"usage":[` +
		`{"budget":"REQUESTS","of":"agent:helper","limit":10,"perSeconds":3600,"used":2,"remaining":8},` +
		`{"budget":"COST","of":"agent:helper","limit":100,"perSeconds":3600,"used":1,"remaining":99},` +
		`{"budget":"ROWS_READ","of":"user:maria","limit":50,"perSeconds":3600,"used":2,"remaining":48}]}}`
	if a.data != want {
		t.Errorf("%s %+v", a.data, a.errors)
	}
	if a := newWorld(t).ask("helper", `{ viewer { usage { used } } }`); a.data != `{"viewer":{"usage":[]}}` {
		t.Errorf("without budgets: %s", a.data)
	}
}
