package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/countersign/countersign/policy"
)

// large is a policy of 10,000 lines over 1,000 objects of 20 fields, ten roles
// that one person holds.
func large(b *testing.B) *policy.Engine {
	var schema, csv strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&schema, "s%d.t%d read create update delete:", i/100, i)
		for f := range 20 {
			fmt.Fprintf(&schema, " f%d", f)
		}
		schema.WriteString("\n")
	}
	for r := range 10 {
		for i := range 1000 {
			switch i % 4 {
			case 0:
				fmt.Fprintf(&csv, "p, r%d, s%d.t%d, read, allow\n", r, i/100, i)
			case 1:
				fmt.Fprintf(&csv, "p, r%d, s%d.t%d{f1 f2 f3}, read|update, allow, {f1: {eq: $claims.x}}\n", r, i/100, i)
			case 2:
				fmt.Fprintf(&csv, "p, r%d, s%d.t%d, update, propose\n", r, i/100, i)
			case 3:
				fmt.Fprintf(&csv, "p, r%d, s%d.t%d{* -f4}, *, allow, {f2: {in: [\"a\" \"b\"]}}\n", r, i/100, i)
			}
		}
	}
	e, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(csv.String())}}, declare(schema.String()), policy.Options{Views: 1})
	if e == nil {
		b.Fatal(problems[0])
	}
	return e
}

func BenchmarkViewCold(b *testing.B) {
	e := large(b)
	all := person("user:x", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9")
	other := person("user:y", "none")
	b.ResetTimer()
	for b.Loop() {
		e.View(other) // pushes the large view out of a cache of one
		e.View(all)
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
