package connectors

import (
	"context"
	"slices"
	"sync"
)

// MaxBlockBytes is the size above which a connector begins a new block.
const MaxBlockBytes = 1 << 20

// A Block is a table of JSON cells in one buffer, row by row. It is plain data
// that crosses a process boundary as it is. A cell is one valid JSON value,
// checked where it entered.
type Block struct {
	Columns int
	Data    []byte
	Ends    []uint32 // end of each cell in Data; cells follow each other
	// Bind is, per row, the index of its entry in Query.Bind; nil without Bind.
	// Rows of one entry stand together, in order, but entries may come in any
	// order.
	Bind []uint32
	// Faults are the positions (row × Columns + column), ascending, of cells
	// that are null because the scalar has no place for the system's value (NaN,
	// infinity, an integer too large, a date beyond the calendar). Whoever asked
	// for such a cell is told.
	Faults []uint32
}

// Fault marks the cell that is to be ended next.
func (b *Block) Fault() { b.Faults = append(b.Faults, uint32(len(b.Ends))) }

// Faulty tells whether a cell is null because its value could not be told.
func (b *Block) Faulty(row, col int) bool {
	_, found := slices.BinarySearch(b.Faults, uint32(row*b.Columns+col))
	return found
}

// Rows is the number of rows.
func (b *Block) Rows() int {
	if b == nil || b.Columns == 0 {
		return 0
	}
	return len(b.Ends) / b.Columns
}

// Cell returns the bytes of a cell; they must not be changed.
func (b *Block) Cell(row, col int) []byte {
	i := row*b.Columns + col
	start := uint32(0)
	if i > 0 {
		start = b.Ends[i-1]
	}
	return b.Data[start:b.Ends[i]:b.Ends[i]]
}

// EndCell closes the cell whose bytes were appended to Data last.
func (b *Block) EndCell() { b.Ends = append(b.Ends, uint32(len(b.Data))) }

// AppendCell adds a cell from a value.
func (b *Block) AppendCell(v Value, s Scalar) {
	b.Data = v.AppendJSON(b.Data, s)
	b.EndCell()
}

// Blocks is a Rows over blocks that are there already.
type Blocks struct{ List []*Block }

// BlocksOf makes a Rows of ready blocks.
func BlocksOf(blocks ...*Block) *Blocks { return &Blocks{List: blocks} }

// Next returns the next block.
func (r *Blocks) Next(context.Context) (*Block, error) {
	if len(r.List) == 0 {
		return nil, nil
	}
	b := r.List[0]
	r.List = r.List[1:]
	return b, nil
}

// Close does nothing.
func (r *Blocks) Close() error { return nil }

// A Snapshot is a token under which several queries of one operation see one
// state of one system. The connector keeps what it needs in it (a connection
// with its transaction) through Hold; the executor calls End exactly once.
// Queries of one snapshot are serial: the connector locks it.
type Snapshot struct {
	mu    sync.Mutex
	held  any
	close func()
	ended bool
}

// Lock makes queries of the snapshot serial. Held is nil the first time.
func (s *Snapshot) Lock() (held any, ok bool) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil, false
	}
	return s.held, true
}

// Unlock ends what Lock began.
func (s *Snapshot) Unlock() { s.mu.Unlock() }

// Hold keeps what the connector needs, with the function that gives it back.
// Called between Lock and Unlock.
func (s *Snapshot) Hold(held any, release func()) { s.held, s.close = held, release }

// End releases what is held. It waits for a query under way.
func (s *Snapshot) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	if s.close != nil {
		s.close()
	}
	s.held, s.close = nil, nil
}
