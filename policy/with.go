package policy

import "strings"

// An entry is a key of an object literal and the text of its value, unparsed.
type entry struct {
	key, value     string
	keyAt, valueAt int
}

// scanObject splits a GraphQL object literal into its entries without reading
// the values: strings, and brackets that match, are all it knows. at and problem
// are set where the text is no object.
func scanObject(text string) (entries []entry, at int, problem string) {
	i := skipBlank(text, 0)
	if i >= len(text) || text[i] != '{' {
		return nil, i, `expected "{"`
	}
	i++
	for {
		i = skipBlank(text, i)
		if i >= len(text) {
			return nil, i, `the closing "}" is missing`
		}
		if text[i] == '}' {
			if j := skipBlank(text, i+1); j < len(text) {
				return nil, j, `nothing may stand after the closing "}"`
			}
			return entries, 0, ""
		}
		e := entry{keyAt: i}
		for i < len(text) && isNameByte(text[i]) {
			i++
		}
		e.key = text[e.keyAt:i]
		if e.key == "" {
			return nil, i, "expected a name"
		}
		if i = skipBlank(text, i); i >= len(text) || text[i] != ':' {
			return nil, i, `expected ":" after "` + e.key + `"`
		}
		e.valueAt = skipBlank(text, i+1)
		end := valueEnd(text, e.valueAt)
		if end <= e.valueAt {
			return nil, e.valueAt, `"` + e.key + `" has no value`
		}
		e.value = text[e.valueAt:end]
		entries = append(entries, e)
		i = end
	}
}

func isNameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func skipBlank(text string, i int) int {
	for i < len(text) && strings.IndexByte(" \t\r\n,", text[i]) >= 0 {
		i++
	}
	return i
}

// valueEnd is the offset behind the value that begins at i; i or less where
// none ends properly.
func valueEnd(text string, i int) int {
	depth := 0
	for i < len(text) {
		switch c := text[i]; c {
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			if i = stringEnd(text, i); i < 0 {
				return -1
			}
			if depth == 0 {
				return i
			}
			continue
		case ' ', '\t', '\r', '\n', ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	if depth > 0 {
		return -1
	}
	return i
}

// stringEnd is the offset behind the string that begins at i, or -1.
func stringEnd(text string, i int) int {
	if strings.HasPrefix(text[i:], `"""`) {
		for j := i + 3; j < len(text); j++ {
			if strings.HasPrefix(text[j:], `\"""`) {
				j += 3
			} else if strings.HasPrefix(text[j:], `"""`) {
				return j + 3
			}
		}
		return -1
	}
	for j := i + 1; j < len(text); j++ {
		switch text[j] {
		case '\\':
			j++
		case '"':
			return j + 1
		}
	}
	return -1
}

// isEmptyObject tells whether the text is {} with blanks.
func isEmptyObject(text string) bool {
	text = strings.TrimSpace(text)
	return strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}") && strings.Trim(text[1:len(text)-1], " \t\r\n,") == ""
}
