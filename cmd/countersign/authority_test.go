package main

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// A caller is a principal, whose schema has the same shape as another one's and
// whose authority differs.
type caller struct {
	name, token string
}

var traceID = regexp.MustCompile(`"traceId":"[^"]*"`)

// A question is an operation with its variables; writes are previewed or
// proposed, so that nothing moves.
type question struct {
	query string
	vars  vars
}

func (q *question) key() string { return fmt.Sprint(q.query, q.vars) }

// questions are asked by everybody in the same words.
func questions() []question {
	out := []question{
		{"{ items(first: 50) { totalCount aggregate { sum { stock } max { price } } nodes { id name region price } } }", nil},
		{"{ itemsGroups(by: [REGION]) { key { region } count sum { stock } } }", nil}, {"{ viewer { roles limits { page } } items(first: 1) { nodes { id } } }", nil},
		{`{ __type(name: "Item") { fields { name } } }`, nil}, {"{ items(first: 3, orderBy: [{price: DESC}]) { pageInfo { hasNextPage } nodes { name } } }", nil},
	}
	for id := 1; id <= 6; id++ {
		out = append(out, question{"query ($id: SafeInt!) { item(id: $id) { id name region stock } }", vars{"id": id}},
			question{fmt.Sprintf("{ item(id: %d) { id name } }", id), nil},
			question{"query ($f: ItemFilter) { items(filter: $f, first: 50) { totalCount nodes { id } } }", vars{"f": vars{"stock": vars{"gte": id * 10}}}},
			question{"query ($f: ItemFilter) { items(filter: $f, first: 50) { totalCount nodes { id } } }", vars{"f": vars{"or": []any{vars{"region": vars{"eq": "EU"}}, vars{"id": vars{"eq": id}}}}}})
	}
	return out
}

// previews differ in effect and condition between the clerks.
func previews() []question {
	var out []question
	for id := 1; id <= 6; id++ {
		out = append(out, question{`mutation ($id: SafeInt!) { updateItem(id: $id, patch: {stock: {set: 0}}, options: {mode: PREVIEW}) { outcome affectedCount diff { key before after } errors { code message } } }`, vars{"id": id}},
			question{`mutation ($f: ItemFilter!) { updateItems(filter: $f, patch: {stock: {set: 0}}, maxRows: 100, options: {mode: PREVIEW}) { outcome affectedCount errors { code message } } }`, vars{"f": vars{"id": vars{"lte": id * 9}}}})
	}
	return out
}

// TestTwoOfOneShape: callers whose schemas look the same and whose rights differ
// ask the same questions at once, in any order; each is answered as if it were
// alone, caches off.
func TestTwoOfOneShape(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.addUser(t, "eu@shop.example", "clerk-eu")
	s.addUser(t, "us@shop.example", "clerk-us")
	config := s.read(t, "countersign.yaml")
	s.write(t, "countersign.yaml", strings.Replace(config, "outcome: transactional }", "outcome: transactional, cache: { \"*\": 1h } }", 1)+"limits: { clerk-us: { page: 7 } }\n")

	for _, pair := range []struct {
		callers func(n *node) []caller
		asked   []question
	}{
		{func(n *node) []caller {
			return []caller{{"EU", s.signIn(t, n, "eu@shop.example")}, {"US", s.signIn(t, n, "us@shop.example")}}
		}, append(questions(), previews()...)},
		{func(*node) []caller {
			return []caller{{"token EU", s.issuer.token(t, "u-eu", "EU", nil)}, {"token US", s.issuer.token(t, "u-us", "US", nil)},
				{"token AP", s.issuer.token(t, "u-ap", "AP", nil)}, {"token without", s.issuer.token(t, "u-none", "", nil)}}
		}, questions()},
	} {
		alone := map[string]string{}
		// Alone: a gateway of its own for each question, as far as caches go.
		n := within(t, s.site)
		var names []string
		for _, c := range pair.callers(n) {
			names = append(names, c.name)
		}
		n.stop(t)
		for i, name := range names {
			n := within(t, s.site)
			c := pair.callers(n)[i]
			for k := range pair.asked {
				alone[name+pair.asked[k].key()] = c.ask(t, n, &pair.asked[k])
			}
			n.stop(t)
		}
		interleaved(t, s, pair.callers, pair.asked, alone)
	}
	if got := s.f.value(t, "SELECT count(*) FROM item WHERE stock <> id"); got != "0" {
		t.Errorf("%s items were changed", got)
	}
}

func (c *caller) ask(t testing.TB, n *node, q *question) string {
	t.Helper()
	a, err := n.try(c.token, q.query, q.vars)
	if err != nil {
		t.Error(err)
		return ""
	}
	return traceID.ReplaceAllString(a.raw, "")
}

func interleaved(t *testing.T, s *shopSite, callers func(*node) []caller, asked []question, alone map[string]string) {
	t.Helper()
	n := within(t, s.site)
	who := callers(n)
	shape := question{"{ __schema { types { name fields { name type { kind name } args { name } } inputFields { name } enumValues { name } } } }", nil}
	for _, c := range who[1:] {
		if c.ask(t, n, &shape) != who[0].ask(t, n, &shape) {
			t.Fatalf("the schemas of %s and %s differ: this is about two of one shape", c.name, who[0].name)
		}
	}
	differ := 0
	for i := range asked {
		if alone[who[0].name+asked[i].key()] != alone[who[1].name+asked[i].key()] {
			differ++
		}
	}
	if differ < len(asked)/2 {
		t.Fatalf("only %d of %d answers differ between them: nothing is tested", differ, len(asked))
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 7))
			for range 150 {
				c, q := who[random.IntN(len(who))], &asked[random.IntN(len(asked))]
				if got, want := c.ask(t, n, q), alone[c.name+q.key()]; got != want {
					t.Errorf("%s asks %s\nand is answered\n%s\nalone it was\n%s", c.name, q.key(), got, want)
					return
				}
			}
		})
	}
	wg.Wait()
	n.stop(t)
}
