package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/countersign/countersign/policy/budget"
)

var _ budget.Store = (*Store)(nil)

// LeaseBudget implements budget.Store.
func (s *Store) LeaseBudget(ctx context.Context, key budget.Key, fn func(used int64) (add int64)) (w budget.Window, err error) {
	err = s.update(ctx, func(q *sql.Tx) error {
		per := key.Per.Microseconds()
		// The row is there before it is locked, so that whoever asks first waits
		// for nobody and whoever asks next for it.
		if _, err := q.ExecContext(ctx, `INSERT INTO budget_use (tenant, principal, what, per, started_at, used) VALUES ($1, $2, $3, $4, 0, 0)
			ON CONFLICT (tenant, principal, what, per) DO NOTHING`, key.Tenant, key.Principal, string(key.What), per); err != nil {
			return s.fail(err)
		}
		var started int64
		if w, started, err = s.window(ctx, q, key, s.d.forUpdate); err != nil {
			return err
		}
		w.Used += fn(w.Used)
		_, err := q.ExecContext(ctx, `UPDATE budget_use SET started_at = $5, used = $6 WHERE tenant = $1 AND principal = $2 AND what = $3 AND per = $4`,
			key.Tenant, key.Principal, string(key.What), per, started, w.Used)
		return s.fail(err)
	})
	return w, err
}

// Budget implements budget.Store.
func (s *Store) Budget(ctx context.Context, key budget.Key) (budget.Window, error) {
	w, _, err := s.window(ctx, s.read, key, "")
	return w, err
}

// window reads a counter as it is in the window that now is in, and when that
// began.
func (s *Store) window(ctx context.Context, q querier, key budget.Key, lock string) (budget.Window, int64, error) {
	per := key.Per.Microseconds()
	var started, used int64
	err := q.QueryRowContext(ctx, `SELECT started_at, used FROM budget_use WHERE tenant = $1 AND principal = $2 AND what = $3 AND per = $4`+lock,
		key.Tenant, key.Principal, string(key.What), per).Scan(&started, &used)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return budget.Window{}, 0, s.fail(err)
	}
	// After the lock: whoever waited for it may have waited into the next window.
	now, err := s.now(ctx, q)
	if err != nil {
		return budget.Window{}, 0, err
	}
	from := micros(now) / per * per
	if started > from {
		// The clock went back: the window that was begun goes on.
		from = started
	}
	if started < from {
		used = 0
	}
	left := max(fromMicros(from+per).Sub(now), time.Millisecond)
	return budget.Window{Used: used, Left: left}, from, nil
}
