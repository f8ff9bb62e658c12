package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
)

// besideName is the file beside the data. It is no configuration and holds no
// secret.
const besideName = "countersign.state"

// beside is what is known of the data outside of it: how often it was started,
// and how far each audit chain had come. A store that is behind this was
// restored from an older backup, or was cut.
type beside struct {
	file string
	mu   sync.Mutex
}

type besideState struct {
	Incarnation int64                 `json:"incarnation"`
	Heads       map[string]audit.Head `json:"heads,omitempty"`
}

func (b *beside) read() (besideState, error) {
	state := besideState{Heads: map[string]audit.Head{}}
	if b == nil {
		return state, nil
	}
	raw, err := os.ReadFile(b.file)
	if errors.Is(err, os.ErrNotExist) {
		return state, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &state)
	}
	if state.Heads == nil {
		state.Heads = map[string]audit.Head{}
	}
	return state, err
}

// change rewrites the file; readers see the old or the new one whole.
func (b *beside) change(fn func(*besideState)) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	state, err := b.read()
	if err != nil {
		return err
	}
	fn(&state)
	raw, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.file), 0o700); err != nil {
		return err
	}
	temp := b.file + ".new"
	if err := os.WriteFile(temp, append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, b.file)
}

// started is what was found when a server opened the store.
type started struct {
	incarnation int64
	restored    bool
}

// The names of meta rows.
const (
	metaIncarnation = "incarnation"
	metaRestored    = "restored"
)

// start counts this start, and compares the data with what was kept beside it.
func (s *Store) start(ctx context.Context) error {
	kept, err := s.beside.read()
	if err != nil {
		return err
	}
	err = s.update(ctx, func(q *sql.Tx) error {
		row, err := s.meta(ctx, q, metaIncarnation)
		if err != nil {
			return err
		}
		incarnation, _ := strconv.ParseInt(row, 10, 64) // "" before the first start
		was, err := s.meta(ctx, q, metaRestored)
		if err != nil {
			return err
		}
		s.started.restored = was != "" || incarnation < kept.Incarnation
		for tenant, head := range kept.Heads {
			on, err := s.onChain(ctx, q, tenant, head)
			if err != nil {
				return err
			}
			s.started.restored = s.started.restored || !on
		}
		s.started.incarnation = max(incarnation, kept.Incarnation) + 1
		if s.started.restored {
			// Kept until recovery ended, however often it is begun.
			if err := s.setMeta(ctx, q, metaRestored, strconv.FormatInt(s.started.incarnation, 10)); err != nil {
				return err
			}
		}
		return s.setMeta(ctx, q, metaIncarnation, strconv.FormatInt(s.started.incarnation, 10))
	})
	if err != nil {
		return err
	}
	return s.beside.change(func(state *besideState) { state.Incarnation = s.started.incarnation })
}

// onChain tells whether a head that was kept is on the chain that is there.
func (s *Store) onChain(ctx context.Context, q querier, tenant string, head audit.Head) (bool, error) {
	var hash sql.NullString
	err := q.QueryRowContext(ctx, `SELECT hash FROM audit_event WHERE tenant = $1 AND seq = $2`, tenant, head.Seq).Scan(&hash)
	if errors.Is(err, sql.ErrNoRows) {
		// It may be the last event before what is kept.
		base, err := s.base(ctx, q, tenant)
		return head.Seq == 0 || base.Seq == head.Seq && base.Hash == head.Hash, err
	}
	return hash.String == head.Hash, s.fail(err)
}

// Incarnation counts the starts of servers over this data; it never goes back,
// also where the data does. 0 unless opened as a Server.
func (s *Store) Incarnation() int64 { return s.started.incarnation }

// Restored tells whether the data is older than what was kept beside it, so
// that something may have been done upstream that it does not know of. It stays
// so, over restarts too, until EndRecovery.
func (s *Store) Restored() bool { return s.started.restored }

// EndRecovery is called when everything that may have run in the lost time was
// marked as unknown. The heads that were kept of the lost part go into an event
// of the default tenant (store.recovered), and the next start finds the store
// as any other.
func (s *Store) EndRecovery(ctx context.Context) error {
	kept, err := s.beside.read()
	if err != nil {
		return s.fail(err)
	}
	lost, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	err = s.update(ctx, func(q *sql.Tx) error {
		if _, err := q.ExecContext(ctx, `DELETE FROM meta WHERE name = $1`, metaRestored); err != nil {
			return s.fail(err)
		}
		at, err := s.now(ctx, q)
		if err != nil {
			return err
		}
		return s.appendEvent(ctx, q, audit.Event{Tenant: policy.DefaultTenant, At: at, Kind: "store.recovered", Subject: "store", Payload: lost})
	})
	if err != nil {
		return err
	}
	return s.beside.change(func(state *besideState) { state.Heads = map[string]audit.Head{} })
}

func (s *Store) meta(ctx context.Context, q querier, name string) (string, error) {
	var value string
	err := q.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = $1`, name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return value, s.fail(err)
}

func (s *Store) setMeta(ctx context.Context, q querier, name, value string) error {
	_, err := q.ExecContext(ctx, `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return s.fail(err)
}
