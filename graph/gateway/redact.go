package gateway

import (
	"context"
	"slices"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/plan"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// Redact implements proposals.Authorizer.
func (a *authorizer) Redact(ctx context.Context, viewer *policy.Principal, review *proposals.Review) (*proposals.Review, bool, error) {
	b := a.bound(viewer)
	out, whole := *review, true
	out.Changes = make([]proposals.ReviewChange, len(review.Changes))
	for i := range review.Changes {
		rc := review.Changes[i]
		access := b.view.Object(rc.Object())
		if rc.Kind == connectors.Call {
			if access == nil || access.Call == nil && access.Approve == nil {
				rc.Args, rc.Request, whole = connectors.Value{}, nil, false
			}
			out.Changes[i] = rc
			continue
		}
		full, err := a.redactRecords(ctx, b, access, &rc)
		if err != nil {
			return nil, false, err
		}
		whole = whole && full
		out.Changes[i] = rc
	}
	if !whole {
		// The document and its variables hold what the fields hold.
		out.Document, out.Variables = "", nil
	}
	return &out, whole, nil
}

func (a *authorizer) redactRecords(ctx context.Context, b *bound, access *policy.Access, rc *proposals.ReviewChange) (whole bool, err error) {
	diffs := rc.Diff
	rc.Diff, whole = nil, true
	if access == nil || access.Read == nil {
		return len(diffs) == 0, nil
	}
	row := b.fixed(access.Read.Row)
	for i := range diffs {
		d := diffs[i]
		if row != nil {
			seen, err := a.matches(ctx, rc, &d, row)
			if err != nil {
				return false, err
			}
			if !seen {
				whole = false
				continue
			}
		}
		full, err := a.redactFields(ctx, b, access.Read, rc, &d)
		if err != nil {
			return false, err
		}
		whole = whole && full
		rc.Diff = append(rc.Diff, d)
	}
	return whole, nil
}

func (a *authorizer) redactFields(ctx context.Context, b *bound, read *policy.ReadAccess, rc *proposals.ReviewChange, d *proposals.RecordDiff) (whole bool, err error) {
	shown := map[string]policy.Mask{}
	whole = true
	for _, f := range slices.Concat(assigned(d.Key), assigned(d.Before), assigned(d.After), assigned(d.Names)) {
		if _, known := shown[f]; known {
			continue
		}
		if shown[f], err = a.shows(ctx, b, read, rc, d, f); err != nil {
			return false, err
		}
		// The key addresses the record, and names name it; not seeing them hides no effect.
		whole = whole && (shown[f] == policy.MaskNone || !slices.Contains(assigned(d.Before), f) && !slices.Contains(assigned(d.After), f))
	}
	keep := func(in []connectors.Assign) []connectors.Assign {
		var out []connectors.Assign
		for _, x := range in {
			if m := shown[x.Field]; m != policy.MaskNull {
				x.Value = plan.MaskedValue(m, x.Value)
				out = append(out, x)
			}
		}
		return out
	}
	d.Key, d.Before, d.After, d.Names = keep(d.Key), keep(d.Before), keep(d.After), keep(d.Names)
	// Whether a masked field changes is told by what is shown of it.
	before, after := fieldsOf(d.Before), fieldsOf(d.After)
	d.Fields = slices.DeleteFunc(slices.Clone(d.Fields), func(f string) bool {
		m, known := shown[f]
		return !known || m == policy.MaskNull || m != policy.MaskNone && before(f).Equal(after(f))
	})
	return whole && len(d.Hidden) == 0, nil
}

// shows is the mask under which the viewer sees a field of this record; MaskNull
// where not at all.
func (a *authorizer) shows(ctx context.Context, b *bound, read *policy.ReadAccess, rc *proposals.ReviewChange, d *proposals.RecordDiff, field string) (policy.Mask, error) {
	cell, ok := read.Fields[field]
	if !ok {
		return policy.MaskNull, nil
	}
	for _, m := range append([]policy.Masked{{If: cell.If}}, cell.Masks...) {
		if m.If != nil {
			if ok, err := a.matches(ctx, rc, d, b.fixed(m.If)); err != nil {
				return policy.MaskNull, err
			} else if !ok {
				continue
			}
		}
		return m.Mask, nil
	}
	return policy.MaskNull, nil
}

func assigned(in []connectors.Assign) []string {
	out := make([]string, len(in))
	for i := range in {
		out[i] = in[i].Field
	}
	return out
}
