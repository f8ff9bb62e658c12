package memory

import (
	"context"
	"slices"

	"github.com/countersign/countersign/connectors"
)

func (m *Memory) query(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	if q == nil || q.Select == nil {
		return nil, badInput("a query without a shape")
	}
	if q.Select.Function != "" {
		return m.queryFunction(ctx, q)
	}
	st, err := m.snapshot(q)
	if err != nil {
		return nil, err
	}
	t := st.tables[q.Select.Collection]
	if t == nil {
		return nil, unsupported("there is no collection %q", q.Select.Collection)
	}
	k := &compiler{schema: m.schema, st: st, args: q.Args, nullsLow: m.NullsLow}
	if err := k.declared(t, q); err != nil {
		return nil, err
	}
	groups, err := k.bind(t, q)
	if err != nil {
		return nil, err
	}
	where, err := k.condition(t, q.Select.Where)
	if err != nil {
		return nil, err
	}
	for i := range groups {
		groups[i] = slices.DeleteFunc(groups[i], func(r *row) bool { return where(st, r) != isTrue })
	}
	out := &output{limit: m.BlockRows, maxRows: q.Select.MaxRows, bound: len(q.Select.Bind) > 0}
	if q.Select.Aggregate != nil {
		err = k.aggregates(t, q, groups, out)
	} else {
		err = k.records(t, q, groups, out)
	}
	if err != nil {
		return nil, err
	}
	return out.rows(), nil
}

// snapshot is the state the query sees.
func (m *Memory) snapshot(q *connectors.Query) (*state, error) {
	if q.Snapshot == nil {
		return m.state.Load(), nil
	}
	if !m.schema.Capabilities.Snapshot {
		return nil, unsupported("snapshots are not supported")
	}
	held, ok := q.Snapshot.Lock()
	if !ok {
		return nil, badInput("the snapshot has ended")
	}
	defer q.Snapshot.Unlock()
	if held == nil {
		held = m.state.Load()
		q.Snapshot.Hold(held, func() {})
	}
	return held.(*state), nil
}

// declared refuses what the collection does not claim.
func (k *compiler) declared(t *table, q *connectors.Query) error {
	s, c := q.Select, t.meta
	switch {
	case len(s.Bind) > 0 && !c.AnyBind && !slices.ContainsFunc(c.BindFields, func(f []string) bool { return slices.Equal(f, s.Bind) }):
		return unsupported("%s cannot be joined over these fields", c.Name)
	case len(s.Bind) == 0 && len(q.Bind) > 0:
		return badInput("values to join without fields")
	case k.schema.Capabilities.MaxBind > 0 && len(q.Bind) > k.schema.Capabilities.MaxBind:
		return unsupported("too many values to join at once")
	case !c.List && len(s.Bind) == 0 && !(c.Get && keyed(s.Where, c.Key)):
		return unsupported("%s cannot be listed", c.Name)
	case s.Aggregate != nil && len(s.Columns) > 0:
		return badInput("an aggregate takes no columns")
	case s.Aggregate == nil && len(s.Columns) == 0:
		return badInput("a query of no columns")
	}
	if p := s.Page; p != nil {
		offset, _, err := k.natural(p.Offset, "offset")
		switch {
		case err != nil:
			return err
		case (len(p.After) > 0 || len(p.Before) > 0) && !c.Paging.Keyset:
			return unsupported("%s has no pages by cursor", c.Name)
		case offset > 0 && !c.Paging.Offset:
			return unsupported("%s has no pages by offset", c.Name)
		case p.Reverse && !c.Paging.Last:
			return unsupported("%s has no last pages", c.Name)
		}
	}
	return nil
}

// keyed tells whether a condition fixes every field of the key.
func keyed(c *connectors.Condition, key []string) bool {
	return len(key) > 0 && !slices.ContainsFunc(key, func(field string) bool { return !fixes(c, field) })
}

func fixes(c *connectors.Condition, field string) bool {
	switch {
	case c == nil:
		return false
	case c.Op == connectors.OpAnd:
		return slices.ContainsFunc(c.Items, func(i *connectors.Condition) bool { return fixes(i, field) })
	}
	return c.Field == field && (c.Op == connectors.OpEq || c.Op == connectors.OpIn)
}

// natural reads an integer operand that is not negative; ok is false where none
// is given.
func (k *compiler) natural(o connectors.Operand, name string) (n int, ok bool, err error) {
	v := o.Value(k.args)
	if v.IsNull() {
		return 0, false, nil
	}
	i, isInt := v.Int64()
	if !isInt || i < 0 {
		return 0, false, badInput("%s must be a number that is not negative", name)
	}
	return int(i), true, nil
}

// bind is the candidate rows per Bind entry, or all rows as one group.
func (k *compiler) bind(t *table, q *connectors.Query) ([][]*row, error) {
	fields := q.Select.Bind
	if len(fields) == 0 {
		return [][]*row{slices.Clone(t.rows)}, nil
	}
	groups := make([][]*row, len(q.Bind))
	for n, entry := range q.Bind {
		if len(entry) != len(fields) {
			return nil, badInput("an entry to join has %d values for %d fields", len(entry), len(fields))
		}
		want := make([]connectors.Value, len(fields))
		for i, name := range fields {
			f := t.field(name)
			if f == nil {
				return nil, unsupported("there is no field %q", name)
			}
			var err error
			if want[i], err = canon(f.Type, entry[i]); err != nil {
				return nil, badInput("a value to join over %s: %v", name, err)
			}
		}
		for _, r := range t.rows {
			matches := true
			for i, name := range fields {
				v := t.value(r, name)
				matches = matches && !v.IsNull() && !want[i].IsNull() && Compare(t.field(name).Type.Leaf(), v, want[i]) == 0
			}
			if matches {
				groups[n] = append(groups[n], r)
			}
		}
	}
	return groups, nil
}

// records writes the pages of the groups.
func (k *compiler) records(t *table, q *connectors.Query, groups [][]*row, out *output) error {
	cells, err := k.columns(t, q.Select.Columns)
	if err != nil {
		return err
	}
	order, err := k.order(t, q.Select.Order)
	if err != nil {
		return err
	}
	pick, err := k.page(t, q.Select, order)
	if err != nil {
		return err
	}
	out.columns = len(cells)
	for n, rows := range groups {
		keys := make(map[*row][]connectors.Value, len(rows))
		for _, r := range rows {
			keys[r] = order.values(k.st, r)
		}
		slices.SortStableFunc(rows, func(a, b *row) int { return order.compare(keys[a], keys[b]) })
		for _, r := range pick(rows, keys) {
			if err := out.begin(n); err != nil {
				return err
			}
			for _, cell := range cells {
				cell(k.st, r, out.block)
			}
		}
	}
	return nil
}

func (k *compiler) columns(t *table, columns []connectors.Column) ([]func(*state, *row, *connectors.Block), error) {
	var cells []func(*state, *row, *connectors.Block)
	for _, c := range columns {
		if c.Version {
			if !t.meta.HasVersion && t.meta.VersionField == "" {
				return nil, unsupported("%s has no versions", t.meta.Name)
			}
			cells = append(cells, func(_ *state, r *row, b *connectors.Block) {
				b.AppendCell(connectors.String(t.versionOf(r)), connectors.ScalarString)
			})
			continue
		}
		f := t.field(c.Field)
		if f == nil || f.WriteOnly {
			return nil, unsupported("there is no field %q", c.Field)
		}
		visible, err := k.condition(t, c.If)
		if err != nil {
			return nil, err
		}
		i, leaf := t.index[c.Field], f.Type.Leaf()
		cells = append(cells, func(st *state, r *row, b *connectors.Block) {
			v := r.vals[i]
			if visible(st, r) != isTrue {
				v = connectors.Null
			}
			b.AppendCell(v, leaf)
		})
	}
	return cells, nil
}

// queryFunction calls a function that only reads. Its result is one row, or a
// row per item where it is a list; a column names a member of an object, and no
// columns at all mean the whole value as one cell.
func (m *Memory) queryFunction(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	s := q.Select
	f := m.schema.Function(s.Function)
	if f == nil {
		return nil, unsupported("there is no function %q", s.Function)
	}
	if !f.Reads {
		return nil, unsupported("%s writes: it is not called by a query", s.Function)
	}
	if s.Where != nil || len(s.Order) > 0 || s.Page != nil || len(s.Bind) > 0 || s.Aggregate != nil || q.Snapshot != nil {
		return nil, unsupported("the answer of %s cannot be filtered, ordered or paged", s.Function)
	}
	var members []connectors.Member
	for _, a := range s.Call {
		members = append(members, connectors.Member{Name: a.Name, Value: a.Operand.Value(q.Args)})
	}
	result, err := m.call(ctx, f, connectors.ObjectOf(members...))
	if err != nil {
		return nil, err
	}
	items := []connectors.Value{result}
	if f.Result != nil && f.Result.List && result.Kind == connectors.KindList {
		items = result.Items
	}
	out := &output{limit: m.BlockRows, maxRows: s.MaxRows, columns: max(1, len(s.Columns))}
	for _, item := range items {
		if err := out.begin(0); err != nil {
			return nil, err
		}
		if len(s.Columns) == 0 {
			out.block.AppendCell(item, leafOf(f.Result))
		}
		for _, c := range s.Columns {
			out.block.AppendCell(item.Get(c.Field), m.memberLeaf(f, c.Field))
		}
	}
	return out.rows(), nil
}

func leafOf(t *connectors.TypeRef) connectors.Scalar {
	if t == nil {
		return connectors.ScalarJSON
	}
	return t.Leaf()
}

func (m *Memory) memberLeaf(f *connectors.Function, member string) connectors.Scalar {
	if f.Result != nil {
		if o := m.schema.Object(f.Result.Object); o != nil {
			for _, field := range o.Fields {
				if field.Name == member {
					return field.Type.Leaf()
				}
			}
		}
	}
	return connectors.ScalarJSON
}

// accepts refuses arguments that a function does not take.
func accepts(f *connectors.Function, args connectors.Value) error {
	for _, member := range args.Members {
		if !slices.ContainsFunc(f.Args, func(a *connectors.Field) bool { return a.Name == member.Name }) {
			return badInput("%s has no argument %q", f.Name, member.Name)
		}
	}
	for _, a := range f.Args {
		v := args.Get(a.Name)
		if v.IsNull() && !a.Nullable && !a.Default {
			return connectors.Errorf(connectors.CodeValidationFailed, "%s needs the argument %s", f.Name, a.Name).At(a.Name)
		}
		if v.Kind == connectors.KindAbsent || a.Type.Object != "" {
			continue
		}
		if _, err := canon(a.Type, v); err != nil {
			return connectors.Errorf(connectors.CodeValidationFailed, "the argument %s: %v", a.Name, err).At(a.Name)
		}
	}
	return nil
}

// call runs a function after a check of its arguments.
func (m *Memory) call(ctx context.Context, f *connectors.Function, args connectors.Value) (connectors.Value, error) {
	if err := accepts(f, args); err != nil {
		return connectors.Value{}, err
	}
	code, ok := m.funcs.Load(f.Name)
	if !ok {
		return connectors.Value{}, unsupported("%s has no code; the test must set it by Handle", f.Name)
	}
	v, err := code.(Func)(ctx, args)
	if err != nil {
		return connectors.Value{}, connectors.AsError(err)
	}
	return v, nil
}
