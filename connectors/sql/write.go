package sql

import (
	"context"

	"github.com/countersign/countersign/connectors"
)

// Preview is not supported yet.
func (e *Engine) Preview(context.Context, *connectors.Permit, *connectors.Change) (*connectors.Effect, error) {
	return nil, connectors.Errorf(connectors.CodeUnsupported, "writes to SQL systems are not supported yet")
}

// Apply is not supported yet.
func (e *Engine) Apply(context.Context, *connectors.Permit, *connectors.Change) (*connectors.Effect, error) {
	return nil, connectors.Errorf(connectors.CodeUnsupported, "writes to SQL systems are not supported yet")
}
