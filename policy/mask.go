package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/countersign/countersign/connectors"
)

// A Mask says what stands in place of a field's value. The zero Mask is the
// value itself. A value that is null stays null under every mask.
type Mask string

// The masks, from the one that shows most. No line writes MaskNone.
const (
	MaskNone   Mask = ""
	MaskLast4  Mask = "LAST4"  // stars, and the last four characters of a text of eight or more
	MaskYear   Mask = "YEAR"   // the first instant of the value's year (UTC)
	MaskHash   Mask = "HASH"   // a keyed digest: equal values of a tenant have equal ones
	MaskRedact Mask = "REDACT" // *** for every text
	MaskNull   Mask = "NULL"   // nothing
)

// masks are all masks from the one that shows most.
func masks() []Mask { return []Mask{MaskNone, MaskLast4, MaskYear, MaskHash, MaskRedact, MaskNull} }

// strictest is the mask that shows no more than either: what holds along a
// chain. LAST4 and HASH show different things, so that together they show
// neither.
func strictest(a, b Mask) Mask {
	switch {
	case a == b || b == MaskNone:
		return a
	case a == MaskNone:
		return b
	case a == MaskNull || b == MaskNull || a == MaskYear || b == MaskYear:
		return MaskNull
	}
	return MaskRedact
}

// carries tells whether values of the type can be shown under the mask. The zero
// type, of a field whose type nobody declared, carries any.
func carries(t connectors.TypeRef, m Mask) bool {
	if m == MaskNull || t == (connectors.TypeRef{}) {
		return true
	}
	if t.List || t.Enum != "" || t.Object != "" {
		return false
	}
	switch t.Scalar {
	case connectors.ScalarString, connectors.ScalarID:
		return m != MaskYear
	case connectors.ScalarDate, connectors.ScalarDateTime, connectors.ScalarLocalDateTime:
		return m == MaskYear
	}
	return false
}

// Text is what a text shows under the mask; ok is false where that is nothing.
// digest answers the keyed digest of a value for HASH.
func (m Mask) Text(text string, digest func([]byte) string) (shown string, ok bool) {
	switch m {
	case MaskNone:
		return text, true
	case MaskRedact:
		return "***", true
	case MaskHash:
		if digest == nil {
			return "", false
		}
		shown = digest([]byte(text))
		return shown, shown != ""
	case MaskLast4:
		n := utf8.RuneCountInString(text)
		if n < 8 {
			return strings.Repeat("*", n), true
		}
		end := len(text)
		for range 4 {
			_, size := utf8.DecodeLastRuneInString(text[:end])
			end -= size
		}
		return strings.Repeat("*", n-4) + text[end:], true
	case MaskYear:
		return firstInstant(text)
	}
	return "", false
}

// firstInstant is the first instant of the year that a date or a point in time
// lies in, written as that is. What is neither shows nothing.
func firstInstant(text string) (string, bool) {
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04:05", time.RFC3339Nano} {
		if at, err := time.Parse(layout, text); err == nil {
			return time.Date(at.UTC().Year(), 1, 1, 0, 0, 0, 0, time.UTC).Format(layout), true
		}
	}
	return "", false
}

// A Masked is a mask with the records whose value it stands for.
type Masked struct {
	Mask Mask
	// If is what a visible record must match; nil: every one.
	If *connectors.Condition
}

// Never tells that no record shows the field's own value.
func (c Cell) Never() bool { return c.If != nil && c.If.Op == connectors.OpOr && len(c.If.Items) == 0 }

// Hashed tells that every record shows the field's digest and none its value:
// which records have equal values is shown.
func (c Cell) Hashed() bool {
	return c.Never() && len(c.Masks) == 1 && c.Masks[0].Mask == MaskHash && c.Masks[0].If == nil
}

// A readCell is what a person, or a chain, is shown of a field.
type readCell struct {
	// never: nobody shows the value itself; else plain is where it is shown.
	never bool
	plain *clause
	masks []maskedClause
}

type maskedClause struct {
	mask  Mask
	where *clause // nil: each visible record's
}

// variants are the ways a cell is shown, in the order in which they are tried.
func (c *readCell) variants() []maskedClause {
	if c.never {
		return c.masks
	}
	return append([]maskedClause{{MaskNone, c.plain}}, c.masks...)
}

// together is what all show: each way of the one with each of the other, in the
// order of the one and then of the other, so that the first pair that matches a
// record is the pair of what each by itself would show.
func together(cells []readCell) readCell {
	if len(cells) == 1 {
		return cells[0]
	}
	type way struct {
		mask   Mask
		wheres []*clause
	}
	ways := []way{{}}
	out := readCell{}
	for _, c := range cells {
		out.never = out.never || c.never
		var next []way
		for _, w := range ways {
			for _, v := range c.variants() {
				next = append(next, way{strictest(w.mask, v.mask), append(slices.Clone(w.wheres), v.where)})
			}
		}
		ways = next
	}
	for _, w := range ways {
		if w.mask == MaskNone {
			out.plain = allOf(w.wheres...)
			continue
		}
		out.masks = append(out.masks, maskedClause{w.mask, allOf(w.wheres...)})
	}
	return out
}

// within leaves away what the row condition says already, and masks that no
// record gets to.
func (c readCell) within(row *clause) readCell {
	bare := func(w *clause) *clause {
		if sameClause(w, row) {
			return nil
		}
		return w
	}
	out := readCell{never: c.never, plain: bare(c.plain)}
	if !c.never && out.plain == nil {
		return out
	}
	taken := map[string]bool{keyOf(out.plain): !c.never}
	for _, m := range c.masks {
		m.where = bare(m.where)
		if taken[keyOf(m.where)] {
			continue
		}
		taken[keyOf(m.where)] = true
		out.masks = append(out.masks, m)
		if m.where == nil {
			break
		}
	}
	for n := len(out.masks); n > 1 && out.masks[n-1].where == nil && out.masks[n-2].mask == out.masks[n-1].mask; n-- {
		out.masks = append(out.masks[:n-2], out.masks[n-1])
	}
	for n := len(out.masks); n > 0 && out.masks[n-1].mask == MaskNull; n-- {
		out.masks = out.masks[:n-1] // nothing at the end is nothing
	}
	return out
}

func (c *readCell) cell() Cell {
	out := Cell{If: c.plain.condition()}
	if c.never {
		out.If = connectors.Nothing()
	}
	for _, m := range c.masks {
		out.Masks = append(out.Masks, Masked{Mask: m.mask, If: m.where.condition()})
	}
	return out
}

// shape says what a schema shows of the cell, key all that decides what is shown.
func (c *readCell) shape() string {
	switch cell := c.cell(); {
	case cell.If == nil:
		return "always"
	case cell.Hashed():
		return "hashed"
	case cell.Never():
		return "masked"
	}
	return "conditional"
}

func (c *readCell) key() []string {
	out := []string{strconv.FormatBool(c.never), keyOf(c.plain), strconv.Itoa(len(c.masks))}
	for _, m := range c.masks {
		out = append(out, string(m.mask), keyOf(m.where))
	}
	return out
}

// A MaskLine is a line that shows a field masked.
type MaskLine struct {
	Mask Mask
	Line LineRef
}

// Masking lists the lines of the view that mask a field of an object (the
// field's system name), in the order of the files. They say so only for records
// that no other line shows the value of.
func (v *View) Masking(object, field string) []MaskLine {
	if v == nil {
		return nil
	}
	var out []MaskLine
	for _, l := range v.linesOf(object) {
		if l.grant.line.acts&bitRead == 0 || len(l.grant.masks) == 0 {
			continue
		}
		f, ok := v.names.systemField(l.object, field)
		if m := l.grant.masks[f]; ok && m != MaskNone && l.grant.target.covers(l.object, f, v.names.objects[l.object].Fields[f].Secret, false) {
			if found := (MaskLine{m, l.grant.line.ref}); !slices.Contains(out, found) {
				out = append(out, found)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b MaskLine) int {
		if c := strings.Compare(a.Line.File, b.Line.File); c != 0 {
			return c
		}
		return a.Line.Line - b.Line.Line
	})
	return out
}
