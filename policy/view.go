package policy

import "github.com/countersign/countersign/connectors"

// An Act is what can be done to an object.
type Act string

// The acts of policy lines.
const (
	Read       Act = "read"
	Create     Act = "create"
	Update     Act = "update"
	Delete     Act = "delete"
	Call       Act = "call"
	Approve    Act = "approve"
	BreakGlass Act = "breakGlass"
)

// An Effect is what a line says of an act. The zero Effect is Denied.
type Effect uint8

// The effects, from the strictest.
const (
	Denied Effect = iota
	Propose
	Allow
)

// String is the effect's word in policy.csv.
func (e Effect) String() string {
	switch e {
	case Propose:
		return "propose"
	case Allow:
		return "allow"
	}
	return "deny"
}

// A View is everything one principal (with the chain behind it) may do. It is
// immutable and holds no claim value: conditions refer to Params, whose values
// are bound at execution.
type View struct {
	// Shape is a hash over what the schema shows: visible names, argument
	// types, nullability, principal kind. Authority is a hash over everything
	// that decides what a plan does: Shape, effects, conditions, checks,
	// maxima, policy and catalog version. Neither holds a claim value.
	Shape     string
	Authority string
	// PolicyVersion is the version of the policy the view was built from.
	PolicyVersion string
	Kind          PrincipalKind
	// CanDecide: control-plane fields that decide exist (humans only).
	CanDecide bool
	// Roles, expanded by inheritance, sorted; of the first of the chain.
	Roles []string
	// Params is the table that operands (Arg) in all conditions of the view
	// index.
	Params []Param
	// Objects by name; what is missing does not exist for the caller.
	Objects map[string]*Access

	names *names
}

// Object is the access to an object; nil where there is none.
func (v *View) Object(name string) *Access {
	if v == nil {
		return nil
	}
	return v.Objects[name]
}

// Access is what may be done to one object.
type Access struct {
	Object string
	Read   *ReadAccess // nil: no reading
	// Create, Update, Delete, Call and Approve; nil: not permitted.
	Create, Update, Delete, Call, Approve *WriteAccess

	lines            []viewLine // for Explain
	shape, authority string     // digests of what View.Shape and View.Authority say of it
}

// ReadAccess says which cells of a collection can be read.
type ReadAccess struct {
	// Row is what a record must match to be visible; nil: every record.
	Row *connectors.Condition
	// Fields by system name; what is missing is not in the schema.
	Fields map[string]Cell
	// Lines that gave it, for explain.
	Lines []LineRef
}

// A Cell is the readability of one field.
type Cell struct {
	// If is the condition under which a visible record shows the field's own
	// value; nil: always. With a condition the field is nullable and has no
	// filter, order, group or aggregate inputs.
	If *connectors.Condition
	// Masks stand for the value of visible records that do not match If: the
	// first of those that match does. Where none matches the field is null.
	Masks []Masked
}

// WriteAccess is what the lines for one act come to.
type WriteAccess struct {
	// Fields that may be written (create, update) or given (call), by system
	// name. Presets are not among them.
	Fields map[string]bool
	// Decide compiles what holds for a write that gives these fields (system
	// names, sorted). The result is shared; it must not be changed.
	Decide func(fields []string) *Decision
	// Presets are set whatever the caller gives.
	Presets []Preset
	// Max records in one operation whatever the fields, the strictest of them;
	// 0: no maximum of its own. Decision.Max is the exact one.
	Max   int
	Lines []LineRef
}

// A Decision is the compiled answer to "may this write be done, and at once?".
// Conditions are about the record before (update, delete, approve), the
// arguments (call), or are nil for create.
type Decision struct {
	// Effect is Denied where no record can pass; Allow where every permitted
	// record may be written at once; else Propose, and Direct tells which may.
	Effect Effect
	// Permit is what the record or arguments must match for the write to be
	// permitted at all; nil: no condition. Unknown (null) is not permitted.
	Permit *connectors.Condition
	// Direct, with Effect Propose, is what must match for it to be done at
	// once; nil: never at once. Unknown is not direct.
	Direct *connectors.Condition
	// Check is what the record must match afterwards (create, update).
	Check *connectors.Condition
	// DirectIf, with Effect Propose, names further records that may be written
	// at once, provided they also match a check of its own afterwards. Whoever
	// does not look at it proposes more, never less.
	DirectIf *Guarded
	// Max records in one operation with these fields; 0: no maximum of its own.
	Max   int
	Lines []LineRef
}

// Guarded is a direct write with a stricter check than the proposed one has.
type Guarded struct {
	// Where is what the record before must match; nil: every permitted record,
	// and always nil for create.
	Where *connectors.Condition
	// Check is what the record must match afterwards, beside Decision.Check.
	Check *connectors.Condition
}

// A LineRef names a line of the policy that decided something.
type LineRef struct {
	File   string
	Line   int
	Text   string
	Role   string
	Effect Effect
	Object string
}

// A Problem is something wrong with a file a user wrote.
type Problem struct {
	File    string
	Line    int // 1-based; 0: the whole file
	Column  int
	Code    string // stable, for tests and docs: unknown_name, not_supported, ...
	Message string
	// Hint is what to write instead; may be empty.
	Hint string
	// Warning: it does not stop check or serve.
	Warning bool
}
