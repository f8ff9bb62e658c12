package policy

import (
	"slices"
	"sort"
	"strconv"
	"strings"
)

// write makes the access for one act: nil where somebody of the chain may not.
func (a *objectBuilder) write(act Act) *WriteAccess {
	people := a.split(act)
	if people == nil {
		return nil
	}
	d := &decider{object: a.object, act: act, people: people, byName: make(map[string]int32, len(a.object.Fields)), presets: map[string]bool{}}
	access := &WriteAccess{Fields: make(map[string]bool, len(a.object.Fields)), Lines: refs(people)}
	access.Presets = d.presetsOf(a.table)
	for _, p := range access.Presets {
		d.presets[p.Field] = true
	}
	if act == Create || act == Update || act == Call || act == Approve {
		for f := range a.object.Fields {
			name := a.object.Fields[f].System
			if !d.presets[name] && d.mayGive(int32(f)) {
				access.Fields[name] = true
				d.byName[name] = int32(f)
			}
		}
	}
	if len(access.Fields) == 0 && d.compile(nil).Effect == Denied {
		return nil
	}
	access.Max = d.strictestMax()
	access.Decide = d.decide
	a.hash.write(act, access, people)
	return access
}

// A decider compiles what holds for writes of one act on one object.
type decider struct {
	object  *Object
	act     Act
	people  []*grants
	byName  map[string]int32 // fields that may be given
	presets map[string]bool
	cache   decisionCache
}

// mayGive tells whether everybody in the chain has a line for the field, and no
// line that denies it in any case.
func (d *decider) mayGive(f int32) bool {
	secret := d.object.Fields[f].Secret
	for _, g := range d.people {
		lets := slices.ContainsFunc(g.lets, func(l grant) bool { return l.target.covers(g.object, f, secret, false) })
		denied := slices.ContainsFunc(g.denies, func(l grant) bool {
			return l.where == nil && l.target.covers(g.object, f, secret, true)
		})
		if !lets || denied {
			return false
		}
	}
	return true
}

// presetsOf are the values that lines set, whatever the caller gives. Over the
// lines of a person and along the chain all of them hold; where two set the same
// field, the first of the chain and there the more exact line does. Another role
// lifts one only where it may, without any condition, write all that the line
// may and the field itself: so that two roles together never do what neither may.
func (d *decider) presetsOf(table *paramTable) []Preset {
	if d.act == Approve || d.act == Delete {
		return nil
	}
	var out []Preset
	taken := map[string]bool{}
	for _, g := range d.people {
		lets := slices.Clone(g.lets)
		sort.SliceStable(lets, func(i, j int) bool { return lets[i].rank > lets[j].rank })
		for _, l := range lets {
			if l.set == nil {
				continue
			}
			for _, p := range l.set.Assign {
				if taken[p.Field] || d.lifted(g, l, p.Field) {
					continue
				}
				taken[p.Field] = true
				may := false
				out = append(out, Preset{Field: p.Field, Operand: table.operand(p.Operand, l.set.Params, &may)})
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Field < out[j].Field })
	return out
}

func (d *decider) lifted(g *grants, by grant, field string) bool {
	roles := map[int]bool{}
	for _, l := range g.lets {
		roles[l.role] = true
	}
	for role := range roles {
		if role == by.role || slices.ContainsFunc(g.lets, func(l grant) bool { return l.role == role && l.sets(field) }) {
			continue
		}
		free := true
		for f := range d.object.Fields {
			of := &d.object.Fields[f]
			if of.System != field && !by.target.covers(g.object, int32(f), of.Secret, false) {
				continue
			}
			free = free && slices.ContainsFunc(g.lets, func(l grant) bool {
				return l.role == role && l.where == nil && l.check == nil && l.target.covers(g.object, int32(f), of.Secret, false)
			})
		}
		if free {
			return true
		}
	}
	return false
}

func (l *grant) sets(field string) bool {
	return l.set != nil && slices.ContainsFunc(l.set.Assign, func(p Preset) bool { return p.Field == field })
}

// strictestMax is the smallest maximum of any field: what holds for a write
// whose fields are not known.
func (d *decider) strictestMax() int {
	limited := slices.ContainsFunc(d.people, func(g *grants) bool {
		return slices.ContainsFunc(g.lets, func(l grant) bool { return l.line.max > 0 })
	})
	if !limited {
		return 0
	}
	most := 0
	for _, g := range d.people {
		if part, _ := d.covering(g, noField); part != nil {
			most = smaller(most, maxOf(part.lets))
		}
		for _, f := range d.byName {
			if part, _ := d.covering(g, f); part != nil {
				most = smaller(most, maxOf(part.lets))
			}
		}
	}
	return most
}

// smaller is the smaller of two maxima, of which 0 is none.
func smaller(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (d *decider) decide(fields []string) *Decision {
	return d.cache.get(strings.Join(fields, "\x00"), func() *Decision { return d.compile(fields) })
}

// compile joins what holds for each field and for each person of the chain: all
// must be permitted, one that must be proposed makes all of it proposed.
func (d *decider) compile(fields []string) *Decision {
	touched := map[string]bool{}
	for p := range d.presets {
		touched[p] = true
	}
	indexes := []int32{noField}
	if len(fields) > 0 {
		indexes = nil
	}
	for _, name := range fields {
		f, ok := d.byName[name]
		if !ok {
			return &Decision{}
		}
		indexes = append(indexes, f)
		touched[name] = true
	}
	all := verdict{direct: always}
	done := map[string]bool{}
	for i, g := range d.people {
		for _, f := range indexes {
			part, key := d.covering(g, f)
			if key = strconv.Itoa(i) + key; done[key] {
				continue
			}
			done[key] = true
			if part == nil {
				return &Decision{}
			}
			v := d.verdict(part, touched)
			if v.denied {
				return &Decision{Lines: ordered(v.lines)}
			}
			all.join(v)
		}
	}
	return all.decision()
}

// noField stands for a write that gives no field: a deletion, or one whose
// fields are all absent.
const noField int32 = -1

// covering are the grants that decide about a field, with a text that tells
// equal ones; nil where none lets. Without a field they are, for each role, its
// lines about the whole object, and for acts on part of it those that cover most
// where it has none of those.
func (d *decider) covering(g *grants, f int32) (*grants, string) {
	out := &grants{object: g.object}
	var key []byte
	for i, l := range g.lets {
		if f == noField && d.decidesWhole(g, l) || f != noField && d.covers(g, l, f, false) {
			out.lets = append(out.lets, l)
			key = strconv.AppendInt(append(key, '+'), int64(i), 10)
		}
	}
	if len(out.lets) == 0 {
		return nil, "none"
	}
	for i, l := range g.denies {
		if f == noField && l.target.selection == whole || f != noField && d.covers(g, l, f, true) {
			out.denies = append(out.denies, l)
			key = strconv.AppendInt(append(key, '-'), int64(i), 10)
		}
	}
	return out, string(key)
}

func (d *decider) covers(g *grants, l grant, f int32, denial bool) bool {
	return l.target.covers(g.object, f, d.object.Fields[f].Secret, denial)
}

func (d *decider) decidesWhole(g *grants, l grant) bool {
	if l.target.selection == whole || d.act == Approve || d.act == Delete {
		return l.target.selection == whole
	}
	return !slices.ContainsFunc(g.lets, func(o grant) bool { return o.role == l.role && o.target.selection < l.target.selection })
}
