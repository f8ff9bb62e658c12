package sql

// SetFailpoint tells f how far each change has come. Called before the first
// change.
func (e *Engine) SetFailpoint(f func(point string)) { e.failpoint = f }

// The points that a change comes by, in order.
const (
	PointStatements = pointStatements
	PointCommit     = pointCommit
	PointCommitted  = pointCommitted
)
