//go:build !failpoints

package main

import "time"

// failpoint and testLease are hooks for the tests that kill the program. They
// are there only where it is built with the tag failpoints: what is shipped
// cannot be told to die.
func failpoint() func(string) { return nil }

func testLease() time.Duration { return 0 }
