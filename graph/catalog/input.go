package catalog

import (
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// An Input is an argument's value as it came: a literal of the document, which
// may hold variables, or plain JSON (decoded with json.Number). The zero Input
// was not given.
type Input struct {
	literal *ast.Value
	json    any
	isJSON  bool
}

// Literal is the input written in a document; nil is not given.
func Literal(v *ast.Value) Input { return Input{literal: v} }

// JSON is an input that was decoded from JSON: nil is null, numbers are
// json.Number.
func JSON(v any) Input { return Input{json: v, isJSON: true} }

// Variables gives the values of variables that a literal refers to.
type Variables interface {
	// Operand gives the operand for a value (a leaf, or a list of leaves where
	// list is set) that holds a variable: the planner allots an argument that
	// is computed by CoerceValue when the plan runs. The value itself is a
	// variable, or a list or object that holds one.
	Operand(value *ast.Value, t *Type, list bool) (connectors.Operand, error)
	// Value gives the JSON value of a variable that stands where a structure
	// is expected (a filter, an order), so that the plan depends on it. given
	// is false where the request has no value for it and it has no default.
	Value(name string) (value any, given bool)
}

// InputOptions say how an input is read.
type InputOptions struct {
	// Variables may be nil: then a variable is an error.
	Variables Variables
	// View, where set, is whose input it is: a name that the view does not have
	// as such an input is as unknown as one that does not exist.
	View *policy.View
	// Related gives the caller's row condition on the records of a relation
	// within a filter; it becomes Relation.Where. nil: none.
	Related func(*Relation) *connectors.Condition
	// NotEmpty refuses a filter that matches everything (bulk writes, policy).
	NotEmpty bool
}

// An Assigned is a value given to a field by an input.
type Assigned struct {
	Field   *Field
	Operand connectors.Operand
	// Increment adds the value to what is there.
	Increment bool
}
