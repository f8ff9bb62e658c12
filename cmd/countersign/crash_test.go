package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/examples/desk"
)

// A yard is a gateway over one system of each outcome class, all of which
// count what is really done, and people and an agent with their credentials.
// Each case works on a copy of its folder, and on a record of its own.
type yard struct {
	site     *site
	pg       *foreign
	desk     *desk.Server
	deskWeb  *httptest.Server
	payments *payments

	mu   sync.Mutex
	next int
}

const yardConfig = `version: 1
sources:
  lite: { connector: sqlite, url: lite.db, outcome: transactional }
  pg: { connector: postgres, url: "${PG_URL}", outcome: transactional }
  desk:
    connector: openapi
    prefix: desk
    spec: desk.json
    url: %[1]s
    auth: { bearer: "${DESK_TOKEN}" }
    collections:
      tickets: { list: listTickets, get: getTicket, update: updateTicket, key: [id], page: { style: cursor, next: links.next, size: "page[size]" } }
    outcome: { "*": { class: idempotent, header: Idempotency-Key, keep: 24h } }
  plain: { connector: openapi, prefix: plain, spec: plain.json, url: %[2]s }
agents:
  bot: { owner: asker, purpose: Tests, roles: [bot], actsFor: required }
`

const yardPolicy = `p, lead,  *, read, allow
p, lead,  *, approve, allow
p, asker, *, read, allow
p, asker, *, update|call, propose
p, asker, *, approve, allow
p, bot,   *, read, allow
p, bot,   *, update|call, propose
`

const yardApprovals = "version: 1\ndefaults: { require: [{ role: lead }], expire: 72h }\n"

// marker is what prepare prints for both kinds of databases.
func marker(t testing.TB, s *site, source string, f *foreign) {
	t.Helper()
	for _, statement := range strings.Split(s.run(t, "prepare", source, "--for", ""), ";\n") {
		if strings.TrimSpace(statement) != "" {
			f.exec(t, statement)
		}
	}
}

func newYard(t testing.TB) *yard {
	t.Helper()
	y := &yard{pg: newForeign(t, "postgres"), payments: newPayments(t)}
	var err error
	if y.desk, err = desk.New(desk.Options{Token: "token-of-the-desk", Requesters: []string{"a@example.org"}, Tickets: 200}); err != nil {
		t.Fatal(err)
	}
	for id := range int64(200) {
		// A closed ticket refuses every change.
		if _, err := y.desk.Edit(id+1, func(x *desk.Ticket) { x.Status = "open" }); err != nil {
			t.Fatal(err)
		}
	}
	y.deskWeb = httptest.NewServer(y.desk.Handler())
	t.Cleanup(func() {
		y.deskWeb.CloseClientConnections()
		y.deskWeb.Close()
		y.desk.Close()
	})
	y.site = newSite(t, map[string]string{
		"countersign.yaml": fmt.Sprintf(yardConfig, y.deskWeb.URL, y.payments.web.URL), "desk.json": string(desk.Document(y.deskWeb.URL)), "plain.json": y.payments.document(),
		"policy/policy.csv": yardPolicy, "policy/approvals.yaml": yardApprovals, ".env": "PG_URL=" + y.pg.url + "\nDESK_TOKEN=token-of-the-desk\n"})
	lite := openForeign(t, "sqlite", y.site.file("lite.db"))
	lite.exec(t, `CREATE TABLE account (id INTEGER PRIMARY KEY, balance INT NOT NULL)`, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 200) INSERT INTO account SELECT i, 0 FROM n`)
	y.pg.exec(t, `CREATE TABLE wallet (id int PRIMARY KEY, balance int NOT NULL)`, `INSERT INTO wallet SELECT i, 0 FROM generate_series(1, 200) i`)
	y.site.pin(t)
	marker(t, y.site, "lite", lite)
	marker(t, y.site, "pg", y.pg)
	lite.db.Close()
	y.site.addUser(t, "asker", "asker")
	y.site.addUser(t, "lead", "lead")
	y.site.addUser(t, "boss", "lead")
	_, y.site.tokens["bot"] = y.site.addKey(t, "bot", "asker")
	n := within(t, y.site)
	for _, who := range []string{"asker", "lead", "boss"} {
		y.site.signIn(t, n, who)
	}
	n.stop(t)
	return y
}

// A deed is one change of one system, with its counter.
type deed struct {
	class    string
	mutation string // with a place for options
	field    string
	effects  func(t testing.TB) int
}

// copy is a case's own folder, and its deed.
func (y *yard) copy(t testing.TB, class string) (*site, *deed) {
	t.Helper()
	y.mu.Lock()
	y.next++
	id := y.next
	y.mu.Unlock()
	s := &site{dir: t.TempDir(), tokens: y.site.tokens}
	if err := os.CopyFS(s.dir, os.DirFS(y.site.dir)); err != nil {
		t.Fatal(err)
	}
	d := &deed{class: class}
	switch class {
	case "sqlite", "unprepared":
		if class == "unprepared" {
			s.write(t, "countersign.yaml", strings.Replace(s.read(t, "countersign.yaml"), "url: lite.db, outcome: transactional", "url: lite.db", 1))
			s.run(t, "refresh", "lite", "--accept")
		}
		d.field, d.mutation = "updateAccount", fmt.Sprintf(`updateAccount(id: %d, patch: {balance: {increment: 1}}`, id)
		d.effects = func(t testing.TB) int {
			return number(t, openForeign(t, "sqlite", s.file("lite.db")).value(t, fmt.Sprintf(`SELECT balance FROM account WHERE id = %d`, id)))
		}
	case "postgres":
		d.field, d.mutation = "updateWallet", fmt.Sprintf(`updateWallet(id: %d, patch: {balance: {increment: 1}}`, id)
		d.effects = func(t testing.TB) int {
			return number(t, y.pg.value(t, fmt.Sprintf(`SELECT balance FROM wallet WHERE id = %d`, id)))
		}
	case "idempotent":
		d.field, d.mutation = "updateDeskTicket", fmt.Sprintf(`updateDeskTicket(id: %d, patch: {subject: "case %d"}`, id, id)
		before := y.ticketVersion(t, id)
		d.effects = func(t testing.TB) int { return y.ticketVersion(t, id) - before }
	case "unverifiable":
		ref := "ref-" + strconv.Itoa(id)
		d.field, d.mutation = "pay", fmt.Sprintf(`pay(input: {ref: %q, amount: 7}`, ref)
		d.effects = func(testing.TB) int { return y.payments.count(ref) }
	}
	return s, d
}

// ticketVersion grows by one with every effect.
func (y *yard) ticketVersion(t testing.TB, id int) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, y.deskWeb.URL+"/tickets/"+strconv.Itoa(id), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer token-of-the-desk")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return number(t, strings.Trim(res.Header.Get("ETag"), `"`))
}

func number(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%q is no number", text)
	}
	return n
}

func (d *deed) text(key string) string {
	return fmt.Sprintf(`mutation { %s, options: {idempotencyKey: %q}) { outcome duplicate proposal { id state } errors { code message } } }`, d.mutation, key)
}

// propose proposes the deed as the agent; it must be proposed.
func (d *deed) propose(t testing.TB, n *node, agent, key string) (id string) {
	t.Helper()
	a := n.must(t, agent, d.text(key), nil)
	if got := a.at(d.field + ".outcome"); got != "PROPOSED" {
		t.Fatalf("outcome %s: %s", got, a.raw)
	}
	return a.at(d.field + ".proposal.id")
}

const listQuery = `{ proposals(first: 50) { nodes { id state } } }`

func countProposals(t testing.TB, n *node, token string) int {
	t.Helper()
	var list struct {
		Proposals struct{ Nodes []struct{ ID string } }
	}
	if err := json.Unmarshal([]byte(`{"Proposals":`+n.must(t, token, listQuery, nil).at("proposals")+`}`), &list); err != nil {
		t.Fatal(err)
	}
	return len(list.Proposals.Nodes)
}

// shortLease ends the lease of a killed process soon.
const shortLease = "COUNTERSIGN_TEST_LEASE=700ms"

// TestKilledAtEveryPoint kills the real program at each crash point of a change
// of each outcome class, and starts it again: there is one effect, or an honest
// unknown, as the system itself counts.
func TestKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	for _, class := range []string{"sqlite", "postgres", "idempotent", "unverifiable"} {
		for _, point := range []string{"P0", "P1"} {
			t.Run(class+" "+point, func(t *testing.T) {
				t.Parallel()
				y.killedWhileProposing(t, class, point)
			})
		}
		for _, point := range []string{"P2", "P3", "P4", "P5", "P6", "P7", "P8"} {
			t.Run(class+" "+point, func(t *testing.T) {
				t.Parallel()
				y.killedWhileRunning(t, class, point)
			})
		}
	}
	for _, point := range []string{"P5", "P6"} {
		t.Run("unprepared "+point, func(t *testing.T) {
			t.Parallel()
			y.killedWhileRunning(t, "unprepared", point)
		})
	}
}

// TestDirectWriteKilled kills the program while it does a write at once that has
// an idempotency key: sent again under it, where the system tells a second time
// from a first, the write is done once and answered as done.
func TestDirectWriteKilled(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	for _, class := range []string{"sqlite", "postgres", "idempotent"} {
		for _, point := range []string{"K1", "K2"} {
			t.Run(class+" "+point, func(t *testing.T) {
				t.Parallel()
				s, d := y.copy(t, class)
				s.write(t, "policy/policy.csv", yardPolicy+"p, lead, *, update, allow\n")
				n := serveFailing(t, s, "COUNTERSIGN_TEST_FAILPOINT="+point)
				if a, err := n.try(s.tokens["boss"], d.text("key"), nil); err == nil {
					t.Errorf("killed at %s it answered %s", point, a.raw)
				}
				n.dies(t)
				if got, want := d.effects(t), map[string]int{"K1": 0, "K2": 1}[point]; got != want {
					t.Errorf("%d effects before it is sent again, not %d", got, want)
				}
				n = serve(t, s)
				for range 2 {
					if a := n.must(t, s.tokens["boss"], d.text("key"), nil); a.at(d.field+".outcome") != "APPLIED" {
						t.Errorf("sent again: %s", a.raw)
					}
				}
				if a := n.must(t, s.tokens["boss"], strings.Replace(d.text("key"), "outcome duplicate", "outcome", 1), nil); a.at(d.field+".errors.0.code") != "IDEMPOTENCY_MISMATCH" {
					t.Errorf("another request under the key: %s", a.raw)
				}
				n.stop(t)
				if got := d.effects(t); got != 1 {
					t.Errorf("%d effects", got)
				}
			})
		}
	}
}

// dies waits until the program ended at its failpoint.
func (n *node) dies(t testing.TB) {
	t.Helper()
	if code := n.wait(t); code != 137 {
		t.Fatalf("it ended with %d, not at its failpoint:\n%s", code, n.stderr)
	}
}

func (y *yard) killedWhileProposing(t *testing.T, class, point string) {
	s, d := y.copy(t, class)
	lead := s.tokens["lead"]
	n := serveFailing(t, s, "COUNTERSIGN_TEST_FAILPOINT="+point)
	if a, err := n.try(s.tokens["bot"], d.text("key"), nil); err == nil {
		t.Errorf("killed at %s it answered %s", point, a.raw)
	}
	n.dies(t)
	n = serve(t, s)
	kept := map[string]int{"P0": 0, "P1": 1}[point]
	if got := countProposals(t, n, lead); got != kept {
		t.Errorf("%d proposals were kept, not %d", got, kept)
	}
	id := d.propose(t, n, s.tokens["bot"], "key")
	if got := countProposals(t, n, lead); got != 1 {
		t.Errorf("asked again under the same key there are %d proposals", got)
	}
	n.approve(t, lead, id)
	if state := n.settledState(t, lead, id); state != "EXECUTED" {
		t.Errorf("it is %s", state)
	}
	n.stop(t)
	if got := d.effects(t); got != 1 {
		t.Errorf("%d effects", got)
	}
}

func (y *yard) killedWhileRunning(t *testing.T, class, point string) {
	s, d := y.copy(t, class)
	lead := s.tokens["lead"]
	n := serveFailing(t, s, "COUNTERSIGN_TEST_FAILPOINT="+point, shortLease)
	id := d.propose(t, n, s.tokens["bot"], "key")
	// The answer may be lost with the process.
	if a, err := n.tryApprove(t, lead, id); err == nil && len(a.Errors) > 0 {
		t.Fatalf("approving: %s", a.raw)
	}
	n.dies(t)
	state, effects := "EXECUTED", 1
	if knows := class == "unverifiable" || class == "unprepared"; knows && point >= "P5" && point <= "P7" {
		state = "OUTCOME_UNKNOWN"
		if point == "P5" {
			effects = 0
		}
	}
	if state == "OUTCOME_UNKNOWN" {
		n = serveFailing(t, s, shortLease)
	} else {
		n = serve(t, s)
	}
	if got := n.settledState(t, lead, id); got != state {
		t.Errorf("it is %s, not %s: %s", got, state, n.proposal(t, lead, id).raw)
	}
	if state == "OUTCOME_UNKNOWN" {
		y.settleUnknown(t, n, s, d, id, effects)
	}
	n.stop(t)
	if got := d.effects(t); got != effects {
		t.Errorf("%d effects, not %d", got, effects)
	}
	do(t, "", "audit", "verify", "--data", s.data())
}

const settleMutation = `mutation ($id: ID!, $o: SettledOutcome!, $e: String!) { settleProposal(id: $id, outcome: $o, evidence: $e) { state decisions { by kind } } }`

const canMutate = `query ($id: ID!) { proposal(id: $id) { canSettle { yes code because } canWithdraw { yes code } execution { receipt { code message } } } }`

// settleUnknown: nobody of the author's side says what came of it; another
// person does, with evidence, once.
func (y *yard) settleUnknown(t *testing.T, n *node, s *site, d *deed, id string, effects int) {
	t.Helper()
	outcome, state := "APPLIED", "EXECUTED"
	if effects == 0 {
		outcome, state = "NOT_APPLIED", "FAILED"
	}
	again := n.must(t, s.tokens["bot"], strings.Replace(d.text("x"), `, options: {idempotencyKey: "x"}`, "", 1), nil)
	if again.at(d.field+".duplicate") != "true" || again.at(d.field+".proposal.id") != id {
		t.Errorf("an equal mutation meanwhile is answered %s", again.raw)
	}
	if on := n.must(t, s.tokens["bot"], d.text("on purpose"), nil); on.at(d.field+".proposal.id") != id && on.at(d.field+".errors.0.code") == "" {
		t.Errorf("an equal mutation under a new key meanwhile is answered %s", on.raw)
	}
	for who, want := range map[string]string{"bot": "false", "asker": "false", "boss": "true"} {
		a := n.must(t, s.tokens[who], canMutate, vars{"id": id})
		if a.at("proposal.canSettle.yes") != want || a.at("proposal.canWithdraw.code") != "WRONG_STATE" || a.at("proposal.execution.receipt.message") == "" {
			t.Errorf("%s may settle: %s, not %s", who, a.raw, want)
		}
	}
	v := vars{"id": id, "o": outcome, "e": "Their ledger says so"}
	if a := n.ask(t, s.tokens["bot"], settleMutation, v); a.code() != "VALIDATION_FAILED" {
		t.Errorf("the agent settling is answered %s", a.raw)
	}
	if a := n.ask(t, s.tokens["asker"], settleMutation, v); a.code() == "" {
		t.Errorf("the person behind it settling is answered %s", a.raw)
	}
	if a := n.ask(t, s.tokens["boss"], settleMutation, vars{"id": id, "o": outcome, "e": " "}); a.code() == "" {
		t.Errorf("settling without evidence is answered %s", a.raw)
	}
	if got := n.must(t, s.tokens["boss"], settleMutation, v).at("settleProposal.state"); got != state {
		t.Errorf("settled as %s it is %s", outcome, got)
	}
	if a := n.ask(t, s.tokens["boss"], settleMutation, vars{"id": id, "o": "NOT_APPLIED", "e": "Changed my mind"}); a.code() != "WRONG_STATE" {
		t.Errorf("settling again is answered %s", a.raw)
	}
}
