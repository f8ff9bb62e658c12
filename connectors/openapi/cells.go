package openapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/countersign/countersign/connectors"
)

// maxCellDepth bounds how deep a JSON cell is nested.
const maxCellDepth = 64

// A decoder turns what a system answers into cells. A value that is not of the
// type that the document promises becomes null.
type decoder struct {
	objects map[string]*connectors.Object
}

// A record is one object of an answer, its members not yet read.
type record map[string]json.RawMessage

// decodeAnswer checks an answer as a whole: one JSON value in valid UTF-8.
func decodeAnswer(body []byte) (json.RawMessage, error) {
	wrong := connectors.Errorf(connectors.CodeUpstreamError, "the source answered with something that is no JSON")
	if !utf8.Valid(body) || !json.Valid(body) {
		return nil, wrong
	}
	if tooDeep(body, 4*maxCellDepth) {
		return nil, connectors.Errorf(connectors.CodeUpstreamError, "the source's answer is nested too deep")
	}
	return bytes.TrimSpace(body), nil
}

// tooDeep tells whether valid JSON is nested deeper than most levels.
func tooDeep(raw []byte, most int) bool {
	depth, text := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			if depth++; depth > most {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// dig follows a path of members; nil where it leads nowhere.
func dig(raw json.RawMessage, path []string) json.RawMessage {
	for _, name := range path {
		var members record
		if json.Unmarshal(raw, &members) != nil {
			return nil
		}
		raw = members[name]
	}
	return raw
}

// rows reads a list of objects. Items that are no objects are left out.
func rows(raw json.RawMessage) ([]record, bool) {
	var items []json.RawMessage
	if len(raw) == 0 || json.Unmarshal(raw, &items) != nil || items == nil {
		return nil, false
	}
	out := make([]record, 0, len(items))
	for _, item := range items {
		if r := recordOf(item); r != nil {
			out = append(out, r)
		}
	}
	return out, true
}

// recordOf reads an object; nil for anything else.
func recordOf(raw json.RawMessage) record {
	var r record
	if len(raw) == 0 || json.Unmarshal(raw, &r) != nil {
		return nil
	}
	return r
}

const null = "null"

// append adds the cell of a value of a type. It always adds valid JSON.
func (d *decoder) append(b []byte, raw json.RawMessage, t connectors.TypeRef, depth int) []byte {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || depth > maxCellDepth {
		return append(b, null...)
	}
	if t.List {
		return d.appendList(b, raw, t, depth)
	}
	if t.Object != "" {
		return d.appendObject(b, raw, t, depth)
	}
	switch t.Leaf() {
	case connectors.ScalarInt:
		return appendInteger(b, raw, big.NewInt(math.MinInt32), big.NewInt(math.MaxInt32), false)
	case connectors.ScalarSafeInt:
		return appendInteger(b, raw, big.NewInt(-(1<<53 - 1)), big.NewInt(1<<53-1), false)
	case connectors.ScalarBigInt:
		return appendInteger(b, raw, nil, nil, true)
	case connectors.ScalarFloat:
		return appendFloat(b, raw)
	case connectors.ScalarDecimal:
		return appendDecimal(b, raw)
	case connectors.ScalarBoolean:
		if string(raw) == "true" || string(raw) == "false" {
			return append(b, raw...)
		}
		return append(b, null...)
	case connectors.ScalarJSON:
		return appendJSON(b, raw, depth)
	}
	return appendText(b, raw, t.Leaf())
}

func (d *decoder) appendList(b []byte, raw json.RawMessage, t connectors.TypeRef, depth int) []byte {
	var items []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
		return append(b, null...)
	}
	t.List = false
	b = append(b, '[')
	for i, item := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = d.append(b, item, t, depth+1)
	}
	return append(b, ']')
}

func (d *decoder) appendObject(b []byte, raw json.RawMessage, t connectors.TypeRef, depth int) []byte {
	o, members := d.objects[t.Object], recordOf(raw)
	if o == nil || members == nil {
		return append(b, null...)
	}
	b = append(b, '{')
	first := true
	for _, f := range o.Fields {
		if f.WriteOnly {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = connectors.AppendJSONString(b, f.Name)
		b = append(b, ':')
		b = d.append(b, members[f.Name], f.Type, depth+1)
	}
	return append(b, '}')
}

func appendJSON(b []byte, raw json.RawMessage, depth int) []byte {
	var out bytes.Buffer
	if tooDeep(raw, maxCellDepth-depth) || json.Compact(&out, raw) != nil {
		return append(b, null...)
	}
	return append(b, out.Bytes()...)
}

// number is the exact value of a JSON number, or of text that holds one. Digits
// and exponents are bounded before anything computes with them.
func number(raw json.RawMessage, textToo bool) (decimal.Decimal, string, bool) {
	text := string(raw)
	if raw[0] == '"' {
		if !textToo || json.Unmarshal(raw, &text) != nil {
			return decimal.Decimal{}, "", false
		}
	}
	if len(text) > 400 || !isNumber(text) {
		return decimal.Decimal{}, "", false
	}
	if _, exp, ok := strings.Cut(strings.ToLower(text), "e"); ok {
		if n, err := strconv.Atoi(exp); err != nil || n > 300 || n < -300 {
			return decimal.Decimal{}, "", false
		}
	}
	v, err := decimal.NewFromString(text)
	return v, text, err == nil
}

func isNumber(s string) bool {
	return json.Valid([]byte(s)) && s != "" && (s[0] == '-' || s[0] >= '0' && s[0] <= '9')
}

func appendInteger(b []byte, raw json.RawMessage, least, most *big.Int, quoted bool) []byte {
	v, _, ok := number(raw, quoted)
	if !ok || !v.IsInteger() {
		return append(b, null...)
	}
	n := v.BigInt()
	if least != nil && (n.Cmp(least) < 0 || n.Cmp(most) > 0) {
		return append(b, null...)
	}
	if quoted {
		return append(append(append(b, '"'), n.String()...), '"')
	}
	return append(b, n.String()...)
}

func appendFloat(b []byte, raw json.RawMessage) []byte {
	_, text, ok := number(raw, false)
	f, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil {
		return append(b, null...)
	}
	return connectors.Float(f).AppendJSON(b, connectors.ScalarFloat)
}

// appendDecimal keeps the digits as they are; exponents are written out.
func appendDecimal(b []byte, raw json.RawMessage) []byte {
	v, text, ok := number(raw, true)
	if !ok {
		return append(b, null...)
	}
	if strings.ContainsAny(text, "eE") {
		text = v.String()
	}
	return append(append(append(b, '"'), text...), '"')
}

func appendText(b []byte, raw json.RawMessage, s connectors.Scalar) []byte {
	var text string
	if raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return append(b, null...)
	}
	text, ok := textForm(text, s)
	if !ok {
		return append(b, null...)
	}
	return connectors.AppendJSONString(b, text)
}

// textForm is the one form in which text of a scalar is written.
func textForm(text string, s connectors.Scalar) (string, bool) {
	switch s {
	case connectors.ScalarDate:
		_, err := time.Parse(time.DateOnly, text)
		return text, err == nil
	case connectors.ScalarDateTime:
		return instant(text)
	case connectors.ScalarUUID:
		u, err := uuid.Parse(text)
		return u.String(), err == nil && len(text) == 36
	case connectors.ScalarDuration:
		return text, isDuration(text)
	case connectors.ScalarBytes:
		_, err := base64.StdEncoding.DecodeString(text)
		return text, err == nil
	}
	return text, true
}

// instant is a time in UTC with as many digits of a second as the source has.
func instant(text string) (string, bool) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.UTC().Year() < 0 || t.UTC().Year() > 9999 {
		return "", false
	}
	digits := 0
	if _, after, ok := strings.Cut(text, "."); ok {
		for digits < len(after) && after[digits] >= '0' && after[digits] <= '9' {
			digits++
		}
	}
	layout := "2006-01-02T15:04:05"
	if digits > 0 {
		layout += "." + strings.Repeat("0", min(digits, 9))
	}
	return t.UTC().Format(layout) + "Z", true
}

func isDuration(s string) bool {
	ok, err := regexp.MatchString(`^-?P(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$`, s)
	return err == nil && ok && !strings.HasSuffix(s, "P") && !strings.HasSuffix(s, "T")
}
