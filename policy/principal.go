// Package policy says who may do what. From policy files and the pinned
// catalog it builds views: everything one principal may do, as plain data that
// the planner compiles into plans. Casbin loads the rules, holds roles and
// their inheritance, explains, and is the oracle of the tests; it is asked on
// no request.
//
// It must not know GraphQL schemas, plans, connectors' I/O, proposals or HTTP.
// The zero value of everything here denies.
package policy

import (
	"context"
	"time"

	"github.com/countersign/countersign/connectors"
)

// PrincipalKind says what kind of actor a principal is.
type PrincipalKind string

// The kinds of principal. The zero kind may nothing.
const (
	Human     PrincipalKind = "human"
	Agent     PrincipalKind = "agent"
	Service   PrincipalKind = "service"
	Anonymous PrincipalKind = "anonymous"
)

// DefaultTenant is the tenant of everything that names none.
const DefaultTenant = "default"

// A Principal is who asks, as verified from a credential of this very request,
// or as the Directory knows them outside of one. It is immutable.
type Principal struct {
	// ID is stable: "user:maria@acme.example", "agent:triage", "service:x", "anonymous".
	ID     string
	Kind   PrincipalKind
	Name   string
	Tenant string
	// Roles as granted (by token, directory, policy.csv g lines); inheritance is
	// the engine's.
	Roles []string
	// Claims by their configured names. Values are typed.
	Claims map[string]connectors.Value
	// Interactive: the credential was made by a person's sign-in. Only such a
	// credential decides.
	Interactive bool
	// SignedInAt is when the person last signed in (interactive credentials).
	SignedInAt time.Time
	// CredentialID names the credential, never its secret.
	CredentialID string
	// Owner is the person who answers for an agent or service: a user ID.
	Owner string
	// For is the person an agent acts for; nil where it acts for itself.
	For *Principal
}

// AnonymousPrincipal is who asks without a credential.
func AnonymousPrincipal() *Principal {
	return &Principal{ID: "anonymous", Kind: Anonymous, Name: "anonymous", Tenant: DefaultTenant}
}

// Chain lists the principal and, behind it, whom it acts for.
func (p *Principal) Chain() []*Principal {
	var out []*Principal
	for q := p; q != nil; q = q.For {
		out = append(out, q)
	}
	return out
}

// A Directory knows every person, agent, service and the links between them,
// also outside of a request.
type Directory interface {
	// Current answers the principal as known now (without credential: not
	// interactive), and when its claims were last verified. Somebody unknown,
	// suspended or revoked is CodeForbidden; whoever's claims are older than
	// the configured maximum comes without roles.
	Current(ctx context.Context, tenant, id string) (*Principal, time.Time, error)
	// Persons says of each id which person it is of: the same for accounts that
	// are linked, an id itself for one that is not.
	Persons(ctx context.Context, tenant string, ids []string) (map[string]string, error)
	// Holders lists the ids of the active humans of the tenant who hold the role, directly
	// or by inheritance through policy's roles expanded by the caller.
	Holders(ctx context.Context, tenant string, roles []string) ([]string, error)
}
