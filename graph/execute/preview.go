package execute

import (
	"context"
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// Preview finds out what the operation would do, and does not do it. It makes
// Changes as they would be stored: with what must still be true of the records
// (Expect), and without values to come. Where a preview fails, Refused is true
// and the payloads say why.
func (m *Mutation) Preview(ctx context.Context) {
	if m.unasked {
		m.Refuse(connectors.Errorf(connectors.CodeForbidden, "the validators of this were not asked"))
	}
	if m.refused {
		return
	}
	m.changes(false)
	m.Effects = make([]*connectors.Effect, len(m.Changes))
	ctx, cancel := within(ctx, m.r.limits.Timeout)
	defer cancel()
	for i := range m.Changes {
		effect, err := m.preview(ctx, &m.Changes[i])
		if err != nil {
			fault := min(max(err.Step, 0), len(m.slots[i])-1)
			m.refuse(m.slots[i][fault].write, err)
			m.settleRefused()
			return
		}
		m.Effects[i] = effect
		for j, s := range m.slots[i] {
			m.previewed(ctx, s, &m.Changes[i].Steps[j], &effect.Steps[j])
		}
	}
}

func (m *Mutation) preview(ctx context.Context, c *connectors.Change) (*connectors.Effect, *connectors.Error) {
	source := m.e.Sources[c.Source]
	if source == nil || m.e.Issuer == nil {
		return nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the source is not there")
	}
	permit := m.e.Issuer.Issue(connectors.PermitPreview, c, 0, m.deadline(ctx))
	m.r.calls.Add(1)
	effect, err := source.Preview(ctx, permit, c)
	if err != nil {
		return nil, connectors.AsError(err)
	}
	if effect == nil || len(effect.Steps) != len(c.Steps) {
		return nil, connectors.Errorf(connectors.CodeInternal, "the source did not say what it would do")
	}
	return effect, nil
}

// previewed keeps what a step would do for the payload, and completes the step
// with what must still be true when it runs.
func (m *Mutation) previewed(ctx context.Context, s slot, step *connectors.Step, e *connectors.StepEffect) {
	w, known := m.p.Writes[s.write], &m.written[s.write]
	known.outcome = OutcomePreviewed
	known.affected += e.Affected
	// What a call affects is the source's own business.
	known.counted = w.Kind != connectors.Call
	b := &m.records[s.write][s.record]
	if b.Visible != nil && len(step.Key) > 0 {
		seen, err := m.look(ctx, w, b)
		known.hidden = err != nil || !seen.visible
	}
	if !known.hidden {
		known.diffs = append(known.diffs, diffs(w, e)...)
	}
	if step.Kind == connectors.Update || step.Kind == connectors.Delete {
		step.Expect = expectations(w, e)
	}
}

// expectations are the values that what was shown and decided rests on: those
// written, those the policy's conditions read, those the diff shows.
func expectations(w *plan.Write, e *connectors.StepEffect) []connectors.Expectation {
	var out []connectors.Expectation
	for i := range e.Before {
		r := &e.Before[i]
		if len(r.Key) == 0 {
			continue
		}
		x := connectors.Expectation{Key: r.Key}
		for _, f := range r.Fields {
			if !slices.Contains(w.KeyFields, f.Field) {
				x.Fields = append(x.Fields, f)
			}
		}
		out = append(out, x)
	}
	return out
}
