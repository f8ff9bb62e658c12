package catalog

import (
	"strings"
	"unicode/utf8"

	"github.com/countersign/countersign/connectors"
)

// CheckFits tells whether a value can be written to a field of the type without
// being rounded, truncated or padded; else CodeValidationFailed. Null fits: who
// may be null is checked where the field is known.
func CheckFits(v connectors.Value, t *Type) error {
	if v.IsNull() || t.Members != nil {
		return nil
	}
	if v.Kind == connectors.KindList {
		for _, item := range v.Items {
			if err := CheckFits(item, t); err != nil {
				return err
			}
		}
		return nil
	}
	if t.MaxLength > 0 && v.Kind == connectors.KindString && utf8.RuneCountInString(v.Text) > t.MaxLength {
		return connectors.Errorf(connectors.CodeValidationFailed, "longer than %d characters", t.MaxLength)
	}
	if v.Kind != connectors.KindDecimal && v.Kind != connectors.KindInt || t.Precision == 0 {
		return nil
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(v.Text, "-"), ".")
	fraction = strings.TrimRight(fraction, "0")
	whole = strings.TrimLeft(whole, "0")
	if (t.HasScale || t.Scale > 0) && len(fraction) > t.Scale {
		return connectors.Errorf(connectors.CodeValidationFailed, "more than %d digits after the point", t.Scale)
	}
	room := t.Precision
	if t.HasScale || t.Scale > 0 {
		room -= t.Scale
	}
	if len(whole) > room {
		return connectors.Errorf(connectors.CodeValidationFailed, "more than %d digits before the point", room)
	}
	return nil
}
