package sql

import (
	"context"
	stdsql "database/sql"
	"errors"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/countersign/countersign/connectors"
)

// liteBackend reads a SQLite file, and writes it on a connection apart. The
// connections of db can only read: the file is opened so, and each refuses to
// write as well. The guest's journal mode is left as it is.
type liteBackend struct {
	cfg        *Config
	db         *stdsql.DB
	pool       *litePool  // of db, for queries
	writer     *stdsql.DB // of writes only; see openLiteWriter
	unreadable *atomic.Uint64
}

// sqlitePath is the file of a source's url.
func sqlitePath(u string) string {
	u = strings.TrimPrefix(u, "sqlite:")
	u = strings.TrimPrefix(u, "file:")
	return strings.TrimPrefix(u, "//")
}

// sqliteURL is the driver's name for the file with options.
func sqliteURL(path string, options ...string) string {
	return "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + strings.Join(options, "&")
}

// openSQLite prepares the pool. It does not open the file.
func openSQLite(cfg *Config, unreadable *atomic.Uint64) (*liteBackend, error) {
	db, err := stdsql.Open("sqlite", sqliteURL(sqlitePath(cfg.URL), "mode=ro",
		"_pragma=busy_timeout("+strconv.FormatInt(cfg.LockTimeout.Milliseconds(), 10)+")", "_pragma=query_only(1)", "_dqs=0"))
	if err != nil {
		return nil, connectors.Errorf(connectors.CodeValidationFailed, "the url of the source is no SQLite file").WithCause(err)
	}
	db.SetMaxIdleConns(0) // the pool keeps them
	writer, err := openLiteWriter(cfg)
	if err != nil {
		return nil, err
	}
	return &liteBackend{cfg: cfg, db: db, pool: newLitePool(db, cfg.PoolMax), writer: writer, unreadable: unreadable}, nil
}

func (l *liteBackend) close() error { return errors.Join(l.pool.close(), l.writer.Close()) }

// query runs a statement, in the snapshot where there is one.
func (l *liteBackend) query(ctx context.Context, st *statement, q *connectors.Query) (connectors.Rows, error) {
	args, err := liteArgs(st.params, q)
	if err != nil {
		return nil, err
	}
	timeout := l.cfg.StatementTimeout
	if t := q.Select.Timeout; t > 0 && t < timeout {
		timeout = t
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	r := &liteRows{l: l, st: st, cancel: cancel, cells: make([]any, len(st.cells)+1), dest: make([]any, 0, len(st.cells)+1)}
	if q.Snapshot != nil {
		err = l.inSnapshot(ctx, r, q.Snapshot, args)
	} else {
		err = l.alone(ctx, r, args)
	}
	if err != nil {
		r.done()
		if ctx.Err() != nil {
			err = timeoutOf(err)
		}
		return nil, err
	}
	return r, nil
}

// alone runs a statement without a transaction and reads the first block.
func (l *liteBackend) alone(ctx context.Context, r *liteRows, args []any) error {
	conn, err := l.pool.acquire(ctx)
	if err != nil {
		return err
	}
	r.conn = conn
	if err := r.start(ctx, conn, args); err != nil {
		r.err = err
		return err
	}
	if r.first, r.err = r.fill(); r.err != nil && r.count == 0 {
		return r.err
	}
	return nil
}

// inSnapshot runs a statement in the transaction of the snapshot and reads the
// whole answer: the next query needs the connection.
func (l *liteBackend) inSnapshot(ctx context.Context, r *liteRows, s *connectors.Snapshot, args []any) error {
	held, ok := s.Lock()
	if !ok {
		return connectors.Errorf(connectors.CodeBadInput, "the snapshot has ended")
	}
	defer s.Unlock()
	conn, _ := held.(*liteConn)
	if conn == nil {
		var err error
		if conn, err = l.pool.acquire(ctx); err != nil {
			return err
		}
		if _, err := conn.conn.ExecContext(ctx, "begin"); err != nil {
			l.pool.release(conn, true)
			return err
		}
		s.Hold(conn, func() {
			_, err := conn.conn.ExecContext(context.WithoutCancel(ctx), "rollback")
			l.pool.release(conn, err != nil)
		})
	}
	if err := r.start(ctx, conn, args); err != nil {
		return err
	}
	return r.readAll()
}

// liteRows is the answer to one statement.
type liteRows struct {
	l      *liteBackend
	st     *statement
	conn   *liteConn // nil in a snapshot, and when done
	rows   *stdsql.Rows
	cancel context.CancelFunc
	cells  []any
	dest   []any
	first  *connectors.Block
	more   []*connectors.Block
	count  int
	err    error
}

// Next returns the next block.
func (r *liteRows) Next(context.Context) (*connectors.Block, error) {
	if b := r.first; b != nil {
		r.first = nil
		return b, nil
	}
	if len(r.more) > 0 {
		b := r.more[0]
		r.more = r.more[1:]
		return b, nil
	}
	if r.err != nil {
		return nil, coded(r.err)
	}
	if r.rows == nil {
		return nil, nil
	}
	var b *connectors.Block
	b, r.err = r.fill()
	if r.err != nil {
		return nil, coded(r.err)
	}
	return b, nil
}

// Close gives the connection back.
func (r *liteRows) Close() error {
	r.first, r.more = nil, nil
	r.done()
	return nil
}

// start sends the statement.
func (r *liteRows) start(ctx context.Context, conn *liteConn, args []any) error {
	stmt, err := conn.prepared(ctx, r.st.sql)
	if err != nil {
		return err
	}
	r.rows, err = stmt.QueryContext(ctx, args...)
	return err
}

// done ends the reading and gives the connection back. One that failed is not
// used again.
func (r *liteRows) done() {
	if r.rows != nil {
		_ = r.rows.Close()
		r.rows = nil
	}
	if r.conn != nil {
		r.l.pool.release(r.conn, r.err != nil && connectors.CodeOf(r.err) != connectors.CodeRowCapExceeded)
		r.conn = nil
	}
	if r.cancel != nil {
		r.cancel()
		r.cancel = nil
	}
}

func (r *liteRows) readAll() error {
	for r.rows != nil {
		b, err := r.fill()
		switch {
		case connectors.CodeOf(err) == connectors.CodeRowCapExceeded:
			r.err = err
			r.done()
			return nil
		case err != nil:
			return err
		case b != nil && r.first == nil:
			r.first = b
		case b != nil:
			r.more = append(r.more, b)
		}
	}
	return nil
}

// fill reads rows into one block; nil where there are none.
func (r *liteRows) fill() (*connectors.Block, error) {
	block := r.st.hint.newBlock(len(r.st.cells), r.st.bind)
	cells := r.cells
	if !r.st.bind {
		cells = cells[1:]
	}
	if len(r.dest) == 0 {
		for i := range cells {
			r.dest = append(r.dest, &cells[i])
		}
	}
	for len(block.Data) < connectors.MaxBlockBytes {
		if !r.rows.Next() {
			if err := r.rows.Err(); err != nil {
				return nil, err
			}
			r.done()
			r.st.hint.learn(block)
			if block.Rows() == 0 {
				return nil, nil
			}
			return block, nil
		}
		r.count++
		if r.st.maxRows > 0 && r.count > r.st.maxRows {
			return nil, rowCap(r.st.maxRows)
		}
		if err := r.rows.Scan(r.dest...); err != nil {
			return nil, err
		}
		r.row(block, cells)
	}
	return block, nil
}

// row appends the cells of one row.
func (r *liteRows) row(block *connectors.Block, cells []any) {
	if r.st.bind {
		ordinal, _ := cells[0].(int64)
		block.Bind = append(block.Bind, uint32(ordinal))
		cells = cells[1:]
	}
	for i, v := range cells {
		start := len(block.Data)
		if v == nil {
			block.Data = append(block.Data, "null"...)
		} else if data, ok := appendLite(block.Data, v, r.st.cells[i]); ok {
			block.Data = data
		} else {
			block.Data = append(data[:start], "null"...)
			r.l.unreadable.Add(1)
			block.Fault()
		}
		block.EndCell()
	}
}
