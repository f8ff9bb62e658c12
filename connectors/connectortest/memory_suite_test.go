package connectortest_test

import (
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
)

func TestMemoryConforms(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{Open: func(testing.TB) connectors.Connector {
		schema := connectortest.FullSchema(connectortest.SuiteCollections()...)
		n := []*connectors.Field{{Name: "n", Type: connectors.TypeRef{Scalar: connectors.ScalarInt}}}
		schema.Functions = []*connectors.Function{{Name: "count", Args: n, Reads: true}, {Name: "recount", Args: n, Act: &connectors.Act{Class: connectors.Unverifiable}}}
		m := connectortest.NewMemory(schema, connectortest.SuiteData())
		m.BlockRows = 7
		return m
	}})
}

// TestMemoryConformsWithFewClaims runs the suite over a schema that claims
// little: everything else must be refused.
func TestMemoryConformsWithFewClaims(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{NullsLow: true, Open: func(testing.TB) connectors.Connector {
		schema := connectortest.FullSchema(connectortest.SuiteCollections()...)
		schema.Capabilities = connectors.Capabilities{MaxBind: 100}
		for _, c := range schema.Collections {
			c.Acts, c.Aggregate, c.HasVersion = nil, false, false
			c.Paging = connectors.Paging{Offset: c.Name != connectortest.Tracks}
			for i, f := range c.Fields {
				f.Aggregates, f.Group = nil, false
				if i > 0 {
					f.Filter, f.Order = nil, false
				}
			}
		}
		m := connectortest.NewMemory(schema, connectortest.SuiteData())
		m.NullsLow = true
		return m
	}})
}
