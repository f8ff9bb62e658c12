// Package sql is the engine for SQL systems: it introspects, compiles selects
// and conditions to SQL, and turns the driver's rows into blocks of JSON cells.
// PostgreSQL is read through pgx's binary protocol, SQLite through
// database/sql. What differs between the two stands in postgres*.go and
// sqlite*.go behind the dialect interface; everything else is shared by the
// read and the write side.
//
// Every value is a bound parameter; every identifier comes from the pinned
// schema and is quoted. The package must not know GraphQL, policy, proposals or
// configuration files: permissions arrive compiled into the conditions of a
// [connectors.Select].
//
// It never creates anything in a system by itself, and it never retries a
// write.
package sql
