// Package connectors is the contract between Countersign and a system of
// record. It holds plain values and one small interface; it does no I/O.
//
// It must not know any system, GraphQL, policy, proposals or configuration:
// nothing of this module is imported here. Everything a request carries can be
// encoded, so a connector may live in another process. What a system can and
// cannot do is data in [Schema], never an optional interface: decorators would
// lose those.
package connectors

import (
	"context"
	"iter"
)

// A Connector is the code for one configured system of record.
//
// All methods may be called concurrently. Errors are *[Error] (use [AsError]);
// any other error is treated as [CodeInternal]. When ctx ends, a method
// returns soon with [CodeTimeout] or, for a write already dispatched, with
// [CodeOutcomeUnknown] where it cannot tell.
//
// Connectors never retry a write. They do not check permissions: those arrive
// compiled into [Select] and [Change].
type Connector interface {
	// Describe reads metadata only, and answers the same while the system is
	// unchanged. It is called by init, describe and refresh, and once after
	// start to learn the identity of the system; never per request.
	// Fails with CodeUpstreamUnavailable or CodeUpstreamError.
	Describe(ctx context.Context) (*Schema, error)

	// Query reads. It has no side effects. The executor calls it, once per
	// selected relation and level. The Rows must be closed by the caller, also
	// after an error from Next.
	// Fails with CodeUpstreamUnavailable, CodeUpstreamError, CodeTimeout,
	// CodeUnsupported (for what the Schema does not claim), CodeBadInput.
	Query(ctx context.Context, q *Query) (Rows, error)

	// Preview tells what Apply would do and does not do it. The permit is
	// checked by the gate, outermost; connectors ignore it.
	// Fails as Apply does.
	Preview(ctx context.Context, p *Permit, c *Change) (*Effect, error)

	// Apply performs the steps in order. With Capabilities.Atomic all or none.
	// Fails with CodeOutcomeUnknown when the system may or may not have done
	// it; every other code proves that nothing was done, or, without Atomic,
	// that exactly the steps in the returned Effect (non-nil beside the error)
	// were done.
	Apply(ctx context.Context, p *Permit, c *Change) (*Effect, error)

	// Watch yields changes until ctx ends or the consumer stops. A connector
	// whose Capabilities.Watch is false yields one CodeUnsupported error.
	Watch(ctx context.Context, q *Query) iter.Seq2[*Event, error]

	// Close ends everything the connector owns and waits for it.
	Close() error
}

// Rows is an iterator of blocks. It is used by one goroutine.
type Rows interface {
	// Next returns the next block, or nil, nil at the end. A block is at most
	// MaxBlockBytes, unless a single row is larger. A block stays valid after
	// further calls of Next and after Close.
	Next(ctx context.Context) (*Block, error)
	// Close releases what the rows hold; it may be called more than once.
	Close() error
}

// An Event is one change seen by Watch.
type Event struct {
	Collection string
	Kind       StepKind // Create, Update or Delete
	Key        []Assign
	Cursor     string
}
