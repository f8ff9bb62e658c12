package connectortest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
)

func changeOf(steps ...connectors.Step) *connectors.Change {
	return &connectors.Change{Version: connectors.ChangeVersion, Source: "suite", Tenant: "default", Steps: steps}
}

// apply performs steps on both systems, which must agree.
func (s *session) apply(t reporter, steps ...connectors.Step) *connectors.Effect {
	t.Helper()
	effect, err := s.applyChange(t, changeOf(steps...))
	if err != nil {
		t.Fatalf("%v to\n%s", describeError(err), showSteps(steps))
	}
	return effect
}

// applyChange applies a change to both, and compares codes, effects and the
// records afterwards.
func (s *session) applyChange(t reporter, c *connectors.Change) (*connectors.Effect, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	got, gotErr := s.c.Apply(ctx, nil, c)
	want, wantErr := s.oracle.Apply(ctx, nil, c)
	if !s.sameRefusal(connectors.CodeOf(gotErr), connectors.CodeOf(wantErr)) {
		t.Fatalf("the connector says %v, the oracle %v, to\n%s", describeError(gotErr), describeError(wantErr), showSteps(c.Steps))
	}
	if gotErr == nil || !s.schema.Capabilities.Atomic && len(c.Steps) > 0 {
		s.sameEffect(t, c, got, want) // beside an error: what was done before it
	}
	if gotErr != nil {
		if a, b := connectors.AsError(gotErr), connectors.AsError(wantErr); a.Step != b.Step {
			t.Fatalf("the step at fault is %d, not %d", a.Step, b.Step)
		}
	}
	s.sameRecords(t, c)
	return got, gotErr
}

// sameRefusal tells whether a code is the one wanted. What breaks a constraint
// that the connector does not know of is refused by its system, in a code of the
// system's choice which says that nothing was done.
func (s *session) sameRefusal(got, want connectors.Code) bool {
	switch {
	case got == want:
		return true
	case s.constraints || want != connectors.CodeUniqueViolation && want != connectors.CodeReferenceViolation:
		return false
	}
	return slices.Contains([]connectors.Code{connectors.CodeValidationFailed, connectors.CodeVersionConflict, connectors.CodeCheckViolation,
		connectors.CodeNotFound, connectors.CodeUpstreamError}, got)
}

// sameRecords compares the collections that a change names.
func (s *session) sameRecords(t reporter, c *connectors.Change) {
	t.Helper()
	seen := map[string]bool{}
	for _, step := range c.Steps {
		if coll := s.oracle.Schema().Collection(step.Collection); coll != nil && !seen[coll.Name] {
			seen[coll.Name] = true
			s.compare(t, s.everything(coll))
		}
	}
}

func (s *session) sameEffect(t reporter, c *connectors.Change, got, want *connectors.Effect) {
	t.Helper()
	if got == nil || len(got.Steps) != len(want.Steps) || got.Repeated != want.Repeated {
		t.Fatalf("the effect is %+v, not %+v", got, want)
	}
	for i := range got.Steps {
		g, w := got.Steps[i], want.Steps[i]
		coll := s.oracle.Schema().Collection(c.Steps[i].Collection)
		if g.Affected != w.Affected {
			t.Fatalf("step %d affects %d records, not %d, of\n%s", i, g.Affected, w.Affected, showSteps(c.Steps))
		}
		s.sameRecordList(t, coll, "before", g.Before, w.Before)
		s.sameRecordList(t, coll, "after", g.After, s.left(&c.Steps[i], g.Unpredictable, w.After))
		if !slices.Equal(s.decided(coll, c.Steps[i].Kind, g.Unpredictable), w.Unpredictable) {
			t.Fatalf("not predictable are %v, not %v, of\n%s", g.Unpredictable, w.Unpredictable, showSteps(c.Steps))
		}
	}
}

// decided are the fields of those not predictable that can be known to be
// decided by the system. One without a transaction may put something in every
// field that can be null and is not given: it does not promise these to be null.
func (s *session) decided(c *connectors.Collection, kind connectors.StepKind, unpredictable []string) []string {
	if kind != connectors.Create || s.schema.Capabilities.Atomic {
		return unpredictable
	}
	return slices.DeleteFunc(slices.Clone(unpredictable), func(name string) bool { f := c.Field(name); return f.Nullable && !f.Default })
}

// left takes from the oracle's records what the connector does not promise.
func (s *session) left(step *connectors.Step, unpredictable []string, records []connectors.Record) []connectors.Record {
	if step.Kind != connectors.Create || s.schema.Capabilities.Atomic {
		return records
	}
	out := slices.Clone(records)
	for i := range out {
		out[i].Fields = slices.DeleteFunc(slices.Clone(out[i].Fields), func(a connectors.Assign) bool { return slices.Contains(unpredictable, a.Field) })
	}
	return out
}

func (s *session) sameRecordList(t reporter, c *connectors.Collection, when string, got, want []connectors.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records %s, not %d:\n%+v\n%+v", len(got), when, len(want), got, want)
	}
	for i := range got {
		if !sameAssigns(c, got[i].Key, want[i].Key) || !sameAssigns(c, got[i].Fields, want[i].Fields) {
			t.Fatalf("record %d %s is\n%+v\nnot\n%+v", i, when, got[i], want[i])
		}
		if (got[i].Version == "") != (want[i].Version == "") {
			t.Fatalf("record %d %s has the version %q, the oracle's %q", i, when, got[i].Version, want[i].Version)
		}
	}
}

func sameAssigns(c *connectors.Collection, a, b []connectors.Assign) bool {
	return slices.EqualFunc(a, b, func(x, y connectors.Assign) bool {
		leaf := c.Field(x.Field).Type.Leaf()
		return x.Field == y.Field && sameCell(leaf, string(x.Value.AppendJSON(nil, leaf)), string(y.Value.AppendJSON(nil, leaf)), false)
	})
}

func showSteps(steps []connectors.Step) string {
	out := ""
	for _, s := range steps {
		out += fmt.Sprintf("%s %s key %v where %s set %v check %s expect %v return %v max %d\n", s.Kind, s.Collection, s.Key,
			s.Where.AppendCanonical(nil), s.Set, s.Check.AppendCanonical(nil), s.Expect, s.Return, s.MaxRows)
	}
	return out
}

// A writeCase is a change and the code it is refused with, "" where it is done.
type writeCase struct {
	name  string
	code  connectors.Code
	path  []string // of the error; nil: not looked at
	steps []connectors.Step
}

func assigns(pairs ...any) []connectors.Assign { return record(pairs...).Fields }

func increment(field string, by connectors.Value) connectors.Assign {
	return connectors.Assign{Field: field, Value: by, Increment: true}
}

// writable tells whether any collection takes any write.
func (s *session) writable() bool {
	return slices.ContainsFunc(s.oracle.Schema().Collections, func(c *connectors.Collection) bool { return len(c.Acts) > 0 })
}

// takes tells whether a collection takes an act.
func (s *session) takes(collection string, kind connectors.StepKind) bool {
	c := s.oracle.Schema().Collection(collection)
	return c != nil && c.Acts[kind] != nil
}

// full tells whether everything that the cases rest on is declared.
func (s *session) full() bool {
	for _, c := range s.oracle.Schema().Collections {
		for _, kind := range []connectors.StepKind{connectors.Create, connectors.Update, connectors.Delete} {
			if act := c.Acts[kind]; act == nil || !act.ByFilter && kind != connectors.Create || !act.Increment && kind == connectors.Update {
				return false
			}
		}
		if slices.ContainsFunc(c.Fields, func(f *connectors.Field) bool { return len(f.Filter) == 0 || f.ReadOnly || f.CreateOnly }) {
			return false
		}
	}
	return s.schema.Capabilities.Atomic && s.schema.Capabilities.Related
}

// writes runs the cases one after the other: first as a preview, which must say
// the same and do nothing, then for real. A case that rests on something which is
// not declared is refused as the oracle refuses it.
func (h Harness) writes(t *testing.T) {
	s := h.open(t)
	s.refusedWrites(t)
	if !s.writable() {
		return
	}
	t.Run("made keys", s.made)
	for _, w := range slices.Concat(createCases(), updateCases(), deleteCases(), guardCases(), changeCases()) {
		t.Run(w.name, func(t *testing.T) {
			c := changeOf(w.steps...)
			_, err := s.oracle.Preview(context.Background(), nil, c)
			code := connectors.CodeOf(err)
			if code != w.code && (s.full() || code == "") {
				t.Fatalf("the oracle says %v, not %s", describeError(err), w.code)
			}
			early := s.previewed(t, c, code)
			if code == connectors.CodeUniqueViolation || code == connectors.CodeReferenceViolation {
				s.blind(t, c)
			}
			_, err = s.applyChange(t, c)
			if w.path != nil && code == w.code && (early || s.constraints) && !slices.Equal(connectors.AsError(err).Path, w.path) {
				t.Errorf("the path is %q, not %q", connectors.AsError(err).Path, w.path)
			}
		})
	}
	t.Run("versions", s.versions)
}

// made: a key that the system makes is new, is told, and names the record.
func (s *session) made(t *testing.T) {
	c := s.oracle.Schema().Collection(Albums)
	if !s.takes(Albums, connectors.Create) || !s.takes(Albums, connectors.Delete) || !c.Field("id").Default {
		return
	}
	seen := map[string]bool{}
	var gone []connectors.Step
	for i := range 3 {
		change := changeOf(creation(Albums, assigns("artist_id", num(3), "title", text(fmt.Sprint("made ", i))), returning("id", "title"))...)
		effect, err := s.c.Apply(context.Background(), nil, change)
		if err != nil {
			t.Fatal(describeError(err))
		}
		rec := effect.Steps[0].After[0]
		if len(rec.Key) != 1 || seen[rec.Key[0].Value.Text] || !rec.Get("id").Equal(rec.Key[0].Value) {
			t.Fatalf("the made key is %+v after %v", rec, seen)
		}
		seen[rec.Key[0].Value.Text] = true
		del := connectors.Step{ID: fmt.Sprint(i), Kind: connectors.Delete, Collection: Albums, Key: rec.Key}
		if slices.Contains(c.Field("title").Filter, connectors.OpEq) {
			del.Where = is("title", rec.Get("title"))
		}
		gone = append(gone, del)
	}
	if _, err := s.c.Apply(context.Background(), nil, changeOf(gone...)); err != nil {
		t.Fatalf("the records of the made keys: %v", describeError(err))
	}
	s.compare(t, s.everything(c))
}

// refusedWrites: acts that are not declared are refused.
func (s *session) refusedWrites(t *testing.T) {
	for _, c := range s.oracle.Schema().Collections {
		rec := SuiteData()[c.Name][0]
		var key []connectors.Assign
		for _, k := range c.Key {
			key = append(key, connectors.Assign{Field: k, Value: rec.Get(k)})
		}
		last := c.Fields[len(c.Fields)-1].Name
		for _, step := range []connectors.Step{
			{ID: "a", Kind: connectors.Create, Collection: c.Name, Set: rec.Fields},
			{ID: "a", Kind: connectors.Update, Collection: c.Name, Key: key, Set: assigns(last, rec.Get(last))},
			{ID: "a", Kind: connectors.Delete, Collection: c.Name, Key: key},
		} {
			if c.Acts[step.Kind] != nil {
				continue
			}
			_, err := s.c.Apply(context.Background(), nil, changeOf(step))
			_, previewErr := s.c.Preview(context.Background(), nil, changeOf(step))
			if connectors.CodeOf(err) != connectors.CodeUnsupported || connectors.CodeOf(previewErr) != connectors.CodeUnsupported {
				t.Errorf("%s of %s: apply %v, preview %v", step.Kind, c.Name, describeError(err), describeError(previewErr))
			}
		}
		s.compare(t, s.everything(c))
	}
}

// previewed previews a change: nothing happens, and the answer is the oracle's;
// early tells that it is the code. Broken keys and references, and whatever else
// the schema does not tell of, may show only when the change runs.
func (s *session) previewed(t reporter, c *connectors.Change, code connectors.Code) (early bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	got, err := s.c.Preview(ctx, nil, c)
	s.sameRecords(t, c)
	if err != nil || code != "" {
		late := code == connectors.CodeUniqueViolation || code == connectors.CodeReferenceViolation || code == connectors.CodeValidationFailed && !s.constraints
		if err == nil && !late || err != nil && !s.sameRefusal(connectors.CodeOf(err), code) {
			t.Fatalf("the preview says %v, not %s, to\n%s", describeError(err), code, showSteps(c.Steps))
		}
		return connectors.CodeOf(err) == code
	}
	want, err := s.oracle.Preview(ctx, nil, c)
	if err != nil {
		t.Fatalf("the oracle's preview: %v", err)
	}
	for i := range got.Steps {
		if got.Steps[i].Incomplete != "" {
			return true // it says that it cannot tell
		}
		// A preview does not promise versions.
		for _, records := range [][]connectors.Record{got.Steps[i].Before, got.Steps[i].After, want.Steps[i].Before, want.Steps[i].After} {
			for j := range records {
				records[j].Version = ""
			}
		}
	}
	s.sameEffect(t, c, got, want)
	return true
}

// blind: who may not know of the other records learns nothing of them.
func (s *session) blind(t *testing.T, c *connectors.Change) {
	unseen := *c
	unseen.Steps = slices.Clone(c.Steps)
	for i := range unseen.Steps {
		unseen.Steps[i].Blind = true
	}
	_, err := s.oracle.Preview(context.Background(), nil, &unseen)
	s.previewed(t, &unseen, connectors.CodeOf(err))
}

// versions: a write that names a version is done on that version only.
func (s *session) versions(t *testing.T) {
	c := s.oracle.Schema().Collection(Customers)
	if !s.takes(Customers, connectors.Update) || !s.takes(Customers, connectors.Delete) {
		return
	}
	key := assigns("id", connectors.Int(40))
	step := func(version string) *connectors.Change {
		return changeOf(connectors.Step{ID: "v", Kind: connectors.Update, Collection: Customers, Key: key,
			Set: assigns("note", connectors.String("version "+version)), IfVersion: &version, Return: []string{"note"}})
	}
	if !c.HasVersion && c.VersionField == "" {
		_, err := s.c.Apply(context.Background(), nil, step("1"))
		if connectors.CodeOf(err) != connectors.CodeUnsupported {
			t.Errorf("a version of a collection without versions: %v", describeError(err))
		}
		return
	}
	first := s.version(t, key)
	effect, err := s.c.Apply(context.Background(), nil, step(first))
	if err != nil {
		t.Fatalf("the right version is refused: %v", describeError(err))
	}
	second := s.version(t, key)
	if c.VersionField == "" && (first == second || effect.Steps[0].After[0].Version != second) {
		t.Errorf("versions %q, then %q; the effect says %+v", first, second, effect.Steps[0].After)
	}
	if c.VersionField == "" {
		for _, preview := range []bool{true, false} {
			do := s.c.Apply
			if preview {
				do = s.c.Preview
			}
			if _, err := do(context.Background(), nil, step(first)); connectors.CodeOf(err) != connectors.CodeVersionConflict {
				t.Errorf("an old version (preview %t): %v", preview, describeError(err))
			}
		}
	}
	gone := changeOf(connectors.Step{ID: "v", Kind: connectors.Delete, Collection: Customers, Key: assigns("id", connectors.Int(999_999)), IfVersion: &first})
	if _, err := s.c.Apply(context.Background(), nil, gone); connectors.CodeOf(err) != connectors.CodeNotFound {
		t.Errorf("a version of no record: %v", describeError(err))
	}
}

func (s *session) version(t *testing.T, key []connectors.Assign) string {
	t.Helper()
	got, err := read(s.c, &connectors.Query{Select: (&connectors.Select{Collection: Customers, Columns: []connectors.Column{{Version: true}},
		Where: connectors.Compare(key[0].Field, connectors.OpEq, connectors.Const(key[0].Value))}).Seal()})
	if err != nil || len(got.rows) != 1 {
		t.Fatalf("reading a version: %v, %v", got, err)
	}
	v, err := strconv.Unquote(got.rows[0][0])
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// randomWrites applies drawn steps in turn, each after its preview.
func (h Harness) randomWrites(t *testing.T) {
	s := h.open(t)
	if !s.writable() {
		return
	}
	steps := rapid.Custom(func(rt *rapid.T) connectors.Step { return newGenerator(s, rt).step() })
	for seed := range 150 {
		step := steps.Example(seed)
		c := changeOf(step)
		_, want := s.oracle.Preview(context.Background(), nil, c)
		s.previewed(t, c, connectors.CodeOf(want))
		s.applyChange(t, c)
		if t.Failed() {
			t.Fatalf("with the seed %d", seed)
		}
	}
}

// step draws one write. Its conditions are constants.
func (g *generator) step() connectors.Step {
	c := g.collection()
	for len(c.Acts) == 0 {
		c = g.collection()
	}
	s := connectors.Step{ID: "a", Collection: c.Name, Kind: pick(g, "kind", []connectors.StepKind{connectors.Create, connectors.Update, connectors.Update, connectors.Delete})}
	for _, f := range c.Fields {
		if s.Kind != connectors.Delete && g.chance("return", 3) {
			s.Return = append(s.Return, f.Name)
		}
	}
	if s.Kind == connectors.Create {
		s.Set = g.newRecord(c)
	} else {
		// Now and then what is not declared, which is refused.
		byFilter := 2
		if act := c.Acts[s.Kind]; act == nil || !act.ByFilter {
			byFilter = 12
		}
		if g.chance("by filter", byFilter) {
			s.Where, s.MaxRows = g.constant(g.condition(c, 2)), rapid.IntRange(1, 8).Draw(g.t, "bound")
		} else {
			rec := pick(g, "record", g.data[c.Name])
			for _, k := range c.Key {
				s.Key = append(s.Key, connectors.Assign{Field: k, Value: rec.Get(k)})
			}
			if g.chance("and a condition", 3) {
				s.Where = g.constant(g.condition(c, 1))
			}
		}
	}
	if s.Kind == connectors.Update {
		s.Set = g.changes(c)
	}
	if s.Kind != connectors.Delete && g.chance("check", 4) {
		s.Check = g.constant(g.condition(c, 1))
	}
	return s
}

// constant replaces arguments by their values: steps have none.
func (g *generator) constant(c *connectors.Condition) *connectors.Condition {
	if c == nil {
		return nil
	}
	out := *c
	out.Items = nil
	for _, i := range c.Items {
		out.Items = append(out.Items, g.constant(i))
	}
	if c.Operand.Arg > 0 {
		out.Operand = connectors.Const(c.Operand.Value(g.args))
	}
	if c.Relation != nil {
		r := *c.Relation
		r.Where = g.constant(r.Where)
		out.Relation = &r
	}
	out.Inner = g.constant(c.Inner)
	return &out
}

// newRecord is mostly a valid one.
func (g *generator) newRecord(c *connectors.Collection) []connectors.Assign {
	id := connectors.Int(int64(rapid.IntRange(1, 100_000).Draw(g.t, "id")))
	rec := pick(g, "like", g.data[c.Name])
	var out []connectors.Assign
	for _, f := range c.Fields {
		v := rec.Get(f.Name)
		switch {
		case f.Name == "id", f.Name == "position":
			v = id
		case f.Name == "name" || f.Name == "title":
			v = connectors.String("new " + id.Text)
		case f.Name == "email":
			v = connectors.String(id.Text + "@example.org")
		}
		out = append(out, connectors.Assign{Field: f.Name, Value: v})
	}
	return out
}
