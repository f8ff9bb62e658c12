package policy

import "github.com/countersign/countersign/connectors"

// Objects are what policy lines are about. The catalog declares them from the
// pinned schemas; policy never sees a schema itself.

// An Object is a collection or function as policy lines name it.
type Object struct {
	// Name is "source.collection" or "source.function", in the system's names.
	Name   string
	Source string
	// Function: acts are call (and approve) only.
	Function bool
	// Reads: a function without side effects.
	Reads bool
	// Fields of a collection, or arguments of a function.
	Fields []ObjectField
	// Acts the source itself can do: read, create, update, delete, call.
	Acts []Act
}

// An ObjectField is a field as lines name it (the graph's name) and as
// conditions and plans name it (the system's).
type ObjectField struct {
	Graph  string
	System string
	// Type types the literals of approval rules; the zero type takes any.
	Type connectors.TypeRef
	// Secret fields (by name or @secret) are covered by no pattern, only by name.
	Secret bool
	// Key: the field is part of what identifies a record.
	Key bool
	// Values are the names of an enum's values in the graph, by the system's
	// own; nil: the same, or no enum.
	Values map[string]string
	// Nested describes the members of an object; nil for others.
	Nested *Nested
}

// Nested is the type of an object inside a record or argument. It may hold
// itself.
type Nested struct {
	Name   string // in the graph
	Fields []ObjectField
}

// Subject says which record a condition is about.
type Subject uint8

// What a condition looks at.
const (
	SubjectRecord    Subject = iota // a record of the collection
	SubjectArguments                // the arguments of a call
)

// A Bound condition was parsed and type-checked. Operands that refer to
// arguments index Params.
type Bound struct {
	Condition *connectors.Condition
	Params    []Param
}

// A BoundSet is a preset: fields with the operands they are given.
type BoundSet struct {
	Assign []Preset
	Params []Param
}

// A Preset gives a field (system name) a value that the caller cannot give.
type Preset struct {
	Field   string
	Operand connectors.Operand
}

// ParamKind says where a parameter's value comes from when a plan is executed.
type ParamKind string

// Where parameters come from.
const (
	ParamClaim     ParamKind = "claim"     // $claims.NAME, of the person behind the chain, else of the principal
	ParamPrincipal ParamKind = "principal" // $principal.id|name|kind|tenant (roles is a list)
	ParamAgent     ParamKind = "agent"     // $agent.name|owner
	ParamNow       ParamKind = "now"       // $now, an instant
)

// A Param is a value bound at execution, never stored in a plan. One that is
// missing or of the wrong type denies: the executor refuses the step's records.
type Param struct {
	Kind ParamKind
	Name string
	Type connectors.TypeRef
	// List: the operand takes a list (in, notIn).
	List bool
}

// A Binder turns condition text into typed conditions. The catalog implements
// it.
type Binder interface {
	// Objects lists everything that is pinned, sorted by name.
	Objects() []Object
	// Condition binds a GraphQL filter literal. named are the named conditions
	// (@name): text by name. Errors hold the offset in text and the nearest
	// known name, as *BindError.
	Condition(object string, subject Subject, text string, named map[string]NamedCondition) (*Bound, error)
	// Set binds the literal of `set`: {field: value field: $principal.id}.
	Set(object string, text string) (*BoundSet, error)
}

// A NamedCondition is an entry of conditions.yaml.
type NamedCondition struct {
	On    string
	Where string
}

// A BindError says what is wrong with a condition's text.
type BindError struct {
	Offset  int // bytes into the text
	Message string
	Nearest string // the nearest known name; may be empty
}

// Error is the message with the hint.
func (e *BindError) Error() string {
	if e.Nearest != "" {
		return e.Message + ` (did you mean "` + e.Nearest + `"?)`
	}
	return e.Message
}
