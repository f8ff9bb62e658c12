// Package generated is what gqlgen makes of the hand-written server's schema.
// It must not know where records come from.
package generated
