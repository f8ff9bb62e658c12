package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy/audit"
)

var _ catalog.Pins = (*Store)(nil)

// Pin implements catalog.Pins.
func (s *Store) Pin(ctx context.Context, version string, text []byte) error {
	return s.update(ctx, func(q *sql.Tx) error {
		_, err := q.ExecContext(ctx, `INSERT INTO pin (version, lock) VALUES ($1, $2) ON CONFLICT (version) DO NOTHING`, version, text)
		return s.fail(err)
	})
}

// Pinned implements catalog.Pins.
func (s *Store) Pinned(ctx context.Context, version string) ([]byte, error) {
	var text []byte
	err := s.read.QueryRowContext(ctx, `SELECT lock FROM pin WHERE version = $1`, version).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, connectors.Errorf(connectors.CodeNotFound, "no lock of this version was kept")
	}
	return text, s.fail(err)
}

// A SourceIdentity is which system a source was, as seen from here.
type SourceIdentity struct {
	Source string
	// First is the identity at FirstAt, when it was first seen; Current since
	// CurrentAt. They are hashes, and equal while nothing was exchanged.
	First, Current     string
	FirstAt, CurrentAt time.Time
}

// SeeSource notes the identity of a source's system (hash of Schema.Identity).
// Where it is another than before, an event tells of it. It answers what is
// known now.
func (s *Store) SeeSource(ctx context.Context, tenant, source, identity string) (SourceIdentity, error) {
	seen, err := s.sourceIdentity(ctx, s.read, tenant, source)
	if err == nil && seen.Current == identity {
		return seen, nil // the common case writes nothing
	}
	err = s.update(ctx, func(q *sql.Tx) error {
		at, err := s.now(ctx, q)
		if err != nil {
			return err
		}
		if _, err = q.ExecContext(ctx, `INSERT INTO source_identity (tenant, source, first, first_at, current, current_at) VALUES ($1, $2, $3, $4, $3, $4)
			ON CONFLICT (tenant, source) DO NOTHING`, tenant, source, identity, micros(at)); err != nil {
			return s.fail(err)
		}
		if seen, err = s.sourceIdentity(ctx, q, tenant, source); err != nil || seen.Current == identity {
			return err
		}
		payload, err := json.Marshal(map[string]string{"was": seen.Current, "is": identity})
		if err != nil {
			return err
		}
		seen.Current, seen.CurrentAt = identity, at
		if _, err := q.ExecContext(ctx, `UPDATE source_identity SET current = $3, current_at = $4 WHERE tenant = $1 AND source = $2`, tenant, source, identity, micros(at)); err != nil {
			return s.fail(err)
		}
		return s.appendEvent(ctx, q, audit.Event{Tenant: tenant, At: at, Kind: "source.exchanged", Subject: source, Payload: payload})
	})
	return seen, err
}

func (s *Store) sourceIdentity(ctx context.Context, q querier, tenant, source string) (SourceIdentity, error) {
	seen := SourceIdentity{Source: source}
	var first, current int64
	err := q.QueryRowContext(ctx, `SELECT first, first_at, current, current_at FROM source_identity WHERE tenant = $1 AND source = $2`, tenant, source).
		Scan(&seen.First, &first, &seen.Current, &current)
	seen.FirstAt, seen.CurrentAt = fromMicros(first), fromMicros(current)
	return seen, s.fail(err)
}

// keptCredentials is how long the row of a credential outlives it, for lists.
const keptCredentials = 90 * 24 * time.Hour

// Sweep removes what nobody can ask for any more: idempotency records that
// expired, and credentials that did so 90 days ago. It is for speed only; a few
// times a day is enough.
func (s *Store) Sweep(ctx context.Context) error {
	return s.update(ctx, func(q *sql.Tx) error {
		now, err := s.now(ctx, q)
		if err != nil {
			return err
		}
		if _, err := q.ExecContext(ctx, `DELETE FROM idempotency WHERE expires_at <= $1`, micros(now)); err != nil {
			return s.fail(err)
		}
		_, err = q.ExecContext(ctx, `DELETE FROM credential WHERE expires_at <= $1`, micros(now.Add(-keptCredentials)))
		return s.fail(err)
	})
}
