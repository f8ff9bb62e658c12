package sql

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/countersign/countersign/connectors"
)

// probeLockTimeout is how long a preview that is rolled back waits for a lock:
// the guest's own programs must not wait for a preview.
const probeLockTimeout = 10 * time.Millisecond

// pgTx is a transaction in PostgreSQL. Its BEGIN travels with the first
// statement.
type pgTx struct {
	p     *pgBackend
	conn  *pgxpool.Conn // nil when given back
	start []string      // sent ahead of the first statement; nil when sent
}

func (p *pgBackend) begin(ctx context.Context, mode txMode) (txn, error) {
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	start := []string{"begin"}
	switch mode {
	case txRead:
		start = []string{beginSnapshot}
	case txProbe:
		start = append(start, "set local lock_timeout = "+strconv.FormatInt(probeLockTimeout.Milliseconds(), 10))
	}
	return &pgTx{p: p, conn: conn, start: start}, nil
}

func (x *pgTx) run(ctx context.Context, st *statement) (*connectors.Block, int64, error) {
	args := x.p.args.get()
	defer x.p.args.put(args)
	if err := args.encode(st.params, &connectors.Query{Select: &connectors.Select{}}); err != nil {
		return nil, 0, err
	}
	c := x.conn.Conn().PgConn()
	pr, err := x.p.prepared(ctx, c, st)
	if err != nil {
		return nil, 0, err
	}
	var block *connectors.Block
	var tag pgconn.CommandTag
	if x.start != nil {
		block, tag, err = x.first(ctx, c, pr, st, args)
	} else {
		block, tag, err = x.read(c.ExecStatement(ctx, pr.sd, args.values, nil, binaryFormat()), pr, st, nil)
	}
	if err != nil {
		forget(c, st, err)
		return nil, 0, err
	}
	return block, tag.RowsAffected(), nil
}

// first sends BEGIN and the statement together.
func (x *pgTx) first(ctx context.Context, c *pgconn.PgConn, pr *pgPrepared, st *statement, args *pgArgs) (*connectors.Block, pgconn.CommandTag, error) {
	pipe := c.StartPipeline(ctx)
	for _, text := range x.start {
		pipe.SendQueryParams(text, nil, nil, nil, nil)
	}
	pipe.SendQueryStatement(pr.sd, args.values, nil, binaryFormat())
	if err := pipe.Sync(); err != nil {
		_ = pipe.Close()
		return nil, pgconn.CommandTag{}, err
	}
	read := func() (*connectors.Block, pgconn.CommandTag, error) {
		for range x.start {
			result, err := pipe.GetResults()
			if err != nil {
				return nil, pgconn.CommandTag{}, err
			}
			if rr, ok := result.(*pgconn.ResultReader); ok {
				if _, err := rr.Close(); err != nil {
					return nil, pgconn.CommandTag{}, err
				}
			}
		}
		result, err := pipe.GetResults()
		if err != nil {
			return nil, pgconn.CommandTag{}, err
		}
		rr, ok := result.(*pgconn.ResultReader)
		if !ok {
			return nil, pgconn.CommandTag{}, errors.New("the database answered out of turn")
		}
		return x.read(rr, pr, st, nil)
	}
	block, tag, err := read()
	if closing := pipe.Close(); err == nil {
		err = closing
	}
	x.start = nil
	return block, tag, err
}

// read reads the whole answer of one statement, to be joined with entries where
// it is a query of those.
func (x *pgTx) read(rr *pgconn.ResultReader, pr *pgPrepared, st *statement, bind [][]connectors.Value) (*connectors.Block, pgconn.CommandTag, error) {
	rows := &pgRows{p: x.p, rr: rr, pr: pr, st: st}
	if st.byKey {
		rows.entries.index(bind)
	}
	block := &connectors.Block{Columns: len(st.cells)}
	for rr.NextRow() {
		rows.row(block, rr.Values())
	}
	tag, err := rr.Close()
	return block, tag, err
}

func (x *pgTx) commit(ctx context.Context) error {
	c := x.conn.Conn().PgConn()
	if x.start != nil {
		return nil
	}
	if c.IsClosed() {
		return unavailable()
	}
	// An answer is worth waiting for, also when nobody waits for ours any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitPatience)
	defer cancel()
	results, err := c.Exec(ctx, "commit").ReadAll()
	var pg *pgconn.PgError
	switch {
	case err == nil && len(results) == 1 && results[0].CommandTag.String() == "COMMIT":
		return nil
	case err == nil:
		return connectors.Errorf(connectors.CodeRolledBack, "the database rolled the change back; nothing was done")
	case errors.As(err, &pg) && pg.Severity == "ERROR":
		return coded(err) // it was refused, by a deferred constraint for example
	}
	return connectors.Errorf(connectors.CodeOutcomeUnknown, "the connection was lost while the change was committed; it may or may not have been done").WithCause(err)
}

// commitPatience is how long the answer to COMMIT is waited for.
const commitPatience = 30 * time.Second

func (x *pgTx) rollback() {
	if x.conn == nil {
		return
	}
	conn := x.conn
	x.conn = nil
	endSnapshot(context.Background(), conn)
}
