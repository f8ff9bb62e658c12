// Package proposals is the life of a change between being asked for and being
// done: the pure state machine, the service that guards it, the contract of
// its store, and the executor that runs what was approved.
//
// Five sentences hold here. An approval is an input to a new authorisation
// decision, not a grant: everything is checked again when a proposal is claimed
// for execution. An approval binds to exact content, by hash. Approved,
// executed and succeeded are three facts. Unknown is a state: a write whose
// outcome cannot be told is never reported as failed or done. And agents cannot
// decide.
//
// It must not know GraphQL types, HTTP, SQL, or how policy is written: it asks
// interfaces declared here. No policy is evaluated, nothing is previewed and no
// network is used inside a store transaction.
package proposals
