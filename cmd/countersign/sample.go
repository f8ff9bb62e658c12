package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
)

// approvalsText is the first approvals.yaml: what an agent asks for is confirmed
// by the person it acts for, or decided by an owner.
const approvalsText = `# What happens to what must be proposed.
version: 1

defaults:
  require: [{ role: owner }]
  expire: 72h            # a timeout is always a no

rules:
  # The person an agent acts for may confirm what they could do themselves;
  # whatever they could not is decided by an owner who is no author of it.
  - name: own-agent
    on: "*"
    by: agent
    require: [{ confirm: requester, else: { role: owner } }]
`

// policyText is the first policy.csv, with examples over these collections.
func (p *project) policyText() string {
	var b strings.Builder
	b.WriteString(`# Who may do what:  p, ROLE, OBJECT, ACTS, EFFECT [, WHERE [, WITH]]
# The owner reads everything and proposes every write; nobody else may anything.
# Fields whose names look like secrets are covered by no pattern, only by name.
p, owner, *, read,                      allow
p, owner, *, create|update|delete|call, propose
p, owner, *, approve,                   allow
`)
	c, f := p.sampleField()
	if c == nil {
		if reads, writes := p.sampleCalls(); writes != nil {
			b.WriteString(functionExamples(reads, writes))
		}
		return b.String()
	}
	fmt.Fprintf(&b, `
# ---- an example for each role; take the # away

# Support reads one collection, and proposes one field of it.
# p, support, %[1]s, read, allow
# p, support, %[1]s{%[2]s}, update, propose

# An agent reads and proposes. The last line lets the person it acts for do
# the same at once: only what a person may do alone can be confirmed by that
# person alone.
# p, agent, %[1]s, read, allow
# p, agent, %[1]s{%[2]s}, update, propose
# p, owner, %[1]s{%[2]s}, update, allow
`, c.Object, f.Name)
	return b.String()
}

// functionExamples are the examples over a system that has calls only.
func functionExamples(reads, writes *catalog.Function) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
# ---- an example for each role; take the # away

# Support proposes one call.
# p, support, %[1]s, call, propose

# An agent proposes it. The next line lets the person it acts for do the same at
# once: only what a person may do alone can be confirmed by that person alone.
# p, agent, %[1]s, call, propose
# p, owner, %[1]s, call, allow
`, writes.Object)
	if reads != nil {
		fmt.Fprintf(&b, "\n# Calls that only read need no proposal.\n# p, support, %[1]s, call, allow\n# p, agent, %[1]s, call, allow\n", reads.Object)
	}
	return b.String()
}

// sampleCalls are one function that reads, best one that needs no argument, and
// one that writes; nil where there is none.
func (p *project) sampleCalls() (reads, writes *catalog.Function) {
	for _, f := range p.catalog.Functions {
		switch {
		case f.Hidden:
		case !f.Reads():
			if writes == nil {
				writes = f
			}
		case reads == nil || needsNothing(f) && !needsNothing(reads):
			reads = f
		}
	}
	return reads, writes
}

func needsNothing(f *catalog.Function) bool {
	return !slices.ContainsFunc(f.Args, func(a *catalog.Field) bool { return !a.Spec.Nullable })
}

// sampleField is a collection with a key and a text that can be changed; one
// that others refer to before others.
func (p *project) sampleField() (*catalog.Collection, *catalog.Field) {
	var best *catalog.Collection
	var field *catalog.Field
	for _, c := range p.catalog.Collections {
		if len(c.Key) == 0 || c.Act(connectors.Update) == nil {
			continue
		}
		f := sampleText(c)
		if f == nil || best != nil && len(manyRelations(c)) <= len(manyRelations(best)) {
			continue
		}
		best, field = c, f
	}
	return best, field
}

func sampleText(c *catalog.Collection) *catalog.Field {
	for _, f := range c.Fields {
		if f.Type.Scalar == connectors.ScalarString && !f.Type.List && !f.Hidden && !f.Secret && !f.Spec.ReadOnly && !slices.Contains(c.Key, f) {
			return f
		}
	}
	return nil
}

func manyRelations(c *catalog.Collection) []*catalog.Relation {
	var out []*catalog.Relation
	for _, r := range c.Relations {
		if r.Many && !r.Hidden {
			out = append(out, r)
		}
	}
	return out
}

// sampleQuery reads some of the collections of the new sources.
func (p *project) sampleQuery(added []*newSource) string {
	isNew := map[string]bool{}
	for _, n := range added {
		isNew[n.name] = true
	}
	var best *catalog.Collection
	for _, c := range p.catalog.Collections {
		if !isNew[c.Source.Name] || !c.Spec.List || len(sampleFields(c)) == 0 {
			continue
		}
		if best == nil || len(manyRelations(c)) > len(manyRelations(best)) {
			best = c
		}
	}
	if best == nil {
		return p.sampleCall(isNew)
	}
	inner := ""
	for _, r := range manyRelations(best) {
		if fields := sampleFields(r.To); len(fields) > 0 {
			inner = fmt.Sprintf(" %s(first: 2) { nodes { %s } }", r.Name, strings.Join(fields, " "))
			break
		}
	}
	return fmt.Sprintf("{ %s(first: 3) { totalCount nodes { %s%s } } }", best.Plural, strings.Join(sampleFields(best), " "), inner)
}

// sampleCall calls a function of the new sources that needs no argument.
func (p *project) sampleCall(isNew map[string]bool) string {
	for _, f := range p.catalog.Functions {
		if !isNew[f.Source.Name] || f.Hidden || !f.Reads() || !needsNothing(f) || f.Result == nil {
			continue
		}
		if f.Result.Object == "" {
			return "{ " + f.Field + " }"
		}
		return "{ " + f.Field + " { __typename } }"
	}
	return ""
}

// sampleFields are up to three fields without members.
func sampleFields(c *catalog.Collection) []string {
	var out []string
	for _, f := range c.Fields {
		if !f.Hidden && !f.Secret && f.Type.Object == "" && f.Type.Scalar != connectors.ScalarJSON && f.Type.Scalar != connectors.ScalarBytes && len(out) < 3 {
			out = append(out, f.Name)
		}
	}
	return out
}
