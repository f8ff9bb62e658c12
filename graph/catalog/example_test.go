package catalog_test

import (
	"fmt"
	"os"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// A schema of one table becomes a graph, and a view a part of it.
func ExampleBuild() {
	control, err := os.ReadFile("../schema/control.graphqls")
	if err != nil {
		fmt.Println(err)
		return
	}
	table := &connectors.Collection{Name: "customers", Get: true, List: true, AnyBind: true, Key: []string{"id"},
		Fields: []*connectors.Field{
			{Name: "id", Type: connectors.TypeRef{Scalar: connectors.ScalarInt}},
			{Name: "full_name", Type: connectors.TypeRef{Scalar: connectors.ScalarString}},
			{Name: "iban", Type: connectors.TypeRef{Scalar: connectors.ScalarString}, Nullable: true},
		}}
	c, problems := catalog.Build(
		[]catalog.Source{{Name: "crm", Schema: &connectors.Schema{Collections: []*connectors.Collection{table}}}},
		[]catalog.SDLFile{{Name: "graph.graphql", Text: `extend type Customer @rename(field: "fullName", to: "name")`}},
		catalog.Options{Control: []*ast.Source{{Name: "control.graphqls", Input: string(control)}}})
	if c == nil {
		fmt.Println(problems)
		return
	}
	schema, err := c.Schema(&policy.View{Objects: map[string]*policy.Access{
		"crm.customers": {Read: &policy.ReadAccess{Fields: map[string]policy.Cell{"id": {}, "full_name": {}}}},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range schema.Types["Customer"].Fields {
		fmt.Println(f.Name, f.Type)
	}
	// Output:
	// nodeId ID!
	// id Int!
	// name String!
}
