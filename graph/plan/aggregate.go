package plan

import (
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
)

// total is the column of a value in the connection's one statement for counts
// and aggregates.
func (k *conn) total(v connectors.AggregateValue) (int, *connectors.Error) {
	if k.totals == nil {
		s, _, err := k.where()
		if err != nil {
			return 0, err
		}
		s.sel.Aggregate = &connectors.Aggregate{}
		k.totals = s
	}
	return aggregateColumn(k.totals, k.values, v), nil
}

func aggregateColumn(s *stepBuilder, values map[connectors.AggregateValue]int, v connectors.AggregateValue) int {
	if i, ok := values[v]; ok {
		return i
	}
	a := s.sel.Aggregate
	i := len(a.GroupBy) + len(a.Values)
	a.Values = append(a.Values, v)
	values[v] = i
	return i
}

func (k *conn) aggregate(g *group) (*Selection, *connectors.Error) {
	// The statement is needed also where only __typename is selected, so that
	// aggregate is null where the source is gone.
	if _, err := k.total(connectors.AggregateValue{Func: connectors.AggCount}); err != nil {
		return nil, err
	}
	return k.b.aggregates(g, k.totals, k.values, k.coll)
}

// aggregates plans the fields of an aggregate or group: count and the objects
// of each function.
func (b *builder) aggregates(g *group, s *stepBuilder, values map[connectors.AggregateValue]int, c *catalog.Collection) (*Selection, *connectors.Error) {
	typeName := g.first.Definition.Type.Name()
	groups, err := b.collect(typeName, g.sets...)
	if err != nil {
		return nil, err
	}
	out := &Selection{Type: typeName}
	for _, sub := range groups {
		f, err := b.aggregateField(sub, typeName, s, values, c)
		if err != nil {
			return nil, err
		}
		out.Fields = append(out.Fields, f)
	}
	return out, nil
}

func (b *builder) aggregateField(g *group, typeName string, s *stepBuilder, values map[connectors.AggregateValue]int, c *catalog.Collection) (*Field, *connectors.Error) {
	if g.first.Name == "__typename" {
		return typename(g, typeName), nil
	}
	e, ok := b.in.Catalog.Element(typeName, g.first.Name)
	if !ok {
		return nil, forbidden()
	}
	switch e.Kind {
	case catalog.AggregateCount:
		f := newField(g, FieldCount)
		f.Column = aggregateColumn(s, values, connectors.AggregateValue{Func: connectors.AggCount})
		return f, nil
	case catalog.AggregateFunction, catalog.GroupKey:
		return b.aggregateObject(g, s, values, c)
	}
	return nil, forbidden()
}

// aggregateObject plans an object whose fields are cells of the same row: the
// values of one function, or the key of a group.
func (b *builder) aggregateObject(g *group, s *stepBuilder, values map[connectors.AggregateValue]int, c *catalog.Collection) (*Field, *connectors.Error) {
	typeName := g.first.Definition.Type.Name()
	groups, err := b.collect(typeName, g.sets...)
	if err != nil {
		return nil, err
	}
	f := newField(g, FieldNested)
	f.Select = &Selection{Type: typeName}
	for _, sub := range groups {
		if sub.first.Name == "__typename" {
			f.Select.Fields = append(f.Select.Fields, typename(sub, typeName))
			continue
		}
		e, ok := b.in.Catalog.Element(typeName, sub.first.Name)
		if !ok || e.Field == nil {
			return nil, forbidden()
		}
		// A masked or conditional field cannot be aggregated by: its inputs and
		// outputs do not exist, and if they did this would refuse them.
		cell, readable := s.read.Fields[e.Field.System]
		if !readable || cell.If != nil {
			return nil, forbidden()
		}
		value := newField(sub, FieldCell)
		if e.Kind == catalog.GroupKeyField {
			value.Column = groupColumn(s.sel.Aggregate.GroupBy, e.Field.System)
			if value.Column < 0 {
				value.Kind, value.Text = FieldConst, []byte("null")
			}
			if e.Field.Type.Values != nil {
				value.Leaf = leafOf(e.Field.Type, sub.first.Definition.Type)
			}
		} else {
			value.Column = aggregateColumn(s, values, connectors.AggregateValue{Func: aggregateFunc(e, g), Field: e.Field.System})
			if e.Field.Type.Values != nil {
				value.Leaf = leafOf(e.Field.Type, sub.first.Definition.Type)
			}
		}
		f.Select.Fields = append(f.Select.Fields, value)
	}
	return f, nil
}

func aggregateFunc(e catalog.Element, g *group) connectors.AggregateFunc {
	if e.Func != "" {
		return e.Func
	}
	return connectors.AggregateFunc(g.first.Name)
}

func groupColumn(fields []string, name string) int {
	for i, f := range fields {
		if f == name {
			return i
		}
	}
	return -1
}

// groups plans the groups of a collection.
func (b *builder) groups(g *group, c *catalog.Collection, path []string) (*Field, *connectors.Error) {
	k := &conn{b: b, g: g, coll: c, path: path}
	s, _, err := k.where()
	if err != nil {
		return nil, err
	}
	s.sel.Aggregate = &connectors.Aggregate{}
	by, err := b.argument(g.first, "by", true)
	if err != nil {
		return nil, err
	}
	fields, bad := catalog.GroupFields(c, catalog.Literal(by), s.options())
	if bad != nil {
		return nil, below(bad, "by")
	}
	if len(fields) == 0 {
		return nil, badInput("at least one field to group by is needed").At("by")
	}
	for _, f := range fields {
		if cell, ok := s.read.Fields[f.System]; !ok || cell.If != nil {
			return nil, forbidden()
		}
		if groupColumn(s.sel.Aggregate.GroupBy, f.System) < 0 {
			s.sel.Aggregate.GroupBy = append(s.sel.Aggregate.GroupBy, f.System)
		}
	}
	having, err := b.argument(g.first, "having", true)
	if err != nil {
		return nil, err
	}
	if having != nil && having.Kind != ast.NullValue {
		s.at = []string{"having"}
		terms, bad := catalog.HavingTerms(c, catalog.Literal(having), s.options())
		if bad != nil {
			return nil, below(bad, "having")
		}
		s.sel.Aggregate.Having = terms
	}
	f := newField(g, FieldGroups)
	f.Step, f.Source = s.step, s.step.Source
	values := map[connectors.AggregateValue]int{}
	// At least one value, so that a row has a cell also without a key.
	aggregateColumn(s, values, connectors.AggregateValue{Func: connectors.AggCount})
	f.Select, err = b.aggregates(g, s, values, c)
	return f, err
}
