package sql

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"github.com/countersign/countersign/connectors"
)

// A target is a record that a step addresses, as it was read under its lock.
type target struct {
	key     []connectors.Value // in the order of the collection's key
	fields  map[string]connectors.Value
	version string
}

// key reads a whole key out of assignments, in the collection's order.
func (w *writing) key(t *table, assigns []connectors.Assign) ([]connectors.Value, error) {
	names := t.coll.Key
	if len(names) == 0 {
		return nil, connectors.Errorf(connectors.CodeUnsupported, "the collection has no key")
	}
	out := make([]connectors.Value, len(names))
	for _, a := range assigns {
		i := slices.Index(names, a.Field)
		if i < 0 || out[i].Kind != connectors.KindAbsent {
			return nil, connectors.Errorf(connectors.CodeBadInput, "the field is not of the key, or stands there twice").At(a.Field)
		}
		if a.Value.IsNull() || fits(a.Value, t.columns[a.Field].typ.scalar) != nil {
			return nil, connectors.Errorf(connectors.CodeBadInput, "the value is none of the key's type").At(a.Field)
		}
		out[i] = a.Value
	}
	for i, v := range out {
		if v.Kind == connectors.KindAbsent {
			return nil, connectors.Errorf(connectors.CodeBadInput, "the key needs all of its fields").At(names[i])
		}
	}
	return out, nil
}

// addressed checks how a step says which records it means.
func addressed(s *connectors.Step, act *connectors.Act) error {
	if len(s.Key) > 0 {
		return nil
	}
	switch {
	case !act.ByFilter:
		return connectors.Errorf(connectors.CodeUnsupported, "records of the collection are written by key only")
	case s.Where == nil:
		return connectors.Errorf(connectors.CodeBadInput, "neither a key nor a condition says which records")
	case s.MaxRows <= 0:
		return connectors.Errorf(connectors.CodeBadInput, "a write by condition needs a bound")
	case s.IfVersion != nil:
		return connectors.Errorf(connectors.CodeBadInput, "a version is compared of one record, by key")
	}
	return nil
}

func stale() error {
	return connectors.Errorf(connectors.CodeProposalStale, "a record has changed since this was approved")
}

func notFound() error {
	return connectors.Errorf(connectors.CodeNotFound, "there is no such record")
}

// targets reads the records of a step in the order of their keys, locks them,
// and checks the guards: what was expected, the version, the bound. fields are
// wanted beside those that the guards need.
func (w *writing) targets(ctx context.Context, t *table, s *connectors.Step, act *connectors.Act, fields []string) ([]target, error) {
	if err := addressed(s, act); err != nil {
		return nil, err
	}
	if s.IfVersion != nil && !t.hasVersion {
		return nil, connectors.Errorf(connectors.CodeUnsupported, "records of the collection have no version")
	}
	where, err := w.targetCondition(t, s)
	if err != nil {
		return nil, err
	}
	for _, e := range s.Expect {
		for _, a := range e.Fields {
			fields = append(fields, a.Field)
		}
	}
	limit := 0
	if len(s.Key) == 0 && len(s.Expect) == 0 {
		limit = s.MaxRows + 1
	}
	found, err := w.fetch(ctx, t, reading{t: t, where: where, limit: limit, lock: w.lock(t, s)}, fields)
	if err != nil {
		return nil, err
	}
	switch {
	case len(s.Expect) > 0:
		if err := w.expected(t, s, found); err != nil {
			return nil, err
		}
	case len(s.Key) == 0 && len(found) > s.MaxRows:
		return nil, connectors.Errorf(connectors.CodeRowCapExceeded, "more than %d records match", s.MaxRows)
	case len(s.Key) > 0 && len(found) == 0:
		return nil, notFound()
	case len(s.Key) > 0 && len(found) > 1:
		return nil, connectors.Errorf(connectors.CodeRowCapExceeded, "the key stands for more than one record")
	}
	if s.IfVersion != nil && found[0].version != *s.IfVersion {
		return nil, connectors.Errorf(connectors.CodeVersionConflict, "the record has changed since it was read")
	}
	return found, nil
}

// targetCondition is the key or the expected keys, and the step's condition.
func (w *writing) targetCondition(t *table, s *connectors.Step) (*connectors.Condition, error) {
	var keys [][]connectors.Value
	for _, e := range s.Expect {
		key, err := w.key(t, e.Key)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(s.Key) > 0 {
		key, err := w.key(t, s.Key)
		if err != nil {
			return nil, err
		}
		if len(keys) > 1 || len(keys) == 1 && !slices.EqualFunc(keys[0], key, func(a, b connectors.Value) bool { return sameValue(a, b) }) {
			return nil, stale()
		}
		keys = [][]connectors.Value{key}
	}
	if len(keys) == 0 {
		return s.Where, nil
	}
	return connectors.And(keyCondition(t, keys), s.Where), nil
}

// lock is how a step's records are locked: the weaker lock lets others refer to
// them meanwhile, and suffices where no key changes.
func (w *writing) lock(t *table, s *connectors.Step) string {
	if w.read || w.e.d.name() != Postgres {
		return "" // SQLite has one writer at a time
	}
	lock := "for update"
	if s.Kind == connectors.Update && !slices.ContainsFunc(s.Set, func(a connectors.Assign) bool { return keyed(t, a.Field) }) {
		lock = "for no key update"
	}
	lock += " of " + mainAlias
	if w.probe {
		lock += " nowait"
	}
	return lock
}

// keyed tells whether a field is of the key or of a unique key.
func keyed(t *table, field string) bool {
	return slices.Contains(t.coll.Key, field) ||
		slices.ContainsFunc(t.coll.Uniques, func(u connectors.UniqueKey) bool { return slices.Contains(u.Fields, field) })
}

// fetch runs a reading of keys, fields and versions.
func (w *writing) fetch(ctx context.Context, t *table, r reading, fields []string) ([]target, error) {
	r.columns = readColumns(t, fields, t.hasVersion && r.source == nil)
	st, err := compileReading(w.e.model, r)
	if err != nil {
		return nil, err
	}
	block, _, err := w.run(ctx, st)
	if err != nil {
		return nil, err
	}
	for i := range block.Rows() {
		if r.check != nil && string(block.Cell(i, block.Columns-1)) != "1" {
			return nil, connectors.Errorf(connectors.CodeCheckViolation, "the record would not be one that may be written")
		}
	}
	return targetsOf(t, r.columns, block)
}

// readColumns are the key, the other fields, and the version.
func readColumns(t *table, fields []string, version bool) []connectors.Column {
	var out []connectors.Column
	for _, f := range distinct(slices.Concat(t.coll.Key, fields)) {
		out = append(out, connectors.Column{Field: f})
	}
	if version {
		out = append(out, connectors.Column{Version: true})
	}
	return out
}

// targetsOf reads the records of a block of readColumns.
func targetsOf(t *table, columns []connectors.Column, block *connectors.Block) ([]target, error) {
	out := make([]target, block.Rows())
	for i := range out {
		tg := target{fields: make(map[string]connectors.Value, len(columns))}
		for j, c := range columns {
			scalar := connectors.ScalarString
			if !c.Version {
				scalar = t.columns[c.Field].typ.scalar
			}
			v, err := connectors.ParseCell(block.Cell(i, j), scalar)
			switch {
			case err != nil:
				return nil, err
			case c.Version:
				tg.version = v.Text
				continue
			}
			tg.fields[c.Field] = v
			if j < len(t.coll.Key) {
				tg.key = append(tg.key, v)
			}
		}
		out[i] = tg
	}
	return out, nil
}

func distinct(names []string) []string {
	var out []string
	for _, n := range names {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// expected checks that the records found are those that were expected, and that
// none of the values has moved.
func (w *writing) expected(t *table, s *connectors.Step, found []target) error {
	if len(found) != len(s.Expect) {
		return stale()
	}
	for _, e := range s.Expect {
		key, err := w.key(t, e.Key)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(found, func(tg target) bool {
			return slices.EqualFunc(tg.key, key, func(a, b connectors.Value) bool { return sameValue(a, b) })
		})
		if i < 0 {
			return stale()
		}
		for _, a := range e.Fields {
			if !sameValue(found[i].fields[a.Field], a.Value) {
				return stale()
			}
		}
	}
	if len(s.Key) == 0 && len(found) > s.MaxRows {
		return connectors.Errorf(connectors.CodeRowCapExceeded, "more than %d records are expected", s.MaxRows)
	}
	return nil
}

// sameValue compares what a record holds with what is meant: numbers by what
// they are worth, instants by when they are, everything else as it is encoded.
func sameValue(a, b connectors.Value) bool {
	if a.IsNull() || b.IsNull() {
		return a.IsNull() && b.IsNull()
	}
	if number(a) && number(b) {
		x, errX := decimal.NewFromString(a.Text)
		y, errY := decimal.NewFromString(b.Text)
		return errX == nil && errY == nil && x.Equal(y)
	}
	if bytes.Equal(a.AppendJSON(nil, connectors.ScalarJSON), b.AppendJSON(nil, connectors.ScalarJSON)) {
		return true
	}
	x, errX := time.Parse(time.RFC3339, a.Text)
	y, errY := time.Parse(time.RFC3339, b.Text)
	return errX == nil && errY == nil && x.Equal(y)
}

func number(v connectors.Value) bool {
	return v.Kind == connectors.KindInt || v.Kind == connectors.KindDecimal || v.Kind == connectors.KindFloat
}
