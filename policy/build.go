package policy

import (
	"slices"
	"sort"
)

// A grant is what one line says of one object, within one view.
type grant struct {
	line   *line
	target *target
	role   int // position among the expanded roles
	rank   int
	effect Effect
	where  *clause
	check  *clause // as written, or the default
	set    *BoundSet
	masks  map[int32]Mask // what stands for fields that are read
}

// A person's grants on one object: those that let, and those that deny.
type grants struct {
	object int32
	lets   []grant
	denies []grant
}

// for a single act.
func (g *grants) of(act actSet) *grants {
	out := &grants{object: g.object}
	for _, l := range g.lets {
		if l.line.acts&act != 0 {
			out.lets = append(out.lets, l)
		}
	}
	if len(out.lets) == 0 {
		return nil
	}
	for _, d := range g.denies {
		if d.line.acts&act != 0 {
			if d.where == nil && d.target.selection == whole {
				return nil
			}
			out.denies = append(out.denies, d)
		}
	}
	return out
}

// View answers what the principal, with the chain behind it, may do. Views are
// kept by kind and roles of the chain, never by claims; the answer is shared and
// must not be changed. A principal of no kind, or a nil engine, may nothing.
func (e *Engine) View(p *Principal) *View {
	if e == nil || p == nil {
		return &View{Objects: map[string]*Access{}}
	}
	chain := p.Chain()
	roles := make([][]string, len(chain))
	key := ""
	for i, q := range chain {
		roles[i] = e.Expand(q)
		key += string(q.Kind) + "\x00"
		for _, r := range roles[i] {
			key += r + "\x01"
		}
		key += "\x02"
	}
	return e.views.get(key, func() *View { return e.build(chain, roles) })
}

// build makes a view by walking the lines of the roles over the objects that
// each of them covers.
func (e *Engine) build(chain []*Principal, roles [][]string) *View {
	v := &View{PolicyVersion: e.version, Kind: chain[0].Kind, Roles: roles[0],
		Objects: map[string]*Access{}, lines: map[string][]viewLine{}, names: e.names}
	v.CanDecide = v.Kind == Human && len(chain) == 1
	table := newParamTable()
	people := make([]map[int32]*grants, len(chain))
	for i, q := range chain {
		switch q.Kind {
		case Human, Agent, Service, Anonymous:
			people[i] = e.walk(roles[i], table)
		}
	}
	var objects []int32
	for o := range people[0] {
		objects = append(objects, o)
	}
	sort.Slice(objects, func(i, j int) bool { return objects[i] < objects[j] })
	h := newHasher(v, e)
	for _, o := range objects {
		each := make([]*grants, len(people))
		for i := range people {
			if each[i] = people[i][o]; each[i] == nil {
				each = nil
				break
			}
		}
		if each == nil {
			continue
		}
		object := &e.names.objects[o]
		a := &objectBuilder{object: object, people: each, table: table, hash: h}
		access := a.access(v.CanDecide)
		if access == nil {
			continue
		}
		v.Objects[object.Name] = access
		v.lines[object.Name] = linesOf(each)
	}
	v.Params = table.params
	h.finish(v)
	return v
}

// walk gathers the grants of a role set, by object.
func (e *Engine) walk(roles []string, table *paramTable) map[int32]*grants {
	out := map[int32]*grants{}
	for i, role := range roles {
		for _, ln := range e.byRole[role] {
			for _, t := range ln.targets {
				t.each(func(o int32) { e.grant(out, ln, t, o, i, table) })
			}
		}
	}
	return out
}

func (e *Engine) grant(out map[int32]*grants, ln *line, t *target, o int32, role int, table *paramTable) {
	object := &e.names.objects[o]
	if ln.acts&object.offered() == 0 {
		return
	}
	g := out[o]
	if g == nil {
		g = &grants{object: o}
		out[o] = g
	}
	entry := grant{line: ln, target: t, role: role, rank: ln.rank(t), effect: ln.effect}
	if entry.effect == Propose && object.Function && object.Reads {
		entry.effect = Allow // what only reads needs no proposal
	}
	if b := ln.bound[o]; b != nil {
		entry.where = table.clause(b.where)
		entry.check, entry.set, entry.masks = entry.where, b.set, b.masks
		if b.check != nil {
			entry.check = table.clause(b.check)
		}
	}
	if ln.effect == Denied {
		g.denies = append(g.denies, entry)
	} else {
		g.lets = append(g.lets, entry)
	}
}

// An objectBuilder makes the access to one object for a chain.
type objectBuilder struct {
	object *Object
	people []*grants
	table  *paramTable
	hash   *hasher
}

func (a *objectBuilder) access(canDecide bool) *Access {
	access := &Access{Object: a.object.Name}
	offered := a.object.offered()
	a.hash.object(a.object.Name)
	if offered&bitRead != 0 {
		access.Read = a.read()
	}
	if offered&bitCreate != 0 {
		access.Create = a.write(Create)
	}
	if offered&bitUpdate != 0 {
		access.Update = a.write(Update)
	}
	if offered&bitDelete != 0 {
		access.Delete = a.write(Delete)
	}
	if offered&bitCall != 0 {
		access.Call = a.write(Call)
	}
	if offered&bitApprove != 0 && canDecide {
		access.Approve = a.write(Approve)
	}
	if access.Read == nil && access.Create == nil && access.Update == nil && access.Delete == nil && access.Call == nil && access.Approve == nil {
		return nil
	}
	return access
}

// split gives each person's grants for one act; nil where one of them has none.
func (a *objectBuilder) split(act Act) []*grants {
	out := make([]*grants, len(a.people))
	for i, g := range a.people {
		if out[i] = g.of(bitOf(act)); out[i] == nil {
			return nil
		}
	}
	return out
}

// read is the union of what the lines of each person let see, cell by cell, and
// over the chain what all of them may see.
func (a *objectBuilder) read() *ReadAccess {
	people := a.split(Read)
	if people == nil {
		return nil
	}
	var rows []*clause
	parts := make([]personRead, len(people))
	for i, g := range people {
		parts[i] = a.personRead(g)
		rows = append(rows, parts[i].row)
	}
	row := allOf(rows...)
	out := &ReadAccess{Row: row.condition(), Fields: map[string]Cell{}}
	var shape []fieldShape
	var cells []readCell
	for f := range a.object.Fields {
		cells = cells[:0]
		for i := range parts {
			if c, visible := parts[i].cells[int32(f)]; visible {
				cells = append(cells, c)
			}
		}
		if len(cells) < len(parts) {
			continue
		}
		cell := together(cells).within(row)
		name := a.object.Fields[f].System
		out.Fields[name] = cell.cell()
		shape = append(shape, fieldShape{name, cell})
	}
	if len(out.Fields) == 0 {
		return nil
	}
	out.Lines = refs(people)
	a.hash.read(row, shape, out.Lines)
	return out
}

type personRead struct {
	row   *clause
	cells map[int32]readCell // by field
}

func (a *objectBuilder) personRead(g *grants) personRead {
	var wheres, hidden []*clause
	for _, l := range g.lets {
		wheres = append(wheres, l.where)
	}
	seen := anyOf(wheres)
	for _, d := range g.denies {
		if d.target.selection == whole {
			hidden = append(hidden, d.where.not())
		}
	}
	out := personRead{row: allOf(append(hidden, seen)...), cells: make(map[int32]readCell, len(a.object.Fields))}
	for f := range a.object.Fields {
		if c, ok := a.personCell(g, int32(f), seen); ok {
			out.cells[int32(f)] = c
		}
	}
	return out
}

// personCell says where one field is shown: by the lines that cover it, as itself
// where one of them does not mask it, else under the mask that shows most.
func (a *objectBuilder) personCell(g *grants, f int32, seen *clause) (readCell, bool) {
	secret := a.object.Fields[f].Secret
	var plain, parts []*clause
	var masked map[Mask][]*clause
	for _, l := range g.lets {
		if !l.target.covers(g.object, f, secret, false) {
			continue
		}
		m := l.masks[f]
		if m == MaskNone {
			plain = append(plain, l.where)
			continue
		}
		if masked == nil {
			masked = map[Mask][]*clause{}
		}
		masked[m] = append(masked[m], l.where)
	}
	if len(plain) == 0 && masked == nil {
		return readCell{}, false
	}
	for _, d := range g.denies {
		if d.target.selection == whole || !d.target.covers(g.object, f, secret, true) {
			continue
		}
		if d.where == nil {
			return readCell{}, false
		}
		parts = append(parts, d.where.not())
	}
	where := func(covering []*clause) (c *clause, all bool) {
		if c = anyOf(covering); c == nil || sameClause(c, seen) {
			return allOf(parts...), true
		}
		return allOf(append(slices.Clone(parts), c)...), false
	}
	out := readCell{never: len(plain) == 0}
	if !out.never {
		var all bool
		if out.plain, all = where(plain); all {
			return out, true
		}
	}
	for _, m := range masks() {
		if len(masked[m]) == 0 {
			continue
		}
		c, all := where(masked[m])
		if out.masks = append(out.masks, maskedClause{m, c}); all {
			break
		}
	}
	return out, true
}
