package policy

import (
	"encoding/binary"
	"slices"
	"sort"
)

// A grant is what one line says of one object, within one view.
type grant struct {
	line   *line
	target *target
	role   int // tells the roles of one person and object apart
	at     int // position of target among the line's
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
		names: e.names}
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
	v.Objects = make(map[string]*Access, len(objects))
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
		key := accessKey(o, v.CanDecide, each, table)
		access := e.shared.get(key)
		if access == nil {
			a := &objectBuilder{object: &e.names.objects[o], people: each, table: table, hash: newObjectHasher()}
			if access = a.access(v.CanDecide); access == nil {
				continue
			}
			access.lines = linesOf(each)
			access.shape, access.authority = a.hash.sums()
			e.shared.put(key, access)
		}
		v.Objects[access.Object] = access
		h.object(access)
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
			for at, t := range ln.targets {
				t.each(func(o int32) { e.grant(out, grant{line: ln, target: t, at: at, role: i}, o, table) })
			}
		}
	}
	return out
}

func (e *Engine) grant(out map[int32]*grants, entry grant, o int32, table *paramTable) {
	object, ln := &e.names.objects[o], entry.line
	if ln.acts&object.offered() == 0 {
		return
	}
	g := out[o]
	if g == nil {
		g = &grants{object: o}
		out[o] = g
	}
	entry.rank, entry.effect = ln.rank(entry.target), ln.effect
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
	out := &ReadAccess{Row: row.condition(), Fields: make(map[string]Cell, len(a.object.Fields))}
	// Most fields are covered by the same lines: what these come to is made once.
	made := map[string]*fieldShape{}
	var shape []*fieldShape
	var key []byte
	cells := make([]readCell, len(parts))
	for f := range a.object.Fields {
		key = key[:0]
		for i := range parts {
			at := parts[i].of[f]
			if at < 0 {
				break
			}
			cells[i] = parts[i].cells[at]
			key = binary.AppendUvarint(key, uint64(at))
		}
		if slices.ContainsFunc(parts, func(p personRead) bool { return p.of[f] < 0 }) {
			continue
		}
		kept := made[string(key)]
		if kept == nil {
			cell := together(cells).within(row)
			kept = &fieldShape{cell: cell.cell(), shape: cell.shape(), key: cell.key()}
			made[string(key)] = kept
		}
		name := a.object.Fields[f].System
		out.Fields[name] = kept.cell
		kept.fields = append(kept.fields, name)
		if len(kept.fields) == 1 {
			shape = append(shape, kept)
		}
	}
	if len(out.Fields) == 0 {
		return nil
	}
	out.Lines = refs(people)
	a.hash.read(row, shape, out.Lines)
	return out
}

type personRead struct {
	row *clause
	// of gives, by field, the position in cells; -1: not shown at all.
	of    []int
	cells []readCell
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
	out := personRead{row: allOf(append(hidden, seen)...), of: make([]int, len(a.object.Fields))}
	made := map[string]int{}
	var key []byte
	for f := range a.object.Fields {
		key = a.coverage(key[:0], g, int32(f))
		at, ok := made[string(key)]
		if !ok {
			at = -1
			if c, shown := a.personCell(g, int32(f), seen); shown {
				at = len(out.cells)
				out.cells = append(out.cells, c)
			}
			made[string(key)] = at
		}
		out.of[f] = at
	}
	return out
}

// coverage appends which of the lines cover the field, and how they mask it.
func (a *objectBuilder) coverage(key []byte, g *grants, f int32) []byte {
	secret := a.object.Fields[f].Secret
	for i := range g.lets {
		if l := &g.lets[i]; l.target.covers(g.object, f, secret, false) {
			key = binary.AppendUvarint(key, uint64(i))
			key = append(append(key, l.masks[f]...), 0)
		}
	}
	key = append(key, '-')
	for i := range g.denies {
		if g.denies[i].target.covers(g.object, f, secret, true) {
			key = binary.AppendUvarint(key, uint64(i))
		}
	}
	return key
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
