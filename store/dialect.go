package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Schema is the schema of all tables in PostgreSQL.
const Schema = "countersign"

//go:embed migrations
var migrations embed.FS

// A dialect is all that differs between the two databases, but for the DDL.
// One text of every other statement runs on both: $1 placeholders, RETURNING
// and ON CONFLICT.
type dialect struct {
	name string
	// goose is the name that the migrations' library knows it by.
	goose goose.Dialect
	// now is an SQL expression for the server's clock in microseconds; empty:
	// the clock of this machine.
	now string
	// Locking clauses of SELECT; empty where one writer at a time makes them
	// needless.
	forUpdate, forShare, skipLocked string
	// lockKey is a statement that makes transactions with the same $1 wait for
	// each other until they end; empty where they do anyway.
	lockKey string
	// snapshot are the options of a transaction that reads one snapshot.
	snapshot *sql.TxOptions
	// failure classifies an error of the driver.
	failure func(error) failure
}

// A failure is what an error of the driver means.
type failure struct {
	kind failureKind
	// index is the violated unique index or its columns, as the database names
	// them.
	index string
}

type failureKind uint8

const (
	failedOther    failureKind = iota
	failedUnique               // a unique index or primary key
	failedConflict             // transactions collided: do it again
	failedStore                // the database is gone, full, read-only or damaged
)

var sqliteDialect = dialect{
	name:     "sqlite",
	goose:    goose.DialectSQLite3,
	snapshot: &sql.TxOptions{ReadOnly: true},
	failure:  sqliteFailure,
}

var postgresDialect = dialect{
	name:       "postgres",
	goose:      goose.DialectPostgres,
	now:        `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`,
	forUpdate:  " FOR UPDATE",
	forShare:   " FOR SHARE",
	skipLocked: " FOR UPDATE SKIP LOCKED",
	lockKey:    `SELECT pg_advisory_xact_lock(hashtextextended($1, 7233))`,
	snapshot:   &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
	failure:    postgresFailure,
}

func sqliteFailure(err error) failure {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		// Not the database's word: the pool is closed.
		return failure{kind: failedStore}
	}
	switch code := e.Code(); code {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return failure{kind: failedUnique, index: e.Error()}
	default:
		switch code & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT,
			sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_PROTOCOL:
			return failure{kind: failedStore}
		}
	}
	return failure{}
}

func postgresFailure(err error) failure {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		// Not the server's word, so the way to it: refused, reset, timed out.
		return failure{kind: failedStore}
	}
	switch e.Code {
	case "23505":
		return failure{kind: failedUnique, index: e.ConstraintName}
	case "40001", "40P01":
		return failure{kind: failedConflict}
	case "25006": // read-only: a standby
		return failure{kind: failedStore}
	}
	switch e.Code[:2] {
	case "08", "28", "3D", "53", "57", "58", "XX":
		return failure{kind: failedStore}
	}
	return failure{}
}

// openSQLite opens the file twice: one connection that writes, and several that
// cannot.
func openSQLite(ctx context.Context, file string, readOnly bool) (write, read *sql.DB, err error) {
	dsn := func(settings ...string) string {
		q := url.Values{"_pragma": append([]string{"busy_timeout(5000)", "foreign_keys(1)"}, settings...)}
		q.Set("_txlock", "immediate")
		if readOnly {
			q.Set("mode", "ro")
		}
		return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath(), RawQuery: q.Encode()}).String()
	}
	if !readOnly {
		if write, err = sql.Open("sqlite", dsn("journal_mode(WAL)", "synchronous(FULL)")); err != nil {
			return nil, nil, err
		}
		write.SetMaxOpenConns(1)
		if err = write.PingContext(ctx); err != nil { // makes the file and sets WAL before a reader opens it
			return nil, nil, errors.Join(err, write.Close())
		}
	}
	if read, err = sql.Open("sqlite", dsn("query_only(1)")); err != nil {
		return nil, nil, errors.Join(err, closeAll(write))
	}
	read.SetMaxOpenConns(max(4, runtime.GOMAXPROCS(0)))
	read.SetMaxIdleConns(max(4, runtime.GOMAXPROCS(0)))
	return write, read, nil
}

// openPostgres opens one pool; every connection looks for tables in our schema
// only.
func openPostgres(ctx context.Context, dsn string, readOnly bool) (*sql.DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		// The parser's text may hold the password.
		return nil, errors.New("the address of the store is no valid PostgreSQL URL")
	}
	config.RuntimeParams["search_path"] = Schema
	config.RuntimeParams["timezone"] = "UTC"
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "countersign"
	}
	if readOnly {
		config.RuntimeParams["default_transaction_read_only"] = "on"
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(10)
	db.SetConnMaxIdleTime(5 * time.Minute)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// migrate brings the tables up to date. Several processes may do it at once.
func (d *dialect) migrate(ctx context.Context, db *sql.DB) error {
	sub, err := fs.Sub(migrations, "migrations/"+d.name)
	if err != nil {
		return err
	}
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithAllowOutofOrder(true)}
	if d.goose == goose.DialectPostgres {
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return err
		}
		options = append(options, goose.WithSessionLocker(locker))
		if err := createSchema(ctx, db); err != nil {
			return err
		}
	}
	provider, err := goose.NewProvider(d.goose, db, sub, options...)
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// createSchema makes the schema where it is missing. Of two that do it at once
// PostgreSQL fails one with a unique violation; then it is there.
func createSchema(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+Schema)
	if err != nil && postgresFailure(err).kind == failedUnique {
		return nil
	}
	return err
}

// current tells whether the tables are exactly those of this program, for a
// store that may not be changed.
func (d *dialect) current(ctx context.Context, db *sql.DB) error {
	sub, err := fs.Sub(migrations, "migrations/"+d.name)
	if err != nil {
		return err
	}
	files, err := fs.ReadDir(sub, ".")
	if err != nil {
		return err
	}
	var have int64
	if err := db.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version`).Scan(&have); err != nil {
		return err
	}
	want := int64(0) // the number that the last file's name begins with
	for _, f := range files {
		number, _, _ := strings.Cut(f.Name(), "_")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return err
		}
		want = max(want, n)
	}
	if have != want {
		return fmt.Errorf("the store has the tables of version %d, this program needs %d; start the server once with this program", have, want)
	}
	return nil
}

func closeAll(dbs ...*sql.DB) error {
	var errs []error
	for _, db := range dbs {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// isSQLite takes the file out of "sqlite:FILE".
func isSQLite(dsn string) (file string, ok bool) {
	file, ok = strings.CutPrefix(dsn, "sqlite:")
	return strings.TrimPrefix(file, "//"), ok
}

func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}
