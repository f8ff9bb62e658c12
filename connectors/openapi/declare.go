package openapi

import (
	"net/http"
	"slices"

	"github.com/countersign/countersign/connectors"
)

// writes pairs the arguments of create and update with fields.
func (c *collection) writes(r *reader) error {
	if c.update != nil && c.update.method == http.MethodPut {
		return c.wrong("update: %s is a PUT, which replaces whole records and is not supported yet; include it as a function", c.update.id)
	}
	var err error
	if c.create != nil {
		if c.createArgs, err = c.fieldArgs(r, "create", c.create, nil); err != nil {
			return err
		}
		c.createPath, c.createAnswers = c.answers(c.create)
		for name, p := range c.createArgs {
			if !p.field.Nullable && !p.field.Default {
				c.createNeeds = append(c.createNeeds, name)
			}
		}
		slices.Sort(c.createNeeds)
	}
	if c.update != nil {
		if c.updateArgs, err = c.fieldArgs(r, "update", c.update, c.updateKey); err != nil {
			return err
		}
		c.updatePath, c.updateAnswers = c.answers(c.update)
	}
	return nil
}

// answers finds the record in the answer of a write, if it is there.
func (c *collection) answers(o *operation) ([]string, bool) {
	if o.schema == nil || c.source == nil {
		return nil, false
	}
	path, found := recordIn(o.schema, split(c.cfg.Record), c.source)
	if found == nil {
		return nil, false
	}
	_, source := identity(found)
	return path, source == c.source
}

func (c *collection) fieldArgs(r *reader, what string, o *operation, key map[string]*param) (map[string]*param, error) {
	args := map[string]*param{}
	for _, p := range o.params {
		if slices.ContainsFunc(c.spec.Key, func(k string) bool { return key[k] == p }) {
			continue
		}
		name := p.wire
		if p.in == inPath {
			// The path may name the parent otherwise than the record does: the
			// filter of the list knows.
			for field, ops := range c.filter {
				if q := ops[connectors.OpEq]; q != nil && q.wire == p.wire {
					name = field
				}
			}
		}
		f := c.spec.Field(name)
		needed := !p.field.Nullable && !p.field.Default
		switch {
		case p.in == inWhole, p.in == inHeader, f == nil && p.in != inBody:
			if needed {
				return nil, c.wrong("%s: %s needs %s, which is no field of the records", what, o.id, p.wire)
			}
			continue
		case f == nil:
			f = &connectors.Field{Name: name, Type: p.field.Type, Nullable: true, Comment: p.field.Comment, WriteOnly: true}
			c.spec.Fields = append(c.spec.Fields, f)
		case !sameType(f.Type, p.field.Type):
			if needed {
				return nil, c.wrong("%s: %s is read as another type than it is written as", what, name)
			}
			r.typer.leftOut = append(r.typer.leftOut, connectors.Omission{Path: c.name + "." + name, Reason: "it is written as another type than it is read as, so it cannot be written"})
			continue
		}
		if f.Type.MaxLength == 0 {
			f.Type.MaxLength = p.field.Type.MaxLength
		}
		args[name] = p
	}
	return args, nil
}

// sameType tells whether what is read can be written back.
func sameType(a, b connectors.TypeRef) bool {
	return a.List == b.List && a.Object == b.Object && a.Leaf() == b.Leaf()
}

// declare states what the collection can do.
func (c *collection) declare() {
	s := c.spec
	s.Get, s.List = c.get != nil, c.list != nil && len(c.required) == 0
	s.Paging = connectors.Paging{Offset: s.List}
	s.HasVersion = c.get != nil && c.get.etag
	byKey := (c.get != nil || c.batch != nil) && len(s.Key) > 0
	if byKey {
		s.BindFields = append(s.BindFields, s.Key)
	}
	for _, f := range s.Fields {
		key := slices.Contains(s.Key, f.Name)
		for _, op := range []connectors.Op{connectors.OpEq, connectors.OpIn, connectors.OpGt, connectors.OpGte, connectors.OpLt, connectors.OpLte} {
			if c.filter[f.Name][op] != nil || key && byKey && (op == connectors.OpEq || op == connectors.OpIn && len(s.Key) == 1) {
				f.Filter = append(f.Filter, op)
			}
		}
		if c.filter[f.Name][connectors.OpEq] != nil && !(byKey && slices.Equal(s.Key, []string{f.Name})) && subset(c.required, f.Name) {
			s.BindFields = append(s.BindFields, []string{f.Name})
		}
		c.declareField(f)
	}
	add := func(kind connectors.StepKind, o *operation, preview bool) {
		if o == nil {
			return
		}
		act := &connectors.Act{Class: o.outcome.Class, Preview: connectors.PreviewNone}
		if preview {
			act.Preview = connectors.PreviewRead
		}
		// What was read is still true when the write arrives, or it is refused.
		act.Conditional = kind != connectors.Create && s.HasVersion && o.ifMatch
		s.Acts[kind] = act
	}
	add(connectors.Create, c.create, true)
	add(connectors.Update, c.update, c.get != nil)
	add(connectors.Delete, c.delete, c.get != nil)
	if len(s.Acts) == 0 {
		s.Acts = nil
	}
}

func subset(required []string, field string) bool {
	return len(required) == 0 || len(required) == 1 && required[0] == field
}

func (c *collection) declareField(f *connectors.Field) {
	create, update := c.createArgs[f.Name], c.updateArgs[f.Name]
	f.ReadOnly = create == nil && update == nil
	f.CreateOnly = create != nil && update == nil
	if c.create == nil {
		return
	}
	switch {
	case create == nil:
		f.Default = f.Default || !f.Nullable
	case create.field.Default:
		f.Default, f.DefaultValue = true, create.field.DefaultValue
	case create.field.Nullable && !f.Nullable:
		f.Default = true
	}
}
