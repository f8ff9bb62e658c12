package identity

import (
	"context"
	"errors"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// LocalProvider is the provider of grants that were made here.
const LocalProvider = "local"

// A Record is a person or service, or the state of an agent, as kept. It is
// plain data; one that was read is not shared.
type Record struct {
	Tenant string               `json:"tenant"`
	ID     string               `json:"id"`
	Kind   policy.PrincipalKind `json:"kind"`
	Name   string               `json:"name,omitempty"`
	// Version is compared and swapped; 0 is a record that is not stored yet.
	Version int64 `json:"-"`
	// Password is a hash with its parameters, in PHC form; empty: none.
	Password  string    `json:"password,omitempty"`
	Owner     string    `json:"owner,omitempty"` // of a service
	Grants    []Grant   `json:"grants,omitempty"`
	Suspended bool      `json:"suspended,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
}

// A Grant is what one provider says of somebody.
type Grant struct {
	// Provider is LocalProvider or an issuer.
	Provider string                      `json:"provider"`
	Roles    []string                    `json:"roles,omitempty"`
	Claims   map[string]connectors.Value `json:"claims,omitempty"`
	// AsOf is when the provider last said so.
	AsOf time.Time `json:"asOf"`
	// Email is the address that the provider says is theirs; empty: none.
	Email string `json:"email,omitempty"`
	// Refresh, sealed, is what the provider is asked with again without the
	// person, at RefreshAt; empty: only a sign-in or token brings news.
	Refresh   []byte    `json:"refresh,omitempty"`
	RefreshAt time.Time `json:"refreshAt,omitzero"`
}

// A Bond says that two accounts of a tenant are of one person. It gives no
// right to either: it only keeps one person from counting as two.
type Bond struct {
	Tenant string
	A, B   string // ids of principals; order says nothing
	// How it is known: LinkByEmail or LinkByAdministrator.
	How string
	By  string // the id of the administrator
	At  time.Time
}

// How accounts come to be linked.
const (
	LinkByEmail         = "email"
	LinkByAdministrator = "administrator"
)

// RefreshAt is when the first of the record's providers is to be asked again;
// zero: never.
func (r *Record) RefreshAt() time.Time {
	var first time.Time
	for _, g := range r.Grants {
		if !g.RefreshAt.IsZero() && (first.IsZero() || g.RefreshAt.Before(first)) {
			first = g.RefreshAt
		}
	}
	return first
}

// CredentialKind says what a credential is for.
type CredentialKind string

// The kinds of credential that are kept.
const (
	KindSession  CredentialKind = "session"
	KindKey      CredentialKind = "key"
	KindSignIn   CredentialKind = "signInLink"   // signs in as its principal, once
	KindFirstRun CredentialKind = "firstRunLink" // makes the first user, once
	KindPassword CredentialKind = "passwordLink" // sets its principal's password, once
	KindDevice   CredentialKind = "device"       // becomes a session when approved
	KindBrowser  CredentialKind = "browser"      // a sign-in at a provider that a browser began
	KindAccess   CredentialKind = "accessToken"  // an agent for a person, for a short time
)

// A Credential as kept: never the secret itself.
type Credential struct {
	ID     string         `json:"id"`
	Tenant string         `json:"tenant"`
	Kind   CredentialKind `json:"kind"`
	// Hash is the digest of the token. Alias is that of a second, short code
	// (the user code of a device); empty: none. Both are unique.
	Hash  string `json:"hash"`
	Alias string `json:"alias,omitempty"`
	// Principal is whom it is of; empty while nobody has approved a device.
	Principal string `json:"principal"`
	// For is the person that an agent's key is bound to, or that stands behind an
	// access token.
	For   string `json:"for,omitempty"`
	Label string `json:"label,omitempty"`
	// Version is compared and swapped; 0 is one that is not stored yet.
	Version    int64     `json:"-"`
	CreatedAt  time.Time `json:"createdAt"`
	CreatedBy  string    `json:"createdBy,omitempty"`
	ExpiresAt  time.Time `json:"expiresAt"`
	LastUsedAt time.Time `json:"lastUsedAt,omitzero"`
	// SignedInAt is when the person last proved who they are.
	SignedInAt time.Time `json:"signedInAt,omitzero"`
	UsedAt     time.Time `json:"usedAt,omitzero"` // of what works once
	RevokedAt  time.Time `json:"revokedAt,omitzero"`
	DeniedAt   time.Time `json:"deniedAt,omitzero"` // of a device
	// Begun is what a browser began (KindBrowser); nil for all others.
	Begun *Begun `json:"begun,omitempty"`
	// PersonTenant is the tenant of Principal where that is another one than
	// Tenant: of a device, which is begun before anybody is known.
	PersonTenant string `json:"personTenant,omitempty"`
	// Delegation is what an access token rests on; nil for all others.
	Delegation *Delegation `json:"delegation,omitempty"`
}

// personTenant is the tenant of Principal.
func (c *Credential) personTenant() string {
	if c.PersonTenant != "" {
		return c.PersonTenant
	}
	return c.Tenant
}

// Begun is a sign-in at a provider that waits for the browser's return.
type Begun struct {
	Issuer string `json:"issuer"`
	// To is the path to go to afterwards.
	To string `json:"to"`
	// Fresh: the person must prove anew who they are.
	Fresh bool `json:"fresh,omitempty"`
}

// live tells whether it is neither spent, revoked nor over.
func (c *Credential) live(now time.Time) bool {
	return c.UsedAt.IsZero() && c.RevokedAt.IsZero() && c.DeniedAt.IsZero() && now.Before(c.ExpiresAt)
}

// A Note is what the audit log is to hold of a change. The store makes the
// event of it, in the same transaction.
type Note struct {
	// Kind is a dotted name beginning with "identity.".
	Kind    string
	Tenant  string
	Subject string // a principal's id
	// By is who did it; nil: the system, or whoever holds the machine.
	By *policy.Principal
	// Details hold no secret.
	Details map[string]string
}

// A Change is written whole or not at all.
type Change struct {
	Records     []*Record
	Credentials []*Credential
	// Bonds are added; those that are there already stay as they are. Unbonds are
	// removed, whatever they say of How, By and At.
	Bonds   []Bond
	Unbonds []Bond
	Notes   []Note
}

// What a store answers beside failures of its own. They may be wrapped.
var (
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("no such identity")
	// ErrConflict: a row moved since it was read, or is there already.
	ErrConflict = errors.New("identity moved")
)

// A Filter selects credentials of one tenant. Empty fields match everything.
type Filter struct {
	ID        string
	Kind      CredentialKind
	Principal string
}

// Store keeps records and credentials. All methods may be called concurrently.
// The tests of package store run one suite over every database.
type Store interface {
	// Now is the store's clock.
	Now(ctx context.Context) (time.Time, error)
	// Record reads one record, or ErrNotFound.
	Record(ctx context.Context, tenant, id string) (*Record, error)
	// Records lists the tenant's records of a kind, by id.
	Records(ctx context.Context, tenant string, kind policy.PrincipalKind) ([]*Record, error)
	// Credential finds one by its Hash or Alias, of any tenant, with the time by
	// the store's clock; or ErrNotFound.
	Credential(ctx context.Context, hash string) (*Credential, time.Time, error)
	// Credentials lists the tenant's credentials that match, the newest first.
	Credentials(ctx context.Context, tenant string, f Filter) ([]*Credential, error)
	// DueRecords lists records, of any tenant, whose RefreshAt has come, the longest due
	// first.
	DueRecords(ctx context.Context, now time.Time, limit int) ([]*Record, error)
	// Persons says of each id which person it is of: equal for accounts that are
	// linked, directly or over others; an id itself where it is linked to none.
	Persons(ctx context.Context, tenant string, ids []string) (map[string]string, error)
	// Bonds lists the tenant's bonds.
	Bonds(ctx context.Context, tenant string) ([]Bond, error)
	// PurgeCredentials removes the tenant's credentials of a kind that were over
	// before a time.
	PurgeCredentials(ctx context.Context, tenant string, kind CredentialKind, before time.Time) error
	// SaveIdentity writes a change in one transaction. Rows with Version 0 are
	// inserted; others replace the row that still has that Version. ErrConflict,
	// and nothing written, where a row moved or is there already. Versions in
	// the change are not touched.
	SaveIdentity(ctx context.Context, change Change) error
}
