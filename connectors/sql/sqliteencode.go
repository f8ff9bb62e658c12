package sql

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// appendLite appends a value of SQLite as a cell of a scalar. ok is false where
// the column holds something that the scalar has no place for.
func appendLite(b []byte, v any, c cell) (out []byte, ok bool) {
	switch v := v.(type) {
	case int64:
		return liteInteger(b, v, c.scalar)
	case float64:
		return liteFloat(b, v, c)
	case string:
		return liteText(b, v, c.scalar)
	case bool:
		return liteInteger(b, map[bool]int64{true: 1}[v], c.scalar)
	case []byte:
		if c.scalar != connectors.ScalarBytes {
			return b, false
		}
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v)
		return append(b, '"'), true
	}
	return b, false
}

func liteInteger(b []byte, n int64, s connectors.Scalar) ([]byte, bool) {
	switch s {
	case connectors.ScalarInt:
		if n != int64(int32(n)) {
			return b, false
		}
		return strconv.AppendInt(b, n, 10), true
	case connectors.ScalarSafeInt:
		if n > maxSafe || n < -maxSafe {
			return b, false
		}
		return strconv.AppendInt(b, n, 10), true
	case connectors.ScalarBoolean:
		if n != 0 && n != 1 {
			return b, false
		}
		return strconv.AppendBool(b, n == 1), true
	case connectors.ScalarFloat:
		return appendFloat(b, float64(n), 64)
	case connectors.ScalarJSON:
		return strconv.AppendInt(b, n, 10), true
	case connectors.ScalarBigInt, connectors.ScalarDecimal, connectors.ScalarString, connectors.ScalarID:
		b = append(b, '"')
		b = strconv.AppendInt(b, n, 10)
		return append(b, '"'), true
	}
	return b, false
}

func liteFloat(b []byte, f float64, c cell) ([]byte, bool) {
	switch c.scalar {
	case connectors.ScalarFloat, connectors.ScalarJSON:
		return appendFloat(b, f, 64)
	case connectors.ScalarDecimal, connectors.ScalarString:
		if c.computed {
			// What was added up in doubles has about 15 digits that mean something.
			f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'g', 15, 64), 64)
		}
		if f-f != 0 { // NaN, infinity
			return b, false
		}
		b = append(b, '"')
		b = strconv.AppendFloat(b, f, 'f', -1, 64)
		return append(b, '"'), true
	}
	return b, false
}

func liteText(b []byte, s string, scalar connectors.Scalar) ([]byte, bool) {
	switch scalar {
	case connectors.ScalarString, connectors.ScalarID, connectors.ScalarUUID:
		return appendText(b, s), true
	case connectors.ScalarJSON:
		if !json.Valid([]byte(s)) {
			return b, false
		}
		out, err := compactJSON(b, []byte(s))
		return out, err == nil
	case connectors.ScalarBoolean:
		switch strings.ToLower(s) {
		case "true", "t", "1":
			return append(b, "true"...), true
		case "false", "f", "0":
			return append(b, "false"...), true
		}
		return b, false
	case connectors.ScalarDate:
		return quotedIf(b, s, isDate(s))
	case connectors.ScalarTime:
		return quotedIf(b, s, isClock(s))
	case connectors.ScalarLocalDateTime:
		return quotedIf(b, s, isTimestamp(s))
	case connectors.ScalarDateTime:
		b, ok := quotedIf(b, s, isTimestamp(s))
		if ok {
			b = append(b[:len(b)-1], 'Z', '"')
		}
		return b, ok
	case connectors.ScalarDecimal:
		return quotedIf(b, s, isDecimal(s))
	case connectors.ScalarBigInt:
		return quotedIf(b, s, isDecimal(s) && !strings.Contains(s, "."))
	}
	return b, false
}

func quotedIf(b []byte, s string, ok bool) ([]byte, bool) {
	if !ok {
		return b, false
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"'), true
}

// isDate: a date of the years 1 to 9999, in digits. 0000-00-00 is none.
func isDate(s string) bool {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return false
	}
	year, ok1 := digits(s[:4])
	month, ok2 := digits(s[5:7])
	day, ok3 := digits(s[8:])
	if !ok1 || !ok2 || !ok3 || year < 1 || month < 1 || month > 12 || day < 1 {
		return false
	}
	last := 31
	switch month {
	case 4, 6, 9, 11:
		last = 30
	case 2:
		last = 28
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			last = 29
		}
	}
	return day <= last
}

func isTimestamp(s string) bool {
	return len(s) > 11 && isDate(s[:10]) && s[10] == 'T' && isClock(s[11:])
}

// isClock: hh:mm:ss[.fraction].
func isClock(s string) bool {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return false
	}
	h, ok1 := digits(s[:2])
	m, ok2 := digits(s[3:5])
	sec, ok3 := digits(s[6:8])
	if !ok1 || !ok2 || !ok3 || h > 24 || m > 59 || sec > 60 {
		return false
	}
	if len(s) == 8 {
		return true
	}
	if s[8] != '.' || len(s) == 9 {
		return false
	}
	_, ok := digits(s[9:])
	return ok
}

// isDecimal: an optional sign, digits, and a fraction.
func isDecimal(s string) bool {
	s = strings.TrimPrefix(s, "-")
	whole, fraction, dotted := strings.Cut(s, ".")
	_, ok := digits(whole)
	if dotted && ok {
		_, ok = digits(fraction)
	}
	return ok
}

// digits reads digits; the number is only meant for short ones.
func digits(s string) (n int, ok bool) {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, len(s) > 0
}
