package execute

import (
	"context"
	"strconv"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// A RenderProposal answers the selection of the control plane's proposal under
// a payload: its JSON, or nil for null, with errors whose paths begin below the
// field.
type RenderProposal func(field *plan.RawSelection, id string) ([]byte, []GraphQLError)

// writes is what payloads are written from.
type writes struct {
	m        *Mutation
	proposal RenderProposal
}

// Render reads what is selected of the records that were written, and writes
// the payloads. proposal may be nil where no proposal was made.
func (m *Mutation) Render(ctx context.Context, proposal RenderProposal) Result {
	ctx, cancel := within(ctx, m.r.limits.Timeout)
	defer cancel()
	m.r.ctx = ctx
	m.r.written = make([][][]connectors.Value, len(m.written))
	for i := range m.written {
		if m.written[i].outcome == OutcomeApplied {
			m.r.written[i] = m.written[i].keys
		}
	}
	m.r.read(m.p.Roots)
	held := buffers.Get().(*[]byte)
	w := renderer{r: m.r, buf: (*held)[:0], writes: &writes{m: m, proposal: proposal}}
	out := w.root(m.p.Fields)
	out.buffer = held
	return out
}

// payloadField writes a payload and what is in it. In a payload, row is the
// index of the write.
func (w *renderer) payloadField(f *plan.Field, p place) bool {
	if w.writes == nil {
		return false
	}
	if f.Kind == plan.FieldPayload {
		return w.object(f.Select, place{row: f.Column})
	}
	known := &w.writes.m.written[p.row]
	switch f.Kind {
	case plan.FieldOutcome:
		w.buf = connectors.AppendJSONString(w.buf, string(known.outcome))
	case plan.FieldDuplicate:
		w.bool(known.duplicate)
	case plan.FieldAffected:
		if !known.counted {
			return false
		}
		w.buf = strconv.AppendInt(w.buf, int64(known.affected), 10)
	case plan.FieldResult:
		if known.outcome != OutcomeApplied || len(known.result) == 0 {
			return false
		}
		return w.json(f, known.result)
	case plan.FieldRecord, plan.FieldRecords:
		return w.after(f, known)
	case plan.FieldDiff:
		return w.each(0, len(known.diffs), func(i int) bool { return w.diff(f.Select, &known.diffs[i]) })
	case plan.FieldErrors:
		write := w.writes.m.p.Writes[p.row]
		return w.each(0, len(known.errors), func(i int) bool { return w.writeError(f.Select, write, known.errors[i]) })
	case plan.FieldProposal:
		return w.proposal(f)
	default:
		return false
	}
	return true
}

// after writes the record, or the records, that the write left.
func (w *renderer) after(f *plan.Field, known *written) bool {
	if known.outcome != OutcomeApplied || w.failed(f.Step) {
		return false
	}
	res := &w.r.results[f.Step.ID]
	if f.Kind == plan.FieldRecord {
		from, to := w.span(f.Step, 0)
		return from < to && w.object(f.Select, place{res: res, row: from})
	}
	var rows []int
	for i := range known.keys {
		if from, to := w.span(f.Step, w.ordinal(f.Step, i)); from < to {
			rows = append(rows, from)
		}
	}
	return w.each(0, len(rows), func(i int) bool { return w.object(f.Select, place{res: res, row: rows[i]}) })
}

func (w *renderer) proposal(f *plan.Field) bool {
	id := w.writes.m.proposal
	if id == "" || w.writes.proposal == nil {
		return false
	}
	json, errs := w.writes.proposal(f.Raw, id)
	for _, e := range errs {
		path := make([]any, 0, len(w.path)+len(e.Path))
		for _, s := range w.path {
			if s.key == "" {
				path = append(path, s.at)
			} else {
				path = append(path, s.key)
			}
		}
		e.Path = append(path, e.Path...)
		w.errors = append(w.errors, e)
	}
	if len(json) == 0 || json[0] == 'n' {
		return false
	}
	w.buf = append(w.buf, json...)
	return true
}

// known writes an object whose members are given by name. A member that gives
// nothing is null.
func (w *renderer) known(sel *plan.Selection, member func(name string) bool) bool {
	w.buf = append(w.buf, '{')
	for i, f := range sel.Fields {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, f.Open...)
		if f.Kind == plan.FieldConst {
			w.buf = append(w.buf, f.Text...)
		} else if !member(f.Member) {
			w.buf = append(w.buf, "null"...)
		}
	}
	w.buf = append(w.buf, '}')
	return true
}

func (w *renderer) diff(sel *plan.Selection, d *diff) bool {
	return w.known(sel, func(name string) bool {
		switch name {
		case "key":
			if d.key == "" {
				return false // a record that is created, whose key the source gives
			}
			w.buf = connectors.AppendJSONString(w.buf, d.key)
		case "label":
			if d.label == "" {
				return false
			}
			w.buf = connectors.AppendJSONString(w.buf, d.label)
		case "before":
			w.buf = append(w.buf, d.before...)
			return d.before != nil
		case "after":
			w.buf = append(w.buf, d.after...)
			return d.after != nil
		case "fields":
			w.strings(d.fields)
		default:
			return false
		}
		return true
	})
}

func (w *renderer) strings(list []string) {
	w.buf = append(w.buf, '[')
	for i, s := range list {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = connectors.AppendJSONString(w.buf, s)
	}
	w.buf = append(w.buf, ']')
}

func (w *renderer) writeError(sel *plan.Selection, write *plan.Write, err *connectors.Error) bool {
	return w.known(sel, func(name string) bool {
		switch name {
		case "code":
			w.buf = connectors.AppendJSONString(w.buf, string(err.Code))
		case "message":
			w.buf = connectors.AppendJSONString(w.buf, err.Message)
		case "path":
			w.strings(inputPath(write, err))
		case "retryable":
			w.bool(err.Code.Retryable())
		default:
			return false
		}
		return true
	})
}

// inputPath leads to the input at fault in the graph's names. Errors of
// connectors begin with the step, then name the system's fields.
func inputPath(write *plan.Write, err *connectors.Error) []string {
	path := err.Path
	if len(path) == 0 {
		return nil
	}
	if _, number := strconv.Atoi(path[0]); number == nil {
		path = path[1:]
	}
	var out []string
	for i, part := range path {
		if name, ok := write.Names[part]; ok {
			if i == 0 && write.Input != "" {
				out = append(out, write.Input)
				if write.Many && write.Kind == connectors.Create {
					out = append(out, strconv.Itoa(err.Step))
				}
			}
			part = name
		}
		out = append(out, part)
	}
	return out
}
