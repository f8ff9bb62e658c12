package proof

import (
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// whole is the schema of somebody who may everything.
func whole(c *catalog.Catalog) (*ast.Schema, error) {
	v := &policy.View{Shape: "whole", Authority: "whole", Kind: policy.Human, CanDecide: true, Objects: map[string]*policy.Access{}}
	for _, o := range catalog.NewBinder(c).Objects() {
		read := &policy.ReadAccess{Fields: map[string]policy.Cell{}}
		write := &policy.WriteAccess{Fields: map[string]bool{}, Decide: func([]string) *policy.Decision { return &policy.Decision{Effect: policy.Allow} }}
		for _, f := range o.Fields {
			read.Fields[f.System], write.Fields[f.System] = policy.Cell{}, true
		}
		a := &policy.Access{Object: o.Name, Approve: write}
		if o.Function {
			a.Call = write
		} else {
			a.Read, a.Create, a.Update, a.Delete = read, write, write, write
		}
		v.Objects[o.Name] = a
	}
	return c.Schema(v)
}
