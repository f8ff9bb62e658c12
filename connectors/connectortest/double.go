package connectortest

import (
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/memory"
)

// What tests use of the system in memory, under the names that they know.
type (
	// Memory is the system in memory.
	Memory = memory.Memory
	// Func is the code of a declared function.
	Func = memory.Func
	// Fault makes calls go wrong.
	Fault = memory.Fault
	// FaultPoint is a method of the contract that a fault concerns.
	FaultPoint = memory.FaultPoint
)

// The methods that can be made to fail.
const (
	OnDescribe = memory.OnDescribe
	OnQuery    = memory.OnQuery
	OnPreview  = memory.OnPreview
	OnApply    = memory.OnApply
)

// NewMemory is [memory.New] for tests: it panics on records that do not fit the
// schema.
func NewMemory(schema *connectors.Schema, data map[string][]connectors.Record) *Memory {
	m, err := memory.New(schema, data)
	if err != nil {
		panic("connectortest: " + err.Error())
	}
	return m
}

// FullSchema is [memory.FullSchema].
func FullSchema(collections ...*connectors.Collection) *connectors.Schema {
	return memory.FullSchema(collections...)
}

// DropReply is [memory.DropReply].
func DropReply() Fault { return memory.DropReply() }

// Unavailable is [memory.Unavailable].
func Unavailable(on FaultPoint) Fault { return memory.Unavailable(on) }

// Hold is [memory.Hold].
func Hold(on FaultPoint, entered chan<- struct{}, release <-chan struct{}) Fault {
	return memory.Hold(on, entered, release)
}
