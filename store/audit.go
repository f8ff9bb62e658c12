package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/countersign/countersign/policy/audit"
)

var (
	_ audit.Store    = (*Store)(nil)
	_ audit.Appender = (*Store)(nil)
)

// The statements that insert events and payloads, without their values.
const (
	insertEvent   = `INSERT INTO audit_event (id, tenant, at, kind, subject, from_state, to_state, actors, policy_version, trace_id, payload_digest) VALUES`
	insertPayload = `INSERT INTO audit_payload (event_id, salt, payload) VALUES`
)

// An eventRow is an event as the two tables have it.
type eventRow struct {
	event   [11]any
	payload [3]any
}

// newEventRow encodes an event; At is set.
func newEventRow(e *audit.Event) (row eventRow, err error) {
	if e.Tenant == "" {
		return row, errors.New("an event needs a tenant")
	}
	if e.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return row, err
		}
		e.ID = id.String()
	}
	actors, err := json.Marshal(e.Actors)
	if err != nil {
		return row, err
	}
	salt := make([]byte, audit.SaltSize)
	if _, err := rand.Read(salt); err != nil {
		return row, err
	}
	payload := []byte(e.Payload)
	if payload == nil {
		payload = []byte{}
	}
	row.event = [...]any{e.ID, e.Tenant, micros(e.At), e.Kind, e.Subject, e.From, e.To, string(actors), e.PolicyVersion, e.TraceID, audit.SaltedDigest(salt, payload)}
	row.payload = [...]any{e.ID, salt, payload}
	return row, nil
}

// appendEvent inserts an event with its payload; e.At is set.
func (s *Store) appendEvent(ctx context.Context, q querier, e audit.Event) error {
	row, err := newEventRow(&e)
	if err != nil {
		return err
	}
	if err := s.insert(ctx, q, insertEvent, row.event[:]); err != nil {
		return err
	}
	return s.insert(ctx, q, insertPayload, row.payload[:])
}

// Append stores an event that stands for itself, in a transaction of its own:
// one that tells of no change of a record here.
func (s *Store) Append(ctx context.Context, e audit.Event) error {
	return s.update(ctx, func(q *sql.Tx) (err error) {
		if e.At, err = s.now(ctx, q); err != nil {
			return err
		}
		return s.appendEvent(ctx, q, e)
	})
}

// AppendAll implements audit.Appender: two statements for all events of a
// hundred, so that a commit of many is hardly more than one of one.
func (s *Store) AppendAll(ctx context.Context, events []audit.Event) error {
	return s.update(ctx, func(q *sql.Tx) error {
		at, err := s.now(ctx, q)
		if err != nil {
			return err
		}
		for len(events) > 0 {
			n := min(len(events), eventsAtOnce)
			if err := s.appendEvents(ctx, q, at, events[:n]); err != nil {
				return err
			}
			events = events[n:]
		}
		return nil
	})
}

// eventsAtOnce bounds the parameters of one statement.
const eventsAtOnce = 100

func (s *Store) appendEvents(ctx context.Context, q querier, at time.Time, events []audit.Event) error {
	rows := make([][]any, len(events))
	payloads := make([][]any, len(events))
	for i := range events {
		e := events[i]
		e.At = at
		row, err := newEventRow(&e)
		if err != nil {
			return err
		}
		rows[i], payloads[i] = row.event[:], row.payload[:]
	}
	text, args := insertion(insertEvent, rows, ` ON CONFLICT (id) DO NOTHING RETURNING id`)
	fresh, err := collect(ctx, s, q, func(scan scanner) (id string, err error) { return id, scan(&id) }, text, args...)
	if err != nil || len(fresh) == 0 {
		return err
	}
	// The payload of an event that is there already is there, too, or was erased.
	payloads = slices.DeleteFunc(payloads, func(row []any) bool { return !slices.Contains(fresh, row[0].(string)) })
	return s.insert(ctx, q, insertPayload, payloads...)
}

func (s *Store) insert(ctx context.Context, q querier, into string, rows ...[]any) error {
	text, args := insertion(into, rows, "")
	_, err := q.ExecContext(ctx, text, args...)
	return s.fail(err)
}

// insertion is a statement that inserts rows, with numbered places for their
// values.
func insertion(into string, rows [][]any, end string) (string, []any) {
	var text strings.Builder
	text.WriteString(into)
	args := make([]any, 0, len(rows)*len(rows[0]))
	for i, row := range rows {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(" (")
		for k, v := range row {
			if k > 0 {
				text.WriteString(", ")
			}
			args = append(args, v)
			text.WriteString("$" + strconv.Itoa(len(args)))
		}
		text.WriteByte(')')
	}
	text.WriteString(end)
	return text.String(), args
}

// Erase removes the payload of an event for good and appends by, which must
// have audit.KindErased and the event's tenant and id. The chain still
// verifies.
func (s *Store) Erase(ctx context.Context, by audit.Event) error {
	if by.Kind != audit.KindErased {
		return fmt.Errorf("an erasure needs an event of kind %s", audit.KindErased)
	}
	return s.update(ctx, func(q *sql.Tx) error {
		result, err := q.ExecContext(ctx, `DELETE FROM audit_payload WHERE event_id IN (SELECT id FROM audit_event WHERE tenant = $1 AND id = $2)`, by.Tenant, by.Subject)
		if err != nil {
			return s.fail(err)
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return s.fail(errors.Join(err, sql.ErrNoRows))
		}
		if by.At, err = s.now(ctx, q); err != nil {
			return err
		}
		return s.appendEvent(ctx, q, by)
	})
}

// Seal implements audit.Store. The heads are also kept beside the data.
func (s *Store) Seal(ctx context.Context, limit int) (int, error) {
	tenants, err := s.names(ctx, `SELECT DISTINCT tenant FROM audit_event WHERE seq IS NULL ORDER BY tenant`)
	total := 0
	for i := 0; err == nil && i < len(tenants); i++ {
		var n int
		n, err = s.sealTenant(ctx, tenants[i], limit)
		total += n
	}
	return total, err
}

func (s *Store) sealTenant(ctx context.Context, tenant string, limit int) (n int, err error) {
	var head audit.Head
	err = s.update(ctx, func(q *sql.Tx) error {
		if _, err := q.ExecContext(ctx, `INSERT INTO audit_head (tenant, seq, hash) VALUES ($1, 0, '') ON CONFLICT (tenant) DO NOTHING`, tenant); err != nil {
			return s.fail(err)
		}
		head = audit.Head{Tenant: tenant}
		err := q.QueryRowContext(ctx, `SELECT seq, hash FROM audit_head WHERE tenant = $1`+s.d.skipLocked, tenant).Scan(&head.Seq, &head.Hash)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // another process is extending it
		}
		if err != nil {
			return s.fail(err)
		}
		events, err := s.records(ctx, q, `e.tenant = $1 AND e.seq IS NULL ORDER BY e.n LIMIT $2`, tenant, limit)
		if err != nil || len(events) == 0 {
			return err
		}
		for i := 0; i < len(events); i += linksAtOnce {
			if head, err = s.link(ctx, q, head, events[i:min(i+linksAtOnce, len(events))]); err != nil {
				return err
			}
		}
		n = len(events)
		_, err = q.ExecContext(ctx, `UPDATE audit_head SET seq = $2, hash = $3 WHERE tenant = $1`, tenant, head.Seq, head.Hash)
		return s.fail(err)
	})
	if err != nil {
		return 0, err
	}
	if n > 0 {
		err = s.beside.change(func(state *besideState) { state.Heads[tenant] = head })
	}
	return n, err
}

// linksAtOnce bounds the parameters of one statement.
const linksAtOnce = 200

// link gives events their places after head.
func (s *Store) link(ctx context.Context, q querier, head audit.Head, events []audit.Record) (audit.Head, error) {
	rows := make([]string, len(events))
	args := make([]any, 0, 3*len(events))
	for i := range events {
		head = audit.Extend(head, &events[i])
		p := len(args)
		rows[i] = fmt.Sprintf("(CAST($%d AS bigint), CAST($%d AS bigint), CAST($%d AS text))", p+1, p+2, p+3)
		args = append(args, events[i].N, head.Seq, head.Hash)
	}
	_, err := q.ExecContext(ctx, `WITH link (n, seq, hash) AS (VALUES `+strings.Join(rows, ", ")+`)
		UPDATE audit_event SET seq = link.seq, hash = link.hash FROM link WHERE audit_event.n = link.n`, args...)
	return head, s.fail(err)
}

// Tenants implements audit.Store. A tenant whose events are all gone is still
// known by its head.
func (s *Store) Tenants(ctx context.Context) ([]string, error) {
	names, err := s.names(ctx, `SELECT tenant FROM audit_head UNION SELECT tenant FROM audit_event ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	kept, err := s.beside.read()
	if err != nil {
		return nil, s.fail(err)
	}
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	for name := range kept.Heads {
		if !known[name] {
			names = append(names, name)
		}
	}
	return names, nil
}

// Heads implements audit.Store.
func (s *Store) Heads(ctx context.Context, tenant string) ([]audit.Head, error) {
	var heads []audit.Head
	kept, err := s.beside.read()
	if err != nil {
		return nil, s.fail(err)
	}
	if head, ok := kept.Heads[tenant]; ok {
		heads = append(heads, head)
	}
	row := audit.Head{Tenant: tenant}
	err = s.read.QueryRowContext(ctx, `SELECT seq, hash FROM audit_head WHERE tenant = $1`, tenant).Scan(&row.Seq, &row.Hash)
	if errors.Is(err, sql.ErrNoRows) {
		return heads, nil
	}
	return append(heads, row), s.fail(err)
}

// Sealed implements audit.Store.
func (s *Store) Sealed(ctx context.Context, tenant string, after int64, limit int) ([]audit.Record, error) {
	return s.records(ctx, s.read, `e.tenant = $1 AND e.seq > $2 ORDER BY e.seq LIMIT $3`, tenant, after, limit)
}

// Unsealed implements audit.Store.
func (s *Store) Unsealed(ctx context.Context, tenant string, after int64, limit int) ([]audit.Record, error) {
	return s.records(ctx, s.read, `e.tenant = $1 AND e.seq IS NULL AND e.n > $2 ORDER BY e.n LIMIT $3`, tenant, after, limit)
}

// Events lists events of one tenant, the newest first. Subject "" is every
// subject. before is the N of the last record of the page before; 0 begins.
func (s *Store) Events(ctx context.Context, tenant, subject string, before int64, limit int) ([]audit.Record, error) {
	if subject == "" {
		return s.records(ctx, s.read, `e.tenant = $1 AND ($2 = 0 OR e.n < $2) ORDER BY e.n DESC LIMIT $3`, tenant, before, limit)
	}
	return s.records(ctx, s.read, `e.tenant = $1 AND e.subject = $4 AND ($2 = 0 OR e.n < $2) ORDER BY e.n DESC LIMIT $3`, tenant, before, limit, subject)
}

func (s *Store) records(ctx context.Context, q querier, condition string, args ...any) ([]audit.Record, error) {
	return collect(ctx, s, q, func(scan scanner) (r audit.Record, err error) {
		var seq, at sql.NullInt64
		var hash sql.NullString
		var actors string
		var payload []byte
		err = scan(&r.N, &seq, &hash, &r.ID, &r.Tenant, &at, &r.Kind, &r.Subject, &r.From, &r.To, &actors, &r.PolicyVersion, &r.TraceID, &r.PayloadDigest, &r.Salt, &payload)
		if err != nil {
			return r, err
		}
		r.Seq, r.Hash, r.At = seq.Int64, hash.String, fromMicros(at.Int64)
		if len(payload) > 0 {
			r.Payload = payload
		}
		if json.Unmarshal([]byte(actors), &r.Actors) != nil {
			// Not what was appended. Reading goes on, so that Verify can name it.
			r.Actors = []audit.Actor{{ID: "unreadable " + strconv.Quote(actors)}}
		}
		return r, nil
	}, `SELECT e.n, e.seq, e.hash, e.id, e.tenant, e.at, e.kind, e.subject, e.from_state, e.to_state, e.actors, e.policy_version, e.trace_id, e.payload_digest,
		p.salt, p.payload FROM audit_event e LEFT JOIN audit_payload p ON p.event_id = e.id WHERE `+condition, args...)
}

func (s *Store) names(ctx context.Context, query string, args ...any) ([]string, error) {
	return collect(ctx, s, s.read, func(scan scanner) (name string, err error) {
		return name, scan(&name)
	}, query, args...)
}
