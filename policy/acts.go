package policy

import (
	"math/bits"
	"strings"
)

// An actSet is a set of acts, one bit each in the order of acts.
type actSet uint8

// acts lists the acts in the order of their bits.
func acts() []Act { return []Act{Read, Create, Update, Delete, Call, Approve, BreakGlass} }

func bitOf(a Act) actSet {
	for i, b := range acts() {
		if a == b {
			return 1 << i
		}
	}
	return 0
}

const (
	bitRead       actSet = 1 << 0
	bitCreate     actSet = 1 << 1
	bitUpdate     actSet = 1 << 2
	bitDelete     actSet = 1 << 3
	bitCall       actSet = 1 << 4
	bitApprove    actSet = 1 << 5
	bitBreakGlass actSet = 1 << 6

	// bitsStar are the acts of "*": it never includes those that decide.
	bitsStar = bitRead | bitCreate | bitUpdate | bitDelete | bitCall
	// bitsWrite are the acts that change something.
	bitsWrite = bitCreate | bitUpdate | bitDelete | bitCall
	// bitsRecord are the acts on collections, bitsFunction those on functions.
	bitsRecord   = bitRead | bitCreate | bitUpdate | bitDelete | bitApprove
	bitsFunction = bitCall | bitApprove
)

// list is the set in words.
func (s actSet) list() []Act {
	var out []Act
	for ; s != 0; s &= s - 1 {
		out = append(out, acts()[bits.TrailingZeros8(uint8(s))])
	}
	return out
}

// String joins the acts as policy.csv does.
func (s actSet) String() string {
	var words []string
	for _, a := range s.list() {
		words = append(words, string(a))
	}
	return strings.Join(words, "|")
}

// parseActs reads acts joined by "|"; star tells that "*" was among them.
func parseActs(text string, p place, r *report) (set actSet, star, ok bool) {
	ok = true
	offset := 0
	for _, part := range strings.Split(text, "|") {
		name := strings.TrimSpace(part)
		at := offset + strings.Index(part, name)
		offset += len(part) + 1
		switch b := bitOf(Act(name)); {
		case name == "*":
			set |= bitsStar
			star = true
		case b == bitBreakGlass:
			r.add(p.at(at, ProblemNotSupported, "the act breakGlass is not supported yet", ""))
			ok = false
		case b == 0:
			var known []string
			for _, a := range acts() {
				known = append(known, string(a))
			}
			hint := didYouMean(name, known)
			if hint == "" {
				hint = "The acts are read, create, update, delete, call, approve, joined by |, or *"
			}
			r.add(p.at(at, ProblemUnknownName, `there is no act "`+name+`"`, hint))
			ok = false
		default:
			set |= b
		}
	}
	return set, star, ok
}

// offered are the acts that make sense on an object: what its source offers,
// and approve where something can be written.
func (o *Object) offered() actSet {
	var set actSet
	for _, a := range o.Acts {
		set |= bitOf(a)
	}
	if o.Function {
		set &= bitsFunction
	} else {
		set &= bitsRecord
	}
	set &^= bitApprove | bitBreakGlass
	if set&bitsWrite != 0 && !(o.Function && o.Reads) {
		set |= bitApprove
	}
	return set
}
