package policy

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/google/cel-go/common/types"

	"github.com/countersign/countersign/connectors"
)

// Defaults and bounds of validators that are called over HTTP.
const (
	defaultDeadline = 2 * time.Second
	mostDeadline    = 30 * time.Second
	leastSecret     = 16 // bytes
)

// A validator looks at writes before anything is stored or sent.
type validator struct {
	name    string
	at      yamlNode
	targets []*target
	acts    actSet
	by      string
	sets    []setText
	must    yamlNode
	say     string
	path    string
	pathAt  yamlNode
	els     consequence
	remote  *Remote
	failure consequence
	cost    uint64
	// programs by object.
	programs map[int32]*programs
}

// setText is an entry of set, not yet compiled.
type setText struct {
	field string
	at    yamlNode
	value yamlNode
}

// A consequence is what follows where a write does not pass.
type consequence struct {
	review bool
	role   string // beside whoever the rule asks; "": only them
}

// programs are a validator's expressions for one object.
type programs struct {
	sets []fieldSet
	must *expression // nil: none
	path string      // system name; "" for none
}

type fieldSet struct {
	field *ObjectField
	value *expression
}

// validatorsList reads validators:.
func (l *loader) validatorsList(n yamlNode) {
	world := newCELWorld()
	l.approvals.byObject = map[int32][]*validator{}
	seen := map[string]bool{}
	for _, item := range n.items() {
		if v := l.validator(item, seen); v != nil {
			l.compileValidator(world, v)
			l.approvals.validators = append(l.approvals.validators, v)
			for o := range v.programs {
				l.approvals.byObject[o] = append(l.approvals.byObject[o], v)
			}
		}
	}
}

func (l *loader) validator(n yamlNode, seen map[string]bool) *validator {
	entries, ok := n.entries("a validator")
	if !ok {
		return nil
	}
	v := &validator{at: n, acts: bitsWrite, cost: defaultCost, programs: map[int32]*programs{}}
	has := map[string]yamlNode{}
	for _, e := range entries {
		has[e.key] = e.value
		l.validatorKey(v, e)
	}
	_, hasOn := has["on"]
	switch {
	case v.name == "" || strings.ContainsAny(v.name, " \t\n,@:"):
		n.problem(ProblemSyntax, "a validator has a name: one word", "Write name: phone")
	case seen[v.name]:
		v.at.problem(ProblemSyntax, `there are two validators named "`+v.name+`"`, "")
	case !hasOn:
		v.at.problem(ProblemSyntax, `the validator "`+v.name+`" says not what it is on`, `Write on: source.collection, or on: "*"`)
	case len(v.sets) == 0 && v.must.node == nil && v.remote == nil:
		v.at.problem(ProblemSyntax, `the validator "`+v.name+`" neither sets nor asks for anything`, "Write set, must or http")
	}
	seen[v.name] = true
	misplaced := func(key, message string) {
		if at, ok := has[key]; ok {
			at.problem(ProblemMisplaced, message, "")
		}
	}
	if v.remote == nil {
		misplaced("onFailure", "onFailure belongs to http")
	}
	if v.remote == nil && v.must.node == nil {
		for _, key := range []string{"else", "say", "path"} {
			misplaced(key, key+" belongs to must or http: set alone refuses nothing")
		}
	}
	return v
}

func (l *loader) validatorKey(v *validator, e yamlEntry) {
	switch e.key {
	case "name":
		v.name, _ = e.value.text("name")
		v.at = e.value
	case "on":
		v.targets = l.targetsOf(e.value)
	case "acts":
		v.acts = l.ruleActs(e.value)
	case "by":
		v.by = l.ruleBy(e.value)
	case "set":
		entries, _ := e.value.entries("set")
		for _, s := range entries {
			v.sets = append(v.sets, setText{s.key, s.keyAt, s.value})
		}
	case "must":
		v.must = e.value
	case "say":
		v.say, _ = e.value.text("say")
	case "path":
		v.path, _ = e.value.text("path")
		v.pathAt = e.value
	case "else":
		v.els = l.consequence(e.value, "else")
	case "http":
		v.remote = l.remote(e.value)
	case "onFailure":
		v.failure = l.consequence(e.value, "onFailure")
	case "cost":
		if n, ok := e.value.number("cost"); ok {
			v.cost = uint64(n)
		}
	default:
		unknownKey(e, "a validator", "name", "on", "acts", "by", "set", "must", "say", "path", "else", "http", "onFailure", "cost")
	}
}

// consequence reads refuse, review, or { review: role:NAME }.
func (l *loader) consequence(n yamlNode, what string) consequence {
	if entries, ok := mapping(n); ok {
		for _, e := range entries {
			if e.key != "review" || len(entries) != 1 {
				unknownKey(e, what, "review")
				continue
			}
			return l.reviewBy(e.value)
		}
		return consequence{}
	}
	text, ok := n.text(what)
	word, role, named := strings.Cut(text, ":")
	switch {
	case !ok || text == "refuse":
	case text == "review":
		return consequence{review: true}
	case named && word == "review":
		return l.reviewRole(strings.TrimSpace(role), n)
	case text == "sendBack":
		n.problem(ProblemNotSupported, `"sendBack" is not supported yet: a proposal cannot be sent back to its author before it is revised`, "Write refuse, or { review: role:NAME }")
	case text == "pass":
		n.problem(ProblemUnknownName, what+" never passes", "Write refuse or review")
	default:
		n.problem(ProblemUnknownName, what+` is refuse, review or { review: role:NAME }, not "`+text+`"`, didYouMean(text, []string{"refuse", "review"}))
	}
	return consequence{}
}

// mapping reads a node as a mapping where it is one.
func mapping(n yamlNode) ([]yamlEntry, bool) {
	quiet := yamlNode{node: n.node, file: n.file, r: &report{}}
	entries, ok := quiet.entries("")
	for i := range entries {
		entries[i].keyAt.r, entries[i].value.r = n.r, n.r
	}
	return entries, ok
}

func (l *loader) reviewBy(n yamlNode) consequence {
	text, ok := n.text("review")
	if !ok {
		return consequence{}
	}
	return l.reviewRole(text, n)
}

func (l *loader) reviewRole(text string, n yamlNode) consequence {
	role, ok := strings.CutPrefix(text, "role:")
	if !ok || role == "" {
		n.problem(ProblemUnknownName, `review names a role, not "`+text+`"`, "Write review: role:NAME")
		return consequence{}
	}
	l.seatRole(role, n)
	return consequence{review: true, role: role}
}

// remote reads http.
func (l *loader) remote(n yamlNode) *Remote {
	r := &Remote{Deadline: defaultDeadline}
	entries, _ := n.entries("http")
	has := map[string]bool{}
	for _, e := range entries {
		has[e.key] = true
		switch e.key {
		case "url":
			if text, _, ok := l.expanded(e.value, "url"); ok {
				r.URL = text
				l.remoteURL(r, e.value)
			}
		case "secret":
			l.remoteSecret(r, e.value)
		case "deadline":
			if d, ok := e.value.duration("deadline"); ok {
				if r.Deadline = d; d > mostDeadline {
					e.value.problem(ProblemWrongType, "a write does not wait longer than 30s for a validator", "")
				}
			}
		case "claims":
			for _, item := range e.value.items() {
				if name, ok := item.text("claims"); ok {
					r.Claims = append(r.Claims, name)
				}
			}
		case "allow":
			for _, item := range e.value.items() {
				l.remoteAllow(r, item)
			}
		default:
			unknownKey(e, "http", "url", "secret", "deadline", "claims", "allow")
		}
	}
	if !has["url"] || !has["secret"] {
		n.problem(ProblemSyntax, "http has a url, and a secret that what is asked is signed with", `Write http: { url: https://..., secret: "${NAME}" }`)
	}
	return r
}

// expanded reads a text with ${...} from the environment. A problem never holds
// what came from there.
func (l *loader) expanded(n yamlNode, what string) (text string, fromOutside, ok bool) {
	s, isText := n.node.(*ast.StringNode)
	if !isText {
		n.problem(ProblemWrongType, what+" is a text", "")
		return "", false, false
	}
	if !strings.Contains(strings.ReplaceAll(s.Value, "$${", ""), "${") {
		return strings.ReplaceAll(s.Value, "$${", "${"), false, true
	}
	if l.opts.Expand == nil {
		n.problem(ProblemNotSupported, "${...} has no value here", "")
		return "", true, false
	}
	text, err := l.opts.Expand(s.Value)
	if err != nil {
		n.problem(ProblemUnknownName, err.Error(), "")
		return "", true, false
	}
	return text, true, true
}

func (l *loader) remoteSecret(r *Remote, n yamlNode) {
	text, outside, ok := l.expanded(n, "secret")
	switch {
	case !ok:
	case !outside:
		n.problem(ProblemSecret, "a secret does not stand in a policy file", `Write secret: "${NAME}"`)
	case len(text) < leastSecret:
		n.problem(ProblemWrongType, "the secret is shorter than 16 bytes", "openssl rand -hex 32 makes one")
	}
	r.Secret = text
}

func (l *loader) remoteAllow(r *Remote, n yamlNode) {
	text, ok := n.text("allow")
	if !ok {
		return
	}
	prefix, err := netip.ParsePrefix(text)
	if addr, bad := netip.ParseAddr(text); bad == nil {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		n.problem(ProblemWrongType, "allow lists addresses or networks, such as 10.1.2.0/24", "")
		return
	}
	r.Allow = append(r.Allow, prefix.Masked())
}

// remoteURL refuses what would be sent in the clear, or is no address.
func (l *loader) remoteURL(r *Remote, n yamlNode) {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		n.problem(ProblemWrongType, "the url of a validator is an address such as https://checks.example/refunds", "")
	case u.User != nil:
		n.problem(ProblemWrongType, "the url of a validator holds no user and no password", "What is sent is signed with the secret")
	case u.Scheme == "http" && !Loopback(u.Hostname()), u.Scheme != "http" && u.Scheme != "https":
		n.problem(ProblemWrongType, "the url of a validator is https; http only for this machine itself", "")
	}
}

// lintValidators reports validators that no write meets.
func (l *loader) lintValidators() {
	for _, v := range l.approvals.validators {
		acts, writes := actSet(0), false
		for _, t := range v.targets {
			t.each(func(o int32) {
				acts |= l.names.objects[o].offered() & bitsWrite
				writes = writes || l.written(o, v.acts)
			})
		}
		switch {
		case len(v.targets) == 0:
		case acts&v.acts == 0:
			v.at.warn(ProblemUnused, `the validator "`+v.name+`" never runs: what it is on offers none of its acts`, "")
		case !writes:
			v.at.warn(ProblemUnused, `the validator "`+v.name+`" never runs: no line lets anybody do that`, "")
		}
	}
}

// written tells whether some line lets or proposes one of the acts.
func (l *loader) written(o int32, acts actSet) bool {
	return slices.ContainsFunc(l.lines, func(ln *line) bool {
		return ln.effect != Denied && ln.acts&acts&l.names.objects[o].offered() != 0 &&
			slices.ContainsFunc(ln.targets, func(t *target) bool { return t.has(o) })
	})
}

// compileValidator compiles the expressions for each object that the validator
// is on.
func (l *loader) compileValidator(world *celWorld, v *validator) {
	for _, t := range v.targets {
		t.each(func(o int32) {
			if v.programs[o] == nil && l.names.objects[o].offered()&v.acts&bitsWrite != 0 {
				v.programs[o] = l.compileFor(world, v, o, len(v.targets) > 1 || t.exactness%exactFields != exactObject)
			}
		})
	}
}

func (l *loader) compileFor(world *celWorld, v *validator, o int32, several bool) *programs {
	object := &l.names.objects[o]
	on := ""
	if several {
		on = "on " + object.Name + ": "
	}
	out := &programs{}
	for _, s := range v.sets {
		f := fieldNamed(object, s.field)
		if f == nil {
			s.at.problem(ProblemUnknownName, on+object.Name+` has no field "`+s.field+`"`, didYouMean(s.field, l.names.fieldNames(o)))
			continue
		}
		if x := l.expression(world, object, s.value, "set", v.cost, on); x != nil {
			if !settable(f, x.result) {
				s.value.problem(ProblemExpression, on+s.field+" is "+typeName(f.Type)+" and cannot be set to "+celName(x.result), "")
			}
			out.sets = append(out.sets, fieldSet{f, x})
		}
	}
	if v.must.node != nil {
		if out.must = l.expression(world, object, v.must, "must", v.cost, on); out.must != nil &&
			out.must.result.Kind() != types.BoolKind && out.must.result.Kind() != types.DynKind {
			v.must.problem(ProblemExpression, on+"must is true or false, not "+celName(out.must.result), "")
		}
	}
	if v.path != "" {
		if f := fieldNamed(object, v.path); f != nil {
			out.path = f.System
		} else {
			v.pathAt.problem(ProblemUnknownName, on+object.Name+` has no field "`+v.path+`"`, didYouMean(v.path, l.names.fieldNames(o)))
		}
	}
	return out
}

func (l *loader) expression(world *celWorld, o *Object, n yamlNode, what string, cost uint64, on string) *expression {
	text, ok := n.text(what)
	if !ok {
		return nil
	}
	x, err := world.compile(o, text, cost)
	if err != nil {
		hint := ""
		if err.Nearest != "" {
			hint = `Did you mean "` + err.Nearest + `"?`
		}
		n.r.add(n.at().at(err.Offset, ProblemExpression, on+err.Message, hint))
	}
	return x
}

func fieldNamed(o *Object, graph string) *ObjectField {
	for i := range o.Fields {
		if o.Fields[i].Graph == graph {
			return &o.Fields[i]
		}
	}
	return nil
}

// celName is the type of an expression for people.
func celName(t *types.Type) string { return nullableName.ReplaceAllString(t.String(), "$1") }

// typeName is a field's type for people.
func typeName(t connectors.TypeRef) string {
	name := string(t.Scalar)
	if t.Enum != "" {
		name = t.Enum
	} else if t.Object != "" {
		name = t.Object
	}
	if t.List {
		return "[" + name + "]"
	}
	return name
}
