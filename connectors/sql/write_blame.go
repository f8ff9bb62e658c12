package sql

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"github.com/countersign/countersign/connectors"
)

// blame finds the input that a constraint refused: the first field written that
// the constraint is over. An error that is about something else stays as it is.
func (w *writing) blame(ctx context.Context, t *table, s *connectors.Step, set []assignment, err error) error {
	e := connectors.AsError(err)
	if len(e.Path) > 0 {
		return e
	}
	var fields []string
	switch e.Code {
	case connectors.CodeUniqueViolation:
		fields = t.brokenUnique(err)
	case connectors.CodeReferenceViolation:
		fields = w.brokenReference(ctx, t, set, err)
	case connectors.CodeValidationFailed, connectors.CodeCheckViolation:
		if len(s.Set) == 1 {
			fields = []string{s.Set[0].Field} // there is nothing else it could be
		}
	}
	for _, a := range s.Set {
		if slices.Contains(fields, a.Field) {
			return e.At(a.Field)
		}
	}
	return e
}

// brokenUnique are the fields of the key that a driver's error names.
func (t *table) brokenUnique(err error) []string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		for _, u := range t.coll.Uniques {
			if u.Name == pg.ConstraintName {
				return u.Fields
			}
		}
		return t.coll.Key
	}
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return nil
	}
	// "… UNIQUE constraint failed: albums.artist_id, albums.title (2067)"
	_, list, ok := strings.Cut(lite.Error(), "constraint failed: ")
	if _, rest, again := strings.Cut(list, "constraint failed: "); again {
		list = rest
	}
	if !ok {
		return nil
	}
	var fields []string
	for _, f := range t.coll.Fields {
		for part := range strings.SplitSeq(list, ", ") {
			part, _, _ = strings.Cut(part, " (")
			if strings.HasSuffix(part, "."+f.Name) {
				fields = append(fields, f.Name)
			}
		}
	}
	return fields
}

// brokenReference are the fields of the reference that a driver's error names.
// SQLite names none: there the parents are looked for, in the transaction that
// a refused statement leaves open.
func (w *writing) brokenReference(ctx context.Context, t *table, set []assignment, err error) []string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		for _, r := range t.coll.References {
			if r.Name == pg.ConstraintName {
				return r.Fields
			}
		}
		return nil
	}
	ref, err := w.missingParent(ctx, t, set)
	if err != nil || ref == nil {
		return nil
	}
	return ref.Fields
}

// missingParent finds a reference whose values are all given and whose record
// does not exist; nil where there is none.
func (w *writing) missingParent(ctx context.Context, t *table, set []assignment) (*connectors.Reference, error) {
	for i := range t.coll.References {
		ref := &t.coll.References[i]
		to, err := w.e.model.table(ref.To)
		if err != nil {
			continue
		}
		var all []*connectors.Condition
		for j, name := range ref.Fields {
			k := slices.IndexFunc(set, func(a assignment) bool { return a.col.name == name && !a.add && !a.value.IsNull() })
			if k >= 0 {
				all = append(all, connectors.Compare(ref.On[j], connectors.OpEq, connectors.Const(set[k].value)))
			}
		}
		if len(all) < len(ref.Fields) {
			continue // a null refers to nothing, and what is not written stays as it was
		}
		exists, err := w.exists(ctx, to, &connectors.Condition{Op: connectors.OpAnd, Items: all})
		if err != nil {
			return nil, err
		}
		if !exists {
			return ref, nil
		}
	}
	return nil, nil
}

// exists tells whether any record matches.
func (w *writing) exists(ctx context.Context, t *table, where *connectors.Condition) (bool, error) {
	st, err := compileReading(w.e.model, reading{t: t, where: where, limit: 1})
	if err != nil {
		return false, err
	}
	block, _, err := w.run(ctx, st)
	return block.Rows() > 0, err
}
