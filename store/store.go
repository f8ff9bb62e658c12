// Package store keeps what must outlive the process: proposals, identities,
// the audit log, idempotency records, the policy version and kill switches. It
// is one implementation over database/sql for SQLite and PostgreSQL; dialect.go
// and the DDL under migrations are all that differs.
//
// It implements proposals.Store, identity.Store and audit.Store. The tenant is
// part of every key. Guards use the store's clock: the server's for PostgreSQL,
// this machine's for SQLite, which has one server only.
//
// Where the database is gone, full, read-only or damaged, every method answers
// a *connectors.Error with CodeUpstreamUnavailable and the Source "store", and
// nothing is half-done: each call is one transaction.
//
// It must not know policy files, GraphQL, HTTP or how anything it keeps is
// decided.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/proposals"
)

// A Mode says what the process that opens a store is.
type Mode uint8

// The modes of opening a store. The zero Mode may only read.
const (
	// ReadOnly: never writes, needs no lock, and reads beside a running server.
	// The tables must be there.
	ReadOnly Mode = iota
	// Tool: a short command beside or before a server, which makes the first
	// users and keys. It makes the tables where they are missing.
	Tool
	// Server: the one server of an SQLite file, or one of several over
	// PostgreSQL. It makes the tables, counts its start (Incarnation) and notices
	// a store that was restored from a backup (Restored).
	Server
)

// Options of Open.
type Options struct {
	Mode Mode
	// DataDir is where the incarnation and the heads of the audit chains are
	// kept beside the data. Empty: the folder of the SQLite file; nowhere for
	// PostgreSQL.
	DataDir string
	// Keyring encrypts what the store keeps of sources' data (revisions,
	// attempts, stored answers). nil: it is kept in clear, and what was
	// encrypted cannot be read.
	Keyring *Keyring
	// Now replaces the store's clock, for tests.
	Now func() time.Time
}

// A Store is open until Close. All methods may be called concurrently.
type Store struct {
	d       *dialect
	write   *sql.DB // nil in ReadOnly mode
	read    *sql.DB
	mode    Mode
	keys    *Keyring
	clock   func() time.Time // nil: the server's
	beside  *beside          // nil: nothing is kept beside the data
	unlock  func() error
	started started
}

// ErrInUse: another server has the SQLite file open.
var ErrInUse = errors.New("another countersign server is using this data folder; stop it first, or give this one a --data of its own")

// Open opens the store at dsn: sqlite:FILE or postgres://…. It fails with
// ErrInUse where a second server opens one SQLite file.
func Open(ctx context.Context, dsn string, opts Options) (*Store, error) {
	s := &Store{mode: opts.Mode, keys: opts.Keyring, clock: opts.Now}
	dir := opts.DataDir
	var err error
	if file, ok := isSQLite(dsn); ok {
		if dir == "" {
			dir = filepath.Dir(file)
		}
		err = s.openFile(ctx, file)
	} else if isPostgres(dsn) {
		s.d = &postgresDialect
		s.read, err = openPostgres(ctx, dsn, opts.Mode == ReadOnly)
		if opts.Mode != ReadOnly {
			s.write = s.read
		}
	} else {
		return nil, connectors.Errorf(connectors.CodeBadInput, "a store is sqlite:FILE or postgres://…")
	}
	if err == nil {
		err = s.prepare(ctx, dir)
	}
	if err != nil {
		return nil, errors.Join(s.openError(err), s.Close())
	}
	return s, nil
}

// openFile opens an SQLite file. A server locks it first.
func (s *Store) openFile(ctx context.Context, file string) (err error) {
	s.d = &sqliteDialect
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.mode == ReadOnly {
		if _, err := os.Stat(file); err != nil {
			return err
		}
	} else if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if s.mode == Server {
		if s.unlock, err = lockFile(file + ".lock"); err != nil {
			return err
		}
	}
	if s.mode != ReadOnly {
		// Made here, because the driver would make it readable for everybody.
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	s.write, s.read, err = openSQLite(ctx, file, s.mode == ReadOnly)
	return err
}

// prepare makes or checks the tables and what stands beside them.
func (s *Store) prepare(ctx context.Context, dir string) error {
	if dir != "" {
		s.beside = &beside{file: filepath.Join(dir, besideName)}
	}
	if s.mode == ReadOnly {
		return s.d.current(ctx, s.read)
	}
	if err := s.d.migrate(ctx, s.write); err != nil {
		return err
	}
	if s.mode == Server {
		return s.start(ctx)
	}
	return nil
}

// openError keeps what a person has to read, and makes a coded error of the
// rest.
func (s *Store) openError(err error) error {
	var coded *connectors.Error
	if errors.Is(err, ErrInUse) || errors.As(err, &coded) {
		return err
	}
	return unavailable(fmt.Errorf("open the store: %w", err))
}

// Close ends the store. Transactions under way fail.
func (s *Store) Close() error {
	var err error
	if s.write != s.read {
		err = closeAll(s.write, s.read)
	} else {
		err = closeAll(s.read)
	}
	if s.unlock != nil {
		err = errors.Join(err, s.unlock())
		s.unlock = nil
	}
	return err
}

// Now is the store's clock, UTC, in microseconds.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	return s.now(ctx, s.read)
}

// Ping tells whether the store answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return s.fail(s.read.QueryRowContext(ctx, `SELECT 1 FROM meta UNION SELECT 1 LIMIT 1`).Scan(&one))
}

// A querier is a pool, a connection or a transaction.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s *Store) now(ctx context.Context, q querier) (time.Time, error) {
	if s.clock != nil {
		return s.clock().UTC().Truncate(time.Microsecond), nil
	}
	var us int64
	if err := q.QueryRowContext(ctx, "SELECT "+s.d.now).Scan(&us); err != nil {
		return time.Time{}, s.fail(err)
	}
	return fromMicros(us), nil
}

// update runs fn in a writing transaction. Errors of fn are returned as they
// are.
func (s *Store) update(ctx context.Context, fn func(q *sql.Tx) error) error {
	if s.write == nil {
		return unavailable(errors.New("the store was opened to read only"))
	}
	return s.transact(ctx, s.write, nil, fn)
}

// snapshot runs fn on one snapshot.
func (s *Store) snapshot(ctx context.Context, fn func(q *sql.Tx) error) error {
	return s.transact(ctx, s.read, s.d.snapshot, fn)
}

func (s *Store) transact(ctx context.Context, db *sql.DB, options *sql.TxOptions, fn func(q *sql.Tx) error) error {
	q, err := db.BeginTx(ctx, options)
	if err != nil {
		return s.fail(err)
	}
	done := false
	defer func() {
		if !done {
			// Also after a panic of fn. The error adds nothing: what was begun is
			// gone with the connection at the latest.
			_ = q.Rollback()
		}
	}()
	if err := fn(q); err != nil {
		return err
	}
	done = true
	return s.fail(q.Commit())
}

// fail makes an error of the driver one of ours. Callers look at unique
// violations before.
func (s *Store) fail(err error) error {
	var coded *connectors.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, sql.ErrNoRows) {
		return proposals.ErrNotFound
	}
	switch s.d.failure(err).kind {
	case failedConflict, failedUnique:
		return fmt.Errorf("%w: %w", proposals.ErrConflict, err)
	case failedStore:
		return unavailable(err)
	}
	return &connectors.Error{Code: connectors.CodeInternal, Message: "something went wrong in the store; the log has it", Source: "store", Cause: err}
}

// unavailable is the error of a store that cannot be reached or written.
func unavailable(cause error) error {
	return &connectors.Error{Code: connectors.CodeUpstreamUnavailable, Source: "store", Cause: cause,
		Message: "the store cannot be reached or written right now, so nothing was changed; try again"}
}

// micros and fromMicros are how times stand in tables; 0 is the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
