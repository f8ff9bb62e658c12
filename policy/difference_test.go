package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/policy"
)

// TestCompareOfItself: a policy differs from itself, loaded twice, in nothing.
func TestCompareOfItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines, e := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, true)
		p := person("user:x", drawRoles(t, "roles")...)
		if d := policy.Compare(e.View(p), load(t, lines).View(p)); len(d) > 0 {
			t.Fatalf("%+v", d)
		}
	})
}

// names tells whether a difference for the field opens (or closes) something.
func names(list []policy.Difference, o policy.Object, act policy.Act, field string, opens bool) bool {
	return slices.ContainsFunc(list, func(d policy.Difference) bool {
		on := len(d.Fields) == 0 && field == "" || slices.Contains(d.Fields, field)
		return d.Object == o.Name && d.Act == act && on && (opens && d.Opens || !opens && d.Closes)
	})
}

// TestCompareNamesEveryGain: where lines have no conditions, a gain is named for a
// field if and only if the view after lets more of it, and a loss likewise.
func TestCompareNamesEveryGain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, e := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, false)
		_, f := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, false)
		p := person("user:x", drawRoles(t, "roles")...)
		a, b := e.View(p), f.View(p)
		list := policy.Compare(a, b)
		record := drawRecord(t)
		for _, o := range genObjects() {
			for _, act := range o.Acts {
				for _, field := range o.Fields {
					system, graph := field.System, field.Graph
					if act == policy.Delete {
						system, graph = "", ""
					}
					before, after := int(effectOf(a, o, act, system)), int(effectOf(b, o, act, system))
					if act == policy.Read {
						x, y := visible(a, o, record)[system], visible(b, o, record)[system]
						if before*after != 0 && x != y && max(x, y) != itself {
							continue // two masks: neither tells all that the other does
						}
						// That a field is there at all is something, whatever it shows.
						before, after = min(before, 1)*(1+x), min(after, 1)*(1+y)
					}
					if got := names(list, o, act, graph, true); got != (after > before) {
						t.Fatalf("%s of %s{%s} goes from %d to %d; a gain is named: %v\n%+v", act, o.Name, graph, before, after, got, list)
					}
					if got := names(list, o, act, graph, false); got != (after < before) {
						t.Fatalf("%s of %s{%s} goes from %d to %d; a loss is named: %v\n%+v", act, o.Name, graph, before, after, got, list)
					}
				}
			}
		}
	})
}

// TestCompareMissesNoCell: with conditions, no cell of any record is seen, and no
// record written, that was not before without a difference that says so.
func TestCompareMissesNoCell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, e := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, true)
		_, f := genPolicy(t, []string{"allow", "allow", "propose", "deny"}, true)
		p := person("user:x", drawRoles(t, "roles")...)
		a, b := e.View(p), f.View(p)
		list := policy.Compare(a, b)
		record := drawRecord(t)
		for _, o := range genObjects() {
			before, after := visible(a, o, record), visible(b, o, record)
			for _, field := range o.Fields {
				now, seen := after[field.System]
				was, known := before[field.System]
				if (seen && !known || now == itself && was != itself) && !names(list, o, policy.Read, field.Graph, true) {
					t.Fatalf("%s{%s} is seen and was not, and no gain is named\n%+v", o.Name, field.Graph, list)
				}
			}
			for _, act := range o.Acts {
				if act == policy.Read || act == policy.Create {
					continue
				}
				for _, field := range o.Fields {
					system, graph := field.System, field.Graph
					if act == policy.Delete {
						system, graph = "", ""
					}
					if level(b, o, act, system, record) > level(a, o, act, system, record) && !names(list, o, act, graph, true) {
						t.Fatalf("%s of %s{%s} is let and was not, and no gain is named\n%+v", act, o.Name, graph, list)
					}
				}
			}
		}
	})
}

func TestCompareInWords(t *testing.T) {
	before := loadText(t, `p, support, crm.customers, read, allow, {region: {eq: $claims.region}}
p, support, crm.customers{phone email}, update, propose
p, support, crm.orders, read, allow`)
	after := loadText(t, `p, support, crm.customers, read, allow, {region: {eq: "EU"}}
p, support, crm.customers{phone}, update, allow
p, support, crm.customers{email}, update, propose, , {max: 1}
p, support, crm.orders, read|delete, allow`)
	p := person("user:x", "support")
	var got []string
	for _, d := range policy.Compare(before.View(p), after.View(p)) {
		got = append(got, fmt.Sprintf("%s %s%v: %q -> %q opens %t closes %t", d.Act, d.Object, d.Fields, d.From, d.To, d.Opens, d.Closes))
		if len(d.Lines) == 0 {
			t.Errorf("%s: no line decides", d.Object)
		}
	}
	want := []string{
		`read crm.customers[email id name phone region status updatedBy]: "shown of records where s_region eq $claims.region" -> "shown of records where s_region eq \"EU\"" opens true closes true`,
		`update crm.customers[email]: "propose" -> "propose max 1" opens false closes true`,
		`update crm.customers[phone]: "propose" -> "allow" opens true closes false`,
		`delete crm.orders[]: "" -> "allow" opens true closes false`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}
