package execute

import (
	"bytes"
	"strconv"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// leaf writes a scalar inside a JSON value, or an enum. What is not of the
// declared scalar is null with an error.
func (w *renderer) leaf(f *plan.Field, value []byte) bool {
	if f.Leaf == nil {
		w.buf = append(w.buf, value...)
		return true
	}
	if f.Leaf.Names != nil {
		return w.enum(f, value)
	}
	if !f.Leaf.Checked {
		w.buf = append(w.buf, value...)
		return true
	}
	quoted := value[0] == '"'
	digits := value[0] == '-' || value[0] >= '0' && value[0] <= '9'
	ok := false
	switch f.Leaf.Scalar {
	case connectors.ScalarJSON:
		ok = true
	case connectors.ScalarBoolean:
		ok = value[0] == 't' || value[0] == 'f'
	case connectors.ScalarInt:
		ok = digits && fitsInt(value, 32)
	case connectors.ScalarSafeInt:
		ok = digits && fitsInt(value, 54)
	case connectors.ScalarFloat:
		ok = digits
	case connectors.ScalarBigInt, connectors.ScalarDecimal, connectors.ScalarID:
		if digits && (f.Leaf.Scalar == connectors.ScalarDecimal || !bytes.ContainsAny(value, ".eE")) {
			w.buf = append(w.buf, '"')
			w.buf = append(w.buf, value...)
			w.buf = append(w.buf, '"')
			return true
		}
		ok = quoted
	default:
		ok = quoted
	}
	if !ok {
		w.fail(f, "the source gave a value that is not of the field's type")
		return false
	}
	w.buf = append(w.buf, value...)
	return true
}

// fitsInt tells whether a JSON number is an integer of that many bits; SafeInt
// has 54 with its sign.
func fitsInt(value []byte, bits int) bool {
	n, err := strconv.ParseInt(string(value), 10, bits)
	return err == nil && (bits != 54 || n != -1<<53)
}

// enum writes the graph's name of a value.
func (w *renderer) enum(f *plan.Field, value []byte) bool {
	if value[0] == '"' && len(value) >= 2 {
		name, ok := f.Leaf.Names[string(value[1:len(value)-1])]
		if !ok && bytes.IndexByte(value, '\\') >= 0 {
			if v, err := connectors.ParseCell(value, connectors.ScalarString); err == nil {
				name, ok = f.Leaf.Names[v.Text]
			}
		}
		if ok {
			w.buf = append(w.buf, '"')
			w.buf = append(w.buf, name...)
			w.buf = append(w.buf, '"')
			return true
		}
	}
	w.fail(f, "the source gave a value that the enum does not have")
	return false
}

// call writes what a reading function answered: one cell, or one per item of a
// list.
func (w *renderer) call(f *plan.Field) bool {
	if w.failed(f.Step) {
		return false
	}
	res := &w.r.results[f.Step.ID]
	if !f.Leaf.List {
		if res.n == 0 {
			return false
		}
		cell := res.cell(0, 0)
		return len(cell) > 0 && cell[0] != 'n' && w.jsonItem(f, cell)
	}
	start := len(w.buf)
	w.buf = append(w.buf, '[')
	w.path = append(w.path, step{})
	for row := 0; row < res.n; row++ {
		if row > 0 {
			w.buf = append(w.buf, ',')
		}
		w.path[len(w.path)-1].at = row
		cell := res.cell(row, 0)
		if len(cell) > 0 && cell[0] != 'n' && w.jsonItem(f, cell) {
			continue
		}
		if f.Leaf.ItemNonNull {
			w.path = w.path[:len(w.path)-1]
			w.buf = w.buf[:start]
			return false
		}
		w.buf = append(w.buf, "null"...)
	}
	w.path = w.path[:len(w.path)-1]
	w.buf = append(w.buf, ']')
	return true
}
