package gateway

import (
	"context"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/model"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/budget"
)

// Budgets are what principals may use in a time. nil: nothing is counted.
type Budgets struct {
	Ledger *budget.Ledger
	// Roles hold for each principal of a role by itself; "*" for everybody.
	Roles map[string][]budget.Rule
	// Principals hold for one principal, by its id, beside those of its roles.
	Principals map[string][]budget.Rule
}

// of are the rules of one principal. Of several roles the one that gives most
// counts, of each kind; what no role says is that of everybody.
func (b *Budgets) of(p *policy.Principal, roles []string) []budget.Rule {
	var mine []budget.Rule
	if p.Kind == policy.Anonymous {
		mine = b.Roles["anonymous"]
	}
	for _, role := range roles {
		if role != "*" {
			mine = budget.Larger(mine, b.Roles[role])
		}
	}
	for _, r := range b.Roles["*"] {
		if !slices.ContainsFunc(mine, func(m budget.Rule) bool { return m.What == r.What }) {
			mine = append(slices.Clip(mine), r)
		}
	}
	return budget.Both(mine, b.Principals[p.ID])
}

// holders are those whose budgets a call uses: the caller, and the person
// behind an agent.
func (g *Gateway) holders(snap *Snapshot, p *policy.Principal) []budget.Holder {
	var out []budget.Holder
	for ; p != nil; p = p.For {
		if rules := g.cfg.Budgets.of(p, snap.Policy.View(p).Roles); len(rules) > 0 {
			out = append(out, budget.Holder{Tenant: p.Tenant, Principal: p.ID, Rules: rules})
		}
	}
	return out
}

// counted counts one request, before its text is read.
func (g *Gateway) counted(ctx context.Context, c *call) []Error {
	if g.cfg.Budgets == nil {
		return nil
	}
	c.holders = g.holders(c.snap, c.principal)
	if err := g.cfg.Budgets.Ledger.Request(ctx, c.holders); err != nil {
		return []Error{fromError(err, nil)}
	}
	return nil
}

// A bill follows one operation: what it is estimated to cost, whether the
// budgets admit it, and what it did cost.
type bill struct {
	g        *Gateway
	ctx      context.Context
	c        *call
	estimate int
	held     *budget.Bill
	refused  *connectors.Error
	told     bool // extensions.cost was asked for
}

// bill begins one where somebody counts, or asks; else it is nil.
func (g *Gateway) bill(ctx context.Context, c *call, in *plan.Bindings) *bill {
	told := c.wantsCost()
	if len(c.holders) == 0 && !told {
		return nil
	}
	b := &bill{g: g, ctx: ctx, c: c, told: told}
	in.Admit = b.admit
	return b
}

// admit is asked before any source is.
func (b *bill) admit(cost, written int) *connectors.Error {
	b.estimate = cost
	if len(b.c.holders) == 0 {
		return nil
	}
	b.held, b.refused = b.g.cfg.Budgets.Ledger.Begin(b.ctx, b.c.holders, budget.Amount{Cost: int64(cost), Written: int64(written)})
	return b.refused
}

// refusal is the answer to an operation that the budgets do not admit; nil:
// they do.
func (b *bill) refusal() *Response {
	if b == nil || b.refused == nil {
		return nil
	}
	return b.c.refused([]Error{fromError(b.refused, nil)})
}

// end settles the bill and notes the cost in the answer, where it was asked
// for.
func (b *bill) end(resp *Response, spent execute.Spent, written int) {
	if b == nil {
		return
	}
	cost := plan.MeasuredCost(spent.Calls, spent.Cells)
	if b.held != nil {
		err := b.held.End(context.WithoutCancel(b.ctx), budget.Amount{Cost: int64(cost), Calls: int64(spent.Calls), Read: int64(spent.Rows), Written: int64(written)})
		if err != nil {
			b.g.cfg.Log.WarnContext(b.ctx, "what an operation used is not told to the store yet", "error", err)
		}
	}
	if b.told && resp != nil {
		resp.Cost = &Cost{Estimated: b.estimate, Measured: cost, UpstreamCalls: spent.Calls, RowsRead: spent.Rows, RowsWritten: written}
	}
}

// A Cost is extensions.cost of an answer.
type Cost struct {
	// Estimated before it ran, Measured after, in the units of limits.cost.
	Estimated, Measured                  int
	UpstreamCalls, RowsRead, RowsWritten int
}

func (c *Cost) appendJSON(b []byte) []byte {
	for i, m := range [...]struct {
		name string
		n    int
	}{{"estimated", c.Estimated}, {"measured", c.Measured}, {"upstreamCalls", c.UpstreamCalls}, {"rowsRead", c.RowsRead}, {"rowsWritten", c.RowsWritten}} {
		b = append(b, "{,"[min(i, 1)], '"')
		b = append(append(b, m.name...), '"', ':')
		b = strconv.AppendInt(b, int64(m.n), 10)
	}
	return append(b, '}')
}

// wantsCost tells whether the request asks what it costs: extensions {cost: true}.
func (c *call) wantsCost() bool {
	if c.req == nil || len(c.req.Extensions) == 0 {
		return false
	}
	var ext struct {
		Cost any `json:"cost"`
	}
	// What cannot be read asks for nothing.
	return json.Unmarshal(c.req.Extensions, &ext) == nil && ext.Cost == true
}

// usage is how viewer.usage is read; nil: nothing is counted.
func (g *Gateway) usage(c *call) func(context.Context) ([]*model.ViewerUsage, error) {
	if g.cfg.Budgets == nil {
		return nil
	}
	return func(ctx context.Context) ([]*model.ViewerUsage, error) {
		uses, err := g.cfg.Budgets.Ledger.Uses(ctx, g.holders(c.snap, c.principal))
		if err != nil {
			return nil, err
		}
		out := make([]*model.ViewerUsage, len(uses))
		for i, u := range uses {
			out[i] = &model.ViewerUsage{Budget: budgetNames()[u.What], Of: u.Principal, Limit: int(u.Limit), PerSeconds: int(u.Per.Seconds()),
				Used: clamped(u.Used), Remaining: clamped(max(u.Limit-u.Used, 0)), EndsAt: g.cfg.Now().Add(u.Ends).UTC().Truncate(time.Second)}
		}
		return out, nil
	}
}

func clamped(n int64) int { return int(min(n, math.MaxInt32)) }

func budgetNames() map[budget.What]model.ViewerBudget {
	return map[budget.What]model.ViewerBudget{budget.Requests: model.ViewerBudgetRequests, budget.Cost: model.ViewerBudgetCost,
		budget.UpstreamCalls: model.ViewerBudgetUpstreamCalls, budget.RowsRead: model.ViewerBudgetRowsRead, budget.RowsWritten: model.ViewerBudgetRowsWritten}
}

// retryAfter is the header of an answer that is a refusal until then; "": none.
func (resp *Response) retryAfter() string {
	if resp.Data != nil || len(resp.Errors) == 0 || resp.Errors[0].RetryAfter <= 0 {
		return ""
	}
	return strconv.FormatInt(int64(math.Ceil(resp.Errors[0].RetryAfter.Seconds())), 10)
}
