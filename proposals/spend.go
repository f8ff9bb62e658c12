package proposals

import (
	"context"

	"github.com/countersign/countersign/policy"
)

// Spent are the amounts of a direct write that was let through.
type Spent struct {
	s                 *Service
	tenant, principal string
	day               int64
}

// Spend counts the amounts of a direct write as used, before it is done: what
// is not done is freed afterwards, and what nobody knows of stays counted. The
// error is CodeBudgetExhausted where the principal has less, or the store's.
func (s *Service) Spend(ctx context.Context, author *policy.Principal, in []policy.Amount) (*Spent, error) {
	amounts, unknown := amountsOf(in)
	caps := s.caps(author.ID)
	out := &Spent{s: s, tenant: author.Tenant, principal: author.ID}
	if len(amounts) == 0 && caps.Amount == nil {
		return out, nil
	}
	return out, s.using(ctx, out, func(u *Use, tx Tx) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		if err := u.admits(caps, amounts, unknown, 0, now); err != nil {
			return err
		}
		out.day = DayOf(now)
		for _, m := range amounts {
			u.add(m.Currency, out.day, m.Micros, 0)
		}
		return nil
	})
}

// Free takes back amounts that were counted and not spent, of that same day.
func (p *Spent) Free(ctx context.Context, in []policy.Amount) error {
	amounts, _ := amountsOf(in)
	if len(amounts) == 0 || p.day == 0 {
		return nil
	}
	return p.s.using(ctx, p, func(u *Use, _ Tx) error {
		for _, m := range amounts {
			if u.Sums[m.Currency].Day == p.day {
				u.add(m.Currency, p.day, -m.Micros, 0)
			}
		}
		return nil
	})
}

// using changes the use of a principal in a transaction of its own.
func (s *Service) using(ctx context.Context, p *Spent, fn func(*Use, Tx) error) error {
	return s.retrying(ctx, func() error {
		return s.cfg.Store.Tx(ctx, func(tx Tx) error {
			u, err := tx.Use(p.tenant, p.principal)
			if err != nil {
				return err
			}
			if err := fn(u, tx); err != nil {
				return err
			}
			u.Version++
			return tx.Write(u)
		})
	})
}
