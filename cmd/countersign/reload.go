package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
)

// lookEvery is how often the files are looked at.
const lookEvery = time.Second

// The kinds of events of reloads; the policy's own is policy.loaded.
const (
	kindStarted  = "configuration.loaded"
	kindReloaded = "configuration.reloaded"
	kindRefused  = "configuration.refused"
)

// A reloader puts changed files in force while the gateway runs: the policy with
// its approvals, the graph file and the trusted documents. All of it is one snapshot, put in place at
// once; files with a mistake change nothing. The configuration and the lock are
// read at the start: for them it only says that a restart is needed.
type reloader struct {
	app *app
	// project is what is in force. Only the goroutine of run uses it.
	project *project
	log     *slog.Logger
	// hurry is a signal to look at once, and load whatever changed.
	hurry <-chan os.Signal

	seen    string // stamps of the files when they were looked at last
	loaded  string // digest of the live files in force, or refused
	fixed   string // digest of those that need a restart
	unsaid  bool   // the store has not been told of the policy in force
	mu      sync.Mutex
	refused string // why the files on disk are not in force
	stale   string // what needs a restart
}

func newReloader(a *app, p *project) *reloader {
	r := &reloader{app: a, project: p, log: a.log}
	r.seen, r.loaded, r.fixed = r.stamps(), filesDigest(r.live()), filesDigest(r.restart())
	return r
}

// notes are what /readyz says.
func (r *reloader) notes() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc([]string{r.refused, r.stale}, func(s string) bool { return s == "" })
}

// live are the files that are loaded while the gateway runs, sorted.
func (r *reloader) live() []string {
	cfg := r.project.cfg
	files := []string{inDir(cfg.Dir, r.project.graphFile())}
	rules, documents := inDir(cfg.Dir, cmp.Or(cfg.Policy, policyName)), inDir(cfg.Dir, cmp.Or(cfg.Operations, opsName))
	for _, pattern := range []string{rules + "/*.csv", rules + "/*.yaml", rules + "/*.yml", documents + "/*.graphql"} {
		found, err := filepath.Glob(filepath.FromSlash(pattern))
		if err == nil { // a folder whose name is no pattern is read at a signal only
			files = append(files, found...)
		}
	}
	slices.Sort(files)
	return files
}

// restart are the files that are read at the start only.
func (r *reloader) restart() []string {
	return []string{r.project.cfg.File, filepath.Join(r.project.cfg.Dir, lockName)}
}

// snapshot is what the gateway answers by.
func (p *project) snapshot() *gateway.Snapshot {
	return gateway.NewSnapshot(p.catalog, p.policy).WithTrusted(p.trusted)
}

// stamps tell whether a file may have changed, without reading it.
func (r *reloader) stamps() string {
	var b strings.Builder
	for _, name := range append(r.live(), r.restart()...) {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

// filesDigest is a digest of files' names and contents. One that cannot be read is
// as one that is not there.
func filesDigest(files []string) string {
	h := sha256.New()
	for _, name := range files {
		if data, err := os.ReadFile(name); err == nil {
			sum := sha256.Sum256(data)
			fmt.Fprintf(h, "%s %x\n", name, sum)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// run looks at the files until ctx ends. What changed is loaded when it has been
// the same for one look: several files are rarely written at once.
func (r *reloader) run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	moving := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.hurry:
			r.log.Info("reloading: asked by a signal")
			r.load(ctx)
			moving = false
		case <-ticker.C:
			stamps := r.stamps()
			switch {
			case stamps != r.seen:
				r.seen, moving = stamps, true
			case moving:
				moving = false
				r.load(ctx)
			case r.unsaid:
				r.tell(ctx)
			}
		}
	}
}

// load puts the files in force, or says why not.
func (r *reloader) load(ctx context.Context) {
	if digest := filesDigest(r.restart()); digest != r.fixed {
		r.fixed = digest
		r.say(&r.stale, "the configuration or the lock was changed: restart to use it")
		r.log.Warn("the configuration or the lock was changed; they are read at the start only: restart to use them")
	}
	digest := filesDigest(r.live())
	if digest == r.loaded {
		return
	}
	r.loaded = digest
	next := &project{cfg: r.project.cfg, lock: r.project.lock, schemas: r.project.schemas}
	problems := next.build()
	if policy.Errors(problems) {
		r.refuse(problems)
		return
	}
	for _, p := range problems {
		r.log.Warn("reloaded with a warning", "problem", problemLine(p))
	}
	from := r.project.policy.Version()
	r.project = next
	r.app.gateway.Swap(next.snapshot())
	r.say(&r.refused, "")
	r.log.Info("reloaded", "policy", next.policy.Version(), "catalog", next.catalog.Version)
	r.app.journal.Note(r.event(kindReloaded, from, map[string]any{"catalog": next.catalog.Version, "files": digest}))
	r.tell(ctx)
}

// tell makes the policy in force that of the store: no decision that was computed
// on another one counts any more. A store that is away is told later; until then
// nothing is decided here.
func (r *reloader) tell(ctx context.Context) {
	err := r.app.service.PolicyLoaded(ctx, policy.DefaultTenant)
	if r.unsaid = err != nil; r.unsaid && ctx.Err() == nil {
		r.log.Error("the store does not know of the policy in force yet", "error", err)
	}
}

// refuse keeps what is in force and says so everywhere.
func (r *reloader) refuse(problems []config.Problem) {
	var lines []string
	for _, p := range problems {
		if !p.Warning {
			lines = append(lines, problemLine(p))
		}
	}
	r.say(&r.refused, fmt.Sprintf("the files on disk are not in force: %d problems, the first: %s", len(lines), lines[0]))
	r.log.Error("not reloaded: the files have problems, and what was in force stays", "problems", lines)
	r.app.journal.Note(r.event(kindRefused, r.project.policy.Version(), map[string]any{"problems": lines[:min(len(lines), maxProblems)], "files": r.loaded}))
}

// maxProblems bounds what an event tells.
const maxProblems = 20

func (r *reloader) say(what *string, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*what = text
}

// event tells of the configuration. The system did it: whoever wrote the files
// is not known here.
func (r *reloader) event(kind, from string, details map[string]any) audit.Event {
	e := audit.Event{Tenant: policy.DefaultTenant, Kind: kind, Subject: "configuration", From: from, To: r.project.policy.Version(), PolicyVersion: r.project.policy.Version()}
	if raw, err := json.Marshal(details); err == nil {
		e.Payload = raw
	}
	return e
}

// started is the event of a start.
func (r *reloader) started() audit.Event {
	return r.event(kindStarted, "", map[string]any{"catalog": r.project.catalog.Version, "files": r.loaded, "configuration": r.fixed})
}

// problemLine is a problem on one line, without the file's text.
func problemLine(p config.Problem) string {
	return fmt.Sprintf("%s:%d: %s: %s", filepath.Base(p.File), p.Line, p.Code, plain(p.Message))
}
