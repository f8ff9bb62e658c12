package connectors

// ScalarOf is the scalar in which the cells of an aggregate over a field are
// written, the same in every system: counts are JSON numbers, sums of integers
// are as wide as needed, averages of exact numbers are exact as far as the
// system computes them. ok is false where the function has no meaning for the
// type. leaf is ignored by AggCount.
func (f AggregateFunc) ScalarOf(leaf Scalar) (s Scalar, ok bool) {
	switch f {
	case AggCount:
		return ScalarSafeInt, true
	case AggSum:
		switch leaf {
		case ScalarInt, ScalarSafeInt, ScalarBigInt:
			return ScalarBigInt, true
		case ScalarDecimal, ScalarFloat:
			return leaf, true
		}
	case AggAvg:
		switch leaf {
		case ScalarInt, ScalarSafeInt, ScalarBigInt, ScalarDecimal:
			return ScalarDecimal, true
		case ScalarFloat:
			return ScalarFloat, true
		}
	case AggMin, AggMax:
		switch leaf {
		case ScalarInt, ScalarSafeInt, ScalarBigInt, ScalarDecimal, ScalarFloat, ScalarString, ScalarID,
			ScalarDateTime, ScalarLocalDateTime, ScalarDate, ScalarTime:
			return leaf, true
		}
	}
	return "", false
}
