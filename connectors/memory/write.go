package memory

import (
	"context"
	"crypto/sha256"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/countersign/countersign/connectors"
)

// A writer runs one change on a draft of the state.
type writer struct {
	m       *Memory
	ctx     context.Context
	change  *connectors.Change
	draft   *state
	preview bool
	events  []event
	done    []connectors.Step // steps that took effect in the draft
	reused  int               // steps whose idempotency key was known
}

func (m *Memory) apply(ctx context.Context, c *connectors.Change) (*connectors.Effect, error) {
	m.writing.Lock()
	defer m.writing.Unlock()
	w := &writer{m: m, ctx: ctx, change: c, draft: m.state.Load().clone()}
	if c != nil && c.Marker != nil {
		if effect, err := w.marked(); effect != nil || err != nil {
			return effect, err
		}
	}
	effect, err := w.run()
	if err != nil && m.schema.Capabilities.Atomic {
		return nil, err
	}
	// Without Atomic what was done before the failure stays, and is told.
	if err == nil && c.Marker != nil {
		w.mark(effect)
	}
	m.state.Store(w.draft)
	m.effects.add(w.done...)
	m.events.add(w.events)
	return effect, err
}

// marked answers from the marker where there is one, and writes a void one.
func (w *writer) marked() (*connectors.Effect, error) {
	mark := w.change.Marker
	for i := range w.change.Steps {
		if act, err := w.act(i); err != nil {
			return nil, err
		} else if act.Class != connectors.Transactional {
			return nil, unsupported("this write cannot be marked in the same transaction")
		}
	}
	known, ok := w.draft.markers[markerKey{mark.Proposal, mark.Change}]
	switch {
	case ok && known.hash != mark.ContentHash:
		return nil, connectors.Errorf(connectors.CodeContentChanged, "another content was run under this marker")
	case ok && known.void && !mark.Void:
		return nil, connectors.Errorf(connectors.CodeWrongState, "this change was made void and will not run")
	case ok && known.void:
		return &connectors.Effect{Evidence: "void", Repeated: true}, nil
	case ok:
		effect := *known.effect
		effect.Evidence, effect.Repeated = "marker", true
		return &effect, nil
	case mark.Void:
		w.draft.markers[markerKey{mark.Proposal, mark.Change}] = storedMarker{hash: mark.ContentHash, void: true}
		w.m.state.Store(w.draft)
		return &connectors.Effect{Evidence: "void"}, nil
	}
	return nil, nil
}

func (w *writer) mark(effect *connectors.Effect) {
	mark := w.change.Marker
	w.draft.markers[markerKey{mark.Proposal, mark.Change}] = storedMarker{hash: mark.ContentHash, effect: effect}
}

// run performs the steps. On an error the effect holds the steps before it.
func (w *writer) run() (*connectors.Effect, error) {
	if w.change == nil || len(w.change.Steps) == 0 {
		return nil, badInput("a change of nothing")
	}
	effect := &connectors.Effect{Evidence: "committed"}
	if w.preview {
		effect.Evidence = ""
	}
	for i := range w.change.Steps {
		if err := w.ctx.Err(); err != nil {
			return effect, connectors.AsError(err)
		}
		before, events := w.draft, len(w.events)
		w.draft = before.clone()
		step, err := w.step(i)
		if err != nil {
			w.draft, w.events = before, w.events[:events]
			return effect, atStep(err, i)
		}
		effect.Steps = append(effect.Steps, *step)
	}
	effect.Repeated = w.reused == len(w.change.Steps)
	return effect, nil
}

// atStep completes an error with the step it belongs to.
func atStep(err error, i int) error {
	e := *connectors.AsError(err)
	e.Step = i
	e.Path = slices.Concat([]string{strconv.Itoa(i)}, e.Path)
	return &e
}

func (w *writer) act(i int) (*connectors.Act, error) {
	s := &w.change.Steps[i]
	if s.Kind == connectors.Call {
		f := w.m.schema.Function(s.Function)
		if f == nil {
			return nil, unsupported("there is no function %q", s.Function)
		}
		if f.Act == nil {
			return nil, unsupported("%s is not called as a write", s.Function)
		}
		return f.Act, nil
	}
	t := w.draft.tables[s.Collection]
	if t == nil {
		return nil, unsupported("there is no collection %q", s.Collection)
	}
	act := t.meta.Acts[s.Kind]
	if act == nil {
		return nil, unsupported("%s takes no %s", s.Collection, s.Kind)
	}
	return act, nil
}

func (w *writer) step(i int) (*connectors.StepEffect, error) {
	s := &w.change.Steps[i]
	act, err := w.act(i)
	if err != nil {
		return nil, err
	}
	var digest [sha256.Size]byte
	if s.IdempotencyKey != "" && act.Class == connectors.Idempotent && !w.preview {
		digest = (&connectors.Change{Steps: []connectors.Step{*s}}).Digest()
		if known, ok := w.draft.keys[s.IdempotencyKey]; ok {
			if known.digest != digest {
				return nil, connectors.Errorf(connectors.CodeIdempotencyMismatch, "the idempotency key was used for another request")
			}
			w.reused++
			return &known.effect, nil
		}
	}
	var effect *connectors.StepEffect
	switch s.Kind {
	case connectors.Create:
		effect, err = w.create(s)
	case connectors.Update, connectors.Delete:
		effect, err = w.modify(s, act)
	case connectors.Call:
		effect, err = w.call(s)
	}
	if err != nil {
		return nil, err
	}
	if s.Kind != connectors.Call {
		w.done = append(w.done, *s)
	}
	if s.IdempotencyKey != "" && act.Class == connectors.Idempotent && !w.preview {
		w.draft.keys[s.IdempotencyKey] = storedKey{digest, *effect}
	}
	return effect, nil
}

func (w *writer) call(s *connectors.Step) (*connectors.StepEffect, error) {
	f := w.m.schema.Function(s.Function)
	if w.preview {
		if err := accepts(f, s.Args); err != nil {
			return nil, err
		}
		body := string(s.Args.AppendJSON(nil, connectors.ScalarJSON))
		return &connectors.StepEffect{Request: &connectors.Request{Method: "CALL", URL: s.Function, Body: body}}, nil
	}
	result, err := w.m.call(w.ctx, f, s.Args)
	if err != nil {
		return nil, err
	}
	w.m.effects.add(*s) // it ran, whatever becomes of the other steps
	return &connectors.StepEffect{Affected: 1, Result: result.AppendJSON(nil, leafOf(f.Result))}, nil
}

func (w *writer) create(s *connectors.Step) (*connectors.StepEffect, error) {
	t := w.draft.tables[s.Collection]
	if len(s.Key) > 0 || s.Where != nil || s.IfVersion != nil || len(s.Expect) > 0 {
		return nil, badInput("a create takes fields and a check only")
	}
	given, err := w.assigns(t, s.Set, connectors.Create)
	if err != nil {
		return nil, err
	}
	r := &row{vals: make([]connectors.Value, len(t.meta.Fields))}
	var unpredictable []string
	for i, f := range t.meta.Fields {
		v, ok := given[f.Name]
		switch {
		case ok:
			r.vals[i] = v
		case f.DefaultValue != nil:
			if r.vals[i], err = canon(f.Type, *f.DefaultValue); err != nil {
				return nil, badInput("the default of %s: %v", f.Name, err)
			}
			r.vals[i] = kept(f, r.vals[i])
		case f.Default || f.ReadOnly && !f.Nullable:
			r.vals[i] = w.generate(t, i)
			unpredictable = append(unpredictable, f.Name)
		case f.Nullable:
			r.vals[i] = connectors.Null
		default:
			return nil, connectors.Errorf(connectors.CodeValidationFailed, "%s must be given", f.Name).At(f.Name)
		}
	}
	w.draft.version++
	r.version = w.draft.version + 1
	t.rows = append(t.rows, r)
	if err := w.settle(t, s, map[*row]bool{r: true}); err != nil {
		return nil, err
	}
	w.emit(t, connectors.Create, r)
	effect := &connectors.StepEffect{Affected: 1}
	if w.preview {
		effect.After = []connectors.Record{predictable(t.record(r, shown(s)), unpredictable)}
		effect.Unpredictable = unpredictable
		return effect, nil
	}
	effect.After = []connectors.Record{t.record(r, s.Return)}
	return effect, nil
}

// predictable takes from a previewed record what the system decides when it
// runs.
func predictable(rec connectors.Record, unpredictable []string) connectors.Record {
	decided := func(a connectors.Assign) bool { return slices.Contains(unpredictable, a.Field) }
	rec.Fields = slices.DeleteFunc(rec.Fields, decided)
	if slices.ContainsFunc(rec.Key, decided) {
		rec.Key = nil
	}
	rec.Version = ""
	return rec
}

// shown are the fields of a preview: those asked for and those written.
func shown(s *connectors.Step) []string {
	fields := slices.Clone(s.Return)
	for _, a := range s.Set {
		fields = append(fields, a.Field)
	}
	return fields
}

// generate makes a value as a system does: the next number, a random id, now.
func (w *writer) generate(t *table, i int) connectors.Value {
	f := t.meta.Fields[i]
	switch f.Type.Leaf() {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		next := int64(1)
		for _, r := range t.rows {
			if n, ok := r.vals[i].Int64(); ok && n >= next {
				next = n + 1
			}
		}
		return connectors.Int(next)
	case connectors.ScalarUUID:
		return connectors.String(uuid.NewString())
	case connectors.ScalarDateTime:
		return connectors.String(w.m.Now().UTC().Format(layoutDateTime))
	case connectors.ScalarLocalDateTime:
		return connectors.String(w.m.Now().UTC().Format(layoutLocal))
	case connectors.ScalarDate:
		return connectors.String(w.m.Now().UTC().Format(layoutDate))
	case connectors.ScalarString, connectors.ScalarID:
		if f.Type.Enum == "" {
			return connectors.String(uuid.NewString())
		}
	}
	return connectors.Null
}

// assigns checks written values, and returns them as they will be kept. An
// increment is returned as given.
func (w *writer) assigns(t *table, set []connectors.Assign, kind connectors.StepKind) (map[string]connectors.Value, error) {
	invalid := func(field, problem string) error {
		return connectors.Errorf(connectors.CodeValidationFailed, "%s: %s", field, problem).At(field)
	}
	out := make(map[string]connectors.Value, len(set))
	for _, a := range set {
		i, ok := t.index[a.Field]
		if !ok {
			return nil, unsupported("there is no field %q", a.Field).(*connectors.Error).At(a.Field)
		}
		f := t.meta.Fields[i]
		_, twice := out[a.Field]
		switch {
		case twice:
			return nil, badInput("%s is written twice", a.Field).(*connectors.Error).At(a.Field)
		case f.ReadOnly || f.CreateOnly && kind == connectors.Update:
			return nil, invalid(a.Field, "this field cannot be written")
		case a.Increment && kind == connectors.Create:
			return nil, badInput("a create increments nothing").(*connectors.Error).At(a.Field)
		}
		v, err := canon(f.Type, a.Value)
		if err != nil {
			return nil, invalid(a.Field, err.Error())
		}
		if a.Increment {
			if _, number := connectors.AggSum.ScalarOf(f.Type.Leaf()); !number || f.Type.List || v.IsNull() {
				return nil, invalid(a.Field, "only a number can be added, and only to a number")
			}
			out[a.Field] = v
			continue
		}
		if problem := fits(f, t.enums[i], v); problem != "" {
			return nil, invalid(a.Field, problem)
		}
		out[a.Field] = kept(f, v)
	}
	return out, nil
}

// settle checks what must hold of the rows a step wrote.
func (w *writer) settle(t *table, s *connectors.Step, touched map[*row]bool) error {
	if w.preview && s.Blind {
		return nil
	}
	if err := w.draft.constraints(t, touched); err != nil {
		b, ok := err.(*broken)
		if !ok {
			return err
		}
		message := "another record has the same value"
		if b.code == connectors.CodeReferenceViolation {
			message = "a related record is missing, or still refers to this one"
		}
		e := connectors.Errorf(b.code, "%s", message)
		for _, a := range s.Set {
			if slices.Contains(b.fields, a.Field) {
				return e.At(a.Field)
			}
		}
		return e
	}
	check, err := (&compiler{schema: w.m.schema, st: w.draft}).condition(t, s.Check)
	if err != nil {
		return err
	}
	for r := range touched {
		if check(w.draft, r) != isTrue {
			return connectors.Errorf(connectors.CodeCheckViolation, "the record would not be one that may be written")
		}
	}
	return nil
}

func (w *writer) emit(t *table, kind connectors.StepKind, r *row) {
	key := t.record(r, nil).Key
	w.events = append(w.events, event{Event: connectors.Event{Collection: t.meta.Name, Kind: kind, Key: key}, row: r, st: w.draft})
}
