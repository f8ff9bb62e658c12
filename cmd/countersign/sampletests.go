package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/countersign/countersign/graph/catalog"
)

const testsHead = `# Tests of the policy, over records in memory: ` + "`countersign policy test`" + ` runs them, and
# ` + "`countersign check`" + ` too. A record may leave out what a test does not look at.
`

// testsText is a first file of policy tests, which pass over the first policy; ""
// where there is nothing to test.
func (p *project) testsText() string {
	c, f := p.sampleField()
	if c == nil {
		return p.functionTests()
	}
	value := "Test"
	if most := f.Type.MaxLength; most > 0 && most < len(value) {
		value = value[:most]
	}
	var b strings.Builder
	fmt.Fprintf(&b, `%[1]sgiven:
  %[2]s:
    - { %[3]s: %[4]s }

who:
  owner1: { roles: [owner] }
`, testsHead, quoted(c.Object), f.Name, value)
	if c.Spec.List {
		fmt.Fprintf(&b, `
cases:
  - name: the owner reads
    as: owner1
    operation: '{ %[1]s { nodes { %[2]s } } }'
    expect: { data: { %[1]s: { nodes: [{ %[2]s: %[3]s }] } } }

  - name: who did not sign in does not learn what there is
    as: anonymous
    operation: '{ %[1]s { nodes { %[2]s } } }'
    expect: { error: VALIDATION_FAILED, absent: [%[4]s.%[2]s] }
`, c.Plural, f.Name, value, c.Type)
	}
	fmt.Fprintf(&b, `
can:
  - { as: owner1,    act: read, object: %[1]s, expect: allow }
  - { as: anonymous, act: read, object: %[1]s, expect: deny }
`, quoted(c.Object+"."+f.Name))
	return b.String()
}

// functionTests are about a system that has no record that can be changed.
func (p *project) functionTests() string {
	var object, act, effect string
	if _, writes := p.sampleCalls(); writes != nil {
		object, act, effect = writes.Object, "call", "propose"
	} else if i := slices.IndexFunc(p.catalog.Collections, func(c *catalog.Collection) bool { return !c.Hidden }); i >= 0 {
		object, act, effect = p.catalog.Collections[i].Object, "read", "allow"
	} else {
		return ""
	}
	return fmt.Sprintf(`%[1]swho:
  owner1: { roles: [owner] }

can:
  - { as: owner1,    act: %[3]s, object: %[2]s, expect: %[4]s }
  - { as: anonymous, act: %[3]s, object: %[2]s, expect: deny }
`, testsHead, quoted(object), act, effect)
}
