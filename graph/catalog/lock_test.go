package catalog_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
)

func lockOf(t testing.TB, sources string) *catalog.Lock {
	t.Helper()
	c := build(t, sources)
	l := &catalog.Lock{Sources: map[string]*catalog.PinnedSource{}}
	for _, s := range c.Sources {
		l.Sources[s.Name] = &catalog.PinnedSource{Schema: s.Schema, Names: c.Names(s.Name)}
	}
	return l
}

func TestLockRoundTrip(t *testing.T) {
	l := lockOf(t, shop)
	one, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := catalog.DecodeLock(one)
	if err != nil {
		t.Fatalf("%v\n%s", err, one)
	}
	two, err := back.Encode()
	if err != nil || string(one) != string(two) {
		t.Fatalf("%v\n%s\n%s", err, one, two)
	}
	if !json.Valid(one) {
		t.Error("not JSON")
	}
	for _, line := range []string{`{"name":"created_at","type":{"scalar":"DateTime"}`, `"graph":"createdAt"}`, `"graph":{"type":"Customer","single":"customer","plural":"customers"}`} {
		if !strings.Contains(string(one), line) {
			t.Errorf("%s is not in\n%s", line, one)
		}
	}
	fields := 0
	for _, line := range strings.Split(string(one), "\n") {
		if strings.HasPrefix(line, `    {"name"`) {
			fields++
		}
	}
	if fields < 25 {
		t.Errorf("%d lines of fields", fields)
	}
	if d := catalog.Diff(l, back); len(d) != 0 {
		t.Errorf("a lock differs from itself: %v", d)
	}
	want := l.Sources["crm"].Schema.Collection("customers")
	if got := back.Sources["crm"].Schema.Collection("customers"); !reflect.DeepEqual(got.Key, want.Key) || len(got.Fields) != len(want.Fields) {
		t.Errorf("%+v", got)
	}
}

// A pinned name holds, whatever the rules would say today.
func TestPinnedNames(t *testing.T) {
	l := lockOf(t, shop)
	n := l.Sources["crm"].Names
	n.Collections["customers"] = catalog.CollectionNames{Type: "Client", Single: "client", Plural: "clients", Fields: map[string]string{"name": "title"}}
	text, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := catalog.DecodeLock(text)
	if err != nil {
		t.Fatal(err)
	}
	sources := []catalog.Source{{Name: "crm", Schema: back.Sources["crm"].Schema}}
	c, problems := catalog.Build(sources, nil, catalog.Options{Control: control(t), Names: map[string]*catalog.Names{"crm": back.Sources["crm"].Names}})
	if c == nil {
		t.Fatal(problemText(problems))
	}
	col := c.Record("Client")
	if col == nil || col.Plural != "clients" || col.Field("title") == nil || col.Field("name") != nil {
		t.Errorf("%+v", col)
	}
	if got := c.Names("crm").Collections["customers"]; got.Type != "Client" || got.Fields["name"] != "title" {
		t.Errorf("the pin moves: %+v", got)
	}
	if c.Names("nothing") != nil {
		t.Error("names of no source")
	}
}

func TestLockRefuses(t *testing.T) {
	for _, bad := range []string{``, `{}`, `{"version":2,"sources":{}}`, `{"version":1,"sources":{"a":null}}`, `{"version":1,"more":1,"sources":{}}`,
		`{"version":1,"sources":{}} {}`, `{"version":1,"sources":{"a":{"connector":"x","capabilities":{},"collections":[{}]}}}`,
		`{"version":1,"sources":{"a":{"connector":"x","capabilities":{},"collections":[{"name":"x","fields":[{}]}]}}}`} {
		if _, err := catalog.DecodeLock([]byte(bad)); err == nil {
			t.Errorf("%s is a lock", bad)
		}
	}
}

func TestLockDiff(t *testing.T) {
	before := lockOf(t, "source crm\nenum mood a b\ncollection customers\n  id Int! key\n  fax String\n  email String!\n  mood enum:mood\nfunction f writes -> Int\n  a Int\nsource old\ncollection x\n  id Int! key\n")
	after := lockOf(t, "source crm\nenum mood a b c\ncollection customers\n  id Int! key\n  email String(100)\n  mood enum:mood readonly\n  loyalty Int\ncollection coupons\n  id Int! key\nfunction f writes -> Int\n  a Int!\nsource new\n")
	got := strings.Join(catalog.Diff(before, after), "\n")
	want := `+ crm.coupons: a collection with 1 fields
~ crm.customers.email String! → String(100)
- crm.customers.fax String
+ crm.customers.loyalty Int
~ crm.customers.mood: readOnly none → true
~ crm.f.a Int → Int!
~ crm enum mood: values ["a","b"] → ["a","b","c"]
+ source new: 0 collections, 0 functions
- source old`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFingerprint(t *testing.T) {
	base := "source crm\nenum mood a b\nobject o\n  x Int!\ncollection customers\n  id Int! key\n  name String\n  mood enum:mood\nfunction f writes -> object:o\n  a Int\n"
	of := func(text, object string, fields ...string) string {
		return build(t, text).Fingerprint(object, fields...)
	}
	all := of(base, "crm.customers")
	for _, k := range []struct {
		what, text, object string
		fields             []string
		moves              bool
	}{
		{"a comment", strings.Replace(base, "  name", "  # Words.\n  name", 1), "crm.customers", nil, false},
		{"a type", strings.Replace(base, "name String", "name String(5)", 1), "crm.customers", nil, true},
		{"another field", strings.Replace(base, "  name", "  more Int\n  name", 1), "crm.customers", nil, true},
		{"another field, not given", strings.Replace(base, "  name", "  more Int\n  name", 1), "crm.customers", []string{"name"}, false},
		{"values of an enum", strings.Replace(base, "mood a b", "mood a", 1), "crm.customers", nil, true},
		{"an argument", strings.Replace(base, "a Int", "a Int!", 1), "crm.f", nil, true},
		{"a member of the result", strings.Replace(base, "x Int!", "x Int", 1), "crm.f", nil, true},
		{"what can be filtered", strings.Replace(base, "name String", "name String filter=eq", 1), "crm.customers", nil, false},
	} {
		if moved := of(base, k.object, k.fields...) != of(k.text, k.object, k.fields...); moved != k.moves {
			t.Errorf("%s moves the fingerprint: %v", k.what, moved)
		}
	}
	if all == "" || of(base, "crm.nothing") != "" {
		t.Error("fingerprints are of objects")
	}
}

func TestVersion(t *testing.T) {
	one, two := build(t, shop), build(t, shop, shopGraph)
	if one.Version == "" || one.Version == two.Version || one.Version != build(t, shop).Version {
		t.Errorf("%s %s", one.Version, two.Version)
	}
}

func FuzzLock(f *testing.F) {
	text, err := lockOf(f, shop).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"version":1,"sources":{"a":{"connector":"x","capabilities":{}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := catalog.DecodeLock(text)
		if err != nil {
			if c := connectors.CodeOf(err); c != connectors.CodeBadInput && c != connectors.CodeUnsupported {
				t.Error(err)
			}
			return
		}
		if _, err := l.Encode(); err != nil {
			t.Error(err)
		}
	})
}
