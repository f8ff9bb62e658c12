package main

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/store"
)

// principal reads role:NAME, agent:NAME or user:NAME, without a store. A role is
// seen by a person who holds it, and by an agent where only agents do.
func (p *project) principal(as string) (*policy.Principal, error) {
	kind, name, ok := strings.Cut(as, ":")
	if !ok || name == "" {
		return nil, usagef("--as %q is not role:NAME, agent:NAME or user:NAME", as)
	}
	out := &policy.Principal{ID: as, Name: name, Tenant: policy.DefaultTenant, Claims: map[string]connectors.Value{}}
	switch kind {
	case "role":
		if !slices.Contains(p.policy.Roles(), name) {
			return nil, usagef("the policy has no role %q", name)
		}
		out.Roles = []string{name}
		if out.Kind, out.Interactive = policy.Human, true; p.agentsOnly(name) {
			out.Kind, out.Interactive = policy.Agent, false
		}
	case "agent":
		a, ok := p.cfg.Agents.Get(name)
		if !ok {
			return nil, usagef("there is no agent %q", name)
		}
		out.Kind, out.Roles, out.Owner = policy.Agent, a.Roles, identity.UserID(a.Owner)
	case "user":
		out.Kind, out.Interactive = policy.Human, true
	default:
		return nil, usagef("--as %q is not role:NAME, agent:NAME or user:NAME", as)
	}
	return out, nil
}

// identify is principal with what the store knows of a person.
func (p *project) identify(e *env, as, data string) (*policy.Principal, error) {
	who, err := p.principal(as)
	if err != nil || !strings.HasPrefix(as, "user:") || absent(filepath.Join(data, "countersign.db")) && p.cfg.Store == "" {
		return who, err
	}
	keys, err := openKeyring(p.cfg, data)
	if err != nil {
		return nil, err
	}
	s, err := openStore(e.ctx, p.cfg, data, store.ReadOnly, keys)
	if err != nil {
		return nil, err
	}
	ids, err := identity.New(identityConfig(p.cfg), s, identity.Options{})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	known, _, err := ids.Current(e.ctx, policy.DefaultTenant, who.ID)
	return known, errors.Join(err, s.Close())
}

// agentsOnly tells whether agents hold a role, directly or by inheritance, and,
// by all that the files say, nobody else does.
func (p *project) agentsOnly(role string) bool {
	granting, members := p.policy.Holding(role)
	agents := map[string]bool{}
	for _, name := range p.cfg.Agents.Names {
		for _, r := range p.cfg.Agents.Values[name].Roles {
			agents[r] = true
		}
	}
	people := map[string]bool{}
	for _, i := range p.cfg.Identity.Issuers {
		to := people
		if i.Kind == string(policy.Agent) {
			to = agents
		}
		for _, r := range slices.Concat(i.Roles.Fixed, slices.Collect(maps.Values(i.Roles.Map))) {
			to[r] = true
		}
	}
	held := false
	for _, m := range members {
		if !strings.HasPrefix(m, "agent:") {
			return false
		}
		held = true
	}
	for _, r := range granting {
		// Another role that inherits it, and that no agent has, is for people.
		if people[r] || r != role && !agents[r] {
			return false
		}
		held = held || agents[r]
	}
	return held
}
