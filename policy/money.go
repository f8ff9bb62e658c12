package policy

import (
	"math"
	"strconv"
	"strings"
)

// Money is a sum of one currency, exact: in millionths of its main unit.
type Money struct {
	Currency string `json:"currency"` // three letters A to Z
	Micros   int64  `json:"micros"`
}

const (
	microDigits = 6
	// maxMoneyDigits before the point: ten billions, so that millions of such
	// sums can be added.
	maxMoneyDigits = 10
)

// String is the sum as it is written: "50.00 EUR".
func (m Money) String() string {
	whole, rest := m.Micros/1e6, m.Micros%1e6
	digits := strings.TrimRight(strconv.FormatInt(1e6+rest, 10)[1:], "0")
	for len(digits) < min(minorDigits(m.Currency), microDigits) {
		digits += "0"
	}
	text := strconv.FormatInt(whole, 10)
	if digits != "" {
		text += "." + digits
	}
	return text + " " + m.Currency
}

// ParseMoney reads "50.00 EUR": digits with at most six after the point, and
// three letters. Nothing else is a sum: no sign, no exponent, no digits of other
// scripts.
func ParseMoney(text string) (Money, bool) {
	number, currency, ok := strings.Cut(text, " ")
	if !ok || currency != strings.ToUpper(currency) {
		return Money{}, false
	}
	return moneyOf(number, currency, false)
}

// moneyOf makes a sum of a number as a system gave it. In minor units it is a
// whole number of the currency's smallest: cents.
func moneyOf(number, currency string, minor bool) (Money, bool) {
	code, ok := currencyCode(currency)
	if !ok {
		return Money{}, false
	}
	whole, fraction, point := strings.Cut(number, ".")
	places := microDigits
	if minor {
		if point {
			return Money{}, false
		}
		places -= minorDigits(code)
	} else if point && fraction == "" || len(fraction) > microDigits {
		return Money{}, false
	}
	if whole == "" || len(whole) > maxMoneyDigits+microDigits-places || !digitsOnly(whole) || !digitsOnly(fraction) {
		return Money{}, false
	}
	micros, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", places-len(fraction)), 10, 64)
	if err != nil {
		return Money{}, false
	}
	return Money{Currency: code, Micros: micros}, true
}

// digitsOnly: 0 to 9 of ASCII.
func digitsOnly(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// currencyCode is a code in upper case; systems write them in lower case too.
func currencyCode(s string) (string, bool) {
	if len(s) != 3 {
		return "", false
	}
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return "", false
		}
	}
	return strings.ToUpper(s), true
}

// minorDigits is how many digits a currency's smallest unit stands behind the
// point, as ISO 4217 says; 2 for those it does not except.
func minorDigits(currency string) int {
	const none, three, four = " BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF ", " BHD IQD JOD KWD LYD OMR TND ", " CLF UYW "
	switch at := " " + currency + " "; {
	case strings.Contains(none, at):
		return 0
	case strings.Contains(three, at):
		return 3
	case strings.Contains(four, at):
		return 4
	}
	return 2
}

// Plus adds; it stays at the largest sum rather than begin anew.
func (m Money) Plus(micros int64) Money {
	if micros > 0 && m.Micros > math.MaxInt64-micros {
		m.Micros = math.MaxInt64
		return m
	}
	m.Micros += micros
	return m
}
