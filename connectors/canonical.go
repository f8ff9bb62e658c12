package connectors

import (
	"crypto/sha256"
	"encoding/json"
	"sort"
	"strconv"
	"sync"

	"github.com/gowebpki/jcs"
)

// Canonical forms are JSON by RFC 8785 in which no JSON number ever stands:
// every scalar is a pair of its kind and its text. RFC 8785 writes numbers as
// doubles, which would give 9007199254740992 and …993 one form. Absent members
// are left out, null is ["null"], the order of arrays counts, strings are not
// normalised.

// AppendCanonical appends the canonical form of a value.
func (v Value) AppendCanonical(b []byte) []byte {
	switch v.Kind {
	case KindAbsent:
		return append(b, `["absent"]`...)
	case KindNull:
		return append(b, `["null"]`...)
	case KindList:
		b = append(b, `["list",[`...)
		for i := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = v.Items[i].AppendCanonical(b)
		}
		return append(b, `]]`...)
	case KindObject:
		members := append([]Member(nil), v.Members...)
		sort.SliceStable(members, func(i, j int) bool { return lessUTF16(members[i].Name, members[j].Name) })
		b = append(b, `["object",{`...)
		first := true
		for _, m := range members {
			if m.Value.Kind == KindAbsent {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = canonicalString(b, m.Name)
			b = append(b, ':')
			b = m.Value.AppendCanonical(b)
		}
		return append(b, `}]`...)
	}
	b = append(b, '[')
	b = canonicalString(b, v.Kind.String())
	b = append(b, ',')
	b = canonicalString(b, v.Text)
	return append(b, ']')
}

func canonicalString(b []byte, s string) []byte {
	// RFC 8785 escapes as JSON.stringify does: short forms for \b \f \n \r \t,
	// \u00xx for other controls, nothing else beside quote and backslash.
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// lessUTF16 orders member names by UTF-16 code units, as RFC 8785 does.
func lessUTF16(a, b string) bool {
	ra, rb := []rune(a), []rune(b)
	for i := 0; i < len(ra) && i < len(rb); i++ {
		if ra[i] == rb[i] {
			continue
		}
		// Code points beyond the BMP are surrogates (D800–DFFF) in UTF-16 and so
		// sort before U+E000–U+FFFF.
		x, y := ra[i], rb[i]
		if (x >= 0x10000) != (y >= 0x10000) {
			if x >= 0x10000 {
				return y >= 0xE000
			}
			return x < 0xE000
		}
		return x < y
	}
	return len(ra) < len(rb)
}

// CanonicalJSON is the canonical form of plain data that holds no number:
// objects, arrays, strings, booleans and nulls. Numbers must have been made
// pairs before.
func CanonicalJSON(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return jcs.Transform(raw)
}

// Digest is the SHA-256 of the canonical form of the change: everything that
// decides what is sent and what must hold, and nothing else.
func (c *Change) Digest() [sha256.Size]byte {
	held := forms.Get().(*[]byte)
	*held = c.AppendCanonical((*held)[:0])
	sum := sha256.Sum256(*held)
	if cap(*held) <= maxForm {
		forms.Put(held)
	}
	return sum
}

// forms is a pool of memory only; it holds no state.
var forms = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// maxForm keeps single large changes from staying in memory.
const maxForm = 64 << 10

// AppendCanonical appends the canonical form of the change. Members stand in
// the order of their names.
func (c *Change) AppendCanonical(b []byte) []byte {
	b = append(b, '{')
	if m := c.Marker; m != nil {
		b = append(b, `"marker":[`...)
		b = canonicalString(b, m.Proposal)
		b = append(b, ',')
		b = canonicalString(b, strconv.Itoa(m.Change))
		b = append(b, ',')
		b = canonicalString(b, m.ContentHash)
		b = append(b, ',')
		b = canonicalString(b, strconv.FormatBool(m.Void))
		b = append(b, `],`...)
	}
	b = append(b, `"source":`...)
	b = canonicalString(b, c.Source)
	b = append(b, `,"steps":[`...)
	for i := range c.Steps {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.Steps[i].appendCanonical(b)
	}
	b = append(b, `],"tenant":`...)
	b = canonicalString(b, c.Tenant)
	b = append(b, `,"version":`...)
	b = canonicalString(b, strconv.Itoa(c.Version))
	return append(b, '}')
}

func (s *Step) appendCanonical(b []byte) []byte {
	b = append(b, '{')
	if s.Args.Kind != KindAbsent {
		b = append(b, `"args":`...)
		b = s.Args.AppendCanonical(b)
		b = append(b, ',')
	}
	if s.Blind {
		b = append(b, `"blind":"true",`...)
	}
	if s.Check != nil {
		b = append(b, `"check":`...)
		b = s.Check.AppendCanonical(b)
		b = append(b, ',')
	}
	b = append(b, `"class":`...)
	b = canonicalString(b, string(s.Class))
	b = append(b, `,"collection":`...)
	b = canonicalString(b, s.Collection)
	if s.Expect != nil {
		b = append(b, `,"expect":[`...)
		for i, e := range s.Expect {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '[')
			b = appendAssigns(b, e.Key)
			b = append(b, ',')
			b = appendAssigns(b, e.Fields)
			b = append(b, ']')
		}
		b = append(b, ']')
	}
	b = append(b, `,"function":`...)
	b = canonicalString(b, s.Function)
	b = append(b, `,"id":`...)
	b = canonicalString(b, s.ID)
	if s.IfVersion != nil {
		b = append(b, `,"ifVersion":`...)
		b = canonicalString(b, *s.IfVersion)
	}
	b = append(b, `,"key":`...)
	b = appendAssigns(b, s.Key)
	b = append(b, `,"kind":`...)
	b = canonicalString(b, string(s.Kind))
	b = append(b, `,"maxRows":`...)
	b = canonicalString(b, strconv.Itoa(s.MaxRows))
	b = append(b, `,"preview":`...)
	b = canonicalString(b, string(s.Preview))
	b = append(b, `,"return":[`...)
	for i, r := range s.Return {
		if i > 0 {
			b = append(b, ',')
		}
		b = canonicalString(b, r)
	}
	b = append(b, `],"set":`...)
	b = appendAssigns(b, s.Set)
	if s.Where != nil {
		b = append(b, `,"where":`...)
		b = s.Where.AppendCanonical(b)
	}
	return append(b, '}')
}

func appendAssigns(b []byte, assigns []Assign) []byte {
	b = append(b, '[')
	for i, a := range assigns {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		b = canonicalString(b, a.Field)
		if a.Increment {
			b = append(b, `,"increment",`...)
		} else {
			b = append(b, `,"set",`...)
		}
		b = a.Value.AppendCanonical(b)
		b = append(b, ']')
	}
	return append(b, ']')
}

// AppendCanonical appends the canonical form of a condition. Operands that
// still refer to arguments are written as such.
func (c *Condition) AppendCanonical(b []byte) []byte {
	if c == nil {
		return append(b, `["null"]`...)
	}
	b = append(b, '[')
	b = canonicalString(b, string(c.Op))
	switch c.Op {
	case OpAnd, OpOr, OpNot:
		for _, i := range c.Items {
			b = append(b, ',')
			b = i.AppendCanonical(b)
		}
	case OpRelated:
		b = append(b, ',')
		b = canonicalString(b, string(c.Quantifier))
		b = append(b, ',')
		b = c.Relation.appendCanonical(b)
		b = append(b, ',')
		b = c.Inner.AppendCanonical(b)
	case OpTrue:
	default:
		b = append(b, ',')
		b = canonicalString(b, c.Field)
		b = append(b, ',')
		if c.Operand.Arg > 0 {
			b = append(b, `["arg",`...)
			b = canonicalString(b, strconv.Itoa(c.Operand.Arg))
			b = append(b, ']')
		} else {
			b = c.Operand.Const.AppendCanonical(b)
		}
	}
	return append(b, ']')
}

func (r *Relation) appendCanonical(b []byte) []byte {
	b = append(b, '[')
	b = canonicalString(b, r.To)
	for i := range r.Fields {
		b = append(b, `,[`...)
		b = canonicalString(b, r.Fields[i])
		b = append(b, ',')
		b = canonicalString(b, r.On[i])
		b = append(b, ']')
	}
	if r.Where != nil {
		b = append(b, ',')
		b = r.Where.AppendCanonical(b)
	}
	return append(b, ']')
}
