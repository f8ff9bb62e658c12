package proposals

import (
	"fmt"
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
	for _, keep := range []time.Duration{0, time.Minute} {
		try(fmt.Sprint("restored ", keep), Event{Kind: EventRestored, Attempt: Request{KeyUntil: bfsTime(u.Now).Add(keep)}}, nil)
	}
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
