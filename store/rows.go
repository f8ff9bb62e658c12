package store

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A scanner is the Scan of one row.
type scanner func(dest ...any) error

// collect reads all rows of a query.
func collect[T any](ctx context.Context, s *Store, q querier, one func(scanner) (T, error), query string, args ...any) (out []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.fail(err)
	}
	defer func() { err = errors.Join(err, s.fail(rows.Close())) }()
	for rows.Next() {
		row, err := one(rows.Scan)
		if err != nil {
			return nil, s.fail(err)
		}
		out = append(out, row)
	}
	return out, s.fail(rows.Err())
}

// A where collects the terms of a condition. Its texts are constants of this
// package; values are bound.
type where struct {
	terms []string
	args  []any
}

func (w *where) and(term string, args ...any) {
	w.terms = append(w.terms, term)
	w.args = append(w.args, args...)
}

// in adds nothing where there are no values.
func (w *where) in(column string, values []string) {
	if len(values) == 0 {
		return
	}
	marks := make([]string, len(values))
	args := make([]any, len(values))
	for i, v := range values {
		marks[i], args[i] = "?", v
	}
	w.and(column+" IN ("+strings.Join(marks, ", ")+")", args...)
}

// String is the condition with its places numbered.
func (w *where) String() string {
	var b strings.Builder
	n := 0
	for _, r := range strings.Join(w.terms, " AND ") {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// words makes strings of any words.
func words[T ~string](in []T) []string {
	out := make([]string, len(in))
	for i, w := range in {
		out[i] = string(w)
	}
	return out
}

// decode reads a stored document.
func decode(doc []byte, into any) error {
	if err := json.Unmarshal(doc, into); err != nil {
		return broken(err)
	}
	return nil
}

// broken is the error of a row that cannot be read or written as what it is:
// damaged, or sealed with a key that is not here.
func broken(cause error) error {
	return &connectors.Error{Code: connectors.CodeInternal, Source: "store", Cause: cause, Message: "something stored cannot be read as what it is; the log has it"}
}

// sealed encodes a row, encrypted where there is a key. A row is bound to its
// table, tenant and key, so that it cannot be put in another's place.
func (s *Store) sealed(table, tenant, key string, row any) ([]byte, error) {
	doc, err := json.Marshal(row)
	if err == nil && s.keys != nil {
		doc, err = s.keys.Seal("store/"+table, place(tenant, key), doc)
	}
	if err != nil {
		return nil, broken(err)
	}
	return doc, nil
}

// opened decodes what sealed made. What was written before there was a key
// begins with a brace.
func (s *Store) opened(table, tenant, key string, doc []byte, into any) error {
	if len(doc) > 0 && doc[0] != '{' {
		plain, err := s.keys.Open("store/"+table, place(tenant, key), doc)
		if err != nil {
			return broken(err)
		}
		doc = plain
	}
	return decode(doc, into)
}

func place(tenant, key string) []byte {
	return []byte(strconv.Itoa(len(tenant)) + ":" + tenant + "\x00" + key)
}
