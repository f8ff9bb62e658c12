package policy

import (
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/shopspring/decimal"

	"github.com/countersign/countersign/connectors"
)

// Tri is the truth of three-valued logic. The zero Tri is Unknown.
type Tri int8

// The truth values.
const (
	Unknown Tri = 0
	True    Tri = 1
	False   Tri = -1
)

// String is "true", "false" or "unknown".
func (t Tri) String() string {
	switch t {
	case True:
		return "true"
	case False:
		return "false"
	}
	return "unknown"
}

func triOf(b bool) Tri {
	if b {
		return True
	}
	return False
}

// Match evaluates a condition over one record, or over the arguments of a call,
// where no source does: by the logic of SQL, so that a comparison with null or
// with something that cannot be compared is unknown, and so is its negation. Only
// True matches. Numbers of any kind are compared as decimals. A field that is
// absent is unknown even to isNull; for arguments, where not given means null,
// see ArgumentsOf. Conditions on related records are Unknown, and so is anything
// malformed. A nil condition is True.
func Match(c *connectors.Condition, record func(field string) connectors.Value, params []connectors.Value) Tri {
	if c == nil {
		return True
	}
	switch c.Op {
	case connectors.OpTrue:
		return True
	case connectors.OpAnd, connectors.OpOr:
		return matchItems(c, record, params)
	case connectors.OpNot:
		if len(c.Items) != 1 || c.Items[0] == nil {
			return Unknown
		}
		return -Match(c.Items[0], record, params)
	case connectors.OpRelated:
		return Unknown
	}
	if c.Field == "" || record == nil {
		return Unknown
	}
	return compare(c.Op, record(c.Field), c.Operand.Value(params))
}

// matchItems is the least (and) or the greatest (or) of the items in the order
// false, unknown, true.
func matchItems(c *connectors.Condition, record func(string) connectors.Value, params []connectors.Value) Tri {
	if len(c.Items) == 0 {
		if c.Op == connectors.OpOr {
			return False
		}
		return Unknown // "and" of nothing is never made; taking it for true could open something
	}
	out := False
	if c.Op == connectors.OpAnd {
		out = True
	}
	for _, i := range c.Items {
		t := Unknown
		if i != nil {
			t = Match(i, record, params)
		}
		if c.Op == connectors.OpAnd {
			out = min(out, t)
		} else {
			out = max(out, t)
		}
	}
	return out
}

// RecordOf reads the fields of an object value.
func RecordOf(v connectors.Value) func(string) connectors.Value { return v.Get }

// ArgumentsOf reads the arguments of a call: one that is not given is null.
func ArgumentsOf(v connectors.Value) func(string) connectors.Value {
	return func(name string) connectors.Value {
		if a := v.Get(name); a.Kind != connectors.KindAbsent {
			return a
		}
		return connectors.Null
	}
}

func compare(op connectors.Op, field, operand connectors.Value) Tri {
	if op == connectors.OpIsNull {
		if field.Kind == connectors.KindAbsent || operand.Kind != connectors.KindBool {
			return Unknown
		}
		return triOf(field.IsNull() == (operand.Text == "true"))
	}
	if field.IsNull() || operand.IsNull() {
		return Unknown
	}
	switch op {
	case connectors.OpEq:
		return equal(field, operand)
	case connectors.OpNe:
		return -equal(field, operand)
	case connectors.OpIn:
		return isIn(field, operand)
	case connectors.OpNotIn:
		return -isIn(field, operand)
	case connectors.OpGt, connectors.OpGte, connectors.OpLt, connectors.OpLte:
		sign, ok := order(field, operand)
		if !ok {
			return Unknown
		}
		return triOf(op == connectors.OpGt && sign > 0 || op == connectors.OpGte && sign >= 0 ||
			op == connectors.OpLt && sign < 0 || op == connectors.OpLte && sign <= 0)
	}
	if field.Kind != connectors.KindString || operand.Kind != connectors.KindString {
		return Unknown
	}
	switch op {
	case connectors.OpLike:
		return triOf(like(field.Text, operand.Text, false))
	case connectors.OpILike:
		return triOf(like(field.Text, operand.Text, true))
	case connectors.OpStartsWith:
		return triOf(strings.HasPrefix(field.Text, operand.Text))
	case connectors.OpEndsWith:
		return triOf(strings.HasSuffix(field.Text, operand.Text))
	case connectors.OpContains:
		return triOf(strings.Contains(field.Text, operand.Text))
	}
	return Unknown // hasKey, search and what does not exist: only a source can tell
}

func isIn(field, list connectors.Value) Tri {
	if list.Kind != connectors.KindList {
		return Unknown
	}
	out := False
	for _, item := range list.Items {
		t := Unknown
		if !item.IsNull() {
			t = equal(field, item)
		}
		out = max(out, t)
	}
	return out
}

func equal(a, b connectors.Value) Tri {
	if sign, ok := order(a, b); ok {
		return triOf(sign == 0)
	}
	if a.Kind == b.Kind && (a.Kind == connectors.KindBool || a.Kind == connectors.KindBytes) {
		return triOf(a.Text == b.Text)
	}
	return Unknown
}

// order compares numbers as decimals, instants as instants and other texts by
// their bytes; ok is false where two values have no order.
func order(a, b connectors.Value) (sign int, ok bool) {
	if isNumber(a.Kind) && isNumber(b.Kind) {
		x, okX := number(a.Text)
		y, okY := number(b.Text)
		if !okX || !okY {
			return 0, false
		}
		return x.Cmp(y), true
	}
	if a.Kind != connectors.KindString || b.Kind != connectors.KindString {
		return 0, false
	}
	if x, err := time.Parse(time.RFC3339Nano, a.Text); err == nil {
		if y, err := time.Parse(time.RFC3339Nano, b.Text); err == nil {
			return x.Compare(y), true
		}
	}
	return strings.Compare(a.Text, b.Text), true
}

func isNumber(k connectors.Kind) bool {
	return k == connectors.KindInt || k == connectors.KindFloat || k == connectors.KindDecimal
}

// number reads plain ASCII decimals. Texts so long, or exponents so large, that
// comparing them would take memory without bound are no numbers.
func number(text string) (decimal.Decimal, bool) {
	if len(text) == 0 || len(text) > 1000 {
		return decimal.Decimal{}, false
	}
	for i := 0; i < len(text); i++ {
		if c := text[i]; (c < '0' || c > '9') && strings.IndexByte("+-.eE", c) < 0 {
			return decimal.Decimal{}, false
		}
	}
	d, err := decimal.NewFromString(text)
	if err != nil || math.Abs(float64(d.Exponent())) > 2000 {
		return decimal.Decimal{}, false
	}
	return d, true
}

// like matches % (any text) and _ (any character); a backslash escapes. It takes
// time in proportion to text × pattern at most.
func like(text, pattern string, fold bool) bool {
	t, p := []rune(text), likePattern(pattern)
	same := func(a, b rune) bool {
		return a == b || fold && (unicode.ToLower(a) == unicode.ToLower(b) || unicode.ToUpper(a) == unicode.ToUpper(b))
	}
	i, j, star, mark := 0, 0, -1, 0
	for i < len(t) {
		switch {
		case j < len(p) && p[j].any:
			star, mark = j, i
			j++
		case j < len(p) && (p[j].one || same(p[j].char, t[i])):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	for j < len(p) && p[j].any {
		j++
	}
	return j == len(p)
}

type likeRune struct {
	char     rune
	any, one bool
}

func likePattern(pattern string) []likeRune {
	var out []likeRune
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			out, escaped = append(out, likeRune{char: r}), false
		case r == '\\':
			escaped = true
		default:
			out = append(out, likeRune{char: r, any: r == '%', one: r == '_'})
		}
	}
	if escaped {
		out = append(out, likeRune{char: '\\'})
	}
	return out
}
