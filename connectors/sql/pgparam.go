package sql

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"

	"github.com/countersign/countersign/connectors"
)

// pgArgs are the parameters of one execution in PostgreSQL's text format, in
// one buffer that is used again.
type pgArgs struct {
	buf    []byte
	ends   []int // -1 marks null
	values [][]byte
}

var noText = []byte{}

// pgArgsPool holds buffers only: what they held is overwritten, never read.
type pgArgsPool struct{ pool sync.Pool }

func (p *pgArgsPool) get() *pgArgs {
	if a, ok := p.pool.Get().(*pgArgs); ok {
		return a
	}
	return &pgArgs{}
}

func (p *pgArgsPool) put(a *pgArgs) {
	if cap(a.buf) <= 1<<16 {
		p.pool.Put(a)
	}
}

// encode writes all parameters of a statement.
func (a *pgArgs) encode(params []param, q *connectors.Query) error {
	a.buf, a.ends, a.values = a.buf[:0], a.ends[:0], a.values[:0]
	for i := range params {
		isNull, err := a.param(&params[i], q)
		if err != nil {
			return err
		}
		if isNull {
			a.ends = append(a.ends, -1)
		} else {
			a.ends = append(a.ends, len(a.buf))
		}
	}
	start := 0
	for _, end := range a.ends {
		switch {
		case end < 0:
			a.values = append(a.values, nil)
			continue
		case end == start:
			a.values = append(a.values, noText)
		default:
			a.values = append(a.values, a.buf[start:end:end])
		}
		start = end
	}
	return nil
}

// param appends one parameter.
func (a *pgArgs) param(p *param, q *connectors.Query) (isNull bool, err error) {
	switch p.kind {
	case paramBind:
		if err := checkEntries(p, q); err != nil {
			return false, err
		}
		a.buf = append(a.buf, '{')
		for i := range q.Bind {
			if i > 0 {
				a.buf = append(a.buf, ',')
			}
			if a.buf, err = pgAppendElement(a.buf, q.Bind[i][p.column], p.typ); err != nil {
				return false, badValue(p, err.Error())
			}
		}
		a.buf = append(a.buf, '}')
		return false, nil
	case paramEntry:
		if err := checkEntries(p, q); err != nil {
			return false, err
		}
		v := q.Bind[0][p.column]
		if v.IsNull() {
			return true, nil
		}
		if a.buf, err = pgAppendText(a.buf, v, p.typ.scalar); err != nil {
			return false, badValue(p, err.Error())
		}
		return false, nil
	case paramLimit, paramOffset:
		n, err := pageNumber(p, q.Args)
		if err != nil || n < 0 {
			return true, err
		}
		a.buf = strconv.AppendInt(a.buf, n, 10)
		return false, nil
	}
	v := p.operand.Value(q.Args)
	if v.Kind == connectors.KindAbsent {
		return false, badValue(p, "a value is missing")
	}
	if v.Kind == connectors.KindNull {
		return true, nil
	}
	switch p.kind {
	case paramList:
		if v.Kind != connectors.KindList {
			return false, badValue(p, "a list is needed")
		}
		a.buf, err = pgAppendList(a.buf, v, p.typ)
	case paramValue:
		if p.typ.list {
			if v.Kind != connectors.KindList {
				return false, badValue(p, "a list is needed")
			}
			a.buf, err = pgAppendList(a.buf, v, p.typ)
		} else {
			a.buf, err = pgAppendText(a.buf, v, p.typ.scalar)
		}
	case paramBool:
		if v.Kind != connectors.KindBool {
			return false, badValue(p, "true or false is needed")
		}
		a.buf = append(a.buf, v.Text...)
	default:
		if v.Kind != connectors.KindString {
			return false, badValue(p, "text is needed")
		}
		if err := checkPattern(p, v.Text); err != nil {
			return false, err
		}
		a.buf = append(a.buf, likePattern(p.kind, v.Text)...)
	}
	if err != nil {
		return false, badValue(p, err.Error())
	}
	return false, nil
}

// likePattern makes the pattern of LIKE, with backslash as its escape.
func likePattern(kind paramKind, text string) string {
	if kind == paramLike || kind == paramILike || kind == paramText {
		return text
	}
	text = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
	switch kind {
	case paramPrefix:
		return text + "%"
	case paramSuffix:
		return "%" + text
	}
	return "%" + text + "%"
}

// pgAppendText appends one value as PostgreSQL reads it.
func pgAppendText(b []byte, v connectors.Value, s connectors.Scalar) ([]byte, error) {
	if s == connectors.ScalarJSON {
		return v.AppendJSON(b, s), nil
	}
	if err := fits(v, s); err != nil {
		return b, err
	}
	if s == connectors.ScalarBytes {
		raw, err := base64.StdEncoding.DecodeString(v.Text)
		if err != nil {
			return b, errNotBase64
		}
		return hex.AppendEncode(append(b, `\x`...), raw), nil
	}
	return append(b, v.Text...), nil
}

// pgAppendList appends a list as an array literal; every element but null is
// quoted, so that none is read as syntax.
func pgAppendList(b []byte, v connectors.Value, t *sqlType) ([]byte, error) {
	b = append(b, '{')
	for i := range v.Items {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = pgAppendElement(b, v.Items[i], t); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func pgAppendElement(b []byte, v connectors.Value, t *sqlType) ([]byte, error) {
	switch v.Kind {
	case connectors.KindNull:
		return append(b, "NULL"...), nil
	case connectors.KindAbsent:
		return b, errMissing
	case connectors.KindInt:
		if err := fits(v, t.scalar); err != nil {
			return b, err
		}
		return append(b, v.Text...), nil
	}
	b = append(b, '"')
	start := len(b)
	b, err := pgAppendText(b, v, t.scalar)
	if err != nil {
		return b, err
	}
	escapes := 0
	for _, c := range b[start:] {
		if c == '"' || c == '\\' {
			escapes++
		}
	}
	if escapes > 0 {
		tail := append([]byte(nil), b[start:]...)
		b = b[:start]
		for _, c := range tail {
			if c == '"' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, c)
		}
	}
	return append(b, '"'), nil
}
