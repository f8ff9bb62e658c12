// Package plan turns one validated operation and the caller's view into a
// Plan: which statements go to which source, what is selected, compared,
// ordered and paged, which writes would be done, and how the answer is put
// together. Permission is compiled in here and nowhere later: row conditions,
// conditions of cells, the row conditions inside relation filters, decisions
// about writes.
//
// It is pure: no I/O, no clock, no principal. A plan holds neither values of
// variables nor of claims; both are bound when it is executed, so one plan
// serves everybody of the same authority. It must not know connectors'
// implementations, HTTP, proposals, or how a step is run.
package plan

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// A Plan is immutable and shared between requests and goroutines.
type Plan struct {
	// Kind is "query" or "mutation".
	Kind string
	// Fields are the plan's own root fields in selection order. In a mutation
	// they are payloads, one for each of Writes.
	Fields []*Field
	// Steps are the statements, parents before children. In a mutation they are
	// read after the last change.
	Steps []*Step
	// Roots are the steps without a parent.
	Roots []*Step
	// Args say where the values of the steps' and writes' operands come from.
	Args []Arg
	// Groups holds, per snapshot group, the number of its steps.
	Groups []int
	// Binds is the number of different joins.
	Binds int
	// Writes of a mutation, in order.
	Writes []*Write
	// Options of the mutation as a whole.
	Options WriteOptions
	// Masked fields among those selected, each once.
	Masked []MaskedField

	maxCost int
	maxPage int
}

// A Step is one statement to one source.
type Step struct {
	// ID is the step's index in Plan.Steps.
	ID int
	// Source and Object ("source.collection") the step reads.
	Source string
	Object string
	Select *connectors.Select
	// Args are Plan.Args[ArgFrom:ArgTo]; Select's operands index them.
	ArgFrom, ArgTo int
	// Parent is the step whose rows the bind keys come from; nil for roots and
	// for reads after a write.
	Parent *Step
	// Write is the write whose records the bind keys come from; nil otherwise.
	Write *Write
	// Bind is the index of the join, -1 without. Joins of one parent over the
	// same columns share it.
	Bind int
	// Keys are the columns of the parent's rows that hold the bind values.
	Keys []int
	// KeyScalars are the scalars those cells are written in; keyTypes the types
	// of the fields compared with them.
	KeyScalars []connectors.Scalar
	keyTypes   []*catalog.Type
	Children   []*Step
	// Group is the snapshot group, -1 where the step is alone in its own.
	Group int
	// Page is set where rows are a page.
	Page *Page
	// Permit is what the arguments of a call must match; nil: no condition.
	// Its operands index the step's args, its fields Select.Call.
	Permit *connectors.Condition
	// Path is where in the answer the step's rows are first used.
	Path []string
	// One tells that an entry has at most one row.
	One bool
	// MaxBind is the largest number of entries of one query; 0: no limit.
	MaxBind int
	// Width is the number of cells of a row.
	Width int

	rows rowsEstimate
}

// Cast makes a value of the i-th key one of the field it is compared with. ok is
// false where no record can have it: then there is nothing to ask.
func (s *Step) Cast(i int, v connectors.Value) (out connectors.Value, ok bool) {
	return catalog.Cast(v, s.keyTypes[i])
}

// A Page says how the rows of a step are cut and where they continue.
type Page struct {
	// Size is the operand index (in the step's args) of the page size, -1 for
	// Fixed.
	Size  int
	Fixed int
	// More: one row more than the page is fetched, to know whether there are.
	More bool
	// Reverse: the last records of the range.
	Reverse bool
	// Continued tells that the page does not begin at the edge: after, before
	// or offset are given.
	Continued bool
	// Cursor says how cursors are made; nil where none is selected.
	Cursor *Cursor
}

// A Cursor holds what makes the cursors of a page.
type Cursor struct {
	// Shape is a digest of collection, order and filter without values.
	Shape [16]byte
	// Columns and Scalars of the order terms, in order.
	Columns []int
	Scalars []connectors.Scalar
	// FilterArgs are the step's args (relative) of the client's filter.
	FilterArgs []int
}

// A FieldKind says how a field of the answer is made.
type FieldKind uint8

// The kinds of fields.
const (
	FieldCell       FieldKind = iota // a cell of the row, copied
	FieldConst                       // Text
	FieldNodeID                      // the sealed global id, from Columns
	FieldObject                      // a JSON cell projected by Select
	FieldOne                         // the record of Step under this row, or null
	FieldMany                        // the connection over Step
	FieldNodes                       // in a connection: the records
	FieldEdges                       // in a connection: cursor and record
	FieldCursor                      // in an edge
	FieldNode                        // in an edge: the record
	FieldPageInfo                    // in a connection
	FieldHasNext                     // in pageInfo
	FieldHasPrev                     // in pageInfo
	FieldStart                       // in pageInfo
	FieldEnd                         // in pageInfo
	FieldCount                       // in a connection: the cell of Step, 0 where there is no row
	FieldAggregate                   // in a connection: the row of Step, by Select
	FieldNested                      // an object whose fields are cells of the same row
	FieldGroups                      // a list of the rows of Step, by Select
	FieldCall                        // the answer of a reading function: column 0 of Step's row
	FieldMember                      // in a projected object: Member
	FieldPayload                     // a write's payload
	FieldOutcome                     // in a payload, from here on
	FieldRecord                      // the record after, by Step
	FieldRecords                     // the records after, by Step
	FieldResult                      // a call's own answer
	FieldAffected                    // affectedCount
	FieldDiff                        // diff, by Select
	FieldDiffMember                  // Member of a RecordDiff
	FieldProposal                    // proposal, delegated: AST
	FieldDuplicate                   // duplicate
	FieldErrors                      // errors, by Select
	FieldErrMember                   // Member of a WriteError
	FieldMasked                      // a cell of the row as itself (Column) or, where that is null, the first of Masks
)

// A Field is one response key of the answer.
type Field struct {
	// Key is the response key; Open is `"key":`.
	Key  string
	Open []byte
	Kind FieldKind
	// NonNull: a null takes the object that holds the field with it.
	NonNull bool
	// Column of the row, and Columns of a global id.
	Column  int
	Columns []int
	Scalars []connectors.Scalar
	// Text is the JSON of a constant, or the member's name.
	Text   []byte
	Member string
	Step   *Step
	Select *Selection
	// Leaf describes values that are not copied as they are; nil: copied.
	Leaf *Leaf
	// Source is the name told in errors of this field.
	Source string
	// Masks of FieldMasked, in order. Its Column is -1 where the value is never
	// shown as it is; Scalars has one, the cells' own.
	Masks []MaskedColumn
	// Raw is the selection as asked for, of a field that somebody else answers.
	Raw *RawSelection
}

// A MaskedColumn is a column whose cells are shown under a mask.
type MaskedColumn struct {
	Mask   policy.Mask
	Column int
}

// A MaskedField is a field that the operation selects and the view masks, for
// some of the records at least.
type MaskedField struct {
	Object string // "source.collection"
	Field  string // by the system's own name
	Name   string // by the graph's
}

// A Leaf is the type of a value inside a JSON cell, or of an enum.
type Leaf struct {
	Scalar connectors.Scalar
	// Names maps the system's enum values to the graph's; nil: not an enum.
	Names map[string]string
	// List: the value is an array; ItemNonNull: a null item takes the list.
	List        bool
	ItemNonNull bool
	// Checked leaves are compared with the scalar; cells of collections were
	// checked where they entered.
	Checked bool
}

// A Selection is the fields of one object, in order.
type Selection struct {
	// Type is the type's name in the graph.
	Type   string
	Fields []*Field
}

// Limits bound what an operation may ask for. Zero means the default.
type Limits struct {
	Page     int // records of a page where none is asked for; 30
	MaxPage  int // records of a page; 100
	MaxRows  int // records one write may touch; 100
	Offset   int // largest offset; 10,000
	Cost     int // of an operation; 1,000
	StepRows int // records of one statement; 10,000
	Depth    int // of nested records, objects and connections; 12
}

// WithDefaults fills what is not set.
func (l Limits) WithDefaults() Limits {
	set := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&l.Page, 30)
	set(&l.MaxPage, 100)
	set(&l.MaxRows, 100)
	set(&l.Offset, 10_000)
	set(&l.Cost, 1_000)
	set(&l.StepRows, 10_000)
	set(&l.Depth, 12)
	if l.Page > l.MaxPage {
		l.Page = l.MaxPage
	}
	return l
}

// A Sealer encrypts cursors and global ids so that they tell nothing and bind
// to the tenant. Equal plain text gives equal sealed text, so that global ids
// are stable.
type Sealer interface {
	Seal(plain []byte) string
	// Open fails for everything Seal did not make for this tenant.
	Open(sealed string) ([]byte, error)
	// Digest is text that stands for a value under the mask HASH: the same for
	// the same value, and nobody without the key can make it. "" where there is
	// no key.
	Digest(value []byte) string
}
