package sql

import (
	"errors"
	"strings"

	"github.com/countersign/countersign/connectors"
)

var (
	errNotBase64 = errors.New("bytes must be base64")
	errMissing   = errors.New("a value is missing")
	errInstant   = errors.New("an instant is written as RFC 3339")
	errKind      = errors.New("the value is of another type than the field")
	errRange     = errors.New("the number is too large for the database")
	errWord      = errors.New("dates and times are written in digits")
)

// badValue names the input that cannot be a parameter. The value itself is not
// repeated.
func badValue(p *param, why string) error {
	e := connectors.Errorf(connectors.CodeBadInput, "%s", why)
	if p.field != "" {
		e.Path = []string{p.field}
	}
	return e
}

// fits tells whether a value is of a kind that a scalar can hold. Ranges and
// formats are the system's to judge, except words like "now", which would mean
// something else each time they are read.
func fits(v connectors.Value, s connectors.Scalar) error {
	ok := false
	switch s {
	case connectors.ScalarBoolean:
		ok = v.Kind == connectors.KindBool
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		ok = v.Kind == connectors.KindInt
	case connectors.ScalarFloat, connectors.ScalarDecimal:
		ok = v.Kind == connectors.KindInt || v.Kind == connectors.KindFloat || v.Kind == connectors.KindDecimal
	case connectors.ScalarBytes:
		ok = v.Kind == connectors.KindBytes || v.Kind == connectors.KindString
	case connectors.ScalarDate, connectors.ScalarDateTime, connectors.ScalarLocalDateTime, connectors.ScalarTime, connectors.ScalarDuration:
		if v.Kind == connectors.KindString {
			return digitsFirst(v.Text)
		}
	case connectors.ScalarID:
		ok = v.Kind == connectors.KindString || v.Kind == connectors.KindInt
	default:
		ok = v.Kind == connectors.KindString
	}
	if !ok {
		return errKind
	}
	return nil
}

func digitsFirst(text string) error {
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			return nil
		case i < 3 && (c == '-' || c == '+' || c == 'P' || c == 'T'):
		default:
			return errWord
		}
	}
	return errWord
}

// pageNumber is the limit or offset of a request; a limit of null is none, -1.
func pageNumber(p *param, args []connectors.Value) (int64, error) {
	v := p.operand.Value(args)
	if v.IsNull() {
		if p.kind == paramOffset {
			return 0, nil
		}
		return -1, nil
	}
	n, ok := v.Int64()
	if !ok || n < 0 {
		return 0, connectors.Errorf(connectors.CodeBadInput, "a page needs a number of records that is not negative")
	}
	return n, nil
}

// checkPattern refuses a pattern that ends with a lone escape: the systems do
// not agree on its meaning.
func checkPattern(p *param, pattern string) error {
	if p.kind != paramLike && p.kind != paramILike {
		return nil
	}
	if n := len(pattern) - len(strings.TrimRight(pattern, `\`)); n%2 == 1 {
		return badValue(p, "a pattern must not end with a single backslash")
	}
	return nil
}

// checkEntries makes sure that entries have a value for each bind field.
func checkEntries(p *param, q *connectors.Query) error {
	for _, entry := range q.Bind {
		if len(entry) != len(q.Select.Bind) {
			return badValue(p, "an entry to join needs a value for each field")
		}
	}
	return nil
}
