package connectors

// A Scalar is the type of a leaf, by its name in the graph.
type Scalar string

// The scalars of the graph; their encodings stand in docs/graph.md.
const (
	ScalarID            Scalar = "ID"
	ScalarString        Scalar = "String"
	ScalarBoolean       Scalar = "Boolean"
	ScalarInt           Scalar = "Int"     // 32 bits, a JSON number
	ScalarSafeInt       Scalar = "SafeInt" // ±(2⁵³−1), a JSON number
	ScalarBigInt        Scalar = "BigInt"  // any size, a JSON string
	ScalarFloat         Scalar = "Float"
	ScalarDecimal       Scalar = "Decimal"       // a JSON string with the source's digits
	ScalarDateTime      Scalar = "DateTime"      // an instant, RFC 3339 in UTC
	ScalarLocalDateTime Scalar = "LocalDateTime" // 2006-01-02T15:04:05[.fraction], no zone, never converted
	ScalarDate          Scalar = "Date"
	ScalarTime          Scalar = "Time"
	ScalarDuration      Scalar = "Duration" // ISO 8601
	ScalarUUID          Scalar = "UUID"
	ScalarJSON          Scalar = "JSON"
	ScalarBytes         Scalar = "Bytes" // base64
)

// A Schema says what one system offers and what it can do. It is plain data
// that is pinned in countersign.lock; it is equal while the system is
// unchanged. All lists are sorted by name unless said otherwise.
type Schema struct {
	// Connector is the kind of system: postgres, sqlite, openapi, memory.
	Connector string `json:"connector"`
	// Identity names the system itself, beyond its address: for PostgreSQL the
	// system identifier and the database. It is compared when a stored change
	// runs. Not pinned in the lock.
	Identity     string        `json:"-"`
	Capabilities Capabilities  `json:"capabilities"`
	Collections  []*Collection `json:"collections,omitempty"`
	Functions    []*Function   `json:"functions,omitempty"`
	Enums        []*Enum       `json:"enums,omitempty"`
	Objects      []*Object     `json:"objects,omitempty"`
	// LeftOut lists what the system has and the graph cannot express.
	LeftOut []Omission `json:"leftOut,omitempty"`
	// Warnings are for people: what works otherwise than they may think.
	Warnings []string `json:"warnings,omitempty"`
}

// Collection finds a collection by the system's own name, or nil.
func (s *Schema) Collection(name string) *Collection {
	for _, c := range s.Collections {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Function finds a function by name, or nil.
func (s *Schema) Function(name string) *Function {
	for _, f := range s.Functions {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Enum finds an enum by name, or nil.
func (s *Schema) Enum(name string) *Enum {
	for _, e := range s.Enums {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// Object finds an object type by name, or nil.
func (s *Schema) Object(name string) *Object {
	for _, o := range s.Objects {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// Capabilities of a whole system. The zero value claims nothing.
type Capabilities struct {
	Atomic   bool `json:"atomic,omitempty"`   // a Change with several steps is all or none
	Snapshot bool `json:"snapshot,omitempty"` // queries with the same Query.Snapshot see one state
	Watch    bool `json:"watch,omitempty"`
	// Related: conditions and orders over Relation declared in the Schema are
	// evaluated by the system itself.
	Related bool `json:"related,omitempty"`
	// MaxBind is the largest number of Bind entries of one Query; 0: no limit.
	MaxBind int `json:"maxBind,omitempty"`
}

// A Collection holds records.
type Collection struct {
	// Name is the system's own: a table of the default schema by its bare
	// name, others as schema.table.
	Name    string   `json:"name"`
	Comment string   `json:"comment,omitempty"`
	View    bool     `json:"view,omitempty"`
	Fields  []*Field `json:"fields"` // in the system's order
	// Key are the fields of the primary key, in its order; empty: no key, so
	// no lookup, cursor or write by key.
	Key []string `json:"key,omitempty"`
	// Uniques are further unique keys over NOT NULL or nullable fields.
	Uniques    []UniqueKey `json:"uniques,omitempty"`
	References []Reference `json:"references,omitempty"` // foreign keys of this collection
	// Get tells that one record can be read by Key; List that Where, Order and
	// Page may be used as the fields declare. SQL has both.
	Get  bool `json:"get,omitempty"`
	List bool `json:"list,omitempty"`
	// BindFields are the field sets a Bind can join over; nil with AnyBind.
	BindFields [][]string `json:"bindFields,omitempty"`
	AnyBind    bool       `json:"anyBind,omitempty"`
	Paging     Paging     `json:"paging"`
	Count      bool       `json:"count,omitempty"`     // totalCount can be asked
	Aggregate  bool       `json:"aggregate,omitempty"` // aggregates and groups can be asked
	// Acts are the writes it takes, by act; absent: it refuses.
	Acts map[StepKind]*Act `json:"acts,omitempty"`
	// VersionField is the field that ifVersion compares; "" with a version that
	// is no field (PostgreSQL's xmin), see HasVersion.
	VersionField string `json:"versionField,omitempty"`
	HasVersion   bool   `json:"hasVersion,omitempty"`
}

// Field finds a field by the system's own name, or nil.
func (c *Collection) Field(name string) *Field {
	for _, f := range c.Fields {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// Paging says which pages a collection can give.
type Paging struct {
	Keyset bool `json:"keyset,omitempty"` // Page.After and Page.Before over any offered order
	Offset bool `json:"offset,omitempty"`
	Last   bool `json:"last,omitempty"` // Page.Reverse
	Max    int  `json:"max,omitempty"`  // largest page of the system itself; 0: none
}

// An Act says how one kind of write of a collection or function behaves.
type Act struct {
	Class   OutcomeClass    `json:"class"`
	Preview PreviewStrategy `json:"preview"`
	// ByFilter: the write can address records by condition, not by key only.
	ByFilter bool `json:"byFilter,omitempty"`
	// Conditional: Step.Where, Step.Check and Step.Expect are checked in the
	// effect's own statement or transaction. Without it they are read just
	// before dispatch.
	Conditional bool `json:"conditional,omitempty"`
	Increment   bool `json:"increment,omitempty"`
}

// PreviewStrategy says how Preview learns what Apply would do.
type PreviewStrategy string

// The preview strategies, see docs/proposals.md.
const (
	PreviewRead     PreviewStrategy = "read"     // before-image and patch; nothing runs
	PreviewRollback PreviewStrategy = "rollback" // run in a transaction that is rolled back
	PreviewNone     PreviewStrategy = "none"     // before-image, where there is one, and exact arguments
)

// OutcomeClass says what can be known about a write after a crash, see
// docs/proposals.md.
type OutcomeClass string

// The outcome classes, from the strongest to none at all.
const (
	Transactional OutcomeClass = "transactional"
	Conditional   OutcomeClass = "conditional"
	Idempotent    OutcomeClass = "idempotent"
	Verifiable    OutcomeClass = "verifiable"
	Searchable    OutcomeClass = "searchable"
	Unverifiable  OutcomeClass = "unverifiable"
)

// A Field of a collection, object or argument list.
type Field struct {
	Name     string  `json:"name"`
	Type     TypeRef `json:"type"`
	Nullable bool    `json:"nullable,omitempty"`
	Comment  string  `json:"comment,omitempty"`
	// Default: a value is made by the system when none is given, so the field
	// is optional on create. DefaultValue holds it where it is a constant.
	Default      bool   `json:"default,omitempty"`
	DefaultValue *Value `json:"defaultValue,omitempty"`
	// ReadOnly fields are never written: generated columns, REST readOnly.
	ReadOnly bool `json:"readOnly,omitempty"`
	// CreateOnly fields are written by create and not by update.
	CreateOnly bool `json:"createOnly,omitempty"`
	Deprecated bool `json:"deprecated,omitempty"`
	// WriteOnly fields are never read (REST writeOnly).
	WriteOnly bool `json:"writeOnly,omitempty"`
	// Filter are the comparisons the system evaluates itself.
	Filter []Op `json:"filter,omitempty"`
	Order  bool `json:"order,omitempty"`
	// Group and Aggregates: usable in group by, and the functions over it.
	Group      bool            `json:"group,omitempty"`
	Aggregates []AggregateFunc `json:"aggregates,omitempty"`
}

// A TypeRef is the type of a field. Exactly one of Scalar, Enum and Object is
// set.
type TypeRef struct {
	Scalar Scalar `json:"scalar,omitempty"`
	Enum   string `json:"enum,omitempty"`
	Object string `json:"object,omitempty"`
	List   bool   `json:"list,omitempty"`
	// ItemNullable: items of the list may be null.
	ItemNullable bool `json:"itemNullable,omitempty"`
	// MaxLength in characters, Precision and Scale in decimal digits; 0: none.
	// HasScale tells a declared scale of 0 from none.
	MaxLength int  `json:"maxLength,omitempty"`
	Precision int  `json:"precision,omitempty"`
	Scale     int  `json:"scale,omitempty"`
	HasScale  bool `json:"hasScale,omitempty"`
	// Native is the system's own type name, for casts and for people.
	Native string `json:"native,omitempty"`
}

// Leaf is the scalar that cells of the type are written in: enums are
// strings, objects JSON.
func (t TypeRef) Leaf() Scalar {
	switch {
	case t.Object != "":
		return ScalarJSON
	case t.Enum != "":
		return ScalarString
	}
	return t.Scalar
}

// A UniqueKey is a named set of fields that no two records share.
type UniqueKey struct {
	Name   string   `json:"name"`
	Fields []string `json:"fields"`
}

// A Reference is a foreign key: Fields of this collection equal On of To.
type Reference struct {
	Name   string   `json:"name"`
	Fields []string `json:"fields"`
	To     string   `json:"to"`
	On     []string `json:"on"`
}

// A Function is a call that is no collection: a REST operation, a procedure.
type Function struct {
	Name    string   `json:"name"` // the system's own: operationId
	Comment string   `json:"comment,omitempty"`
	Args    []*Field `json:"args,omitempty"`
	// Input is the object argument of writes named input, whose members are the
	// function's own arguments flattened (path, query, header, body).
	Result     *TypeRef `json:"result,omitempty"` // nil: it answers nothing
	Nullable   bool     `json:"nullable,omitempty"`
	Reads      bool     `json:"reads,omitempty"` // no side effects: callable by Query
	Act        *Act     `json:"act,omitempty"`   // for writes
	Deprecated bool     `json:"deprecated,omitempty"`
	// Call is the system's own description for explain: "GET /tickets/{id}".
	Call string `json:"call,omitempty"`
}

// An Enum is a closed set of values of the system.
type Enum struct {
	Name    string   `json:"name"`
	Values  []string `json:"values"` // in the system's order
	Comment string   `json:"comment,omitempty"`
}

// An Object is a nested type of a document-shaped system. Input tells objects
// that arguments are made of.
type Object struct {
	Name    string   `json:"name"`
	Fields  []*Field `json:"fields"`
	Comment string   `json:"comment,omitempty"`
}

// An Omission is a part that was left out, and why.
type Omission struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}
