package sql

import (
	"fmt"
	"sync/atomic"

	"github.com/countersign/countersign/connectors"
)

// A model is the pinned schema prepared for compiling: every identifier that
// SQL may hold, quoted once. It is immutable but for its tables' hint.
type model struct {
	d      dialect
	schema *connectors.Schema
	tables map[string]*table
}

// A table is a collection.
type table struct {
	name    string
	sql     string // quoted and qualified
	coll    *connectors.Collection
	columns map[string]*column
	// version is the column compared by ifVersion; nil with hasVersion is the
	// system's own version.
	version    *column
	hasVersion bool
	// rereads is a hint: what an update returned of a record was not sure to be
	// what is read of it afterwards.
	rereads atomic.Bool
}

// A column is a field.
type column struct {
	name     string
	quoted   string
	field    *connectors.Field
	typ      sqlType
	nullable bool
}

// newModel prepares a pinned schema. It fails where the schema holds names or
// types that no introspection of this package writes.
func newModel(d dialect, s *connectors.Schema) (*model, error) {
	m := &model{d: d, schema: s, tables: make(map[string]*table, len(s.Collections))}
	for _, c := range s.Collections {
		parts := splitName(c.Name)
		if len(parts) == 1 {
			parts = []string{d.defaultSchema(), parts[0]}
		}
		if len(parts) != 2 {
			return nil, pinnedError("%q is no name of a table", c.Name)
		}
		t := &table{name: c.Name, sql: quoteIdent(parts[0]) + "." + quoteIdent(parts[1]), coll: c,
			columns: make(map[string]*column, len(c.Fields)), hasVersion: c.HasVersion || c.VersionField != ""}
		for _, f := range c.Fields {
			typ, err := d.columnType(f)
			if err != nil {
				return nil, pinnedError("field %s of %s: %v", f.Name, c.Name, err)
			}
			t.columns[f.Name] = &column{name: f.Name, quoted: quoteIdent(f.Name), field: f, typ: typ, nullable: f.Nullable}
		}
		if c.VersionField != "" {
			if t.version = t.columns[c.VersionField]; t.version == nil {
				return nil, pinnedError("the version field %s of %s does not exist", c.VersionField, c.Name)
			}
		}
		m.tables[c.Name] = t
	}
	return m, nil
}

func pinnedError(format string, args ...any) error {
	return connectors.Errorf(connectors.CodeValidationFailed, "the pinned schema cannot be used: %s; run refresh", fmt.Sprintf(format, args...))
}

// table finds a collection.
func (m *model) table(name string) (*table, error) {
	if t := m.tables[name]; t != nil {
		return t, nil
	}
	return nil, connectors.Errorf(connectors.CodeUnsupported, "there is no such collection here")
}

// column finds a field.
func (t *table) column(name string) (*column, error) {
	if c := t.columns[name]; c != nil {
		return c, nil
	}
	return nil, connectors.Errorf(connectors.CodeUnsupported, "the collection has no such field").At(name)
}

// all finds several fields.
func (t *table) all(names []string) ([]*column, error) {
	cs := make([]*column, len(names))
	for i, n := range names {
		c, err := t.column(n)
		if err != nil {
			return nil, err
		}
		cs[i] = c
	}
	return cs, nil
}

// plain is the bare column, for joins between columns.
func (c *column) plain(alias string) string { return alias + "." + c.quoted }

// read is the column as it is read.
func (c *column) read(alias string) string {
	if c.typ.read != "" {
		return fmt.Sprintf(c.typ.read, c.expr(alias))
	}
	return c.expr(alias)
}

// expr is the column as it is compared and ordered.
func (c *column) expr(alias string) string {
	e := alias + "." + c.quoted
	if c.typ.wrap != "" {
		return fmt.Sprintf(c.typ.wrap, e)
	}
	if c.typ.cast != "" {
		if c.typ.list {
			return e + "::" + c.typ.cast + "[]"
		}
		return e + "::" + c.typ.cast
	}
	return e
}
