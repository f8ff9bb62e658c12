package sql

import (
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A paramKind says how an operand's value becomes a parameter.
type paramKind uint8

const (
	paramValue    paramKind = iota // one value of typ
	paramList                      // a list of values of typ
	paramBool                      // the operand of isNull
	paramLimit                     // a number of records; never null
	paramOffset                    // a number of records; null is 0
	paramLike                      // a pattern as given
	paramILike                     // the same, any case
	paramPrefix                    // text to begin with, made a pattern
	paramSuffix                    // text to end with, made a pattern
	paramContains                  // text to contain, made a pattern
	paramText                      // text as it is
	paramBind                      // one column of Query.Bind
	paramBinds                     // all of Query.Bind as JSON
	paramEntry                     // one column of the only entry of Query.Bind
)

// A param is one placeholder of a statement.
type param struct {
	kind    paramKind
	operand connectors.Operand
	typ     *sqlType
	field   string     // the input at fault
	column  int        // paramBind, paramEntry: the index of the bind field
	types   []*sqlType // paramBinds: the types of the bind fields
}

// A builder collects the text and parameters of one statement.
type builder struct {
	d      dialect
	sb     strings.Builder
	params []param
	alias  int
	// apart makes constants arguments, from position args on: the statement is
	// then the same for other values.
	apart bool
	args  int
}

// newBuilder makes one with room for a usual statement.
func newBuilder(d dialect) *builder {
	b := &builder{d: d, params: make([]param, 0, 4)}
	b.sb.Grow(256)
	return b
}

func (b *builder) write(parts ...string) {
	for _, p := range parts {
		b.sb.WriteString(p)
	}
}

// add appends a parameter and returns its placeholder.
func (b *builder) add(p param) string {
	b.params = append(b.params, p)
	return b.d.placeholder(len(b.params), &b.params[len(b.params)-1])
}

// value appends the parameter of an operand compared with a column.
func (b *builder) value(kind paramKind, c *column, o connectors.Operand) string {
	if b.apart && o.Arg == 0 {
		o = connectors.Arg(b.args)
		b.args++
	}
	return b.add(param{kind: kind, operand: o, typ: &c.typ, field: c.name})
}

// next makes an alias that no other part of the statement has.
func (b *builder) next(prefix string) string {
	b.alias++
	return prefix + strconv.Itoa(b.alias)
}
