package main

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
)

const preparePolicy = "p, clerk, *, read, allow\np, clerk, *, update, propose\np, lead, *, read|approve, allow\n"

// newUnprepared is a site over one system that nobody prepared, whose source
// connects as somebody who may or may not make tables.
func newUnprepared(t *testing.T, f *foreign, address string) *site {
	t.Helper()
	f.exec(t, `CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)`, `INSERT INTO account VALUES (1, 0)`)
	s := newSite(t, map[string]string{"policy/policy.csv": preparePolicy, "policy/approvals.yaml": yardApprovals, ".env": "BANK_URL=" + address + "\n",
		"countersign.yaml": fmt.Sprintf("version: 1\nsources:\n  bank: { connector: %s, url: \"${BANK_URL}\" }\n", f.kind)})
	s.pin(t)
	s.addUser(t, "clerk", "clerk")
	s.addUser(t, "lead", "lead")
	return s
}

// declare says that the source is prepared, and pins it so.
func (s *site) declare(t *testing.T) {
	t.Helper()
	s.write(t, configName, strings.Replace(s.read(t, configName), `" }`, `", outcome: transactional }`, 1))
	s.pin(t)
}

// deposit proposes and approves one write, and answers what came of it.
func (s *site) deposit(t *testing.T) *answer {
	t.Helper()
	n := within(t, s)
	defer n.stop(t)
	n.ready(t)
	clerk, lead := s.signIn(t, n, "clerk"), s.signIn(t, n, "lead")
	id := n.must(t, clerk, `mutation { updateAccount(id: 1, patch: {balance: {increment: 1}}) { outcome proposal { id } errors { code message } } }`, nil).at("updateAccount.proposal.id")
	if a := n.approve(t, lead, id); len(a.Errors) > 0 {
		t.Fatal(a.raw)
	}
	n.settledState(t, lead, id)
	return n.proposal(t, lead, id)
}

// makers are two roles of a PostgreSQL: one that may make tables and one that
// may not.
func makers(t *testing.T, f *foreign) (may, mayNot string) {
	t.Helper()
	u, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	var out []string
	for _, role := range []string{name + "_maker", name + "_user"} {
		f.exec(t, "CREATE ROLE "+role+" LOGIN", "GRANT USAGE ON SCHEMA public TO "+role,
			"ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE ON TABLES TO "+role)
		t.Cleanup(func() { f.exec(t, "DROP OWNED BY "+role, "DROP ROLE "+role) })
		u.User = url.User(role)
		out = append(out, u.String())
	}
	f.exec(t, "GRANT CREATE ON SCHEMA public TO "+name+"_maker")
	return out[0], out[1]
}

func (f *foreign) marked(t *testing.T) bool {
	t.Helper()
	return strings.Contains(f.everything(t), "countersign_effect")
}

// TestPrepareApply: what prepare prints is run, once or twice; then writes leave
// a marker. Before it they are sent without one, or refused where the
// configuration asks for it.
func TestPrepareApply(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"sqlite", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := newForeign(t, kind)
			address := f.url
			if kind == "postgres" {
				address, _ = makers(t, f)
			}
			s := newUnprepared(t, f, address)
			if out := s.run(t, "check"); !strings.Contains(out, "bank.account update: unverifiable, preview read") {
				t.Errorf("before, check says %s", out)
			}
			s.declare(t)
			if a := s.deposit(t); a.at("proposal.state") != "FAILED" || !strings.Contains(a.raw, "countersign prepare") {
				t.Errorf("declared and not prepared, a proposal comes to %s", a.raw)
			}
			printed := s.run(t, "prepare", "bank")
			if f.marked(t) {
				t.Fatal("prepare without --apply made the table")
			}
			var after string
			for range 2 {
				if got := s.run(t, "prepare", "bank", "--apply"); got != printed {
					t.Errorf("it printed\n%s\nand with --apply\n%s", printed, got)
				}
				if got := f.everything(t); after != "" && got != after {
					t.Errorf("the second time it changed\n%s\nto\n%s", after, got)
				} else {
					after = got
				}
			}
			if out := s.run(t, "check"); !strings.Contains(out, "bank.account update: transactional, preview read") {
				t.Errorf("after it, check says %s", out)
			}
			if a := s.deposit(t); a.at("proposal.state") != "EXECUTED" {
				t.Errorf("after it, a proposal comes to %s", a.raw)
			}
			if got := f.value(t, "SELECT balance FROM account"); got != "1" {
				t.Errorf("the balance is %s", got)
			}
			if got := f.value(t, "SELECT count(*) FROM countersign_effect"); got != "1" {
				t.Errorf("there are %s markers", got)
			}
		})
	}
}

// TestPrepareRefused: where it cannot be done nothing of it is, and the error
// says why.
func TestPrepareRefused(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, s *site, f *foreign, want string, args ...string) {
		t.Helper()
		before := f.everything(t)
		_, errs, code := command("", append([]string{"prepare", "bank", "--apply", "--config", s.file(configName)}, args...)...)
		if code != exitFailed || !strings.Contains(errs, want) {
			t.Errorf("it ended with %d and said %s", code, errs)
		}
		if after := f.everything(t); after != before {
			t.Errorf("it left\n%s\nof\n%s", after, before)
		}
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		f := newForeign(t, "postgres")
		may, mayNot := makers(t, f)
		s := newUnprepared(t, f, mayNot)
		refused(t, s, f, "the database does not let the configured role do this (UPSTREAM_ERROR): ")
		s.write(t, ".env", "BANK_URL="+may+"\n")
		// The table can be made and the grant cannot: neither is.
		refused(t, s, f, "(UPSTREAM_ERROR): ", "--for", "nobody_of_that_name")
		s.write(t, ".env", "BANK_URL=postgres://postgres@"+freeAddress(t)+"/gone\n")
		refused(t, s, f, "(UPSTREAM_UNAVAILABLE): ")
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		f := newForeign(t, "sqlite")
		s := newUnprepared(t, f, f.url)
		gone := t.TempDir() + "/gone.db"
		s.write(t, ".env", "BANK_URL="+gone+"\n")
		refused(t, s, f, "(UPSTREAM_UNAVAILABLE): ")
		if _, err := os.Stat(gone); err == nil {
			t.Error("it made a database where none was")
		}
	})
}
