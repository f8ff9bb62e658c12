// Package shop makes the sample system of record of the demo: a web shop in a
// SQLite file, about 50,000 rows that look real and are the same each time.
// All people are invented, and their e-mail addresses stand under domains that
// are reserved for examples.
//
// It must not know anything of Countersign: it is a foreign system, and nothing
// of this module is imported here.
package shop

import (
	"context"
	"database/sql"
	_ "embed" // the tables
	"errors"
	"fmt"
	"net/url"
	"os"

	_ "modernc.org/sqlite" // the driver
)

//go:embed schema.sql
var tables string

// How much is made. Order lines are about 26,000.
const (
	customers = 3000
	products  = 600
	orders    = 12000
)

// Generate writes the shop to path, replacing what is there. The file appears
// whole or not at all: it is made beside path and renamed.
func Generate(ctx context.Context, path string) (err error) {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the shop's file: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("the shop's file: %w", err)
			os.Remove(tmp)
		}
	}()
	// Nobody reads the file before the rename, so it needs no journal; the
	// one sync that matters is below.
	db, err := open(tmp, "rwc", "journal_mode(off)", "synchronous(off)", "foreign_keys(on)")
	if err != nil {
		return err
	}
	if err := fill(ctx, db); err != nil {
		return errors.Join(err, db.Close())
	}
	if err := db.Close(); err != nil {
		return err
	}
	if err := syncFile(tmp); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// Emails are the e-mail addresses of the first n customers.
func Emails(ctx context.Context, path string, n int) ([]string, error) {
	db, err := open(path, "ro", "query_only(on)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var emails []string
	err = each(ctx, db, `SELECT email FROM customers ORDER BY id LIMIT ?`, n, func(scan func(...any) error) error {
		var email string
		if err := scan(&email); err != nil {
			return err
		}
		emails = append(emails, email)
		return nil
	})
	return emails, err
}

// OrdersByEmail are the ids of the orders of the first n customers, the latest
// first.
func OrdersByEmail(ctx context.Context, path string, n int) (map[string][]int64, error) {
	db, err := open(path, "ro", "query_only(on)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ids := make(map[string][]int64)
	err = each(ctx, db, `SELECT c.email, o.id FROM customers c JOIN orders o ON o.customer_id = c.id
		WHERE c.id IN (SELECT id FROM customers ORDER BY id LIMIT ?) ORDER BY o.id DESC`, n, func(scan func(...any) error) error {
		var email string
		var id int64
		if err := scan(&email, &id); err != nil {
			return err
		}
		ids[email] = append(ids[email], id)
		return nil
	})
	return ids, err
}

func open(path, mode string, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"mode": {mode}, "_pragma": pragmas}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

func each(ctx context.Context, db *sql.DB, query string, n int, do func(scan func(...any) error) error) error {
	rows, err := db.QueryContext(ctx, query, n)
	if err != nil {
		return fmt.Errorf("reading the shop: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows.Scan); err != nil {
			return fmt.Errorf("reading the shop: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading the shop: %w", err)
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
