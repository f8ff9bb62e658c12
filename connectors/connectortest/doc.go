// Package connectortest is what tests of connectors, and of everything above
// them, stand on: throw-away PostgreSQL servers, the system in memory as oracle and test double,
// a short language to write schemas in, and the conformance suite every connector runs.
//
// It is imported by tests only. It must not know any connector but its own,
// GraphQL, policy, proposals or configuration.
package connectortest
