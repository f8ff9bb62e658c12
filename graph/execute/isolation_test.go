package execute_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/execute"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/graph/plan/plantest"
)

// Principals of one shape: what they see differs by claim or by condition, the
// schema does not.
var alike = []string{
	"human clerk region=EU", "human clerk region=US", "human clerk", "human warden", "human clerk warden region=US",
}

var documents = []string{
	`query ($f: CustomerFilter, $n: Int) { customers(filter: $f, first: $n) { nodes { id name region } totalCount } }`,
	`query ($id: Int!) { customer(id: $id) { id name orders { totalCount nodes { id total } } } }`,
	`query ($f: CustomerFilter) { orders(filter: {customer: $f}) { nodes { id customer { name } } } }`,
	`query ($id: Int!) { a: customer(id: $id) { name } customers { aggregate { count max { id } } } }`,
	`query ($f: CustomerFilter, $n: Int) { customersGroups(by: [REGION], filter: $f) { key { region } count } customers(last: $n) { nodes { id } pageInfo { hasPreviousPage } } }`,
}

var filters = []string{
	`null`, `{}`, `{"id": {"gt": 1}}`, `{"id": {"in": [1, 2]}}`, `{"name": {"startsWith": "A"}}`, `{"or": []}`,
	`{"not": {"region": {"eq": "EU"}}}`, `{"or": [{"id": {"eq": 2}}, {"region": {"eq": "EU"}}]}`, `{"orders": {"none": {}}}`,
}

// Property: principals of one shape and different authority or claims, whose
// requests are interleaved through shared plans and a shared cache of answers,
// get what each gets alone with caches off.
func TestIsolation(t *testing.T) {
	w := world(t, "shop")
	for _, p := range alike[1:] {
		if a, b := view(t, w, alike[0]), view(t, w, p); a.Shape != b.Shape {
			t.Fatalf("%s has another shape than %s: the test would show nothing", p, alike[0])
		}
	}
	if view(t, w, alike[0]).Authority == view(t, w, "human warden").Authority {
		t.Fatal("different conditions, one authority")
	}
	interleaved(t, w, alike, documents, filters)
}

// Principals of one shape whose masks differ, or hold for other records.
var maskedAlike = [][]string{
	{"human m1", "human m2", "human m3", "human m2 m3"},
	{"human m4 region=EU", "human m4 region=US", "human m4", "human m5", "human m4 m5 region=US"},
}

var maskedDocuments = []string{
	`query ($f: CustomerFilter, $n: Int) { customers(filter: $f, first: $n) { nodes { id name email nodeId region } totalCount pageInfo { endCursor } } }`,
	`query ($id: Int!) { customer(id: $id) { name email orders { totalCount nodes { id total } } } }`,
	`query ($f: CustomerFilter) { orders(filter: {customer: $f}) { nodes { id customer { name email } } } }`,
}

var maskedFilters = []string{`null`, `{}`, `{"id": {"gt": 1}}`, `{"not": {"region": {"eq": "EU"}}}`, `{"orders": {"none": {}}}`}

// Property: the same holds of principals whom masks alone tell apart.
func TestMaskedIsolation(t *testing.T) {
	w := world(t, "shop")
	for _, alike := range maskedAlike {
		for _, p := range alike {
			if view(t, w, p).Shape != view(t, w, alike[0]).Shape {
				t.Fatalf("%s has another shape than %s: the test would show nothing", p, alike[0])
			}
		}
		interleaved(t, w, alike, maskedDocuments, maskedFilters)
	}
	if view(t, w, "human m1").Authority == view(t, w, "human m2").Authority || view(t, w, "human m4").Authority == view(t, w, "human m5").Authority {
		t.Error("different masks, one authority")
	}
}

func interleaved(t *testing.T, w *plantest.World, alike, documents, filters []string) {
	rapid.Check(t, func(t *rapid.T) {
		cache, err := execute.NewCache(1<<20, func(string, string) time.Duration { return time.Hour })
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		shared := &execute.Executor{Sources: w.Sources(), Cache: cache}
		alone := &execute.Executor{Sources: w.Sources()}
		plans := map[string]*plan.Plan{}
		for range rapid.IntRange(2, 12).Draw(t, "requests") {
			who := rapid.SampledFrom(alike).Draw(t, "who")
			doc := rapid.SampledFrom(documents).Draw(t, "document")
			vars := fmt.Sprintf(`{"f": %s, "n": %d, "id": %d}`, rapid.SampledFrom(filters).Draw(t, "filter"),
				rapid.IntRange(0, 3).Draw(t, "n"), rapid.IntRange(1, 4).Draw(t, "id"))
			r, err := w.Request(who, doc, vars)
			if err != nil {
				t.Fatal(err)
			}
			own, bad := r.Build()
			if bad != nil {
				if bad.Code != connectors.CodeBadInput {
					t.Fatal(bad)
				}
				continue
			}
			key := doc + r.Key()
			if plans[key] == nil {
				plans[key] = own
			} else if plans[key].String() != own.String() {
				t.Fatalf("one key, two plans:\n%s\n%s", plans[key], own)
			}
			got := answer(shared, r, plans[key])
			if want := answer(alone, r, own); got != want {
				t.Fatalf("%s\n%s %s\nwith others: %s\nalone:       %s", doc, who, vars, got, want)
			}
		}
	})
}

func view(t testing.TB, w *plantest.World, who string) *viewOf {
	t.Helper()
	r, err := w.Request(who, `{ viewer { id } }`, "")
	if err != nil {
		t.Fatal(err)
	}
	return &viewOf{r.View.Shape, r.View.Authority}
}

type viewOf struct{ Shape, Authority string }

func answer(e *execute.Executor, r *plantest.Request, p *plan.Plan) string {
	out := e.Query(context.Background(), p, r.Bindings())
	defer out.Release()
	text := string(out.Data)
	for _, err := range out.Errors {
		text += " " + string(err.Code)
	}
	return text
}

// Two worlds that differ only in cells a principal may not read give equal
// answers to any filter, order, aggregate or relation filter that their schema
// lets them ask.
func TestInvisibleCellsDecideNothing(t *testing.T) {
	a, b := world(t, "shop"), altered(t)
	for _, doc := range []string{
		`{ customers { nodes { id } totalCount aggregate { count max { id } } } }`,
		`{ customers(orderBy: [{name: DESC}]) { nodes { id } } }`,
		`{ orders(filter: {customer: {name: {startsWith: "B"}}}) { nodes { id } totalCount } }`,
		`{ orders(filter: {not: {customer: {name: {startsWith: "B"}}}}) { nodes { id } } }`,
		`{ orders(orderBy: [{customer: {name: ASC}}]) { nodes { id customer { name } } } }`,
		`{ customersGroups(by: [REGION]) { key { region } count } }`,
		`{ orders { nodes { id customer { name } } } }`,
		`{ customer(id: 2) { name } customerBy(key: {email: "bob@x"}) { id } }`,
	} {
		var got []string
		for _, w := range []*plantest.World{a, b} {
			r, err := w.Request("human clerk region=EU", doc, "")
			if err != nil {
				t.Fatal(err)
			}
			p, bad := r.Build()
			if bad != nil {
				t.Fatal(bad)
			}
			got = append(got, answer(&execute.Executor{Sources: w.Sources()}, r, p))
		}
		if got[0] != got[1] {
			t.Errorf("%s\n%s\n%s", doc, got[0], got[1])
		}
	}
}

// altered is the shop with another customer 2, whom nobody of EU may see.
func altered(t *testing.T) *plantest.World {
	t.Helper()
	return worldWith(t, "shop", func(data string) string {
		return strings.Replace(data, `"name":"Bob","email":"bob@x","region":"US","country":"US","credit":"0.00"`,
			`"name":"Zoe","email":"zoe@x","region":"US","country":"FR","credit":"9.99"`, 1)
	})
}

// A write through us makes what was kept of the source useless.
func TestWriteInvalidates(t *testing.T) {
	w := world(t, "shop")
	cache, err := execute.NewCache(1<<20, func(string, string) time.Duration { return time.Hour })
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	e, done := executor(t, w)
	defer done()
	e.Cache = cache
	ask := func() string {
		r, p := planned(t, w, "human owner", `{ customer(id: 1) { name } }`, "")
		return answer(e, r, p)
	}
	before := ask()
	r, p := planned(t, w, "human owner", `mutation { updateCustomer(id: 1, patch: {name: "new"}) { outcome } }`, "")
	run(t, e, r, p)
	if after := ask(); after == before || !strings.Contains(after, "new") {
		t.Errorf("after the write: %s", after)
	}
}

// Equal steps under way share one call, and a caller who gives up does not take
// the others with it.
func TestInFlightIsShared(t *testing.T) {
	w := world(t, "shop")
	cache, err := execute.NewCache(1<<20, func(string, string) time.Duration { return time.Hour })
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	e := &execute.Executor{Sources: w.Sources(), Cache: cache}
	r, p := planned(t, w, "human owner", `{ customers { nodes { id } } }`, "")
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if got := answer(e, r, p); !json.Valid([]byte(got)) {
				t.Errorf("%s", got)
			}
		}()
	}
	wg.Wait()
}
