package policy

import (
	"fmt"
	"math"
	"reflect"
	"strconv"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/shopspring/decimal"
)

// A celDecimal is an exact number in expressions: Decimal and BigInt fields,
// whose values a double would lose. It compares and computes with itself and
// with whole numbers; decimal("0.10") writes one.
type celDecimal struct{ decimal.Decimal }

var decimalType = cel.ObjectType("decimal", traits.AdderType|traits.ComparerType|traits.MultiplierType|traits.NegatorType|traits.SubtractorType)

// The bounds of what is computed, so that no expression takes memory without
// end: digits of a result, and of a rounding.
const decimalDigits = 400

// decimalOptions declare the type's operators. Where they exist for numbers, CEL
// calls the left operand's own methods: so a decimal comes first.
func decimalOptions() []cel.EnvOption {
	pair := func(op, name string, result *types.Type) cel.EnvOption {
		return cel.Function(op,
			cel.Overload(name+"_decimal_decimal", []*types.Type{decimalType, decimalType}, result),
			cel.Overload(name+"_decimal_int", []*types.Type{decimalType, types.IntType}, result))
	}
	return []cel.EnvOption{
		pair(operators.Less, "less", types.BoolType), pair(operators.LessEquals, "less_equals", types.BoolType),
		pair(operators.Greater, "greater", types.BoolType), pair(operators.GreaterEquals, "greater_equals", types.BoolType),
		pair(operators.Add, "add", decimalType), pair(operators.Subtract, "subtract", decimalType), pair(operators.Multiply, "multiply", decimalType),
		cel.Function(operators.Negate, cel.Overload("negate_decimal", []*types.Type{decimalType}, decimalType)),
		cel.Function("decimal",
			cel.Overload("decimal_string", []*types.Type{types.StringType}, decimalType, cel.UnaryBinding(makeDecimal)),
			cel.Overload("decimal_int", []*types.Type{types.IntType}, decimalType, cel.UnaryBinding(makeDecimal)),
			cel.Overload("decimal_decimal", []*types.Type{decimalType}, decimalType, cel.UnaryBinding(makeDecimal))),
		cel.Function("round",
			cel.MemberOverload("decimal_round", []*types.Type{decimalType, types.IntType}, decimalType, cel.BinaryBinding(roundDecimal))),
		cel.Function("string", cel.Overload("decimal_to_string", []*types.Type{decimalType}, types.StringType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return v.ConvertToType(types.StringType) }))),
	}
}

// decimalOf reads any exact number.
func decimalOf(v ref.Val) (celDecimal, bool) {
	switch n := v.(type) {
	case celDecimal:
		return n, true
	case types.Int:
		return celDecimal{decimal.NewFromInt(int64(n))}, true
	case types.Uint:
		d, ok := number(strconv.FormatUint(uint64(n), 10))
		return celDecimal{d}, ok
	case types.Double:
		if math.IsNaN(float64(n)) || math.IsInf(float64(n), 0) {
			return celDecimal{}, false
		}
		return celDecimal{decimal.NewFromFloat(float64(n))}, true
	}
	return celDecimal{}, false
}

func makeDecimal(v ref.Val) ref.Val {
	if s, ok := v.(types.String); ok {
		if d, ok := number(string(s)); ok {
			return celDecimal{d}
		}
		return types.NewErr("not a decimal number")
	}
	if d, ok := decimalOf(v); ok {
		return d
	}
	return types.MaybeNoSuchOverloadErr(v)
}

func roundDecimal(v, places ref.Val) ref.Val {
	d, isDecimal := v.(celDecimal)
	n, isInt := places.(types.Int)
	if !isDecimal || !isInt {
		return types.MaybeNoSuchOverloadErr(v)
	}
	if n < 0 || n > decimalDigits {
		return types.NewErr("round takes 0 to %d places", decimalDigits)
	}
	return bounded(d.Round(int32(n)))
}

// bounded refuses what grew too long.
func bounded(d decimal.Decimal) ref.Val {
	if d.NumDigits() > decimalDigits || math.Abs(float64(d.Exponent())) > 2000 {
		return types.NewErr("a number of more than %d digits", decimalDigits)
	}
	return celDecimal{d}
}

// ConvertToNative implements ref.Val.
func (d celDecimal) ConvertToNative(t reflect.Type) (any, error) {
	if t.Kind() == reflect.String {
		return d.String(), nil
	}
	return nil, fmt.Errorf("a decimal is no %v", t)
}

// ConvertToType implements ref.Val.
func (d celDecimal) ConvertToType(t ref.Type) ref.Val {
	switch t.TypeName() {
	case types.StringType.TypeName():
		return types.String(d.plain())
	case decimalType.TypeName():
		return d
	case types.TypeType.TypeName():
		return decimalType
	}
	return types.NewErr("a decimal is no %s", t.TypeName())
}

// plain is the number without exponent, with the digits that it has.
func (d celDecimal) plain() string {
	if e := d.Exponent(); e < 0 {
		return d.StringFixed(-e)
	}
	return d.String()
}

// Equal implements ref.Val: numbers are equal by value.
func (d celDecimal) Equal(other ref.Val) ref.Val {
	o, ok := decimalOf(other)
	return types.Bool(ok && d.Cmp(o.Decimal) == 0)
}

// Type implements ref.Val.
func (d celDecimal) Type() ref.Type { return decimalType }

// Value implements ref.Val.
func (d celDecimal) Value() any { return d.Decimal }

// Compare implements traits.Comparer.
func (d celDecimal) Compare(other ref.Val) ref.Val {
	o, ok := decimalOf(other)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Int(d.Cmp(o.Decimal))
}

// Add implements traits.Adder.
func (d celDecimal) Add(other ref.Val) ref.Val {
	return d.with(other, decimal.Decimal.Add)
}

// Subtract implements traits.Subtractor.
func (d celDecimal) Subtract(other ref.Val) ref.Val {
	return d.with(other, decimal.Decimal.Sub)
}

// Multiply implements traits.Multiplier.
func (d celDecimal) Multiply(other ref.Val) ref.Val {
	return d.with(other, decimal.Decimal.Mul)
}

// Negate implements traits.Negater.
func (d celDecimal) Negate() ref.Val { return celDecimal{d.Neg()} }

func (d celDecimal) with(other ref.Val, op func(a, b decimal.Decimal) decimal.Decimal) ref.Val {
	o, ok := decimalOf(other)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return bounded(op(d.Decimal, o.Decimal))
}
