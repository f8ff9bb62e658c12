package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/countersign/countersign/policy"
)

// A Problem is something wrong in the file.
type Problem = policy.Problem

// Later marks a key that the reference names and that is not built yet: any
// value is refused in words.
type Later struct{}

// A Size is a number of bytes.
type Size int64

// A Rate is how much in a time.
type Rate struct {
	N   int64
	Per time.Duration
}

// A CostLimit bounds the cost of one operation (1000), of those in a time
// (20000/h), or both ([1000, 20000/h]).
type CostLimit struct {
	Operation int  // 0: not said
	Budget    Rate // zero: not said
}

// A StringList is one string or several.
type StringList []string

// An OneOrMap is one value for everything, or a value per name with "*" as the
// rest. One value is kept under "*".
type OneOrMap map[string]string

// For answers the value for a name: the most exact wins.
func (m OneOrMap) For(name string) string {
	if v, ok := m[name]; ok {
		return v
	}
	return m["*"]
}

// Caches are cache rules per operation or collection, "*" for the rest.
type Caches map[string]Cache

// A Cache says how long an answer may be used again.
type Cache struct {
	TTL                  time.Duration `yaml:"ttl"`
	StaleWhileRevalidate Later         `yaml:"staleWhileRevalidate"`
	StaleIfError         Later         `yaml:"staleIfError"`
}

// Outcomes are outcome classes per operation, "*" for the rest.
type Outcomes map[string]Outcome

// An Outcome is an outcome class and what it needs.
type Outcome struct {
	Class         string        `yaml:"class"`
	Header        string        `yaml:"header"`
	Keep          time.Duration `yaml:"keep"`
	ComparesBody  Later         `yaml:"comparesBody"`
	ReplaysErrors Later         `yaml:"replaysErrors"`
	IfMatch       Later         `yaml:"ifMatch"`
	Tag           Later         `yaml:"tag"`
	By            Later         `yaml:"by"`
	After         Later         `yaml:"after"`
}

// For answers the outcome for a name.
func (m Outcomes) For(name string) Outcome {
	if v, ok := m[name]; ok {
		return v
	}
	return m["*"]
}

// A Filter maps comparisons of a field to query parameters; one name alone is
// that of eq.
type Filter map[string]string

// A Map keeps the order of the file.
type Map[T any] struct {
	Names  []string
	Values map[string]T
}

// Get answers the value of a name.
func (m Map[T]) Get(name string) (T, bool) {
	v, ok := m.Values[name]
	return v, ok
}

// ParseDuration reads 500ms 5s 15m 8h 90d.
func ParseDuration(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		if days, err := strconv.Atoi(n); err == nil && days >= 0 && days < 36500 {
			return time.Duration(days) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration; write 500ms, 5s, 15m, 8h or 90d", s)
	}
	return d, nil
}

// ParseSize reads 256KiB 2GiB.
func ParseSize(s string) (Size, error) {
	units := []struct {
		suffix string
		factor int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}}
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			v, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			if err != nil || v < 0 || v > (1<<62)/u.factor {
				break
			}
			return Size(v * u.factor), nil
		}
	}
	return 0, fmt.Errorf("%q is no size; write 256KiB, 1MiB or 2GiB", s)
}

// maxRate keeps counters far from the end of their range.
const maxRate = 2_000_000_000

// ParseRate reads 80/s 60/min 2000/h 50000/day.
func ParseRate(s string) (Rate, error) {
	units := map[string]time.Duration{"s": time.Second, "min": time.Minute, "h": time.Hour, "day": 24 * time.Hour}
	if n, unit, ok := strings.Cut(s, "/"); ok {
		v, err := strconv.ParseInt(n, 10, 64)
		if per := units[unit]; err == nil && per > 0 && v > 0 && v <= maxRate {
			return Rate{N: v, Per: per}, nil
		}
	}
	return Rate{}, fmt.Errorf("%q is no rate; write 80/s, 60/min, 2000/h or 50000/day", s)
}

// parse reads one element of a CostLimit into it.
func (c *CostLimit) parse(s string) error {
	if strings.Contains(s, "/") {
		r, err := ParseRate(s)
		c.Budget = r
		return err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is neither the cost of one operation, such as 1000, nor a rate, such as 20000/h", s)
	}
	c.Operation = n
	return nil
}

// ParseNetwork reads a network as CIDR, or one address.
func ParseNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Prefix(a.BitLen())
}

// AmountPerDay is the amount that may be used and reserved in a day; nil: not
// said.
func (b *Budget) AmountPerDay() (*policy.Money, error) {
	if b.Amount == "" {
		return nil, nil
	}
	sum, per, _ := strings.Cut(b.Amount, "/")
	m, ok := policy.ParseMoney(sum)
	if !ok || per != "day" || m.Micros == 0 {
		return nil, fmt.Errorf("%q is no amount in a day; write 2000 EUR/day", b.Amount)
	}
	return &m, nil
}
