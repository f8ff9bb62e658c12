package graph

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/graph/model"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/proposals"
)

// proposalModel is an entry as the schema has it. canApprove, events and audit
// have resolvers of their own.
func proposalModel(c *Caller, e *proposals.Entry) *model.Proposal {
	p, rev := &e.Dossier.Proposal, e.Dossier.Current()
	out := &model.Proposal{
		ID: p.Handle, State: model.ProposalState(p.State), Revision: p.Revision, ContentHash: rev.ContentHash, ReviewHash: rev.ReviewHash,
		Operation: e.Review.Document, Variables: e.Review.Variables, Reason: optional(rev.Reason),
		Author: authorModel(&p.Author), CreatedAt: p.CreatedAt, ExpiresAt: p.ExpiresAt, ReasonCode: optional(p.ReasonCode),
		Changes: []*model.ProposalChange{}, Evidence: []*model.ProposalEvidence{}, Decisions: []*model.ProposalDecision{},
	}
	for i := range e.Review.Changes {
		out.Changes = append(out.Changes, changeModel(c.Catalog, &e.Review.Changes[i], e.Whole))
	}
	for _, text := range rev.Evidence {
		out.Evidence = append(out.Evidence, evidenceModel(text))
	}
	for _, d := range e.Dossier.Decisions {
		out.Decisions = append(out.Decisions, &model.ProposalDecision{By: personName(d.Person, d.Name), Kind: decisionKind(d), Revision: d.Revision,
			Comment: optional(d.Comment), At: d.At})
	}
	out.Requirement = requirementModel(e.Dossier)
	out.Execution = executionModel(e.Dossier, e.Whole)
	return out
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func personName(id, name string) string {
	if name != "" {
		return name
	}
	return strings.TrimPrefix(id, "user:")
}

func authorModel(a *proposals.Author) *model.ProposalAuthor {
	out := &model.ProposalAuthor{ID: a.Principal, Kind: model.PrincipalKind(strings.ToUpper(string(a.Kind))), Name: personName(a.Principal, a.Name),
		Owner: optional(strings.TrimPrefix(a.Owner, "user:"))}
	if a.For != "" {
		out.ActsFor = optional(personName(a.For, a.ForName))
	}
	return out
}

func evidenceModel(text string) *model.ProposalEvidence {
	var e model.ProposalEvidence
	if json.Unmarshal([]byte(text), &e) != nil || e.Title == "" {
		return &model.ProposalEvidence{Title: text}
	}
	return &e
}

func decisionKind(d *proposals.Decision) model.ProposalDecisionKind {
	if strings.HasPrefix(d.Person, "policy:") {
		return model.ProposalDecisionKindRule
	}
	switch d.Kind {
	case proposals.DecideReject:
		return model.ProposalDecisionKindReject
	case proposals.DecideRequestChanges:
		return model.ProposalDecisionKindRequestChanges
	case proposals.DecideRetract:
		return model.ProposalDecisionKindRetract
	}
	return model.ProposalDecisionKindApprove
}

// Guarantee is the sentence a reviewer reads of an outcome class.
func Guarantee(c connectors.OutcomeClass) string {
	switch c {
	case connectors.Transactional:
		return "runs exactly once"
	case connectors.Conditional:
		return "runs at most once; we can look whether it did"
	case connectors.Idempotent:
		return "can be repeated safely while the system keeps the key"
	case connectors.Verifiable:
		return "runs at most once; we can look whether it did"
	case connectors.Searchable:
		return "sent once; we look for it afterwards"
	}
	return "sent once; if the line breaks, we will not know"
}

func changeModel(cat *catalog.Catalog, rc *proposals.ReviewChange, whole bool) *model.ProposalChange {
	out := &model.ProposalChange{Source: rc.Source, Collection: rc.Collection, Kind: model.ChangeKind(strings.ToUpper(string(rc.Kind))),
		AffectedCount: &rc.AffectedCount, OutcomeClass: model.OutcomeClass(strings.ToUpper(string(rc.OutcomeClass))), Guarantee: Guarantee(rc.OutcomeClass),
		Complete: rc.Incomplete == "" && whole && len(rc.Hidden) == 0, IncompleteBecause: optional(rc.Incomplete), Diff: []*model.RecordDiff{}, Unpredictable: []string{}}
	if out.IncompleteBecause == nil && !out.Complete {
		out.IncompleteBecause = optional("a part of it may not be shown to you")
	}
	coll := cat.Collection(rc.Object())
	if coll != nil {
		out.Type = &coll.Type
	}
	for _, f := range rc.Unpredictable {
		out.Unpredictable = append(out.Unpredictable, graphName(coll, f))
	}
	for i := range rc.Diff {
		out.Diff = append(out.Diff, diffModel(coll, &rc.Diff[i], rc.Kind))
	}
	if rc.Kind == connectors.Call {
		out.Collection = rc.Function
		out.Request = requestJSON(rc)
	}
	return out
}

func graphName(coll *catalog.Collection, field string) string {
	if coll != nil {
		if f := coll.SystemField(field); f != nil {
			return f.Name
		}
	}
	return field
}

// requestJSON is what a call sends: its arguments, and the request they become.
func requestJSON(rc *proposals.ReviewChange) json.RawMessage {
	if rc.Args.IsNull() && rc.Request == nil {
		return nil
	}
	b := append([]byte(nil), `{"arguments":`...)
	b = rc.Args.AppendJSON(b, connectors.ScalarJSON)
	if r := rc.Request; r != nil {
		b = append(b, `,"method":`...)
		b = connectors.AppendJSONString(b, r.Method)
		b = append(b, `,"url":`...)
		b = connectors.AppendJSONString(b, r.URL)
		b = append(b, `,"header":`...)
		b = connectors.ObjectOf(r.Header...).AppendJSON(b, connectors.ScalarJSON)
		if r.Body != "" {
			b = append(b, `,"body":`...)
			b = connectors.AppendJSONString(b, r.Body)
		}
	}
	return append(b, '}')
}

func diffModel(coll *catalog.Collection, d *proposals.RecordDiff, kind connectors.StepKind) *model.RecordDiff {
	out := &model.RecordDiff{Fields: []string{}}
	for _, f := range d.Fields {
		out.Fields = append(out.Fields, graphName(coll, f))
	}
	if kind != connectors.Create {
		out.Before = recordJSON(coll, d.Before)
	}
	if kind != connectors.Delete {
		out.After = recordJSON(coll, d.After)
	}
	var key []string
	for _, k := range d.Key {
		key = append(key, graphName(coll, k.Field)+" "+k.Value.Text)
	}
	out.Key = optional(strings.Join(key, ", "))
	out.Label = optional(labelOf(coll, d))
	return out
}

func recordJSON(coll *catalog.Collection, in []connectors.Assign) json.RawMessage {
	b := []byte{'{'}
	for i, a := range in {
		if i > 0 {
			b = append(b, ',')
		}
		scalar := connectors.ScalarJSON
		value := a.Value
		if coll != nil {
			if f := coll.SystemField(a.Field); f != nil {
				scalar = f.Type.Leaf
				value = graphValue(f.Type, value)
			}
		}
		b = connectors.AppendJSONString(b, graphName(coll, a.Field))
		b = append(b, ':')
		b = value.AppendJSON(b, scalar)
	}
	return append(b, '}')
}

// graphValue shows an enum's value as the graph has it.
func graphValue(t *catalog.Type, v connectors.Value) connectors.Value {
	if t.Values != nil && v.Kind == connectors.KindString {
		if name, ok := t.Values.Name(v.Text); ok {
			return connectors.String(name)
		}
	}
	return v
}

// labelOf names a record by its labelled fields, as far as they are shown.
func labelOf(coll *catalog.Collection, d *proposals.RecordDiff) string {
	if coll == nil {
		return ""
	}
	var parts []string
	for _, l := range coll.Labels {
		for _, list := range [][]connectors.Assign{d.Before, d.After, d.Key, d.Names} {
			i := slices.IndexFunc(list, func(a connectors.Assign) bool { return a.Field == l.Field.System })
			if i >= 0 && !list[i].Value.IsNull() {
				text := list[i].Value.Text
				if l.Text != "" {
					text = l.Text + " " + text
				}
				parts = append(parts, text)
				break
			}
		}
	}
	return strings.Join(parts, ", ")
}

func requirementModel(d *proposals.Dossier) *model.ProposalRequirement {
	out := &model.ProposalRequirement{Rule: optional(d.Proposal.Rule), Seats: []*model.ProposalSeat{}, Met: true}
	approvals := approvalsOf(d)
	used := map[string]bool{}
	for _, s := range d.Proposal.Requirement.Seats {
		seat := &model.ProposalSeat{Role: optional(s.Role), Count: max(1, s.Count), Confirm: s.Confirm}
		for _, a := range approvals {
			fits := s.Role != "" && slices.Contains(a.Roles, s.Role) || s.Confirm && a.Person == d.Proposal.Author.For
			if fits && !used[a.Person] && seat.Filled < seat.Count {
				used[a.Person] = true
				seat.Filled++
			}
		}
		out.Met = out.Met && seat.Filled == seat.Count
		out.Seats = append(out.Seats, seat)
	}
	return out
}

// approvalsOf are the approvals of the current revision that stand.
func approvalsOf(d *proposals.Dossier) []*proposals.Decision {
	last := map[string]*proposals.Decision{}
	var order []string
	for _, x := range d.Decisions {
		if x.Revision == d.Proposal.Revision {
			if last[x.Person] == nil {
				order = append(order, x.Person)
			}
			last[x.Person] = x
		}
	}
	var out []*proposals.Decision
	for _, id := range order {
		if last[id].Kind == proposals.DecideApprove {
			out = append(out, last[id])
		}
	}
	return out
}

// executionModel keeps three facts apart: approved, executed, succeeded.
func executionModel(d *proposals.Dossier, whole bool) *model.ProposalExecution {
	out := &model.ProposalExecution{State: model.ProposalExecutionStateNotStarted, Attempts: len(d.Attempts)}
	switch d.Proposal.State {
	case proposals.Approved:
		out.State = model.ProposalExecutionStateWaiting
	case proposals.Executing:
		out.State = model.ProposalExecutionStateRunning
	case proposals.OutcomeUnknown:
		out.State = model.ProposalExecutionStateUnknown
	case proposals.Executed:
		out.State = model.ProposalExecutionStateSucceeded
	case proposals.Failed:
		out.State = model.ProposalExecutionStateFailed
	}
	approvals := approvalsOf(d)
	// One that ended before it was done was still approved.
	if len(approvals) > 0 && (decided(d.Proposal.State) || requirementModel(d).Met) {
		out.ApprovedAt = &approvals[len(approvals)-1].At
	}
	for _, a := range d.Attempts {
		if !a.DispatchedAt.IsZero() {
			out.DispatchedAt = when(a.DispatchedAt)
		}
		if !a.SettledAt.IsZero() {
			out.SettledAt = when(a.SettledAt)
			out.Receipt = receiptOf(&d.Proposal, a)
			if whole {
				out.Receipt.Result = resultOf(a.Response)
			}
		}
	}
	if out.Receipt == nil && d.Proposal.Say != "" {
		switch {
		case d.Proposal.State == proposals.OutcomeUnknown: // nothing known was sent: the store was restored
			out.Receipt = &model.ProposalReceipt{SettledAs: string(proposals.UnknownOutcome), Message: &d.Proposal.Say}
		case d.Proposal.State.Terminal():
			out.Receipt = &model.ProposalReceipt{SettledAs: strings.ToLower(string(d.Proposal.State)), Message: &d.Proposal.Say}
		}
	}
	return out
}

// receiptOf is what an attempt came to. The words are the proposal's own once it
// rests; while it is tried again they would be about something else.
func receiptOf(p *proposals.Proposal, a *proposals.Attempt) *model.ProposalReceipt {
	out := &model.ProposalReceipt{SettledAs: string(a.SettledAs), Evidence: optional(a.Evidence)}
	if a.ErrorCode != "" {
		code := model.ErrorCode(a.ErrorCode)
		out.Code = &code
	}
	switch {
	case p.Say != "" && (p.State.Terminal() || p.State == proposals.OutcomeUnknown):
		out.Message = &p.Say
	case a.SettledAs == proposals.UnknownOutcome:
		out.Message = optional("nobody can say whether it was done")
	case out.Code != nil:
		out.Message = optional("the system refused it")
	}
	return out
}

// resultOf is what of an effect concerns whoever saw the whole diff: what a call
// answered, and the keys of the records. Records that were read back may hold
// fields that the diff does not.
func resultOf(response json.RawMessage) json.RawMessage {
	var effect connectors.Effect
	if json.Unmarshal(response, &effect) != nil {
		return nil
	}
	type step struct {
		Affected int             `json:"affected"`
		Keys     []string        `json:"keys,omitempty"`
		Result   json.RawMessage `json:"result,omitempty"`
	}
	steps := make([]step, len(effect.Steps))
	for i := range effect.Steps {
		s := &effect.Steps[i]
		steps[i] = step{Affected: s.Affected, Result: s.Result}
		for j := range s.After {
			for _, k := range s.After[j].Key {
				steps[i].Keys = append(steps[i].Keys, k.Value.Text)
			}
		}
	}
	raw, err := json.Marshal(steps)
	if err != nil {
		return nil // plain data
	}
	return raw
}

func decided(s proposals.State) bool {
	switch s {
	case proposals.Approved, proposals.Executing, proposals.OutcomeUnknown, proposals.Partial, proposals.Executed, proposals.Failed, proposals.SettledPartial:
		return true
	}
	return false
}

func when(t time.Time) *time.Time { return &t }

// auditOf reads the newest events of a subject.
func (r *Resolver) auditOf(ctx context.Context, c *Caller, subject string, before int64, limit int) ([]*model.CountersignAuditEvent, error) {
	records, err := r.Audit.Events(ctx, c.Principal.Tenant, subject, before, limit)
	if err != nil {
		return nil, err
	}
	return auditModels(c, records), nil
}

// auditModels are events as the schema has them; payloads are for
// administrators.
func auditModels(c *Caller, records []audit.Record) []*model.CountersignAuditEvent {
	out := make([]*model.CountersignAuditEvent, 0, len(records))
	for i := range records {
		rec := &records[i]
		e := &model.CountersignAuditEvent{At: rec.At, Action: rec.Kind, Actor: "system", Subject: optional(rec.Subject),
			From: optional(rec.From), To: optional(rec.To), Hash: optional(rec.Hash)}
		if rec.Seq > 0 {
			n := int(rec.Seq)
			e.Sequence = &n
		}
		var chain []string
		for _, a := range rec.Actors {
			chain = append(chain, a.ID)
		}
		if len(chain) > 0 {
			e.Actor = strings.Join(chain, " for ")
		}
		if c.Admin() {
			e.Payload = rec.Payload
		}
		out = append(out, e)
	}
	return out
}
