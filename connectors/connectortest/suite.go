package connectortest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/countersign/countersign/connectors"
)

// A Harness tells the conformance suite how to have the connector under test.
type Harness struct {
	// Open returns a connector over a fresh copy of the suite's data
	// ([SuiteCollections], [SuiteData]) in a system of its own, ready to write
	// where the connector writes: with a marker table where a class is
	// transactional. The suite closes the connector; what else Open made it
	// cleans up with the test.
	Open func(t testing.TB) connectors.Connector
	// NullsLow: the system sorts nulls first ascending.
	NullsLow bool
}

// Run is the conformance suite: what every connector must do. Nothing but the
// connector's schema says what that is: a capability that it declares is tested;
// one that it does not declare is tested to be refused with CodeUnsupported.
// Answers are compared with those of a [Memory] of the same schema.
//
// Where no order is declared, records are compared without one, and a page must
// hold as many of the matching records as it is asked for, each once. Where no
// unique keys and references are declared, what breaks one is refused by any code
// that says that nothing was done.
func Run(t *testing.T, h Harness) {
	RunReads(t, h)
	RunWrites(t, h)
}

// RunReads is the part of the suite that does not write, for a connector that
// can be configured to read in several ways.
func RunReads(t *testing.T, h Harness) {
	t.Run("describe", h.describe)
	t.Run("data", h.data)
	t.Run("reads", func(t *testing.T) {
		s := h.open(t)
		t.Run("selects", s.selects)
		t.Run("aggregates", s.aggregates)
		t.Run("pages", s.pages)
		t.Run("bind", s.bind)
		t.Run("undeclared", s.undeclared)
		t.Run("malformed", s.malformed)
		t.Run("bound", s.bound)
		t.Run("cancelled", s.cancelled)
		t.Run("functions", s.functions)
	})
	t.Run("watch", h.watch)
	t.Run("close", h.close)
}

// RunWrites is the part of the suite that writes, for a connector that can be
// configured to write in several ways.
func RunWrites(t *testing.T, h Harness) {
	t.Run("snapshot", h.snapshot)
	t.Run("writes", h.writes)
	t.Run("random writes", h.randomWrites)
	t.Run("preview", h.previews)
	t.Run("writers", h.writers)
	t.Run("marker", h.marker)
	t.Run("idempotency", h.idempotency)
}

// A session is a connector under test beside its oracle, over equal records.
type session struct {
	c      connectors.Connector
	oracle *Memory
	schema *connectors.Schema
	// constraints: the connector knows its system's unique keys and references.
	constraints bool
}

// callTimeout bounds every call of the suite, so that a connector that hangs
// fails instead.
const callTimeout = 2 * time.Minute

func (h Harness) open(t testing.TB) *session {
	t.Helper()
	c := h.Open(t)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	schema := describe(t, c)
	oracle := NewMemory(oracleSchema(schema), SuiteData())
	oracle.NullsLow = h.NullsLow
	return &session{c: c, oracle: oracle, schema: schema, constraints: slices.ContainsFunc(schema.Collections,
		func(c *connectors.Collection) bool { return len(c.Uniques)+len(c.References) > 0 })}
}

func describe(t testing.TB, c connectors.Connector) *connectors.Schema {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	schema, err := c.Describe(ctx)
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	return schema
}

// oracleSchema is the part of a schema that the suite knows. The oracle claims
// what the connector claims, and keeps the constraints of the suite's data also
// where the connector does not know that its system has them.
func oracleSchema(schema *connectors.Schema) *connectors.Schema {
	s := *schema
	s.Collections = nil
	for _, suite := range SuiteCollections() {
		declared := schema.Collection(suite.Name)
		if declared == nil {
			continue
		}
		c := *declared
		if len(c.Uniques) == 0 {
			c.Uniques = suite.Uniques
		}
		if len(c.References) == 0 {
			c.References = suite.References
		}
		c.Fields = nil
		for _, f := range declared.Fields {
			f := *f
			if of := suite.Field(f.Name); of != nil && f.Type.MaxLength == 0 && !f.Type.HasScale {
				f.Type.MaxLength, f.Type.Precision, f.Type.Scale, f.Type.HasScale = of.Type.MaxLength, of.Type.Precision, of.Type.Scale, of.Type.HasScale
			}
			c.Fields = append(c.Fields, &f)
		}
		s.Collections = append(s.Collections, &c)
	}
	return &s
}

func (h Harness) describe(t *testing.T) {
	c := h.Open(t)
	defer c.Close()
	first, second := describe(t, c), describe(t, c)
	a, errA := json.Marshal(first)
	b, errB := json.Marshal(second)
	if errA != nil || errB != nil || !bytes.Equal(a, b) || first.Identity != second.Identity {
		t.Errorf("the schema changes while the system does not:\n%s\n%s", a, b)
	}
	if first.Connector == "" || first.Identity == "" {
		t.Errorf("connector %q and identity %q must both be told", first.Connector, first.Identity)
	}
	if !slices.IsSortedFunc(first.Collections, func(a, b *connectors.Collection) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) }) {
		t.Error("the collections are not sorted by name")
	}
	for _, want := range SuiteCollections() {
		got := first.Collection(want.Name)
		if got == nil {
			t.Errorf("there is no collection %s", want.Name)
			continue
		}
		if !slices.Equal(got.Key, want.Key) {
			t.Errorf("the key of %s is %v, not %v", want.Name, got.Key, want.Key)
		}
		ordered := slices.ContainsFunc(got.Fields, func(f *connectors.Field) bool { return f.Order })
		if got.Paging.Keyset && keyOrder(got) == nil || got.Paging.Last && !ordered {
			t.Errorf("%s has pages %+v, and no order to have them in", want.Name, got.Paging)
		}
		for _, f := range want.Fields {
			g := got.Field(f.Name)
			if g == nil {
				t.Errorf("%s has no field %s", want.Name, f.Name)
			} else if g.Nullable != f.Nullable {
				t.Errorf("%s.%s is nullable: %t, not %t", want.Name, f.Name, g.Nullable, f.Nullable)
			}
		}
	}
}

// data reads every record of every collection.
func (h Harness) data(t *testing.T) {
	s := h.open(t)
	for _, c := range s.oracle.Schema().Collections {
		s.compare(t, s.everything(c))
	}
}

// all is every field of every record, in the order of the key where records
// come in one.
func all(c *connectors.Collection) *connectors.Select {
	s := &connectors.Select{Collection: c.Name, Order: keyOrder(c)}
	for _, f := range c.Fields {
		if !f.WriteOnly {
			s.Columns = append(s.Columns, connectors.Column{Field: f.Name})
		}
	}
	return s.Seal()
}

// keyOrder orders by the key; nil where the collection cannot.
func keyOrder(c *connectors.Collection) []connectors.OrderTerm {
	var order []connectors.OrderTerm
	for _, k := range c.Key {
		if !c.Field(k).Order {
			return nil
		}
		order = append(order, connectors.OrderTerm{Field: k})
	}
	return order
}

// everything reads a whole collection: as a list, or, where it cannot be
// listed, by a join over the values that its records have or had.
func (s *session) everything(c *connectors.Collection) *connectors.Query {
	q := &connectors.Query{Select: all(c)}
	if c.List {
		return q
	}
	shape := *q.Select
	for _, fields := range bindable(c) {
		if shape.Bind == nil || len(fields) < len(shape.Bind) {
			shape.Bind = fields
		}
	}
	seen := map[string]bool{}
	for _, rec := range slices.Concat(SuiteData()[c.Name], s.oracle.Records(c.Name)) {
		var entry []connectors.Value
		id := ""
		for _, name := range shape.Bind {
			entry = append(entry, rec.Get(name))
			id += rec.Get(name).Text + ","
		}
		if !seen[id] {
			seen[id] = true
			q.Bind = append(q.Bind, entry)
		}
	}
	q.Select = shape.Seal()
	return q
}

// bindable are the sets of fields that a collection is known to join over.
func bindable(c *connectors.Collection) [][]string {
	out := slices.Clone(c.BindFields)
	if c.AnyBind {
		out = append(out, c.Key)
		for _, r := range c.References {
			out = append(out, r.Fields)
		}
	}
	return out
}

// An answer is the rows of a query, read to the end and checked to be blocks as
// the contract wants them.
type answer struct {
	rows [][]string
	bind []uint32
}

func (a answer) String() string {
	var b bytes.Buffer
	for i, r := range a.rows {
		if i == 20 {
			fmt.Fprintf(&b, "… %d rows in all\n", len(a.rows))
			break
		}
		if a.bind != nil {
			fmt.Fprintf(&b, "#%d ", a.bind[i])
		}
		fmt.Fprintln(&b, r)
	}
	return b.String()
}

// read runs a query to its end. A broken block is a broken error, which no
// refusal is mistaken for.
func read(c connectors.Connector, q *connectors.Query) (a answer, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	rows, err := c.Query(ctx, q)
	if err != nil {
		return a, err
	}
	defer func() {
		if closeErr := rows.Close(); closeErr != nil && err == nil {
			err = closeErr
		}
	}()
	seen := map[uint32]bool{}
	for {
		b, err := rows.Next(ctx)
		if err != nil {
			return a, err
		}
		if b == nil {
			return a, nil
		}
		if err := a.add(b, q, seen); err != nil {
			return a, err
		}
	}
}

func (a *answer) add(b *connectors.Block, q *connectors.Query, seen map[uint32]bool) error {
	want := len(q.Select.Columns)
	if g := q.Select.Aggregate; g != nil {
		want = len(g.GroupBy) + len(g.Values)
	}
	switch {
	case b.Columns != want:
		return fmt.Errorf("a block of %d columns, not %d", b.Columns, want)
	case len(b.Ends)%b.Columns != 0:
		return fmt.Errorf("%d cells do not fill rows of %d", len(b.Ends), b.Columns)
	case !slices.IsSorted(b.Ends) || len(b.Ends) > 0 && int(b.Ends[len(b.Ends)-1]) != len(b.Data):
		return fmt.Errorf("the ends of cells are not in order, or do not end with the data")
	case len(b.Data) > connectors.MaxBlockBytes && b.Rows() > 1:
		return fmt.Errorf("a block of %d bytes", len(b.Data))
	case len(q.Select.Bind) == 0 && b.Bind != nil, len(q.Select.Bind) > 0 && len(b.Bind) != b.Rows():
		return fmt.Errorf("%d ordinals for %d rows", len(b.Bind), b.Rows())
	}
	for i := range b.Rows() {
		row := make([]string, b.Columns)
		for j := range row {
			if row[j] = string(b.Cell(i, j)); !json.Valid(b.Cell(i, j)) {
				return fmt.Errorf("the cell %q is no JSON", row[j])
			}
		}
		a.rows = append(a.rows, row)
		if b.Bind == nil {
			continue
		}
		n := b.Bind[i]
		if int(n) >= len(q.Bind) {
			return fmt.Errorf("the ordinal %d of %d entries", n, len(q.Bind))
		}
		if last := len(a.bind) - 1; last < 0 || a.bind[last] != n {
			if seen[n] {
				return fmt.Errorf("the rows of entry %d do not stand together", n)
			}
			seen[n] = true
		}
		a.bind = append(a.bind, n)
	}
	return nil
}

// A reporter is what both testing.TB and rapid.T are.
type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
}

// refused checks that a query fails with the code.
func (s *session) refused(t *testing.T, code connectors.Code, q *connectors.Query) {
	t.Helper()
	if _, err := read(s.c, q); connectors.CodeOf(err) != code {
		t.Errorf("%v, not %s, to\n%s", describeError(err), code, show(q))
	}
}

// close: after Close nothing answers and nothing is left running.
func (h Harness) close(t *testing.T) {
	before := goleak.IgnoreCurrent()
	c := h.Open(t)
	schema := describe(t, c)
	q := &connectors.Query{Select: all(schema.Collection(Artists))} // which every system lists
	if _, err := read(c, q); err != nil {
		t.Fatal(err)
	}
	open, err := c.Query(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := open.Close(); err != nil {
		t.Errorf("closing rows that were not read: %v", err)
	}
	if err := open.Close(); err != nil {
		t.Errorf("closing rows again: %v", err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := read(c, q); err == nil {
		t.Error("a closed connector answers")
	}
	goleak.VerifyNone(t, before)
}
