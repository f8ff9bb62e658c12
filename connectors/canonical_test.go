package connectors_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
)

func value() *rapid.Generator[connectors.Value] {
	var gen func(depth int) *rapid.Generator[connectors.Value]
	gen = func(depth int) *rapid.Generator[connectors.Value] {
		return rapid.Custom(func(t *rapid.T) connectors.Value {
			most := 10
			if depth <= 0 {
				most = 8
			}
			switch rapid.IntRange(1, most).Draw(t, "kind") {
			case 1:
				return connectors.Null
			case 2:
				return connectors.Bool(rapid.Bool().Draw(t, "bool"))
			case 3:
				return connectors.Int(rapid.Int64().Draw(t, "int"))
			case 4:
				return connectors.Float(rapid.Float64().Draw(t, "float"))
			case 5:
				return connectors.Decimal(rapid.StringMatching(`-?[0-9]{1,20}(\.[0-9]{1,6})?`).Draw(t, "decimal"))
			case 6, 7:
				return connectors.String(rapid.String().Draw(t, "string"))
			case 8:
				return connectors.Value{Kind: connectors.KindBytes, Text: "AAEC"}
			case 9:
				return connectors.ListOf(rapid.SliceOfN(gen(depth-1), 0, 3).Draw(t, "items")...)
			}
			names := rapid.SliceOfNDistinct(rapid.String(), 0, 3, rapid.ID[string]).Draw(t, "names")
			var members []connectors.Member
			for _, n := range names {
				members = append(members, connectors.Member{Name: n, Value: gen(depth-1).Draw(t, "member")})
			}
			return connectors.ObjectOf(members...)
		})
	}
	return gen(3)
}

// The canonical form is what RFC 8785 makes of itself, and holds no number.
func TestCanonicalIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := value().Draw(t, "value")
		b := v.AppendCanonical(nil)
		again, err := jcs.Transform(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if !bytes.Equal(b, again) {
			t.Fatalf("written\n%s\nRFC 8785 has\n%s", b, again)
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		for {
			token, err := dec.Token()
			if err != nil {
				break
			}
			if _, isNumber := token.(float64); isNumber {
				t.Fatalf("a number stands in %s", b)
			}
		}
	})
}

// Values that differ, differ in bytes; equal ones are equal.
func TestCanonicalTellsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := value().Draw(t, "a"), value().Draw(t, "b")
		if a.Equal(b) && !bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil)) {
			t.Fatal("equal values differ in bytes")
		}
		if !sorted(a).Equal(sorted(b)) && bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil)) {
			t.Fatalf("%v and %v have one form", a, b)
		}
	})
	near := []connectors.Value{{}, connectors.Null, connectors.String(""), connectors.String("null"), connectors.Int(9007199254740992),
		connectors.Int(9007199254740993), connectors.Float(9007199254740992), connectors.Decimal("10.0"), connectors.Decimal("10.00"),
		connectors.String("10.00"), connectors.False, connectors.String("false"), connectors.ListOf(), connectors.ObjectOf(), connectors.ListOf(connectors.Null)}
	for i, a := range near {
		for j, b := range near {
			if (i == j) != bytes.Equal(a.AppendCanonical(nil), b.AppendCanonical(nil)) {
				t.Errorf("%v and %v: %s", a, b, a.AppendCanonical(nil))
			}
		}
	}
}

// sorted orders members by name: their order is no part of a value.
func sorted(v connectors.Value) connectors.Value {
	v.Items, v.Members = slices.Clone(v.Items), slices.Clone(v.Members)
	for i := range v.Items {
		v.Items[i] = sorted(v.Items[i])
	}
	for i := range v.Members {
		v.Members[i].Value = sorted(v.Members[i].Value)
	}
	slices.SortFunc(v.Members, func(a, b connectors.Member) int { return strings.Compare(a.Name, b.Name) })
	return v
}

// Every part of a change that decides what is sent decides its digest.
func TestDigestCoversTheChange(t *testing.T) {
	seen := map[[32]byte]string{}
	add := func(name string, edit func(*connectors.Change)) {
		c := change("Bonn")
		edit(c)
		d := c.Digest()
		if was, twice := seen[d]; twice {
			t.Errorf("%s and %s have one digest", name, was)
		}
		seen[d] = name
	}
	version := "7"
	small := connectors.Compare("amount", connectors.OpLte, connectors.Const(connectors.Int(50)))
	related := &connectors.Condition{Op: connectors.OpRelated, Quantifier: connectors.QuantOne,
		Relation: &connectors.Relation{To: "t", Fields: []string{"a"}, On: []string{"b"}}, Inner: small}
	step := func(edit func(*connectors.Step)) func(*connectors.Change) {
		return func(c *connectors.Change) { edit(&c.Steps[0]) }
	}
	add("as it is", func(*connectors.Change) {})
	add("source", func(c *connectors.Change) { c.Source = "erp" })
	add("tenant", func(c *connectors.Change) { c.Tenant = "other" })
	add("version", func(c *connectors.Change) { c.Version = 2 })
	add("marker", func(c *connectors.Change) { c.Marker = &connectors.Marker{Proposal: "p"} })
	add("void", func(c *connectors.Change) { c.Marker = &connectors.Marker{Proposal: "p", Void: true} })
	add("two steps", func(c *connectors.Change) { c.Steps = append(c.Steps, c.Steps[0]) })
	add("kind", step(func(s *connectors.Step) { s.Kind = connectors.Delete }))
	add("collection", step(func(s *connectors.Step) { s.Collection = "orders" }))
	add("function", step(func(s *connectors.Step) { s.Function = "f" }))
	add("key", step(func(s *connectors.Step) { s.Key[0].Value = connectors.Int(2) }))
	add("field", step(func(s *connectors.Step) { s.Set[0].Field = "name" }))
	add("value", step(func(s *connectors.Step) { s.Set[0].Value = connectors.String("Köln") }))
	add("null", step(func(s *connectors.Step) { s.Set[0].Value = connectors.Null }))
	add("increment", step(func(s *connectors.Step) { s.Set[0].Increment = true }))
	add("where", step(func(s *connectors.Step) { s.Where = small }))
	add("where not", step(func(s *connectors.Step) { s.Where = connectors.Not(small) }))
	add("where related", step(func(s *connectors.Step) { s.Where = related }))
	add("check", step(func(s *connectors.Step) { s.Check = small }))
	add("args", step(func(s *connectors.Step) { s.Args = connectors.ObjectOf() }))
	add("max rows", step(func(s *connectors.Step) { s.MaxRows = 3 }))
	add("if version", step(func(s *connectors.Step) { s.IfVersion = &version }))
	add("expect", step(func(s *connectors.Step) { s.Expect = []connectors.Expectation{{Key: s.Key}} }))
	add("expect nothing", step(func(s *connectors.Step) { s.Expect = []connectors.Expectation{} }))
	add("class", step(func(s *connectors.Step) { s.Class = connectors.Transactional }))
	add("preview", step(func(s *connectors.Step) { s.Preview = connectors.PreviewNone }))
	add("blind", step(func(s *connectors.Step) { s.Blind = true }))
	add("return", step(func(s *connectors.Step) { s.Return = []string{"city"} }))
	add("id", step(func(s *connectors.Step) { s.ID = "b" }))
}

// A change that is stored and read again is the same change.
func TestChangeSurvivesStoring(t *testing.T) {
	for name, expect := range map[string][]connectors.Expectation{"none": nil, "nothing": {}, "one": {{Key: change("x").Steps[0].Key}}} {
		c := change("Bonn")
		c.Steps[0].Expect = expect
		c.Steps[0].Args = connectors.ObjectOf(connectors.Member{Name: "a", Value: connectors.Null})
		c.Steps[0].Where = connectors.Not(connectors.Compare("a", connectors.OpIn, connectors.Const(connectors.ListOf(connectors.Int(1)))))
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var back connectors.Change
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		if back.Digest() != c.Digest() {
			t.Errorf("%s: the digest is another one after it was stored", name)
		}
	}
}
