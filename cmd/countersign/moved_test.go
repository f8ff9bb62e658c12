package main

import (
	"strings"
	"testing"
)

// TestMovedGround: what an approval rests on changes before it runs, and it does
// not run.
func TestMovedGround(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	restart := func(t *testing.T, s *site, n *node) *node {
		t.Helper()
		n.stop(t)
		return within(t, s)
	}
	for what, c := range map[string]struct {
		class string
		move  func(t *testing.T, s *site, n *node, d *deed) *node
		// effects are those of somebody else's hand.
		effects int
	}{
		"another database in its place": {"postgres", func(t *testing.T, s *site, n *node, _ *deed) *node {
			other := newForeign(t, "postgres")
			other.exec(t, `CREATE TABLE wallet (id int PRIMARY KEY, balance int NOT NULL)`, `INSERT INTO wallet SELECT i, 0 FROM generate_series(1, 200) i`)
			marker(t, s, "pg", other)
			s.write(t, ".env", strings.Replace(s.read(t, ".env"), y.pg.url, other.url, 1))
			t.Cleanup(func() {
				if got := other.value(t, `SELECT sum(balance) FROM wallet`); got != "0" {
					t.Errorf("the other database's balance is %s", got)
				}
			})
			return restart(t, s, n)
		}, 0},
		"the record was edited": {"sqlite", func(t *testing.T, s *site, n *node, d *deed) *node {
			id := strings.SplitN(strings.SplitN(d.mutation, "id: ", 2)[1], ",", 2)[0]
			openForeign(t, "sqlite", s.file("lite.db")).exec(t, `UPDATE account SET balance = 5 WHERE id = `+id)
			return n
		}, 5},
		"the record is gone": {"postgres", func(t *testing.T, _ *site, n *node, d *deed) *node {
			id := strings.SplitN(strings.SplitN(d.mutation, "id: ", 2)[1], ",", 2)[0]
			y.pg.exec(t, `DELETE FROM wallet WHERE id = `+id)
			return n
		}, -1},
		"the policy denies it now": {"sqlite", func(t *testing.T, s *site, n *node, _ *deed) *node {
			s.write(t, "policy/policy.csv", s.read(t, "policy/policy.csv")+"p, bot, lite.account{balance}, update, deny\n")
			return restart(t, s, n)
		}, 0},
		"the person behind it may not any more": {"unverifiable", func(t *testing.T, s *site, n *node, _ *deed) *node {
			s.write(t, "policy/policy.csv", s.read(t, "policy/policy.csv")+"p, asker, plain.pay, call, deny\n")
			return restart(t, s, n)
		}, 0},
		"the schema is another": {"sqlite", func(t *testing.T, s *site, n *node, _ *deed) *node {
			openForeign(t, "sqlite", s.file("lite.db")).exec(t, `ALTER TABLE account ADD COLUMN note TEXT`)
			s.run(t, "refresh", "lite", "--accept")
			return restart(t, s, n)
		}, 0},
		"the agent is suspended": {"unverifiable", func(t *testing.T, s *site, n *node, _ *deed) *node {
			n.must(t, s.tokens["asker"], `mutation { countersignSuspendAgent(name: "bot") { suspended } }`, nil)
			return n
		}, 0},
		"the agent is not configured any more": {"idempotent", func(t *testing.T, s *site, n *node, _ *deed) *node {
			s.write(t, "countersign.yaml", strings.Replace(s.read(t, "countersign.yaml"), "  bot: {", "  another: {", 1))
			return restart(t, s, n)
		}, 0},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s, d := y.copy(t, c.class)
			n := within(t, s)
			id := d.propose(t, n, s.tokens["bot"], "key")
			p := n.proposal(t, s.tokens["lead"], id)
			v := vars{"id": id, "r": 1, "c": p.at("proposal.contentHash"), "v": p.at("proposal.reviewHash")}
			n = c.move(t, s, n, d)
			// It may be refused here, or end when it is claimed.
			a := n.ask(t, s.tokens["lead"], approveMutation, v)
			if a.code() == "" {
				if state := n.settledState(t, s.tokens["lead"], id); state != "INVALIDATED" && state != "FAILED" {
					t.Errorf("it is %s", state)
				}
			} else if state := n.proposal(t, s.tokens["lead"], id).at("proposal.state"); state == "EXECUTED" || state == "APPROVED" {
				t.Errorf("approving is answered %s, and it is %s", a.raw, state)
			}
			n.stop(t)
			if c.effects >= 0 {
				if got := d.effects(t); got != c.effects {
					t.Errorf("%d effects", got)
				}
			}
		})
	}
}

// TestDirectWritesLoseAnswers: a write that policy allows at once is told as
// unknown where its answer is lost, and is not done again under its key.
func TestDirectWritesLoseAnswers(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	s, d := y.copy(t, "unverifiable")
	s.write(t, "policy/policy.csv", strings.Replace(s.read(t, "policy/policy.csv"), "p, asker, *, update|call, propose", "p, asker, *, update|call, allow", 1))
	asker := s.tokens["asker"]
	ref := strings.Split(d.mutation, `"`)[1]
	y.payments.mu.Lock()
	y.payments.drop[ref] = true
	y.payments.mu.Unlock()
	n := serve(t, s)
	first := n.must(t, asker, d.text("key"), nil)
	if first.at("pay.outcome") != "UNKNOWN" || first.at("pay.errors.0.code") != "OUTCOME_UNKNOWN" {
		t.Errorf("a lost answer is told as %s", first.raw)
	}
	n.kill()
	n = serve(t, s)
	if again := n.must(t, asker, d.text("key"), nil); again.raw != first.raw {
		t.Errorf("the same key again: %s, before %s", again.raw, first.raw)
	}
	if other := n.must(t, asker, strings.Replace(d.text("key"), "amount: 7", "amount: 8", 1), nil); other.at("pay.errors.0.code") != "IDEMPOTENCY_MISMATCH" {
		t.Errorf("the same key for another request: %s", other.raw)
	}
	if got := d.effects(t); got != 1 {
		t.Errorf("%d effects", got)
	}

	// Killed while it was under way.
	_, d = y.copy(t, "unverifiable")
	ref = strings.Split(d.mutation, `"`)[1]
	release, arrived := make(chan struct{}), make(chan struct{})
	defer close(release)
	y.payments.mu.Lock()
	y.payments.hold[ref], y.payments.begun[ref] = release, arrived
	y.payments.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// The answer is lost with the process.
		if a, err := n.try(asker, d.text("second"), nil); err == nil {
			t.Errorf("killed it answered %s", a.raw)
		}
	}()
	<-arrived
	n.kill()
	<-ended
	// A client that has patience; a request may take a second here.
	s.write(t, "countersign.yaml", s.read(t, "countersign.yaml")+"limits: { \"*\": { timeout: 1s } }\n")
	n = serve(t, s)
	a := n.must(t, asker, d.text("second"), nil)
	if got := a.at("pay.errors.0.code"); got != "OUTCOME_UNKNOWN" && got != "TIMEOUT" || a.at("pay.outcome") == "APPLIED" {
		t.Errorf("the same key after a kill: %s", a.raw)
	}
	n.stop(t)
	if got := d.effects(t); got != 1 {
		t.Errorf("%d effects", got)
	}
}
