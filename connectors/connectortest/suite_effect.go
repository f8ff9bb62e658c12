package connectortest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/countersign/countersign/connectors"
)

// watch: changes are told, or watching is refused.
func (h Harness) watch(t *testing.T) {
	s := h.open(t)
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	q := &connectors.Query{Select: (&connectors.Select{Collection: Customers, Where: connectors.Compare("id", connectors.OpGt, connectors.Const(num(500)))}).Seal()}
	events := s.c.Watch(ctx, q)
	if !s.schema.Capabilities.Watch {
		told := 0
		for _, err := range events {
			if told++; connectors.CodeOf(err) != connectors.CodeUnsupported {
				t.Errorf("watching what cannot be watched: %v", describeError(err))
			}
		}
		if told != 1 {
			t.Errorf("watching what cannot be watched is refused %d times, not once", told)
		}
		return
	}
	for _, kind := range []connectors.StepKind{connectors.Create, connectors.Update, connectors.Delete} {
		if !s.takes(Customers, kind) {
			return
		}
	}
	s.apply(t, updateOf(Customers, 8, assigns("note", text("not watched")))[0])
	s.apply(t, creation(Customers, customer(501).Fields)[0])
	s.apply(t, updateOf(Customers, 501, assigns("note", text("x")))[0])
	s.apply(t, deletion(Customers, 501)[0])
	want := []connectors.StepKind{connectors.Create, connectors.Update, connectors.Delete}
	n := 0
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != want[n] || e.Collection != Customers || len(e.Key) != 1 || e.Key[0].Value.Text != "501" || e.Cursor == "" {
			t.Errorf("event %d is %+v", n, e)
		}
		if n++; n == len(want) {
			break
		}
	}
}

// functions: one that reads is no write, one that writes is no query; neither
// takes an argument that is not declared, nor goes without one that is needed.
// What they do is the system's own.
func (s *session) functions(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	call := func(f *connectors.Function, args ...connectors.Member) map[string]error {
		sel := &connectors.Select{Function: f.Name}
		for _, a := range args {
			sel.Call = append(sel.Call, connectors.ArgOperand{Name: a.Name, Operand: connectors.Const(a.Value)})
		}
		c := changeOf(connectors.Step{ID: "f", Kind: connectors.Call, Function: f.Name, Args: connectors.ObjectOf(args...)})
		_, query := read(s.c, &connectors.Query{Select: sel.Seal()})
		_, preview := s.c.Preview(ctx, nil, c)
		_, apply := s.c.Apply(ctx, nil, c)
		return map[string]error{"query": query, "preview": preview, "apply": apply}
	}
	for _, f := range s.schema.Functions {
		needed := slices.ContainsFunc(f.Args, func(a *connectors.Field) bool { return !a.Nullable && !a.Default })
		unknown, missing := call(f, connectors.Member{Name: "nothing of that name", Value: num(1)}), map[string]error(nil)
		if needed {
			missing = call(f)
		}
		for how := range unknown {
			code, without := connectors.CodeBadInput, connectors.CodeValidationFailed
			if (how == "query") != f.Reads {
				code, without = connectors.CodeUnsupported, connectors.CodeUnsupported
			}
			if connectors.CodeOf(unknown[how]) != code {
				t.Errorf("%s of %s with an argument that it has not: %v, not %s", how, f.Name, describeError(unknown[how]), code)
			}
			if needed && connectors.CodeOf(missing[how]) != without {
				t.Errorf("%s of %s without its arguments: %v, not %s", how, f.Name, describeError(missing[how]), without)
			}
		}
		if f.Reads {
			sel := &connectors.Select{Function: f.Name, Page: &connectors.Page{Limit: connectors.Const(num(1))}}
			s.refused(t, connectors.CodeUnsupported, &connectors.Query{Select: sel.Seal()})
		}
	}
}

// previews: a preview of writes holds before and after, and does nothing, also
// under each strategy that a step can ask for.
func (h Harness) previews(t *testing.T) {
	s := h.open(t)
	for _, strategy := range []connectors.PreviewStrategy{connectors.PreviewRead, connectors.PreviewRollback, connectors.PreviewNone} {
		asking := func(st *connectors.Step) { st.Preview = strategy }
		can := func(collection string, kind connectors.StepKind) bool {
			// It can do more than the schema says only where rollback is configured.
			act := s.oracle.Schema().Collection(collection).Acts[kind]
			return act != nil && (act.Preview == strategy || act.Preview == connectors.PreviewRollback && strategy == connectors.PreviewRead)
		}
		preview := func(steps []connectors.Step) connectors.StepEffect {
			s.previewed(t, changeOf(steps...), "")
			effect, err := s.c.Preview(context.Background(), nil, changeOf(steps...))
			if err != nil {
				t.Fatal(describeError(err))
			}
			return effect.Steps[0]
		}
		if can(Customers, connectors.Update) {
			update := preview(updateOf(Customers, 8, assigns("note", text("after")), returning("email"), asking))
			if len(update.Before) != 1 || update.Before[0].Get("note").Text == "after" || len(update.After) != 1 || update.After[0].Get("note").Text != "after" {
				t.Errorf("%s: the preview of an update is %+v", strategy, update)
			}
		}
		if can(Albums, connectors.Create) {
			create := preview(creation(Albums, assigns("artist_id", num(1), "title", text("made")), returning("id", "plays"), asking))
			if len(create.After) != 1 || create.After[0].Get("plays").Text != "0" || !slices.Contains(create.Unpredictable, "id") || create.After[0].Get("id").Kind != connectors.KindAbsent {
				t.Errorf("%s: the preview of a create is %+v", strategy, create)
			}
		}
		if can(Artists, connectors.Delete) {
			del := preview(deletion(Artists, 14, returning("name"), asking))
			if len(del.Before) != 1 || len(del.After) != 0 || del.Before[0].Get("name").IsNull() {
				t.Errorf("%s: the preview of a delete is %+v", strategy, del)
			}
		}
	}
}

// writers: of writers at once none is lost, and of those that expect one state
// one wins. Where what is expected is read just before dispatch, more than one may.
func (h Harness) writers(t *testing.T) {
	s := h.open(t)
	const writers, each = 4, 5
	step := updateOf(Albums, 1, []connectors.Assign{increment("plays", num(1))})[0]
	if s.takes(Albums, connectors.Update) && s.oracle.Schema().Collection(Albums).Acts[connectors.Update].Increment {
		s.together(t, writers, func(int) error {
			for range each {
				if _, err := s.applyPatiently(changeOf(step)); err != nil {
					return err
				}
			}
			return nil
		})
		for range writers * each {
			if _, err := s.oracle.Apply(context.Background(), nil, changeOf(step)); err != nil {
				t.Fatal(err)
			}
		}
		s.compare(t, s.everything(s.oracle.Schema().Collection(Albums)))
	}
	if !s.takes(Customers, connectors.Update) {
		return
	}
	moved := map[connectors.Code]int{}
	var mu sync.Mutex
	s.together(t, writers, func(n int) error {
		note := updateOf(Customers, 9, assigns("note", text(fmt.Sprint("writer ", n))), expecting(expectation(9, "note", s.note(9))))
		_, err := s.applyPatiently(changeOf(note...))
		mu.Lock()
		defer mu.Unlock()
		moved[connectors.CodeOf(err)]++
		return nil
	})
	act := s.oracle.Schema().Collection(Customers).Acts[connectors.Update]
	if moved[""] < 1 || moved[""]+moved[connectors.CodeProposalStale] != writers || act.Conditional && moved[""] != 1 {
		t.Errorf("of %d writers that expect one state, the outcomes are %v", writers, moved)
	}
}

// note is what the suite's data says.
func (s *session) note(id int64) connectors.Value {
	rec := SuiteData()[Customers][id-1]
	return rec.Get("note")
}

func (s *session) together(t *testing.T, n int, f func(int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Errorf("a writer fails: %v", describeError(err))
		}
	}
}

// applyPatiently repeats a change that was provably not done because of a lock.
func (s *session) applyPatiently(c *connectors.Change) (*connectors.Effect, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	for {
		effect, err := s.c.Apply(ctx, nil, c)
		if connectors.CodeOf(err) != connectors.CodeLockTimeout || ctx.Err() != nil {
			return effect, err
		}
	}
}

// marker: a change under a marker takes effect once, whoever runs it how often;
// a void marker keeps it from running at all.
func (h Harness) marker(t *testing.T) {
	s := h.open(t)
	if !s.takes(Albums, connectors.Update) {
		return
	}
	marked := func(proposal, hash string, void bool) *connectors.Change {
		c := changeOf(updateOf(Albums, 2, []connectors.Assign{increment("plays", num(1))}, returning("plays"))...)
		c.Marker = &connectors.Marker{Proposal: proposal, Change: 3, ContentHash: hash, Void: void}
		return c
	}
	if s.oracle.Schema().Collection(Albums).Acts[connectors.Update].Class != connectors.Transactional {
		for _, void := range []bool{false, true} {
			c := marked("p1", "h1", void)
			c.Steps[0].Set, c.Steps[0].Return = assigns("title", text("marked")), nil
			if _, err := s.c.Apply(context.Background(), nil, c); connectors.CodeOf(err) != connectors.CodeUnsupported {
				t.Errorf("a marker (void %t) where there is none: %v", void, describeError(err))
			}
			s.sameRecords(t, c)
		}
		return
	}
	first, err := s.applyChange(t, marked("p1", "h1", false))
	if err != nil {
		t.Fatal(describeError(err))
	}
	for _, void := range []bool{false, true} {
		again, err := s.applyChange(t, marked("p1", "h1", void))
		if err != nil || !again.Repeated || !sameAssigns(s.oracle.Schema().Collection(Albums), again.Steps[0].After[0].Fields, first.Steps[0].After[0].Fields) {
			t.Errorf("the same again (void %t): %+v, %v", void, again, describeError(err))
		}
	}
	expect := func(what string, c *connectors.Change, code connectors.Code) {
		t.Helper()
		if _, err := s.applyChange(t, c); connectors.CodeOf(err) != code {
			t.Errorf("%s: %v", what, describeError(err))
		}
	}
	expect("other content under the marker", marked("p1", "h2", false), connectors.CodeContentChanged)
	expect("a void one of other content", marked("p1", "h2", true), connectors.CodeContentChanged)
	expect("void", marked("p2", "h1", true), "")
	expect("void again", marked("p2", "h1", true), "")
	expect("a change made void", marked("p2", "h1", false), connectors.CodeWrongState)

	failing := marked("p3", "h1", false)
	failing.Steps[0].Key = assigns("id", num(9999))
	expect("a change that fails", failing, connectors.CodeNotFound)
	expect("the same number after a failure", marked("p3", "h1", false), "")

	// Many at once: one effect, and all answer as if they had done it.
	const runners = 6
	repeated := make([]bool, runners)
	s.together(t, runners, func(i int) error {
		effect, err := s.applyPatiently(marked("p4", "h1", false))
		if err == nil {
			repeated[i] = effect.Repeated
		}
		return err
	})
	s.oracle.Apply(context.Background(), nil, marked("p4", "h1", false))
	s.compare(t, s.everything(s.oracle.Schema().Collection(Albums)))
	firsts := 0
	for _, r := range repeated {
		if !r {
			firsts++
		}
	}
	if firsts != 1 {
		t.Errorf("%d of %d runners say that they were the first", firsts, runners)
	}
}

// idempotency: a write under a key is done once, and answers the same again, also
// when the record is by then as the write left it. Without a key each is done.
func (h Harness) idempotency(t *testing.T) {
	s := h.open(t)
	under := func(key string, steps []connectors.Step) *connectors.Change {
		steps[0].IdempotencyKey = key
		return changeOf(steps...)
	}
	for kind, steps := range map[connectors.StepKind]func(n int64) []connectors.Step{
		connectors.Create: func(n int64) []connectors.Step {
			return creation(Customers, customer(500+n).Fields, returning("balance"))
		},
		connectors.Update: func(n int64) []connectors.Step {
			return updateOf(Customers, 40+n, assigns("note", text("once")), returning("note"), expecting(expectation(40+n, "note", s.note(40+n))))
		},
		connectors.Delete: func(n int64) []connectors.Step {
			return deletion(Customers, 60-n, expecting(expectation(60-n, "email", SuiteData()[Customers][59-n].Get("email"))))
		},
	} {
		if !s.takes(Customers, kind) || s.oracle.Schema().Collection(Customers).Acts[kind].Class != connectors.Idempotent {
			continue
		}
		for range 2 {
			if _, err := s.applyChange(t, under("key of "+string(kind), steps(0))); err != nil {
				t.Fatalf("%s under a key: %v", kind, describeError(err))
			}
		}
		other := under("key of "+string(kind), steps(1))
		if _, err := s.c.Apply(context.Background(), nil, other); err == nil || connectors.CodeOf(err) == connectors.CodeOutcomeUnknown {
			t.Errorf("another %s under the same key: %v", kind, describeError(err))
		}
		s.sameRecords(t, other)
		effect, err := s.applyChange(t, changeOf(steps(1)...))
		if err != nil || effect.Repeated {
			t.Errorf("another %s without a key: %+v, %v", kind, effect, describeError(err))
		}
	}
}
