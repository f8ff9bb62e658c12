// Package config holds what a user writes in countersign.yaml as plain values,
// and reads it strictly: every unknown key, wrong type and unset variable is
// reported with its line, all of them at once. It opens nothing and knows no
// room of the house beyond the form of a problem.
package config

import "time"

// A Config is one countersign.yaml after defaults.
type Config struct {
	Version    int         `yaml:"version"`
	Listen     string      `yaml:"listen"`
	URL        string      `yaml:"url"`
	Secret     StringList  `yaml:"secret"`
	Store      string      `yaml:"store"`
	Blobs      Later       `yaml:"blobs"`
	HTTP       HTTP        `yaml:"http"`
	Graph      string      `yaml:"graph"`
	Policy     string      `yaml:"policy"`
	Operations string      `yaml:"operations"`
	Sources    Map[Source] `yaml:"sources"`
	Identity   Identity    `yaml:"identity"`
	Agents     Map[Agent]  `yaml:"agents"`
	Limits     Map[Limits] `yaml:"limits"`
	Schedules  Later       `yaml:"schedules"`
	Notify     Later       `yaml:"notify"`
	Telemetry  Telemetry   `yaml:"telemetry"`

	// Dir is the folder of the file: relative paths are relative to it.
	Dir string `yaml:"-"`
	// File is the path of the file, for messages.
	File string `yaml:"-"`
	// Lines are where the file's keys have their values, by dotted path; what is
	// not in it was not written.
	Lines map[string]int `yaml:"-"`
	// LiteralSecrets lists where a secret stands in the file itself.
	LiteralSecrets []Problem `yaml:"-"`

	expand func(text string) (out string, secret bool, err error)
	// Source names come in the order of the file.
}

// HTTP says how the door behaves.
type HTTP struct {
	// TrustedProxies are networks (CIDR) or addresses whose X-Forwarded-* headers
	// are believed; nobody's by default.
	TrustedProxies []string `yaml:"trustedProxies"`
	CORS           CORS     `yaml:"cors"`
	// TLS makes listen an https address; nil: http.
	TLS *TLS `yaml:"tls"`
	// ReadTimeout is how long a request may take to arrive, body and all; 0:
	// DefaultReadTimeout.
	ReadTimeout time.Duration `yaml:"readTimeout"`
	// PersistedQueries bounds the texts kept of automatic persisted queries, per
	// tenant; 0B: none are kept.
	PersistedQueries Size `yaml:"persistedQueries"`
}

// DefaultPersistedQueries is how much is kept of automatic persisted queries per
// tenant.
const DefaultPersistedQueries Size = 1 << 20

// DefaultReadTimeout is how long a request may take to arrive.
const DefaultReadTimeout = 30 * time.Second

// TLS is a certificate with its chain, and its key. Files are read again when
// they change.
type TLS struct {
	Cert PEM `yaml:"cert"`
	Key  PEM `yaml:"key"`
}

// A PEM is text in PEM, or the path of a file with it. ${file:PATH} is the path.
type PEM struct{ File, Text string }

// CORS lists the origins of browsers' pages that may call; none by default.
type CORS struct {
	Origins []string `yaml:"origins"`
}

// A Source is one configured system of record.
type Source struct {
	Connector string `yaml:"connector"`
	URL       string `yaml:"url"`
	Prefix    string `yaml:"prefix"`
	ReadOnly  bool   `yaml:"readOnly"`

	Include []string `yaml:"include"`
	Exclude []string `yaml:"exclude"`
	Limits  SLimits  `yaml:"limits"`

	// SQL
	Replicas   Later               `yaml:"replicas"`
	ReplicaLag Later               `yaml:"replicaLag"`
	Pool       Pool                `yaml:"pool"`
	Version    OneOrMap            `yaml:"version"`
	Preview    OneOrMap            `yaml:"preview"`
	Keys       map[string][]string `yaml:"keys"`
	References []Reference         `yaml:"references"`
	Changes    string              `yaml:"changes"`

	// OpenAPI
	Profile     Later                 `yaml:"profile"`
	Spec        string                `yaml:"spec"`
	Auth        Auth                  `yaml:"auth"`
	Headers     map[string]string     `yaml:"headers"`
	Collections map[string]Collection `yaml:"collections"`

	Cache   Caches   `yaml:"cache"`
	Outcome Outcomes `yaml:"outcome"`

	// Plugins
	Command Later `yaml:"command"`
	Address Later `yaml:"address"`
	SHA256  Later `yaml:"sha256"`
	Env     Later `yaml:"env"`
	Config  Later `yaml:"config"`
	TLS     Later `yaml:"tls"`

	// Line where the source begins.
	Line int `yaml:"-"`
}

// Pool bounds the connections to a SQL source.
type Pool struct {
	Max              int           `yaml:"max"`
	StatementTimeout time.Duration `yaml:"statementTimeout"`
	LockTimeout      time.Duration `yaml:"lockTimeout"`
	PgBouncer        bool          `yaml:"pgbouncer"`
}

// A Reference is a foreign key that the database does not declare.
type Reference struct {
	From   string   `yaml:"from"`
	Fields []string `yaml:"fields"`
	To     string   `yaml:"to"`
	On     []string `yaml:"on"`
}

// SLimits bound what a source is asked for.
type SLimits struct {
	Deadline          time.Duration `yaml:"deadline"`
	Concurrency       int           `yaml:"concurrency"`
	Rows              Later         `yaml:"rows"`
	Rate              Later         `yaml:"rate"`
	ReserveForPeople  Later         `yaml:"reserveForPeople"`
	RetryBudget       Later         `yaml:"retryBudget"`
	Breaker           Later         `yaml:"breaker"`
	CallsPerOperation int           `yaml:"callsPerOperation"`
}

// Auth is how we show ourselves to an upstream; at most one is set.
type Auth struct {
	Bearer  string  `yaml:"bearer"`
	Basic   *Basic  `yaml:"basic"`
	APIKey  *APIKey `yaml:"apiKey"`
	OAuth2  Later   `yaml:"oauth2"`
	Forward Later   `yaml:"forward"`
}

// Basic is a user name and a password.
type Basic struct {
	User     string `yaml:"user"`
	Password string `yaml:"password"`
}

// APIKey is a key in a header or query parameter.
type APIKey struct {
	Header string `yaml:"header"`
	Query  string `yaml:"query"`
	Value  string `yaml:"value"`
}

// A Collection says which operations of a document make up a collection.
type Collection struct {
	List   string            `yaml:"list"`
	Get    string            `yaml:"get"`
	Create string            `yaml:"create"`
	Update string            `yaml:"update"`
	Delete string            `yaml:"delete"`
	Key    []string          `yaml:"key"`
	Items  string            `yaml:"items"`
	Record string            `yaml:"record"`
	Batch  *Batch            `yaml:"batch"`
	Page   *Paging           `yaml:"page"`
	Filter map[string]Filter `yaml:"filter"`
}

// Batch is an operation that answers several records by their keys.
type Batch struct {
	Operation string `yaml:"operation"`
	Parameter string `yaml:"parameter"`
	Max       int    `yaml:"max"`
}

// Paging is how a list operation pages.
type Paging struct {
	Style     string `yaml:"style"`
	Next      string `yaml:"next"`
	Size      string `yaml:"size"`
	Parameter string `yaml:"parameter"`
	First     *int   `yaml:"first"`
	Max       int    `yaml:"max"`
}

// Identity says whom we believe.
type Identity struct {
	Issuers    []Issuer      `yaml:"issuers"`
	MaxAge     time.Duration `yaml:"maxAge"`
	LocalUsers bool          `yaml:"localUsers"`
	Sessions   Sessions      `yaml:"sessions"`
	APIKeys    KeyAge        `yaml:"apiKeys"`
	Exchange   Exchange      `yaml:"exchange"`
}

// An Issuer is one that signs tokens.
type Issuer struct {
	Issuer      string            `yaml:"issuer"`
	SignIn      *SignIn           `yaml:"signIn"`
	Audience    string            `yaml:"audience"`
	Kind        string            `yaml:"kind"`
	Interactive bool              `yaml:"interactive"`
	Subject     string            `yaml:"subject"`
	Roles       IssuerRoles       `yaml:"roles"`
	Claims      map[string]string `yaml:"claims"`
	Tenant      string            `yaml:"tenant"`
	Skew        time.Duration     `yaml:"skew"`
}

// SignIn is how people sign in at an issuer.
type SignIn struct {
	ClientID     string   `yaml:"clientId"`
	ClientSecret string   `yaml:"clientSecret"`
	Scopes       []string `yaml:"scopes"`
}

// IssuerRoles are fixed, or mapped from a claim.
type IssuerRoles struct {
	Fixed []string          `yaml:"fixed"`
	From  string            `yaml:"from"`
	Map   map[string]string `yaml:"map"`
}

// Sessions bound a person's sign-in.
type Sessions struct {
	Idle  time.Duration `yaml:"idle"`
	Max   time.Duration `yaml:"max"`
	Fresh time.Duration `yaml:"fresh"`
}

// KeyAge bounds an API key's life, and that of one that was rotated out.
type KeyAge struct {
	MaxAge  time.Duration `yaml:"maxAge"`
	Overlap time.Duration `yaml:"overlap"`
}

// Exchange bounds access tokens: an agent for a person.
type Exchange struct {
	MaxAge    time.Duration `yaml:"maxAge"`
	MaxActors int           `yaml:"maxActors"`
}

// An Agent is declared here; its keys are minted by a command.
type Agent struct {
	Owner      string   `yaml:"owner"`
	Purpose    string   `yaml:"purpose"`
	Roles      []string `yaml:"roles"`
	ActsFor    string   `yaml:"actsFor"`
	Operations []string `yaml:"operations"`
	Mode       string   `yaml:"mode"`
	Budget     Budget   `yaml:"budget"`

	Line int `yaml:"-"`
}

// A Budget is what an agent may use in a time. The zero Rate: not said.
type Budget struct {
	Requests      Rate `yaml:"requests"`
	Cost          Rate `yaml:"cost"`
	UpstreamCalls Rate `yaml:"upstreamCalls"`
	RowsRead      Rate `yaml:"rowsRead"`
	RowsWritten   Rate `yaml:"rowsWritten"`
	// OpenProposals at once, and Amount in a day ("2000 EUR/day"), exactly.
	OpenProposals int    `yaml:"openProposals"`
	Amount        string `yaml:"amount"`
}

// Limits of a role, or of everybody under "*". Zero: not said.
type Limits struct {
	Depth         int           `yaml:"depth"`
	Aliases       int           `yaml:"aliases"`
	Tokens        int           `yaml:"tokens"`
	Cost          CostLimit     `yaml:"cost"`
	Page          int           `yaml:"page"`
	MaxRows       int           `yaml:"maxRows"`
	Body          Size          `yaml:"body"`
	Timeout       time.Duration `yaml:"timeout"`
	Rows          int           `yaml:"rows"`
	Response      Size          `yaml:"response"`
	Batch         int           `yaml:"batch"`
	Documents     string        `yaml:"documents"`
	Introspection *bool         `yaml:"introspection"`
	// Budgets of each principal of the role.
	Requests      Rate `yaml:"requests"`
	UpstreamCalls Rate `yaml:"upstreamCalls"`
	RowsRead      Rate `yaml:"rowsRead"`
	RowsWritten   Rate `yaml:"rowsWritten"`

	Line int `yaml:"-"`
}

// Telemetry is what is told of what happens.
type Telemetry struct {
	OTLP    Later `yaml:"otlp"`
	Metrics Later `yaml:"metrics"`
	Traces  Later `yaml:"traces"`
	Audit   Audit `yaml:"audit"`
}

// Audit says what the audit log holds beside what always is in it, and for how
// long.
type Audit struct {
	// Reads of named collections; nil: none.
	Reads Later `yaml:"reads"`
	// Keep is how long events are kept; 0: for ever.
	Keep time.Duration `yaml:"keep"`
	// Writes is all (the default) or none: whether direct writes are in it.
	Writes string `yaml:"writes"`
	// Denials is how long a repeated denial, or sign-in that failed, is only
	// counted; 0: DefaultDenials.
	Denials time.Duration `yaml:"denials"`
}

// DefaultDenials is how long a repeated denial is only counted.
const DefaultDenials = time.Minute

// DefaultLimits are the limits of whoever the file says nothing of.
func DefaultLimits() Limits {
	yes := true
	return Limits{Depth: 12, Aliases: 30, Tokens: 2000, Cost: CostLimit{Operation: 10000}, Page: 100, MaxRows: 100, Body: 1 << 20,
		Timeout: 15 * time.Second, Rows: 50_000, Response: 16 << 20, Batch: 1, Documents: "any", Introspection: &yes}
}

func defaults() Config {
	return Config{
		Listen: "127.0.0.1:8080",
		HTTP:   HTTP{PersistedQueries: DefaultPersistedQueries},
		Identity: Identity{MaxAge: 24 * time.Hour, LocalUsers: true,
			Sessions: Sessions{Idle: 8 * time.Hour, Max: 24 * time.Hour, Fresh: 10 * time.Minute},
			APIKeys:  KeyAge{MaxAge: 90 * 24 * time.Hour},
			Exchange: Exchange{MaxAge: 15 * time.Minute, MaxActors: 3}},
	}
}
