package execute

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
)

// An Outcome is what became of a write, as its payload says.
type Outcome string

// The outcomes.
const (
	OutcomeApplied    Outcome = "APPLIED"
	OutcomeProposed   Outcome = "PROPOSED"
	OutcomeAccepted   Outcome = "ACCEPTED"
	OutcomePreviewed  Outcome = "PREVIEWED"
	OutcomeNotApplied Outcome = "NOT_APPLIED"
	OutcomeUnknown    Outcome = "UNKNOWN"
)

// A Mutation is one operation that writes, from its binding to its answer. It is
// used by one goroutine: Prepare, Validate, then Apply or Preview, then Render,
// then Close.
type Mutation struct {
	e *Executor
	p *plan.Plan
	r *run

	// Changes are what would be done, in order, one or more per source. They
	// are made by Prepare and completed by Preview.
	Changes []connectors.Change
	// Effects are what was previewed or done, parallel to Changes; nil where
	// nothing was.
	Effects []*connectors.Effect

	slots    [][]slot // parallel to Changes and their steps
	records  [][]plan.BoundRecord
	written  []written
	needs    bool
	refused  bool
	direct   bool   // the changes are those that Apply does
	once     string // the name given by UseKey; "": none
	unasked  bool   // validators over HTTP are yet to be asked
	proposal string
}

// A slot says which write a step belongs to.
type slot struct{ write, record int }

// written is what is known of one write.
type written struct {
	outcome   Outcome
	errors    []*connectors.Error
	affected  int
	counted   bool
	keys      [][]connectors.Value
	result    []byte
	diffs     []diff
	duplicate bool
	hidden    bool // its record may not be shown
	denied    bool // by the policy
}

// Prepare binds a mutation and finds out whether all of it may be done at once.
// The error is that of the whole request: BAD_INPUT, COST_EXCEEDED; what
// concerns one write is kept for its payload. Close must be called.
func (e *Executor) Prepare(ctx context.Context, p *plan.Plan, in *plan.Bindings) (*Mutation, *connectors.Error) {
	m := &Mutation{e: e, p: p, r: e.start(p, in)}
	m.r.ctx = ctx
	if err := p.Bind(in, &m.r.values); err != nil {
		m.Close()
		return nil, err
	}
	m.written = make([]written, len(p.Writes))
	m.records = make([][]plan.BoundRecord, len(p.Writes))
	for i, w := range p.Writes {
		m.written[i].outcome = OutcomeNotApplied
		m.records[i] = p.BindWrite(w, in, &m.r.values)
		for j := range m.records[i] {
			b := &m.records[i][j]
			if err := m.decide(ctx, w, b); err != nil {
				m.written[i].denied = b.Effect == policy.Denied
				m.refuse(i, err)
				break
			}
			m.validated(i, j)
		}
	}
	m.settleRefused()
	return m, nil
}

// NeedsProposal tells whether some record of the operation may not be written
// at once: then all of it is one proposal.
func (m *Mutation) NeedsProposal() bool { return m.needs && !m.refused }

// Refused tells that a write may not be done or proposed at all, or failed in
// its preview. Nothing of the operation is then done; the payloads say why.
func (m *Mutation) Refused() bool { return m.refused }

// Denials calls fn for each write that the policy denied, before anything else
// was noted of the operation.
func (m *Mutation) Denials(fn func(object string, act connectors.StepKind)) {
	for i := range m.written {
		if m.written[i].denied {
			fn(m.p.Writes[i].Object, m.p.Writes[i].Kind)
		}
	}
}

// Refuse notes an error of every write, such as that of the whole proposal.
func (m *Mutation) Refuse(err *connectors.Error) {
	for i := range m.written {
		m.refuse(i, err)
	}
}

// Spent is what the sources were asked for until now, and how many records were
// written, or are in the proposal.
func (m *Mutation) Spent() (s Spent, written int) {
	for i := range m.written {
		if w := &m.written[i]; w.outcome == OutcomeApplied || w.outcome == OutcomeProposed && !w.duplicate || w.outcome == OutcomeUnknown {
			written += max(w.affected, 1)
		}
	}
	return m.r.spent(), written
}

// Close gives memory back.
func (m *Mutation) Close() {
	if m.r != nil {
		m.r.free()
		m.r = nil
	}
}

func (m *Mutation) refuse(write int, err *connectors.Error) {
	m.refused = true
	m.written[write].outcome = OutcomeNotApplied
	if err.Code == connectors.CodeOutcomeUnknown {
		m.written[write].outcome = OutcomeUnknown
	}
	m.written[write].errors = append(m.written[write].errors, err)
}

// settleRefused gives the siblings of a refused write their reason.
func (m *Mutation) settleRefused() {
	if !m.refused {
		return
	}
	for i := range m.written {
		if len(m.written[i].errors) == 0 {
			m.written[i].errors = append(m.written[i].errors, rolledBack())
		}
	}
}

func rolledBack() *connectors.Error {
	return connectors.Errorf(connectors.CodeRolledBack, "nothing was done: another part of the operation failed")
}

// decide finds out whether a record may be written at once.
func (m *Mutation) decide(ctx context.Context, w *plan.Write, b *plan.BoundRecord) *connectors.Error {
	switch b.Effect {
	case policy.Allow:
		return nil
	case policy.Propose:
		return m.proposable(ctx, w, b)
	}
	if w.Kind == connectors.Call || w.Kind == connectors.Create {
		return connectors.Errorf(connectors.CodeForbidden, "this may not be written")
	}
	// A record that may not be written looks like one that is not there.
	return notFound()
}

func notFound() *connectors.Error {
	return connectors.Errorf(connectors.CodeNotFound, "there is no such record")
}

func (m *Mutation) proposable(ctx context.Context, w *plan.Write, b *plan.BoundRecord) *connectors.Error {
	direct := false
	switch {
	case w.Kind == connectors.Create:
		if direct = b.DirectCreate(); direct {
			b.Step.Check = connectors.And(b.Step.Check, b.DirectCheck)
		}
	case b.Direct == nil:
	case w.Kind == connectors.Call:
		direct = b.DirectCall()
	default:
		seen, err := m.look(ctx, w, b)
		if err != nil {
			return err
		}
		direct = seen.direct
	}
	if !direct {
		m.needs = true
	}
	return nil
}

// changes puts the steps together: those of one atomic source in one change, at
// the place of its first write; those of others one change per write.
func (m *Mutation) changes(direct bool) {
	m.Changes, m.slots = nil, nil
	at := map[string]int{}
	for i, w := range m.p.Writes {
		c, known := at[w.Source]
		if !known || !w.Atomic {
			c = len(m.Changes)
			m.Changes = append(m.Changes, connectors.Change{Version: connectors.ChangeVersion, Source: w.Source, Tenant: m.r.in.Tenant})
			m.slots = append(m.slots, nil)
			at[w.Source] = c
		}
		for j := range m.records[i] {
			b := &m.records[i][j]
			s := b.Step
			if direct && b.Effect == policy.Propose && w.Kind != connectors.Call {
				// What stopped matching since it was looked at is left alone.
				s.Where = connectors.And(s.Where, b.Direct)
			}
			if !direct {
				s.Return, s.Blind = w.Review, w.Blind
			}
			m.Changes[c].Steps = append(m.Changes[c].Steps, s)
			m.slots[c] = append(m.slots[c], slot{i, j})
		}
	}
	for i := range m.Changes {
		if m.once != "" && m.classes(i, connectors.Transactional) {
			digest := m.Changes[i].Digest()
			m.Changes[i].Marker = &connectors.Marker{Proposal: "key:" + m.once, Change: i, ContentHash: hex.EncodeToString(digest[:])}
		}
	}
}

// classes tells whether all steps of a change are of one of these classes.
func (m *Mutation) classes(change int, of ...connectors.OutcomeClass) bool {
	return !slices.ContainsFunc(m.slots[change], func(s slot) bool { return !slices.Contains(of, m.p.Writes[s.write].Class) })
}

// Repeatable tells whether all of the operation, begun under an idempotency key,
// can be begun again under it and has one effect: its sources write a marker
// with it, or know the key themselves.
func (m *Mutation) Repeatable() bool {
	return !slices.ContainsFunc(m.p.Writes, func(w *plan.Write) bool {
		return w.Class != connectors.Transactional && w.Class != connectors.Idempotent
	})
}

// UseKey makes the operation the one of this name, which is unguessable: begun
// again under it, on the systems of the same Repeatable changes, it has one
// effect.
func (m *Mutation) UseKey(run string) {
	m.once = run
	for i := range m.records {
		for j := range m.records[i] {
			s := &m.records[i][j].Step
			sum := sha256.Sum256([]byte(run + "\x00" + s.ID))
			s.IdempotencyKey = hex.EncodeToString(sum[:16])
		}
	}
}

// Sources are those that are written to.
func (m *Mutation) Sources() []string {
	var out []string
	for _, w := range m.p.Writes {
		if !slices.Contains(out, w.Source) {
			out = append(out, w.Source)
		}
	}
	return out
}

// Direct makes the changes that Apply will do, for whoever keeps a record of them
// before. Nil where it must not be called: NeedsProposal or Refused, and before
// Validate.
func (m *Mutation) Direct() []connectors.Change {
	if m.needs || m.refused || m.unasked {
		return nil
	}
	m.changes(true)
	m.Effects, m.direct = make([]*connectors.Effect, len(m.Changes)), true
	return m.Changes
}

// Became says what became of a step of the changes, and the code of the error
// where there was one.
func (m *Mutation) Became(change, step int) (Outcome, connectors.Code) {
	w := &m.written[m.slots[change][step].write]
	if len(w.errors) > 0 {
		return w.outcome, w.errors[0].Code
	}
	return w.outcome, ""
}

// Apply does the operation at once: the changes in order, until one fails. It
// must not be called where NeedsProposal or Refused, nor before Validate.
func (m *Mutation) Apply(ctx context.Context) {
	if m.needs || m.refused || m.unasked {
		m.Refuse(connectors.Errorf(connectors.CodeForbidden, "this may not be written at once"))
		return
	}
	if !m.direct {
		m.Direct()
	}
	ctx, cancel := within(ctx, m.r.limits.Timeout)
	defer cancel()
	for i := range m.Changes {
		steps := m.reads(i)
		effect, err := m.apply(ctx, &m.Changes[i])
		m.Effects[i] = effect
		if err == nil {
			m.keep(steps, effect)
		}
		m.e.Cache.Wrote(m.Changes[i].Source)
		if err != nil {
			m.failed(i, effect, err)
			return
		}
		m.Applied(i, effect)
	}
}

func (m *Mutation) apply(ctx context.Context, c *connectors.Change) (*connectors.Effect, *connectors.Error) {
	source := m.e.Sources[c.Source]
	if source == nil || m.e.Issuer == nil {
		return nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the source is not there")
	}
	permit := m.e.Issuer.Issue(connectors.PermitApply, c, 0, m.deadline(ctx))
	m.r.calls.Add(1)
	effect, err := source.Apply(ctx, permit, c)
	if connectors.CodeOf(err) == connectors.CodeContentChanged && c.Marker != nil {
		return nil, connectors.Errorf(connectors.CodeOutcomeUnknown, "under this key something was done when other rules held, and its answer was lost").WithCause(err)
	}
	if err != nil {
		return effect, connectors.AsError(err)
	}
	if effect == nil || len(effect.Steps) != len(c.Steps) {
		return nil, connectors.Errorf(connectors.CodeOutcomeUnknown, "the source did not say what it did")
	}
	return effect, nil
}

func (m *Mutation) deadline(ctx context.Context) time.Time {
	if t, ok := ctx.Deadline(); ok && m.e.Now == nil {
		return t
	}
	return m.e.now().Add(m.r.limits.Timeout)
}

// Applied notes that a change was done: by Apply, or by the executor of
// proposals while the operation waited. change is its position in Changes.
func (m *Mutation) Applied(change int, effect *connectors.Effect) {
	for j, s := range m.slots[change] {
		if effect != nil && j < len(effect.Steps) {
			m.done(s, &effect.Steps[j])
		}
	}
}

func (m *Mutation) done(s slot, e *connectors.StepEffect) {
	w := &m.written[s.write]
	if w.outcome != OutcomeApplied {
		// What a preview said is over.
		w.outcome, w.counted, w.affected, w.keys, w.diffs = OutcomeApplied, true, 0, nil, nil
	}
	w.affected += e.Affected
	w.result = e.Result
	for i := range e.After {
		if key := keyOf(m.p.Writes[s.write], &e.After[i]); key != nil {
			w.keys = append(w.keys, key)
		}
	}
}

// keyOf is the key's values in the key's order; nil where the record has none.
func keyOf(w *plan.Write, r *connectors.Record) []connectors.Value {
	out := make([]connectors.Value, len(w.KeyFields))
	for i, f := range w.KeyFields {
		if out[i] = r.Get(f); out[i].IsNull() {
			return nil
		}
	}
	return out
}

// failed notes what became of the writes when change i failed: those before it
// were done, what is told as done of it was, the rest was not.
func (m *Mutation) failed(i int, effect *connectors.Effect, err *connectors.Error) {
	done := 0
	if effect != nil {
		done = len(effect.Steps)
	}
	outcome := OutcomeNotApplied
	if err.Code == connectors.CodeOutcomeUnknown {
		outcome = OutcomeUnknown
	}
	fault := err.Step
	if fault < done || fault >= len(m.slots[i]) {
		fault = min(done, len(m.slots[i])-1)
	}
	for j, s := range m.slots[i] {
		w := &m.written[s.write]
		switch {
		case j < done:
			m.done(s, &effect.Steps[j])
			continue
		case outcome == OutcomeUnknown:
			w.errors = append(w.errors, err)
		case s.write == m.slots[i][fault].write:
			if j == fault {
				mine := *err
				mine.Step = s.record
				w.errors = append(w.errors, &mine)
			}
		case len(w.errors) == 0:
			w.errors = append(w.errors, rolledBack())
		}
		w.outcome = outcome
	}
	for _, later := range m.slots[i+1:] {
		for _, s := range later {
			if w := &m.written[s.write]; len(w.errors) == 0 {
				w.errors = append(w.errors, rolledBack())
			}
		}
	}
}

// Proposed notes that the operation became a proposal, or that an equal open one
// is there already.
func (m *Mutation) Proposed(id string, duplicate bool) {
	m.proposal = id
	for i := range m.written {
		m.written[i].outcome, m.written[i].duplicate = OutcomeProposed, duplicate
	}
}

// Accepted notes that the operation will be run in the background.
func (m *Mutation) Accepted() {
	for i := range m.written {
		m.written[i].outcome = OutcomeAccepted
	}
}
