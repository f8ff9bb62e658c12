package sql

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/countersign/countersign/connectors"
)

// An Engine is the connector of one SQL system. Its methods may be called
// concurrently.
type Engine struct {
	cfg   Config
	d     dialect
	model *model // nil: describe only
	db    backend
	cache cache
	// unreadable counts cells that became null because their scalar has no
	// place for the value.
	unreadable atomic.Uint64
	// failpoint, when set by a test, is told how far a change has come.
	failpoint func(point string)
}

// A backend runs statements. It is what holds connections.
type backend interface {
	// describe introspects.
	describe(ctx context.Context, cfg *Config) (*connectors.Schema, error)
	// query runs a compiled select.
	query(ctx context.Context, st *statement, q *connectors.Query) (connectors.Rows, error)
	// begin opens a transaction.
	begin(ctx context.Context, mode txMode) (txn, error)
	close() error
}

var _ connectors.Connector = (*Engine)(nil)

// Open makes the engine. It never dials: a system that cannot be reached is an
// error of each call and recovers without a restart. Queries and writes are
// compiled against pinned only; without it (nil) only Describe works.
// Fails with CodeValidationFailed for a configuration or pinned schema that
// cannot be used, and CodeUnsupported for what is not supported yet.
func Open(cfg Config, pinned *connectors.Schema) (*Engine, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg.withDefaults()}
	if e.cfg.Dialect == Postgres {
		e.d = postgres{}
	} else {
		e.d = sqliteDialect{}
	}
	if pinned != nil {
		if pinned.Connector != e.cfg.Dialect {
			return nil, pinnedError("it describes a system of kind %q", pinned.Connector)
		}
		var err error
		if e.model, err = newModel(e.d, pinned); err != nil {
			return nil, err
		}
	}
	var err error
	if e.cfg.Dialect == Postgres {
		e.db, err = openPostgres(&e.cfg, &e.unreadable)
	} else {
		e.db, err = openSQLite(&e.cfg, &e.unreadable)
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Unreadable is how many cells were null so far because their scalar has no
// place for the value: NaN, infinity, dates beyond the years 1 to 9999,
// integers beyond ±(2⁵³−1) in a SafeInt, text in a column of numbers.
func (e *Engine) Unreadable() uint64 { return e.unreadable.Load() }

// Describe reads the system's metadata.
func (e *Engine) Describe(ctx context.Context) (*connectors.Schema, error) {
	s, err := e.db.describe(ctx, &e.cfg)
	return s, coded(err)
}

// Query compiles the select once per shape, and runs it. The first block has
// been read when it returns.
func (e *Engine) Query(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	st, err := e.selected(q)
	if err != nil {
		return nil, err
	}
	if st.bind && len(q.Bind) == 0 {
		return connectors.BlocksOf(), nil
	}
	if t := connectors.TraceOf(ctx); t != nil {
		return e.traced(ctx, t, st, q)
	}
	rows, err := e.db.query(ctx, st, q)
	if err != nil {
		return nil, coded(err)
	}
	return rows, nil
}

// selected is the statement of a query.
func (e *Engine) selected(q *connectors.Query) (*statement, error) {
	if e.model == nil {
		return nil, connectors.Errorf(connectors.CodeInternal, "the source has no pinned schema")
	}
	if q == nil || q.Select == nil {
		return nil, connectors.Errorf(connectors.CodeBadInput, "a query needs a select")
	}
	if len(q.Select.Bind) == 0 && len(q.Bind) > 0 {
		return nil, connectors.Errorf(connectors.CodeBadInput, "entries to join need fields")
	}
	return e.cache.get(e.model, q)
}

// Watch is not offered yet.
func (e *Engine) Watch(context.Context, *connectors.Query) iter.Seq2[*connectors.Event, error] {
	return func(yield func(*connectors.Event, error) bool) {
		yield(nil, connectors.Errorf(connectors.CodeUnsupported, "changes of SQL systems cannot be watched yet"))
	}
}

// Close ends all connections and waits for those in use.
func (e *Engine) Close() error {
	return coded(e.db.close())
}
