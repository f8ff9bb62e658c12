package sql

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/countersign/countersign/connectors"
)

// pgBackend runs statements on a pool of PostgreSQL connections.
type pgBackend struct {
	pool       *pgxpool.Pool
	args       pgArgsPool
	unreadable *atomic.Uint64
}

// cancelGrace is how long a cancelled statement has to end by itself before its
// connection is given up.
const cancelGrace = time.Second

// openPostgres prepares the pool. It does not dial.
func openPostgres(cfg *Config, unreadable *atomic.Uint64) (*pgBackend, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		// The library's error repeats the URL, which holds a password.
		return nil, connectors.Errorf(connectors.CodeValidationFailed, "the url of the source is no PostgreSQL connection string")
	}
	pc.MaxConns = int32(cfg.PoolMax)
	pc.MinConns, pc.MinIdleConns = 0, 0
	run := pc.ConnConfig.RuntimeParams
	if run["application_name"] == "" {
		run["application_name"] = "countersign"
	}
	run["timezone"] = "UTC"
	run["datestyle"] = "ISO, YMD"
	run["intervalstyle"] = "iso_8601"
	run["extra_float_digits"] = "1"
	run["statement_timeout"] = strconv.FormatInt(cfg.StatementTimeout.Milliseconds(), 10)
	run["lock_timeout"] = strconv.FormatInt(cfg.LockTimeout.Milliseconds(), 10)
	run["idle_in_transaction_session_timeout"] = strconv.FormatInt(max(4*cfg.StatementTimeout, time.Minute).Milliseconds(), 10)
	pc.ConnConfig.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: cancelGrace}
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), pc)
	if err != nil {
		return nil, connectors.Errorf(connectors.CodeValidationFailed, "the source's pool cannot be made").WithCause(err)
	}
	return &pgBackend{pool: pool, unreadable: unreadable}, nil
}

func (p *pgBackend) close() error {
	p.pool.Close()
	return nil
}

// preparedMax bounds the prepared statements of one connection.
const preparedMax = 256

// A pgPrepared is a statement prepared on one connection. Its encoders may keep
// state: a connection is used by one goroutine at a time.
type pgPrepared struct {
	sd     *pgconn.StatementDescription
	encode []cellEncoder
}

// pgStatements are the prepared statements of one connection.
type pgStatements struct {
	lru[*pgPrepared]
	count int // of all ever made: names are not used again
}

const customStatements = "countersign.statements"

// prepared finds or prepares a statement on a connection.
func (p *pgBackend) prepared(ctx context.Context, c *pgconn.PgConn, st *statement) (*pgPrepared, error) {
	ss, _ := c.CustomData()[customStatements].(*pgStatements)
	if ss == nil {
		ss = &pgStatements{}
		c.CustomData()[customStatements] = ss
	}
	if pr, ok := ss.get(st.sql); ok {
		return pr, nil
	}
	for ss.len() >= preparedMax {
		text, old := ss.oldest()
		if err := c.Deallocate(ctx, old.sd.Name); err != nil {
			return nil, err
		}
		ss.drop(text)
	}
	ss.count++
	sd, err := c.Prepare(ctx, "countersign_"+strconv.Itoa(ss.count), st.sql, nil)
	if err != nil {
		return nil, err
	}
	pr := &pgPrepared{sd: sd, encode: make([]cellEncoder, len(st.cells))}
	first := 0
	if st.bind {
		first = 1
	}
	for i := range st.cells {
		if pr.encode[i] = encoderFor(sd.Fields[first+i].DataTypeOID, st.cells[i]); pr.encode[i] == nil {
			_ = c.Deallocate(ctx, sd.Name)
			return nil, connectors.Errorf(connectors.CodeUpstreamError, "the database is not as it was pinned; run refresh")
		}
	}
	ss.add(st.sql, pr)
	return pr, nil
}

// forget drops a statement whose plan the server does not know or will not use
// any more, because the tables changed. It tells whether err said so.
func forget(c *pgconn.PgConn, st *statement, err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || (pg.Code != "0A000" && pg.Code != "26000") {
		return false
	}
	ss, _ := c.CustomData()[customStatements].(*pgStatements)
	if ss == nil {
		return false
	}
	if _, ok := ss.get(st.sql); !ok {
		return false
	}
	ss.drop(st.sql)
	return true
}

// binaryFormat asks for all result columns in binary format.
func binaryFormat() []int16 { return binaryFormats[:] }

var binaryFormats = [1]int16{1} // never written to

// query runs a statement, in the snapshot where there is one.
func (p *pgBackend) query(ctx context.Context, st *statement, q *connectors.Query) (connectors.Rows, error) {
	args := p.args.get()
	defer p.args.put(args)
	if err := args.encode(st.params, q); err != nil {
		return nil, err
	}
	cancel := context.CancelFunc(nil)
	if q.Select.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, q.Select.Timeout)
	}
	rows := &pgRows{p: p, st: st}
	if st.byKey {
		rows.entries.index(q.Bind)
	}
	var err error
	if q.Snapshot != nil {
		err = p.inSnapshot(ctx, rows, q.Snapshot, args)
	} else {
		err = p.alone(ctx, rows, args)
	}
	if err != nil {
		if cancel != nil {
			cancel()
		}
		return nil, err
	}
	rows.cancel = cancel
	if rows.rr == nil {
		rows.done()
	}
	return rows, nil
}

// alone runs a statement without a transaction.
func (p *pgBackend) alone(ctx context.Context, rows *pgRows, args *pgArgs) error {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	rows.conn = conn
	c := conn.Conn().PgConn()
	for attempt := 0; ; attempt++ {
		if rows.pr, err = p.prepared(ctx, c, rows.st); err != nil {
			rows.done()
			return err
		}
		rows.rr = c.ExecStatement(ctx, rows.pr.sd, args.values, nil, binaryFormat())
		rows.first, rows.err = rows.fill()
		if rows.err == nil || rows.count > 0 {
			return nil
		}
		if attempt > 0 || !forget(c, rows.st, rows.err) || c.IsClosed() {
			rows.done()
			return rows.err
		}
	}
}

// A pgSnapshot is the connection of a snapshot, in a transaction.
type pgSnapshot struct{ conn *pgxpool.Conn }

const beginSnapshot = "begin isolation level repeatable read read only"

// inSnapshot runs a statement on the connection of the snapshot. The whole
// answer is read at once: the next query of the snapshot needs the connection,
// and may come before these rows are looked at.
func (p *pgBackend) inSnapshot(ctx context.Context, rows *pgRows, s *connectors.Snapshot, args *pgArgs) error {
	held, ok := s.Lock()
	if !ok {
		return connectors.Errorf(connectors.CodeBadInput, "the snapshot has ended")
	}
	defer s.Unlock()
	snap, _ := held.(*pgSnapshot)
	if snap != nil {
		c := snap.conn.Conn().PgConn()
		var err error
		if rows.pr, err = p.prepared(ctx, c, rows.st); err != nil {
			return err
		}
		rows.rr = c.ExecStatement(ctx, rows.pr.sd, args.values, nil, binaryFormat())
		if err := rows.readAll(); err != nil {
			forget(c, rows.st, err)
			return err
		}
		return nil
	}
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	c := conn.Conn().PgConn()
	for attempt := 0; ; attempt++ {
		err := p.beginWith(ctx, c, rows, args)
		if err == nil {
			break
		}
		again := attempt == 0 && forget(c, rows.st, err)
		endTransaction(ctx, c)
		if !again || c.IsClosed() {
			conn.Release()
			return err
		}
	}
	s.Hold(&pgSnapshot{conn}, func() { endSnapshot(ctx, conn) })
	return nil
}

// beginWith sends BEGIN and the first statement together: one round trip.
func (p *pgBackend) beginWith(ctx context.Context, c *pgconn.PgConn, rows *pgRows, args *pgArgs) error {
	pr, err := p.prepared(ctx, c, rows.st)
	if err != nil {
		return err
	}
	rows.pr = pr
	pipe := c.StartPipeline(ctx)
	pipe.SendQueryParams(beginSnapshot, nil, nil, nil, nil)
	pipe.SendQueryStatement(pr.sd, args.values, nil, binaryFormat())
	if err := pipe.Sync(); err != nil {
		return err
	}
	read := func() error {
		result, err := pipe.GetResults()
		if err != nil {
			return err
		}
		if rr, ok := result.(*pgconn.ResultReader); ok {
			if _, err := rr.Close(); err != nil {
				return err
			}
		}
		if result, err = pipe.GetResults(); err != nil {
			return err
		}
		rr, ok := result.(*pgconn.ResultReader)
		if !ok {
			return errors.New("the database answered out of turn")
		}
		rows.rr = rr
		return rows.readAll()
	}
	err = read()
	if closing := pipe.Close(); err == nil {
		err = closing
	}
	return err
}

// endSnapshot gives the connection back. A request that was cancelled still
// ends its transaction.
func endSnapshot(ctx context.Context, conn *pgxpool.Conn) {
	endTransaction(ctx, conn.Conn().PgConn())
	conn.Release()
}

// endTransaction rolls back where a transaction is open. Where that fails, the
// pool does not keep the connection.
func endTransaction(ctx context.Context, c *pgconn.PgConn) {
	if c.IsClosed() || c.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelGrace)
	defer cancel()
	_, _ = c.Exec(ctx, "rollback").ReadAll()
}
