package policy

import (
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A maskEntry is one field of a mask as written.
type maskEntry struct {
	entry
	mask Mask
	// known: an object of the line has the field; covered: and the line covers it.
	known, covered bool
	// secret: what has it covers it by its name only.
	secret bool
}

// maskEntries reads {field: MASK ...}.
func (l *loader) maskEntries(e entry, p place) []maskEntry {
	const format = "Write: {mask: {taxId: LAST4 email: REDACT}}"
	entries, off, problem := scanObject(e.value)
	if problem == "" && len(entries) == 0 {
		problem = "nothing is masked"
	}
	if problem != "" {
		l.add(p.at(e.valueAt+off, ProblemSyntax, "mask: "+problem, format))
		return nil
	}
	var words []string
	for _, m := range masks()[1:] {
		words = append(words, string(m))
	}
	seen := map[string]bool{}
	var out []maskEntry
	for _, f := range entries {
		f.keyAt, f.valueAt = f.keyAt+e.valueAt, f.valueAt+e.valueAt
		switch {
		case seen[f.key]:
			l.add(p.at(f.keyAt, ProblemSyntax, `"`+f.key+`" stands twice`, ""))
		case strings.HasPrefix(f.value, "plugin:"):
			l.add(p.at(f.valueAt, ProblemNotSupported, "masks of plugins are not supported yet", "The masks are "+strings.Join(words, " ")))
		case !slices.Contains(words, f.value):
			hint := didYouMean(f.value, words)
			if hint == "" {
				hint = "The masks are " + strings.Join(words, " ")
			}
			l.add(p.at(f.valueAt, ProblemUnknownName, `there is no mask "`+f.value+`"`, hint))
		default:
			out = append(out, maskEntry{entry: f, mask: Mask(f.value)})
		}
		seen[f.key] = true
	}
	return out
}

// maskFields resolves the masks of a line for one of its objects, and reports
// fields that cannot be shown so.
func (l *loader) maskFields(ln *line, o int32, entries []maskEntry, p place) map[int32]Mask {
	object := &l.names.objects[o]
	if object.Function || ln.acts&bitRead&object.offered() == 0 {
		return nil
	}
	var out map[int32]Mask
	for i := range entries {
		e := &entries[i]
		f, ok := l.names.fields[o][e.key]
		if !ok {
			continue
		}
		e.known, e.secret = true, object.Fields[f].Secret
		covered := slices.ContainsFunc(ln.targets, func(t *target) bool {
			return t.has(o) && t.covers(o, f, object.Fields[f].Secret, false)
		})
		if !covered {
			continue
		}
		e.covered = true
		if t := object.Fields[f].Type; !carries(t, e.mask) {
			l.add(p.at(e.valueAt, ProblemWrongType, string(e.mask)+" masks no "+typeWord(t)+": "+object.Name+"{"+e.key+"} is one", maskHint(t)))
			continue
		}
		if out == nil {
			out = map[int32]Mask{}
		}
		out[f] = e.mask
	}
	return out
}

// maskNames reports fields that no object of the line has, or that the line does
// not cover: their masks would hide nothing.
func (l *loader) maskNames(ln *line, entries []maskEntry, p place) {
	for _, e := range entries {
		switch {
		case !e.known:
			var known []string
			for _, t := range ln.targets {
				t.each(func(o int32) { known = append(known, l.names.fieldNames(o)...) })
			}
			l.add(p.at(e.keyAt, ProblemUnknownName, ln.ref.Object+` has no field "`+e.key+`"`, didYouMean(e.key, known)))
		case !e.covered:
			hint := ""
			if e.secret {
				hint = "What looks like a secret is covered by its name only: {" + e.key + " ...}"
			}
			l.add(p.at(e.keyAt, ProblemMisplaced, `the line does not cover "`+e.key+`": there is nothing to mask`, hint))
		}
	}
}

func typeWord(t connectors.TypeRef) string {
	switch {
	case t.List:
		return "list"
	case t.Enum != "":
		return "enum"
	case t.Object != "":
		return "object"
	}
	return string(t.Scalar)
}

func maskHint(t connectors.TypeRef) string {
	var fit []string
	for _, m := range masks()[1:] {
		if carries(t, m) {
			fit = append(fit, string(m))
		}
	}
	return "Write: " + strings.Join(fit, " or ")
}
