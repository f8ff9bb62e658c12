// Package graph is the control plane of the graph: thin resolvers over
// proposals, identity and audit, for the schema in graph/schema. gqlgen
// generates what calls them.
//
// It must not know how a request came in, how sources are planned or asked, or
// how anything is stored: it is handed the caller and asks the services.
package graph

import (
	"context"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/graph/model"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/audit"
)

// AdminRole is the role that sees the whole audit log and every source's state,
// and may suspend any agent.
const AdminRole = "owner"

// A Caller is who asks, and what holds for this operation.
type Caller struct {
	Principal *policy.Principal
	View      *policy.View
	Catalog   *catalog.Catalog
	Limits    model.ViewerLimits
	TraceID   string
	// Usage reads how the budgets stand; nil: there are none.
	Usage func(context.Context) ([]*model.ViewerUsage, error)
}

// Admin tells whether the caller is a person with AdminRole.
func (c *Caller) Admin() bool {
	if c == nil || c.Principal.Kind != policy.Human {
		return false
	}
	for _, r := range c.View.Roles {
		if r == AdminRole {
			return true
		}
	}
	return false
}

type callerKey struct{}

// WithCaller puts the caller of an operation into its context.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf finds the caller; an operation without one was not let in by the
// door, and may nothing.
func callerOf(ctx context.Context) (*Caller, error) {
	c, _ := ctx.Value(callerKey{}).(*Caller)
	if c == nil {
		return nil, connectors.Errorf(connectors.CodeUnauthenticated, "nobody is asking")
	}
	return c, nil
}

// TraceID is the trace of the operation; "" outside of one.
func TraceID(ctx context.Context) string {
	c, _ := ctx.Value(callerKey{}).(*Caller)
	if c == nil {
		return ""
	}
	return c.TraceID
}

// A SourceState is what is known of one source.
type SourceState struct {
	Name      string
	Connector string
	Status    model.CountersignSourceStatus
	// Message says why it is not up; it holds no secret.
	Message string
}

// An AuditLog reads events, newest first: of one subject, or of all where it is
// empty, before a place (0: from the newest).
type AuditLog interface {
	Events(ctx context.Context, tenant, subject string, before int64, limit int) ([]audit.Record, error)
}
