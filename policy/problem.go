package policy

import (
	"fmt"
	"sort"

	"github.com/agnivade/levenshtein"
)

// The codes of problems. They are stable: tests, documentation and editors
// refer to them.
const (
	ProblemSyntax        = "syntax"         // a line or document that cannot be read
	ProblemUnknownName   = "unknown_name"   // a name that nothing defines
	ProblemUnknownKey    = "unknown_key"    // a key that the format does not have
	ProblemWrongType     = "wrong_type"     // a value of the wrong kind or range
	ProblemQuoteIt       = "quote_it"       // a GraphQL literal that YAML reads as a map
	ProblemEmptyFilter   = "empty_filter"   // {} as a condition
	ProblemCondition     = "condition"      // a condition that does not parse or type-check
	ProblemMisplaced     = "misplaced"      // an act, field or option that makes no sense where it stands
	ProblemCycle         = "cycle"          // roles or groups that hold each other
	ProblemNotSupported  = "not_supported"  // named in the reference, not built yet
	ProblemNoApprover    = "no_approver"    // a role is asked to decide and no line lets it
	ProblemUnsatisfiable = "unsatisfiable"  // a requirement that nobody could meet
	ProblemNullsSlip     = "nulls_slip"     // an unconditional allow beside a conditional propose
	ProblemOpen          = "open_to_all"    // a line for everybody includes who did not sign in
	ProblemUnavailable   = "unavailable"    // an act that the source itself does not offer
	ProblemUnused        = "unused"         // something defined that nothing uses
	ProblemUnreadable    = "unreadable"     // a reviewer cannot read what the diff shows
	ProblemExpression    = "expression"     // a CEL expression that does not parse or type-check
	ProblemSecret        = "literal_secret" // a secret that stands in a file
	ProblemNoRequirement = "no_requirement" // something is proposed and nothing says who decides
)

// String is the problem as one line for people: file:line:column: message.
func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where += fmt.Sprintf(":%d", p.Line)
		if p.Column > 0 {
			where += fmt.Sprintf(":%d", p.Column)
		}
	}
	kind := ""
	if p.Warning {
		kind = "warning: "
	}
	out := where + ": " + kind + p.Message
	if p.Hint != "" {
		out += ". " + p.Hint
	}
	return out
}

// Errors tells whether any of the problems stops check and serve.
func Errors(problems []Problem) bool {
	for _, p := range problems {
		if !p.Warning {
			return true
		}
	}
	return false
}

// A report gathers problems; loading goes on after each, so that all are
// reported at once.
type report struct{ problems []Problem }

func (r *report) add(p Problem) { r.problems = append(r.problems, p) }

func (r *report) sorted() []Problem {
	sort.SliceStable(r.problems, func(i, j int) bool {
		a, b := r.problems[i], r.problems[j]
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	return r.problems
}

// nearest finds the known name that a mistyped one most probably means; "" if
// none is near.
func nearest(name string, known []string) string {
	best, distance := "", len(name)/3+2
	for _, k := range known {
		// Names whose lengths differ by more than the best distance cannot be nearer.
		if d := len(k) - len(name); d >= distance || -d >= distance {
			continue
		}
		if d := levenshtein.ComputeDistance(name, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// didYouMean is the hint with the nearest name, or "".
func didYouMean(name string, known []string) string {
	if n := nearest(name, known); n != "" {
		return `Did you mean "` + n + `"?`
	}
	return ""
}
