package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/countersign/countersign/console/browsertest"
)

// TestHTTPAudits runs the audits of GraphQL over HTTP (npm graphql-http) against
// the program: every MUST and SHOULD holds.
func TestHTTPAudits(t *testing.T) {
	t.Parallel()
	dir := browsertest.Install(t, "testdata/audits")
	s := newShop(t, "")
	n := within(t, s.site)
	cmd := exec.CommandContext(t.Context(), "node", "audits.mjs", n.url+"/graphql")
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	held := map[string]int{}
	lines := bufio.NewScanner(&out)
	for lines.Scan() {
		var a struct{ ID, Name, Status, Reason string }
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(a.Name, " ")
		held[kind]++
		// With application/json a refused request is 200, which servers MAY do
		// otherwise.
		if a.Status != "ok" && (kind != "MAY" || a.Status != "notice") {
			t.Errorf("%s %s: %s %s", a.ID, a.Name, a.Status, a.Reason)
		}
	}
	// As many as this version of the suite has: none is lost without a word.
	if held["MUST"] != 13 || held["SHOULD"] != 20 {
		t.Errorf("audits by kind: %v", held)
	}
}
