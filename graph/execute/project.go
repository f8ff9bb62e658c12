package execute

import (
	"bytes"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
)

// A member is a member of a JSON object: the bytes of its name, as written, and
// of its value.
type member struct{ name, value []byte }

// json writes a value that is not copied as it is: an enum, an object by its
// selection, a list of them, or a leaf whose scalar is checked. The cell is
// valid JSON; it was checked where it entered.
func (w *renderer) json(f *plan.Field, value []byte) bool {
	if len(value) == 0 || value[0] == 'n' {
		return false
	}
	if f.Leaf != nil && f.Leaf.List {
		return w.jsonList(f, value)
	}
	return w.jsonItem(f, value)
}

func (w *renderer) jsonItem(f *plan.Field, value []byte) bool {
	if f.Select != nil {
		return w.jsonObject(f, value)
	}
	return w.leaf(f, value)
}

func (w *renderer) jsonList(f *plan.Field, value []byte) bool {
	if value[0] != '[' {
		w.fail(f, "the source gave something else than a list")
		return false
	}
	start := len(w.buf)
	w.buf = append(w.buf, '[')
	w.path = append(w.path, step{})
	ok := true
	for at, i := 1, 0; ok; i++ {
		at = blank(value, at)
		if at >= len(value) || value[at] == ']' {
			break
		}
		if value[at] == ',' {
			at = blank(value, at+1)
		}
		end := skip(value, at)
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.path[len(w.path)-1].at = i
		item := value[at:end]
		at = end
		switch {
		case item[0] != 'n' && w.jsonItem(f, item):
		case f.Leaf.ItemNonNull:
			if item[0] == 'n' {
				w.fail(f, "the source gave a null in a list without nulls")
			}
			ok = false
		default:
			w.buf = append(w.buf, "null"...)
		}
	}
	w.path = w.path[:len(w.path)-1]
	if !ok {
		w.buf = w.buf[:start]
		return false
	}
	w.buf = append(w.buf, ']')
	return true
}

// jsonObject writes the selected members of an object.
func (w *renderer) jsonObject(f *plan.Field, value []byte) bool {
	if value[0] != '{' {
		w.fail(f, "the source gave something else than an object")
		return false
	}
	first := len(w.members)
	w.members = membersOf(w.members, value)
	mine := w.members[first:]
	defer func() { w.members = w.members[:first] }()
	start := len(w.buf)
	w.buf = append(w.buf, '{')
	for i, sub := range f.Select.Fields {
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, sub.Open...)
		if sub.Kind == plan.FieldConst {
			w.buf = append(w.buf, sub.Text...)
			continue
		}
		v := find(mine, sub.Member)
		if len(v) == 0 || v[0] == 'n' {
			if sub.NonNull {
				w.missing(sub)
				w.buf = w.buf[:start]
				return false
			}
			w.buf = append(w.buf, "null"...)
			continue
		}
		w.path = append(w.path, step{key: sub.Key})
		ok := w.json(sub, v)
		w.path = w.path[:len(w.path)-1]
		if !ok {
			if sub.NonNull {
				w.buf = w.buf[:start]
				return false
			}
			w.buf = append(w.buf, "null"...)
		}
	}
	w.buf = append(w.buf, '}')
	return true
}

// membersOf appends the members of an object.
func membersOf(into []member, value []byte) []member {
	at := blank(value, 1)
	for at < len(value) && value[at] != '}' {
		if value[at] == ',' {
			at = blank(value, at+1)
		}
		end := skip(value, at)
		name := value[at:end]
		at = blank(value, end)
		at = blank(value, at+1) // the colon
		if at >= len(value) {
			break
		}
		end = skip(value, at)
		into = append(into, member{name: name, value: value[at:end]})
		at = blank(value, end)
	}
	return into
}

// find is the last member of that name, as JSON parsers decide.
func find(members []member, name string) []byte {
	for i := len(members) - 1; i >= 0; i-- {
		n := members[i].name
		if len(n) == len(name)+2 && string(n[1:len(n)-1]) == name {
			return members[i].value
		}
		if bytes.IndexByte(n, '\\') >= 0 {
			if v, err := connectors.ParseCell(n, connectors.ScalarString); err == nil && v.Text == name {
				return members[i].value
			}
		}
	}
	return nil
}

// blank skips white space.
func blank(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skip is the end of the JSON value that begins at i.
func skip(b []byte, i int) int {
	if i >= len(b) {
		return len(b)
	}
	switch b[i] {
	case '"':
		for i++; i < len(b); i++ {
			switch b[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return len(b)
	case '{', '[':
		depth := 0
		for i < len(b) {
			switch b[i] {
			case '"':
				i = skip(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(b)
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	return i
}
