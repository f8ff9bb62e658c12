package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors/connectortest"
)

// A keeper backs the store of a site up and restores it, while no server runs.
type keeper struct {
	backup, restore func(t testing.TB)
}

// storeIn configures where the site's store is.
func (s *site) storeIn(t testing.TB, kind string) keeper {
	t.Helper()
	if kind == "sqlite" {
		names := []string{"countersign.db", "countersign.db-wal", "countersign.db-shm"}
		move := func(t testing.TB, from, to string) {
			for _, name := range names {
				data, err := os.ReadFile(s.file(from + "/" + name))
				switch {
				case os.IsNotExist(err):
					err = os.RemoveAll(s.file(to + "/" + name))
				case err == nil:
					s.write(t, to+"/"+name, string(data))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		return keeper{func(t testing.TB) { move(t, "data", "backup") }, func(t testing.TB) { move(t, "backup", "data") }}
	}
	u, err := url.Parse(connectortest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "countersign.yaml", s.read(t, "countersign.yaml")+"store: ${STORE_URL}\n")
	s.write(t, ".env", s.read(t, ".env")+"STORE_URL="+u.String()+"\n")
	name := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	admin := openForeign(t, "postgres", u.String())
	move := func(t testing.TB, from, to string) {
		admin.exec(t, fmt.Sprintf(`DROP DATABASE IF EXISTS %q WITH (FORCE)`, to))
		// The server may not have noticed yet that a killed process is gone.
		admin.rows(t, fmt.Sprintf(`SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '%s'`, from))
		admin.exec(t, fmt.Sprintf(`CREATE DATABASE %q TEMPLATE %q`, to, from))
	}
	backup := name + "_backup"
	t.Cleanup(func() { admin.exec(t, fmt.Sprintf(`DROP DATABASE IF EXISTS %q`, backup)) })
	return keeper{func(t testing.TB) { move(t, name, backup) }, func(t testing.TB) { move(t, backup, name) }}
}

func (n *node) readyz(t testing.TB) string {
	t.Helper()
	res, err := http.Get(n.url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("/readyz: %s %s %v", res.Status, body, err)
	}
	return string(body)
}

// TestRestoredStore (P11): a proposal is approved, or claimed, in a backup of
// the store, and done after it. Over the backup nothing is done a second time:
// the marker and the key say so, and of what has neither nobody knows.
func TestRestoredStore(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	for _, kind := range []string{"sqlite", "postgres"} {
		for _, point := range []string{"P3", "P4"} {
			for _, class := range []string{"sqlite", "unprepared", "idempotent", "unverifiable"} {
				if kind == "postgres" && class != "unverifiable" {
					continue // what differs is the store
				}
				t.Run(strings.Join([]string{kind, point, class}, " "), func(t *testing.T) {
					t.Parallel()
					y.restoredStore(t, kind, point, class)
				})
			}
		}
	}
}

func (y *yard) restoredStore(t *testing.T, kind, point, class string) {
	s, d := y.copy(t, class)
	store := s.storeIn(t, kind)
	if kind == "postgres" { // the people are made anew in it
		s.tokens = map[string]string{}
		s.addUser(t, "asker", "asker")
		s.addUser(t, "lead", "lead")
		s.addUser(t, "boss", "lead")
		_, s.tokens["bot"] = s.addKey(t, "bot", "asker")
	}
	n := serveFailing(t, s, "COUNTERSIGN_TEST_FAILPOINT="+point, shortLease)
	if kind == "postgres" {
		for _, who := range []string{"asker", "lead", "boss"} {
			s.signIn(t, n, who)
		}
	}
	lead := s.tokens["lead"]
	id := d.propose(t, n, s.tokens["bot"], "key")
	if a, err := n.tryApprove(t, lead, id); err == nil && len(a.Errors) > 0 { // the answer may be lost with the process
		t.Fatalf("approving: %s", a.raw)
	}
	n.dies(t)
	store.backup(t)

	n = serve(t, s)
	if got := n.settledState(t, lead, id); got != "EXECUTED" {
		t.Fatalf("after the backup it is %s", got)
	}
	if text := n.readyz(t); strings.Contains(text, "restored") {
		t.Errorf("nothing was restored, and /readyz says %s", text)
	}
	n.stop(t)
	store.restore(t)

	state, unknown := "EXECUTED", 0
	if class == "unverifiable" || class == "unprepared" {
		state, unknown = "OUTCOME_UNKNOWN", 1
	}
	n = serveFailing(t, s, shortLease)
	if got := n.settledState(t, lead, id); got != state {
		t.Errorf("over the backup it is %s, not %s: %s", got, state, n.proposal(t, lead, id).raw)
	}
	if text, want := n.readyz(t), fmt.Sprintf("store: restored from an older backup; %d proposals became OUTCOME_UNKNOWN\n", unknown); !strings.Contains(text, want) {
		t.Errorf("/readyz says %s", text)
	}
	if want := fmt.Sprintf("unknown=%d", unknown); !strings.Contains(n.stderr.String(), "restored from an older backup") || !strings.Contains(n.stderr.String(), want) {
		t.Errorf("the log does not say %s:\n%s", want, n.stderr)
	}
	n.stop(t)

	// The recovery is over, and stays over.
	n = serve(t, s)
	if text := n.readyz(t); strings.Contains(text, "restored") {
		t.Errorf("at the start after that /readyz still says %s", text)
	}
	if state == "OUTCOME_UNKNOWN" {
		y.settleUnknown(t, n, s, d, id, 1)
	}
	n.stop(t)
	if got := d.effects(t); got != 1 {
		t.Errorf("%d effects", got)
	}
	do(t, "", "audit", "verify", "--data", s.data(), "--config", s.file("countersign.yaml"))
}
