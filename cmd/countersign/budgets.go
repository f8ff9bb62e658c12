package main

import (
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy/budget"
	"github.com/countersign/countersign/proposals"
)

// budgets are those that the file names; nil: none, and nothing is counted.
func budgets(cfg *config.Config, store budget.Store) *gateway.Budgets {
	out := &gateway.Budgets{Roles: map[string][]budget.Rule{}, Principals: map[string][]budget.Rule{}}
	for role, l := range cfg.Limits.Values {
		if rules := rulesOf(l.Requests, l.Cost.Budget, l.UpstreamCalls, l.RowsRead, l.RowsWritten); rules != nil {
			out.Roles[role] = rules
		}
	}
	for name, a := range cfg.Agents.Values {
		b := a.Budget
		if rules := rulesOf(b.Requests, b.Cost, b.UpstreamCalls, b.RowsRead, b.RowsWritten); rules != nil {
			out.Principals["agent:"+name] = rules
		}
	}
	if len(out.Roles)+len(out.Principals) == 0 {
		return nil
	}
	out.Ledger = budget.NewLedger(store, time.Now)
	return out
}

// rulesOf are the rates that are said, in the order of budget.Everything.
func rulesOf(rates ...config.Rate) []budget.Rule {
	var out []budget.Rule
	for i, what := range budget.Everything() {
		if r := rates[i]; r.N > 0 {
			out = append(out, budget.Rule{What: what, Limit: r.N, Per: r.Per})
		}
	}
	return out
}

// caps are what agents may have open and reserved at once; nil: nothing is
// bound.
func caps(cfg *config.Config) func(principal string) proposals.Caps {
	out := map[string]proposals.Caps{}
	for name, a := range cfg.Agents.Values {
		amount, err := a.Budget.AmountPerDay()
		if c := (proposals.Caps{OpenProposals: a.Budget.OpenProposals, Amount: amount}); err == nil && c != (proposals.Caps{}) {
			out["agent:"+name] = c
		}
	}
	if len(out) == 0 {
		return nil
	}
	return func(principal string) proposals.Caps { return out[principal] }
}
