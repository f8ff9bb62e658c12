package execute

import (
	"context"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// looked is what a look at the targets of a write told.
type looked struct {
	direct  bool // every target may be written at once
	visible bool // every target may be shown
}

// look reads the keys of the records that a write addresses, with a cell each
// for the conditions that decide about them: it has a value where the condition
// matches. The source evaluates them, as it does for reading.
func (m *Mutation) look(ctx context.Context, w *plan.Write, b *plan.BoundRecord) (looked, *connectors.Error) {
	if len(w.KeyFields) == 0 {
		return looked{}, nil
	}
	sel := &connectors.Select{Collection: w.Collection, Where: b.Step.Where, MaxRows: m.r.limits.Rows}
	key := w.KeyFields[0]
	sel.Columns = []connectors.Column{{Field: key, If: b.Direct}, {Field: key, If: b.Visible}}
	limit := 1
	if len(b.Step.Key) > 0 {
		var own []*connectors.Condition
		for _, k := range b.Step.Key {
			own = append(own, connectors.Compare(k.Field, connectors.OpEq, connectors.Const(k.Value)))
		}
		sel.Where = connectors.And(append(own, sel.Where)...)
	} else {
		limit = b.Step.MaxRows
		for _, f := range w.KeyFields {
			sel.Order = append(sel.Order, connectors.OrderTerm{Field: f})
		}
		sel.Page = &connectors.Page{Limit: connectors.Const(connectors.Int(int64(limit + 1)))}
	}
	source := m.e.Sources[w.Source]
	if source == nil {
		return looked{}, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the source is not there")
	}
	m.r.calls.Add(1)
	blocks, err := fetch(ctx, source, &connectors.Query{Select: sel.Seal()}, nil)
	if err != nil {
		return looked{}, connectors.AsError(err)
	}
	return judge(blocks, limit, len(b.Step.Key) > 0)
}

// judge reads the two cells of each target.
func judge(blocks []*connectors.Block, limit int, byKey bool) (looked, *connectors.Error) {
	out, n := looked{direct: true, visible: true}, 0
	for _, block := range blocks {
		if block.Columns != 2 {
			return looked{}, connectors.Errorf(connectors.CodeInternal, "the source answered in another shape than it was asked for")
		}
		for row := range block.Rows() {
			n++
			out.direct = out.direct && block.Cell(row, 0)[0] != 'n'
			out.visible = out.visible && block.Cell(row, 1)[0] != 'n'
		}
	}
	switch {
	case n == 0 && byKey:
		return looked{}, notFound()
	case n > limit:
		return looked{}, connectors.Errorf(connectors.CodeRowCapExceeded, "more than %d records match", limit)
	}
	return out, nil
}
