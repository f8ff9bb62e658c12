package shop_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/examples/shop"
)

// generate makes one shop for all tests that only read it: under the race
// detector making one takes many seconds.
func generate(t *testing.T, made func() (string, error)) string {
	t.Helper()
	path, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestShop(t *testing.T) {
	dir := t.TempDir()
	made := sync.OnceValues(func() (string, error) {
		path := filepath.Join(dir, "shop.db")
		return path, shop.Generate(context.Background(), path)
	})
	t.Run("fills every table", func(t *testing.T) { fillsEveryTable(t, generate(t, made)) })
	t.Run("addresses", func(t *testing.T) { addressesAreOfExampleDomains(t, generate(t, made)) })
	t.Run("deterministic", func(t *testing.T) { isDeterministicAndReplaces(t, generate(t, made)) })
}

func fillsEveryTable(t *testing.T, path string) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	total := 0
	for table, atLeast := range map[string]int{"customers": 3000, "addresses": 3500, "products": 600, "orders": 12000, "order_lines": 20000, "payments": 12000} {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n < atLeast {
			t.Errorf("%s has %d rows, want %d or more", table, n, atLeast)
		}
		total += n
	}
	if total < 50000 {
		t.Errorf("%d rows in all, want about 50,000", total)
	}
	// What the tables promise holds for every row.
	for what, query := range map[string]string{
		"broken foreign keys":          `SELECT count(*) FROM pragma_foreign_key_check`,
		"integrity":                    `SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'`,
		"totals that do not add up":    `SELECT count(*) FROM orders o WHERE abs(total - (SELECT sum(quantity*unit_price) FROM order_lines l WHERE l.order_id = o.id)) > 0.001`,
		"payments of another amount":   `SELECT count(*) FROM payments p JOIN orders o ON o.id = p.order_id WHERE p.amount <> o.total`,
		"orders before their customer": `SELECT count(*) FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.placed_at < c.created_at`,
		"parcels to somebody else":     `SELECT count(*) FROM orders o JOIN addresses a ON a.id = o.shipping_address_id WHERE a.customer_id <> o.customer_id`,
	} {
		var n int
		if err := db.QueryRow(query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n != 0 {
			t.Errorf("%s: %d", what, n)
		}
	}
}

func isDeterministicAndReplaces(t *testing.T, path string) {
	sum := func() [32]byte {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(raw)
	}
	first := sum()
	if err := shop.Generate(context.Background(), path); err != nil {
		t.Fatal(err)
	}
	if sum() != first {
		t.Error("the second file differs from the first")
	}
	if _, err := os.Stat(path + ".tmp"); !os.IsNotExist(err) {
		t.Errorf("a temporary file is left: %v", err)
	}
}

func TestGenerateCancelledLeavesWhatWasThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.db")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := shop.Generate(ctx, path); err == nil {
		t.Fatal("a cancelled run says it is done")
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "old" {
		t.Errorf("the old file is gone: %q, %v", raw, err)
	}
	if _, err := os.Stat(path + ".tmp"); !os.IsNotExist(err) {
		t.Errorf("a temporary file is left: %v", err)
	}
}

func addressesAreOfExampleDomains(t *testing.T, path string) {
	emails, err := shop.Emails(context.Background(), path, 200)
	if err != nil || len(emails) != 200 {
		t.Fatalf("%d addresses, %v", len(emails), err)
	}
	domain := regexp.MustCompile(`@(example\.(com|org|net)|mail\.example)$`)
	seen := make(map[string]bool)
	for _, e := range emails {
		if a, err := mail.ParseAddress(e); err != nil || a.Address != e || !domain.MatchString(e) || e != strings.ToLower(e) || seen[e] {
			t.Errorf("bad or repeated address %q", e)
		}
		for _, r := range e {
			if r > 127 {
				t.Errorf("%q is not ASCII", e)
			}
		}
		seen[e] = true
	}
	byEmail, err := shop.OrdersByEmail(context.Background(), path, 200)
	if err != nil || len(byEmail) < 150 {
		t.Fatalf("%d customers with orders, %v", len(byEmail), err)
	}
	for e, ids := range byEmail {
		if !seen[e] {
			t.Errorf("%s is none of the first customers", e)
		}
		for i := 1; i < len(ids); i++ {
			if ids[i] >= ids[i-1] {
				t.Errorf("orders of %s are not latest first: %v", e, ids)
			}
		}
	}
	none := filepath.Join(t.TempDir(), "none.db")
	if _, err := shop.Emails(context.Background(), none, 1); err == nil {
		t.Error("reading a file that is not there succeeds")
	}
	if _, err := os.Stat(none); !os.IsNotExist(err) {
		t.Errorf("reading made a file: %v", err)
	}
}

func BenchmarkGenerate(b *testing.B) {
	for b.Loop() {
		if err := shop.Generate(context.Background(), filepath.Join(b.TempDir(), "shop.db")); err != nil {
			b.Fatal(err)
		}
	}
}
