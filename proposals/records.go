package proposals

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/countersign/countersign/policy"
)

// Records are append-only, but for the head row (Proposal), an attempt's state,
// an idempotency record's answer and the outbox's counters. All are plain data
// that JSON keeps whole. Times are UTC, with microseconds; the zero time means
// none.

// State is where a proposal stands.
type State string

// The states. None is the state before the first transition.
const (
	None             State = ""
	Pending          State = "PENDING"
	ChangesRequested State = "CHANGES_REQUESTED"
	Approved         State = "APPROVED"
	Executing        State = "EXECUTING"
	OutcomeUnknown   State = "OUTCOME_UNKNOWN"
	Partial          State = "PARTIAL"
	Executed         State = "EXECUTED"
	Failed           State = "FAILED"
	SettledPartial   State = "SETTLED_PARTIAL"
	Rejected         State = "REJECTED"
	Withdrawn        State = "WITHDRAWN"
	Expired          State = "EXPIRED"
	Invalidated      State = "INVALIDATED"
)

// States lists every state but None, in the order of the reference.
func States() []State {
	return []State{Pending, ChangesRequested, Approved, Executing, OutcomeUnknown, Partial, Executed, Failed,
		SettledPartial, Rejected, Withdrawn, Expired, Invalidated}
}

// Open tells whether an equal proposal made now would be a duplicate of it.
func (s State) Open() bool {
	switch s {
	case Pending, ChangesRequested, Approved, Executing, OutcomeUnknown, Partial:
		return true
	}
	return false
}

// Terminal states have no way out.
func (s State) Terminal() bool { return s != None && !s.Open() }

// EffectMayExist tells whether something may have been done upstream.
func (s State) EffectMayExist() bool {
	switch s {
	case Executing, OutcomeUnknown, Partial, Executed, SettledPartial:
		return true
	}
	return false
}

// An Author is the chain of who asked, as verified then. Rights are never read
// from it: they are looked up again by these ids.
type Author struct {
	Principal string               `json:"principal"` // "agent:triage", "user:…"
	Kind      policy.PrincipalKind `json:"kind"`
	Name      string               `json:"name,omitempty"`
	// Credential names the credential used, never its secret.
	Credential string `json:"credential,omitempty"`
	// Via are the agents between it and that person, the nearest first, where
	// one agent handed on to another.
	Via []Link `json:"via,omitempty"`
	// For is the person an agent acts for.
	For     string `json:"for,omitempty"`
	ForName string `json:"forName,omitempty"`
	// Owner answers for the agent or service; Lender owns the credential where
	// that is somebody else.
	Owner  string `json:"owner,omitempty"`
	Lender string `json:"lender,omitempty"`
}

// behind are the ids of the chain behind the principal, the person last.
func (a Author) behind() []string {
	var out []string
	for _, l := range a.Via {
		out = append(out, l.ID)
	}
	if a.For != "" {
		out = append(out, a.For)
	}
	return out
}

// A Link is an agent of a chain, and who answers for it.
type Link struct {
	ID    string `json:"id"`
	Owner string `json:"owner,omitempty"`
}

// acts tells whether somebody is one of those who act: the principal or an agent
// behind it.
func (a Author) acts(id string) bool {
	return a.Principal == id || slices.ContainsFunc(a.Via, func(l Link) bool { return l.ID == id })
}

// Persons are everybody whom the chain closes over: none of them decides on
// what it asked for, but in a confirm seat. Without duplicates, sorted.
func (a Author) Persons() []string {
	var out []string
	all := []string{a.Principal, a.For, a.Owner, a.Lender}
	for _, l := range a.Via {
		all = append(all, l.ID, l.Owner)
	}
	for _, id := range all {
		if id != "" && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// A Seat must be filled by Count distinct persons.
type Seat struct {
	// Role that a person must hold, also by inheritance.
	Role string `json:"role,omitempty"`
	// Confirm: the person the author acts for may fill it, while that person's
	// own view allows every change. With a Role beside it, a holder of the role
	// may fill it instead.
	Confirm bool `json:"confirm,omitempty"`
	Count   int  `json:"count"`
}

// A Requirement is what must be met for a proposal to be approved: a matching
// of distinct persons to every seat. Without seats it is never met by people.
type Requirement struct {
	Seats []Seat `json:"seats,omitempty"`
	// Veto is how many rejections reject; 0 means 1.
	Veto int `json:"veto,omitempty"`
}

// A Proposal is the head row.
type Proposal struct {
	Tenant string `json:"tenant"`
	// ID is a UUIDv7 and never leaves the house. Handle is public: 128 random
	// bits that say nothing and enable nothing.
	ID     string `json:"id"`
	Handle string `json:"handle"`
	State  State  `json:"state"`
	// Version is compared and swapped; it starts at 1 and strictly grows.
	Version  int64  `json:"version"`
	Revision int    `json:"revision"`
	Author   Author `json:"author"`
	// DedupeKey is equal for equal change sets of the same author chain.
	DedupeKey string `json:"dedupeKey"`
	// Deliberate: made on purpose beside an equal open one, with an idempotency
	// key of its own. All other open proposals of a tenant have distinct dedupe
	// keys.
	Deliberate bool      `json:"deliberate,omitempty"`
	CreatedAt  time.Time `json:"createdAt"`
	UpdatedAt  time.Time `json:"updatedAt"` // of the last transition
	ExpiresAt  time.Time `json:"expiresAt"`
	// NotBefore and ExecDeadline bound the dispatch.
	NotBefore    time.Time `json:"notBefore,omitzero"`
	ExecDeadline time.Time `json:"execDeadline,omitzero"`
	// WakeAt is when somebody has to look at it again without being asked:
	// PENDING and CHANGES_REQUESTED when they expire, APPROVED when it may be
	// claimed, EXECUTING when its lease ends. Zero: never (terminal, unknown).
	WakeAt time.Time `json:"wakeAt,omitzero"`
	// Rule routed it: "refund-small", or "" for the defaults.
	Rule        string      `json:"rule,omitempty"`
	Requirement Requirement `json:"requirement"`
	// Epoch counts claims; whoever holds an older one has lost it.
	Epoch int64 `json:"epoch"`
	// ReasonCode says why it is where it is, in a word ("policy", "stale",
	// "killed", "lost_lease", …); Say is the sentence for people.
	ReasonCode string `json:"reasonCode,omitempty"`
	Say        string `json:"say,omitempty"`
	// PolicyVersion is the policy of the last transition.
	PolicyVersion string `json:"policyVersion,omitempty"`
	// Amounts are reserved while it is open, and used once it was executed.
	// AmountToday is what its principal's amounts came to when it was made, with
	// it, in millionths by currency.
	Amounts     []policy.Money   `json:"amounts,omitempty"`
	AmountToday map[string]int64 `json:"amountToday,omitempty"`
	// Counted: it is in its principal's Use.
	Counted bool `json:"counted,omitempty"`
	// Compensates is the handle of the proposal that this one undoes.
	Compensates string `json:"compensates,omitempty"`
}

// A Revision is one content of a proposal; it is never changed. Document,
// Variables, Changes and Review hold data of the sources: a store keeps them
// encrypted where it has a key.
type Revision struct {
	Tenant   string `json:"tenant"`
	Proposal string `json:"proposal"` // ID
	Number   int    `json:"number"`   // from 1
	// Author is the person (or agent) who made this revision.
	Author string    `json:"author"`
	At     time.Time `json:"at"`
	// Document and Variables are the operation as asked, for people.
	Operation string          `json:"operation,omitempty"` // its name
	Document  string          `json:"document"`
	Variables json.RawMessage `json:"variables,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	// Set is what runs: the changes with targets and preconditions.
	Set ChangeSet `json:"set"`
	// Review is the frozen review document, JSON of a Review.
	Review json.RawMessage `json:"review"`
	// Encoding is the version of the canonical form.
	Encoding int `json:"encoding"`
	// KeyID names the key that sensitive values entered the hash with.
	KeyID       string   `json:"keyId,omitempty"`
	ContentHash string   `json:"contentHash"` // hex
	ReviewHash  string   `json:"reviewHash"`  // hex
	Evidence    []string `json:"evidence,omitempty"`
}

// DecisionKind is what a reviewer says.
type DecisionKind string

// The kinds of decision.
const (
	DecideApprove        DecisionKind = "approve"
	DecideReject         DecisionKind = "reject"
	DecideRequestChanges DecisionKind = "requestChanges"
	DecideRetract        DecisionKind = "retract"
	DecideBreakGlass     DecisionKind = "breakGlass"
)

// A Decision of a person on a revision. A person's latest on a revision counts.
type Decision struct {
	Tenant   string `json:"tenant"`
	Proposal string `json:"proposal"` // ID
	// Number orders the decisions of a proposal, from 1.
	Number int `json:"number"`
	// Person is a principal id, or "policy:RULE@VERSION".
	Person        string       `json:"person"`
	Name          string       `json:"name,omitempty"`
	Credential    string       `json:"credential,omitempty"`
	Kind          DecisionKind `json:"kind"`
	Revision      int          `json:"revision"`
	ContentHash   string       `json:"contentHash"`
	ReviewHash    string       `json:"reviewHash,omitempty"`
	Roles         []string     `json:"roles,omitempty"`
	Interactive   bool         `json:"interactive,omitempty"`
	PolicyVersion string       `json:"policyVersion,omitempty"`
	SignedInAt    time.Time    `json:"signedInAt,omitzero"`
	Comment       string       `json:"comment,omitempty"`
	At            time.Time    `json:"at"`
}

// AttemptState is how far an attempt came.
type AttemptState string

// The states of an attempt.
const (
	Prepared    AttemptState = "PREPARED"    // provably not sent
	Dispatching AttemptState = "DISPATCHING" // may have been sent
	Settled     AttemptState = "SETTLED"
)

// Settlement is what an attempt came to.
type Settlement string

// What an attempt can come to.
const (
	Applied          Settlement = "applied"
	NotApplied       Settlement = "notApplied"
	UnknownOutcome   Settlement = "unknown"
	NeverDispatched  Settlement = "neverDispatched"
	SupersededByNext Settlement = "superseded" // its lease was lost, a later epoch took over
)

// An Attempt to run one change of a proposal.
type Attempt struct {
	Tenant   string `json:"tenant"`
	Proposal string `json:"proposal"` // ID
	Change   int    `json:"change"`   // index into ChangeSet.Changes
	Number   int    `json:"number"`   // from 1, per proposal and change
	Epoch    int64  `json:"epoch"`
	// State is one of the few things that are updated; key: tenant, proposal,
	// change, number.
	State AttemptState `json:"state"`
	// Void: the attempt only writes the marker that proves that the change did
	// not and will not run (class transactional).
	Void           bool      `json:"void,omitempty"`
	IdempotencyKey string    `json:"idempotencyKey,omitempty"`
	RequestDigest  string    `json:"requestDigest"` // hex, of the change as sent
	Executor       string    `json:"executor"`
	LeaseUntil     time.Time `json:"leaseUntil"`
	PreparedAt     time.Time `json:"preparedAt"`
	DispatchedAt   time.Time `json:"dispatchedAt,omitzero"`
	// KeyUntil is when the system forgets the idempotency key; zero: never.
	KeyUntil  time.Time  `json:"keyUntil,omitzero"`
	SettledAt time.Time  `json:"settledAt,omitzero"`
	SettledAs Settlement `json:"settledAs,omitempty"`
	// Response is the effect that came back, JSON of a connectors.Effect; its
	// digest is kept when the response is erased.
	Response       json.RawMessage `json:"response,omitempty"`
	ResponseDigest string          `json:"responseDigest,omitempty"`
	ErrorCode      string          `json:"errorCode,omitempty"`
	Evidence       string          `json:"evidence,omitempty"`
}

// IdempotencyState tells whether the answer is there.
type IdempotencyState string

// The states of an idempotency record.
const (
	IdempotencyOpen IdempotencyState = "OPEN"
	IdempotencyDone IdempotencyState = "DONE"
)

// An IdempotencyRecord ties a client's key to what it made. Key: tenant,
// principal, key.
type IdempotencyRecord struct {
	Tenant    string           `json:"tenant"`
	Principal string           `json:"principal"` // the acting one
	Key       string           `json:"key"`
	Digest    string           `json:"digest"` // of the request, hex
	State     IdempotencyState `json:"state"`
	// Proposal is the handle of what it made; else Answer is the stored answer
	// of a direct write.
	Proposal string          `json:"proposal,omitempty"`
	Answer   json.RawMessage `json:"answer,omitempty"`
	// Run names the direct write to the systems that it is done in, whenever it
	// is begun again: their markers and idempotency keys come from it. Unguessable,
	// and another when the key is used again after it expired.
	Run       string    `json:"run,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// An OutboxMessage is to be delivered at least once, to people or systems. It
// carries ids, never content or authority.
type OutboxMessage struct {
	Tenant   string          `json:"tenant"`
	ID       string          `json:"id"` // UUIDv7
	Topic    string          `json:"topic"`
	Payload  json.RawMessage `json:"payload"`
	Attempts int             `json:"attempts"`
	NextTry  time.Time       `json:"nextTry"`
	At       time.Time       `json:"at"`
}

// A KillSwitch stops writes. The zero scope fields cover everything of the
// tenant; a set one narrows.
type KillSwitch struct {
	Source string    `json:"source,omitempty"`
	Agent  string    `json:"agent,omitempty"` // principal id
	Say    string    `json:"say,omitempty"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	// Suspension: it is there because the agent is suspended, and goes with that.
	Suspension bool `json:"suspension,omitempty"`
}

// Control is the row of a tenant that decisions rest on. A transaction compares
// Version with the one that the decision was computed with.
type Control struct {
	Tenant string `json:"tenant"`
	// Version grows with each change of anything here.
	Version       int64        `json:"version"`
	PolicyVersion string       `json:"policyVersion"`
	KillSwitches  []KillSwitch `json:"killSwitches,omitempty"`
	// Incarnation is compared with the number kept beside the data: a store
	// restored from an older backup shows.
	Incarnation int64 `json:"incarnation"`
}

// Killed is the first switch that covers a write of this author to this
// source; nil where none does.
func (c *Control) Killed(a Author, source string) *KillSwitch {
	for i := range c.KillSwitches {
		k := &c.KillSwitches[i]
		if (k.Source == "" || k.Source == source) && (k.Agent == "" || a.acts(k.Agent)) {
			return k
		}
	}
	return nil
}

// A Dossier is a proposal with all its rows, in the order of their numbers.
type Dossier struct {
	Proposal  Proposal    `json:"proposal"`
	Revisions []*Revision `json:"revisions"`
	Decisions []*Decision `json:"decisions,omitempty"`
	Attempts  []*Attempt  `json:"attempts,omitempty"`
}

// Current is the revision in force; nil in an empty dossier.
func (d *Dossier) Current() *Revision {
	for _, r := range d.Revisions {
		if r.Number == d.Proposal.Revision {
			return r
		}
	}
	return nil
}

// Authors are all persons and agents behind any revision, sorted.
func (d *Dossier) Authors() []string {
	out := d.Proposal.Author.Persons()
	for _, r := range d.Revisions {
		if r.Author != "" && !slices.Contains(out, r.Author) {
			out = append(out, r.Author)
		}
	}
	slices.Sort(out)
	return out
}
