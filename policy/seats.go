package policy

import (
	"slices"
	"sort"
)

// A Seat is a place in a requirement, for Count distinct persons.
type Seat struct {
	// Role that who sits there must hold; "" in a confirm seat.
	Role  string
	Count int
	// Confirm: only the person that the agent acts for sits here, and only while
	// their own policy allows every change at once. Count is 1.
	Confirm bool
	// Else are the seats in place of a confirm seat that nobody may fill.
	Else []Seat
}

// An Approver is a person who approves, or might.
type Approver struct {
	ID string
	// Roles are expanded, as Engine.Expand lists them.
	Roles []string
	// Requester: the person that the agent acts for, who may confirm. Being an
	// author, they sit in no other seat. No other author may be an Approver.
	Requester bool
}

// May tells whether the person could sit in one of the seats.
func (a Approver) May(seats []Seat) bool {
	return slices.ContainsFunc(seats, func(s Seat) bool { return a.fits(s) })
}

func (a Approver) fits(s Seat) bool {
	if s.Confirm || a.Requester {
		return s.Confirm && a.Requester
	}
	return s.Role != "" && slices.Contains(a.Roles, s.Role)
}

// Resolve puts the seats in place that hold: a confirm seat stays where somebody
// may confirm, and gives way to its Else where nobody may. One without Else
// stays, and nobody can fill it then.
func Resolve(seats []Seat, mayConfirm bool) []Seat {
	var out []Seat
	for _, s := range seats {
		if s.Confirm && !mayConfirm && len(s.Else) > 0 {
			out = append(out, s.Else...)
		} else {
			out = append(out, s)
		}
	}
	return mergeSeats(out)
}

// mergeSeats joins seats of one role to the largest count, and confirm seats to
// one: a single person fills it. Their Else are joined the same way; if one of
// them has none, none is left. Roles are sorted; the confirm seat comes first.
func mergeSeats(seats []Seat) []Seat {
	counts := map[string]int{}
	var confirm *Seat
	noElse := false
	for _, s := range seats {
		if !s.Confirm {
			counts[s.Role] = max(counts[s.Role], s.Count, 1)
			continue
		}
		if confirm == nil {
			confirm = &Seat{Confirm: true, Count: 1}
		}
		noElse = noElse || len(s.Else) == 0
		confirm.Else = mergeSeats(append(confirm.Else, s.Else...))
	}
	var out []Seat
	if confirm != nil {
		if noElse {
			confirm.Else = nil
		}
		out = append(out, *confirm)
	}
	for _, role := range sortedKeys(counts) {
		out = append(out, Seat{Role: role, Count: counts[role]})
	}
	return out
}

// Satisfied tells whether distinct persons among those who approved fill every
// seat, and which seats are left where not. No seats are never satisfied. Which
// seat a person takes is chosen so that as many as possible are filled (a maximum
// matching), so nobody is counted twice and nobody's order matters.
func Satisfied(seats []Seat, approvers []Approver) (ok bool, missing []Seat) {
	persons := distinctPersons(approvers)
	var places []int // index of the seat, once for each person it takes
	for i, s := range seats {
		for range min(max(s.Count, 1), len(persons)+1) {
			places = append(places, i)
		}
	}
	taken := make([]int, len(persons)) // 1 + the place each person sits in
	filled := make([]int, len(seats))
	for place := range places {
		if seat(place, places, seats, persons, taken, make([]bool, len(persons))) {
			filled[places[place]]++
		}
	}
	for i, s := range seats {
		if left := max(s.Count, 1) - filled[i]; left > 0 {
			s.Count = left
			missing = append(missing, s)
		}
	}
	return len(seats) > 0 && len(missing) == 0, missing
}

// seat finds somebody for a place, moving others to other places where needed.
func seat(place int, places []int, seats []Seat, persons []Approver, taken []int, tried []bool) bool {
	for i, p := range persons {
		if tried[i] || !p.fits(seats[places[place]]) {
			continue
		}
		tried[i] = true
		if taken[i] == 0 || seat(taken[i]-1, places, seats, persons, taken, tried) {
			taken[i] = place + 1
			return true
		}
	}
	return false
}

// distinctPersons joins entries of one person. Who is the requester in one of
// them is so in all.
func distinctPersons(approvers []Approver) []Approver {
	byID := map[string]Approver{}
	for _, a := range approvers {
		b := byID[a.ID]
		byID[a.ID] = Approver{ID: a.ID, Roles: append(slices.Clone(b.Roles), a.Roles...), Requester: a.Requester || b.Requester}
	}
	out := make([]Approver, 0, len(byID))
	for _, a := range byID {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}
