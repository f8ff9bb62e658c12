package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// The device flow (RFC 8628): a program without a browser asks for two codes,
// a signed-in person types the short one into a page and approves, and the
// program, which polls with the long one, gets a session of that person.

// A Device is what the program was given.
type Device struct {
	DeviceCode string
	// UserCode is for a person to type: "BCDF-GHJK".
	UserCode  string
	ExpiresAt time.Time
	// Interval is how long to wait between polls.
	Interval time.Duration
}

const (
	deviceLives    = 10 * time.Minute
	deviceInterval = 2 * time.Second
	// userAlphabet has no vowels, so that no words come out, and nothing that is
	// mistaken for something else.
	userAlphabet = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeSize = 8
)

// What PollDevice answers while there is no session; the names are those of
// RFC 8628.
var (
	ErrAuthorizationPending = errors.New("authorization_pending")
	ErrAccessDenied         = errors.New("access_denied")
	ErrExpiredToken         = errors.New("expired_token")
)

// StartDevice begins the flow. address bounds how often one client may;
// client is what the approving person is shown. Without a tenant it is for
// whoever approves it, of any tenant.
func (s *Service) StartDevice(ctx context.Context, tenant, address, client string) (*Device, error) {
	if err := s.limits.take("device\x00"+address, rateDeviceNew); err != nil {
		return nil, err
	}
	now, err := s.store.Now(ctx)
	if err != nil {
		return nil, err
	}
	token, c, err := newCredential(KindDevice, devicePrefix, tenantOf(tenant), now, deviceLives)
	if err != nil {
		return nil, err
	}
	code, err := newUserCode()
	if err != nil {
		return nil, err
	}
	c.Alias, c.Label = hashUserCode(code), client
	if err := s.store.SaveIdentity(ctx, Change{Credentials: []*Credential{c}}); err != nil {
		// A user code that another one has is as rare as this error.
		return nil, err
	}
	return &Device{DeviceCode: token, UserCode: code[:4] + "-" + code[4:], ExpiresAt: c.ExpiresAt, Interval: deviceInterval}, nil
}

func newUserCode() (string, error) {
	code := make([]byte, 0, userCodeSize)
	var b [1]byte
	for len(code) < userCodeSize {
		if _, err := rand.Read(b[:]); err != nil {
			return "", err
		}
		if n := int(b[0]); n < 256-256%len(userAlphabet) { // no letter is likelier
			code = append(code, userAlphabet[n%len(userAlphabet)])
		}
	}
	return string(code), nil
}

// normalUserCode is a user code as people type it, without what they add.
func normalUserCode(typed string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(typed))
}

// A PendingDevice is what the approving person is shown.
type PendingDevice struct {
	Client    string
	CreatedAt time.Time
	ExpiresAt time.Time
}

// PendingDevice looks at what a user code would approve. by must be a person
// with a sign-in, else CodeSignInRequired; CodeNotFound where the code is
// wrong, over or decided.
func (s *Service) PendingDevice(ctx context.Context, by *policy.Principal, userCode string) (*PendingDevice, error) {
	c, _, err := s.pending(ctx, by, userCode)
	if err != nil {
		return nil, err
	}
	return &PendingDevice{Client: c.Label, CreatedAt: c.CreatedAt, ExpiresAt: c.ExpiresAt}, nil
}

func (s *Service) pending(ctx context.Context, by *policy.Principal, userCode string) (*Credential, time.Time, error) {
	if by == nil || by.Kind != policy.Human || !by.Interactive {
		return nil, time.Time{}, connectors.Errorf(connectors.CodeSignInRequired, "sign in first; a key or a token of a program cannot approve")
	}
	guess := "code\x00" + by.Tenant + "\x00" + by.ID
	if err := s.limits.take(guess, rateUserCode); err != nil {
		return nil, time.Time{}, err
	}
	c, now, err := s.store.Credential(ctx, hashUserCode(normalUserCode(userCode)))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, now, err
	}
	if err != nil || c.Kind != KindDevice || c.Tenant != by.Tenant && c.Tenant != policy.DefaultTenant || !c.live(now) || c.Principal != "" {
		return nil, now, connectors.Errorf(connectors.CodeNotFound, "no program waits for this code; it may be mistyped or over")
	}
	s.limits.giveBack(guess)
	return c, now, nil
}

// DecideDevice approves or denies the program that waits with this user code.
// The session it gets is as fresh as the sign-in of by.
func (s *Service) DecideDevice(ctx context.Context, by *policy.Principal, userCode string, approve bool) error {
	c, now, err := s.pending(ctx, by, userCode)
	if err != nil {
		return err
	}
	note := Note{Kind: "identity.deviceDenied", Tenant: c.Tenant, Subject: by.ID, By: by, Details: map[string]string{"credential": c.ID}}
	if approve {
		note.Kind = "identity.deviceApproved"
		c.Principal, c.PersonTenant, c.SignedInAt = by.ID, by.Tenant, by.SignedInAt
	} else {
		c.DeniedAt = now
	}
	err = s.store.SaveIdentity(ctx, Change{Credentials: []*Credential{c}, Notes: []Note{note}})
	if errors.Is(err, ErrConflict) {
		return connectors.Errorf(connectors.CodeNotFound, "this code was decided on meanwhile")
	}
	return err
}

// PollDevice answers the session, once, when a person approved; until then
// ErrAuthorizationPending, and ErrAccessDenied or ErrExpiredToken (also for a
// code that is unknown or spent) when there will be none. CodeSuspended where
// the person was suspended meanwhile.
func (s *Service) PollDevice(ctx context.Context, deviceCode string) (*Session, error) {
	if formOf(deviceCode) != formDevice {
		return nil, ErrExpiredToken
	}
	c, now, err := s.store.Credential(ctx, hashToken(deviceCode))
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, ErrExpiredToken
	case err != nil:
		return nil, err
	case !c.DeniedAt.IsZero():
		return nil, ErrAccessDenied
	case c.Kind != KindDevice || !c.live(now):
		return nil, ErrExpiredToken
	case c.Principal == "":
		return nil, ErrAuthorizationPending
	}
	r, err := s.person(ctx, c.personTenant(), c.Principal)
	if err != nil {
		return nil, err
	}
	c.UsedAt = now
	session, err := s.begin(ctx, r, signIn{how: "device", client: c.Label, at: c.SignedInAt}, Change{Credentials: []*Credential{c}})
	if errors.Is(err, ErrConflict) {
		return nil, ErrExpiredToken // another poll got it
	}
	return session, err
}
