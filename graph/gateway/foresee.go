package gateway

import (
	"cmp"
	"slices"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
)

// A Foreseen is what a mutation would do, as far as that is known before any
// source is asked.
type Foreseen struct {
	Outcome Prospect       `json:"outcome"`
	Records []ForeseenStep `json:"records"`
	// Routing is who would decide about the whole; nil where it needs nobody.
	Routing *ForeseenRouting `json:"routing,omitempty"`
}

// A Prospect is what would become of a write.
type Prospect string

// The prospects, from the strictest.
const (
	WouldRefuse  Prospect = "refused"
	WouldPropose Prospect = "proposed"
	// DependsOnRecord: it would be done at once where the record matches a line
	// that allows it, and proposed otherwise.
	DependsOnRecord Prospect = "depends on the record"
	WouldApply      Prospect = "done at once"
	// WouldPreview: the operation asks for a preview and nothing else.
	WouldPreview Prospect = "previewed"
)

// A ForeseenStep is one step of the change.
type ForeseenStep struct {
	ID      string              `json:"id"`
	Source  string              `json:"source"`
	Object  string              `json:"object"` // "source.collection" or "source.function"
	Act     connectors.StepKind `json:"act"`
	Outcome Prospect            `json:"outcome"`
	// Call is the system's own description of a function: "POST /refunds".
	Call string `json:"call,omitempty"`
	// Key and Set are what the record is found by and given, Args what a
	// function is called with, under the graph's names. Values that the caller
	// did not write are withheld.
	Key  []ForeseenValue `json:"key,omitempty"`
	Set  []ForeseenValue `json:"set,omitempty"`
	Args []ForeseenValue `json:"args,omitempty"`
	// ByFilter: any number of records, at most Most.
	ByFilter bool                       `json:"byFilter,omitempty"`
	Most     int                        `json:"most,omitempty"`
	Class    connectors.OutcomeClass    `json:"class"`
	Preview  connectors.PreviewStrategy `json:"preview"`
	// Rule is the rule of approvals.yaml that matches by what is known; "": the
	// defaults. Open are rules before it that may match instead, once the
	// records are known. Both only where something is proposed.
	Rule string   `json:"rule,omitempty"`
	Open []string `json:"open,omitempty"`
	// Validators that are about it, with what they say of the values that are
	// known; those over HTTP are asked when it is written, not here.
	Validators []policy.Check `json:"validators,omitempty"`
}

// A ForeseenValue is a field with its value as JSON, or withheld.
type ForeseenValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Increment: the value is added.
	Increment bool `json:"increment,omitempty"`
}

// A ForeseenRouting is who would decide.
type ForeseenRouting struct {
	Then string `json:"then"` // policy.ThenReview, ThenApprove or ThenReject
	// Rule is the rule, or several joined by ","; "": the defaults.
	Rule   string         `json:"rule,omitempty"`
	Say    string         `json:"say,omitempty"`
	Seats  []ForeseenSeat `json:"seats,omitempty"`
	Expire time.Duration  `json:"-"`
}

// A ForeseenSeat is a place for Count persons with Role. In a confirm seat sits
// the person that the agent acts for; Else is the role in their place.
type ForeseenSeat struct {
	Role    string `json:"role,omitempty"`
	Count   int    `json:"count"`
	Confirm bool   `json:"confirm,omitempty"`
	Else    string `json:"else,omitempty"`
}

// foresee binds a mutation and finds out what would become of it. It asks no
// source.
func (g *Gateway) foresee(c *call, p *plan.Plan, in *plan.Bindings) (*Foreseen, []Error) {
	ext, bad := c.writeExtension()
	if bad != nil {
		return nil, []Error{fromError(bad, nil)}
	}
	opts, bad := p.WriteOptions(in, ext)
	if bad != nil {
		return nil, planErrors(bad)
	}
	if opts.Mode == plan.ModeJob {
		return nil, refuse(connectors.CodeUnsupported, "mode JOB is not supported yet")
	}
	var values plan.Values
	if bad := p.Bind(in, &values); bad != nil {
		return nil, planErrors(bad)
	}
	f := &foresight{c: c, show: c.trace(in).Show, out: &Foreseen{Outcome: WouldApply}}
	var bound [][]plan.BoundRecord
	for _, w := range p.Writes {
		records := p.BindWrite(w, in, &values)
		bound = append(bound, records)
		for i := range records {
			f.out.Outcome = stricter(f.out.Outcome, prospect(&records[i], opts.Mode))
		}
	}
	for i, w := range p.Writes {
		for j := range bound[i] {
			if err := f.step(w, &bound[i][j], opts.Mode); err != nil {
				return nil, []Error{fromError(err, nil)}
			}
		}
	}
	if len(f.routings) > 0 {
		f.out.Routing = routingOf(policy.Combine(f.routings))
	}
	if opts.Mode == plan.ModePreview && f.out.Outcome != WouldRefuse {
		f.out.Outcome, f.out.Routing = WouldPreview, nil
	}
	return f.out, nil
}

// prospect is what would become of one record by itself.
func prospect(b *plan.BoundRecord, mode plan.Mode) Prospect {
	switch {
	case b.Effect == policy.Denied, len(b.Invalid) > 0:
		return WouldRefuse
	case mode == plan.ModePropose, b.Held():
		return WouldPropose
	case b.Effect == policy.Allow:
		return WouldApply
	case b.Step.Kind == connectors.Create && b.DirectCreate(), b.Step.Kind == connectors.Call && b.DirectCall():
		return WouldApply
	case b.Direct == nil || b.Step.Kind == connectors.Create || b.Step.Kind == connectors.Call:
		return WouldPropose
	}
	return DependsOnRecord
}

// stricter is what holds for an operation of both: one that is refused refuses
// all, one that is proposed proposes all.
func stricter(a, b Prospect) Prospect {
	order := []Prospect{WouldRefuse, WouldPropose, DependsOnRecord, WouldApply}
	if cmp.Compare(slices.Index(order, a), slices.Index(order, b)) <= 0 {
		return a
	}
	return b
}

// A foresight collects what is foreseen of one operation.
type foresight struct {
	c        *call
	show     func(connectors.Value) string
	out      *Foreseen
	routings []policy.Routing
}

func (f *foresight) step(w *plan.Write, b *plan.BoundRecord, mode plan.Mode) error {
	s := ForeseenStep{ID: b.Step.ID, Source: w.Source, Object: w.Object, Act: w.Kind, Outcome: prospect(b, mode), Class: w.Class, Preview: w.Preview,
		Most: b.Step.MaxRows, Validators: b.Checks, Key: f.values(w, b.Step.Key), Set: f.values(w, b.Step.Set)}
	s.ByFilter = len(b.Step.Key) == 0 && (w.Kind == connectors.Update || w.Kind == connectors.Delete)
	if fn := f.c.snap.Catalog.Function(w.Object); fn != nil {
		s.Call = fn.Spec.Call
		for _, m := range arguments(fn, b.Step.Args).Members {
			s.Args = append(s.Args, ForeseenValue{Name: m.Name, Value: f.show(m.Value)})
		}
	}
	if f.out.Outcome == WouldPropose || f.out.Outcome == DependsOnRecord {
		r, open, err := f.c.snap.Policy.Foresee(f.facts(w, b))
		if err != nil {
			return err
		}
		s.Rule, s.Open = r.Rule, open
		f.routings = append(f.routings, r)
	}
	f.out.Records = append(f.out.Records, s)
	return nil
}

func (f *foresight) values(w *plan.Write, in []connectors.Assign) []ForeseenValue {
	var out []ForeseenValue
	for _, a := range in {
		name := w.Names[a.Field]
		if name == "" {
			name = a.Field
		}
		out = append(out, ForeseenValue{Name: name, Value: f.show(a.Value), Increment: a.Increment})
	}
	return out
}

// facts are what rules can look at before a source was asked: what is given,
// and of the records no more than that and their keys.
func (f *foresight) facts(w *plan.Write, b *plan.BoundRecord) policy.ChangeFacts {
	s := &b.Step
	facts := policy.ChangeFacts{Checks: b.Checks, Object: w.Object, Act: policy.Act(s.Kind), Principal: f.c.principal, Records: 1}
	if fn := f.c.snap.Catalog.Function(w.Object); fn != nil {
		facts.Input = arguments(fn, s.Args)
		return facts
	}
	coll := f.c.snap.Catalog.Collection(w.Object)
	if coll == nil {
		return facts
	}
	facts.Input = values(coll, s.Set)
	if s.Kind != connectors.Create && len(s.Key) == 0 {
		facts.Records = -1
	}
	if s.Kind != connectors.Create {
		facts.Before = []connectors.Value{values(coll, s.Key)}
	}
	if s.Kind != connectors.Delete {
		// A sum is not known without the record.
		plain := slices.DeleteFunc(slices.Clone(s.Set), func(a connectors.Assign) bool { return a.Increment })
		facts.After = []connectors.Value{values(coll, slices.Concat(s.Key, plain))}
	}
	return facts
}

func routingOf(r policy.Routing) *ForeseenRouting {
	out := &ForeseenRouting{Then: r.Then, Rule: r.Rule, Say: r.Say, Expire: r.Expire}
	for _, s := range r.Seats {
		seat := ForeseenSeat{Role: s.Role, Count: s.Count, Confirm: s.Confirm}
		if len(s.Else) > 0 {
			seat.Else = s.Else[0].Role
		}
		out.Seats = append(out.Seats, seat)
	}
	return out
}
