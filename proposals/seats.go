package proposals

import "slices"

// A voter is a person whose approval counts, with what they may fill.
type voter struct {
	id      string
	roles   []string // none: not for role seats
	confirm bool     // for confirm seats
}

// mayFill tells whether the voter fits the seat.
func (v voter) mayFill(s Seat) bool {
	return s.Confirm && v.confirm || s.Role != "" && slices.Contains(v.roles, s.Role)
}

// Met tells whether distinct voters can fill every seat: a maximum matching of
// persons to seats, so that one who could fill two does not stand in the way of
// one who could fill only one of them. Nobody fills two.
func (r Requirement) met(voters []voter) bool {
	var slots []Seat
	for _, s := range r.Seats {
		for range max(s.Count, 1) {
			slots = append(slots, s)
		}
	}
	if len(slots) == 0 || len(slots) > len(voters) {
		return false
	}
	taken := make([]int, len(voters)) // 1 + slot
	for i := range slots {
		if !place(slots, voters, taken, i, make([]bool, len(voters))) {
			return false
		}
	}
	return true
}

// place finds a voter for the slot, moving others along where that helps.
func place(slots []Seat, voters []voter, taken []int, slot int, seen []bool) bool {
	for v := range voters {
		if seen[v] || !voters[v].mayFill(slots[slot]) {
			continue
		}
		seen[v] = true
		if taken[v] == 0 || place(slots, voters, taken, taken[v]-1, seen) {
			taken[v] = slot + 1
			return true
		}
	}
	return false
}

// join adds a voter; one who is there already, by another account, is one voter
// with what both may fill.
func join(voters []voter, v voter) []voter {
	for i := range voters {
		if voters[i].id == v.id {
			voters[i].roles = append(slices.Clone(voters[i].roles), v.roles...)
			voters[i].confirm = voters[i].confirm || v.confirm
			return voters
		}
	}
	return append(voters, v)
}

// fits tells whether the voter could fill any seat at all.
func (r Requirement) fits(v voter) bool {
	return slices.ContainsFunc(r.Seats, v.mayFill)
}

// latest is the decision of each person on the revision that counts: the last.
func latest(d *Dossier, revision int) []*Decision {
	var out []*Decision
	for _, dec := range d.Decisions {
		if dec.Revision != revision {
			continue
		}
		out = slices.DeleteFunc(out, func(o *Decision) bool { return o.Person == dec.Person })
		out = append(out, dec)
	}
	return out
}

// asVoter is what a person can fill now: nobody fills a role seat of what they
// are an author of, and only the person an author acts for fills a confirm seat.
func asVoter(d *Dossier, id string, p Person) voter {
	v := voter{id: id}
	if p.Same != "" {
		v.id = p.Same
	}
	if !p.Human {
		return v
	}
	if p.MayApprove && !isAuthor(d, id) && !p.Behind {
		v.roles = p.Roles
	}
	v.confirm = p.MayConfirm && d.Proposal.Author.For == id && id != d.Proposal.Author.Principal
	return v
}

// approved tells whether the decisions on the current revision satisfy the
// view's requirement with what the deciders may do now.
func approved(d *Dossier, v View) bool {
	rev := d.Current()
	if rev == nil {
		return false
	}
	var voters []voter
	for _, dec := range latest(d, rev.Number) {
		if dec.ContentHash != rev.ContentHash {
			continue
		}
		p := v.Persons[dec.Person]
		switch dec.Kind {
		case DecideApprove:
			if v.AutoApprove != "" && dec.Person == policyPerson(v.AutoApprove, dec.PolicyVersion) {
				return true
			}
			if dec.Interactive && dec.ReviewHash == rev.ReviewHash {
				voters = join(voters, asVoter(d, dec.Person, p))
			}
		case DecideBreakGlass:
			if dec.Interactive && p.Human && p.MayBreak && !isAuthor(d, dec.Person) && !p.Behind {
				return true
			}
		}
	}
	return v.Requirement.met(voters)
}

// policyPerson is who decided where a rule did.
func policyPerson(rule, version string) string { return "policy:" + rule + "@" + version }
