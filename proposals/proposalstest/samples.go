package proposalstest

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/proposals"
)

// SampleProposal is a head row with every column set. n makes its keys
// distinct; greater n have greater IDs. at is the store's clock.
func SampleProposal(tenant string, n int, at time.Time) *proposals.Proposal {
	return &proposals.Proposal{
		Tenant: tenant, ID: fmt.Sprintf("01900000-0000-7000-8000-%012d", n), Handle: fmt.Sprintf("handle%020d", n),
		State: proposals.Pending, Version: 1, Revision: 1,
		Author: proposals.Author{Principal: "agent:triage", Kind: policy.Agent, Name: "Triage", Credential: "key:1",
			For: "user:maria", ForName: "Maria Ö", Owner: "user:olga", Lender: "user:lena"},
		DedupeKey: fmt.Sprintf("dedupe-%d", n),
		CreatedAt: at, UpdatedAt: at, ExpiresAt: at.Add(72 * time.Hour), NotBefore: at.Add(-time.Hour),
		ExecDeadline: at.Add(96 * time.Hour), WakeAt: at.Add(72 * time.Hour), Rule: "refund-small",
		Requirement: proposals.Requirement{Seats: []proposals.Seat{{Role: "lead", Count: 1}, {Confirm: true, Role: "owner", Count: 1}}, Veto: 1},
		Epoch:       3, ReasonCode: "policy", Say: "because", PolicyVersion: "p1", Compensates: "other",
	}
}

// SampleRevision is a revision of p with every column set.
func SampleRevision(p *proposals.Proposal, number int) *proposals.Revision {
	return &proposals.Revision{
		Tenant: p.Tenant, Proposal: p.ID, Number: number, Author: "user:maria", At: p.CreatedAt,
		Operation: "Refund", Document: "mutation Refund { x }", Variables: json.RawMessage(`{"n":9007199254740993}`),
		Reason: "wrong amount",
		Set: proposals.ChangeSet{
			Changes: []connectors.Change{{Version: connectors.ChangeVersion, Source: "crm", Tenant: p.Tenant, Steps: []connectors.Step{{
				ID: "a", Kind: connectors.Update, Collection: "customers",
				Key:    []connectors.Assign{{Field: "id", Value: connectors.Int(9007199254740993)}},
				Set:    []connectors.Assign{{Field: "name", Value: connectors.String("Zoë \u2028")}, {Field: "note", Value: connectors.Null}},
				Expect: []connectors.Expectation{{Key: []connectors.Assign{{Field: "id", Value: connectors.Int(1)}}}},
				Class:  connectors.Transactional,
			}}}},
			Targets: []proposals.Target{{Source: "crm", Identity: "pg:1", SchemaHash: "ab", Atomic: true, Sensitive: []string{"customers.iban"}}},
		},
		Review: json.RawMessage(`{"complete":true}`), Encoding: 1, KeyID: "k1", ContentHash: "c0", ReviewHash: "d0", Evidence: []string{"e0"},
	}
}

// SampleDecision is a decision on p with every column set.
func SampleDecision(p *proposals.Proposal, number int, person string) *proposals.Decision {
	return &proposals.Decision{
		Tenant: p.Tenant, Proposal: p.ID, Number: number, Person: person, Name: "Maria", Credential: "session:1",
		Kind: proposals.DecideApprove, Revision: 1, ContentHash: "c0", ReviewHash: "d0", Roles: []string{"lead"},
		Interactive: true, PolicyVersion: "p1", SignedInAt: p.CreatedAt, Comment: "fine", At: p.CreatedAt,
	}
}

// SampleAttempt is an attempt of p with every column set.
func SampleAttempt(p *proposals.Proposal, change, number int) *proposals.Attempt {
	return &proposals.Attempt{
		Tenant: p.Tenant, Proposal: p.ID, Change: change, Number: number, Epoch: 3, State: proposals.Dispatching, Void: true,
		IdempotencyKey: "key", RequestDigest: "ff", Executor: "node-1", LeaseUntil: p.CreatedAt.Add(10 * time.Second),
		PreparedAt: p.CreatedAt, DispatchedAt: p.CreatedAt, KeyUntil: p.CreatedAt.Add(24 * time.Hour),
		SettledAt: p.CreatedAt, SettledAs: proposals.Applied, Response: json.RawMessage(`{"steps":[]}`),
		ResponseDigest: "aa", ErrorCode: "TIMEOUT", Evidence: "committed",
	}
}

// SampleEvent is an audit event about p, without an ID: the store makes one.
func SampleEvent(p *proposals.Proposal, kind string) audit.Event {
	return audit.Event{Tenant: p.Tenant, Kind: kind, Subject: p.Handle, From: "", To: string(p.State),
		Actors:        []audit.Actor{{ID: "agent:triage", Kind: "agent", Credential: "key:1"}, {ID: "user:maria", Kind: "human"}},
		PolicyVersion: "p1", TraceID: "t1", Payload: json.RawMessage(`{"a":"b"}`)}
}
