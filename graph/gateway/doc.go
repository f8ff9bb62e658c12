// Package gateway is the door of the graph. It turns a request into an
// identity, the identity into a view, the view into a schema, an operation into
// a plan, and runs the plan now or hands it over as a proposal. Data plane and
// control plane are one graph here.
//
// It must not know SQL, REST or any other system, how a policy is written, or
// how a proposal is stored: it asks the rooms that do.
package gateway
