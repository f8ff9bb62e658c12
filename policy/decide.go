package policy

import "sort"

// directness says which permitted records may be written at once.
type directness uint8

const (
	never directness = iota
	sometimes
	always
)

// A verdict is what the lines for one field, or a set of them, come to.
type verdict struct {
	denied bool
	permit []*clause
	check  []*clause
	direct directness
	// where, with sometimes: what must match for it to be done at once.
	where []*clause
	// guards, where it is done at once only under a stricter check.
	guardWhere, guardCheck []*clause
	guarded                bool
	max                    int
	lines                  []rankedLine
}

// A rankedLine is a line with what orders lines by their say.
type rankedLine struct {
	line *line
	rank int
	deny bool
}

// verdict compiles the lines about one field of one person.
func (d *decider) verdict(g *grants, touched map[string]bool) verdict {
	v := verdict{}
	for _, l := range g.denies {
		v.lines = append(v.lines, rankedLine{l.line, l.rank, true})
		switch {
		case l.where == nil:
			v.denied = true
		case d.act == Create:
			// There is no record yet; what would be made must not be what is denied.
			v.check = append(v.check, l.where.not())
		default:
			v.permit = append(v.permit, l.where.not())
		}
	}
	for _, l := range g.lets {
		v.lines = append(v.lines, rankedLine{l.line, l.rank, false})
	}
	if v.denied {
		return v
	}
	var wheres, checks []*clause
	for _, l := range g.lets {
		wheres = append(wheres, l.where)
		checks = append(checks, l.check)
	}
	check := anyOf(checks)
	permit := anyOf(wheres)
	if d.act == Create || d.act == Update {
		v.check = append(v.check, check)
	} else {
		check = nil
	}
	if d.act == Create {
		permit = nil
	}
	v.permit = append(v.permit, permit)
	v.max = maxOf(g.lets)
	d.directness(&v, g.lets, permit, check, touched)
	return v
}

// maxOf is the largest number of records that one of the roles may write in one
// operation; 0: a role has no maximum.
func maxOf(lets []grant) int {
	byRole := map[int]int{}
	for _, l := range lets {
		byRole[l.role] = smaller(byRole[l.role], l.line.max)
	}
	most := 0
	for _, m := range byRole {
		if m == 0 {
			return 0
		}
		most = max(most, m)
	}
	return most
}

// directness finds which records may be written at once: those that an allow
// line matches, unless a propose line of the same role matches that is as exact
// or more. A propose line whose condition is unknown counts as matching.
func (d *decider) directness(v *verdict, lets []grant, permit, check *clause, touched map[string]bool) {
	proposes := false
	for _, l := range lets {
		proposes = proposes || l.effect == Propose
	}
	if !proposes {
		v.direct = always
		return
	}
	var direct []*clause
	guards := map[string][2]*clause{}
	for _, l := range lets {
		if l.effect != Allow {
			continue
		}
		where, alive := d.alone(l, lets)
		if !alive {
			continue
		}
		where, guard := d.withCheck(l, where, check, touched)
		if guard != nil {
			guards[keyOf(where)+"\x00"+guard.key] = [2]*clause{where, guard}
			continue
		}
		direct = append(direct, where)
	}
	if len(direct) > 0 {
		c := anyOf(direct)
		v.direct = sometimes
		if c == nil || d.act != Create && sameClause(c, permit) {
			v.direct = always
			return
		}
		v.where = []*clause{c}
		return
	}
	if len(guards) == 1 {
		for _, g := range guards {
			v.guarded, v.guardWhere, v.guardCheck = true, []*clause{g[0]}, []*clause{g[1]}
		}
	}
}

// alone is the condition under which an allow line decides for its role; alive
// is false where a propose line without a condition always comes first.
func (d *decider) alone(l grant, lets []grant) (where *clause, alive bool) {
	parts := []*clause{}
	if d.act != Create {
		parts = append(parts, l.where)
	}
	for _, p := range lets {
		if p.effect != Propose || p.role != l.role || p.rank < l.rank {
			continue
		}
		if p.where == nil || d.act == Create {
			return nil, false
		}
		parts = append(parts, p.where.not())
	}
	return allOf(parts...), true
}

// withCheck makes sure that a write at once keeps to the check of the line that
// allows it, where what may be proposed has a laxer one. If the write does not
// touch what the check looks at, the record before tells as well as the record
// after; else the check is returned as a guard.
func (d *decider) withCheck(l grant, where, check *clause, touched map[string]bool) (*clause, *clause) {
	if d.act != Create && d.act != Update || l.check == nil || sameClause(l.check, check) {
		return where, nil
	}
	if d.act == Update && !touches(l.check.cond, touched) {
		if sameClause(l.check, l.where) {
			return where, nil
		}
		return allOf(where, l.check), nil
	}
	return where, l.check
}

func keyOf(c *clause) string {
	if c == nil {
		return ""
	}
	return c.key
}

// join adds what holds for another field or person: both must hold.
func (v *verdict) join(w verdict) {
	v.permit = append(v.permit, w.permit...)
	v.check = append(v.check, w.check...)
	v.max = smaller(v.max, w.max)
	v.lines = append(v.lines, w.lines...)
	switch {
	case w.direct == always:
	case w.direct == sometimes:
		v.where = append(v.where, w.where...)
		v.direct = min(v.direct, sometimes)
		v.guardWhere = append(v.guardWhere, w.where...)
	case w.guarded && (v.direct != never || v.guarded):
		v.direct, v.guarded = never, true
		v.guardWhere = append(v.guardWhere, w.guardWhere...)
		v.guardCheck = append(v.guardCheck, w.guardCheck...)
	default:
		v.direct, v.guarded = never, false
	}
}

func (v *verdict) decision() *Decision {
	out := &Decision{
		Effect: Propose,
		Permit: allOf(v.permit...).condition(),
		Check:  allOf(v.check...).condition(),
		Max:    v.max,
		Lines:  ordered(v.lines),
	}
	switch {
	case v.direct == always:
		out.Effect = Allow
	case v.direct == sometimes:
		out.Direct = allOf(v.where...).condition()
	case v.guarded:
		out.DirectIf = &Guarded{Where: allOf(v.guardWhere...).condition(), Check: allOf(v.guardCheck...).condition()}
	}
	return out
}

// ordered are the lines in the order in which they decide: denials, then the
// more exact ones.
func ordered(lines []rankedLine) []LineRef {
	sort.SliceStable(lines, func(i, j int) bool {
		a, b := lines[i], lines[j]
		if a.deny != b.deny {
			return a.deny
		}
		return a.rank > b.rank
	})
	var out []LineRef
	seen := make(map[*line]bool, len(lines))
	for _, l := range lines {
		if !seen[l.line] {
			seen[l.line] = true
			out = append(out, l.line.ref)
		}
	}
	return out
}
