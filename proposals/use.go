package proposals

import (
	"fmt"
	"maps"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A Use is what one principal has open and what its amounts come to. It is kept
// exactly: in the transactions that make and end proposals, and before and
// after direct writes.
type Use struct {
	Tenant    string `json:"tenant"`
	Principal string `json:"principal"`
	// Version is compared by whoever computed something from it.
	Version int64 `json:"version"`
	// Open proposals that were counted.
	Open int `json:"open"`
	// Sums by currency.
	Sums map[string]Sum `json:"sums,omitempty"`
}

// A Sum is what the amounts in one currency come to, in millionths.
type Sum struct {
	// Day is the day of Used: days since 1970 in UTC, by the store's clock.
	Day int64 `json:"day"`
	// Used on that day: executed proposals and direct writes.
	Used int64 `json:"used"`
	// Reserved by open proposals, of any day.
	Reserved int64 `json:"reserved"`
}

// Today is what counts on a day.
func (s Sum) Today(day int64) int64 {
	if s.Day != day {
		return s.Reserved
	}
	return s.Used + s.Reserved
}

// DayOf is the day of a time, for Sum.
func DayOf(t time.Time) int64 { return t.Unix() / 86400 }

// Caps are what one principal may have at once. The zero Caps bound nothing.
type Caps struct {
	OpenProposals int
	// Amount in a day; nil: no bound.
	Amount *policy.Money
}

// add puts a sum of a currency in place, of the day given.
func (u *Use) add(currency string, day, used, reserved int64) {
	s := u.Sums[currency]
	if s.Day != day {
		s.Day, s.Used = day, 0
	}
	s.Used = max(policy.Money{Micros: s.Used}.Plus(used).Micros, 0)
	s.Reserved = max(policy.Money{Micros: s.Reserved}.Plus(reserved).Micros, 0)
	sums := maps.Clone(u.Sums)
	if sums == nil {
		sums = map[string]Sum{}
	}
	sums[currency] = s
	u.Sums = sums
}

// amountsOf are those that are known, and whether any that is declared is not.
func amountsOf(in []policy.Amount) (known []policy.Money, unknown bool) {
	for _, a := range in {
		switch {
		case a.Money != nil:
			known = append(known, *a.Money)
		case a.Declared:
			unknown = true
		}
	}
	return known, unknown
}

// admits tells whether amounts and one proposal more fit into the caps. The
// error is CodeBudgetExhausted.
func (u *Use) admits(caps Caps, amounts []policy.Money, unknown bool, open int, now time.Time) error {
	if caps.OpenProposals > 0 && open > 0 && u.Open+open > caps.OpenProposals {
		e := connectors.Errorf(connectors.CodeBudgetExhausted, "too many open proposals: %d are allowed", caps.OpenProposals)
		e.Because = []string{fmt.Sprintf("%s has %d open proposals of %d", u.Principal, u.Open, caps.OpenProposals)}
		e.Unblock = []string{"wait until some of them are decided, or withdraw some"}
		return e
	}
	if caps.Amount == nil || len(amounts) == 0 && !unknown {
		return nil
	}
	if unknown {
		e := connectors.Errorf(connectors.CodeBudgetExhausted, "the amount of this cannot be told, and the caller has a budget of amounts")
		e.Because, e.PolicyFinal = []string{"what cannot be told is not taken for nothing"}, true
		e.Unblock = []string{"name the amount, as a plain number"}
		return e
	}
	today, add := u.Sums[caps.Amount.Currency].Today(DayOf(now)), policy.Money{Currency: caps.Amount.Currency}
	for _, m := range amounts {
		if m.Currency != caps.Amount.Currency {
			e := connectors.Errorf(connectors.CodeBudgetExhausted, "the budget of amounts is in %s, and this is in %s", caps.Amount.Currency, m.Currency)
			e.Because, e.PolicyFinal = []string{u.Principal + " has no budget in " + m.Currency}, true
			return e
		}
		add = add.Plus(m.Micros)
	}
	if (policy.Money{Micros: today}).Plus(add.Micros).Micros <= caps.Amount.Micros {
		return nil
	}
	e := connectors.Errorf(connectors.CodeBudgetExhausted, "the budget of amounts is used up: %s in a day", caps.Amount)
	e.Because = []string{fmt.Sprintf("%s has used and reserved %s of %s today, and this is %s", u.Principal,
		policy.Money{Currency: add.Currency, Micros: today}, caps.Amount, add)}
	if add.Micros > caps.Amount.Micros {
		e.PolicyFinal, e.Unblock = true, []string{"the whole budget is less than this"}
		return e
	}
	e.RetryAfter = time.Unix((DayOf(now)+1)*86400, 0).Sub(now)
	e.Unblock = []string{"wait until the day ends (UTC), or until open proposals are decided: what is rejected or withdrawn is free again"}
	return e
}

func (s *Service) caps(principal string) Caps {
	if s.cfg.Caps == nil {
		return Caps{}
	}
	return s.cfg.Caps(principal)
}

// account keeps the use of a proposal's principal with a transition: reserved
// when it is made, used when it was executed, free when it ended otherwise. It
// may mark the new head.
func (s *Service) account(tx Tx, from State, draft *Draft, h *Proposal) error {
	begins, ends := from == None && h.State.Open(), from.Open() && h.State.Terminal() && h.Counted
	if !begins && !ends {
		return nil
	}
	caps := s.caps(h.Author.Principal)
	if begins && len(h.Amounts) == 0 && caps == (Caps{}) {
		return nil
	}
	now, err := tx.Now()
	if err != nil {
		return err
	}
	u, err := tx.Use(h.Tenant, h.Author.Principal)
	if err != nil {
		return err
	}
	day := DayOf(now)
	if begins {
		if len(h.Amounts) > 0 && (u.Version != draft.UseVersion || day != draft.Day) {
			return errMoved // what it comes to today is another sum now
		}
		if err := u.admits(caps, h.Amounts, draft.AmountUnknown, 1, now); err != nil {
			return err
		}
		h.Counted = true
		u.Open++
	} else {
		u.Open = max(u.Open-1, 0)
	}
	for _, m := range h.Amounts {
		switch {
		case begins:
			u.add(m.Currency, day, 0, m.Micros)
		case h.State.EffectMayExist():
			u.add(m.Currency, day, m.Micros, -m.Micros)
		default:
			u.add(m.Currency, day, 0, -m.Micros)
		}
	}
	u.Version++
	return tx.Write(u)
}

// amounts finds what a new proposal's amounts are, and what they come to today.
func (s *Service) amounts(u *Use, in []policy.Amount, now time.Time, d *Draft) (today map[string]int64) {
	d.Head.Amounts, d.AmountUnknown = amountsOf(in)
	if len(d.Head.Amounts) == 0 {
		return nil
	}
	d.UseVersion, d.Day = u.Version, DayOf(now)
	today = map[string]int64{}
	for _, m := range d.Head.Amounts {
		sum, begun := today[m.Currency]
		if !begun {
			sum = u.Sums[m.Currency].Today(d.Day)
		}
		today[m.Currency] = policy.Money{Micros: sum}.Plus(m.Micros).Micros
	}
	return today
}
