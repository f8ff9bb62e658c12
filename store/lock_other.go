//go:build !unix

package store

import "github.com/countersign/countersign/connectors"

// lockFile refuses: two servers on one file could not be told apart here.
func lockFile(string) (func() error, error) {
	return nil, connectors.Errorf(connectors.CodeUnsupported, "an SQLite store for a server is not supported on this system yet; use postgres://…")
}
