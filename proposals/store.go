package proposals

import (
	"context"
	"errors"
	"time"

	"github.com/countersign/countersign/policy/audit"
)

// What a store answers beside failures of its own. They may be wrapped.
var (
	// ErrNotFound: no such row for this tenant. A row of another tenant is
	// exactly as absent.
	ErrNotFound = errors.New("not found")
	// ErrConflict: a row moved since it was read, or two transactions collided.
	// The whole transaction is to be done again by the caller.
	ErrConflict = errors.New("conflict")
	// ErrDuplicate: an open proposal with this dedupe key exists.
	ErrDuplicate = errors.New("duplicate")
)

// A Store keeps the records. Implementations are tested by
// proposalstest.RunStore. All methods may be called concurrently.
type Store interface {
	// Tx runs fn in one transaction: everything it wrote is there when Tx
	// returns nil, and nothing of it otherwise. Two transactions that read and
	// write the same proposal never both commit on the same version. An error of
	// fn is returned as it is, after the rollback; fn may be run only once.
	// Serialization failures are ErrConflict.
	Tx(ctx context.Context, fn func(Tx) error) error

	// Get reads one proposal with all its rows in one snapshot, or ErrNotFound.
	Get(ctx context.Context, tenant string, by Ref) (*Dossier, error)

	// List answers heads that match, newest (highest ID) first, at most
	// f.Limit.
	List(ctx context.Context, f Filter) ([]*Proposal, error)

	// Due answers heads of all tenants in one of the states whose WakeAt is set
	// and not after the store's clock, earliest first, at most limit.
	Due(ctx context.Context, states []State, limit int) ([]*Proposal, error)

	// Control reads the control row of a tenant; the zero Control with its
	// Tenant set where there is none yet.
	Control(ctx context.Context, tenant string) (*Control, error)

	// Use reads what a principal has in use; the zero Use with its Tenant and
	// Principal set where there is none yet.
	Use(ctx context.Context, tenant, principal string) (*Use, error)

	// Now is the store's clock, UTC, microseconds. For PostgreSQL that of the
	// server.
	Now(ctx context.Context) (time.Time, error)
}

// A Tx is the inside of one transaction, used by one goroutine. After an error
// of any method but ErrNotFound the function given to Store.Tx must return.
type Tx interface {
	// Now is the store's clock; the same during one transaction.
	Now() (time.Time, error)

	// Control as Store.Control; locked so that it cannot change before this
	// transaction ends (shared lock is enough).
	Control(tenant string) (*Control, error)

	// Get as Store.Get, and the head row is locked until the end where the
	// store can.
	Get(tenant string, by Ref) (*Dossier, error)

	// Use as Store.Use; locked until the end, there or not.
	Use(tenant, principal string) (*Use, error)

	// Put writes a head row. was 0 creates it (ErrConflict where it is there;
	// ErrDuplicate where another open proposal of the tenant that is not
	// Deliberate has its DedupeKey, and this is open and not Deliberate).
	// Otherwise the row must have version was, else ErrConflict; ErrNotFound
	// never. p.Version is what is written, and greater than was.
	Put(p *Proposal, was int64) error

	// Write appends rows: *Revision, *Decision, *OutboxMessage; and inserts or
	// replaces by key: *Attempt, *IdempotencyRecord, *Control, *Use. An append
	// whose number or id is taken is ErrConflict; so is a *Control or *Use whose
	// Version is not the stored one plus 1.
	Write(rows ...Row) error

	// Idempotency finds a record that has not expired, or ErrNotFound. Of two
	// transactions that ask for one key the second sees what the first wrote:
	// the key is locked until the end, there or not.
	Idempotency(tenant, principal, key string) (*IdempotencyRecord, error)

	// Audit writes an event; it gets its place in the chain later.
	Audit(e audit.Event) error
}

// A Ref names a proposal; exactly one field is set.
type Ref struct {
	ID     string
	Handle string
	// DedupeKey finds the open proposal with this key that is not Deliberate.
	DedupeKey string
}

// A Filter selects heads of one tenant. Empty fields match everything.
type Filter struct {
	Tenant string
	States []State
	// Author: the acting principal or the person it acted for has one of these
	// ids.
	Author []string
	// UpdatedSince: UpdatedAt is not before this.
	UpdatedSince time.Time
	// Before is the ID of the last head of the page before.
	Before string
	Limit  int // at least 1
}

// A Row is one of the record types that Tx.Write takes.
type Row interface{ row() }

func (*Revision) row()          {}
func (*Decision) row()          {}
func (*Attempt) row()           {}
func (*IdempotencyRecord) row() {}
func (*OutboxMessage) row()     {}
func (*Control) row()           {}
func (*Use) row()               {}
