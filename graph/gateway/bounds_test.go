package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/gateway"
)

// tight are limits that the documents of TestLimits just keep.
func tight() gateway.Limits {
	l := usual()
	l.Depth, l.Aliases, l.Tokens, l.Introspection, l.Page = 3, 2, 40, gateway.Off, 1
	return l
}

var overTight = map[string]struct {
	document string
	code     connectors.Code
}{
	"depth":           {`{ customers { nodes { orders { nodes { id } } } } }`, connectors.CodeDepthExceeded},
	"depth, spread":   {`{ customers { ...A } } fragment A on CustomerConnection { nodes { ...B } } fragment B on Customer { orders { nodes { id } } }`, connectors.CodeDepthExceeded},
	"aliases":         {`{ a: __typename b: __typename c: __typename }`, connectors.CodeCostExceeded},
	"aliases, spread": {`{ ...A ...A } fragment A on Query { customer(id: 1) { a: id b: id } }`, connectors.CodeCostExceeded},
	"tokens":          {`{ __typename` + strings.Repeat(" __typename", 40) + ` }`, connectors.CodeCostExceeded},
	"introspection":   {`{ __schema { queryType { name } } }`, connectors.CodeOperationNotAllowed},
	"introspection, spread": {`{ ...A } fragment A on Query { ... { x: __type(name: "Customer") { name } } }`,
		connectors.CodeOperationNotAllowed},
	"page": {`{ customers(first: 2) { nodes { id } } }`, connectors.CodeBadInput},
}

// The limits of a role hold, whether the document is new or was read for
// somebody of the same rights with larger ones.
func TestRolesLimits(t *testing.T) {
	for name, c := range overTight {
		t.Run(name, func(t *testing.T) {
			for _, warm := range []bool{false, true} {
				w := limitedWorld(t, gateway.RoleLimits{"*": usual(), "small": tight()}, func(files map[string]string) {
					files["people"] += "tess human owner small\nbig human owner small large\nbot agent owner for:tess\n"
				})
				if warm {
					if a := w.ask("olga", c.document); len(a.errors) > 0 {
						t.Fatalf("without limits: %v", a.errors)
					}
				}
				for _, who := range []string{"tess", "bot"} {
					if a := w.ask(who, c.document); a.code() != c.code || a.data != "" {
						t.Errorf("%s, read before: %t: %s %v, not %s", who, warm, a.data, a.errors, c.code)
					}
				}
				if a := w.ask("olga", c.document); len(a.errors) > 0 {
					t.Errorf("without limits, after one who has them: %v", a.errors)
				}
			}
		})
	}
}

// Of several roles the largest holds.
func TestLargestOfRoles(t *testing.T) {
	large := usual()
	large.Page = 50
	w := limitedWorld(t, gateway.RoleLimits{"*": usual(), "small": tight(), "large": large}, func(files map[string]string) {
		files["people"] += "tess human owner small\nbig human owner small large\nbot agent owner large for:tess\n"
	})
	ask := `{ viewer { limits { page depth } } }`
	for who, want := range map[string]string{
		"olga": `{"viewer":{"limits":{"page":100,"depth":12}}}`,
		"tess": `{"viewer":{"limits":{"page":1,"depth":3}}}`,
		"big":  `{"viewer":{"limits":{"page":50,"depth":12}}}`,
		"bot":  `{"viewer":{"limits":{"page":1,"depth":3}}}`,
	} {
		if a := w.ask(who, ask); a.data != want {
			t.Errorf("%s: %s %v, not %s", who, a.data, a.errors, want)
		}
	}
}

// Fragments that multiply are counted no further than the limit.
func TestFragmentsThatMultiply(t *testing.T) {
	w := newWorld(t)
	var b strings.Builder
	b.WriteString("{ ...F0 }\n")
	for i := range 30 {
		fmt.Fprintf(&b, "fragment F%d on Query { ...F%d ...F%d }\n", i, i+1, i+1)
	}
	b.WriteString("fragment F30 on Query { __typename }")
	if a := w.ask("olga", b.String()); a.code() != connectors.CodeCostExceeded {
		t.Errorf("%v", a.errors)
	}
}

// What costs too much is refused before any source is called.
func TestCostBeforeSources(t *testing.T) {
	l := usual()
	l.Cost = 50
	w := limitedWorld(t, gateway.RoleLimits{"*": l})
	if a := w.ask("olga", `{ customers(first: 100) { nodes { orders(first: 100) { nodes { id } } } } }`); a.code() != connectors.CodeCostExceeded {
		t.Errorf("%s %v", a.data, a.errors)
	}
	if n := w.base.Memory["crm"].Calls(connectortest.OnQuery); n != 0 {
		t.Errorf("the source was called %d times", n)
	}
}

// Refused documents are nobody's to find again: the next one is read anew.
func TestRefusedThenAllowed(t *testing.T) {
	w := newWorld(t)
	if a := w.ask("bea", `{ customer(id: 1) { email } }`); a.code() != connectors.CodeValidationFailed {
		t.Fatalf("%v", a.errors)
	}
	if a := w.ask("lea", `{ customer(id: 1) { email } }`); len(a.errors) > 0 {
		t.Errorf("%v", a.errors)
	}
	if a := w.ask("bea", `{ customer(id: 1) { email } }`); a.code() != connectors.CodeValidationFailed {
		t.Errorf("%v", a.errors)
	}
}
