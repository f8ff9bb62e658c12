package openapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
)

// Preview makes the requests that Apply would send, and sends none of them. It
// reads the records that would be changed, where the collection can be read by
// key.
func (s *Source) Preview(ctx context.Context, _ *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	effect, err := s.perform(ctx, c, true)
	if err != nil {
		return nil, err
	}
	return effect, nil
}

// Apply sends the requests of the steps, one each, in order, until one fails.
// What a step must find is read right before; with an API that takes If-Match
// the record cannot change in between.
func (s *Source) Apply(ctx context.Context, _ *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	return s.perform(ctx, c, false)
}

func (s *Source) perform(ctx context.Context, c *connectors.Change, preview bool) (*connectors.Effect, error) {
	effect := &connectors.Effect{}
	switch {
	case c == nil || len(c.Steps) == 0:
		return effect, badInput("a change of nothing")
	case c.Version != connectors.ChangeVersion:
		return effect, unsupported("a change of version %d cannot be read", c.Version)
	case c.Marker != nil:
		return effect, unsupported("an API has no transaction to write a marker in")
	}
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return effect, err
	}
	defer done()
	if c.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Deadline)
		defer cancel()
	}
	var evidence []string
	repeated := true
	planned := map[string]*row{}
	for i := range c.Steps {
		w := &writer{run: &run{Source: s, q: &connectors.Query{Select: &connectors.Select{}},
			encoder: &encoder{objects: s.model.objects, enums: s.model.enums}}, step: &c.Steps[i], preview: preview, planned: planned}
		w.budget.Store(int64(s.cfg.Limits.CallsPerOperation))
		if err := w.do(ctx); err != nil {
			e := *connectors.AsError(err)
			e.Step, e.Path = i, slices.Concat([]string{strconv.Itoa(i)}, e.Path)
			effect.Evidence = strings.Join(evidence, "; ")
			return effect, &e
		}
		effect.Steps = append(effect.Steps, w.effect)
		evidence = append(evidence, w.evidence)
		repeated = repeated && w.repeated
	}
	if !preview {
		effect.Evidence, effect.Repeated = strings.Join(evidence, "; "), repeated
	}
	return effect, nil
}

// A writer does one step.
type writer struct {
	*run
	step    *connectors.Step
	preview bool
	effect  connectors.StepEffect
	// planned are the records as the earlier steps of a preview leave them, by
	// place; nil where they delete one. Nothing was sent, so nothing else knows.
	planned map[string]*row

	evidence string
	repeated bool
}

func (w *writer) do(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return connectors.AsError(err)
	}
	if w.step.Kind == connectors.Call {
		return w.callFunction(ctx)
	}
	c := w.model.collections[w.step.Collection]
	if c == nil || w.step.Function != "" {
		return unsupported("there is no collection %q", w.step.Collection)
	}
	act := c.spec.Acts[w.step.Kind]
	if act == nil {
		return unsupported("%s of %s is not supported", w.step.Kind, c.name)
	}
	if err := w.sameClass(act.Class); err != nil {
		return err
	}
	w.t = &table{collection: c, decoder: w.model.decoder}
	switch w.step.Kind {
	case connectors.Create:
		return w.create(ctx)
	case connectors.Update, connectors.Delete:
		return w.modify(ctx)
	}
	return unsupported("there is no write %q", w.step.Kind)
}

// sameClass refuses a step that was decided on under another outcome class than
// the source has by now.
func (w *writer) sameClass(class connectors.OutcomeClass) error {
	if w.step.Class != "" && w.step.Class != class {
		return unsupported("the outcome class of this write is %s by now, and it was to be %s", class, w.step.Class)
	}
	return nil
}

func (w *writer) callFunction(ctx context.Context) error {
	s := w.step
	o := w.model.functions[s.Function]
	switch {
	case o == nil || o.reads:
		return unsupported("there is no function %q that writes", s.Function)
	case len(s.Key)+len(s.Set)+len(s.Expect) > 0 || s.Where != nil || s.Check != nil || s.IfVersion != nil || s.Collection != "":
		return badInput("a call takes arguments only")
	}
	if err := w.sameClass(o.outcome.Class); err != nil {
		return err
	}
	args := s.Args
	if args.Kind == connectors.KindAbsent {
		args = connectors.ObjectOf()
	}
	if args.Kind != connectors.KindObject {
		return badInput("the arguments of a call are an object")
	}
	req, err := w.request(o, args)
	if err != nil {
		return err
	}
	w.effect.Affected, w.effect.Request = 1, req.Shown()
	if w.preview {
		return nil
	}
	resp, err := w.send(ctx, o, req)
	if err != nil {
		return err
	}
	if o.result != nil && resp.Body != nil {
		if raw, ok := w.readable(o, resp); ok {
			w.effect.Result = w.model.decoder.append(nil, raw, *o.result, 0)
		}
	}
	return nil
}

// send sends the request of a write, once or as its class allows.
func (w *writer) send(ctx context.Context, o *operation, req *httpcall.Request) (*httpcall.Response, error) {
	kind := httpcall.Write
	if o.outcome.Class == connectors.Idempotent && w.step.IdempotencyKey != "" {
		// Without a key nothing tells a repetition from a second request, so it
		// is sent once like any other.
		kind = httpcall.IdempotentWrite
		req.Hidden = append(req.Hidden, httpcall.Pair{Name: o.outcome.Header, Value: w.step.IdempotencyKey})
	}
	resp, err := w.client.Do(ctx, kind, req)
	if err != nil {
		return nil, err
	}
	w.evidence = fmt.Sprintf("answered %d", resp.Status)
	if resp.Unreadable != nil {
		w.evidence += ", the answer could not be read"
	} else if len(resp.Body) > 0 {
		sum := sha256.Sum256(resp.Body)
		w.evidence += ", sha256:" + hex.EncodeToString(sum[:])
	}
	w.repeated = strings.EqualFold(resp.Header.Get("Idempotent-Replayed"), "true")
	return resp, nil
}

// readable is the answer of a write as JSON. A write that was answered as done
// was done, whatever its answer looks like.
func (w *writer) readable(o *operation, resp *httpcall.Response) (json.RawMessage, bool) {
	if o.answer == answerText {
		return connectors.AppendJSONString(nil, strings.ToValidUTF8(string(resp.Body), "\ufffd")), true
	}
	raw, err := decodeAnswer(resp.Body)
	if o.answer != answerJSON || err != nil {
		if len(resp.Body) > 0 && err != nil {
			w.evidence += ", the answer is no JSON"
		}
		return nil, false
	}
	return raw, true
}

// assigned are the values of Set by field, refused where the act does not write
// them.
func (w *writer) assigned(args map[string]*param) (map[string]connectors.Value, error) {
	out := make(map[string]connectors.Value, len(w.step.Set))
	for _, a := range w.step.Set {
		_, twice := out[a.Field]
		switch {
		case w.t.spec.Field(a.Field) == nil:
			return nil, unsupported("%s has no field %q", w.t.name, a.Field).At(a.Field)
		case twice:
			return nil, badInput("%s is written twice", a.Field).At(a.Field)
		case args[a.Field] == nil:
			return nil, connectors.Errorf(connectors.CodeValidationFailed, "%s: this field cannot be written by %s", a.Field, w.step.Kind).At(a.Field)
		case a.Increment:
			return nil, unsupported("%s cannot be incremented", a.Field).At(a.Field)
		case a.Value.Kind == connectors.KindAbsent:
			return nil, badInput("%s has no value", a.Field).At(a.Field)
		case a.Value.IsNull() && !w.t.spec.Field(a.Field).Nullable:
			return nil, connectors.Errorf(connectors.CodeValidationFailed, "%s: this field cannot be null", a.Field).At(a.Field)
		}
		out[a.Field] = a.Value
	}
	return out, nil
}

func (w *writer) create(ctx context.Context) error {
	s, c := w.step, w.t.collection
	if len(s.Key) > 0 || s.Where != nil || s.IfVersion != nil || len(s.Expect) > 0 {
		return badInput("a create takes fields and a check only")
	}
	given, err := w.assigned(c.createArgs)
	if err != nil {
		return err
	}
	for _, name := range c.createNeeds {
		if _, ok := given[name]; !ok {
			return connectors.Errorf(connectors.CodeValidationFailed, "%s must be given", name).At(name)
		}
	}
	for name, p := range c.createArgs {
		if _, ok := given[name]; !ok && p.field.DefaultValue != nil {
			given[name] = *p.field.DefaultValue
		}
	}
	req, err := w.writeRequest(c.create, nil, nil, c.createArgs, w.step.Set)
	if err != nil {
		return err
	}
	w.effect.Affected, w.effect.Request = 1, req.Shown()
	after := w.patched(nil, given)
	for _, f := range c.spec.Fields {
		if _, ok := given[f.Name]; !ok && !f.WriteOnly {
			w.effect.Unpredictable = append(w.effect.Unpredictable, f.Name)
		}
	}
	if err := w.check(after); err != nil {
		return err
	}
	if w.preview {
		rec := w.shown(after)
		rec.Fields = slices.DeleteFunc(rec.Fields, func(a connectors.Assign) bool { return slices.Contains(w.effect.Unpredictable, a.Field) })
		if slices.ContainsFunc(c.spec.Key, func(k string) bool { return slices.Contains(w.effect.Unpredictable, k) }) {
			rec.Key = nil
		}
		w.effect.After = []connectors.Record{rec}
		if rec.Key != nil {
			var key []connectors.Value
			for _, a := range rec.Key {
				key = append(key, a.Value)
			}
			w.planned[w.t.place(key)] = after
		}
		return nil
	}
	w.effect.Unpredictable = nil
	resp, err := w.send(ctx, c.create, req)
	if err != nil {
		return err
	}
	w.answered(c.create, resp, c.createPath, c.createAnswers)
	return nil
}

// answered keeps the record that a write answered with.
func (w *writer) answered(o *operation, resp *httpcall.Response, path []string, isRecord bool) {
	if resp.Body == nil {
		return
	}
	raw, ok := w.readable(o, resp)
	if !ok {
		return
	}
	members := recordOf(dig(raw, path))
	if members == nil {
		return
	}
	x := &row{members: members, version: resp.Header.Get("ETag")}
	rec := w.record(x, w.step.Return)
	if !isRecord {
		// Many systems answer with the new id and nothing else.
		rec.Fields = []connectors.Assign{}
	}
	if slices.ContainsFunc(rec.Key, func(a connectors.Assign) bool { return a.Value.IsNull() }) {
		return
	}
	w.effect.After = []connectors.Record{rec}
}

// writeRequest makes the request of a write: key arguments, then fields.
func (w *writer) writeRequest(o *operation, keyArgs map[string]*param, key []connectors.Value, args map[string]*param, set []connectors.Assign) (*httpcall.Request, error) {
	var members []connectors.Member
	for i, name := range w.t.spec.Key {
		if p := keyArgs[name]; p != nil {
			members = append(members, connectors.Member{Name: p.field.Name, Value: key[i]})
		}
	}
	for _, a := range set {
		members = append(members, connectors.Member{Name: args[a.Field].field.Name, Value: a.Value})
	}
	return w.request(o, connectors.ObjectOf(members...))
}

// check refuses a record that may not be written.
func (w *writer) check(after *row) error {
	holds, err := w.t.condition(w.step.Check)
	if err != nil {
		return err
	}
	if holds(after) != isTrue {
		return connectors.Errorf(connectors.CodeCheckViolation, "the record would not be one that may be written")
	}
	return nil
}

// patched is a record with some fields written.
func (w *writer) patched(before *row, given map[string]connectors.Value) *row {
	after := &row{cells: map[string][]byte{}}
	if before != nil {
		after.members = before.members
		maps.Copy(after.cells, before.cells)
	}
	for name, v := range given {
		f := w.t.spec.Field(name)
		if raw, err := w.json(nil, v, f.Type, 0); err == nil {
			after.cells[name] = w.t.decoder.append(nil, raw, f.Type, 0)
		}
	}
	return after
}

// shown is a record of a preview: the fields asked for and those written.
func (w *writer) shown(x *row) connectors.Record {
	fields := slices.Clone(w.step.Return)
	for _, a := range w.step.Set {
		fields = append(fields, a.Field)
	}
	return w.record(x, fields)
}

// record is the key and some fields of a row, in the collection's order.
func (w *writer) record(x *row, fields []string) connectors.Record {
	rec := connectors.Record{Fields: []connectors.Assign{}, Version: x.version}
	for _, name := range w.t.spec.Key {
		rec.Key = append(rec.Key, connectors.Assign{Field: name, Value: w.t.value(x, w.t.spec.Field(name))})
	}
	for _, f := range w.t.spec.Fields {
		if slices.Contains(fields, f.Name) && !f.WriteOnly {
			rec.Fields = append(rec.Fields, connectors.Assign{Field: f.Name, Value: w.t.value(x, f)})
		}
	}
	return rec
}
