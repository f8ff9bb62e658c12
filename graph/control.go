package graph

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/model"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// maxAudit bounds one page of audit events.
const maxAudit = 100

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// shown is an entry as the caller may see it, or its error.
func shown(c *Caller, e *proposals.Entry, err error) (*model.Proposal, error) {
	if err != nil {
		return nil, err
	}
	return proposalModel(c, e), nil
}

func viewerModel(c *Caller) *model.Viewer {
	p := c.Principal
	out := &model.Viewer{ID: p.ID, Kind: model.PrincipalKind(strings.ToUpper(string(p.Kind))), Name: personName(p.ID, p.Name), Tenant: p.Tenant,
		Roles: []string{}, Interactive: p.Interactive, Limits: &c.Limits}
	for _, role := range c.View.Roles {
		if role != "*" { // everybody's
			out.Roles = append(out.Roles, role)
		}
	}
	if chain := p.Chain(); len(chain) > 1 {
		person := chain[len(chain)-1]
		out.ActsFor = optional(personName(person.ID, person.Name))
	}
	return out
}

// sources lists those that the caller's view has anything of; an administrator
// sees all, and why one is not up.
func (r *Resolver) sources(c *Caller) []*model.CountersignSource {
	visible := map[string]bool{}
	for name := range c.View.Objects {
		source, _, _ := strings.Cut(name, ".")
		visible[source] = true
	}
	out := []*model.CountersignSource{}
	for _, s := range r.Sources() {
		if !visible[s.Name] && !c.Admin() {
			continue
		}
		m := &model.CountersignSource{Name: s.Name, Connector: s.Connector, Status: s.Status}
		if c.Admin() {
			m.Message = optional(s.Message)
		}
		out = append(out, m)
	}
	return out
}

func (r *Resolver) auditPage(ctx context.Context, first *int, after, subject *string) (*model.CountersignAuditConnection, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	if !c.Admin() {
		return nil, connectors.Errorf(connectors.CodeForbidden, "the audit log is shown to the role %s; a proposal's own events stand in the proposal", AdminRole)
	}
	size := 30
	if first != nil {
		size = *first
	}
	if size < 1 || size > maxAudit {
		return nil, connectors.Errorf(connectors.CodeBadInput, "first must be 1 to %d", maxAudit).At("first")
	}
	var before int64
	if after != nil {
		if before, err = strconv.ParseInt(*after, 36, 64); err != nil {
			return nil, connectors.Errorf(connectors.CodeBadInput, "there is nothing behind this cursor").At("after")
		}
	}
	records, err := r.Audit.Events(ctx, c.Principal.Tenant, value(subject), before, size+1)
	if err != nil {
		return nil, err
	}
	info := &model.PageInfo{HasNextPage: len(records) > size, HasPreviousPage: after != nil}
	records = records[:min(size, len(records))]
	if len(records) > 0 {
		info.StartCursor = optional(strconv.FormatInt(records[0].N, 36))
		info.EndCursor = optional(strconv.FormatInt(records[len(records)-1].N, 36))
	}
	nodes := auditModels(c, records)
	return &model.CountersignAuditConnection{Nodes: nodes, PageInfo: info}, nil
}

// canApprove asks what Approve would answer.
func (r *Resolver) canApprove(ctx context.Context, c *Caller, p *model.Proposal) *model.ProposalCanDecide {
	if c.Principal.Kind != policy.Human {
		return cannot(connectors.CodeForbidden, "only people decide")
	}
	if p.State != model.ProposalStatePending {
		return cannot(connectors.CodeWrongState, "it is not waiting for a decision")
	}
	return canDecide(r.Proposals.CanApprove(ctx, c.Principal, p.ID))
}

// canWithdraw asks what Withdraw would answer.
func (r *Resolver) canWithdraw(ctx context.Context, c *Caller, p *model.Proposal) *model.ProposalCanDecide {
	switch p.State {
	case model.ProposalStatePending, model.ProposalStateChangesRequested, model.ProposalStateApproved:
		return canDecide(r.Proposals.CanWithdraw(ctx, c.Principal, p.ID))
	}
	return cannot(connectors.CodeWrongState, "it can be taken back only before it runs")
}

// canSettle asks what Settle would answer.
func (r *Resolver) canSettle(ctx context.Context, c *Caller, p *model.Proposal) *model.ProposalCanDecide {
	if p.State != model.ProposalStateOutcomeUnknown {
		return cannot(connectors.CodeWrongState, "its outcome is not in question")
	}
	return canDecide(r.Proposals.CanSettle(ctx, c.Principal, p.ID))
}

func canDecide(err error) *model.ProposalCanDecide {
	if err != nil {
		e := connectors.AsError(err)
		return cannot(e.Code, e.Message)
	}
	return &model.ProposalCanDecide{Yes: true}
}

func cannot(code connectors.Code, because string) *model.ProposalCanDecide {
	c := model.ErrorCode(code)
	return &model.ProposalCanDecide{Code: &c, Because: &because}
}

func (r *Resolver) events(ctx context.Context, id string, first *int) ([]*model.ProposalEvent, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	limit := maxAudit
	if first != nil {
		limit = min(max(*first, 1), maxAudit)
	}
	all, err := r.auditOf(ctx, c, id, 0, limit)
	if err != nil {
		return nil, err
	}
	out := make([]*model.ProposalEvent, 0, len(all))
	for _, a := range all {
		e := &model.ProposalEvent{At: a.At, Event: a.Action, By: a.Actor, To: model.ProposalState(value(a.To))}
		if a.From != nil {
			from := model.ProposalState(*a.From)
			e.From = &from
		}
		if e.To != "" {
			out = append(out, e)
		}
	}
	return out, nil
}

func (r *Resolver) page(ctx context.Context, f *model.ProposalFilter, order []*model.ProposalOrderBy, first *int, after *string) (*model.ProposalConnection, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	for _, o := range order {
		if d, ok := o.CreatedAt.ValueOK(); !ok || d == nil || *d != model.ProposalDirectionDesc {
			return nil, connectors.Errorf(connectors.CodeUnsupported, "proposals come newest first; another order is not supported yet").At("orderBy")
		}
	}
	req := proposals.ListRequest{States: statesOf(f), After: value(after)}
	if f != nil {
		mine, _ := f.Mine.ValueOK()
		req.Mine = mine != nil && *mine
	}
	if first != nil {
		if *first < 1 || *first > proposals.MaxPage {
			return nil, connectors.Errorf(connectors.CodeBadInput, "first must be 1 to %d", proposals.MaxPage).At("first")
		}
		req.First = *first
	}
	page, err := r.Proposals.List(ctx, c.Principal, req)
	if err != nil {
		return nil, err
	}
	out := &model.ProposalConnection{Nodes: []*model.Proposal{}, Edges: []*model.ProposalEdge{}, PageInfo: &model.PageInfo{HasNextPage: page.More, HasPreviousPage: after != nil}}
	for _, e := range page.Entries {
		p := proposalModel(c, e)
		if decidable(f) && !r.canApprove(ctx, c, p).Yes {
			continue
		}
		out.Nodes = append(out.Nodes, p)
		out.Edges = append(out.Edges, &model.ProposalEdge{Cursor: p.ID, Node: p})
	}
	if n := len(page.Entries); n > 0 {
		out.PageInfo.StartCursor = &page.Entries[0].Dossier.Proposal.Handle
		out.PageInfo.EndCursor = &page.Entries[n-1].Dossier.Proposal.Handle
	}
	return out, nil
}

func decidable(f *model.ProposalFilter) bool {
	if f == nil {
		return false
	}
	d, _ := f.Decidable.ValueOK()
	return d != nil && *d
}

func statesOf(f *model.ProposalFilter) []proposals.State {
	if f == nil {
		return nil
	}
	s, _ := f.State.ValueOK()
	if s == nil {
		return nil
	}
	var out []proposals.State
	if eq, _ := s.Eq.ValueOK(); eq != nil {
		out = append(out, proposals.State(*eq))
	}
	in, _ := s.In.ValueOK()
	for _, x := range in {
		out = append(out, proposals.State(x))
	}
	return out
}

// changes yields proposals as they change, each as the subscriber may see it
// then. One that may not be seen is passed over: it tells nothing.
func (r *Resolver) changes(ctx context.Context, id string, f *model.ProposalFilter) (<-chan *model.Proposal, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	if c.Principal.Kind == policy.Anonymous {
		return nil, connectors.Errorf(connectors.CodeUnauthenticated, "sign in first")
	}
	states := statesOf(f)
	out := make(chan *model.Proposal)
	handles := r.Proposals.Watch(ctx, c.Principal.Tenant)
	// Ends with the subscription: Watch stops with its context.
	go func() {
		defer close(out)
		for handle := range handles {
			if id != "" && handle != id {
				continue
			}
			e, err := r.Proposals.GetChanged(ctx, c.Principal, handle)
			if err != nil || len(states) > 0 && !slices.Contains(states, e.Dossier.Proposal.State) {
				continue
			}
			p := proposalModel(c, e)
			if decidable(f) && !r.canApprove(ctx, c, p).Yes {
				continue
			}
			select {
			case out <- p:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
