package catalog

import (
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

var errStub = connectors.Errorf(connectors.CodeInternal, "not built yet")

// FilterCondition reads a filter over the collection. nil, nil matches every
// record. Errors are *connectors.Error with CodeBadInput; Path leads to the
// input at fault.
func FilterCondition(c *Collection, in Input, o InputOptions) (*connectors.Condition, error) {
	return nil, errStub
}

// OrderTerms reads an orderBy argument. The key as last tie-break is not
// appended.
func OrderTerms(c *Collection, in Input, o InputOptions) ([]connectors.OrderTerm, error) {
	return nil, errStub
}

// KeyOperands reads the key's own arguments of customer, updateCustomer and
// deleteCustomer: one Assigned per key field, in the key's order.
func KeyOperands(c *Collection, args map[string]Input, o InputOptions) ([]Assigned, error) {
	return nil, errStub
}

// UniqueOperands reads the key argument of customerBy.
func UniqueOperands(c *Collection, in Input, o InputOptions) ([]Assigned, error) {
	return nil, errStub
}

// RecordInput reads the input of a create or the patch of an update. Values
// that the field would round, truncate or pad are CodeValidationFailed where
// they are known; CheckFits does it for those that come with an argument.
func RecordInput(c *Collection, act policy.Act, in Input, o InputOptions) ([]Assigned, error) {
	return nil, errStub
}

// CallArguments reads the arguments of a function: those of its root field
// where it reads, the members of input where it writes.
func CallArguments(f *Function, args map[string]Input, o InputOptions) ([]Assigned, error) {
	return nil, errStub
}

// GroupFields reads the by argument of customersGroups.
func GroupFields(c *Collection, in Input, o InputOptions) ([]*Field, error) { return nil, errStub }

// HavingTerms reads the having argument of customersGroups.
func HavingTerms(c *Collection, in Input, o InputOptions) ([]connectors.Having, error) {
	return nil, errStub
}

// CoerceLiteral reads a literal without variables as a value of the type; as a
// list of them where list is set.
func CoerceLiteral(v *ast.Value, t *Type, list bool) (connectors.Value, error) {
	return connectors.Value{}, errStub
}

// CoerceVariable reads a value decoded from JSON (with json.Number).
func CoerceVariable(v any, t *Type, list bool) (connectors.Value, error) {
	return connectors.Value{}, errStub
}

// CoerceValue reads a literal that may hold variables, whose JSON values are
// vars (defaults applied). A variable that has no value is absent where it is
// the whole value, and CodeBadInput within a list.
func CoerceValue(v *ast.Value, t *Type, list bool, vars map[string]any) (connectors.Value, error) {
	return connectors.Value{}, errStub
}

// CheckFits tells whether a value can be written to the field without being
// rounded, truncated or padded; else CodeValidationFailed.
func CheckFits(v connectors.Value, t *Type) error { return errStub }
