package proposals

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
)

// An Actor is who makes an event happen, as verified now. The zero Actor is
// the system itself.
type Actor struct {
	Tenant      string
	ID          string
	Name        string
	Kind        policy.PrincipalKind
	Credential  string
	Interactive bool
	SignedInAt  time.Time
	// Chain is who it acts for, for the audit.
	Chain []audit.Actor
}

// ActorOf describes a verified principal.
func ActorOf(p *policy.Principal) Actor {
	return Actor{Tenant: p.Tenant, ID: p.ID, Name: p.Name, Kind: p.Kind, Credential: p.CredentialID,
		Interactive: p.Interactive, SignedInAt: p.SignedInAt, Chain: audit.ActorsOf(p)}
}

// An Event is what happens to a proposal. Which fields count depends on Kind.
type Event struct {
	Kind  EventKind
	Actor Actor

	// New is what propose and its two variants, and revise, bring: Head is used
	// by propose only and has everything but state, version and times.
	New *Draft

	// Decisions name what they are about; claims name the content.
	Revision    int
	ContentHash string
	ReviewHash  string
	Comment     string

	// Executor events name who, and under which claim.
	Executor string
	Epoch    int64
	Lease    time.Duration
	Change   int // the change of the set
	Attempt  Request

	// Settling events say what is known.
	SettledAs Settlement
	Evidence  string
	Response  json.RawMessage
	ErrorCode connectors.Code
	// Voided: this very attempt committed a void marker, the one thing that
	// proves for every dispatch that it was not and will not be done.
	Voided bool

	// Wait before a retry's attempt is dispatched; the lease covers it.
	Wait time.Duration
	// To is the state a giveUp or reconcile leads to.
	To State
	// Reason is a word, Say a sentence for people.
	Reason string
	Say    string
	// Acknowledged: a forced retry may do it twice.
	Acknowledged bool
	TraceID      string
}

// A Request is what an attempt would send.
type Request struct {
	IdempotencyKey string
	Digest         string
	KeyUntil       time.Time
	Void           bool
}

// A Draft is a revision that is about to be made.
type Draft struct {
	Head     Proposal
	Revision Revision
	// Complete: the frozen review document shows all there is (R8).
	Complete bool
	// AmountUnknown: an amount that is declared cannot be told. UseVersion and
	// Day are those of the Use that AmountToday was computed of.
	AmountUnknown bool
	UseVersion    int64
	Day           int64
}

// A View is what policy, directory and control rows say about this proposal at
// this moment. It is computed on a snapshot; the transaction compares the
// versions it rests on. The zero View permits nothing.
type View struct {
	PolicyVersion string
	// Killed is the sentence of a kill switch that covers it; "" for none.
	Killed string
	// Authorised: the author chain may do every change now.
	Authorised bool
	// Requirement under this policy; AutoApprove names the rule that approves
	// by itself.
	Requirement Requirement
	AutoApprove string
	// Eligible: somebody distinct can fill every seat.
	Eligible bool
	// Complete: the current revision's review document is (R8).
	Complete bool
	// Persons are what the acting person and the deciders may do now.
	Persons map[string]Person
	// ReviewersMayEdit: the rule lets them.
	ReviewersMayEdit bool
	// FreshFor is how long ago a recent sign-in may be.
	FreshFor time.Duration
	// RequestTime is the longest that a dispatched request can take.
	RequestTime time.Duration
}

// A Person is what a principal may do about one proposal now. The zero Person
// may nothing.
type Person struct {
	Human bool // an active person
	// Roles with those inherited.
	Roles []string
	// MayApprove: holds approve for every object and these values (R4).
	MayApprove bool
	// MayRead: every field and argument in the review document (R7).
	MayRead bool
	// MayConfirm: the author acts for this person, whose own view allows every
	// change at once.
	MayConfirm bool
	MayBreak   bool // breakGlass
	// Same stands for the person: two accounts of one person have the same; "":
	// the id itself. Behind: an author's person, by whatever account (R3).
	Same   string
	Behind bool
	Admin  bool // may withdraw for others
}

// Records are what a transition writes, in one transaction.
type Records struct {
	Head Proposal
	// Was is the version to compare with; 0 creates.
	Was   int64
	Rows  []Row
	Audit audit.Event
}

// CommandKind is what is to be done after a transition committed.
type CommandKind string

// The commands.
const (
	// CommandWake: an executor should look now.
	CommandWake CommandKind = "wake"
	// CommandDispatch: the attempt that was prepared is to be sent, after T12.
	CommandDispatch CommandKind = "dispatch"
	// CommandNotify: tell people; written to the outbox in the transaction.
	CommandNotify CommandKind = "notify"
)

// A Command is an effect of a transition.
type Command struct {
	Kind  CommandKind
	Topic string // notify
}

// isAuthor tells whether the person is behind any revision.
func isAuthor(d *Dossier, id string) bool { return slices.Contains(d.Authors(), id) }
