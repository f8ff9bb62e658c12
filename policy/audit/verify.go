package audit

import (
	"context"
	"fmt"
	"sort"
)

// A Report is what Verify found.
type Report struct {
	Tenants []TenantReport `json:"tenants"`
}

// A TenantReport is about the chain of one tenant.
type TenantReport struct {
	Tenant string `json:"tenant"`
	// Sealed is how many events were proven, Unsealed how many have no place in
	// the chain yet, Erased how many of the proven ones have lost their payload
	// by an erasure that is itself an event.
	Sealed   int64 `json:"sealed"`
	Unsealed int64 `json:"unsealed"`
	Erased   int64 `json:"erased"`
	// Head is the end of what was proven.
	Head Head `json:"head"`
	// Wrong is the first wrong event; nil where all is well.
	Wrong *Wrong `json:"wrong,omitempty"`
}

// A Wrong names the first event of a chain that is not what was sealed.
type Wrong struct {
	Tenant string `json:"tenant"`
	Seq    int64  `json:"seq"`
	// EventID is empty where the event is missing.
	EventID string `json:"eventId,omitempty"`
	// Kind is stable: missing, changed, payload or head.
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// The kinds of Wrong.
const (
	WrongMissing = "missing" // no event has this place, though later ones or a kept head do
	WrongChanged = "changed" // the event, or its place, is not what was sealed
	WrongPayload = "payload" // the payload is not the one that was appended, or was removed without an erasure
	WrongHead    = "head"    // the chain is whole, but is not the one that a kept head was taken of
)

// Wrong is the first wrong event of the first tenant that has one; nil where
// everything sealed is proven.
func (r Report) Wrong() *Wrong {
	for i := range r.Tenants {
		if w := r.Tenants[i].Wrong; w != nil {
			return w
		}
	}
	return nil
}

// String is one line per tenant, for people.
func (r Report) String() string {
	out := ""
	for _, t := range r.Tenants {
		out += fmt.Sprintf("tenant %s: %d sealed events proven, %d not sealed yet, %d payloads erased", t.Tenant, t.Sealed, t.Unsealed, t.Erased)
		if t.Wrong != nil {
			out += fmt.Sprintf("; WRONG from event %d on: %s", t.Wrong.Seq, t.Wrong.Message)
		}
		out += "\n"
	}
	return out
}

const verifyPage = 500

// Verify proves the sealed part of every tenant's chain and counts the rest.
// What is wrong stands in the report; the error is only for a store that could
// not be read. It may run while events are appended and sealed.
func Verify(ctx context.Context, store Store) (Report, error) {
	var report Report
	tenants, err := store.Tenants(ctx)
	if err != nil {
		return report, err
	}
	for _, tenant := range tenants {
		t, err := verifyTenant(ctx, store, tenant)
		if err != nil {
			return report, err
		}
		report.Tenants = append(report.Tenants, t)
	}
	return report, nil
}

// A walk is the state of proving one chain.
type walk struct {
	report TenantReport
	heads  []Head // kept ones, by Seq, not yet passed
	// gone are events without payload by id; erased, the ids that erasures name.
	gone   map[string]Wrong
	erased map[string]bool
}

func verifyTenant(ctx context.Context, store Store, tenant string) (TenantReport, error) {
	// Heads first: the chain only grows, so every kept head must be on it.
	heads, err := store.Heads(ctx, tenant)
	if err != nil {
		return TenantReport{}, err
	}
	sort.Slice(heads, func(i, j int) bool { return heads[i].Seq < heads[j].Seq })
	w := &walk{heads: heads, gone: map[string]Wrong{}, erased: map[string]bool{}}
	w.report = TenantReport{Tenant: tenant, Head: Head{Tenant: tenant}}
	for w.report.Wrong == nil {
		page, err := store.Sealed(ctx, tenant, w.report.Head.Seq, verifyPage)
		if err != nil {
			return TenantReport{}, err
		}
		for i := range page {
			if w.report.Wrong = w.step(&page[i]); w.report.Wrong != nil {
				break
			}
		}
		if len(page) == 0 {
			break
		}
	}
	if err := w.unsealed(ctx, store); err != nil {
		return TenantReport{}, err
	}
	w.finish()
	return w.report, nil
}

// step proves one event.
func (w *walk) step(r *Record) *Wrong {
	head := w.report.Head
	if r.Seq != head.Seq+1 {
		return &Wrong{Tenant: head.Tenant, Seq: head.Seq + 1, Kind: WrongMissing,
			Message: fmt.Sprintf("event %d is missing; the next one there is %d", head.Seq+1, r.Seq)}
	}
	next := Extend(head, r)
	if next.Hash != r.Hash {
		return &Wrong{Tenant: head.Tenant, Seq: r.Seq, EventID: r.ID, Kind: WrongChanged,
			Message: fmt.Sprintf("event %d (%s of %s) is not what was sealed in this place", r.Seq, r.Kind, r.Subject)}
	}
	for len(w.heads) > 0 && w.heads[0].Seq <= r.Seq {
		kept := w.heads[0]
		w.heads = w.heads[1:]
		if kept.Seq == r.Seq && kept.Hash != r.Hash {
			return &Wrong{Tenant: head.Tenant, Seq: r.Seq, EventID: r.ID, Kind: WrongHead,
				Message: fmt.Sprintf("the chain up to event %d is not the one whose end was kept: it was written anew", r.Seq)}
		}
	}
	if r.Salt == nil {
		w.gone[r.ID] = Wrong{Tenant: head.Tenant, Seq: r.Seq, EventID: r.ID, Kind: WrongPayload,
			Message: fmt.Sprintf("the payload of event %d was removed, and no erasure tells of it", r.Seq)}
	} else if SaltedDigest(r.Salt, r.Payload) != r.PayloadDigest {
		return &Wrong{Tenant: head.Tenant, Seq: r.Seq, EventID: r.ID, Kind: WrongPayload,
			Message: fmt.Sprintf("the payload of event %d is not the one that was appended", r.Seq)}
	}
	if r.Kind == KindErased {
		w.erased[r.Subject] = true
	}
	w.report.Head = next
	w.report.Sealed++
	return nil
}

// unsealed counts what has no place yet; an erasure may be among it.
func (w *walk) unsealed(ctx context.Context, store Store) error {
	after := int64(0)
	for {
		page, err := store.Unsealed(ctx, w.report.Tenant, after, verifyPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for i := range page {
			if page[i].Kind == KindErased {
				w.erased[page[i].Subject] = true
			}
		}
		w.report.Unsealed += int64(len(page))
		after = page[len(page)-1].N
	}
}

// finish looks for what only the end can tell: a chain that was cut, and
// payloads that went without an erasure.
func (w *walk) finish() {
	head := w.report.Head
	first := w.report.Wrong
	if first == nil && len(w.heads) > 0 {
		last := w.heads[len(w.heads)-1]
		if last.Seq > head.Seq {
			first = &Wrong{Tenant: head.Tenant, Seq: head.Seq + 1, Kind: WrongMissing,
				Message: fmt.Sprintf("the chain ends at event %d, but was sealed up to %d: its end was cut off", head.Seq, last.Seq)}
		}
	}
	for id, gone := range w.gone {
		if w.erased[id] {
			w.report.Erased++
		} else if first == nil || gone.Seq < first.Seq {
			first = &gone
		}
	}
	w.report.Wrong = first
}
