package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sort"
	"strconv"
)

// hasher computes the two hashes of a view while it is built. Every part is
// written with its length, so that no two views are written alike.
type hasher struct {
	shape, authority hash.Hash
}

func newHasher(v *View, e *Engine) *hasher {
	h := &hasher{sha256.New(), sha256.New()}
	put(h.shape, "shape/1", e.opts.CatalogVersion, string(v.Kind), strconv.FormatBool(v.CanDecide))
	put(h.authority, "authority/1", e.version, e.opts.CatalogVersion)
	return h
}

func put(h hash.Hash, parts ...string) {
	for _, p := range parts {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
}

func (h *hasher) object(name string) {
	put(h.shape, "object", name)
	put(h.authority, "object", name)
}

type fieldShape struct {
	name string
	cell readCell
}

func (h *hasher) read(row *clause, fields []fieldShape, lines []LineRef) {
	put(h.shape, "read", strconv.Itoa(len(fields)))
	put(h.authority, "read", keyOf(row))
	for _, f := range fields {
		put(h.shape, f.name, f.cell.shape())
		put(h.authority, f.name)
		put(h.authority, f.cell.key()...)
	}
	h.lines(lines)
}

func (h *hasher) lines(lines []LineRef) {
	put(h.authority, strconv.Itoa(len(lines)))
	for _, l := range lines {
		put(h.authority, l.File, strconv.Itoa(l.Line))
	}
}

// write hashes what an act shows into the shape, and all that its decisions are
// compiled from into the authority.
func (h *hasher) write(act Act, w *WriteAccess, people []*grants) {
	fields := make([]string, 0, len(w.Fields))
	for f := range w.Fields {
		fields = append(fields, f)
	}
	sort.Strings(fields)
	put(h.shape, string(act), strconv.Itoa(len(fields)))
	put(h.shape, fields...)
	put(h.authority, string(act), strconv.Itoa(len(people)), strconv.Itoa(len(w.Presets)))
	for _, p := range w.Presets {
		put(h.authority, p.Field, strconv.Itoa(p.Operand.Arg), string(p.Operand.Const.AppendCanonical(nil)))
	}
	for _, g := range people {
		put(h.authority, strconv.Itoa(len(g.lets)), strconv.Itoa(len(g.denies)))
		for _, list := range [][]grant{g.lets, g.denies} {
			for _, l := range list {
				// A line of this policy version covers the same fields for everybody.
				put(h.authority, l.line.ref.File, strconv.Itoa(l.line.ref.Line), strconv.Itoa(l.role), strconv.Itoa(l.rank),
					l.target.text, l.effect.String(), keyOf(l.where), keyOf(l.check), strconv.Itoa(l.line.max))
			}
		}
	}
}

// finish writes the parameters, whose positions conditions refer to, and keeps
// the hashes, cut to 32 characters.
func (h *hasher) finish(v *View) {
	for _, p := range v.Params {
		put(h.authority, string(p.Kind), p.Name, p.Type.Native, string(p.Type.Scalar), p.Type.Enum, p.Type.Object,
			strconv.FormatBool(p.Type.List), strconv.FormatBool(p.List))
	}
	v.Shape = hex.EncodeToString(h.shape.Sum(nil))[:32]
	put(h.authority, v.Shape)
	v.Authority = hex.EncodeToString(h.authority.Sum(nil))[:32]
}
