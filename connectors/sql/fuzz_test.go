package sql_test

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

// marker is in every value; it must never be in any SQL.
const marker = "VALUE-THAT-MUST-BE-BOUND"

// A byteReader makes choices of fuzzed bytes.
type byteReader struct{ data []byte }

func (r *byteReader) byte() byte {
	if len(r.data) == 0 {
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *byteReader) pick(from ...string) string { return from[int(r.byte())%len(from)] }

func (r *byteReader) text() string {
	n := min(int(r.byte())%24, len(r.data))
	s := string(r.data[:n])
	r.data = r.data[n:]
	return s
}

// name is a field of the schema, or anything.
func (r *byteReader) name() string {
	if r.byte()%8 == 0 {
		return r.text()
	}
	return r.pick("id", "select", `odd "name`, "from", "parent", "tags", "made", "order_id", "pos", "qty", "body", "local", "doc", "ip", "b")
}

func (r *byteReader) collection() string {
	if r.byte()%16 == 0 {
		return r.text()
	}
	return r.pick("order", "line", "note", "types", "no_key", "happy", `"a.b"`)
}

func (r *byteReader) value() connectors.Value {
	v := connectors.Value{Kind: connectors.Kind(r.byte() % 12), Text: marker}
	if v.Kind == connectors.KindBool {
		v.Text = r.pick("true", "false")
	}
	if v.Kind == connectors.KindList {
		for range r.byte() % 3 {
			v.Items = append(v.Items, connectors.String(marker))
		}
	}
	return v
}

func (r *byteReader) operand() connectors.Operand {
	if r.byte()%2 == 0 {
		return connectors.Operand{Arg: int(r.byte()) - 4}
	}
	return connectors.Const(r.value())
}

func (r *byteReader) relation(depth int) *connectors.Relation {
	rel := &connectors.Relation{To: r.collection()}
	for range r.byte() % 3 {
		rel.Fields = append(rel.Fields, r.name())
	}
	for range r.byte() % 3 {
		rel.On = append(rel.On, r.name())
	}
	if r.byte()%3 == 0 {
		rel.Where = r.condition(depth - 1)
	}
	return rel
}

func (r *byteReader) condition(depth int) *connectors.Condition {
	if depth <= 0 || r.byte()%16 == 0 {
		return nil
	}
	c := &connectors.Condition{Op: connectors.Op(r.pick("and", "or", "not", "true", "related", "eq", "ne", "in", "notIn", "gt", "isNull", "like", "ilike",
		"startsWith", "endsWith", "contains", "hasKey", "search", "", "; drop table"))}
	switch c.Op {
	case connectors.OpAnd, connectors.OpOr, connectors.OpNot:
		for range r.byte() % 4 {
			c.Items = append(c.Items, r.condition(depth-1))
		}
	case connectors.OpRelated:
		if r.byte()%8 != 0 {
			c.Relation = r.relation(depth)
		}
		c.Quantifier = connectors.Quantifier(r.pick("some", "every", "none", "one", "", "most"))
		c.Inner = r.condition(depth - 1)
	default:
		c.Field, c.Operand = r.name(), r.operand()
	}
	return c
}

func (r *byteReader) sel() *connectors.Select {
	s := &connectors.Select{Collection: r.collection(), Where: r.condition(6), MaxRows: int(r.byte()) - 1}
	for range r.byte() % 4 {
		s.Columns = append(s.Columns, connectors.Column{Field: r.name(), Version: r.byte()%5 == 0, If: r.condition(int(r.byte() % 4))})
	}
	for range r.byte() % 4 {
		o := connectors.OrderTerm{Field: r.name(), Desc: r.byte()%2 == 0, Nulls: connectors.Nulls(r.byte() % 4)}
		if r.byte()%4 == 0 {
			o.Via = append(o.Via, *r.relation(2))
		}
		s.Order = append(s.Order, o)
	}
	for range r.byte() % 3 {
		s.Bind = append(s.Bind, r.name())
	}
	if r.byte()%2 == 0 {
		s.Page = &connectors.Page{Limit: r.operand(), Offset: r.operand(), Reverse: r.byte()%2 == 0}
		for range s.Order {
			if r.byte()%2 == 0 {
				s.Page.After = append(s.Page.After, r.operand())
			}
			if r.byte()%2 == 0 {
				s.Page.Before = append(s.Page.Before, r.operand())
			}
		}
	}
	if r.byte()%4 == 0 {
		s.Columns, s.Aggregate = nil, &connectors.Aggregate{}
		for range r.byte() % 3 {
			s.Aggregate.GroupBy = append(s.Aggregate.GroupBy, r.name())
			s.Aggregate.Values = append(s.Aggregate.Values, connectors.AggregateValue{Func: connectors.AggregateFunc(r.pick("count", "sum", "min", "x")), Field: r.name()})
			s.Aggregate.Having = append(s.Aggregate.Having, connectors.Having{Value: connectors.AggregateValue{Func: connectors.AggCount}, Op: connectors.Op(r.pick("gt", "in", "isNull", "like")), Operand: r.operand()})
		}
	}
	return s
}

var (
	placeholderPG   = regexp.MustCompile(`\$(\d+)`)
	placeholderLite = regexp.MustCompile(`\?(\d+)`)
)

// FuzzCompile: compiling never panics, all placeholders have a parameter and all
// parameters a placeholder, no value and no unknown name gets into the SQL, and
// an error is one of the contract.
func FuzzCompile(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x01\x02\x03\x04\x05\x06\x07 the quick brown fox jumps over the lazy dog \x00\xff\x10\x20\x30 and again and again and again"))
	for i := range byte(60) {
		seed := make([]byte, 300)
		for j := range seed {
			seed[j] = byte(j)*7*i + byte(j*j)>>2 + i
		}
		f.Add(seed)
	}
	postgres, sqlite := offline(f, dialects[0]), offline(f, dialects[1])
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &byteReader{data}
		s := r.sel()
		args := []connectors.Value{r.value(), connectors.Null, r.value()}
		for _, d := range []struct {
			compile func(*connectors.Select, []connectors.Value) (string, int, error)
			place   *regexp.Regexp
		}{{postgres.Compile, placeholderPG}, {sqlite.Compile, placeholderLite}} {
			text, n, err := d.compile(s, args)
			if err != nil {
				switch connectors.CodeOf(err) {
				case connectors.CodeBadInput, connectors.CodeUnsupported:
				default:
					t.Errorf("%v", err)
				}
				continue
			}
			if strings.Contains(text, marker) {
				t.Errorf("a value stands in %s", text)
			}
			// '$[0]' of SQLite's JSON paths is text of our own.
			seen := map[int]bool{}
			for _, m := range d.place.FindAllStringSubmatch(text, -1) {
				i, _ := strconv.Atoi(m[1])
				seen[i] = true
			}
			if len(seen) != n || n > 0 && !seen[n] {
				t.Errorf("%d parameters, placeholders %v in %s", n, seen, text)
			}
		}
	})
}

// FuzzAppendText: text is written so that it is read as what the module's other
// way of writing it is read as.
func FuzzAppendText(f *testing.F) {
	f.Add("plain")
	f.Add("quote \" back \\ \x00\x1f\u2028 \xff \u65e5")
	f.Fuzz(func(t *testing.T, s string) {
		var got, want string
		if err := json.Unmarshal(sql.AppendText(s), &got); err != nil {
			t.Fatalf("%q is written %s: %v", s, sql.AppendText(s), err)
		}
		if err := json.Unmarshal(connectors.AppendJSONString(nil, s), &want); err != nil || got != want {
			t.Errorf("%q is read as %q, not %q", s, got, want)
		}
	})
}
