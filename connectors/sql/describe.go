package sql

import (
	"slices"
	"sort"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A described collection, with what the role may do in it.
type described struct {
	coll                   *connectors.Collection
	writable               bool // a table, not a view
	insert, update, remove bool // the role's rights
	version                bool // the system has a version of its own for its records
	schema, table          string
}

// A describer collects what introspection found; both dialects end with
// finish, so that the configuration means the same in both.
type describer struct {
	cfg    *Config
	d      dialect
	schema *connectors.Schema
	found  map[string]*described
}

func newDescriber(cfg *Config, d dialect) *describer {
	return &describer{cfg: cfg, d: d, found: make(map[string]*described), schema: &connectors.Schema{
		Connector:    d.name(),
		Capabilities: connectors.Capabilities{Atomic: true, Snapshot: true, Related: true},
	}}
}

func (d *describer) leaveOut(path, reason string) {
	d.schema.LeftOut = append(d.schema.LeftOut, connectors.Omission{Path: path, Reason: reason})
}

// field declares what the dialect can do with a field and adds it.
func (d *describer) field(to *described, f *connectors.Field) {
	t, err := d.d.columnType(f)
	if err != nil {
		d.leaveOut(to.coll.Name+"."+f.Name, err.Error())
		return
	}
	f.Filter, f.Order, f.Group, f.Aggregates = t.ops, t.order, t.group, t.aggregates()
	to.coll.Fields = append(to.coll.Fields, f)
}

// finish applies the configuration and puts everything in order.
func (d *describer) finish() (*connectors.Schema, error) {
	if err := d.applyKeys(); err != nil {
		return nil, err
	}
	if err := d.applyReferences(); err != nil {
		return nil, err
	}
	if err := d.applyVersions(); err != nil {
		return nil, err
	}
	for _, m := range []map[string]string{d.cfg.Preview, d.cfg.Outcome} {
		for name := range m {
			if name != "*" && d.found[name] == nil {
				return nil, d.unknown(name)
			}
		}
	}
	for name, f := range d.found {
		c := f.coll
		if len(c.Fields) == 0 {
			d.leaveOut(name, "no field of it can be read")
			continue
		}
		d.prune(c)
		c.Get, c.List, c.AnyBind = len(c.Key) > 0, true, true
		c.Paging = connectors.Paging{Keyset: len(c.Key) > 0, Offset: true, Last: len(c.Key) > 0}
		c.Count, c.Aggregate = true, true
		d.acts(f)
		sort.Slice(c.Uniques, func(i, j int) bool { return c.Uniques[i].Name < c.Uniques[j].Name })
		sort.Slice(c.References, func(i, j int) bool { return c.References[i].Name < c.References[j].Name })
		d.schema.Collections = append(d.schema.Collections, c)
	}
	s := d.schema
	sort.Slice(s.Collections, func(i, j int) bool { return s.Collections[i].Name < s.Collections[j].Name })
	sort.Slice(s.Enums, func(i, j int) bool { return s.Enums[i].Name < s.Enums[j].Name })
	sort.Slice(s.LeftOut, func(i, j int) bool {
		return s.LeftOut[i].Path+"\x00"+s.LeftOut[i].Reason < s.LeftOut[j].Path+"\x00"+s.LeftOut[j].Reason
	})
	sort.Strings(s.Warnings)
	return s, nil
}

// prune drops keys and references over fields that were left out.
func (d *describer) prune(c *connectors.Collection) {
	has := func(c *connectors.Collection, names []string) bool {
		for _, n := range names {
			if c.Field(n) == nil {
				return false
			}
		}
		return true
	}
	if !has(c, c.Key) {
		c.Key = nil
	}
	c.Uniques = slices.DeleteFunc(c.Uniques, func(u connectors.UniqueKey) bool { return !has(c, u.Fields) })
	c.References = slices.DeleteFunc(c.References, func(r connectors.Reference) bool {
		to := d.found[r.To]
		return to == nil || !has(c, r.Fields) || !has(to.coll, r.On)
	})
}

// acts declares the writes that the system, the role's rights and the
// configuration allow. Without a key only creating is possible: nothing else
// could name the records that were previewed.
func (d *describer) acts(f *described) {
	if d.cfg.ReadOnly || !f.writable {
		return
	}
	c := f.coll
	act := func() *connectors.Act {
		return &connectors.Act{
			Class:    connectors.OutcomeClass(perCollection(d.cfg.Outcome, c.Name, string(connectors.Unverifiable))),
			Preview:  connectors.PreviewStrategy(perCollection(d.cfg.Preview, c.Name, string(connectors.PreviewRead))),
			ByFilter: true, Conditional: true, Increment: true,
		}
	}
	acts := make(map[connectors.StepKind]*connectors.Act)
	if f.insert {
		acts[connectors.Create] = act()
		acts[connectors.Create].ByFilter, acts[connectors.Create].Increment = false, false
	}
	if f.update && len(c.Key) > 0 {
		acts[connectors.Update] = act()
	}
	if f.remove && len(c.Key) > 0 {
		acts[connectors.Delete] = act()
		acts[connectors.Delete].Increment = false
	}
	if len(acts) > 0 {
		c.Acts = acts
	}
}

func (d *describer) unknown(name string) error {
	return connectors.Errorf(connectors.CodeValidationFailed, "the configuration names the collection %s, which the database does not have or which is not included", name)
}

func (d *describer) unknownField(name, field string) error {
	return connectors.Errorf(connectors.CodeValidationFailed, "the configuration names the field %s of %s, which does not exist", field, name)
}

func (d *describer) applyKeys() error {
	for name, key := range d.cfg.Keys {
		f := d.found[name]
		if f == nil {
			return d.unknown(name)
		}
		if len(f.coll.Key) > 0 && !slices.Equal(f.coll.Key, key) {
			return connectors.Errorf(connectors.CodeValidationFailed, "keys: %s declares its own key (%s)", name, strings.Join(f.coll.Key, ", "))
		}
		for _, k := range key {
			if f.coll.Field(k) == nil {
				return d.unknownField(name, k)
			}
		}
		f.coll.Key = key
	}
	return nil
}

func (d *describer) applyReferences() error {
	for _, r := range d.cfg.References {
		from, to := d.found[r.From], d.found[r.To]
		switch {
		case from == nil:
			return d.unknown(r.From)
		case to == nil:
			return d.unknown(r.To)
		case len(r.Fields) == 0 || len(r.Fields) != len(r.On):
			return connectors.Errorf(connectors.CodeValidationFailed, "references: %s to %s needs as many fields as on", r.From, r.To)
		}
		for _, f := range r.Fields {
			if from.coll.Field(f) == nil {
				return d.unknownField(r.From, f)
			}
		}
		for _, f := range r.On {
			if to.coll.Field(f) == nil {
				return d.unknownField(r.To, f)
			}
		}
		from.coll.References = append(from.coll.References, connectors.Reference{
			Name: "configured_" + strings.Join(r.Fields, "_"), Fields: r.Fields, To: r.To, On: r.On})
	}
	return nil
}

func (d *describer) applyVersions() error {
	for name := range d.cfg.Version {
		if name != "*" && d.found[name] == nil {
			return d.unknown(name)
		}
	}
	fallback := ""
	if d.d.name() == Postgres {
		fallback = versionXmin
	}
	for name, f := range d.found {
		v := perCollection(d.cfg.Version, name, fallback)
		_, own := d.cfg.Version[name]
		switch {
		case v == "":
		case v == versionXmin && d.d.name() == Postgres:
			if own && !f.version {
				return connectors.Errorf(connectors.CodeValidationFailed, "version: %s has no xmin; name a column", name)
			}
			f.coll.HasVersion = f.version
		case f.coll.Field(v) != nil:
			f.coll.VersionField, f.coll.HasVersion = v, true
		case own:
			return d.unknownField(name, v)
		}
	}
	return nil
}
