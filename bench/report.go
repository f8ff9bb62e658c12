//go:build linux

package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// A report is what a run found.
type report struct {
	Machine string   `json:"machine"`
	Rounds  int      `json:"rounds"`
	Seconds float64  `json:"seconds"`
	Clients int      `json:"connections"`
	Events  int      `json:"events"`
	Limits  []string `json:"limits"`
	Order   []string `json:"order"`
	Samples []sample `json:"samples"`
}

func newReport(o *options, contenders []*contender, samples []sample) *report {
	r := &report{Machine: fmt.Sprintf("%d cores, %s", runtime.NumCPU(), runtime.Version()), Rounds: o.rounds, Seconds: o.duration.Seconds(),
		Clients: o.connections, Events: o.events, Samples: samples}
	for _, c := range contenders {
		r.Order = append(r.Order, c.name)
		if c.limit {
			r.Limits = append(r.Limits, c.name)
		}
	}
	return r
}

// of are the samples of a contender in a scenario, by round.
func (r *report) of(scenario, contender string) []sample {
	var out []sample
	for _, s := range r.Samples {
		if s.Scenario == scenario && s.Contender == contender {
			out = append(out, s)
		}
	}
	return out
}

// reference is the best form of the limit in a figure.
func (r *report) reference(scenario string, figure func(*sample) float64, largest bool) string {
	best, at := "", 0.0
	for _, name := range r.Limits {
		samples := r.of(scenario, name)
		if len(samples) == 0 {
			continue
		}
		if v := median(figures(samples, figure)); best == "" || largest == (v > at) {
			best, at = name, v
		}
	}
	return best
}

// ratio is the median over the rounds of a contender's figure by the
// reference's of the same round.
func (r *report) ratio(scenario, contender, reference string, figure func(*sample) float64) float64 {
	mine, its := figures(r.of(scenario, contender), figure), figures(r.of(scenario, reference), figure)
	out := make([]float64, 0, len(mine))
	for i := range min(len(mine), len(its)) {
		if its[i] > 0 {
			out = append(out, mine[i]/its[i])
		}
	}
	return median(out)
}

func figures(samples []sample, figure func(*sample) float64) []float64 {
	out := make([]float64, len(samples))
	for i := range samples {
		out[i] = figure(&samples[i])
	}
	return out
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

func perSecond(s *sample) float64 { return s.PerSecond }
func allCPU(s *sample) float64    { return s.cpu() }

// markdown is the report as people read it.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Machine: %s. %d connections, %d rounds of %g s, %d events. Medians over the rounds;\n", r.Machine, r.Clients, r.Rounds, r.Seconds, r.Events)
	b.WriteString("shares and multiples are of the best form of the limit in that figure, round by round.\n")
	for i := range scenarios {
		r.scenario(&b, &scenarios[i])
	}
	others := figures(r.Samples, func(s *sample) float64 { return s.Others })
	if len(others) > 0 {
		fmt.Fprintf(&b, "\nWork of others on the machine: median %.2f cores, at most %.2f. Above a tenth of the cores compare CPU, not throughput.\n", median(others), slices.Max(others))
	}
	return b.String()
}

func (r *report) scenario(b *strings.Builder, s *scenario) {
	fastest, cheapest := r.reference(s.name, perSecond, true), r.reference(s.name, allCPU, false)
	if fastest == "" {
		return
	}
	fmt.Fprintf(b, "\n### %s: %s\n\n", s.name, s.what)
	b.WriteString("| | requests/s | share of the limit's | server CPU, ms per 1,000 | database CPU | all CPU | times the limit's | p50 ms | p99 ms |\n")
	b.WriteString("|---|---:|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, name := range r.Order {
		samples := r.of(s.name, name)
		if len(samples) == 0 {
			continue
		}
		mid := func(f func(*sample) float64) float64 { return median(figures(samples, f)) }
		fmt.Fprintf(b, "| %s | %.0f | **%.2f** | %s | %s | %s | **%.2f** | %.2f | %.2f |\n", name, mid(perSecond), r.ratio(s.name, name, fastest, perSecond),
			digits(mid(func(s *sample) float64 { return s.ServerCPU })), digits(mid(func(s *sample) float64 { return s.DatabaseCPU })), digits(mid(allCPU)),
			r.ratio(s.name, name, cheapest, allCPU), mid(func(s *sample) float64 { return s.P50 }), mid(func(s *sample) float64 { return s.P99 }))
	}
}

// digits keeps three of them.
func digits(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
