package execute

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// many writes a connection. One whose records failed is null as a whole; a
// count or aggregate that failed nulls itself.
func (w *renderer) many(f *plan.Field, p place) bool {
	c := place{step: f.Step, row: p.row}
	if f.Step != nil {
		if w.failed(f.Step) {
			return false
		}
		c.res = &w.r.results[f.Step.ID]
		c.ord = w.ordinal(f.Step, p.row)
		from, to := w.span(f.Step, c.ord)
		c.page = w.page(f.Step, from, to)
	}
	return w.object(f.Select, c)
}

// page cuts the row that was fetched only to know that there are more.
func (w *renderer) page(s *plan.Step, from, to int) page {
	out := page{from: from, to: to}
	if s.Page == nil || !s.Page.More {
		return out
	}
	if size := w.r.values.PageSize(s); to-from > size {
		out.more = true
		if s.Page.Reverse {
			out.from = to - size
		} else {
			out.to = from + size
		}
	}
	return out
}

// list writes nodes or edges of the page.
func (w *renderer) list(f *plan.Field, p place) bool {
	start := len(w.buf)
	w.buf = append(w.buf, '[')
	w.path = append(w.path, step{})
	item := p
	for row := p.page.from; row < p.page.to; row++ {
		if row > p.page.from {
			w.buf = append(w.buf, ',')
		}
		w.path[len(w.path)-1].at = row - p.page.from
		item.row = row
		if !w.object(f.Select, item) {
			w.path = w.path[:len(w.path)-1]
			w.buf = w.buf[:start]
			return false
		}
		if w.tooLarge {
			break
		}
	}
	w.path = w.path[:len(w.path)-1]
	w.buf = append(w.buf, ']')
	return true
}

// pageInfo writes one field of pageInfo.
func (w *renderer) pageInfo(f *plan.Field, p place) bool {
	paged := p.step.Page
	switch f.Kind {
	case plan.FieldStart, plan.FieldEnd:
		if p.page.from == p.page.to {
			return false
		}
		row := p.page.from
		if f.Kind == plan.FieldEnd {
			row = p.page.to - 1
		}
		return w.cursor(p, row)
	case plan.FieldHasNext:
		w.bool(!paged.Reverse && p.page.more || paged.Reverse && paged.Continued)
	default:
		w.bool(paged.Reverse && p.page.more || !paged.Reverse && paged.Continued)
	}
	return true
}

func (w *renderer) bool(b bool) {
	if b {
		w.buf = append(w.buf, "true"...)
		return
	}
	w.buf = append(w.buf, "false"...)
}

// cursor writes the sealed cursor of a row.
func (w *renderer) cursor(p place, row int) bool {
	c := p.step.Page.Cursor
	if c == nil || len(c.Columns) == 0 || w.r.in.Sealer == nil {
		return false
	}
	w.scratch = w.scratch[:0]
	for i, col := range c.Columns {
		v, err := connectors.ParseCell(p.res.cell(row, col), c.Scalars[i])
		if err != nil {
			w.add(w.r.failed(p.step, connectors.Errorf(connectors.CodeInternal, "the source gave a value that cannot be read").WithCause(err)))
			return false
		}
		w.scratch = append(w.scratch, v)
	}
	plain := plan.AppendCursor(nil, c.Scope(w.r.values.Step(p.step)), w.scratch)
	w.buf = connectors.AppendJSONString(w.buf, w.r.in.Sealer.Seal(plain))
	return true
}

// totals writes a count, or the aggregates, of a connection or group. An entry
// without records has no row: its count is 0 and all else null.
func (w *renderer) totals(f *plan.Field, p place) bool {
	if f.Step == nil {
		// Within an aggregate: a cell of its row.
		if f.Kind == plan.FieldCount && p.res != nil && p.row < 0 {
			w.buf = append(w.buf, '0')
			return true
		}
		return w.cell(f, p.res.cell(p.row, f.Column))
	}
	if w.failed(f.Step) {
		return false
	}
	res := &w.r.results[f.Step.ID]
	from, to := w.span(f.Step, w.ordinal(f.Step, p.row))
	row := from
	if from == to {
		row = -1
	}
	if f.Kind == plan.FieldCount {
		if row < 0 {
			w.buf = append(w.buf, '0')
			return true
		}
		return w.cell(f, res.cell(row, f.Column))
	}
	return w.object(f.Select, place{res: res, row: row})
}
