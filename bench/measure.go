//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/countersign/countersign/bench/lab"
	"github.com/countersign/countersign/bench/load"
)

// A sample is one run of one contender.
type sample struct {
	Scenario  string  `json:"scenario"`
	Contender string  `json:"contender"`
	Round     int     `json:"round"`
	PerSecond float64 `json:"perSecond"`
	// ServerCPU and DatabaseCPU are milliseconds for 1,000 requests.
	ServerCPU   float64 `json:"serverCpu"`
	DatabaseCPU float64 `json:"databaseCpu"`
	P50         float64 `json:"p50"` // milliseconds under full load
	P99         float64 `json:"p99"`
	Bad         int     `json:"bad"`
	// Others is how many cores were busy with what does not belong to the run.
	Others float64 `json:"others"`
}

func (s *sample) cpu() float64 { return s.ServerCPU + s.DatabaseCPU }

// A series measures contenders in turn.
type series struct {
	o        *options
	database int // PostgreSQL's process
	say      io.Writer
	samples  []sample
}

// warmUp is how long each contender is warmed up in each scenario.
const warmUp = time.Second

// measure runs one scenario: the contenders in turn, round by round, so that
// what disturbs the machine disturbs all of them.
func (m *series) measure(ctx context.Context, s *scenario, contenders []*contender) error {
	shortest, err := compare(ctx, s, contenders)
	if err != nil {
		return err
	}
	requests := map[*contender][]load.Request{}
	for _, c := range contenders {
		if !c.does(s) {
			continue
		}
		requests[c] = s.requests(c)
		if _, err := m.run(ctx, s, c, requests[c], warmUp, 0); err != nil {
			return err
		}
	}
	for round := range m.o.rounds {
		for _, c := range contenders {
			if requests[c] == nil {
				continue
			}
			x, err := m.run(ctx, s, c, requests[c], m.o.duration, rightSize(shortest))
			if err != nil {
				return err
			}
			x.Round = round
			m.samples = append(m.samples, x)
			fmt.Fprintf(m.say, "%-7s round %d  %-20s %8.0f/s  server %7.1f  database %7.1f ms/1,000  p50 %6.2f  p99 %6.2f ms  others %.2f cores\n",
				s.name, round+1, c.name, x.PerSecond, x.ServerCPU, x.DatabaseCPU, x.P50, x.P99, x.Others)
			if x.Bad > 0 {
				return fmt.Errorf("%s: %s gave %d wrong answers under load", s.name, c.name, x.Bad)
			}
		}
	}
	return nil
}

func (m *series) run(ctx context.Context, s *scenario, c *contender, requests []load.Request, d time.Duration, shortest int) (sample, error) {
	server, database, own, machine := lab.CPU(c.process.PID()), lab.CPU(m.database), lab.Own(), lab.Machine()
	r, err := load.Run(ctx, load.Options{Address: c.address, Requests: requests, Connections: m.o.connections, Duration: d, MinBytes: shortest})
	if err != nil {
		return sample{}, fmt.Errorf("%s: %s: %w", s.name, c.name, err)
	}
	if r.Requests == 0 {
		return sample{}, fmt.Errorf("%s: %s answered nothing in time", s.name, c.name)
	}
	server, database = lab.CPU(c.process.PID())-server, lab.CPU(m.database)-database
	others := lab.Machine() - machine - server - database - (lab.Own() - own)
	per := func(d time.Duration) float64 { return milliseconds(d) * 1000 / float64(r.Requests) }
	return sample{Scenario: s.name, Contender: c.name, PerSecond: float64(r.Requests) / r.Elapsed.Seconds(), ServerCPU: per(server), DatabaseCPU: per(database),
		P50: milliseconds(r.P50), P99: milliseconds(r.P99), Bad: r.Bad, Others: max(0, others.Seconds()/r.Elapsed.Seconds())}, nil
}

// rightSize is how long a right answer is at least: other values may give a
// shorter one than those looked at, but none without a record.
func rightSize(shortest int) int { return min(shortest/2, 100) }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
