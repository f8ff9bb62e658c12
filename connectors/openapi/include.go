package openapi

import (
	"slices"
	"strings"
)

// A selector is one line of include or exclude.
type selector string

// matches tells whether an operation is meant: "tag:X", "METHOD /path" where *
// stands for anything, or an operationId.
func (s selector) matches(o *operation) bool {
	text := string(s)
	if tag, ok := strings.CutPrefix(text, "tag:"); ok {
		return slices.Contains(o.tags, tag)
	}
	if method, pattern, ok := strings.Cut(text, " "); ok {
		return (method == "*" || strings.EqualFold(method, o.method)) && glob(strings.TrimSpace(pattern), o.path)
	}
	return text == o.id
}

// glob matches text in which * stands for any characters, slashes too.
func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return strings.HasSuffix(text, parts[len(parts)-1])
}

// selected are the operations to offer as functions. A line that means nothing
// is an error.
func (c *Config) selected(all []*operation) (map[*operation]bool, error) {
	out := make(map[*operation]bool, len(all))
	if len(c.Include) == 0 {
		for _, o := range all {
			out[o] = true
		}
	}
	apply := func(lines []string, what string, value bool) error {
		for _, line := range lines {
			found := false
			for _, o := range all {
				if selector(line).matches(o) {
					out[o], found = value, true
				}
			}
			if !found {
				return wrongConfig("%s: %q means no operation of the document", what, line)
			}
		}
		return nil
	}
	if err := apply(c.Include, "include", true); err != nil {
		return nil, err
	}
	return out, apply(c.Exclude, "exclude", false)
}
