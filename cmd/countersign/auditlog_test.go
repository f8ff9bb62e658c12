package main

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestAuditLog: what happens over HTTP is in the export, a checkpoint that was
// kept finds a log that was cut, and no secret is in it.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	olga := s.signIn(t, n, "olga@shop.example")
	for range 3 {
		n.post(t, "/auth/sign-in", nil, `{"email":"lea@shop.example","password":"canary-guess"}`)
		n.post(t, "/auth/sign-in", nil, `{"email":"canary-password-in-the-wrong-field","password":"x"}`)
		n.post(t, "/graphql", http.Header{"Authorization": {"Bearer cs_canary"}, "Content-Type": {"application/json"}}, `{"query":"{ __typename }"}`)
	}
	n.must(t, olga, `mutation Stock { updateItem(id: 3, patch: {stock: {set: 99}}) { outcome } }`, nil)
	n.try(s.tokens["bot"], `{ notes { nodes { body } } }`, nil)
	n.stop(t)
	out := do(t, "", "audit", "export", "--data", s.data())
	kinds := map[string]int{}
	var checkpoints []string
	for line := range strings.Lines(out) {
		var row struct {
			Event *struct {
				Kind, Subject, TraceID string
				Actors                 []struct{ ID string }
				Payload                map[string]any
				Seq                    int
			}
			Checkpoint *struct{ Seq int }
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if row.Checkpoint != nil {
			checkpoints = append(checkpoints, line)
			continue
		}
		e := row.Event
		kinds[e.Kind]++
		if e.Kind == "write.applied" && (e.Subject != "shop.item" || e.Actors[0].ID != "user:olga@shop.example" || len(e.TraceID) != 32 || e.Payload["operation"] != "Stock" || e.Seq == 0) {
			t.Errorf("the write is %s", line)
		}
		if e.Kind == "identity.signInFailed" && e.Subject != "user:lea@shop.example" && e.Subject != "unknown" {
			t.Errorf("a name that nobody has is kept: %s", line)
		}
	}
	// Three guesses each: one event, and one that counts two.
	for kind, want := range map[string]int{"write.applied": 1, "access.denied": 1, "identity.signInFailed": 4, "identity.credentialRefused": 2, "identity.signedIn": 1, "identity.keyMade": 1, "identity.userAdded": 2, "policy.loaded": 1} {
		if kinds[kind] != want {
			t.Errorf("%d events of kind %s, want %d\n%s", kinds[kind], kind, want, out)
		}
	}
	if strings.Contains(out, "canary") || strings.Contains(out, testPassword) || strings.Contains(out, olga) {
		t.Errorf("a secret is in the log:\n%s", out)
	}
	if len(checkpoints) == 0 || do(t, "", "audit", "export", "--data", s.data(), "--checkpoints") != strings.Join(checkpoints, "") {
		t.Errorf("checkpoints are %v", checkpoints)
	}
	if late := do(t, "", "audit", "export", "--data", s.data(), "--since", "2999-01-01"); late != "" {
		t.Errorf("exported since 2999: %s", late)
	}
	auditVerified(t, s.site, checkpoints[len(checkpoints)-1])
}

// auditVerified proves the log with its own key, another's, and a checkpoint.
func auditVerified(t *testing.T, s *site, checkpoint string) {
	t.Helper()
	s.write(t, "kept.jsonl", checkpoint)
	out := do(t, "", "audit", "verify", "--data", s.data(), "--checkpoint", s.file("kept.jsonl"))
	key := regexp.MustCompile(`ed25519:\S+`).FindString(out)
	if key == "" || !strings.Contains(out, "signed up to event") || !strings.Contains(out, "ends at event") {
		t.Fatalf("verify says %s", out)
	}
	// Elsewhere, without the secret, the key that was noted proves it.
	if err := os.Rename(s.file("data/secret.key"), s.file("secret.away")); err != nil {
		t.Fatal(err)
	}
	if out := do(t, "", "audit", "verify", "--data", s.data()); !strings.Contains(out, "not looked at") {
		t.Errorf("without a key: %s", out)
	}
	do(t, "", "audit", "verify", "--data", s.data(), "--key", key)
	if out, _, code := command("", "audit", "verify", "--data", s.data(), "--key", "ed25519:"+strings.Repeat("A", 43)+"="); code != 1 || !strings.Contains(out, "does not verify") {
		t.Errorf("another key: %d %s", code, out)
	}
	if _, errs, code := command("", "audit", "verify", "--data", s.data(), "--key", "nonsense"); code != 2 {
		t.Errorf("no key: %d %s", code, errs)
	}
	f := openForeign(t, "sqlite", s.file("data/countersign.db"))
	f.exec(t, `DELETE FROM audit_event WHERE seq > 2`, `DELETE FROM audit_checkpoint`, `DELETE FROM audit_head`)
	s.remove(t, "data/countersign.state")
	if out := do(t, "", "audit", "verify", "--data", s.data(), "--key", key); !strings.Contains(out, "ends at event 2") {
		t.Errorf("what was cut whole cannot be told: %s", out)
	}
	if out, _, code := command("", "audit", "verify", "--data", s.data(), "--key", key, "--checkpoint", s.file("kept.jsonl")); code != 1 || !strings.Contains(out, "ends at event 2, but event") {
		t.Errorf("a checkpoint that was kept: %d %s", code, out)
	}
}
