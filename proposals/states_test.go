package proposals

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
)

var update = flag.Bool("update", false, "write docs/states.md anew")

const statesPage = "../docs/states.md"

// The page is made from the table, so that the two cannot differ.
func TestStatesPage(t *testing.T) {
	want := statesDoc()
	if *update {
		if err := os.WriteFile(statesPage, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(statesPage)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s is not what the table says: go test ./proposals -run TestStatesPage -update", statesPage)
	}
}

func statesDoc() []byte {
	var b bytes.Buffer
	b.WriteString(`# The states of a proposal

This page is generated from the transition table in the package proposals
(` + "`go test ./proposals -run TestStatesPage -update`" + `); a test holds them equal. The
table is what production runs: one pure function, Next, over it.

## States

| state | terminal | an effect may exist |
|---|---|---|
`)
	yes := map[bool]string{true: "yes", false: ""}
	for _, s := range States() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", s, yes[s.Terminal()], yes[s.EffectMayExist()])
	}
	b.WriteString(`
Terminal states have no way out. FAILED, REJECTED, WITHDRAWN, EXPIRED and
INVALIDATED mean that nothing was done; EXECUTED that it was, with evidence.

## Transitions

Each is one transaction: the head row by compare-and-swap on its version, its
rows, one audit event, its notices.

| # | event | from | to | who | guards | audit event | served |
|---|---|---|---|---|---|---|---|
`)
	for _, t := range Transitions() {
		served := "yes"
		if !t.Served {
			served = "not yet"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", t.ID, t.Event, names(t.From), names(t.To), t.Who, t.Guards, t.Audit, served)
	}
	b.WriteString(`
Reviewer guards. R1: a person with an interactive credential. R2: same tenant.
R3: not an author of any revision, nor on-behalf-of, owner or lender of the
credential; except in a confirm seat, which only the person an agent acts for
fills, while that person's own view allows every change, at the decision and at
the claim. R4: holds approve for the object and these values now. R5: PENDING and
in time. R6: revision and hashes are the current ones. R7: may read every field
and argument in the review document. R8: the review document is complete. R9
(fresh sign-in where a rule asks for it) is not served yet.

## What the exhaustive test holds

Every sequence of these events by two reviewers, an agent, the person behind it,
two executors that may crash at any point, a flip of the policy, a change of the
base record, requests that arrive late or lose their answer, and a store found to
be an older one, over two revisions, is searched breadth first. In every state reached:

- I1 no effect without a claim of APPROVED content with that very hash
- I2 every claim rests on decisions of distinct persons that satisfy the requirement under current policy
- I3 no decider is an author, other than in a confirm seat
- I4 all deciders are people with interactive credentials
- I5 transactional and idempotent: at most one effect; unverifiable: at most one dispatch and one per forced retry
- I6 no dispatch after the deadline
- I7 decisions on an old revision never count
- I8 terminal states have no way out, the version strictly grows
- I9 EXECUTED has evidence; FAILED, EXPIRED, REJECTED, WITHDRAWN and INVALIDATED have no effect, now or later
- I10 an unsettled dispatch is EXECUTING, or unknown
- I11 unknown is left only by evidence or a named person
- I13 a denial committed before a claim makes the claim fail
- I16 one audit event for each transition
- I20 every open state has a timer armed
- P9 whoever lost its claim can do nothing more under it
`)
	return b.Bytes()
}

func names(states []State) string {
	var out []string
	for _, s := range states {
		if s == None {
			out = append(out, "–")
			continue
		}
		out = append(out, string(s))
	}
	return strings.Join(out, ", ")
}

// Next refuses whatever the table does not have, from every state, and leads
// nowhere the table does not.
func TestOnlyTheTable(t *testing.T) {
	s := scenario{class: connectors.Transactional, seats: []Seat{{Role: "lead", Count: 1}}}
	for _, from := range append(States(), None) {
		for _, row := range Transitions() {
			u := &universe{D: Dossier{Proposal: s.draft(1).Head, Revisions: []*Revision{&s.draft(1).Revision}}}
			u.D.Revisions[0].Number = 1
			u.D.Proposal.State, u.D.Proposal.Version, u.D.Proposal.Revision = from, 1, 1
			e := Event{Kind: row.Event, Actor: bfsActor("r2", "human", true), New: s.draft(1), Revision: 1, ContentHash: "content1", ReviewHash: "reviewcontent1",
				Comment: "c", Evidence: "e", To: Failed, Executor: "x", Lease: bfsLease, Attempt: s.request("content1", false), Acknowledged: true}
			state, _, _, err := Next(&u.D, e, bfsTime(0), s.view(u))
			if err == nil && (!slices.Contains(row.From, from) || !slices.Contains(row.To, state)) {
				t.Errorf("%s leads from %s to %s", row.Event, from, state)
			}
			if !slices.Contains(row.From, from) && err == nil {
				t.Errorf("%s is possible from %s", row.Event, from)
			}
		}
	}
	if _, _, _, err := Next(&Dossier{}, Event{Kind: "nonsense"}, bfsTime(0), View{}); err == nil {
		t.Error("an event that is none")
	}
}

// The zero View permits nothing that has an effect.
func TestZeroViewPermitsNothing(t *testing.T) {
	s := scenario{class: connectors.Transactional}
	for _, kind := range []EventKind{EventPropose, EventAutoApprove} {
		if _, _, _, err := Next(&Dossier{}, Event{Kind: kind, New: s.draft(1)}, bfsTime(0), View{}); connectors.CodeOf(err) != connectors.CodeForbidden {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// The matching of persons to seats against a brute-force oracle.
func TestSeatsAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		roles := []string{"a", "b", "c"}
		var r Requirement
		for range rapid.IntRange(0, 3).Draw(t, "seats") {
			s := Seat{Role: rapid.SampledFrom(append(roles, "")).Draw(t, "role"), Count: rapid.IntRange(0, 2).Draw(t, "count")}
			s.Confirm = s.Role == "" || rapid.Bool().Draw(t, "confirm")
			r.Seats = append(r.Seats, s)
		}
		var voters []voter
		for i := range rapid.IntRange(0, 5).Draw(t, "voters") {
			voters = append(voters, voter{id: fmt.Sprint(i), confirm: rapid.Bool().Draw(t, "confirms"),
				roles: rapid.SliceOfDistinct(rapid.SampledFrom(roles), rapid.ID[string]).Draw(t, "roles")})
		}
		var slots []Seat
		for _, s := range r.Seats {
			for range max(s.Count, 1) {
				slots = append(slots, s)
			}
		}
		if got, want := r.met(voters), len(slots) > 0 && permute(slots, voters, 0, map[int]bool{}); got != want {
			t.Fatalf("met %v, by trying all %v: %+v %+v", got, want, r, voters)
		}
	})
}

// permute tries every assignment.
func permute(slots []Seat, voters []voter, slot int, used map[int]bool) bool {
	if slot == len(slots) {
		return true
	}
	for i, v := range voters {
		if !used[i] && v.mayFill(slots[slot]) {
			used[i] = true
			if permute(slots, voters, slot+1, used) {
				return true
			}
			used[i] = false
		}
	}
	return false
}
