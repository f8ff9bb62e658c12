package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/countersign/countersign/connectors"
)

// maxDocument and maxTreeDepth bound the documents that are read.
const (
	maxDocument  = 64 << 20
	maxTreeDepth = 500
)

// A tree is a JSON value whose members keep the order in which they stand: the
// library that reads documents forgets it, and the fields of the graph shall
// stand as the system's own documentation has them.
type tree struct {
	// scalar is the JSON text of anything but objects and arrays.
	scalar json.RawMessage
	array  bool
	names  []string // of an object's members; nil for arrays
	items  []*tree
}

func (t *tree) isObject() bool { return t.scalar == nil && !t.array }

// get is a member of an object, or nil.
func (t *tree) get(name string) *tree {
	if t == nil {
		return nil
	}
	for i, n := range t.names {
		if n == name {
			return t.items[i]
		}
	}
	return nil
}

// set replaces or adds a member.
func (t *tree) set(name string, v *tree) {
	for i, n := range t.names {
		if n == name {
			t.items[i] = v
			return
		}
	}
	t.names, t.items = append(t.names, name), append(t.items, v)
}

// drop takes a member out.
func (t *tree) drop(name string) {
	for i, n := range t.names {
		if n == name {
			t.names = append(t.names[:i:i], t.names[i+1:]...)
			t.items = append(t.items[:i:i], t.items[i+1:]...)
			return
		}
	}
}

// text is the value of a string, "" for anything else.
func (t *tree) text() string {
	var s string
	if t == nil || t.scalar == nil || json.Unmarshal(t.scalar, &s) != nil {
		return ""
	}
	return s
}

func textTree(s string) *tree { return &tree{scalar: connectors.AppendJSONString(nil, s)} }

func (t *tree) append(b []byte) []byte {
	switch {
	case t.scalar != nil:
		return append(b, t.scalar...)
	case t.array:
		b = append(b, '[')
		for i, x := range t.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = x.append(b)
		}
		return append(b, ']')
	}
	b = append(b, '{')
	for i, x := range t.items {
		if i > 0 {
			b = append(b, ',')
		}
		b = connectors.AppendJSONString(b, t.names[i])
		b = append(b, ':')
		b = x.append(b)
	}
	return append(b, '}')
}

// pointer follows a reference "#/a/b"; nil where it leads nowhere.
func (t *tree) pointer(ref string) *tree {
	path, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil
	}
	if path == "" {
		return t
	}
	path, ok = strings.CutPrefix(path, "/")
	if !ok {
		return nil
	}
	for _, part := range strings.Split(path, "/") {
		if plain, err := url.PathUnescape(part); err == nil {
			part = plain
		}
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		if t == nil || t.scalar != nil {
			return nil
		}
		if !t.array {
			t = t.get(part)
			continue
		}
		i, err := strconv.Atoi(part)
		if err != nil || i < 0 || i >= len(t.items) {
			return nil
		}
		t = t.items[i]
	}
	return t
}

// parseTree reads a document in JSON or YAML.
func parseTree(data []byte) (*tree, error) {
	if len(data) > maxDocument {
		return nil, fmt.Errorf("the document is larger than %d bytes", maxDocument)
	}
	if first := bytes.TrimLeft(data, " \t\r\n\ufeff"); len(first) > 0 && first[0] == '{' {
		return parseJSON(first)
	}
	var v any
	if err := yaml.UnmarshalWithOptions(data, &v, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	return fromYAML(v, 0)
}

func parseJSON(data []byte) (*tree, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	t, err := decodeTree(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("the document goes on after its JSON value")
	}
	return t, nil
}

func decodeTree(d *json.Decoder, depth int) (*tree, error) {
	if depth > maxTreeDepth {
		return nil, fmt.Errorf("the document is nested deeper than %d levels", maxTreeDepth)
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		raw, err := json.Marshal(token)
		return &tree{scalar: raw}, err
	}
	t := &tree{array: delim == '['}
	for d.More() {
		name := ""
		if !t.array {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, _ = key.(string)
		}
		x, err := decodeTree(d, depth+1)
		if err != nil {
			return nil, err
		}
		if t.array {
			t.items = append(t.items, x)
		} else {
			t.names, t.items = append(t.names, name), append(t.items, x)
		}
	}
	_, err = d.Token()
	return t, err
}

func fromYAML(v any, depth int) (*tree, error) {
	if depth > maxTreeDepth {
		return nil, fmt.Errorf("the document is nested deeper than %d levels", maxTreeDepth)
	}
	t := &tree{}
	switch v := v.(type) {
	case yaml.MapSlice:
		for _, item := range v {
			x, err := fromYAML(item.Value, depth+1)
			if err != nil {
				return nil, err
			}
			// Keys may be numbers: the statuses of responses.
			t.names, t.items = append(t.names, fmt.Sprint(item.Key)), append(t.items, x)
		}
		return t, nil
	case []any:
		t.array = true
		for _, item := range v {
			x, err := fromYAML(item, depth+1)
			if err != nil {
				return nil, err
			}
			t.items = append(t.items, x)
		}
		return t, nil
	}
	raw, err := json.Marshal(v)
	t.scalar = raw
	return t, err
}
