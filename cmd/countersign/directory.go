package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

// directory knows people as the store does, and also finds those whom policy.csv
// gives a role by name (g, user:x, role).
type directory struct {
	*identity.Service
	snapshot func() *gateway.Snapshot
}

// Holders implements policy.Directory.
func (d *directory) Holders(ctx context.Context, tenant string, roles []string) ([]string, error) {
	ids, err := d.Service.Holders(ctx, tenant, roles)
	if err != nil {
		return nil, err
	}
	engine := d.snapshot().Policy
	for _, role := range roles {
		_, members := engine.Holding(role)
		for _, m := range members {
			if strings.HasPrefix(m, "user:") && !slices.Contains(ids, m) {
				ids = append(ids, m)
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Current implements policy.Directory. A person whose roles come from the
// policy's lines alone is not one whose claims are too old.
func (d *directory) Current(ctx context.Context, tenant, id string) (*policy.Principal, time.Time, error) {
	p, asOf, err := d.Service.Current(ctx, tenant, id)
	if err != nil || p.Kind != policy.Human {
		return p, asOf, err
	}
	out := *p
	for _, role := range d.snapshot().Policy.Expand(&policy.Principal{ID: p.ID, Kind: p.Kind}) {
		if role != "*" && !slices.Contains(out.Roles, role) {
			out.Roles = append(slices.Clone(out.Roles), role)
		}
	}
	return &out, asOf, nil
}
