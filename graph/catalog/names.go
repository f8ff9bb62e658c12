package catalog

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jinzhu/inflection"
)

// Names depend on nothing but the thing itself. Everything here is a pure
// function of a name as the system has it.

// latin writes Latin letters beyond ASCII in ASCII. All other letters and
// digits become u and their code point.
var latin = map[rune]string{
	'ä': "ae", 'ö': "oe", 'ü': "ue", 'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'å': "a", 'ð': "d", 'þ': "th", 'ł': "l", 'đ': "d", 'ı': "i",
	'à': "a", 'á': "a", 'â': "a", 'ã': "a", 'ą': "a", 'ă': "a", 'ā': "a", 'ç': "c", 'ć': "c", 'č': "c", 'ď': "d",
	'è': "e", 'é': "e", 'ê': "e", 'ë': "e", 'ę': "e", 'ě': "e", 'ē': "e", 'ğ': "g", 'ì': "i", 'í': "i", 'î': "i", 'ï': "i", 'ī': "i",
	'ñ': "n", 'ń': "n", 'ň': "n", 'ò': "o", 'ó': "o", 'ô': "o", 'õ': "o", 'ő': "o", 'ō': "o", 'ř': "r", 'ś': "s", 'š': "s", 'ş': "s", 'ș': "s",
	'ť': "t", 'ţ': "t", 'ț': "t", 'ù': "u", 'ú': "u", 'û': "u", 'ů': "u", 'ű': "u", 'ū': "u", 'ý': "y", 'ÿ': "y", 'ź': "z", 'ż': "z", 'ž': "z",
}

// ascii writes a name with ASCII letters and digits and separators only.
func ascii(name string) string {
	plain := true
	for i := 0; i < len(name) && plain; i++ {
		plain = name[i] < utf8.RuneSelf
	}
	if plain {
		return name
	}
	var b strings.Builder
	for _, r := range name {
		lower := unicode.ToLower(r)
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case latin[lower] != "" && lower == r:
			b.WriteString(latin[lower])
		case latin[lower] != "":
			b.WriteString(title(latin[lower]))
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteString("u" + strconv.FormatInt(int64(r), 16))
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// words splits a name at everything that is no letter or digit and where a
// capital begins a word: "tbl_InvoiceLine" and "HTTPServer" have two and more.
// A name of separators only becomes its code points.
func words(name string) []string {
	var out []string
	var word []byte
	flush := func() {
		if len(word) > 0 {
			out = append(out, string(word))
			word = nil
		}
	}
	s := ascii(name)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !isAlnum(c) {
			flush()
			continue
		}
		if isUpper(c) && len(word) > 0 {
			prev := s[i-1]
			nextLower := i+1 < len(s) && isLower(s[i+1])
			if !isUpper(prev) || nextLower {
				flush()
			}
		}
		word = append(word, lower(c))
	}
	flush()
	if len(out) == 0 {
		var b strings.Builder
		for _, r := range name {
			b.WriteString("u" + strconv.FormatInt(int64(r), 16))
		}
		if b.Len() == 0 {
			b.WriteString("u0")
		}
		return []string{b.String()}
	}
	return out
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAlnum(c byte) bool { return isUpper(c) || isLower(c) || isDigit(c) }

func lower(c byte) byte {
	if isUpper(c) {
		return c + 'a' - 'A'
	}
	return c
}

func title(s string) string {
	if s == "" || !isLower(s[0]) {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}

// untitle makes the first letter small: the field name of a type.
func untitle(s string) string {
	if s == "" || !isUpper(s[0]) {
		return s
	}
	return string(lower(s[0])) + s[1:]
}

// pascal writes words as a type's name, camel as a field's. A name that would
// begin with a digit begins with an underscore.
func pascal(ws []string) string {
	var b strings.Builder
	for i, w := range ws {
		if i == 0 && isDigit(w[0]) {
			b.WriteByte('_')
		}
		// Two numbers side by side stay apart: v1_2 is not v12.
		if i > 0 && isDigit(w[0]) && isDigit(b.String()[b.Len()-1]) {
			b.WriteByte('_')
		}
		b.WriteString(title(w))
	}
	return b.String()
}

func camel(ws []string) string { return untitle(pascal(ws)) }

// upper writes a name in UPPER_CASE, for values of enums.
func upper(name string) string {
	ws := words(name)
	s := strings.ToUpper(strings.Join(ws, "_"))
	if isDigit(s[0]) {
		return "_" + s
	}
	return s
}

// baseNames are the names of a collection without prefix: the singular and the
// plural as words.
func baseNames(system string) (single, plural []string) {
	ws := words(system)
	last := ws[len(ws)-1]
	one := singular(last)
	many := last
	if one == last {
		many = pluralOf(last)
	}
	head := ws[:len(ws)-1]
	single = append(append([]string(nil), head...), one)
	plural = append(append([]string(nil), head...), many)
	if one == many {
		plural = append(plural, "list")
	}
	return single, plural
}

// What the library's rules (Rails') get wrong; its global rules are not
// touched, because they belong to the whole program.
var (
	uncountable = set("data", "metadata", "media", "news", "staff", "feedback", "access", "analytics", "logistics",
		"statistics", "physics", "politics", "mathematics", "diabetes", "history", "hardware", "software", "firmware", "stock", "content", "info")
	irregular = map[string]string{ // plural → singular
		"caches": "cache", "headaches": "headache", "niches": "niche", "avalanches": "avalanche", "humans": "human", "germans": "german", "romans": "roman",
		"calories": "calorie", "zombies": "zombie", "ties": "tie", "pies": "pie", "lies": "lie", "selfies": "selfie", "brownies": "brownie", "rookies": "rookie",
		"knives": "knife", "wives": "wife", "lives": "life", "leaves": "leaf", "halves": "half", "selves": "self",
		"shelves": "shelf", "thieves": "thief", "wolves": "wolf", "calves": "calf", "loaves": "loaf", "scarves": "scarf",
		"viruses": "virus", "bonuses": "bonus", "campuses": "campus", "censuses": "census", "focuses": "focus", "menus": "menu", "gurus": "guru",
		"canvases": "canvas", "atlases": "atlas", "lenses": "lens", "biases": "bias", "gases": "gas", "taxis": "taxi", "skis": "ski",
		"criteria": "criterion", "phenomena": "phenomenon", "bases": "base", "databases": "database", "heroes": "hero",
		"photos": "photo", "videos": "video", "memos": "memo", "logos": "logo",
	}
	plurals = invert(irregular)
)

func set(items ...string) map[string]bool {
	m := make(map[string]bool, len(items))
	for _, i := range items {
		m[i] = true
	}
	return m
}

func invert(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[v] = k
	}
	return out
}

// singular is the singular of a small-letter word; a word that is none stays.
func singular(w string) string {
	switch {
	case irregular[w] != "":
		return irregular[w]
	case uncountable[w] || plurals[w] != "":
		return w
	case len(w) <= 3: // pos, sms, dns, gas: abbreviations rather than plurals
		return w
	case strings.HasSuffix(w, "ss") || strings.HasSuffix(w, "us") || strings.HasSuffix(w, "is") || strings.HasSuffix(w, "a"):
		return w
	case strings.HasSuffix(w, "ves"):
		return strings.TrimSuffix(w, "s")
	}
	return inflection.Singular(w)
}

// pluralOf is the plural of a small-letter word in the singular.
func pluralOf(w string) string {
	switch {
	case plurals[w] != "":
		return plurals[w]
	case uncountable[w]:
		return w
	case strings.HasSuffix(w, "a"):
		return w + "s"
	case strings.HasSuffix(w, "us") && len(w) > 3:
		return w + "es"
	}
	return inflection.Plural(w)
}

// withoutID drops a last word "id". ok is false where there is none, or nothing
// else.
func withoutID(ws []string) ([]string, bool) {
	if n := len(ws); n > 1 && ws[n-1] == "id" {
		return ws[:n-1], true
	}
	return ws, false
}

// validName tells whether a name written by a person can stand in a schema.
func validName(s string) bool {
	if s == "" || isDigit(s[0]) || strings.HasPrefix(s, "__") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && s[i] != '_' {
			return false
		}
	}
	return true
}

// reservedType tells whether a type's name belongs to the control plane or to
// what is shared by all sources.
func reservedType(name string) bool {
	for _, p := range []string{"Proposal", "Countersign"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	if beginsWord(name, "Write") {
		return true
	}
	switch name {
	case "Viewer", "RecordDiff", "EvidenceInput", "ErrorCode", "PageInfo", "Node", "Query", "Mutation", "Subscription",
		"OrderDirection", "ID", "String", "Boolean", "Int", "SafeInt", "BigInt", "Float", "Decimal", "DateTime",
		"LocalDateTime", "Date", "Time", "Duration", "UUID", "JSON", "Bytes", "Money", "Upload":
		return true
	}
	return sharedInput(name)
}

// sharedInput tells the inputs that are made per scalar, not per collection.
func sharedInput(name string) bool {
	for _, s := range scalars {
		if rest, ok := strings.CutPrefix(name, string(s)); ok && (rest == "Change" || strings.HasPrefix(rest, "Comparison")) {
			return true
		}
	}
	return false
}

// reservedRoot tells whether a root field's name belongs to the control plane.
func reservedRoot(name string) bool {
	if beginsWord(name, "countersign") || strings.HasPrefix(name, "proposal") {
		return true
	}
	switch name {
	case "viewer", "node", "approveProposal", "rejectProposal", "requestProposalChanges", "retractProposalApproval",
		"reviseProposal", "withdrawProposal", "commentOnProposal", "settleProposal", "undoProposal", "breakGlassProposal":
		return true
	}
	return false
}

// beginsWord tells whether name is the word or begins with it as a word.
func beginsWord(name, word string) bool {
	rest, ok := strings.CutPrefix(name, word)
	return ok && (rest == "" || isUpper(rest[0]) || isDigit(rest[0]) || rest[0] == '_')
}
