package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// A StableSealer seals short texts of one tenant so that equal plain text gives
// equal sealed text: global ids stay what they are, and cursors bind to their
// tenant. The nonce is a MAC of the plain text under a key of its own, so it
// repeats only where the plain text does. It is immutable.
type StableSealer struct {
	keys    *Keyring
	purpose string
	place   []byte
}

// Stable makes a sealer for one purpose and tenant.
func (k *Keyring) Stable(purpose, tenant string) *StableSealer {
	return &StableSealer{keys: k, purpose: purpose, place: []byte(tenant)}
}

// Seal encrypts plain; the result is URL-safe text. It is "" where there is no
// key.
func (s *StableSealer) Seal(plain []byte) string {
	if s.keys == nil || len(s.keys.keys) == 0 {
		return ""
	}
	key := s.keys.keys[0]
	aead, err := key.aead(s.purpose)
	if err != nil {
		return ""
	}
	nonceKey, err := key.derive("nonce/" + s.purpose)
	if err != nil {
		return ""
	}
	mac := hmac.New(sha256.New, nonceKey)
	mac.Write(s.place)
	mac.Write([]byte{0})
	mac.Write(plain)
	out := append([]byte{sealedVersion}, key.id...)
	nonce := mac.Sum(nil)[:aead.NonceSize()]
	out = append(out, nonce...)
	return base64.RawURLEncoding.EncodeToString(aead.Seal(out, nonce, plain, s.place))
}

// Digest stands for a value where that may be compared and not read: equal values
// of one tenant have equal ones, 32 hex digits of an HMAC under a key of its own.
// It is "" where there is no key, and another one under another newest key.
func (s *StableSealer) Digest(value []byte) string {
	if s.keys == nil || len(s.keys.keys) == 0 {
		return ""
	}
	key, err := s.keys.keys[0].derive("digest/" + s.purpose)
	if err != nil {
		return ""
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(s.place)
	mac.Write([]byte{0})
	mac.Write(value)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// Open decrypts what Seal made for this tenant with any key of the ring;
// ErrSealed otherwise.
func (s *StableSealer) Open(sealed string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return nil, ErrSealed
	}
	return s.keys.Open(s.purpose, s.place, raw)
}

// DeriveAll gives 32 bytes for a purpose from every key, by the key's id, and
// the id of the newest.
func (k *Keyring) DeriveAll(purpose string) (current string, keys map[string][]byte, err error) {
	if k == nil || len(k.keys) == 0 {
		return "", nil, ErrSealed
	}
	keys = map[string][]byte{}
	for _, key := range k.keys {
		if keys[key.id], err = key.derive("derive/" + purpose); err != nil {
			return "", nil, err
		}
	}
	return k.keys[0].id, keys, nil
}
