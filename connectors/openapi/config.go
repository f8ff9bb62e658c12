package openapi

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
)

// Config is one source described by an OpenAPI document.
type Config struct {
	// Name of the source, for errors.
	Name string
	// SpecData is the document, JSON or YAML, OpenAPI 3.0 or 3.1.
	SpecData []byte
	// BaseURL is where the API is; the document's own servers are not used.
	BaseURL string
	Auth    httpcall.Auth
	// Headers go with every call and are never shown.
	Headers map[string]string
	// Include are the operations offered: "tag:X", "METHOD /path*" or an
	// operationId. None: all. Exclude takes from them. Operations of
	// collections need not be included.
	Include, Exclude []string
	// ReadOnly leaves out everything that writes.
	ReadOnly    bool
	Collections map[string]CollectionConfig
	// Outcome by operationId, collection, or "*" for the rest; without any the
	// class is unverifiable.
	Outcome map[string]OutcomeConfig
	Limits  Limits
	// TLS and Log of the calls; may be nil.
	TLS *tls.Config
	Log *slog.Logger
	// Retries and RetryMax are those of httpcall.Options.
	Retries  int
	RetryMax time.Duration
}

// CollectionConfig says which operations make up a collection, by operationId.
type CollectionConfig struct {
	List, Get, Create, Update, Delete string
	// Key are the fields of the key; none: "id" where there is one.
	Key   []string
	Batch BatchConfig
	Page  PageConfig
	// Filter are the parameters of List that filter by a field: by comparison
	// (eq, in, gt, gte, lt, lte). A parameter for eq that takes a list serves
	// in as well.
	Filter map[string]map[connectors.Op]string
	// Items is the path of the list in answers of List and Batch, dotted; "":
	// the answer itself, or the one list in it.
	Items string
	// Record is the path of the record in the other answers; "": the answer
	// itself, or the one member that is such a record.
	Record string
}

// BatchConfig is an operation that reads several records by their keys.
type BatchConfig struct {
	Operation string
	Parameter string
	Max       int // keys per call; 0: what the document says, else 50
}

// Styles of paging.
const (
	PageNone   = "none"   // one answer holds everything
	PageCursor = "cursor" // Next is a link, or a token that goes into Parameter
	PageLink   = "link"   // the header Link names the next page
	PageNumber = "page"   // Parameter counts pages from First
	PageOffset = "offset" // Parameter counts records
)

// PageConfig is how a list pages.
type PageConfig struct {
	Style string
	// Next is the path in the answer of the link or token of the next page.
	Next string
	// Size is the parameter for the records per page.
	Size string
	// Parameter takes the token, page or offset.
	Parameter string
	// First is the number of the first page; nil: 1.
	First *int
	// Max is the largest page; 0: what the document says, else 100.
	Max int
}

// OutcomeConfig is what can be known about a write.
type OutcomeConfig struct {
	Class connectors.OutcomeClass
	// Header carries the idempotency key; Keep is how long the system
	// remembers it.
	Header string
	Keep   time.Duration
}

// Limits bound what is asked for. Zero means the default.
type Limits struct {
	Timeout       time.Duration // of one call; 10 s
	ResponseBytes int64         // of one answer; 8 MiB
	// CallsPerOperation bounds the calls of one query; 50.
	CallsPerOperation int
	// Concurrency bounds the calls of one query at once; 8.
	Concurrency int
}

func (l Limits) withDefaults() Limits {
	if l.CallsPerOperation <= 0 {
		l.CallsPerOperation = 50
	}
	if l.Concurrency <= 0 {
		l.Concurrency = 8
	}
	return l
}

func wrongConfig(format string, args ...any) *connectors.Error {
	return connectors.Errorf(connectors.CodeBadInput, format, args...)
}

// checkOutcomes refuses classes that are not built.
func (c *Config) checkOutcomes() error {
	for _, name := range slices.Sorted(maps.Keys(c.Outcome)) {
		o := c.Outcome[name]
		switch o.Class {
		case connectors.Unverifiable:
		case connectors.Idempotent:
			if o.Header == "" || o.Keep <= 0 {
				return wrongConfig("outcome.%s: idempotent needs the header of the key and how long it is kept", name)
			}
		case connectors.Verifiable, connectors.Searchable:
			return connectors.Errorf(connectors.CodeUnsupported, "outcome.%s: the class %s is not supported yet; write idempotent or unverifiable", name, o.Class)
		default:
			return wrongConfig("outcome.%s: %q is no outcome class of an API; write idempotent or unverifiable", name, o.Class)
		}
	}
	return nil
}

// outcome is that of an operation: the most exact name wins.
func (c *Config) outcome(operation, collection string) OutcomeConfig {
	for _, name := range []string{operation, collection, "*"} {
		if o, ok := c.Outcome[name]; ok && name != "" {
			return o
		}
	}
	return OutcomeConfig{Class: connectors.Unverifiable}
}

// unused are the names under outcome that nothing has.
func (c *Config) unusedOutcomes(known func(string) bool) error {
	for _, name := range slices.Sorted(maps.Keys(c.Outcome)) {
		if name != "*" && !known(name) {
			return wrongConfig("outcome.%s: the document has no such operation, and there is no such collection", name)
		}
	}
	return nil
}

func (c *Config) client() (*httpcall.Client, error) {
	client, err := httpcall.New(httpcall.Options{BaseURL: c.BaseURL, Auth: c.Auth, Headers: c.Headers, Timeout: c.Limits.Timeout,
		ResponseBytes: c.Limits.ResponseBytes, TLS: c.TLS, Log: c.Log, Retries: c.Retries, RetryMax: c.RetryMax})
	if err != nil {
		return nil, wrongConfig("%s: %s", c.Name, fmt.Sprint(err))
	}
	return client, nil
}
