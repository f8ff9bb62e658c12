package sql

import "context"

// SetFailpoint tells f how far each change has come. Called before the first
// change.
func (e *Engine) SetFailpoint(f func(point string)) { e.failpoint = f }

// The points that a change comes by, in order.
const (
	PointStatements = pointStatements
	PointCommit     = pointCommit
	PointCommitted  = pointCommitted
)

// Statements are the texts that are prepared on a connection of the pool.
func (e *Engine) Statements(ctx context.Context) (texts []string) {
	conn, err := e.db.(*pgBackend).pool.Acquire(ctx)
	if err != nil {
		return nil
	}
	defer conn.Release()
	if ss, ok := conn.Conn().PgConn().CustomData()[customStatements].(*pgStatements); ok {
		for text := range ss.byText {
			texts = append(texts, text)
		}
	}
	return texts
}

// Reread makes updates of a collection read again what they wrote.
func (e *Engine) Reread(collection string) { e.model.tables[collection].rereads.Store(true) }
