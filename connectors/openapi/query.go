package openapi

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
)

// Query reads records of a collection, or calls a function that reads.
func (s *Source) Query(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	if q == nil || q.Select == nil {
		return nil, badInput("a query without a shape")
	}
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if q.Select.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.Select.Timeout)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, connectors.AsError(err)
	}
	run := &run{Source: s, q: q, trace: connectors.TraceOf(ctx), encoder: &encoder{objects: s.model.objects, enums: s.model.enums}}
	run.budget.Store(int64(s.cfg.Limits.CallsPerOperation))
	if q.Select.Function != "" {
		return run.function(ctx)
	}
	return run.records(ctx)
}

// A run is one query under way.
type run struct {
	*Source
	*encoder
	q      *connectors.Query
	t      *table
	where  predicate
	budget atomic.Int64
	trace  *connectors.Trace // nil: nobody asks what was sent
}

// call does one read of the budget.
func (r *run) call(ctx context.Context, req ask) (*httpcall.Response, error) {
	if r.budget.Add(-1) < 0 {
		return nil, connectors.Errorf(connectors.CodeCostExceeded, "this would take more than %d calls of the source", r.cfg.Limits.CallsPerOperation)
	}
	if r.trace != nil {
		return r.traced(ctx, req)
	}
	return r.client.Do(ctx, httpcall.Read, req.Request)
}

// answer does one read and checks that it is JSON.
func (r *run) answer(ctx context.Context, req ask) (*httpcall.Response, error) {
	resp, err := r.call(ctx, req)
	if err != nil {
		return nil, err
	}
	if kind := resp.Header.Get("Content-Type"); kind != "" && !isJSON(kind) {
		return nil, connectors.Errorf(connectors.CodeUpstreamError, "the source answered with something that is no JSON")
	}
	resp.Body, err = decodeAnswer(resp.Body)
	return resp, err
}

// parallel does n things, a bounded number at once. The first error ends all.
func (r *run) parallel(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.cfg.Limits.Concurrency)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

func (r *run) records(ctx context.Context) (connectors.Rows, error) {
	c := r.model.collections[r.q.Select.Collection]
	if c == nil {
		return nil, unsupported("there is no collection %q", r.q.Select.Collection)
	}
	r.t = &table{collection: c, decoder: r.model.decoder, args: r.q.Args}
	page, err := r.declared()
	if err != nil {
		return nil, err
	}
	columns, err := r.columns()
	if err != nil {
		return nil, err
	}
	if r.where, err = r.t.condition(r.q.Select.Where); err != nil {
		return nil, err
	}
	out := &output{columns: len(columns), most: r.q.Select.MaxRows, bound: len(r.q.Select.Bind) > 0}
	var groups [][]*row
	switch {
	case r.t.never(r.q.Select.Where):
	case out.bound:
		groups, err = r.bind(ctx, page)
	default:
		groups = make([][]*row, 1)
		groups[0], err = r.rows(ctx, page)
	}
	if err == nil && slices.ContainsFunc(r.q.Select.Columns, func(c connectors.Column) bool { return c.Version }) {
		err = r.versions(ctx, groups)
	}
	if err != nil {
		return nil, err
	}
	for n, rows := range groups {
		for _, x := range rows {
			if err := out.add(n, x, columns); err != nil {
				return nil, err
			}
		}
	}
	return connectors.BlocksOf(out.blocks...), nil
}

// A pageOf is the part of the matching records that is asked for.
type pageOf struct {
	offset, limit int // limit < 0: all
}

// need is how many matching records are enough; < 0: all.
func (p pageOf) need() int {
	if p.limit < 0 {
		return -1
	}
	return p.offset + p.limit
}

func (p pageOf) cut(rows []*row) []*row {
	rows = rows[min(p.offset, len(rows)):]
	if p.limit >= 0 {
		rows = rows[:min(p.limit, len(rows))]
	}
	return rows
}

// declared refuses what the collection does not claim.
func (r *run) declared() (pageOf, error) {
	s, c := r.q.Select, r.t.spec
	page := pageOf{limit: -1}
	_, keyed := r.t.keyed(s.Where)
	switch {
	case r.q.Snapshot != nil:
		return page, unsupported("an API has no snapshots")
	case s.Aggregate != nil:
		return page, unsupported("%s has no aggregates", c.Name)
	case len(s.Order) > 0:
		return page, unsupported("%s cannot be ordered", c.Name)
	case len(s.Columns) == 0:
		return page, badInput("a query of no columns")
	case len(s.Bind) == 0 && len(r.q.Bind) > 0:
		return page, badInput("values to join without fields")
	case len(s.Bind) > 0 && !slices.ContainsFunc(c.BindFields, func(f []string) bool { return slices.Equal(f, s.Bind) }):
		return page, unsupported("%s cannot be joined over these fields", c.Name)
	case len(s.Bind) == 0 && !c.List && !(c.Get && keyed):
		return page, unsupported("%s cannot be listed", c.Name)
	}
	p := s.Page
	if p == nil {
		return page, nil
	}
	if len(p.After) > 0 || len(p.Before) > 0 || p.Reverse {
		return page, unsupported("%s has no pages by cursor, and none from the end", c.Name)
	}
	var err error
	if page.limit, err = natural(p.Limit.Value(r.q.Args), -1); err != nil {
		return page, err
	}
	if page.offset, err = natural(p.Offset.Value(r.q.Args), 0); err != nil {
		return page, err
	}
	if page.offset > 0 && !c.Paging.Offset {
		return page, unsupported("%s has no pages by offset", c.Name)
	}
	return page, nil
}

func natural(v connectors.Value, none int) (int, error) {
	if v.IsNull() {
		return none, nil
	}
	n, ok := v.Int64()
	if !ok || n < 0 || n > 1<<31 {
		return 0, badInput("limit and offset must be numbers that are not negative")
	}
	return int(n), nil
}

// A cellOf writes one cell of a row.
type cellOf func(b []byte, r *row) []byte

func (r *run) columns() ([]cellOf, error) {
	var cells []cellOf
	for _, c := range r.q.Select.Columns {
		if c.Version {
			if !r.t.spec.HasVersion {
				return nil, unsupported("%s has no versions", r.t.name)
			}
			cells = append(cells, func(b []byte, x *row) []byte { return connectors.AppendJSONString(b, x.version) })
			continue
		}
		f := r.t.spec.Field(c.Field)
		if f == nil || f.WriteOnly {
			return nil, unsupported("%s has no field %q", r.t.name, c.Field)
		}
		visible, err := r.t.condition(c.If)
		if err != nil {
			return nil, err
		}
		cells = append(cells, func(b []byte, x *row) []byte {
			if visible(x) != isTrue {
				return append(b, null...)
			}
			return append(b, r.t.cell(x, f)...)
		})
	}
	return cells, nil
}

// An output collects rows in blocks.
type output struct {
	columns int
	most    int
	bound   bool
	rows    int
	blocks  []*connectors.Block
	buf     []byte
	ends    []uint32
}

// add appends a row, in a new block where it would make one too large.
func (o *output) add(entry int, r *row, columns []cellOf) error {
	if o.rows++; o.most > 0 && o.rows > o.most {
		return connectors.Errorf(connectors.CodeRowCapExceeded, "more than %d records match", o.most)
	}
	o.buf, o.ends = o.buf[:0], o.ends[:0]
	for _, c := range columns {
		o.buf = c(o.buf, r)
		o.ends = append(o.ends, uint32(len(o.buf)))
	}
	var b *connectors.Block
	if n := len(o.blocks); n > 0 && len(o.blocks[n-1].Data)+len(o.buf) <= connectors.MaxBlockBytes {
		b = o.blocks[n-1]
	} else {
		b = &connectors.Block{Columns: o.columns}
		o.blocks = append(o.blocks, b)
	}
	start := uint32(len(b.Data))
	b.Data = append(b.Data, o.buf...)
	for _, e := range o.ends {
		b.Ends = append(b.Ends, start+e)
	}
	if o.bound {
		b.Bind = append(b.Bind, uint32(entry))
	}
	return nil
}

// rows reads the records of a query without joins.
func (r *run) rows(ctx context.Context, page pageOf) ([]*row, error) {
	var found []*row
	keep := func(x *row) (more bool, err error) {
		if r.where(x) != isTrue {
			return true, nil
		}
		found = append(found, x)
		if most := r.q.Select.MaxRows; most > 0 && page.limit < 0 && len(found)-page.offset > most {
			return false, connectors.Errorf(connectors.CodeRowCapExceeded, "more than %d records match", most)
		}
		return page.need() < 0 || len(found) < page.need(), nil
	}
	if page.limit == 0 {
		return nil, nil
	}
	keys, keyed := r.t.keyed(r.q.Select.Where)
	if keyed && (r.t.get != nil || r.t.batch != nil) {
		byKey, err := r.byKeys(ctx, keys)
		if err != nil {
			return nil, err
		}
		for _, x := range byKey {
			if x == nil {
				continue
			}
			if more, err := keep(x); err != nil || !more {
				return page.cut(found), err
			}
		}
		return page.cut(found), nil
	}
	args, exact := r.t.pushed(r.encoder, r.q.Select.Where, nil)
	want := page.need()
	if !exact {
		want = -1
	}
	if err := r.list(ctx, args, want, keep); err != nil {
		return nil, err
	}
	return page.cut(found), nil
}

// function calls a function that reads. Its answer is one row, or a row per item
// where it is a list; a column is a member, no columns mean the whole as one
// cell.
func (r *run) function(ctx context.Context) (connectors.Rows, error) {
	s := r.q.Select
	o := r.model.functions[s.Function]
	switch {
	case o == nil:
		return nil, unsupported("there is no function %q", s.Function)
	case !o.reads:
		return nil, unsupported("%s writes: it is not called by a query", s.Function)
	case s.Where != nil || len(s.Order) > 0 || s.Page != nil || len(s.Bind) > 0 || s.Aggregate != nil || r.q.Snapshot != nil:
		return nil, unsupported("the answer of %s cannot be filtered, ordered or paged", s.Function)
	}
	var members []connectors.Member
	for _, a := range s.Call {
		members = append(members, connectors.Member{Name: a.Name, Value: a.Operand.Value(r.q.Args)})
	}
	req, err := r.ask(o, connectors.ObjectOf(members...))
	if err != nil {
		return nil, err
	}
	raw, err := r.result(ctx, o, req)
	if err != nil {
		return nil, err
	}
	items := []json.RawMessage{raw}
	t := *o.result
	if t.List {
		if items = nil; json.Unmarshal(raw, &items) != nil {
			return nil, connectors.Errorf(connectors.CodeUpstreamError, "the source's answer has no list where one was expected")
		}
		t.List = false
	}
	columns, err := r.members(t)
	if err != nil {
		return nil, err
	}
	out := &output{columns: len(columns), most: s.MaxRows}
	for _, item := range items {
		x := &row{whole: item}
		if len(s.Columns) > 0 {
			x.members = recordOf(item)
		}
		if err := out.add(0, x, columns); err != nil {
			return nil, err
		}
	}
	return connectors.BlocksOf(out.blocks...), nil
}

// result reads the answer of a function.
func (r *run) result(ctx context.Context, o *operation, req ask) ([]byte, error) {
	if o.answer == answerText {
		resp, err := r.call(ctx, req)
		if err != nil {
			return nil, err
		}
		return connectors.AppendJSONString(nil, strings.ToValidUTF8(string(resp.Body), "\ufffd")), nil
	}
	resp, err := r.call(ctx, req)
	if err != nil || len(resp.Body) == 0 && o.maybe {
		return nil, err
	}
	return decodeAnswer(resp.Body)
}

// members are the cells of an item of a function's answer.
func (r *run) members(t connectors.TypeRef) ([]cellOf, error) {
	d := r.model.decoder
	if len(r.q.Select.Columns) == 0 {
		return []cellOf{func(b []byte, x *row) []byte { return d.append(b, x.whole, t, 0) }}, nil
	}
	object := r.model.objects[t.Object]
	if object == nil {
		return nil, unsupported("the answer of %s has no members", r.q.Select.Function)
	}
	var columns []cellOf
	for _, c := range r.q.Select.Columns {
		i := slices.IndexFunc(object.Fields, func(f *connectors.Field) bool { return f.Name == c.Field && !f.WriteOnly })
		if i < 0 || c.Version || c.If != nil {
			return nil, unsupported("the answer of %s has no member %q", r.q.Select.Function, c.Field)
		}
		f := object.Fields[i]
		columns = append(columns, func(b []byte, x *row) []byte { return d.append(b, x.members[f.Name], f.Type, 0) })
	}
	return columns, nil
}
