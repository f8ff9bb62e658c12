package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/proposals"
)

var (
	_ proposals.Store = (*Store)(nil)
	_ proposals.Tx    = (*transaction)(nil)
)

// Tx implements proposals.Store.
func (s *Store) Tx(ctx context.Context, fn func(proposals.Tx) error) error {
	return s.update(ctx, func(q *sql.Tx) error {
		return fn(&transaction{ctx: ctx, s: s, q: q})
	})
}

// Get implements proposals.Store.
func (s *Store) Get(ctx context.Context, tenant string, by proposals.Ref) (*proposals.Dossier, error) {
	var d *proposals.Dossier
	err := s.snapshot(ctx, func(q *sql.Tx) (err error) {
		d, err = s.dossier(ctx, q, tenant, by, "")
		return err
	})
	return d, err
}

// List implements proposals.Store.
func (s *Store) List(ctx context.Context, f proposals.Filter) ([]*proposals.Proposal, error) {
	var w where
	w.and("tenant = ?", f.Tenant)
	w.in("state", words(f.States))
	if len(f.Author) > 0 {
		var by where
		by.in("principal", f.Author)
		by.in("behalf <> '' AND behalf", f.Author)
		w.and("("+strings.Join(by.terms, " OR ")+")", by.args...)
	}
	if !f.UpdatedSince.IsZero() {
		w.and("updated_at >= ?", micros(f.UpdatedSince))
	}
	if f.Before != "" {
		w.and("id < ?", f.Before)
	}
	return s.heads(ctx, `SELECT doc FROM proposal WHERE `+w.String()+` ORDER BY id DESC LIMIT `+strconv.Itoa(f.Limit), w.args...)
}

// Due implements proposals.Store.
func (s *Store) Due(ctx context.Context, states []proposals.State, limit int) ([]*proposals.Proposal, error) {
	if len(states) == 0 {
		return nil, nil
	}
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	var w where
	w.and("wake_at > 0 AND wake_at <= ?", micros(now))
	w.in("state", words(states))
	return s.heads(ctx, `SELECT doc FROM proposal WHERE `+w.String()+` ORDER BY wake_at, id LIMIT `+strconv.Itoa(limit), w.args...)
}

// Control implements proposals.Store.
func (s *Store) Control(ctx context.Context, tenant string) (*proposals.Control, error) {
	return s.control(ctx, s.read, tenant, "")
}

func (s *Store) heads(ctx context.Context, query string, args ...any) ([]*proposals.Proposal, error) {
	return collect(ctx, s, s.read, func(scan scanner) (*proposals.Proposal, error) {
		var doc string
		if err := scan(&doc); err != nil {
			return nil, err
		}
		p := new(proposals.Proposal)
		return p, decode([]byte(doc), p)
	}, query, args...)
}

func (s *Store) control(ctx context.Context, q querier, tenant, lock string) (*proposals.Control, error) {
	c := &proposals.Control{Tenant: tenant}
	var doc string
	err := q.QueryRowContext(ctx, `SELECT doc FROM control WHERE tenant = $1`+lock, tenant).Scan(&doc)
	if errors.Is(err, sql.ErrNoRows) {
		return c, nil
	}
	if err != nil {
		return nil, s.fail(err)
	}
	return c, decode([]byte(doc), c)
}

// dossier reads a proposal with its rows; q is a snapshot, or holds the head.
func (s *Store) dossier(ctx context.Context, q querier, tenant string, by proposals.Ref, lock string) (*proposals.Dossier, error) {
	query, arg := `SELECT doc FROM proposal WHERE tenant = $1 AND id = $2`, by.ID
	switch {
	case by.Handle != "":
		query, arg = `SELECT doc FROM proposal WHERE tenant = $1 AND handle = $2`, by.Handle
	case by.DedupeKey != "":
		query, arg = `SELECT doc FROM proposal WHERE tenant = $1 AND dedupe_key = $2 AND dedupes = 1`, by.DedupeKey
	}
	var doc string
	if err := q.QueryRowContext(ctx, query+lock, tenant, arg).Scan(&doc); err != nil {
		return nil, s.fail(err)
	}
	d := new(proposals.Dossier)
	if err := decode([]byte(doc), &d.Proposal); err != nil {
		return nil, err
	}
	id := d.Proposal.ID
	var err error
	if d.Revisions, err = rowsOf[proposals.Revision](ctx, s, q, "revision", "number", tenant, id); err != nil {
		return nil, err
	}
	if d.Decisions, err = rowsOf[proposals.Decision](ctx, s, q, "decision", "number", tenant, id); err != nil {
		return nil, err
	}
	d.Attempts, err = rowsOf[proposals.Attempt](ctx, s, q, "attempt", "change, number", tenant, id)
	return d, err
}

func rowsOf[T any](ctx context.Context, s *Store, q querier, table, order, tenant, proposal string) ([]*T, error) {
	return collect(ctx, s, q, func(scan scanner) (*T, error) {
		var doc []byte
		if err := scan(&doc); err != nil {
			return nil, err
		}
		row := new(T)
		return row, s.opened(table, tenant, proposal, doc, row)
	}, `SELECT doc FROM `+table+` WHERE tenant = $1 AND proposal = $2 ORDER BY `+order, tenant, proposal)
}

// transaction implements proposals.Tx.
type transaction struct {
	ctx context.Context
	s   *Store
	q   *sql.Tx
	at  time.Time
}

// Now implements proposals.Tx.
func (t *transaction) Now() (time.Time, error) {
	var err error
	if t.at.IsZero() {
		t.at, err = t.s.now(t.ctx, t.q)
	}
	return t.at, err
}

// Control implements proposals.Tx. A missing row is made, so that there is one
// to lock.
func (t *transaction) Control(tenant string) (*proposals.Control, error) {
	if t.s.d.forShare != "" {
		if err := t.makeControl(tenant); err != nil {
			return nil, err
		}
	}
	return t.s.control(t.ctx, t.q, tenant, t.s.d.forShare)
}

func (t *transaction) makeControl(tenant string) error {
	doc, err := json.Marshal(proposals.Control{Tenant: tenant})
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO control (tenant, version, doc) VALUES ($1, 0, $2) ON CONFLICT (tenant) DO NOTHING`, tenant, string(doc))
}

// Get implements proposals.Tx.
func (t *transaction) Get(tenant string, by proposals.Ref) (*proposals.Dossier, error) {
	return t.s.dossier(t.ctx, t.q, tenant, by, t.s.d.forUpdate)
}

// Put implements proposals.Tx.
func (t *transaction) Put(p *proposals.Proposal, was int64) error {
	doc, err := json.Marshal(p)
	if err != nil {
		return err
	}
	dedupes := 0
	if p.State.Open() && !p.Deliberate {
		dedupes = 1
	}
	query := `UPDATE proposal SET handle = $3, state = $4, version = $5, dedupe_key = $6, dedupes = $7, principal = $8, behalf = $9,
		updated_at = $10, wake_at = $11, doc = $12 WHERE tenant = $1 AND id = $2 AND version = $13`
	args := []any{p.Tenant, p.ID, p.Handle, string(p.State), p.Version, p.DedupeKey, dedupes, p.Author.Principal, p.Author.For,
		micros(p.UpdatedAt), micros(p.WakeAt), string(doc)}
	if was == 0 {
		query = `INSERT INTO proposal (tenant, id, handle, state, version, dedupe_key, dedupes, principal, behalf, updated_at, wake_at, doc)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (tenant, id) DO NOTHING`
	} else {
		args = append(args, was)
	}
	result, err := t.q.ExecContext(t.ctx, query, args...)
	if err != nil {
		f := t.s.d.failure(err)
		if f.kind == failedUnique && strings.Contains(f.index, "dedupe") {
			return fmt.Errorf("%w: %w", proposals.ErrDuplicate, err)
		}
	}
	return t.s.swapped(result, err)
}

// Write implements proposals.Tx.
func (t *transaction) Write(rows ...proposals.Row) error {
	for _, row := range rows {
		if err := t.writeRow(row); err != nil {
			return err
		}
	}
	return nil
}

func (t *transaction) writeRow(row proposals.Row) error {
	switch r := row.(type) {
	case *proposals.Revision:
		return t.append("revision", r.Tenant, r.Proposal, r.Number, r)
	case *proposals.Decision:
		return t.append("decision", r.Tenant, r.Proposal, r.Number, r)
	case *proposals.Attempt:
		doc, err := t.s.sealed("attempt", r.Tenant, r.Proposal, r)
		if err != nil {
			return err
		}
		return t.exec(`INSERT INTO attempt (tenant, proposal, change, number, state, doc) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (tenant, proposal, change, number) DO UPDATE SET state = excluded.state, doc = excluded.doc`,
			r.Tenant, r.Proposal, r.Change, r.Number, string(r.State), doc)
	case *proposals.IdempotencyRecord:
		key := keyHash(r.Key)
		doc, err := t.s.sealed("idempotency", r.Tenant, r.Principal+"\x00"+key, r)
		if err != nil {
			return err
		}
		return t.exec(`INSERT INTO idempotency (tenant, principal, key_hash, expires_at, doc) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (tenant, principal, key_hash) DO UPDATE SET expires_at = excluded.expires_at, doc = excluded.doc`,
			r.Tenant, r.Principal, key, micros(r.ExpiresAt), doc)
	case *proposals.OutboxMessage:
		return t.exec(`INSERT INTO outbox (tenant, id, topic, attempts, next_try, at, payload) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			r.Tenant, r.ID, r.Topic, r.Attempts, micros(r.NextTry), micros(r.At), string(r.Payload))
	case *proposals.Control:
		return t.putControl(r)
	case *proposals.Use:
		return t.putUse(r)
	}
	return fmt.Errorf("no table for a %T", row)
}

func (t *transaction) append(table, tenant, proposal string, number int, row any) error {
	doc, err := t.s.sealed(table, tenant, proposal, row)
	if err != nil {
		return err
	}
	return t.exec(`INSERT INTO `+table+` (tenant, proposal, number, doc) VALUES ($1, $2, $3, $4)`, tenant, proposal, number, doc)
}

func (t *transaction) putControl(c *proposals.Control) error {
	if err := t.makeControl(c.Tenant); err != nil {
		return err
	}
	doc, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return t.s.swapped(t.q.ExecContext(t.ctx, `UPDATE control SET version = $2, doc = $3 WHERE tenant = $1 AND version = $4`,
		c.Tenant, c.Version, string(doc), c.Version-1))
}

// Idempotency implements proposals.Tx. Two transactions that ask for one key
// wait for each other, so that the later one sees what the first one made.
func (t *transaction) Idempotency(tenant, principal, key string) (*proposals.IdempotencyRecord, error) {
	hash := keyHash(key)
	if t.s.d.lockKey != "" {
		if err := t.exec(t.s.d.lockKey, keyHash("idempotency\x00"+tenant+"\x00"+principal+"\x00"+hash)); err != nil {
			return nil, err
		}
	}
	now, err := t.Now()
	if err != nil {
		return nil, err
	}
	var doc []byte
	err = t.q.QueryRowContext(t.ctx, `SELECT doc FROM idempotency WHERE tenant = $1 AND principal = $2 AND key_hash = $3 AND expires_at > $4`,
		tenant, principal, hash, micros(now)).Scan(&doc)
	if err != nil {
		return nil, t.s.fail(err)
	}
	r := new(proposals.IdempotencyRecord)
	return r, t.s.opened("idempotency", tenant, principal+"\x00"+hash, doc, r)
}

// Audit implements proposals.Tx.
func (t *transaction) Audit(e audit.Event) error {
	now, err := t.Now()
	if err != nil {
		return err
	}
	e.At = now
	return t.s.appendEvent(t.ctx, t.q, e)
}

func (t *transaction) exec(query string, args ...any) error {
	_, err := t.q.ExecContext(t.ctx, query, args...)
	return t.s.fail(err)
}

// keyHash is how keys that a client chose stand in tables: of one length, and
// without characters that a database refuses.
func keyHash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
