package policy

import "sort"

// A viewLine is a line that a view was built from, for one object.
type viewLine struct {
	grant  grant
	object int32
}

// linesOf are the lines about an object; none where the view does not have it.
func (v *View) linesOf(object string) []viewLine {
	if a := v.Object(object); a != nil {
		return a.lines
	}
	return nil
}

func linesOf(people []*grants) []viewLine {
	var out []viewLine
	for _, g := range people {
		for _, l := range g.denies {
			out = append(out, viewLine{grant: l, object: g.object})
		}
		for _, l := range g.lets {
			out = append(out, viewLine{grant: l, object: g.object})
		}
	}
	return out
}

// refs are the lines of all persons in the order in which they decide.
func refs(people []*grants) []LineRef {
	var out []rankedLine
	for _, g := range people {
		for _, l := range g.denies {
			out = append(out, rankedLine{l.line, l.rank, true})
		}
		for _, l := range g.lets {
			out = append(out, rankedLine{l.line, l.rank, false})
		}
	}
	return ordered(out)
}

// Explain lists the lines of the view that say something about an act on a
// field of an object (the field's system name; "" for the object as a whole), in
// the order in which they decide: denials first, then the more exact ones. Lines
// whose condition does not match a record have no say for that record.
func (v *View) Explain(object string, act Act, field string) []LineRef {
	if v == nil {
		return nil
	}
	var out []rankedLine
	for _, l := range v.linesOf(object) {
		if l.grant.line.acts&bitOf(act) == 0 {
			continue
		}
		if field != "" {
			f, ok := v.names.systemField(l.object, field)
			if !ok || !l.grant.target.covers(l.object, f, v.names.objects[l.object].Fields[f].Secret, l.grant.effect == Denied) {
				continue
			}
		}
		out = append(out, rankedLine{l.grant.line, l.grant.rank, l.grant.effect == Denied})
	}
	return ordered(out)
}

// A RoleEffect is what a role by itself may do, with the line that decided.
type RoleEffect struct {
	Role   string
	Effect Effect
	// Conditional: the line has a condition; what it says holds for the records
	// that match.
	Conditional bool
	// Field is one for which it holds, by its graph name; "" for the whole object.
	Field string
	Line  LineRef
}

// WhoCan lists the roles that may do something to an object ("source.object"),
// with the most lenient effect that each has on it or on any field of it, sorted
// by role. Inherited rights are listed under the role that inherits them; "*"
// among them. Denials with a condition are left out: they deny some records.
func (e *Engine) WhoCan(act Act, object string) ([]RoleEffect, error) {
	o, ok := e.names.byName[object]
	if !ok {
		return nil, nil
	}
	asked := []RoleEffect{{}}
	for _, f := range e.names.objects[o].Fields {
		asked = append(asked, RoleEffect{Field: f.Graph})
	}
	var out []RoleEffect
	for _, role := range e.Roles() {
		held := append([]string{role, "*"}, e.holds[role]...)
		best := RoleEffect{Role: role}
		for i, a := range asked {
			secret := i > 0 && e.names.objects[o].Fields[i-1].Secret
			name := object
			if i > 0 {
				name += "{" + a.Field + "}"
			}
			effect, line, err := e.askAll(held, name, secret, act)
			if err != nil {
				return nil, err
			}
			if effect == Propose && e.names.objects[o].Reads {
				effect = Allow // what only reads needs no proposal
			}
			if effect > best.Effect {
				best.Effect, best.Field = effect, a.Field
				best.Line, best.Conditional = e.lines[line].ref, e.lines[line].where
			}
		}
		if best.Effect != Denied {
			out = append(out, best)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Role < out[j].Role })
	return out, nil
}

// askAll asks Casbin for each of the roles that somebody holds: a denial of any
// of them holds for all, else the most lenient.
func (e *Engine) askAll(roles []string, object string, secret bool, act Act) (Effect, int, error) {
	best, by := Denied, -1
	for _, role := range roles {
		effect, line, err := e.rules.ask(role, object, secret, act)
		if err != nil {
			return Denied, -1, err
		}
		if line >= 0 && effect == Denied {
			return Denied, line, nil
		}
		if effect > best {
			best, by = effect, line
		}
	}
	return best, by, nil
}
