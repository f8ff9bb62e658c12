package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRealInput connects a database that nobody prepared: nothing of what init
// writes is edited but the policy's examples, whose # is taken away.
func TestRealInput(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"postgres", "sqlite"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := newForeign(t, kind)
			chinook(t, f)
			before := f.everything(t)
			s := newSite(t, nil)
			config := s.file("countersign.yaml")
			said := do(t, "", "init", "--source", "chinook="+kind+":"+f.url, "--config", config)
			for _, command := range []string{"countersign check", "countersign serve", "countersign agents keys add assistant"} {
				if !strings.Contains(said, command) {
					t.Errorf("init does not say %q:\n%s", command, said)
				}
			}
			if yaml := s.read(t, "countersign.yaml"); kind == "postgres" && strings.Contains(yaml, "postgres://") {
				t.Errorf("the address stands in the configuration:\n%s", yaml)
			}
			if info, err := os.Stat(s.file(".env")); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf(".env: %v %v", info, err)
			}
			if out, errs, code := command("", "check", "--config", config); code != 0 || errs != "" {
				t.Fatalf("check ended with %d: %s%s", code, out, errs)
			}
			n := within(t, s)
			owner := firstOwnerSession(t, n)
			sampleQueryWorks(t, n, owner, said)
			readChinook(t, n, owner)
			if a := n.ask(t, "", `{ employees { nodes { lastName } } }`, nil); a.code() != "VALIDATION_FAILED" {
				t.Errorf("without a credential: %s", a.raw)
			}
			n.stop(t)

			s.write(t, "policy/policy.csv", regexp.MustCompile(`(?m)^# p, `).ReplaceAllString(s.read(t, "policy/policy.csv"), "p, "))
			s.run(t, "check")
			_, agent := s.addKey(t, "assistant", "owner")
			n = within(t, s)
			confirmOwnAgent(t, n, f, owner, agent)
			n.stop(t)
			if after := f.everything(t); after != before {
				t.Errorf("the source's catalog was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// firstOwnerSession follows the first-run link as its page does.
func firstOwnerSession(t *testing.T, n *node) string {
	t.Helper()
	link := n.stderr.find(t, `sign-in#link=(\S+)`, n.ended)
	token, rest, _ := strings.Cut(link, "&")
	if rest != "first=1&user=owner" {
		t.Errorf("the link ends in %q", rest)
	}
	body, err := json.Marshal(map[string]string{"token": token, "email": "owner", "password": testPassword})
	if err != nil {
		t.Fatal(err)
	}
	res, text := n.post(t, "/auth/link", nil, string(body))
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the first-run link is answered %s: %s", res.Status, text)
	}
	if res, _ := n.post(t, "/auth/link", nil, string(body)); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the first-run link works twice: %s", res.Status)
	}
	return sessionOf(t, res)
}

// sampleQueryWorks runs what init printed.
func sampleQueryWorks(t *testing.T, n *node, owner, said string) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^  (\{ .*\})$`).FindStringSubmatch(said)
	if m == nil {
		t.Fatalf("init prints no query:\n%s", said)
	}
	a := n.must(t, owner, m[1], nil)
	for name := range a.Data {
		if a.at(name+".totalCount") == "0" || a.at(name+".nodes.2") == "" {
			t.Errorf("the printed query finds nothing: %s", a.raw)
		}
	}
}

// readChinook asks for every kind of relation.
func readChinook(t *testing.T, n *node, owner string) {
	t.Helper()
	a := n.must(t, owner, `{
	  artist(artistId: 3) { name albums(orderBy: [{albumId: ASC}]) { totalCount nodes { title tracks(first: 2, orderBy: [{trackId: ASC}]) { nodes { name unitPrice genre { name } mediaType { name } } } } } }
	  playlist(playlistId: 2) { playlistTracks(first: 1, orderBy: [{trackId: ASC}]) { totalCount nodes { track { trackId name } } } }
	  playlistTrack(playlistId: 2, trackId: 5) { playlist { name } track { name } }
	  employee(employeeId: 4) { lastName employee { lastName } employeesByReportsTo(orderBy: [{employeeId: ASC}]) { nodes { lastName } } customersBySupportRep(first: 1) { totalCount } }
	  invoices(filter: {customer: {lastName: {eq: "Silva7"}}}, orderBy: [{invoiceId: ASC}]) { totalCount aggregate { count sum { total } } nodes { invoiceDate total invoiceLines(first: 1) { nodes { quantity track { name composer } } } } }
	}`, nil)
	for path, want := range map[string]string{
		"artist.name": "Artist 3 & Söhne", "artist.albums.totalCount": "2", "artist.albums.nodes.0.title": "Album 2",
		"artist.albums.nodes.0.tracks.nodes.0.name": "Track 1", "artist.albums.nodes.0.tracks.nodes.0.unitPrice": "1.99", "artist.albums.nodes.0.tracks.nodes.0.genre.name": "Jazz",
		"playlist.playlistTracks.totalCount": "30", "playlist.playlistTracks.nodes.0.track.trackId": "1",
		"playlistTrack.track.name": "Track 5", "playlistTrack.playlist.name": "Playlist 2",
		"employee.employee.lastName": "Last2", "employee.employeesByReportsTo.nodes.0.lastName": "Last8", "employee.customersBySupportRep.totalCount": "10",
		"invoices.totalCount": "2", "invoices.aggregate.sum.total": "7.96", "invoices.nodes.0.invoiceDate": "2025-07-07T00:00:00",
		"invoices.nodes.0.invoiceLines.nodes.0.track.composer": "O'Composer 5",
	} {
		if got := a.at(path); got != want {
			t.Errorf("%s is %q, not %q", path, got, want)
		}
	}
}

// confirmOwnAgent: the agent's write is proposed, seen, confirmed by the person
// it acts for, and done.
func confirmOwnAgent(t *testing.T, n *node, f *foreign, owner, agent string) {
	t.Helper()
	last := func() string {
		return f.value(t, `SELECT `+f.style("last_name")+` FROM `+f.style("employee")+` WHERE `+f.style("employee_id")+` = 2`)
	}
	if a := n.ask(t, agent, `{ customers { nodes { email } } }`, nil); a.code() != "VALIDATION_FAILED" {
		t.Errorf("the agent reads what its line does not name: %s", a.raw)
	}
	a := n.must(t, agent, `mutation { updateEmployee(employeeId: 2, patch: {lastName: "Née-O'Hara"}, options: {reason: "She married."}) { outcome proposal { id } errors { code message } } }`, nil)
	if got := a.at("updateEmployee.outcome"); got != "PROPOSED" {
		t.Fatalf("outcome %s: %s", got, a.raw)
	}
	id := a.at("updateEmployee.proposal.id")
	// One person who may only propose has nobody to decide on it.
	if a := n.must(t, owner, `mutation { updateEmployee(employeeId: 3, patch: {title: "Boss"}) { outcome errors { code message } } }`, nil); a.at("updateEmployee.errors.0.code") != "NO_ELIGIBLE_REVIEWER" {
		t.Errorf("the owner's own write: %s", a.raw)
	}
	if got := last(); got != "Last2" {
		t.Errorf("before anybody confirmed the record says %s", got)
	}
	p := n.proposal(t, owner, id)
	for path, want := range map[string]string{
		"state": "PENDING", "requirement.seats.0.confirm": "true", "canApprove.yes": "true", "author.actsFor": "owner",
		"changes.0.complete": "true", "changes.0.diff.0.before.lastName": "Last2", "changes.0.diff.0.after.lastName": "Née-O'Hara",
	} {
		if got := p.at("proposal." + path); got != want {
			t.Errorf("the owner sees %s as %q, not %q: %s", path, got, want, p.raw)
		}
	}
	if a := n.approve(t, owner, id); len(a.Errors) > 0 {
		t.Fatalf("confirming: %s", a.raw)
	}
	if state := n.settledState(t, owner, id); state != "EXECUTED" {
		t.Fatalf("it is %s: %s", state, n.proposal(t, owner, id).raw)
	}
	if got := last(); got != "Née-O'Hara" {
		t.Errorf("the record says %s", got)
	}
}

// TestInitAdds: a source is added to a configuration that a person has changed,
// and no other byte of it moves.
func TestInitAdds(t *testing.T) {
	t.Parallel()
	one, two := newForeign(t, "sqlite"), newForeign(t, "sqlite")
	chinook(t, one)
	chinook(t, two)
	s := newSite(t, nil)
	config := s.file("countersign.yaml")
	do(t, "", "init", "--source", "chinook=sqlite:"+one.url, "--config", config, "--owner", "olga@shop.example")
	edited := strings.Replace(s.read(t, "countersign.yaml"), "connector: sqlite\n", "connector: sqlite      # ours\n    limits: {   deadline: 3s }\n\n", 1)
	s.write(t, "countersign.yaml", edited)
	s.write(t, "graph.graphql", s.read(t, "graph.graphql")+"extend type Artist @label(field: \"name\")\n")
	kept := map[string]string{}
	for _, name := range []string{"policy/policy.csv", "policy/approvals.yaml"} {
		kept[name] = s.read(t, name)
	}
	do(t, "", "init", "--source", "second=sqlite:"+two.url, "--config", config)
	after := s.read(t, "countersign.yaml")
	at := strings.Index(after, "  second:\n")
	if at < 0 {
		t.Fatalf("the source was not added:\n%s", after)
	}
	rest := regexp.MustCompile(`(?m)^(  second:\n(    .*\n)*)`).ReplaceAllString(after, "")
	if rest != edited {
		t.Errorf("besides the new source the file is\n%q\nand was\n%q", rest, edited)
	}
	for name, was := range kept {
		if s.read(t, name) != was {
			t.Errorf("%s was changed", name)
		}
	}
	if !strings.HasPrefix(s.read(t, "graph.graphql"), "# How the graph looks") || !strings.Contains(s.read(t, "graph.graphql"), `Artist @label(field: "name")`) {
		t.Errorf("graph.graphql lost what was written: %s", s.read(t, "graph.graphql"))
	}
	if out, errs, code := command("", "check", "--config", config); code != 0 {
		t.Errorf("check ended with %d: %s%s", code, out, errs)
	}
	if _, errs, code := command("", "init", "--source", "second=sqlite:"+two.url, "--config", config); code != exitUsage || !strings.Contains(errs, "second") {
		t.Errorf("adding the same source again ended with %d: %s", code, errs)
	}
	if s.read(t, "countersign.yaml") != after {
		t.Error("a refused init changed the file")
	}
}

// TestInitOfDocument: an API that its document describes, called as it is.
func TestInitOfDocument(t *testing.T) {
	t.Parallel()
	d, base, _ := deskSource(t)
	s := newSite(t, nil)
	said := do(t, "", "init", "--source", "desk=openapi:"+base+"/openapi.json", "--config", s.file("countersign.yaml"))
	if out, errs, code := command("", "check", "--config", s.file("countersign.yaml")); code != 0 || errs != "" {
		t.Fatalf("check ended with %d: %s%s", code, out, errs)
	}
	s.write(t, "policy/policy.csv", regexp.MustCompile(`(?m)^# p, `).ReplaceAllString(s.read(t, "policy/policy.csv"), "p, "))
	n := within(t, s)
	owner := firstOwnerSession(t, n)
	query := regexp.MustCompile(`(?m)^  (\{ .*\})$`).FindStringSubmatch(said)
	if query == nil {
		t.Fatalf("init prints no query:\n%s", said)
	}
	n.must(t, owner, query[1], nil)
	// The examples are about the first call that writes: one of a comment.
	_, agent := s.addKey(t, "assistant", "owner")
	a := n.must(t, agent, `mutation { createComment(input: {ticketId: 20, body: "Hello"}) { outcome proposal { id } errors { code message } } }`, nil)
	if a.at("createComment.outcome") != "PROPOSED" {
		t.Fatalf("the agent's call: %s", a.raw)
	}
	id := a.at("createComment.proposal.id")
	if p := n.proposal(t, owner, id); !strings.Contains(p.at("proposal.changes.0.request"), "Hello") || p.at("proposal.changes.0.outcomeClass") != "UNVERIFIABLE" {
		t.Errorf("the owner sees %s", p.raw)
	}
	if got := d.Effects()["createComment"]; got != 0 {
		t.Errorf("%d comments before anybody confirmed", got)
	}
	n.approve(t, owner, id)
	if state := n.settledState(t, owner, id); state != "EXECUTED" || d.Effects()["createComment"] != 1 {
		t.Errorf("it is %s, with %d effects", state, d.Effects()["createComment"])
	}
	if a := n.ask(t, agent, `mutation { createTicket(input: {subject: "x", description: "x", requesterEmail: "a@example.org"}) { outcome } }`, nil); len(a.Errors) == 0 {
		t.Errorf("the agent calls what no line names: %s", a.raw)
	}
}

// TestInitRefuses: what cannot be described is said, and nothing is written.
func TestInitRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]int{
		"crm=postgres:postgres://nobody@127.0.0.1:1/none": exitFailed, "crm=sqlite:" + filepath.Join(dir, "absent.db"): exitFailed, "crm=sqlite:" + garbage: exitFailed,
		"crm=mysql:mysql://x": exitFailed, "crm=oracle:x": exitUsage, "crm": exitUsage, "Bad Name=sqlite:" + garbage: exitFailed,
	} {
		out := t.TempDir()
		stdout, errs, code := command("", "init", "--source", source, "--config", filepath.Join(out, "countersign.yaml"))
		if code != want || errs == "" || strings.Contains(errs, "panic") {
			t.Errorf("init --source %s ended with %d: %s%s", source, code, stdout, errs)
		}
		if entries, err := os.ReadDir(out); err != nil || len(entries) > 0 {
			t.Errorf("init --source %s wrote %v %v", source, entries, err)
		}
	}
}
