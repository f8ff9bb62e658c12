package sql

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
)

// liteArgs are the parameters of one execution for database/sql.
func liteArgs(params []param, q *connectors.Query) ([]any, error) {
	args := make([]any, len(params))
	for i := range params {
		v, err := liteArg(&params[i], q)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	return args, nil
}

func liteArg(p *param, q *connectors.Query) (any, error) {
	switch p.kind {
	case paramBinds:
		b, err := liteBinds(p, q)
		return string(b), err
	case paramLimit, paramOffset:
		return pageNumber(p, q.Args)
	}
	v := p.operand.Value(q.Args)
	switch {
	case v.Kind == connectors.KindAbsent:
		return nil, badValue(p, errMissing.Error())
	case v.Kind == connectors.KindNull:
		return nil, nil
	}
	switch p.kind {
	case paramList:
		if v.Kind != connectors.KindList {
			return nil, badValue(p, "a list is needed")
		}
		b, err := liteList(p, v)
		return string(b), err
	case paramValue:
		x, err := liteValue(v, p.typ.scalar)
		if err != nil {
			return nil, badValue(p, err.Error())
		}
		return x, nil
	case paramBool:
		if v.Kind != connectors.KindBool {
			return nil, badValue(p, "true or false is needed")
		}
		return v.Text == "true", nil
	}
	if v.Kind != connectors.KindString {
		return nil, badValue(p, "text is needed")
	}
	if err := checkPattern(p, v.Text); err != nil {
		return nil, err
	}
	if p.kind == paramText || p.kind == paramILike {
		return v.Text, nil
	}
	return globPattern(p.kind, v.Text), nil
}

// liteValue is a value as SQLite stores it for the scalar.
func liteValue(v connectors.Value, s connectors.Scalar) (any, error) {
	if s == connectors.ScalarJSON {
		return string(v.AppendJSON(nil, s)), nil
	}
	if err := fits(v, s); err != nil {
		return nil, err
	}
	switch s {
	case connectors.ScalarBoolean:
		return v.Text == "true", nil
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt, connectors.ScalarDecimal, connectors.ScalarFloat:
		return liteNumber(v)
	case connectors.ScalarBytes:
		raw, err := base64.StdEncoding.DecodeString(v.Text)
		if err != nil {
			return nil, errNotBase64
		}
		return raw, nil
	case connectors.ScalarLocalDateTime:
		return strings.TrimRight(strings.ReplaceAll(v.Text, " ", "T"), "Z"), nil
	case connectors.ScalarDateTime:
		t, err := time.Parse(time.RFC3339Nano, v.Text)
		if err != nil {
			return nil, errInstant
		}
		return t.UTC().Format("2006-01-02T15:04:05.999999999"), nil
	}
	return v.Text, nil
}

// liteNumber is an integer where it is one and fits, else a double: SQLite has
// no other numbers.
func liteNumber(v connectors.Value) (any, error) {
	if n, err := strconv.ParseInt(v.Text, 10, 64); err == nil {
		return n, nil
	}
	if v.Kind == connectors.KindInt {
		return nil, errRange
	}
	f, err := strconv.ParseFloat(v.Text, 64)
	if err != nil {
		return nil, errKind
	}
	return f, nil
}

// liteElement appends a value as JSON that json_each gives back as SQLite
// stores it; bytes are written in hex.
func liteElement(b []byte, v connectors.Value, s connectors.Scalar) ([]byte, error) {
	switch v.Kind {
	case connectors.KindNull:
		return append(b, "null"...), nil
	case connectors.KindAbsent:
		return b, errMissing
	}
	x, err := liteValue(v, s)
	if err != nil {
		return b, err
	}
	switch x := x.(type) {
	case bool:
		return strconv.AppendBool(b, x), nil
	case int64:
		return strconv.AppendInt(b, x, 10), nil
	case float64:
		return strconv.AppendFloat(b, x, 'g', -1, 64), nil
	case []byte:
		b = append(b, '"')
		return append(hex.AppendEncode(b, x), '"'), nil
	case string:
		return appendText(b, x), nil
	}
	return b, errKind
}

func liteList(p *param, v connectors.Value) ([]byte, error) {
	b := []byte{'['}
	for i := range v.Items {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = liteElement(b, v.Items[i], p.typ.scalar); err != nil {
			return nil, badValue(p, err.Error())
		}
	}
	return append(b, ']'), nil
}

func liteBinds(p *param, q *connectors.Query) ([]byte, error) {
	if err := checkEntries(p, q); err != nil {
		return nil, err
	}
	b := []byte{'['}
	for i, entry := range q.Bind {
		if i > 0 {
			b = append(b, ',')
		}
		if len(p.types) > 1 {
			b = append(b, '[')
		}
		for j, t := range p.types {
			if j > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = liteElement(b, entry[j], t.scalar); err != nil {
				return nil, badValue(p, err.Error())
			}
		}
		if len(p.types) > 1 {
			b = append(b, ']')
		}
	}
	return append(b, ']'), nil
}

// globPattern makes the pattern of GLOB, of a LIKE pattern or of plain text.
func globPattern(kind paramKind, text string) string {
	var sb strings.Builder
	if kind == paramSuffix || kind == paramContains {
		sb.WriteByte('*')
	}
	escaped := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		if kind == paramLike && !escaped {
			switch c {
			case '\\':
				escaped = true
				continue
			case '%':
				sb.WriteByte('*')
				continue
			case '_':
				sb.WriteByte('?')
				continue
			}
		}
		escaped = false
		switch c {
		case '*', '?', '[':
			sb.WriteByte('[')
			sb.WriteByte(c)
			sb.WriteByte(']')
		default:
			sb.WriteByte(c)
		}
	}
	if kind == paramPrefix || kind == paramContains {
		sb.WriteByte('*')
	}
	return sb.String()
}
