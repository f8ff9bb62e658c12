package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/proposals"
)

var _ identity.Store = (*Store)(nil)

// Record implements identity.Store.
func (s *Store) Record(ctx context.Context, tenant, id string) (*identity.Record, error) {
	rows, err := s.principals(ctx, `tenant = $1 AND id = $2`, tenant, id)
	if err == nil && len(rows) == 0 {
		err = identity.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}

// Records implements identity.Store.
func (s *Store) Records(ctx context.Context, tenant string, kind policy.PrincipalKind) ([]*identity.Record, error) {
	return s.principals(ctx, `tenant = $1 AND kind = $2 ORDER BY id`, tenant, string(kind))
}

func (s *Store) principals(ctx context.Context, condition string, args ...any) ([]*identity.Record, error) {
	return collect(ctx, s, s.read, func(scan scanner) (*identity.Record, error) {
		r := new(identity.Record)
		var doc string
		if err := scan(&r.Version, &doc); err != nil {
			return nil, err
		}
		return r, decode([]byte(doc), r)
	}, `SELECT version, doc FROM principal WHERE `+condition, args...)
}

// Credential implements identity.Store. The clock is read after the row, so
// that no row is judged by a time before it was written.
func (s *Store) Credential(ctx context.Context, hash string) (*identity.Credential, time.Time, error) {
	if s.clock == nil {
		return s.credentialAt(ctx, hash)
	}
	rows, err := s.credentials(ctx, `hash = $1 OR alias = $1`, hash)
	if err == nil && len(rows) == 0 {
		err = identity.ErrNotFound
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	now, err := s.Now(ctx)
	return rows[0], now, err
}

// credentialAt asks for row and clock in one round trip.
func (s *Store) credentialAt(ctx context.Context, hash string) (*identity.Credential, time.Time, error) {
	c := new(identity.Credential)
	var doc string
	var us int64
	err := s.read.QueryRowContext(ctx, `SELECT version, doc, `+s.d.now+` FROM credential WHERE hash = $1 OR alias = $1`, hash).Scan(&c.Version, &doc, &us)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, time.Time{}, identity.ErrNotFound
	}
	if err != nil {
		return nil, time.Time{}, s.fail(err)
	}
	return c, fromMicros(us), decode([]byte(doc), c)
}

// Credentials implements identity.Store.
func (s *Store) Credentials(ctx context.Context, tenant string, f identity.Filter) ([]*identity.Credential, error) {
	var w where
	w.and("tenant = ?", tenant)
	if f.ID != "" {
		w.and("id = ?", f.ID)
	}
	if f.Kind != "" {
		w.and("kind = ?", string(f.Kind))
	}
	if f.Principal != "" {
		w.and("principal = ?", f.Principal)
	}
	return s.credentials(ctx, w.String()+` ORDER BY id DESC`, w.args...)
}

func (s *Store) credentials(ctx context.Context, condition string, args ...any) ([]*identity.Credential, error) {
	return collect(ctx, s, s.read, func(scan scanner) (*identity.Credential, error) {
		c := new(identity.Credential)
		var doc string
		if err := scan(&c.Version, &doc); err != nil {
			return nil, err
		}
		return c, decode([]byte(doc), c)
	}, `SELECT version, doc FROM credential WHERE `+condition, args...)
}

// SaveIdentity implements identity.Store.
func (s *Store) SaveIdentity(ctx context.Context, change identity.Change) error {
	err := s.update(ctx, func(q *sql.Tx) error {
		for _, r := range change.Records {
			if err := s.saveRecord(ctx, q, r); err != nil {
				return err
			}
		}
		for _, c := range change.Credentials {
			if err := s.saveCredential(ctx, q, c); err != nil {
				return err
			}
		}
		if err := s.saveBonds(ctx, q, change); err != nil {
			return err
		}
		return s.saveNotes(ctx, q, change.Notes)
	})
	if errors.Is(err, proposals.ErrConflict) {
		return fmt.Errorf("%w: %w", identity.ErrConflict, err)
	}
	return err
}

// PurgeCredentials implements identity.Store.
func (s *Store) PurgeCredentials(ctx context.Context, tenant string, kind identity.CredentialKind, before time.Time) error {
	return s.update(ctx, func(q *sql.Tx) error {
		if _, err := q.ExecContext(ctx, `DELETE FROM credential WHERE tenant = $1 AND kind = $2 AND expires_at < $3`, tenant, string(kind), micros(before)); err != nil {
			return s.fail(err)
		}
		return nil
	})
}

func (s *Store) saveRecord(ctx context.Context, q querier, r *identity.Record) error {
	doc, err := json.Marshal(r)
	if err != nil {
		return err
	}
	query := `UPDATE principal SET kind = $3, doc = $4, refresh_at = $5, version = version + 1 WHERE tenant = $1 AND id = $2 AND version = $6`
	args := []any{r.Tenant, r.ID, string(r.Kind), string(doc), micros(r.RefreshAt()), r.Version}
	if r.Version == 0 {
		query = `INSERT INTO principal (tenant, id, kind, doc, refresh_at, version) VALUES ($1, $2, $3, $4, $5, 1)`
		args = args[:5]
	}
	return s.swapped(q.ExecContext(ctx, query, args...))
}

func (s *Store) saveCredential(ctx context.Context, q querier, c *identity.Credential) error {
	doc, err := json.Marshal(c)
	if err != nil {
		return err
	}
	alias := sql.NullString{String: c.Alias, Valid: c.Alias != ""}
	query := `UPDATE credential SET kind = $3, hash = $4, alias = $5, principal = $6, expires_at = $7, doc = $8, version = version + 1
		WHERE tenant = $1 AND id = $2 AND version = $9`
	args := []any{c.Tenant, c.ID, string(c.Kind), c.Hash, alias, c.Principal, micros(c.ExpiresAt), string(doc), c.Version}
	if c.Version == 0 {
		query = `INSERT INTO credential (tenant, id, kind, hash, alias, principal, expires_at, doc, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1)`
		args = args[:8]
	}
	return s.swapped(q.ExecContext(ctx, query, args...))
}

// DueRecords implements identity.Store.
func (s *Store) DueRecords(ctx context.Context, now time.Time, limit int) ([]*identity.Record, error) {
	return s.principals(ctx, `refresh_at > 0 AND refresh_at <= $1 ORDER BY refresh_at LIMIT $2`, micros(now), limit)
}

// Bonds implements identity.Store.
func (s *Store) Bonds(ctx context.Context, tenant string) ([]identity.Bond, error) {
	return collect(ctx, s, s.read, func(scan scanner) (identity.Bond, error) {
		b := identity.Bond{Tenant: tenant}
		var at int64
		err := scan(&b.A, &b.B, &b.How, &b.By, &at)
		b.At = fromMicros(at)
		return b, err
	}, `SELECT a, b, how, by_id, at FROM bond WHERE tenant = $1 AND a < b ORDER BY a, b`, tenant)
}

// Persons implements identity.Store: of all accounts that bonds lead to,
// itself among them, the first by id stands for the person.
func (s *Store) Persons(ctx context.Context, tenant string, ids []string) (map[string]string, error) {
	out := make(map[string]string, len(ids))
	for _, id := range ids {
		out[id] = id
	}
	if len(ids) == 0 {
		return out, nil
	}
	var w where
	w.and("tenant = ?", tenant)
	w.in("a", ids)
	type step struct{ from, to string }
	// UNION forgets what was reached before, so circles end.
	steps, err := collect(ctx, s, s.read, func(scan scanner) (step, error) {
		var x step
		return x, scan(&x.from, &x.to)
	}, `WITH RECURSIVE reached (origin, id) AS (
			SELECT a, b FROM bond WHERE `+w.String()+`
			UNION SELECT reached.origin, bond.b FROM reached JOIN bond ON bond.tenant = $1 AND bond.a = reached.id)
		SELECT origin, MIN(id) FROM reached GROUP BY origin`, w.args...)
	for _, x := range steps {
		out[x.from] = x.to
	}
	return out, err
}

func (s *Store) saveBonds(ctx context.Context, q *sql.Tx, change identity.Change) error {
	for _, b := range change.Bonds {
		for _, ends := range [][2]string{{b.A, b.B}, {b.B, b.A}} {
			if _, err := q.ExecContext(ctx, `INSERT INTO bond (tenant, a, b, how, by_id, at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, a, b) DO NOTHING`,
				b.Tenant, ends[0], ends[1], b.How, b.By, micros(b.At)); err != nil {
				return s.fail(err)
			}
		}
	}
	for _, tenant := range tenantsOf(change) {
		if err := s.moveControl(ctx, q, tenant); err != nil {
			return err
		}
	}
	for _, b := range change.Unbonds {
		if _, err := q.ExecContext(ctx, `DELETE FROM bond WHERE tenant = $1 AND (a = $2 AND b = $3 OR a = $3 AND b = $2)`, b.Tenant, b.A, b.B); err != nil {
			return s.fail(err)
		}
	}
	return nil
}

// tenantsOf lists the tenants whose bonds a change moves.
func tenantsOf(change identity.Change) []string {
	var out []string
	for _, b := range slices.Concat(change.Bonds, change.Unbonds) {
		if !slices.Contains(out, b.Tenant) {
			out = append(out, b.Tenant)
		}
	}
	return out
}

// moveControl makes decisions that are being computed begin again: they rest on
// who is one person. Without the row nothing rests on it yet.
func (s *Store) moveControl(ctx context.Context, q *sql.Tx, tenant string) error {
	c, err := s.control(ctx, q, tenant, s.d.forUpdate)
	if err != nil || c.Version == 0 {
		return err
	}
	c.Version++
	doc, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return s.swapped(q.ExecContext(ctx, `UPDATE control SET version = $2, doc = $3 WHERE tenant = $1 AND version = $4`, tenant, c.Version, string(doc), c.Version-1))
}

// swapped is ErrConflict where a compare-and-swap found no row.
func (s *Store) swapped(result sql.Result, err error) error {
	if err != nil {
		return s.fail(err)
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return proposals.ErrConflict
	}
	return s.fail(err)
}

// saveNotes makes events of notes.
func (s *Store) saveNotes(ctx context.Context, q querier, notes []identity.Note) error {
	if len(notes) == 0 {
		return nil
	}
	now, err := s.now(ctx, q)
	if err != nil {
		return err
	}
	for _, n := range notes {
		e := audit.Event{Tenant: n.Tenant, At: now, Kind: n.Kind, Subject: n.Subject, Actors: audit.ActorsOf(n.By)}
		if len(n.Details) > 0 {
			if e.Payload, err = json.Marshal(n.Details); err != nil {
				return err
			}
		}
		if err := s.appendEvent(ctx, q, e); err != nil {
			return err
		}
	}
	return nil
}
