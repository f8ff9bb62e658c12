package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/countersign/countersign/connectors"
)

const (
	saltSize = 16
	hashSize = 32
	// MinPassword is the least length of a new password, in characters.
	MinPassword = 10
	// MaxPassword is the greatest length of a password, in bytes.
	MaxPassword = 1024
	// Parameters of a stored hash beyond these are not computed: a row must not
	// be able to exhaust the machine.
	maxMemoryKiB = 1 << 20
	maxPasses    = 16
)

var phcEncoding = base64.RawStdEncoding.Strict()

// checkPassword refuses what is no password to begin with.
func checkPassword(password string) error {
	if utf8.RuneCountInString(password) < MinPassword || len(password) > MaxPassword || !utf8.ValidString(password) {
		return connectors.Errorf(connectors.CodeBadInput, "a password has at least %d characters and at most %d bytes", MinPassword, MaxPassword)
	}
	return nil
}

// encode writes a hash with its parameters in PHC form.
func (c PasswordCost) encode(salt, hash []byte) string {
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", c.MemoryKiB, c.Passes, c.Threads, phcEncoding.EncodeToString(salt), phcEncoding.EncodeToString(hash))
}

// hashPassword makes the hash that is stored.
func (s *Service) hashPassword(ctx context.Context, password string) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	if err := s.acquire(ctx); err != nil {
		return "", err
	}
	defer s.release()
	return s.cfg.Password.encode(salt, s.cfg.Password.argonHash(password, salt, hashSize)), nil
}

// verifyPassword tells whether the password is the one of the stored hash, with
// the parameters that stand in it. A hash that cannot be read matches nothing.
func (s *Service) verifyPassword(ctx context.Context, stored, password string) (bool, error) {
	cost, salt, hash, ok := parsePHC(stored)
	if !ok || len(password) > MaxPassword {
		return false, nil
	}
	if err := s.acquire(ctx); err != nil {
		return false, err
	}
	defer s.release()
	return subtle.ConstantTimeCompare(cost.argonHash(password, salt, uint32(len(hash))), hash) == 1, nil
}

// acquire waits for one of the few places where hashes are computed.
func (s *Service) acquire(ctx context.Context) error {
	select {
	case s.hashing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) release() { <-s.hashing }

func parsePHC(stored string) (cost PasswordCost, salt, hash []byte, ok bool) {
	parts := strings.Split(stored, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return cost, nil, nil, false
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &cost.MemoryKiB, &cost.Passes, &cost.Threads); n != 3 || err != nil {
		return cost, nil, nil, false
	}
	if cost.MemoryKiB > maxMemoryKiB || cost.Passes == 0 || cost.Passes > maxPasses || cost.Threads == 0 {
		return cost, nil, nil, false
	}
	salt, err := phcEncoding.DecodeString(parts[4])
	if err != nil || len(salt) < 8 {
		return cost, nil, nil, false
	}
	hash, err = phcEncoding.DecodeString(parts[5])
	if err != nil || len(hash) < 16 || len(hash) > 128 {
		return cost, nil, nil, false
	}
	return cost, salt, hash, true
}
