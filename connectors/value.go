package connectors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// A Kind says how the text of a [Value] is read.
type Kind uint8

// The kinds of a Value. The zero Kind is KindAbsent: not given at all, which
// is not null.
const (
	KindAbsent  Kind = iota
	KindNull         // an explicit null
	KindBool         // Text is "true" or "false"
	KindInt          // Text is an integer of any size, in canonical form ("-0" and "+1" are not)
	KindFloat        // Text is the shortest decimal that reads back as the same float64
	KindDecimal      // Text is a decimal with the digits as given
	KindString       // Text is any valid UTF-8; also enums, UUIDs, dates and times
	KindBytes        // Text is standard base64
	KindJSON         // Text is one valid JSON value, compact
	KindList         // Items
	KindObject       // Members, in the order given
)

var kindNames = [...]string{"absent", "null", "bool", "int", "float", "decimal", "string", "bytes", "json", "list", "object"}

// String is the kind's name in canonical form and plans.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind" + strconv.Itoa(int(k))
}

// A Value is one typed value, as text end to end: nothing is lost to floating
// point on the way from a client to a system. The zero Value is absent.
// Values are immutable by convention and may be shared.
type Value struct {
	Kind    Kind     `json:"kind"`
	Text    string   `json:"text,omitempty"`
	Items   []Value  `json:"items,omitempty"`
	Members []Member `json:"members,omitempty"`
}

// A Member is a named value of an object.
type Member struct {
	Name  string `json:"name"`
	Value Value  `json:"value"`
}

// Null, True and False are the values of those names.
var (
	Null  = Value{Kind: KindNull}
	True  = Value{Kind: KindBool, Text: "true"}
	False = Value{Kind: KindBool, Text: "false"}
)

// String makes a string value.
func String(s string) Value { return Value{Kind: KindString, Text: s} }

// Int makes an integer value.
func Int(i int64) Value { return Value{Kind: KindInt, Text: strconv.FormatInt(i, 10)} }

// Float makes a floating point value. NaN and infinities have no Value; they
// become null.
func Float(f float64) Value {
	if f != f || f > 1.797693134862315708145274237317043567981e+308 || f < -1.797693134862315708145274237317043567981e+308 {
		return Null
	}
	return Value{Kind: KindFloat, Text: strconv.FormatFloat(f, 'g', -1, 64)}
}

// Decimal makes a decimal value from its text, which the caller has checked.
func Decimal(text string) Value { return Value{Kind: KindDecimal, Text: text} }

// Bool makes a boolean value.
func Bool(b bool) Value {
	if b {
		return True
	}
	return False
}

// ListOf makes a list value.
func ListOf(items ...Value) Value { return Value{Kind: KindList, Items: items} }

// ObjectOf makes an object value.
func ObjectOf(members ...Member) Value { return Value{Kind: KindObject, Members: members} }

// IsNull tells whether v is null or absent.
func (v Value) IsNull() bool { return v.Kind <= KindNull }

// Get returns the member of that name; absent where there is none.
func (v Value) Get(name string) Value {
	for i := range v.Members {
		if v.Members[i].Name == name {
			return v.Members[i].Value
		}
	}
	return Value{}
}

// Int64 reads an integer value; ok is false where it does not fit.
func (v Value) Int64() (i int64, ok bool) {
	if v.Kind != KindInt {
		return 0, false
	}
	i, err := strconv.ParseInt(v.Text, 10, 64)
	return i, err == nil
}

// Equal compares kind and content. Numbers of different kinds or digits are
// different ("10.0" is not "10.00"): whoever compares amounts parses them.
func (v Value) Equal(w Value) bool {
	if v.Kind != w.Kind || v.Text != w.Text || len(v.Items) != len(w.Items) || len(v.Members) != len(w.Members) {
		return false
	}
	for i := range v.Items {
		if !v.Items[i].Equal(w.Items[i]) {
			return false
		}
	}
	for i := range v.Members {
		if v.Members[i].Name != w.Members[i].Name || !v.Members[i].Value.Equal(w.Members[i].Value) {
			return false
		}
	}
	return true
}

// AppendJSON appends the value as JSON in the encoding of the scalar: BigInt
// and Decimal are strings, other numbers are numbers. An absent value is null.
func (v Value) AppendJSON(b []byte, s Scalar) []byte {
	switch v.Kind {
	case KindBool, KindJSON:
		return append(b, v.Text...)
	case KindInt, KindFloat, KindDecimal:
		if s == ScalarBigInt || s == ScalarDecimal || v.Kind == KindDecimal {
			b = append(b, '"')
			b = append(b, v.Text...)
			return append(b, '"')
		}
		return append(b, v.Text...)
	case KindString, KindBytes:
		return AppendJSONString(b, v.Text)
	case KindList:
		b = append(b, '[')
		for i := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = v.Items[i].AppendJSON(b, s)
		}
		return append(b, ']')
	case KindObject:
		b = append(b, '{')
		for i := range v.Members {
			if i > 0 {
				b = append(b, ',')
			}
			b = AppendJSONString(b, v.Members[i].Name)
			b = append(b, ':')
			b = v.Members[i].Value.AppendJSON(b, s)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

const hexDigits = "0123456789abcdef"

// AppendJSONString appends s as a JSON string. Invalid UTF-8 is replaced, and
// U+2028 and U+2029 are escaped, as encoding/json does; <, > and & are not.
func AppendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < 0x80 {
			continue
		}
		if c >= 0x80 {
			// The slow and rare way is the library's.
			b = append(b, s[start:i]...)
			tail := appendUnicode(nil, s[i:])
			b = append(b, tail...)
			return append(b, '"')
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		start = i + 1
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func appendUnicode(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return b
	}
	out := bytes.TrimRight(buf.Bytes(), "\n")
	return append(b, out[1:len(out)-1]...)
}

// ParseCell reads one JSON cell of a block as a value of the scalar. It is how
// the keys of one level become the Bind of the next.
func ParseCell(cell []byte, s Scalar) (Value, error) {
	if len(cell) == 0 {
		return Value{}, fmt.Errorf("empty cell")
	}
	switch cell[0] {
	case 'n':
		return Null, nil
	case 't':
		return True, nil
	case 'f':
		return False, nil
	case '"':
		text, err := unquote(cell)
		if err != nil {
			return Value{}, err
		}
		switch s {
		case ScalarBigInt:
			return Value{Kind: KindInt, Text: text}, nil
		case ScalarDecimal:
			return Value{Kind: KindDecimal, Text: text}, nil
		case ScalarBytes:
			return Value{Kind: KindBytes, Text: text}, nil
		case ScalarJSON:
			return Value{Kind: KindJSON, Text: string(cell)}, nil
		}
		return String(text), nil
	case '{', '[':
		return Value{Kind: KindJSON, Text: string(cell)}, nil
	}
	text := string(cell)
	if s != ScalarJSON && s != ScalarFloat && isDigits(cell) {
		return Value{Kind: KindInt, Text: text}, nil
	}
	if s == ScalarJSON {
		return Value{Kind: KindJSON, Text: text}, nil
	}
	if s == ScalarFloat {
		return Value{Kind: KindFloat, Text: text}, nil
	}
	if strings.ContainsAny(text, ".eE") {
		if s == ScalarDecimal {
			return Value{Kind: KindDecimal, Text: text}, nil
		}
		return Value{Kind: KindFloat, Text: text}, nil
	}
	if _, ok := new(big.Int).SetString(text, 10); !ok {
		return Value{}, fmt.Errorf("not a JSON value")
	}
	return Value{Kind: KindInt, Text: text}, nil
}

// isDigits tells whether a cell is a number of digits only, as most are.
func isDigits(cell []byte) bool {
	for _, c := range cell {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func unquote(cell []byte) (string, error) {
	if len(cell) >= 2 && bytes.IndexByte(cell, '\\') < 0 {
		return string(cell[1 : len(cell)-1]), nil
	}
	var s string
	err := json.Unmarshal(cell, &s)
	return s, err
}
