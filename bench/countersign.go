//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// source is the name of the database in the configuration, and agent who asks.
const (
	source = "lab"
	agent  = "bench"
)

// configuration is what an operator would write for these clients: as many
// connections to the database as the others have, and limits that a page of
// pages fits into.
const configuration = `version: 1
sources:
  lab:
    connector: postgres
    url: ${LAB_URL}
    pool: {max: 16}
    limits: {concurrency: 64}
agents:
  bench: {owner: owner@example.test, purpose: Measures, roles: [bench], actsFor: never}
limits:
  "*": {cost: 1000000, page: 100}
`

// unaudited leaves the log of direct writes out, which none of the others keeps.
const unaudited = `telemetry: {audit: {writes: none}}
`

// rules are a row condition and a hidden field on everything that is read, and
// an update that is allowed at once. Every record fulfils its condition, so that
// the answers are those of the servers that have none. The owner stands in the
// approvals that init writes; nothing here waits for one.
const rules = `p, bench, lab.customer{* -phone}, read, allow, {email: {ne: $principal.name}}
p, bench, lab.event{* -device}, read, allow, {status: {ne: "hidden"}}
p, bench, lab.artist{* -genre}, read, allow, {country: {ne: "XX"}}
p, bench, lab.album{* -label}, read, allow, {releaseYear: {gte: 1900}}
p, bench, lab.track{* -composer}, read, allow, {milliseconds: {gt: 0}}
p, bench, lab.customer{city}, update, allow
p, owner, *, approve, allow
p, owner, *, read, allow
`

// configure makes a configuration folder with the program's own commands, and
// answers the key of the agent that asks.
func configure(ctx context.Context, program, dir, url string, audited bool) (key string, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = dir
		out, err := cmd.Output()
		if failed, ok := err.(*exec.ExitError); ok {
			err = fmt.Errorf("countersign %s: %w: %s", args[0], err, failed.Stderr)
		}
		return strings.TrimSpace(string(out)), err
	}
	if _, err := run("init", "--source", source+"=postgres:"+url); err != nil {
		return "", err
	}
	yaml := configuration
	if !audited {
		yaml += unaudited
	}
	for name, text := range map[string]string{"countersign.yaml": yaml, "policy/policy.csv": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return run("agents", "keys", "add", agent)
}

// startCountersign configures the real program and starts its server.
func startCountersign(ctx context.Context, c *contender, program, dir, url string, audited bool) (err error) {
	if c.bearer, err = configure(ctx, program, dir, url, audited); err != nil {
		return err
	}
	return c.start(ctx, filepath.Dir(dir), func(address string) *exec.Cmd {
		cmd := exec.Command(program, "serve", "--listen", address)
		cmd.Dir = dir
		return cmd
	})
}
