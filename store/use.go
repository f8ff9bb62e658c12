package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/countersign/countersign/proposals"
)

// Use implements proposals.Store.
func (s *Store) Use(ctx context.Context, tenant, principal string) (*proposals.Use, error) {
	return s.use(ctx, s.read, tenant, principal, "")
}

func (s *Store) use(ctx context.Context, q querier, tenant, principal, lock string) (*proposals.Use, error) {
	u := &proposals.Use{Tenant: tenant, Principal: principal}
	var doc string
	err := q.QueryRowContext(ctx, `SELECT doc FROM principal_use WHERE tenant = $1 AND principal = $2`+lock, tenant, principal).Scan(&doc)
	if errors.Is(err, sql.ErrNoRows) {
		return u, nil
	}
	if err != nil {
		return nil, s.fail(err)
	}
	return u, decode([]byte(doc), u)
}

// Use implements proposals.Tx. A missing row is made, so that there is one to
// lock.
func (t *transaction) Use(tenant, principal string) (*proposals.Use, error) {
	doc, err := json.Marshal(proposals.Use{Tenant: tenant, Principal: principal})
	if err != nil {
		return nil, err
	}
	if err := t.exec(`INSERT INTO principal_use (tenant, principal, version, doc) VALUES ($1, $2, 0, $3) ON CONFLICT (tenant, principal) DO NOTHING`,
		tenant, principal, string(doc)); err != nil {
		return nil, err
	}
	return t.s.use(t.ctx, t.q, tenant, principal, t.s.d.forUpdate)
}

func (t *transaction) putUse(u *proposals.Use) error {
	if _, err := t.Use(u.Tenant, u.Principal); err != nil {
		return err
	}
	doc, err := json.Marshal(u)
	if err != nil {
		return err
	}
	return t.s.swapped(t.q.ExecContext(t.ctx, `UPDATE principal_use SET version = $3, doc = $4 WHERE tenant = $1 AND principal = $2 AND version = $5`,
		u.Tenant, u.Principal, u.Version, string(doc), u.Version-1))
}
