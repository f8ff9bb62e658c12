package catalog

import (
	"regexp"

	"github.com/countersign/countersign/connectors"
)

// A joinKind groups types whose values can be compared as keys.
type joinKind uint8

const (
	joinNever joinKind = iota
	joinInteger
	joinText
	joinUUID
	joinSame // only with the very same scalar
)

func joinKindOf(t *Type) joinKind {
	if t.List || t.Members != nil {
		return joinNever
	}
	switch t.Leaf {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		return joinInteger
	case connectors.ScalarString, connectors.ScalarID:
		return joinText
	case connectors.ScalarUUID:
		return joinUUID
	case connectors.ScalarJSON, connectors.ScalarFloat, connectors.ScalarBytes, connectors.ScalarBoolean, connectors.ScalarDuration:
		return joinNever
	}
	return joinSame
}

// joinable tells whether fields of these types can be paired: the same scalar,
// or one whose every value is a value of the other.
func joinable(a, b *Type) bool {
	x, y := joinKindOf(a), joinKindOf(b)
	switch {
	case x == joinNever || y == joinNever:
		return false
	case x == joinSame || y == joinSame:
		return a.Leaf == b.Leaf
	case x == y:
		return true
	}
	// Integers and UUIDs are texts; the other way a text that is none pairs
	// with nothing.
	return x == joinText || y == joinText
}

var (
	integerText = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,77})$`)
	uuidText    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// Cast makes a value of a relation's Fields one of its On, to be bound. ok is
// false where no record can have it (a text that is no integer): then there is
// no related record, and no call for it.
func Cast(v connectors.Value, to *Type) (out connectors.Value, ok bool) {
	switch joinKindOf(to) {
	case joinInteger:
		switch v.Kind {
		case connectors.KindInt:
		case connectors.KindString:
			if !integerText.MatchString(v.Text) {
				return connectors.Value{}, false
			}
		default:
			return connectors.Value{}, false
		}
		out = connectors.Value{Kind: connectors.KindInt, Text: v.Text}
		return out, inRange(out, to.Leaf)
	case joinText:
		switch v.Kind {
		case connectors.KindInt, connectors.KindString:
			return connectors.String(v.Text), true
		}
		return connectors.Value{}, false
	case joinUUID:
		return v, v.Kind == connectors.KindString && uuidText.MatchString(v.Text)
	}
	return v, !v.IsNull()
}
