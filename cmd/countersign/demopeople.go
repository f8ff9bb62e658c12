package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

// The people of the demo, by role.
var demoPeople = []struct{ role, email, name string }{
	{"support", "support@shop.example", "Sam Support"},
	{"manager", "manager@shop.example", "Mara Manager"},
	{"finance", "finance@shop.example", "Finn Finance"},
	{"owner", "owner@shop.example", "Olga Owner"},
}

// mint makes new credentials for everybody and revokes those of earlier starts.
func (r *demoRun) mint() error {
	ctx, ids := r.env.ctx, r.app.identity
	known, err := ids.Users(ctx, policy.DefaultTenant)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, u := range known {
		have[u.ID] = true
	}
	for _, p := range demoPeople {
		id := identity.UserID(p.email)
		if !have[id] {
			if _, err := ids.AddUser(ctx, nil, identity.NewUser{User: p.email, Name: p.name, Roles: []string{p.role}}); err != nil {
				return err
			}
		}
		for _, kind := range []identity.CredentialKind{identity.KindSession, identity.KindSignIn} {
			if err := ids.RevokeAll(ctx, nil, policy.DefaultTenant, kind, id); err != nil {
				return err
			}
		}
		session, err := ids.IssueSession(ctx, policy.DefaultTenant, id, "demo")
		if err != nil {
			return err
		}
		r.people[p.role] = session.Token
	}
	agent := identity.AgentID("triage")
	if err := ids.RevokeAll(ctx, nil, policy.DefaultTenant, identity.KindKey, agent); err != nil {
		return err
	}
	key, err := ids.CreateKey(ctx, nil, identity.NewKey{Principal: agent, For: identity.UserID("support@shop.example"), Label: "demo"})
	if err != nil {
		return err
	}
	r.agent = key.Token
	return nil
}

// An example is something to try, as demo --json prints it.
type example struct {
	Kind      string         `json:"kind"`
	Title     string         `json:"title"`
	As        string         `json:"as"`
	Operation string         `json:"operation"`
	Variables map[string]any `json:"variables,omitempty"`
	Check     *exampleCheck  `json:"check,omitempty"`
}

// An exampleCheck reads the value that the proposed write changes.
type exampleCheck struct {
	As        string         `json:"as"`
	Operation string         `json:"operation"`
	Variables map[string]any `json:"variables,omitempty"`
	Path      string         `json:"path"`
}

// exampleCustomer is whom the printed mutation is about.
const exampleCustomer = 42

func (r *demoRun) examples(context.Context) ([]example, error) {
	read := "{ customers(first: 3, filter: {id: {lte: 200}}) { nodes { name email orders(first: 2) { nodes { number total } } tickets(first: 2) { nodes { id subject status } } } } }"
	propose := `mutation ($id: SafeInt!, $limit: DecimalChange!) { updateCustomer(id: $id, patch: {creditLimit: $limit}) { outcome proposal { id state changes { diff { label before after fields } guarantee } } errors { code message } } }`
	approve := `mutation ($id: ID!, $revision: Int!, $contentHash: String!, $reviewHash: String!) { approveProposal(id: $id, revision: $revision, contentHash: $contentHash, reviewHash: $reviewHash) { id state } }`
	audit := `{ countersign { audit(first: 10) { nodes { sequence at action actor subject from to } } } }`
	check := &exampleCheck{As: "support", Operation: `query ($id: SafeInt!) { customer(id: $id) { creditLimit } }`, Variables: map[string]any{"id": exampleCustomer}, Path: "customer.creditLimit"}
	return []example{
		{Kind: "read", Title: "Customers with their orders (SQLite) and their tickets (the help desk's API)", As: "support", Operation: read},
		{Kind: "propose", Title: "The agent asks to raise a credit limit; it comes back PROPOSED", As: "agent", Operation: propose,
			Variables: map[string]any{"id": exampleCustomer, "limit": map[string]any{"set": "7500.00"}}, Check: check},
		{Kind: "approve", Title: "The manager approves exactly what was shown", As: "manager", Operation: approve,
			Variables: map[string]any{"id": "", "revision": 1, "contentHash": "", "reviewHash": ""}},
		{Kind: "audit", Title: "Who did what, in order", As: "owner", Operation: audit},
	}, nil
}

// printHints says where to look and what to try; the link comes last but the
// commands, because it works once.
func (r *demoRun) printHints(ctx context.Context, examples []example) error {
	out := r.env.stderr
	link, err := r.app.identity.CreateLink(ctx, nil, identity.KindSignIn, policy.DefaultTenant, identity.UserID("manager@shop.example"), 12*time.Hour)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		program = "countersign"
	}
	curl := func(e *example, token string) string {
		body, err := json.Marshal(map[string]any{"query": e.Operation, "variables": e.Variables})
		if err != nil {
			return ""
		}
		return fmt.Sprintf("curl -s %s/graphql -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '%s'", r.base(), token, strings.ReplaceAll(string(body), "'", `'\''`))
	}
	fmt.Fprintf(out, "\ncountersign demo: %s   (explorer: %s/explorer, data in %s; Ctrl-C ends it, and it goes on from there)\n", r.base(), r.base(), r.dir)
	fmt.Fprintf(out, "\n# 1. %s\n%s\n", examples[0].Title, curl(&examples[0], r.people["support"]))
	fmt.Fprintf(out, "\n# 2. %s\nP=$(%s | tee /dev/stderr | sed 's/.*\"proposal\":{\"id\":\"\\([^\"]*\\)\".*/\\1/')\n", examples[1].Title, curl(&examples[1], r.agent))
	fmt.Fprintf(out, "\n# 3. %s\n%s proposals approve \"$P\" --url %s --token %s\n", examples[2].Title, program, r.base(), r.people["manager"])
	fmt.Fprintf(out, "\n# 4. %s\n%s\n", examples[3].Title, curl(&examples[3], r.people["owner"]))
	fmt.Fprintf(out, "\nThe manager's inbox (this link signs in once):\n%s/sign-in#link=%s\n", r.base(), link.Token)
	return nil
}

// ask runs an operation as somebody, through the same door as everybody.
func (r *demoRun) ask(ctx context.Context, bearer, query string, vars map[string]any) (map[string]json.RawMessage, error) {
	p, err := r.app.identity.Authenticate(ctx, identity.BearerOf("Bearer "+bearer))
	if err != nil {
		return nil, err
	}
	// As decoded from a request: numbers are json.Number.
	raw, err := json.Marshal(vars)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var decoded map[string]any
	if err := dec.Decode(&decoded); err != nil {
		return nil, err
	}
	res := r.app.gateway.Run(ctx, p, &gateway.Request{Query: query, Variables: decoded})
	if len(res.Errors) > 0 {
		return nil, fmt.Errorf("%s (%s)", res.Errors[0].Message, res.Errors[0].Code)
	}
	var data map[string]json.RawMessage
	return data, json.Unmarshal(res.Data, &data)
}
