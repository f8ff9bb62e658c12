package proposals_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/store"
)

// A child process proposes, approves and executes one change, on a store in a
// file, against a source that this process serves and that counts effects. It
// is killed at a crash point and started again with nothing but its file.

const (
	childVar    = "COUNTERSIGN_TEST_CHILD" // class,point,store file,source URL
	childLease  = 400 * time.Millisecond
	exitKilled  = 86
	childEnough = 60 * time.Second
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(childVar); spec != "" {
		if err := child(strings.Split(spec, ",")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// remote is the source as the child sees it: over a connection that can break.
type remote struct {
	*source
	url string
}

func (r *remote) Apply(ctx context.Context, _ *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, strings.NewReader(string(raw)))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, connectors.Errorf(connectors.CodeOutcomeUnknown, "the connection was lost")
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, connectors.Errorf(connectors.CodeOutcomeUnknown, "the connection was lost")
	}
	if resp.StatusCode != http.StatusOK {
		return nil, connectors.Errorf(connectors.Code(body), "refused")
	}
	effect := new(connectors.Effect)
	return effect, json.Unmarshal(body, effect)
}

// child does the same at every start: what was done before answers itself.
func child(spec []string) error {
	class, point, file, url := connectors.OutcomeClass(spec[0]), spec[1], spec[2], spec[3]
	ctx, cancel := context.WithTimeout(context.Background(), childEnough)
	defer cancel()
	s, err := store.Open(ctx, "sqlite:"+file, store.Options{Mode: store.Server})
	if err != nil {
		return err
	}
	defer s.Close()
	w := &world{auth: newAuthority(), src: newSource(class)}
	gate, issuer := connectors.NewGate(nil)
	w.gate, w.issue = gate.Wrap("crm", &remote{w.src, url}), issuer
	svc := proposals.New(proposals.Config{Store: s, Authorizer: func() proposals.Authorizer { return w.auth.snapshot() },
		Directory: w.auth, Keys: testKeys(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Failpoint: func(name string) {
			if name == point {
				os.Exit(exitKilled) // as a kill: nothing deferred runs, nothing is flushed
			}
		}})
	if err := svc.PolicyLoaded(ctx, tenant); err != nil {
		return err
	}
	r := w.request("new")
	r.IdempotencyKey, r.Digest = "k", "d"
	out, err := svc.Propose(ctx, r)
	if err != nil {
		return err
	}
	if _, err := svc.Approve(ctx, person("user:lea", "lead"), decision(out.Dossier)); err != nil {
		return err
	}
	x := proposals.NewExecutor(proposals.ExecutorConfig{Service: svc, Name: fmt.Sprint("child-", os.Getpid()), Issuer: issuer, Poll: 5 * time.Millisecond,
		Lease: childLease, RequestTime: childLease, Backoff: func(int) time.Duration { return 0 },
		Apply: func(ctx context.Context, _ string, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
			return w.gate.Apply(ctx, p, c)
		}})
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- x.Run(running) }()
	d, err := svc.Await(ctx, tenant, out.Dossier.Proposal.Handle, func(p *proposals.Proposal) bool {
		return p.State.Terminal() || p.State == proposals.OutcomeUnknown
	})
	stop()
	if err = errors.Join(err, <-done); err != nil {
		return err
	}
	fmt.Print(d.Proposal.State)
	return nil
}

// start runs the child; killed tells that it died at its crash point.
func start(t *testing.T, spec ...string) (state string, killed bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childVar+"="+strings.Join(spec, ","))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitKilled {
		return "", true
	}
	if err != nil {
		t.Fatalf("the child: %v %s", err, stderr.String())
	}
	return string(out), false
}

func TestKilledAtEveryPoint(t *testing.T) {
	for _, point := range []string{"P0", "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P10"} {
		t.Run(point, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) { killAt(t, w.src, point) })
		})
	}
}

func killAt(t *testing.T, src *source, point string) {
	drop := point == "P10" // the source does it, and the connection is lost
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c := new(connectors.Change)
		if err := json.NewDecoder(r.Body).Decode(c); err != nil {
			http.Error(rw, string(connectors.CodeBadInput), http.StatusBadRequest)
			return
		}
		effect, err := src.apply(c)
		if drop {
			drop = false
			panic(http.ErrAbortHandler)
		}
		if err != nil {
			rw.WriteHeader(http.StatusConflict)
			_, _ = io.WriteString(rw, string(connectors.CodeOf(err)))
			return
		}
		_ = json.NewEncoder(rw).Encode(effect)
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "store.db")
	state, killed := start(t, string(src.class), point, file, srv.URL)
	if killed == (point == "P10") {
		t.Fatalf("killed: %v", killed)
	}
	if killed {
		state, _ = start(t, string(src.class), "", file, srv.URL)
	}
	want, effects := proposals.Executed, 1
	if src.class == connectors.Unverifiable {
		switch point {
		case "P5":
			want, effects = proposals.OutcomeUnknown, 0
		case "P6", "P7", "P10":
			want = proposals.OutcomeUnknown
		}
	}
	if state != string(want) {
		t.Fatalf("%s, want %s", state, want)
	}
	if got, _ := src.count(); got != effects {
		t.Fatalf("%d effects, want %d", got, effects)
	}
}
