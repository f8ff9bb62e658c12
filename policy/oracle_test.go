package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A genLine is a line of a generated policy, kept as parts so that an oracle can
// decide by the sentences of the reference, line by line and record by record.
type genLine struct {
	role, object, braces string
	acts                 []string
	effect               string
	where                string
	// masks by the field's graph name.
	masks map[string]policy.Mask
}

func (l genLine) String() string {
	out := fmt.Sprintf("p, %s, %s%s, %s, %s", l.role, l.object, l.braces, strings.Join(l.acts, "|"), l.effect)
	if l.where != "" || len(l.masks) > 0 {
		out += ", " + l.where
	}
	if len(l.masks) > 0 {
		out += ", {mask: {"
		for _, f := range []string{"a", "b", "c"} {
			if m := l.masks[f]; m != "" {
				out += f + ": " + string(m) + " "
			}
		}
		out += "}}"
	}
	return out
}

const genSchema = `
crm.orders read create update delete: a b c!
crm.items read update delete: a b
desk.orders read create update delete: a b
desk.pay call: a b c!
desk.look reads: a b
`

func genObjects() []policy.Object { return declare(genSchema).objects }

var genConditions = []string{`{a: {eq: "x"}}`, `{b: {ne: "x"}}`, `{not: {a: {eq: "y"}}}`, `{or: [{a: {eq: "y"}} {b: {eq: "x"}}]}`,
	`{a: {isNull: true}}`, `{not: {or: [{a: {in: ["x" "y"]}} {b: {eq: "y"}}]}}`}

func genLineOf(t *rapid.T, effects []string, conditions bool) genLine {
	l := genLine{
		role:   rapid.SampledFrom([]string{"r1", "r2", "r3", "*"}).Draw(t, "role"),
		object: rapid.SampledFrom([]string{"*", "crm.*", "*.orders", "crm.orders", "crm.items", "desk.*", "desk.orders", "desk.pay", "desk.look", "desk.p*"}).Draw(t, "object"),
		braces: rapid.SampledFrom([]string{"", "", "{a}", "{b}", "{a b}", "{* -a}"}).Draw(t, "braces"),
		effect: rapid.SampledFrom(effects).Draw(t, "effect"),
	}
	if l.object == "desk.pay" || l.object == "crm.orders" {
		l.braces = rapid.SampledFrom([]string{l.braces, "{c}", "{* -c}"}).Draw(t, "secret")
	}
	if l.object == "desk.look" && l.braces != "" {
		l.braces = rapid.SampledFrom([]string{"", "{a}"}).Draw(t, "one field")
	}
	acts := []string{"read", "create", "update", "delete"}
	switch {
	case l.object == "desk.pay" || l.object == "desk.look" || l.object == "desk.p*":
		acts = []string{"call"}
	case strings.Contains(l.object, "*"):
		acts = append(acts, "call")
	}
	l.acts = rapid.SliceOfNDistinct(rapid.SampledFrom(append(acts, "*")), 1, 3, rapid.ID[string]).Draw(t, "acts")
	for _, a := range l.acts {
		if a == "*" {
			l.acts = []string{"*"}
			break
		}
	}
	if conditions && rapid.Bool().Draw(t, "conditional") {
		l.where = rapid.SampledFrom(genConditions).Draw(t, "where")
	}
	if l.effect == "allow" && l.does(policy.Read) && rapid.Bool().Draw(t, "masked") {
		l.masks = map[string]policy.Mask{}
		for _, f := range []string{"a", "b", "c"} {
			m := rapid.SampledFrom([]policy.Mask{"", "", policy.MaskLast4, policy.MaskHash, policy.MaskRedact, policy.MaskNull}).Draw(t, "mask of "+f)
			if m != "" && l.covers(policy.ObjectField{Graph: f, Secret: f == "c"}) {
				l.masks[f] = m
			}
		}
	}
	return l
}

// genPolicy draws lines that load: what makes no sense is dropped.
func genPolicy(t *rapid.T, effects []string, conditions bool) ([]genLine, *policy.Engine) {
	var lines []genLine
	for range rapid.IntRange(1, 12).Draw(t, "lines") {
		l := genLineOf(t, effects, conditions)
		text := "g, r1, r3\n" + "p, r3, crm.items, read, allow\n" + l.String() + "\n"
		if e, _ := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(text)}}, genBinder(), policy.Options{}); e != nil {
			lines = append(lines, l)
		}
	}
	lines = append(lines, genLine{"r3", "crm.items", "", []string{"read"}, "allow", "", nil})
	return lines, load(t, lines)
}

// In generated schemas desk.look has no field b and the conditions need one.
func genBinder() *fakeBinder { return declare(genSchema) }

func load(t interface{ Fatalf(string, ...any) }, lines []genLine) *policy.Engine {
	text := "g, r1, r3\n"
	for _, l := range lines {
		text += l.String() + "\n"
	}
	e, problems := policy.Load([]policy.File{{Name: "policy.csv", Data: []byte(text)}}, genBinder(), policy.Options{})
	if e == nil {
		t.Fatalf("%s\n%v", text, problems)
	}
	return e
}

// expanded roles as the reference says, in this test's own words.
func rolesOf(granted []string) map[string]bool {
	out := map[string]bool{"*": true}
	for _, r := range granted {
		out[r] = true
		if r == "r1" {
			out["r3"] = true
		}
	}
	return out
}

func person(id string, roles ...string) *policy.Principal {
	return &policy.Principal{ID: id, Kind: policy.Human, Roles: roles, Tenant: "default"}
}

func drawRoles(t *rapid.T, label string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"r1", "r2", "r3"}), 0, 3, rapid.ID[string]).Draw(t, label)
}

// TestViewIsCasbin: for each object, field and act a view says what Casbin says
// when it is asked for each role of the principal, where lines have no conditions.
func TestViewIsCasbin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, e := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, false)
		granted := drawRoles(t, "roles")
		p := person("user:x", granted...)
		v := e.View(p)
		roles := map[string]bool{"*": true}
		for _, r := range granted {
			roles[r] = true
			for _, held := range e.CasbinRoles(r) {
				roles[held] = true
			}
		}
		ask := func(o policy.Object, name string, secret bool, act policy.Act) policy.Effect {
			best := policy.Denied
			for r := range roles {
				effect, line, err := e.Ask(r, name, secret, act)
				if err != nil {
					t.Fatal(err)
				}
				if effect == policy.Propose && o.Reads {
					effect = policy.Allow
				}
				if line >= 0 && effect == policy.Denied {
					return policy.Denied
				}
				best = max(best, effect)
			}
			return best
		}
		for _, o := range genObjects() {
			for _, act := range o.Acts {
				if act == policy.Delete {
					same(t, o, "", act, effectOf(v, o, act, ""), ask(o, o.Name, false, act))
					continue
				}
				for _, f := range o.Fields {
					same(t, o, f.Graph, act, effectOf(v, o, act, f.System), ask(o, o.Name+"{"+f.Graph+"}", f.Secret, act))
				}
			}
		}
	})
}

func same(t *rapid.T, o policy.Object, field string, act policy.Act, got, want policy.Effect) {
	if got != want {
		t.Fatalf("%s of %s{%s}: the view says %s, Casbin %s", act, o.Name, field, got, want)
	}
}

// effectOf reads the view for one field, or for the object without any.
func effectOf(v *policy.View, o policy.Object, act policy.Act, field string) policy.Effect {
	a := v.Object(o.Name)
	if a == nil {
		return policy.Denied
	}
	if act == policy.Read {
		if a.Read == nil {
			return policy.Denied
		}
		if _, ok := a.Read.Fields[field]; ok {
			return policy.Allow
		}
		return policy.Denied
	}
	w := actOf(a, string(act))
	if w == nil {
		return policy.Denied
	}
	if field == "" {
		return w.Decide(nil).Effect
	}
	if !w.Fields[field] {
		if w.Decide([]string{field}).Effect != policy.Denied {
			return 99
		}
		return policy.Denied
	}
	return w.Decide([]string{field}).Effect
}

// level is what comes of a write of one record: 0 refused, 1 proposed, 2 at once.
func level(v *policy.View, o policy.Object, act policy.Act, field string, record func(string) connectors.Value) int {
	a := v.Object(o.Name)
	if a == nil {
		return 0
	}
	w := actOf(a, string(act))
	if w == nil {
		return 0
	}
	var fields []string
	if field != "" {
		fields = []string{field}
	}
	d := w.Decide(fields)
	switch {
	case d.Effect == policy.Denied || policy.Match(d.Permit, record, nil) != policy.True:
		return 0
	case d.Effect == policy.Allow || d.Direct != nil && policy.Match(d.Direct, record, nil) == policy.True:
		return 2
	}
	return 1
}

// How much a cell shows, in the order of the reference.
const (
	nothing = iota
	redacted
	digested
	lastFour
	itself
)

func showing(m policy.Mask) int {
	return map[policy.Mask]int{policy.MaskNone: itself, policy.MaskLast4: lastFour, policy.MaskHash: digested, policy.MaskRedact: redacted}[m]
}

// visible is what a view lets see of a record: nil where it is not there, else
// how much of the fields that show something.
func visible(v *policy.View, o policy.Object, record func(string) connectors.Value) map[string]int {
	a := v.Object(o.Name)
	if a == nil || a.Read == nil || policy.Match(a.Read.Row, record, nil) != policy.True {
		return nil
	}
	out := map[string]int{}
	for f, c := range a.Read.Fields {
		for _, m := range append([]policy.Masked{{If: c.If}}, c.Masks...) {
			if policy.Match(m.If, record, nil) == policy.True {
				out[f] = showing(m.Mask)
				break
			}
		}
	}
	return out
}

func drawRecord(t *rapid.T) func(string) connectors.Value {
	record := map[string]connectors.Value{}
	for _, f := range []string{"s_a", "s_b", "s_c"} {
		record[f] = rapid.SampledFrom([]connectors.Value{connectors.String("x"), connectors.String("y"), connectors.Null}).Draw(t, f)
	}
	return func(f string) connectors.Value { return record[f] }
}
