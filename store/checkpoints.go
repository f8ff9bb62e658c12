package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/countersign/countersign/policy/audit"
)

var _ audit.Signing = (*Store)(nil)

// Progress implements audit.Signing.
func (s *Store) Progress(ctx context.Context) ([]audit.Progress, time.Time, error) {
	chains, err := collect(ctx, s, s.read, func(scan scanner) (p audit.Progress, err error) {
		var at int64
		err = scan(&p.Head.Tenant, &p.Head.Seq, &p.Head.Hash, &p.Signed, &at)
		p.SignedAt = fromMicros(at)
		return p, err
	}, `SELECT h.tenant, h.seq, h.hash, COALESCE(c.seq, 0), COALESCE(c.at, 0) FROM audit_head h
		LEFT JOIN audit_checkpoint c ON c.tenant = h.tenant AND c.seq = (SELECT max(l.seq) FROM audit_checkpoint l WHERE l.tenant = h.tenant)
		WHERE h.seq > COALESCE(c.seq, 0) ORDER BY h.tenant`)
	if err != nil {
		return nil, time.Time{}, err
	}
	now, err := s.Now(ctx)
	return chains, now, err
}

// SaveCheckpoint implements audit.Signing.
func (s *Store) SaveCheckpoint(ctx context.Context, c audit.Checkpoint) error {
	return s.update(ctx, func(q *sql.Tx) error {
		_, err := q.ExecContext(ctx, `INSERT INTO audit_checkpoint (tenant, seq, hash, at, key_id, signature) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (tenant, seq) DO NOTHING`, c.Tenant, c.Seq, c.Hash, micros(c.At), c.Key, c.Signature)
		return s.fail(err)
	})
}

// Checkpoints implements audit.Store.
func (s *Store) Checkpoints(ctx context.Context, tenant string, after int64, limit int) ([]audit.Checkpoint, error) {
	return s.checkpoints(ctx, s.read, `tenant = $1 AND seq > $2 ORDER BY seq LIMIT $3`, tenant, after, limit)
}

func (s *Store) checkpoints(ctx context.Context, q querier, condition string, args ...any) ([]audit.Checkpoint, error) {
	return collect(ctx, s, q, func(scan scanner) (c audit.Checkpoint, err error) {
		var at int64
		err = scan(&c.Tenant, &c.Seq, &c.Hash, &at, &c.Key, &c.Signature)
		c.At = fromMicros(at)
		return c, err
	}, `SELECT tenant, seq, hash, at, key_id, signature FROM audit_checkpoint WHERE `+condition, args...)
}

// Base implements audit.Store.
func (s *Store) Base(ctx context.Context, tenant string) (audit.Head, error) {
	return s.base(ctx, s.read, tenant)
}

func (s *Store) base(ctx context.Context, q querier, tenant string) (audit.Head, error) {
	head := audit.Head{Tenant: tenant}
	err := q.QueryRowContext(ctx, `SELECT seq, hash FROM audit_base WHERE tenant = $1`, tenant).Scan(&head.Seq, &head.Hash)
	if errors.Is(err, sql.ErrNoRows) {
		return head, nil
	}
	return head, s.fail(err)
}

// Prune removes the events of every tenant that are older than keep, up to the
// last checkpoint before the first that is younger: the chain begins there
// afterwards, and an event of audit.KindPruned tells so. It answers how many
// events it removed.
func (s *Store) Prune(ctx context.Context, keep time.Duration) (int64, error) {
	tenants, err := s.names(ctx, `SELECT tenant FROM audit_head ORDER BY tenant`)
	total := int64(0)
	for i := 0; err == nil && i < len(tenants); i++ {
		var n int64
		n, err = s.pruneTenant(ctx, tenants[i], keep)
		total += n
	}
	return total, err
}

func (s *Store) pruneTenant(ctx context.Context, tenant string, keep time.Duration) (n int64, err error) {
	err = s.update(ctx, func(q *sql.Tx) error {
		at, err := s.now(ctx, q)
		if err != nil {
			return err
		}
		before := micros(at.Add(-keep))
		found, err := s.checkpoints(ctx, q, `tenant = $1 AND seq > (SELECT COALESCE(max(b.seq), 0) FROM audit_base b WHERE b.tenant = $1)
			AND seq < (SELECT COALESCE(min(e.seq), 9223372036854775807) FROM audit_event e WHERE e.tenant = $1 AND e.at >= $2 AND e.seq IS NOT NULL)
			AND EXISTS (SELECT 1 FROM audit_event e WHERE e.tenant = $1 AND e.seq = audit_checkpoint.seq AND e.hash = audit_checkpoint.hash)
			ORDER BY seq DESC LIMIT 1`, tenant, before)
		if err != nil || len(found) == 0 {
			return err
		}
		head := found[0].Head
		for i, query := range []string{
			`DELETE FROM audit_payload WHERE event_id IN (SELECT id FROM audit_event WHERE tenant = $1 AND seq <= $2)`,
			`DELETE FROM audit_checkpoint WHERE tenant = $1 AND seq < $2`,
			`DELETE FROM audit_event WHERE tenant = $1 AND seq <= $2`,
		} {
			result, err := q.ExecContext(ctx, query, tenant, head.Seq)
			if err != nil {
				return s.fail(err)
			}
			if i == 2 {
				if n, err = result.RowsAffected(); err != nil {
					return s.fail(err)
				}
			}
		}
		if _, err := q.ExecContext(ctx, `INSERT INTO audit_base (tenant, seq, hash) VALUES ($1, $2, $3)
			ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq, hash = excluded.hash`, tenant, head.Seq, head.Hash); err != nil {
			return s.fail(err)
		}
		payload, err := json.Marshal(head)
		if err != nil {
			return err
		}
		return s.appendEvent(ctx, q, audit.Event{Tenant: tenant, At: at, Kind: audit.KindPruned, Subject: "audit", Payload: payload})
	})
	return n, err
}
