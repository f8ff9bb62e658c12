package proposals

import (
	"encoding/json"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
)

// Next is the whole state machine as one pure function: given a dossier as it
// stands, an event, the store's time and what policy says now, it answers the
// state the proposal is in afterwards, the records to write in one transaction,
// and what to do after it committed. It changes nothing it is given.
//
// A refusal is a *connectors.Error; nothing is to be written then. The events
// are applied one at a time: records carry the version they rest on.
func Next(d *Dossier, e Event, now time.Time, v View) (State, Records, []Command, error) {
	t, ok := transitionOf(e.Kind)
	if !ok {
		return "", Records{}, nil, connectors.Errorf(connectors.CodeInternal, "no such event")
	}
	n := &step{d: d, e: e, now: now, v: v, head: d.Proposal, t: t}
	if err := n.reachable(); err != nil {
		return "", Records{}, nil, err
	}
	if err := n.apply(); err != nil {
		return "", Records{}, nil, err
	}
	return n.head.State, n.records(), n.commands(), nil
}

// A step is one application of Next: what it was given and what it makes.
type step struct {
	d    *Dossier
	e    Event
	now  time.Time
	v    View
	t    Transition
	head Proposal // becomes the new head
	rows []Row
	wake bool
	send bool
}

func (n *step) apply() error {
	switch n.e.Kind {
	case EventPropose, EventAutoApprove, EventAutoReject:
		return n.propose()
	case EventApprove:
		return n.approve()
	case EventReject, EventRequestChanges:
		return n.refuse()
	case EventRevise:
		return n.revise()
	case EventRetract:
		return n.retract()
	case EventBreakGlass:
		return n.breakGlass()
	case EventWithdraw:
		return n.withdraw()
	case EventExpire:
		return n.expire()
	case EventInvalidate:
		return n.invalidate()
	case EventClaim:
		return n.claim()
	case EventReclaim:
		return n.reclaim()
	case EventDispatch:
		return n.dispatch()
	case EventRetry:
		return n.retry()
	case EventApplied:
		return n.applied()
	case EventNotApplied:
		return n.notApplied()
	case EventGiveUp:
		return n.giveUp()
	case EventAmbiguous:
		return n.ambiguous()
	case EventRestored:
		return n.restored()
	case EventReconcile:
		return n.reconcile()
	case EventForceRetry:
		return n.forceRetry()
	case EventPartial:
		return n.partial()
	}
	return n.settlePartial()
}

// reachable refuses what the table does not have from here.
func (n *step) reachable() error {
	if n.t.possible(n.d.Proposal.State) {
		return nil
	}
	from := n.d.Proposal.State
	if from == None {
		return refusal(connectors.CodeNotFound, "there is no such proposal")
	}
	return refusal(connectors.CodeWrongState, "the proposal is %s; that does not allow this", from)
}

func refusal(code connectors.Code, format string, args ...any) error {
	return connectors.Errorf(code, format, args...)
}

// to moves the head. wakeAt zero: nobody needs to look by themselves.
func (n *step) to(s State, wakeAt time.Time) {
	n.head.State, n.head.WakeAt = s, wakeAt
}

// because says why the proposal is where it is.
func (n *step) because(reason, say string) { n.head.ReasonCode, n.head.Say = reason, say }

func (n *step) records() Records {
	h := n.head
	was := n.d.Proposal.Version
	h.Version = was + 1
	h.UpdatedAt = n.now
	if n.v.PolicyVersion != "" {
		h.PolicyVersion = n.v.PolicyVersion
	}
	return Records{Head: h, Was: was, Rows: n.rows, Audit: n.event(&h)}
}

// event is the one audit event of the transition. It holds no value of the
// change: those are in the revision, under its hash.
func (n *step) event(h *Proposal) audit.Event {
	type told struct {
		Transition  string          `json:"transition"`
		Revision    int             `json:"revision"`
		ContentHash string          `json:"contentHash,omitempty"`
		ReviewHash  string          `json:"reviewHash,omitempty"`
		Rule        string          `json:"rule,omitempty"`
		Comment     string          `json:"comment,omitempty"`
		Reason      string          `json:"reason,omitempty"`
		Say         string          `json:"say,omitempty"`
		Epoch       int64           `json:"epoch,omitempty"`
		Executor    string          `json:"executor,omitempty"`
		Settled     Settlement      `json:"settled,omitempty"`
		Evidence    string          `json:"evidence,omitempty"`
		ErrorCode   connectors.Code `json:"errorCode,omitempty"`
		Void        bool            `json:"void,omitempty"`
	}
	x := told{Transition: n.t.ID, Revision: h.Revision, Rule: h.Rule, Comment: n.e.Comment, Reason: h.ReasonCode, Say: n.e.Say,
		Epoch: h.Epoch, Executor: n.e.Executor, Settled: n.e.SettledAs, Evidence: n.e.Evidence, ErrorCode: n.e.ErrorCode}
	rev := n.d.Current()
	for _, r := range n.rows {
		switch r := r.(type) {
		case *Revision:
			rev = r
		case *Attempt:
			x.Void = r.Void
		}
	}
	if rev != nil {
		x.ContentHash, x.ReviewHash = rev.ContentHash, rev.ReviewHash
	}
	raw, err := json.Marshal(x)
	if err != nil {
		// told is strings and numbers; encoding it cannot fail.
		raw = nil
	}
	actors := n.e.Actor.Chain
	if len(actors) == 0 && n.e.Actor.ID != "" {
		actors = []audit.Actor{{ID: n.e.Actor.ID, Kind: string(n.e.Actor.Kind), Credential: n.e.Actor.Credential}}
	}
	return audit.Event{Tenant: h.Tenant, At: n.now, Kind: n.t.Audit, Subject: h.Handle, From: string(n.d.Proposal.State),
		To: string(h.State), Actors: actors, PolicyVersion: h.PolicyVersion, TraceID: n.e.TraceID, Payload: raw}
}

func (n *step) commands() []Command {
	var out []Command
	if n.t.Topic != "" {
		out = append(out, Command{Kind: CommandNotify, Topic: n.t.Topic})
	}
	if n.wake {
		out = append(out, Command{Kind: CommandWake})
	}
	if n.send {
		out = append(out, Command{Kind: CommandDispatch})
	}
	return out
}

// admit are the guards of T1, asked again at T6.
func (n *step) admit(head *Proposal) error {
	switch {
	case n.e.New == nil || n.e.New.Revision.ContentHash == "" || n.e.New.Revision.ReviewHash == "":
		return refusal(connectors.CodeInternal, "a proposal without content")
	case head.Author.Principal == "" || head.Author.Kind == policy.Anonymous || head.Author.Kind == "":
		return refusal(connectors.CodeUnauthenticated, "nobody can propose anonymously")
	case n.v.Killed != "":
		return refusal(connectors.CodeSuspended, "writes are stopped: %s", n.v.Killed)
	case !n.v.Authorised:
		return refusal(connectors.CodeForbidden, "this may not be proposed")
	case !head.ExpiresAt.After(n.now):
		return refusal(connectors.CodeBadInput, "expiresAt is over already")
	case !head.ExecDeadline.After(n.now) || !head.ExecDeadline.After(head.NotBefore):
		return refusal(connectors.CodeBadInput, "it could never run between notBefore and its deadline")
	}
	return nil
}

func (n *step) propose() error {
	if n.e.New == nil {
		return refusal(connectors.CodeInternal, "a proposal without content")
	}
	h := n.e.New.Head
	if err := n.admit(&h); err != nil {
		return err
	}
	h.Version, h.Revision, h.Epoch = 0, 1, 0
	h.CreatedAt, h.Requirement = n.now, n.v.Requirement
	h.ReasonCode, h.Say = "", ""
	n.head = h
	rev := n.e.New.Revision
	rev.Number, rev.At = 1, n.now
	n.rows = append(n.rows, &rev)
	switch n.e.Kind {
	case EventAutoReject:
		n.to(Rejected, time.Time{})
		n.because("rule", n.e.Say)
	case EventAutoApprove:
		if n.v.AutoApprove == "" || !n.e.New.Complete {
			return refusal(connectors.CodeForbidden, "no rule approves this by itself")
		}
		n.decide(&Decision{Person: policyPerson(n.v.AutoApprove, n.v.PolicyVersion), Kind: DecideApprove}, &rev)
		n.approvedNow()
	default:
		if !n.v.Eligible {
			return refusal(connectors.CodeNoEligibleReviewer, "nobody who could approve this exists")
		}
		n.to(Pending, h.ExpiresAt)
	}
	return nil
}

// approvedNow arms the execution: this row is the outbox of executions.
func (n *step) approvedNow() {
	at := n.now
	if n.head.NotBefore.After(at) {
		at = n.head.NotBefore
	}
	n.to(Approved, at)
	n.because("", "")
	n.wake = true
}

// decide appends a decision on the revision.
func (n *step) decide(dec *Decision, rev *Revision) {
	a := n.e.Actor
	if dec.Person == "" {
		dec.Person, dec.Name, dec.Credential = a.ID, a.Name, a.Credential
		dec.Interactive, dec.SignedInAt = a.Interactive, a.SignedInAt
		dec.Roles = n.v.Persons[a.ID].Roles
	}
	dec.Tenant, dec.Proposal, dec.Number = n.head.Tenant, n.head.ID, len(n.d.Decisions)+1
	dec.Revision, dec.ContentHash = rev.Number, rev.ContentHash
	if dec.Kind == DecideApprove || dec.Kind == DecideBreakGlass {
		dec.ReviewHash = rev.ReviewHash
	}
	dec.PolicyVersion, dec.Comment, dec.At = n.v.PolicyVersion, n.e.Comment, n.now
	n.rows = append(n.rows, dec)
}

// with is the dossier as it will be with the decision just appended.
func (n *step) with() *Dossier {
	d := *n.d
	d.Decisions = append([]*Decision(nil), n.d.Decisions...)
	for _, r := range n.rows {
		if dec, ok := r.(*Decision); ok {
			d.Decisions = append(d.Decisions, dec)
		}
	}
	return &d
}
