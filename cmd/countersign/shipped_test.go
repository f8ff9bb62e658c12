package main

import (
	"bytes"
	"os"
	"testing"
)

// TestShippedHasNoFailpoints: what the tests use to kill the program is not in
// what is shipped.
func TestShippedHasNoFailpoints(t *testing.T) {
	t.Parallel()
	for b, want := range map[*binary]bool{&shipped: false, &failing: true} {
		data, err := os.ReadFile(b.program(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"COUNTERSIGN_TEST_FAILPOINT", "COUNTERSIGN_TEST_LEASE"} {
			if got := bytes.Contains(data, []byte(name)); got != want {
				t.Errorf("with tags %q the program knows %s: %v", b.tags, name, got)
			}
		}
	}
}
