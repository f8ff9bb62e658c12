package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/guard"
	"github.com/countersign/countersign/connectors/httpcall"
	"github.com/countersign/countersign/connectors/openapi"
	"github.com/countersign/countersign/connectors/sql"
	"github.com/countersign/countersign/graph"
	"github.com/countersign/countersign/graph/model"
)

// connect makes the connector of a source. It dials nothing. pinned is nil
// where the system is only described.
func connect(cfg *config.Config, name string, s config.Source, pinned *connectors.Schema, log *slog.Logger) (connectors.Connector, error) {
	switch s.Connector {
	case sql.Postgres, sql.SQLite:
		return connectSQL(cfg, name, s, pinned)
	case "openapi":
		return connectOpenAPI(cfg, name, s, pinned, log)
	}
	return nil, connectors.Errorf(connectors.CodeUnsupported, "connector %q is not supported yet", s.Connector)
}

func connectSQL(cfg *config.Config, name string, s config.Source, pinned *connectors.Schema) (connectors.Connector, error) {
	address := s.URL
	if s.Connector == sql.SQLite {
		address = inDir(cfg.Dir, strings.TrimPrefix(address, "sqlite:"))
	}
	c := sql.Config{Name: name, Dialect: s.Connector, URL: address, Include: s.Include, Exclude: s.Exclude, Keys: s.Keys,
		Version: s.Version, ReadOnly: s.ReadOnly, Preview: s.Preview, Outcome: map[string]string{}, PoolMax: s.Pool.Max,
		StatementTimeout: s.Pool.StatementTimeout, LockTimeout: s.Pool.LockTimeout}
	for _, r := range s.References {
		c.References = append(c.References, sql.Reference(r))
	}
	for k, o := range s.Outcome {
		c.Outcome[k] = o.Class
	}
	return sql.Open(c, pinned)
}

func connectOpenAPI(cfg *config.Config, name string, s config.Source, pinned *connectors.Schema, log *slog.Logger) (connectors.Connector, error) {
	c := openapi.Config{Name: name, BaseURL: s.URL, Headers: s.Headers, Include: s.Include, Exclude: s.Exclude, ReadOnly: s.ReadOnly,
		Collections: map[string]openapi.CollectionConfig{}, Outcome: map[string]openapi.OutcomeConfig{}, Log: log,
		Limits: openapi.Limits{CallsPerOperation: s.Limits.CallsPerOperation, Timeout: s.Limits.Deadline}}
	var err error
	if pinned == nil {
		c.SpecData, err = readSpec(cfg.Dir, s.Spec)
	} else {
		c.SpecData, err = keptSpec(cfg.Dir, name, s.Spec)
	}
	if err != nil {
		return nil, err
	}
	c.Auth = httpcall.Auth{Bearer: s.Auth.Bearer}
	if b := s.Auth.Basic; b != nil {
		c.Auth.Basic = &httpcall.Basic{User: b.User, Password: b.Password}
	}
	if k := s.Auth.APIKey; k != nil {
		c.Auth.APIKey = &httpcall.APIKey{Name: k.Header, In: "header", Value: k.Value}
		if k.Query != "" {
			c.Auth.APIKey.Name, c.Auth.APIKey.In = k.Query, "query"
		}
	}
	for k, col := range s.Collections {
		c.Collections[k] = openapiCollection(col)
	}
	for k, o := range s.Outcome {
		c.Outcome[k] = openapi.OutcomeConfig{Class: connectors.OutcomeClass(o.Class), Header: o.Header, Keep: o.Keep}
	}
	return openapi.Open(c, pinned)
}

func openapiCollection(col config.Collection) openapi.CollectionConfig {
	out := openapi.CollectionConfig{List: col.List, Get: col.Get, Create: col.Create, Update: col.Update, Delete: col.Delete,
		Key: col.Key, Items: col.Items, Record: col.Record, Filter: map[string]map[connectors.Op]string{}}
	if b := col.Batch; b != nil {
		out.Batch = openapi.BatchConfig{Operation: b.Operation, Parameter: b.Parameter, Max: b.Max}
	}
	if p := col.Page; p != nil {
		out.Page = openapi.PageConfig{Style: p.Style, Next: p.Next, Size: p.Size, Parameter: p.Parameter, First: p.First, Max: p.Max}
	}
	for field, f := range col.Filter {
		ops := map[connectors.Op]string{}
		for op, parameter := range f {
			ops[connectors.Op(op)] = parameter
		}
		out.Filter[field] = ops
	}
	return out
}

func inDir(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// maxSpec bounds an OpenAPI document.
const maxSpec = 64 << 20

// specFile is where the copy of a fetched document is kept, reviewed like the
// lock.
func specFile(dir, name string) string { return filepath.Join(dir, "specs", name+".openapi") }

// keptSpec reads the document that the lock was made of: serve fetches nothing.
func keptSpec(dir, name, spec string) ([]byte, error) {
	if !isURL(spec) {
		return readSpec(dir, spec)
	}
	data, err := os.ReadFile(specFile(dir, name))
	if err != nil {
		return nil, connectors.Errorf(connectors.CodeBadInput, "the document of source %s was never fetched: countersign refresh %s --accept", name, name).WithCause(err)
	}
	return data, nil
}

// keepSpec keeps a fetched document beside the configuration.
func keepSpec(dir, name string, s config.Source) error {
	if s.Connector != "openapi" || !isURL(s.Spec) {
		return nil
	}
	data, err := readSpec(dir, s.Spec)
	if err != nil {
		return err
	}
	return writeFile(specFile(dir, name), data, 0o644)
}

func isURL(spec string) bool {
	u, err := url.Parse(spec)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// readSpec reads an OpenAPI document from a file, or from a URL: only describe,
// init and refresh do that.
func readSpec(dir, spec string) ([]byte, error) {
	if !isURL(spec) {
		data, err := os.ReadFile(inDir(dir, spec))
		if err != nil {
			return nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the document %s cannot be read", spec).WithCause(err)
		}
		return data, nil
	}
	client := &http.Client{Timeout: 30 * time.Second}
	res, err := client.Get(spec)
	if err != nil {
		return nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the document cannot be fetched").WithCause(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxSpec+1))
	switch {
	case err != nil:
		return nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the document cannot be fetched").WithCause(err)
	case res.StatusCode != http.StatusOK:
		return nil, connectors.Errorf(connectors.CodeUpstreamError, "fetching the document was answered %s", res.Status)
	case len(data) > maxSpec:
		return nil, connectors.Errorf(connectors.CodeTooLarge, "the document is larger than %d bytes", maxSpec)
	}
	return data, nil
}

// sources are the connectors of a running gateway, with what is known of the
// systems behind them.
type sources struct {
	log    *slog.Logger
	seen   func(ctx context.Context, source, identity string) error
	order  []string
	states map[string]*sourceState
	// gated by name: what the executors get.
	gated map[string]connectors.Connector
}

// A sourceState is one source: its decorated connector, and what its last
// answers told.
type sourceState struct {
	name, kind string
	raw        connectors.Connector

	mu       sync.Mutex
	status   model.CountersignSourceStatus
	message  string
	identity string
}

// Identities and states are learned again after this long where a system did
// not answer.
const (
	learnFirst = 500 * time.Millisecond
	learnMost  = 15 * time.Second
)

func newSources(log *slog.Logger, seen func(ctx context.Context, source, identity string) error) *sources {
	return &sources{log: log, seen: seen, states: map[string]*sourceState{}, gated: map[string]connectors.Connector{}}
}

// add puts the decorators before a connector, the gate outermost.
func (s *sources) add(gate *connectors.Gate, name, kind string, c connectors.Connector, l config.SLimits) {
	st := &sourceState{name: name, kind: kind, status: model.CountersignSourceStatusUnknown}
	// A full bulkhead says nothing of the system, so what is observed is inside.
	st.raw = guard.Wrap(&observed{Connector: c, state: st}, guard.Limits{Deadline: l.Deadline, Concurrent: l.Concurrency})
	s.order = append(s.order, name)
	s.states[name] = st
	s.gated[name] = gate.Wrap(name, st.raw)
}

// run learns the identity of every system, until ctx ends.
func (s *sources) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, name := range s.order {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s.learn(ctx, s.states[name])
		}()
	}
	wg.Wait()
}

// learn asks a system who it is, again and again until it answers, and after it
// was down: another one may have come back in its place.
func (s *sources) learn(ctx context.Context, st *sourceState) {
	wait := learnFirst
	for {
		if st.known() {
			wait = learnFirst
		} else if err := s.describe(ctx, st); err != nil {
			s.log.WarnContext(ctx, "a source does not answer", "source", st.name, "error", err, "cause", errors.Unwrap(err))
			wait = min(wait*2, learnMost)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (s *sources) describe(ctx context.Context, st *sourceState) error {
	schema, err := st.raw.Describe(ctx)
	if err != nil {
		st.down(connectors.AsError(err).Message)
		return err
	}
	sum := sha256.Sum256([]byte("countersign/target/v1\x00" + schema.Identity))
	identity := hex.EncodeToString(sum[:])
	if err := s.seen(ctx, st.name, identity); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.identity, st.status, st.message = identity, model.CountersignSourceStatusUp, ""
	return nil
}

// States implements gateway.SourceStates.
func (s *sources) States() []graph.SourceState {
	out := make([]graph.SourceState, 0, len(s.order))
	for _, name := range s.order {
		st := s.states[name]
		st.mu.Lock()
		out = append(out, graph.SourceState{Name: st.name, Connector: st.kind, Status: st.status, Message: st.message})
		st.mu.Unlock()
	}
	return out
}

// Identity implements gateway.SourceStates.
func (s *sources) Identity(ctx context.Context, source string) (string, error) {
	st := s.states[source]
	if st == nil {
		return "", connectors.Errorf(connectors.CodeProposalStale, "there is no source %s any more", source)
	}
	if !st.known() {
		if err := s.describe(ctx, st); err != nil {
			return "", err
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.identity, nil
}

func (st *sourceState) known() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.identity != ""
}

func (st *sourceState) down(message string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	// Whoever answers next may be another system.
	st.status, st.message, st.identity = model.CountersignSourceStatusDown, message, ""
}

// note keeps what a call's end tells of the system.
func (st *sourceState) note(err error) {
	switch code := connectors.CodeOf(err); {
	case code == connectors.CodeUpstreamUnavailable:
		st.down(connectors.AsError(err).Message)
	case err == nil:
		st.mu.Lock()
		if st.status == model.CountersignSourceStatusDown {
			st.status, st.message = model.CountersignSourceStatusUnknown, ""
		}
		st.mu.Unlock()
	}
}

// close ends every connector.
func (s *sources) close() error {
	var errs []error
	for _, name := range s.order {
		if err := s.states[name].raw.Close(); err != nil {
			errs = append(errs, fmt.Errorf("source %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// observed is the decorator that notes whether a system answers.
type observed struct {
	connectors.Connector
	state *sourceState
}

// Query implements connectors.Connector.
func (o *observed) Query(ctx context.Context, q *connectors.Query) (connectors.Rows, error) {
	rows, err := o.Connector.Query(ctx, q)
	if err != nil {
		o.state.note(err)
	}
	return rows, err
}

// Preview implements connectors.Connector.
func (o *observed) Preview(ctx context.Context, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	e, err := o.Connector.Preview(ctx, p, c)
	o.state.note(err)
	return e, err
}

// Apply implements connectors.Connector.
func (o *observed) Apply(ctx context.Context, p *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	e, err := o.Connector.Apply(ctx, p, c)
	o.state.note(err)
	return e, err
}

// Watch implements connectors.Connector.
func (o *observed) Watch(ctx context.Context, q *connectors.Query) iter.Seq2[*connectors.Event, error] {
	return o.Connector.Watch(ctx, q)
}
