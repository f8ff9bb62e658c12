package memory

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/countersign/countersign/connectors"
)

// Layouts of the scalars of time; digits of a second as there are.
const (
	layoutDateTime = "2006-01-02T15:04:05.999999999Z07:00"
	layoutLocal    = "2006-01-02T15:04:05.999999999"
	layoutDate     = "2006-01-02"
	layoutTime     = "15:04:05.999999999"
)

// canon brings a value to the one form in which its scalar is kept, compared
// and written. Nulls stay; an absent value is refused.
func canon(t connectors.TypeRef, v connectors.Value) (connectors.Value, error) {
	if v.Kind == connectors.KindAbsent {
		return v, fmt.Errorf("no value given")
	}
	if v.Kind == connectors.KindNull {
		return v, nil
	}
	if t.List {
		if v.Kind != connectors.KindList {
			return v, fmt.Errorf("a list is wanted, this is %s", v.Kind)
		}
		item := t
		item.List = false
		out := make([]connectors.Value, 0, len(v.Items))
		for _, i := range v.Items {
			c, err := canon(item, i)
			if err != nil {
				return v, err
			}
			out = append(out, c)
		}
		return connectors.ListOf(out...), nil
	}
	return Canonical(t.Leaf(), v)
}

// Canonical brings a value of the scalar to the one form in which it is kept,
// compared and written.
func Canonical(leaf connectors.Scalar, v connectors.Value) (connectors.Value, error) {
	wrong := func() (connectors.Value, error) {
		return v, fmt.Errorf("a %s is wanted, this is %s", leaf, v.Kind)
	}
	switch leaf {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		n, ok := new(big.Int).SetString(v.Text, 10)
		if v.Kind != connectors.KindInt || !ok {
			return wrong()
		}
		return connectors.Value{Kind: connectors.KindInt, Text: n.String()}, nil
	case connectors.ScalarDecimal:
		if v.Kind != connectors.KindInt && v.Kind != connectors.KindDecimal {
			return wrong()
		}
		d, err := decimal.NewFromString(v.Text)
		if err != nil {
			return wrong()
		}
		return connectors.Decimal(decimalText(d)), nil
	case connectors.ScalarFloat:
		f, err := strconv.ParseFloat(v.Text, 64)
		if err != nil || !slices.Contains([]connectors.Kind{connectors.KindInt, connectors.KindDecimal, connectors.KindFloat}, v.Kind) {
			return wrong()
		}
		return connectors.Float(f), nil
	case connectors.ScalarBoolean:
		if v.Kind != connectors.KindBool {
			return wrong()
		}
		return v, nil
	case connectors.ScalarJSON:
		return canonJSON(v)
	case connectors.ScalarBytes:
		if _, err := base64.StdEncoding.DecodeString(v.Text); err != nil || v.Kind != connectors.KindBytes {
			return wrong()
		}
		return v, nil
	case connectors.ScalarID:
		if v.Kind == connectors.KindInt {
			return connectors.String(v.Text), nil
		}
	}
	if v.Kind != connectors.KindString || !utf8.ValidString(v.Text) {
		return wrong()
	}
	return canonText(leaf, v)
}

func canonText(leaf connectors.Scalar, v connectors.Value) (connectors.Value, error) {
	layout := ""
	switch leaf {
	case connectors.ScalarUUID:
		u, err := uuid.Parse(v.Text)
		if err != nil {
			return v, fmt.Errorf("this is no UUID")
		}
		return connectors.String(u.String()), nil
	case connectors.ScalarDateTime:
		layout = layoutDateTime
	case connectors.ScalarLocalDateTime:
		layout = layoutLocal
	case connectors.ScalarDate:
		layout = layoutDate
	case connectors.ScalarTime:
		layout = layoutTime
	default:
		return v, nil
	}
	at, err := time.Parse(layout, v.Text)
	if err != nil {
		return v, fmt.Errorf("this is no %s", leaf)
	}
	return connectors.String(at.UTC().Format(layout)), nil
}

func canonJSON(v connectors.Value) (connectors.Value, error) {
	text := v.Text
	if v.Kind != connectors.KindJSON {
		text = string(v.AppendJSON(nil, connectors.ScalarJSON))
	}
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		return v, fmt.Errorf("this is no JSON")
	}
	return connectors.Value{Kind: connectors.KindJSON, Text: b.String()}, nil
}

func decimalText(d decimal.Decimal) string { return d.StringFixed(max(0, -d.Exponent())) }

// Compare orders two values of one scalar that are not null.
func Compare(leaf connectors.Scalar, a, b connectors.Value) int {
	switch leaf {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		x, okX := a.Int64()
		y, okY := b.Int64()
		if okX && okY {
			return cmp.Compare(x, y)
		}
		return numberOf(a).Cmp(numberOf(b))
	case connectors.ScalarDecimal:
		return numberOf(a).Cmp(numberOf(b))
	case connectors.ScalarFloat:
		x, _ := strconv.ParseFloat(a.Text, 64)
		y, _ := strconv.ParseFloat(b.Text, 64)
		return cmp.Compare(x, y)
	case connectors.ScalarDateTime, connectors.ScalarLocalDateTime, connectors.ScalarTime:
		// Text of one layout in one zone differs from the order of instants
		// only in the digits of a second: none sorts as .0.
		return cmp.Compare(padSeconds(a.Text), padSeconds(b.Text))
	}
	return cmp.Compare(a.Text, b.Text)
}

func padSeconds(s string) string {
	s = strings.TrimSuffix(s, "Z")
	whole, fraction, _ := strings.Cut(s, ".")
	return whole + "." + fraction + "000000000"[min(9, len(fraction)):]
}

func numberOf(v connectors.Value) decimal.Decimal {
	d, err := decimal.NewFromString(v.Text)
	if err != nil {
		return decimal.Zero
	}
	return d
}

// fits says why a canonical value cannot be kept in a field as it is; "" when
// it can. Systems that would round, truncate or pad must say so too.
func fits(f *connectors.Field, enum *connectors.Enum, v connectors.Value) string {
	if v.IsNull() {
		if !f.Nullable {
			return "this field cannot be null"
		}
		return ""
	}
	if f.Type.List {
		return ""
	}
	if f.Type.MaxLength > 0 && v.Kind == connectors.KindString && utf8.RuneCountInString(v.Text) > f.Type.MaxLength {
		return fmt.Sprintf("at most %d characters fit", f.Type.MaxLength)
	}
	if enum != nil && !slices.Contains(enum.Values, v.Text) {
		return "this is none of the values of " + enum.Name
	}
	switch f.Type.Leaf() {
	case connectors.ScalarInt:
		return inRange(v, -1<<31, 1<<31-1)
	case connectors.ScalarSafeInt:
		return inRange(v, -(1<<53 - 1), 1<<53-1)
	case connectors.ScalarDecimal:
		d := numberOf(v)
		if f.Type.HasScale && !d.Equal(d.Truncate(int32(f.Type.Scale))) {
			return fmt.Sprintf("at most %d digits after the point fit", f.Type.Scale)
		}
		whole := len(d.Truncate(0).Abs().String())
		if d.Abs().LessThan(decimal.New(1, 0)) {
			whole = 0
		}
		if f.Type.Precision > 0 && whole > f.Type.Precision-f.Type.Scale {
			return fmt.Sprintf("at most %d digits before the point fit", f.Type.Precision-f.Type.Scale)
		}
	}
	return ""
}

func inRange(v connectors.Value, low, high int64) string {
	if n, ok := v.Int64(); ok && n >= low && n <= high {
		return ""
	}
	return "the number is too large for this field"
}

// kept is a fitting canonical value as the field gives it back: decimals with
// the field's scale.
func kept(f *connectors.Field, v connectors.Value) connectors.Value {
	if v.Kind == connectors.KindDecimal && f.Type.HasScale && !f.Type.List {
		return connectors.Decimal(numberOf(v).StringFixed(int32(f.Type.Scale)))
	}
	return v
}
