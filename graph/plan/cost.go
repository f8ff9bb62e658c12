package plan

import "github.com/countersign/countersign/connectors"

// rowsEstimate is how many records a step may bring, for the cost.
type rowsEstimate struct{ fields int }

// cellsPerUnit is how many cells cost one unit.
const cellsPerUnit = 100

// costCap keeps estimates from overflowing.
const costCap = 1 << 40

// Cost estimates an operation before it runs: one unit for each statement and
// one for each hundred cells, with every page full and every related record
// there.
func (p *Plan) Cost(v *Values) int {
	v.rows = grow(v.rows, len(p.Steps))
	cells := 0
	for _, s := range p.Steps {
		parents := 1
		switch {
		case s.Parent != nil:
			parents = v.rows[s.Parent.ID]
		case s.Write != nil:
			parents = max(1, s.Write.MaxRecords)
		}
		rows := parents
		if s.Page != nil {
			rows = parents * v.PageSize(s)
		}
		v.rows[s.ID] = min(rows, costCap)
		cells = min(cells+v.rows[s.ID]*s.rows.fields, costCap)
	}
	return len(p.Steps) + cells/cellsPerUnit
}

// MeasuredCost is what an operation did cost, in the units of Cost: calls of
// sources, and cells that came.
func MeasuredCost(calls, cells int) int { return calls + cells/cellsPerUnit }

// maxWritten is how many records the plan's writes may touch.
func (p *Plan) maxWritten(v *Values) int {
	n := 0
	for _, w := range p.Writes {
		most := w.MaxRecords
		if w.HasMaxRows {
			asked, _ := w.MaxRows.Value(v.All[w.ArgFrom:w.ArgTo]).Int64()
			most = int(asked)
		}
		n = min(n+max(most, 1), costCap)
	}
	return n
}

func (p *Plan) checkCost(v *Values) *connectors.Error {
	if p.maxCost <= 0 {
		return nil
	}
	if cost := p.Cost(v); cost > p.maxCost {
		return connectors.Errorf(connectors.CodeCostExceeded,
			"the operation may cost %d and is allowed %d: ask for smaller pages or fewer levels", cost, p.maxCost)
	}
	return nil
}
