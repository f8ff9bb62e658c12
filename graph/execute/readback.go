package execute

import (
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// reads asks for what is selected of the written records together with a change,
// where it can be said before what that is: one record, by a key that stays. A
// connector that can gives it in the same round trip, of the state that the
// change itself left. The steps are those of the change's Reads.
func (m *Mutation) reads(change int) []*plan.Step {
	c := &m.Changes[change]
	if len(c.Steps) != 1 || c.Steps[0].Kind != connectors.Update {
		return nil
	}
	step, write := &c.Steps[0], m.slots[change][0].write
	key := keyOf(m.p.Writes[write], &connectors.Record{Key: step.Key})
	if key == nil || slices.ContainsFunc(step.Set, func(a connectors.Assign) bool { return slices.Contains(m.p.Writes[write].KeyFields, a.Field) }) {
		return nil
	}
	queries := []*connectors.Query{} // of none: the keys are all that is wanted
	var out []*plan.Step
	for _, s := range m.p.Steps {
		if s.Write == nil || s.Write.Index != write {
			continue
		}
		sel := m.r.values.Select(s)
		if s.Group >= 0 || len(s.Children) > 0 || plan.Nothing(sel.Where) || m.e.Cache.keeps(s) > 0 {
			return nil
		}
		queries = append(queries, &connectors.Query{Select: sel, Args: m.r.values.Step(s), Bind: [][]connectors.Value{key}})
		out = append(out, s)
	}
	c.Reads = queries
	return out
}

// keep takes the answers that came with an effect, for Render.
func (m *Mutation) keep(steps []*plan.Step, effect *connectors.Effect) {
	if len(steps) == 0 || len(effect.Reads) != len(steps) {
		return
	}
	if m.r.given == nil {
		m.r.given = make(map[int]*connectors.Block, len(steps))
	}
	for i, s := range steps {
		m.r.given[s.ID] = effect.Reads[i]
	}
}
