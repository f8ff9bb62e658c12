package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// A Checkpoint is a signed head: whoever keeps a copy of it, and the public key,
// can prove later that the chain up to there is still the one of then.
type Checkpoint struct {
	Head
	At time.Time `json:"at"`
	// Key is the id of the key that signed.
	Key       string `json:"key"`
	Signature []byte `json:"signature"`
}

// signed is what a signature covers.
func (c *Checkpoint) signed() []byte {
	h := sha256.New()
	h.Write([]byte("countersign/audit/checkpoint/v1\x00"))
	for _, field := range []string{c.Tenant, strconv.FormatInt(c.Seq, 10), c.Hash, strconv.FormatInt(c.At.UnixMicro(), 10)} {
		writeField(h, []byte(field))
	}
	return h.Sum(nil)
}

// A Signer signs heads with Ed25519.
type Signer struct{ key ed25519.PrivateKey }

// NewSigner makes one of 32 secret bytes.
func NewSigner(seed []byte) (*Signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, errors.New("the seed of a signing key has 32 bytes")
	}
	return &Signer{ed25519.NewKeyFromSeed(seed)}, nil
}

// Public is the key that proves what the signer signed.
func (s *Signer) Public() PublicKey {
	return PublicKey(s.key[ed25519.SeedSize:]) // the second half is the public key
}

// Sign signs a head at a time.
func (s *Signer) Sign(head Head, at time.Time) Checkpoint {
	c := Checkpoint{Head: head, At: at, Key: s.Public().ID()}
	c.Signature = ed25519.Sign(s.key, c.signed())
	return c
}

// A PublicKey proves checkpoints.
type PublicKey []byte

const publicPrefix = "ed25519:"

// ParsePublicKey reads what String wrote.
func ParsePublicKey(text string) (PublicKey, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(text), publicPrefix))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errors.New("a public key is " + publicPrefix + " and 32 bytes in base64; countersign audit verify prints it")
	}
	return raw, nil
}

// String is the key in text.
func (k PublicKey) String() string { return publicPrefix + base64.StdEncoding.EncodeToString(k) }

// ID tells keys apart.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k)
	return hex.EncodeToString(sum[:8])
}

// verify tells whether one of the keys signed c.
func (c *Checkpoint) verify(keys []PublicKey) bool {
	for _, k := range keys {
		if k.ID() == c.Key && ed25519.Verify(ed25519.PublicKey(k), c.signed(), c.Signature) {
			return true
		}
	}
	return false
}

// Progress is how far a tenant's chain is signed.
type Progress struct {
	Head Head
	// Signed is the place of the last checkpoint, and SignedAt its time; zero:
	// there is none.
	Signed   int64
	SignedAt time.Time
}

// Signing is what a Sealer needs of a store to sign.
type Signing interface {
	// Progress lists the chains that go beyond their last checkpoint, with the
	// time by the store's clock.
	Progress(ctx context.Context) ([]Progress, time.Time, error)
	// SaveCheckpoint keeps c. Where there is one of this tenant and place, that
	// one stays.
	SaveCheckpoint(ctx context.Context, c Checkpoint) error
}

// sign makes the checkpoints that are due, or, with all, that can be made.
func (s *Sealer) sign(ctx context.Context, all bool) error {
	if s.Signer == nil || !s.unsigned && !all {
		return nil
	}
	chains, now, err := s.Signing.Progress(ctx)
	if err != nil {
		return err
	}
	s.unsigned = false
	events, after := s.SignEvents, s.SignAfter
	if events <= 0 {
		events = defaultSignEvents
	}
	if after <= 0 {
		after = defaultSignAfter
	}
	for _, p := range chains {
		if !all && p.Head.Seq-p.Signed < events && now.Sub(p.SignedAt) < after {
			s.unsigned = true
			continue
		}
		if err := s.Signing.SaveCheckpoint(ctx, s.Signer.Sign(p.Head, now)); err != nil {
			return err
		}
	}
	return nil
}
