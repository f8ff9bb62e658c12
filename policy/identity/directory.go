package identity

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

var _ policy.Directory = (*Service)(nil)

// Current implements policy.Directory. An agent comes without the person it
// acts for: that is a fact of a credential, or of a proposal's author.
func (s *Service) Current(ctx context.Context, tenant, id string) (*policy.Principal, time.Time, error) {
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	if name, ok := strings.CutPrefix(id, agentPrefix); ok {
		p, err := s.activeAgent(ctx, tenant, name)
		return p, now, s.unknown(err)
	}
	r, err := s.store.Record(ctx, tenant, id)
	if errors.Is(err, ErrNotFound) {
		return nil, time.Time{}, s.unknown(invalid("nobody has this id"))
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	if r.Suspended {
		return nil, time.Time{}, s.unknown(suspended())
	}
	p, asOf := s.personOf(r, now)
	return p, asOf, nil
}

// unknown makes CodeForbidden of whatever says that somebody may nothing now.
func (s *Service) unknown(err error) error {
	switch connectors.CodeOf(err) {
	case connectors.CodeUnauthenticated, connectors.CodeSuspended:
		return connectors.Errorf(connectors.CodeForbidden, "unknown, suspended or revoked").WithCause(err)
	}
	return err
}

// Holders implements policy.Directory: the ids, sorted, of active people who
// were granted one of the roles, however long ago: whoever's claims are too old
// may sign in. Roles that policy.csv gives to a person by
// name are policy's own knowledge and not among them.
func (s *Service) Holders(ctx context.Context, tenant string, roles []string) ([]string, error) {
	records, err := s.store.Records(ctx, tenant, policy.Human)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, r := range records {
		if r.Suspended {
			continue
		}
		if slices.ContainsFunc(r.Grants, func(g Grant) bool {
			return s.counts(r, g) && slices.ContainsFunc(g.Roles, func(role string) bool { return slices.Contains(roles, role) })
		}) {
			ids = append(ids, r.ID)
		}
	}
	return ids, nil
}
