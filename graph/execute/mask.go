package execute

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
)

// masked writes a cell as itself or under the first mask whose column has a
// value. Which that is was said by the policy's conditions, in the source.
func (w *renderer) masked(f *plan.Field, p place) bool {
	block, row := p.res.locate(p.row)
	if block == nil {
		return false
	}
	if f.Column >= 0 {
		if shown, done := w.unmask(f, block, row, plan.MaskedColumn{Column: f.Column}); done {
			return shown
		}
	}
	for _, m := range f.Masks {
		if shown, done := w.unmask(f, block, row, m); done {
			return shown
		}
	}
	return false
}

// unmask writes one column's cell under its mask; done is false where the cell is
// null, so that the next is asked.
func (w *renderer) unmask(f *plan.Field, block *connectors.Block, row int, m plan.MaskedColumn) (shown, done bool) {
	if block.Faults != nil && block.Faulty(row, m.Column) {
		w.path = append(w.path, step{key: f.Key})
		w.fail(f, "the source's value cannot be told in this field's type")
		w.path = w.path[:len(w.path)-1]
		return false, true
	}
	cell := block.Cell(row, m.Column)
	if len(cell) == 0 || cell[0] == 'n' {
		return false, false
	}
	if m.Mask == policy.MaskNone {
		w.buf = append(w.buf, cell...)
		return true, true
	}
	v, err := connectors.ParseCell(cell, f.Scalars[0])
	if err != nil {
		return false, true
	}
	text, ok := m.Mask.Text(v.Text, w.digest)
	if ok {
		w.buf = connectors.AppendJSONString(w.buf, text)
	}
	return ok, true
}

func (w *renderer) digest(value []byte) string {
	if w.r.in.Sealer == nil {
		return ""
	}
	return w.r.in.Sealer.Digest(value)
}
