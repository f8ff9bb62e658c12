package memory

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A state is everything the system holds at one moment. It is not changed
// after it was stored: writers work on a clone.
type state struct {
	schema  *connectors.Schema
	tables  map[string]*table
	markers map[markerKey]storedMarker
	keys    map[string]storedKey
	version uint64 // of the record written last
}

type markerKey struct {
	proposal string
	change   int
}

type storedMarker struct {
	hash   string
	void   bool
	effect *connectors.Effect
}

type storedKey struct {
	digest [32]byte
	effect connectors.StepEffect
}

type table struct {
	meta  *connectors.Collection
	enums []*connectors.Enum // per field, nil for others
	index map[string]int
	rows  []*row
}

// A row is never changed after it was made.
type row struct {
	vals    []connectors.Value
	version uint64
}

func newState(schema *connectors.Schema) *state {
	st := &state{schema: schema, tables: map[string]*table{}, markers: map[markerKey]storedMarker{}, keys: map[string]storedKey{}}
	for _, c := range schema.Collections {
		t := &table{meta: c, index: map[string]int{}}
		for i, f := range c.Fields {
			t.index[f.Name] = i
			t.enums = append(t.enums, schema.Enum(f.Type.Enum))
		}
		st.tables[c.Name] = t
	}
	return st
}

func (st *state) clone() *state {
	c := *st
	c.tables = make(map[string]*table, len(st.tables))
	for name, t := range st.tables {
		copied := *t
		copied.rows = slices.Clone(t.rows)
		c.tables[name] = &copied
	}
	c.markers, c.keys = maps.Clone(st.markers), maps.Clone(st.keys)
	return &c
}

func (t *table) value(r *row, field string) connectors.Value {
	if i, ok := t.index[field]; ok {
		return r.vals[i]
	}
	return connectors.Null
}

func (t *table) field(name string) *connectors.Field { return t.meta.Field(name) }

// load makes a row of a record of the test's data.
func (t *table) load(rec *connectors.Record) (*row, error) {
	r := &row{vals: make([]connectors.Value, len(t.meta.Fields)), version: 1}
	for i := range r.vals {
		r.vals[i] = connectors.Null
	}
	for _, a := range slices.Concat(rec.Key, rec.Fields) {
		i, ok := t.index[a.Field]
		if !ok {
			return nil, fmt.Errorf("there is no field %q", a.Field)
		}
		v, err := canon(t.meta.Fields[i].Type, a.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Field, err)
		}
		r.vals[i] = kept(t.meta.Fields[i], v)
	}
	for i, f := range t.meta.Fields {
		if problem := fits(f, t.enums[i], r.vals[i]); problem != "" {
			return nil, fmt.Errorf("%s: %s", f.Name, problem)
		}
	}
	return r, nil
}

// record is a row with its key and the named fields, in the collection's order.
func (t *table) record(r *row, fields []string) connectors.Record {
	rec := connectors.Record{Fields: []connectors.Assign{}, Version: t.versionOf(r)}
	for _, k := range t.meta.Key {
		rec.Key = append(rec.Key, connectors.Assign{Field: k, Value: t.value(r, k)})
	}
	for i, f := range t.meta.Fields {
		if slices.Contains(fields, f.Name) && !f.WriteOnly {
			rec.Fields = append(rec.Fields, connectors.Assign{Field: f.Name, Value: r.vals[i]})
		}
	}
	return rec
}

func (t *table) versionOf(r *row) string {
	switch {
	case t.meta.VersionField != "":
		return t.value(r, t.meta.VersionField).Text
	case t.meta.HasVersion:
		return strconv.FormatUint(r.version, 10)
	}
	return ""
}

// keyOf is the identity of the values of some fields; ok is false where one is
// null, which equals nothing.
func (t *table) keyOf(r *row, fields []string) (key string, ok bool) {
	var b strings.Builder
	for _, name := range fields {
		v := t.value(r, name)
		if v.IsNull() {
			return "", false
		}
		AppendIdentity(&b, t.field(name).Type.Leaf(), v)
	}
	return b.String(), true
}

// AppendIdentity writes a value so that equal values, and only they, have equal
// text: decimals without their trailing zeros.
func AppendIdentity(b *strings.Builder, leaf connectors.Scalar, v connectors.Value) {
	text := v.Text
	if leaf == connectors.ScalarDecimal && v.Kind != connectors.KindNull {
		text = numberOf(v).String()
	}
	b.WriteString(strconv.Itoa(len(text)))
	b.WriteByte(':')
	if v.IsNull() {
		b.WriteByte('n')
	}
	b.WriteString(text)
}

// A broken constraint, with the fields it is over.
type broken struct {
	code   connectors.Code
	fields []string
}

func (b *broken) Error() string { return string(b.code) + " over " + strings.Join(b.fields, ", ") }

// constraints checks the keys of t and the references from and to it. With
// touched only what those rows can have broken is looked for.
func (st *state) constraints(t *table, touched map[*row]bool) error {
	uniques := [][]string{}
	if len(t.meta.Key) > 0 {
		uniques = append(uniques, t.meta.Key)
	}
	for _, u := range t.meta.Uniques {
		uniques = append(uniques, u.Fields)
	}
	for _, fields := range uniques {
		seen := make(map[string]bool, len(t.rows))
		for _, r := range t.rows {
			key, ok := t.keyOf(r, fields)
			if ok && seen[key] {
				return &broken{connectors.CodeUniqueViolation, fields}
			}
			seen[key] = true
		}
	}
	for _, ref := range t.meta.References {
		if err := st.reference(t, ref, touched); err != nil {
			return err
		}
	}
	for _, child := range st.tables {
		for _, ref := range child.meta.References {
			if ref.To == t.meta.Name && child != t {
				if err := st.reference(child, ref, nil); err != nil {
					return &broken{connectors.CodeReferenceViolation, ref.On}
				}
			}
		}
	}
	return nil
}

func (st *state) reference(child *table, ref connectors.Reference, touched map[*row]bool) error {
	parent := st.tables[ref.To]
	if parent == nil {
		return nil // it lies outside of the schema
	}
	keys := make(map[string]bool, len(parent.rows))
	for _, r := range parent.rows {
		if key, ok := parent.keyOf(r, ref.On); ok {
			keys[key] = true
		}
	}
	for _, r := range child.rows {
		if key, ok := child.keyOf(r, ref.Fields); ok && !keys[key] {
			if touched != nil && !touched[r] {
				return &broken{connectors.CodeReferenceViolation, ref.On}
			}
			return &broken{connectors.CodeReferenceViolation, ref.Fields}
		}
	}
	return nil
}
