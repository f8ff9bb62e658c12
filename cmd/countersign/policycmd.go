package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/cmd/countersign/proof"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

type policyCmd struct {
	Test   policyTestCmd   `cmd:"" help:"Run policy/*.policy_test.yaml over records in memory; no source is contacted."`
	WhoCan policyWhoCanCmd `cmd:"" help:"List the roles, agents and people who may do something, and by which line."`
	Diff   policyDiffCmd   `cmd:"" help:"Compare two policies: what opens and what closes, per role."`
	Replay policyReplayCmd `cmd:"" help:"Not supported yet."`
}

type policyReplayCmd struct {
	Arguments []string `arg:"" optional:"" help:"Whatever it will take."`
}

// Run refuses in words.
func (*policyReplayCmd) Run(*env) error {
	return errors.New("policy replay is not supported yet; policy diff compares two policies")
}

type policyTestCmd struct {
	Files   []string `arg:"" optional:"" help:"Files of tests; by default all of the policy's folder." type:"path"`
	Config  string   `help:"The configuration." default:"countersign.yaml" type:"path"`
	JSON    bool     `help:"Print JSON." name:"json"`
	Verbose bool     `help:"Name the cases that passed too." short:"v"`
}

// A testedCase is the JSON of one result.
type testedCase struct {
	proof.Result
	Passed bool    `json:"passed"`
	Ms     float64 `json:"ms"`
}

// Run runs the tests, and says of each that failed what was expected, what came,
// and why.
func (t *policyTestCmd) Run(e *env) error {
	p, problems := loadOffline(t.Config)
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	files := p.tests
	if len(t.Files) > 0 {
		files = nil
		for _, name := range t.Files {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			files = append(files, policy.File{Name: name, Data: data})
		}
	}
	if len(files) == 0 {
		return errors.New("there are no policy tests; write policy/NAME.policy_test.yaml")
	}
	results, problems, err := p.prove(e.ctx, files)
	if err != nil {
		return err
	}
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	failed := 0
	var took time.Duration
	for i := range results {
		took += results[i].Took
		if !results[i].Passed() {
			failed++
		}
	}
	if t.JSON {
		out := make([]testedCase, 0, len(results))
		for _, r := range results {
			out = append(out, testedCase{Result: r, Passed: r.Passed(), Ms: float64(r.Took.Round(10*time.Microsecond)) / float64(time.Millisecond)})
		}
		if err := printJSON(e.stdout, out); err != nil {
			return err
		}
	} else {
		for i := range results {
			p.printResult(e, &results[i], t.Verbose)
		}
		e.printf("%d passed, %d failed, in %s\n", len(results)-failed, failed, took.Round(time.Millisecond))
	}
	if failed > 0 {
		return errSilent
	}
	return nil
}

func (p *project) printResult(e *env, r *proof.Result, verbose bool) {
	if r.Passed() {
		if verbose {
			e.printf("ok    %s (%s)\n", plain(r.Name), r.Took.Round(10*time.Microsecond))
		}
		return
	}
	e.printf("FAIL  %s\n      %s:%d\n", plain(r.Name), r.File, r.Line)
	for _, f := range r.Failures {
		e.printf("      %s\n", plain(f))
	}
	e.printf("%s\n", indent(indent(indent(p.whyOf(r)))))
}

// whyOf is the explanation of a result.
func (p *project) whyOf(r *proof.Result) string {
	ex := &gateway.Explanation{Lines: r.Lines}
	if r.Request != nil {
		var errs []gateway.Error
		if ex, errs = gateway.Explain(gateway.NewSnapshot(p.catalog, p.policy), roleLimits(p.cfg), r.Who, r.Request); len(errs) > 0 {
			return fmt.Sprintf("%s has no plan: %s (%s)", plain(r.Who.ID), plain(errs[0].Message), errs[0].Code)
		}
	}
	var b bytes.Buffer
	p.explained(r.Who, ex).printReasons(&env{stdout: &b})
	return b.String()
}

// prove reads and runs files of tests. Problems are what is wrong with the files.
func (p *project) prove(ctx context.Context, files []policy.File) (results []proof.Result, problems []config.Problem, err error) {
	cfg := proof.Config{Catalog: p.catalog, Policy: p.policy, Schemas: p.schemas, Limits: roleLimits(p.cfg), Agents: map[string]proof.Agent{}}
	for name, a := range p.cfg.Agents.Values {
		cfg.Agents[name] = proof.Agent{Roles: a.Roles, Owner: identity.UserID(a.Owner)}
	}
	for _, f := range files {
		tests, more := p.policy.ReadTests(f)
		problems = append(problems, more...)
		if policy.Errors(more) {
			continue
		}
		some, more, err := proof.Run(ctx, cfg, tests)
		if err != nil {
			return nil, nil, err
		}
		results, problems = append(results, some...), append(problems, more...)
	}
	return results, problems, nil
}

// proven runs the policy's own tests for check: each that fails is a problem.
func (p *project) proven(ctx context.Context) []config.Problem {
	results, problems, err := p.prove(ctx, p.tests)
	if err != nil {
		return append(problems, config.Problem{File: p.cfg.File, Code: "policy_test", Message: "the policy's tests could not be run: " + errorText(err)})
	}
	for i := range results {
		if r := &results[i]; !r.Passed() {
			problems = append(problems, config.Problem{File: r.File, Line: r.Line, Code: "policy_test", Message: r.Name + ": " + r.Failures[0],
				Hint: "countersign policy test says why"})
		}
	}
	return problems
}
