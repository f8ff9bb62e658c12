package shop

import (
	"context"
	"database/sql"
	_ "embed" // the indexes
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Indexes are made last: filling is faster without them.
//
//go:embed indexes.sql
var indexes string

const stamp = "2006-01-02 15:04:05"

// end is when the shop's history ends: it never depends on today.
func end() time.Time { return time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC) }

// filler makes the rows in one transaction. Amounts are cents until they are
// written.
type filler struct {
	ctx    context.Context
	tx     *sql.Tx
	rng    *rand.Rand
	prices []int // of products, by id - 1
	joined []time.Time
}

func fill(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	f := &filler{ctx: ctx, tx: tx, rng: rand.New(rand.NewPCG(2026, 11))}
	steps := []func() error{f.exec(tables), f.products, f.customers, f.orders, f.exec(indexes)}
	for _, step := range steps {
		if err := step(); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

func (f *filler) exec(text string) func() error {
	return func() error {
		_, err := f.tx.ExecContext(f.ctx, text)
		return err
	}
}

// insert prepares an INSERT into all columns of a table.
func (f *filler) insert(table string, columns int) (func(...any) error, error) {
	marks := strings.TrimSuffix(strings.Repeat("?,", columns), ",")
	stmt, err := f.tx.PrepareContext(f.ctx, "INSERT INTO "+table+" VALUES ("+marks+")")
	if err != nil {
		return nil, err
	}
	return func(values ...any) error {
		_, err := stmt.ExecContext(f.ctx, values...)
		return err
	}, nil
}

func pick[T any](f *filler, of []T) T { return of[f.rng.IntN(len(of))] }

func (f *filler) chance(percent int) bool { return f.rng.IntN(100) < percent }

func amount(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

func (f *filler) products() error {
	add, err := f.insert("products", 9)
	if err != nil {
		return err
	}
	lines := productLines()
	for id := 1; id <= products; id++ {
		l := lines[(id-1)%len(lines)]
		price := (l.from+f.rng.IntN(l.to-l.from))*100 + pick(f, []int{0, 50, 90, 95, 99})
		f.prices = append(f.prices, price)
		name := fmt.Sprintf("%s %s %s", pick(f, l.styles), l.thing, pick(f, seriesNames()))
		var released any
		if f.chance(85) {
			released = end().AddDate(0, 0, -30-f.rng.IntN(2500)).Format(time.DateOnly)
		}
		if err := add(id, fmt.Sprintf("%s-%04d", l.code, 1000+id*7%9000), name, l.category, amount(price), "EUR",
			f.rng.IntN(400), f.chance(94), released); err != nil {
			return err
		}
	}
	return nil
}

func (f *filler) customers() error {
	add, err := f.insert("customers", 12)
	if err != nil {
		return err
	}
	addAddress, err := f.insert("addresses", 7)
	if err != nil {
		return err
	}
	places := places()
	taken := make(map[string]int)
	for id := 1; id <= customers; id++ {
		p := places[pick(f, placeDeck())]
		first, last := pick(f, p.firstNames), pick(f, p.lastNames)
		local := ascii(first) + "." + ascii(last)
		taken[local]++
		if n := taken[local]; n > 1 {
			local = fmt.Sprintf("%s%d", local, n)
		}
		email := local + "@" + pick(f, []string{"example.com", "example.org", "example.net", "mail.example"})
		segment, taxID, limit := "private", any(nil), 0
		if f.chance(14) {
			segment, taxID, limit = "business", fmt.Sprintf("%s%09d", p.country, f.rng.IntN(1e9)), 100000*(1+f.rng.IntN(20))
			if f.chance(20) {
				segment = "partner"
			}
		}
		var phone, birth, note any
		if f.chance(80) {
			phone = fmt.Sprintf("%s %d %07d", p.dial, 20+f.rng.IntN(70), f.rng.IntN(1e7))
		}
		if segment == "private" && f.chance(60) {
			birth = end().AddDate(-19-f.rng.IntN(60), 0, -f.rng.IntN(365)).Format(time.DateOnly)
		}
		if f.chance(6) {
			note = pick(f, []string{"Prefers to be called in the afternoon", "Leave parcels with the neighbour", "Pays by invoice only", "Asked for paper invoices"})
		}
		joined := end().Add(-time.Duration(f.rng.Int64N(int64(4 * 365 * 24 * time.Hour))))
		f.joined = append(f.joined, joined)
		if err := add(id, first+" "+last, email, phone, segment, p.country, taxID, amount(limit), f.chance(40), birth, note, joined.Format(stamp)); err != nil {
			return err
		}
		// Address 2n-1 is where customer n gets parcels, 2n where the bills go.
		for i, kind := range []string{"shipping", "billing"} {
			if kind == "billing" && !f.chance(35) {
				continue
			}
			c := pick(f, p.cities)
			street := fmt.Sprintf(pick(f, p.streets), 1+f.rng.IntN(140))
			if err := addAddress(2*id-1+i, id, kind, street, c.code(f), c.name, p.country); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *filler) orders() error {
	addOrder, err := f.insert("orders", 9)
	if err != nil {
		return err
	}
	addLine, err := f.insert("order_lines", 5)
	if err != nil {
		return err
	}
	addPayment, err := f.insert("payments", 8)
	if err != nil {
		return err
	}
	// Orders stand in order of time, over two years, denser towards the end.
	span := 2 * 365 * 24 * time.Hour
	placed := end().Add(-span)
	for id := 1; id <= orders; id++ {
		placed = placed.Add(time.Duration(f.rng.Int64N(int64(2 * span / orders))))
		if placed.After(end()) {
			placed = end()
		}
		customer := f.buyer(placed)
		total, n := 0, 1+min(f.rng.IntN(3), f.rng.IntN(6))
		type line struct{ product, quantity, price int }
		lines := make([]line, n)
		for i := range lines {
			p := 1 + f.rng.IntN(products)
			l := line{p, 1 + min(f.rng.IntN(4), f.rng.IntN(4), f.rng.IntN(4)), f.prices[p-1]}
			if f.chance(10) {
				l.price = l.price * 9 / 10
			}
			lines[i] = l
			total += l.quantity * l.price
		}
		status, shipped := f.fate(placed)
		var shippedAt any
		if shipped {
			shippedAt = placed.Add(time.Duration(6+f.rng.IntN(60)) * time.Hour).Format(stamp)
		}
		if err := addOrder(id, fmt.Sprintf("ORD-%d-%05d", placed.Year(), id), customer, 2*customer-1, status,
			amount(total), "EUR", placed.Format(stamp), shippedAt); err != nil {
			return err
		}
		for i, l := range lines {
			if err := addLine(id, i+1, l.product, l.quantity, amount(l.price)); err != nil {
				return err
			}
		}
		method, state, paidAt := f.payment(status, placed)
		if err := addPayment(id, id, method, state, amount(total), "EUR", fmt.Sprintf("PAY-%07d", id*37%9999991), paidAt); err != nil {
			return err
		}
	}
	return nil
}

// buyer is somebody who was a customer then; the first ids buy more often.
func (f *filler) buyer(at time.Time) int {
	for range 20 {
		x := f.rng.Float64()
		id := int(x*x*customers) + 1
		if f.joined[id-1].Before(at) {
			return id
		}
	}
	return 1
}

// fate is how far an order of that time has come.
func (f *filler) fate(placed time.Time) (status string, shipped bool) {
	age := end().Sub(placed)
	switch {
	case f.chance(4):
		return "cancelled", false
	case age < 2*24*time.Hour:
		return pick(f, []string{"placed", "paid"}), false
	case age < 8*24*time.Hour:
		return "shipped", true
	case f.chance(5):
		return "returned", true
	}
	return "delivered", true
}

func (f *filler) payment(order string, placed time.Time) (method, status string, paidAt any) {
	method = pick(f, []string{"card", "card", "card", "paypal", "paypal", "invoice", "transfer"})
	at := placed.Add(time.Duration(f.rng.IntN(7200)) * time.Second).Format(stamp)
	switch order {
	case "placed":
		return method, "pending", nil
	case "cancelled":
		if f.chance(50) {
			return method, "failed", nil
		}
		return method, "refunded", at
	case "returned":
		return method, "refunded", at
	}
	return method, "captured", at
}
