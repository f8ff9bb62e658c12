package policy_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/countersign/countersign/policy"
)

// largeText is a policy of 10,000 lines over 1,000 objects of 20 fields, ten
// roles that one person holds; a tenth of the lines mask.
func largeText() (schema, csv string) {
	var s, c strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&s, "s%d.t%d read create update delete:", i/100, i)
		for f := range 20 {
			fmt.Fprintf(&s, " f%d", f)
		}
		s.WriteString("\n")
	}
	for r := range 10 {
		for i := range 1000 {
			switch (i + r) % 10 {
			case 0, 4:
				fmt.Fprintf(&c, "p, r%d, s%d.t%d, read, allow\n", r, i/100, i)
			case 8:
				fmt.Fprintf(&c, "p, r%d, s%d.t%d, read, allow, {f1: {eq: $claims.x}}, {mask: {f5: LAST4 f6: HASH f7: NULL}}\n", r, i/100, i)
			case 1, 5, 9:
				fmt.Fprintf(&c, "p, r%d, s%d.t%d{f1 f2 f3}, read|update, allow, {f1: {eq: $claims.x}}\n", r, i/100, i)
			case 2, 6:
				fmt.Fprintf(&c, "p, r%d, s%d.t%d, update, propose\n", r, i/100, i)
			case 3, 7:
				fmt.Fprintf(&c, "p, r%d, s%d.t%d{* -f4}, *, allow, {f2: {in: [\"a\" \"b\"]}}\n", r, i/100, i)
			}
		}
	}
	return s.String(), c.String()
}

func large(b *testing.B) *policy.Engine { return largeWith(b, policy.Options{Views: 1}) }

func largeWith(b *testing.B, opts policy.Options) *policy.Engine {
	schema, csv := largeText()
	e, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(csv)}}, declare(schema), opts)
	if e == nil {
		b.Fatal(problems[0])
	}
	return e
}

// BenchmarkLoad loads 10,000 lines; at most a second.
func BenchmarkLoad(b *testing.B) {
	schema, csv := largeText()
	for b.Loop() {
		if e, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(csv)}}, declare(schema), policy.Options{}); e == nil {
			b.Fatal(problems[0])
		}
	}
}

// BenchmarkRoleSets holds a thousand views of distinct role sets over a thousand
// objects, at most 300 MB over the first: everybody reads everything in part, and
// each of fifty roles has lines of its own for forty objects.
func BenchmarkRoleSets(b *testing.B) {
	schema, _ := largeText()
	csv := "p, base, *, read, allow, , {mask: {f19: REDACT}}\n"
	for r := range 50 {
		for i := range 40 {
			o := (r*20 + i) % 1000
			csv += fmt.Sprintf("p, r%d, s%d.t%d, read|update, allow, {f1: {eq: $claims.c%d}}, {mask: {f5: LAST4}}\n", r, o/100, o, r%5)
			csv += fmt.Sprintf("p, r%d, s%d.t%d{f1 f2 f3}, update, propose\n", r, o/100, o)
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		e, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(csv)}}, declare(schema), policy.Options{Views: 1000})
		if e == nil {
			b.Fatal(problems[0])
		}
		e.View(person("user:x", "base"))
		first := heap()
		for n := range 1000 {
			e.View(person("user:x", "base", fmt.Sprintf("r%d", n%50), fmt.Sprintf("r%d", (n%50+1+n/50)%50)))
		}
		b.ReportMetric(float64(heap()-first)/(1<<20), "MB-over-first")
		runtime.KeepAlive(e)
	}
}

// BenchmarkViewCold builds the view of one role, at most 20 ms, and of a person
// who holds all of ten.
func BenchmarkViewCold(b *testing.B) {
	e := large(b)
	other := person("user:y", "none")
	for name, p := range map[string]*policy.Principal{"role": person("user:x", "r0"),
		"ten": person("user:x", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				e.View(other) // pushes the view out of a cache of one
				runtime.GC()  // and what views share
				b.StartTimer()
				e.View(p)
			}
		})
	}
}

func BenchmarkViewWarm(b *testing.B) {
	e := large(b)
	p := person("user:x", "r0", "r1")
	e.View(p)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		e.View(p)
	}
}

func BenchmarkDecideWarm(b *testing.B) {
	e := large(b)
	w := e.View(person("user:x", "r0", "r1")).Object("s0.t1").Update
	fields := []string{"s_f1", "s_f2"}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		w.Decide(fields)
	}
}

func BenchmarkBind(b *testing.B) {
	e := large(b)
	p := person("user:x", "r0")
	v := e.View(p)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		v.Bind(p, noon)
	}
}
