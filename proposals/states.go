package proposals

import (
	"slices"
	"sync"
)

// EventKind is what can happen to a proposal.
type EventKind string

// The events, one for each row of the transition table.
const (
	EventPropose        EventKind = "propose"
	EventAutoApprove    EventKind = "autoApprove"
	EventAutoReject     EventKind = "autoReject"
	EventApprove        EventKind = "approve"
	EventReject         EventKind = "reject"
	EventRequestChanges EventKind = "requestChanges"
	EventRevise         EventKind = "revise"
	EventRetract        EventKind = "retract"
	EventWithdraw       EventKind = "withdraw"
	EventExpire         EventKind = "expire"
	EventInvalidate     EventKind = "invalidate"
	EventClaim          EventKind = "claim"
	EventDispatch       EventKind = "dispatch"
	EventApplied        EventKind = "applied"
	EventNotApplied     EventKind = "notApplied"
	EventGiveUp         EventKind = "giveUp"
	EventRetry          EventKind = "retry"
	EventAmbiguous      EventKind = "ambiguous"
	EventRestored       EventKind = "restored"
	EventReclaim        EventKind = "reclaim"
	EventReconcile      EventKind = "reconcile"
	EventForceRetry     EventKind = "forceRetry"
	EventPartial        EventKind = "partial"
	EventSettlePartial  EventKind = "settlePartial"
	EventBreakGlass     EventKind = "breakGlass"
)

// A Transition is a row of the table: an event, the states it is possible in,
// and those it can lead to.
type Transition struct {
	ID    string // the table's number; two rows may share an event
	Event EventKind
	From  []State
	To    []State
	Who   string
	// Guards in words; Next holds them in code.
	Guards string
	// Audit is the kind of the audit event.
	Audit string
	// Topic of the notice that goes out; "" for none.
	Topic string
	// Served: the Service offers it. The others are refused with
	// CodeUnsupported and reachable by Next only.
	Served bool
}

// Transitions is the whole table. The caller owns the slice.
func Transitions() []Transition {
	unclaimed := []State{Pending, ChangesRequested, Approved}
	return []Transition{
		{"T1", EventPropose, []State{None}, []State{Pending}, "any principal but anonymous",
			"no kill switch; policy of the author chain says propose, or allow and the caller asked to propose; the effect itself is permitted; somebody eligible and distinct can satisfy the requirement; no equal open proposal",
			"proposal.proposed", "proposed", true},
		{"T1a", EventAutoApprove, []State{None}, []State{Approved}, "rule",
			"as T1; the decision is recorded as policy:RULE@VERSION", "proposal.autoApproved", "decided", true},
		{"T1b", EventAutoReject, []State{None}, []State{Rejected}, "rule", "the reason is shown", "proposal.autoRejected", "decided", true},
		{"T2, T3", EventApprove, []State{Pending}, []State{Pending, Approved}, "reviewer",
			"R1 to R9; APPROVED when distinct persons fill every seat of the requirement", "proposal.approved", "decided", true},
		{"T4", EventReject, []State{Pending}, []State{Pending, Rejected}, "reviewer",
			"R1 to R6, without the review hash; PENDING only while there are fewer rejections than the veto asks", "proposal.rejected", "decided", true},
		{"T5", EventRequestChanges, []State{Pending}, []State{ChangesRequested}, "reviewer",
			"R1 to R6, without the review hash", "proposal.changesRequested", "decided", false},
		{"T6", EventRevise, unclaimed, []State{Pending}, "author, or a reviewer where the rule lets them",
			"unclaimed; all of T1 again; old decisions are void; the editor joins the authors", "proposal.revised", "proposed", false},
		{"T7", EventRetract, []State{Pending, Approved}, []State{Pending}, "that approver",
			"unclaimed; the vote is there", "proposal.retracted", "decided", false},
		{"T8", EventWithdraw, unclaimed, []State{Withdrawn}, "author side, admin", "unclaimed", "proposal.withdrawn", "decided", true},
		{"T9", EventExpire, unclaimed, []State{Expired}, "clock of the store",
			"the deadline is over; it is also a guard of T3 and T11", "proposal.expired", "expired", true},
		{"T10", EventInvalidate, unclaimed, []State{Invalidated}, "system",
			"a reason: stale, policy, schema, revoked, killed", "proposal.invalidated", "failed", true},
		{"T11", EventClaim, []State{Approved}, []State{Executing}, "executor",
			"version, content hash, not before, deadline; fresh policy; the requirement is met again with the approvers' current roles; no kill switch; epoch + 1; attempt PREPARED",
			"proposal.claimed", "", true},
		{"T12", EventDispatch, []State{Executing}, []State{Executing}, "executor of the epoch",
			"attempt PREPARED, becomes DISPATCHING before the first byte leaves; lease, deadline and kill switches", "proposal.dispatched", "", true},
		{"T13", EventApplied, []State{Executing}, []State{Executed}, "executor, reconciler",
			"epoch; evidence proves it", "proposal.executed", "executed", true},
		{"T14", EventNotApplied, []State{Executing}, []State{Failed, Invalidated}, "executor",
			"epoch; evidence proves it, for every dispatch; INVALIDATED when stale", "proposal.failed", "failed", true},
		{"T14a", EventGiveUp, []State{Executing}, []State{Expired, Invalidated}, "executor",
			"never dispatched (class transactional: or after a committed void)", "proposal.gaveUp", "failed", true},
		{"T15", EventRetry, []State{Executing}, []State{Executing}, "executor",
			"the class allows it, or the dispatch is proven not processed; same key, same bytes; inside the key's retention", "proposal.retried", "", true},
		{"T16", EventAmbiguous, []State{Executing}, []State{OutcomeUnknown}, "executor, reaper",
			"an unsettled dispatch; the executor of the epoch, or the lease and the longest request are over", "proposal.unknown", "unknown", true},
		{"T16a", EventRestored, []State{Approved, Executing}, []State{OutcomeUnknown}, "system, over a store that was restored from an older backup",
			"the class cannot find out by doing it again (not transactional; idempotent: the key is forgotten)", "proposal.restored", "unknown", true},
		{"T17", EventReclaim, []State{Executing}, []State{Executing}, "executor",
			"lease over; never dispatched, or the class resolves it (transactional; idempotent inside its retention); new epoch", "proposal.reclaimed", "", true},
		{"T18", EventReconcile, []State{OutcomeUnknown}, []State{Executed, Failed}, "probe, or a named human who is no author",
			"written evidence", "proposal.reconciled", "decided", true},
		{"T19", EventForceRetry, []State{OutcomeUnknown}, []State{Executing}, "named human",
			"acknowledges that it may be done twice", "proposal.forcedRetry", "", false},
		{"T20", EventPartial, []State{Executing, OutcomeUnknown}, []State{Partial}, "executor",
			"several sources; one change is applied and one is proven not", "proposal.partial", "failed", false},
		{"T20a", EventSettlePartial, []State{Partial}, []State{SettledPartial}, "named human, or the linked compensations",
			"written evidence", "proposal.partialSettled", "decided", false},
		{"T21", EventBreakGlass, []State{Pending}, []State{Approved}, "human with breakGlass, never an agent or author",
			"reason, recent sign-in", "proposal.brokenGlass", "decided", false},
	}
}

// rows is the table by event. It is made once and never changed.
var rows = sync.OnceValue(func() map[EventKind]Transition {
	out := map[EventKind]Transition{}
	for _, t := range Transitions() {
		out[t.Event] = t
	}
	return out
})

// transitionOf is the row of an event; ok is false for an event that is none.
func transitionOf(kind EventKind) (Transition, bool) {
	t, ok := rows()[kind]
	return t, ok
}

// possible tells whether the table has the event in this state.
func (t Transition) possible(from State) bool { return slices.Contains(t.From, from) }
