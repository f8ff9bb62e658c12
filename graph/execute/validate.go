package execute

import (
	"context"
	"slices"

	"github.com/countersign/countersign/policy"
)

// validated notes what the validators said of a record when it was bound.
func (m *Mutation) validated(write, record int) {
	b := &m.records[write][record]
	for _, err := range b.Invalid {
		err.Step = record
		m.refuse(write, err)
	}
	m.needs = m.needs || b.Held()
	m.unasked = m.unasked || slices.ContainsFunc(b.Checks, func(c policy.Check) bool { return c.Verdict == policy.Unasked })
}

// Validate asks the validators that are services of their own about all that is
// written. It must be called before Apply and Preview, which refuse otherwise;
// where nothing has such validators it does nothing. What cannot be done for
// another reason is not asked about.
func (m *Mutation) Validate(ctx context.Context) {
	if !m.unasked || m.refused {
		return
	}
	m.unasked = false
	ctx, cancel := within(ctx, m.r.limits.Timeout)
	defer cancel()
	var questions []*policy.Question
	var at []slot
	for i, w := range m.p.Writes {
		for j := range m.records[i] {
			b := &m.records[i][j]
			questions = append(questions, &policy.Question{Writing: b.Writing(w, m.r.in), Checks: b.Checks})
			at = append(at, slot{i, j})
		}
	}
	m.r.in.Validators.AskRemote(ctx, m.e.Asker, questions)
	for i, q := range questions {
		m.needs = m.needs || m.records[at[i].write][at[i].record].Held()
		for _, err := range q.Refusals {
			err.Step = at[i].record
			m.refuse(at[i].write, err)
		}
	}
	m.settleRefused()
}

// Checks are the validators that looked at a step of Changes, in the order of
// the file.
func (m *Mutation) Checks(change, step int) []policy.Check {
	if change >= len(m.slots) || step >= len(m.slots[change]) {
		return nil
	}
	s := m.slots[change][step]
	return m.records[s.write][s.record].Checks
}
