package plan

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/countersign/countersign/connectors"
)

// The first byte of what is sealed says what it is.
const (
	sealedCursor = 'c'
	sealedNode   = 'n'
)

var errSealed = errors.New("not something that was sealed here")

// AppendValues appends values so that they can be read back exactly.
func appendValues(b []byte, values []connectors.Value) []byte {
	for _, v := range values {
		b = append(b, byte(v.Kind))
		b = binary.AppendUvarint(b, uint64(len(v.Text)))
		b = append(b, v.Text...)
	}
	return b
}

func readValues(b []byte) ([]connectors.Value, error) {
	var out []connectors.Value
	for len(b) > 0 {
		kind := connectors.Kind(b[0])
		if kind == connectors.KindAbsent || kind >= connectors.KindList {
			return nil, errSealed
		}
		n, used := binary.Uvarint(b[1:])
		if used <= 0 || n > uint64(len(b)-1-used) {
			return nil, errSealed
		}
		start := 1 + used
		out = append(out, connectors.Value{Kind: kind, Text: string(b[start : start+int(n)])})
		b = b[start+int(n):]
	}
	return out, nil
}

// AppendCursor appends what a cursor holds before it is sealed: what it is
// bound to, and the exact values of the order terms.
func AppendCursor(b []byte, scope [32]byte, values []connectors.Value) []byte {
	b = append(b, sealedCursor)
	b = append(b, scope[:16]...)
	return appendValues(b, values)
}

// openCursor reads a cursor; it must be of the scope and have n values.
func openCursor(sealer Sealer, text string, scope [32]byte, n int) ([]connectors.Value, error) {
	if sealer == nil {
		return nil, errSealed
	}
	plain, err := sealer.Open(text)
	if err != nil {
		return nil, err
	}
	if len(plain) < 17 || plain[0] != sealedCursor || string(plain[1:17]) != string(scope[:16]) {
		return nil, errSealed
	}
	values, err := readValues(plain[17:])
	if err != nil || len(values) != n {
		return nil, errSealed
	}
	return values, nil
}

// Scope is what the cursors of a page are bound to when the step is bound with
// these arguments: collection, order, filter and the filter's values.
func (c *Cursor) Scope(args []connectors.Value) [32]byte {
	b := append(make([]byte, 0, 64), c.Shape[:]...)
	for _, i := range c.FilterArgs {
		b = args[i].AppendCanonical(b)
	}
	return sha256.Sum256(b)
}

// AppendNode appends what a global id holds before it is sealed: the
// collection ("source.collection") and the key's values.
func AppendNode(b []byte, object string, key []connectors.Value) []byte {
	b = append(b, sealedNode)
	b = binary.AppendUvarint(b, uint64(len(object)))
	b = append(b, object...)
	return appendValues(b, key)
}

// openNode reads a global id.
func openNode(sealer Sealer, text string) (object string, key []connectors.Value, err error) {
	if sealer == nil {
		return "", nil, errSealed
	}
	plain, err := sealer.Open(text)
	if err != nil {
		return "", nil, err
	}
	if len(plain) < 2 || plain[0] != sealedNode {
		return "", nil, errSealed
	}
	n, used := binary.Uvarint(plain[1:])
	if used <= 0 || n > uint64(len(plain)-1-used) {
		return "", nil, errSealed
	}
	start := 1 + used
	key, err = readValues(plain[start+int(n):])
	return string(plain[start : start+int(n)]), key, err
}
