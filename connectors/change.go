package connectors

import "time"

// A Change is what one operation does to one system: steps in order.
// It is plain data, stored with a proposal and never derived again.
type Change struct {
	// Version of this encoding; ChangeVersion.
	Version int    `json:"version"`
	Source  string `json:"source"`
	Tenant  string `json:"tenant"`
	Steps   []Step `json:"steps"`
	// Marker, for class transactional: written in the same transaction.
	Marker *Marker `json:"marker,omitempty"`
	// Deadline bounds the call; it is no part of the canonical form.
	Deadline time.Duration `json:"-"`
	// Reads, where not nil, says that the caller wants the keys of the records
	// only, and the answers of these queries as they would be right after the
	// last step. A connector that can give them without another round trip puts
	// them in Effect.Reads; others leave it empty, and the caller asks itself.
	// They change nothing and are no part of the canonical form.
	Reads []*Query `json:"-"`
}

// ChangeVersion is the version of the encoding of a Change.
const ChangeVersion = 1

// A Marker is the row that proves a class transactional effect.
type Marker struct {
	Proposal    string `json:"proposal"`
	Change      int    `json:"change"`
	ContentHash string `json:"contentHash"`
	// Void writes the marker with the result "void" and no effect: committed,
	// it proves that the change did not and will not run.
	Void bool `json:"void,omitempty"`
}

// StepKind is the act of a step.
type StepKind string

// The acts that write.
const (
	Create StepKind = "create"
	Update StepKind = "update"
	Delete StepKind = "delete"
	Call   StepKind = "call"
)

// A Step is one write. All operands are constants: claims and variables were
// bound before.
type Step struct {
	// ID tells the steps of an operation apart: the response key of its field.
	ID         string   `json:"id"`
	Kind       StepKind `json:"kind"`
	Collection string   `json:"collection,omitempty"`
	Function   string   `json:"function,omitempty"`
	// Key addresses one record of update and delete; else Where does.
	Key []Assign `json:"key,omitempty"`
	// Where is what the record as it is must match: the client's filter and
	// the caller's row condition.
	Where *Condition `json:"where,omitempty"`
	// Check is what the record must match afterwards (create, update).
	Check *Condition `json:"check,omitempty"`
	// Set are the fields written.
	Set []Assign `json:"set,omitempty"`
	// Args of a call: an object.
	Args Value `json:"args,omitzero"`
	// MaxRows bounds the records an update or delete by filter may touch;
	// more fails with CodeRowCapExceeded and nothing is done.
	MaxRows int `json:"maxRows,omitempty"`
	// IfVersion, where not nil, must be the record's version.
	IfVersion *string `json:"ifVersion,omitempty"`
	// Expect holds what must still be true of the records, per record. Where
	// it is set, exactly these records are touched.
	Expect []Expectation `json:"expect"` // an empty list, which touches nothing, is not none
	// Return are the fields of the records wanted back, beside the key.
	Return []string     `json:"return,omitempty"`
	Class  OutcomeClass `json:"class,omitempty"`
	// IdempotencyKey is sent with class idempotent; derived from the proposal
	// and the step, no part of the canonical form.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	// Preview says how Preview learns what would happen.
	Preview PreviewStrategy `json:"preview,omitempty"`
	// Blind: who asks for the preview may not know of other records that the step
	// would collide with, refer to or take a parent from. Such are not looked for,
	// and the strategy is read where it would be rollback. Apply does not mind it.
	Blind bool `json:"blind,omitempty"`
}

// An Assign gives a field a value. With Increment the value is added.
type Assign struct {
	Field     string `json:"field"`
	Value     Value  `json:"value"`
	Increment bool   `json:"increment,omitempty"`
}

// An Expectation says which values a record must still have. A moved value
// fails with CodeProposalStale and nothing is done.
type Expectation struct {
	Key    []Assign `json:"key"`
	Fields []Assign `json:"fields"` // exact values, compared after encoding as cells
}

// An Effect is what a change did or would do.
type Effect struct {
	// Steps, one for each step of the change that was done.
	Steps []StepEffect `json:"steps"`
	// Evidence says how the connector knows: "committed", "marker", a response
	// digest. For people and the audit.
	Evidence string `json:"evidence,omitempty"`
	// Repeated: the marker or the idempotency key had been used by this very
	// change before; nothing was done again.
	Repeated bool `json:"repeated,omitempty"`
	// Reads are the answers to Change.Reads, one block for each; nil where the
	// connector did not read.
	Reads []*Block `json:"-"`
}

// A StepEffect is what one step did or would do.
type StepEffect struct {
	Affected int      `json:"affected"`
	Before   []Record `json:"before,omitempty"` // previews of update and delete; same order as After
	After    []Record `json:"after,omitempty"`
	// Result of a call, one JSON value.
	Result []byte `json:"result,omitempty"`
	// Request is what a call would send, as data for people, secrets aside.
	Request *Request `json:"request,omitempty"`
	// Unpredictable fields are decided by the system when it runs.
	Unpredictable []string `json:"unpredictable,omitempty"`
	// Incomplete says why the effect is not all there is; "" when it is.
	Incomplete string `json:"incomplete,omitempty"`
}

// A Record is the fields of one record.
type Record struct {
	Key     []Assign `json:"key,omitempty"`
	Fields  []Assign `json:"fields"` // in the collection's order
	Version string   `json:"version,omitempty"`
}

// Get is the value of a field; absent where the record does not hold it.
func (r *Record) Get(field string) Value {
	for i := range r.Fields {
		if r.Fields[i].Field == field {
			return r.Fields[i].Value
		}
	}
	for i := range r.Key {
		if r.Key[i].Field == field {
			return r.Key[i].Value
		}
	}
	return Value{}
}

// A Request is what would be sent to a remote system.
type Request struct {
	Method string   `json:"method"`
	URL    string   `json:"url"`
	Header []Member `json:"header,omitempty"`
	Body   string   `json:"body,omitempty"`
}
