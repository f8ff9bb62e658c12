package catalog

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/countersign/countersign/connectors"
)

var (
	integerPattern  = regexp.MustCompile(`^[+-]?[0-9]+$`)
	decimalPattern  = regexp.MustCompile(`^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$`)
	datePattern     = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	timePattern     = regexp.MustCompile(`^([0-9]{2}):([0-9]{2})(:([0-9]{2})(\.[0-9]{1,9})?)?$`)
	durationPattern = regexp.MustCompile(`^-?P([0-9]+Y)?([0-9]+M)?([0-9]+W)?([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+([.][0-9]+)?S)?)?$`)
	maxSafe         = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 53), big.NewInt(1))
	maxInt32        = big.NewInt(1<<31 - 1)
	minInt32        = big.NewInt(-1 << 31)
)

// maxDigits bounds the integers and decimals that are read: no system has
// larger ones, and arithmetic on them stays cheap.
const maxDigits = 1000

func coerceScalar(in raw, s connectors.Scalar) (connectors.Value, error) {
	fail := func(what string) (connectors.Value, error) {
		return connectors.Value{}, bad("not a value of %s: %s", s, what)
	}
	if in.kind == rawText && !utf8.ValidString(in.text) {
		return fail("a text in UTF-8 is expected")
	}
	switch s {
	case connectors.ScalarBoolean:
		if in.kind == rawBool {
			return connectors.Bool(in.text == "true"), nil
		}
		return fail("true or false is expected")
	case connectors.ScalarInt, connectors.ScalarSafeInt:
		if in.kind == rawInteger {
			if v, ok := integer(in.text); ok && inRange(v, s) {
				return v, nil
			}
			return fail("out of range")
		}
		return fail("an integer is expected")
	case connectors.ScalarBigInt:
		if in.kind == rawInteger || in.kind == rawText {
			if v, ok := integer(in.text); ok {
				return v, nil
			}
		}
		return fail("an integer is expected, as a text or a number")
	case connectors.ScalarFloat:
		if in.kind == rawInteger || in.kind == rawNumber {
			if f, err := strconv.ParseFloat(in.text, 64); err == nil {
				return connectors.Float(f), nil
			}
		}
		return fail("a number is expected")
	case connectors.ScalarDecimal:
		if (in.kind == rawInteger || in.kind == rawText) && len(in.text) <= maxDigits && decimalPattern.MatchString(in.text) {
			return connectors.Decimal(plainDecimal(in.text)), nil
		}
		return fail("a decimal as a text, or an integer, is expected")
	case connectors.ScalarString:
		if in.kind == rawText {
			return connectors.String(in.text), nil
		}
		return fail("a text is expected")
	case connectors.ScalarID:
		if in.kind == rawText || in.kind == rawInteger {
			return connectors.String(in.text), nil
		}
		return fail("a text or an integer is expected")
	case connectors.ScalarJSON:
		return jsonScalar(in)
	}
	if in.kind != rawText {
		return fail("a text is expected")
	}
	return coerceTextScalar(in.text, s)
}

// coerceTextScalar reads the scalars that are written as texts of a form.
func coerceTextScalar(text string, s connectors.Scalar) (connectors.Value, error) {
	ok, kind := false, connectors.KindString
	switch s {
	case connectors.ScalarUUID:
		text = strings.ToLower(text)
		ok = uuidText.MatchString(text)
	case connectors.ScalarBytes:
		_, err := base64.StdEncoding.Strict().DecodeString(text)
		ok, kind = err == nil && !strings.ContainsAny(text, "\r\n"), connectors.KindBytes
	case connectors.ScalarDate:
		_, err := time.Parse(time.DateOnly, text)
		ok = err == nil && datePattern.MatchString(text)
	case connectors.ScalarTime:
		ok = validTime(text)
	case connectors.ScalarDuration:
		ok = durationPattern.MatchString(text) && !strings.HasSuffix(text, "P") && !strings.HasSuffix(text, "T")
	case connectors.ScalarLocalDateTime:
		day, clock, found := strings.Cut(text, "T")
		_, err := time.Parse(time.DateOnly, day)
		ok = found && err == nil && datePattern.MatchString(day) && validTime(clock)
	case connectors.ScalarDateTime:
		text, ok = instant(text)
	}
	if !ok {
		return connectors.Value{}, bad("not a value of %s", s)
	}
	return connectors.Value{Kind: kind, Text: text}, nil
}

func validTime(text string) bool {
	m := timePattern.FindStringSubmatch(text)
	return m != nil && m[1] < "24" && m[2] < "60" && m[4] < "60"
}

// instant reads RFC 3339 and writes it in UTC with the digits as given.
func instant(text string) (string, bool) {
	if len(text) < len("2006-01-02T15:04:05Z") || !datePattern.MatchString(text[:10]) || (text[10] != 'T' && text[10] != 't') {
		return "", false
	}
	t, err := time.Parse(time.RFC3339Nano, strings.ToUpper(text))
	if err != nil || t.UTC().Year() < 0 || t.UTC().Year() > 9999 {
		return "", false
	}
	fraction := ""
	if text[19] == ',' {
		return "", false
	}
	if text[19] == '.' {
		end := 20
		for end < len(text) && isDigit(text[end]) {
			end++
		}
		if end > 29 {
			return "", false
		}
		fraction = text[19:end]
	}
	return t.UTC().Format("2006-01-02T15:04:05") + fraction + "Z", true
}

// integer reads an integer into its canonical form.
func integer(text string) (connectors.Value, bool) {
	if shortInteger(text) {
		return connectors.Value{Kind: connectors.KindInt, Text: text}, true
	}
	if len(text) > maxDigits || !integerPattern.MatchString(text) {
		return connectors.Value{}, false
	}
	i, ok := new(big.Int).SetString(strings.TrimPrefix(text, "+"), 10)
	if !ok {
		return connectors.Value{}, false
	}
	return connectors.Value{Kind: connectors.KindInt, Text: i.String()}, true
}

// shortInteger tells whether a text is the canonical form of an integer that 64
// bits hold for certain: nearly all are, and need no arithmetic.
func shortInteger(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && len(text) > 1 {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// inRange tells whether an integer is one of the scalar.
func inRange(v connectors.Value, s connectors.Scalar) bool {
	if s != connectors.ScalarInt && s != connectors.ScalarSafeInt {
		return true
	}
	if len(v.Text) > 20 {
		return false
	}
	if shortInteger(v.Text) {
		n, err := strconv.ParseInt(v.Text, 10, 64)
		if s == connectors.ScalarInt {
			return err == nil && n == int64(int32(n))
		}
		return err == nil && n < 1<<53 && n > -1<<53
	}
	i, ok := new(big.Int).SetString(v.Text, 10)
	if !ok {
		return false
	}
	if s == connectors.ScalarInt {
		return i.Cmp(minInt32) >= 0 && i.Cmp(maxInt32) <= 0
	}
	return i.CmpAbs(maxSafe) <= 0
}

// plainDecimal drops what has no meaning: a plus sign, zeros in front, a point
// with nothing behind. Digits behind the point stay as given.
func plainDecimal(text string) string {
	negative := strings.HasPrefix(text, "-")
	text = strings.TrimLeft(text, "+-")
	whole, fraction, _ := strings.Cut(text, ".")
	whole = strings.TrimLeft(whole, "0")
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if negative && strings.Trim(whole, "0.") != "" {
		whole = "-" + whole
	}
	return whole
}

// jsonScalar keeps a value of any form as compact JSON.
func jsonScalar(in raw) (connectors.Value, error) {
	b, err := appendRawJSON(nil, in)
	if err != nil {
		return connectors.Value{}, err
	}
	return connectors.Value{Kind: connectors.KindJSON, Text: string(b)}, nil
}

func appendRawJSON(b []byte, in raw) ([]byte, error) {
	var err error
	switch in.kind {
	case rawNull:
		return append(b, "null"...), nil
	case rawBool:
		return append(b, in.text...), nil
	case rawInteger, rawNumber:
		if !json.Valid([]byte(in.text)) {
			return b, bad("not a number in JSON")
		}
		return append(b, in.text...), nil
	case rawText, rawEnum:
		if !utf8.ValidString(in.text) {
			return b, bad("a text in UTF-8 is expected")
		}
		return connectors.AppendJSONString(b, in.text), nil
	case rawList:
		b = append(b, '[')
		for i, item := range in.list {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendRawJSON(b, item); err != nil {
				return b, within(err, strconv.Itoa(i))
			}
		}
		return append(b, ']'), nil
	case rawObject:
		b = append(b, '{')
		for i, m := range in.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(connectors.AppendJSONString(b, m.name), ':')
			if b, err = appendRawJSON(b, m.value); err != nil {
				return b, within(err, m.name)
			}
		}
		return append(b, '}'), nil
	}
	return b, bad("not a value of JSON")
}
