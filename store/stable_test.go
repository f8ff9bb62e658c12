package store_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/store"
)

func TestStable(t *testing.T) {
	old, fresh := strings.Repeat("o", 40), strings.Repeat("n", 40)
	before, err := store.NewKeyring(old)
	if err != nil {
		t.Fatal(err)
	}
	after, err := store.NewKeyring(fresh, old)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		a, b := before.Stable("cursor", "one"), before.Stable("cursor", "two")
		sealed := a.Seal(plain)
		if sealed != a.Seal(plain) {
			t.Fatal("equal text sealed differently")
		}
		if got, err := after.Stable("cursor", "one").Open(sealed); err != nil || string(got) != string(plain) {
			t.Fatal("a rotated key does not open what was sealed before", err)
		}
		if _, err := b.Open(sealed); err == nil {
			t.Fatal("another tenant opens it")
		}
		if _, err := before.Stable("node", "one").Open(sealed); err == nil {
			t.Fatal("another purpose opens it")
		}
		i := rapid.IntRange(0, len(sealed)-1).Draw(t, "at")
		changed := sealed[:i] + string(sealed[i]^1) + sealed[i+1:]
		if got, err := a.Open(changed); err == nil && string(got) != string(plain) {
			t.Fatal("a changed text opens")
		}
	})
}

// A digest is the same for the same value of one tenant, and tells nothing to who
// has another key.
func TestDigest(t *testing.T) {
	one, two := keyring(t), keyring(t, strings.Repeat("z", 40))
	digest := one.Stable("graph", "a").Digest([]byte("x"))
	if len(digest) != 32 || digest != one.Stable("graph", "a").Digest([]byte("x")) {
		t.Errorf("%q", digest)
	}
	for name, other := range map[string]string{"another value": one.Stable("graph", "a").Digest([]byte("y")), "another tenant": one.Stable("graph", "b").Digest([]byte("x")),
		"a tenant and value that run together": one.Stable("graph", "ax").Digest(nil), "another key": two.Stable("graph", "a").Digest([]byte("x")),
		"another purpose": one.Stable("cursor", "a").Digest([]byte("x"))} {
		if other == digest || len(other) != 32 {
			t.Errorf("%s: %q", name, other)
		}
	}
	if got := (&store.Keyring{}).Stable("graph", "a").Digest([]byte("x")); got != "" {
		t.Errorf("without a key: %q", got)
	}
}
