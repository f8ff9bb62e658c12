package execute_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/plan/plantest"
)

// Property: walking the pages of any order, size and direction by their cursors
// gives every record once, in the order of one large page.
func TestPagesAreTheWhole(t *testing.T) {
	w := world(t, "shop")
	e := &execute.Executor{Sources: w.Sources()}
	orders := []string{`[{country: ASC}]`, `[{country: DESC_NULLS_LAST}, {region: ASC}]`, `[{region: DESC}]`, `[{credit: ASC_NULLS_FIRST}]`, `[]`, `[{id: DESC}]`}
	rapid.Check(t, func(rt *rapid.T) {
		order := rapid.SampledFrom(orders).Draw(rt, "order")
		size := rapid.IntRange(1, 4).Draw(rt, "size")
		back := rapid.Bool().Draw(rt, "back")
		whole := ids(rt, e, w, fmt.Sprintf(`{ customers(orderBy: %s) { nodes { id } pageInfo { endCursor hasNextPage startCursor hasPreviousPage } } }`, order), "")
		doc := `query ($c: String, $n: Int) { customers(orderBy: ` + order + `, first: $n, after: $c) { nodes { id } pageInfo { endCursor hasNextPage startCursor hasPreviousPage } } }`
		if back {
			doc = strings.NewReplacer("first:", "last:", "after:", "before:").Replace(doc)
		}
		var got []int
		cursor := "null"
		for range 10 {
			page := ids(rt, e, w, doc, fmt.Sprintf(`{"c": %s, "n": %d}`, cursor, size))
			if back {
				got = append(slices.Clone(page.ids), got...)
				cursor = page.start
			} else {
				got = append(got, page.ids...)
				cursor = page.end
			}
			if !page.more(back) {
				break
			}
		}
		if !slices.Equal(got, whole.ids) {
			rt.Fatalf("%s by %d: %v, wanted %v", order, size, got, whole.ids)
		}
	})
}

type pageOf struct {
	ids        []int
	start, end string
	next, prev bool
}

func (p pageOf) more(back bool) bool { return back && p.prev || !back && p.next }

func ids(t *rapid.T, e *execute.Executor, w *plantest.World, document, variables string) pageOf {
	r, err := w.Request("human owner", document, variables)
	if err != nil {
		t.Fatal(err)
	}
	p, bad := r.Build()
	if bad != nil {
		t.Fatal(bad)
	}
	var out struct {
		Customers struct {
			Nodes    []struct{ ID int }
			PageInfo struct {
				EndCursor, StartCursor       *string
				HasNextPage, HasPreviousPage bool
			}
		}
	}
	text := answer(e, r, p)
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	page := pageOf{start: "null", end: "null", next: out.Customers.PageInfo.HasNextPage, prev: out.Customers.PageInfo.HasPreviousPage}
	for _, n := range out.Customers.Nodes {
		page.ids = append(page.ids, n.ID)
	}
	if c := out.Customers.PageInfo.StartCursor; c != nil {
		page.start = `"` + *c + `"`
		page.end = `"` + *out.Customers.PageInfo.EndCursor + `"`
	}
	return page
}

// A cursor belongs to its list, order and filter with its values; on any other
// it is BAD_INPUT.
func TestCursorsAreBound(t *testing.T) {
	w := world(t, "shop")
	e := &execute.Executor{Sources: w.Sources()}
	first := func(doc, vars string) string {
		r, p := planned(t, w, "human owner", doc, vars)
		var out struct {
			C struct{ PageInfo struct{ EndCursor string } }
		}
		if err := json.Unmarshal([]byte(answer(e, r, p)), &out); err != nil {
			t.Fatal(err)
		}
		return out.C.PageInfo.EndCursor
	}
	const doc = `query ($f: CustomerFilter, $c: String) { c: customers(first: 1, filter: $f, after: $c) { nodes { id } pageInfo { endCursor } } }`
	cursor := first(doc, `{"f": {"id": {"gt": 1}}}`)
	for _, c := range []struct {
		doc, vars string
		ok        bool
	}{
		{doc, `{"f": {"id": {"gt": 1}}, "c": %q}`, true},
		{doc, `{"f": {"id": {"gt": 2}}, "c": %q}`, false},
		{doc, `{"f": {"id": {"gte": 1}}, "c": %q}`, false},
		{doc, `{"c": %q}`, false},
		{strings.Replace(doc, "first: 1", "first: 1, orderBy: [{name: ASC}]", 1), `{"f": {"id": {"gt": 1}}, "c": %q}`, false},
		{`query ($c: String) { c: orders(after: $c) { nodes { id } } }`, `{"c": %q}`, false},
	} {
		r, p := planned(t, w, "human owner", c.doc, fmt.Sprintf(c.vars, cursor))
		got := answer(e, r, p)
		if refused := strings.Contains(got, string(connectors.CodeBadInput)); refused == c.ok {
			t.Errorf("%s %s: %s", c.doc, c.vars, got)
		}
	}
	// A cursor that was cut or changed.
	for _, bad := range []string{cursor[:len(cursor)-2], cursor + "AA", "", "sAAAA", "n" + cursor[1:]} {
		r, p := planned(t, w, "human owner", doc, fmt.Sprintf(`{"f": {"id": {"gt": 1}}, "c": %q}`, bad))
		if got := answer(e, r, p); !strings.Contains(got, string(connectors.CodeBadInput)) {
			t.Errorf("%q: %s", bad, got)
		}
	}
}
