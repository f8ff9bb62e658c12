package sql

import (
	"context"
	"encoding/binary"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/countersign/countersign/connectors"
)

// pgRows is the answer to one statement. The connection goes back to the pool
// as soon as the last row was read.
type pgRows struct {
	p      *pgBackend
	conn   *pgxpool.Conn // nil in a snapshot, and when done
	rr     *pgconn.ResultReader
	pr     *pgPrepared
	st     *statement
	cancel context.CancelFunc
	first  *connectors.Block   // read when the query was sent
	more   []*connectors.Block // the others, in a snapshot
	count  int
	err    error
}

// Next returns the next block. The context is the query's own.
func (r *pgRows) Next(context.Context) (*connectors.Block, error) {
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
	if r.rr == nil {
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
func (r *pgRows) Close() error {
	r.first, r.more = nil, nil
	if r.rr != nil && r.err == nil {
		// What is left of a large answer is not worth reading: the connection is
		// told to stop, and is reused if it does soon.
		if c := r.conn; c != nil {
			ctx, cancel := context.WithTimeout(context.Background(), cancelGrace)
			_ = c.Conn().PgConn().CancelRequest(ctx)
			cancel()
		}
	}
	r.done()
	return nil
}

// done ends the reading.
func (r *pgRows) done() {
	if r.rr != nil {
		_, _ = r.rr.Close()
		r.rr = nil
	}
	if r.conn != nil {
		r.conn.Release()
		r.conn = nil
	}
	if r.cancel != nil {
		r.cancel()
		r.cancel = nil
	}
}

// readAll reads every block.
func (r *pgRows) readAll() error {
	for {
		b, err := r.fill()
		if err != nil {
			if r.rr != nil {
				_, _ = r.rr.Close()
				r.rr = nil
			}
			if connectors.CodeOf(err) == connectors.CodeRowCapExceeded {
				r.err = err
				return nil
			}
			return err
		}
		if b == nil {
			return nil
		}
		if r.first == nil {
			r.first = b
		} else {
			r.more = append(r.more, b)
		}
		if r.rr == nil {
			return nil
		}
	}
}

// fill reads rows into one block; nil where there are none. At the last row the
// reader is closed.
func (r *pgRows) fill() (*connectors.Block, error) {
	block := r.st.hint.newBlock(len(r.st.cells), r.st.bind)
	for len(block.Data) < connectors.MaxBlockBytes {
		if !r.rr.NextRow() {
			_, err := r.rr.Close()
			r.rr = nil
			r.done()
			if err != nil {
				return nil, err
			}
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
		r.row(block, r.rr.Values())
	}
	return block, nil
}

// row appends the cells of one row.
func (r *pgRows) row(block *connectors.Block, values [][]byte) {
	if r.st.bind {
		ordinal := values[0]
		values = values[1:]
		if len(ordinal) == 8 {
			block.Bind = append(block.Bind, uint32(int64(binary.BigEndian.Uint64(ordinal))-r.st.base))
		} else {
			block.Bind = append(block.Bind, binary.BigEndian.Uint32(ordinal)-uint32(r.st.base))
		}
	}
	for i, raw := range values {
		start := len(block.Data)
		if raw == nil {
			block.Data = append(block.Data, "null"...)
		} else if data, ok := r.pr.encode[i](block.Data, raw); ok {
			block.Data = data
		} else {
			block.Data = append(data[:start], "null"...)
			r.p.unreadable.Add(1)
		}
		block.EndCell()
	}
}

func rowCap(n int) error {
	return connectors.Errorf(connectors.CodeRowCapExceeded, "the answer has more than %d records", n)
}
