package execute

import (
	"encoding/binary"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// A bindSet is the distinct keys of one join and, per row of the parent, which
// of them is its own; -1 where the row has none.
type bindSet struct {
	done    bool
	err     *connectors.Error
	entries [][]connectors.Value
	ords    []int32
}

// bind computes the join of a step from its parent's rows. It runs in the
// goroutine of the parent, before the children start.
func (r *run) bind(s *plan.Step) {
	if s.Bind < 0 {
		return
	}
	b := &r.binds[s.Bind]
	if b.done {
		return
	}
	b.done = true
	parent := &r.results[s.Parent.ID]
	b.ords = make([]int32, parent.n)
	known := make(map[string]int32, parent.n)
	var key []byte
	for row := range b.ords {
		b.ords[row] = -1
		key = key[:0]
		null := false
		for _, col := range s.Keys {
			cell := parent.cell(row, col)
			null = null || len(cell) == 0 || cell[0] == 'n'
			key = append(binary.AppendUvarint(key, uint64(len(cell))), cell...)
		}
		if null {
			continue
		}
		if ord, ok := known[string(key)]; ok {
			b.ords[row] = ord
			continue
		}
		entry, ok, err := r.entry(s, parent, row)
		if err != nil {
			b.err = err
			return
		}
		ord := int32(-1)
		if ok {
			ord = int32(len(b.entries))
			b.entries = append(b.entries, entry)
		}
		known[string(key)] = ord
		b.ords[row] = ord
	}
}

// entry reads the key cells of a row as values of the fields they are compared
// with. ok is false where a value cannot be one of that field.
func (r *run) entry(s *plan.Step, parent *result, row int) (entry []connectors.Value, ok bool, err *connectors.Error) {
	entry = make([]connectors.Value, len(s.Keys))
	for i, col := range s.Keys {
		v, bad := connectors.ParseCell(parent.cell(row, col), s.KeyScalars[i])
		if bad != nil {
			return nil, false, r.failed(s.Parent, connectors.Errorf(connectors.CodeInternal, "the source gave a key that cannot be read").WithCause(bad))
		}
		if entry[i], ok = s.Cast(i, v); !ok {
			return nil, false, nil
		}
	}
	return entry, true, nil
}

// bindWrite is the join of a step that reads what a write left.
func (r *run) bindWrite(s *plan.Step) {
	b := &r.binds[s.Bind]
	if b.done {
		return
	}
	b.done = true
	if s.Write.Index < len(r.written) {
		b.entries = r.written[s.Write.Index]
	}
	b.ords = make([]int32, len(b.entries))
	for i := range b.ords {
		b.ords[i] = int32(i)
	}
}
