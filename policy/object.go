package policy

import (
	"sort"
	"strings"
)

// names is what policy lines can be about: a trie of sources, objects and
// fields, kept flat. Objects are sorted by name, so that the objects below a
// prefix are one span.
type names struct {
	objects []Object
	all     []string
	byName  map[string]int32
	sources []string
	fields  []map[string]int32 // per object: graph name to index into Object.Fields
}

func newNames(objects []Object) *names {
	n := &names{objects: append([]Object(nil), objects...), byName: make(map[string]int32, len(objects))}
	sort.Slice(n.objects, func(i, j int) bool { return n.objects[i].Name < n.objects[j].Name })
	n.all = make([]string, len(n.objects))
	n.fields = make([]map[string]int32, len(n.objects))
	seen := map[string]bool{}
	for i, o := range n.objects {
		n.all[i] = o.Name
		n.byName[o.Name] = int32(i)
		n.fields[i] = make(map[string]int32, len(o.Fields))
		for f := range o.Fields {
			n.fields[i][o.Fields[f].Graph] = int32(f)
		}
		if !seen[o.Source] {
			seen[o.Source] = true
			n.sources = append(n.sources, o.Source)
		}
	}
	sort.Strings(n.sources)
	return n
}

// below is the span of objects whose names begin with the prefix.
func (n *names) below(prefix string) span {
	lo := sort.SearchStrings(n.all, prefix)
	hi := lo + sort.Search(len(n.all)-lo, func(i int) bool { return !strings.HasPrefix(n.all[lo+i], prefix) })
	return span{int32(lo), int32(hi)}
}

// systemField finds a field by the system's own name.
func (n *names) systemField(object int32, name string) (int32, bool) {
	for i := range n.objects[object].Fields {
		if n.objects[object].Fields[i].System == name {
			return int32(i), true
		}
	}
	return 0, false
}

func (n *names) fieldNames(object int32) []string {
	out := make([]string, 0, len(n.objects[object].Fields))
	for _, f := range n.objects[object].Fields {
		out = append(out, f.Graph)
	}
	return out
}

// A span is a range of objects: lo is in it, hi is not.
type span struct{ lo, hi int32 }

// selection says how a target chooses among the fields of its objects, from the
// widest.
type selection uint8

const (
	whole  selection = iota // the object with all its fields
	allBut                  // {* -x}
	named                   // {x y}
)

// How exact a target is: fields over collection over pattern over *. Naming
// fields counts more than any way of naming the object.
const (
	exactStar    = 1
	exactPattern = 2
	exactObject  = 3
	exactFields  = 4 // added
)

// A target is what one object expression covers, resolved against what is
// pinned.
type target struct {
	text      string
	exactness int
	selection selection
	spans     []span
	// chosen are the indexes of the fields that the braces name, sorted, per
	// object; an object of a pattern without any of them is not in it.
	chosen map[int32][]int32
}

// covers tells whether the target covers a field. What looks like a secret is
// covered by name only; a denial covers it in any case.
func (t *target) covers(object, field int32, secret, denial bool) bool {
	switch t.selection {
	case named:
		return t.names(object, field)
	case allBut:
		return !t.names(object, field) && (denial || !secret)
	}
	return denial || !secret
}

func (t *target) names(object, field int32) bool {
	list := t.chosen[object]
	i := sort.Search(len(list), func(i int) bool { return list[i] >= field })
	return i < len(list) && list[i] == field
}

// has tells whether the target holds any part of the object.
func (t *target) has(object int32) bool {
	if t.selection == named && len(t.chosen[object]) == 0 {
		return false
	}
	for _, s := range t.spans {
		if object >= s.lo && object < s.hi {
			return true
		}
	}
	return false
}

// each calls f for each object of the target.
func (t *target) each(f func(object int32)) {
	for _, s := range t.spans {
		for o := s.lo; o < s.hi; o++ {
			if t.selection == named && len(t.chosen[o]) == 0 {
				continue
			}
			f(o)
		}
	}
}

// A place is where a text stands, for problems.
type place struct {
	file string
	line int
	col  func(offset int) int
}

func (p place) at(offset int, code, message, hint string) Problem {
	return Problem{File: p.file, Line: p.line, Column: p.col(offset), Code: code, Message: message, Hint: hint}
}

// object resolves one expression that is no group: *, source.collection,
// patterns, and any of these with fields in braces. It reports what is wrong
// and returns nil then.
func (n *names) object(text string, p place, r *report) *target {
	name, braces, hasBraces := strings.Cut(text, "{")
	braceAt := len(name) + 1
	name = strings.TrimSpace(name)
	t := &target{text: text}
	if !n.spans(t, name, p, r) {
		return nil
	}
	if !hasBraces {
		return t
	}
	inside, ok := strings.CutSuffix(strings.TrimSpace(braces), "}")
	if !ok {
		r.add(p.at(len(text), ProblemSyntax, `the list of fields has no closing "}"`, ""))
		return nil
	}
	if !n.choose(t, name, inside, braceAt, p, r) {
		return nil
	}
	return t
}

// spans resolves the name without braces.
func (n *names) spans(t *target, name string, p place, r *report) bool {
	if name == "*" || name == "*.*" {
		t.exactness, t.spans = exactStar, []span{{0, int32(len(n.all))}}
		return true
	}
	source, rest, dotted := strings.Cut(name, ".")
	bad := func(part string) bool {
		return strings.ContainsAny(strings.TrimSuffix(part, "*"), "* \t\"'`{}()|&")
	}
	if !dotted || source == "" || rest == "" || bad(source) || bad(rest) {
		hint := `An object is source.collection, source.function, or a pattern with * for a segment or its end`
		if near := nearest(name, n.all); near != "" {
			hint = `Did you mean "` + near + `"?`
		}
		r.add(p.at(0, ProblemUnknownName, `"`+name+`" names no object and no g2 group`, hint))
		return false
	}
	sourcePrefix, sourcePattern := strings.CutSuffix(source, "*")
	restPrefix, restPattern := strings.CutSuffix(rest, "*")
	if !sourcePattern && !restPattern {
		if i, ok := n.byName[name]; ok {
			t.exactness, t.spans = exactObject, []span{{i, i + 1}}
			return true
		}
		return n.unknown(name, source, p, r)
	}
	t.exactness = exactPattern
	for _, s := range n.sources {
		if s != source && !(sourcePattern && strings.HasPrefix(s, sourcePrefix)) {
			continue
		}
		if restPattern {
			if sp := n.below(s + "." + restPrefix); sp.lo < sp.hi {
				t.spans = append(t.spans, sp)
			}
		} else if i, ok := n.byName[s+"."+rest]; ok {
			t.spans = append(t.spans, span{i, i + 1})
		}
	}
	if len(t.spans) == 0 {
		return n.unknown(name, source, p, r)
	}
	return true
}

func (n *names) unknown(name, source string, p place, r *report) bool {
	for _, s := range n.sources {
		if s == source {
			hint := didYouMean(name, n.all)
			r.add(p.at(0, ProblemUnknownName, `"`+name+`" names nothing that is pinned`, hint))
			return false
		}
	}
	hint := didYouMean(name, n.all)
	if near := nearest(source, n.sources); near != "" && hint == "" && !strings.Contains(source, "*") {
		hint = `Did you mean the source "` + near + `"?`
	}
	r.add(p.at(0, ProblemUnknownName, `"`+name+`" names nothing that is pinned: there is no source "`+source+`"`, hint))
	return false
}

// choose resolves the fields in braces.
func (n *names) choose(t *target, name, inside string, at int, p place, r *report) bool {
	words := wordsOf(inside)
	if len(words) == 0 {
		r.add(p.at(at, ProblemSyntax, "the braces name no field", `Leave the braces away to mean all fields`))
		return false
	}
	t.selection, t.chosen = named, map[int32][]int32{}
	if words[0].text == "*" {
		t.selection = allBut
		words = words[1:]
	} else {
		t.exactness += exactFields
	}
	ok := true
	for _, w := range words {
		field, minus := strings.CutPrefix(w.text, "-")
		if minus != (t.selection == allBut) || field == "" || field == "*" {
			r.add(p.at(at+w.at, ProblemSyntax, `in braces stand either field names, or * and then -name for each field left out`, ""))
			ok = false
			continue
		}
		ok = n.chooseOne(t, name, field, p, at+w.at, r) && ok
	}
	for o := range t.chosen {
		list := t.chosen[o]
		sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	}
	return ok
}

func (n *names) chooseOne(t *target, name, field string, p place, at int, r *report) bool {
	found := false
	var known []string
	for _, s := range t.spans {
		for o := s.lo; o < s.hi; o++ {
			if f, ok := n.fields[o][field]; ok {
				t.chosen[o] = append(t.chosen[o], f)
				found = true
			} else if s.hi-s.lo == 1 {
				known = append(known, n.fieldNames(o)...)
			}
		}
	}
	if !found {
		r.add(p.at(at, ProblemUnknownName, `"`+name+`" has no field "`+field+`"`, didYouMean(field, known)))
	}
	return found
}

type word struct {
	text string
	at   int
}

// wordsOf splits at spaces and commas and keeps where each word stands.
func wordsOf(text string) []word {
	var out []word
	start := -1
	for i := 0; i <= len(text); i++ {
		if i == len(text) || strings.IndexByte(" \t,", text[i]) >= 0 {
			if start >= 0 {
				out = append(out, word{text[start:i], start})
			}
			start = -1
		} else if start < 0 {
			start = i
		}
	}
	return out
}
