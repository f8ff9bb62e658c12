// Package budget counts what principals use: requests, cost, calls of sources,
// records read and written, in windows of the store's clock. What is counted per
// request is leased from the store in slices, so that a read writes nothing:
// nodes that share a store share the budgets.
//
// A slice is a twentieth of what is left or a second's worth, whichever is more,
// and at least what the operation needs. What a node has leased and does not use
// before the window ends is lost to the others: they may refuse that much early.
// Requests, estimated cost and records written are taken before the operation
// runs, so that no interleaving exceeds them. Calls and records read are known
// afterwards only: the operations under way when the budget ends may exceed it,
// each by what its own limits let it read.
//
// It must not know HTTP, GraphQL, configuration files or how the store keeps
// anything.
package budget

import (
	"context"
	"time"
)

// What is counted.
type What string

// What a budget can be of.
const (
	Requests      What = "requests"
	Cost          What = "cost"
	UpstreamCalls What = "upstreamCalls"
	RowsRead      What = "rowsRead"
	RowsWritten   What = "rowsWritten"
)

// Everything lists what a budget can be of, in the order they are told in.
func Everything() []What { return []What{Requests, Cost, UpstreamCalls, RowsRead, RowsWritten} }

// A Rule is one budget: at most Limit in each window of Per. Windows begin at
// multiples of Per since 1970 in UTC: a day is that of UTC.
type Rule struct {
	What  What
	Limit int64
	Per   time.Duration
}

// Rate is how much it is in a second, for comparing rules of different windows.
func (r Rule) Rate() float64 { return float64(r.Limit) / r.Per.Seconds() }

// A Holder is somebody whose use is counted, and the rules that hold.
type Holder struct {
	Tenant    string
	Principal string
	Rules     []Rule
}

// Larger joins the rules of two roles: of each kind the one that gives more.
func Larger(a, b []Rule) []Rule {
	out := append([]Rule(nil), a...)
	for _, r := range b {
		found := false
		for i := range out {
			if out[i].What == r.What {
				found = true
				if r.Rate() > out[i].Rate() {
					out[i] = r
				}
			}
		}
		if !found {
			out = append(out, r)
		}
	}
	return out
}

// Both joins rules that hold beside each other: of one kind and window the
// smaller, different windows side by side.
func Both(a, b []Rule) []Rule {
	out := append([]Rule(nil), a...)
	for _, r := range b {
		found := false
		for i := range out {
			if out[i].What == r.What && out[i].Per == r.Per {
				found = true
				out[i].Limit = min(out[i].Limit, r.Limit)
			}
		}
		if !found {
			out = append(out, r)
		}
	}
	return out
}

// A Key names one counter.
type Key struct {
	Tenant    string
	Principal string
	What      What
	Per       time.Duration
}

// A Window is what the store knows of a counter.
type Window struct {
	// Used in the window that the store's clock is in, leases included.
	Used int64
	// Left of the window.
	Left time.Duration
}

// A Store keeps the counters of all nodes. Errors are *connectors.Error.
// Methods may be called concurrently.
type Store interface {
	// LeaseBudget adds to a counter, in one transaction: fn is told what is used
	// of the window that the store's clock is in, and answers how much more is.
	// It is called once. The window is told as it is afterwards.
	LeaseBudget(ctx context.Context, key Key, fn func(used int64) (add int64)) (Window, error)
	// Budget reads a counter.
	Budget(ctx context.Context, key Key) (Window, error)
}

// An Amount is how much of each kind something takes.
type Amount struct {
	Cost, Calls, Read, Written int64
}

// of is the part of one kind.
func (a Amount) of(w What) int64 {
	switch w {
	case Cost:
		return a.Cost
	case UpstreamCalls:
		return a.Calls
	case RowsRead:
		return a.Read
	case RowsWritten:
		return a.Written
	}
	return 0
}

// A Use is how a budget stands.
type Use struct {
	Rule
	Principal string
	// Used, and leased by other nodes, in the window under way.
	Used int64
	// Ends is how long the window still is.
	Ends time.Duration
}
