package openapi

import (
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/countersign/countersign/connectors"
)

// An encoder writes values into requests.
type encoder struct {
	objects map[string]*connectors.Object
	enums   map[string]*connectors.Enum
}

// A misfit is a value that is not of its argument's type.
type misfit string

func (m misfit) Error() string { return string(m) }

// json appends a value as the system wants it in a body: what the graph writes
// as text because it may be large is a number again where the document says so.
func (e *encoder) json(b []byte, v connectors.Value, t connectors.TypeRef, depth int) ([]byte, error) {
	if depth > maxCellDepth {
		return nil, misfit("is nested too deep")
	}
	if v.IsNull() {
		return append(b, null...), nil
	}
	if v.Kind == connectors.KindJSON && (t.List || t.Object != "") {
		parsed, err := parseValue([]byte(v.Text), 0)
		if err != nil {
			return nil, err
		}
		v = e.typedJSON(parsed, t)
	}
	if t.List {
		if v.Kind != connectors.KindList {
			return nil, misfit("must be a list")
		}
		item := t
		item.List = false
		b = append(b, '[')
		for i, x := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = e.json(b, x, item, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	}
	if t.Object != "" {
		return e.object(b, v, t, depth)
	}
	if t.Leaf() == connectors.ScalarJSON {
		raw := v.AppendJSON(nil, connectors.ScalarJSON)
		if !json.Valid(raw) || tooDeep(raw, maxCellDepth) {
			return nil, misfit("is no JSON, or is nested too deep")
		}
		return append(b, raw...), nil
	}
	text, err := e.text(v, t)
	if err != nil {
		return nil, err
	}
	if kind, _, _ := strings.Cut(t.Native, "/"); v.Kind == connectors.KindBool || kind == "integer" || kind == "number" {
		return append(b, text...), nil
	}
	return connectors.AppendJSONString(b, text), nil
}

func (e *encoder) object(b []byte, v connectors.Value, t connectors.TypeRef, depth int) ([]byte, error) {
	o := e.objects[t.Object]
	if v.Kind != connectors.KindObject || o == nil {
		return nil, misfit("must be an object")
	}
	for _, m := range v.Members {
		if !slices.ContainsFunc(o.Fields, func(f *connectors.Field) bool { return f.Name == m.Name && !f.ReadOnly }) {
			return nil, misfit("has no member " + strconv.Quote(m.Name) + " that can be written")
		}
	}
	b = append(b, '{')
	first := true
	for _, f := range o.Fields {
		x := v.Get(f.Name)
		if x.Kind == connectors.KindAbsent {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = connectors.AppendJSONString(b, f.Name)
		b = append(b, ':')
		var err error
		if b, err = e.json(b, x, f.Type, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// typedJSON gives the members of a JSON value the kinds that their types want.
func (e *encoder) typedJSON(v connectors.Value, t connectors.TypeRef) connectors.Value {
	switch {
	case t.List && v.Kind == connectors.KindList:
		item := t
		item.List = false
		for i := range v.Items {
			v.Items[i] = e.typedJSON(v.Items[i], item)
		}
	case t.Object != "" && v.Kind == connectors.KindObject:
		if o := e.objects[t.Object]; o != nil {
			for i, m := range v.Members {
				for _, f := range o.Fields {
					if f.Name == m.Name {
						v.Members[i].Value = e.typedJSON(m.Value, f.Type)
					}
				}
			}
		}
	case v.Kind == connectors.KindString && (t.Leaf() == connectors.ScalarDecimal || t.Leaf() == connectors.ScalarBigInt):
		v.Kind = connectors.KindDecimal
	case v.Kind == connectors.KindString && t.Leaf() == connectors.ScalarBytes:
		v.Kind = connectors.KindBytes
	case t.Leaf() == connectors.ScalarJSON && !v.IsNull():
		v = connectors.Value{Kind: connectors.KindJSON, Text: string(v.AppendJSON(nil, connectors.ScalarJSON))}
	}
	return v
}

// parseValue reads JSON as a value, numbers with their digits.
func parseValue(raw []byte, depth int) (connectors.Value, error) {
	t, err := parseJSON(raw)
	if err != nil || tooDeep(raw, maxCellDepth) {
		return connectors.Value{}, misfit("is no JSON, or is nested too deep")
	}
	return t.value()
}

func (t *tree) value() (connectors.Value, error) {
	switch {
	case t.array:
		v := connectors.Value{Kind: connectors.KindList}
		for _, x := range t.items {
			item, err := x.value()
			if err != nil {
				return v, err
			}
			v.Items = append(v.Items, item)
		}
		return v, nil
	case t.scalar == nil:
		v := connectors.Value{Kind: connectors.KindObject}
		for i, x := range t.items {
			item, err := x.value()
			if err != nil {
				return v, err
			}
			v.Members = append(v.Members, connectors.Member{Name: t.names[i], Value: item})
		}
		return v, nil
	}
	return connectors.ParseCell(t.scalar, connectors.ScalarString)
}

// text is a scalar as text, checked against its type.
func (e *encoder) text(v connectors.Value, t connectors.TypeRef) (string, error) {
	if t.Enum != "" {
		enum := e.enums[t.Enum]
		if v.Kind != connectors.KindString || enum == nil || !slices.Contains(enum.Values, v.Text) {
			return "", misfit("is none of the values allowed")
		}
		return v.Text, nil
	}
	switch t.Leaf() {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		n, ok := new(big.Int).SetString(v.Text, 10)
		switch {
		case !ok || v.Kind != connectors.KindInt && v.Kind != connectors.KindDecimal:
			return "", misfit("must be an integer")
		case t.Leaf() == connectors.ScalarInt && !(n.IsInt64() && n.Int64() == int64(int32(n.Int64()))),
			t.Leaf() == connectors.ScalarSafeInt && n.CmpAbs(big.NewInt(1<<53)) >= 0:
			return "", misfit("is too large")
		}
		return n.String(), nil
	case connectors.ScalarDecimal:
		if v.Kind != connectors.KindDecimal && v.Kind != connectors.KindInt || !isNumber(v.Text) || len(v.Text) > 1000 {
			return "", misfit("must be a decimal number")
		}
		if strings.ContainsAny(v.Text, "eE") {
			return "", misfit("must be a decimal number without exponent")
		}
		return v.Text, nil
	case connectors.ScalarFloat:
		if v.Kind != connectors.KindFloat && v.Kind != connectors.KindInt && v.Kind != connectors.KindDecimal || !isNumber(v.Text) {
			return "", misfit("must be a number")
		}
		return v.Text, nil
	case connectors.ScalarBoolean:
		if v.Kind != connectors.KindBool {
			return "", misfit("must be true or false")
		}
		return v.Text, nil
	case connectors.ScalarBytes:
		if _, err := base64.StdEncoding.DecodeString(v.Text); err != nil || v.Kind != connectors.KindBytes && v.Kind != connectors.KindString {
			return "", misfit("must be base64")
		}
		return v.Text, nil
	}
	if v.Kind != connectors.KindString || !utf8.ValidString(v.Text) {
		return "", misfit("must be text")
	}
	if _, ok := textForm(v.Text, t.Leaf()); !ok {
		return "", misfit("is no " + string(t.Leaf()))
	}
	if t.MaxLength > 0 && utf8.RuneCountInString(v.Text) > t.MaxLength {
		return "", misfit("has more than " + strconv.Itoa(t.MaxLength) + " characters")
	}
	return v.Text, nil
}

// query appends the pairs of a query parameter, encoded.
func (e *encoder) query(pairs []string, p *param, v connectors.Value) ([]string, error) {
	t := p.field.Type
	name := url.QueryEscape(p.wire)
	switch {
	case t.Object != "" && !t.List: // deepObject
		return e.form(pairs, p.wire, v, t, 0)
	case t.Scalar == connectors.ScalarJSON && !t.List:
		raw, err := e.json(nil, v, t, 0)
		return append(pairs, name+"="+url.QueryEscape(string(raw))), err
	case !t.List:
		text, err := e.text(v, t)
		return append(pairs, name+"="+url.QueryEscape(text)), err
	}
	texts, err := e.texts(v, t)
	if err != nil || len(texts) == 0 {
		return pairs, err
	}
	for i := range texts {
		texts[i] = url.QueryEscape(texts[i])
	}
	switch {
	case p.style == "spaceDelimited":
		return append(pairs, name+"="+strings.Join(texts, "%20")), nil
	case p.style == "pipeDelimited":
		return append(pairs, name+"="+strings.Join(texts, "%7C")), nil
	case !p.explode:
		return append(pairs, name+"="+strings.Join(texts, ",")), nil
	}
	for _, x := range texts {
		pairs = append(pairs, name+"="+x)
	}
	return pairs, nil
}

func (e *encoder) texts(v connectors.Value, t connectors.TypeRef) ([]string, error) {
	if v.Kind != connectors.KindList {
		return nil, misfit("must be a list")
	}
	t.List = false
	out := make([]string, 0, len(v.Items))
	for _, x := range v.Items {
		if x.IsNull() {
			return nil, misfit("holds a null")
		}
		text, err := e.text(x, t)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

// form appends the pairs of a member of a form; objects as name[member].
func (e *encoder) form(pairs []string, name string, v connectors.Value, t connectors.TypeRef, depth int) ([]string, error) {
	escaped := url.QueryEscape(name)
	switch {
	case depth > maxCellDepth:
		return nil, misfit("is nested too deep")
	case v.IsNull():
		return append(pairs, escaped+"="), nil
	case t.List:
		texts, err := e.texts(v, t)
		for _, x := range texts {
			pairs = append(pairs, escaped+"="+url.QueryEscape(x))
		}
		return pairs, err
	case t.Object != "":
		o := e.objects[t.Object]
		if v.Kind == connectors.KindJSON {
			parsed, err := parseValue([]byte(v.Text), 0)
			if err != nil {
				return nil, err
			}
			v = e.typedJSON(parsed, t)
		}
		if _, err := e.object(nil, v, t, depth); err != nil {
			return nil, err
		}
		for _, f := range o.Fields {
			if x := v.Get(f.Name); x.Kind != connectors.KindAbsent {
				var err error
				if pairs, err = e.form(pairs, name+"["+f.Name+"]", x, f.Type, depth+1); err != nil {
					return nil, err
				}
			}
		}
		return pairs, nil
	case t.Leaf() == connectors.ScalarJSON:
		raw, err := e.json(nil, v, t, depth)
		return append(pairs, escaped+"="+url.QueryEscape(string(raw))), err
	}
	text, err := e.text(v, t)
	return append(pairs, escaped+"="+url.QueryEscape(text)), err
}

// canon is the value in the one form in which its type is compared, and as a
// cell; ok is false where it is not of the type.
func canon(v connectors.Value, t connectors.TypeRef) (connectors.Value, bool) {
	switch t.Leaf() {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		n, ok := new(big.Int).SetString(v.Text, 10)
		return connectors.Value{Kind: connectors.KindInt, Text: textOfInt(n, ok)}, ok && v.Kind == connectors.KindInt
	case connectors.ScalarDecimal:
		if v.Kind != connectors.KindDecimal && v.Kind != connectors.KindInt || v.Text == "" {
			return v, false
		}
		_, _, ok := number([]byte(v.Text), false) // bounded, as it will be computed with
		return v, ok
	case connectors.ScalarFloat:
		f, err := strconv.ParseFloat(v.Text, 64)
		return connectors.Float(f), err == nil && (v.Kind == connectors.KindFloat || v.Kind == connectors.KindInt || v.Kind == connectors.KindDecimal)
	case connectors.ScalarBoolean:
		return v, v.Kind == connectors.KindBool
	case connectors.ScalarUUID:
		u, err := uuid.Parse(v.Text)
		return connectors.String(u.String()), err == nil && v.Kind == connectors.KindString
	case connectors.ScalarBytes:
		return v, v.Kind == connectors.KindBytes
	}
	if v.Kind != connectors.KindString || !utf8.ValidString(v.Text) {
		return v, false
	}
	text, ok := textForm(v.Text, t.Leaf())
	return connectors.String(text), ok
}

// meaning is the same text for canonical values that compare as equal: 7.1 is
// 7.10, and a time is the same with other digits of its second.
func meaning(t connectors.TypeRef, v connectors.Value) string {
	switch t.Leaf() {
	case connectors.ScalarDecimal:
		if d, err := decimal.NewFromString(v.Text); err == nil {
			return d.String()
		}
	case connectors.ScalarDateTime:
		return padSeconds(v.Text)
	}
	return v.Text
}

func textOfInt(n *big.Int, ok bool) string {
	if !ok {
		return ""
	}
	return n.String()
}

// compare orders two canonical values of one scalar.
func compare(s connectors.Scalar, a, b connectors.Value) int {
	switch s {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		x, _ := new(big.Int).SetString(a.Text, 10)
		y, _ := new(big.Int).SetString(b.Text, 10)
		if x != nil && y != nil {
			return x.Cmp(y)
		}
	case connectors.ScalarDecimal, connectors.ScalarFloat:
		x, errX := decimal.NewFromString(a.Text)
		y, errY := decimal.NewFromString(b.Text)
		if errX == nil && errY == nil {
			return x.Cmp(y)
		}
	case connectors.ScalarDateTime:
		return strings.Compare(padSeconds(a.Text), padSeconds(b.Text))
	}
	return strings.Compare(a.Text, b.Text)
}

// padSeconds makes times of different digits comparable as text.
func padSeconds(s string) string {
	whole, fraction, _ := strings.Cut(strings.TrimSuffix(s, "Z"), ".")
	return whole + "." + fraction + "000000000"[min(9, len(fraction)):]
}
