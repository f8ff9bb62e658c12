package policy_test

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

func dec(s string) connectors.Value { return connectors.Decimal(s) }

func kind(k connectors.Kind, s string) connectors.Value { return connectors.Value{Kind: k, Text: s} }

func TestMatchComparisons(t *testing.T) {
	str, num, list := connectors.String, connectors.Int, connectors.ListOf
	absent := connectors.Value{}
	for _, c := range []struct {
		field   connectors.Value
		op      connectors.Op
		operand connectors.Value
		want    policy.Tri
	}{
		{num(5), connectors.OpEq, num(5), policy.True},
		{dec("10.00"), connectors.OpEq, dec("10.0"), policy.True},
		{dec("10.00"), connectors.OpLte, num(10), policy.True},
		{num(9), connectors.OpLt, dec("9.000000000000000000001"), policy.True},
		{kind(connectors.KindInt, "9007199254740993"), connectors.OpGt, kind(connectors.KindInt, "9007199254740992"), policy.True},
		{kind(connectors.KindFloat, "1e3"), connectors.OpEq, num(1000), policy.True},
		{num(-5), connectors.OpLt, num(0), policy.True},
		// Thresholds cannot be evaded by other digits, words or kinds.
		{dec("１０"), connectors.OpLte, num(100), policy.Unknown},
		{dec("NaN"), connectors.OpLte, num(100), policy.Unknown},
		{dec("Infinity"), connectors.OpGt, num(100), policy.Unknown},
		{str("5"), connectors.OpLte, num(100), policy.Unknown},
		{dec("1e999999999"), connectors.OpGt, num(100), policy.Unknown},
		{dec("1e-999999999"), connectors.OpLt, num(100), policy.Unknown},
		{dec(strings.Repeat("9", 2000)), connectors.OpGt, num(1), policy.Unknown},
		{dec(""), connectors.OpLte, num(1), policy.Unknown},
		{connectors.Null, connectors.OpLte, num(1), policy.Unknown},
		{absent, connectors.OpLte, num(1), policy.Unknown},
		{num(1), connectors.OpLte, connectors.Null, policy.Unknown},
		{num(1), connectors.OpNe, connectors.Null, policy.Unknown},
		{connectors.Null, connectors.OpNe, num(1), policy.Unknown},
		{str("EU"), connectors.OpEq, str("eu"), policy.False},
		{str("EU"), connectors.OpNe, str("eu"), policy.True},
		{str("b"), connectors.OpGt, str("a"), policy.True},
		{str("2026-05-04T12:00:00Z"), connectors.OpEq, str("2026-05-04T14:00:00.000+02:00"), policy.True},
		{str("2026-05-04T12:00:00Z"), connectors.OpLt, str("2026-05-04T12:00:00.5Z"), policy.True},
		{connectors.True, connectors.OpEq, connectors.True, policy.True},
		{connectors.True, connectors.OpEq, connectors.False, policy.False},
		{connectors.True, connectors.OpGt, connectors.False, policy.Unknown},
		{connectors.True, connectors.OpEq, str("true"), policy.Unknown},
		{list(num(1)), connectors.OpEq, list(num(1)), policy.Unknown},
		{num(1), connectors.OpIn, list(num(2), num(1)), policy.True},
		{num(1), connectors.OpIn, list(num(2), connectors.Null), policy.Unknown},
		{num(1), connectors.OpIn, list(num(2)), policy.False},
		{num(1), connectors.OpIn, list(), policy.False},
		{num(1), connectors.OpNotIn, list(num(2), connectors.Null), policy.Unknown},
		{num(1), connectors.OpNotIn, list(num(2)), policy.True},
		{num(1), connectors.OpIn, num(1), policy.Unknown},
		{connectors.Null, connectors.OpIsNull, connectors.True, policy.True},
		{connectors.Null, connectors.OpIsNull, connectors.False, policy.False},
		{num(1), connectors.OpIsNull, connectors.True, policy.False},
		{absent, connectors.OpIsNull, connectors.True, policy.Unknown},
		{num(1), connectors.OpIsNull, connectors.Null, policy.Unknown},
		{str("a%c"), connectors.OpLike, str(`a\%c`), policy.True},
		{str("abc"), connectors.OpLike, str(`a\%c`), policy.False},
		{str("abbbc"), connectors.OpLike, str("a%c"), policy.True},
		{str("abc"), connectors.OpLike, str("a_c"), policy.True},
		{str("ABC"), connectors.OpLike, str("abc"), policy.False},
		{str("ÄBC"), connectors.OpILike, str("ä%"), policy.True},
		{str(""), connectors.OpLike, str("%"), policy.True},
		{str("a"), connectors.OpLike, str(""), policy.False},
		{str(`a\`), connectors.OpLike, str(`a\`), policy.True},
		{str("abc"), connectors.OpStartsWith, str("ab"), policy.True},
		{str("abc"), connectors.OpEndsWith, str("ab"), policy.False},
		{str("abc"), connectors.OpContains, str("b"), policy.True},
		{num(123), connectors.OpContains, str("2"), policy.Unknown},
		{str("abc"), connectors.OpSearch, str("abc"), policy.Unknown},
		{str("abc"), "nonsense", str("abc"), policy.Unknown},
	} {
		cond := connectors.Compare("f", c.op, connectors.Const(c.operand))
		got := policy.Match(cond, func(string) connectors.Value { return c.field }, nil)
		if got != c.want {
			t.Errorf("%v %s %v is %s, want %s", c.field, c.op, c.operand, got, c.want)
		}
		if got := policy.Match(connectors.Not(cond), func(string) connectors.Value { return c.field }, nil); got != -c.want {
			t.Errorf("not %v %s %v is %s", c.field, c.op, c.operand, got)
		}
	}
}

func TestMatchConnectives(t *testing.T) {
	is := map[string]connectors.Value{"t": connectors.Int(1), "f": connectors.Int(2), "u": connectors.Null}
	leaf := func(name string) *connectors.Condition {
		return connectors.Compare(name, connectors.OpEq, connectors.Const(connectors.Int(1)))
	}
	record := func(name string) connectors.Value { return is[name] }
	op := func(o connectors.Op, names string) *connectors.Condition {
		c := &connectors.Condition{Op: o}
		for _, n := range names {
			c.Items = append(c.Items, leaf(string(n)))
		}
		return c
	}
	for _, c := range []struct {
		cond *connectors.Condition
		want policy.Tri
	}{
		{nil, policy.True},
		{&connectors.Condition{Op: connectors.OpTrue}, policy.True},
		{&connectors.Condition{}, policy.Unknown},
		{connectors.Nothing(), policy.False},
		{op(connectors.OpAnd, ""), policy.Unknown},
		{op(connectors.OpAnd, "tt"), policy.True},
		{op(connectors.OpAnd, "tu"), policy.Unknown},
		{op(connectors.OpAnd, "fu"), policy.False},
		{op(connectors.OpOr, "fu"), policy.Unknown},
		{op(connectors.OpOr, "tu"), policy.True},
		{op(connectors.OpOr, "ff"), policy.False},
		{&connectors.Condition{Op: connectors.OpAnd, Items: []*connectors.Condition{nil}}, policy.Unknown},
		{&connectors.Condition{Op: connectors.OpNot}, policy.Unknown},
		{connectors.Not(nil), policy.False},
		{&connectors.Condition{Op: connectors.OpRelated, Quantifier: connectors.QuantNone}, policy.Unknown},
		{connectors.Compare("t", connectors.OpEq, connectors.Arg(0)), policy.True},
		{connectors.Compare("t", connectors.OpEq, connectors.Arg(5)), policy.Unknown},
	} {
		if got := policy.Match(c.cond, record, []connectors.Value{connectors.Int(1)}); got != c.want {
			t.Errorf("%s is %s, want %s", conditionText(c.cond, []policy.Param{{}, {}, {}, {}, {}, {}}), got, c.want)
		}
	}
	args := connectors.ObjectOf(connectors.Member{Name: "a", Value: connectors.Int(1)})
	isNull := connectors.Compare("b", connectors.OpIsNull, connectors.Const(connectors.True))
	if policy.Match(isNull, policy.ArgumentsOf(args), nil) != policy.True || policy.Match(isNull, policy.RecordOf(args), nil) != policy.Unknown {
		t.Error("an argument that is not given is null, a field that is not known is unknown")
	}
}

// genCondition draws a condition over the fields a, b and the arguments 0, 1.
func genCondition(t *rapid.T, depth int) *connectors.Condition {
	if depth > 0 && rapid.IntRange(0, 2).Draw(t, "node") > 0 {
		o := rapid.SampledFrom([]connectors.Op{connectors.OpAnd, connectors.OpOr, connectors.OpNot}).Draw(t, "op")
		n := 1
		if o != connectors.OpNot {
			n = rapid.IntRange(2, 3).Draw(t, "items")
		}
		c := &connectors.Condition{Op: o}
		for range n {
			c.Items = append(c.Items, genCondition(t, depth-1))
		}
		if o == connectors.OpAnd && rapid.Bool().Draw(t, "line") {
			return policy.Fence(c)
		}
		return c
	}
	operand := connectors.Const(connectors.Int(int64(rapid.IntRange(0, 2).Draw(t, "constant"))))
	if rapid.Bool().Draw(t, "argument") {
		operand = connectors.Arg(rapid.IntRange(0, 1).Draw(t, "index"))
	}
	return connectors.Compare(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "field"),
		rapid.SampledFrom([]connectors.Op{connectors.OpEq, connectors.OpNe, connectors.OpLt, connectors.OpGte}).Draw(t, "comparison"), operand)
}

func genValue(t *rapid.T, label string) connectors.Value {
	return rapid.SampledFrom([]connectors.Value{connectors.Int(0), connectors.Int(1), connectors.Int(2), connectors.Null}).Draw(t, label)
}

// TestDenyMissing: what still matches when an argument is missing matches for
// every value it might have had; with nothing missing nothing changes.
func TestDenyMissing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := genCondition(t, 3)
		a, b := genValue(t, "a"), genValue(t, "b")
		record := func(f string) connectors.Value {
			if f == "a" {
				return a
			}
			return b
		}
		missing := []bool{rapid.Bool().Draw(t, "missing 0"), rapid.Bool().Draw(t, "missing 1")}
		params := []connectors.Value{genValue(t, "p0"), genValue(t, "p1")}
		if policy.DenyMissing(c, nil) != c || policy.DenyMissing(c, []bool{false, false}) != c {
			t.Fatal("nothing is missing, and the condition changed")
		}
		denied := policy.DenyMissing(c, missing)
		values := []connectors.Value{params[0], params[1]}
		for i := range missing {
			if missing[i] {
				values[i] = connectors.Null
			}
		}
		if policy.Match(denied, record, values) != policy.True {
			return
		}
		// With strict negation nothing is unknown but by a null, so any present
		// value must match as well.
		for _, x := range []int64{0, 1, 2} {
			for i := range missing {
				if missing[i] {
					params[i] = connectors.Int(x)
				}
			}
			if policy.Match(c, record, params) == policy.False {
				t.Fatalf("%s matches with an argument missing, and not with %d", conditionText(c, make([]policy.Param, 2)), x)
			}
		}
	})
}

// TestNegate: the strict negation matches exactly where the condition is false.
func TestNegate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := genCondition(t, 3)
		a, b := genValue(t, "a"), genValue(t, "b")
		params := []connectors.Value{genValue(t, "p0"), genValue(t, "p1")}
		record := func(f string) connectors.Value {
			if f == "a" {
				return a
			}
			return b
		}
		if got, want := policy.Match(policy.Negate(c), record, params), -policy.Match(c, record, params); got != want {
			t.Fatalf("%s: %s, want %s", conditionText(c, make([]policy.Param, 2)), got, want)
		}
	})
}

// FuzzMatchNumbers compares with exact rationals: two texts are ordered as they
// are as numbers, or not at all.
func FuzzMatchNumbers(f *testing.F) {
	for _, s := range [][2]string{{"10.00", "10"}, {"1e3", "999.9"}, {"-0", "0"}, {"１０", "5"}, {"+5", "5"}, {"1e-400", "0"}, {".5", "0.5"}, {"5.", "5"}, {"0x10", "16"}, {"1_000", "1000"}, {"1/2", "0.5"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, x, y string) {
		if len(x) > 60 || len(y) > 60 {
			return
		}
		record := func(string) connectors.Value { return connectors.Decimal(x) }
		lt := policy.Match(connectors.Compare("f", connectors.OpLt, connectors.Const(connectors.Decimal(y))), record, nil)
		eq := policy.Match(connectors.Compare("f", connectors.OpEq, connectors.Const(connectors.Decimal(y))), record, nil)
		if (lt == policy.Unknown) != (eq == policy.Unknown) {
			t.Fatalf("%q and %q: lt %s, eq %s", x, y, lt, eq)
		}
		if lt == policy.Unknown {
			return
		}
		a, okA := new(big.Rat).SetString(x)
		b, okB := new(big.Rat).SetString(y)
		if !okA || !okB || strings.ContainsAny(x+y, "/_xXpPoO") {
			t.Fatalf("%q or %q is no number and was compared", x, y)
		}
		if (a.Cmp(b) < 0) != (lt == policy.True) || (a.Cmp(b) == 0) != (eq == policy.True) {
			t.Fatalf("%q and %q: lt %s, eq %s, exactly %d", x, y, lt, eq, a.Cmp(b))
		}
	})
}
