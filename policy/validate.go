package policy

import (
	"slices"
	"time"

	"github.com/google/cel-go/common/types"

	"github.com/countersign/countersign/connectors"
)

// A Writing is one step of a write as validators look at it.
type Writing struct {
	Object string // "source.collection" or "source.function"
	// Step with its values. Validate gives its fields or arguments the values
	// that validators set.
	Step *connectors.Step
	// Presets are the fields that the policy gave a value (system names): no
	// validator changes those.
	Presets []string
	// Principal is who asks, with the chain behind it.
	Principal *Principal
	Now       time.Time
}

// A Verdict is what a validator says of a step.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Refused Verdict = "refused"
	// Held: people have to decide, whatever the policy allows.
	Held Verdict = "review"
	// Unasked: a validator over HTTP that is yet to be asked.
	Unasked Verdict = "unasked"
)

// A Check is a validator that looked at a step, and what it says.
type Check struct {
	Validator string  `json:"validator"`
	Verdict   Verdict `json:"verdict"`
	// Say is what people are told, of Held and Refused.
	Say string `json:"say,omitempty"`
	// Role, of Held, is whose seat is to be filled beside those that the rule
	// asks for; "" for those alone.
	Role string `json:"role,omitempty"`
	// Set are the fields that it gave another value, by their graph names.
	Set []string `json:"set,omitempty"`
}

// Validates tells whether any validator is about writes of an object. It is
// cheap, and safe for a nil engine.
func (e *Engine) Validates(object string, act Act) bool {
	if e == nil || e.approvals == nil || len(e.approvals.byObject) == 0 {
		return false
	}
	o, ok := e.names.byName[object]
	return ok && slices.ContainsFunc(e.approvals.byObject[o], func(v *validator) bool { return v.acts&bitOf(act) != 0 })
}

// Validate runs the validators that are about a step, in the order of the file:
// first every set, then every must over the result. What refuses is an error of
// code VALIDATION_FAILED each; validators over HTTP are left to AskRemote. It does no
// I/O, and but for Writing.Now its answer depends on nothing else.
func (e *Engine) Validate(w *Writing) ([]Check, []*connectors.Error) {
	r := e.validation(w)
	if r == nil {
		return nil, nil
	}
	var errs []*connectors.Error
	checks := make([]Check, len(r.validators))
	for i, v := range r.validators {
		checks[i] = Check{Validator: v.name, Verdict: Passed}
		for _, s := range v.programs[r.o].sets {
			changed, err := r.set(s)
			if err != nil {
				checks[i].Verdict = Refused
				errs = append(errs, refusal(v, r.o, "").WithCause(err).At(s.field.System))
			} else if changed {
				checks[i].Set = append(checks[i].Set, s.field.Graph)
			}
		}
	}
	for i, v := range r.validators {
		if checks[i].Verdict != Passed {
			continue
		}
		holds, err := r.holds(v)
		if !holds {
			if bad := checks[i].fails(v.els, v, r.o, ""); bad != nil {
				errs = append(errs, bad.WithCause(err))
			}
		} else if v.remote != nil {
			checks[i].Verdict = Unasked
		}
	}
	return checks, errs
}

// Recheck asks the validators again about a step that was validated before, and
// changes nothing: what was approved runs as it is, or not at all. A must is
// evaluated with the time of now; where it fails, people must have been asked for
// that very reason. A validator over HTTP must have been asked then. checks are
// what Validate and AskRemote answered.
func (e *Engine) Recheck(w *Writing, checks []Check) error {
	r := e.validation(w)
	if r == nil {
		return nil
	}
	for _, v := range r.validators {
		i := slices.IndexFunc(checks, func(c Check) bool { return c.Validator == v.name })
		known := i >= 0 && (checks[i].Verdict == Passed || checks[i].Verdict == Held)
		if v.remote != nil && !known {
			return connectors.Errorf(connectors.CodeForbidden, "the validator %s was not asked about this", v.name)
		}
		holds, err := r.holds(v)
		if !holds && !(v.els.review && known && checks[i].Verdict == Held && checks[i].Role == v.els.role) {
			bad := refusal(v, r.o, "").WithCause(err)
			bad.Code = connectors.CodeForbidden
			return bad
		}
	}
	return nil
}

// fails gives a check its consequence; the error is nil where people decide.
func (c *Check) fails(k consequence, v *validator, o int32, say string) *connectors.Error {
	err := refusal(v, o, say)
	c.Say = err.Message
	if k.review {
		c.Verdict, c.Role = Held, k.role
		return nil
	}
	c.Verdict = Refused
	return err
}

func refusal(v *validator, o int32, say string) *connectors.Error {
	if say == "" {
		say = v.say
	}
	if say == "" {
		say = "the validator " + v.name + " does not let this pass"
	}
	err := connectors.Errorf(connectors.CodeValidationFailed, "%s", say)
	err.Because = []string{"validator " + v.name}
	if path := v.programs[o].path; path != "" {
		err.Path = []string{path}
	}
	return err
}

// A validation is one step with its values as expressions see them.
type validation struct {
	w          *Writing
	o          int32
	validators []*validator
	input      map[string]any
	vars       map[string]any
	broken     error // a value that has no form in expressions
}

// validation finds the validators that are about a step; nil where none is.
func (e *Engine) validation(w *Writing) *validation {
	act := Act(w.Step.Kind)
	if !e.Validates(w.Object, act) || w.Principal == nil {
		return nil
	}
	o := e.names.byName[w.Object]
	r := &validation{w: w, o: o}
	for _, v := range e.approvals.byObject[o] {
		if v.acts&bitOf(act) != 0 && e.isBy(v.by, w.Principal) && e.isOn(v.targets, o, e.given(o, w.Step)) {
			r.validators = append(r.validators, v)
		}
	}
	if len(r.validators) == 0 {
		return nil
	}
	fields := e.names.objects[o].Fields
	r.vars = map[string]any{"object": w.Object, "act": string(act), "now": w.Now.UTC(),
		"principal": e.principalToCEL(w.Principal), "agent": agentToCEL(w.Principal)}
	part := func(name string, get func(string) connectors.Value) map[string]any {
		values, err := celFields(fields, get)
		if err != nil {
			r.broken = err
		}
		r.vars[name] = values
		return values
	}
	r.input = part("input", func(system string) connectors.Value {
		if w.Step.Kind == connectors.Call {
			return w.Step.Args.Get(system)
		}
		return assignedTo(w.Step.Set, system, false)
	})
	part("increment", func(system string) connectors.Value { return assignedTo(w.Step.Set, system, true) })
	part("key", func(system string) connectors.Value { return assignedTo(w.Step.Key, system, false) })
	return r
}

func assignedTo(list []connectors.Assign, system string, increment bool) connectors.Value {
	for i := range list {
		if list[i].Field == system && list[i].Increment == increment {
			return list[i].Value
		}
	}
	return connectors.Value{}
}

// given are the fields of a step under the graph's names, for who is about
// fields.
func (e *Engine) given(o int32, s *connectors.Step) connectors.Value {
	out := connectors.Value{Kind: connectors.KindObject}
	add := func(system string, v connectors.Value) {
		if i, ok := e.names.systemField(o, system); ok {
			out.Members = append(out.Members, connectors.Member{Name: e.names.objects[o].Fields[i].Graph, Value: v})
		}
	}
	for _, m := range s.Args.Members {
		add(m.Name, m.Value)
	}
	for _, a := range s.Set {
		add(a.Field, a.Value)
	}
	return out
}

// set gives a field of the input its new value. A field that is absent or null,
// or that the policy gave, is left as it is.
func (r *validation) set(s fieldSet) (changed bool, err error) {
	old, given := r.input[s.field.Graph]
	if !given || old == types.NullValue || slices.Contains(r.w.Presets, s.field.System) {
		return false, nil
	}
	if r.broken != nil {
		return false, r.broken
	}
	out, _, err := s.value.program.Eval(r.vars)
	if err != nil {
		return false, err
	}
	value, err := fromCEL(out, s.field, s.field.Type)
	if err != nil {
		return false, err
	}
	again, err := toCEL(value, s.field, s.field.Type)
	if err != nil {
		return false, err
	}
	r.input[s.field.Graph] = again
	return r.write(s.field.System, value), nil
}

// write puts a value into the step; it tells whether that is another one.
func (r *validation) write(system string, value connectors.Value) bool {
	step := r.w.Step
	for i := range step.Args.Members {
		if m := &step.Args.Members[i]; m.Name == system && !m.Value.Equal(value) {
			m.Value = value
			return true
		}
	}
	for i := range step.Set {
		if a := &step.Set[i]; a.Field == system && !a.Increment && !a.Value.Equal(value) {
			a.Value = value
			return true
		}
	}
	return false
}

// holds tells whether must is true. What cannot be evaluated is not.
func (r *validation) holds(v *validator) (bool, error) {
	must := v.programs[r.o].must
	if must == nil {
		return true, nil
	}
	if r.broken != nil {
		return false, r.broken
	}
	out, _, err := must.program.Eval(r.vars)
	if err != nil {
		return false, err
	}
	return out == types.True, nil
}
