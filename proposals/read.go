package proposals

import (
	"context"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// An Entry is a proposal as somebody may see it.
type Entry struct {
	Dossier *Dossier
	// Review is the frozen document with only what the viewer may read. Reviews
	// and change sets inside of Dossier are not redacted and not to be shown.
	Review *Review
	// Whole: nothing was taken away.
	Whole bool
}

// Get reads a proposal as the viewer: authors and those who could approve it.
// Everybody else, and for an id of another tenant or of nothing, CodeNotFound,
// the very same error.
func (s *Service) Get(ctx context.Context, viewer *policy.Principal, handle string) (*Entry, error) {
	if viewer == nil || handle == "" {
		return nil, noSuch()
	}
	d, err := s.cfg.Store.Get(ctx, viewer.Tenant, Ref{Handle: handle})
	if err != nil {
		return nil, outward(err)
	}
	e, err := s.entry(ctx, s.cfg.Authorizer(), viewer, d)
	if err != nil {
		return nil, connectors.AsError(err)
	}
	return e, nil
}

// entry is the dossier as the viewer may see it, or CodeNotFound.
func (s *Service) entry(ctx context.Context, az Authorizer, viewer *policy.Principal, d *Dossier) (*Entry, error) {
	rev := d.Current()
	review, err := decodeReview(rev)
	if err != nil {
		return nil, err
	}
	may, err := s.visible(ctx, az, viewer, d, Content{Set: &rev.Set, Review: review})
	if err != nil {
		return nil, err
	}
	if !may {
		return nil, noSuch()
	}
	shown, whole, err := az.Redact(ctx, viewer, review)
	if err != nil {
		return nil, err
	}
	return &Entry{Dossier: d, Review: shown, Whole: whole}, nil
}

// A ListRequest asks for a page of proposals, newest first.
type ListRequest struct {
	// States; empty: all.
	States []State
	// Mine: only those that the viewer, or somebody for the viewer, asked for.
	Mine bool
	// First is the size of the page; 0: DefaultPage, at most MaxPage.
	First int
	// After is the handle of the last proposal of the page before.
	After string
}

// The sizes of pages.
const (
	DefaultPage = 30
	MaxPage     = 100
	// scanPages bounds what is read for one page, in multiples of it.
	scanPages = 50
)

// A Page of proposals.
type Page struct {
	Entries []*Entry
	// More: there may be further ones behind the last.
	More bool
}

// List answers what the viewer may see. Fails with CodeBadInput for a cursor of
// nothing.
func (s *Service) List(ctx context.Context, viewer *policy.Principal, r ListRequest) (*Page, error) {
	if viewer == nil || viewer.Kind == policy.Anonymous {
		return &Page{}, nil
	}
	size := r.First
	if size <= 0 {
		size = DefaultPage
	}
	size = min(size, MaxPage)
	f := Filter{Tenant: viewer.Tenant, States: r.States, Limit: size + 1}
	if r.Mine || viewer.Kind != policy.Human {
		f.Author = []string{viewer.ID}
	}
	if r.After != "" {
		last, err := s.cfg.Store.Get(ctx, viewer.Tenant, Ref{Handle: r.After})
		if err != nil {
			return nil, connectors.Errorf(connectors.CodeBadInput, "there is nothing behind this cursor").WithCause(err)
		}
		f.Before = last.Proposal.ID
	}
	az, out := s.cfg.Authorizer(), &Page{}
	for range scanPages {
		heads, err := s.cfg.Store.List(ctx, f)
		if err != nil {
			return nil, outward(err)
		}
		for _, h := range heads {
			e, err := s.entryOf(ctx, az, viewer, h)
			if connectors.CodeOf(err) == connectors.CodeNotFound {
				continue
			}
			if err != nil {
				return nil, outward(err)
			}
			if len(out.Entries) == size {
				out.More = true
				return out, nil
			}
			out.Entries = append(out.Entries, e)
		}
		if len(heads) < f.Limit {
			return out, nil
		}
		f.Before = heads[len(heads)-1].ID
	}
	out.More = len(out.Entries) > 0
	return out, nil
}

func (s *Service) entryOf(ctx context.Context, az Authorizer, viewer *policy.Principal, h *Proposal) (*Entry, error) {
	d, err := s.cfg.Store.Get(ctx, h.Tenant, Ref{ID: h.ID})
	if err != nil {
		return nil, outward(err)
	}
	return s.entry(ctx, az, viewer, d)
}
