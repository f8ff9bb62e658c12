package execute

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// A result is the rows of a step.
type result struct {
	err    *connectors.Error
	blocks []*connectors.Block
	one    [1]*connectors.Block // memory of blocks in the common case
	n      int
	// spans are, per entry of the join, the rows that belong to it.
	spans []span
}

type span struct{ from, to int32 }

// cell is the bytes of a cell, by the row's position in all blocks; none for a
// row below 0.
func (t *result) cell(row, col int) []byte {
	b, row := t.locate(row)
	if b == nil {
		return nil
	}
	return b.Cell(row, col)
}

// locate finds the block of a row, and the row's position in it.
func (t *result) locate(row int) (*connectors.Block, int) {
	if t == nil || row < 0 {
		return nil, 0
	}
	if len(t.blocks) == 1 {
		return t.blocks[0], row
	}
	for _, b := range t.blocks {
		n := b.Rows()
		if row < n {
			return b, row
		}
		row -= n
	}
	return nil, 0
}

// query asks the source, where there is something to ask.
func (r *run) query(s *plan.Step, res *result, token *connectors.Snapshot) *connectors.Error {
	sel := r.values.Select(s)
	if plan.Nothing(sel.Where) {
		// Nothing may be seen: there is no statement to send.
		return nil
	}
	var entries [][]connectors.Value
	if s.Bind >= 0 {
		b := &r.binds[s.Bind]
		if b.err != nil {
			return b.err
		}
		if entries = b.entries; len(entries) == 0 {
			return nil
		}
		res.spans = make([]span, len(entries))
	}
	if block, ok := r.given[s.ID]; ok {
		return r.take(s, res, block)
	}
	args := r.values.Step(s)
	if !r.permitted(s, args) {
		return connectors.Errorf(connectors.CodeForbidden, "this may not be called with these arguments")
	}
	if r.slots != nil {
		select {
		case r.slots <- struct{}{}:
			defer func() { <-r.slots }()
		case <-r.ctx.Done():
			return r.failed(s, r.ctx.Err())
		}
	}
	if s.MaxBind <= 0 || len(entries) <= s.MaxBind {
		return r.ask(s, res, &connectors.Query{Select: sel, Args: args, Bind: entries, Snapshot: token}, 0)
	}
	for from := 0; from < len(entries); from += s.MaxBind {
		part := entries[from:min(from+s.MaxBind, len(entries))]
		if err := r.ask(s, res, &connectors.Query{Select: sel, Args: args, Bind: part, Snapshot: token}, from); err != nil {
			return err
		}
	}
	return nil
}

// take uses an answer that came with a write's effect.
func (r *run) take(s *plan.Step, res *result, block *connectors.Block) *connectors.Error {
	if err := r.add(s, res, block, 0, len(res.spans)); err != nil {
		return r.failed(s, err)
	}
	res.blocks = append(res.memory(), block)
	return nil
}

// ask sends one query and adds its rows; first is the ordinal of its first
// entry.
func (r *run) ask(s *plan.Step, res *result, q *connectors.Query, first int) *connectors.Error {
	c := r.e.Sources[s.Source]
	if c == nil {
		return r.failed(s, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the source is not there"))
	}
	blocks, err := res.memory(), error(nil)
	if ttl := r.e.Cache.keeps(s); ttl > 0 {
		var more []*connectors.Block
		more, err = r.e.Cache.through(r, s, q, c, ttl)
		blocks = append(blocks, more...)
	} else {
		r.calls.Add(1)
		blocks, err = fetch(r.ctx, c, q, blocks)
	}
	if err != nil {
		return r.failed(s, err)
	}
	for _, b := range blocks[len(res.blocks):] {
		if err := r.add(s, res, b, first, len(q.Bind)); err != nil {
			return r.failed(s, err)
		}
	}
	res.blocks = blocks
	return nil
}

// memory is where blocks are collected: what is there, or the result's own
// place for one.
func (t *result) memory() []*connectors.Block {
	if t.blocks == nil {
		return t.one[:0:1]
	}
	return t.blocks
}

// add counts a block's rows and says which entry each belongs to.
func (r *run) add(s *plan.Step, res *result, b *connectors.Block, first, entries int) *connectors.Error {
	n := b.Rows()
	if b.Columns != s.Width || len(b.Ends) != n*b.Columns || s.Bind >= 0 && len(b.Bind) != n {
		return connectors.Errorf(connectors.CodeInternal, "the source answered in another shape than it was asked for")
	}
	r.cells.Add(int64(len(b.Ends)))
	if r.rows.Add(int64(n)) > int64(r.limits.Rows) {
		return connectors.Errorf(connectors.CodeRowCapExceeded, "the operation reads more than %d records", r.limits.Rows)
	}
	for i, ordinal := range b.Bind {
		if s.Bind < 0 {
			break
		}
		if int(ordinal) >= entries {
			return connectors.Errorf(connectors.CodeInternal, "the source answered for something it was not asked for")
		}
		at := &res.spans[first+int(ordinal)]
		row := int32(res.n + i)
		switch {
		case at.to == 0:
			*at = span{row, row + 1}
		case at.to == row:
			at.to++
		default:
			return connectors.Errorf(connectors.CodeInternal, "the source gave the records of one entry apart")
		}
	}
	res.n += n
	return nil
}

// failed is an error of a step, with its source.
func (r *run) failed(s *plan.Step, err error) *connectors.Error {
	e := *connectors.AsError(err)
	if e.Source == "" {
		e.Source = s.Source
	}
	return &e
}
