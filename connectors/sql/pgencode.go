package sql

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"

	"github.com/countersign/countersign/connectors"
)

// A cellEncoder appends a value of PostgreSQL's binary format as a JSON cell.
// ok is false where the scalar has no place for the value (NaN, infinity, a
// date beyond the year 9999): the cell becomes null and is counted.
type cellEncoder func(b, raw []byte) (out []byte, ok bool)

// The object ids of the types that have an encoder; they are fixed by
// PostgreSQL.
const (
	oidBool        = 16
	oidBytea       = 17
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOID         = 26
	oidJSON        = 114
	oidFloat4      = 700
	oidFloat8      = 701
	oidBpchar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidInterval    = 1186
	oidNumeric     = 1700
	oidUUID        = 2950
	oidJSONB       = 3802
)

// encoderFor chooses how a result column is written. nil: the column's type is
// not the one that was pinned, and the scalar cannot hold it.
func encoderFor(oid uint32, c cell) cellEncoder {
	if c.list {
		return encodeArray(c.scalar)
	}
	switch c.scalar {
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt, connectors.ScalarID:
		return integerEncoder(oid, c.scalar)
	case connectors.ScalarDecimal:
		switch oid {
		case oidNumeric:
			return appendNumeric
		case oidInt2, oidInt4, oidInt8:
			return integerEncoder(oid, connectors.ScalarBigInt)
		}
		return nil
	}
	own := map[uint32]struct {
		scalar connectors.Scalar
		encode cellEncoder
	}{
		oidBool: {connectors.ScalarBoolean, encodeBool}, oidBytea: {connectors.ScalarBytes, encodeBytes},
		oidJSON: {connectors.ScalarJSON, encodeJSON}, oidJSONB: {connectors.ScalarJSON, encodeJSONB},
		oidFloat4: {connectors.ScalarFloat, encodeFloat4}, oidFloat8: {connectors.ScalarFloat, encodeFloat8},
		oidDate: {connectors.ScalarDate, encodeDate}, oidTime: {connectors.ScalarTime, encodeTime},
		oidTimestamp: {connectors.ScalarLocalDateTime, encodeTimestamp}, oidTimestamptz: {connectors.ScalarDateTime, encodeTimestamptz},
		oidInterval: {connectors.ScalarDuration, encodeInterval}, oidUUID: {connectors.ScalarUUID, encodeUUID},
	}
	if o, ok := own[oid]; ok {
		if o.scalar == c.scalar {
			return o.encode
		}
		return nil
	}
	switch oid {
	case oidInt2, oidInt4, oidInt8, oidOID, oidNumeric:
		return nil
	}
	// Text, and what is text in the binary format too: enums, citext.
	if c.scalar == connectors.ScalarString {
		return encodeText
	}
	return nil
}

func integerEncoder(oid uint32, s connectors.Scalar) cellEncoder {
	quoted := s == connectors.ScalarBigInt || s == connectors.ScalarID
	switch {
	case (oid == oidText || oid == oidVarchar || oid == oidBpchar || oid == oidUUID) && s == connectors.ScalarID:
		if oid == oidUUID {
			return encodeUUID
		}
		return encodeText
	case oid == oidNumeric && quoted:
		return appendNumeric // sums of bigint, wider than 64 bits
	case oid == oidInt4 && !quoted:
		return encodeInt4
	case oid != oidInt2 && oid != oidInt4 && oid != oidInt8 && oid != oidOID:
		return nil
	}
	limit := int64(math.MaxInt64)
	switch s {
	case connectors.ScalarInt:
		limit = math.MaxInt32
	case connectors.ScalarSafeInt:
		limit = maxSafe
	}
	return func(b, raw []byte) ([]byte, bool) {
		var n int64
		switch len(raw) {
		case 2:
			n = int64(int16(binary.BigEndian.Uint16(raw)))
		case 4:
			n = int64(int32(binary.BigEndian.Uint32(raw)))
			if oid == oidOID {
				n = int64(uint32(n))
			}
		case 8:
			n = int64(binary.BigEndian.Uint64(raw))
		default:
			return b, false
		}
		if quoted {
			b = append(b, '"')
			b = strconv.AppendInt(b, n, 10)
			return append(b, '"'), true
		}
		if n > limit || n < -limit-1 || (s == connectors.ScalarSafeInt && n < -limit) {
			return b, false
		}
		return strconv.AppendInt(b, n, 10), true
	}
}

// maxSafe is the largest integer that a JSON number keeps everywhere: 2⁵³ − 1.
const maxSafe = 1<<53 - 1

func encodeInt4(b, raw []byte) ([]byte, bool) {
	if len(raw) != 4 {
		return b, false
	}
	return strconv.AppendInt(b, int64(int32(binary.BigEndian.Uint32(raw))), 10), true
}

func encodeBool(b, raw []byte) ([]byte, bool) {
	if len(raw) != 1 {
		return b, false
	}
	return strconv.AppendBool(b, raw[0] != 0), true
}

func encodeText(b, raw []byte) ([]byte, bool) { return appendText(b, raw), true }

func encodeBytes(b, raw []byte) ([]byte, bool) {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, raw)
	return append(b, '"'), true
}

func encodeUUID(b, raw []byte) ([]byte, bool) {
	if len(raw) != 16 {
		return b, false
	}
	b = append(b, '"')
	for i, group := range [...][]byte{raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, group)
	}
	return append(b, '"'), true
}

func encodeJSONB(b, raw []byte) ([]byte, bool) {
	if len(raw) < 2 || raw[0] != 1 {
		return b, false
	}
	return append(b, raw[1:]...), true
}

// encodeJSON takes line ends out, so that a cell is one line wherever it is
// framed by lines.
func encodeJSON(b, raw []byte) ([]byte, bool) {
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		return append(b, raw...), true
	}
	out, err := compactJSON(b, raw)
	return out, err == nil
}

func encodeFloat8(b, raw []byte) ([]byte, bool) {
	if len(raw) != 8 {
		return b, false
	}
	return appendFloat(b, math.Float64frombits(binary.BigEndian.Uint64(raw)), 64)
}

func encodeFloat4(b, raw []byte) ([]byte, bool) {
	if len(raw) != 4 {
		return b, false
	}
	return appendFloat(b, float64(math.Float32frombits(binary.BigEndian.Uint32(raw))), 32)
}

// appendNumeric writes the exact digits, in quotes. The binary form is a
// header of digits, weight, sign and scale, then digits to the base of 10000.
func appendNumeric(b, raw []byte) ([]byte, bool) {
	if len(raw) < 8 {
		return b, false
	}
	n := int(binary.BigEndian.Uint16(raw))
	weight := int(int16(binary.BigEndian.Uint16(raw[2:])))
	sign := binary.BigEndian.Uint16(raw[4:])
	scale := int(binary.BigEndian.Uint16(raw[6:]))
	if sign&0xC000 == 0xC000 || len(raw) != 8+2*n { // NaN and infinities
		return b, false
	}
	digit := func(i int) uint16 {
		if i < 0 || i >= n {
			return 0
		}
		return binary.BigEndian.Uint16(raw[8+2*i:])
	}
	b = append(b, '"')
	if sign == 0x4000 {
		b = append(b, '-')
	}
	if weight < 0 {
		b = append(b, '0')
	}
	for i := 0; i <= weight; i++ {
		if i == 0 {
			b = strconv.AppendUint(b, uint64(digit(0)), 10)
		} else {
			b = appendFour(b, digit(i))
		}
	}
	if scale > 0 {
		b = append(b, '.')
		end := len(b) + scale
		for i := weight + 1; len(b) < end; i++ {
			b = appendFour(b, digit(i))
		}
		b = b[:end]
	}
	return append(b, '"'), true
}

func appendFour(b []byte, d uint16) []byte {
	return append(b, byte('0'+d/1000), byte('0'+d/100%10), byte('0'+d/10%10), byte('0'+d%10))
}

// encodeArray writes a one-dimensional array; others have no place in a list.
func encodeArray(s connectors.Scalar) cellEncoder {
	var last uint32
	var encode cellEncoder
	return func(b, raw []byte) ([]byte, bool) {
		if len(raw) < 12 {
			return b, false
		}
		dims, elem := binary.BigEndian.Uint32(raw), binary.BigEndian.Uint32(raw[8:])
		if dims == 0 {
			return append(b, '[', ']'), true
		}
		if dims != 1 || len(raw) < 20 {
			return b, false
		}
		if encode == nil || elem != last {
			if encode = encoderFor(elem, cell{scalar: s}); encode == nil {
				return b, false
			}
			last = elem
		}
		n := int(binary.BigEndian.Uint32(raw[12:]))
		raw = raw[20:]
		b = append(b, '[')
		for i := 0; i < n; i++ {
			if i > 0 {
				b = append(b, ',')
			}
			if len(raw) < 4 {
				return b, false
			}
			size := int(int32(binary.BigEndian.Uint32(raw)))
			raw = raw[4:]
			if size < 0 {
				b = append(b, "null"...)
				continue
			}
			if len(raw) < size {
				return b, false
			}
			var ok bool
			if b, ok = encode(b, raw[:size]); !ok {
				return b, false
			}
			raw = raw[size:]
		}
		return append(b, ']'), true
	}
}
