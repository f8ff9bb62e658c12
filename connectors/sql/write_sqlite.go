package sql

import (
	"context"
	stdsql "database/sql"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/countersign/countersign/connectors"
)

// openLiteWriter prepares the one connection that writes. It does not open the
// file, and never makes one. Foreign keys are enforced; the journal mode of the
// guest stays as it is.
func openLiteWriter(cfg *Config) (*stdsql.DB, error) {
	db, err := stdsql.Open("sqlite", sqliteURL(sqlitePath(cfg.URL), "mode=rw",
		"_pragma=busy_timeout("+strconv.FormatInt(cfg.LockTimeout.Milliseconds(), 10)+")", "_pragma=foreign_keys(1)", "_dqs=0"))
	if err != nil {
		return nil, connectors.Errorf(connectors.CodeValidationFailed, "the url of the source is no SQLite file").WithCause(err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// liteTx is a transaction in SQLite. It is begun and ended by statements, not by
// database/sql, which takes a COMMIT that was refused for the end.
type liteTx struct {
	l       *liteBackend
	conn    *stdsql.Conn // nil when given back
	restore string       // pragma to run at the end
	open    bool
}

func (l *liteBackend) begin(ctx context.Context, mode txMode) (txn, error) {
	db := l.writer
	if mode == txRead {
		db = l.db
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	x := &liteTx{l: l, conn: conn}
	begin := "begin immediate"
	switch mode {
	case txRead:
		begin = "begin"
	case txProbe:
		timeout := func(d time.Duration) string {
			return "pragma busy_timeout = " + strconv.FormatInt(d.Milliseconds(), 10)
		}
		x.restore = timeout(l.cfg.LockTimeout)
		if _, err := conn.ExecContext(ctx, timeout(probeLockTimeout)); err != nil {
			x.rollback()
			return nil, err
		}
	}
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		x.rollback()
		return nil, err
	}
	x.open = true
	return x, nil
}

func (x *liteTx) run(ctx context.Context, st *statement) (*connectors.Block, int64, error) {
	args, err := liteArgs(st.params, &connectors.Query{Select: &connectors.Select{}})
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, x.l.cfg.StatementTimeout)
	defer cancel()
	if len(st.cells) == 0 {
		result, err := x.conn.ExecContext(ctx, st.sql, args...)
		if err != nil {
			return nil, 0, err
		}
		n, err := result.RowsAffected()
		return nil, n, err
	}
	rows, err := x.conn.QueryContext(ctx, st.sql, args...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	r := &liteRows{l: x.l, st: st}
	block := &connectors.Block{Columns: len(st.cells)}
	cells, dest := make([]any, len(st.cells)), make([]any, len(st.cells))
	for i := range cells {
		dest[i] = &cells[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return nil, 0, err
		}
		r.row(block, cells)
	}
	return block, int64(block.Rows()), rows.Err()
}

// commit waits for readers as long as for a lock. A COMMIT that was refused
// because of them is rolled back, which proves that nothing was done.
func (x *liteTx) commit(ctx context.Context) error {
	_, err := x.conn.ExecContext(context.WithoutCancel(ctx), "commit")
	if err == nil {
		x.open = false
		return nil
	}
	if lite, ok := err.(*sqlite.Error); ok && lite.Code()&0xff == sqlite3.SQLITE_BUSY || strings.Contains(err.Error(), "FOREIGN KEY") {
		return coded(err)
	}
	return connectors.Errorf(connectors.CodeOutcomeUnknown, "the file failed while the change was committed; it may or may not have been done").WithCause(err)
}

func (x *liteTx) rollback() {
	if x.conn == nil {
		return
	}
	ctx := context.Background()
	if x.open {
		// Where SQLite has rolled back by itself this fails, and nothing is open.
		_, _ = x.conn.ExecContext(ctx, "rollback")
	}
	if x.restore != "" {
		_, _ = x.conn.ExecContext(ctx, x.restore)
	}
	_ = x.conn.Close()
	x.conn = nil
}
