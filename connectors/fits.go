package connectors

import (
	"strings"
	"unicode/utf8"
)

// Fits tells whether a value can be written to a field of the type without being
// rounded, truncated or padded; else CodeValidationFailed. Null fits: who may be
// null is checked where the field is known.
func (t TypeRef) Fits(v Value) error {
	if v.IsNull() || t.Object != "" {
		return nil
	}
	if v.Kind == KindList {
		for _, item := range v.Items {
			if err := t.Fits(item); err != nil {
				return err
			}
		}
		return nil
	}
	if t.MaxLength > 0 && v.Kind == KindString && utf8.RuneCountInString(v.Text) > t.MaxLength {
		return Errorf(CodeValidationFailed, "longer than %d characters", t.MaxLength)
	}
	if v.Kind != KindDecimal && v.Kind != KindInt || t.Precision == 0 {
		return nil
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(v.Text, "-"), ".")
	fraction = strings.TrimRight(fraction, "0")
	whole = strings.TrimLeft(whole, "0")
	if (t.HasScale || t.Scale > 0) && len(fraction) > t.Scale {
		return Errorf(CodeValidationFailed, "more than %d digits after the point", t.Scale)
	}
	room := t.Precision
	if t.HasScale || t.Scale > 0 {
		room -= t.Scale
	}
	if len(whole) > room {
		return Errorf(CodeValidationFailed, "more than %d digits before the point", room)
	}
	return nil
}
