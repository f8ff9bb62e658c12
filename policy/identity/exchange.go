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

// An access token (cst_…) says: this agent, for this person, for a short time.
// It is made from the agent's API key and the person's own token (RFC 8693), or
// from a key alone (client credentials). It is 256 random bits and a row, not a
// signed statement: looking it up costs as much as checking a signature, and it
// ends at once with the key, the sign-in, the agent or the person that it rests
// on. Nothing that a client writes says for whom it acts: no header, no claim.

// A Delegation is what an access token rests on. It is looked at again whenever
// the token is.
type Delegation struct {
	// Key is the digest of the actor's API key.
	Key string `json:"key"`
	// Subject is the digest of the session or access token that it was exchanged
	// for; empty where that was a JWT, or nobody stands behind the actor.
	Subject string `json:"subject,omitempty"`
	// Said is what a JWT said of the person; nil: no JWT.
	Said *Said `json:"said,omitempty"`
}

// Said is what a JWT said of a person. What acts for them has no more.
type Said struct {
	Credential string                      `json:"credential"`
	Roles      []string                    `json:"roles,omitempty"`
	Claims     map[string]connectors.Value `json:"claims,omitempty"`
}

// maxAccessAge is the longest life of an access token, whatever is configured.
const maxAccessAge = 15 * time.Minute

// purgeEvery is how often exchanges remove access tokens that are over, and
// purgeAfter how long those are still listed.
const (
	purgeEvery = time.Minute
	purgeAfter = time.Hour
)

// rateExchange bounds what one key makes: each exchange writes a row.
var rateExchange = rate{burst: 60, refill: time.Second}

// An Exchange is a request for an access token.
type Exchange struct {
	// Actor is the API key of who will act.
	Actor string
	// Client is who the key must be of: a principal's id, or an agent's name;
	// empty: whoever it is of.
	Client string
	// ForSubject: Subject, a person's token or the access token of an agent that
	// acts for one, says for whom. Without it the actor acts for itself.
	ForSubject bool
	Subject    string
	// Address is the client's, to bound guessing.
	Address string
}

// An Access is a token that was made, shown once.
type Access struct {
	Token     string
	ID        string
	Lives     time.Duration
	Principal *policy.Principal
}

// Why an exchange was refused, in the words of RFC 6749.
const (
	RefusedClient = "invalid_client"      // the actor's key is not valid
	RefusedGrant  = "invalid_request"     // the subject's token is not valid, or of no person (RFC 8693, 2.2.2)
	RefusedActor  = "unauthorized_client" // this actor does not do that
)

// A Refusal is an exchange that was refused.
type Refusal struct {
	Why string // one of the Refused words
	Err *connectors.Error
}

// Error is the message of the refusal.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap is the coded error.
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(why string, err error) error {
	switch e := connectors.AsError(err); e.Code {
	case connectors.CodeUnauthenticated, connectors.CodeForbidden, connectors.CodeSuspended, connectors.CodeSignInRequired:
		return &Refusal{Why: why, Err: e}
	default:
		return err
	}
}

func refusef(why string, code connectors.Code, format string, args ...any) error {
	return &Refusal{Why: why, Err: connectors.Errorf(code, format, args...)}
}

// Exchange makes an access token. What is refused is a *Refusal; all else is a
// failure of ours. It lives no longer than what it rests on, and at most
// Config.Exchange.MaxAge.
func (s *Service) Exchange(ctx context.Context, in Exchange) (*Access, error) {
	if err := s.limits.take("exchange\x00"+in.Address, ratePerAddress); err != nil {
		return nil, err
	}
	key, p, lives, now, err := s.actorOf(ctx, in)
	if err != nil {
		return nil, err
	}
	// Only guessing counts against an address.
	s.limits.giveBack("exchange\x00" + in.Address)
	if err := s.limits.take("exchange\x00"+key.ID, rateExchange); err != nil {
		return nil, err
	}
	d := &Delegation{Key: key.Hash}
	if in.ForSubject {
		l, err := s.subjectOf(ctx, in.Subject, p, d)
		if err != nil {
			return nil, err
		}
		lives = min(lives, l)
	}
	if name, agent := strings.CutPrefix(p.ID, agentPrefix); agent {
		if err := s.checkActsFor(name, p.For != nil); err != nil {
			return nil, refuse(RefusedActor, err)
		}
	}
	token, c, err := newCredential(KindAccess, accessPrefix, key.Tenant, now, min(lives, s.cfg.Exchange.MaxAge))
	if err != nil {
		return nil, err
	}
	c.Principal, c.Delegation, c.CreatedBy = p.ID, d, p.ID
	note := Note{Kind: "identity.tokenIssued", Tenant: key.Tenant, Subject: p.ID, By: p, Details: map[string]string{"credential": c.ID, "key": key.ID}}
	if chain := p.Chain(); len(chain) > 1 {
		c.For = chain[len(chain)-1].ID
		note.Details["for"] = c.For
	}
	if err := s.store.SaveIdentity(ctx, Change{Credentials: []*Credential{c}, Notes: []Note{note}}); err != nil {
		return nil, err
	}
	out := *p
	out.CredentialID = c.ID
	return &Access{Token: token, ID: c.ID, Lives: c.ExpiresAt.Sub(now), Principal: &out}, s.purge(ctx, key.Tenant, now)
}

// purge removes access tokens that are over, now and then.
func (s *Service) purge(ctx context.Context, tenant string, now time.Time) error {
	last := s.purged.Load()
	if now.UnixNano()-last < int64(purgeEvery) || !s.purged.CompareAndSwap(last, now.UnixNano()) {
		return nil
	}
	return s.store.PurgeCredentials(ctx, tenant, KindAccess, now.Add(-purgeAfter))
}

// actorOf finds whom the key of an exchange is of, and how long it lives.
func (s *Service) actorOf(ctx context.Context, in Exchange) (*Credential, *policy.Principal, time.Duration, time.Time, error) {
	fail := func(err error) (*Credential, *policy.Principal, time.Duration, time.Time, error) {
		return nil, nil, 0, time.Time{}, err
	}
	if formOf(in.Actor) != formKey {
		return fail(refuse(RefusedClient, invalid("no API key")))
	}
	c, now, err := s.store.Credential(ctx, hashToken(in.Actor))
	if errors.Is(err, ErrNotFound) {
		err = invalid("unknown key")
	}
	if err != nil {
		return fail(refuse(RefusedClient, err))
	}
	p, lives, err := s.actor(ctx, c, now)
	if err != nil {
		return fail(refuse(RefusedClient, err))
	}
	if in.Client != "" && in.Client != p.ID && AgentID(in.Client) != p.ID {
		return fail(refuse(RefusedClient, invalid("a key of somebody else")))
	}
	switch {
	case p.Kind == policy.Human:
		return fail(refusef(RefusedActor, connectors.CodeForbidden, "a person's key acts for nobody else, and needs no exchange"))
	case c.For != "":
		return fail(refusef(RefusedActor, connectors.CodeForbidden, "this key is bound to a person: it is used as it is"))
	case p.Kind == policy.Service && in.ForSubject:
		return fail(refusef(RefusedActor, connectors.CodeForbidden, "a service acts for nobody; only agents do"))
	}
	return c, p, lives, now, nil
}

// actor is whom an API key is of, without anybody behind them.
func (s *Service) actor(ctx context.Context, c *Credential, now time.Time) (*policy.Principal, time.Duration, error) {
	lives := min(c.ExpiresAt.Sub(now), c.CreatedAt.Add(s.cfg.APIKeyMaxAge).Sub(now))
	if c.Kind != KindKey || !c.live(now) || lives <= 0 {
		return nil, 0, invalid("the key is revoked or expired")
	}
	var p *policy.Principal
	var err error
	if name, agent := strings.CutPrefix(c.Principal, agentPrefix); agent {
		p, err = s.activeAgent(ctx, c.Tenant, name)
	} else {
		p, err = s.activePerson(ctx, c.Tenant, c.Principal, now)
	}
	return p, lives, err
}

// subjectOf puts whom the subject's token is of behind the actor, and notes in
// the delegation what that rests on.
func (s *Service) subjectOf(ctx context.Context, token string, actor *policy.Principal, d *Delegation) (time.Duration, error) {
	form := formOf(token)
	var q *policy.Principal
	var lives time.Duration
	var err error
	switch form {
	case formJWT:
		q, lives, err = s.load(ctx, form, token, hashToken(token))
		if err == nil {
			d.Said = &Said{Credential: q.CredentialID, Roles: q.Roles, Claims: q.Claims}
		}
	case formSession, formAccess:
		d.Subject = hashToken(token)
		q, lives, err = s.subject(ctx, d.Subject)
	default:
		err = invalid("no token of a person")
	}
	if err != nil {
		return 0, refuse(RefusedGrant, err)
	}
	chain := q.Chain()
	if root := chain[len(chain)-1]; root.Kind != policy.Human || form == formJWT && len(chain) > 1 {
		return 0, refusef(RefusedGrant, connectors.CodeForbidden, "no person stands behind the subject's token")
	}
	if q.Tenant != actor.Tenant {
		return 0, refuse(RefusedGrant, invalid("a person of another tenant"))
	}
	if slices.ContainsFunc(chain, func(x *policy.Principal) bool { return x.ID == actor.ID }) {
		return 0, refusef(RefusedGrant, connectors.CodeForbidden, "%s acts in the subject's token already", actor.Name)
	}
	if len(chain) > s.cfg.Exchange.MaxActors {
		return 0, refusef(RefusedGrant, connectors.CodeForbidden, "the chain would hold more than %d agents (identity.exchange.maxActors)", s.cfg.Exchange.MaxActors)
	}
	actor.For = passive(q)
	return lives, nil
}

// subject is whom a stored token is of: a person who signed in, or an agent for
// a person. It notes no use: what an agent does keeps no sign-in alive.
func (s *Service) subject(ctx context.Context, hash string) (*policy.Principal, time.Duration, error) {
	c, now, err := s.store.Credential(ctx, hash)
	if errors.Is(err, ErrNotFound) || err == nil && !c.live(now) {
		return nil, 0, invalid("the subject's token is revoked or expired")
	}
	if err != nil {
		return nil, 0, err
	}
	switch c.Kind {
	case KindAccess:
		return s.accessPrincipal(ctx, c, now)
	case KindSession:
		lives := min(c.ExpiresAt.Sub(now), c.LastUsedAt.Add(s.cfg.Sessions.Idle).Sub(now), c.CreatedAt.Add(s.cfg.Sessions.Max).Sub(now))
		if lives <= 0 {
			return nil, 0, invalid("idle or too old")
		}
		p, err := s.activePerson(ctx, c.Tenant, c.Principal, now)
		if err == nil {
			p.CredentialID = c.ID
		}
		return p, lives, err
	}
	return nil, 0, invalid("no token of a person")
}

// accessPrincipal is whom an access token is of, with the chain behind it: each
// of them as they are now, and no more than the subject's token gave.
func (s *Service) accessPrincipal(ctx context.Context, c *Credential, now time.Time) (*policy.Principal, time.Duration, error) {
	d := c.Delegation
	if d == nil {
		return nil, 0, invalid("an access token that rests on nothing")
	}
	key, _, err := s.store.Credential(ctx, d.Key)
	if errors.Is(err, ErrNotFound) || err == nil && key.Principal != c.Principal {
		err = invalid("the key it was made with is gone")
	}
	if err != nil {
		return nil, 0, err
	}
	p, lives, err := s.actor(ctx, key, now)
	if err != nil {
		return nil, 0, err
	}
	lives = min(lives, c.ExpiresAt.Sub(now))
	p.CredentialID = c.ID
	switch {
	case d.Said != nil:
		p.For, err = s.saidPerson(ctx, c, now)
	case d.Subject != "":
		var behind time.Duration
		if p.For, behind, err = s.subject(ctx, d.Subject); err == nil {
			p.For, lives = passive(p.For), min(lives, behind)
		}
	}
	if err != nil {
		return nil, 0, err
	}
	if name, agent := strings.CutPrefix(p.ID, agentPrefix); agent {
		err = s.checkActsFor(name, p.For != nil)
	}
	if len(p.Chain()) > s.cfg.Exchange.MaxActors+1 {
		err = invalid("more agents than identity.exchange.maxActors")
	}
	return p, lives, err
}

// saidPerson is the person that a JWT was of: what it said of them, as far as
// they still have it.
func (s *Service) saidPerson(ctx context.Context, c *Credential, now time.Time) (*policy.Principal, error) {
	p, err := s.activePerson(ctx, c.Tenant, c.For, now)
	if err != nil {
		return nil, err
	}
	said := c.Delegation.Said
	p.Roles = slices.DeleteFunc(slices.Clone(said.Roles), func(role string) bool { return !slices.Contains(p.Roles, role) })
	p.Claims, p.CredentialID = said.Claims, said.Credential
	return p, nil
}

// passive is a chain that somebody else acts for: nobody of it signed in here.
func passive(p *policy.Principal) *policy.Principal {
	if p == nil {
		return nil
	}
	out := *p
	out.Interactive, out.SignedInAt, out.For = false, time.Time{}, passive(p.For)
	return &out
}

// checkActsFor refuses an agent that must act for a person and has none behind
// it, and one that never does and has.
func (s *Service) checkActsFor(name string, person bool) error {
	switch acts := s.cfg.Agents[name].ActsFor; {
	case acts == ActsForRequired && !person:
		e := connectors.Errorf(connectors.CodeForbidden, "this agent must act for a person, and nobody stands behind this credential")
		e.Unblock = []string{"exchange the key and the person's own token at /oauth/token",
			"or make a key that is bound to a person: countersign agents keys add " + name + " --for PERSON"}
		return e
	case acts == ActsForNever && person:
		e := connectors.Errorf(connectors.CodeForbidden, "this agent never acts for a person, and one stands behind this credential")
		e.Unblock = []string{"make a key without --for: countersign agents keys add " + name}
		return e
	}
	return nil
}
