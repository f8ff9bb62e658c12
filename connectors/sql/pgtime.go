package sql

import (
	"encoding/binary"
	"math"
	"strconv"
)

// PostgreSQL counts days and microseconds from 2000-01-01.
const (
	daysTo2000   = 730119 // from 0001-01-01
	microsPerDay = 24 * 60 * 60 * 1000000
	lastDay      = 3652058 // 9999-12-31, from 0001-01-01
)

func encodeDate(b, raw []byte) ([]byte, bool) {
	if len(raw) != 4 {
		return b, false
	}
	b = append(b, '"')
	b, ok := appendDay(b, int64(int32(binary.BigEndian.Uint32(raw))))
	return append(b, '"'), ok
}

func encodeTime(b, raw []byte) ([]byte, bool) {
	if len(raw) != 8 {
		return b, false
	}
	b = append(b, '"')
	b = appendClock(b, int64(binary.BigEndian.Uint64(raw)))
	return append(b, '"'), true
}

func encodeTimestamp(b, raw []byte) ([]byte, bool) {
	b, ok := appendInstant(b, raw)
	return append(b, '"'), ok
}

func encodeTimestamptz(b, raw []byte) ([]byte, bool) {
	b, ok := appendInstant(b, raw)
	return append(b, 'Z', '"'), ok
}

func appendInstant(b, raw []byte) ([]byte, bool) {
	if len(raw) != 8 {
		return b, false
	}
	micros := int64(binary.BigEndian.Uint64(raw))
	if micros == math.MaxInt64 || micros == math.MinInt64 { // infinity
		return b, false
	}
	day := micros / microsPerDay
	micros -= day * microsPerDay
	if micros < 0 {
		day, micros = day-1, micros+microsPerDay
	}
	b = append(b, '"')
	b, ok := appendDay(b, day)
	b = append(b, 'T')
	return appendClock(b, micros), ok
}

// appendDay writes a day, counted from 2000-01-01, of the years 1 to 9999.
func appendDay(b []byte, day int64) ([]byte, bool) {
	d := day + daysTo2000
	if d < 0 || d > lastDay {
		return b, false
	}
	// Years are counted from March, so that the leap day is the last one.
	d += 306
	era := d / 146097
	doe := d - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	dom := doy - (153*mp+2)/5 + 1
	month := mp + 3
	year := yoe + era*400
	if month > 12 {
		month, year = month-12, year+1
	}
	b = appendFour(b, uint16(year))
	b = append(b, '-', byte('0'+month/10), byte('0'+month%10), '-', byte('0'+dom/10), byte('0'+dom%10))
	return b, true
}

// appendClock writes a time of day with as many fractional digits as it has.
func appendClock(b []byte, micros int64) []byte {
	s := micros / 1000000
	h, m := s/3600, s/60%60
	b = append(b, byte('0'+h/10), byte('0'+h%10), ':', byte('0'+m/10), byte('0'+m%10), ':', byte('0'+s%60/10), byte('0'+s%10))
	return appendFraction(b, micros%1000000)
}

func appendFraction(b []byte, micros int64) []byte {
	if micros == 0 {
		return b
	}
	b = append(b, '.')
	for unit := int64(100000); micros > 0; unit /= 10 {
		b = append(b, byte('0'+micros/unit))
		micros %= unit
	}
	return b
}

// encodeInterval writes ISO 8601: months, days and time each keep their sign.
func encodeInterval(b, raw []byte) ([]byte, bool) {
	if len(raw) != 16 {
		return b, false
	}
	micros := int64(binary.BigEndian.Uint64(raw))
	days := int64(int32(binary.BigEndian.Uint32(raw[8:])))
	months := int64(int32(binary.BigEndian.Uint32(raw[12:])))
	part := func(n int64, unit byte) {
		if n != 0 {
			b = append(strconv.AppendInt(b, n, 10), unit)
		}
	}
	b = append(b, '"', 'P')
	part(months/12, 'Y')
	part(months%12, 'M')
	part(days, 'D')
	if micros != 0 {
		b = append(b, 'T')
		part(micros/3600000000, 'H')
		part(micros/60000000%60, 'M')
		if rest := micros % 60000000; rest != 0 {
			if rest < 0 {
				b, rest = append(b, '-'), -rest
			}
			b = strconv.AppendInt(b, rest/1000000, 10)
			b = append(appendFraction(b, rest%1000000), 'S')
		}
	} else if months == 0 && days == 0 {
		b = append(b, "T0S"...)
	}
	return append(b, '"'), true
}
