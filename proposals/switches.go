package proposals

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
)

// A kill switch stops writes: of an agent, to a source, of an agent to a source,
// or all. It is part of the row that every proposal, claim and dispatch mark is
// compared with in its own transaction, so that none that it covers commits
// after it. Direct writes look at what it was a moment ago: none of this server's
// begins after it was set here, and none of another server's a second later.

// The kinds of events of kill switches.
const (
	kindKillSet    = "kill.set"
	kindKillLifted = "kill.lifted"
)

// maxSay bounds a reason.
const maxSay = 500

// switchesFor is how long the switches are believed where nothing is compared
// with their row.
const switchesFor = 500 * time.Millisecond

// seenSwitches are the switches of tenants as they were read last.
type seenSwitches struct {
	mu       sync.Mutex
	changes  int // counts what was set here: a reading from before is not kept
	byTenant map[string]seenSwitch
}

type seenSwitch struct {
	at       time.Time
	switches []KillSwitch
}

// lately lists the switches that were set half a second ago, or since.
func (s *Service) lately(ctx context.Context, tenant string) ([]KillSwitch, error) {
	s.known.mu.Lock()
	known, ok := s.known.byTenant[tenant]
	changes := s.known.changes
	s.known.mu.Unlock()
	now := time.Now()
	if ok && now.Sub(known.at) < switchesFor {
		return known.switches, nil
	}
	switches, err := s.KillSwitches(ctx, tenant)
	if err != nil {
		return nil, err
	}
	s.known.mu.Lock()
	defer s.known.mu.Unlock()
	if s.known.changes == changes {
		if s.known.byTenant == nil {
			s.known.byTenant = make(map[string]seenSwitch)
		}
		s.known.byTenant[tenant] = seenSwitch{at: now, switches: switches}
	}
	return switches, nil
}

// forget makes the next direct write read the switches.
func (x *seenSwitches) forget(tenant string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.changes++
	delete(x.byTenant, tenant)
}

// is tells whether another one covers the same writes for the same cause.
func (k KillSwitch) is(o KillSwitch) bool {
	return k.Source == o.Source && k.Agent == o.Agent && k.Suspension == o.Suspension
}

// subject is what its events are about.
func (k *KillSwitch) subject() string {
	switch {
	case k.Source == "" && k.Agent == "":
		return "everything"
	case k.Source == "":
		return k.Agent
	case k.Agent == "":
		return "source:" + k.Source
	}
	return k.Agent + " source:" + k.Source
}

// KillSwitches lists those that are set.
func (s *Service) KillSwitches(ctx context.Context, tenant string) ([]KillSwitch, error) {
	c, err := s.cfg.Store.Control(ctx, tenant)
	if err != nil {
		return nil, outward(err)
	}
	return c.KillSwitches, nil
}

// SetKillSwitch sets one. By and At are who and when; one that is set already
// stays as it is and is answered. The caller has checked that they may;
// CodeSignInRequired for whoever did not sign in, CodeBadInput for a reason that
// is too long.
func (s *Service) SetKillSwitch(ctx context.Context, by *policy.Principal, k KillSwitch) (*KillSwitch, error) {
	if by == nil || by.Kind != policy.Human || !by.Interactive {
		return nil, connectors.Errorf(connectors.CodeSignInRequired, "only a person who signed in does that")
	}
	if len(k.Say) > maxSay {
		return nil, connectors.Errorf(connectors.CodeBadInput, "the reason is longer than %d bytes", maxSay).At("reason")
	}
	k.By = by.ID
	var out KillSwitch
	err := s.changeSwitches(ctx, by, kindKillSet, func(tx Tx, c *Control) (*KillSwitch, error) {
		if i := slices.IndexFunc(c.KillSwitches, k.is); i >= 0 {
			out = c.KillSwitches[i]
			return nil, nil
		}
		now, err := tx.Now()
		if err != nil {
			return nil, err
		}
		out = k
		out.At = now
		c.KillSwitches = append(slices.Clone(c.KillSwitches), out)
		return &out, nil
	})
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// LiftKillSwitch takes away the one with exactly this scope; false where there
// is none.
func (s *Service) LiftKillSwitch(ctx context.Context, by *policy.Principal, k KillSwitch) (bool, error) {
	if by == nil || by.Kind != policy.Human || !by.Interactive {
		return false, connectors.Errorf(connectors.CodeSignInRequired, "only a person who signed in does that")
	}
	lifted := false
	err := s.changeSwitches(ctx, by, kindKillLifted, func(_ Tx, c *Control) (*KillSwitch, error) {
		i := slices.IndexFunc(c.KillSwitches, k.is)
		if lifted = i >= 0; !lifted {
			return nil, nil
		}
		gone := c.KillSwitches[i]
		c.KillSwitches = slices.Delete(slices.Clone(c.KillSwitches), i, i+1)
		return &gone, nil
	})
	return lifted && err == nil, err
}

// changeSwitches writes the control row with its event. A nil switch: nothing is
// to be written.
func (s *Service) changeSwitches(ctx context.Context, by *policy.Principal, kind string, change func(Tx, *Control) (*KillSwitch, error)) error {
	defer s.known.forget(by.Tenant)
	return s.retrying(ctx, func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			c, err := tx.Control(by.Tenant)
			if err != nil {
				return err
			}
			k, err := change(tx, c)
			if err != nil || k == nil {
				return err
			}
			c.Tenant = by.Tenant
			c.Version++
			if err := tx.Write(c); err != nil {
				return err
			}
			payload, err := json.Marshal(k)
			if err != nil {
				return err
			}
			return tx.Audit(audit.Event{Tenant: by.Tenant, Kind: kind, Subject: k.subject(), Actors: audit.ActorsOf(by),
				PolicyVersion: c.PolicyVersion, TraceID: s.cfg.TraceID(ctx), Payload: payload})
		})
	})
}

// Stopped is CodeSuspended where a kill switch covers a write of the principal to
// one of the sources. It is for writes that no proposal stands for: what has
// begun when a switch is set is not called back.
func (s *Service) Stopped(ctx context.Context, p *policy.Principal, sources []string) error {
	switches, err := s.lately(ctx, p.Tenant)
	if err != nil || len(switches) == 0 {
		return err
	}
	c := Control{KillSwitches: switches}
	a := Author{Principal: p.ID}
	a.Via, a.For, _ = behind(p)
	for _, source := range sources {
		if k := c.Killed(a, source); k != nil {
			return refusal(connectors.CodeSuspended, "writes are stopped: %s", stopped(k))
		}
	}
	return nil
}
