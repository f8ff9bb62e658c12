package openapi

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/connectors"
)

func TestCells(t *testing.T) {
	d := &decoder{objects: map[string]*connectors.Object{"O": {Name: "O", Fields: []*connectors.Field{
		{Name: "n", Type: connectors.TypeRef{Scalar: connectors.ScalarBigInt}}, {Name: "secret", WriteOnly: true, Type: connectors.TypeRef{Scalar: connectors.ScalarString}},
		{Name: "o", Type: connectors.TypeRef{Object: "O"}}}}}}
	for _, x := range []struct {
		scalar   connectors.Scalar
		in, want string
	}{
		{connectors.ScalarInt, `2147483647`, `2147483647`}, {connectors.ScalarInt, `2147483648`, null}, {connectors.ScalarInt, `1.0`, `1`},
		{connectors.ScalarInt, `1.5`, null}, {connectors.ScalarInt, `"1"`, null}, {connectors.ScalarInt, `1e2`, `100`}, {connectors.ScalarInt, `true`, null},
		{connectors.ScalarSafeInt, `9007199254740991`, `9007199254740991`}, {connectors.ScalarSafeInt, `9007199254740992`, null}, {connectors.ScalarSafeInt, `-9007199254740992`, null},
		{connectors.ScalarBigInt, `123456789012345678901234567890`, `"123456789012345678901234567890"`}, {connectors.ScalarBigInt, `"-7"`, `"-7"`}, {connectors.ScalarBigInt, `"x"`, null},
		{connectors.ScalarBigInt, `1e999999999`, null}, {connectors.ScalarBigInt, `""`, null},
		{connectors.ScalarDecimal, `10.00`, `"10.00"`}, {connectors.ScalarDecimal, `"10.00"`, `"10.00"`}, {connectors.ScalarDecimal, `1e2`, `"100"`}, {connectors.ScalarDecimal, `"1,5"`, null}, {connectors.ScalarDecimal, `"NaN"`, null},
		{connectors.ScalarFloat, `1.50`, `1.5`}, {connectors.ScalarFloat, `1e400`, null}, {connectors.ScalarFloat, `"1"`, null},
		{connectors.ScalarBoolean, `true`, `true`}, {connectors.ScalarBoolean, `"true"`, null}, {connectors.ScalarBoolean, `1`, null},
		{connectors.ScalarString, `"\u00e9\ud800"`, `"é�"`}, {connectors.ScalarString, `7`, null}, {connectors.ScalarString, `"<&>"`, `"<&>"`}, {connectors.ScalarString, `null`, null},
		{connectors.ScalarDate, `"2026-02-28"`, `"2026-02-28"`}, {connectors.ScalarDate, `"2026-02-30"`, null}, {connectors.ScalarDate, `"0000-00-00"`, null},
		{connectors.ScalarDateTime, `"2026-01-31T10:00:00.120+02:00"`, `"2026-01-31T08:00:00.120Z"`}, {connectors.ScalarDateTime, `"2026-01-31T10:00:00"`, null}, {connectors.ScalarDateTime, `"2026-01-31T10:00:00Z"`, `"2026-01-31T10:00:00Z"`},
		{connectors.ScalarUUID, `"6BA7B810-9DAD-11D1-80B4-00C04FD430C8"`, `"6ba7b810-9dad-11d1-80b4-00c04fd430c8"`}, {connectors.ScalarUUID, `"{6ba7b810-9dad-11d1-80b4-00c04fd430c8}"`, null},
		{connectors.ScalarBytes, `"aGk="`, `"aGk="`}, {connectors.ScalarBytes, `"a"`, null},
		{connectors.ScalarDuration, `"P1DT2H"`, `"P1DT2H"`}, {connectors.ScalarDuration, `"P"`, null}, {connectors.ScalarDuration, `"PT"`, null}, {connectors.ScalarDuration, `"1h"`, null},
		{connectors.ScalarJSON, `{"b": [1, 2.0, "x"]}`, `{"b":[1,2.0,"x"]}`}, {connectors.ScalarJSON, strings.Repeat("[", 65) + strings.Repeat("]", 65), null},
	} {
		if got := string(d.append(nil, json.RawMessage(x.in), connectors.TypeRef{Scalar: x.scalar}, 0)); got != x.want {
			t.Errorf("%s as %s is %s, want %s", x.in, x.scalar, got, x.want)
		}
	}
	object := connectors.TypeRef{Object: "O"}
	if got, want := string(d.append(nil, json.RawMessage(`{"n":5,"secret":"x","extra":1,"o":{"n":null,"o":[]}}`), object, 0)), `{"n":"5","o":{"n":null,"o":null}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	endless := strings.Repeat(`{"o":`, 500) + "{}" + strings.Repeat("}", 500)
	if got := d.append(nil, json.RawMessage(endless), object, 0); !json.Valid(got) || tooDeep(got, maxCellDepth+2) {
		t.Errorf("a record inside itself: %s", got)
	}
	if got := d.append(nil, nil, object, 0); string(got) != null {
		t.Errorf("nothing is %s", got)
	}
}

// FuzzAnswer: whatever a system answers, cells are valid JSON of their type.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `[1,"x",null,{"o":{"n":"9"}}]`, `1e400`, `"\ud800"`, `-0`, `[[[[]]]]`, `"2026-01-31T10:00:00.5+02:00"`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	d := &decoder{objects: map[string]*connectors.Object{"O": {Name: "O", Fields: []*connectors.Field{
		{Name: "a", Type: connectors.TypeRef{Scalar: connectors.ScalarDecimal}}, {Name: "o", Type: connectors.TypeRef{Object: "O"}},
		{Name: "l", Type: connectors.TypeRef{Scalar: connectors.ScalarInt, List: true}}}}}}
	types := []connectors.TypeRef{{Object: "O"}, {Object: "O", List: true}, {Scalar: connectors.ScalarString, List: true}}
	for _, s := range []connectors.Scalar{connectors.ScalarString, connectors.ScalarBoolean, connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt, connectors.ScalarFloat,
		connectors.ScalarDecimal, connectors.ScalarDateTime, connectors.ScalarDate, connectors.ScalarDuration, connectors.ScalarUUID, connectors.ScalarJSON, connectors.ScalarBytes} {
		types = append(types, connectors.TypeRef{Scalar: s})
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		raw, err := decodeAnswer(body)
		if err != nil {
			return
		}
		for _, ty := range types {
			cell := d.append(nil, raw, ty, 0)
			if !json.Valid(cell) || !utf8.Valid(cell) || bytes.ContainsAny(cell, "\n\r") || tooDeep(cell, 2*maxCellDepth) {
				t.Fatalf("%s as %+v is %q", body, ty, cell)
			}
			v, err := connectors.ParseCell(cell, ty.Leaf())
			if err != nil {
				t.Fatalf("%s as %+v is the cell %s: %v", body, ty, cell, err)
			}
			if !ty.List && ty.Object == "" && ty.Scalar != connectors.ScalarJSON && !v.IsNull() {
				if w, ok := canon(v, ty); !ok || compare(ty.Leaf(), v, w) != 0 {
					t.Fatalf("%s as %s is not in its one form: %s", body, ty.Scalar, cell)
				}
			}
		}
		rows(raw)
		recordOf(raw)
	})
}

// FuzzDocument: no document ends the program, and what is read is a schema that
// holds together.
func FuzzDocument(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range txtar.Parse(raw).Files {
			if part.Name == "openapi.yaml" {
				f.Add(part.Data)
			}
		}
	}
	f.Add([]byte(`{"openapi":"3.1.0","info":{},"paths":{"/a":{"get":{"responses":{"200":{"content":{"application/json":{"schema":{"$ref":"#/paths/~1a/get/responses/200/content/application~1json/schema"}}}}}}}}}`))
	f.Add([]byte(`{"openapi":"3.0.0","paths":{"/a":null,"/b":{"get":null}},"components":{"schemas":{"A":{"allOf":[{"$ref":"#/components/schemas/A"}]}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		schema, err := Read(data)
		if err != nil {
			return
		}
		check := func(ty connectors.TypeRef) {
			n := 0
			for _, set := range []bool{ty.Scalar != "", ty.Enum != "", ty.Object != ""} {
				if set {
					n++
				}
			}
			if n != 1 || ty.Enum != "" && schema.Enum(ty.Enum) == nil || ty.Object != "" && schema.Object(ty.Object) == nil {
				t.Fatalf("a type that is not in the schema: %+v", ty)
			}
		}
		for _, o := range schema.Objects {
			for _, x := range o.Fields {
				check(x.Type)
			}
		}
		for _, fn := range schema.Functions {
			names := map[string]bool{}
			for _, a := range fn.Args {
				check(a.Type)
				if names[a.Name] {
					t.Fatalf("%s has the argument %s twice", fn.Name, a.Name)
				}
				names[a.Name] = true
			}
			if fn.Result != nil {
				check(*fn.Result)
			}
			if fn.Reads == (fn.Act != nil) {
				t.Fatalf("%s both reads and writes, or neither", fn.Name)
			}
		}
		if _, err := json.Marshal(schema); err != nil {
			t.Fatal(err)
		}
		again, err := Read(data)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(schema)
		b, _ := json.Marshal(again)
		if !bytes.Equal(a, b) {
			t.Fatalf("read twice, two schemas:\n%s\n%s", a, b)
		}
	})
}
