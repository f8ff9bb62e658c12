package sql

import (
	"context"
	"slices"

	"github.com/countersign/countersign/connectors"
)

// create inserts a record and reads it again by its key, after triggers.
func (w *writing) create(ctx context.Context, t *table, s *connectors.Step) (*connectors.StepEffect, error) {
	set, err := w.creation(t, s)
	if err != nil {
		return nil, err
	}
	var key []connectors.Column
	for _, k := range t.coll.Key {
		key = append(key, connectors.Column{Field: k})
	}
	if len(key) == 0 {
		return w.createKeyless(ctx, t, s, set)
	}
	st, err := compileInsert(w.e.model, t, set, key, nil)
	if err != nil {
		return nil, err
	}
	block, _, err := w.run(ctx, st)
	if err != nil {
		return nil, w.blame(ctx, t, s, set, err)
	}
	if block.Rows() == 0 {
		return nil, connectors.Errorf(connectors.CodeCheckViolation, "the database did not take the record")
	}
	made := make([]connectors.Value, len(key))
	for i, k := range t.coll.Key {
		if made[i], err = connectors.ParseCell(block.Cell(0, i), t.columns[k].typ.scalar); err != nil {
			return nil, err
		}
	}
	after, err := w.reread(ctx, t, s, [][]connectors.Value{made}, nil)
	if err != nil {
		return nil, err
	}
	return &connectors.StepEffect{Affected: 1, After: after}, nil
}

// creation checks a create before anything is sent.
func (w *writing) creation(t *table, s *connectors.Step) ([]assignment, error) {
	if len(s.Key) > 0 || s.Where != nil || s.IfVersion != nil || len(s.Expect) > 0 {
		return nil, connectors.Errorf(connectors.CodeBadInput, "a create takes fields and a check only")
	}
	return w.input(t, s)
}

// createKeyless returns the record from the statement itself: nothing names it
// afterwards.
func (w *writing) createKeyless(ctx context.Context, t *table, s *connectors.Step, set []assignment) (*connectors.StepEffect, error) {
	fields := w.wanted(t, s)
	var columns []connectors.Column
	for _, f := range fields {
		columns = append(columns, connectors.Column{Field: f})
	}
	check := s.Check
	if check == nil {
		check = &connectors.Condition{Op: connectors.OpTrue}
	}
	st, err := compileInsert(w.e.model, t, set, columns, check)
	if err != nil {
		return nil, err
	}
	block, _, err := w.run(ctx, st)
	if err != nil {
		return nil, w.blame(ctx, t, s, set, err)
	}
	if block.Rows() == 0 || string(block.Cell(0, block.Columns-1)) != "1" {
		return nil, connectors.Errorf(connectors.CodeCheckViolation, "the record would not be one that may be written")
	}
	tg := target{fields: make(map[string]connectors.Value)}
	for i, f := range fields {
		if tg.fields[f], err = connectors.ParseCell(block.Cell(0, i), t.columns[f].typ.scalar); err != nil {
			return nil, err
		}
	}
	return &connectors.StepEffect{Affected: 1, After: []connectors.Record{record(t, tg, fields)}}, nil
}

// wanted are the fields that a step's records hold in the effect.
func (w *writing) wanted(t *table, s *connectors.Step) []string {
	fields := slices.Clone(s.Return)
	if w.images {
		for _, a := range s.Set {
			fields = append(fields, a.Field)
		}
	}
	return slices.DeleteFunc(distinct(fields), func(f string) bool { return t.coll.Field(f) != nil && t.coll.Field(f).WriteOnly })
}

// record is a target as a record of the contract.
func record(t *table, tg target, fields []string) connectors.Record {
	r := connectors.Record{Fields: []connectors.Assign{}, Version: tg.version}
	for i, k := range t.coll.Key {
		r.Key = append(r.Key, connectors.Assign{Field: k, Value: tg.key[i]})
	}
	for _, f := range t.coll.Fields {
		if slices.Contains(fields, f.Name) {
			r.Fields = append(r.Fields, connectors.Assign{Field: f.Name, Value: tg.fields[f.Name]})
		}
	}
	return r
}

// reread reads records after the statement, as triggers left them, and checks
// them.
func (w *writing) reread(ctx context.Context, t *table, s *connectors.Step, keys [][]connectors.Value, before []target) ([]connectors.Record, error) {
	fields := w.wanted(t, s)
	for _, a := range s.Set {
		if a.Increment {
			fields = append(fields, a.Field)
		}
	}
	if s.Check == nil && len(fields) == 0 && !t.hasVersion {
		out := make([]connectors.Record, len(keys))
		for i, key := range keys {
			out[i] = record(t, target{key: key}, nil)
		}
		return out, nil
	}
	found, err := w.fetch(ctx, t, reading{t: t, where: keyCondition(t, keys), check: s.Check}, fields)
	if err != nil {
		return nil, err
	}
	if s.Check != nil && len(found) < len(keys) {
		return nil, connectors.Errorf(connectors.CodeCheckViolation, "the record would not be one that may be written")
	}
	if err := w.sums(t, s, before, found); err != nil {
		return nil, err
	}
	var out []connectors.Record
	for _, tg := range found {
		out = append(out, record(t, tg, w.wanted(t, s)))
	}
	return out, nil
}

// sums finds results of increments that the column does not hold as they are.
// SQLite keeps any number in any column, and makes a double of an integer that
// is too large, which reads as null.
func (w *writing) sums(t *table, s *connectors.Step, before, after []target) error {
	for _, a := range s.Set {
		for i := range after {
			if !a.Increment {
				continue
			}
			v := after[i].fields[a.Field]
			if v.IsNull() && i < len(before) && !before[i].fields[a.Field].IsNull() {
				return connectors.Errorf(connectors.CodeValidationFailed, "the sum is too large for the field").At(a.Field)
			}
			if problem := w.e.accepts(t.columns[a.Field].field, v); problem != "" && !v.IsNull() {
				return connectors.Errorf(connectors.CodeValidationFailed, "%s", problem).At(a.Field)
			}
		}
	}
	return nil
}

// update changes the records of a step.
func (w *writing) update(ctx context.Context, t *table, s *connectors.Step, act *connectors.Act) (*connectors.StepEffect, error) {
	set, err := w.input(t, s)
	if err != nil {
		return nil, err
	}
	var added []string
	for _, a := range set {
		if a.add {
			if !act.Increment {
				return nil, connectors.Errorf(connectors.CodeUnsupported, "the field cannot be incremented").At(a.col.name)
			}
			added = append(added, a.col.name)
		}
	}
	if w.simple(s) && len(added) == 0 {
		return w.updateOne(ctx, t, s, set)
	}
	targets, err := w.targets(ctx, t, s, act, append(added, w.wanted(t, s)...))
	if err != nil {
		return nil, err
	}
	effect := w.effect(t, s, targets)
	if len(targets) == 0 {
		return effect, nil
	}
	keys := keysOf(targets)
	st, err := compileUpdate(w.e.model, t, set, connectors.And(keyCondition(t, keys), s.Where))
	if err != nil {
		return nil, err
	}
	_, n, err := w.run(ctx, st)
	if err != nil {
		return nil, w.blame(ctx, t, s, set, err)
	}
	if n != len(targets) {
		return nil, movedMeanwhile(s)
	}
	if keys, err = keysAfter(t, set, keys); err != nil {
		return nil, err
	}
	if effect.After, err = w.reread(ctx, t, s, keys, targets); err != nil {
		return nil, err
	}
	return effect, nil
}

// simple tells whether a step needs nothing read before its statement.
func (w *writing) simple(s *connectors.Step) bool {
	return len(s.Key) > 0 && len(s.Expect) == 0 && s.IfVersion == nil && !w.probe && !w.images
}

// updateOne updates the record of a key without reading it first.
func (w *writing) updateOne(ctx context.Context, t *table, s *connectors.Step, set []assignment) (*connectors.StepEffect, error) {
	key, err := w.key(t, s.Key)
	if err != nil {
		return nil, err
	}
	keys := [][]connectors.Value{key}
	st, err := compileUpdate(w.e.model, t, set, connectors.And(keyCondition(t, keys), s.Where))
	if err != nil {
		return nil, err
	}
	_, n, err := w.run(ctx, st)
	if err != nil {
		return nil, w.blame(ctx, t, s, set, err)
	}
	if err := one(n); err != nil {
		return nil, err
	}
	if keys, err = keysAfter(t, set, keys); err != nil {
		return nil, err
	}
	after, err := w.reread(ctx, t, s, keys, nil)
	if err != nil {
		return nil, err
	}
	return &connectors.StepEffect{Affected: 1, After: after}, nil
}

// one checks that a statement by key touched one record.
func one(n int) error {
	switch {
	case n == 0:
		return notFound()
	case n > 1:
		return connectors.Errorf(connectors.CodeRowCapExceeded, "the key stands for more than one record")
	}
	return nil
}

func keysOf(targets []target) [][]connectors.Value {
	keys := make([][]connectors.Value, len(targets))
	for i := range targets {
		keys[i] = targets[i].key
	}
	return keys
}

// keysAfter are the keys after an update that may change them.
func keysAfter(t *table, set []assignment, keys [][]connectors.Value) ([][]connectors.Value, error) {
	changed := false
	out := make([][]connectors.Value, len(keys))
	for i := range keys {
		out[i] = slices.Clone(keys[i])
	}
	for _, a := range set {
		if j := slices.Index(t.coll.Key, a.col.name); j >= 0 {
			changed = true
			for i := range out {
				out[i][j] = a.value
			}
		}
	}
	if changed && len(keys) > 1 {
		return nil, connectors.Errorf(connectors.CodeUnsupported, "keys of several records at once cannot be changed")
	}
	return out, nil
}

// movedMeanwhile: the locked records no longer match, which a condition on
// related records can bring about.
func movedMeanwhile(s *connectors.Step) error {
	if len(s.Expect) > 0 {
		return stale()
	}
	return connectors.Errorf(connectors.CodeRolledBack, "related records changed at the same time; nothing was done")
}

// effect is what is known before the statement.
func (w *writing) effect(t *table, s *connectors.Step, targets []target) *connectors.StepEffect {
	effect := &connectors.StepEffect{Affected: len(targets)}
	if w.images {
		for _, tg := range targets {
			effect.Before = append(effect.Before, record(t, tg, w.wanted(t, s)))
		}
	}
	return effect
}

// remove deletes the records of a step.
func (w *writing) remove(ctx context.Context, t *table, s *connectors.Step, act *connectors.Act) (*connectors.StepEffect, error) {
	if len(s.Set) > 0 || s.Check != nil {
		return nil, connectors.Errorf(connectors.CodeBadInput, "a delete writes nothing")
	}
	effect := &connectors.StepEffect{Affected: 1}
	var keys [][]connectors.Value
	if w.simple(s) {
		key, err := w.key(t, s.Key)
		if err != nil {
			return nil, err
		}
		keys = [][]connectors.Value{key}
	} else {
		targets, err := w.targets(ctx, t, s, act, w.wanted(t, s))
		if err != nil {
			return nil, err
		}
		effect = w.effect(t, s, targets)
		if len(targets) == 0 {
			return effect, nil
		}
		keys = keysOf(targets)
	}
	st, err := compileDelete(w.e.model, t, connectors.And(keyCondition(t, keys), s.Where))
	if err != nil {
		return nil, err
	}
	_, n, err := w.run(ctx, st)
	if err != nil {
		return nil, w.blame(ctx, t, s, nil, err)
	}
	if w.simple(s) {
		return effect, one(n)
	}
	if n != effect.Affected {
		return nil, movedMeanwhile(s)
	}
	return effect, nil
}
