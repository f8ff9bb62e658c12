package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/countersign/countersign/proposals"
	"github.com/countersign/countersign/proposals/proposalstest"
	"github.com/countersign/countersign/store"
)

func TestKeyringSeals(t *testing.T) {
	k := keyring(t)
	rapid.Check(t, func(t *rapid.T) {
		plain, place := rapid.SliceOf(rapid.Byte()).Draw(t, "plain"), rapid.SliceOf(rapid.Byte()).Draw(t, "place")
		sealed, err := k.Seal("p", place, plain)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Open("p", place, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatal(got, err)
		}
		if _, err := k.Open("q", place, sealed); !errors.Is(err, store.ErrSealed) {
			t.Fatal("opened for another purpose")
		}
		if _, err := k.Open("p", append([]byte("x"), place...), sealed); !errors.Is(err, store.ErrSealed) {
			t.Fatal("opened in another place")
		}
		i := rapid.IntRange(0, len(sealed)-1).Draw(t, "flip")
		sealed[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := k.Open("p", place, sealed); !errors.Is(err, store.ErrSealed) {
			t.Fatal("opened after a flip")
		}
		if _, err := k.Open("p", place, sealed[:i]); !errors.Is(err, store.ErrSealed) {
			t.Fatal("opened a part")
		}
	})
}

func TestKeyringRotates(t *testing.T) {
	older, newer := strings.Repeat("a", 32), strings.Repeat("b", 40)
	old, both, fresh := keyring(t, older), keyring(t, newer, older), keyring(t, newer)
	sealed, err := old.Seal("p", nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.Open("p", nil, sealed); err != nil || string(got) != "x" {
		t.Fatal(got, err)
	}
	if _, err := fresh.Open("p", nil, sealed); !errors.Is(err, store.ErrSealed) {
		t.Fatal(err)
	}
	mac, err := old.MAC("p", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if !both.CheckMAC("p", []byte("x"), mac) || fresh.CheckMAC("p", []byte("x"), mac) || both.CheckMAC("q", []byte("x"), mac) || both.CheckMAC("p", []byte("y"), mac) || both.CheckMAC("p", []byte("x"), "") {
		t.Fatal("MACs")
	}
	one, err := both.Derive("p")
	if err != nil {
		t.Fatal(err)
	}
	if two, err := fresh.Derive("p"); err != nil || !bytes.Equal(one, two) || len(one) != 32 {
		t.Fatal(one, two, err)
	}
	if two, err := fresh.Derive("q"); err != nil || bytes.Equal(one, two) {
		t.Fatal(err)
	}
}

func TestKeyringRefuses(t *testing.T) {
	if _, err := store.NewKeyring(); err == nil {
		t.Fatal("a keyring without a key")
	}
	if _, err := store.NewKeyring(strings.Repeat("a", 31)); err == nil || strings.Contains(err.Error(), "aaa") {
		t.Fatal(err)
	}
	for _, k := range []*store.Keyring{nil, {}} {
		if _, err := k.Seal("p", nil, nil); !errors.Is(err, store.ErrSealed) {
			t.Fatal(err)
		}
		if _, err := k.Open("p", nil, []byte("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")); !errors.Is(err, store.ErrSealed) {
			t.Fatal(err)
		}
		if _, err := k.MAC("p", nil); !errors.Is(err, store.ErrSealed) {
			t.Fatal(err)
		}
		if _, err := k.Derive("p"); !errors.Is(err, store.ErrSealed) {
			t.Fatal(err)
		}
		if k.CheckMAC("p", nil, "") {
			t.Fatal("checked")
		}
	}
}

func TestLoadKeyring(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	macs := make([]string, 8)
	var wg sync.WaitGroup
	for i := range macs {
		wg.Go(func() {
			k, err := store.LoadKeyring(dir)
			if err != nil {
				t.Error(err)
				return
			}
			if macs[i], err = k.MAC("p", []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, mac := range macs {
		if mac != macs[0] || mac == "" {
			t.Fatal("two that start at once have two secrets")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	info, err := entries[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
}

// TestEncrypted holds that data of the sources stands nowhere in clear, that a
// row put in another's place is refused, and that without the key it is not
// read.
func TestEncrypted(t *testing.T) {
	each(t, func(t *testing.T, dsn string) {
		dir := t.TempDir()
		s := open(t, dsn, store.Options{Mode: store.Server, Keyring: keyring(t), DataDir: dir})
		at, err := s.Now(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p, q := proposalstest.SampleProposal("default", 1, at), proposalstest.SampleProposal("default", 2, at)
		r := proposalstest.SampleRevision(p, 1)
		r.Document = "canary-document"
		a := proposalstest.SampleAttempt(p, 0, 1)
		a.Evidence = "canary-evidence"
		key := &proposals.IdempotencyRecord{Tenant: "default", Principal: "user:a", Key: "k\x00\xff", Answer: []byte(`"canary-answer"`), ExpiresAt: at.AddDate(1, 0, 0)}
		err = s.Tx(t.Context(), func(tx proposals.Tx) error {
			return errors.Join(tx.Put(p, 0), tx.Put(q, 0), tx.Write(r, a, key))
		})
		if err != nil {
			t.Fatal(err)
		}
		db := raw(t, dsn)
		for _, table := range []string{"revision", "attempt", "idempotency"} {
			var doc []byte
			if err := db.QueryRow(`SELECT doc FROM ` + table).Scan(&doc); err != nil || len(doc) == 0 || bytes.Contains(doc, []byte("canary")) {
				t.Fatalf("%s: %q %v", table, doc, err)
			}
		}
		clear := open(t, dsn, store.Options{Mode: store.Tool, DataDir: dir})
		if _, err := clear.Get(t.Context(), "default", proposals.Ref{ID: p.ID}); err == nil {
			t.Fatal("read without the key")
		}
		run(t, db, `UPDATE revision SET proposal = $1`, q.ID)
		if d, err := s.Get(t.Context(), "default", proposals.Ref{ID: q.ID}); err == nil {
			t.Fatalf("a revision was put under another proposal: %+v", d)
		}
	})
}
