package proposals

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// The exhaustive checker: breadth first over everything that two reviewers, an
// agent, the person behind it, two executors that can crash at any point, the
// clock, one policy flip, one change of the base record and a system of record
// can do to one proposal of two revisions at most. Every state reached is held
// against the invariants of docs/states.md.

// A universe is one state of the search: the dossier and the world beside it.
type universe struct {
	D       Dossier
	Now     int          // 0: in time, 1: the lease is over, 2: the deadline is over too
	Policy  int          // 1: the flip has happened
	Base    int          // 1: the base record has changed
	Sources upstream     // what the system of record holds
	Flights []flight     // requests on their way, of executors alive or dead
	Mind    [2]executing // what each executor believes
	// Counters of what the invariants speak of.
	Events, Claims, Forced int
	// ClaimHash is the content of the last claim; ClaimBase whether the base had
	// changed by then.
	ClaimHash string
}

type upstream struct {
	Effects []string // content hashes
	Marker  string   // "", "void", hash
	Key     bool
}

type flight struct {
	Executor int // who waits for the answer; -1: nobody any more
	Hash     string
	Void     bool
}

// executing is an executor's own memory; a crash clears it.
type executing struct {
	Epoch int64
	Stage string // "", "claimed", "dispatched", "applied", "void", "refused", "stale", "lost"
}

const (
	bfsLease    = 10 * time.Second
	bfsClaims   = 2
	bfsAttempts = 3
	bfsStart    = 1_000_000
)

func bfsTime(n int) time.Time {
	t := time.Unix(bfsStart, 0).UTC()
	switch n {
	case 1:
		return t.Add(time.Minute)
	case 2:
		return t.Add(2 * time.Hour)
	}
	return t
}

func bfsActor(id string, kind policy.PrincipalKind, interactive bool) Actor {
	return Actor{Tenant: "t", ID: id, Kind: kind, Interactive: interactive, SignedInAt: bfsTime(0)}
}

// A scenario fixes class and requirement.
type scenario struct {
	class   connectors.OutcomeClass
	seats   []Seat
	confirm bool
}

func (s scenario) view(u *universe) View {
	v := View{PolicyVersion: fmt.Sprint("p", u.Policy), Authorised: u.Policy == 0, Eligible: true, Complete: true,
		Requirement: Requirement{Seats: s.seats}, FreshFor: time.Hour, RequestTime: 30 * time.Second,
		Persons: map[string]Person{
			"r1": {Human: true, Roles: []string{"lead"}, MayApprove: true, MayRead: true},
			"r2": {Human: true, Roles: []string{"lead", "owner"}, MayApprove: true, MayRead: true, MayBreak: true},
			// The person behind the agent holds everything and still is an author.
			"maria": {Human: true, Roles: []string{"lead", "owner"}, MayApprove: true, MayRead: true, MayBreak: true, MayConfirm: s.confirm && u.Policy == 0},
			"agent": {},
		}}
	return v
}

func (s scenario) draft(n int) *Draft {
	hash := fmt.Sprintf("content%d", n)
	return &Draft{Complete: true,
		Head: Proposal{Tenant: "t", ID: "id", Handle: "h", Author: Author{Principal: "agent", Kind: policy.Agent, For: "maria", Owner: "olga"},
			DedupeKey: "k", ExpiresAt: bfsTime(0).Add(time.Hour), ExecDeadline: bfsTime(0).Add(time.Hour)},
		Revision: Revision{Tenant: "t", Proposal: "id", Author: "agent", ContentHash: hash, ReviewHash: "review" + hash,
			Set: ChangeSet{Changes: []connectors.Change{{Source: "crm", Steps: []connectors.Step{{Class: s.class}}}}}}}
}

// moves lists every successor of u, by name.
func (s scenario) moves(u *universe) map[string]*universe {
	out := map[string]*universe{}
	now, v := bfsTime(u.Now), s.view(u)
	try := func(name string, e Event, then func(*universe)) {
		state, r, _, err := Next(&u.D, e, now, v)
		if err != nil {
			return
		}
		w := u.clone()
		w.D = *joined(&w.D, r)
		if w.D.Proposal.State != state || r.Head.Version != r.Was+1 || r.Audit.From != string(u.D.Proposal.State) || r.Audit.To != string(state) {
			panic("records do not fit the state")
		}
		w.Events++
		if then != nil {
			then(w)
		}
		out[name] = w
	}
	if u.D.Proposal.State.Terminal() {
		// Nothing leads out; requests on their way may still arrive.
		s.decisions(u, try, u.D.Proposal.Revision)
		s.arrivals(u, out)
		return out
	}
	rev, hash := u.D.Proposal.Revision, ""
	if r := u.D.Current(); r != nil {
		hash = r.ContentHash
	}
	if u.D.Proposal.State == None {
		try("propose", Event{Kind: EventPropose, Actor: bfsActor("agent", policy.Agent, false), New: s.draft(1)}, nil)
		return out
	}
	if u.D.Proposal.State != Executing {
		// The table has none of them there; TestOnlyTheTable holds that.
		s.decisions(u, try, rev)
	}
	try("expire", Event{Kind: EventExpire}, nil)
	try("invalidate", Event{Kind: EventInvalidate, Reason: "policy"}, nil)
	for i := range u.Mind {
		s.executor(u, i, try, out, rev, hash)
	}
	s.surroundings(u, out)
	return out
}

type tryFunc func(string, Event, func(*universe))

func (s scenario) decisions(u *universe, try tryFunc, rev int) {
	actors := []Actor{bfsActor("r1", policy.Human, true), bfsActor("r2", policy.Human, true), bfsActor("maria", policy.Human, true),
		bfsActor("r1", policy.Human, false), bfsActor("agent", policy.Agent, true)}
	for i, a := range actors {
		name := fmt.Sprintf("%s%d", a.ID, i)
		for n := 1; n <= u.D.Proposal.Revision; n++ {
			h := fmt.Sprintf("content%d", n)
			if len(u.D.Decisions) < 1+s.seats[0].Count {
				try(fmt.Sprint("approve ", name, n), Event{Kind: EventApprove, Actor: a, Revision: n, ContentHash: h, ReviewHash: "review" + h}, nil)
				try(fmt.Sprint("break glass ", name, n), Event{Kind: EventBreakGlass, Actor: a, Revision: n, ContentHash: h, ReviewHash: "review" + h, Comment: "fire"}, nil)
				try(fmt.Sprint("retract ", name, n), Event{Kind: EventRetract, Actor: a, Revision: n, ContentHash: h}, nil)
			}
			try(fmt.Sprint("reject ", name, n), Event{Kind: EventReject, Actor: a, Revision: n, ContentHash: h}, nil)
			if a.ID != "r1" {
				continue
			}
			try(fmt.Sprint("request changes ", name, n), Event{Kind: EventRequestChanges, Actor: a, Revision: n, ContentHash: h}, nil)
		}
		try("withdraw "+name, Event{Kind: EventWithdraw, Actor: a}, nil)
		for _, to := range []State{Executed, Failed} {
			if (len(u.Sources.Effects) > 0) == (to == Executed) && len(u.Flights) == 0 {
				try(fmt.Sprint("settle ", name, to), Event{Kind: EventReconcile, Actor: a, To: to, Evidence: "looked"}, nil)
			}
		}
	}
	if rev < 2 {
		try("revise", Event{Kind: EventRevise, Actor: bfsActor("agent", policy.Agent, false), New: s.draft(2)}, nil)
	}
}

func (s scenario) request(hash string, void bool) Request {
	r := Request{Digest: "digest" + hash, Void: void}
	if s.class == connectors.Idempotent {
		r.IdempotencyKey = "key" + hash
	}
	if void {
		r.Digest += "void"
	}
	return r
}

// executor lists what an executor may try, believing what it believes.
func (s scenario) executor(u *universe, i int, try tryFunc, out map[string]*universe, rev int, hash string) {
	me, m := fmt.Sprint("x", i), u.Mind[i]
	name := func(what string) string { return fmt.Sprint(what, " ", me) }
	claimed := func(w *universe) {
		w.Claims++
		w.ClaimHash = hash
		w.Mind[i] = executing{Epoch: w.D.Proposal.Epoch, Stage: "claimed"}
	}
	drop := func(w *universe) { w.Mind[i] = executing{} }
	if m.Stage == "" {
		if i == 1 && u.Claims == 0 {
			return // the executors are alike: the first to claim is the first
		}
		if u.Claims < bfsClaims+u.Forced {
			try(name("claim"), Event{Kind: EventClaim, Executor: me, Lease: bfsLease, Attempt: s.request(hash, false), Revision: rev, ContentHash: hash}, claimed)
			for _, void := range []bool{false, true} {
				try(fmt.Sprint(name("reclaim"), void), Event{Kind: EventReclaim, Executor: me, Lease: bfsLease, Attempt: s.request(hash, void), ContentHash: hash}, claimed)
			}
		}
		if u.Forced == 0 {
			try(name("force"), Event{Kind: EventForceRetry, Actor: bfsActor("r1", policy.Human, true), Acknowledged: true, Executor: me, Lease: bfsLease,
				Attempt: s.request(hash, false)}, func(w *universe) { claimed(w); w.Forced++ })
		}
		try(name("give up"), Event{Kind: EventGiveUp, Executor: me, To: Invalidated, Reason: "policy"}, nil)
		try(name("reap"), Event{Kind: EventAmbiguous, Executor: me}, nil)
		return
	}
	// A crash at any point.
	w := u.clone()
	w.Mind[i] = executing{}
	w.orphan(i)
	out[name("crash")] = w
	if m.Stage == "dispatched" {
		w := u.clone()
		w.Mind[i].Stage = "lost"
		w.orphan(i)
		out[name("timeout")] = w
	}
	e := Event{Executor: me, Epoch: m.Epoch, Lease: bfsLease}
	with := func(fn func(*Event)) Event { x := e; fn(&x); return x }
	switch m.Stage {
	case "claimed":
		try(name("dispatch"), with(func(x *Event) { x.Kind = EventDispatch }), func(w *universe) {
			void := false
			for _, a := range w.D.Attempts {
				if a.Epoch == m.Epoch && a.State == Dispatching {
					void = a.Void
				}
			}
			w.Mind[i].Stage = "dispatched"
			w.Flights = append(w.Flights, flight{Executor: i, Hash: hash, Void: void})
		})
		try(name("own give up"), with(func(x *Event) { x.Kind, x.To, x.Reason = EventGiveUp, Invalidated, "policy" }), drop)
	case "applied":
		try(name("applied"), with(func(x *Event) { x.Kind, x.SettledAs, x.Evidence = EventApplied, Applied, "committed" }), drop)
	case "void":
		try(name("voided"), with(func(x *Event) {
			x.Kind, x.To, x.Reason, x.SettledAs, x.Evidence = EventGiveUp, Invalidated, "policy", NotApplied, "void"
			x.Voided = true
		}), drop)
		try(name("voided, failed"), with(func(x *Event) { x.Kind, x.SettledAs, x.Evidence, x.Voided = EventNotApplied, NotApplied, "void", true }), drop)
	case "refused", "stale":
		code := connectors.CodeCheckViolation
		if m.Stage == "stale" {
			code = connectors.CodeProposalStale
		}
		try(name("not applied"), with(func(x *Event) {
			x.Kind, x.SettledAs, x.Evidence, x.ErrorCode = EventNotApplied, NotApplied, "refused", code
		}), drop)
		s.retries(u, i, e, NotApplied, "refused", hash, try)
	case "lost":
		try(name("ambiguous"), with(func(x *Event) { x.Kind = EventAmbiguous }), drop)
		s.retries(u, i, e, UnknownOutcome, "", hash, try)
	}
}

func (s scenario) retries(u *universe, i int, e Event, as Settlement, evidence, hash string, try tryFunc) {
	if len(u.D.Attempts) >= bfsAttempts {
		return
	}
	for _, void := range []bool{false, true} {
		e.Kind, e.SettledAs, e.Evidence, e.Attempt = EventRetry, as, evidence, s.request(hash, void)
		try(fmt.Sprint("retry x", i, void), e, func(w *universe) { w.Mind[i].Stage = "claimed" })
	}
}

// surroundings: the clock, policy, the base record, and requests that arrive,
// are refused, or lose their answer.
func (s scenario) surroundings(u *universe, out map[string]*universe) {
	if u.Now < 2 {
		w := u.clone()
		w.Now++
		out["time"] = w
	}
	if u.Policy == 0 {
		w := u.clone()
		w.Policy = 1
		out["policy"] = w
	}
	if u.Base == 0 {
		w := u.clone()
		w.Base = 1
		out["base"] = w
	}
	s.arrivals(u, out)
}

func (s scenario) arrivals(u *universe, out map[string]*universe) {
	for k, f := range u.Flights {
		alive := f.Executor >= 0
		answer := func(name, stage string, hit func(*upstream)) {
			w := u.clone()
			w.Flights = append(append([]flight(nil), u.Flights[:k]...), u.Flights[k+1:]...)
			hit(&w.Sources)
			lost := w.clone()
			if alive {
				w.Mind[f.Executor].Stage = stage
				lost.Mind[f.Executor].Stage = "lost"
				out[fmt.Sprint(name, k, " and its answer is lost")] = lost
			}
			out[fmt.Sprint(name, k)] = w
		}
		nothing := func(*upstream) {}
		switch {
		case s.class == connectors.Transactional && u.Sources.Marker == f.Hash:
			answer("marker collides", "applied", nothing)
		case f.Void:
			answer("void arrives", "void", func(up *upstream) { up.Marker = "void" })
		case u.Sources.Marker == "void":
			answer("refused by void", "refused", nothing)
		case s.class == connectors.Idempotent && u.Sources.Key:
			answer("key is known", "applied", nothing)
		case u.Base == 1:
			answer("stale", "stale", nothing)
		default:
			answer("arrives", "applied", func(up *upstream) {
				up.Effects = append(append([]string(nil), up.Effects...), f.Hash)
				if s.class == connectors.Transactional {
					up.Marker = f.Hash
				}
				up.Key = true
			})
			if len(u.Sources.Effects) == 0 {
				answer("refused", "refused", nothing)
			}
		}
	}
}

// orphan: nobody waits for what the executor sent.
func (u *universe) orphan(i int) {
	for k := range u.Flights {
		if u.Flights[k].Executor == i {
			u.Flights[k].Executor = -1
		}
	}
}

func (u *universe) clone() *universe {
	w := *u
	w.Flights = append([]flight(nil), u.Flights...)
	return &w
}

// key identifies what matters of a universe: what differs only in ids or times
// of day is one.
func (u *universe) key(s scenario) string {
	var b strings.Builder
	p := &u.D.Proposal
	if p.State.Terminal() {
		// What cannot matter any more is one.
		fmt.Fprint(&b, p.State, p.ReasonCode, u.Base, u.Sources, u.Flights)
		return b.String()
	}
	if p.State == Executing || p.State == OutcomeUnknown {
		// Nobody decides or revises any more: all that is left of it is whether
		// the approvals hold, and whether what was claimed is what is there.
		now := u.Now
		if p.State == OutcomeUnknown {
			now = 0
		}
		fmt.Fprint(&b, p.State, "|", now, u.Policy, u.Base, len(u.Sources.Effects), u.Sources.Marker != "", u.Sources.Marker == "void",
			u.Sources.Key, u.Mind[0].Stage, "|", u.Mind[1].Stage, u.Claims, u.Forced, u.ClaimHash == u.D.Current().ContentHash,
			approved(&u.D, s.view(&universe{})))
		for _, f := range u.Flights {
			fmt.Fprint(&b, "|", f.Executor, f.Void)
		}
		last := u.D.Attempts[len(u.D.Attempts)-1]
		open := len((&step{d: &u.D}).unproven())
		fmt.Fprint(&b, "|", len(u.D.Attempts), open, last.State, last.SettledAs, last.Void, last.Executor, last.DispatchedAt.IsZero(), last.LeaseUntil.Unix())
		return b.String()
	}
	fmt.Fprint(&b, p.State, p.Revision, p.Epoch, "|", u.Now, u.Policy, u.Base, u.Sources, u.Flights, u.Mind, u.Claims, u.Forced, u.ClaimHash)
	for _, d := range u.D.Decisions {
		fmt.Fprint(&b, "|", d.Person, d.Kind, d.Revision, d.Interactive)
	}
	for _, a := range u.D.Attempts {
		fmt.Fprint(&b, "|", a.Epoch, a.Number, a.State, a.SettledAs, a.Void, a.Executor, a.DispatchedAt.IsZero(), a.LeaseUntil.Unix())
	}
	return b.String()
}

// check holds a universe, and the step to it, against the invariants.
func (s scenario) check(u, from *universe) error {
	p, d := &u.D.Proposal, &u.D
	fail := func(id, format string, args ...any) error {
		raw, _ := json.Marshal(u)
		return fmt.Errorf("%s: %s\n%s", id, fmt.Sprintf(format, args...), raw)
	}
	if from != nil {
		was := &from.D.Proposal
		if was.State.Terminal() && (p.State != was.State || p.Version != was.Version) {
			return fail("I8", "out of %s", was.State)
		}
		if p.Version < was.Version || p.Version-was.Version != int64(u.Events-from.Events) {
			return fail("I8, I16", "version %d after %d with %d events", p.Version, was.Version, u.Events-from.Events)
		}
		if u.Claims > from.Claims {
			if err := s.checkClaim(u, from, fail); err != nil {
				return err
			}
		}
		if dispatches(d) > dispatches(&from.D) && (u.Now == 2) && !lastVoid(d) {
			return fail("I6", "dispatched after the deadline")
		}
		if was.State == OutcomeUnknown && p.State != OutcomeUnknown && p.State != Executing && p.ReasonCode != "reconciled" {
			return fail("I11", "unknown left without evidence")
		}
	}
	for _, e := range u.Sources.Effects {
		if u.Claims == 0 || e != u.ClaimHash {
			return fail("I1", "effect %s without a claim of it", e)
		}
	}
	if s.class != connectors.Unverifiable && len(u.Sources.Effects) > 1 {
		return fail("I5", "%d effects", len(u.Sources.Effects))
	}
	if s.class == connectors.Unverifiable && len(u.Sources.Effects) > 1+u.Forced {
		return fail("I5", "%d effects after %d forced retries", len(u.Sources.Effects), u.Forced)
	}
	for _, dec := range d.Decisions {
		if !dec.Interactive || dec.Person == "agent" {
			return fail("I4", "decided by %s", dec.Person)
		}
		if dec.Person == "maria" && !(s.confirm && dec.Kind != DecideBreakGlass) {
			return fail("I3", "decided by its author %s", dec.Person)
		}
	}
	return s.checkRest(u, fail)
}

// checkRest: what a state at rest says is true.
func (s scenario) checkRest(u *universe, fail func(string, string, ...any) error) error {
	p, d := &u.D.Proposal, &u.D
	noEffect := len(u.Sources.Effects) == 0
	switch p.State {
	case Executed:
		proof := p.ReasonCode == "reconciled"
		for _, a := range d.Attempts {
			proof = proof || a.SettledAs == Applied && a.Evidence != ""
		}
		if !proof || noEffect {
			return fail("I9", "EXECUTED without evidence or effect")
		}
	case Failed, Expired, Rejected, Withdrawn, Invalidated:
		if !noEffect {
			return fail("I9", "%s with an effect", p.State)
		}
		// Nor may one arrive later: what is still on its way must be harmless.
		for _, f := range u.Flights {
			if !f.Void && u.Sources.Marker != "void" && p.ReasonCode != "reconciled" {
				return fail("I9", "%s with a request on its way", p.State)
			}
		}
	case Executing:
		if p.WakeAt.IsZero() {
			return fail("I20", "no timer")
		}
	}
	for _, a := range d.Attempts {
		if a.State == Dispatching && p.State != Executing {
			return fail("I10", "an unsettled dispatch in %s", p.State)
		}
	}
	if p.State.Open() && p.State != OutcomeUnknown && p.State != Partial && p.WakeAt.IsZero() {
		return fail("I20", "%s without a timer", p.State)
	}
	return nil
}

// checkClaim: a claim rests on decisions of distinct persons on the current
// content that satisfy the requirement under current policy.
func (s scenario) checkClaim(u, from *universe, fail func(string, string, ...any) error) error {
	void := lastVoid(&u.D)
	if from.Policy == 1 && !void {
		return fail("I13", "claimed after policy said no")
	}
	if void {
		return nil
	}
	leads, confirmed := map[string]bool{}, false
	rev := from.D.Proposal.Revision
	said := map[string]DecisionKind{}
	for _, dec := range from.D.Decisions {
		if dec.Revision == rev {
			said[dec.Person] = dec.Kind
		}
	}
	for person, kind := range said {
		switch {
		case kind == DecideBreakGlass && person == "r2":
			return nil
		case kind == DecideApprove && person == "maria":
			confirmed = true
		case kind == DecideApprove:
			leads[person] = true
		}
	}
	if s.confirm && confirmed || !s.confirm && len(leads) >= s.seats[0].Count {
		return nil
	}
	return fail("I2, I7", "claimed on %v", said)
}

// settleMinds: whoever lost its claim can do nothing more under it (P9), and so
// need not be followed any further: its requests on their way are.
func (s scenario) settleMinds(u *universe) error {
	for i, m := range u.Mind {
		if m.Stage == "" || m.Epoch == u.D.Proposal.Epoch && u.D.Proposal.State == Executing {
			continue
		}
		for _, kind := range []EventKind{EventDispatch, EventApplied, EventNotApplied, EventRetry} {
			e := Event{Kind: kind, Executor: fmt.Sprint("x", i), Epoch: m.Epoch, Lease: bfsLease, SettledAs: NotApplied, Evidence: "late", Attempt: s.request("content1", false)}
			if kind == EventApplied {
				e.SettledAs = Applied
			}
			if _, _, _, err := Next(&u.D, e, bfsTime(u.Now), s.view(u)); err == nil {
				return fmt.Errorf("P9: %s under a lost claim", kind)
			}
		}
		u.Mind[i] = executing{}
		u.orphan(i)
	}
	return nil
}

func dispatches(d *Dossier) (n int) {
	for _, a := range d.Attempts {
		if !a.DispatchedAt.IsZero() {
			n++
		}
	}
	return n
}

func lastVoid(d *Dossier) bool {
	return len(d.Attempts) > 0 && d.Attempts[len(d.Attempts)-1].Void
}

func TestExhaustive(t *testing.T) {
	for _, s := range []scenario{
		{class: connectors.Transactional, seats: []Seat{{Role: "lead", Count: 1}}},
		{class: connectors.Idempotent, seats: []Seat{{Role: "lead", Count: 1}}},
		{class: connectors.Unverifiable, seats: []Seat{{Role: "lead", Count: 2}}},
		{class: connectors.Unverifiable, seats: []Seat{{Confirm: true, Count: 1}}, confirm: true},
	} {
		t.Run(fmt.Sprint(s.class, s.seats), func(t *testing.T) {
			t.Parallel()
			n, states := s.search(t)
			t.Logf("%d universes", n)
			want := []State{Pending, ChangesRequested, Approved, Executing, Executed, Failed, Rejected, Withdrawn, Expired, Invalidated, OutcomeUnknown}
			for _, state := range want {
				if !states[state] {
					t.Errorf("%s was never reached", state)
				}
			}
		})
	}
}

func (s scenario) search(t *testing.T) (int, map[State]bool) {
	start := &universe{}
	seen, states := map[string]bool{start.key(s): true}, map[State]bool{}
	layer := []*universe{start}
	for len(layer) > 0 {
		var next []*universe
		for _, u := range layer {
			states[u.D.Proposal.State] = true
			for name, w := range s.moves(u) {
				err := s.check(w, u)
				if err == nil {
					err = s.settleMinds(w)
				}
				if err != nil {
					t.Fatalf("after %q from %s: %v", name, u.D.Proposal.State, err)
				}
				key := w.key(s)
				if seen[key] {
					continue
				}
				seen[key] = true
				next = append(next, w)
			}
		}
		layer = next
	}
	return len(seen), states
}
