package console_test

import (
	"testing"

	"github.com/countersign/countersign/console/browsertest"
)

// TestInbox looks at what the inbox does while somebody works in it: events that
// come in between, a withdrawal, a server that goes away, a session that ends.
// Its demo is its own: the scripts decide on proposals and end sessions, and none
// may come in while they look at the first of them.
func TestInbox(t *testing.T) {
	demo := startDemo(t, "--quiet")
	scripts := browsertest.Install(t, "testdata/browser")
	for _, name := range []string{"between", "withdraw", "settle", "keyboard", "away", "session"} {
		script(t, scripts, demo, name)
	}
}
