// Package identity says who is asking: it turns a credential into a
// policy.Principal, and makes, ends and lists credentials. It is also the
// Directory: every person, agent and service as known outside of a request.
//
// Credentials are session tokens (css_…, made by a person's sign-in, the only
// interactive ones), API keys (cs_…, for agents and services), access tokens
// (cst_…, an agent for a person, exchanged for a key and the person's token), and
// JWTs of configured issuers. No credential is the principal anonymous; one that is
// present and not valid is CodeUnauthenticated, never anonymous.
//
// Tokens are 256 random bits, shown once and stored as a digest. Whatever is
// single-use or revocable is a row that is compared and swapped.
//
// It must not know pages, GraphQL, policy lines, databases or the audit log's
// form: it declares the Store it needs, and says in words what is to be noted.
package identity

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// Config is what is configured under identity and agents. Zero durations mean
// the defaults.
type Config struct {
	Issuers []Issuer
	// MaxAge: claims that an issuer gave longer ago give no roles outside of a
	// request; 24h.
	MaxAge time.Duration
	// LocalUsers: people who sign in with a password here. Off: their roles and
	// passwords count for nothing.
	LocalUsers bool
	Sessions   Sessions
	// APIKeyMaxAge bounds how long an API key is valid; 90 days. APIKeyOverlap is
	// how long the old one is still valid after a rotation; 0.
	APIKeyMaxAge, APIKeyOverlap time.Duration
	Exchange                    ExchangeLimits
	// Agents by name, without "agent:".
	Agents map[string]Agent
	// RedirectURL is where a provider sends the browser back to; needed where
	// people sign in at one.
	RedirectURL string
	// PlainHTTP: the public address is http. Browsers keep no __Host- cookie
	// then, so the session's cookie has another name.
	PlainHTTP bool
	// Password is the cost of new password hashes; the zero value is the
	// default (argon2id, 19 MiB, 2 passes).
	Password PasswordCost
}

// Sessions says how long sign-ins last.
type Sessions struct {
	Idle  time.Duration // without a request; 8h
	Max   time.Duration // at all; 24h
	Fresh time.Duration // how long a sign-in counts as recent; 10m
}

// ExchangeLimits bound what the exchange makes.
type ExchangeLimits struct {
	// MaxAge is the longest life of an access token; 15m, and no more.
	MaxAge time.Duration
	// MaxActors is how many agents a chain may hold; 3.
	MaxActors int
}

// ActsFor says whether a person stands behind an agent.
type ActsFor string

// Whether an agent acts for a person. The zero value is ActsForOptional.
const (
	ActsForRequired ActsFor = "required"
	ActsForOptional ActsFor = "optional"
	ActsForNever    ActsFor = "never"
)

// An Agent as declared in configuration.
type Agent struct {
	Owner   string // a local name or e-mail, without "user:"
	Purpose string
	Roles   []string
	ActsFor ActsFor
}

// A PasswordCost is the cost of a password hash by argon2id.
type PasswordCost struct {
	MemoryKiB uint32
	Passes    uint32
	Threads   uint8
}

// The prefixes of principals' ids.
const (
	userPrefix    = "user:"
	agentPrefix   = "agent:"
	servicePrefix = "service:"
)

// UserID is the id of a local person.
func UserID(name string) string { return userPrefix + strings.ToLower(name) }

// AgentID is the id of an agent.
func AgentID(name string) string { return agentPrefix + name }

// ServiceID is the id of a service.
func ServiceID(name string) string { return servicePrefix + name }

// A Service answers who is asking. It is safe for concurrent use, and holds no
// goroutine.
type Service struct {
	cfg     Config
	store   Store
	clock   func() time.Time
	cache   *cache[*policy.Principal]
	limits  *limiter
	hashing chan struct{} // bounds the memory of concurrent password hashes
	decoy   string        // a hash that no password has
	issuers map[string]*verifier
	github  *gitHub // nil: nobody signs in there
	sealer  Sealer
	purged  atomic.Int64 // when access tokens that are over were last removed
}

// A Sealer encrypts what is kept, bound to a purpose and a place, and decrypts
// it again.
type Sealer interface {
	Seal(purpose string, place, plain []byte) ([]byte, error)
	Open(purpose string, place, sealed []byte) ([]byte, error)
}

// Options of New, for tests and unusual networks.
type Options struct {
	// Now is the clock of the cache and the limits; time.Now. Lifetimes are
	// judged by the store's clock.
	Now func() time.Time
	// HTTP asks issuers; a client with a timeout of 10s.
	HTTP *http.Client
	// Sealer encrypts refresh tokens; nil: none is kept.
	Sealer Sealer
	// GitHub is where GitHub is, instead of where it is.
	GitHub GitHubAddresses
}

// namePattern is what local names may be: they become ids and stand in policy
// lines.
var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._+-]*(@[a-z0-9][a-z0-9.-]*)?$`)

const maxName = 200

// tenantPattern is what a tenant may be called: it stands in keys and hashes.
var tenantPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,99}$`)

// New checks the configuration and makes a Service. It does no I/O: issuers are
// asked for their keys when their first token comes.
func New(cfg Config, store Store, opts Options) (*Service, error) {
	cfg.MaxAge = orDefault(cfg.MaxAge, 24*time.Hour)
	cfg.Sessions.Idle = orDefault(cfg.Sessions.Idle, 8*time.Hour)
	cfg.Sessions.Max = orDefault(cfg.Sessions.Max, 24*time.Hour)
	cfg.Sessions.Fresh = orDefault(cfg.Sessions.Fresh, 10*time.Minute)
	cfg.APIKeyMaxAge = orDefault(cfg.APIKeyMaxAge, 90*24*time.Hour)
	cfg.Exchange.MaxAge = min(orDefault(cfg.Exchange.MaxAge, maxAccessAge), maxAccessAge)
	if cfg.Exchange.MaxActors <= 0 {
		cfg.Exchange.MaxActors = 3
	}
	if cfg.Password == (PasswordCost{}) {
		cfg.Password = PasswordCost{MemoryKiB: 19 * 1024, Passes: 2, Threads: 1}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{Timeout: 10 * time.Second}
	}
	s := &Service{cfg: cfg, store: store, clock: opts.Now, hashing: make(chan struct{}, 2), issuers: map[string]*verifier{}, sealer: opts.Sealer}
	s.cache = newCache[*policy.Principal](opts.Now)
	s.limits = newLimiter(opts.Now)
	var errs []error
	for name, agent := range cfg.Agents {
		errs = append(errs, agent.check(name))
	}
	for _, issuer := range cfg.Issuers {
		v, err := newVerifier(issuer, opts)
		if err == nil && s.issuers[issuer.Issuer] != nil {
			err = fmt.Errorf("identity.issuers: %s stands there twice", issuer.Issuer)
		}
		if err == nil && issuer.Flow != nil && cfg.RedirectURL == "" {
			err = errors.New("identity.issuers: signIn needs the public address of this server (url), which the provider sends browsers back to")
		}
		s.issuers[issuer.Issuer] = v
		errs = append(errs, err)
	}
	if v := s.issuers[GitHubIssuer]; v != nil {
		s.github = newGitHub(v, opts.GitHub)
	}
	// The decoy costs as much as a real hash and is none of a password.
	s.decoy = cfg.Password.encode(make([]byte, saltSize), make([]byte, hashSize))
	return s, errors.Join(errs...)
}

func (a Agent) check(name string) error {
	if !namePattern.MatchString(name) || strings.Contains(name, "@") || len(name) > maxName {
		return fmt.Errorf("agents: %q is no name for an agent; use lower-case letters, digits, . _ + -", name)
	}
	if a.Owner == "" {
		return fmt.Errorf("agents.%s: owner is missing; name the person who answers for it", name)
	}
	switch a.ActsFor {
	case "", ActsForRequired, ActsForOptional, ActsForNever:
		return nil
	}
	return fmt.Errorf("agents.%s: actsFor is required, optional or never, not %q", name, a.ActsFor)
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Fresh is how long a sign-in counts as recent.
func (s *Service) Fresh() time.Duration { return s.cfg.Sessions.Fresh }

// AgentNames lists the configured agents, sorted.
func (s *Service) AgentNames() []string {
	names := make([]string, 0, len(s.cfg.Agents))
	for name := range s.cfg.Agents {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// invalid is the one answer to every credential that is present and not valid:
// it does not tell an unknown one from a revoked or expired one.
func invalid(cause string) error {
	return connectors.Errorf(connectors.CodeUnauthenticated, "the credential is not valid: it is unknown, expired or revoked").WithCause(errors.New(cause))
}

func suspended() error {
	return connectors.Errorf(connectors.CodeSuspended, "this account or agent is suspended; an administrator can resume it")
}

// personOf is a record as a principal without a credential. Roles and claims
// are the union over the grants that count at that time; asOf is the oldest of
// those.
func (s *Service) personOf(r *Record, now time.Time) (*policy.Principal, time.Time) {
	p := &policy.Principal{ID: r.ID, Kind: r.Kind, Name: r.Name, Tenant: r.Tenant, Claims: map[string]connectors.Value{}, Owner: r.Owner}
	asOf := now
	for _, g := range r.Grants {
		if !s.counts(r, g) {
			continue
		}
		if g.Provider != LocalProvider {
			if asOf = earlier(asOf, g.AsOf); now.Sub(g.AsOf) > s.cfg.MaxAge {
				continue
			}
		}
		for _, role := range g.Roles {
			if !slices.Contains(p.Roles, role) {
				p.Roles = append(p.Roles, role)
			}
		}
		for name, value := range g.Claims {
			p.Claims[name] = value
		}
	}
	slices.Sort(p.Roles)
	return p, asOf
}

// counts tells whether a provider's word counts at all, age aside.
func (s *Service) counts(r *Record, g Grant) bool {
	if g.Provider == LocalProvider {
		return s.cfg.LocalUsers || r.Kind != policy.Human
	}
	return s.issuers[g.Provider] != nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// agentOf is a configured agent as a principal without a credential; nil where
// none is configured.
func (s *Service) agentOf(tenant, name string) *policy.Principal {
	agent, ok := s.cfg.Agents[name]
	if !ok {
		return nil
	}
	p := &policy.Principal{ID: AgentID(name), Kind: policy.Agent, Name: name, Tenant: tenant, Owner: UserID(agent.Owner), Claims: map[string]connectors.Value{}}
	p.Roles = slices.Sorted(slices.Values(agent.Roles))
	return p
}

// argonHash is what the cost makes of a password.
func (c PasswordCost) argonHash(password string, salt []byte, size uint32) []byte {
	return argon2.IDKey([]byte(password), salt, c.Passes, c.MemoryKiB, c.Threads, size)
}
