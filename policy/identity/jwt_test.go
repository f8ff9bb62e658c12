package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
)

// An issuer is a server that signs tokens.
type issuer struct {
	*httptest.Server
	mu      sync.Mutex
	keys    map[string]crypto.Signer
	fetched int
	down    bool
	// token answers the token endpoint, info is what userinfo says.
	token func(*http.Request) (int, map[string]any)
	info  map[string]any
}

func newIssuer(t testing.TB) *issuer {
	i := &issuer{keys: map[string]crypto.Signer{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		i.answer(w, map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "userinfo_endpoint": i.URL + "/userinfo"})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		status, answer := i.token(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	})
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer access" {
			http.Error(w, "whose?", http.StatusUnauthorized)
			return
		}
		i.answer(w, i.info)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.fetched++
		i.mu.Unlock()
		i.answer(w, map[string]any{"keys": i.jwks()})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) answer(w http.ResponseWriter, v any) {
	i.mu.Lock()
	down := i.down
	i.mu.Unlock()
	if down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (i *issuer) jwks() []map[string]string {
	i.mu.Lock()
	defer i.mu.Unlock()
	b64 := base64.RawURLEncoding.EncodeToString
	out := []map[string]string{}
	for kid, key := range i.keys {
		switch k := key.Public().(type) {
		case *rsa.PublicKey:
			out = append(out, map[string]string{"kty": "RSA", "kid": kid, "use": "sig", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())})
		case *ecdsa.PublicKey:
			raw, _ := k.Bytes()
			out = append(out, map[string]string{"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": b64(raw[1:33]), "y": b64(raw[33:])})
		}
	}
	return out
}

func (i *issuer) set(change func(map[string]crypto.Signer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i.keys)
}

func (i *issuer) fail(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	return k
}

func sign(t testing.TB, method jwt.SigningMethod, kid string, key any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	must(t, err)
	return text
}

func config(i *issuer) func(*identity.Config) {
	return func(c *identity.Config) {
		c.Issuers = []identity.Issuer{{Issuer: i.URL, Audience: "acme-graph",
			Roles:  identity.Roles{From: "groups", Map: map[string]string{"acme-support": "support", "acme-leads": "lead"}, Fixed: []string{"customer"}},
			Claims: map[string]string{"customerId": "customer_id", "region": "acme_region", "tags": "tags", "big": "big", "missing": "nothing"}}}
	}
}

func claims(i *issuer, c *clock, with jwt.MapClaims) jwt.MapClaims {
	out := jwt.MapClaims{"iss": i.URL, "aud": "acme-graph", "sub": "u1", "iat": c.now().Unix(), "exp": c.now().Add(time.Hour).Unix(),
		"groups": []string{"acme-leads", "acme-other", "owner"}, "customer_id": "c-7", "acme_region": "EU", "tags": []any{"a", true}, "big": json.Number("9007199254740993")}
	maps.Copy(out, with)
	for name, v := range with {
		if v == nil {
			delete(out, name)
		}
	}
	return out
}

func TestJWT(t *testing.T) {
	i := newIssuer(t)
	key := rsaKey(t)
	i.set(func(m map[string]crypto.Signer) { m["k1"] = key })
	h := newHouse(t, config(i), identity.Options{})
	p, err := h.who(sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, nil)))
	must(t, err)
	u, err := url.Parse(i.URL)
	must(t, err)
	if p.ID != "user:"+u.Host+"/u1" || p.Interactive || p.Kind != policy.Human || !p.SignedInAt.IsZero() || !slices.Equal(p.Roles, []string{"customer", "lead"}) {
		t.Fatalf("%+v", p)
	}
	for name, want := range map[string]connectors.Value{"customerId": connectors.String("c-7"), "region": connectors.String("EU"),
		"tags": connectors.ListOf(connectors.String("a"), connectors.True), "big": {Kind: connectors.KindInt, Text: "9007199254740993"}} {
		if !p.Claims[name].Equal(want) {
			t.Errorf("%s is %+v", name, p.Claims[name])
		}
	}
	if _, ok := p.Claims["missing"]; ok {
		t.Error("a claim that the token has not")
	}
	// The Directory knows what the token said, until it is too old.
	known, asOf, err := h.Current(t.Context(), policy.DefaultTenant, p.ID)
	if err != nil || !slices.Equal(known.Roles, p.Roles) || !asOf.Equal(h.clock.now()) {
		t.Fatalf("%+v %v %v", known, asOf, err)
	}
	h.clock.pass(24 * time.Hour)
	if known, _, err = h.Current(t.Context(), policy.DefaultTenant, p.ID); err != nil || len(known.Roles) != 1 && len(known.Roles) != 2 {
		t.Fatalf("%+v %v", known, err)
	}
	h.clock.pass(time.Second)
	if known, asOf, err = h.Current(t.Context(), policy.DefaultTenant, p.ID); err != nil || len(known.Roles) != 0 || len(known.Claims) != 0 {
		t.Fatalf("claims older than the maximum count: %+v %v %v", known, asOf, err)
	}
	must(t, h.Suspend(t.Context(), nil, "", p.ID, true))
	_, err = h.who(sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, nil)))
	wantCode(t, err, connectors.CodeSuspended)
}

func TestJWTRefused(t *testing.T) {
	i := newIssuer(t)
	key, other := rsaKey(t), rsaKey(t)
	i.set(func(m map[string]crypto.Signer) { m["k1"] = key })
	h := newHouse(t, config(i), identity.Options{})
	at := func(d time.Duration) int64 { return h.clock.now().Add(d).Unix() }
	good := sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, nil))
	if _, err := h.who(good); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	must(t, err)
	parts := strings.Split(good, ".")
	swapped := strings.Split(sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"sub": "boss"})), ".")
	tokens := map[string]string{
		"another's key":            sign(t, jwt.SigningMethodRS256, "k1", other, claims(i, h.clock, nil)),
		"alg none":                 sign(t, jwt.SigningMethodNone, "k1", jwt.UnsafeAllowNoneSignatureType, claims(i, h.clock, nil)),
		"HS256 by the public key":  sign(t, jwt.SigningMethodHS256, "k1", der, claims(i, h.clock, nil)),
		"HS256 by the modulus":     sign(t, jwt.SigningMethodHS256, "k1", key.N.Bytes(), claims(i, h.clock, nil)),
		"without a signature":      parts[0] + "." + parts[1] + ".",
		"another's claims":         parts[0] + "." + swapped[1] + "." + parts[2],
		"padding":                  good + "==",
		"nonsense":                 "a.b.c",
		"issuer":                   sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"iss": "https://evil.example"})),
		"issuer with a slash":      sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"iss": i.URL + "/"})),
		"no issuer":                sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"iss": nil})),
		"audience":                 sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"aud": []string{"other", "acme-graph2"}})),
		"no audience":              sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"aud": nil})),
		"expired":                  sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"exp": at(-31 * time.Second)})),
		"no expiry":                sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"exp": nil})),
		"not yet":                  sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"nbf": at(2 * time.Minute)})),
		"issued in the future":     sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"iat": at(2 * time.Minute)})),
		"delegated":                sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"act": map[string]string{"sub": "agent"}})),
		"no subject":               sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"sub": nil})),
		"a subject with a newline": sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"sub": "a\nb"})),
		"a number as subject":      sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"sub": 7})),
	}
	for name, token := range tokens {
		if p, err := h.who(token); connectors.CodeOf(err) != connectors.CodeUnauthenticated {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	for name, with := range map[string]jwt.MapClaims{
		"expired within the skew": {"exp": at(-29 * time.Second)},
		"not yet within the skew": {"nbf": at(29 * time.Second)},
		"audience among several":  {"aud": []string{"other", "acme-graph"}},
	} {
		if _, err := h.who(sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, with))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A cookie never holds one.
	if _, err := h.Authenticate(t.Context(), identity.Credentials{Cookie: good}); connectors.CodeOf(err) != connectors.CodeUnauthenticated {
		t.Error(err)
	}
	h.clock.pass(2 * time.Hour)
	if _, err := h.who(good); connectors.CodeOf(err) != connectors.CodeUnauthenticated {
		t.Errorf("over, and still believed: %v", err)
	}
}

// eventually tries again: the key set hands the keys of a fetch that just ended
// to whoever asks in the instant before it has put them away.
func eventually(ok func() bool) bool {
	for range 100 {
		if ok() {
			return true
		}
		runtime.Gosched()
	}
	return false
}

func TestJWTKeyRotation(t *testing.T) {
	i := newIssuer(t)
	old := rsaKey(t)
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	i.set(func(m map[string]crypto.Signer) { m["k1"] = old })
	h := newHouse(t, config(i), identity.Options{})
	signOld := func(sub string) string {
		return sign(t, jwt.SigningMethodRS256, "k1", old, claims(i, h.clock, jwt.MapClaims{"sub": sub}))
	}
	signFresh := func(sub string) string {
		return sign(t, jwt.SigningMethodES256, "k2", fresh, claims(i, h.clock, jwt.MapClaims{"sub": sub}))
	}
	i.fail(true)
	_, err = h.who(signOld("a"))
	wantCode(t, err, connectors.CodeUpstreamUnavailable)
	i.fail(false)
	if _, err := h.who(signOld("a")); err != nil {
		t.Fatalf("does not recover: %v", err)
	}
	_, err = h.who(signFresh("b"))
	wantCode(t, err, connectors.CodeUnauthenticated)
	i.set(func(m map[string]crypto.Signer) { m["k2"] = fresh })
	if !eventually(func() bool { _, err := h.who(signFresh("b")); return err == nil }) {
		t.Fatal("a new key is not found")
	}
	if _, err := h.who(signOld("c")); err != nil {
		t.Fatalf("both are valid: %v", err)
	}
	i.set(func(m map[string]crypto.Signer) { delete(m, "k1") })
	if _, err := h.who(sign(t, jwt.SigningMethodRS256, "k3", old, claims(i, h.clock, nil))); connectors.CodeOf(err) != connectors.CodeUnauthenticated {
		t.Fatal(err)
	}
	tries := 0 // each with a token of its own: an answer is kept for a second
	if !eventually(func() bool {
		tries++
		_, err := h.who(signOld(strconv.Itoa(tries)))
		return connectors.CodeOf(err) == connectors.CodeUnauthenticated
	}) {
		t.Fatal("a key that was withdrawn is believed")
	}
	// A flood of forged tokens is no flood at the issuer.
	i.mu.Lock()
	before := i.fetched
	i.mu.Unlock()
	for range 100 {
		if _, err := h.who(sign(t, jwt.SigningMethodRS256, "forged", old, claims(i, h.clock, nil))); connectors.CodeOf(err) != connectors.CodeUnauthenticated {
			t.Fatal(err)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fetched-before > 10 {
		t.Fatalf("%d fetches for 100 forged tokens", i.fetched-before)
	}
}

func TestJWTByMail(t *testing.T) {
	i := newIssuer(t)
	key := rsaKey(t)
	i.set(func(m map[string]crypto.Signer) { m["k1"] = key })
	h := newHouse(t, func(c *identity.Config) {
		config(i)(c)
		c.Issuers[0].Subject = "email"
		c.Issuers[0].JWKS = i.URL + "/keys"
		c.Issuers[0].Tenant = "org"
	}, identity.Options{})
	who := func(with jwt.MapClaims) (*policy.Principal, error) {
		return h.who(sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, with)))
	}
	good := jwt.MapClaims{"email": "Maria@acme.example", "email_verified": true, "org": "default"}
	p, err := who(good)
	if err != nil || p.ID != maria || !slices.Equal(p.Roles, []string{"customer", "lead"}) {
		t.Fatalf("in a request it is what the token says: %+v %v", p, err)
	}
	// Outside of one it is what the person holds altogether.
	known, _, err := h.Current(t.Context(), policy.DefaultTenant, maria)
	if err != nil || !slices.Equal(known.Roles, []string{"customer", "lead", "support"}) {
		t.Fatalf("%+v %v", known, err)
	}
	for name, with := range map[string]jwt.MapClaims{
		"not verified":       {"email_verified": false},
		"verified as a word": {"email_verified": "true"},
		"nothing":            {"email_verified": nil},
		"no address":         {"email": nil},
		"a bare name":        {"email": "maria"},
		"a slash":            {"email": "a/b@acme.example"},
		"no tenant":          {"org": nil},
	} {
		all := maps.Clone(good)
		maps.Copy(all, with)
		if p, err := who(all); connectors.CodeOf(err) != connectors.CodeUnauthenticated {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	other := maps.Clone(good)
	other["org"] = "other"
	if p, err := who(other); err != nil || p.Tenant != "other" {
		t.Fatalf("%+v %v", p, err)
	}
}

// TestKnownTokens: a token is verified once, and again when its issuer gave up
// one of its keys or it is over.
func TestKnownTokens(t *testing.T) {
	i := newIssuer(t)
	key, second := rsaKey(t), rsaKey(t)
	i.set(func(m map[string]crypto.Signer) { m["k1"], m["k2"] = key, second })
	h := newHouse(t, config(i), identity.Options{})
	token := sign(t, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"exp": h.clock.now().Add(time.Hour).Unix()}))
	_, err := h.who(token)
	must(t, err)
	// The issuer is away: what is known is believed, until it is over.
	i.fail(true)
	h.clock.pass(30 * time.Minute)
	_, err = h.who(token)
	must(t, err)
	i.fail(false)
	i.set(func(m map[string]crypto.Signer) { delete(m, "k1") })
	h.clock.pass(11 * time.Minute)
	_, err = h.who(token)
	wantCode(t, err, connectors.CodeUnauthenticated)
}

// BenchmarkJWT is the check of a token: seen within the second (warm), and verified
// before and looked at in the store again (known).
func BenchmarkJWT(b *testing.B) {
	i := newIssuer(b)
	key := rsaKey(b)
	i.set(func(m map[string]crypto.Signer) { m["k1"] = key })
	h := newHouse(b, config(i), identity.Options{})
	token := sign(b, jwt.SigningMethodRS256, "k1", key, claims(i, h.clock, jwt.MapClaims{"exp": h.clock.now().Add(1e6 * time.Hour).Unix()}))
	check := func(b *testing.B) {
		if _, err := h.who(token); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("warm", func(b *testing.B) {
		check(b)
		b.ReportAllocs()
		for b.Loop() {
			check(b)
		}
	})
	b.Run("known", func(b *testing.B) {
		check(b)
		b.ReportAllocs()
		for b.Loop() {
			h.clock.pass(time.Second)
			check(b)
		}
	})
}
