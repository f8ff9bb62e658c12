package policy_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// What follows decides by the sentences of the reference for one record at a
// time, without compiling anything: the second way to the answer of a view.

func (l genLine) does(act policy.Act) bool {
	for _, a := range l.acts {
		if a == string(act) {
			return true
		}
		if a == "*" {
			return !(act == policy.Read && l.effect == "propose") && !(act == policy.Delete && l.braces != "")
		}
	}
	return false
}

func (l genLine) about(object string) bool {
	if l.object == "*" {
		return true
	}
	source, rest, _ := strings.Cut(object, ".")
	ls, lr, _ := strings.Cut(l.object, ".")
	fits := func(text, pattern string) bool {
		if p, ok := strings.CutSuffix(pattern, "*"); ok {
			return strings.HasPrefix(text, p)
		}
		return text == pattern
	}
	return fits(source, ls) && fits(rest, lr)
}

func (l genLine) covers(f policy.ObjectField) bool {
	words := strings.Fields(strings.Trim(l.braces, "{}"))
	if len(words) == 0 {
		return l.effect == "deny" || !f.Secret
	}
	if words[0] == "*" {
		return words[1] != "-"+f.Graph && (l.effect == "deny" || !f.Secret)
	}
	for _, w := range words {
		if w == f.Graph {
			return true
		}
	}
	return false
}

func (l genLine) exactness() int {
	e := 0
	switch {
	case l.object == "*":
		e = 1
	case strings.Contains(l.object, "*"):
		e = 2
	default:
		e = 3
	}
	if l.braces != "" && !strings.HasPrefix(l.braces, "{*") {
		e += 10
	}
	e *= 2
	if l.where != "" {
		e++
	}
	return e
}

func (l genLine) truth(t *rapid.T, object string, record func(string) connectors.Value) policy.Tri {
	if l.where == "" {
		return policy.True
	}
	b, err := genBinder().Condition(object, policy.SubjectRecord, l.where, nil)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Match(b.Condition, record, nil)
}

// levelBySentences is the answer for one field, or for a deletion.
func levelBySentences(t *rapid.T, lines []genLine, granted []string, o policy.Object, act policy.Act, f *policy.ObjectField, record func(string) connectors.Value) int {
	roles := rolesOf(granted)
	var mine []genLine
	for _, l := range lines {
		if !roles[l.role] || !l.does(act) || !l.about(o.Name) || f != nil && !l.covers(*f) || f == nil && l.braces != "" {
			continue
		}
		if l.effect == "propose" && o.Reads {
			l.effect = "allow"
		}
		mine = append(mine, l)
	}
	best := 0
	for _, l := range mine {
		truth := l.truth(t, o.Name, record)
		if l.effect == "deny" && truth != policy.False {
			return 0 // 1. deny always wins, and wins where it cannot be told
		}
		if l.effect != "deny" && truth == policy.True {
			best = max(best, 1)
		}
	}
	for _, l := range mine {
		if l.effect != "allow" || l.truth(t, o.Name, record) != policy.True {
			continue
		}
		beaten := false
		for _, p := range mine {
			// 2. and 3.: a propose line as exact or more, in the same role (4.)
			if p.effect == "propose" && p.role == l.role && p.exactness() >= l.exactness() && p.truth(t, o.Name, record) != policy.False {
				beaten = true
			}
		}
		if !beaten {
			return 2
		}
	}
	return best
}

func visibleBySentences(t *rapid.T, lines []genLine, granted []string, o policy.Object, record func(string) connectors.Value) map[string]int {
	roles := rolesOf(granted)
	seen := false
	fields := map[string]int{}
	for _, l := range lines {
		if roles[l.role] && l.does(policy.Read) && l.about(o.Name) && l.effect == "allow" && l.truth(t, o.Name, record) == policy.True {
			seen = true
			for _, f := range o.Fields {
				if l.covers(f) {
					fields[f.System] = max(fields[f.System], showing(l.masks[f.Graph]))
				}
			}
		}
	}
	for _, l := range lines {
		if !roles[l.role] || !l.does(policy.Read) || !l.about(o.Name) || l.effect != "deny" || l.truth(t, o.Name, record) == policy.False {
			continue
		}
		if l.braces == "" {
			return nil
		}
		for _, f := range o.Fields {
			if l.covers(f) {
				fields[f.System] = nothing
			}
		}
	}
	if !seen {
		return nil
	}
	return fields
}

func sameCells(got, want map[string]int) bool {
	for _, f := range []string{"s_a", "s_b", "s_c"} {
		if got[f] != want[f] {
			return false
		}
	}
	return true
}

// conditional objects: those whose fields the generated conditions know.
func conditionalObjects() []policy.Object {
	var out []policy.Object
	for _, o := range genObjects() {
		if o.Name != "desk.look" {
			out = append(out, o)
		}
	}
	return out
}

// TestViewIsSentences: with conditions, a view lets see exactly the cells and has
// calls and deletions refused, proposed or done exactly as the lines say for the
// record. Updates are at most that direct (a check may need more), and exactly as
// permitted.
func TestViewIsSentences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines, e := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, true)
		granted := drawRoles(t, "roles")
		v := e.View(person("user:x", granted...))
		record := drawRecord(t)
		for _, o := range conditionalObjects() {
			if !o.Function {
				got, want := visible(v, o, record), visibleBySentences(t, lines, granted, o, record)
				if !sameCells(got, want) {
					t.Fatalf("%s: the view shows %v, the lines %v", o.Name, got, want)
				}
				if g, w := level(v, o, policy.Delete, "", record), levelBySentences(t, lines, granted, o, policy.Delete, nil, record); g != w {
					t.Fatalf("delete %s: %d, by the lines %d", o.Name, g, w)
				}
			}
			for i, f := range o.Fields {
				act := policy.Update
				if o.Function {
					act = policy.Call
				}
				g, w := level(v, o, act, f.System, record), levelBySentences(t, lines, granted, o, act, &o.Fields[i], record)
				if o.Function && g != w || g > w || (g == 0) != (w == 0) {
					t.Fatalf("%s %s{%s}: %d, by the lines %d", act, o.Name, f.Graph, g, w)
				}
			}
		}
	})
}

// TestMoreRoles: another role never takes away, unless a line denies.
func TestMoreRoles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, e := genPolicy(t, []string{"allow", "allow", "propose"}, true)
		few := drawRoles(t, "few")
		more := append(drawRoles(t, "more"), few...)
		a, b := e.View(person("user:x", few...)), e.View(person("user:x", more...))
		record := drawRecord(t)
		for _, o := range conditionalObjects() {
			for f, shown := range visible(a, o, record) {
				if visible(b, o, record)[f] < shown {
					t.Fatalf("%s{%s} is gone", o.Name, f)
				}
			}
			for _, act := range []policy.Act{policy.Delete, policy.Call} {
				for _, f := range append([]policy.ObjectField{{}}, o.Fields...) {
					if x, y := level(a, o, act, f.System, record), level(b, o, act, f.System, record); y < x {
						t.Fatalf("%s %s{%s}: %d before, %d with more roles", act, o.Name, f.Graph, x, y)
					}
				}
			}
		}
	})
}

// bothShow is what two show together: never more than either, and four characters
// and a digest have nothing in common.
func bothShow(a, b int) int {
	if low, high := min(a, b), max(a, b); low == high || high == itself || low == nothing {
		return low
	}
	return redacted
}

// TestNarrower: without a line that lets, or with a further deny or mask, nothing
// is shown that was not, and nothing may be done that might not.
func TestNarrower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines, wide := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, true)
		var narrow []genLine
		switch at := rapid.IntRange(0, len(lines)-1).Draw(t, "line"); rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			if lines[at].effect == "propose" || at == len(lines)-1 {
				return // what it proposed another line may allow; the last is what gives r3 something
			}
			narrow = append(append(narrow, lines[:at]...), lines[at+1:]...)
			if lines[at].effect == "deny" {
				lines, narrow = narrow, lines
				wide = load(t, lines)
			}
		case 1:
			narrow = append(append(narrow, lines...), genLine{role: "r1", object: lines[at].object, braces: lines[at].braces, acts: lines[at].acts, effect: "deny", where: lines[at].where})
		case 2:
			narrow = append(narrow, lines...)
			l := &narrow[at]
			if l.effect != "allow" || !l.does(policy.Read) || l.object == "desk.look" || l.object == "desk.pay" || l.object == "desk.p*" || !l.covers(policy.ObjectField{Graph: "a"}) {
				return
			}
			mask := rapid.SampledFrom([]policy.Mask{policy.MaskLast4, policy.MaskHash, policy.MaskRedact, policy.MaskNull}).Draw(t, "mask")
			if showing(mask) > showing(l.masks["a"]) {
				return
			}
			masks := map[string]policy.Mask{}
			for f, m := range l.masks {
				masks[f] = m
			}
			masks["a"] = mask
			l.masks = masks
		}
		p := person("user:x", drawRoles(t, "roles")...)
		a, b := wide.View(p), load(t, narrow).View(p)
		record := drawRecord(t)
		for _, o := range conditionalObjects() {
			before, after := visible(a, o, record), visible(b, o, record)
			if before == nil && after != nil {
				t.Fatalf("%s: a record came into sight", o.Name)
			}
			for f, shown := range after {
				if before[f] < shown {
					t.Fatalf("%s{%s} shows more: %d, before %d", o.Name, f, shown, before[f])
				}
			}
			if wideRead, narrowRead := a.Object(o.Name), b.Object(o.Name); narrowRead != nil && narrowRead.Read != nil {
				for f := range narrowRead.Read.Fields {
					if wideRead == nil || wideRead.Read == nil {
						t.Fatalf("%s came into the schema", o.Name)
					} else if _, ok := wideRead.Read.Fields[f]; !ok {
						t.Fatalf("%s{%s} came into the schema", o.Name, f)
					}
				}
			}
			for _, act := range []policy.Act{policy.Delete, policy.Call} {
				for _, f := range append([]policy.ObjectField{{}}, o.Fields...) {
					if x, y := level(a, o, act, f.System, record), level(b, o, act, f.System, record); x < y {
						t.Fatalf("%s %s{%s}: %d, before %d", act, o.Name, f.Graph, y, x)
					}
				}
			}
		}
	})
}

// TestChain: an agent and the person behind it together may never more than
// either, and exactly what both may where nothing depends on a check.
func TestChain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, e := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, true)
		p := person("user:x", drawRoles(t, "person")...)
		agent := &policy.Principal{ID: "agent:a", Kind: policy.Agent, Roles: drawRoles(t, "agent"), Tenant: "default"}
		both := *agent
		both.For = p
		va, vp, vb := e.View(agent), e.View(p), e.View(&both)
		record := drawRecord(t)
		for _, o := range conditionalObjects() {
			sa, sp, sb := visible(va, o, record), visible(vp, o, record), visible(vb, o, record)
			for _, f := range o.Fields {
				if sb[f.System] != bothShow(sa[f.System], sp[f.System]) {
					t.Fatalf("%s{%s}: agent %v, person %v, both %v", o.Name, f.Graph, sa, sp, sb)
				}
			}
			for _, act := range o.Acts {
				for _, f := range append([]policy.ObjectField{{}}, o.Fields...) {
					x := min(level(va, o, act, f.System, record), level(vp, o, act, f.System, record))
					y := level(vb, o, act, f.System, record)
					if y > x || (act == policy.Call || act == policy.Delete) && y != x {
						t.Fatalf("%s %s{%s}: both %d, the stricter of them %d", act, o.Name, f.Graph, y, x)
					}
				}
			}
		}
	})
}

// TestLongChain: whatever agents stand behind one another for a person, nobody
// of them lends another anything: the chain sees and writes what each of it may.
func TestLongChain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, e := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, true)
		behind := person("user:x", drawRoles(t, "person")...)
		views := []*policy.View{e.View(behind)}
		for range rapid.IntRange(1, 4).Draw(t, "agents") {
			agent := &policy.Principal{ID: "agent:a", Kind: policy.Agent, Roles: drawRoles(t, "agent"), Tenant: "default"}
			views = append(views, e.View(agent))
			with := *agent
			with.For = behind
			behind = &with
		}
		chain, record := e.View(behind), drawRecord(t)
		if chain.CanDecide {
			t.Fatal("a chain decides")
		}
		for _, o := range conditionalObjects() {
			got := visible(chain, o, record)
			for _, v := range views {
				one := visible(v, o, record)
				for f, shown := range got {
					if shown > one[f] {
						t.Fatalf("the chain sees more of %s{%s} than one of it", o.Name, f)
					}
				}
				for _, act := range o.Acts {
					for _, f := range append([]policy.ObjectField{{}}, o.Fields...) {
						if x, y := level(v, o, act, f.System, record), level(chain, o, act, f.System, record); y > x {
							t.Fatalf("%s %s{%s}: the chain %d, one of it %d", act, o.Name, f.Graph, y, x)
						}
					}
				}
			}
		}
	})
}
