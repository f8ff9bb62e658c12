package sql

import (
	"path"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
)

// The dialects.
const (
	Postgres = "postgres"
	SQLite   = "sqlite"
)

// Defaults of what a Config leaves zero: no limit is without one.
const (
	DefaultPoolMax          = 10
	DefaultStatementTimeout = 10 * time.Second
	DefaultLockTimeout      = 500 * time.Millisecond
)

// versionXmin is the word for PostgreSQL's row version that is no column.
const versionXmin = "xmin"

// A Config is everything that is said about one SQL system. It is plain data;
// the engine does not change it.
type Config struct {
	// Name is the source's name, for errors.
	Name string
	// Dialect is Postgres or SQLite.
	Dialect string
	// URL is postgres://… or the path of a SQLite file.
	URL string
	// Include and Exclude are patterns over schema.table, with * for any run of
	// characters. No Include means everything but the system's own schemas.
	// A pattern without a dot is about the default schema.
	Include, Exclude []string
	// Keys name the key of tables and views that declare none.
	Keys map[string][]string
	// References are foreign keys that the database does not declare.
	References []Reference
	// Version says per collection ("*": the others) what ifVersion compares:
	// "xmin" (PostgreSQL's default) or a column. "" turns it off.
	Version map[string]string
	// ReadOnly takes every write out of the schema, and Preview and Apply
	// refuse.
	ReadOnly bool
	// Preview is the strategy per collection: read (the default), rollback or
	// none.
	Preview map[string]string
	// Outcome is the outcome class per collection: unverifiable (the default)
	// or transactional, which needs the marker table.
	Outcome map[string]string
	// PoolMax is the largest number of connections.
	PoolMax int
	// StatementTimeout and LockTimeout bound each statement in the database.
	StatementTimeout, LockTimeout time.Duration
}

// A Reference says that Fields of From equal On of To.
type Reference struct {
	From   string
	Fields []string
	To     string
	On     []string
}

// check refuses what cannot be meant, in words.
func (c *Config) check() error {
	if c.Dialect != Postgres && c.Dialect != SQLite {
		return connectors.Errorf(connectors.CodeValidationFailed, "unknown SQL dialect %q; postgres and sqlite are supported", c.Dialect)
	}
	if c.URL == "" {
		return connectors.Errorf(connectors.CodeValidationFailed, "the source needs a url")
	}
	for name, class := range c.Outcome {
		switch connectors.OutcomeClass(class) {
		case connectors.Transactional, connectors.Unverifiable:
		case connectors.Conditional:
			return connectors.Errorf(connectors.CodeUnsupported, "outcome %q of %s is not supported yet; use transactional (with `countersign prepare`) or unverifiable", class, name)
		default:
			return connectors.Errorf(connectors.CodeValidationFailed, "outcome %q of %s is none that a SQL system has; use transactional or unverifiable", class, name)
		}
	}
	for name, strategy := range c.Preview {
		switch connectors.PreviewStrategy(strategy) {
		case connectors.PreviewRead, connectors.PreviewRollback, connectors.PreviewNone:
		default:
			return connectors.Errorf(connectors.CodeValidationFailed, "preview %q of %s is none of read, rollback and none", strategy, name)
		}
	}
	for name, v := range c.Version {
		if v == versionXmin && c.Dialect != Postgres {
			return connectors.Errorf(connectors.CodeValidationFailed, "version xmin of %s exists in PostgreSQL only; name a column", name)
		}
	}
	for _, p := range append(append([]string(nil), c.Include...), c.Exclude...) {
		if _, err := path.Match(escapePattern(p), ""); err != nil {
			return connectors.Errorf(connectors.CodeValidationFailed, "%q is no pattern of schema.table", p)
		}
	}
	return nil
}

// withDefaults fills in the limits.
func (c Config) withDefaults() Config {
	if c.PoolMax <= 0 {
		c.PoolMax = DefaultPoolMax
	}
	if c.StatementTimeout <= 0 {
		c.StatementTimeout = DefaultStatementTimeout
	}
	if c.LockTimeout <= 0 {
		c.LockTimeout = DefaultLockTimeout
	}
	return c
}

// includes tells whether a table is wanted.
func (c *Config) includes(schema, table, defaultSchema string) bool {
	any := func(patterns []string) bool {
		for _, p := range patterns {
			if !strings.Contains(p, ".") {
				p = defaultSchema + "." + p
			}
			if ok, _ := path.Match(escapePattern(p), schema+"."+table); ok {
				return true
			}
		}
		return false
	}
	return (len(c.Include) == 0 || any(c.Include)) && !any(c.Exclude)
}

// escapePattern leaves only * special. A slash would stop path.Match's star, so
// names that hold one are matched by exact patterns only.
func escapePattern(p string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`, `?`, `\?`).Replace(p)
}

// perCollection reads a setting with "*" as the rest.
func perCollection(m map[string]string, name, fallback string) string {
	if v, ok := m[name]; ok {
		return v
	}
	if v, ok := m["*"]; ok {
		return v
	}
	return fallback
}
