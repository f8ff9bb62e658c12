package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A site is a folder with a configuration, its data, and the credentials of the
// people in it.
type site struct {
	dir    string
	tokens map[string]string
}

// newSite writes the files of a project.
func newSite(t testing.TB, files map[string]string) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), tokens: map[string]string{}}
	for name, text := range files {
		s.write(t, name, text)
	}
	return s
}

func (s *site) data() string { return filepath.Join(s.dir, "data") }

func (s *site) file(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(t testing.TB, name, text string) {
	t.Helper()
	file := s.file(name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *site) read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(s.file(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (s *site) remove(t testing.TB, name string) {
	t.Helper()
	if err := os.Remove(s.file(name)); err != nil {
		t.Fatal(err)
	}
}

// freeAddress is one where, a moment ago, nobody listened.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// command runs a command in this process. The exit code is returned.
func command(stdin string, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	e := &env{ctx: context.Background(), stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, getenv: os.Getenv}
	code = run(e, args)
	return out.String(), errs.String(), code
}

// do runs a command that must succeed.
func do(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out, errs, code := command(stdin, args...)
	if code != 0 {
		t.Fatalf("countersign %s ended with %d:\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// run runs a command over the site's files.
func (s *site) run(t testing.TB, args ...string) string {
	t.Helper()
	return do(t, "", append(args, "--config", s.file("countersign.yaml"))...)
}

// pin describes the sources and writes the lock.
func (s *site) pin(t testing.TB) {
	t.Helper()
	s.run(t, "refresh", "--accept")
}

const testPassword = "correct horse battery"

// addUser makes a person with a password.
func (s *site) addUser(t testing.TB, user string, roles ...string) {
	t.Helper()
	args := []string{"users", "add", user, "--password", "--config", s.file("countersign.yaml"), "--data", s.data()}
	for _, r := range roles {
		args = append(args, "--role", r)
	}
	do(t, testPassword+"\n", args...)
}

// addKey makes a key of an agent, acting for a person ("" for nobody), and
// answers its id and token.
func (s *site) addKey(t testing.TB, agent, person string) (id, token string) {
	t.Helper()
	args := []string{"agents", "keys", "add", agent, "--json", "--config", s.file("countersign.yaml"), "--data", s.data()}
	if person != "" {
		args = append(args, "--for", person)
	}
	var key struct{ ID, Token string }
	if err := json.Unmarshal([]byte(do(t, "", args...)), &key); err != nil {
		t.Fatal(err)
	}
	return key.ID, key.Token
}

// signIn signs a person in with their password and keeps the session token.
func (s *site) signIn(t testing.TB, n *node, user string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"email": user, "password": testPassword})
	if err != nil {
		t.Fatal(err)
	}
	res, text := n.post(t, "/auth/sign-in", nil, string(body))
	if res.StatusCode != http.StatusOK {
		t.Fatalf("signing %s in was answered %s: %s", user, res.Status, text)
	}
	s.tokens[user] = sessionOf(t, res)
	return s.tokens[user]
}

// sessionOf is the session token in an answer's cookie.
func sessionOf(t testing.TB, res *http.Response) string {
	t.Helper()
	for _, c := range res.Cookies() {
		if strings.HasSuffix(c.Name, "countersign-session") {
			return c.Value
		}
	}
	t.Fatal("no session cookie")
	return ""
}

const proposalQuery = `query ($id: ID!) { proposal(id: $id) { id state revision contentHash reviewHash reasonCode canApprove { yes code because }
  requirement { rule seats { role count confirm filled } } changes { source collection kind outcomeClass guarantee complete affectedCount diff { key label before after fields } request }
  author { name actsFor owner } execution { state attempts receipt { settledAs evidence message } } decisions { by kind } } }`

func (n *node) proposal(t testing.TB, token, id string) *answer {
	t.Helper()
	return n.must(t, token, proposalQuery, vars{"id": id})
}

// approve approves what is shown.
func (n *node) approve(t testing.TB, token, id string) *answer {
	t.Helper()
	a, err := n.tryApprove(t, token, id)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const approveMutation = `mutation ($id: ID!, $r: Int!, $c: String!, $v: String!) { approveProposal(id: $id, revision: $r, contentHash: $c, reviewHash: $v) { state } }`

func (n *node) tryApprove(t testing.TB, token, id string) (*answer, error) {
	t.Helper()
	p := n.proposal(t, token, id)
	return n.try(token, approveMutation, vars{"id": id, "r": json.Number(p.at("proposal.revision")), "c": p.at("proposal.contentHash"), "v": p.at("proposal.reviewHash")})
}

// settledState waits until a proposal is neither waiting nor running.
func (n *node) settledState(t testing.TB, token, id string) string {
	t.Helper()
	var state string
	eventually(t, "proposal "+id+" to settle", func() (bool, string) {
		a, err := n.try(token, proposalQuery, vars{"id": id})
		if err != nil {
			return false, err.Error()
		}
		state = a.at("proposal.state")
		return state != "PENDING" && state != "APPROVED" && state != "EXECUTING" && state != "", a.raw
	})
	return state
}
