package connectors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"unicode/utf8"

	"github.com/countersign/countersign/connectors"
)

func FuzzJSONString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\\n\t\x00", "é\u2028", "\xff", "<&>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := connectors.AppendJSONString([]byte("x"), s)
		var back string
		if err := json.Unmarshal(b[1:], &back); err != nil {
			t.Fatalf("%q is written as %s: %v", s, b[1:], err)
		}
		if utf8.ValidString(s) && back != s {
			t.Fatalf("%q comes back as %q", s, back)
		}
	})
}

func FuzzParseCell(f *testing.F) {
	for _, s := range []string{`null`, `true`, `"a\"b"`, `12`, `-1.5e3`, `{"a":1}`, `[1]`, ``, `x`} {
		f.Add([]byte(s))
	}
	scalars := []connectors.Scalar{connectors.ScalarString, connectors.ScalarBigInt, connectors.ScalarDecimal, connectors.ScalarInt, connectors.ScalarFloat, connectors.ScalarJSON}
	f.Fuzz(func(t *testing.T, cell []byte) {
		if !json.Valid(cell) {
			// Cells were checked where they entered; others must not crash.
			connectors.ParseCell(cell, connectors.ScalarString)
			return
		}
		for _, s := range scalars {
			connectors.ParseCell(cell, s)
		}
	})
}

// What a value is written as reads back as the value.
func TestCellsRoundTrip(t *testing.T) {
	for _, c := range []struct {
		value  connectors.Value
		scalar connectors.Scalar
		json   string
	}{
		{connectors.Int(7), connectors.ScalarInt, `7`},
		{connectors.Value{Kind: connectors.KindInt, Text: "9007199254740993"}, connectors.ScalarBigInt, `"9007199254740993"`},
		{connectors.Decimal("10.00"), connectors.ScalarDecimal, `"10.00"`},
		{connectors.Float(0.1), connectors.ScalarFloat, `0.1`},
		{connectors.String("a\"b"), connectors.ScalarString, `"a\"b"`},
		{connectors.True, connectors.ScalarBoolean, `true`},
		{connectors.Null, connectors.ScalarString, `null`},
		{connectors.Value{Kind: connectors.KindJSON, Text: `{"a":[1]}`}, connectors.ScalarJSON, `{"a":[1]}`},
	} {
		cell := c.value.AppendJSON(nil, c.scalar)
		if string(cell) != c.json {
			t.Errorf("%v is written as %s, not %s", c.value, cell, c.json)
		}
		back, err := connectors.ParseCell(cell, c.scalar)
		if err != nil || !back.Equal(c.value) {
			t.Errorf("%s reads back as %v (%v), not %v", cell, back, err, c.value)
		}
	}
}

func TestBlock(t *testing.T) {
	b := &connectors.Block{Columns: 2}
	b.AppendCell(connectors.Int(1), connectors.ScalarInt)
	b.Fault()
	b.AppendCell(connectors.Null, connectors.ScalarFloat)
	b.AppendCell(connectors.Int(2), connectors.ScalarInt)
	b.AppendCell(connectors.String("x"), connectors.ScalarString)
	if b.Rows() != 2 || string(b.Cell(1, 1)) != `"x"` || string(b.Cell(0, 0)) != "1" {
		t.Errorf("the block is %+v", b)
	}
	if !b.Faulty(0, 1) || b.Faulty(1, 1) || b.Faulty(0, 0) {
		t.Errorf("faults are %v", b.Faults)
	}
}

// The message of an error never holds its cause.
func TestErrorsHideTheirCause(t *testing.T) {
	cause := errors.New("password=hunter2")
	err := fmt.Errorf("around: %w", connectors.Errorf(connectors.CodeUpstreamError, "the source failed").WithCause(cause))
	e := connectors.AsError(err)
	if e.Code != connectors.CodeUpstreamError || e.Error() != "UPSTREAM_ERROR: the source failed" || !errors.Is(err, cause) {
		t.Errorf("got %v", e)
	}
	if connectors.CodeOf(errors.New("x")) != connectors.CodeInternal || connectors.CodeOf(nil) != "" {
		t.Error("foreign errors have a wrong code")
	}
	seen := map[connectors.Code]bool{}
	for _, c := range connectors.Codes() {
		if seen[c] {
			t.Errorf("%s is listed twice", c)
		}
		seen[c] = true
	}
}
