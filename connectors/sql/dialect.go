package sql

import (
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A dialect is all that differs between the systems when SQL is written. Its
// methods are pure.
type dialect interface {
	name() string
	defaultSchema() string
	// columnType maps a pinned field to how it is read, compared and bound.
	columnType(f *connectors.Field) (sqlType, error)
	// placeholder writes the n-th (from 1) parameter.
	placeholder(n int, p *param) string
	// in writes membership in a list parameter.
	in(expr, placeholder string, t *sqlType, negate bool) string
	// compare writes a comparison with one value; "" for the plain one.
	compare(op connectors.Op, alias string, col *column, placeholder string) string
	// cursor writes a cursor's value in the form in which the column is ordered.
	// keys are the placeholders of the key's values in the same cursor, nil where
	// the cursor does not hold them.
	cursor(t *table, col *column, placeholder string, keys []string) string
	// match writes a text comparison (like … contains) over one parameter.
	match(op connectors.Op, expr, placeholder string) string
	// hasKey writes whether a JSON object has a member.
	hasKey(expr, placeholder string) string
	// nullsFirst is where the system itself puts nulls.
	nullsFirst(desc bool) bool
	// noLimit is the text of a page without an end that has an offset; "" where
	// none is needed.
	noLimit() string
	// ordinalByKey tells that keys of the column are equal exactly where their
	// bytes are, so that the entry of a row can be found by the row's key.
	ordinalByKey(f *column) bool
	// bind writes the join over the entries of Query.Bind.
	bind(b *builder, fields []*column) bindJoin
	// pagePerEntry writes the select of a page per entry.
	pagePerEntry(c *compiler, join bindJoin, exprs []string) error
	// version is the expression of a record's version that is no column.
	version(alias string) string
	// aggregateType is the type of a function's result, for having; of is the
	// field's, nil for counts.
	aggregateType(s connectors.Scalar, of *sqlType) *sqlType
}

// A bindJoin is the entries of Query.Bind as a FROM item.
type bindJoin struct {
	from    string   // "unnest(…) with ordinality as b(k0, ord)"
	ordinal string   // "b.ord"
	keys    []string // one expression per bind field
	join    string   // the join word that keeps the entries outermost
}

// A sqlType is how a column is read, compared and bound.
type sqlType struct {
	scalar connectors.Scalar
	list   bool
	// cast is the type a column is read and compared as; "" for its own.
	cast string
	// wrap is a pattern around the column with one %s; "" for none.
	wrap string
	// stored tells that the wrapped form is not the form that is ordered by,
	// where a record's own column is: see sqliteDialect.cursor.
	stored bool
	// read is one more around what is read only; "" for none.
	read string
	// param is the type that a parameter is cast to; "" where the system has no
	// need of it.
	param string
	// ops are the comparisons the system evaluates; order and group likewise.
	ops          []connectors.Op
	order, group bool
}

// has tells whether the type can be compared so.
func (t *sqlType) has(op connectors.Op) bool {
	for _, o := range t.ops {
		if o == op {
			return true
		}
	}
	return false
}

// aggregates lists the functions over the type.
func (t *sqlType) aggregates() []connectors.AggregateFunc {
	if t.list || !t.order || t.cast == "text" {
		return nil
	}
	var fs []connectors.AggregateFunc
	for _, f := range []connectors.AggregateFunc{connectors.AggSum, connectors.AggAvg, connectors.AggMin, connectors.AggMax} {
		if _, ok := f.ScalarOf(t.scalar); ok {
			fs = append(fs, f)
		}
	}
	return fs
}

// Comparisons by kind of type; shared slices, never changed.
func opsFor(s connectors.Scalar) []connectors.Op {
	equality := []connectors.Op{connectors.OpEq, connectors.OpNe, connectors.OpIn, connectors.OpNotIn, connectors.OpIsNull}
	ordered := append(equality[:4:4], connectors.OpGt, connectors.OpGte, connectors.OpLt, connectors.OpLte, connectors.OpIsNull)
	switch s {
	case connectors.ScalarString, connectors.ScalarID:
		return append(ordered, connectors.OpLike, connectors.OpILike, connectors.OpStartsWith, connectors.OpEndsWith, connectors.OpContains)
	case connectors.ScalarBoolean, connectors.ScalarBytes:
		return equality
	case connectors.ScalarJSON:
		return []connectors.Op{connectors.OpIsNull, connectors.OpHasKey}
	}
	return ordered
}

// quoteIdent quotes a name as both systems do.
func quoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// collectionName is the name of a table in the contract: bare in the default
// schema, else schema.table. A part that holds a dot or a quote is quoted, so
// that the name can be read back.
func collectionName(schema, table, defaultSchema string) string {
	if schema == defaultSchema {
		return namePart(table)
	}
	return namePart(schema) + "." + namePart(table)
}

func namePart(s string) string {
	if strings.ContainsAny(s, `."`) || s == "" {
		return quoteIdent(s)
	}
	return s
}

// splitName reads a collection or type name back into its parts; nil where it
// is malformed.
func splitName(name string) []string {
	var parts []string
	for {
		var part string
		if strings.HasPrefix(name, `"`) {
			var sb strings.Builder
			i := 1
			for {
				j := strings.IndexByte(name[i:], '"')
				if j < 0 {
					return nil
				}
				sb.WriteString(name[i : i+j])
				i += j + 1
				if i < len(name) && name[i] == '"' {
					sb.WriteByte('"')
					i++
					continue
				}
				break
			}
			part, name = sb.String(), name[i:]
		} else {
			i := strings.IndexByte(name, '.')
			if i < 0 {
				i = len(name)
			}
			part, name = name[:i], name[i:]
			if part == "" || strings.IndexByte(part, '"') >= 0 {
				return nil
			}
		}
		parts = append(parts, part)
		if name == "" {
			return parts
		}
		if name[0] != '.' {
			return nil
		}
		name = name[1:]
	}
}
