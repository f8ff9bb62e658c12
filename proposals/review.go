package proposals

import (
	"encoding/json"
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A Review is the frozen review document of a revision: what people decide on,
// as data. It is built once, when the revision is made, and holds nothing live.
type Review struct {
	Operation string          `json:"operation,omitempty"`
	Document  string          `json:"document"`
	Variables json.RawMessage `json:"variables,omitempty"`
	// Reason is the author's own words, to be quoted as such.
	Reason   string         `json:"reason,omitempty"`
	Evidence []string       `json:"evidence,omitempty"`
	Changes  []ReviewChange `json:"changes"`
	// Complete: every argument that will be sent, every record that a
	// precondition covers, and every known effect are shown in full. Only a
	// complete one can be approved.
	Complete bool `json:"complete"`
}

// A ReviewChange is one step of the change set.
type ReviewChange struct {
	// Change and Step are its place in the change set; ID is the response key.
	Change     int                 `json:"change"`
	Step       int                 `json:"step"`
	ID         string              `json:"id"`
	Source     string              `json:"source"`
	Collection string              `json:"collection,omitempty"`
	Function   string              `json:"function,omitempty"`
	Kind       connectors.StepKind `json:"kind"`
	// Diff, one per record; empty for calls.
	Diff []RecordDiff `json:"diff,omitempty"`
	// Args of a call, argument by argument, and the request it becomes where the
	// connector can tell. Sensitive members are left out and named in Hidden.
	Args          connectors.Value        `json:"args,omitzero"`
	Request       *connectors.Request     `json:"request,omitempty"`
	Hidden        []string                `json:"hidden,omitempty"`
	AffectedCount int                     `json:"affectedCount"`
	OutcomeClass  connectors.OutcomeClass `json:"outcomeClass"`
	// Unpredictable is what the system decides when it runs; it is no
	// incompleteness.
	Unpredictable []string `json:"unpredictable,omitempty"`
	// Incomplete says why it is not all; "" where it is.
	Incomplete string `json:"incomplete,omitempty"`
	// Checks are the validators that looked at it before it was proposed.
	Checks []policy.Check `json:"checks,omitempty"`
}

// Object is "source.collection" or "source.function", as policy names it.
func (c *ReviewChange) Object() string {
	if c.Function != "" {
		return c.Source + "." + c.Function
	}
	return c.Source + "." + c.Collection
}

// A RecordDiff is what becomes of one record. Before is empty for a create and
// After for a delete.
type RecordDiff struct {
	Key    []connectors.Assign `json:"key,omitempty"`
	Before []connectors.Assign `json:"before,omitempty"`
	After  []connectors.Assign `json:"after,omitempty"`
	// Names are fields that were read to name the record for people. The change
	// does not rest on them.
	Names []connectors.Assign `json:"names,omitempty"`
	// Fields whose value changes, in the collection's order.
	Fields []string `json:"fields"`
	// Hidden fields change, and nobody is shown how.
	Hidden []string `json:"hidden,omitempty"`
}

// freeze builds the review document and puts the semantic preconditions into
// the change set: the fields that the diff shows before, that are written, and
// that a condition reads must still have the values they have now.
func freeze(set *ChangeSet, effects []*connectors.Effect) (*Review, error) {
	out := &Review{Complete: true}
	for i := range set.Changes {
		c := &set.Changes[i]
		if i >= len(effects) || effects[i] == nil || len(effects[i].Steps) != len(c.Steps) {
			return nil, connectors.Errorf(connectors.CodeInternal, "the preview does not fit the change")
		}
		var hidden []string
		for _, t := range set.Targets {
			if t.Source == c.Source {
				hidden = t.Sensitive
			}
		}
		for j := range c.Steps {
			rc, err := freezeStep(&c.Steps[j], &effects[i].Steps[j], hidden)
			if err != nil {
				return nil, err
			}
			rc.Change, rc.Step, rc.Source = i, j, c.Source
			out.Complete = out.Complete && rc.Incomplete == ""
			out.Changes = append(out.Changes, rc)
		}
	}
	return out, nil
}

func freezeStep(s *connectors.Step, e *connectors.StepEffect, hidden []string) (ReviewChange, error) {
	rc := ReviewChange{ID: s.ID, Collection: s.Collection, Function: s.Function, Kind: s.Kind, AffectedCount: e.Affected,
		OutcomeClass: s.Class, Unpredictable: e.Unpredictable, Incomplete: e.Incomplete}
	switch s.Kind {
	case connectors.Call:
		rc.Args, rc.Hidden = hideMembers(s.Function, s.Args, hidden)
		rc.Request = e.Request
		rc.AffectedCount = max(e.Affected, 1)
		return rc, nil
	case connectors.Create:
		after := s.Set
		if len(e.After) > 0 {
			after = e.After[0].Fields
		}
		d := RecordDiff{After: after}
		if len(e.After) > 0 {
			d.Key = e.After[0].Key
		}
		for _, a := range after {
			d.Fields = append(d.Fields, a.Field)
		}
		rc.AffectedCount = 1
		rc.Diff = []RecordDiff{hideFields(s.Collection, d, hidden)}
		return rc, nil
	}
	if len(e.Before) == 0 {
		return rc, connectors.Errorf(connectors.CodeNotFound, "no record matches")
	}
	if e.Affected != len(e.Before) || s.Kind == connectors.Update && len(e.After) != len(e.Before) {
		if rc.Incomplete == "" {
			rc.Incomplete = "not every record is shown"
		}
	}
	expect := s.Expect == nil
	for i := range e.Before {
		before := relevant(s, &e.Before[i])
		d := RecordDiff{Key: e.Before[i].Key, Before: before, Names: naming(before, &e.Before[i])}
		if s.Kind == connectors.Update && i < len(e.After) {
			d.After, d.Fields = after(before, &e.After[i])
		} else {
			for _, a := range before {
				d.Fields = append(d.Fields, a.Field)
			}
		}
		if expect {
			s.Expect = append(s.Expect, connectors.Expectation{Key: e.Before[i].Key, Fields: before})
		}
		rc.Diff = append(rc.Diff, hideFields(s.Collection, d, hidden))
	}
	return rc, nil
}

// relevant are the fields of a record that its diff shows: all of a delete;
// those written or read by a condition of an update. A move in another field
// does not touch the proposal.
func relevant(s *connectors.Step, r *connectors.Record) []connectors.Assign {
	if s.Kind == connectors.Delete {
		return r.Fields
	}
	want := map[string]bool{}
	for _, a := range s.Set {
		want[a.Field] = true
	}
	conditionFields(s.Where, want)
	conditionFields(s.Check, want)
	var out []connectors.Assign
	for _, a := range r.Fields {
		if want[a.Field] {
			out = append(out, a)
		}
	}
	return out
}

// naming are the fields of the record beside those shown and the key.
func naming(shown []connectors.Assign, r *connectors.Record) []connectors.Assign {
	var out []connectors.Assign
	for _, a := range r.Fields {
		same := func(b connectors.Assign) bool { return b.Field == a.Field }
		if !slices.ContainsFunc(shown, same) && !slices.ContainsFunc(r.Key, same) {
			out = append(out, a)
		}
	}
	return out
}

// conditionFields collects the fields of the record itself; those of related
// records are checked with the condition, in the effect's own statement.
func conditionFields(c *connectors.Condition, into map[string]bool) {
	if c == nil {
		return
	}
	if c.Field != "" {
		into[c.Field] = true
	}
	if c.Relation != nil {
		for _, f := range c.Relation.Fields {
			into[f] = true
		}
	}
	for _, i := range c.Items {
		conditionFields(i, into)
	}
}

// after is the record after, in the fields shown before, and which of them
// change. Fields that only the record after has are shown too.
func after(before []connectors.Assign, r *connectors.Record) (shown []connectors.Assign, changed []string) {
	for _, a := range r.Fields {
		i := slices.IndexFunc(before, func(b connectors.Assign) bool { return b.Field == a.Field })
		if i >= 0 {
			shown = append(shown, a)
			if !before[i].Value.Equal(a.Value) {
				changed = append(changed, a.Field)
			}
		}
	}
	return shown, changed
}

func hideFields(object string, d RecordDiff, hidden []string) RecordDiff {
	if len(hidden) == 0 {
		return d
	}
	strip := func(in []connectors.Assign) []connectors.Assign {
		var out []connectors.Assign
		for _, a := range in {
			if !slices.Contains(hidden, object+"."+a.Field) {
				out = append(out, a)
			}
		}
		return out
	}
	for _, f := range d.Fields {
		if slices.Contains(hidden, object+"."+f) {
			d.Hidden = append(d.Hidden, f)
		}
	}
	d.Key, d.Before, d.After, d.Names = strip(d.Key), strip(d.Before), strip(d.After), strip(d.Names)
	return d
}

func hideMembers(path string, v connectors.Value, hidden []string) (connectors.Value, []string) {
	if v.Kind != connectors.KindObject || len(hidden) == 0 {
		return v, nil
	}
	var names []string
	var members []connectors.Member
	for _, m := range v.Members {
		at := path + "." + m.Name
		if slices.Contains(hidden, at) {
			names = append(names, at)
			continue
		}
		inner, more := hideMembers(at, m.Value, hidden)
		names = append(names, more...)
		members = append(members, connectors.Member{Name: m.Name, Value: inner})
	}
	v.Members = members
	return v, names
}

// decodeReview reads the stored document.
func decodeReview(r *Revision) (*Review, error) {
	out := new(Review)
	if err := json.Unmarshal(r.Review, out); err != nil {
		return nil, connectors.Errorf(connectors.CodeInternal, "a stored review cannot be read").WithCause(err)
	}
	return out, nil
}
