package policy

import (
	"slices"
	"strconv"
	"strings"
)

// A line is a p line, resolved against what is pinned and with its conditions
// bound.
type line struct {
	index   int // position among all p lines
	ref     LineRef
	role    string
	effect  Effect
	acts    actSet
	star    bool // the acts were written as *
	targets []*target
	max     int
	where   bool
	// bound holds the conditions per object; nil for a line without any.
	bound map[int32]*lineBound
}

type lineBound struct {
	where *Bound
	check *Bound // as written; nil: the default holds
	set   *BoundSet
	masks map[int32]Mask // by field; nil: none
}

// everything tells whether the line is about *: what is pinned today may have no
// functions, or nothing but functions, and the line is right nevertheless.
func (l *line) everything() bool {
	return slices.ContainsFunc(l.targets, func(t *target) bool { return t.exactness == exactStar })
}

// rank orders lines by how exact they are: fields, collection, pattern, *; and
// between lines of one kind one with WHERE comes before one without.
func (l *line) rank(t *target) int {
	r := t.exactness * 2
	if l.where {
		r++
	}
	return r
}

// A loader reads the files of one policy.
type loader struct {
	report
	names  *names
	binder Binder
	opts   Options

	rules  []Rule
	lines  []*line
	holds  []holding           // g lines
	groups map[string][]*group // g2 lines by group
	// namedAt tells where conditions.yaml has its names, for problems.
	named     map[string]NamedCondition
	namedAt   map[string]place
	namedUsed map[string]bool
	bounds    map[boundKey]boundResult
	approvals *approvals
}

type holding struct {
	member, role string
	at           place
}

type group struct {
	object  string
	targets []*target // nil: object is a group itself
	at      place
}

type boundKey struct {
	object  string
	subject Subject
	text    string
	set     bool
}

type boundResult struct {
	bound *Bound
	set   *BoundSet
	err   error
}

func (l *loader) csv(file, data string) {
	var policies []row
	for _, row := range readCSV(file, data, &l.report) {
		kind := row.cells[0]
		switch kind.text {
		case "p":
			policies = append(policies, row)
		case "g":
			l.holding(file, row)
		case "g2":
			l.group(file, row)
		default:
			l.add(Problem{File: file, Line: row.line, Column: kind.column, Code: ProblemUnknownName,
				Message: `a line begins with p, g or g2, not "` + kind.text + `"`})
		}
	}
	l.resolveGroups()
	for _, row := range policies {
		l.policy(file, row)
	}
}

func at(file string, c cell) place { return place{file: file, line: c.line, col: c.columnAt} }

// need checks the number of cells and that none that must be there is empty.
func (l *loader) need(file string, row row, least, most int, format string) bool {
	if len(row.cells) < least || len(row.cells) > most {
		hint := "Write: " + format
		if len(row.cells) > most && row.cells[0].text == "p" {
			hint += "; write literals without commas, or quote the cell as CSV does"
		}
		l.add(Problem{File: file, Line: row.line, Column: row.cells[min(len(row.cells)-1, most)].column, Code: ProblemSyntax,
			Message: "the line has " + strconv.Itoa(len(row.cells)) + " cells", Hint: hint})
		return false
	}
	for _, c := range row.cells[:least] {
		if c.text == "" {
			l.add(Problem{File: file, Line: row.line, Column: c.column, Code: ProblemSyntax, Message: "the cell is empty", Hint: "Write: " + format})
			return false
		}
	}
	return true
}

func (l *loader) holding(file string, row row) {
	if !l.need(file, row, 3, 3, "g, MEMBER, ROLE") {
		return
	}
	member, role := row.cells[1], row.cells[2]
	if kind, id, isMember := strings.Cut(member.text, ":"); isMember && (id == "" || kind != "user" && kind != "agent" && kind != "service") {
		l.add(at(file, member).at(0, ProblemSyntax, `a member is a role, user:EMAIL, agent:NAME or service:NAME, not "`+member.text+`"`, ""))
		return
	}
	for i, c := range []cell{member, role} {
		if c.text == "*" || c.text == string(Anonymous) || strings.ContainsAny(c.text, " \t{}|") || i == 1 && strings.Contains(c.text, ":") {
			l.add(at(file, c).at(0, ProblemMisplaced, `"`+c.text+`" cannot be given or hold a role`, "Everybody holds *; who did not sign in holds anonymous"))
			return
		}
	}
	l.holds = append(l.holds, holding{member.text, role.text, at(file, role)})
	l.rules = append(l.rules, Rule{Kind: "g", Cells: []string{member.text, role.text}})
}

func (l *loader) group(file string, row row) {
	if !l.need(file, row, 3, 3, "g2, OBJECT, GROUP") {
		return
	}
	object, name := row.cells[1], row.cells[2]
	if strings.ContainsAny(name.text, ".*{} \t:") {
		l.add(at(file, name).at(0, ProblemSyntax, `"`+name.text+`" is no name for a group: it has no dots, stars, braces or spaces`, ""))
		return
	}
	l.groups[name.text] = append(l.groups[name.text], &group{object: object.text, at: at(file, object)})
	l.rules = append(l.rules, Rule{Kind: "g2", Cells: []string{object.text, name.text}})
}

// resolveGroups resolves the members of groups once all groups are known.
func (l *loader) resolveGroups() {
	for _, name := range sortedKeys(l.groups) {
		for _, g := range l.groups[name] {
			if g.targets != nil || l.groups[g.object] != nil {
				continue
			}
			if t := l.names.object(g.object, g.at, &l.report); t != nil {
				g.targets = []*target{t}
			}
		}
	}
}

// object resolves an object expression or a group.
func (l *loader) object(text string, p place) []*target {
	if l.groups[text] != nil {
		var out []*target
		if !l.members(text, map[string]visit{}, &out) {
			l.add(p.at(0, ProblemCycle, `the group "`+text+`" holds itself`, ""))
			return nil
		}
		return out
	}
	if !strings.ContainsAny(text, ".*{") {
		known := append(sortedKeys(l.groups), l.names.all...)
		l.add(p.at(0, ProblemUnknownName, `"`+text+`" names no object and no g2 group`, didYouMean(text, known)))
		return nil
	}
	if t := l.names.object(text, p, &l.report); t != nil {
		return []*target{t}
	}
	return nil
}

type visit uint8

const (
	unvisited visit = iota
	onPath
	visited
)

// members gathers what a group holds, each group once; false where it holds
// itself.
func (l *loader) members(name string, seen map[string]visit, out *[]*target) bool {
	if seen[name] != unvisited {
		return seen[name] == visited
	}
	seen[name] = onPath
	for _, g := range l.groups[name] {
		if l.groups[g.object] != nil {
			if !l.members(g.object, seen, out) {
				return false
			}
			continue
		}
		*out = append(*out, g.targets...)
	}
	seen[name] = visited
	return true
}

const policyFormat = "p, ROLE, OBJECT, ACTS, EFFECT [, WHERE [, WITH]]"

func (l *loader) policy(file string, row row) {
	if !l.need(file, row, 5, 7, policyFormat) {
		return
	}
	role, object, effect := row.cells[1], row.cells[2], row.cells[4]
	ln := &line{index: len(l.lines), role: role.text,
		ref: LineRef{File: file, Line: row.line, Text: row.text, Role: role.text, Object: object.text}}
	ok := true
	if strings.ContainsAny(role.text, " \t:{}|") || strings.Contains(role.text, "*") && role.text != "*" {
		l.add(at(file, role).at(0, ProblemSyntax, `"`+role.text+`" is no name for a role`, "Give people and agents a role with a g line"))
		ok = false
	}
	switch effect.text {
	case "allow":
		ln.effect = Allow
	case "propose":
		ln.effect = Propose
	case "deny":
		ln.effect = Denied
	default:
		l.add(at(file, effect).at(0, ProblemUnknownName, `an effect is allow, propose or deny, not "`+effect.text+`"`,
			didYouMean(effect.text, []string{"allow", "propose", "deny"})))
		ok = false
	}
	ln.ref.Effect = ln.effect
	var actsOK bool
	ln.acts, ln.star, actsOK = parseActs(row.cells[3].text, at(file, row.cells[3]), &l.report)
	ln.targets = l.object(object.text, at(file, object))
	if !ok || !actsOK || len(ln.targets) == 0 {
		return
	}
	l.sense(file, row, ln)
	l.conditions(file, row, ln)
	l.lines = append(l.lines, ln)
	if ln.effect == Denied && ln.where {
		return // Casbin knows no conditions: it would deny every record
	}
	for _, t := range ln.targets {
		l.rules = append(l.rules, Rule{Kind: "p", Cells: []string{role.text, t.text, ln.acts.String(), effect.text}, Rank: ln.rank(t), Line: ln.index})
	}
}

// sense reports acts and effects that make no sense on what the line covers.
func (l *loader) sense(file string, row row, ln *line) {
	actsAt, effectAt := at(file, row.cells[3]), at(file, row.cells[4])
	if ln.effect == Propose {
		if ln.star {
			ln.acts &^= bitRead
		} else if ln.acts&bitRead != 0 {
			l.add(effectAt.at(0, ProblemMisplaced, "reading cannot be proposed", "Write a line of its own for read, with allow"))
		}
		if ln.acts&bitApprove != 0 {
			l.add(effectAt.at(0, ProblemMisplaced, "approving cannot be proposed", "Write approve with allow or deny"))
		}
	}
	if ln.role == "*" && ln.effect != Denied {
		l.add(Problem{File: file, Line: row.line, Column: row.cells[1].column, Code: ProblemOpen, Warning: true,
			Message: "a line for everybody holds for callers without a credential too"})
	}
	var kinds, offered actSet
	wholeRecord := true
	for _, t := range ln.targets {
		wholeRecord = wholeRecord && t.selection == whole
		t.each(func(o int32) {
			if object := &l.names.objects[o]; object.Function {
				kinds |= bitsFunction
			} else {
				kinds |= bitsRecord
			}
			offered |= l.names.objects[o].offered()
		})
	}
	if !wholeRecord && ln.acts&bitDelete != 0 {
		if ln.star {
			ln.acts &^= bitDelete
		} else {
			l.add(actsAt.at(0, ProblemMisplaced, "a record is deleted whole: delete takes no fields", "Write a line of its own for delete"))
		}
	}
	if ln.star {
		return
	}
	if none := ln.acts &^ kinds; none != 0 && !ln.everything() {
		message, hint := `"`+none.String()+`" is no act of a function`, "A function is always call"
		if kinds&bitCall == 0 {
			message, hint = "a collection cannot be called", "Its acts are read, create, update, delete and approve"
		}
		l.add(actsAt.at(0, ProblemMisplaced, message, hint))
	} else if ln.acts&offered == 0 && ln.effect != Denied && !ln.everything() {
		l.add(Problem{File: file, Line: row.line, Column: row.cells[3].column, Code: ProblemUnavailable, Warning: true,
			Message: "the source does not offer " + ln.acts.String() + " on " + ln.ref.Object + ": the line gives nothing"})
	}
}
