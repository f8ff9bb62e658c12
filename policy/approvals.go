package policy

import (
	"strings"
	"time"
)

// What a rule does with a change that matches.
const (
	ThenReview  = "review"  // people decide
	ThenApprove = "approve" // approved by the rule itself
	ThenReject  = "reject"  // rejected by the rule itself
)

// defaultExpire holds where approvals.yaml names no time: no limit is without a
// default.
const defaultExpire = 72 * time.Hour

// approvals is approvals.yaml, read and bound.
type approvals struct {
	requires []requirement // defaults.require
	expire   time.Duration
	rules    []*rule
	// validators in the order of the file, and those of each object.
	validators []*validator
	byObject   map[int32][]*validator
	amounts    map[string]*AmountSpec // by object
}

type rule struct {
	name     string
	at       yamlNode
	targets  []*target
	acts     actSet
	by       string
	when     map[int32]*whenNode // by object; nil: no condition
	then     string
	say      string
	requires []requirement
	veto     int
	expire   time.Duration
}

// A requirement is an entry of require.
type requirement struct {
	at      yamlNode
	role    string
	count   int
	confirm bool
	els     []Seat
	when    map[int32]*whenNode
	whenRaw yamlNode
}

const requireHint = "Write defaults: { require: [{ role: ... }] }"

// notYet tells the keys of the reference that are not built.
func notYet(key string) bool {
	return strings.Contains(" reason look freshSignIn window evidence escalate remind reviewersMayEdit rebase show humanOnly ", " "+key+" ")
}

// unknownKey reports a key that stands where it means nothing.
func unknownKey(e yamlEntry, where string, known ...string) {
	if notYet(e.key) {
		e.keyAt.problem(ProblemNotSupported, `"`+e.key+`" is not supported yet`, "")
		return
	}
	e.keyAt.problem(ProblemUnknownKey, where+` has no "`+e.key+`"`, didYouMean(e.key, known))
}

func (l *loader) approvalsFile(file string, data []byte) {
	l.approvals = &approvals{expire: defaultExpire}
	doc, ok := readYAML(file, data, &l.report)
	if !ok {
		// Nothing that can be read, or nothing at all: no defaults either.
		l.add(Problem{File: file, Code: ProblemNoRequirement, Message: "nothing says who decides what no rule matches", Hint: requireHint})
		return
	}
	entries, ok := doc.entries("approvals.yaml")
	if !ok {
		return
	}
	version := false
	for _, e := range entries {
		switch e.key {
		case "version":
			version = true
			if n, ok := e.value.number("version"); ok && n != 1 {
				e.value.problem(ProblemNotSupported, "only version 1 is known", "")
			}
		case "defaults":
			l.defaults(e.value)
		case "amounts":
			l.amounts(e.value)
		case "rules":
			seen := map[string]bool{}
			for _, item := range e.value.items() {
				l.rule(item, seen)
			}
		case "validators":
			l.validatorsList(e.value)
		default:
			unknownKey(e, "approvals.yaml", "version", "amounts", "defaults", "rules", "validators")
		}
	}
	l.amountsAreThere()
	if !version {
		doc.problem(ProblemSyntax, "the version is missing", "Write version: 1")
	}
	if len(l.approvals.requires) == 0 {
		doc.problem(ProblemNoRequirement, "defaults.require is missing: nothing says who decides what no rule matches",
			requireHint)
	}
}

func (l *loader) defaults(n yamlNode) {
	entries, _ := n.entries("defaults")
	for _, e := range entries {
		switch e.key {
		case "require":
			l.approvals.requires = l.requirements(e.value)
			for _, r := range l.approvals.requires {
				if r.whenRaw.node != nil {
					r.whenRaw.problem(ProblemMisplaced, "defaults.require has no when: it is for every change that no rule matches", "")
				}
			}
		case "expire":
			if d, ok := e.value.duration("expire"); ok {
				l.approvals.expire = d
			}
		default:
			unknownKey(e, "defaults", "require", "expire")
		}
	}
}

func (l *loader) rule(n yamlNode, seen map[string]bool) {
	entries, ok := n.entries("a rule")
	if !ok {
		return
	}
	r := &rule{at: n, acts: bitsWrite, then: ThenReview, veto: 1}
	var when yamlNode
	hasOn := false
	for _, e := range entries {
		switch e.key {
		case "name":
			r.name, _ = e.value.text("name")
			r.at = e.value
		case "on":
			hasOn = true
			r.targets = l.targetsOf(e.value)
		case "acts":
			r.acts = l.ruleActs(e.value)
		case "by":
			r.by = l.ruleBy(e.value)
		case "when":
			when = e.value
		case "then":
			r.then = l.ruleThen(e.value)
		case "say":
			r.say, _ = e.value.text("say")
		case "require":
			r.requires = l.requirements(e.value)
		case "veto":
			r.veto, _ = e.value.number("veto")
		case "expire":
			r.expire, _ = e.value.duration("expire")
		default:
			unknownKey(e, "a rule", "name", "on", "acts", "by", "when", "then", "say", "require", "veto", "expire")
		}
	}
	switch {
	case r.name == "" || strings.ContainsAny(r.name, " \t\n,@:"):
		n.problem(ProblemSyntax, "a rule has a name: one word", "Write name: refund-small")
	case seen[r.name]:
		r.at.problem(ProblemSyntax, `there are two rules named "`+r.name+`"`, "")
	case !hasOn:
		r.at.problem(ProblemSyntax, `the rule "`+r.name+`" says not what it is on`, `Write on: source.collection, or on: "*"`)
	}
	seen[r.name] = true
	if r.then != ThenReview && len(r.requires) > 0 {
		r.at.problem(ProblemMisplaced, `a rule whose then is `+r.then+` requires nobody`, "Leave require or then away")
	}
	r.when = l.whens(when, "when", r.targets)
	for i := range r.requires {
		q := &r.requires[i]
		q.when = l.whens(q.whenRaw, "when", r.targets)
	}
	l.approvals.rules = append(l.approvals.rules, r)
}

// targetsOf reads on: what rules and validators are about.
func (l *loader) targetsOf(n yamlNode) []*target {
	var out []*target
	for _, item := range n.items() {
		if text, ok := item.text("on"); ok {
			out = append(out, l.object(strings.TrimSpace(text), item.at())...)
		}
	}
	return out
}

func (l *loader) ruleActs(n yamlNode) actSet {
	var set actSet
	for _, item := range n.items() {
		text, ok := item.text("acts")
		if !ok {
			continue
		}
		s, star, ok := parseActs(text, item.at(), &l.report)
		if ok && !star && s&^bitsWrite != 0 {
			item.problem(ProblemMisplaced, `"`+(s&^bitsWrite).String()+`" is not proposed, so no rule is about it`, "The acts of rules are "+bitsWrite.String())
		}
		set |= s & bitsWrite
	}
	return set
}

func (l *loader) ruleBy(n yamlNode) string {
	text, ok := n.text("by")
	if !ok {
		return ""
	}
	kind, name, named := strings.Cut(text, ":")
	switch {
	case !named && (text == "agent" || text == "human" || text == "service"):
	case kind == "role" && name != "":
		l.knownRole(name, n)
	case kind == "agent" && name != "":
		if l.opts.Agents != nil && nearestExact(name, l.opts.Agents) == "" {
			n.problem(ProblemUnknownName, `there is no agent "`+name+`"`, didYouMean(name, l.opts.Agents))
		}
	default:
		n.problem(ProblemUnknownName, `by is agent, human, service, role:NAME or agent:NAME, not "`+text+`"`, "")
	}
	return text
}

func nearestExact(name string, known []string) string {
	for _, k := range known {
		if k == name {
			return k
		}
	}
	return ""
}

func (l *loader) ruleThen(n yamlNode) string {
	text, ok := n.text("then")
	if ok && text != ThenReview && text != ThenApprove && text != ThenReject {
		n.problem(ProblemUnknownName, `then is approve, review or reject, not "`+text+`"`, didYouMean(text, []string{ThenApprove, ThenReview, ThenReject}))
	}
	return text
}

// whens types the filter for each object that the rule is on.
func (l *loader) whens(n yamlNode, what string, targets []*target) map[int32]*whenNode {
	if n.node == nil {
		return nil
	}
	out := map[int32]*whenNode{}
	text, ok := n.literal(what)
	if !ok {
		return out
	}
	if isEmptyObject(text) {
		n.problem(ProblemEmptyFilter, "the filter is empty", "Leave when away to mean every change")
		return out
	}
	parsed, err := parseWhen(text)
	if err != nil {
		l.bindProblem(err, n.at(), 0)
		return out
	}
	for _, t := range targets {
		t.each(func(o int32) {
			if out[o] != nil || err != nil || l.names.objects[o].offered()&bitsWrite == 0 {
				return
			}
			var node *whenNode
			if node, err = parsed.bind(&l.names.objects[o]); err != nil {
				if len(targets) > 1 || t.exactness%exactFields != exactObject {
					err.Message = "on " + l.names.objects[o].Name + ": " + err.Message
				}
				if strings.Contains(err.Message, "not supported yet") {
					n.r.add(n.at().at(err.Offset, ProblemNotSupported, err.Message, ""))
				} else {
					l.bindProblem(err, n.at(), 0)
				}
				return
			}
			out[o] = node
		})
	}
	return out
}
