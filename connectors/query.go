package connectors

import "time"

// A Query asks for records (or aggregates) of one collection, or calls a
// function that only reads.
type Query struct {
	// Select is the immutable shape, made once per plan. A connector may cache
	// what it compiles from it by its Key.
	Select *Select
	// Args are the values of this request; operands refer to them by position.
	Args []Value
	// Bind are the typed parent keys of one join level: each entry holds one
	// value per Select.Bind field. Entries are distinct. Each row carries the
	// ordinal of its entry. Unset when Select.Bind is empty.
	Bind [][]Value
	// Snapshot, when not nil, asks that all queries carrying the same token see
	// one state of the system (Capabilities.Snapshot). The executor calls
	// Snapshot.End when the last of them is done.
	Snapshot *Snapshot
}

// A Select is the shape of a query: everything but values. It is immutable
// after it was made and shared between requests and goroutines.
type Select struct {
	// Key identifies the shape: equal keys have equal shapes. Made by Seal.
	Key string
	// Collection, or Function with Call arguments.
	Collection string
	Function   string
	Call       []ArgOperand // arguments of Function
	Columns    []Column     // the cells of a row, in order
	Where      *Condition   // nil: every record
	Order      []OrderTerm  // complete: the planner has appended the key where there is one
	Page       *Page        // nil: all records
	// Bind are the fields compared with the values of Query.Bind. With a Page
	// the page is applied per entry.
	Bind []string
	// Aggregate, when set, replaces Columns: rows are groups.
	Aggregate *Aggregate
	// MaxRows bounds what is returned in all; beyond it Next fails with
	// CodeRowCapExceeded. 0: no bound.
	MaxRows int
	Timeout time.Duration
}

// A Column is one cell of each row.
type Column struct {
	Field string
	// If, when set, is the condition under which the field has a value; null
	// for other records (policy by cell).
	If *Condition
	// Version asks for the record's version (opaque text) instead of a field.
	Version bool
}

// An ArgOperand is a named argument.
type ArgOperand struct {
	Name    string
	Operand Operand
}

// An Operand is a constant or refers to Query.Args.
type Operand struct {
	// Arg is 1 + the index into Query.Args; 0: the constant.
	Arg   int
	Const Value
}

// Arg makes an operand for args[i].
func Arg(i int) Operand { return Operand{Arg: i + 1} }

// Const makes a constant operand.
func Const(v Value) Operand { return Operand{Const: v} }

// Value is the operand's value for these args.
func (o Operand) Value(args []Value) Value {
	if o.Arg > 0 {
		if o.Arg > len(args) {
			return Value{}
		}
		return args[o.Arg-1]
	}
	return o.Const
}

// Page selects a part of an ordered answer. Limit and Offset are integer
// operands.
type Page struct {
	Limit  Operand
	Offset Operand
	// After and Before hold one operand per term of Select.Order: the exact
	// values of the record behind (before) which the page begins (ends).
	After  []Operand
	Before []Operand
	// Reverse takes the last Limit records of the range instead of the first.
	// Rows still come in the order asked for.
	Reverse bool
}

// An OrderTerm orders by a field, or by a field of a to-one related record.
type OrderTerm struct {
	Field string
	// Via is the chain of to-one relations to the record that has Field.
	Via   []Relation
	Desc  bool
	Nulls Nulls
}

// Nulls says where nulls sort.
type Nulls uint8

// Where nulls sort: the system's own place, or asked for.
const (
	NullsDefault Nulls = iota
	NullsFirst
	NullsLast
)

// A Relation joins records of a collection to those of another of the same
// system: Fields of the one equal On of the other.
type Relation struct {
	To     string
	Fields []string
	On     []string
	// Where is the row condition of the caller on the related records: what
	// may not be read is not there.
	Where *Condition
}

// An Op is a comparison or a connective.
type Op string

// Connectives and comparisons. The names are those of the graph's filters.
const (
	OpAnd  Op = "and"
	OpOr   Op = "or" // of nothing: false
	OpNot  Op = "not"
	OpTrue Op = "true" // matches every record; where a row condition must be present and is empty on purpose

	OpEq         Op = "eq"
	OpNe         Op = "ne" // null-safe as SQL: a null field does not match
	OpIn         Op = "in" // operand is a list
	OpNotIn      Op = "notIn"
	OpGt         Op = "gt"
	OpGte        Op = "gte"
	OpLt         Op = "lt"
	OpLte        Op = "lte"
	OpIsNull     Op = "isNull" // operand is a bool
	OpLike       Op = "like"   // % and _, case-sensitive, backslash escapes
	OpILike      Op = "ilike"
	OpStartsWith Op = "startsWith"
	OpEndsWith   Op = "endsWith"
	OpContains   Op = "contains"
	OpHasKey     Op = "hasKey"
	OpSearch     Op = "search"

	OpRelated Op = "related" // Relation and Quantifier
)

// A Quantifier says how many related records must match.
type Quantifier string

// The quantifiers; QuantOne is for to-one relations.
const (
	QuantOne   Quantifier = "one"
	QuantSome  Quantifier = "some"
	QuantEvery Quantifier = "every"
	QuantNone  Quantifier = "none"
)

// A Condition is a tree over the fields of one collection. nil matches every
// record; the zero Condition is malformed, and connectors refuse it.
//
// Truth is SQL's: a comparison with a null field is unknown, not(unknown) is
// unknown, and only true matches.
type Condition struct {
	Op         Op
	Items      []*Condition // and, or; not has exactly one
	Field      string
	Operand    Operand
	Relation   *Relation  // related
	Quantifier Quantifier // related
	Inner      *Condition // related: on the related record; nil: any
}

// And joins conditions; nil items match everything and are dropped.
func And(items ...*Condition) *Condition {
	var kept []*Condition
	for _, c := range items {
		switch {
		case c == nil || c.Op == OpTrue:
		case c.Op == OpAnd:
			kept = append(kept, c.Items...)
		default:
			kept = append(kept, c)
		}
	}
	switch len(kept) {
	case 0:
		return nil
	case 1:
		return kept[0]
	}
	return &Condition{Op: OpAnd, Items: kept}
}

// Or joins conditions; a nil item matches everything, and so then does the
// whole. Or of nothing matches nothing.
func Or(items ...*Condition) *Condition {
	for _, c := range items {
		if c == nil || c.Op == OpTrue {
			return nil
		}
	}
	if len(items) == 1 {
		return items[0]
	}
	return &Condition{Op: OpOr, Items: items}
}

// Nothing matches no record.
func Nothing() *Condition { return &Condition{Op: OpOr} }

// Not negates. Not(nil) matches nothing.
func Not(c *Condition) *Condition {
	if c == nil {
		return Nothing()
	}
	return &Condition{Op: OpNot, Items: []*Condition{c}}
}

// Compare makes a comparison.
func Compare(field string, op Op, o Operand) *Condition {
	return &Condition{Op: op, Field: field, Operand: o}
}

// An Aggregate asks for functions over groups of records. With Bind, an entry
// without records has no row; the executor counts it as 0.
type Aggregate struct {
	// GroupBy are the fields of the group; empty: one row over everything (per
	// Bind entry). Cells of a row: GroupBy fields, then Values.
	GroupBy []string
	Values  []AggregateValue
	Having  []Having
}

// An AggregateFunc is a function over the records of a group.
type AggregateFunc string

// The aggregate functions. Count has no field and counts records.
const (
	AggCount AggregateFunc = "count"
	AggSum   AggregateFunc = "sum"
	AggAvg   AggregateFunc = "avg"
	AggMin   AggregateFunc = "min"
	AggMax   AggregateFunc = "max"
)

// An AggregateValue is a function over a field.
type AggregateValue struct {
	Func  AggregateFunc
	Field string
}

// Having keeps groups whose value compares so.
type Having struct {
	Value   AggregateValue
	Op      Op
	Operand Operand
}
