package proposals_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// The machine does anything at all to a Service and its executors, in any
// order, and holds every proposal against the table and the invariants.
type machine struct {
	w        *world
	handles  []string
	policyNo int
}

func TestMachine(t *testing.T) {
	for _, class := range classes {
		t.Run(string(class), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				m := &machine{w: newWorld(fatal{t: rt}, class)}
				rt.Repeat(map[string]func(*rapid.T){
					"":         m.check,
					"propose":  m.propose,
					"decide":   m.decide,
					"withdraw": m.withdraw,
					"settle":   m.settle,
					"run":      m.run,
					"crash":    m.crash,
					"fault":    m.fault,
					"restored": m.restored,
					"time":     m.time,
					"policy":   m.policy,
				})
			})
		})
	}
}

func (m *machine) pick(t *rapid.T) *proposals.Dossier {
	if len(m.handles) == 0 {
		t.Skip("no proposal yet")
	}
	d, err := m.w.store.Get(context.Background(), tenant, proposals.Ref{Handle: rapid.SampledFrom(m.handles).Draw(t, "proposal")})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// allowedCodes are refusals; anything else is a bug.
func refused(t *rapid.T, err error) {
	switch code := connectors.CodeOf(err); code {
	case "", connectors.CodeForbidden, connectors.CodeNotFound, connectors.CodeWrongState, connectors.CodeProposalExpired,
		connectors.CodeContentChanged, connectors.CodeOutcomeUnknown, connectors.CodeIdempotencyMismatch, connectors.CodeCannotReview,
		connectors.CodeNoEligibleReviewer, connectors.CodeProposalStale:
	default:
		t.Fatalf("%s: %v (%v)", code, err, connectors.AsError(err).Cause)
	}
}

func (m *machine) propose(t *rapid.T) {
	r := m.w.request(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "value"))
	r.Effects[0].Steps[0].Before[0].Fields[1].Value = connectors.String(m.w.src.value)
	if rapid.Bool().Draw(t, "keyed") {
		r.IdempotencyKey = rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(t, "key")
		r.Digest = string(r.Variables)
	}
	if rapid.Bool().Draw(t, "later") {
		r.NotBefore = m.w.now().Add(time.Hour)
	}
	out, err := m.w.svc.Propose(context.Background(), r)
	refused(t, err)
	if err == nil && !slices.Contains(m.handles, out.Dossier.Proposal.Handle) {
		m.handles = append(m.handles, out.Dossier.Proposal.Handle)
	}
}

func (m *machine) anybody(t *rapid.T) *policy.Principal {
	return rapid.SampledFrom([]*policy.Principal{agent(), person("user:maria", "lead"), person("user:olga", "lead"), person("user:lea", "lead"),
		person("user:lou", "lead"), person("user:fin", "finance"), with(person("user:lea", "lead"), func(p *policy.Principal) { p.Interactive = false })}).Draw(t, "who")
}

func (m *machine) decide(t *rapid.T) {
	d, who := m.pick(t), m.anybody(t)
	in := decision(d)
	if rapid.IntRange(0, 5).Draw(t, "wrong hash") == 0 {
		in.ContentHash = "0"
	}
	var err error
	if rapid.IntRange(0, 3).Draw(t, "reject") == 0 {
		_, err = m.w.svc.Reject(context.Background(), who, in)
	} else {
		_, err = m.w.svc.Approve(context.Background(), who, in)
	}
	refused(t, err)
	if err == nil && (slices.Contains(d.Authors(), who.ID) || !who.Interactive || in.ContentHash == "0") {
		t.Fatalf("%s decided", who.ID)
	}
}

func (m *machine) withdraw(t *rapid.T) {
	d, who := m.pick(t), m.anybody(t)
	_, err := m.w.svc.Withdraw(context.Background(), who, d.Proposal.Handle, "")
	refused(t, err)
	if err == nil && !slices.Contains(d.Authors(), who.ID) {
		t.Fatalf("%s withdrew", who.ID)
	}
}

func (m *machine) settle(t *rapid.T) {
	d, who := m.pick(t), m.anybody(t)
	_, err := m.w.svc.Settle(context.Background(), who, proposals.Settle{Handle: d.Proposal.Handle, To: proposals.Executed, Evidence: "seen"})
	refused(t, err)
	if err == nil && (d.Proposal.State != proposals.OutcomeUnknown || slices.Contains(d.Authors(), who.ID)) {
		t.Fatalf("%s settled %s", who.ID, d.Proposal.State)
	}
}

func (m *machine) run(*rapid.T) { m.w.executor(m.w.svc, nil).Once(context.Background()) }

// crash runs an executor of a process that dies at a crash point.
func (m *machine) crash(t *rapid.T) {
	point := rapid.SampledFrom([]string{"P4", "P5", "P6", "P7", "P8"}).Draw(t, "point")
	svc := m.w.service(func(name string) {
		if name == point {
			runtime.Goexit()
		}
	})
	m.w.executor(svc, nil).Once(context.Background())
}

// restored is a store that is found to be older than what was done.
func (m *machine) restored(*rapid.T) { m.w.restored(time.Hour) }

func (m *machine) fault(t *rapid.T) {
	m.w.src.inject(rapid.SampledFrom([]fault{{after: errDropped}, {before: errDropped},
		{before: connectors.Errorf(connectors.CodeUpstreamUnavailable, "down")}, {before: connectors.Errorf(connectors.CodeCheckViolation, "no")},
		{before: fmt.Errorf("foreign")}}).Draw(t, "fault"))
}

func (m *machine) time(t *rapid.T) {
	m.w.advance(rapid.SampledFrom([]time.Duration{time.Second, 20 * time.Second, time.Hour, 73 * time.Hour}).Draw(t, "by"))
}

func (m *machine) policy(t *rapid.T) {
	m.policyNo++
	denied, two := rapid.IntRange(0, 3).Draw(t, "denied") == 0, rapid.Bool().Draw(t, "two")
	m.w.auth.change(func(a *authority) {
		a.version, a.recheck = fmt.Sprint("p", m.policyNo+1), nil
		if denied {
			a.recheck = connectors.Errorf(connectors.CodeForbidden, "no")
		}
		a.route.Requirement.Seats = []proposals.Seat{{Role: "lead", Count: 1}}
		if two {
			a.route.Requirement.Seats[0].Count = 2
		}
	})
	if err := m.w.svc.PolicyLoaded(context.Background(), tenant); err != nil {
		t.Fatal(err)
	}
}

// check holds everything there is against the invariants.
func (m *machine) check(t *rapid.T) {
	table := proposals.Transitions()
	at := map[string]string{}
	for _, e := range m.w.store.Events() {
		if e.Kind == "policy.loaded" {
			continue
		}
		if e.From != at[e.Subject] {
			t.Fatalf("%s of %s from %q, which is %q", e.Kind, e.Subject, e.From, at[e.Subject])
		}
		at[e.Subject] = e.To
		if !slices.ContainsFunc(table, func(r proposals.Transition) bool {
			return r.Audit == e.Kind && slices.Contains(r.From, proposals.State(e.From)) && slices.Contains(r.To, proposals.State(e.To)) && r.Served
		}) {
			t.Fatalf("%s from %q to %q is not in the table", e.Kind, e.From, e.To)
		}
	}
	done, maybe, open := 0, 0, map[string]bool{}
	for _, h := range m.handles {
		d, err := m.w.store.Get(context.Background(), tenant, proposals.Ref{Handle: h})
		if err != nil {
			t.Fatal(err)
		}
		p := d.Proposal
		if at[h] != string(p.State) {
			t.Fatalf("%s is %s, its last event says %s", h, p.State, at[h])
		}
		switch {
		case p.State == proposals.Executed && p.ReasonCode != "reconciled":
			done++
		case p.State.EffectMayExist():
			maybe++
		}
		if p.State.Open() && !p.Deliberate {
			if open[p.DedupeKey] {
				t.Fatalf("two open proposals of one dedupe key")
			}
			open[p.DedupeKey] = true
		}
		for _, dec := range d.Decisions {
			if slices.Contains(d.Authors(), dec.Person) || !dec.Interactive {
				t.Fatalf("%s decided", dec.Person)
			}
		}
		for _, a := range d.Attempts {
			if a.State == proposals.Dispatching && p.State != proposals.Executing {
				t.Fatalf("an unsettled dispatch in %s", p.State)
			}
		}
	}
	if effects, _ := m.w.src.count(); effects < done || effects > done+maybe {
		t.Fatalf("%d effects, %d executed and %d that may be", effects, done, maybe)
	}
}
