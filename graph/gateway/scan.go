package gateway

import (
	"encoding/json"
	"unicode/utf8"
)

// scanRequest reads a request as clients write it, several times faster than
// encoding/json. It answers false for everything it does not know (other
// members, members given twice, \u escapes, invalid text, any fault), and then
// the library decides: what it accepts, it reads as the library would.
func scanRequest(body []byte, req *Request) bool {
	s := scan{b: body}
	if !s.next('{') {
		return false
	}
	if s.next('}') {
		return s.end()
	}
	var query, operation, variables, id bool
	for {
		key, ok := s.text()
		if !ok || !s.next(':') {
			return false
		}
		switch {
		case string(key) == "query" && !query:
			query = true
			req.Query, ok = s.str()
		case string(key) == "operationName" && !operation:
			operation = true
			if !s.word("null") {
				req.OperationName, ok = s.str()
			}
		case string(key) == "id" && !id:
			id = true
			req.ID, ok = s.str()
		case string(key) == "variables" && !variables:
			variables = true
			if !s.word("null") {
				req.Variables, ok = s.object(0)
			}
		default:
			return false
		}
		if !ok {
			return false
		}
		if s.next('}') {
			return s.end()
		}
		if !s.next(',') {
			return false
		}
	}
}

// scanDepth is how deeply variables may nest before the library takes over.
const scanDepth = 64

// A scan is a position in JSON.
type scan struct {
	b []byte
	i int
}

// blank skips white space.
func (s *scan) blank() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// next takes a character, after white space, where it is c.
func (s *scan) next(c byte) bool {
	s.blank()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// word takes a literal, after white space.
func (s *scan) word(w string) bool {
	s.blank()
	if len(s.b)-s.i >= len(w) && string(s.b[s.i:s.i+len(w)]) == w {
		s.i += len(w)
		return true
	}
	return false
}

// end tells whether only white space is left.
func (s *scan) end() bool {
	s.blank()
	return s.i == len(s.b)
}

// text takes a string without escapes; the bytes are the body's own.
func (s *scan) text() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	start, ascii := s.i, true
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			out := s.b[start:s.i]
			s.i++
			return out, ascii || utf8.Valid(out)
		case c == '\\' || c < 0x20:
			return nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false
}

// str takes a string, as a copy.
func (s *scan) str() (string, bool) {
	s.blank()
	begin := s.i
	if out, ok := s.text(); ok {
		return string(out), true
	}
	s.i = begin
	return s.escaped()
}

// escaped takes a string with the short escapes.
func (s *scan) escaped() (string, bool) {
	if !s.next('"') {
		return "", false
	}
	var out []byte
	start := s.i
	for ; s.i < len(s.b); s.i++ {
		c := s.b[s.i]
		switch {
		case c == '"':
			out = append(out, s.b[start:s.i]...)
			s.i++
			return string(out), utf8.Valid(out)
		case c < 0x20:
			return "", false
		case c != '\\':
			continue
		}
		if out == nil {
			out = make([]byte, 0, len(s.b)-start)
		}
		out = append(out, s.b[start:s.i]...)
		if s.i++; s.i == len(s.b) {
			return "", false
		}
		plain, ok := unescaped(s.b[s.i])
		if !ok {
			return "", false
		}
		out = append(out, plain)
		start = s.i + 1
	}
	return "", false
}

func unescaped(c byte) (byte, bool) {
	switch c {
	case '"', '\\', '/':
		return c, true
	case 'n':
		return '\n', true
	case 't':
		return '\t', true
	case 'r':
		return '\r', true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	}
	return 0, false
}

// object takes an object. Of members given twice the last counts.
func (s *scan) object(depth int) (map[string]any, bool) {
	if depth > scanDepth || !s.next('{') {
		return nil, false
	}
	out := map[string]any{}
	if s.next('}') {
		return out, true
	}
	for {
		key, ok := s.str()
		if !ok || !s.next(':') {
			return nil, false
		}
		if out[key], ok = s.value(depth + 1); !ok {
			return nil, false
		}
		if s.next('}') {
			return out, true
		}
		if !s.next(',') {
			return nil, false
		}
	}
}

func (s *scan) list(depth int) ([]any, bool) {
	if depth > scanDepth || !s.next('[') {
		return nil, false
	}
	out := []any{}
	if s.next(']') {
		return out, true
	}
	for {
		v, ok := s.value(depth + 1)
		if !ok {
			return nil, false
		}
		out = append(out, v)
		if s.next(']') {
			return out, true
		}
		if !s.next(',') {
			return nil, false
		}
	}
}

// value takes any value; numbers keep their digits.
func (s *scan) value(depth int) (any, bool) {
	s.blank()
	if s.i == len(s.b) {
		return nil, false
	}
	switch s.b[s.i] {
	case '"':
		return boxed(s.str())
	case '{':
		return boxed(s.object(depth))
	case '[':
		return boxed(s.list(depth))
	case 't':
		return true, s.word("true")
	case 'f':
		return false, s.word("false")
	case 'n':
		return nil, s.word("null")
	}
	return s.number()
}

func boxed[T any](v T, ok bool) (any, bool) { return v, ok }

// number takes a number as JSON writes it.
func (s *scan) number() (any, bool) {
	start := s.i
	s.take('-')
	if !s.take('0') && !s.digits() {
		return nil, false
	}
	if s.take('.') && !s.digits() {
		return nil, false
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return nil, false
		}
	}
	return json.Number(s.b[start:s.i]), true
}

// take takes a character where it is c.
func (s *scan) take(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// digits takes at least one digit.
func (s *scan) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}
