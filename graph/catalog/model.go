// Package catalog is the one picture of everything connected: from the pinned
// schemas of the sources and the graph file it builds names, relations and the
// GraphQL schema of each view; it says which collection or function serves
// which field, and turns filter literals into typed conditions.
//
// It must not know plans, connectors at work, proposals, HTTP or the store, and
// it does no I/O: everything it needs is given to it. A Catalog is immutable;
// a change of configuration or of a pinned schema makes a new one.
package catalog

import "github.com/countersign/countersign/connectors"

// A Catalog is the picture of everything connected. It is immutable and may be
// used by any number of goroutines. Fields must not be changed.
type Catalog struct {
	// Version is a hash over everything that decides what the catalog says:
	// pinned schemas, names, graph files and the control plane's schema.
	Version string
	// Sources in the order of the configuration.
	Sources []*Source
	// Collections and Functions, sorted by Object.
	Collections []*Collection
	Functions   []*Function
	// Enums and Objects of all sources, sorted by Type.
	Enums   []*Enum
	Objects []*ObjectType

	byObject  map[string]*Collection
	functions map[string]*Function
	types     map[string]typeInfo
	query     map[string]Element
	mutation  map[string]Element
	base      *base
	// comparisons are the inputs of comparisons, by name.
	comparisons map[string]comparison
}

// A Source is a configured system.
type Source struct {
	Name   string
	Prefix string
	// ReadOnly: no write of it exists in the graph, whatever a policy says.
	ReadOnly bool
	Schema   *connectors.Schema
}

// A Collection is a collection of a source with its names in the graph.
type Collection struct {
	// Object is "source.collection", in the system's own names.
	Object string
	Source *Source
	// Name is the system's own; what connectors are asked for.
	Name string
	Spec *connectors.Collection
	// Type is the GraphQL type of a record; all other types derive from it.
	Type   string
	Single string // root field of one record, and the record's field in payloads
	Plural string // root field of many
	// Fields in the system's order, hidden ones too.
	Fields []*Field
	// Key are the primary key's fields in its order; empty: none.
	Key []*Field
	// Uniques are the other unique keys, those of customerBy(key:).
	Uniques []*Unique
	// Relations, sorted by name.
	Relations []*Relation
	// Labels are the fields that name a record in diffs and lists, in order.
	Labels []Label
	// Hidden by the graph file: no type and no root field of it exists. It still
	// works inside conditions of the policy.
	Hidden bool
	// NodeID: the type has the field nodeId and can be had by node(id:). It
	// does not where the source has a field of that name.
	NodeID bool

	fields    map[string]*Field    // by graph name, hidden ones too
	system    map[string]*Field    // by system name
	relations map[string]*Relation // by graph name
	groupBy   map[string]*Field    // by enum value
	base      CollectionNames      // before any prefix and rename
	hidden    map[string]bool      // hidden root fields by name
}

// Field finds a field by its graph name, hidden ones too; nil where there is
// none.
func (c *Collection) Field(name string) *Field { return c.fields[name] }

// SystemField finds a field by the system's own name; nil where there is none.
func (c *Collection) SystemField(name string) *Field { return c.system[name] }

// Relation finds a relation by its graph name; nil where there is none.
func (c *Collection) Relation(name string) *Relation { return c.relations[name] }

// Act is how the collection does a write; nil where it does not, or its source
// is read only.
func (c *Collection) Act(kind connectors.StepKind) *connectors.Act {
	if c.Source.ReadOnly {
		return nil
	}
	return c.Spec.Acts[kind]
}

// IsKey tells whether the fields (system names) hold all fields of the primary
// key or of another unique key, so that at most one record has their values.
func (c *Collection) IsKey(fields []*Field) bool {
	holds := func(key []*Field) bool {
		if len(key) == 0 {
			return false
		}
		for _, k := range key {
			found := false
			for _, f := range fields {
				found = found || f == k
			}
			if !found {
				return false
			}
		}
		return true
	}
	if holds(c.Key) {
		return true
	}
	for _, u := range c.Uniques {
		if holds(u.Fields) {
			return true
		}
	}
	return false
}

// A Field is a field of a collection, an object, or an argument of a function.
type Field struct {
	// Name is the graph's, System the system's own.
	Name   string
	System string
	Type   *Type
	Spec   *connectors.Field
	// Hidden fields are not in the graph; they still work inside (joins,
	// cursors, conditions of the policy).
	Hidden bool
	// Secret fields are covered by no pattern of the policy, and are never
	// logged, shown in diffs or hashed in clear.
	Secret bool
	// Nullable says whether a view that reads the field unconditionally may
	// find it null: fields of database views always are.
	Nullable bool

	index      int    // among the fields of its collection
	generated  string // the name before any rename
	comparison string // the input of its comparisons; "" where it has none
}

// A Type is the type of a field, resolved.
type Type struct {
	connectors.TypeRef
	// Leaf is the scalar that cells are written in: enums are strings, objects
	// JSON.
	Leaf connectors.Scalar
	// Values is the enum, Members the object type; nil for others.
	Values  *Enum
	Members *ObjectType
	// Output and Input are the named GraphQL types, without list and non-null.
	Output string
	Input  string
}

// An Enum is a closed set of values with their names in the graph.
type Enum struct {
	Type   string
	Source *Source
	Spec   *connectors.Enum
	Values []EnumValue // in the system's order

	byName   map[string]string
	bySystem map[string]string
	base     string // the type's name before any prefix
}

// An EnumValue is one value of an enum: UPPER_CASE in the graph, and as the
// system writes it.
type EnumValue struct {
	Name   string
	System string
}

// System is the system's value for a value of the graph.
func (e *Enum) System(name string) (string, bool) { v, ok := e.byName[name]; return v, ok }

// Name is the graph's value for one of the system. A value that the pinned
// enum does not have is no value of the graph: the executor answers null with
// UPSTREAM_ERROR.
func (e *Enum) Name(system string) (string, bool) { v, ok := e.bySystem[system]; return v, ok }

// An ObjectType is a nested type of a document-shaped source. Cells of it are
// JSON in the system's names.
type ObjectType struct {
	Type   string // as output
	Input  string // as input
	Source *Source
	Spec   *connectors.Object
	Fields []*Field

	fields map[string]*Field
	base   string // the type's name before any prefix and rename
	// shown and given: it has members as output and as input.
	shown, given bool
	// output and input: something that can be read, or given, holds it.
	output, input bool
}

// Field finds a member by its graph name.
func (o *ObjectType) Field(name string) *Field { return o.fields[name] }

// A Unique is a unique key beside the primary key.
type Unique struct {
	// Name is the member of the key input: the field's own name, or the names
	// of several joined by And (countryAndCode).
	Name   string
	Fields []*Field
}

// A Relation leads from the records of one collection to those of another:
// Fields of the one equal On of the other, paired by position. A null in
// Fields is no related record, and no call.
type Relation struct {
	Name string
	From *Collection
	To   *Collection
	// Many: a connection; else one record or null.
	Many   bool
	Fields []*Field
	On     []*Field
	// Cross: To is in another source, so the related records are read by a call
	// of their own and cannot be part of filters or orders.
	Cross bool
	// Inverse is the other direction; nil where there is none.
	Inverse *Relation
	Comment string
	// Hidden by the graph file.
	Hidden bool

	// candidates are names in the order in which they are tried; weak: the first
	// is named after the target, not after a column.
	candidates []string
	weak       bool
	declared   bool
	cast       bool // the pairs are not of one type
}

// Connector is the relation as connectors know it, without row condition.
func (r *Relation) Connector() connectors.Relation {
	out := connectors.Relation{To: r.To.Name}
	for i := range r.Fields {
		out.Fields = append(out.Fields, r.Fields[i].System)
		out.On = append(out.On, r.On[i].System)
	}
	return out
}

// Filterable tells whether the relation can stand in filters (and, to one, in
// orders): both ends in one source that evaluates it itself.
func (r *Relation) Filterable() bool {
	return !r.Cross && !r.cast && r.From.Source.Schema.Capabilities.Related
}

// A Label is a field that names a record in diffs and lists.
type Label struct {
	Field *Field
	// Text stands before the value; "" for the name itself.
	Text string
}

// A Function is a call of a source that is no collection.
type Function struct {
	// Object is "source.function", in the system's own names.
	Object string
	Source *Source
	Name   string
	Spec   *connectors.Function
	// Field is the root field: of Query where it reads, of Mutation where it
	// writes.
	Field string
	Args  []*Field
	// Result is nil where it answers nothing.
	Result *Type
	// Nullable: the result may be null although the call succeeded.
	Nullable bool
	// Hidden by the graph file.
	Hidden bool

	args map[string]*Field
	base string // the root field before any rename
}

// Arg finds an argument by its graph name; nil where there is none.
func (f *Function) Arg(name string) *Field { return f.args[name] }

// InputType is the type of a writing function's input.
func (f *Function) InputType() string { return title(f.Field) + "Input" }

// PayloadType is the type of a writing function's payload.
func (f *Function) PayloadType() string { return title(f.Field) + "Payload" }

// Reads tells whether it has no side effects: a field of Query without payload.
func (f *Function) Reads() bool { return f.Spec.Reads }

// Collection finds a collection by "source.collection"; nil where there is none.
func (c *Catalog) Collection(object string) *Collection { return c.byObject[object] }

// Function finds a function by "source.function"; nil where there is none.
func (c *Catalog) Function(object string) *Function { return c.functions[object] }

// Record finds the collection whose records have this GraphQL type; nil where
// there is none.
func (c *Catalog) Record(typeName string) *Collection {
	if t := c.types[typeName]; t.role == roleRecord {
		return t.collection
	}
	return nil
}
