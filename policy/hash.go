package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"sort"
	"strconv"
)

// hasher computes the two hashes of a view while it is built. Every part is
// written with its length, so that no two views are written alike.
type hasher struct {
	shape, authority []byte
}

func newHasher(v *View, e *Engine) *hasher {
	h := &hasher{}
	put(&h.shape, "shape/1", e.opts.CatalogVersion, string(v.Kind), strconv.FormatBool(v.CanDecide))
	put(&h.authority, "authority/1", e.version, e.opts.CatalogVersion)
	return h
}

func put(to *[]byte, parts ...string) {
	for _, p := range parts {
		*to = append(append(strconv.AppendInt(*to, int64(len(p)), 10), ':'), p...)
	}
}

// newObjectHasher makes the hashes of the access to one object.
func newObjectHasher() *hasher {
	return &hasher{make([]byte, 0, 512), make([]byte, 0, 1024)}
}

func (h *hasher) sums() (shape, authority string) {
	a, b := sha256.Sum256(h.shape), sha256.Sum256(h.authority)
	return string(a[:]), string(b[:])
}

func (h *hasher) object(a *Access) {
	put(&h.shape, "object", a.Object, a.shape)
	put(&h.authority, "object", a.Object, a.authority)
}

// A fieldShape is fields that are shown alike.
type fieldShape struct {
	cell   Cell
	shape  string
	key    []string
	fields []string
}

func (h *hasher) read(row *clause, alike []*fieldShape, lines []LineRef) {
	byShape := map[string][]string{}
	put(&h.authority, "read", keyOf(row), strconv.Itoa(len(alike)))
	for _, a := range alike {
		byShape[a.shape] = append(byShape[a.shape], a.fields...)
		put(&h.authority, strconv.Itoa(len(a.fields)), strconv.Itoa(len(a.key)))
		put(&h.authority, a.fields...)
		put(&h.authority, a.key...)
	}
	// Fields are told in one order whatever lines they came from.
	put(&h.shape, "read", strconv.Itoa(len(byShape)))
	for _, shape := range slices.Sorted(maps.Keys(byShape)) {
		fields := byShape[shape]
		slices.Sort(fields)
		put(&h.shape, shape, strconv.Itoa(len(fields)))
		put(&h.shape, fields...)
	}
	h.lines(lines)
}

func (h *hasher) lines(lines []LineRef) {
	put(&h.authority, strconv.Itoa(len(lines)))
	for _, l := range lines {
		put(&h.authority, l.File, strconv.Itoa(l.Line))
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
	put(&h.shape, string(act), strconv.Itoa(len(fields)))
	put(&h.shape, fields...)
	put(&h.authority, string(act), strconv.Itoa(len(people)), strconv.Itoa(len(w.Presets)))
	for _, p := range w.Presets {
		put(&h.authority, p.Field, strconv.Itoa(p.Operand.Arg), string(p.Operand.Const.AppendCanonical(nil)))
	}
	for _, g := range people {
		put(&h.authority, strconv.Itoa(len(g.lets)), strconv.Itoa(len(g.denies)))
		for _, list := range [][]grant{g.lets, g.denies} {
			for _, l := range list {
				// A line of this policy version covers the same fields for everybody.
				put(&h.authority, l.line.ref.File, strconv.Itoa(l.line.ref.Line), strconv.Itoa(l.role), strconv.Itoa(l.rank),
					l.target.text, l.effect.String(), keyOf(l.where), keyOf(l.check), strconv.Itoa(l.line.max))
			}
		}
	}
}

// finish writes the parameters, whose positions conditions refer to, and keeps
// the hashes, cut to 32 characters.
func (h *hasher) finish(v *View) {
	for _, p := range v.Params {
		put(&h.authority, string(p.Kind), p.Name, p.Type.Native, string(p.Type.Scalar), p.Type.Enum, p.Type.Object,
			strconv.FormatBool(p.Type.List), strconv.FormatBool(p.List))
	}
	shape := sha256.Sum256(h.shape)
	v.Shape = hex.EncodeToString(shape[:16])
	put(&h.authority, v.Shape)
	authority := sha256.Sum256(h.authority)
	v.Authority = hex.EncodeToString(authority[:16])
}
