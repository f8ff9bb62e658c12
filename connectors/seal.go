package connectors

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Seal computes the Key of a select and returns it. Nothing in it may be
// changed afterwards.
func (s *Select) Seal() *Select {
	s.Key = ""
	raw, err := json.Marshal(s)
	if err != nil {
		// Select is plain data; encoding it cannot fail.
		raw = []byte(err.Error())
	}
	sum := sha256.Sum256(raw)
	s.Key = hex.EncodeToString(sum[:16])
	return s
}
