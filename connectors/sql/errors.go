package sql

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/countersign/countersign/connectors"
)

// coded makes an error of the contract of whatever a driver said. The
// database's own text is kept as the cause and never shown. An error that is
// one of the contract already stays as it is.
func coded(err error) error {
	if err == nil {
		return nil
	}
	var done *connectors.Error
	if errors.As(err, &done) {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pgError(pg).WithCause(err)
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return liteError(lite).WithCause(err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return connectors.AsError(timeoutOf(err))
	}
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "closed pool") {
		return unavailable().WithCause(err)
	}
	return connectors.Errorf(connectors.CodeUpstreamError, "the database could not answer").WithCause(err)
}

// timeoutOf keeps the cause while making sure that it counts as a context that
// ended.
func timeoutOf(err error) error {
	return errors.Join(context.DeadlineExceeded, err)
}

func unavailable() *connectors.Error {
	return connectors.Errorf(connectors.CodeUpstreamUnavailable, "the database cannot be reached")
}

// pgError maps a SQLSTATE.
func pgError(e *pgconn.PgError) *connectors.Error {
	switch e.Code {
	case "57014":
		return connectors.Errorf(connectors.CodeTimeout, "the database took too long or was cancelled")
	case "55P03":
		return connectors.Errorf(connectors.CodeLockTimeout, "the record is locked by somebody else")
	case "23505", "23P01":
		return connectors.Errorf(connectors.CodeUniqueViolation, "another record has these values already")
	case "23503", "23001":
		return connectors.Errorf(connectors.CodeReferenceViolation, "a record that is referred to does not exist, or is still in use")
	case "23514", "44000":
		return connectors.Errorf(connectors.CodeCheckViolation, "a check of the database does not allow these values")
	case "23502":
		e2 := connectors.Errorf(connectors.CodeValidationFailed, "a value is required")
		if e.ColumnName != "" {
			e2.Path = []string{e.ColumnName}
		}
		return e2
	case "40001", "40P01":
		return connectors.Errorf(connectors.CodeRolledBack, "the database rolled back because of a concurrent change; nothing was done")
	case "42P01", "42703", "42704", "42883", "42804", "26000", "0A000", "3F000":
		return connectors.Errorf(connectors.CodeUpstreamError, "the database is not as it was pinned; run refresh")
	case "42501", "25006":
		return connectors.Errorf(connectors.CodeUpstreamError, "the database does not let the configured role do this")
	case "54001":
		return connectors.Errorf(connectors.CodeBadInput, "the condition is too complex for the database")
	}
	if len(e.Code) == 5 {
		switch e.Code[:2] {
		case "22":
			return connectors.Errorf(connectors.CodeValidationFailed, "the database does not take one of the values")
		case "08", "28", "3D", "53", "57", "58":
			return unavailable()
		}
	}
	return connectors.Errorf(connectors.CodeUpstreamError, "the database refused the statement")
}

// liteError maps a result code of SQLite.
func liteError(e *sqlite.Error) *connectors.Error {
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return connectors.Errorf(connectors.CodeUniqueViolation, "another record has these values already")
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return connectors.Errorf(connectors.CodeReferenceViolation, "a record that is referred to does not exist, or is still in use")
	case sqlite3.SQLITE_CONSTRAINT_CHECK:
		return connectors.Errorf(connectors.CodeCheckViolation, "a check of the database does not allow these values")
	case sqlite3.SQLITE_CONSTRAINT_NOTNULL:
		return connectors.Errorf(connectors.CodeValidationFailed, "a value is required")
	case sqlite3.SQLITE_CONSTRAINT_DATATYPE:
		return connectors.Errorf(connectors.CodeValidationFailed, "the database does not take one of the values")
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return connectors.Errorf(connectors.CodeLockTimeout, "the database is locked by somebody else")
	case sqlite3.SQLITE_INTERRUPT:
		return connectors.Errorf(connectors.CodeTimeout, "the request took too long or was cancelled")
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_NOMEM:
		return unavailable()
	case sqlite3.SQLITE_IOERR:
		return unavailable()
	case sqlite3.SQLITE_CONSTRAINT:
		return connectors.Errorf(connectors.CodeCheckViolation, "a check of the database does not allow these values")
	case sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return connectors.Errorf(connectors.CodeValidationFailed, "the database does not take one of the values")
	case sqlite3.SQLITE_READONLY:
		return connectors.Errorf(connectors.CodeUpstreamError, "the database file is read-only")
	case sqlite3.SQLITE_SCHEMA:
		return connectors.Errorf(connectors.CodeUpstreamError, "the database is not as it was pinned; run refresh")
	}
	if strings.Contains(e.Error(), "no such table") || strings.Contains(e.Error(), "no such column") {
		return connectors.Errorf(connectors.CodeUpstreamError, "the database is not as it was pinned; run refresh")
	}
	return connectors.Errorf(connectors.CodeUpstreamError, "the database refused the statement")
}
