package execute

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// A renderer writes the answer. Its functions append a value and return true,
// or append nothing and return false: null, which the caller writes or hands on
// as GraphQL says.
type renderer struct {
	r      *run
	buf    []byte
	path   []step
	errors []GraphQLError
	// told are the failed steps whose error was added already.
	told map[*plan.Step]bool
	// tooLarge ends the writing.
	tooLarge bool
	scratch  []connectors.Value
	members  []member
	writes   *writes
}

// A step of a path: a response key, or a position where key is "".
type step struct {
	key string
	at  int
}

// A place is what a field is written from: a row of a step, and in connections
// the page.
type place struct {
	res *result
	row int
	// of a connection:
	step *plan.Step
	ord  int32
	page page
}

// A page is the rows of a connection.
type page struct {
	from, to int
	more     bool // there are rows beyond the page
}

func (r *run) render(fields []*plan.Field) Result {
	held := buffers.Get().(*[]byte)
	w := renderer{r: r, buf: (*held)[:0]}
	out := w.root(fields)
	out.buffer = held
	return out
}

// root writes the object of the root fields.
func (w *renderer) root(fields []*plan.Field) Result {
	type extent struct{ from, to int }
	spans := make([]extent, len(fields))
	w.buf = append(w.buf, '{')
	for i, f := range fields {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, f.Open...)
		from := len(w.buf)
		if !w.field(f, place{}) {
			if f.NonNull {
				return w.result("null", nil)
			}
			w.buf = append(w.buf, "null"...)
		}
		spans[i] = extent{from, len(w.buf)}
	}
	w.buf = append(w.buf, '}')
	if w.tooLarge {
		w.errors = append(w.errors[:0], ErrorOf(connectors.Errorf(connectors.CodeTooLarge,
			"the answer is larger than %d bytes: ask for fewer records or fields", w.r.limits.Bytes), nil))
		return w.result("null", nil)
	}
	out := make([]RootResult, len(fields))
	for i, f := range fields {
		out[i] = RootResult{Key: f.Key, JSON: w.buf[spans[i].from:spans[i].to:spans[i].to]}
	}
	return Result{Data: w.buf, Fields: out, Errors: w.errors}
}

func (w *renderer) result(data string, fields []RootResult) Result {
	w.buf = append(w.buf[:0], data...)
	return Result{Data: w.buf, Fields: fields, Errors: w.errors}
}

// object writes the fields of a selection.
func (w *renderer) object(sel *plan.Selection, p place) bool {
	start := len(w.buf)
	block, row := p.res.locate(p.row)
	w.buf = append(w.buf, '{')
	for i, f := range sel.Fields {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, f.Open...)
		// The common case first, without a call.
		if f.Kind == plan.FieldCell && f.Leaf == nil && block != nil {
			cell := block.Cell(row, f.Column)
			if len(cell) > 0 && cell[0] != 'n' {
				w.buf = append(w.buf, cell...)
				continue
			}
			if !f.NonNull && block.Faults == nil {
				w.buf = append(w.buf, "null"...)
				continue
			}
		}
		if w.field(f, p) {
			continue
		}
		if f.NonNull {
			w.buf = w.buf[:start]
			return false
		}
		w.buf = append(w.buf, "null"...)
	}
	w.buf = append(w.buf, '}')
	if len(w.buf) > w.r.limits.Bytes {
		w.tooLarge = true
	}
	return true
}

// field writes the value of a field.
func (w *renderer) field(f *plan.Field, p place) bool {
	switch f.Kind {
	case plan.FieldCell:
		return w.place(f, p)
	case plan.FieldConst:
		if len(f.Text) == 0 || f.Text[0] == 'n' {
			return w.missing(f)
		}
		w.buf = append(w.buf, f.Text...)
		return true
	case plan.FieldNodeID:
		return w.nodeID(f, p)
	case plan.FieldMasked:
		return w.masked(f, p)
	}
	w.path = append(w.path, step{key: f.Key})
	ok := w.composite(f, p)
	w.path = w.path[:len(w.path)-1]
	return ok
}

func (w *renderer) composite(f *plan.Field, p place) bool {
	switch f.Kind {
	case plan.FieldOne:
		return w.one(f, p)
	case plan.FieldMany:
		return w.many(f, p)
	case plan.FieldObject:
		return w.json(f, p.res.cell(p.row, f.Column))
	case plan.FieldNested:
		return w.object(f.Select, p)
	case plan.FieldNodes, plan.FieldEdges:
		return w.list(f, p)
	case plan.FieldNode:
		return w.object(f.Select, p)
	case plan.FieldPageInfo:
		return w.object(f.Select, p)
	case plan.FieldCursor:
		return w.cursor(p, p.row)
	case plan.FieldHasNext, plan.FieldHasPrev, plan.FieldStart, plan.FieldEnd:
		return w.pageInfo(f, p)
	case plan.FieldCount, plan.FieldAggregate:
		return w.totals(f, p)
	case plan.FieldGroups:
		return w.rows(f)
	case plan.FieldCall:
		return w.call(f)
	}
	return w.payloadField(f, p)
}

// place writes a cell of a row. One whose value could not be told is null, and
// said so.
func (w *renderer) place(f *plan.Field, p place) bool {
	block, row := p.res.locate(p.row)
	if block == nil {
		return w.cell(f, nil)
	}
	if block.Faults != nil && block.Faulty(row, f.Column) {
		w.path = append(w.path, step{key: f.Key})
		w.fail(f, "the source's value cannot be told in this field's type")
		w.path = w.path[:len(w.path)-1]
		return false
	}
	return w.cell(f, block.Cell(row, f.Column))
}

// cell writes a scalar or enum.
func (w *renderer) cell(f *plan.Field, cell []byte) bool {
	if len(cell) == 0 || cell[0] == 'n' {
		return w.missing(f)
	}
	if f.Leaf == nil {
		w.buf = append(w.buf, cell...)
		return true
	}
	w.path = append(w.path, step{key: f.Key})
	ok := w.json(f, cell)
	w.path = w.path[:len(w.path)-1]
	return ok
}

// missing is a null where the source has none. In a place that cannot be null
// it is the source's fault, and said so.
func (w *renderer) missing(f *plan.Field) bool {
	if f.NonNull {
		w.path = append(w.path, step{key: f.Key})
		w.fail(f, "the source gave no value for a field that always has one")
		w.path = w.path[:len(w.path)-1]
	}
	return false
}

// fail adds an UPSTREAM_ERROR at the current path.
func (w *renderer) fail(f *plan.Field, message string) {
	err := connectors.Errorf(connectors.CodeUpstreamError, "%s", message)
	err.Source = f.Source
	w.add(err)
}

// add appends an error at the current path, up to the limit.
func (w *renderer) add(err *connectors.Error) {
	if len(w.errors) >= w.r.limits.Errors {
		return
	}
	path := make([]any, len(w.path))
	for i, s := range w.path {
		if s.key == "" {
			path[i] = s.at
		} else {
			path[i] = s.key
		}
	}
	w.errors = append(w.errors, ErrorOf(err, path))
}

// failed tells whether a step failed; its error is added where it is first met.
func (w *renderer) failed(s *plan.Step) bool {
	err := w.r.results[s.ID].err
	if err == nil {
		return false
	}
	if !w.told[s] {
		if w.told == nil {
			w.told = map[*plan.Step]bool{}
		}
		w.told[s] = true
		w.add(err)
	}
	return true
}

// ordinal is the entry of a step that belongs to the row of its parent; -1 where
// there is none, 0 for steps without a join.
func (w *renderer) ordinal(s *plan.Step, row int) int32 {
	if s.Bind < 0 {
		return 0
	}
	ords := w.r.binds[s.Bind].ords
	if row >= len(ords) {
		return -1
	}
	return ords[row]
}

// span is the rows of an entry.
func (w *renderer) span(s *plan.Step, ord int32) (from, to int) {
	res := &w.r.results[s.ID]
	switch {
	case s.Bind < 0:
		return 0, res.n
	case ord < 0 || int(ord) >= len(res.spans):
		return 0, 0
	}
	at := res.spans[ord]
	return int(at.from), int(at.to)
}

// one writes the single record of a step.
func (w *renderer) one(f *plan.Field, p place) bool {
	if w.failed(f.Step) {
		return false
	}
	from, to := w.span(f.Step, w.ordinal(f.Step, p.row))
	if from == to {
		return false
	}
	return w.object(f.Select, place{res: &w.r.results[f.Step.ID], row: from})
}

// rows writes all rows of a step as a list of objects.
func (w *renderer) rows(f *plan.Field) bool {
	if w.failed(f.Step) {
		return false
	}
	res := &w.r.results[f.Step.ID]
	return w.each(0, res.n, func(row int) bool { return w.object(f.Select, place{res: res, row: row}) })
}

// each writes a list of non-null items; a null item takes the list.
func (w *renderer) each(from, to int, item func(row int) bool) bool {
	start := len(w.buf)
	w.buf = append(w.buf, '[')
	w.path = append(w.path, step{})
	for row := from; row < to; row++ {
		if row > from {
			w.buf = append(w.buf, ',')
		}
		w.path[len(w.path)-1].at = row - from
		if !item(row) {
			w.path = w.path[:len(w.path)-1]
			w.buf = w.buf[:start]
			return false
		}
		if w.tooLarge {
			break
		}
	}
	w.path = w.path[:len(w.path)-1]
	w.buf = append(w.buf, ']')
	return true
}

// nodeID writes the sealed global id of a record.
func (w *renderer) nodeID(f *plan.Field, p place) bool {
	w.scratch = w.scratch[:0]
	for i, col := range f.Columns {
		v, err := connectors.ParseCell(p.res.cell(p.row, col), f.Scalars[i])
		if err != nil || v.IsNull() {
			return w.missing(f)
		}
		w.scratch = append(w.scratch, v)
	}
	if w.r.in.Sealer == nil {
		return w.missing(f)
	}
	id := w.r.in.Sealer.Seal(plan.AppendNode(nil, f.Member, w.scratch))
	w.buf = connectors.AppendJSONString(w.buf, id)
	return true
}
