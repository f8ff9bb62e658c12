package desk

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// A topic is what a seeded ticket is about. {o} is the order's number.
type topic struct {
	subject, text, tag string
	answers            []string
	refund             bool
	weight             int
}

func topics() []topic {
	return []topic{
		{"Where is my parcel?", "I ordered more than a week ago (order {o}) and the tracking has not moved since it left the depot. Can you find out where it is?", "delivery",
			[]string{"I have opened an inquiry with the carrier, they answer within two working days.", "The parcel was found at the depot and goes out tomorrow."}, false, 5},
		{"Parcel arrived damaged", "The box of order {o} was crushed and the item inside has a crack along the side. I have photos. Please tell me how to go on.", "damage",
			[]string{"I am sorry to read that. Could you send us two photos of the box and the item?", "Thank you, that is clear. We will pay the amount back."}, true, 4},
		{"Wrong size sent", "I asked for size M and got an L with order {o}. I would like to swap it, or get my money back if M is gone.", "exchange",
			[]string{"The right size is reserved for you. The return label is on its way by mail.", "Exchange sent out."}, true, 3},
		{"Charged twice", "My card statement shows two charges for order {o}. Please check and return one of them.", "billing",
			[]string{"I see two authorisations, one of which was never captured. I am asking our payment provider.", "The second charge is confirmed, it will be returned."}, true, 3},
		{"Change the delivery address", "I have moved. Can order {o} still go to my new address? I will put it into my account as well.", "address",
			[]string{"It has not left yet, so yes. Please confirm the new address by answering this mail."}, false, 3},
		{"Cannot sign in", "The link for a new password never arrives, I have looked in the spam folder as well.", "account",
			[]string{"Your address was on our bounce list after a full mailbox. I removed it, please try again."}, false, 2},
		{"Invoice needed for my company", "Please send me an invoice for order {o} with our VAT number on it.", "invoice",
			[]string{"Done, the invoice is attached to the order in your account."}, false, 2},
		{"Missing item in my order", "Order {o} was complete according to the slip, but one item was not in the box.", "missing",
			[]string{"The weight at dispatch was lower than it should have been, so you are right. Do you want it sent again or paid back?", "We send it again today."}, true, 3},
		{"Question about a product", "Does it fit the older model as well? The page does not say.", "product",
			[]string{"It does, from 2019 on."}, false, 2},
		{"Cancel my order", "I ordered by mistake, please cancel order {o} before it ships.", "cancel",
			[]string{"It is cancelled. The money is back within three working days."}, true, 2},
	}
}

// seedTime is when the seeded history ends: the seed never depends on today.
func seedTime() time.Time { return time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC) }

// seedEntries makes the history that a new desk begins with, the same for the
// same options. Some people write often and most once or twice.
func seedEntries(o Options) []entry {
	if len(o.Requesters) == 0 {
		return nil
	}
	g := &seeder{rng: rand.New(rand.NewPCG(2026, 1120)), opts: o, topics: topics()}
	for i := range g.topics {
		for range g.topics[i].weight {
			g.deck = append(g.deck, i)
		}
	}
	// Ids of tickets are dense from 1; comments and refunds follow.
	g.id = int64(o.Tickets)
	for i := range o.Tickets {
		g.ticket(int64(i + 1))
	}
	return append(g.tickets, g.rest...)
}

type seeder struct {
	rng           *rand.Rand
	opts          Options
	topics        []topic
	deck          []int
	tickets, rest []entry
	id            int64
}

func pick[T any](g *seeder, of []T) T { return of[g.rng.IntN(len(of))] }

func (g *seeder) next() int64 { g.id++; return g.id }

func (g *seeder) ticket(id int64) {
	// The square of an even draw favours the first of the list.
	x := g.rng.Float64()
	email := g.opts.Requesters[int(x*x*float64(len(g.opts.Requesters)))]
	tp := g.topics[pick(g, g.deck)]
	var order *int64
	number := "from last week"
	if ids := g.opts.Orders[email]; len(ids) > 0 {
		n := pick(g, ids)
		order, number = &n, fmt.Sprint(n)
	}
	age := time.Duration(int64(g.opts.Tickets)-id)*9*time.Hour + time.Duration(g.rng.IntN(9*3600))*time.Second
	created := seedTime().Add(-age)
	t := &Ticket{ID: id, Version: 1, Subject: tp.subject, RequesterEmail: email, OrderID: order,
		Description: strings.ReplaceAll(tp.text, "{o}", number),
		Priority:    pick(g, []string{"low", "normal", "normal", "normal", "high", "high", "urgent"}),
		Tags:        []string{tp.tag}, CreatedAt: created, UpdatedAt: created,
		Origin: Origin{Channel: pick(g, []string{"email", "email", "web", "web", "chat", "phone"})}}
	if g.rng.IntN(3) > 0 {
		locale := pick(g, []string{"en", "en", "de", "fr", "nl"})
		t.Origin.Locale = &locale
	}
	switch {
	case age > 60*24*time.Hour:
		t.Status = "closed"
	case age > 20*24*time.Hour:
		t.Status = pick(g, []string{"solved", "solved", "solved", "pending"})
	default:
		t.Status = pick(g, []string{"open", "open", "pending", "solved"})
	}
	if t.Status != "open" || g.rng.IntN(2) == 0 {
		who := pick(g, []string{"maya@desk.example", "jonas@desk.example", "aylin@desk.example"})
		t.Assignee = &who
	}
	g.tickets = append(g.tickets, entry{Ticket: t})
	g.comments(t, tp)
}

func (g *seeder) comments(t *Ticket, tp topic) {
	at := t.CreatedAt
	say := func(author, body string, public bool) {
		at = at.Add(time.Duration(600+g.rng.IntN(8*3600)) * time.Second)
		if at.After(seedTime()) {
			at = seedTime()
		}
		g.rest = append(g.rest, entry{Comment: &Comment{ID: g.next(), TicketID: t.ID, Author: author, Body: body, Public: public, CreatedAt: at}})
		t.UpdatedAt = at
	}
	if t.Assignee == nil {
		return
	}
	n := 1
	if t.Status != "open" {
		n = len(tp.answers)
	}
	for i, a := range tp.answers[:n] {
		say(*t.Assignee, a, true)
		if i == 0 && g.rng.IntN(2) == 0 {
			say(t.RequesterEmail, pick(g, []string{"Thank you for the quick answer.", "That helps, thanks.", "Here are the details you asked for."}), true)
		}
	}
	done := t.Status == "solved" || t.Status == "closed"
	if done && tp.refund && t.OrderID != nil && g.rng.IntN(3) == 0 {
		say(*t.Assignee, "Refund entered.", false)
		amount := fmt.Sprintf("%d.%02d", 5+g.rng.IntN(70), pick(g, []int{0, 50, 90, 95, 99}))
		g.rest = append(g.rest, entry{Refund: &Refund{ID: g.next(), TicketID: t.ID, OrderID: *t.OrderID, Amount: amount,
			Currency: "EUR", Reason: tp.subject, Status: "paid", CreatedAt: at}})
	}
}
