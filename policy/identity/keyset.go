package identity

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	ratelimit "golang.org/x/time/rate"
)

const (
	// keysAge is how long an issuer's keys are used before they are looked at
	// again: a key that the issuer withdrew dies within it.
	keysAge = 10 * time.Minute
	// maxKeySet bounds how many keys an issuer may have: each may be tried on a
	// token that names none.
	maxKeySet = 32
	// maxAnswer bounds what an issuer may answer, in bytes.
	maxAnswer = 1 << 20
)

// The rate of looking for keys that are not known yet, so that forged tokens,
// each of which names one, are no flood at the issuer.
const (
	keysEvery = 2 * time.Second
	keysBurst = 8
)

var (
	errCalm  = errors.New("the issuer's keys were fetched too often just now")
	errNoKey = errors.New("signed with a key that its issuer does not have")
)

// A keySet holds the public keys of one issuer: fetched when the first token
// comes, looked at again when they are old and when a token names one that is
// not there. While the issuer cannot be reached the old ones stay.
type keySet struct {
	client *http.Client
	now    func() time.Time
	// find answers where the keys are.
	find  func(context.Context) (string, error)
	limit *ratelimit.Limiter

	mu   sync.Mutex // held while fetching
	ring atomic.Pointer[keyRing]
}

// A keyRing is what was fetched; it is not changed.
type keyRing struct {
	keys []publicKey
	at   time.Time
	// gen grows when a key is not there any more: what was verified before has
	// to be verified again.
	gen uint64
}

type publicKey struct {
	id, alg string
	key     crypto.PublicKey
}

func newKeySet(client *http.Client, now func() time.Time, find func(context.Context) (string, error)) *keySet {
	return &keySet{client: client, now: now, find: find, limit: ratelimit.NewLimiter(ratelimit.Every(keysEvery), keysBurst)}
}

// current is the ring in use, looked at again where it is old. One caller does
// that; others meanwhile use the old one.
func (k *keySet) current(ctx context.Context) (*keyRing, error) {
	ring := k.ring.Load()
	if ring == nil {
		return k.fetch(ctx, nil)
	}
	if k.now().Sub(ring.at) < keysAge || !k.mu.TryLock() {
		return ring, nil
	}
	defer k.mu.Unlock()
	if newer := k.ring.Load(); newer != ring {
		return newer, nil
	}
	if newer, err := k.fetchLocked(ctx); err == nil {
		return newer, nil
	}
	return ring, nil
}

// fetch asks the issuer, unless somebody else did since old was read.
func (k *keySet) fetch(ctx context.Context, old *keyRing) (*keyRing, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ring := k.ring.Load(); ring != old {
		return ring, nil
	}
	return k.fetchLocked(ctx)
}

func (k *keySet) fetchLocked(ctx context.Context) (*keyRing, error) {
	if !k.limit.AllowN(k.now(), 1) {
		return nil, errCalm
	}
	address, err := k.find(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := fetchKeys(ctx, k.client, address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	ring := &keyRing{keys: keys, at: k.now()}
	if old := k.ring.Load(); old != nil {
		ring.gen = old.gen
		for _, o := range old.keys {
			if !ring.has(o) {
				ring.gen++
				break
			}
		}
	}
	k.ring.Store(ring)
	return ring, nil
}

func fetchKeys(ctx context.Context, client *http.Client, address string) ([]publicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the issuer's keys: %s", res.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("the issuer's keys: %w", err)
	}
	var out []publicKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// One of a kind that we do not know is none of those we could use.
		if key.UnmarshalJSON(raw) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" || len(out) == maxKeySet {
			continue
		}
		out = append(out, publicKey{id: key.KeyID, alg: key.Algorithm, key: key.Key})
	}
	return out, nil
}

func (r *keyRing) has(k publicKey) bool {
	for _, o := range r.keys {
		same, ok := o.key.(interface{ Equal(crypto.PublicKey) bool })
		if o.id == k.id && o.alg == k.alg && ok && same.Equal(k.key) {
			return true
		}
	}
	return false
}

// find answers the keys that a token's signature may be of.
func (r *keyRing) find(token *jwt.Token) []jwt.VerificationKey {
	id, named := token.Header["kid"].(string)
	var out []jwt.VerificationKey
	for _, k := range r.keys {
		if named && k.id != id || k.alg != "" && k.alg != token.Method.Alg() {
			continue
		}
		out = append(out, k.key)
	}
	return out
}

// parse verifies a token by these keys, with new ones where it was not signed
// by any of them.
func (k *keySet) parse(ctx context.Context, parser *jwt.Parser, token string) (jwt.MapClaims, *keyRing, error) {
	ring, err := k.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	claims, err := ring.parse(parser, token)
	// A key that is known and did not sign this is no reason to look for others.
	if !errors.Is(err, errNoKey) && (!errors.Is(err, jwt.ErrTokenSignatureInvalid) || namesKey(token)) {
		return claims, ring, err
	}
	newer, fetched := k.fetch(ctx, ring)
	if fetched != nil {
		return nil, nil, errors.Join(err, fetched)
	}
	claims, err = newer.parse(parser, token)
	return claims, newer, err
}

func (r *keyRing) parse(parser *jwt.Parser, token string) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	_, err := parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		keys := r.find(t)
		if len(keys) == 0 {
			return nil, errNoKey
		}
		return jwt.VerificationKeySet{Keys: keys}, nil
	})
	return claims, err
}

// namesKey tells whether a token says which key signed it.
func namesKey(token string) bool {
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		return false
	}
	_, named := parsed.Header["kid"].(string)
	return named
}
