//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/countersign/countersign/bench/lab"
	"github.com/countersign/countersign/bench/load"
)

// A scenario is one question, asked with many values.
type scenario struct {
	name, what string
	// countersign and handwritten are its documents in either schema; the limit
	// goes by the name.
	countersign, handwritten string
	variables                func(r *rand.Rand) map[string]any
}

var scenarios = []scenario{
	{
		name: "point", what: "one record by key, 6 columns",
		countersign: `query Point($id: Int!) { customer(customerId: $id) { customerId firstName lastName email city country } }`,
		handwritten: `query Point($id: Int!) { customer(id: $id) { customerId firstName lastName email city country } }`,
		variables:   func(r *rand.Rand) map[string]any { return map[string]any{"id": 1 + r.IntN(lab.Customers)} },
	},
	{
		name: "list", what: "the last 50 of a filter over the events, 6 columns",
		countersign: `query List($customerId: Int!) { events(filter: {customerId: {eq: $customerId}}, orderBy: [{eventId: DESC}], first: 50) {
			nodes { eventId customerId kind status amountCents createdTs } } }`,
		handwritten: `query List($customerId: Int!) { events(customerId: $customerId, first: 50) { eventId customerId kind status amountCents createdTs } }`,
		variables:   func(r *rand.Rand) map[string]any { return map[string]any{"customerId": 1 + r.IntN(lab.Customers)} },
	},
	{
		name: "nested", what: "10 artists, their 100 albums, their 1,150 tracks: about 95 KB",
		countersign: `query Nested($offset: Int!) { artists(first: 10, offset: $offset) { nodes { artistId name country
			albums(first: 100) { nodes { albumId title releaseYear tracks(first: 100) { nodes { trackId name milliseconds } } } } } } }`,
		handwritten: `query Nested($offset: Int!) { artists(first: 10, offset: $offset) { artistId name country albums { albumId title releaseYear
			tracks { trackId name milliseconds } } } }`,
		variables: func(r *rand.Rand) map[string]any { return map[string]any{"offset": 10 * r.IntN(lab.Artists/10)} },
	},
	{
		name: "update", what: "one column of one record by key, 6 columns back",
		countersign: `mutation Update($id: Int!, $city: String!) { updateCustomer(customerId: $id, patch: {city: $city}) {
			customer { customerId firstName lastName email city country } } }`,
		handwritten: `mutation Update($id: Int!, $city: String!) { updateCustomer(id: $id, city: $city) { customerId firstName lastName email city country } }`,
		variables: func(r *rand.Rand) map[string]any {
			return map[string]any{"id": 1 + r.IntN(lab.Customers), "city": "City " + strconv.Itoa(r.IntN(300))}
		},
	},
}

// body is a GraphQL request with the seed's values.
func (s *scenario) body(document string, seed uint64) []byte {
	vars := s.variables(rand.New(rand.NewPCG(seed, 0)))
	b, err := json.Marshal(struct {
		Query     string         `json:"query"`
		Variables map[string]any `json:"variables"`
	}{document, vars})
	if err != nil {
		return nil // strings and integers have JSON
	}
	return b
}

// bodies is how many different requests a run sends in turn.
const bodies = 400

func (s *scenario) requests(c *contender) []load.Request {
	out := make([]load.Request, bodies)
	for i := range out {
		out[i] = c.request(s, uint64(i))
	}
	return out
}

// unwrapped takes the wrappers of connections and payloads off an answer, so
// that the contenders' schemas need not be the same.
func unwrapped(v any) any {
	switch x := v.(type) {
	case map[string]any:
		if len(x) == 1 {
			for _, wrapper := range []string{"nodes", "customer"} {
				if inner, ok := x[wrapper]; ok {
					return unwrapped(inner)
				}
			}
		}
		for k := range x {
			x[k] = unwrapped(x[k])
		}
	case []any:
		for i := range x {
			x[i] = unwrapped(x[i])
		}
	}
	return v
}

// readAnswer is the data of an answer without wrappers; errors in it are an
// error.
func readAnswer(body []byte) (any, error) {
	var v struct {
		Data   any `json:"data"`
		Errors any `json:"errors"`
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("%w: %.300s", err, body)
	}
	if v.Errors != nil || v.Data == nil {
		return nil, fmt.Errorf("%.500s", body)
	}
	return unwrapped(v.Data), nil
}
