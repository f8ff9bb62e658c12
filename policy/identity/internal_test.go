package identity

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// FuzzToken holds that the outer form of a token has one spelling: whatever is
// recognised is exactly what newToken would write.
func FuzzToken(f *testing.F) {
	for _, prefix := range []string{sessionPrefix, keyPrefix, linkPrefix, devicePrefix, browserPrefix} {
		token, _, err := newToken(prefix)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(token)
		f.Add(token[:len(token)-1])
		f.Add(token + "=")
		f.Add(token[:20] + "\n" + token[21:])
	}
	f.Add("a.b.c")
	f.Add("cs_")
	f.Add("css_cs_")
	f.Fuzz(func(t *testing.T, text string) {
		prefix := ""
		switch formOf(text) {
		case formSession:
			prefix = sessionPrefix
		case formKey:
			prefix = keyPrefix
		case formLink:
			prefix = linkPrefix
		case formDevice:
			prefix = devicePrefix
		case formBrowser:
			prefix = browserPrefix
		case formJWT:
			if strings.Count(text, ".") != 2 || len(text) > maxToken {
				t.Fatalf("%q is no JWT", text)
			}
			return
		default:
			return
		}
		secret, err := tokenEncoding.DecodeString(strings.TrimPrefix(text, prefix))
		if err != nil || len(secret) != secretSize || prefix+tokenEncoding.EncodeToString(secret) != text {
			t.Fatalf("%q is another spelling (%v)", text, err)
		}
	})
}

// FuzzPHC holds that no stored text makes the parser allow what would exhaust
// the machine.
func FuzzPHC(f *testing.F) {
	f.Add(PasswordCost{MemoryKiB: 64, Passes: 1, Threads: 1}.encode(make([]byte, 16), make([]byte, 32)))
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=-1,t=0,p=0$$")
	f.Fuzz(func(t *testing.T, stored string) {
		cost, salt, hash, ok := parsePHC(stored)
		if ok && (cost.MemoryKiB > maxMemoryKiB || cost.Passes == 0 || cost.Passes > maxPasses || cost.Threads == 0 || len(salt) < 8 || len(hash) < 16) {
			t.Fatalf("%q: %+v", stored, cost)
		}
	})
}

func TestPassword(t *testing.T) {
	s := &Service{cfg: Config{Password: PasswordCost{MemoryKiB: 64, Passes: 2, Threads: 1}}, hashing: make(chan struct{}, 1)}
	one, err := s.hashPassword(t.Context(), "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.hashPassword(t.Context(), "correct horse battery")
	if err != nil || one == two || !strings.HasPrefix(one, "$argon2id$v=19$m=64,t=2,p=1$") {
		t.Fatal(one, two, err)
	}
	// A cost that was raised since does not matter: the hash holds its own.
	s.cfg.Password = PasswordCost{MemoryKiB: 128, Passes: 1, Threads: 2}
	for password, want := range map[string]bool{"correct horse battery": true, "correct horse batterx": false, "": false} {
		if ok, err := s.verifyPassword(t.Context(), one, password); ok != want || err != nil {
			t.Errorf("%q: %v %v", password, ok, err)
		}
	}
	// A hash of the reference implementation (its test.c).
	reference := "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	if ok, err := s.verifyPassword(t.Context(), reference, "password"); !ok || err != nil {
		t.Errorf("the reference's hash: %v %v", ok, err)
	}
	for _, broken := range []string{"", "x", one[:len(one)-3] + "!!!", strings.Replace(one, "argon2id", "argon2i", 1), strings.Replace(one, "v=19", "v=16", 1), strings.Replace(one, "m=64", "m=99999999", 1)} {
		if ok, err := s.verifyPassword(t.Context(), broken, "correct horse battery"); ok || err != nil {
			t.Errorf("%q: %v %v", broken, ok, err)
		}
	}
	if _, err := s.hashPassword(t.Context(), "too short"); connectors.CodeOf(err) != connectors.CodeBadInput {
		t.Error(err)
	}
	if ok, _ := s.verifyPassword(t.Context(), (PasswordCost{MemoryKiB: 64, Passes: 1, Threads: 1}).encode(make([]byte, saltSize), make([]byte, hashSize)), ""); ok {
		t.Error("the decoy has a password")
	}
}

// TestBounded holds that a flood of names or tokens fills no memory.
func TestBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	clock := func() time.Time { return now }
	c := newCache[*policy.Principal](clock)
	for i := range cacheSize + 500 {
		c.put(fmt.Sprint(i), c.generation(), policy.AnonymousPrincipal(), now.Add(time.Hour))
	}
	if len(c.m) > cacheSize {
		t.Fatalf("%d cached", len(c.m))
	}
	l := newLimiter(clock)
	for i := range limiterSize + 500 {
		if err := l.take(fmt.Sprint(i), ratePerUser); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.m) > limiterSize {
		t.Fatalf("%d remembered", len(l.m))
	}
}

// TestCacheIsNotLate holds that an answer read before a revocation is not kept
// after it.
func TestCacheIsNotLate(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newCache[*policy.Principal](func() time.Time { return now })
	gen := c.generation()
	c.drop() // somebody revoked while the store was being read
	c.put("x", gen, policy.AnonymousPrincipal(), now.Add(time.Hour))
	if c.get([]byte("x")) != nil {
		t.Fatal("kept")
	}
	c.put("x", c.generation(), policy.AnonymousPrincipal(), now.Add(10*time.Millisecond))
	if c.get([]byte("x")) == nil {
		t.Fatal("not kept")
	}
	now = now.Add(10 * time.Millisecond)
	if c.get([]byte("x")) != nil {
		t.Fatal("outlives its credential")
	}
}

func BenchmarkWarmToken(b *testing.B) {
	token, hash, err := newToken(keyPrefix)
	if err != nil {
		b.Fatal(err)
	}
	at := time.Now()
	s := &Service{clock: time.Now, cache: newCache[*policy.Principal](func() time.Time { return at })}
	s.cache.put(hash, s.cache.generation(), policy.AnonymousPrincipal(), at.Add(time.Hour))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), Credentials{Bearer: token}); err != nil {
			b.Fatal(err)
		}
	}
}
