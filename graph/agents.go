package graph

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/model"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/proposals"
)

// agents lists every agent for an administrator, and for others their own.
func (r *Resolver) agents(ctx context.Context, c *Caller) ([]*model.CountersignAgent, error) {
	all, err := r.Identity.Agents(ctx, c.Principal.Tenant)
	if err != nil {
		return nil, err
	}
	out := []*model.CountersignAgent{}
	for _, a := range all {
		if c.Admin() || a.Owner == c.Principal.ID {
			out = append(out, &model.CountersignAgent{Name: a.Name, Owner: personName(a.Owner, ""), Purpose: optional(a.Purpose), Suspended: a.Suspended})
		}
	}
	return out, nil
}

// signedIn is the caller, where a person signed in: nobody else changes what
// agents may.
func signedIn(ctx context.Context) (*Caller, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	if c.Principal.Kind != policy.Human || !c.Principal.Interactive {
		return nil, connectors.Errorf(connectors.CodeSignInRequired, "only a person who signed in does that")
	}
	return c, nil
}

// administrator is the caller, where an administrator signed in.
func administrator(ctx context.Context) (*Caller, error) {
	c, err := signedIn(ctx)
	if err == nil && !c.Admin() {
		err = connectors.Errorf(connectors.CodeForbidden, "the role %s does that", AdminRole)
	}
	return c, err
}

// suspend stops or resumes an agent: its owner or an administrator may. A kill
// switch stands beside the suspension while that lasts: what was claimed before
// is not dispatched after.
func (r *Resolver) suspend(ctx context.Context, name string, stop bool) (*model.CountersignAgent, error) {
	c, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	mine, err := r.agents(ctx, c)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(mine, func(a *model.CountersignAgent) bool { return a.Name == name })
	if i < 0 {
		return nil, connectors.Errorf(connectors.CodeNotFound, "there is no agent of that name that you own")
	}
	id := identity.AgentID(name)
	k := proposals.KillSwitch{Agent: id, Say: "the agent is suspended", Suspension: true}
	if stop {
		if _, err := r.Proposals.SetKillSwitch(ctx, c.Principal, k); err != nil {
			return nil, err
		}
	}
	if err := r.Identity.Suspend(ctx, c.Principal, c.Principal.Tenant, id, stop); err != nil {
		return nil, err
	}
	if !stop {
		if _, err := r.Proposals.LiftKillSwitch(ctx, c.Principal, k); err != nil {
			return nil, err
		}
	}
	mine[i].Suspended = stop
	return mine[i], nil
}

// switchOf reads the scope of a kill switch: names that nothing has would stop
// nothing.
func (r *Resolver) switchOf(ctx context.Context, c *Caller, source, agent *string) (proposals.KillSwitch, error) {
	k := proposals.KillSwitch{Source: value(source)}
	if source != nil && !slices.ContainsFunc(r.Sources(), func(s SourceState) bool { return s.Name == *source }) {
		return k, connectors.Errorf(connectors.CodeNotFound, "there is no source of that name").At("source")
	}
	if agent == nil {
		return k, nil
	}
	all, err := r.agents(ctx, c)
	if err != nil {
		return k, err
	}
	if !slices.ContainsFunc(all, func(a *model.CountersignAgent) bool { return a.Name == *agent }) {
		return k, connectors.Errorf(connectors.CodeNotFound, "there is no agent of that name").At("agent")
	}
	k.Agent = identity.AgentID(*agent)
	return k, nil
}

func (r *Resolver) setSwitch(ctx context.Context, source, agent *string, reason string) (*model.CountersignKillSwitch, error) {
	c, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	k, err := r.switchOf(ctx, c, source, agent)
	if err != nil {
		return nil, err
	}
	if k.Say = strings.TrimSpace(reason); k.Say == "" {
		return nil, connectors.Errorf(connectors.CodeBadInput, "say why: whoever is refused is told").At("reason")
	}
	set, err := r.Proposals.SetKillSwitch(ctx, c.Principal, k)
	if err != nil {
		return nil, err
	}
	return switchModel(set), nil
}

func (r *Resolver) liftSwitch(ctx context.Context, source, agent *string) (*bool, error) {
	c, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	k := proposals.KillSwitch{Source: value(source)}
	if agent != nil {
		k.Agent = identity.AgentID(*agent)
	}
	lifted, err := r.Proposals.LiftKillSwitch(ctx, c.Principal, k)
	return &lifted, err
}

// killSwitches are shown to administrators, and those about an agent to its
// owner.
func (r *Resolver) killSwitches(ctx context.Context) ([]*model.CountersignKillSwitch, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	set, err := r.Proposals.KillSwitches(ctx, c.Principal.Tenant)
	if err != nil {
		return nil, err
	}
	mine, err := r.agents(ctx, c)
	if err != nil {
		return nil, err
	}
	out := []*model.CountersignKillSwitch{}
	for i := range set {
		own := slices.ContainsFunc(mine, func(a *model.CountersignAgent) bool { return identity.AgentID(a.Name) == set[i].Agent })
		if c.Admin() || own {
			out = append(out, switchModel(&set[i]))
		}
	}
	return out, nil
}

func switchModel(k *proposals.KillSwitch) *model.CountersignKillSwitch {
	return &model.CountersignKillSwitch{Source: optional(k.Source), Agent: optional(strings.TrimPrefix(k.Agent, identity.AgentID(""))),
		Reason: optional(k.Say), By: personName(k.By, ""), At: k.At, Suspension: k.Suspension}
}

// holder is the id of who has keys: an agent by its name, or service:NAME.
func holder(name string) string {
	if strings.HasPrefix(name, identity.ServiceID("")) {
		return name
	}
	return identity.AgentID(name)
}

// mayKeys tells whether the caller looks at and ends the keys of an agent: an
// administrator, and whoever owns it.
func (r *Resolver) mayKeys(ctx context.Context, c *Caller, name string) error {
	if c.Admin() {
		return nil
	}
	mine, err := r.agents(ctx, c)
	if err == nil && !slices.ContainsFunc(mine, func(a *model.CountersignAgent) bool { return a.Name == name }) {
		err = connectors.Errorf(connectors.CodeNotFound, "there is no agent of that name that you own")
	}
	return err
}

func (r *Resolver) agentKeys(ctx context.Context, name string) ([]*model.CountersignKey, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.mayKeys(ctx, c, name); err != nil {
		return nil, err
	}
	keys, err := r.Identity.Credentials(ctx, c.Principal.Tenant, identity.KindKey, holder(name))
	if err != nil {
		return nil, err
	}
	out := []*model.CountersignKey{}
	for i := range keys {
		out = append(out, keyModel(&keys[i]))
	}
	return out, nil
}

func keyModel(k *identity.CredentialInfo) *model.CountersignKey {
	out := &model.CountersignKey{ID: k.ID, Label: optional(k.Label), CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, Live: k.Live}
	if k.For != "" {
		out.ActsFor = optional(personName(k.For, ""))
	}
	if k.CreatedBy != "" {
		out.CreatedBy = optional(personName(k.CreatedBy, ""))
	}
	if !k.RevokedAt.IsZero() {
		out.RevokedAt = &k.RevokedAt
	}
	return out
}

// lifetime is what is left until an instant that a client gave; 0: not said.
func lifetime(expires *time.Time) (time.Duration, error) {
	if expires == nil {
		return 0, nil
	}
	lives := time.Until(*expires)
	if lives <= 0 {
		return 0, connectors.Errorf(connectors.CodeBadInput, "that is past").At("expires")
	}
	return lives, nil
}

func newKeyModel(k *identity.Key, err error) (*model.CountersignNewKey, error) {
	if err != nil {
		return nil, err
	}
	return &model.CountersignNewKey{ID: k.ID, Token: k.Token, ExpiresAt: k.ExpiresAt}, nil
}

// addKey mints a credential: administrators only, whoever owns the agent.
func (r *Resolver) addKey(ctx context.Context, name string, actsFor, label *string, expires *time.Time) (*model.CountersignNewKey, error) {
	c, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	lives, err := lifetime(expires)
	if err != nil {
		return nil, err
	}
	in := identity.NewKey{Tenant: c.Principal.Tenant, Principal: holder(name), Label: value(label), Lives: lives}
	if actsFor != nil {
		in.For = identity.UserID(*actsFor)
	}
	return newKeyModel(r.Identity.CreateKey(ctx, c.Principal, in))
}

// keyOf finds a key by the name of whom it is of and its id.
func (r *Resolver) keyOf(ctx context.Context, c *Caller, name, id string) (*identity.CredentialInfo, error) {
	keys, err := r.Identity.Credentials(ctx, c.Principal.Tenant, identity.KindKey, holder(name))
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(keys, func(k identity.CredentialInfo) bool { return k.ID == id })
	if i < 0 {
		return nil, connectors.Errorf(connectors.CodeNotFound, "%s has no key with this id", name)
	}
	return &keys[i], nil
}

func (r *Resolver) rotateKey(ctx context.Context, name, id string, overlap *int, expires *time.Time) (*model.CountersignNewKey, error) {
	c, err := administrator(ctx)
	if err != nil {
		return nil, err
	}
	lives, err := lifetime(expires)
	if err != nil {
		return nil, err
	}
	if _, err := r.keyOf(ctx, c, name, id); err != nil {
		return nil, err
	}
	in := identity.Rotation{Tenant: c.Principal.Tenant, ID: id, Lives: lives}
	if overlap != nil {
		d := time.Duration(*overlap) * time.Second
		in.Overlap = &d
	}
	return newKeyModel(r.Identity.RotateKey(ctx, c.Principal, in))
}

func (r *Resolver) revokeKey(ctx context.Context, name, id string) (*model.CountersignKey, error) {
	c, err := signedIn(ctx)
	if err == nil {
		err = r.mayKeys(ctx, c, name)
	}
	if err != nil {
		return nil, err
	}
	if _, err := r.keyOf(ctx, c, name, id); err != nil {
		return nil, err
	}
	if err := r.Identity.Revoke(ctx, c.Principal, c.Principal.Tenant, id); err != nil {
		return nil, err
	}
	k, err := r.keyOf(ctx, c, name, id)
	if err != nil {
		return nil, err
	}
	return keyModel(k), nil
}
