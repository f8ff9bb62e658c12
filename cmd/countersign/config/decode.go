package config

import (
	"fmt"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder walks the syntax tree beside the Go types, so that every problem has
// a line and one problem does not hide the next.
type decoder struct {
	file     string
	lookup   func(string) (string, bool)
	unset    string // for variables that are not there; "": that is a problem
	readFile func(string) ([]byte, error)
	problems []Problem
	secrets  []Problem
	lines    map[string]int // where each key stands
}

func (d *decoder) problem(n ast.Node, code, format string, args ...any) {
	d.problems = append(d.problems, d.at(n, code, fmt.Sprintf(format, args...)))
}

func (d *decoder) at(n ast.Node, code, message string) Problem {
	p := Problem{File: d.file, Code: code, Message: message}
	if n != nil {
		if t := n.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	return p
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	laterType    = reflect.TypeFor[Later]()
	rateType     = reflect.TypeFor[Rate]()
	costType     = reflect.TypeFor[CostLimit]()
	stringsType  = reflect.TypeFor[StringList]()
	oneOrMapType = reflect.TypeFor[OneOrMap]()
	filterType   = reflect.TypeFor[Filter]()
	outcomeType  = reflect.TypeFor[Outcome]()
	cacheType    = reflect.TypeFor[Cache]()
	outcomesType = reflect.TypeFor[Outcomes]()
	cachesType   = reflect.TypeFor[Caches]()
	pemType      = reflect.TypeFor[PEM]()
)

// value decodes n into v; path is the dotted key, for messages.
func (d *decoder) value(n ast.Node, v reflect.Value, path string) {
	n = unwrap(n)
	if _, isNull := n.(*ast.NullNode); n == nil || isNull {
		return
	}
	if t := n.GetToken(); t != nil && t.Position != nil && d.lines != nil {
		d.lines[path] = t.Position.Line
	}
	switch v.Type() {
	case laterType:
		d.problem(n, "not_supported", "%s is not supported yet", path)
		return
	case durationType:
		if s, ok := d.scalar(n, path); ok {
			if dur, err := ParseDuration(s); err != nil {
				d.problem(n, "bad_value", "%s: %v", path, err)
			} else {
				v.SetInt(int64(dur))
			}
		}
		return
	case sizeType:
		if s, ok := d.scalar(n, path); ok {
			if size, err := ParseSize(s); err != nil {
				d.problem(n, "bad_value", "%s: %v", path, err)
			} else {
				v.SetInt(int64(size))
			}
		}
		return
	case rateType:
		if s, ok := d.scalar(n, path); ok {
			if rate, err := ParseRate(s); err != nil {
				d.problem(n, "bad_value", "%s: %v", path, err)
			} else {
				v.Set(reflect.ValueOf(rate))
			}
		}
		return
	case costType:
		d.cost(n, v, path)
		return
	case pemType:
		d.pem(n, v, path)
		return
	case stringsType:
		if _, seq := n.(*ast.SequenceNode); !seq {
			if s, ok := d.scalar(n, path); ok {
				v.Set(reflect.ValueOf(StringList{s}))
			}
			return
		}
	case oneOrMapType, filterType, outcomesType, cachesType, outcomeType, cacheType:
		if _, isMap := mapping(n); !isMap {
			d.short(n, v, path)
			return
		}
	}
	d.kind(n, v, path)
}

var filePath = regexp.MustCompile(`^\$\{file:([^}]+)\}$`)

// pem decodes a PEM: a file is not read here, so that it can be read again.
func (d *decoder) pem(n ast.Node, v reflect.Value, path string) {
	if s, ok := n.(*ast.StringNode); ok {
		if m := filePath.FindStringSubmatch(s.Value); m != nil {
			v.Set(reflect.ValueOf(PEM{File: m[1]}))
			return
		}
	}
	s, ok := d.scalar(n, path)
	switch {
	case !ok:
	case strings.HasPrefix(strings.TrimSpace(s), "-----BEGIN "):
		v.Set(reflect.ValueOf(PEM{Text: s}))
	default:
		v.Set(reflect.ValueOf(PEM{File: s}))
	}
}

// short decodes the one-value form of a type that can also be a map.
func (d *decoder) short(n ast.Node, v reflect.Value, path string) {
	s, ok := d.scalar(n, path)
	if !ok {
		return
	}
	switch v.Type() {
	case oneOrMapType:
		v.Set(reflect.ValueOf(OneOrMap{"*": s}))
	case filterType:
		v.Set(reflect.ValueOf(Filter{"eq": s}))
	case outcomeType:
		v.Set(reflect.ValueOf(Outcome{Class: s}))
	case outcomesType:
		v.Set(reflect.ValueOf(Outcomes{"*": {Class: s}}))
	default:
		ttl, err := ParseDuration(s)
		if err != nil {
			d.problem(n, "bad_value", "%s: %v", path, err)
			return
		}
		if v.Type() == cacheType {
			v.Set(reflect.ValueOf(Cache{TTL: ttl}))
		} else {
			v.Set(reflect.ValueOf(Caches{"*": {TTL: ttl}}))
		}
	}
}

// cost decodes one or both bounds of the cost.
func (d *decoder) cost(n ast.Node, v reflect.Value, path string) {
	items := []ast.Node{n}
	if seq, ok := n.(*ast.SequenceNode); ok {
		items = seq.Values
	}
	var out CostLimit
	for _, item := range items {
		if s, ok := d.scalar(unwrap(item), path); ok {
			if err := out.parse(s); err != nil {
				d.problem(item, "bad_value", "%s: %v", path, err)
			}
		}
	}
	v.Set(reflect.ValueOf(out))
}

func (d *decoder) kind(n ast.Node, v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.String:
		if s, ok := d.scalar(n, path); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		if s, ok := d.scalar(n, path); ok {
			switch s {
			case "true":
				v.SetBool(true)
			case "false":
				v.SetBool(false)
			default:
				d.problem(n, "bad_value", "%s must be true or false", path)
			}
		}
	case reflect.Int:
		if s, ok := d.scalar(n, path); ok {
			i, err := strconv.Atoi(s)
			if err != nil || i < 0 {
				d.problem(n, "bad_value", "%s must be a whole number, not negative", path)
				return
			}
			v.SetInt(int64(i))
		}
	case reflect.Slice:
		d.slice(n, v, path)
	case reflect.Map:
		d.goMap(n, v, path)
	case reflect.Struct:
		if strings.HasPrefix(v.Type().Name(), "Map[") {
			d.ordered(n, v, path)
			return
		}
		d.structure(n, v, path)
	}
}

func (d *decoder) slice(n ast.Node, v reflect.Value, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.problem(n, "bad_value", "%s must be a list", path)
		return
	}
	out := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		d.value(item, out.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(out)
}

func (d *decoder) goMap(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	out := reflect.MakeMap(v.Type())
	for _, e := range entries {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(e.value, item, join(path, e.key))
		out.SetMapIndex(reflect.ValueOf(e.key), item)
	}
	v.Set(out)
}

// ordered decodes a Map[T].
func (d *decoder) ordered(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	values := v.FieldByName("Values")
	out := reflect.MakeMap(values.Type())
	var names []string
	for _, e := range entries {
		item := reflect.New(values.Type().Elem()).Elem()
		d.value(e.value, item, join(path, e.key))
		if line := item.FieldByName("Line"); line.IsValid() && line.CanSet() {
			line.SetInt(int64(e.node.GetToken().Position.Line))
		}
		names = append(names, e.key)
		out.SetMapIndex(reflect.ValueOf(e.key), item)
	}
	v.FieldByName("Names").Set(reflect.ValueOf(names))
	values.Set(out)
}

func (d *decoder) structure(n ast.Node, v reflect.Value, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	fields := map[string]int{}
	var known []string
	for i := range v.NumField() {
		if key := v.Type().Field(i).Tag.Get("yaml"); key != "" && key != "-" {
			fields[key] = i
			known = append(known, key)
		}
	}
	for _, e := range entries {
		i, ok := fields[e.key]
		if !ok {
			p := d.at(e.node, "unknown_key", fmt.Sprintf("unknown key %q", join(path, e.key)))
			p.Hint = Nearest(e.key, known)
			d.problems = append(d.problems, p)
			continue
		}
		d.value(e.value, v.Field(i), join(path, e.key))
	}
}

type entry struct {
	key   string
	node  ast.Node
	value ast.Node
}

// entries lists a mapping's keys and values, and reports keys that stand twice.
func (d *decoder) entries(n ast.Node, path string) ([]entry, bool) {
	values, ok := mapping(n)
	if !ok {
		if path == "" {
			path = "the file"
		}
		d.problem(n, "bad_value", "%s must be a mapping of keys to values", path)
		return nil, false
	}
	var out []entry
	seen := map[string]bool{}
	for _, mv := range values {
		key := keyText(mv.Key)
		if seen[key] {
			d.problem(mv.Key, "duplicate_key", "%q stands twice", join(path, key))
			continue
		}
		seen[key] = true
		out = append(out, entry{key: key, node: mv.Key, value: mv.Value})
	}
	return out, true
}

func keyText(k ast.MapKeyNode) string {
	// The token's value keeps words such as on, yes and 1 as they are written.
	if s, ok := k.(*ast.StringNode); ok {
		return s.Value
	}
	return k.GetToken().Value
}

func mapping(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch m := unwrap(n).(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	return nil, false
}

func unwrap(n ast.Node) ast.Node {
	for {
		switch w := n.(type) {
		case *ast.AnchorNode:
			n = w.Value
		case *ast.TagNode:
			n = w.Value
		default:
			return n
		}
	}
}

// scalar answers the text of a scalar with ${…} expanded.
func (d *decoder) scalar(n ast.Node, path string) (string, bool) {
	var text string
	switch s := n.(type) {
	case *ast.StringNode:
		text = s.Value
	case *ast.LiteralNode:
		text = s.Value.Value
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		if isFlow(n) {
			d.problem(n, "bad_value", "%s must be one value; if a GraphQL literal is meant, quote it", path)
		} else {
			d.problem(n, "bad_value", "%s must be one value", path)
		}
		return "", false
	default:
		// Numbers, booleans and the like as they are written.
		text = n.GetToken().Value
	}
	expanded, secret, err := d.expand(text)
	if err != nil {
		d.problem(n, "unset_variable", "%s: %v", path, err)
		return "", false
	}
	if !secret && looksSecret(path, expanded) {
		p := d.at(n, "literal_secret", path+" holds a secret in the file itself")
		p.Hint = "put it into .env and write ${" + envName(path) + "}"
		d.secrets = append(d.secrets, p)
	}
	return expanded, true
}

func isFlow(n ast.Node) bool {
	t := n.GetToken()
	return t != nil && (t.Type == token.MappingStartType || t.Type == token.SequenceStartType)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Nearest is a hint with the known name that a mistyped one most probably means;
// "" if none is near.
func Nearest(name string, known []string) string {
	best, bestDistance := "", 1+len(name)/2
	sort.Strings(known)
	for _, k := range known {
		if dist := levenshtein.ComputeDistance(strings.ToLower(name), strings.ToLower(k)); dist <= bestDistance && dist < len(k) {
			if best == "" || dist < bestDistance {
				best, bestDistance = k, dist
			}
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + strconv.Quote(best) + "?"
}
