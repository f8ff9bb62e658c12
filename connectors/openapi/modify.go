package openapi

import (
	"bytes"
	"context"
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
)

// modify updates or deletes one record by its key.
func (w *writer) modify(ctx context.Context) error {
	s, c := w.step, w.t.collection
	if err := w.addressed(); err != nil {
		return err
	}
	o, keyArgs, args := c.update, c.updateKey, c.updateArgs
	if s.Kind == connectors.Delete {
		o, keyArgs, args = c.delete, c.deleteKey, nil
		if len(s.Set) > 0 || s.Check != nil {
			return badInput("a delete writes nothing")
		}
	} else if len(s.Set) == 0 {
		return badInput("an update of nothing")
	}
	given, err := w.assigned(args)
	if err != nil {
		return err
	}
	key, err := w.key(s.Key)
	if err != nil {
		return err
	}
	req, err := w.writeRequest(o, keyArgs, key, args, s.Set)
	if err != nil {
		return err
	}
	w.effect.Affected, w.effect.Request = 1, req.Shown()
	before, after, guard, err := w.guarded(ctx, key, given)
	if err != nil {
		return err
	}
	if w.preview {
		w.previewed(before, after)
		w.planned[w.t.place(key)] = after
		if s.Kind == connectors.Delete {
			w.planned[w.t.place(key)] = nil
		}
		return nil
	}
	if guard != "" && o.ifMatch {
		req.Hidden = append(req.Hidden, httpcall.Pair{Name: "If-Match", Value: guard})
	}
	resp, err := w.send(ctx, o, req)
	if err != nil {
		return w.overtaken(ctx, key, err)
	}
	if s.Kind == connectors.Update {
		w.answered(o, resp, c.updatePath, c.updateAnswers)
		if len(w.effect.After) == 0 {
			// It was done; what the system made of it was not told.
			rec := connectors.Record{Fields: []connectors.Assign{}}
			for i, name := range c.spec.Key {
				rec.Key = append(rec.Key, connectors.Assign{Field: name, Value: key[i]})
			}
			w.effect.After = []connectors.Record{rec}
		}
	}
	return nil
}

// overtaken is the error of a write whose record was changed between the reading
// and the write, which the system noticed by the version. What was expected of
// the record decides what is told: it has changed since the approval, or only in
// what nobody expected anything of.
func (w *writer) overtaken(ctx context.Context, key []connectors.Value, refused error) error {
	if len(w.step.Expect) == 0 || w.t.get == nil || connectors.CodeOf(refused) != connectors.CodeVersionConflict {
		return refused
	}
	now, err := w.one(ctx, key)
	if err != nil {
		return refused
	}
	if moved, err := w.moved(now); err == nil && moved != nil {
		return moved
	}
	return refused
}

// addressed refuses steps that do not name one record by its key, and those
// whose conditions could not be checked.
func (w *writer) addressed() error {
	s, c := w.step, w.t.collection
	switch {
	case len(s.Key) == 0:
		return unsupported("%s of %s by condition is not supported", s.Kind, c.name)
	case c.get == nil && (s.Where != nil || s.Check != nil || s.IfVersion != nil || len(s.Expect) > 0):
		return unsupported("%s cannot be read by key, so nothing can be asked of the record before it is written", c.name)
	case s.IfVersion != nil && !c.spec.HasVersion:
		return unsupported("%s has no versions", c.name)
	}
	return nil
}

// key is the key's values in canonical form and in the key's order.
func (w *writer) key(assigns []connectors.Assign) ([]connectors.Value, error) {
	if len(assigns) != len(w.t.spec.Key) {
		return nil, badInput("the key of %s has %d fields", w.t.name, len(w.t.spec.Key))
	}
	key := make([]connectors.Value, len(w.t.spec.Key))
	for i, name := range w.t.spec.Key {
		at := slices.IndexFunc(assigns, func(a connectors.Assign) bool { return a.Field == name })
		if at < 0 {
			return nil, badInput("the key of %s needs %s", w.t.name, name)
		}
		v, ok := canon(assigns[at].Value, w.t.spec.Field(name).Type)
		if !ok {
			return nil, badInput("the value of the key field %s does not fit", name)
		}
		key[i] = v
	}
	return key, nil
}

// guarded reads the record and checks all that must be true of it. guard is the
// version it must still have when the request arrives; "" where it has none.
//
// A change that was decided on (it has expectations) and carries an idempotency
// key may have been done by an earlier attempt whose answer was lost. The
// record then looks as this change leaves it, and does not look as expected.
// The request is sent again: the system knows the key and repeats its answer.
func (w *writer) guarded(ctx context.Context, key []connectors.Value, given map[string]connectors.Value) (before, after *row, guard string, err error) {
	s := w.step
	if w.t.get == nil {
		return nil, w.patched(nil, given), "", nil
	}
	before, planned := w.planned[w.t.place(key)]
	if !planned {
		if before, err = w.one(ctx, key); err != nil {
			return nil, nil, "", err
		}
	}
	moved, err := w.moved(before)
	if err != nil {
		return nil, nil, "", err
	}
	after = w.patched(before, given)
	if moved != nil {
		again := w.t.spec.Acts[s.Kind].Class == connectors.Idempotent && s.IdempotencyKey != "" && len(s.Expect) > 0 && !w.preview
		if again && w.done(before, after) {
			return before, after, "", nil
		}
		return nil, nil, "", moved
	}
	if s.Kind == connectors.Update {
		if err := w.check(after); err != nil {
			return nil, nil, "", err
		}
	}
	guard = before.version
	if s.IfVersion != nil {
		guard = *s.IfVersion
	}
	return before, after, guard, nil
}

func notFound() *connectors.Error {
	return connectors.Errorf(connectors.CodeNotFound, "there is no such record")
}

// moved says why the record is not what the step wants; nil where it is. The
// second error is one of the step itself.
func (w *writer) moved(before *row) (moved *connectors.Error, err error) {
	s := w.step
	holds, err := w.t.condition(s.Where)
	if err != nil {
		return nil, err
	}
	if len(s.Expect) > 0 {
		same, err := w.asExpected(before)
		if err != nil {
			return nil, err
		}
		if !same || holds(before) != isTrue {
			return connectors.Errorf(connectors.CodeProposalStale, "a record has changed since this was approved"), nil
		}
	}
	switch {
	case before == nil || holds(before) != isTrue:
		return notFound(), nil
	case s.IfVersion != nil && *s.IfVersion != before.version:
		return connectors.Errorf(connectors.CodeVersionConflict, "the record has changed since it was read"), nil
	}
	return nil, nil
}

// asExpected compares the record with what the step expects.
func (w *writer) asExpected(before *row) (bool, error) {
	if len(w.step.Expect) != 1 {
		return false, badInput("a write by key expects exactly one record")
	}
	e := w.step.Expect[0]
	want, err := w.key(e.Key)
	if err != nil {
		return false, err
	}
	have, err := w.key(w.step.Key)
	if err != nil || !slices.EqualFunc(want, have, connectors.Value.Equal) {
		return false, err
	}
	if before == nil {
		return false, nil
	}
	for _, a := range e.Fields {
		f := w.t.spec.Field(a.Field)
		if f == nil || f.WriteOnly {
			return false, unsupported("%s has no field %q", w.t.name, a.Field)
		}
		if !sameCell(f, w.cellOf(a.Value, f), w.t.cell(before, f)) {
			return false, nil
		}
	}
	return true, nil
}

// sameCell tells whether two cells of a field mean the same: 7.1 is 7.10, and a
// time is the same with other digits of its second.
func sameCell(f *connectors.Field, a, b []byte) bool {
	if bytes.Equal(a, b) || f.Type.List || f.Type.Leaf() == connectors.ScalarJSON {
		return bytes.Equal(a, b)
	}
	v, errV := connectors.ParseCell(a, f.Type.Leaf())
	w, errW := connectors.ParseCell(b, f.Type.Leaf())
	return errV == nil && errW == nil && !v.IsNull() && !w.IsNull() && meaning(f.Type, v) == meaning(f.Type, w)
}

// cellOf is a value as a cell of a field.
func (w *writer) cellOf(v connectors.Value, f *connectors.Field) []byte {
	if v.IsNull() {
		return []byte(null)
	}
	if v.Kind == connectors.KindJSON {
		return w.t.decoder.append(nil, []byte(v.Text), f.Type, 0)
	}
	raw, err := w.json(nil, v, f.Type, 0)
	if err != nil {
		return nil
	}
	return w.t.decoder.append(nil, raw, f.Type, 0)
}

// done tells whether the record looks as the change leaves it: deleted, or the
// fields written have the new values and all others that were expected are
// unmoved.
func (w *writer) done(before, after *row) bool {
	if before == nil || w.step.Kind == connectors.Delete {
		return before == nil && w.step.Kind == connectors.Delete
	}
	for _, a := range w.step.Set {
		f := w.t.spec.Field(a.Field)
		if f.WriteOnly || !sameCell(f, w.t.cell(before, f), w.t.cell(after, f)) {
			return false
		}
	}
	for _, a := range w.step.Expect[0].Fields {
		f := w.t.spec.Field(a.Field)
		written := slices.ContainsFunc(w.step.Set, func(s connectors.Assign) bool { return s.Field == a.Field })
		if !written && !sameCell(f, w.cellOf(a.Value, f), w.t.cell(before, f)) {
			return false
		}
	}
	return true
}

// previewed keeps the record before and after.
func (w *writer) previewed(before, after *row) {
	if before == nil {
		return
	}
	w.effect.Before = []connectors.Record{w.shown(before)}
	if w.step.Kind == connectors.Update {
		rec := w.shown(after)
		rec.Version = ""
		w.effect.After = []connectors.Record{rec}
	}
}
