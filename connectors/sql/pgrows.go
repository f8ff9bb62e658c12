package sql

import (
	"context"
	"encoding/binary"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/countersign/countersign/connectors"
)

// pgRows is the answer to one statement. The connection goes back to the pool
// as soon as the last row was read.
type pgRows struct {
	p       *pgBackend
	conn    *pgxpool.Conn // nil in a snapshot, and when done
	rr      *pgconn.ResultReader
	pr      *pgPrepared
	st      *statement
	entries entryIndex
	cancel  context.CancelFunc
	first   *connectors.Block   // read when the query was sent
	more    []*connectors.Block // the others, in a snapshot
	count   int
	err     error
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

// fill reads rows into one block; nil where there are none. After the last row
// the connection is given back; after an error it is not, so that a caller may
// try again on it.
func (r *pgRows) fill() (*connectors.Block, error) {
	block := r.st.hint.newBlock(len(r.st.cells), r.st.bind)
	for len(block.Data) < connectors.MaxBlockBytes {
		if !r.rr.NextRow() {
			_, err := r.rr.Close()
			r.rr = nil
			if err != nil {
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
		r.row(block, r.rr.Values())
	}
	return block, nil
}

// row appends the cells of one row.
func (r *pgRows) row(block *connectors.Block, values [][]byte) {
	if r.st.bind {
		if r.st.byKey {
			block.Bind = append(block.Bind, r.entries.of(values[0]))
		} else {
			block.Bind = append(block.Bind, uint32(int64(binary.BigEndian.Uint64(values[0]))-r.st.base))
		}
		values = values[1:]
	}
	// What stands behind the cells is there for its errors.
	for i, raw := range values[:len(r.pr.encode)] {
		start := len(block.Data)
		if raw == nil {
			block.Data = append(block.Data, "null"...)
		} else if data, ok := r.pr.encode[i](block.Data, raw); ok {
			block.Data = data
		} else {
			block.Data = append(data[:start], "null"...)
			r.p.unreadable.Add(1)
			block.Fault()
		}
		block.EndCell()
	}
}

func rowCap(n int) error {
	return connectors.Errorf(connectors.CodeRowCapExceeded, "the answer has more than %d records", n)
}

// An entryIndex finds the entry of a row by its key, for types whose keys are
// equal exactly where their bytes are.
type entryIndex struct {
	ints   map[int64]uint32
	uuids  map[uuid.UUID]uint32
	last   [16]byte // the key before, and its entry: rows of one entry stand together
	length int
	entry  uint32
}

// index prepares the entries. What is no key of the type is refused by the
// database itself.
func (x *entryIndex) index(bind [][]connectors.Value) {
	if len(bind) == 1 {
		return // every row belongs to it
	}
	for i := range bind {
		v := &bind[i][0]
		switch v.Kind {
		case connectors.KindInt:
			if n, ok := v.Int64(); ok {
				if x.ints == nil {
					x.ints = make(map[int64]uint32, len(bind))
				}
				x.ints[n] = uint32(i)
			}
		case connectors.KindString:
			if u, err := uuid.Parse(v.Text); err == nil {
				if x.uuids == nil {
					x.uuids = make(map[uuid.UUID]uint32, len(bind))
				}
				x.uuids[u] = uint32(i)
			}
		}
	}
}

// of is the entry of a key in binary format.
func (x *entryIndex) of(raw []byte) uint32 {
	if x.length == len(raw) && string(x.last[:x.length]) == string(raw) {
		return x.entry
	}
	switch len(raw) {
	case 2:
		x.entry = x.ints[int64(int16(binary.BigEndian.Uint16(raw)))]
	case 4:
		x.entry = x.ints[int64(int32(binary.BigEndian.Uint32(raw)))]
	case 8:
		x.entry = x.ints[int64(binary.BigEndian.Uint64(raw))]
	case 16:
		x.entry = x.uuids[uuid.UUID(raw)]
	}
	x.length = copy(x.last[:], raw)
	return x.entry
}
