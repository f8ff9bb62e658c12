package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
)

// operations reads the trusted documents and compares them with what who may
// send them sees. It comes after the catalog and the policy.
func (p *project) operations() []config.Problem {
	files, problems := p.operationFiles()
	trusted, more := gateway.LoadTrusted(files)
	problems = append(problems, more...)
	only := map[string][]string{}
	for _, name := range p.cfg.Agents.Names {
		a := p.cfg.Agents.Values[name]
		if a.Operations == nil {
			continue
		}
		only[name] = a.Operations
		for _, op := range a.Operations {
			if !policy.Errors(more) && !slices.Contains(trusted.Names(), op) {
				problems = append(problems, config.Problem{File: p.cfg.File, Line: a.Line, Code: policy.ProblemUnknownName,
					Message: fmt.Sprintf("agents.%s.operations: there is no trusted document %s", name, op), Hint: config.Nearest(op, trusted.Names())})
			}
		}
	}
	p.trusted = trusted.With(only)
	snapshot := gateway.NewSnapshot(p.catalog, p.policy)
	senders, more := p.possibleSenders()
	problems = append(problems, more...)
	if policy.Errors(problems) {
		return problems
	}
	p.senders, more = p.trusted.Check(snapshot, senders)
	return append(problems, more...)
}

// possibleSenders are the roles, and the agents with all of theirs.
func (p *project) possibleSenders() ([]gateway.Sender, []config.Problem) {
	var out []gateway.Sender
	var problems []config.Problem
	limits := roleLimits(p.cfg)
	add := func(what, as string, must []string) {
		who, err := p.principal(as)
		if err != nil {
			problems = append(problems, config.Problem{File: p.cfg.File, Code: policy.ProblemUnknownName, Message: err.Error()})
			return
		}
		if as == "role:anonymous" {
			who = policy.AnonymousPrincipal()
		}
		out = append(out, gateway.Sender{Name: what, Principal: who, Limits: limits.For(who, p.policy.Expand), Must: must})
	}
	for _, role := range p.policy.Roles() {
		if role != "*" {
			add("role "+role, "role:"+role, nil)
		}
	}
	for _, name := range p.cfg.Agents.Names {
		add("agent "+name, "agent:"+name, p.cfg.Agents.Values[name].Operations)
	}
	return out, problems
}

// operationFiles reads every .graphql of the folder; one that is named must be
// there.
func (p *project) operationFiles() ([]gateway.TrustedFile, []config.Problem) {
	dir := p.cfg.Operations
	if dir == "" {
		dir = opsName
	}
	dir = inDir(p.cfg.Dir, dir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) && p.cfg.Operations == "" {
		return nil, nil
	}
	if err != nil {
		return nil, []config.Problem{{File: dir, Code: "unreadable", Message: "the trusted documents cannot be read: " + err.Error()}}
	}
	var files []gateway.TrustedFile
	var problems []config.Problem
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || filepath.Ext(name) != ".graphql" {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			problems = append(problems, config.Problem{File: name, Code: "unreadable", Message: err.Error()})
			continue
		}
		files = append(files, gateway.TrustedFile{Name: name, Text: string(data)})
	}
	return files, problems
}

// printOperations says which trusted documents there are, and who can send them.
func (p *project) printOperations(e *env) {
	for _, d := range p.trusted.List() {
		e.printf("  %s %s: %s (sha256 %s)\n", d.Kind, d.Name, strings.Join(p.senders[d.Name], ", "), d.Hash)
	}
}
