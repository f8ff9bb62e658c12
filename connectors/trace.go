package connectors

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Trace is told what systems are sent, for somebody who asks why an operation
// answers what it answers. It travels in the context of a Query: connectors
// tell it each thing they sent, executors what needed no sending. Without one
// in the context nothing is noted and nothing is allocated.
//
// It holds no credential, and no value that the caller did not write: see Show.
// Its methods may be called concurrently.
type Trace struct {
	own func(text string) bool

	mu   sync.Mutex
	sent []Sent
}

// A Sent is one statement or request, or an answer that needed none.
type Sent struct {
	// Source is the configured name of the system, Object the collection or
	// function that was asked for.
	Source, Object string
	// Keys is how many parent keys of a join level it was asked for; 0: none.
	Keys int
	// Snapshot: in the read-only transaction that the source's statements of
	// one operation share.
	Snapshot bool
	// Kept: an answer that was kept from before, or that an equal query under
	// way had; nothing was sent.
	Kept bool

	// Statement is the SQL as it was sent, with placeholders, and Values is
	// what they stood for, as Show says it.
	Statement string
	Values    []string

	// Method and Target are those of an HTTP request. Target is the path below
	// the source's configured address, and the query, values as Show says them.
	Method, Target string
	// Status is the answer's; 0: there was none.
	Status int
	// Attempts is how often the request was put on a connection.
	Attempts int

	// Began orders what was sent; Took is the time to the answer, or to the
	// first rows of a statement.
	Began time.Time
	Took  time.Duration
	// Failed is the code of the error it ended with; "": none.
	Failed Code
}

// Withheld stands for a value that is not shown.
const Withheld = "…"

// NewTrace makes a trace that shows the values whose text own knows as written
// by the caller.
func NewTrace(own func(text string) bool) *Trace { return &Trace{own: own} }

type traceKey struct{}

// WithTrace is a context whose queries tell the trace.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceOf is the trace of a context; nil: there is none, and nothing to note.
func TraceOf(ctx context.Context) *Trace {
	t, _ := ctx.Value(traceKey{}).(*Trace)
	return t
}

// Add notes something that was sent.
func (t *Trace) Add(s Sent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent = append(t.sent, s)
}

// Sent lists what was noted so far, in the order in which it began.
func (t *Trace) Sent() []Sent {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := slices.Clone(t.sent)
	slices.SortStableFunc(out, func(a, b Sent) int { return a.Began.Compare(b.Began) })
	return out
}

// Shows tells whether a value may be shown: null, or written by the caller in
// every part. Claims, the keys of joins, constants of the policy and what a
// system gave are not.
func (t *Trace) Shows(v Value) bool {
	switch v.Kind {
	case KindAbsent, KindNull:
		return true
	case KindList:
		return !slices.ContainsFunc(v.Items, func(i Value) bool { return !t.Shows(i) })
	case KindObject:
		return !slices.ContainsFunc(v.Members, func(m Member) bool { return !t.Shows(m.Value) })
	}
	return t.own != nil && t.own(v.Text)
}

// Show is a value as JSON, Withheld in the place of what may not be shown.
func (t *Trace) Show(v Value) string {
	switch v.Kind {
	case KindList:
		items := make([]string, len(v.Items))
		for i := range v.Items {
			items[i] = t.Show(v.Items[i])
		}
		return "[" + strings.Join(items, ",") + "]"
	case KindObject:
		items := make([]string, len(v.Members))
		for i, m := range v.Members {
			items[i] = string(AppendJSONString(nil, m.Name)) + ":" + t.Show(m.Value)
		}
		return "{" + strings.Join(items, ",") + "}"
	}
	if !t.Shows(v) {
		return Withheld
	}
	return string(v.AppendJSON(nil, ScalarJSON))
}
