package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"time"
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
	// Head is the end of what was proven. Base is where the chain begins: what
	// was before is older than is kept.
	Head Head `json:"head"`
	Base Head `json:"base"`
	// Checkpoints is how many were proven, and Signed the last of them: what
	// comes after could be cut off without a trace here. nil: none was.
	Checkpoints int64       `json:"checkpoints"`
	Signed      *Checkpoint `json:"signed,omitempty"`
	// Wrong is the first wrong event; nil where all is well.
	Wrong *Wrong `json:"wrong,omitempty"`
}

// A Wrong names the first event of a chain that is not what was sealed.
type Wrong struct {
	Tenant string `json:"tenant"`
	Seq    int64  `json:"seq"`
	// EventID is empty where the event is missing.
	EventID string `json:"eventId,omitempty"`
	// Kind is stable: missing, changed, moved, payload, head or signature.
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// The kinds of Wrong.
const (
	WrongMissing = "missing" // no event has this place, though later ones or a kept head do
	WrongChanged = "changed" // the event is not what was sealed in its place
	WrongMoved   = "moved"   // another event that is still there was sealed in this place
	WrongPayload = "payload" // the payload is not the one that was appended, or was removed without an erasure
	WrongHead    = "head"    // the chain is whole, but is not the one that a kept head or a checkpoint was taken of
	// WrongSignature: none of the keys signed a checkpoint.
	WrongSignature = "signature"
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

// String is a line or two per tenant, for people.
func (r Report) String() string {
	out := ""
	for _, t := range r.Tenants {
		out += fmt.Sprintf("tenant %s: %d sealed events proven, %d not sealed yet, %d payloads erased", t.Tenant, t.Sealed, t.Unsealed, t.Erased)
		if t.Base.Seq > 0 {
			out += fmt.Sprintf(", begins after event %d", t.Base.Seq)
		}
		if t.Wrong != nil {
			out += fmt.Sprintf("; WRONG from event %d on: %s", t.Wrong.Seq, t.Wrong.Message)
		}
		out += fmt.Sprintf("\n  ends at event %d (%s)", t.Head.Seq, short(t.Head.Hash))
		if t.Signed != nil {
			out += fmt.Sprintf("; %d checkpoints proven, signed up to event %d at %s", t.Checkpoints, t.Signed.Seq, t.Signed.At.Format(time.RFC3339))
		}
		out += "\n"
	}
	return out
}

// short is enough of a hash to compare by eye.
func short(hash string) string { return hash[:min(len(hash), 16)] }

const verifyPage = 500

// Options of Verify.
type Options struct {
	// Keys prove checkpoints; empty: their signatures are not looked at, only
	// whether the chain is theirs.
	Keys []PublicKey
	// Outside are checkpoints that were kept elsewhere. Their signatures are
	// looked at like those of the store.
	Outside []Checkpoint
}

// Verify proves the sealed part of every tenant's chain and counts the rest.
// What is wrong stands in the report; the error is only for a store that could
// not be read. It may run while events are appended and sealed.
func Verify(ctx context.Context, store Store, opts Options) (Report, error) {
	var report Report
	tenants, err := store.Tenants(ctx)
	if err != nil {
		return report, err
	}
	for _, c := range opts.Outside {
		if !slices.Contains(tenants, c.Tenant) {
			tenants = append(tenants, c.Tenant)
		}
	}
	for _, tenant := range tenants {
		t, err := verifyTenant(ctx, store, tenant, opts)
		if err != nil {
			return report, err
		}
		if base, err := store.Base(ctx, tenant); err != nil {
			return report, err
		} else if t.Wrong != nil && base != t.Base {
			// What was too old was removed meanwhile.
			if t, err = verifyTenant(ctx, store, tenant, opts); err != nil {
				return report, err
			}
		}
		report.Tenants = append(report.Tenants, t)
	}
	return report, nil
}

// A walk is the state of proving one chain.
type walk struct {
	report TenantReport
	opts   Options
	heads  []Head       // kept ones, by Seq, not yet passed
	signed []Checkpoint // by Seq, not yet passed
	// gone are events without payload by id; erased, the ids that erasures name.
	gone   map[string]Wrong
	erased map[string]bool
	pruned []Head // as events tell
}

func verifyTenant(ctx context.Context, store Store, tenant string, opts Options) (TenantReport, error) {
	// Heads and checkpoints first: the chain only grows, so all of them must be
	// on it. The base last: what it tells of was there before.
	w := &walk{opts: opts, gone: map[string]Wrong{}, erased: map[string]bool{}}
	if err := w.read(ctx, store, tenant); err != nil {
		return TenantReport{}, err
	}
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
	if wrong := w.report.Wrong; wrong != nil && wrong.Kind == WrongChanged {
		if err := w.moved(ctx, store, wrong); err != nil {
			return TenantReport{}, err
		}
	}
	if err := w.unsealed(ctx, store); err != nil {
		return TenantReport{}, err
	}
	w.finish()
	return w.report, nil
}

// read takes what the chain is compared with.
func (w *walk) read(ctx context.Context, store Store, tenant string) (err error) {
	if w.heads, err = store.Heads(ctx, tenant); err != nil {
		return err
	}
	for after := int64(0); ; {
		page, err := store.Checkpoints(ctx, tenant, after, verifyPage)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		w.signed = append(w.signed, page...)
		after = page[len(page)-1].Seq
	}
	for _, c := range w.opts.Outside {
		if c.Tenant == tenant {
			w.signed = append(w.signed, c)
		}
	}
	sort.SliceStable(w.heads, func(i, j int) bool { return w.heads[i].Seq < w.heads[j].Seq })
	sort.SliceStable(w.signed, func(i, j int) bool { return w.signed[i].Seq < w.signed[j].Seq })
	base, err := store.Base(ctx, tenant)
	if err != nil {
		return err
	}
	w.report = TenantReport{Tenant: tenant, Head: base, Base: base}
	if base.Seq > 0 {
		w.report.Wrong = w.begins(base)
	}
	return nil
}

// begins proves the base: it was signed.
func (w *walk) begins(base Head) *Wrong {
	for len(w.signed) > 0 && w.signed[0].Seq <= base.Seq {
		c := w.signed[0]
		if c.Seq == base.Seq {
			if wrong := w.checkpoint(base.Hash); wrong != nil {
				return wrong
			}
			continue
		}
		w.signed = w.signed[1:] // kept elsewhere, of what was pruned
	}
	for len(w.heads) > 0 && w.heads[0].Seq < base.Seq {
		w.heads = w.heads[1:]
	}
	if w.report.Signed == nil {
		return &Wrong{Tenant: base.Tenant, Seq: 1, Kind: WrongMissing,
			Message: fmt.Sprintf("the events up to %d are missing, and no checkpoint was made there", base.Seq)}
	}
	return nil
}

// checkpoint proves the next checkpoint against the hash of its event.
func (w *walk) checkpoint(hash string) *Wrong {
	c := w.signed[0]
	w.signed = w.signed[1:]
	at := c.At.Format(time.RFC3339)
	if len(w.opts.Keys) > 0 && !c.verify(w.opts.Keys) {
		return &Wrong{Tenant: c.Tenant, Seq: c.Seq, Kind: WrongSignature,
			Message: fmt.Sprintf("the checkpoint of event %d at %s does not verify: it was changed, or signed by another key (%s)", c.Seq, at, c.Key)}
	}
	if c.Hash != hash {
		return &Wrong{Tenant: c.Tenant, Seq: c.Seq, Kind: WrongHead,
			Message: fmt.Sprintf("the chain up to event %d is not the one that was signed at %s: it was written anew", c.Seq, at)}
	}
	w.report.Checkpoints++
	w.report.Signed = &c
	return nil
}

// moved looks whether the event that was sealed in the place of a wrong one is
// still there, somewhere else.
func (w *walk) moved(ctx context.Context, store Store, wrong *Wrong) error {
	head := w.report.Head
	stored := "" // the hash that stands in the place
	for after := head.Seq; ; {
		page, err := store.Sealed(ctx, head.Tenant, after, verifyPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			r := &page[i]
			if r.Seq == wrong.Seq {
				stored = r.Hash
				continue
			}
			if next := Extend(head, r); next.Hash == stored || next.Hash == r.Hash {
				wrong.Kind = WrongMoved
				wrong.Message = fmt.Sprintf("event %d is not what was sealed in this place; that one (%s of %s) stands at %d: they were swapped or moved", wrong.Seq, r.Kind, r.Subject, r.Seq)
				return nil
			}
		}
		after = page[len(page)-1].Seq
	}
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
	for len(w.signed) > 0 && w.signed[0].Seq <= r.Seq {
		if wrong := w.checkpoint(r.Hash); wrong != nil {
			return wrong
		}
	}
	if r.Salt == nil {
		w.gone[r.ID] = Wrong{Tenant: head.Tenant, Seq: r.Seq, EventID: r.ID, Kind: WrongPayload,
			Message: fmt.Sprintf("the payload of event %d was removed, and no erasure tells of it", r.Seq)}
	} else if SaltedDigest(r.Salt, r.Payload) != r.PayloadDigest {
		return &Wrong{Tenant: head.Tenant, Seq: r.Seq, EventID: r.ID, Kind: WrongPayload,
			Message: fmt.Sprintf("the payload of event %d is not the one that was appended", r.Seq)}
	}
	w.told(r)
	w.report.Head = next
	w.report.Sealed++
	return nil
}

// told notes what an event tells of others.
func (w *walk) told(r *Record) {
	switch r.Kind {
	case KindErased:
		w.erased[r.Subject] = true
	case KindPruned:
		var head Head
		if json.Unmarshal(r.Payload, &head) == nil {
			w.pruned = append(w.pruned, head)
		}
	}
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
			w.told(&page[i])
		}
		w.report.Unsealed += int64(len(page))
		after = page[len(page)-1].N
	}
}

// finish looks for what only the end can tell: a chain that was cut, and
// payloads that went without an erasure.
func (w *walk) finish() {
	head, base := w.report.Head, w.report.Base
	first := w.report.Wrong
	cut := func(seq int64, how string) {
		if first == nil && seq > head.Seq {
			first = &Wrong{Tenant: head.Tenant, Seq: head.Seq + 1, Kind: WrongMissing,
				Message: fmt.Sprintf("the chain ends at event %d, but %s: its end was cut off", head.Seq, fmt.Sprintf(how, seq))}
		}
	}
	if n := len(w.signed); n > 0 {
		cut(w.signed[n-1].Seq, "event %d was signed at "+w.signed[n-1].At.Format(time.RFC3339))
	}
	if n := len(w.heads); n > 0 {
		cut(w.heads[n-1].Seq, "was sealed up to %d")
	}
	if first == nil && base.Seq > 0 && !slices.Contains(w.pruned, base) {
		first = &Wrong{Tenant: head.Tenant, Seq: 1, Kind: WrongMissing,
			Message: fmt.Sprintf("the events up to %d are missing, and no event tells that they were too old", base.Seq)}
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
