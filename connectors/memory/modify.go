package memory

import (
	"slices"
	"strconv"

	"github.com/countersign/countersign/connectors"
)

// modify updates or deletes the records that a step addresses.
func (w *writer) modify(s *connectors.Step, act *connectors.Act) (*connectors.StepEffect, error) {
	t := w.draft.tables[s.Collection]
	if s.Kind == connectors.Delete && (len(s.Set) > 0 || s.Check != nil) {
		return nil, badInput("a delete writes nothing")
	}
	if i := slices.IndexFunc(s.Set, func(a connectors.Assign) bool { return a.Increment }); i >= 0 && !act.Increment {
		return nil, unsupported("%s cannot be incremented", s.Set[i].Field)
	}
	given, err := w.assigns(t, s.Set, connectors.Update)
	if err != nil {
		return nil, err
	}
	if s.Kind == connectors.Update && len(given) == 0 {
		return nil, badInput("an update of nothing")
	}
	targets, err := w.targets(t, s, act)
	if err != nil {
		return nil, err
	}
	effect := &connectors.StepEffect{Affected: len(targets)}
	if w.preview {
		for _, r := range targets {
			effect.Before = append(effect.Before, t.record(r, shown(s)))
		}
	}
	if s.Kind == connectors.Delete {
		t.rows = slices.DeleteFunc(t.rows, func(r *row) bool { return slices.Contains(targets, r) })
		if err := w.settle(t, s, nil); err != nil {
			return nil, err
		}
		for _, r := range targets {
			w.emit(t, connectors.Delete, r)
		}
		return effect, nil
	}
	written := map[*row]bool{}
	after := make([]*row, 0, len(targets))
	for _, r := range targets {
		updated, err := w.update(t, s, r, given)
		if err != nil {
			return nil, err
		}
		t.rows[slices.Index(t.rows, r)] = updated
		written[updated] = true
		after = append(after, updated)
	}
	if err := w.settle(t, s, written); err != nil {
		return nil, err
	}
	fields := s.Return
	if w.preview {
		fields = shown(s)
	}
	for _, r := range after {
		w.emit(t, connectors.Update, r)
		effect.After = append(effect.After, t.record(r, fields))
	}
	return effect, nil
}

// update makes the row after the assignments.
func (w *writer) update(t *table, s *connectors.Step, r *row, given map[string]connectors.Value) (*row, error) {
	w.draft.version++
	updated := &row{vals: slices.Clone(r.vals), version: w.draft.version + 1}
	for _, a := range s.Set {
		i := t.index[a.Field]
		f := t.meta.Fields[i]
		v := given[a.Field]
		if a.Increment {
			if v = connectors.Null; !r.vals[i].IsNull() {
				v = reduce(connectors.AggSum, f.Type.Leaf(), []connectors.Value{r.vals[i], given[a.Field]})
			}
			if problem := fits(f, t.enums[i], v); problem != "" {
				return nil, connectors.Errorf(connectors.CodeValidationFailed, "%s: %s", a.Field, problem).At(a.Field)
			}
			v = kept(f, v)
		}
		updated.vals[i] = v
	}
	return updated, nil
}

// targets are the rows a step addresses, in the order of their keys. Guards are
// checked here: what was expected, the version, the bound.
func (w *writer) targets(t *table, s *connectors.Step, act *connectors.Act) ([]*row, error) {
	where, err := (&compiler{schema: w.m.schema, st: w.draft}).condition(t, s.Where)
	if err != nil {
		return nil, err
	}
	switch {
	case len(s.Key) == 0 && !act.ByFilter:
		return nil, unsupported("%s of %s by condition is not supported", s.Kind, s.Collection)
	case len(s.Key) == 0 && s.Where == nil:
		return nil, badInput("neither a key nor a condition says which records")
	case len(s.Key) == 0 && s.MaxRows <= 0:
		return nil, badInput("a write by condition needs a bound")
	case len(s.Key) == 0 && s.IfVersion != nil:
		return nil, badInput("a version is compared of one record, by key")
	}
	if len(s.Expect) > 0 {
		return w.expected(t, s, where)
	}
	var found []*row
	if len(s.Key) > 0 {
		r, err := byKey(t, s.Key)
		if err != nil {
			return nil, err
		}
		if r == nil || where(w.draft, r) != isTrue {
			return nil, connectors.Errorf(connectors.CodeNotFound, "there is no such record")
		}
		if err := versionHolds(t, s, r); err != nil {
			return nil, err
		}
		return []*row{r}, nil
	}
	for _, r := range t.rows {
		if where(w.draft, r) == isTrue {
			found = append(found, r)
		}
	}
	if len(found) > s.MaxRows {
		return nil, connectors.Errorf(connectors.CodeRowCapExceeded, "more than %d records match", s.MaxRows)
	}
	sortByKey(t, found)
	return found, nil
}

func versionHolds(t *table, s *connectors.Step, r *row) error {
	if s.IfVersion == nil {
		return nil
	}
	if !t.meta.HasVersion && t.meta.VersionField == "" {
		return unsupported("%s has no versions", t.meta.Name)
	}
	if t.versionOf(r) != *s.IfVersion {
		return connectors.Errorf(connectors.CodeVersionConflict, "the record has changed since it was read")
	}
	return nil
}

// expected are exactly the rows of Step.Expect, unmoved.
func (w *writer) expected(t *table, s *connectors.Step, where predicate) ([]*row, error) {
	stale := connectors.Errorf(connectors.CodeProposalStale, "a record has changed since this was approved")
	var found []*row
	for _, e := range s.Expect {
		r, err := byKey(t, e.Key)
		if err != nil {
			return nil, err
		}
		if r == nil || where(w.draft, r) != isTrue || slices.Contains(found, r) {
			return nil, stale
		}
		for _, a := range e.Fields {
			f := t.field(a.Field)
			if f == nil {
				return nil, unsupported("there is no field %q", a.Field)
			}
			want, err := canon(f.Type, a.Value)
			if err != nil {
				return nil, badInput("an expected value of %s: %v", a.Field, err)
			}
			if v := t.value(r, a.Field); v.IsNull() != want.IsNull() || !v.IsNull() && !kept(f, want).Equal(v) {
				return nil, stale
			}
		}
		found = append(found, r)
	}
	if len(s.Key) > 0 {
		r, err := byKey(t, s.Key)
		if err != nil {
			return nil, err
		}
		if len(found) != 1 || found[0] != r {
			return nil, stale
		}
		if err := versionHolds(t, s, r); err != nil {
			return nil, err
		}
	} else if len(found) > s.MaxRows {
		return nil, connectors.Errorf(connectors.CodeRowCapExceeded, "more than %d records are expected", s.MaxRows)
	}
	sortByKey(t, found)
	return found, nil
}

// byKey finds the row of a whole key; nil where there is none.
func byKey(t *table, key []connectors.Assign) (*row, error) {
	if len(t.meta.Key) == 0 {
		return nil, unsupported("%s has no key", t.meta.Name)
	}
	if len(key) != len(t.meta.Key) {
		return nil, badInput("the key of %s has %s fields", t.meta.Name, strconv.Itoa(len(t.meta.Key)))
	}
	want := map[string]connectors.Value{}
	for _, a := range key {
		if !slices.Contains(t.meta.Key, a.Field) {
			return nil, badInput("%q is not of the key of %s", a.Field, t.meta.Name)
		}
		v, err := canon(t.field(a.Field).Type, a.Value)
		if err != nil || v.IsNull() {
			return nil, badInput("the value of the key field %s does not fit", a.Field)
		}
		want[a.Field] = v
	}
	if len(want) != len(t.meta.Key) {
		return nil, badInput("a key with one field twice")
	}
	for _, r := range t.rows {
		if !slices.ContainsFunc(t.meta.Key, func(k string) bool {
			return Compare(t.field(k).Type.Leaf(), t.value(r, k), want[k]) != 0
		}) {
			return r, nil
		}
	}
	return nil, nil
}

func sortByKey(t *table, rows []*row) {
	slices.SortStableFunc(rows, func(a, b *row) int {
		for _, k := range t.meta.Key {
			if c := Compare(t.field(k).Type.Leaf(), t.value(a, k), t.value(b, k)); c != 0 {
				return c
			}
		}
		return 0
	})
}
