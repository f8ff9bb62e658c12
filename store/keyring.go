package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Keyring holds the secret keys of this installation. The first one makes
// everything new; the others still read. Keys have ids, so that what was made
// with one says which. It is immutable; the zero value has no key and refuses.
//
// Every use names a purpose ("cursor", "revision"), which gets keys of its own:
// nothing made for one can be used for another.
type Keyring struct {
	keys []ringKey
}

type ringKey struct {
	id     string // 8 hex digits of a digest of the secret
	secret []byte
}

// MinSecret is the least length of a secret in bytes.
const MinSecret = 32

// SecretFile is the file in the data folder of a single node.
const SecretFile = "secret.key"

// ErrSealed: what should be opened was not made by this keyring for this
// purpose and this place, or was changed since.
var ErrSealed = errors.New("not sealed by this keyring for this place")

// NewKeyring makes a keyring of the configured secrets, the newest first.
func NewKeyring(secrets ...string) (*Keyring, error) {
	if len(secrets) == 0 {
		return nil, errors.New("a keyring needs a secret")
	}
	k := &Keyring{}
	for _, secret := range secrets {
		if len(secret) < MinSecret {
			return nil, fmt.Errorf("a secret must have at least %d bytes; `openssl rand -base64 48` makes one", MinSecret)
		}
		sum := sha256.Sum256([]byte("countersign/key-id/v1\x00" + secret))
		k.keys = append(k.keys, ringKey{id: hex.EncodeToString(sum[:4]), secret: []byte(secret)})
	}
	return k, nil
}

// LoadKeyring reads the secret of a single node from its data folder, and makes
// one, readable for its owner only, where there is none.
func LoadKeyring(dataDir string) (*Keyring, error) {
	name := filepath.Join(dataDir, SecretFile)
	raw, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		raw, err = makeSecret(dataDir, name)
	}
	if err != nil {
		return nil, err
	}
	return NewKeyring(strings.Fields(string(raw))...)
}

// makeSecret writes a secret, whole or not at all. Of two that do it at once
// both use the one that was first.
func makeSecret(dataDir, name string) ([]byte, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return nil, err
	}
	secret := make([]byte, 48)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dataDir, ".secret-*") // 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(secret) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	if err := os.Link(f.Name(), name); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return os.ReadFile(name)
}

// MAC is the HMAC-SHA256 of data under the newest key, with the id of the key
// in front, in text.
func (k *Keyring) MAC(purpose string, data []byte) (string, error) {
	if k == nil || len(k.keys) == 0 {
		return "", ErrSealed
	}
	return k.keys[0].mac(purpose, data)
}

// CheckMAC tells whether mac is the MAC of data under any key of the ring.
func (k *Keyring) CheckMAC(purpose string, data []byte, mac string) bool {
	if k == nil {
		return false
	}
	for _, key := range k.keys {
		if want, err := key.mac(purpose, data); err == nil && hmac.Equal([]byte(want), []byte(mac)) {
			return true
		}
	}
	return false
}

// Derive gives 32 bytes for a purpose from the newest key, for whoever needs a
// key of its own.
func (k *Keyring) Derive(purpose string) ([]byte, error) {
	if k == nil || len(k.keys) == 0 {
		return nil, ErrSealed
	}
	return k.keys[0].derive("derive/" + purpose)
}

// Seal encrypts plain (AES-256-GCM). The same place must be given to Open: a
// tenant and a key, for example, so that what is sealed cannot be moved.
func (k *Keyring) Seal(purpose string, place, plain []byte) ([]byte, error) {
	if k == nil || len(k.keys) == 0 {
		return nil, ErrSealed
	}
	aead, err := k.keys[0].aead(purpose)
	if err != nil {
		return nil, err
	}
	out := append([]byte{sealedVersion}, k.keys[0].id...)
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	out = append(out, nonce...)
	return aead.Seal(out, nonce, plain, place), nil
}

// Open decrypts what Seal made with any key of the ring; ErrSealed otherwise.
func (k *Keyring) Open(purpose string, place, sealed []byte) ([]byte, error) {
	if k == nil || len(sealed) < 1+keyIDSize || sealed[0] != sealedVersion {
		return nil, ErrSealed
	}
	id, rest := string(sealed[1:1+keyIDSize]), sealed[1+keyIDSize:]
	for i := range k.keys {
		if k.keys[i].id != id {
			continue
		}
		aead, err := k.keys[i].aead(purpose)
		if err != nil {
			return nil, err
		}
		if len(rest) < aead.NonceSize() {
			return nil, ErrSealed
		}
		plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], place)
		if err != nil {
			return nil, ErrSealed
		}
		return plain, nil
	}
	return nil, ErrSealed
}

const (
	sealedVersion = 1
	keyIDSize     = 8
)

func (r *ringKey) derive(info string) ([]byte, error) {
	return hkdf.Key(sha256.New, r.secret, nil, "countersign/v1/"+info, 32)
}

func (r *ringKey) aead(purpose string) (cipher.AEAD, error) {
	key, err := r.derive("aead/" + purpose)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (r *ringKey) mac(purpose string, data []byte) (string, error) {
	key, err := r.derive("mac/" + purpose)
	if err != nil {
		return "", err
	}
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return r.id + "." + hex.EncodeToString(h.Sum(nil)), nil
}
