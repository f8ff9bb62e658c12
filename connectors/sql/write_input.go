package sql

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/countersign/countersign/connectors"
)

// input checks the values of a step before anything is sent: kinds, ranges and
// lengths, and whatever the column would round, truncate or pad. What only the
// system knows stays the system's to refuse.
func (w *writing) input(t *table, s *connectors.Step) ([]assignment, error) {
	out := make([]assignment, 0, len(s.Set))
	for _, a := range s.Set {
		col, err := t.column(a.Field)
		if err != nil {
			return nil, err
		}
		invalid := func(problem string) error {
			return connectors.Errorf(connectors.CodeValidationFailed, "%s", problem).At(a.Field)
		}
		f := col.field
		switch {
		case slices.ContainsFunc(out, func(o assignment) bool { return o.col == col }):
			return nil, connectors.Errorf(connectors.CodeBadInput, "the field is written twice").At(a.Field)
		case f.ReadOnly, f.CreateOnly && s.Kind == connectors.Update:
			return nil, invalid("the field cannot be written")
		case a.Increment && s.Kind == connectors.Create:
			return nil, connectors.Errorf(connectors.CodeBadInput, "a create increments nothing").At(a.Field)
		case a.Value.Kind == connectors.KindAbsent:
			return nil, invalid("no value is given")
		}
		if a.Increment {
			_, number := connectors.AggSum.ScalarOf(col.typ.scalar)
			if !number || f.Type.List || a.Value.IsNull() || slices.Contains(t.coll.Key, a.Field) {
				return nil, invalid("only a number can be added, only to a number, and not to a key")
			}
		}
		if problem := w.e.accepts(f, a.Value); problem != "" {
			return nil, invalid(problem)
		}
		out = append(out, assignment{col: col, value: a.Value, add: a.Increment})
	}
	if s.Kind != connectors.Create {
		if len(out) == 0 {
			return nil, connectors.Errorf(connectors.CodeBadInput, "an update of nothing")
		}
		return out, nil
	}
	for _, f := range t.coll.Fields {
		given := slices.ContainsFunc(out, func(a assignment) bool { return a.col.name == f.Name })
		if !given && !f.Nullable && !f.Default && !f.ReadOnly {
			return nil, connectors.Errorf(connectors.CodeValidationFailed, "the field must be given").At(f.Name)
		}
	}
	return out, nil
}

// accepts says why a field cannot take a value as it is; "" when it can.
func (e *Engine) accepts(f *connectors.Field, v connectors.Value) string {
	if v.IsNull() {
		if !f.Nullable {
			return "the field cannot be null"
		}
		return ""
	}
	if !f.Type.List {
		return e.acceptsOne(f, v)
	}
	if v.Kind != connectors.KindList {
		return "a list is needed"
	}
	for i, item := range v.Items {
		if item.IsNull() {
			if !f.Type.ItemNullable {
				return "an item of the list cannot be null"
			}
			continue
		}
		if problem := e.acceptsOne(f, item); problem != "" {
			return "item " + strconv.Itoa(i) + ": " + problem
		}
	}
	return ""
}

func (e *Engine) acceptsOne(f *connectors.Field, v connectors.Value) string {
	leaf := f.Type.Leaf()
	if leaf == connectors.ScalarJSON {
		if v.Kind == connectors.KindJSON && !json.Valid([]byte(v.Text)) {
			return "this is no JSON"
		}
		return ""
	}
	if err := fits(v, leaf); err != nil {
		return err.Error()
	}
	switch leaf {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		return acceptsInteger(f, v)
	case connectors.ScalarDecimal:
		return e.acceptsDecimal(f, v)
	case connectors.ScalarFloat:
		return acceptsFloat(f, v)
	case connectors.ScalarBoolean, connectors.ScalarDuration:
		return ""
	case connectors.ScalarBytes:
		if _, err := base64.StdEncoding.DecodeString(v.Text); err != nil {
			return errNotBase64.Error()
		}
		return ""
	case connectors.ScalarDate, connectors.ScalarTime, connectors.ScalarDateTime, connectors.ScalarLocalDateTime:
		return e.acceptsTime(leaf, v.Text)
	case connectors.ScalarUUID:
		if _, err := uuid.Parse(v.Text); err != nil {
			return "this is no UUID"
		}
		return ""
	}
	return e.acceptsText(f, v.Text)
}

func (e *Engine) acceptsText(f *connectors.Field, s string) string {
	if f.Type.Enum != "" {
		if enum := e.model.schema.Enum(f.Type.Enum); enum != nil && !slices.Contains(enum.Values, s) {
			return "this is none of the values of the field"
		}
		return ""
	}
	n := utf8.RuneCountInString(s)
	switch {
	case !utf8.ValidString(s):
		return "this is no valid UTF-8"
	case e.d.name() == Postgres && strings.IndexByte(s, 0) >= 0:
		return "the database cannot keep a zero byte in text"
	case f.Type.MaxLength > 0 && n > f.Type.MaxLength:
		return fmt.Sprintf("at most %d characters fit", f.Type.MaxLength)
	case f.Type.Native == "bpchar" && f.Type.MaxLength > 0 && n < f.Type.MaxLength:
		return fmt.Sprintf("exactly %d characters are needed; the database would pad with blanks", f.Type.MaxLength)
	}
	return ""
}

func acceptsInteger(f *connectors.Field, v connectors.Value) string {
	low, high := int64(-1<<63), int64(1<<63-1)
	switch {
	case f.Type.Native == "int2":
		low, high = -1<<15, 1<<15-1
	case f.Type.Native == "oid":
		low, high = 0, 1<<32-1
	case f.Type.Leaf() == connectors.ScalarInt:
		low, high = -1<<31, 1<<31-1
	case f.Type.Leaf() == connectors.ScalarSafeInt:
		low, high = -maxSafe, maxSafe
	case f.Type.Native == "numeric":
		return "" // as large as it likes
	}
	if n, ok := v.Int64(); !ok || n < low || n > high {
		return errRange.Error()
	}
	return ""
}

// liteDigits is how many decimal digits a double keeps, whatever they are.
const liteDigits = 15

func (e *Engine) acceptsDecimal(f *connectors.Field, v connectors.Value) string {
	d, err := decimal.NewFromString(v.Text)
	if err != nil {
		return "this is no decimal number"
	}
	if f.Type.HasScale {
		scale := int32(f.Type.Scale)
		if !d.Shift(scale).IsInteger() {
			return fmt.Sprintf("at most %d digits after the point fit; the database would round", scale)
		}
		if f.Type.Precision > 0 && !d.Abs().LessThan(decimal.New(1, int32(f.Type.Precision)-scale)) {
			return fmt.Sprintf("at most %d digits before the point fit", int32(f.Type.Precision)-scale)
		}
	}
	if e.d.name() == SQLite {
		digits := strings.TrimLeft(strings.TrimRight(d.Coefficient().Text(10), "0"), "-")
		if _, err := strconv.ParseInt(v.Text, 10, 64); err != nil && len(digits) > liteDigits {
			return fmt.Sprintf("at most %d digits fit; the database would round", liteDigits)
		}
	}
	return ""
}

func acceptsFloat(f *connectors.Field, v connectors.Value) string {
	x, err := strconv.ParseFloat(v.Text, 64)
	if err != nil || x-x != 0 {
		return "this is no number that the field can hold"
	}
	if f.Type.Native == "float4" && strconv.FormatFloat(float64(float32(x)), 'g', -1, 32) != strconv.FormatFloat(x, 'g', -1, 64) {
		return "the database would round the number to single precision"
	}
	return ""
}

// pgFraction is how many digits of a second PostgreSQL keeps.
const pgFraction = 6

func (e *Engine) acceptsTime(leaf connectors.Scalar, text string) string {
	layout := map[connectors.Scalar]string{connectors.ScalarDate: "2006-01-02", connectors.ScalarTime: "15:04:05",
		connectors.ScalarDateTime: time.RFC3339, connectors.ScalarLocalDateTime: "2006-01-02T15:04:05"}[leaf]
	if _, err := time.Parse(layout, text); err != nil {
		return fmt.Sprintf("this is no %s", leaf)
	}
	_, fraction, _ := strings.Cut(text, ".")
	n := 0
	for n < len(fraction) && fraction[n] >= '0' && fraction[n] <= '9' {
		n++
	}
	if e.d.name() == Postgres && len(strings.TrimRight(fraction[:n], "0")) > pgFraction {
		return fmt.Sprintf("at most %d digits of a second fit; the database would round", pgFraction)
	}
	return ""
}
