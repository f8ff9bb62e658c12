package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/memory"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// given is what one source holds at the beginning of each run.
type given struct {
	schema  *connectors.Schema
	records map[string][]connectors.Record
}

// records makes what every source holds. Keys and references between records are
// no part of a policy: only the primary key is kept to, and a record may leave
// out what the test does not look at.
func (r *runner) records() {
	r.given = map[string]*given{}
	lines := map[string][]int{}
	for name, schema := range r.cfg.Schemas {
		r.given[name] = &given{schema: relaxed(schema), records: map[string][]connectors.Record{}}
	}
	for _, g := range r.tests.Given {
		coll := r.cfg.Catalog.Collection(g.Object)
		into := r.given[coll.Source.Name].records
		for i := range g.Records {
			rec, ok := r.record(coll, &g.Records[i], i)
			if !ok {
				continue
			}
			into[coll.Spec.Name] = append(into[coll.Spec.Name], rec)
			lines[g.Object] = append(lines[g.Object], g.Records[i].Line)
		}
	}
	if policy.Errors(r.problems) {
		return
	}
	for name, g := range r.given {
		_, err := memory.New(g.schema, g.records)
		var bad *memory.RecordError
		if errors.As(err, &bad) {
			object, line := name+"."+bad.Collection, 0
			if at := lines[object]; bad.Index >= 0 && bad.Index < len(at) {
				line = at[bad.Index]
			} else if len(at) > 0 {
				line = at[0]
			}
			r.problem(line, policy.ProblemWrongType, "given: "+object+": "+bad.Problem, "")
		}
	}
}

// relaxed is a schema without the constraints that records of a test need not
// keep to.
func relaxed(s *connectors.Schema) *connectors.Schema {
	out := *s
	out.Collections = make([]*connectors.Collection, len(s.Collections))
	for i, c := range s.Collections {
		copied := *c
		copied.References, copied.Uniques = nil, nil
		out.Collections[i] = &copied
	}
	return &out
}

func (r *runner) record(coll *catalog.Collection, rec *policy.TestRecord, index int) (connectors.Record, bool) {
	var out connectors.Record
	set := map[string]bool{}
	ok := true
	for _, f := range rec.Fields {
		field := coll.SystemField(f.Name)
		v, err := valueOf(f.Value, field.Type)
		if err != nil {
			r.problem(f.Line, policy.ProblemWrongType, "given: "+field.Name+": "+err.Error(), "")
			ok = false
			continue
		}
		set[f.Name] = true
		out.Fields = append(out.Fields, connectors.Assign{Field: f.Name, Value: v})
	}
	for _, f := range coll.Spec.Fields {
		if !set[f.Name] && !f.Nullable {
			out.Fields = append(out.Fields, connectors.Assign{Field: f.Name, Value: some(r.given[coll.Source.Name].schema, f, index+1)})
		}
	}
	return out, ok
}

// valueOf reads a value of the file as one of the type. A number stands for a
// text where a text is wanted; enums go by the graph's names or the system's.
func valueOf(raw json.RawMessage, t *catalog.Type) (connectors.Value, error) {
	raw = bytes.TrimSpace(raw)
	if t.List && raw[0] == '[' {
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil {
			return connectors.Value{}, err
		}
		out := connectors.Value{Kind: connectors.KindList}
		for _, item := range items {
			v, err := scalarOf(item, t)
			if err != nil {
				return v, err
			}
			out.Items = append(out.Items, v)
		}
		return out, nil
	}
	if t.List && raw[0] != 'n' {
		return connectors.Value{}, fmt.Errorf("a list is wanted")
	}
	return scalarOf(raw, t)
}

func scalarOf(raw json.RawMessage, t *catalog.Type) (connectors.Value, error) {
	textual := false
	switch t.Leaf {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt, connectors.ScalarFloat, connectors.ScalarDecimal,
		connectors.ScalarBoolean, connectors.ScalarJSON:
	default:
		textual = true
	}
	if textual && raw[0] != '"' && raw[0] != 'n' {
		if raw[0] == '{' || raw[0] == '[' {
			return connectors.Value{}, fmt.Errorf("a %s is wanted", t.Leaf)
		}
		raw = strconv.AppendQuote(nil, string(raw))
	}
	v, err := connectors.ParseCell(raw, t.Leaf)
	if err == nil && t.Values != nil && v.Kind == connectors.KindString {
		if system, ok := t.Values.System(v.Text); ok {
			v = connectors.String(system)
		}
	}
	return v, err
}

// some is a value for a field that must have one and that nobody looks at:
// numbers and texts count the records, so that keys differ.
func some(s *connectors.Schema, f *connectors.Field, n int) connectors.Value {
	if f.DefaultValue != nil {
		return *f.DefaultValue
	}
	if f.Type.List {
		return connectors.Value{Kind: connectors.KindList}
	}
	if e := s.Enum(f.Type.Enum); e != nil && len(e.Values) > 0 {
		return connectors.String(e.Values[0])
	}
	switch f.Type.Leaf() {
	case connectors.ScalarBoolean:
		return connectors.False
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		return connectors.Int(int64(n))
	case connectors.ScalarFloat:
		return connectors.Float(0)
	case connectors.ScalarDecimal:
		return connectors.Decimal("0")
	case connectors.ScalarDateTime:
		return connectors.String("2000-01-01T00:00:00Z")
	case connectors.ScalarLocalDateTime:
		return connectors.String("2000-01-01T00:00:00")
	case connectors.ScalarDate:
		return connectors.String("2000-01-01")
	case connectors.ScalarTime:
		return connectors.String("00:00:00")
	case connectors.ScalarDuration:
		return connectors.String("PT0S")
	case connectors.ScalarUUID:
		return connectors.String(fmt.Sprintf("00000000-0000-4000-8000-%012d", n))
	case connectors.ScalarJSON:
		return connectors.Value{Kind: connectors.KindJSON, Text: "{}"}
	case connectors.ScalarBytes:
		return connectors.Value{Kind: connectors.KindBytes}
	}
	text := strconv.Itoa(n)
	if most := f.Type.MaxLength; most > 0 && len(text) > most {
		text = text[:most]
	}
	return connectors.String(text)
}

// answer makes every function answer: with what it was given under the same
// names, and with values of no meaning elsewhere.
func answer(m *memory.Memory) {
	schema := m.Schema()
	for _, f := range schema.Functions {
		m.Handle(f.Name, func(_ context.Context, args connectors.Value) (connectors.Value, error) {
			if f.Result == nil {
				return connectors.Null, nil
			}
			return result(schema, *f.Result, args, 0), nil
		})
	}
}

// deepest bounds types that hold themselves.
const deepest = 4

func result(s *connectors.Schema, t connectors.TypeRef, args connectors.Value, depth int) connectors.Value {
	o := s.Object(t.Object)
	if t.List || o == nil {
		return some(s, &connectors.Field{Type: t}, 1)
	}
	var b strings.Builder
	b.WriteByte('{')
	for _, f := range o.Fields {
		if f.WriteOnly || f.Nullable && args.Get(f.Name).IsNull() || depth >= deepest {
			continue
		}
		v := args.Get(f.Name)
		if v.IsNull() {
			v = result(s, f.Type, connectors.Null, depth+1)
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(connectors.AppendJSONString(nil, f.Name))
		b.WriteByte(':')
		b.Write(v.AppendJSON(nil, f.Type.Leaf()))
	}
	b.WriteByte('}')
	return connectors.Value{Kind: connectors.KindJSON, Text: b.String()}
}
