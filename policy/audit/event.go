// Package audit keeps what was decided and done: events, written in the same
// store transaction as what they tell of, and sealed into a chain of hashes
// afterwards.
//
// It must not know proposals, GraphQL, connectors or how a store works.
package audit

import (
	"encoding/json"
	"time"
)

// An Event is one thing that was decided or done. It is plain data and, once
// written, never changed.
type Event struct {
	Tenant string `json:"tenant"`
	// At is the store's clock in the transaction that wrote it, UTC.
	At time.Time `json:"at"`
	// Actor is the chain of who did it, the acting principal first, then whom
	// it acted for: principal ids. The system itself is "system", a rule
	// "policy:NAME@VERSION".
	Actor []string `json:"actor"`
	// Action is a word of the acting package: "proposal.approve", "user.add".
	Action string `json:"action"`
	// Subject is what it was done to: "proposal:HANDLE", "agent:NAME".
	Subject string `json:"subject"`
	// From and To are the states before and after, where there are any.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// PolicyVersion is the policy that permitted it.
	PolicyVersion string `json:"policyVersion,omitempty"`
	TraceID       string `json:"traceId,omitempty"`
	// Payload is one JSON object, without secrets. It is stored apart from the
	// chain, so that erasing it breaks nothing.
	Payload json.RawMessage `json:"payload,omitempty"`
}
