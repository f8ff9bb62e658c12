// Package audit says what was decided and done: the Event, the chain that
// sealed events form, the Sealer that extends it and Verify that proves it.
//
// An event is stored in the transaction of the change it tells of, without a
// place in the chain: a chain inside the transaction would serialise every
// write. A sealer gives events their sequence and hash afterwards, in commit
// order and in batches, at most about a second behind.
//
// What the chain proves: no sealed event was changed, removed, moved or put in
// afterwards, as long as the attacker did not compute the whole chain anew from
// there on and also replaced every head kept elsewhere. Checkpoints are heads
// that are signed: who has not the key cannot make another chain with them, and
// a copy kept elsewhere finds a chain that was cut below it. It proves nothing of
// events that are not sealed yet; Verify counts those.
//
// It must not know databases, proposals, GraphQL or HTTP.
package audit

import (
	"encoding/json"
	"time"

	"github.com/countersign/countersign/policy"
)

// An Event is one thing that happened. Whoever appends it fills everything but
// At, which is the store's clock.
type Event struct {
	// ID is unique over all tenants; the store makes one (UUIDv7) where it is
	// empty.
	ID     string `json:"id"`
	Tenant string `json:"tenant"`
	// At is the time of the transaction by the store's clock, in microseconds.
	At time.Time `json:"at"`
	// Kind is a dotted name: proposal.approved, identity.signedIn.
	Kind string `json:"kind"`
	// Subject is what it is about: a proposal's id, a principal's id.
	Subject string `json:"subject"`
	// From and To are the states of the subject before and after; empty where
	// there are none.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Actors is the chain of who did it, the acting one first. Empty: the
	// system itself.
	Actors        []Actor `json:"actors,omitempty"`
	PolicyVersion string  `json:"policyVersion,omitempty"`
	TraceID       string  `json:"traceId,omitempty"`
	// Payload is a JSON object with what else there is to know; nil for
	// nothing. It is chained by a salted digest only, so that it can be erased.
	// Secrets never stand in it.
	Payload json.RawMessage `json:"payload,omitempty"`
}

// An Actor is one of a chain of principals, without anything secret.
type Actor struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	// Credential names the credential that was used; may be empty.
	Credential string `json:"credential,omitempty"`
}

// ActorsOf is the chain of a principal as actors; nil for nil.
func ActorsOf(p *policy.Principal) []Actor {
	var out []Actor
	for _, q := range p.Chain() {
		out = append(out, Actor{ID: q.ID, Kind: string(q.Kind), Credential: q.CredentialID})
	}
	return out
}

// KindErased is the kind of the event that tells of the erasure of another
// event's payload. Its Subject is the id of that event. A payload that is gone
// without such an event is a wrong one.
const KindErased = "audit.erased"

// KindPruned is the kind of the event that tells that the events up to one were
// removed because they are older than is kept. Its payload is the Head there,
// which is also a checkpoint. A chain that begins later without such an event is
// a wrong one.
const KindPruned = "audit.pruned"
