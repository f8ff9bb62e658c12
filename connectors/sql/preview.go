package sql

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/countersign/countersign/connectors"
)

// Preview tells what Apply would do. By the strategy read nothing runs: the
// records are read, and what they would be is computed by the database from the
// input. By the strategy rollback the steps run in a short transaction that
// never waits for a lock and is rolled back; that uses up numbers of sequences.
// One step that asks for rollback makes it the whole change's.
func (e *Engine) Preview(ctx context.Context, _ *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	w, err := e.writing(c)
	if err != nil {
		return nil, err
	}
	if c.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Deadline)
		defer cancel()
	}
	w.images = true
	mode := txRead
	if w.rollsBack() {
		mode, w.probe = txProbe, true
	} else {
		w.read = true
	}
	if w.tx, err = e.db.begin(ctx, mode); err != nil {
		return nil, w.ended(ctx, coded(err))
	}
	defer w.tx.rollback()
	effect := &connectors.Effect{}
	for i := range c.Steps {
		step, err := w.preview(ctx, i)
		if err != nil {
			return nil, w.ended(ctx, w.atStep(i, err))
		}
		effect.Steps = append(effect.Steps, *step)
		w.written[c.Steps[i].Collection] = true
	}
	if w.probe && e.d.name() == Postgres {
		if _, _, err := w.run(ctx, &statement{sql: "set constraints all immediate"}); err != nil {
			return nil, w.ended(ctx, w.atStep(w.deferredStep(err), err))
		}
	}
	return effect, nil
}

// rollsBack tells whether any step's strategy is rollback, and none is blind.
func (w *writing) rollsBack() bool {
	for i := range w.change.Steps {
		if w.change.Steps[i].Blind {
			return false
		}
	}
	for i := range w.change.Steps {
		if w.strategy(i) == connectors.PreviewRollback {
			return true
		}
	}
	return false
}

// strategy is what the step asks for, else what is declared.
func (w *writing) strategy(i int) connectors.PreviewStrategy {
	s := &w.change.Steps[i]
	strategy := s.Preview
	if strategy == "" {
		_, act, err := w.act(i)
		if err != nil {
			return connectors.PreviewRead
		}
		strategy = act.Preview
	}
	if s.Blind && strategy == connectors.PreviewRollback {
		return connectors.PreviewRead // the database would tell of every record
	}
	return strategy
}

// deferredStep is the last step over the table that a constraint names.
func (w *writing) deferredStep(err error) int {
	last := len(w.change.Steps) - 1
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		for i := last; i >= 0; i-- {
			if w.change.Steps[i].Collection == collectionName(pg.SchemaName, pg.TableName, w.e.d.defaultSchema()) {
				return i
			}
		}
	}
	return last
}

func (w *writing) preview(ctx context.Context, i int) (*connectors.StepEffect, error) {
	t, act, err := w.act(i)
	if err != nil {
		return nil, err
	}
	s := &w.change.Steps[i]
	if w.probe {
		effect, err := w.apply(ctx, i)
		if err != nil {
			return nil, err
		}
		if s.Kind == connectors.Create {
			predictable(t, s, effect)
		}
		return effect, nil
	}
	if s.Kind == connectors.Create {
		return w.previewCreate(ctx, t, s, w.strategy(i))
	}
	return w.previewModify(ctx, t, s, act, w.strategy(i))
}

// unpredictable are the fields that the system decides when it runs.
func unpredictable(t *table, s *connectors.Step) []string {
	var out []string
	for _, f := range t.coll.Fields {
		given := slices.ContainsFunc(s.Set, func(a connectors.Assign) bool { return a.Field == f.Name })
		if !given && f.DefaultValue == nil && (f.Default || f.ReadOnly) {
			out = append(out, f.Name)
		}
	}
	return out
}

// predictable takes from a previewed create what will be otherwise.
func predictable(t *table, s *connectors.Step, effect *connectors.StepEffect) {
	effect.Unpredictable = unpredictable(t, s)
	decided := func(a connectors.Assign) bool { return slices.Contains(effect.Unpredictable, a.Field) }
	for i := range effect.After {
		r := &effect.After[i]
		r.Version = ""
		r.Fields = slices.DeleteFunc(r.Fields, decided)
		if slices.ContainsFunc(r.Key, decided) {
			r.Key = nil
		}
	}
}

// previewCreate computes the record from the input and constant defaults.
func (w *writing) previewCreate(ctx context.Context, t *table, s *connectors.Step, strategy connectors.PreviewStrategy) (*connectors.StepEffect, error) {
	set, err := w.creation(t, s)
	if err != nil {
		return nil, err
	}
	for _, f := range t.coll.Fields {
		given := slices.ContainsFunc(set, func(a assignment) bool { return a.col.name == f.Name })
		if !given && f.DefaultValue != nil {
			set = append(set, assignment{col: t.columns[f.Name], value: *f.DefaultValue})
		}
	}
	effect := &connectors.StepEffect{Affected: 1}
	if err := w.constraints(ctx, t, s, set, nil, strategy); err != nil {
		return nil, err
	}
	check := s.Check
	if check != nil && dependsOn(check, unpredictable(t, s)) {
		check = nil
		effect.Incomplete = "the check depends on what the system decides"
	}
	fields := w.wanted(t, s)
	found, err := w.fetch(ctx, t, reading{t: t, check: check, source: &imageSource{set: set}}, fields)
	if err != nil {
		return nil, err
	}
	for _, tg := range found {
		effect.After = append(effect.After, record(t, tg, fields))
	}
	predictable(t, s, effect)
	return effect, nil
}

// dependsOn tells whether a condition reads one of the fields.
func dependsOn(c *connectors.Condition, fields []string) bool {
	if c == nil {
		return false
	}
	if slices.Contains(fields, c.Field) || c.Relation != nil && slices.ContainsFunc(c.Relation.Fields, func(f string) bool { return slices.Contains(fields, f) }) {
		return true
	}
	return slices.ContainsFunc(c.Items, func(i *connectors.Condition) bool { return dependsOn(i, fields) })
}

// previewModify reads the records and computes what they would be.
func (w *writing) previewModify(ctx context.Context, t *table, s *connectors.Step, act *connectors.Act, strategy connectors.PreviewStrategy) (*connectors.StepEffect, error) {
	var set []assignment
	var err error
	if s.Kind == connectors.Update {
		set, err = w.input(t, s)
	} else if len(s.Set) > 0 || s.Check != nil {
		err = connectors.Errorf(connectors.CodeBadInput, "a delete writes nothing")
	}
	if err != nil {
		return nil, err
	}
	for _, a := range set {
		if a.add && !act.Increment {
			return nil, connectors.Errorf(connectors.CodeUnsupported, "the field cannot be incremented").At(a.col.name)
		}
	}
	targets, err := w.targets(ctx, t, s, act, w.wanted(t, s))
	if w.written[s.Collection] && (connectors.CodeOf(err) == connectors.CodeNotFound || connectors.CodeOf(err) == connectors.CodeProposalStale) {
		return &connectors.StepEffect{Incomplete: "the record depends on an earlier step of the same change"}, nil
	}
	if err != nil {
		return nil, err
	}
	effect := w.effect(t, s, targets)
	if w.written[s.Collection] {
		effect.Incomplete = "an earlier step writes records of the same collection"
	}
	if len(targets) == 0 || s.Kind == connectors.Delete {
		return effect, nil
	}
	keys, err := keysAfter(t, set, keysOf(targets))
	if err != nil {
		return nil, err
	}
	if err := w.constraints(ctx, t, s, set, targets, strategy); err != nil {
		return nil, err
	}
	fields := w.wanted(t, s)
	found, err := w.fetch(ctx, t, reading{t: t, check: s.Check, source: &imageSource{set: set, where: keyCondition(t, keysOf(targets))}}, fields)
	if err != nil {
		return nil, err
	}
	if len(found) != len(keys) {
		return nil, movedMeanwhile(s)
	}
	if err := w.sums(t, s, targets, found); err != nil {
		return nil, err
	}
	for _, tg := range found {
		effect.After = append(effect.After, record(t, tg, fields))
	}
	return effect, nil
}

// constraints looks for keys that are used already and for missing parents, by
// reads over the fields given only. What an earlier step of the change may
// have made is not looked for, nor is anything by the strategy none, or where who asks
// may not know.
func (w *writing) constraints(ctx context.Context, t *table, s *connectors.Step, set []assignment, targets []target, strategy connectors.PreviewStrategy) error {
	if strategy == connectors.PreviewNone || s.Blind || len(w.written) > 0 {
		return nil
	}
	for _, u := range append([]connectors.UniqueKey{{Fields: t.coll.Key}}, t.coll.Uniques...) {
		field, err := w.usedKey(ctx, t, u.Fields, set, targets)
		if err != nil {
			return err
		}
		if field != "" {
			return w.at(s, u.Fields, connectors.Errorf(connectors.CodeUniqueViolation, "another record has these values already"))
		}
	}
	ref, err := w.missingParent(ctx, t, set)
	if err != nil {
		return err
	}
	if ref != nil {
		return w.at(s, ref.Fields, connectors.Errorf(connectors.CodeReferenceViolation, "a record that is referred to does not exist"))
	}
	return nil
}

// at names the first field written of those.
func (w *writing) at(s *connectors.Step, fields []string, e *connectors.Error) error {
	for _, a := range s.Set {
		if slices.Contains(fields, a.Field) {
			return e.At(a.Field)
		}
	}
	return e
}

// usedKey tells whether the values of a unique key, all of them given, belong
// to another record: the name of one of its fields, or "".
func (w *writing) usedKey(ctx context.Context, t *table, fields []string, set []assignment, targets []target) (string, error) {
	var all []*connectors.Condition
	for _, name := range fields {
		i := slices.IndexFunc(set, func(a assignment) bool { return a.col.name == name && !a.add && !a.value.IsNull() })
		if i < 0 {
			return "", nil
		}
		all = append(all, connectors.Compare(name, connectors.OpEq, connectors.Const(set[i].value)))
	}
	if len(all) == 0 {
		return "", nil
	}
	if len(targets) > 1 {
		return fields[0], nil // they would all have the same values
	}
	if len(targets) == 1 {
		all = append(all, connectors.Not(keyCondition(t, keysOf(targets))))
	}
	used, err := w.exists(ctx, t, &connectors.Condition{Op: connectors.OpAnd, Items: all})
	if err != nil || !used {
		return "", err
	}
	return fields[0], nil
}
