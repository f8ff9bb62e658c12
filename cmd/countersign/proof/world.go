package proof

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/memory"
	"github.com/countersign/countersign/graph"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/store"
)

// A world is everything that one run has for itself: the systems with the given
// records, a store, and what stands over them.
type world struct {
	store   *store.Store
	service *proposals.Service
	door    *gateway.Gateway
	end     func()
}

// storeName is the file of a store in its folder.
const storeName = "countersign.db"

// world makes one. The store is a copy of one that was made once: making its
// tables costs more than everything else.
func (r *runner) world(ctx context.Context, dir string) (*world, error) {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, err
	}
	fresh := r.template == ""
	if !fresh {
		data, err := os.ReadFile(r.template)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, storeName), data, 0o600); err != nil {
			return nil, err
		}
	}
	w, err := r.assemble(ctx, dir)
	if err != nil || !fresh {
		return w, err
	}
	if err := errors.Join(w.service.PolicyLoaded(ctx, policy.DefaultTenant), w.close()); err != nil {
		return nil, err
	}
	template := filepath.Join(r.dir, "template.db")
	if err := os.Rename(filepath.Join(dir, storeName), template); err != nil {
		return nil, err
	}
	r.template = template
	return r.world(ctx, dir)
}

// passing stands for validators over HTTP, which tests of a policy do not call.
type passing struct{}

// Ask implements policy.Asker.
func (passing) Ask(context.Context, *policy.Remote, []byte) (*policy.Answer, error) {
	return &policy.Answer{OK: true}, nil
}

// assemble puts the rooms together as the server does.
func (r *runner) assemble(ctx context.Context, dir string) (*world, error) {
	w := &world{}
	var err error
	if w.store, err = store.Open(ctx, "sqlite:"+filepath.Join(dir, storeName), store.Options{Mode: store.Tool, DataDir: dir}); err != nil {
		return nil, err
	}
	gate, issuer := connectors.NewGate(nil)
	exec := &execute.Executor{Sources: map[string]connectors.Connector{}, Issuer: issuer, Asker: passing{}}
	for name, g := range r.given {
		m, err := memory.New(g.schema, g.records)
		if err != nil {
			return nil, errors.Join(err, w.store.Close())
		}
		answer(m)
		exec.Sources[name] = gate.Wrap(name, m)
	}
	quiet := slog.New(slog.DiscardHandler)
	w.service = proposals.New(proposals.Config{Store: w.store, Authorizer: func() proposals.Authorizer { return w.door.Authorizer() },
		Directory: &directory{people: r.people, policy: r.cfg.Policy}, Keys: proposals.Keys{Current: "test", ByID: map[string][]byte{"test": make([]byte, 32)}},
		TraceID: graph.TraceID, Log: quiet})
	w.door = gateway.New(gateway.Config{Executor: exec, AnyDocument: true, Proposals: w.service, Sources: systems{},
		Control: &graph.Resolver{Proposals: w.service, Audit: w.store, Sources: systems{}.States}, Limits: r.cfg.Limits,
		Sealer: func(string) plan.Sealer { return sealer{} }, Pages: http.NotFoundHandler(), Log: quiet, Now: time.Now}, r.snap)
	x := proposals.NewExecutor(proposals.ExecutorConfig{Service: w.service, Name: "test", Issuer: issuer,
		Apply: func(ctx context.Context, source string, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
			return exec.Sources[source].Apply(ctx, p, c)
		}})
	running, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = x.Run(running) }) // ends with stop, and has no other error
	wg.Go(func() { _ = w.service.Run(running) })
	w.end = func() { stop(); wg.Wait(); w.door.Close() }
	return w, nil
}

func (w *world) close() error {
	w.end()
	return w.store.Close()
}

// sealer makes cursors that say what they hold.
type sealer struct{}

func (sealer) Seal(plain []byte) string { return string(plain) }

func (sealer) Digest([]byte) string { return strings.Repeat("#", 32) }

func (sealer) Open(sealed string) ([]byte, error) { return []byte(sealed), nil }

// systems are the sources, none of which is asked who it is.
type systems struct{}

// States implements gateway.SourceStates.
func (systems) States() []graph.SourceState { return nil }

// Identity implements gateway.SourceStates.
func (systems) Identity(_ context.Context, source string) (string, error) {
	return "memory:" + source, nil
}

// directory knows everybody under who.
type directory struct {
	people map[string]*policy.Principal
	policy *policy.Engine
}

// Current implements policy.Directory.
func (d *directory) Current(_ context.Context, _, id string) (*policy.Principal, time.Time, error) {
	for _, p := range d.people {
		if p.ID == id {
			out := *p
			out.Interactive, out.CredentialID = false, ""
			return &out, time.Now(), nil
		}
	}
	return nil, time.Time{}, connectors.Errorf(connectors.CodeForbidden, "the tests know nobody called %s", id)
}

// Persons implements policy.Directory: in a test nobody has two accounts.
func (d *directory) Persons(_ context.Context, _ string, ids []string) (map[string]string, error) {
	out := make(map[string]string, len(ids))
	for _, id := range ids {
		out[id] = id
	}
	return out, nil
}

// Holders implements policy.Directory.
func (d *directory) Holders(_ context.Context, _ string, roles []string) ([]string, error) {
	var out []string
	for _, p := range d.people {
		held := d.policy.Expand(p)
		if p.Kind == policy.Human && slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(held, r) }) {
			out = append(out, p.ID)
		}
	}
	for _, role := range roles {
		// Whom a line names may decide, whether or not a test has them: a change is
		// not without a reviewer because the test says nothing of them.
		_, members := d.policy.Holding(role)
		for _, m := range members {
			if strings.HasPrefix(m, "user:") && !slices.Contains(out, m) {
				out = append(out, m)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}
