package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/policy/identity"
)

// The kinds of events that the door makes.
const (
	kindApplied    = "write.applied"
	kindNotApplied = "write.notApplied"
	kindUnknown    = "write.unknown"
	kindDenied     = "access.denied"
	// A sign-in, link or code that was refused, and a credential that is not
	// valid.
	kindSignInFailed = "identity.signInFailed"
	kindRefused      = "identity.credentialRefused"
)

// Bounds of one event.
const (
	maxWritten = 100 // records
	maxValue   = 200 // bytes of one value
)

// writeEvent is what is kept of the steps of one operation that do the same to
// the same object.
type writeEvent struct {
	Operation string          `json:"operation,omitempty"`
	Act       string          `json:"act"`
	Fields    []string        `json:"fields,omitempty"`
	Records   []writtenRecord `json:"records,omitempty"`
	// More records than are listed.
	More     int               `json:"more,omitempty"`
	Affected int               `json:"affected"`
	Outcome  execute.Outcome   `json:"outcome"`
	Code     connectors.Code   `json:"code,omitempty"`
	steps    []stepAt          // not kept
	object   string            // the event's subject
	secret   func(string) bool // fields whose values are not kept
	scalar   func(string) connectors.Scalar
}

type stepAt struct{ change, step int }

// A writtenRecord is one record, in the system's names. Values of secret fields,
// long ones, and those that hold others are not in it.
type writtenRecord struct {
	Key map[string]json.RawMessage `json:"key,omitempty"`
	Set map[string]json.RawMessage `json:"set,omitempty"`
}

// apply does a write at once. What will be done is kept before the first byte
// leaves, and what became of it is in the audit log before the answer.
func (g *Gateway) apply(ctx context.Context, c *call, m *execute.Mutation) {
	if g.cfg.Audit == nil || g.cfg.UnrecordedWrites {
		m.Apply(ctx)
		return
	}
	changes := m.Direct()
	if changes == nil {
		m.Apply(ctx)
		return
	}
	writes := c.written(changes)
	events := make([]audit.Event, len(writes))
	for i := range writes {
		writes[i].Outcome = execute.OutcomeUnknown
		events[i] = c.event(kindUnknown, writes[i].object, &writes[i])
	}
	direct, err := g.cfg.Audit.Begin(events)
	if err != nil {
		g.cfg.Log.ErrorContext(ctx, "a direct write cannot be recorded, so it is not done", "error", err)
		m.Refuse(connectors.Errorf(connectors.CodeUpstreamUnavailable, "the audit log cannot be written right now, so nothing was changed; try again"))
		return
	}
	m.Apply(ctx)
	for i := range writes {
		writes[i].settle(m, changes)
		id := events[i].ID
		events[i] = c.event(kindOf(writes[i].Outcome), writes[i].object, &writes[i])
		events[i].ID = id
	}
	if err := direct.Done(ctx, events); err != nil {
		g.cfg.Log.ErrorContext(ctx, "a direct write is not in the audit log yet", "error", err)
	}
}

func kindOf(o execute.Outcome) string {
	switch o {
	case execute.OutcomeApplied:
		return kindApplied
	case execute.OutcomeNotApplied:
		return kindNotApplied
	}
	return kindUnknown
}

// event is one of this call's.
func (c *call) event(kind, subject string, details any) audit.Event {
	e := audit.Event{Tenant: c.principal.Tenant, Kind: kind, Subject: subject, Actors: audit.ActorsOf(c.principal),
		PolicyVersion: c.state.view.PolicyVersion, TraceID: c.traceID}
	if raw, err := json.Marshal(details); err == nil {
		e.Payload = raw
	}
	return e
}

// written puts the steps that do the same to the same object together, in the
// order of the first of each.
func (c *call) written(changes []connectors.Change) []writeEvent {
	var out []writeEvent
	for i := range changes {
		for j := range changes[i].Steps {
			s := &changes[i].Steps[j]
			object := objectOf(changes[i].Source, s)
			at := slices.IndexFunc(out, func(w writeEvent) bool { return w.object == object && w.Act == string(s.Kind) })
			if at < 0 {
				at = len(out)
				w := writeEvent{Operation: c.op.def.Name, Act: string(s.Kind), object: object}
				w.secret, w.scalar = fieldFacts(c.snap.Catalog, object)
				out = append(out, w)
			}
			out[at].add(stepAt{i, j}, s)
		}
	}
	return out
}

// fieldFacts answers, for the system's names of an object's fields or arguments,
// whether their values are secret, and the scalar of their values.
func fieldFacts(cat *catalog.Catalog, object string) (secret func(string) bool, scalar func(string) connectors.Scalar) {
	find := func(string) *catalog.Field { return nil }
	if coll := cat.Collection(object); coll != nil {
		find = coll.SystemField
	} else if fn := cat.Function(object); fn != nil {
		find = func(name string) *catalog.Field {
			if i := slices.IndexFunc(fn.Args, func(f *catalog.Field) bool { return f.System == name }); i >= 0 {
				return fn.Args[i]
			}
			return nil
		}
	}
	secret = func(name string) bool { f := find(name); return f == nil || f.Secret }
	scalar = func(name string) connectors.Scalar {
		if f := find(name); f != nil {
			return f.Type.Leaf
		}
		return ""
	}
	return secret, scalar
}

// add notes a step.
func (w *writeEvent) add(at stepAt, s *connectors.Step) {
	w.steps = append(w.steps, at)
	set := slices.Clip(s.Set)
	for _, m := range s.Args.Members {
		set = append(set, connectors.Assign{Field: m.Name, Value: m.Value})
	}
	for _, a := range set {
		if !slices.Contains(w.Fields, a.Field) {
			w.Fields = append(w.Fields, a.Field)
		}
	}
	if len(w.Records) == maxWritten {
		w.More++
		return
	}
	if r := (writtenRecord{Key: w.values(s.Key), Set: w.values(set)}); r.Key != nil || r.Set != nil {
		w.Records = append(w.Records, r)
	}
}

// values are the assignments that may be kept.
func (w *writeEvent) values(in []connectors.Assign) map[string]json.RawMessage {
	var out map[string]json.RawMessage
	for _, a := range in {
		if w.secret(a.Field) || strings.Contains(a.Field, ".") || a.Value.Kind >= connectors.KindJSON || len(a.Value.Text) > maxValue {
			continue
		}
		if out == nil {
			out = map[string]json.RawMessage{}
		}
		out[a.Field] = a.Value.AppendJSON(nil, w.scalar(a.Field))
	}
	return out
}

// settle notes what became of the steps: the worst of it, and the keys that the
// system gave.
func (w *writeEvent) settle(m *execute.Mutation, changes []connectors.Change) {
	w.Outcome = execute.OutcomeApplied
	for _, at := range w.steps {
		outcome, code := m.Became(at.change, at.step)
		if outcome == execute.OutcomeUnknown || outcome == execute.OutcomeNotApplied && w.Outcome == execute.OutcomeApplied {
			w.Outcome, w.Code = outcome, code
		}
		effect := m.Effects[at.change]
		if effect == nil || at.step >= len(effect.Steps) {
			continue
		}
		e := &effect.Steps[at.step]
		w.Affected += e.Affected
		if len(changes[at.change].Steps[at.step].Key) > 0 {
			continue
		}
		for i := range e.After {
			w.given(&e.After[i])
		}
	}
}

// given notes the key of a record that was found by a filter, or made.
func (w *writeEvent) given(r *connectors.Record) {
	key := w.values(r.Key)
	switch {
	case key == nil:
	case w.Act == string(connectors.Create):
		for i := range w.Records {
			if w.Records[i].Key == nil {
				w.Records[i].Key = key
				return
			}
		}
	case len(w.Records) < maxWritten:
		w.Records = append(w.Records, writtenRecord{Key: key})
	default:
		w.More++
	}
}

// denied notes that something was asked for that may not be had. Repetitions are
// only counted.
func (g *Gateway) denied(c *call, object, act string) {
	if g.cfg.Audit != nil {
		g.cfg.Audit.Sampled(c.principal.ID, c.event(kindDenied, object, map[string]string{"act": act}))
	}
}

// A hiddenElement is a field of the graph that exists, and not for the caller.
type hiddenElement struct{ object, act string }

// maxHidden bounds what is noted of one document.
const maxHidden = 10

func (g *Gateway) hidden(c *call, elements []hiddenElement) {
	for _, e := range elements {
		g.denied(c, e.object, e.act)
	}
}

// hiddenElements finds, in a document that was refused, the fields that its
// schema has not and the catalog has. The validator left their type on them.
func hiddenElements(doc *ast.QueryDocument, cat *catalog.Catalog) []hiddenElement {
	var out []hiddenElement
	var walk func(set ast.SelectionSet)
	walk = func(set ast.SelectionSet) {
		for _, sel := range set {
			switch sel := sel.(type) {
			case *ast.Field:
				if sel.Definition == nil && sel.ObjectDefinition != nil && len(out) < maxHidden {
					if e, ok := cat.Element(sel.ObjectDefinition.Name, sel.Name); ok {
						out = append(out, hiddenOf(e))
					}
				}
				walk(sel.SelectionSet)
			case *ast.InlineFragment:
				walk(sel.SelectionSet)
			}
		}
	}
	for _, op := range doc.Operations {
		walk(op.SelectionSet)
	}
	for _, f := range doc.Fragments {
		walk(f.SelectionSet)
	}
	return out
}

func hiddenOf(e catalog.Element) hiddenElement {
	out := hiddenElement{object: "graph", act: string(policy.Read)}
	switch {
	case e.Function != nil:
		out.object, out.act = e.Function.Object, string(policy.Call)
	case e.Collection != nil:
		out.object = e.Collection.Object
	}
	if e.Field != nil {
		out.object += "{" + e.Field.System + "}"
	}
	switch e.Kind {
	case catalog.RootCreate, catalog.RootCreateMany:
		out.act = string(policy.Create)
	case catalog.RootUpdate, catalog.RootUpdateMany:
		out.act = string(policy.Update)
	case catalog.RootDelete, catalog.RootDeleteMany:
		out.act = string(policy.Delete)
	}
	return out
}

// signInRefused notes an attempt to sign in that failed. Repetitions are only
// counted: whoever guesses cannot fill the log. The name that was tried is kept
// where somebody has it: people type passwords into the wrong field.
func (g *Gateway) signInRefused(r *http.Request, in any, err error) {
	code := connectors.CodeOf(err)
	if g.cfg.Audit == nil || !slices.Contains([]connectors.Code{connectors.CodeUnauthenticated, connectors.CodeRateLimited, connectors.CodeSuspended}, code) {
		return
	}
	subject := "unknown"
	if body, ok := in.(*signInBody); ok {
		id := identity.UserID(strings.TrimSpace(body.Email))
		if _, _, err := g.cfg.Identity.Current(r.Context(), policy.DefaultTenant, id); err == nil {
			subject = id
		}
	}
	g.refusedEvent(kindSignInFailed, subject, r, code)
}

// credentialRefused notes a credential that was present and not valid.
func (g *Gateway) credentialRefused(r *http.Request, err error) {
	if code := connectors.CodeOf(err); g.cfg.Audit != nil && (code == connectors.CodeUnauthenticated || code == connectors.CodeSuspended) {
		g.refusedEvent(kindRefused, "unknown", r, code)
	}
}

func (g *Gateway) refusedEvent(kind, subject string, r *http.Request, code connectors.Code) {
	from := address(r)
	raw, err := json.Marshal(map[string]string{"address": from, "code": string(code), "path": r.URL.Path})
	if err != nil {
		return // strings can be encoded
	}
	g.cfg.Audit.Sampled(from, audit.Event{Tenant: policy.DefaultTenant, Kind: kind, Subject: subject, TraceID: traceOf(r), Payload: raw})
}
