package proposals_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/proposals"
)

var text = rapid.OneOf(rapid.SampledFrom([]string{"", "a", "1", "null", "é", "e\u0301", "\u2028", "\x00", `"`, `\`, "]", "\U0001F600", "\uE000", "9007199254740993"}), rapid.StringN(0, 6, 24))

func value(depth int) *rapid.Generator[connectors.Value] {
	return rapid.Custom(func(t *rapid.T) connectors.Value {
		most := 8
		if depth > 0 {
			most = 10
		}
		switch k := connectors.Kind(rapid.IntRange(1, most).Draw(t, "kind")); k {
		case connectors.KindNull:
			return connectors.Null
		case connectors.KindBool:
			return connectors.Bool(rapid.Bool().Draw(t, "bool"))
		case connectors.KindList:
			return connectors.ListOf(rapid.SliceOfN(value(depth-1), 0, 3).Draw(t, "items")...)
		case connectors.KindObject:
			var members []connectors.Member
			for _, name := range rapid.SliceOfNDistinct(text, 0, 3, rapid.ID[string]).Draw(t, "names") {
				members = append(members, connectors.Member{Name: name, Value: value(depth-1).Draw(t, "member")})
			}
			return connectors.ObjectOf(members...)
		default:
			return connectors.Value{Kind: k, Text: text.Draw(t, "text")}
		}
	})
}

var assigns = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) connectors.Assign {
	return connectors.Assign{Field: text.Draw(t, "field"), Value: value(2).Draw(t, "value"), Increment: rapid.Bool().Draw(t, "increment")}
}), 0, 3)

func condition(depth int) *rapid.Generator[*connectors.Condition] {
	return rapid.Custom(func(t *rapid.T) *connectors.Condition {
		ops := []connectors.Op{connectors.OpEq, connectors.OpNe, connectors.OpIn}
		if depth > 0 {
			ops = append(ops, connectors.OpAnd, connectors.OpOr, connectors.OpNot, connectors.OpRelated)
		}
		c := &connectors.Condition{Op: rapid.SampledFrom(ops).Draw(t, "op")}
		switch c.Op {
		case connectors.OpAnd, connectors.OpOr:
			c.Items = rapid.SliceOfN(condition(depth-1), 0, 3).Draw(t, "items")
		case connectors.OpNot:
			c.Items = []*connectors.Condition{condition(depth-1).Draw(t, "item")}
		case connectors.OpRelated:
			c.Quantifier = rapid.SampledFrom([]connectors.Quantifier{connectors.QuantOne, connectors.QuantSome}).Draw(t, "quantifier")
			c.Relation = &connectors.Relation{To: text.Draw(t, "to"), Fields: []string{text.Draw(t, "f")}, On: []string{text.Draw(t, "on")}}
			if rapid.Bool().Draw(t, "rows") {
				c.Relation.Where = condition(depth-1).Draw(t, "where")
			}
			c.Inner = condition(depth-1).Draw(t, "inner")
		default:
			c.Field, c.Operand = text.Draw(t, "field"), connectors.Const(value(1).Draw(t, "operand"))
		}
		return c
	})
}

var step = rapid.Custom(func(t *rapid.T) connectors.Step {
	s := connectors.Step{ID: text.Draw(t, "id"), Kind: connectors.StepKind(text.Draw(t, "kind")), Collection: text.Draw(t, "collection"),
		Function: text.Draw(t, "function"), Key: assigns.Draw(t, "key"), Set: assigns.Draw(t, "set"), MaxRows: rapid.IntRange(0, 3).Draw(t, "max"),
		Return: rapid.SliceOfN(text, 0, 2).Draw(t, "return"), Class: connectors.OutcomeClass(text.Draw(t, "class")), Preview: connectors.PreviewStrategy(text.Draw(t, "preview"))}
	if rapid.Bool().Draw(t, "has where") {
		s.Where = condition(2).Draw(t, "where")
	}
	if rapid.Bool().Draw(t, "has check") {
		s.Check = condition(1).Draw(t, "check")
	}
	if rapid.Bool().Draw(t, "has version") {
		v := text.Draw(t, "version")
		s.IfVersion = &v
	}
	if rapid.Bool().Draw(t, "has args") {
		s.Args = value(3).Draw(t, "args")
	}
	for range rapid.IntRange(0, 2).Draw(t, "expectations") {
		s.Expect = append(s.Expect, connectors.Expectation{Key: assigns.Draw(t, "ekey"), Fields: assigns.Draw(t, "efields")})
	}
	return s
})

var revision = rapid.Custom(func(t *rapid.T) *content {
	c := &content{Proposal: proposals.Proposal{Tenant: text.Draw(t, "tenant"), ID: text.Draw(t, "id"),
		NotBefore: time.UnixMicro(rapid.Int64Range(1, 1e15).Draw(t, "not before")).UTC(), ExecDeadline: time.UnixMicro(rapid.Int64Range(1, 1e15).Draw(t, "deadline")).UTC()},
		Revision: proposals.Revision{Number: rapid.IntRange(1, 3).Draw(t, "number"), Encoding: 1, KeyID: "k1", Evidence: rapid.SliceOfN(text, 0, 2).Draw(t, "evidence")}}
	for range rapid.IntRange(1, 2).Draw(t, "changes") {
		c.Revision.Set.Changes = append(c.Revision.Set.Changes, connectors.Change{Version: 1, Source: text.Draw(t, "source"), Tenant: text.Draw(t, "ctenant"),
			Steps: rapid.SliceOfN(step, 1, 2).Draw(t, "steps")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "targets") {
		c.Revision.Set.Targets = append(c.Revision.Set.Targets, proposals.Target{Source: text.Draw(t, "tsource"), Identity: text.Draw(t, "identity"),
			SchemaHash: text.Draw(t, "schema"), Atomic: rapid.Bool().Draw(t, "atomic")})
	}
	return c
})

type content struct {
	Proposal proposals.Proposal
	Revision proposals.Revision
}

func (c *content) form(t testing.TB) []byte {
	b, err := proposals.Canonical(&c.Proposal, &c.Revision, testKeys())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rt(t *rapid.T) testing.TB { return fatal{t: t} }

// fatal lets rapid's T stand where a testing.TB is wanted.
type fatal struct {
	testing.TB
	t *rapid.T
}

func (f fatal) Helper()           {}
func (f fatal) Fatal(args ...any) { f.t.Fatal(args...) }

// Change sets that differ in any leaf differ in bytes, and so do those that
// differ in the order or number of a list.
func TestEveryLeafCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := revision.Draw(t, "content")
		base := c.form(rt(t))
		mutate(reflect.ValueOf(c).Elem(), "", func(path string) {
			if bytes.Equal(base, c.form(rt(t))) {
				t.Fatalf("%s makes no difference:\n%s", path, base)
			}
		})
		if !bytes.Equal(base, c.form(rt(t))) {
			t.Fatal("a mutation was not taken back")
		}
	})
}

// notPart are what the canonical form leaves out on purpose.
func notPart(path string) bool {
	for _, p := range []string{".Proposal.", ".Revision."} {
		rest, ok := strings.CutPrefix(path, p)
		if !ok {
			continue
		}
		name := rest
		if i := strings.IndexAny(rest, ".["); i >= 0 {
			name = rest[:i]
		}
		switch p + name {
		case ".Proposal.Tenant", ".Proposal.ID", ".Proposal.NotBefore", ".Proposal.ExecDeadline",
			".Revision.Number", ".Revision.Set", ".Revision.Encoding", ".Revision.Evidence":
		default:
			return true
		}
	}
	for _, end := range []string{".IdempotencyKey", ".Deadline", ".Sensitive"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// mutate changes one leaf after the other, calls check, and takes it back.
func mutate(v reflect.Value, path string, check func(string)) {
	if notPart(path) || !v.CanSet() {
		return
	}
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		was := *x
		*x = was.Add(time.Microsecond)
		check(path)
		*x = was
		return
	case *connectors.Value:
		mutateValue(x, v, path, check)
		return
	case *connectors.Condition:
		mutateCondition(x, v, path, check)
		return
	}
	switch v.Kind() {
	case reflect.String:
		was := v.String()
		v.SetString(was + "x")
		check(path)
		v.SetString(was)
	case reflect.Bool:
		v.SetBool(!v.Bool())
		check(path)
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
		check(path)
		v.SetInt(v.Int() - 1)
	case reflect.Struct:
		for i := range v.NumField() {
			mutate(v.Field(i), path+"."+v.Type().Field(i).Name, check)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			mutate(v.Elem(), path, check)
		}
	case reflect.Slice:
		mutateList(v, path, check)
	}
}

func mutateList(v reflect.Value, path string, check func(string)) {
	for i := range v.Len() {
		mutate(v.Index(i), fmt.Sprintf("%s[%d]", path, i), check)
	}
	if v.Len() == 0 || strings.HasSuffix(path, ".Relation.Fields") || strings.HasSuffix(path, ".Relation.On") {
		return // the two go in pairs
	}
	was := reflect.ValueOf(v.Interface())
	v.Set(was.Slice(0, was.Len()-1))
	check(path + " one less")
	v.Set(was)
	if v.Len() > 1 && !strings.HasSuffix(path, ".Members") && !reflect.DeepEqual(v.Index(0).Interface(), v.Index(1).Interface()) && !sameValue(v.Index(0), v.Index(1)) {
		a, b := reflect.ValueOf(v.Index(0).Interface()), reflect.ValueOf(v.Index(1).Interface())
		v.Index(0).Set(b)
		v.Index(1).Set(a)
		check(path + " swapped")
		v.Index(0).Set(a)
		v.Index(1).Set(b)
	}
}

// sameValue: values that differ only in the order of members are one.
func sameValue(a, b reflect.Value) bool {
	raw := func(v reflect.Value) string {
		switch x := v.Interface().(type) {
		case connectors.Value:
			return string(x.AppendCanonical(nil))
		case connectors.Assign:
			return x.Field + "\x00" + fmt.Sprint(x.Increment) + string(x.Value.AppendCanonical(nil))
		}
		return fmt.Sprint(v.Interface(), v.Pointer())
	}
	switch a.Interface().(type) {
	case connectors.Value, connectors.Assign:
		return raw(a) == raw(b)
	case *connectors.Condition:
		x, y := a.Interface().(*connectors.Condition), b.Interface().(*connectors.Condition)
		return bytes.Equal(x.AppendCanonical(nil), y.AppendCanonical(nil))
	}
	return false
}

func mutateValue(x *connectors.Value, v reflect.Value, path string, check func(string)) {
	was := *x
	if was.Kind == connectors.KindAbsent {
		return
	}
	*x = connectors.Value{Kind: connectors.KindJSON, Text: "another"}
	check(path + " another value")
	if was.Kind == connectors.KindNull {
		*x = connectors.String("null")
	} else {
		*x = connectors.Null
	}
	check(path + " null")
	*x = was
	switch was.Kind {
	case connectors.KindNull:
	case connectors.KindList:
		mutateList(v.FieldByName("Items"), path+".Items", check)
	case connectors.KindObject:
		mutateList(v.FieldByName("Members"), path+".Members", check)
	default:
		mutate(v.FieldByName("Text"), path+".Text", check)
		for _, k := range []connectors.Kind{connectors.KindInt, connectors.KindDecimal, connectors.KindString} {
			if k != was.Kind {
				x.Kind = k
				check(path + " kind " + k.String())
				x.Kind = was.Kind
			}
		}
	}
}

func mutateCondition(x *connectors.Condition, v reflect.Value, path string, check func(string)) {
	fields := []string{"Field"}
	switch x.Op {
	case connectors.OpAnd, connectors.OpOr, connectors.OpNot:
		fields = []string{"Items"}
	case connectors.OpRelated:
		fields = []string{"Relation", "Quantifier", "Inner"}
	default:
		mutate(v.FieldByName("Operand").FieldByName("Const"), path+".Operand", check)
	}
	for _, f := range fields {
		mutate(v.FieldByName(f), path+"."+f, check)
	}
}

// The form is what RFC 8785 says of it, and no number stands in it.
func TestCanonicalIsJCS(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		form := revision.Draw(t, "content").form(rt(t))
		again, err := jcs.Transform(form)
		if err != nil || !bytes.Equal(form, again) {
			t.Fatalf("not canonical (%v):\n%s\n%s", err, form, again)
		}
		dec := json.NewDecoder(bytes.NewReader(form))
		dec.UseNumber()
		for {
			tok, err := dec.Token()
			if err != nil {
				break
			}
			if n, ok := tok.(json.Number); ok {
				t.Fatalf("the number %s stands in %s", n, form)
			}
		}
	})
}

// A store keeps changes as JSON: what comes back hashes to the same.
func TestHashSurvivesStorage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := revision.Draw(t, "content")
		before := c.form(rt(t))
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		back := new(content)
		if err := json.Unmarshal(raw, back); err != nil {
			t.Fatal(err)
		}
		if after := back.form(rt(t)); !bytes.Equal(before, after) {
			t.Fatalf("differs after storage:\n%s\n%s", before, after)
		}
	})
}

// Two big numbers that one double would hold are two.
func TestBigNumbersDiffer(t *testing.T) {
	make := func(n int64) string {
		c := &content{Revision: proposals.Revision{Number: 1, Encoding: 1, Set: proposals.ChangeSet{Changes: []connectors.Change{{
			Steps: []connectors.Step{{Set: []connectors.Assign{{Field: "n", Value: connectors.Int(n)}}}}}}}}}
		h, err := proposals.ContentHash(&c.Proposal, &c.Revision, testKeys())
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if make(9007199254740992) == make(9007199254740993) {
		t.Fatal("one hash for two numbers")
	}
}

// Sensitive values enter hashes under a key, never as themselves; and still
// count.
func TestSensitive(t *testing.T) {
	make := func(secret string, keys proposals.Keys) ([]byte, error) {
		r := proposals.Revision{Number: 1, Encoding: 1, KeyID: "k1", Set: proposals.ChangeSet{
			Changes: []connectors.Change{{Source: "crm", Steps: []connectors.Step{{Collection: "c",
				Set:    []connectors.Assign{{Field: "iban", Value: connectors.String(secret)}},
				Where:  connectors.Compare("iban", connectors.OpEq, connectors.Const(connectors.String(secret))),
				Expect: []connectors.Expectation{{Fields: []connectors.Assign{{Field: "iban", Value: connectors.String(secret)}}}},
			}, {Function: "f", Args: connectors.ObjectOf(connectors.Member{Name: "card", Value: connectors.ObjectOf(connectors.Member{Name: "number", Value: connectors.String(secret)})})}}}},
			Targets: []proposals.Target{{Source: "crm", Sensitive: []string{"c.iban", "f.card.number"}}}}}
		return proposals.Canonical(&proposals.Proposal{}, &r, keys)
	}
	a, err := make("DE89-secret", testKeys())
	if err != nil || bytes.Contains(a, []byte("DE89-secret")) {
		t.Fatalf("%v: %s", err, a)
	}
	b, _ := make("DE90-secret", testKeys())
	other := proposals.Keys{Current: "k1", ByID: map[string][]byte{"k1": []byte("another key of thirty-two bytes!")}}
	c, _ := make("DE89-secret", other)
	if bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Fatal("value or key makes no difference")
	}
	if _, err := make("x", proposals.Keys{}); err == nil {
		t.Fatal("hashed without a key")
	}
}

// FuzzCanonical: two values differ exactly where their canonical forms do.
func FuzzCanonical(f *testing.F) {
	f.Add("a", "b", "a", "b")
	f.Add(`a"],["b`, "", "a", `"],["b`)
	f.Add("9007199254740992", "", "9007199254740993", "")
	f.Fuzz(func(t *testing.T, f1, v1, f2, v2 string) {
		make := func(field, val string) []byte {
			s := connectors.Change{Steps: []connectors.Step{{Set: []connectors.Assign{{Field: field, Value: connectors.String(val)}},
				Args: connectors.ObjectOf(connectors.Member{Name: field, Value: connectors.String(val)})}}}
			return s.AppendCanonical(nil)
		}
		if same, equal := f1 == f2 && v1 == v2, bytes.Equal(make(f1, v1), make(f2, v2)); same != equal {
			t.Fatalf("%q %q against %q %q: equal bytes %v", f1, v1, f2, v2, equal)
		}
	})
}
