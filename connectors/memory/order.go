package memory

import (
	"slices"

	"github.com/countersign/countersign/connectors"
)

// An ordering is the compiled Select.Order.
type ordering []orderTerm

type orderTerm struct {
	leaf      connectors.Scalar
	typ       connectors.TypeRef
	value     func(*state, *row) connectors.Value
	desc      bool
	nullFirst bool
}

func (k *compiler) order(t *table, terms []connectors.OrderTerm) (ordering, error) {
	var out ordering
	for _, term := range terms {
		value, f, err := k.orderValue(t, term)
		if err != nil {
			return nil, err
		}
		if !f.Order {
			return nil, unsupported("nothing can be ordered by %s", term.Field)
		}
		// Nulls count as larger than everything, or smaller with nullsLow.
		nullFirst := term.Desc != k.nullsLow
		switch term.Nulls {
		case connectors.NullsFirst:
			nullFirst = true
		case connectors.NullsLast:
			nullFirst = false
		}
		out = append(out, orderTerm{leaf: f.Type.Leaf(), typ: f.Type, value: value, desc: term.Desc, nullFirst: nullFirst})
	}
	return out, nil
}

// orderValue is the value of a term: a field, or a field of the record at the
// end of a chain of to-one relations; null where the chain breaks.
func (k *compiler) orderValue(t *table, term connectors.OrderTerm) (func(*state, *row) connectors.Value, *connectors.Field, error) {
	if len(term.Via) > 0 && !k.schema.Capabilities.Related {
		return nil, nil, unsupported("orders over related records are not supported")
	}
	follow := func(_ *state, r *row) *row { return r }
	for i := range term.Via {
		others, other, err := k.join(t, &term.Via[i])
		if err != nil {
			return nil, nil, err
		}
		before := follow
		follow = func(st *state, r *row) *row {
			if r = before(st, r); r == nil {
				return nil
			}
			if found := others(st, r); len(found) > 0 {
				return found[0]
			}
			return nil
		}
		t = other
	}
	f := t.field(term.Field)
	if f == nil || f.WriteOnly {
		return nil, nil, unsupported("there is no field %q", term.Field)
	}
	return func(st *state, r *row) connectors.Value {
		if r = follow(st, r); r == nil {
			return connectors.Null
		}
		return t.value(r, term.Field)
	}, f, nil
}

func (o ordering) values(st *state, r *row) []connectors.Value {
	out := make([]connectors.Value, len(o))
	for i := range o {
		out[i] = o[i].value(st, r)
	}
	return out
}

func (o ordering) compare(a, b []connectors.Value) int {
	for i, term := range o {
		if c := term.compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

func (t orderTerm) compare(a, b connectors.Value) int {
	switch {
	case a.IsNull() && b.IsNull():
		return 0
	case a.IsNull() == t.nullFirst && (a.IsNull() || b.IsNull()):
		return -1
	case a.IsNull() || b.IsNull():
		return 1
	}
	if t.desc {
		return -Compare(t.leaf, a, b)
	}
	return Compare(t.leaf, a, b)
}

// page compiles Select.Page: what it keeps of sorted rows.
func (k *compiler) page(t *table, s *connectors.Select, order ordering) (func([]*row, map[*row][]connectors.Value) []*row, error) {
	if s.Page == nil {
		return func(rows []*row, _ map[*row][]connectors.Value) []*row { return rows }, nil
	}
	limit, limited, err := k.natural(s.Page.Limit, "limit")
	if err != nil {
		return nil, err
	}
	offset, _, err := k.natural(s.Page.Offset, "offset")
	if err != nil {
		return nil, err
	}
	if t.meta.Paging.Max > 0 && limit > t.meta.Paging.Max {
		return nil, badInput("a page of %s has at most %d records", t.meta.Name, t.meta.Paging.Max)
	}
	after, err := k.position(order, s.Page.After)
	if err != nil {
		return nil, err
	}
	before, err := k.position(order, s.Page.Before)
	if err != nil {
		return nil, err
	}
	return func(rows []*row, keys map[*row][]connectors.Value) []*row {
		rows = slices.DeleteFunc(rows, func(r *row) bool {
			return (after != nil && order.compare(keys[r], after) <= 0) || (before != nil && order.compare(keys[r], before) >= 0)
		})
		if s.Page.Reverse {
			rows = rows[:max(0, len(rows)-offset)]
			if limited {
				rows = rows[max(0, len(rows)-limit):]
			}
			return rows
		}
		rows = rows[min(offset, len(rows)):]
		if limited {
			rows = rows[:min(limit, len(rows))]
		}
		return rows
	}, nil
}

func (k *compiler) position(order ordering, operands []connectors.Operand) ([]connectors.Value, error) {
	if len(operands) == 0 {
		return nil, nil
	}
	if len(operands) != len(order) {
		return nil, badInput("a cursor of %d values for an order of %d terms", len(operands), len(order))
	}
	out := make([]connectors.Value, len(order))
	for i, o := range operands {
		v, err := canon(order[i].typ, o.Value(k.args))
		if err != nil {
			return nil, badInput("a value of a cursor: %v", err)
		}
		out[i] = v
	}
	return out, nil
}

// An output collects rows into blocks.
type output struct {
	limit   int // rows per block; 0: by size only
	maxRows int
	columns int
	bound   bool
	count   int
	block   *connectors.Block
	blocks  []*connectors.Block
}

// begin makes room for a row of the entry; columns must have been set.
func (o *output) begin(entry int) error {
	if o.maxRows > 0 && o.count == o.maxRows {
		return connectors.Errorf(connectors.CodeRowCapExceeded, "the answer has more than %d records", o.maxRows)
	}
	o.count++
	o.settle()
	if o.block == nil || o.limit > 0 && o.block.Rows() >= o.limit {
		o.block = &connectors.Block{Columns: o.columns}
		o.blocks = append(o.blocks, o.block)
	}
	if o.bound {
		o.block.Bind = append(o.block.Bind, uint32(entry))
	}
	return nil
}

// settle moves the row written last into a block of its own where it made the
// block too large.
func (o *output) settle() {
	b := o.block
	if b == nil || len(b.Data) <= connectors.MaxBlockBytes || b.Rows() < 2 {
		return
	}
	first := (b.Rows() - 1) * b.Columns
	start := b.Ends[first-1]
	next := &connectors.Block{Columns: b.Columns, Data: slices.Clone(b.Data[start:])}
	for _, end := range b.Ends[first:] {
		next.Ends = append(next.Ends, end-start)
	}
	b.Data, b.Ends = b.Data[:start], b.Ends[:first]
	if o.bound {
		last := len(b.Bind) - 1
		next.Bind, b.Bind = []uint32{b.Bind[last]}, b.Bind[:last]
	}
	o.block = next
	o.blocks = append(o.blocks, next)
}

func (o *output) rows() connectors.Rows {
	o.settle()
	return connectors.BlocksOf(o.blocks...)
}
