package sql

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"sync/atomic"
	"unicode/utf8"

	"github.com/countersign/countersign/connectors"
)

const hexDigits = "0123456789abcdef"

// appendText appends text as a JSON string, in the same form as
// [connectors.AppendJSONString], but without a detour for text beyond ASCII.
func appendText[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			b = appendEscaped(b, c)
			i++
			start = i
			continue
		}
		size, escape := runeAt(s, i)
		if escape != "" {
			b = append(b, s[start:i]...)
			b = append(b, escape...)
			start = i + size
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// runeAt is the size of the rune at i, and what to write in its place where it
// cannot stand in JSON as it is.
func runeAt[T string | []byte](s T, i int) (size int, escape string) {
	end := min(i+utf8.UTFMax, len(s))
	var buf [utf8.UTFMax]byte
	n := copy(buf[:], s[i:end])
	r, size := utf8.DecodeRune(buf[:n])
	switch {
	case r == utf8.RuneError && size == 1:
		return 1, "\ufffd"
	case r == '\u2028':
		return size, `\u2028`
	case r == '\u2029':
		return size, `\u2029`
	}
	return size, ""
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendFloat writes the shortest digits that read back as the same number, as
// encoding/json does.
func appendFloat(b []byte, f float64, bits int) ([]byte, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return b, false
	}
	abs := math.Abs(f)
	if abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(b, f, 'e', -1, bits), true
	}
	return strconv.AppendFloat(b, f, 'f', -1, bits), true
}

// compactJSON appends JSON without insignificant space.
func compactJSON(b, raw []byte) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	if err := json.Compact(buf, raw); err != nil {
		return b, err
	}
	return buf.Bytes(), nil
}

// A sizeHint remembers how large the answers of a statement were, so that the
// next block is made large enough at once. It only saves work.
type sizeHint struct {
	bytes, rows atomic.Int64
}

// newBlock makes a block for the rows of a statement.
func (h *sizeHint) newBlock(columns int, bind bool) *connectors.Block {
	size, rows := h.bytes.Load(), h.rows.Load()
	size, rows = min(max(size+size/8, 128), connectors.MaxBlockBytes+1<<12), max(rows+rows/8, 1)
	b := &connectors.Block{Columns: columns, Data: make([]byte, 0, size), Ends: make([]uint32, 0, int(rows)*columns)}
	if bind {
		b.Bind = make([]uint32, 0, rows)
	}
	return b
}

// learn takes the size of a block; a large answer is forgotten slowly.
func (h *sizeHint) learn(b *connectors.Block) {
	grow := func(a *atomic.Int64, n int64) {
		if old := a.Load(); n > old {
			a.Store(n)
		} else if old-n > old/8+64 {
			a.Store(old - (old-n)/8)
		}
	}
	grow(&h.bytes, int64(len(b.Data)))
	grow(&h.rows, int64(b.Rows()))
}
