//go:build failpoints

package main

import (
	"os"
	"time"
)

// failpoint ends the process at a named crash point, for the tests that kill
// it there.
func failpoint() func(string) {
	at := os.Getenv("COUNTERSIGN_TEST_FAILPOINT")
	if at == "" {
		return nil
	}
	return func(name string) {
		if name == at {
			os.Exit(137)
		}
	}
}

// testLease shortens the lease, and with it the longest time of a request, for
// the tests that wait until they are over; 0: the defaults.
func testLease() time.Duration {
	d, err := time.ParseDuration(os.Getenv("COUNTERSIGN_TEST_LEASE"))
	if err != nil {
		return 0
	}
	return d
}
