package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A demoLine is the first line of demo --json.
type demoLine struct {
	URL, GraphQL string
	Credentials  map[string]string
	Examples     []example
}

func (d *demoLine) example(t *testing.T, kind string) *example {
	t.Helper()
	for i := range d.Examples {
		if d.Examples[i].Kind == kind {
			return &d.Examples[i]
		}
	}
	t.Fatalf("the demo has no example of kind %s", kind)
	return nil
}

// startDemo starts the real demo on a folder.
func startDemo(t *testing.T, dir string, args ...string) (*node, *demoLine) {
	t.Helper()
	n := spawn(t, nil, append([]string{"demo", "--data", dir, "--json", "--quiet"}, args...)...)
	var line demoLine
	if err := json.Unmarshal([]byte(n.firstLine(t)), &line); err != nil {
		t.Fatalf("the first line of demo --json: %v", err)
	}
	n.url = line.URL
	if line.GraphQL != line.URL+"/graphql" {
		t.Errorf("graphql is %q", line.GraphQL)
	}
	n.ready(t)
	return n, &line
}

func (n *node) ready(t testing.TB) {
	t.Helper()
	eventually(t, n.url+"/readyz", func() (bool, string) {
		res, err := http.Get(n.url + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK, res.Status
	})
}

// TestDemo takes an agent's write through its whole life, as a client sees it.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n, d := startDemo(t, dir, "--listen", anyPort)
	read := d.example(t, "read")
	demoRefusals(t, n, d, read)
	federated := n.must(t, d.Credentials[read.As], read.Operation, read.Variables)
	if federated.at("customers.nodes.0.name") == "" || !strings.Contains(federated.raw, `"subject"`) || !strings.Contains(federated.raw, `"number"`) {
		t.Errorf("the federated read lacks one of both systems: %s", federated.raw)
	}

	propose := d.example(t, "propose")
	target := func(n *node, d *demoLine) string {
		return n.must(t, d.Credentials[propose.Check.As], propose.Check.Operation, propose.Check.Variables).at(propose.Check.Path)
	}
	before := target(n, d)
	agent := d.Credentials[propose.As]
	first := n.must(t, agent, propose.Operation, propose.Variables)
	if got := first.at("updateCustomer.outcome"); got != "PROPOSED" {
		t.Fatalf("outcome %s: %s", got, first.raw)
	}
	if first.at("updateCustomer.proposal.changes.0.diff.0.after.creditLimit") == "null" {
		t.Errorf("no diff: %s", first.raw)
	}
	id := first.at("updateCustomer.proposal.id")
	if again := n.must(t, agent, propose.Operation, propose.Variables).at("updateCustomer.proposal.id"); again != id {
		t.Errorf("the same mutation again made proposal %s beside %s", again, id)
	}
	if target(n, d) != before {
		t.Error("the record changed before anybody approved")
	}
	demoDecision(t, n, d, id)

	n.kill()
	n, d = startDemo(t, dir, "--listen", anyPort)
	if state := n.settledState(t, d.Credentials["manager"], id); state != "EXECUTED" {
		t.Fatalf("after approval, kill -9 and a new start: %s", state)
	}
	if target(n, d) == before {
		t.Error("EXECUTED, but the record is as before")
	}
	audit := d.example(t, "audit")
	if got := n.must(t, d.Credentials[audit.As], audit.Operation, audit.Variables); !strings.Contains(got.raw, "proposal.executed") {
		t.Errorf("the audit does not tell of the execution: %s", got.raw)
	}
	n.stop(t)
	demoAudit(t, dir)
	// It goes on from there.
	n, d = startDemo(t, dir, "--listen", anyPort)
	if n.proposal(t, d.Credentials["manager"], id).at("proposal.state") != "EXECUTED" {
		t.Error("a restart forgot the proposal")
	}
	n.stop(t)
}

// demoRefusals: no credential sees nothing, and a wrong one is refused.
func demoRefusals(t *testing.T, n *node, d *demoLine, read *example) {
	t.Helper()
	if a := n.ask(t, "", read.Operation, read.Variables); a.code() != "VALIDATION_FAILED" || a.Data != nil {
		t.Errorf("anonymous is answered %s", a.raw)
	}
	cookie := func(value string) http.Header {
		return http.Header{"Cookie": {"countersign-session=" + value}, "Countersign-Csrf": {"1"}}
	}
	body := `{"query":"{ __typename }"}`
	for what, h := range map[string]http.Header{"an unknown key": bearer("cs_wrong"), "an unknown session": bearer("css_" + strings.Repeat("x", 43)),
		"no JWT": bearer("a.b.c"), "another scheme": {"Authorization": {"Basic eDp5"}}, "a wrong cookie": cookie("css_" + strings.Repeat("x", 43)),
		"a key in the cookie": cookie(d.Credentials["agent"])} {
		a, err := n.send(h, body)
		if err != nil {
			t.Fatal(err)
		}
		if a.status != http.StatusUnauthorized || a.code() != "UNAUTHENTICATED" || a.Data != nil {
			t.Errorf("%s is answered %d %s", what, a.status, a.raw)
		}
	}
	if a, err := n.send(cookie(d.Credentials["manager"]), body); err != nil || a.status != http.StatusOK {
		t.Errorf("a good cookie: %v %v", a, err)
	}
}

// demoDecision: the agent cannot decide, another content is refused, the
// manager approves.
func demoDecision(t *testing.T, n *node, d *demoLine, id string) {
	t.Helper()
	manager, agent := d.Credentials["manager"], d.Credentials["agent"]
	p := n.proposal(t, manager, id)
	v := vars{"id": id, "r": json.Number(p.at("proposal.revision")), "c": p.at("proposal.contentHash"), "v": p.at("proposal.reviewHash")}
	if a := n.ask(t, agent, approveMutation, v); a.code() != "VALIDATION_FAILED" {
		t.Errorf("the agent's approval is answered %s", a.raw)
	}
	fields := n.must(t, agent, `{ __schema { mutationType { fields { name } } } }`, nil)
	for _, name := range []string{"approveProposal", "rejectProposal", "settleProposal", "countersignSuspendAgent", "countersignResumeAgent"} {
		if strings.Contains(fields.raw, `"`+name+`"`) {
			t.Errorf("%s exists for the agent", name)
		}
	}
	for _, field := range []string{"c", "v"} {
		wrong := vars{"id": id, "r": v["r"], "c": v["c"], "v": v["v"]}
		wrong[field] = strings.Repeat("0", 64)
		if a := n.ask(t, manager, approveMutation, wrong); a.code() != "CONTENT_CHANGED" {
			t.Errorf("a wrong hash (%s) is answered %s", field, a.raw)
		}
	}
	if a := n.ask(t, d.Credentials["support"], approveMutation, v); a.code() == "" {
		t.Errorf("the person behind the agent approved its proposal: %s", a.raw)
	}
	n.must(t, manager, approveMutation, v)
}

// demoAudit: the log verifies, and says what is wrong once a byte is changed.
func demoAudit(t *testing.T, dir string) {
	t.Helper()
	if out, errs, code := command("", "audit", "verify", "--data", dir); code != 0 {
		t.Fatalf("audit verify ended with %d: %s%s", code, out, errs)
	}
	other := t.TempDir()
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(other, "countersign.db")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The text also stands where nothing is read any more: everywhere, then.
	changed := bytes.ReplaceAll(data, []byte("proposal.executed"), []byte("proposal.Executed"))
	if bytes.Equal(changed, data) {
		t.Fatal("the store does not hold the event in clear")
	}
	if err := os.WriteFile(file, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := command("", "audit", "verify", "--data", other)
	if code != 1 || !regexp.MustCompile(`\b\d+\b`).MatchString(out) {
		t.Errorf("audit verify of a changed store ended with %d: %s%s", code, out, errs)
	}
	if out, errs, code := command("", "audit", "verify", "--data", filepath.Join(dir, "nothing")); code != 1 {
		t.Errorf("audit verify of nothing ended with %d: %s%s", code, out, errs)
	}
}

// TestDemoCommands runs what the demo prints, in bash, with a port that is
// taken.
func TestDemoCommands(t *testing.T) {
	t.Parallel()
	// Somebody may have the default port already; if not, we take it.
	if l, err := net.Listen("tcp", "127.0.0.1:8080"); err == nil {
		defer l.Close()
	}
	n, d := startDemo(t, t.TempDir())
	if port, err := strconv.Atoi(d.URL[strings.LastIndexByte(d.URL, ':')+1:]); err != nil || port <= 8080 || port >= 8120 {
		t.Errorf("with the default port taken it listens at %s", d.URL)
	}
	text := n.stderr.find(t, `(?s)(# 1\. .*sign-in#link=\S+)`, n.ended)
	var script strings.Builder
	for _, block := range regexp.MustCompile(`(?m)^# [1-4]\. .*\n(.+)\n`).FindAllStringSubmatch(text, -1) {
		script.WriteString("echo; echo '@@@'; " + block[1] + "\n")
	}
	out, err := exec.Command("bash", "-e", "-u", "-o", "pipefail", "-c", script.String()).CombinedOutput()
	if err != nil {
		t.Fatalf("the printed commands: %v\n%s", err, out)
	}
	parts := strings.Split(string(out), "@@@")
	want := []string{`"tickets":{"nodes":[{"id"`, `"outcome":"PROPOSED"`, "now ", `"action":"proposal.approved"`}
	if len(parts) != len(want)+1 {
		t.Fatalf("%d commands were printed:\n%s", len(parts)-1, text)
	}
	for i, w := range want {
		if !strings.Contains(parts[i+1], w) || strings.Contains(parts[i+1], `"errors":[{`) {
			t.Errorf("command %d said:\n%s", i+1, parts[i+1])
		}
	}
	id := regexp.MustCompile(`"proposal":\{"id":"([^"]+)"`).FindStringSubmatch(parts[2])
	if id == nil {
		t.Fatalf("no proposal in %s", parts[2])
	}
	if state := n.settledState(t, d.Credentials["manager"], id[1]); state != "EXECUTED" {
		t.Errorf("the printed proposal is %s", state)
	}
	// The link signs in once.
	link := n.stderr.find(t, `sign-in#link=(\S+)`, n.ended)
	res, body := n.post(t, "/auth/link", nil, `{"token":"`+link+`"}`)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the link is answered %s: %s", res.Status, body)
	}
	if got := n.must(t, sessionOf(t, res), "{ viewer { name interactive } }", nil); got.at("viewer.name") != "Mara Manager" || got.at("viewer.interactive") != "true" {
		t.Errorf("the link signs in %s", got.raw)
	}
	if res, _ := n.post(t, "/auth/link", nil, `{"token":"`+link+`"}`); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the link a second time: %s", res.Status)
	}
	n.stop(t)
}

// TestDemoScript: the scripted agent's three proposals wait from the start: one
// can be approved, one has been overtaken by an edit, one talks.
func TestDemoScript(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := spawn(t, nil, "demo", "--data", dir, "--json", "--listen", anyPort)
	var d demoLine
	if err := json.Unmarshal([]byte(n.firstLine(t)), &d); err != nil {
		t.Fatal(err)
	}
	n.url = d.URL
	manager := d.Credentials["manager"]
	const query = `{ proposals(first: 20) { nodes { id state reason changes { source collection affectedCount complete diff { label before after } } } } }`
	var list *answer
	eventually(t, "three proposals and the edit", func() (bool, string) {
		list = n.must(t, manager, query, nil)
		edited := n.must(t, d.Credentials["support"], `{ addresses(filter: {city: {eq: "Altstadt"}}) { totalCount } }`, nil)
		return list.at("proposals.nodes.2.id") != "" && edited.at("addresses.totalCount") == "1", list.raw + edited.raw
	})
	found := map[string]string{}
	for i := range 3 {
		at := "proposals.nodes." + strconv.Itoa(i)
		id := list.at(at + ".id")
		switch reason := list.at(at + ".reason"); {
		case list.at(at+".changes.0.source") == "desk":
			found["refund"] = id
		case list.at(at+".changes.0.collection") == "addresses":
			found["addresses"] = id
			if list.at(at+".changes.0.affectedCount") != "3" {
				t.Errorf("the address change is %s", list.raw)
			}
		case strings.Contains(reason, "CFO"):
			found["talk"] = id
		}
	}
	if len(found) != 3 {
		t.Fatalf("of three kinds there are %v: %s", found, list.raw)
	}
	for kind, want := range map[string]string{"refund": "EXECUTED", "addresses": "INVALIDATED"} {
		if a := n.approve(t, manager, found[kind]); len(a.Errors) > 0 {
			t.Errorf("approving %s: %s", kind, a.raw)
			continue
		}
		if state := n.settledState(t, manager, found[kind]); state != want {
			t.Errorf("%s is %s: %s", kind, state, n.proposal(t, manager, found[kind]).raw)
		}
	}
	if got := n.must(t, d.Credentials["support"], `{ addresses(filter: {city: {eq: "Neustadt"}}) { totalCount } }`, nil); got.at("addresses.totalCount") != "0" {
		t.Errorf("the change that was overtaken was done: %s", got.raw)
	}
	// What a terminal or an eye would be fooled by is shown as what it is.
	out, errs, code := command("", "proposals", "show", found["talk"], "--url", n.url, "--token", manager)
	if code != 0 || strings.ContainsAny(out, "\u202e\u202c\u200b") || !strings.Contains(out, "U+202E") {
		t.Errorf("show ended with %d: %s%s", code, out, errs)
	}
	n.stop(t)
}
