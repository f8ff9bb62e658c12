package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
)

// ChangeFacts are one change as rules look at it. Fields go by the graph's names.
type ChangeFacts struct {
	Object string // "source.collection" or "source.function"
	Act    Act
	// Principal is who asks, with the chain behind it.
	Principal *Principal
	// Input is the object of what is given: the fields written, or the arguments.
	Input connectors.Value
	// Before and After are objects, one for each record touched; none for calls,
	// Before none for create, After none for delete.
	Before, After []connectors.Value
	// Records is how many records are touched; 1 for a call. Negative: not known,
	// for Foresee.
	Records int
	// Checks are what validators said of it: one that holds it for people adds its
	// seat to those of the rule.
	Checks []Check
	// Amount of the change, and what its principal's amounts come to today with
	// it; nil: UNKNOWN.
	Amount, AmountToday *Money
}

// A Routing says what happens to a change that must be proposed. The zero Routing
// is met by nobody.
type Routing struct {
	Then string // ThenReview, ThenApprove, ThenReject
	// Rule is the name of the rule that matched; "" for the defaults. Of several
	// changes, their rules joined by ",".
	Rule          string
	PolicyVersion string
	Say           string // shown to who asks
	// Seats must be filled by distinct persons; for ThenReview only.
	Seats []Seat
	// Veto is how many rejections reject.
	Veto   int
	Expire time.Duration
}

// Route finds the first rule that matches a change. A filter that is unknown
// matches a rule that rejects, and no other.
func (e *Engine) Route(c ChangeFacts) (Routing, error) {
	o, err := e.routed(c.Object)
	if err != nil {
		return Routing{}, err
	}
	f := facts{change: &c, arguments: e.names.objects[o].Function}
	for _, r := range e.approvals.rules {
		if e.ruleMatches(r, o, f) {
			return e.routing(r, o, f), nil
		}
	}
	return e.routing(nil, o, f), nil
}

// routed is an object that rules can be asked about.
func (e *Engine) routed(object string) (int32, error) {
	if e == nil {
		return 0, connectors.Errorf(connectors.CodeForbidden, "there is no policy")
	}
	o, ok := e.names.byName[object]
	if !ok {
		return 0, connectors.Errorf(connectors.CodeBadInput, "there is nothing of that name")
	}
	if e.approvals == nil {
		return 0, connectors.Errorf(connectors.CodeNoEligibleReviewer, "nothing says who decides about changes: there is no approvals.yaml")
	}
	return o, nil
}

// routing is what a rule says of a change it matches; nil: the defaults.
func (e *Engine) routing(r *rule, o int32, f facts) Routing {
	if r == nil {
		out := Routing{Then: ThenReview, PolicyVersion: e.version, Veto: 1, Expire: e.approvals.expire, Seats: e.seats(nil, o, f)}
		return e.held(out, o, f)
	}
	out := Routing{Then: r.then, Rule: r.name, PolicyVersion: e.version, Say: r.say, Veto: r.veto, Expire: r.expire}
	if out.Expire == 0 {
		out.Expire = e.approvals.expire
	}
	if r.then == ThenReview {
		out.Seats = e.seats(r.requires, o, f)
	}
	return e.held(out, o, f)
}

// held adds the seats that validators ask for. What a rule would approve by
// itself is then for people: for those whom the validators name, and where they
// name nobody for those of the defaults.
func (e *Engine) held(r Routing, o int32, f facts) Routing {
	var seats []Seat
	holds := false
	for _, c := range f.change.Checks {
		if c.Verdict != Held {
			continue
		}
		holds = true
		if c.Role != "" {
			seats = append(seats, Seat{Role: c.Role, Count: 1})
		}
	}
	if !holds || r.Then == ThenReject {
		return r
	}
	if r.Then == ThenApprove && len(seats) == 0 {
		seats = e.seats(nil, o, f)
	}
	r.Then, r.Seats = ThenReview, mergeSeats(append(r.Seats, seats...))
	return r
}

func (e *Engine) ruleMatches(r *rule, o int32, f facts) bool {
	truth := e.ruleTruth(r, o, f)
	if r.then == ThenReject {
		return truth != False
	}
	return truth == True
}

// ruleTruth is False for a rule about something else, and else the truth of its
// filter.
func (e *Engine) ruleTruth(r *rule, o int32, f facts) Tri {
	c := f.change
	if bitOf(c.Act)&r.acts == 0 || !e.isOn(r.targets, o, c.Input) || !e.isBy(r.by, c.Principal) {
		return False
	}
	if r.when == nil {
		return True
	}
	if node := r.when[o]; node != nil {
		return node.eval(f)
	}
	return Unknown // it was not bound for this object
}

// isOn tells whether a rule or validator is about the object; one that names
// fields is about changes that give one of them.
func (e *Engine) isOn(targets []*target, o int32, input connectors.Value) bool {
	return slices.ContainsFunc(targets, func(t *target) bool {
		if !t.has(o) {
			return false
		}
		return t.selection == whole || slices.ContainsFunc(input.Members, func(m connectors.Member) bool {
			field, ok := e.names.fields[o][m.Name]
			return ok && m.Value.Kind != connectors.KindAbsent && t.covers(o, field, false, true)
		})
	})
}

// isBy tells whether somebody is whom by: names.
func (e *Engine) isBy(by string, p *Principal) bool {
	if by == "" {
		return true
	}
	if p == nil {
		return false
	}
	kind, name, named := strings.Cut(by, ":")
	switch {
	case !named:
		return string(p.Kind) == by
	case kind == "role":
		return slices.Contains(e.Expand(p), name)
	}
	return p.Kind == Agent && p.ID == by
}

// seats are those that are asked for: one with a filter is, unless the filter is
// certainly false. Where nothing is left the defaults hold, so that no rule ends
// without anybody.
func (e *Engine) seats(requires []requirement, o int32, f facts) []Seat {
	var out []Seat
	for _, r := range requires {
		if r.when != nil && r.when[o].eval(f) == False {
			continue
		}
		out = append(out, Seat{Role: r.role, Count: r.count, Confirm: r.confirm, Else: r.els})
	}
	if len(out) == 0 {
		for _, r := range e.approvals.requires {
			out = append(out, Seat{Role: r.role, Count: r.count, Confirm: r.confirm, Else: r.els})
		}
	}
	return mergeSeats(out)
}

// Combine joins the routings of several changes in one proposal: it needs, per
// role, the largest count that any asks; it is approved by rule only if every
// change is; the shortest expiry and the smallest veto hold; one reject rejects
// all. Of no changes it is the zero Routing.
func Combine(routings []Routing) Routing {
	if len(routings) == 0 {
		return Routing{}
	}
	then := ThenApprove
	for _, r := range routings {
		switch {
		case r.Then == ThenReject:
			then = ThenReject
		case r.Then != ThenApprove && then != ThenReject:
			then = ThenReview
		}
	}
	out := Routing{Then: then, PolicyVersion: routings[0].PolicyVersion, Veto: routings[0].Veto, Expire: routings[0].Expire}
	var rules, says []string
	for _, r := range routings {
		out.Expire = min(out.Expire, r.Expire)
		out.Veto = min(out.Veto, r.Veto)
		if r.Then != then {
			continue
		}
		if then == ThenReview {
			out.Seats = append(out.Seats, r.Seats...)
		}
		if r.Rule != "" && !slices.Contains(rules, r.Rule) {
			rules = append(rules, r.Rule)
		}
		if r.Say != "" && !slices.Contains(says, r.Say) {
			says = append(says, r.Say)
		}
	}
	out.Rule, out.Say = strings.Join(rules, ","), strings.Join(says, "\n")
	out.Seats = mergeSeats(out.Seats)
	return out
}

// MayApprove tells whether the view's holder may decide about a change of these
// fields (system names, sorted; none for a deletion) of a record: approve lines
// are asked as they are for the record before, or for a call its arguments. For
// create it is the record as it would be. params and missing come from Bind.
func (v *View) MayApprove(object string, fields []string, record connectors.Value, params []connectors.Value, missing []bool) bool {
	access := v.Object(object)
	if access == nil || !v.CanDecide || access.Approve == nil {
		return false
	}
	d := access.Approve.Decide(fields)
	if d.Effect == Denied {
		return false
	}
	read := RecordOf(record)
	if v.isFunction(object) {
		read = ArgumentsOf(record)
	}
	return Match(DenyMissing(d.Permit, missing), read, params) == True
}

func (v *View) isFunction(object string) bool {
	if v.names == nil {
		return false
	}
	o, ok := v.names.byName[object]
	return ok && v.names.objects[o].Function
}
