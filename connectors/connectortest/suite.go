package connectortest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
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

// Run is the conformance suite: what every connector must do. A capability that
// the connector's schema declares is tested; one that it does not declare is
// tested to be refused with CodeUnsupported. Answers are compared with those of
// a [Memory] of the same schema.
func Run(t *testing.T, h Harness) {
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
	})
	t.Run("watch", h.watch)
	t.Run("close", h.close)
	RunWrites(t, h)
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
}

// A session is a connector under test beside its oracle, over equal records.
type session struct {
	c      connectors.Connector
	oracle *Memory
	schema *connectors.Schema
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
	return &session{c: c, oracle: oracle, schema: schema}
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

// oracleSchema is the part of a schema that the suite knows: the oracle claims
// what the connector claims.
func oracleSchema(schema *connectors.Schema) *connectors.Schema {
	s := *schema
	s.Collections = nil
	for _, name := range []string{Albums, Artists, Customers, Tracks} {
		if c := schema.Collection(name); c != nil {
			s.Collections = append(s.Collections, c)
		}
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
	for _, c := range s.oracle.schema.Collections {
		s.compare(t, &connectors.Query{Select: all(c)})
	}
}

// all is every field of every record, in the order of the key.
func all(c *connectors.Collection) *connectors.Select {
	s := &connectors.Select{Collection: c.Name}
	for _, f := range c.Fields {
		if !f.WriteOnly {
			s.Columns = append(s.Columns, connectors.Column{Field: f.Name})
		}
	}
	for _, k := range c.Key {
		s.Order = append(s.Order, connectors.OrderTerm{Field: k})
	}
	return s.Seal()
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

// compare runs a query on the connector and on the oracle. Either both answer
// the same, or both refuse with the same code.
func (s *session) compare(t reporter, q *connectors.Query) answer {
	t.Helper()
	got, gotErr := read(s.c, q)
	want, wantErr := read(s.oracle, q)
	if connectors.CodeOf(gotErr) != connectors.CodeOf(wantErr) {
		t.Fatalf("the connector says %v, the oracle %v, to\n%s", describeError(gotErr), describeError(wantErr), show(q))
	}
	if gotErr != nil {
		return got
	}
	if problem := s.differ(q, got, want); problem != "" {
		t.Fatalf("%s\nconnector:\n%soracle:\n%sto %s", problem, got, want, show(q))
	}
	return got
}

func describeError(err error) string {
	if err == nil {
		return "nothing"
	}
	e := connectors.AsError(err)
	return fmt.Sprintf("%v (cause: %v)", e, e.Cause)
}

func show(q *connectors.Query) string {
	b, err := json.MarshalIndent(struct {
		*connectors.Select
		Args []connectors.Value
		Bind [][]connectors.Value
	}{q.Select, q.Args, q.Bind}, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// differ says how two answers differ: "" when not. Entries may come in any
// order, the rows of one are in order.
func (s *session) differ(q *connectors.Query, got, want answer) string {
	if len(got.rows) != len(want.rows) {
		return fmt.Sprintf("%d rows, not %d", len(got.rows), len(want.rows))
	}
	byEntry := func(a answer) [][]string {
		if a.bind == nil {
			return a.rows
		}
		var out [][]string
		for n := range q.Bind {
			for i := range a.rows {
				if a.bind[i] == uint32(n) {
					out = append(out, append([]string{strconv.Itoa(n)}, a.rows[i]...))
				}
			}
		}
		return out
	}
	g, w := byEntry(got), byEntry(want)
	leaves, loose := s.leaves(q)
	if got.bind != nil {
		leaves = append([]connectors.Scalar{connectors.ScalarInt}, leaves...)
	}
	if a := q.Select.Aggregate; a != nil && len(q.Select.Order) == 0 {
		grouped := len(leaves) - len(a.Values)
		sortGroups(g, leaves[:grouped])
		sortGroups(w, leaves[:grouped])
	}
	for i := range g {
		for j := range g[i] {
			if !sameCell(leaves[j], g[i][j], w[i][j], loose) {
				return fmt.Sprintf("row %d, cell %d (%s): %s, not %s", i, j, leaves[j], g[i][j], w[i][j])
			}
		}
	}
	return ""
}

// sortGroups orders rows by what they are grouped by: groups come in any order.
func sortGroups(rows [][]string, leaves []connectors.Scalar) {
	identity := func(row []string) string {
		var b strings.Builder
		for i, leaf := range leaves {
			if v, err := connectors.ParseCell([]byte(row[i]), leaf); err == nil {
				if c, err := canonScalar(leaf, v); err == nil && !v.IsNull() {
					v = c
				}
				appendIdentity(&b, leaf, v)
			}
		}
		return b.String()
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return strings.Compare(identity(a), identity(b)) })
}

// leaves are the scalars of a query's cells; loose where sums may be rounded.
func (s *session) leaves(q *connectors.Query) (leaves []connectors.Scalar, loose bool) {
	c := s.schema.Collection(q.Select.Collection)
	if a := q.Select.Aggregate; a != nil {
		for _, name := range a.GroupBy {
			leaves = append(leaves, c.Field(name).Type.Leaf())
		}
		for _, v := range a.Values {
			leaf := connectors.ScalarInt
			if f := c.Field(v.Field); f != nil {
				leaf = f.Type.Leaf()
			}
			scalar, _ := v.Func.ScalarOf(leaf)
			leaves = append(leaves, scalar)
		}
		return leaves, true
	}
	for _, col := range q.Select.Columns {
		if col.Version {
			leaves = append(leaves, versionScalar)
			continue
		}
		leaves = append(leaves, c.Field(col.Field).Type.Leaf())
	}
	return leaves, false
}

// versionScalar marks cells that are opaque: any text will do.
const versionScalar connectors.Scalar = "version"

// looseness is the relative difference at which computed numbers are equal.
const looseness = 1e-9

// sameCell compares two cells of a scalar by what they mean: 10.50 is 10.5.
func sameCell(leaf connectors.Scalar, a, b string, loose bool) bool {
	if leaf == versionScalar {
		return a[0] == '"' && b[0] == '"'
	}
	if a == b {
		return true
	}
	if a == "null" || b == "null" || (a[0] == '"') != (b[0] == '"') {
		return false
	}
	v, errV := connectors.ParseCell([]byte(a), leaf)
	w, errW := connectors.ParseCell([]byte(b), leaf)
	if errV != nil || errW != nil {
		return false
	}
	v, errV = canonScalar(leaf, v)
	w, errW = canonScalar(leaf, w)
	if errV != nil || errW != nil {
		return false
	}
	if compare(leaf, v, w) == 0 {
		return true
	}
	x, errX := strconv.ParseFloat(v.Text, 64)
	y, errY := strconv.ParseFloat(w.Text, 64)
	return loose && errX == nil && errY == nil && math.Abs(x-y) <= looseness*max(math.Abs(x), math.Abs(y), 1)
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
	q := &connectors.Query{Select: all(schema.Collection(Artists))}
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
