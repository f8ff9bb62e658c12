//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/countersign/countersign/bench/lab"
	"github.com/countersign/countersign/bench/load"
	"github.com/countersign/countersign/connectors/connectortest"
)

// The comparison starts its own program again for the servers it compares with;
// here that program is the test.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "limit" || os.Args[1] == "handwritten") {
		if err := command(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// All contenders, started as they are measured, answer every scenario equally,
// and keep doing so under load.
func TestContendersAnswerEqually(t *testing.T) {
	program := filepath.Join(t.TempDir(), "countersign")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cmd/countersign").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	url := connectortest.Postgres(t)
	if err := lab.Fill(t.Context(), url, 100_000); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	contenders, err := startAll(t.Context(), &options{countersign: program}, dir, url)
	defer stopAll(contenders)
	if err != nil {
		t.Fatal(err)
	}
	for i := range scenarios {
		s := &scenarios[i]
		shortest, err := compare(t.Context(), s, contenders)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.name == "nested" && shortest < 80_000 {
			t.Errorf("the nested answers are as short as %d bytes", shortest)
		}
		for _, c := range contenders {
			if !c.does(s) {
				continue
			}
			r, err := load.Run(t.Context(), load.Options{Address: c.address, Requests: s.requests(c), Connections: 4, Duration: 100 * time.Millisecond, MinBytes: rightSize(shortest)})
			if err != nil || r.Bad > 0 || r.Requests == 0 {
				t.Errorf("%s: %s: %+v, %v", s.name, c.name, r, err)
			}
		}
	}
}

// A wrong answer is seen: by its shape before anything is timed, by its length
// under load.
func TestWrongAnswersAreSeen(t *testing.T) {
	for body, right := range map[string]bool{
		`{"data":{"a":{"nodes":[{"customer":{"x":1}}]}}}`: true,
		`{"data":{"a":null},"errors":[{"message":"x"}]}`:  false,
		`{"data":null}`: false,
		`no JSON`:       false,
	} {
		if _, err := readAnswer([]byte(body)); (err == nil) != right {
			t.Errorf("%s: %v", body, err)
		}
	}
	v, err := readAnswer([]byte(`{"data":{"artists":{"nodes":[{"id":1,"albums":{"nodes":[]}}]},"u":{"customer":{"id":2}}}}`))
	if got := fmt.Sprint(v); err != nil || got != `map[artists:[map[albums:[] id:1]] u:map[id:2]]` {
		t.Errorf("%v, %v", got, err)
	}
}

// Ratios are taken round by round, so that a slow round is slow for both.
func TestReportComparesRoundByRound(t *testing.T) {
	r := &report{Limits: []string{"limit"}, Order: []string{"limit", "x"}}
	for round, slow := range []float64{1, 4, 2} {
		r.Samples = append(r.Samples,
			sample{Scenario: "point", Contender: "limit", Round: round, PerSecond: 1000 / slow, ServerCPU: 10 * slow, DatabaseCPU: 10 * slow},
			sample{Scenario: "point", Contender: "x", Round: round, PerSecond: 500 / slow, ServerCPU: 20 * slow, DatabaseCPU: 10 * slow})
	}
	if got := r.ratio("point", "x", "limit", perSecond); got != 0.5 {
		t.Errorf("a share of %v", got)
	}
	if got := r.ratio("point", "x", "limit", allCPU); got != 1.5 {
		t.Errorf("CPU of %v times", got)
	}
	if got := r.reference("point", perSecond, true); got != "limit" {
		t.Errorf("compared with %q", got)
	}
}
