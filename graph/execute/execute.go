// Package execute runs plans: it binds a request's values, asks the sources,
// joins levels by ordinal, and writes the answer as bytes in selection order by
// copying cells. Writes go through it too, under permits of the gate.
//
// It must not know GraphQL documents, HTTP, how a view came to be, or what a
// proposal is. Permission was compiled into the plan; nothing is decided here
// but whether a record's write may be done at once, by the plan's own
// conditions.
package execute

import (
	"context"
	"sync"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
)

// Limits bound what one operation may take. Zero means the default.
type Limits struct {
	Rows        int           // records of all steps together; 50,000
	Bytes       int           // of the answer; 16 MiB
	Concurrency int           // queries of one operation under way at once; 8
	Timeout     time.Duration // of the operation; 15 s
	Errors      int           // told to the client; 20
}

func (l Limits) withDefaults() Limits {
	set := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&l.Rows, 50_000)
	set(&l.Bytes, 16<<20)
	set(&l.Concurrency, 8)
	set(&l.Errors, 20)
	if l.Timeout <= 0 {
		l.Timeout = 15 * time.Second
	}
	return l
}

// of are the limits where an operation has some of its own.
func (l Limits) of(in *plan.Bindings) Limits {
	if in.Rows > 0 {
		l.Rows = in.Rows
	}
	if in.Bytes > 0 {
		l.Bytes = in.Bytes
	}
	if in.Timeout > 0 {
		l.Timeout = in.Timeout
	}
	return l
}

// An Executor runs plans over its sources. Its fields are set before the first
// call and not changed; its methods may be called concurrently.
type Executor struct {
	// Sources by name, behind the gate.
	Sources map[string]connectors.Connector
	// Issuer of the gate's permits, for direct writes and their previews.
	Issuer *connectors.Issuer
	// Cache of steps; nil: nothing is cached or shared.
	Cache  *Cache
	Limits Limits
	// Now is the clock of permits; nil: time.Now.
	Now func() time.Time
	// Asker asks validators that are services of their own; nil: none of them can
	// be asked, which never lets a write pass.
	Asker policy.Asker
}

// A Result is an answer.
type Result struct {
	// Data is the object of the plan's root fields, or null.
	Data []byte
	// Fields are the root fields in the order of the plan; their JSON lies in
	// Data. Empty where Data is null.
	Fields []RootResult
	Errors []GraphQLError
	// Spent is what the sources were asked for.
	Spent Spent

	buffer *[]byte
}

// Spent is what an operation took of the sources.
type Spent struct {
	Calls int // queries, previews and writes handed to sources; answers out of the cache are none
	Rows  int // records that came
	Cells int // of those records
}

// A RootResult is the value of one root field.
type RootResult struct {
	Key  string
	JSON []byte
}

// Release gives the result's memory back. Nothing of Data and Fields may be
// used afterwards; calling it is optional.
func (r *Result) Release() {
	if r.buffer == nil {
		return
	}
	*r.buffer = r.Data[:0]
	if cap(r.Data) <= maxPooled {
		buffers.Put(r.buffer)
	}
	*r = Result{}
}

// maxPooled keeps single large answers from staying in memory.
const maxPooled = 1 << 20

// buffers and runs are pools of memory only; they hold no state.
var (
	buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}
	runs    = sync.Pool{New: func() any { return new(run) }}
)

// A GraphQLError is one entry of errors.
type GraphQLError struct {
	Message string
	// Path holds response keys (string) and positions in lists (int).
	Path       []any
	Code       connectors.Code
	Source     string
	Retryable  bool
	RetryAfter time.Duration
	// Upstream is what the system said, redacted, as JSON; nil: nothing.
	Upstream []byte
	// Input leads to the input at fault, where one is.
	Input       []string
	Because     []string
	Unblock     []string
	PolicyFinal bool
	// Cause is for the log only.
	Cause error
}

// ErrorOf describes an error of the contract at a place of the answer.
func ErrorOf(err *connectors.Error, path []any) GraphQLError {
	return GraphQLError{Message: err.Message, Path: path, Code: err.Code, Source: err.Source, Retryable: err.Code.Retryable(),
		RetryAfter: err.RetryAfter, Upstream: err.Upstream, Input: err.Path, Because: err.Because, Unblock: err.Unblock,
		PolicyFinal: err.PolicyFinal, Cause: err.Cause}
}

// Query runs the steps of a query and writes its answer. A source that fails
// nulls its own fields and adds an error; input that cannot be bound nulls all,
// before any source is asked.
func (e *Executor) Query(ctx context.Context, p *plan.Plan, in *plan.Bindings) Result {
	r := e.start(p, in)
	defer r.free()
	if err := p.Bind(in, &r.values); err != nil {
		return refused(err)
	}
	ctx, cancel := within(ctx, r.limits.Timeout)
	defer cancel()
	r.ctx = ctx
	r.read(p.Roots)
	out := r.render(p.Fields)
	out.Spent = r.spent()
	return out
}

// within bounds a context, where it does not end sooner by itself.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= limit {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, limit)
}

// refused is the answer of an operation that was not begun. The path of such an
// error leads to input, the first part is the root field.
func refused(err *connectors.Error) Result {
	e := ErrorOf(err, nil)
	if len(err.Path) > 0 {
		e.Path = []any{err.Path[0]}
	}
	return Result{Data: []byte("null"), Errors: []GraphQLError{e}}
}

func (e *Executor) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

func (e *Executor) start(p *plan.Plan, in *plan.Bindings) *run {
	r := runs.Get().(*run)
	r.e, r.p, r.in, r.limits = e, p, in, e.Limits.of(in).withDefaults()
	r.results = cleared(r.results, len(p.Steps))
	r.binds = cleared(r.binds, p.Binds)
	r.snaps = cleared(r.snaps, len(p.Groups))
	for i, n := range p.Groups {
		r.snaps[i].left = n
	}
	return r
}

// free gives the run's memory back. All its goroutines have ended.
func (r *run) free() {
	clear(r.results)
	clear(r.binds)
	clear(r.snaps)
	clear(r.values.All)
	results, binds, snaps, values := r.results, r.binds, r.snaps, r.values
	*r = run{results: results, binds: binds, snaps: snaps, values: values}
	runs.Put(r)
}

// cleared is s with length n and zero elements.
func cleared[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}
