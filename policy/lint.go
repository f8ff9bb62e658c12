package policy

import (
	"slices"
	"strings"
)

// lint looks at the policy as a whole: names that nothing defines, rules that
// nobody could decide by, and lines that say other than they seem to.
func (l *loader) lint(e *Engine) {
	l.lintRoles(e)
	l.lintNulls()
	if l.approvals == nil {
		l.lintNoApprovals()
		return
	}
	l.lintValidators()
	for _, r := range l.approvals.rules {
		requires := r.requires
		if r.then != ThenReview {
			continue
		}
		if len(requires) == 0 {
			requires = l.approvals.requires
		}
		l.lintConfirm(r)
		for _, q := range requires {
			for _, role := range seatRoles(q) {
				l.lintApprover(e, role, q.at, l.ruleObjects(r))
			}
		}
	}
	for _, q := range l.approvals.requires {
		for _, role := range seatRoles(q) {
			l.lintApprover(e, role, q.at, l.unruled())
		}
	}
}

// lintRoles reports roles of g and p lines that nothing defines, and members
// that are no agents.
func (l *loader) lintRoles(e *Engine) {
	defined := map[string]bool{}
	for _, ln := range l.lines {
		defined[ln.role] = true
	}
	for _, h := range l.holds {
		defined[h.member] = true
	}
	for _, r := range l.opts.Roles {
		defined[r] = true
	}
	known := sortedKeys(defined)
	for _, h := range l.holds {
		if !defined[h.role] && !l.seatNames(h.role) {
			l.add(h.at.at(0, ProblemUnknownName, `no line gives the role "`+h.role+`" anything`, didYouMean(h.role, known)))
		}
		if name, isAgent := strings.CutPrefix(h.member, "agent:"); isAgent && l.opts.Agents != nil && !slices.Contains(l.opts.Agents, name) {
			l.add(h.at.at(0, ProblemUnknownName, `there is no agent "`+name+`"`, didYouMean(name, l.opts.Agents)))
		}
	}
	if l.opts.Roles == nil {
		return
	}
	granted := map[string]bool{"*": true, string(Anonymous): true}
	grant := func(name string) {
		granted[name] = true
		for _, r := range e.holds[name] {
			granted[r] = true
		}
	}
	for _, r := range l.opts.Roles {
		grant(r)
	}
	for _, h := range l.holds {
		if strings.Contains(h.member, ":") {
			grant(h.member)
		}
	}
	said := map[string]bool{}
	for _, ln := range l.lines {
		if granted[ln.role] || said[ln.role] {
			continue
		}
		said[ln.role] = true
		l.add(Problem{File: ln.ref.File, Line: ln.ref.Line, Column: 4, Code: ProblemUnknownName,
			Message: `nobody can hold the role "` + ln.role + `"`, Hint: didYouMean(ln.role, append(slices.Clone(l.opts.Roles), "*", string(Anonymous)))})
	}
}

// seatNames tells whether approvals.yaml asks for the role.
func (l *loader) seatNames(role string) bool {
	if l.approvals == nil {
		return false
	}
	all := slices.Clone(l.approvals.requires)
	for _, r := range l.approvals.rules {
		all = append(all, r.requires...)
	}
	return slices.ContainsFunc(all, func(q requirement) bool { return slices.Contains(seatRoles(q), role) })
}

func seatRoles(q requirement) []string {
	var out []string
	if q.role != "" {
		out = append(out, q.role)
	}
	for _, s := range q.els {
		out = append(out, s.Role)
	}
	return out
}

// lintNulls warns of an unconditional allow beside a conditional propose of the
// same role, object and act.
func (l *loader) lintNulls() {
	byRole := map[string][]*line{}
	for _, ln := range l.lines {
		if ln.effect == Allow && !ln.where && ln.acts&bitsWrite != 0 {
			byRole[ln.role] = append(byRole[ln.role], ln)
		}
	}
	for _, p := range l.lines {
		if p.effect != Propose || !p.where {
			continue
		}
		for _, a := range byRole[p.role] {
			if a.acts&p.acts&bitsWrite != 0 && overlap(a, p) {
				l.add(Problem{File: p.ref.File, Line: p.ref.Line, Column: 1, Code: ProblemNullsSlip, Warning: true,
					Message: "another line allows without a condition what this proposes under one: where the condition meets a null, that is proposed too",
					Hint:    "Propose without a condition, and allow the harmless case with one"})
				break
			}
		}
	}
}

func overlap(a, b *line) bool {
	for _, t := range a.targets {
		for _, u := range b.targets {
			for _, s := range t.spans {
				for _, x := range u.spans {
					if s.lo < x.hi && x.lo < s.hi {
						return true
					}
				}
			}
		}
	}
	return false
}

func (l *loader) lintNoApprovals() {
	for _, ln := range l.lines {
		if ln.effect == Propose {
			l.add(Problem{File: ln.ref.File, Line: ln.ref.Line, Column: 1, Code: ProblemNoRequirement, Warning: true,
				Message: "what this line proposes nobody can decide: there is no approvals.yaml",
				Hint:    "Write approvals.yaml with version: 1 and defaults: { require: [{ role: ... }] }"})
			return
		}
	}
}

// lintConfirm reports a rule that only the person behind an agent can meet, for
// changes that no agent makes.
func (l *loader) lintConfirm(r *rule) {
	if r.by != string(Human) && r.by != string(Service) {
		return
	}
	for _, q := range r.requires {
		if q.confirm && len(q.els) == 0 {
			q.at.problem(ProblemUnsatisfiable, "the rule is by "+r.by+": there is no person behind who could confirm", "Write else: { role: ... }")
		}
	}
}

// ruleObjects are the objects a rule is on that somebody may have to propose
// something about.
func (l *loader) ruleObjects(r *rule) []int32 {
	seen := map[int32]bool{}
	for _, t := range r.targets {
		exact := t.exactness%exactFields == exactObject
		t.each(func(o int32) {
			if l.names.objects[o].offered()&r.acts != 0 && (exact || l.proposed(o, r.acts)) {
				seen[o] = true
			}
		})
	}
	return sortedObjects(seen)
}

// unruled are the objects with proposals that no rule catches for certain.
func (l *loader) unruled() []int32 {
	seen := map[int32]bool{}
	for o := range l.names.objects {
		caught := slices.ContainsFunc(l.approvals.rules, func(r *rule) bool {
			return r.when == nil && r.by == "" && r.acts == bitsWrite && len(r.requires) > 0 &&
				slices.ContainsFunc(r.targets, func(t *target) bool { return t.selection == whole && t.has(int32(o)) })
		})
		if !caught && l.proposed(int32(o), bitsWrite) {
			seen[int32(o)] = true
		}
	}
	return sortedObjects(seen)
}

func (l *loader) proposed(o int32, acts actSet) bool {
	object := &l.names.objects[o]
	if object.Function && object.Reads {
		return false
	}
	return slices.ContainsFunc(l.lines, func(ln *line) bool {
		return ln.effect == Propose && ln.acts&acts&object.offered() != 0 &&
			slices.ContainsFunc(ln.targets, func(t *target) bool { return t.has(o) })
	})
}

func sortedObjects(set map[int32]bool) []int32 {
	var out []int32
	for o := range set {
		out = append(out, o)
	}
	slices.Sort(out)
	return out
}

// lintApprover reports a role that is asked to decide about objects that no
// approve line of it, or of what it holds, covers, or that it cannot read.
func (l *loader) lintApprover(e *Engine, role string, at yamlNode, objects []int32) {
	if role == "*" || role == string(Anonymous) {
		return // reported where it stands
	}
	held := append([]string{role, "*"}, e.holds[role]...)
	var noApprove, denied, noRead []string
	for _, o := range objects {
		name := l.names.objects[o].Name
		switch lets, denies := e.may(held, o, bitApprove); {
		case denies:
			denied = append(denied, name)
		case !lets:
			noApprove = append(noApprove, name)
		}
		if lets, denies := e.may(held, o, bitRead); !l.names.objects[o].Function && (!lets || denies) {
			noRead = append(noRead, name)
		}
	}
	l.lintList(at, ProblemNoApprover, noApprove, `the role "`+role+`" is asked to decide about %s and no line lets it`, "p, "+role+", %s, approve, allow")
	l.lintList(at, ProblemUnsatisfiable, denied, `the role "`+role+`" is asked to decide about %s, and a deny line keeps it from that`, "")
	l.lintList(at, ProblemUnreadable, noRead, `the role "`+role+`" is asked to decide about %s and cannot read it`, "p, "+role+", %s, read, allow")
}

func (l *loader) lintList(at yamlNode, code string, objects []string, message, lineToAdd string) {
	if len(objects) == 0 {
		return
	}
	shown := objects[0]
	if len(objects) > 1 {
		shown = strings.Join(objects[:min(3, len(objects))], ", ")
	}
	hint := ""
	if lineToAdd != "" {
		hint = "Add: " + strings.Replace(lineToAdd, "%s", objects[0], 1)
	}
	at.problem(code, strings.Replace(message, "%s", shown, 1), hint)
}

// may tells whether a line of the roles lets an act be done to any part of the
// object, and whether one denies it for all of it.
func (e *Engine) may(roles []string, o int32, act actSet) (lets, denies bool) {
	for _, role := range roles {
		for _, ln := range e.byRole[role] {
			if ln.acts&act == 0 {
				continue
			}
			for _, t := range ln.targets {
				switch {
				case !t.has(o):
				case ln.effect == Denied:
					denies = denies || t.selection == whole && !ln.where
				default:
					lets = true
				}
			}
		}
	}
	return lets, denies
}
