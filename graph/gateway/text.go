package gateway

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/countersign/countersign/connectors"
)

// What is approved and done is exactly what was sent. Decoders put U+FFFD in
// the place of what is no text: of bytes that are not UTF-8, and of an escape
// that is half of a surrogate pair. So both are refused before anything is
// decoded.

const halfPair = "holds half of a surrogate pair, which is no character"

// whole refuses JSON whose strings are no text.
func whole(what string, body []byte) []Error {
	switch {
	case !utf8.Valid(body):
		return refuse(connectors.CodeBadInput, "%s is not UTF-8", what)
	case halfEscaped(body):
		return refuse(connectors.CodeBadInput, "%s "+halfPair, what)
	}
	return nil
}

// halfEscaped tells whether a \u escape is a surrogate without its other half.
// In JSON a backslash stands in strings only.
func halfEscaped(b []byte) bool {
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		size, half := escape(b[i:])
		if half {
			return true
		}
		i += size - 1
	}
	return false
}

// halfQuoted is the same of the strings of a GraphQL document; in block strings
// and comments a backslash is itself.
func halfQuoted(text string) bool {
	if !strings.Contains(text, `\u`) {
		return false
	}
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '#':
			for i < len(text) && text[i] != '\n' && text[i] != '\r' {
				i++
			}
		case '"':
			end := skipString(text, i)
			if !strings.HasPrefix(text[i:], `"""`) && halfEscaped([]byte(text[i:min(end+1, len(text))])) {
				return true
			}
			i = end
		}
	}
	return false
}

// escape is the length of the escape that b begins with, a pair's both; half:
// it is one surrogate alone. What is no escape is the parser's to name.
func escape(b []byte) (size int, half bool) {
	first, ok := unit(b)
	if !ok || !utf16.IsSurrogate(first) {
		return 2, false
	}
	if second, ok := unit(b[6:]); ok && utf16.DecodeRune(first, second) != utf8.RuneError {
		return 12, false
	}
	return 6, true
}

// unit reads \uXXXX.
func unit(b []byte) (rune, bool) {
	var out [2]byte
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	if _, err := hex.Decode(out[:], b[2:6]); err != nil {
		return 0, false
	}
	return rune(binary.BigEndian.Uint16(out[:])), true
}
