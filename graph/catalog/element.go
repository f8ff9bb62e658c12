package catalog

import "github.com/countersign/countersign/connectors"

// An ElementKind says what a field of the graph stands for.
type ElementKind uint8

// The kinds of element. Where a kind says "of Collection", Element.Collection
// is set, and so on.
const (
	// Root fields of Query.
	RootGet      ElementKind = iota + 1 // customer(KEY FIELDS): one record of Collection by its key
	RootGetBy                           // customerBy(key:): by another unique key of Collection
	RootList                            // customers(...): a connection of Collection
	RootGroups                          // customersGroups(...): groups of Collection
	RootNode                            // node(id:)
	RootFunction                        // a Function that reads
	// Root fields of Mutation; all answer a payload.
	RootCreate     // createCustomer(input:)
	RootCreateMany // createCustomers(inputs:)
	RootUpdate     // updateCustomer(KEY FIELDS, patch:, ifVersion:)
	RootUpdateMany // updateCustomers(filter:, patch:, maxRows:)
	RootDelete     // deleteCustomer(KEY FIELDS, ifVersion:)
	RootDeleteMany // deleteCustomers(filter:, maxRows:)
	RootCall       // a Function that writes
	// Fields of a record of Collection, or of a nested object.
	RecordField    // Field of Collection
	RecordRelation // Relation of Collection
	RecordNodeID   // nodeId of Collection
	ObjectField    // Field of Object
	// Fields of connections and edges of Collection.
	ConnectionNodes
	ConnectionEdges
	ConnectionPageInfo
	ConnectionTotalCount
	ConnectionAggregate
	EdgeCursor
	EdgeNode
	// Fields of CustomerAggregate and CustomerGroup.
	AggregateCount
	AggregateFunction // sum, avg, min, max: Func; the value is an object of fields
	AggregateField    // a Field under Func
	GroupKey          // key: the object of the grouped fields
	GroupKeyField     // a Field of it
	// Fields of payloads. Element.Collection or Element.Function says whose.
	PayloadOutcome
	PayloadRecord  // the record after
	PayloadRecords // the records after
	PayloadResult  // what the function answered
	PayloadAffectedCount
	PayloadDiff
	PayloadProposal
	PayloadDuplicate
	PayloadErrors
)

// An Element is what a field of the graph stands for, independent of any view.
type Element struct {
	Kind       ElementKind
	Collection *Collection
	Function   *Function
	Field      *Field
	Relation   *Relation
	Object     *ObjectType
	Func       connectors.AggregateFunc
}

// Element finds what the field of a type stands for, in constant time. ok is
// false for the control plane's fields (viewer, proposals, and everything below
// them), for __typename and introspection, and for what does not exist. The
// document was validated against the view's schema before; Element itself knows
// no view.
func (c *Catalog) Element(typeName, field string) (e Element, ok bool) {
	switch typeName {
	case "Query":
		e, ok = c.query[field]
		return e, ok
	case "Mutation":
		e, ok = c.mutation[field]
		return e, ok
	}
	t, ok := c.types[typeName]
	if !ok {
		return Element{}, false
	}
	return t.element(field)
}

// A role says what a generated type is made for.
type role uint8

const (
	roleRecord role = iota + 1
	roleObject
	roleConnection
	roleEdge
	roleAggregate
	roleAggregateFields
	roleGroup
	roleGroupKey
	rolePayload
	rolePayloadMany
	roleCallPayload
	// Inputs and enums: no elements are asked of them.
	roleFilter
	roleRelated // some, every, none
	roleOrderBy
	roleKey
	roleKeyPart // the fields of a composite unique key
	roleInput
	rolePatch
	roleGroupBy
	roleHaving
	roleFunctionHaving
	roleCallInput
	roleObjectInput
	roleEnum
)

// typeInfo is what a generated GraphQL type is, by its name.
type typeInfo struct {
	role       role
	collection *Collection
	function   *Function
	object     *ObjectType
	enum       *Enum
	unique     *Unique
	fn         connectors.AggregateFunc
}

func (t typeInfo) element(field string) (Element, bool) {
	e := Element{Collection: t.collection, Function: t.function, Object: t.object, Func: t.fn}
	switch t.role {
	case roleRecord:
		return t.record(e, field)
	case roleObject:
		e.Kind, e.Field = ObjectField, t.object.fields[field]
		return e, e.Field != nil
	case roleConnection:
		e.Kind = connectionFields[field]
	case roleEdge:
		e.Kind = edgeFields[field]
	case roleAggregate, roleGroup:
		return t.aggregate(e, field)
	case roleAggregateFields:
		e.Kind, e.Field = AggregateField, t.collection.fields[field]
		return e, e.Field != nil
	case roleGroupKey:
		e.Kind, e.Field = GroupKeyField, t.collection.fields[field]
		return e, e.Field != nil
	case rolePayload, rolePayloadMany, roleCallPayload:
		return t.payload(e, field)
	}
	return e, e.Kind != 0
}

func (t typeInfo) record(e Element, field string) (Element, bool) {
	if f := t.collection.fields[field]; f != nil && !f.Hidden {
		e.Kind, e.Field = RecordField, f
		return e, true
	}
	if r := t.collection.relations[field]; r != nil && !r.Hidden {
		e.Kind, e.Relation = RecordRelation, r
		return e, true
	}
	if field == nodeIDField && t.collection.NodeID {
		e.Kind = RecordNodeID
		return e, true
	}
	return Element{}, false
}

func (t typeInfo) aggregate(e Element, field string) (Element, bool) {
	switch field {
	case "count":
		e.Kind = AggregateCount
	case "sum", "avg", "min", "max":
		e.Kind, e.Func = AggregateFunction, connectors.AggregateFunc(field)
	case "key":
		if t.role == roleGroup {
			e.Kind = GroupKey
		}
	}
	return e, e.Kind != 0
}

func (t typeInfo) payload(e Element, field string) (Element, bool) {
	switch e.Kind = payloadFields[field]; {
	case e.Kind != 0:
	case t.role == rolePayload && field == t.collection.PayloadField():
		e.Kind = PayloadRecord
	case t.role == rolePayloadMany && field == t.collection.PayloadManyField():
		e.Kind = PayloadRecords
	case t.role == roleCallPayload && field == "result" && t.function.Result != nil:
		e.Kind = PayloadResult
	}
	return e, e.Kind != 0
}

const nodeIDField = "nodeId"

var connectionFields = map[string]ElementKind{
	"nodes": ConnectionNodes, "edges": ConnectionEdges, "pageInfo": ConnectionPageInfo,
	"totalCount": ConnectionTotalCount, "aggregate": ConnectionAggregate,
}

var edgeFields = map[string]ElementKind{"cursor": EdgeCursor, "node": EdgeNode}

var payloadFields = map[string]ElementKind{
	"outcome": PayloadOutcome, "affectedCount": PayloadAffectedCount, "diff": PayloadDiff,
	"proposal": PayloadProposal, "duplicate": PayloadDuplicate, "errors": PayloadErrors,
}

// PayloadField is the record's field in the payload of a write of one record:
// the collection's single name, or "record" where a payload has that name.
func (c *Collection) PayloadField() string {
	if payloadFields[c.Single] != 0 {
		return "record"
	}
	return c.Single
}

// PayloadManyField is the records' field in the payload of a bulk write.
func (c *Collection) PayloadManyField() string {
	if payloadFields[c.Plural] != 0 {
		return "records"
	}
	return c.Plural
}

// GroupField finds the field of a value of the collection's group-by enum.
func (c *Collection) GroupField(value string) *Field { return c.groupBy[value] }
