// Package memory is a system of record that lives in this process: records in
// maps, functions in Go. Policy tests run over it, and it is the oracle of the
// conformance suite that every connector runs.
//
// It must not know GraphQL, policy, proposals, configuration or any other
// connector.
package memory

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/countersign/countersign/connectors"
)

// Memory is a connector whose system is this process: records in maps and Go
// functions. It does what its schema declares and refuses the rest, evaluates
// conditions, orders and aggregates as SQL does, and is meant as the oracle for
// other connectors and as the test double of everything above the contract.
//
// Where systems differ it follows PostgreSQL with the collation C: nulls sort
// last ascending, text compares by bytes. Its methods may be called
// concurrently; the exported fields are set before the first call.
type Memory struct {
	// NullsLow sorts nulls first ascending by default, as SQLite does.
	NullsLow bool
	// BlockRows, when positive, bounds the rows of one block, so that answers
	// of several blocks are cheap to have.
	BlockRows int
	// Now is the clock of generated timestamps.
	Now func() time.Time
	// OnQuery, when set, sees each query before it runs.
	OnQuery func(*connectors.Query)

	schema  *connectors.Schema
	state   atomic.Pointer[state]
	writing sync.Mutex // held by the one writer
	faults  faults
	effects effects
	events  events

	funcs  sync.Map // name → Func
	closed atomic.Bool
}

// A Func is the code of a declared function. It may query the Memory, and must
// not apply changes to it. Args is an object of the arguments given.
type Func func(ctx context.Context, args connectors.Value) (connectors.Value, error)

// New makes a connector of the schema that holds the records, by collection.
// Fields that a record does not hold are null. It fails with a *RecordError on
// records that do not fit the schema.
func New(schema *connectors.Schema, data map[string][]connectors.Record) (*Memory, error) {
	m := &Memory{schema: schema, Now: time.Now}
	m.faults.init()
	m.events.init()
	st := newState(schema)
	for name, records := range data {
		t := st.tables[name]
		if t == nil {
			return nil, &RecordError{Collection: name, Index: -1, Problem: "the schema has no such collection"}
		}
		for i := range records {
			r, err := t.load(&records[i])
			if err != nil {
				return nil, &RecordError{Collection: name, Index: i, Problem: err.Error()}
			}
			t.rows = append(t.rows, r)
		}
	}
	for _, t := range st.tables {
		if err := st.constraints(t, nil); err != nil {
			return nil, &RecordError{Collection: t.meta.Name, Index: -1, Problem: err.Error()}
		}
	}
	m.state.Store(st)
	return m, nil
}

// A RecordError says which record does not fit the schema, and why. Index is -1
// where it is the records together.
type RecordError struct {
	Collection string
	Index      int
	Problem    string
}

// Error names the record.
func (e *RecordError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("the records of %s: %s", e.Collection, e.Problem)
	}
	return fmt.Sprintf("record %d of %s: %s", e.Index+1, e.Collection, e.Problem)
}

// Positions are the values by which each record of a collection stands in an
// order, in the order of Records: what a cursor holds.
func (m *Memory) Positions(collection string, order []connectors.OrderTerm) ([][]connectors.Value, error) {
	st := m.state.Load()
	t := st.tables[collection]
	if t == nil {
		return nil, unsupported("there is no collection %q", collection)
	}
	compiled, err := (&compiler{schema: m.schema, st: st, nullsLow: m.NullsLow}).order(t, order)
	if err != nil {
		return nil, err
	}
	out := make([][]connectors.Value, len(t.rows))
	for i, r := range t.rows {
		out[i] = compiled.values(st, r)
	}
	return out, nil
}

// Schema is what it was made with. It must not be changed.
func (m *Memory) Schema() *connectors.Schema { return m.schema }

// Handle sets the code of a declared function.
func (m *Memory) Handle(function string, f Func) { m.funcs.Store(function, f) }

// Records are the records of a collection as they are now, with all fields.
func (m *Memory) Records(collection string) []connectors.Record {
	st := m.state.Load()
	t := st.tables[collection]
	if t == nil {
		return nil
	}
	var all []string
	for _, f := range t.meta.Fields {
		all = append(all, f.Name)
	}
	out := make([]connectors.Record, 0, len(t.rows))
	for _, r := range t.rows {
		out = append(out, t.record(r, all))
	}
	return out
}

// Markers is the number of marker rows, void ones included.
func (m *Memory) Markers() int { return len(m.state.Load().markers) }

// Describe returns the schema it was made with.
func (m *Memory) Describe(ctx context.Context) (*connectors.Schema, error) {
	if err := m.begin(ctx, OnDescribe); err != nil {
		return nil, err
	}
	return m.schema, m.faults.after(ctx, OnDescribe)
}

// Query implements the contract.
func (m *Memory) Query(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	if m.OnQuery != nil {
		m.OnQuery(q)
	}
	if err := m.begin(ctx, OnQuery); err != nil {
		return nil, err
	}
	rows, err := m.query(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := m.faults.after(ctx, OnQuery); err != nil {
		return nil, err
	}
	return rows, nil
}

// Preview implements the contract; the permit is not looked at.
func (m *Memory) Preview(ctx context.Context, _ *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	if err := m.begin(ctx, OnPreview); err != nil {
		return nil, err
	}
	w := &writer{m: m, ctx: ctx, change: c, draft: m.state.Load().clone(), preview: true}
	effect, err := w.run()
	if err != nil {
		return nil, err
	}
	return effect, m.faults.after(ctx, OnPreview)
}

// Apply implements the contract; the permit is not looked at. Writers wait for
// each other.
func (m *Memory) Apply(ctx context.Context, _ *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	if err := m.begin(ctx, OnApply); err != nil {
		return nil, err
	}
	effect, err := m.apply(ctx, c)
	if err != nil {
		return effect, err
	}
	if err := m.faults.after(ctx, OnApply); err != nil {
		return nil, err
	}
	return effect, nil
}

// Close makes every later call fail with CodeUpstreamUnavailable and ends
// watches.
func (m *Memory) Close() error {
	if m.closed.CompareAndSwap(false, true) {
		m.events.close()
	}
	return nil
}

func (m *Memory) begin(ctx context.Context, op FaultPoint) error {
	if err := ctx.Err(); err != nil {
		return connectors.AsError(err)
	}
	if m.closed.Load() {
		return connectors.Errorf(connectors.CodeUpstreamUnavailable, "the connector is closed")
	}
	return m.faults.before(ctx, op)
}

// FullSchema declares the collections with everything Memory can do: every
// filter, order, group and aggregate that has a meaning for a field's type, all
// pages, all writes with class transactional, related conditions, snapshots and
// watching. The collections need names, fields, keys and references only.
func FullSchema(collections ...*connectors.Collection) *connectors.Schema {
	s := &connectors.Schema{
		Connector: "memory", Identity: "memory",
		Capabilities: connectors.Capabilities{Atomic: true, Snapshot: true, Watch: true, Related: true},
		Collections:  collections,
	}
	for _, c := range collections {
		c.List, c.Get = true, len(c.Key) > 0
		c.AnyBind, c.Count, c.Aggregate, c.HasVersion = true, true, true, true
		c.Paging = connectors.Paging{Keyset: true, Offset: true, Last: true}
		c.Acts = map[connectors.StepKind]*connectors.Act{}
		for _, kind := range []connectors.StepKind{connectors.Create, connectors.Update, connectors.Delete} {
			c.Acts[kind] = &connectors.Act{Class: connectors.Transactional, Preview: connectors.PreviewRead,
				ByFilter: kind != connectors.Create, Conditional: true, Increment: kind == connectors.Update}
		}
		for _, f := range c.Fields {
			fullField(f)
		}
	}
	return s
}

func fullField(f *connectors.Field) {
	leaf := f.Type.Leaf()
	f.Filter = opsOf(f.Type)
	f.Order = orderable(f.Type)
	f.Group = f.Order || (!f.Type.List && (leaf == connectors.ScalarBoolean || leaf == connectors.ScalarUUID))
	f.Aggregates = nil
	for _, a := range []connectors.AggregateFunc{connectors.AggSum, connectors.AggAvg, connectors.AggMin, connectors.AggMax} {
		if _, ok := a.ScalarOf(leaf); ok && !f.Type.List {
			f.Aggregates = append(f.Aggregates, a)
		}
	}
}

func orderable(t connectors.TypeRef) bool {
	if t.List {
		return false
	}
	switch t.Leaf() {
	case connectors.ScalarJSON, connectors.ScalarDuration, connectors.ScalarBytes:
		return false
	}
	return true
}

func opsOf(t connectors.TypeRef) []connectors.Op {
	ops := []connectors.Op{connectors.OpIsNull}
	if t.List {
		return ops
	}
	leaf := t.Leaf()
	switch leaf {
	case connectors.ScalarJSON:
		return append(ops, connectors.OpHasKey)
	case connectors.ScalarDuration:
		return ops
	}
	ops = append(ops, connectors.OpEq, connectors.OpNe, connectors.OpIn, connectors.OpNotIn)
	switch leaf {
	case connectors.ScalarBoolean, connectors.ScalarBytes, connectors.ScalarUUID:
		return ops
	}
	ops = append(ops, connectors.OpGt, connectors.OpGte, connectors.OpLt, connectors.OpLte)
	if leaf == connectors.ScalarString && t.Enum == "" {
		ops = append(ops, connectors.OpLike, connectors.OpILike, connectors.OpStartsWith, connectors.OpEndsWith,
			connectors.OpContains, connectors.OpSearch)
	}
	return ops
}
