package policy

import "slices"

// mostSeats bounds count: a requirement of more people than that is a mistake.
const mostSeats = 100

// requirements reads require: a list of {role, count, when} or {confirm, else}.
func (l *loader) requirements(n yamlNode) []requirement {
	var out []requirement
	for _, item := range n.items() {
		entries, ok := item.entries("an entry of require")
		if !ok {
			continue
		}
		r := requirement{at: item, count: 1}
		hasCount := false
		for _, e := range entries {
			switch e.key {
			case "role":
				if r.role, _ = e.value.text("role"); r.role != "" {
					l.seatRole(r.role, e.value)
				}
			case "count":
				hasCount = true
				r.count = seatCount(e.value)
			case "when":
				r.whenRaw = e.value
			case "confirm":
				r.confirm = true
				if who, ok := e.value.text("confirm"); ok && who != "requester" {
					e.value.problem(ProblemUnknownName, `only the requester confirms, not "`+who+`"`, "Write confirm: requester")
				}
			case "else":
				r.els = l.elseSeats(e.value)
			default:
				unknownKey(e, "an entry of require", "role", "count", "when", "confirm", "else")
			}
		}
		switch {
		case r.confirm && (r.role != "" || hasCount):
			item.problem(ProblemMisplaced, "a confirm entry has no role and no count of its own", "Write { confirm: requester, else: { role: ... } }")
		case !r.confirm && r.els != nil:
			item.problem(ProblemMisplaced, "else belongs to confirm", "")
		case !r.confirm && r.role == "":
			item.problem(ProblemSyntax, "an entry of require names a role, or confirm: requester", "")
		}
		if r.confirm && slices.ContainsFunc(out, func(o requirement) bool { return o.confirm }) {
			item.problem(ProblemMisplaced, "there is one requester, and so one confirm entry", "")
		}
		out = append(out, r)
	}
	return out
}

func (l *loader) elseSeats(n yamlNode) []Seat {
	entries, ok := n.entries("else")
	if !ok {
		return nil
	}
	s := Seat{Count: 1}
	for _, e := range entries {
		switch e.key {
		case "role":
			if s.Role, _ = e.value.text("role"); s.Role != "" {
				l.seatRole(s.Role, e.value)
			}
		case "count":
			if s.Count = seatCount(e.value); s.Count > 1 {
				e.value.problem(ProblemNotSupported, "more than one person in place of the requester is not supported yet", "")
			}
		default:
			unknownKey(e, "else", "role", "count")
		}
	}
	if s.Role == "" {
		n.problem(ProblemSyntax, "else names a role", "Write else: { role: ... }")
	}
	return []Seat{s}
}

func seatCount(n yamlNode) int {
	count, ok := n.number("count")
	if ok && count > mostSeats {
		n.problem(ProblemUnsatisfiable, "nobody will ever gather that many people", "")
		return mostSeats
	}
	return count
}

// seatRole reports roles that nobody who decides can hold.
func (l *loader) seatRole(role string, n yamlNode) {
	if role == "*" || role == string(Anonymous) {
		n.problem(ProblemUnsatisfiable, `nobody decides as "`+role+`"`, "Name a role that people are given")
		return
	}
	l.knownRole(role, n)
}

// knownRole reports a role that neither lines nor the configuration define.
func (l *loader) knownRole(role string, n yamlNode) {
	known := map[string]bool{}
	for _, ln := range l.lines {
		known[ln.role] = true
	}
	for _, h := range l.holds {
		known[h.role], known[h.member] = true, true
	}
	for _, r := range l.opts.Roles {
		known[r] = true
	}
	if !known[role] {
		n.problem(ProblemUnknownName, `there is no role "`+role+`"`, didYouMean(role, sortedKeys(known)))
	}
}
