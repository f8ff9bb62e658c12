package policy

import (
	"errors"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// conditions binds WHERE and WITH of a line for each object it covers.
func (l *loader) conditions(file string, row row, ln *line) {
	var where cell
	if len(row.cells) > 5 {
		where = row.cells[5]
	}
	ln.where = where.text != ""
	var with []entry
	var withAt place
	if len(row.cells) > 6 && row.cells[6].text != "" {
		withAt = at(file, row.cells[6])
		with = l.with(row.cells[6].text, withAt, ln)
	}
	if !ln.where && len(with) == 0 {
		return
	}
	ln.bound = map[int32]*lineBound{}
	var masked []maskEntry
	for _, e := range with {
		if e.key == "mask" {
			masked = l.maskEntries(e, withAt)
		}
	}
	for _, t := range ln.targets {
		t.each(func(o int32) {
			object := &l.names.objects[o]
			if ln.bound[o] != nil || ln.acts&object.offered() == 0 && len(with) > 0 && !ln.where {
				return
			}
			b := &lineBound{masks: l.maskFields(ln, o, masked, withAt)}
			ln.bound[o] = b
			subject := SubjectRecord
			if object.Function {
				subject = SubjectArguments
			}
			if ln.where {
				b.where = l.condition(object.Name, subject, where.text, at(file, where), 0)
			}
			for _, e := range with {
				switch e.key {
				case "check":
					if !object.Function {
						b.check = l.condition(object.Name, SubjectRecord, e.value, withAt, e.valueAt)
					}
				case "set":
					b.set = l.set(object.Name, e.value, withAt, e.valueAt)
				}
			}
		})
	}
	l.maskNames(ln, masked, withAt)
}

// with reads the WITH cell and reports what does not belong there; check, set
// and mask are left for binding, max is read.
func (l *loader) with(text string, p place, ln *line) []entry {
	entries, off, problem := scanObject(text)
	if problem != "" {
		l.add(p.at(off, ProblemSyntax, "WITH: "+problem, "Write: {check: {...} set: {...} max: 5}"))
		return nil
	}
	if len(entries) == 0 {
		l.add(p.at(0, ProblemSyntax, "WITH is empty", "Leave the cell away"))
	}
	seen := map[string]bool{}
	var out []entry
	for _, e := range entries {
		if seen[e.key] {
			l.add(p.at(e.keyAt, ProblemSyntax, `"`+e.key+`" stands twice`, ""))
			continue
		}
		seen[e.key] = true
		if ln.effect == Denied {
			l.add(p.at(e.keyAt, ProblemMisplaced, "a deny line takes no WITH", "Say with WHERE what is denied"))
			continue
		}
		switch e.key {
		case "mask":
			if l.misplaced(ln, bitRead, e, p); ln.acts&bitRead != 0 {
				out = append(out, e)
			}
		case "check":
			l.misplaced(ln, bitCreate|bitUpdate, e, p)
			out = append(out, e)
		case "set":
			l.misplaced(ln, bitCreate|bitUpdate|bitCall, e, p)
			out = append(out, e)
		case "max":
			l.misplaced(ln, bitCreate|bitUpdate|bitDelete, e, p)
			n, err := strconv.Atoi(e.value)
			if err != nil || n < 1 || n > 1_000_000 {
				l.add(p.at(e.valueAt, ProblemWrongType, "max is a number of records, 1 or more", ""))
			}
			ln.max = n
		default:
			l.add(p.at(e.keyAt, ProblemUnknownKey, `WITH has no "`+e.key+`"`, didYouMean(e.key, []string{"check", "set", "mask", "max"})))
		}
	}
	return out
}

func (l *loader) misplaced(ln *line, takes actSet, e entry, p place) {
	if ln.acts&takes == 0 {
		l.add(p.at(e.keyAt, ProblemMisplaced, `"`+e.key+`" means nothing for `+ln.acts.String(), "It belongs to "+takes.String()))
	}
}

// condition binds the text of a condition; @name alone is replaced by what
// conditions.yaml says, and the binder replaces it inside.
func (l *loader) condition(object string, subject Subject, text string, p place, offset int) *Bound {
	if isEmptyObject(text) {
		l.add(p.at(offset, ProblemEmptyFilter, "the condition is empty", "Leave the cell empty to mean every record"))
		return nil
	}
	for _, name := range mentions(text) {
		l.namedUsed[name] = true
	}
	if name, ok := strings.CutPrefix(text, "@"); ok {
		nc, known := l.named[name]
		if !known {
			l.add(p.at(offset, ProblemUnknownName, `conditions.yaml has no "`+name+`"`, didYouMean(name, sortedKeys(l.named))))
			return nil
		}
		if nc.On != object {
			l.add(p.at(offset, ProblemMisplaced, `"@`+name+`" is about `+nc.On+`, not about `+object, ""))
			return nil
		}
		text, p, offset = nc.Where, l.namedAt[name], 0
	} else if !strings.HasPrefix(text, "{") {
		l.add(p.at(offset, ProblemSyntax, "a condition is a filter in braces or @name", ""))
		return nil
	}
	b, err := l.bind(object, subject, text)
	if err != nil {
		l.bindProblem(err, p, offset)
		return nil
	}
	return b
}

func (l *loader) bind(object string, subject Subject, text string) (*Bound, error) {
	key := boundKey{object, subject, text, false}
	res, done := l.bounds[key]
	if !done {
		res.bound, res.err = l.binder.Condition(object, subject, text, l.named)
		if res.err == nil && (res.bound == nil || res.bound.Condition == nil || res.bound.Condition.Op == connectors.OpTrue) {
			res.err = &BindError{Message: "the condition is empty: it matches every record"}
		}
		l.bounds[key] = res
	}
	return res.bound, res.err
}

func (l *loader) set(object, text string, p place, offset int) *BoundSet {
	key := boundKey{object: object, text: text, set: true}
	res, done := l.bounds[key]
	if !done {
		res.set, res.err = l.binder.Set(object, text)
		l.bounds[key] = res
	}
	if res.err != nil {
		l.bindProblem(res.err, p, offset)
		return nil
	}
	return res.set
}

func (l *loader) bindProblem(err error, p place, offset int) {
	problem := Problem{File: p.file, Line: p.line, Column: p.col(offset), Code: ProblemCondition, Message: err.Error()}
	var be *BindError
	if errors.As(err, &be) {
		problem.Column = p.col(offset + be.Offset)
		problem.Message = be.Message
		if be.Nearest != "" {
			problem.Hint = `Did you mean "` + be.Nearest + `"?`
		}
	}
	for _, old := range l.problems {
		// One text is bound for several objects; what is wrong with it is said once.
		if old == problem {
			return
		}
	}
	l.add(problem)
}

// mentions lists the @names in a literal, outside of its strings.
func mentions(text string) []string {
	var out []string
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			end := stringEnd(text, i)
			if end < 0 {
				return out
			}
			i = end - 1
		case '@':
			j := i + 1
			for j < len(text) && isNameByte(text[j]) {
				j++
			}
			out = append(out, text[i+1:j])
			i = j - 1
		}
	}
	return out
}
