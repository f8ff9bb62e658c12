package graph

import (
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/proposals"
)

// A Resolver is the root of the resolvers. Its fields are set before the first
// operation and not changed.
type Resolver struct {
	Proposals *proposals.Service
	Identity  *identity.Service
	Audit     AuditLog
	// Sources lists the state of every configured source.
	Sources func() []SourceState
}
