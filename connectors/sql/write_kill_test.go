//go:build unix

package sql_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

// accounts is a system in which every effect adds 1.
var accounts = []string{
	`CREATE TABLE accounts (id integer PRIMARY KEY, balance integer NOT NULL)`,
	`INSERT INTO accounts VALUES (1, 0)`,
}

func balance(t *testing.T, c connectors.Connector) string {
	t.Helper()
	return ask(t, c, &connectors.Query{Select: &connectors.Select{Collection: "accounts", Columns: columns("balance")}})[0]
}

// deposit is a marked change that adds 1.
func deposit(void bool) *connectors.Change {
	return &connectors.Change{Version: connectors.ChangeVersion, Source: "bank", Tenant: "default",
		Steps: []connectors.Step{{ID: "d", Kind: connectors.Update, Collection: "accounts", Return: []string{"balance"},
			Key: []connectors.Assign{{Field: "id", Value: connectors.Int(1)}},
			Set: []connectors.Assign{{Field: "balance", Value: connectors.Int(1), Increment: true}}}},
		Marker: &connectors.Marker{Proposal: "p", Change: 0, ContentHash: "h", Void: void}}
}

func bank(t testing.TB, dialect, url string) *sql.Engine {
	t.Helper()
	e, _ := open(t, sql.Config{Name: "bank", Dialect: dialect, URL: url, Outcome: map[string]string{"*": string(connectors.Transactional)}})
	return e
}

// TestKilledWritersHaveOneEffect kills a process at each point of a change and
// runs the change again: exactly one effect, whatever was killed.
func TestKilledWritersHaveOneEffect(t *testing.T) {
	if point := os.Getenv("COUNTERSIGN_TEST_KILL_AT"); point != "" {
		e := bank(t, os.Getenv("COUNTERSIGN_TEST_DIALECT"), os.Getenv("COUNTERSIGN_TEST_URL"))
		e.SetFailpoint(func(at string) {
			if at == point {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until it takes effect
			}
		})
		_, err := e.Apply(context.Background(), nil, deposit(false))
		t.Fatalf("alive after %s: %v", point, err)
	}
	for _, dialect := range dialects {
		for _, point := range []string{sql.PointStatements, sql.PointCommit, sql.PointCommitted} {
			t.Run(dialect+" "+point, func(t *testing.T) {
				url := database(t, dialect, accounts...)
				e := bank(t, dialect, url)
				if err := e.Prepare(t.Context(), ""); err != nil {
					t.Fatal(err)
				}
				cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWritersHaveOneEffect$")
				cmd.Env = append(os.Environ(), "COUNTERSIGN_TEST_KILL_AT="+point, "COUNTERSIGN_TEST_DIALECT="+dialect, "COUNTERSIGN_TEST_URL="+url)
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the child was not killed: %v\n%s", err, out)
				}
				effect := applyPatiently(t, e, deposit(false))
				if effect.Repeated != (point == sql.PointCommitted) {
					t.Errorf("repeated: %t", effect.Repeated)
				}
				if got := effect.Steps[0].After[0].Get("balance").Text; got != "1" {
					t.Errorf("the effect tells a balance of %s", got)
				}
				again := applyPatiently(t, e, deposit(true))
				if !again.Repeated || again.Evidence != "marker" || balance(t, e) != "1" {
					t.Errorf("at last %+v and a balance of %s", again, balance(t, e))
				}
			})
		}
	}
}

// applyPatiently repeats a change while the server still holds the locks of a
// killed process.
func applyPatiently(t *testing.T, e *sql.Engine, c *connectors.Change) *connectors.Effect {
	t.Helper()
	for t.Context().Err() == nil {
		effect, err := e.Apply(t.Context(), nil, c)
		if connectors.CodeOf(err) == connectors.CodeLockTimeout {
			continue
		}
		if err != nil {
			t.Fatalf("%v: %v", err, connectors.AsError(err).Cause)
		}
		return effect
	}
	return nil
}

// A lossyProxy stands before a server. Once deaf, it takes the next answer of the
// server and ends the connection instead of passing it on.
type lossyProxy struct {
	net.Listener
	target string
	deaf   atomic.Bool
}

func newLossyProxy(t *testing.T, target string) *lossyProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossyProxy{Listener: l, target: target}
	t.Cleanup(func() { l.Close() })
	go p.serve()
	return p
}

func (p *lossyProxy) serve() {
	for {
		client, err := p.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		go func() {
			_, _ = io.Copy(server, client)
			server.Close()
		}()
		go func() {
			defer client.Close()
			buf := make([]byte, 1<<16)
			for {
				n, err := server.Read(buf)
				if err != nil || p.deaf.Load() {
					server.Close()
					return
				}
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// TestLostAnswerToCommit: the database committed and the answer was lost. The
// outcome is unknown, never told as failed; the same change again finds the
// marker, and one that was made void before finds that it runs no more.
func TestLostAnswerToCommit(t *testing.T) {
	raw := database(t, sql.Postgres, accounts...)
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	p := newLossyProxy(t, u.Host)
	u.Host = p.Addr().String()
	e := bank(t, sql.Postgres, u.String())
	if err := e.Prepare(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	e.SetFailpoint(func(at string) { p.deaf.Store(at == sql.PointCommit) })
	_, err = e.Apply(t.Context(), nil, deposit(false))
	if connectors.CodeOf(err) != connectors.CodeOutcomeUnknown {
		t.Fatalf("a lost answer to COMMIT: %v", err)
	}
	p.deaf.Store(false)
	e.SetFailpoint(nil)
	for _, void := range []bool{false, true} {
		effect, err := e.Apply(t.Context(), nil, deposit(void))
		if err != nil || !effect.Repeated || effect.Steps[0].After[0].Get("balance").Text != "1" {
			t.Errorf("again (void %t): %+v, %v", void, effect, err)
		}
	}
	if got := balance(t, e); got != "1" {
		t.Errorf("a balance of %s", got)
	}

	// Without a marker the loss before COMMIT is proof that nothing was done.
	plain := deposit(false)
	plain.Marker = nil
	e.SetFailpoint(func(at string) {
		if at == sql.PointStatements {
			p.deaf.Store(true)
		}
	})
	marked := deposit(false)
	marked.Marker.Proposal = "another"
	if _, err := e.Apply(t.Context(), nil, marked); connectors.CodeOf(err) != connectors.CodeUpstreamUnavailable {
		t.Errorf("a connection lost between the statements: %v", err)
	}
	p.deaf.Store(false)
	e.SetFailpoint(nil)
	if got := balance(t, e); got != "1" {
		t.Errorf("a balance of %s after a change that was not committed", got)
	}
	if _, err := e.Apply(t.Context(), nil, plain); err != nil || balance(t, e) != "2" {
		t.Errorf("the source does not recover: %v", err)
	}
}

// TestLostAnswerToOneRoundTrip: the same where all of a change travels at once.
func TestLostAnswerToOneRoundTrip(t *testing.T) {
	raw := database(t, sql.Postgres, accounts...)
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	p := newLossyProxy(t, u.Host)
	u.Host = p.Addr().String()
	e, _ := open(t, sql.Config{Name: "bank", Dialect: sql.Postgres, URL: u.String(), PoolMax: 1})
	to := func(n int64) connectors.Step {
		return updateByID("accounts", 1, set("balance", connectors.Int(n)), "balance")
	}
	apply(t, e, to(5)) // the statements are prepared from here on
	p.deaf.Store(true)
	if _, err := e.Apply(t.Context(), nil, change(to(6))); connectors.CodeOf(err) != connectors.CodeOutcomeUnknown {
		t.Errorf("a lost answer: %v", err)
	}
	p.deaf.Store(false)
	if got := balance(t, e); got != "6" {
		t.Errorf("a balance of %s", got)
	}
	if effect := apply(t, e, to(7)); effect.Steps[0].After[0].Get("balance").Text != "7" {
		t.Errorf("%+v", effect)
	}
}

// TestVoidWaitsForTheChange: a void marker cannot overtake a change under way.
func TestVoidWaitsForTheChange(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			url := database(t, dialect, accounts...)
			one, two := bank(t, dialect, url), bank(t, dialect, url)
			if err := one.Prepare(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			reached, release := make(chan struct{}), make(chan struct{})
			one.SetFailpoint(func(at string) {
				if at == sql.PointCommit {
					close(reached)
					<-release
				}
			})
			done := make(chan error)
			go func() {
				_, err := one.Apply(context.Background(), nil, deposit(false))
				done <- err
			}()
			<-reached
			if _, err := two.Apply(t.Context(), nil, deposit(true)); connectors.CodeOf(err) != connectors.CodeLockTimeout {
				t.Errorf("a void marker beside the change: %v", err)
			}
			close(release)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if effect := applyPatiently(t, two, deposit(true)); !effect.Repeated || effect.Evidence != "marker" {
				t.Errorf("a void marker after the change: %+v", effect)
			}
			if got := balance(t, two); got != "1" {
				t.Errorf("a balance of %s", got)
			}
		})
	}
}
